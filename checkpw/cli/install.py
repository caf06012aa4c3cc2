"""`checkpw install-programs DIR`: launchers that start in the least time.

pip writes launchers without interpreter flags. Those written here start Python with -IS: nothing of the caller's
environment or home directory is imported, and the 3 ms that `site` takes are saved; in its place, the directories of
our packages stand in the launcher.
"""

import compileall
import importlib.util
import os
import sys
import sysconfig
import tempfile
from pathlib import Path

import click

from checkpw.errors import TemporaryFailure

PROGRAMS = (
    *("authup", "checkgroup", "checknotroot", "checkpassword", "checkpw", "checkpw-any", "checkpw-dovecot"),
    *("checkpw-limit", "checkpw-log", "checkpw-verifierd", "ofmipd", "ofmipname", "reup", "smtpwrap", "submissiond"),
)

PACKAGES = (
    "checkpw",
    "click",
    "passlib",
    "bcrypt",
    "_argon2_cffi_bindings",
    "_cffi_backend",
    "uvloop",
    "prometheus_client",
)
"""What the programs import that is not in the standard library."""

SEARCH_PATH_LINE = "    sys.path += "
"""How the line of a launcher begins that names directories."""

MAX_FIRST_LINE = 255
"""Bytes of a `#!` line that Linux reads (BINPRM_BUF_SIZE, since 5.1)."""


@click.command(
    "install-programs",
    epilog="""\b
EXAMPLES
  checkpw install-programs /usr/local/bin
  checkpw install-programs ~/bin""",
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def install_programs(directory: Path) -> None:
    """Write fast launchers for all programs into DIRECTORY.

    Each is replaced in one step, so that a login that starts meanwhile finds the old one or the new one.
    """
    for path in install(directory):
        click.echo(path)


def install(directory: Path) -> list[Path]:
    """Write the launchers and return their paths; raises `TemporaryFailure` if that cannot be."""
    first_line = f"#!{sys.executable} -IS"
    if " " in sys.executable or len(os.fsencode(first_line)) >= MAX_FIRST_LINE:
        raise TemporaryFailure(f"{sys.executable!r} cannot stand in a #! line: it is too long or has a space")
    places = search_path()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        written = []
        for name in PROGRAMS:
            lines = _template(name).read_text(encoding="utf-8").splitlines()
            lines[0] = first_line
            lines = [f"    sys.path += {places!r}" if line.startswith(SEARCH_PATH_LINE) else line for line in lines]
            written.append(directory / name)
            replace(written[-1], "\n".join(lines) + "\n", 0o755)
    except OSError as error:
        raise TemporaryFailure(f"unable to write programs into {directory}: {error.strerror}") from None
    # A launcher whose package is not compiled compiles it at each start where it may not write.
    compileall.compile_dir(Path(__file__).parent.parent, quiet=2)
    return written


def search_path() -> list[str]:
    """Return the directories that hold our package and those that it uses."""
    places = []
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            continue  # said by the program that needs it, when it needs it
        origin = Path(found.origin).resolve()
        place = str(origin.parent.parent if origin.name == "__init__.py" else origin.parent)
        if place not in places:
            places.append(place)
    return places


def _template(name: str) -> Path:
    """Find a launcher: in a checkout beside the package, else where pip put it."""
    beside = Path(__file__).resolve().parent.parent.parent / "bin" / name
    return beside if beside.exists() else Path(sysconfig.get_path("scripts")) / name


def replace(path: Path, text: str, mode: int) -> None:
    """Write a file in one step: who looks meanwhile sees the old one or the new one; raises `OSError`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
