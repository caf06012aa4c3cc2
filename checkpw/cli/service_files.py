"""The files of a service: templates of this package with values in them, printed or put in their places."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from checkpw.cli.install import replace
from checkpw.errors import Misuse, TemporaryFailure

_PLACE = re.compile(r"@([a-z_]+)@")
_EMPTY_LINE = re.compile(r"^@[a-z_]+@\n", re.MULTILINE)


class File(NamedTuple):
    """A file of a service: its path below the directory of services, its permissions, its text."""

    path: str
    mode: int
    text: str


def fill(template: str, **values: str) -> str:
    """Return a template with each @name@ replaced; a line that is nothing but an empty value is left out.

    What is put in is not looked at again, so a value may have an @ in it.
    """
    text = resources.files("checkpw.cli").joinpath("templates", template).read_text(encoding="utf-8")
    text = _EMPTY_LINE.sub(lambda found: found[0] if values[found[0][1:-2]] else "", text)
    return _PLACE.sub(lambda found: values[found[1]], text)


def shown(files: list[File]) -> str:
    """Return the files as they are printed: one as it is, several each below a line that names it."""
    if len(files) == 1:
        return files[0].text
    return "\n".join(f"### {file.path} (mode {file.mode:04o})\n{file.text}" for file in files)


def write(directory: Path, files: list[File], *, force: bool) -> list[Path]:
    """Put the files below a directory, and return their paths.

    A directory of a service appears with all that is in it: svscan and its relatives start what they see.

    Raises:
        Misuse: one is there already and says something else.
        TemporaryFailure: they cannot be written.
    """
    try:
        changed = [file for file in files if _differs(directory / file.path, file)]
        there = [str(directory / file.path) for file in changed if (directory / file.path).exists()]
        if there and not force:
            raise Misuse(f"there already, and different: {', '.join(there)}; --force replaces them")
        directory.mkdir(parents=True, exist_ok=True)
        for top in dict.fromkeys(file.path.partition("/")[0] for file in files):
            part = [file for file in changed if file.path.partition("/")[0] == top]
            if any("/" in file.path for file in part) and not (directory / top).exists():
                _make_whole(directory, top, part)
                continue
            for file in part:
                path = directory / file.path
                path.parent.mkdir(exist_ok=True)
                replace(path, file.text, file.mode)
    except OSError as error:
        raise TemporaryFailure(f"unable to write below {directory}: {error.strerror}") from None
    return [directory / file.path for file in files]


def _differs(path: Path, file: File) -> bool:
    try:
        return path.read_bytes() != file.text.encode() or path.stat().st_mode & 0o777 != file.mode
    except FileNotFoundError:
        return True


def _make_whole(directory: Path, top: str, files: list[File]) -> None:
    """Make a directory under a name that service managers pass over, and give it its own when all is there."""
    place = Path(tempfile.mkdtemp(dir=directory, prefix=f".{top}."))
    try:
        for file in files:
            path = place / file.path.partition("/")[2]
            path.parent.mkdir(exist_ok=True, mode=0o755)
            replace(path, file.text, file.mode)
        place.chmod(0o755)
        os.rename(place, directory / top)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
