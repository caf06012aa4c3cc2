"""The contract of runners, for the one on descriptors: what each operation does, when it fails, what it leaves."""

import fcntl
import os
import resource
import socket
import struct
import threading
import time

import pytest

from checkpw.errors import TemporaryFailure
from checkpw.operations import (
    FROM_CHILD,
    LOG,
    NULL,
    TO_CHILD,
    Close,
    Kill,
    Receive,
    Send,
    Sleep,
    Spawn,
    Sync,
    TimedOut,
    Wait,
    Write,
)
from checkpw.runners import stdio
from checkpw.runners.stdio import StdioRunner

ENVIRON = {b"PATH": b"/usr/bin:/bin"}
SHORT = 0.2
PATIENCE = 20.0


def descriptors():
    """Give the descriptors that are open."""
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left():
    """See to it that no descriptor and no child outlives a test."""
    before = descriptors()
    yield
    assert descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def client():
    """Give the client's end of a socket, and a runner at the other end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, StdioRunner(theirs.fileno(), theirs.fileno())


def one(operation, runner=None):
    """Perform one operation."""

    def steps():
        return (yield operation)

    return (runner or StdioRunner()).run(steps())


def shell(script, *wiring, environ=ENVIRON):
    """Give the operation that starts a shell."""
    return Spawn([b"sh", b"-c", script.encode()], environ, wiring or ((NULL, (0, 1, 2)),))


def seconds(function):
    """Give what a function returns, and how long it took."""
    began = time.monotonic()
    outcome = function()
    return outcome, time.monotonic() - began


def lateness(function):
    """See a function run into a time limit, and give how long that took."""
    began = time.monotonic()
    with pytest.raises(TimedOut):
        function()
    return time.monotonic() - began


# --- the client


def test_receive(client):
    """What the client sent comes as it is there; its end is no bytes."""
    end, runner = client
    end.sendall(b"hello")
    assert one(Receive(PATIENCE), runner) == b"hello"
    end.shutdown(socket.SHUT_WR)
    assert one(Receive(PATIENCE), runner) == b""
    assert one(Receive(None), runner) == b""


def test_receive_is_late(client):
    """A client that says nothing runs into the time limit, at the yield and not before its time."""
    _, runner = client

    def steps():
        with pytest.raises(TimedOut):
            yield Receive(SHORT)
        return "went on"

    outcome, took = seconds(lambda: runner.run(steps()))
    assert outcome == "went on" and SHORT <= took < PATIENCE


def test_a_reset_is_the_end():
    """A connection that is reset is one that is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()
            assert one(Receive(PATIENCE), StdioRunner(theirs.fileno(), theirs.fileno())) == b""


def test_receive_from_nothing():
    """A descriptor that is closed is an OSError at the yield."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        one(Receive(PATIENCE), StdioRunner(reading, reading))


def test_send(client):
    """All of the data reaches the client, however slowly it reads."""
    end, runner = client
    data = os.urandom(500_000)
    heard = []

    def listen():
        while sum(map(len, heard)) < len(data):
            heard.append(end.recv(65536))

    listener = threading.Thread(target=listen)
    listener.start()
    one(Send(data, PATIENCE), runner)
    listener.join(PATIENCE)
    assert b"".join(heard) == data


def test_send_is_late(client):
    """A client that does not read runs into the time limit."""
    _, runner = client
    assert SHORT <= lateness(lambda: one(Send(b"x" * 5_000_000, SHORT), runner)) < PATIENCE


def test_send_to_nobody():
    """A client that is gone is an OSError, not a signal."""
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(BrokenPipeError):
        one(Send(b"hello", PATIENCE), StdioRunner(theirs.fileno(), theirs.fileno()))


# --- programs


def test_spawn_write_wait():
    """A program reads what is written to it, and what it writes and how it ends comes back."""

    def steps():
        wiring = ((TO_CHILD, (0,)), (FROM_CHILD, (1, 2)))
        child = yield shell("cat; echo from 2 >&2; exit 7", *wiring)
        assert set(child.ends) == {0, 1}
        yield Write(child.ends[0], b"from us\n", PATIENCE)
        yield Close(child.ends[0])
        assert set(child.ends) == {1}
        ended = yield Wait(child, PATIENCE, child.ends[1], 1000)
        assert child.ends == {}
        return ended.status, ended.output

    assert StdioRunner().run(steps()) == (7, b"from us\nfrom 2\n")


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9), ("kill $$", -15)])
def test_statuses(script, status):
    """Exit statuses are themselves, signals are negative."""

    def steps():
        child = yield shell(script)
        return (yield Wait(child, PATIENCE)).status

    assert StdioRunner().run(steps()) == status


def test_a_program_gets_nothing_else(tmp_path):
    """A program has just the descriptors of its wiring, its own process group, and our environment is not its own."""
    script = (
        "for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n; done >&8; ps -o pgid= -p $$ >&8; env >&8"
    )
    secret = os.open("/dev/null", os.O_RDONLY)  # not inheritable, like everything that Python opens

    def steps():
        environ = {**ENVIRON, b"ONLY": b"\xff this"}
        child = yield shell(script, (NULL, (0, 1)), (LOG, (2,)), (secret, (5,)), (FROM_CHILD, (8,)), environ=environ)
        ended = yield Wait(child, PATIENCE, child.ends[8], 10000)
        return child.pid, ended.output

    pid, said = StdioRunner().run(steps())
    os.close(secret)
    words = said.split(b"\n")
    assert words[:5] == [b"0", b"1", b"2", b"5", b"8"]
    assert int(words[5]) == pid
    given = {line for line in words[6:-1] if not line.startswith((b"PWD=", b"SHLVL=", b"_=", b"OLDPWD="))}
    assert given == {b"PATH=/usr/bin:/bin", b"ONLY=\xff this"}


def test_signals_of_a_program():
    """The signals that Python ignores are what they were for the program."""

    def steps():
        child = yield shell("grep SigIgn /proc/self/status", (FROM_CHILD, (1,)))
        return (yield Wait(child, PATIENCE, child.ends[1], 100)).output

    ignored = int(StdioRunner().run(steps()).split()[1], 16)
    assert not ignored & (1 << 12 | 1 << 24)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (b"/nonexistent/program", FileNotFoundError),
        (b"no-such-program-anywhere", FileNotFoundError),
        (b"/etc/passwd", PermissionError),
        (b"/etc", PermissionError),
        (b"", OSError),
    ],
)
def test_programs_that_cannot_be_started(name, error):
    """What cannot be started is an OSError at the yield, and leaves no pipe."""
    with pytest.raises(error):
        one(Spawn([name], ENVIRON, ((TO_CHILD, (0,)), (FROM_CHILD, (1,)))))


def test_a_text_is_no_program(tmp_path):
    """A file without `#!` is not handed to a shell."""
    path = tmp_path / "text"
    path.write_text("exit 0\n", encoding="ascii")
    path.chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        one(Spawn([os.fsencode(path)], ENVIRON, ()))
    with pytest.raises(OSError, match="Exec format error"):
        one(Spawn([b"text"], {b"PATH": os.fsencode(tmp_path) + b":/bin"}, ()))


def test_path_is_searched(tmp_path):
    """A directory of PATH in which the program may not be executed is passed over, and remembered for the error."""
    (tmp_path / "sh").write_text("no program", encoding="ascii")

    def steps(path):
        child = yield Spawn([b"sh", b"-c", b"exit 3"], {b"PATH": path}, ())
        return (yield Wait(child, PATIENCE)).status

    place = os.fsencode(tmp_path)
    assert StdioRunner().run(steps(b"/nonexistent:" + place + b":/bin")) == 3
    with pytest.raises(PermissionError):
        StdioRunner().run(steps(place + b":/nonexistent"))


def test_an_environment_that_cannot_be():
    """A name that Python does not take is an OSError like any other trouble with starting."""
    with pytest.raises(OSError, match=r".") as caught:
        one(Spawn([b"true"], {**ENVIRON, b"": b"x"}, ((TO_CHILD, (0,)),)))
    assert not isinstance(caught.value, ValueError)


def test_no_descriptor_for_a_pipe():
    """When descriptors run out in the middle of starting a program, those that were opened are closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wiring = ((TO_CHILD, (0,)), (FROM_CHILD, (1,)), (NULL, (2,)), (TO_CHILD, (3,)))
    highest = max(map(int, descriptors()))
    held = []
    while not held or max(held) < max(highest, 40):
        held.append(os.dup(2))  # so that there is no gap below the limit
    failed = 0
    before = descriptors()
    for room in range(1, 9):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1 + room, hard))
        try:
            one(Spawn([b"true"], ENVIRON, wiring))
        except OSError:
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert descriptors() == before, f"with room for {room}"
    for descriptor in held:
        os.close(descriptor)
    assert failed >= 4


def test_write_to_a_program_that_does_not_read():
    """A full pipe is waited for until the time is over; one that nobody reads any more is an OSError."""

    def steps(script):
        child = yield shell(script, (TO_CHILD, (0,)))
        yield Write(child.ends[0], b"x" * 5_000_000, SHORT if "sleep" in script else PATIENCE)

    assert SHORT <= lateness(lambda: StdioRunner().run(steps("exec sleep 60"))) < PATIENCE
    with pytest.raises(BrokenPipeError):
        StdioRunner().run(steps("exec <&-; exit 0"))


def test_write_waits_for_a_slow_reader():
    """What does not fit into the pipe waits for the reader, and all of it arrives."""

    def steps():
        child = yield shell("sleep 0.1; wc -c", (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
        yield Write(child.ends[0], b"x" * 3_000_000, PATIENCE)
        yield Close(child.ends[0])
        return (yield Wait(child, PATIENCE, child.ends[1], 100)).output

    assert int(StdioRunner().run(steps())) == 3_000_000


def test_wait_is_late():
    """A program that does not end in time is a TimedOut, which has what was said so far; the program runs on."""

    def steps():
        child = yield shell("echo said; exec sleep 60", (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        assert caught.value.output == b"said\n"
        os.kill(child.pid, 0)
        yield Kill(child)
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        assert child.ends == {}
        yield Kill(child)  # again, which is nothing

    StdioRunner().run(steps())


def test_wait_keeps_only_so_much():
    """A program may talk as much as it likes; only the first bytes are kept."""

    def steps():
        child = yield shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 4", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 10)
        return ended.status, ended.output

    assert StdioRunner().run(steps()) == (4, b"x" * 10)


def test_wait_for_a_program_with_offspring():
    """A grandchild that keeps the pipe open is not waited for, and what it says in time is heard."""

    def steps():
        child = yield shell("echo first; sleep 5 & exit 0", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, ended.output

    outcome, took = seconds(lambda: StdioRunner().run(steps()))
    assert outcome == (0, b"first\n") and took < 4


def test_wait_for_a_program_that_closes_its_end():
    """A program that closes what is listened to, and runs on, is waited for without turning in circles."""

    def steps():
        child = yield shell("echo bye; exec >&-; sleep 0.3; exit 5", (FROM_CHILD, (1,)))
        began = time.process_time()
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, ended.output, time.process_time() - began

    status, output, burnt = StdioRunner().run(steps())
    assert (status, output) == (5, b"bye\n") and burnt < 0.15


@pytest.mark.parametrize("missing", ["attribute", "error"])
def test_without_pidfd(monkeypatch, missing):
    """Where the kernel or Python has no pidfd, the same comes out."""

    def absent(pid):
        raise OSError(38, "Function not implemented")

    if missing == "attribute":
        monkeypatch.delattr(stdio.posix, "pidfd_open")
    else:
        monkeypatch.setattr(stdio.posix, "pidfd_open", absent)

    def steps():
        child = yield shell("echo out; sleep 0.1; exit 6", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        other = yield shell("exit 1")
        last = yield Wait(other, None)
        late = yield shell("exec sleep 60")
        with pytest.raises(TimedOut):
            yield Wait(late, SHORT)
        return ended.status, ended.output, last.status

    assert StdioRunner().run(steps()) == (6, b"out\n", 1)


def test_kill_takes_the_group():
    """Killing a program kills what it has started."""

    def steps():
        child = yield shell("sleep 60 & echo $!; wait", (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        yield Kill(child)
        return int(caught.value.output)

    grandchild = StdioRunner().run(steps())
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{grandchild}/status"):
        with open(f"/proc/{grandchild}/status", encoding="utf-8") as status:
            if "State:\tZ" in status.read():
                break  # dead; its new parent has not looked yet
        assert time.monotonic() < deadline


def test_kill_a_program_that_has_left_its_group():
    """A program that went into a session of its own is killed all the same."""

    def steps():
        child = yield Spawn([b"setsid", b"sleep", b"60"], ENVIRON, ())
        yield Kill(child)

    _, took = seconds(lambda: StdioRunner().run(steps()))
    assert took < 10


def test_a_child_out_of_reach(monkeypatch):
    """A program that may not be killed is not waited for, and nobody waits for ever."""
    real_kill, pids = os.kill, []

    def refuse(pid, number):
        raise PermissionError(1, "Operation not permitted")

    def steps():
        child = yield shell("exec sleep 60", (TO_CHILD, (0,)))
        pids.append(child.pid)
        yield Kill(child)
        assert child.ends == {}

    with monkeypatch.context() as patch:
        patch.setattr(stdio.posix, "kill", refuse)
        patch.setattr(stdio.posix, "killpg", refuse)
        StdioRunner().run(steps())
    real_kill(pids[0], 9)
    os.waitpid(pids[0], 0)


def test_pipes_are_out_of_the_way(monkeypatch):
    """The descriptors that a program gets do not write over each other, whatever numbers the pipes had."""
    monkeypatch.setattr(stdio, "FIRST_SAFE", 500)  # so that every one of them is moved

    def steps():
        child = yield shell(
            "cat <&5 >&6; cat <&6 2>/dev/null >&5", (TO_CHILD, (5,)), (FROM_CHILD, (6,)), (NULL, (0, 1, 2))
        )
        yield Write(child.ends[5], b"through", PATIENCE)
        yield Close(child.ends[5])
        return (yield Wait(child, PATIENCE, child.ends[6], 100)).output

    assert StdioRunner().run(steps()) == b"through"


@pytest.mark.parametrize("end", ["return", "raise", "close"])
def test_no_child_outlives_run(end):
    """However a generator ends, what it has started is killed."""
    pids = []

    def steps():
        for _ in range(2):
            child = yield shell("exec sleep 60", (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
            pids.append(child.pid)
        if end == "raise":
            raise ValueError("trouble")
        if end == "close":
            yield Sync(1_000_000)

    if end == "return":
        StdioRunner().run(steps())
    else:
        with pytest.raises(ValueError if end == "raise" else OSError, match=r"trouble|Bad"):
            StdioRunner().run(steps())
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_signal_comes_at_the_yield(monkeypatch):
    """What a signal handler raises in an operation is raised at the yield, and the generator may go on a little."""

    def interrupted(seconds):
        raise TemporaryFailure("ended by signal 15")

    monkeypatch.setattr(stdio.time, "sleep", interrupted)
    said = []

    def steps():
        try:
            yield Sleep(5)
        except TemporaryFailure:
            said.append("goodbye")
            child = yield shell("exit 0")
            yield Wait(child, PATIENCE)
            raise

    with pytest.raises(TemporaryFailure):
        StdioRunner().run(steps())
    assert said == ["goodbye"]


# --- time and disk


def test_sleep():
    """Time passes, and no time is no trouble."""
    _, took = seconds(lambda: one(Sleep(SHORT)))
    assert SHORT <= took < PATIENCE
    one(Sleep(0.0))


def test_sync(tmp_path):
    """A file is synced, a pipe cannot be, and that is an OSError at the yield."""
    with (tmp_path / "file").open("wb") as file:
        one(Sync(file.fileno()))
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        one(Sync(writing))
    os.close(reading)
    os.close(writing)


def test_long_times():
    """A time limit that poll cannot take in one is none the less one."""
    deadline = stdio.Deadline(10.0**9)
    assert deadline.milliseconds() == stdio.MAX_POLL
    assert stdio.Deadline(None).milliseconds() is None
    with pytest.raises(TimedOut):
        stdio.Deadline(0.0).milliseconds()


def test_pipes_are_wide():
    """The pipe to a program holds more than the usual 64 KiB, if the system lets us."""

    def steps():
        child = yield shell("cat", (TO_CHILD, (0,)), (NULL, (1,)))
        size = fcntl.fcntl(child.ends[0], fcntl.F_GETPIPE_SZ)
        yield Kill(child)
        return size

    assert StdioRunner().run(steps()) == stdio.PIPE_BYTES


def test_a_pipe_that_cannot_be_widened():
    """Where the system does not let us, the program starts all the same."""

    def steps():
        child = yield shell("cat >/dev/null; exit 2", (TO_CHILD, (0,)))
        yield Close(child.ends[0])
        return (yield Wait(child, PATIENCE)).status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "F_SETPIPE_SZ", 999_999)  # as if the system did not know it
        assert StdioRunner().run(steps()) == 2
