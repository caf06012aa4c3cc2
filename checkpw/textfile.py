"""Edits text files that servers read meanwhile.

The new file takes the place of the old one in one step (rename(2)) under an exclusive lock on `PATH.lock`: a reader
sees the old file or the new one, a full disk or a killed process leaves the old one.

Not on the lean path: only people's commands edit.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator

from checkpw.errors import TemporaryFailure


def edit(path: bytes, change: Callable[[list[bytes]], list[bytes]], *, create: bool = False) -> None:
    """Replace the file by what `change` makes of its lines, unless it makes no difference.

    Args:
        path: of the file.
        change: gets what stands between line ends, so that the last piece of a file that is whole is empty.
        create: a file that is not there is taken for an empty one, and created with mode 0600.

    Raises:
        TemporaryFailure: the file cannot be read or written; it is as it was.
    """
    # A link to the file stays a link, and whoever edits by the other name waits for the same lock.
    target = os.path.realpath(path)
    if not create:
        read(target)  # no lock is left behind for a file that is not there
    with _locked(target):
        content, status = read(target, missing_is_empty=create)
        changed = b"\n".join(change(content.split(b"\n")))
        if status is None or changed != content:
            replace(target, changed, status)


@contextlib.contextmanager
def _locked(target: bytes) -> Iterator[None]:
    """Hold the exclusive lock; its file stays, because removing it would race with whoever waits for it."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(target + b".lock", flags, 0o600)
    except OSError as error:
        raise TemporaryFailure(f"unable to lock {target!a}: {error.strerror}") from None
    try:
        if os.geteuid() == 0:
            # Whoever owns the store goes on editing it after root did.
            with contextlib.suppress(FileNotFoundError):
                owner = os.stat(target)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(target: bytes, *, missing_is_empty: bool = False) -> tuple[bytes, os.stat_result | None]:
    """Return the content and the status of a file, None as the status where there is no file yet."""
    try:
        # Non-blocking: opening a FIFO would wait for somebody to write into it.
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TemporaryFailure(f"{target!a} is not a regular file")
            return file.read(), status
    except FileNotFoundError:
        if missing_is_empty:
            return b"", None
        raise TemporaryFailure(f"there is no file {target!a}") from None
    except OSError as error:
        raise TemporaryFailure(f"unable to read {target!a}: {error.strerror}") from None


def replace(target: bytes, content: bytes, status: os.stat_result | None) -> None:
    """Write the content beside the file; rename it once it is on the disk.

    Args:
        target: path, not of a link.
        content: all of it.
        status: of the old file, whose mode and owner the new one gets; None for mode 0600 and ourselves.

    Raises:
        TemporaryFailure: the file is as it was.
    """
    directory, name = os.path.split(target)
    temporary = b""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=b"." + name + b".", dir=directory)  # mode 0600
        with open(descriptor, "wb") as file:
            if status is not None:
                _look_like(target, descriptor, status)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, target)
        temporary = b""
        _sync_directory(directory)
    except OSError as error:
        raise TemporaryFailure(f"unable to write {target!a}: {error.strerror}") from None
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _look_like(target: bytes, descriptor: int, status: os.stat_result) -> None:
    """Give the new file owner, mode and access lists of the old one; OSError if the owner cannot be kept."""
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    # POSIX access lists live in extended attributes; losing one would lock out a server that reads the file.
    for name in os.listxattr(target) if hasattr(os, "listxattr") else ():
        with contextlib.suppress(OSError):  # a label that the system sets by itself
            os.setxattr(descriptor, name, os.getxattr(target, name))


def _sync_directory(directory: bytes) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
