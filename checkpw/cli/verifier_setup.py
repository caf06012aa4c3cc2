"""What checkpw-verifierd does before it serves: its socket, its limits, its memory, and the settings of its store."""

import contextlib
import ctypes
import os
import resource
import socket
import stat

from checkpw.errors import Misuse, TemporaryFailure

PR_SET_DUMPABLE = 4
"""Of prctl(2): 0 forbids core files, and others of the same user to look into our memory (ptrace(2))."""


def store_settings(accounts: str | None, environ: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the environment that says where accounts are, and nothing else; raises `Misuse` for another verifier."""
    url = environ.get(b"CHECKPW_ACCOUNTS", b"system:") if accounts is None else os.fsencode(accounts)
    if url.startswith(b"verifier:"):
        raise Misuse(f"{url!a}: a verifier asks no verifier, not another one and not itself")
    settings = {b"CHECKPW_ACCOUNTS": url}
    if lowest_uid := environ.get(b"CHECKPW_MIN_UID"):
        settings[b"CHECKPW_MIN_UID"] = lowest_uid
    return settings


def bind(path: str, mode: int, gid: int) -> socket.socket:
    """Make the socket, to which nobody can connect before it listens; one that nobody listens on is replaced.

    Raises:
        TemporaryFailure: somebody listens there, it is something else, or it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(0)
    try:
        _remove_stale(path)
        # By umask and not by chmod, which would follow a link that somebody put in its place.
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        os.chown(path, -1, gid, follow_symlinks=False)
    except OSError as error:
        raise TemporaryFailure(f"unable to make the socket {path!a}: {error.strerror or error}") from None
    return listener


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise TemporaryFailure(f"{path!a} is there and is no socket")
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(0)
            line.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
    except BlockingIOError:
        raise TemporaryFailure(f"somebody listens on {path!a} already") from None
    else:
        raise TemporaryFailure(f"somebody listens on {path!a} already")


def unbind(path: str, made: os.stat_result) -> None:
    """Remove the socket, if it is still ours and we still may; another start would replace it too."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(path), made):
            os.unlink(path)


def allow_descriptors(number: int) -> None:
    """See to it that so many descriptors can be open; raises `TemporaryFailure`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if soft != resource.RLIM_INFINITY and soft < number:
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    except (OSError, ValueError):
        raise TemporaryFailure(f"--max-connections needs {number} descriptors, and the limit is {hard}") from None


def keep_memory_to_ourselves() -> None:
    """Forbid core files for good, and others of the same user to look into this process: passwords are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # ctypes is there before the first thread: hashes then are computed by functions that let other threads run.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise TemporaryFailure(f"prctl failed: {os.strerror(ctypes.get_errno())}")
