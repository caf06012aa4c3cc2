"""Children of ours in place of programs."""

import fcntl
import os
import signal
import time

import pytest
from running import ENVIRON, PATIENCE, SHORT, one

from checkpw.cli import exits
from checkpw.errors import Misuse, Rejected, TemporaryFailure
from checkpw.operations import FROM_CHILD, LOG, NULL, TO_CHILD, Close, Kill, Spawn, TimedOut, Wait, Write
from checkpw.runners.stdio import StdioRunner


def leave(function):
    """End a forked child as the programs do."""
    exits.run("forked", lambda argv, environ: function())


def forking():
    """Give a runner that can fork."""
    return StdioRunner(leave=leave)


def instead(function, *wiring):
    """Give the operation that forks."""
    return Spawn([b"program"], ENVIRON, wiring or ((NULL, (0, 1, 2)),), function)


def test_a_forked_child_reads_and_writes():
    """The wiring of a forked child is that of a program, and so are its end and what it says."""

    def work():
        os.write(1, os.read(0, 100) + os.read(0, 100))
        os.write(2, b"from 2")
        return 7

    def steps():
        child = yield instead(work, (TO_CHILD, (0,)), (FROM_CHILD, (1, 2)))
        assert set(child.ends) == {0, 1}
        yield Write(child.ends[0], b"from us\n", PATIENCE)
        yield Close(child.ends[0])
        ended = yield Wait(child, PATIENCE, child.ends[1], 1000)
        assert child.ends == {}
        return ended.status, ended.output

    assert forking().run(steps()) == (7, b"from us\nfrom 2")


def look_around():
    """Say what this process has: descriptors, process group, signals; a line each."""
    words = []
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            kind = os.readlink(f"/proc/self/fd/{number}")
            words.append(f"{number}={'pipe' if kind.startswith('pipe:') else kind}")
        except OSError:
            continue
    with open("/proc/self/status", encoding="ascii") as status:
        words += [line.strip().replace("\t", "") for line in status if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    words.append(str(os.getpgrp() == os.getpid()))
    return "\n".join(words)


def test_a_forked_child_gets_nothing_else(tmp_path):
    """Its descriptors are those of its wiring, also where ours are inheritable; it has its own process group.

    No signal is blocked, and none has a handler of ours: only what Python's start-up ignores is ignored.
    """
    (tmp_path / "file").touch()
    kept = os.open(tmp_path / "file", os.O_RDONLY)
    os.set_inheritable(kept, True)  # noqa: FBT003  it takes no keyword
    high = fcntl.fcntl(kept, fcntl.F_DUPFD, 300)
    given = os.open(tmp_path / "file", os.O_RDONLY)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGUSR1, signal.SIGWINCH)}
    masks = {signal.SIGUSR2}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, masks)

    def work():
        os.write(8, look_around().encode())
        return 0

    def steps():
        child = yield instead(work, (NULL, (0, 1)), (LOG, (2,)), (given, (5,)), (FROM_CHILD, (8,)))
        ended = yield Wait(child, PATIENCE, child.ends[8], 10000)
        return ended.output.decode().splitlines()

    try:
        words = forking().run(steps())
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | masks
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for descriptor in (kept, high, given):
            os.close(descriptor)
    log = os.readlink("/proc/self/fd/2")
    log = "pipe" if log.startswith("pipe:") else log
    assert words[:5] == ["0=/dev/null", "1=/dev/null", f"2={log}", f"5={tmp_path / 'file'}", "8=pipe"]
    blocked, ignored, caught = (int(word.partition(":")[2], 16) for word in words[5:8])
    assert words[8:] == ["True"]
    assert blocked == 1 << (signal.SIGUSR2 - 1)  # as posix_spawn: a mask is handed on
    assert ignored & (1 << (signal.SIGPIPE - 1))
    assert not caught & (1 << (signal.SIGUSR1 - 1) | 1 << (signal.SIGWINCH - 1))


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (0, 0, b""),
        (255, 255, b""),
        (Rejected("no"), 1, b""),
        (Misuse("odd"), 2, b"forked: odd\n"),
        (TemporaryFailure("down"), 111, b"forked: down\n"),
        (ValueError("secret"), 111, b"forked: unexpected trouble: ValueError at "),
        (SystemExit(0), 111, b"forked: unexpected trouble: SystemExit at "),
        (KeyboardInterrupt(), 111, b"forked: unexpected trouble: KeyboardInterrupt at "),
    ],
)
def test_how_a_forked_child_ends(outcome, status, said):
    """Each exception has its status and at most one line, without a value; nothing of the parent's goes on."""

    def work():
        if isinstance(outcome, int):
            return outcome
        raise outcome

    def steps():
        child = yield instead(work, (NULL, (0, 1)), (FROM_CHILD, (2,)))
        try:
            return (yield Wait(child, PATIENCE, child.ends[2], 1000))
        finally:
            os.write(1, b"")  # in a child that went on, this would be a second time

    ended = forking().run(steps())
    assert ended.status == status
    assert ended.output.startswith(said) and ended.output.count(b"\n") == bool(said)
    assert b"secret" not in ended.output


def test_a_forked_child_never_is_us():
    """Even where what is to end it returns or raises, it does not go on in our place."""

    def steps():
        child = yield instead(lambda: 0)
        return (yield Wait(child, PATIENCE)).status

    def trouble(function):
        raise ValueError

    us = os.getpid()
    for end in (lambda function: None, trouble):
        status = StdioRunner(leave=end).run(steps())
        assert os.getpid() == us
        assert status == -signal.SIGKILL


def test_a_forked_child_is_killed():
    """Past its time it is killed like a program, with its output so far."""

    def work():
        os.write(1, b"so far")
        time.sleep(60)
        return 0

    def steps():
        child = yield instead(work, (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        assert caught.value.output == b"so far"
        yield Kill(child)
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        other = yield instead(work)
        return other.pid  # still running

    pid = forking().run(steps())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGINT])
def test_a_forked_child_and_signals(number):
    """A signal to it ends it as it would a program of ours, and does not reach us."""

    def work():
        os.write(1, b"ready")
        time.sleep(60)
        return 0

    def steps():
        child = yield instead(work, (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut):
            yield Wait(child, SHORT, child.ends[1], 100)
        os.kill(child.pid, number)
        return (yield Wait(child, PATIENCE)).status

    assert forking().run(steps()) == -number


def test_nothing_to_fork_with(monkeypatch):
    """Where there can be no child, that is an OSError at the yield, and no pipe is left."""
    operation = instead(lambda: 0, (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
    with pytest.raises(OSError, match="forked"):
        one(operation, StdioRunner())

    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr("posix.fork", fork)
    with pytest.raises(OSError, match="unavailable"):
        one(operation, forking())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_without_proc(monkeypatch):
    """Where there is no /proc to list, the descriptors below the usual limit are closed all the same."""
    listdir = os.listdir

    def absent(path):
        raise FileNotFoundError

    def work():
        monkeypatch.setattr("posix.listdir", listdir)
        os.write(8, " ".join(name for name in listdir("/proc/self/fd")).encode())
        return 0

    def steps():
        child = yield instead(work, (NULL, (0, 1, 2)), (FROM_CHILD, (8,)))
        return (yield Wait(child, PATIENCE, child.ends[8], 1000)).output

    monkeypatch.setattr("posix.listdir", absent)
    # 3 is that of the listing.
    assert sorted(forking().run(steps()).split()) == [b"0", b"1", b"2", b"3", b"8"]
