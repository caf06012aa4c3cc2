"""Joining a chain of programs and handing it on: nothing added, nothing leaked, nothing kept.

Python changes its process before our first line: it ignores SIGPIPE and SIGXFSZ, and under `env -` it sets LC_CTYPE
(PEP 538). `arrive` and `hand_over` undo that, so that the next program finds what ours found. What Python overwrote
without a trace, a SIGPIPE that was ignored already, comes back as the default action.
"""

import _signal
import errno
import posix
import resource

from checkpw.errors import TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

SENTINELS = (b"true", b"/bin/true", b"/usr/bin/true")
"""When the rest of a chain is exactly one of these, only the verdict is asked."""

DEFAULT_PATH = b"/bin:/usr/bin"
"""What pathexec_run.c of checkpassword 0.90 searches when PATH is not set."""

COERCED_LOCALES = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""The values that Python's start-up puts into LC_CTYPE (PEP 538)."""

IGNORED_BY_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ)
"""Signals that Python's start-up ignores; exec would hand that on."""


class NextProgram:
    """What runs in our place after a yes.

    Attributes:
        argv: the program, to be found by PATH, and its arguments.
        environ: its whole environment.
        identity: (uid, gid) to become first, or None to stay who we are.
        directory: to change to once we are that, or None.
    """

    __slots__ = ("argv", "directory", "environ", "identity")

    def __init__(
        self,
        argv: list[bytes],
        environ: dict[bytes, bytes],
        identity: tuple[int, int] | None = None,
        directory: bytes | None = None,
    ) -> None:
        self.argv = argv
        self.environ = environ
        self.identity = identity
        self.directory = directory


def is_sentinel(argv: list[bytes]) -> bool:
    """Tell whether a chain is exactly `true`: then nobody runs and only the verdict is asked."""
    return len(argv) == 1 and argv[0] in SENTINELS


def fill_standard_descriptors() -> None:
    """Put /dev/null where 0, 1 or 2 is closed, until the next exec.

    Otherwise the next file opened becomes 2, and an error message is written into the account store. The descriptors
    are close-on-exec: the next program finds closed what ours found closed.
    """
    for descriptor in (0, 1, 2):
        try:
            posix.fstat(descriptor)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)


def keep_to_ourselves() -> list[int]:
    """Have no program of ours inherit what we inherited: everything above 2 is closed at its start. Return that."""
    try:
        descriptors = [int(name) for name in posix.listdir("/proc/self/fd")]
    except OSError:
        descriptors = list(range(3, 1024))  # no /proc: what a soft limit usually allows
    kept = []
    for descriptor in descriptors:
        if descriptor > 2:
            try:
                posix.set_inheritable(descriptor, False)  # noqa: FBT003  it takes no keyword
            except OSError:
                continue  # not open, or only for the listing
            kept.append(descriptor)
    return kept


def collect_children() -> None:
    """Have children wait to be asked how they ended, also when whoever started us ignores that (SIGCHLD)."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


def given_environment() -> dict[bytes, bytes]:
    """Return the environment as the caller gave it: LC_CTYPE is put back if Python's start-up set it."""
    environ = dict(posix.environ)
    if environ.get(b"LC_CTYPE") in COERCED_LOCALES:
        given = _given_locale()
        if given is None:
            del environ[b"LC_CTYPE"]
        else:
            environ[b"LC_CTYPE"] = given
    return environ


def _given_locale() -> bytes | None:
    """Look LC_CTYPE up in the block that the kernel was given; setenv(3) does not change that."""
    try:
        block = _read_whole(b"/proc/self/environ")
    except OSError:
        return None  # without /proc, a locale that the caller set to just this value is lost
    at = (b"\0" + block).find(b"\0LC_CTYPE=")
    if at < 0:
        return None
    return block[at + len(b"LC_CTYPE=") :].partition(b"\0")[0]


def _read_whole(path: bytes) -> bytes:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        whole = b""
        while piece := posix.read(descriptor, 65536):
            whole += piece
        return whole
    finally:
        posix.close(descriptor)


def forbid_core_dumps() -> tuple[int, int]:
    """Set the soft limit for core files to 0, because a password is in memory; return the limits that were."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    return limits


def give_back_core_dumps(limits: tuple[int, int]) -> None:
    """Restore what `forbid_core_dumps` returned."""
    resource.setrlimit(resource.RLIMIT_CORE, limits)


def give_back_signals() -> None:
    """Restore the default action of the signals that Python ignores."""
    for number in IGNORED_BY_PYTHON:
        _signal.signal(number, _signal.SIG_DFL)


def candidates(name: bytes, environ: dict[bytes, bytes]) -> "Iterator[bytes]":
    """Yield the paths at which a program may be found, by the rule of pathexec_run.c.

    A name with a slash is taken as it is. Otherwise the directories of PATH are tried; an empty one is `.`.
    """
    if b"/" in name:
        yield name
        return
    for directory in environ.get(b"PATH", DEFAULT_PATH).split(b":"):
        yield (directory or b".") + b"/" + name


def is_worth_another_try(error: OSError) -> bool:
    """Tell whether PATH is searched on after this failure; ENOEXEC is not: no shell is started for a text file."""
    return error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR)


def hand_over(program: NextProgram) -> "NoReturn":
    """Become what `program` says and execute it in our place.

    Raises:
        TemporaryFailure: privileges, directory or program could not be had (111 in checkpassword 0.90 too, but for
            the privileges).
    """
    if program.identity is not None:
        from checkpw import privileges  # most links stay who they are

        privileges.become(*program.identity)
    if program.directory is not None:
        try:
            posix.chdir(program.directory)
        except OSError as error:
            raise TemporaryFailure(f"unable to change to {program.directory!a}: {error.strerror}") from None
    give_back_signals()
    _run(posix.execve, program.argv, program.environ)
    raise AssertionError  # execve does not return


def start(argv: list[bytes], environ: dict[bytes, bytes]) -> int:
    """Start a program beside us, with our directory, identity and inheritable descriptors; return its pid.

    Raises:
        TemporaryFailure: it cannot be run.
    """

    def spawn(path: bytes, argv: list[bytes], environ: dict[bytes, bytes]) -> int:
        return posix.posix_spawn(path, argv, environ, setsigdef=IGNORED_BY_PYTHON)

    return _run(spawn, argv, environ)


def _run(
    run: "Callable[[bytes, list[bytes], dict[bytes, bytes]], int]", argv: list[bytes], environ: dict[bytes, bytes]
) -> int:
    """Call `run` with each path at which the program may be, until one can be run; raises `TemporaryFailure`."""
    refusal = "not found in PATH"
    for path in candidates(argv[0], environ):
        try:
            return run(path, argv, environ)
        except OSError as error:
            if error.errno != errno.ENOENT or b"/" in argv[0]:
                refusal = str(error.strerror)
            if not is_worth_another_try(error):
                break
        except ValueError as error:  # e.g. an empty argv[0] or a name in the environment that Python does not take
            refusal = str(error)
            break
    raise TemporaryFailure(f"unable to run {argv[0]!a}: {refusal}")
