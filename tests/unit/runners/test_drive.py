"""Drives and what the loop performs for them: each operation ends once, whatever comes at the same moment."""

import asyncio
import os
import socket
import time

import pytest
from resident_runner import LOOPS, ResidentRunner

from checkpw.errors import TemporaryFailure
from checkpw.operations import (
    FROM_CHILD,
    NULL,
    TO_CHILD,
    Close,
    Connect,
    Kill,
    Receive,
    Sleep,
    Spawn,
    Sync,
    TimedOut,
    Wait,
    Write,
)
from checkpw.runners import dialling, spawning

ENVIRON = {b"PATH": b"/usr/bin:/bin"}
PATIENCE = 20.0
SIGNAL = TemporaryFailure("the server goes down")


@pytest.fixture(params=LOOPS)
def on_loop(request, nothing_is_left):
    """Give a runner on each kind of loop."""
    with ResidentRunner(new_loop=LOOPS[request.param]) as made:
        yield made


def shell(script, *wiring):
    """Give the operation that starts a shell."""
    return Spawn([b"sh", b"-c", script.encode()], ENVIRON, wiring or ((NULL, (0, 1, 2)),))


class Story:
    """Drives steps, and notes how often and how they ended."""

    def __init__(self, runner, steps):
        self.ends = []
        self.drive = runner.start(steps, lambda result, failure: self.ends.append((result, failure)))


def full_pipe():
    """Write more than anybody reads."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        yield Write(writing, b"x" * 5_000_000, PATIENCE)
    finally:
        os.close(reading)
        os.close(writing)


def empty_pipe():
    """Read what nobody writes."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        yield Receive(PATIENCE, reading)
    finally:
        os.close(reading)
        os.close(writing)


def busy_server(place):
    """Connect to somebody who does not accept."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsencode(place / "socket"))
        listener.listen(0)
        held = []
        try:
            while True:
                held.append((yield Connect(os.fsencode(place / "socket"), 0, PATIENCE)))
        finally:
            for descriptor in held:
                os.close(descriptor)


def program(pids):
    """Wait for a program."""
    child = yield shell("sleep 0.2", (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
    pids.append(child.pid)
    try:
        yield Wait(child, PATIENCE, child.ends[1], 10)
    finally:
        yield Kill(child)


def killed_program(pids):
    """Kill a program."""
    child = yield shell("sleep 60", (TO_CHILD, (0,)))
    pids.append(child.pid)
    yield Kill(child)
    yield Sleep(PATIENCE)


def disk(place):
    """Have something on disk."""
    with open(place / "file", "wb") as file:
        yield Sync(file.fileno())
        yield Sleep(PATIENCE)


def time_passes():
    """Wait for nothing."""
    yield Sleep(PATIENCE)


KINDS = {
    "Write": lambda place, pids: full_pipe(),
    "Receive": lambda place, pids: empty_pipe(),
    "Connect": lambda place, pids: busy_server(place),
    "Wait": lambda place, pids: program(pids),
    "Kill": lambda place, pids: killed_program(pids),
    "Sync": lambda place, pids: disk(place),
    "Sleep": lambda place, pids: time_passes(),
}


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption(on_loop, tmp_path, kind, turns):
    """Whatever is waited for, the interruption comes at the yield, at once and once; nothing comes later."""
    pids = []
    story = Story(on_loop, KINDS[kind](tmp_path, pids))
    for _ in range(turns):
        on_loop.turn(lambda: True)
    story.drive.interrupt(SIGNAL)
    on_loop.turn(lambda: story.ends)
    for _ in range(20):
        on_loop.turn(lambda: True)
    assert story.ends == [(None, SIGNAL)]
    story.drive.interrupt(SIGNAL)  # it has ended
    assert len(story.ends) == 1
    on_loop.turn(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    for _ in range(20):
        on_loop.turn(lambda: True)
    assert len(story.ends) == 1


def test_a_connection_that_is_made_when_it_is_too_late(on_loop, monkeypatch):
    """Nobody gets it: it is closed, and the generator goes on once."""
    ours, theirs = socket.socketpair()

    async def connect(loop, host, port, seconds):
        del loop, host, port, seconds
        return theirs.detach()

    monkeypatch.setattr(dialling, "connect", connect)

    def steps():
        try:
            yield Connect(b"host", 25, PATIENCE)
        except TemporaryFailure:
            yield Sleep(0.05)
            return "went on"

    story = Story(on_loop, steps())
    # In the turn in which the task ends, and before anybody is told.
    on_loop.loop.call_soon(lambda: story.drive.interrupt(SIGNAL))
    on_loop.turn(lambda: story.ends)
    assert story.ends == [("went on", None)]
    ours.settimeout(PATIENCE)
    assert ours.recv(1) == b""
    ours.close()


def test_each_address_of_a_host_has_its_share(on_loop, monkeypatch):
    """An address that does not answer leaves time for the next; if none does, the last failure is told."""
    tried = []

    async def getaddrinfo(host, port, *, type):  # noqa: A002  the loop's own name for it
        return [(socket.AF_INET, type, 6, "", each) for each in addresses]

    async def connect_to(loop, family, address):
        tried.append((address, loop.time()))
        if address == "silent":
            await asyncio.sleep(PATIENCE)
        if address == "closed":
            raise ConnectionRefusedError(111, "Connection refused")
        return os.open("/dev/null", os.O_RDONLY)

    class Loop:
        """The loop, but for the lookup of names."""

        time = on_loop.loop.time

    loop = Loop()
    loop.getaddrinfo = getaddrinfo
    monkeypatch.setattr(dialling, "_connect_to", connect_to)

    def connect():
        return on_loop.loop.run_until_complete(dialling.connect(loop, b"host", 25, 1.5))

    addresses = ["silent", "closed", "good"]
    os.close(connect())
    assert [address for address, _ in tried] == addresses
    assert tried[1][1] - tried[0][1] >= 0.49, "and no more, or nothing would have been left for the others"
    addresses = ["silent", "closed"]
    with pytest.raises(ConnectionRefusedError):
        connect()
    addresses = ["closed", "silent"]
    with pytest.raises(TimedOut):
        connect()


def test_a_child_that_somebody_else_has_collected(on_loop):
    """Waiting for it is an OSError at the yield, and not waiting for ever; its pipes are closed."""

    def steps():
        child = yield shell("exit 0", (TO_CHILD, (0,)))
        os.waitpid(child.pid, 0)
        with pytest.raises(ChildProcessError):
            yield Wait(child, None)
        assert child.ends == {}
        yield Kill(child)
        return "went on"

    assert on_loop.run(steps()) == "went on"


def test_a_number_that_is_used_again(on_loop, monkeypatch):
    """Killing a child that has ended does not kill another that has its number now."""

    def steps():
        first = yield shell("exit 0")
        yield Wait(first, PATIENCE)
        second = yield shell("sleep 0.1; exit 3")
        first.pid = second.pid
        yield Kill(first)
        return (yield Wait(second, PATIENCE)).status

    assert on_loop.run(steps()) == 3


def test_a_child_out_of_reach(on_loop, monkeypatch):
    """A program that may not be killed is not waited for; it is collected when it ends."""

    def refuse(pid, number):
        raise PermissionError(1, "Operation not permitted")

    def steps():
        child = yield shell("sleep 0.1", (TO_CHILD, (0,)))
        with monkeypatch.context() as patch:
            patch.setattr(spawning.posix, "kill", refuse)
            patch.setattr(spawning.posix, "killpg", refuse)
            yield Kill(child)
        assert child.ends == {}
        yield Sleep(0.0)
        return child.pid

    pid = on_loop.run(steps())
    on_loop.turn(lambda: not os.path.exists(f"/proc/{pid}"))


def test_no_forking(on_loop):
    """A child of ours in place of a program is an OSError at the yield: a process of many sessions has none."""

    def steps():
        with pytest.raises(OSError, match="fork"):
            yield Spawn([b"true"], ENVIRON, ((TO_CHILD, (0,)),), lambda: 0)
        return "went on"

    assert on_loop.run(steps()) == "went on"


def test_what_cannot_be_waited_for(on_loop):
    """A descriptor that is none is an OSError at the yield, and no time limit comes afterwards."""
    none = 1_000_000

    def steps():
        for operation in (Receive(0.02, none), Write(none, b"x", 0.02), Close(none), Sync(none)):
            with pytest.raises(OSError, match="Bad file descriptor"):
                yield operation
        yield Sleep(0.05)
        return "went on"

    assert on_loop.run(steps()) == "went on"


def test_a_fault_of_ours(on_loop):
    """A generator that fails, or asks for what there is not, ends once, is closed, and the loop is told."""
    closed = []

    def asks():
        try:
            yield "nonsense"
        finally:
            closed.append(True)

    def fails():
        yield Sleep(0.0)
        raise ZeroDivisionError

    for steps, kind in ((asks(), KeyError), (fails(), ZeroDivisionError)):
        ends = []
        on_loop.loop.call_soon(on_loop.start, steps, lambda _result, failure, ends=ends: ends.append(failure))
        with pytest.raises(kind):
            on_loop.turn(lambda ends=ends: ends and on_loop._faults)
        assert [type(failure) for failure in ends] == [kind]
        on_loop._faults.clear()
    assert closed == [True]


def test_many_at_once(on_loop):
    """A hundred programs run at once, and take no longer than one."""
    began = time.monotonic()

    def steps(number):
        child = yield shell(f"sleep 0.3; echo {number}; exit {number}", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, int(ended.output)

    stories = [Story(on_loop, steps(number)) for number in range(50)]
    assert on_loop.descriptors.running == 50
    on_loop.turn(lambda: all(story.ends for story in stories))
    assert [story.ends for story in stories] == [[((number, number), None)] for number in range(50)]
    assert time.monotonic() - began < 10 and on_loop.descriptors.running == 0
