"""Starting a program under test in a process state that is dictated, and bringing it to an end.

Everything here is exact: descriptors, environment, signals and groups are those that were asked for and nothing of the
kit's own is inherited. Each program leads a session of its own, so that whatever it started can be killed with it.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from checkpw.conform.shell import quote_printf, recipe

__all__ = [
    "KitFailure",
    "Outcome",
    "Process",
    "State",
    "find_program",
    "nothing",
    "place_for_programs",
    "quote_printf",
    "recipe",
    "run",
    "signal_name",
    "start",
]

HIGHEST = 200
"""Descriptors of a program under test are below this number; the kit keeps its own copies above it."""

POLL = 0.001  # seconds between two looks where there is nothing to wait on

_LAUNCHER = """
import json, os, resource, signal, sys
given = json.loads(sys.argv[1])
if given["groups"] is not None:
    os.setgroups(given["groups"])
for name, pair in given["limits"].items():
    resource.setrlimit(getattr(resource, name), pair)
if given["umask"] is not None:
    os.umask(given["umask"])
if given["directory"] is not None:
    os.chdir(given["directory"])
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
for number in given["ignored"]:
    signal.signal(number, signal.SIG_IGN)
argv = [word.encode("latin-1") for word in given["argv"]]
os.execve(argv[0], argv, {n.encode("latin-1"): v.encode("latin-1") for n, v in given["environ"]})
"""


class KitFailure(Exception):
    """The kit itself could not do its work; it says nothing about the program under test."""


@dataclass(frozen=True, slots=True)
class State:
    """The state in which a process begins; what is not named here is the kit's own.

    Attributes:
        environ: the whole environment.
        descriptors: number in the process: open descriptor of ours. 0, 1 and 2 are closed when they are not named.
        ignored: signals that are ignored; every other one has its default action.
        blocked: the whole signal mask.
        groups: supplementary groups, as root only; None for the kit's own.
        umask: of files; None for the kit's own.
        limits: name of the resource module: (soft, hard).
        directory: to begin in; None for the kit's own.
    """

    environ: Mapping[bytes, bytes]
    descriptors: Mapping[int, int]
    ignored: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()
    groups: tuple[int, ...] | None = None
    umask: int | None = None
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    directory: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether posix_spawn(3) can bring it about; what it cannot takes a launcher in between."""
        return not self.ignored and not self.limits and (self.groups, self.umask, self.directory) == (None, None, None)


class Process:
    """A program that was started, to be used as a context manager: at its end nothing of it is left."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.leaves_others = False
        try:
            self._pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux, or older than 5.3
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def fileno(self) -> int:
        """Return what poll(2) finds readable once the process has ended, or -1 where there is no such thing."""
        return self._pidfd

    def signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def has_ended(self) -> bool:
        """Tell whether the process is over, without waiting and without an effect on what it left behind."""
        return self.has_ended_within(0)

    def has_ended_within(self, seconds: float) -> bool:
        """Wait for the end as long as that, in the same way; tell whether it came."""
        return self.status is not None or self._has_ended_within(seconds)

    def wait(self, seconds: float) -> int | None:
        """Wait for the end, and kill what the program left behind in its session.

        Returns:
            The exit status, a negative signal number, or None if it still runs after so many seconds.
        """
        if self.status is None and self._has_ended_within(seconds):
            self._collect()
        return self.status

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        if self.status is None:
            self._kill_group()
            self.signal(signal.SIGKILL)
            self._collect()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _has_ended_within(self, seconds: float) -> bool:
        if self._pidfd >= 0:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        deadline = time.monotonic() + seconds
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)
        return True

    def _collect(self) -> None:
        if not self.leaves_others:
            self._kill_group()  # as long as the leader is not collected, its number cannot be somebody else's
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of a program ended.

    Attributes:
        status: exit status, a negative signal number, or None for one that had to be killed after its time.
        stdout: all that it wrote there.
        stderr: all that it wrote there.
        seconds: from the end of what it was given to its own end.
        pid: its number.
    """

    status: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    pid: int

    @property
    def words(self) -> str:
        """Say how it ended."""
        if self.status is None:
            return "no end within the time limit"
        if self.status < 0:
            return f"killed by {signal_name(-self.status)}"
        return f"exit {self.status}"


def signal_name(number: int) -> str:
    """Return the usual name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def nothing() -> int:
    """Return a descriptor from which nothing can be read, and to which anything can be written.

    It takes the place of /dev/null, which is everybody's: there are programs that change owner and mode of what they
    have as descriptor 0, and as root they can (checkpassword.login of fgetty does, for it is meant for terminals).
    """
    return os.memfd_create("checkpw-conform-nothing")


def find_program(name: str | bytes, environ: Mapping[bytes, bytes]) -> bytes:
    """Return the path of a program as a shell would find it.

    Args:
        name: with a slash a path, otherwise looked up in PATH.
        environ: whose PATH counts.

    Raises:
        KitFailure: there is no such program.
    """
    path = os.fsdecode(environ.get(b"PATH", os.fsencode(os.defpath)))
    found = shutil.which(os.fsdecode(name), path=path)
    if found is None:
        raise KitFailure(f"{os.fsdecode(name)}: no such program")
    return os.fsencode(found)


def place_for_programs() -> str:
    """Return a directory for temporary files whose file system lets programs be executed; /tmp where that will do.

    $TMPDIR comes last: it may be closed to the users whom a program under test becomes.

    Raises:
        KitFailure: there is none.
    """
    places = ("/tmp", "/var/tmp", tempfile.gettempdir())  # noqa: S108  mkdtemp(3) makes a private one there
    for place in places:
        with contextlib.suppress(OSError):
            if not os.statvfs(place).f_flag & os.ST_NOEXEC and os.access(place, os.W_OK | os.X_OK):
                return place
    raise KitFailure(f"no program can be executed in {', '.join(dict.fromkeys(places))}: set TMPDIR")


def start(argv: Sequence[bytes], state: State) -> Process:
    """Start a program, found by a path and not by PATH, in a new session and without core files.

    Args:
        argv: the path of the program, and its arguments.
        state: in which it begins.

    Raises:
        KitFailure: it could not be started.
    """
    environ = dict(state.environ)
    if not state.is_plain:
        argv, environ = _launched(argv, state), {}
    held = {number: _copy_above(source) for number, source in state.descriptors.items()}
    actions: list[tuple[int, int] | tuple[int, int, int]] = []
    actions += [(os.POSIX_SPAWN_DUP2, source, number) for number, source in held.items()]
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in range(3) if number not in held]
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in _inheritable() if number not in held]
    try:
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            environ,
            file_actions=actions,
            setsid=True,
            setsigmask=sorted(state.blocked),
            setsigdef=sorted(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}),
        )
    except OSError as error:
        raise KitFailure(f"unable to start {os.fsdecode(argv[0])}: {error.strerror}") from None
    finally:
        for source in held.values():
            os.close(source)
    # A password is in its memory. Where it has become somebody else already, that is not allowed to us any more.
    with contextlib.suppress(OSError, ValueError):
        if "RLIMIT_CORE" not in state.limits:
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    return Process(pid)


def _copy_above(descriptor: int) -> int:
    """Duplicate a descriptor to a number that no program under test is given."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGHEST)


def _inheritable() -> list[int]:
    """Name what we ourselves were started with above 2, and would hand on."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if number > 2 and os.get_inheritable(number):
                found.append(number)
    return found


def _launched(argv: Sequence[bytes], state: State) -> list[bytes]:
    """Return the words that bring about what posix_spawn(3) cannot, and then execute the program."""
    given = {
        "argv": [word.decode("latin-1") for word in argv],
        "environ": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in state.environ.items()],
        "ignored": sorted(state.ignored),
        "groups": state.groups,
        "umask": state.umask,
        "limits": dict(state.limits),
        "directory": state.directory,
    }
    return [os.fsencode(sys.executable), b"-I", b"-S", b"-c", _LAUNCHER.encode(), json.dumps(given).encode()]


def run(
    argv: Sequence[bytes],
    state: State,
    *,
    feed: Callable[[Process], None] | None = None,
    patience: float = 20.0,
    leaves_others: bool = False,
) -> Outcome:
    """Run a program to its end with its output captured; 1 and 2 are files unless the state says otherwise.

    Args:
        argv: the path of the program, and its arguments.
        state: in which it begins. Of its descriptors, 1 and 2 are added unless they are there as -1, which is closed.
        feed: called with the running process, to give it what it is to be given.
        patience: seconds after which it is killed.
        leaves_others: does not kill what it leaves behind: it is meant to start something that stays.
    """
    with contextlib.ExitStack() as stack:
        descriptors = dict(state.descriptors)
        for number in (1, 2):
            if number not in descriptors:
                descriptors[number] = os.memfd_create(f"checkpw-conform-{number}")
                stack.callback(os.close, descriptors[number])
        captured = {number: descriptors[number] for number in (1, 2) if number not in state.descriptors}
        wanted = {number: source for number, source in descriptors.items() if source >= 0}
        process = stack.enter_context(start(argv, _with(state, wanted)))
        process.leaves_others = leaves_others
        if feed is not None:
            feed(process)
        began = time.perf_counter()
        status = process.wait(patience)
        seconds = time.perf_counter() - began
        process.kill()
        said = {number: os.pread(source, 1 << 20, 0) for number, source in captured.items()}
        return Outcome(status, said.get(1, b""), said.get(2, b""), seconds, process.pid)


def _with(state: State, descriptors: Mapping[int, int]) -> State:
    return dataclasses.replace(state, descriptors=descriptors)
