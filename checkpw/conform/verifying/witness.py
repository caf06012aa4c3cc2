"""Looking at the program that runs after a yes, by what the kernel says of it.

It is a copy of sleep(1) that is looked at from outside: a witness that looked at itself would first have to start, and
a start of Python or of a shell changes what is to be seen. What it should have is what the same program has that was
started directly in the same state.
"""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from checkpw.conform.model import NotJudged
from checkpw.conform.process import Process, State, nothing, signal_name, start
from checkpw.conform.shell import ByHand
from checkpw.conform.verifying.feeding import give
from checkpw.conform.verifying.target import Verifier

OF_GLIBC = 1 << 31 | 1 << 32
"""Signals 32 and 33: posix_spawn(3) of glibc ignores them in what it starts, and no program can see them."""

POLL = 0.001  # seconds

UNSEEN = "PROG runs as another user, and this one may not look at it: that takes CAP_SYS_PTRACE, which containers lack"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel says of a process.

    Attributes:
        pid: its number.
        argv: its arguments, from the zeroth on.
        environ: its environment, NAME=VALUE, in order.
        descriptors: number: what it is, with device and inode, and the flags with which it is open.
        status: the lines of /proc/PID/status.
        limits: the lines of /proc/PID/limits.
        directory: where it is.
        group: its process group and its session.
        children: processes that it has started, so far as anybody knows.
        began: the number of the process that was started to be it.
        company: other processes of the session of that one.
    """

    pid: int
    argv: tuple[bytes, ...]
    environ: tuple[bytes, ...]
    descriptors: Mapping[int, tuple[str, str]]
    status: Mapping[str, str]
    limits: tuple[str, ...]
    directory: bytes
    group: tuple[int, int]
    children: frozenset[int]
    began: int = 0
    company: frozenset[int] = frozenset()

    def signals(self, name: str) -> frozenset[int]:
        """Return a set of signals: SigIgn, SigBlk or SigCgt."""
        bits = int(self.status[name], 16) & ~OF_GLIBC
        return frozenset(number for number in range(1, 65) if bits >> (number - 1) & 1)

    def variable(self, name: bytes) -> bytes | None:
        """Return the value of a variable, None for one that is not there."""
        return next((entry[len(name) + 1 :] for entry in self.environ if entry.startswith(name + b"=")), None)

    def ids(self, name: str) -> tuple[int, ...]:
        """Return the numbers of Uid, Gid or Groups."""
        return tuple(int(word) for word in self.status[name].split())


def names_of(signals: frozenset[int]) -> str:
    """Name signals, for people."""
    return " ".join(signal_name(number) for number in sorted(signals)) or "none"


def look_at(pid: int) -> Seen:
    """Read what the kernel says of a process."""
    place = f"/proc/{pid}"
    status = dict(line.split(":", 1) for line in _read(f"{place}/status").decode("latin-1").splitlines())
    stat = _read(f"{place}/stat").rpartition(b")")[2].split()
    descriptors = {}
    for number in os.listdir(f"{place}/fd"):
        info = dict(
            line.split(":", 1) for line in _read(f"{place}/fdinfo/{number}").decode().splitlines() if ":" in line
        )
        what = os.stat(f"{place}/fd/{number}")
        name = f"{os.readlink(f'{place}/fd/{number}')} ({what.st_dev}, {what.st_ino})"
        descriptors[int(number)] = (name, info["flags"].strip())
    return Seen(
        pid=pid,
        argv=tuple(_read(f"{place}/cmdline").split(b"\0")[:-1]),
        environ=tuple(_read(f"{place}/environ").split(b"\0")[:-1]),
        descriptors=descriptors,
        status={name: value.strip() for name, value in status.items()},
        limits=tuple(_read(f"{place}/limits").decode().splitlines()),
        directory=os.readlink(os.fsencode(f"{place}/cwd")),
        group=(int(stat[2]), int(stat[3])),
        children=frozenset(map(int, _read(f"{place}/task/{pid}/children").split())),
    )


def directly(target: Verifier, state: State, files: Mapping[int, int]) -> Seen:
    """Start the witness itself in a state, and look at it."""
    given = _state(state, {number: source for number, source in files.items() if number != 3})
    with start([target.stayer, target.STAYS], given) as process:
        return look_at(_wait_for(target, process, is_alone=True))


def behind(target: Verifier, state: State, record: bytes | None = None) -> tuple[Seen, Seen]:
    """Have the program under test run the witness, and look at both it and one that was started directly.

    Args:
        target: the program under test.
        state: in which it begins; of its descriptors, 0, 1 and 2 are added unless they are there as -1, closed.
        record: other than that of the first account.

    Returns:
        What there is, and what there should be.

    Raises:
        Violation: the witness was not run.
        NotJudged: it cannot be looked at.
    """
    record = target.account.record if record is None else record
    prog = (target.stayer, target.STAYS)
    with contextlib.ExitStack() as stack:
        files = dict(state.descriptors)
        for number in (0, 1, 2):
            if number not in files:
                files[number] = nothing()
                stack.callback(os.close, files[number])
        open_files = {number: source for number, source in files.items() if source >= 0}
        given = directly(target, state, open_files)  # first: what is changed in a file would show in both
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        process = stack.enter_context(target.begin(prog, _state(state, {**open_files, 3: reading})))
        give(writing, [record], process, time.monotonic() + target.patience)
        os.close(writing)
        pid = _wait_for(target, process)
        if pid == 0:
            words = "no PROG within the time limit"
            if process.has_ended():
                status = process.wait(0) or 0
                words = f"exit {status}" if status >= 0 else f"killed by {signal_name(-status)}"
            raise target.violation("yes, and PROG runs", words, record, (b"/bin/sleep", b"1"), by_hand=by_hand(state))
        if pid != process.pid:
            stack.callback(_kill, pid)
        try:
            company = frozenset(session_of(process.pid)) - {pid}
            seen = dataclasses.replace(look_at(pid), began=process.pid, company=company)
        except PermissionError:
            raise NotJudged(UNSEEN) from None
        return seen, given


def by_hand(state: State) -> ByHand:
    """Return what a shell line needs to begin in a state, as far as commands do that."""
    fronts = []
    if state.groups:
        fronts.append("setpriv --groups " + ",".join(map(str, state.groups)))
    for word, numbers in (("ignore", state.ignored), ("block", state.blocked)):
        if numbers:
            names = ",".join(signal_name(number).removeprefix("SIG") for number in sorted(numbers))
            fronts.append(f"env --{word}-signal={names}")
    opened = [f"{n}</dev/null" for n, source in sorted(state.descriptors.items()) if 3 < n < 10 and source >= 0]
    closed = [f"{n}<&-" for n, source in sorted(state.descriptors.items()) if source < 0]
    redirect = " ".join(["3<&0", *opened, *closed]) if opened or closed else ""  # shells take one digit only
    return ByHand(front=" ".join(fronts), redirect=redirect)


def _state(state: State, descriptors: Mapping[int, int]) -> State:
    return State(
        state.environ,
        descriptors,
        state.ignored,
        state.blocked,
        state.groups,
        state.umask,
        state.limits,
        state.directory,
    )


def _wait_for(target: Verifier, process: Process, *, is_alone: bool = False) -> int:
    """Wait until the witness runs, as this process or (unless it `is_alone`) as another one; return its number or 0."""
    deadline = time.monotonic() + target.patience
    looks = 0
    while time.monotonic() < deadline:
        is_over = process.has_ended()
        if not is_over and _is_settled(target, process.pid):
            return process.pid
        looks += 1
        if is_over or (looks % 20 == 0 and not is_alone):
            for name in os.listdir("/proc"):
                if name.isdigit() and _is_settled(target, int(name)):
                    return int(name)
            if is_over:
                return 0
        time.sleep(POLL)
    return 0


def _is_settled(target: Verifier, pid: int) -> bool:
    """Tell whether a process is the witness, and has begun to sleep: while it is loaded it has libraries open."""
    try:
        if os.readlink(os.fsencode(f"/proc/{pid}/exe")) != target.stayer:
            return False
        return state_of(pid) == b"S"
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        with contextlib.suppress(OSError):
            if _read(f"/proc/{pid}/cmdline").startswith(target.stayer + b"\0"):
                raise NotJudged(UNSEEN) from None
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> bytes:
    """Return the letter of the state of a process, b"" for one that is gone."""
    try:
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0]
    except OSError:
        return b""


def session_of(leader: int) -> Iterator[int]:
    """Yield the processes of a session, but for its leader."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != leader:
            with contextlib.suppress(OSError, IndexError):
                if int(_read(f"/proc/{name}/stat").rpartition(b")")[2].split()[3]) == leader:
                    yield int(name)


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it, as far as they still run."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            found += [int(word) for word in _read(f"/proc/{one}/task/{one}/children").split()]
    return found


def shows(pid: int, secret: bytes, given: frozenset[bytes]) -> str:
    """Say where a process shows a secret to others, "" for nowhere.

    Args:
        pid: the process.
        secret: what to look for.
        given: words and variables that it was started with, which do not count.
    """
    places: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
        ("cmdline", lambda entry: entry not in given),
        ("environ", lambda entry: entry not in given),
        ("comm", lambda _: True),
    )
    for place, counts in places:
        with contextlib.suppress(OSError):
            for entry in _read(f"/proc/{pid}/{place}").split(b"\0"):
                if secret in entry and counts(entry):
                    return place
    return ""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def every_signal_that_can_be_ignored() -> tuple[int, ...]:
    """Return the signals of POSIX that a caller may have ignored or blocked."""
    fixed = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD}
    faults = {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
    return tuple(sorted(one for one in signal.Signals if one not in fixed | faults and one < 32))
