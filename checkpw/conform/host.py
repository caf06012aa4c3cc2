"""What a run is done on: what a reader of its report must know of that, and what must not be left there."""

import contextlib
import os
import platform
import pwd
import tempfile
from collections.abc import Iterator

import hypothesis
from hypothesis.configuration import set_hypothesis_home_dir

import checkpw


def surroundings() -> tuple[tuple[str, str], ...]:
    """Say what else a reader of a report must know: versions, the system, and who ran it."""
    system = os.uname()
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = "nobody in the password file"
    versions = f"checkpw {checkpw.__version__}, Python {platform.python_version()}"
    return (
        ("kit", f"{versions}, hypothesis {hypothesis.__version__}"),
        ("system", f"{system.sysname} {system.release} {system.machine}"),
        ("user", f"{name} (uid {os.geteuid()})"),
    )


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Have hypothesis keep what it caches in a directory that goes away, and not in the current one."""
    with tempfile.TemporaryDirectory(prefix="checkpw-hypothesis-") as name:
        set_hypothesis_home_dir(name)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)
