"""Programs that are started, fed, waited for and killed."""

import os
import time

import pytest
from running import ENVIRON, NOT_BEFORE, PATIENCE, SHORT, descriptors, lateness, one, room, seconds, shell

from checkpw.errors import TemporaryFailure
from checkpw.operations import FROM_CHILD, LOG, NULL, TO_CHILD, Close, Kill, Sleep, Spawn, Sync, TimedOut, Wait, Write
from checkpw.runners import spawning, stdio
from checkpw.runners.stdio import StdioRunner


def test_spawn_write_wait(make):
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

    assert make().run(steps()) == (7, b"from us\nfrom 2\n")


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9), ("kill $$", -15)])
def test_statuses(make, script, status):
    """Exit statuses are themselves, signals are negative."""

    def steps():
        child = yield shell(script)
        return (yield Wait(child, PATIENCE)).status

    assert make().run(steps()) == status


def test_a_program_gets_nothing_else(make, tmp_path):
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

    pid, said = make().run(steps())
    os.close(secret)
    words = said.split(b"\n")
    assert words[:5] == [b"0", b"1", b"2", b"5", b"8"]
    assert int(words[5]) == pid
    given = {line for line in words[6:-1] if not line.startswith((b"PWD=", b"SHLVL=", b"_=", b"OLDPWD="))}
    assert given == {b"PATH=/usr/bin:/bin", b"ONLY=\xff this"}


def test_signals_of_a_program(make):
    """The signals that Python ignores are what they were for the program."""

    def steps():
        child = yield shell("grep SigIgn /proc/self/status", (FROM_CHILD, (1,)))
        return (yield Wait(child, PATIENCE, child.ends[1], 100)).output

    ignored = int(make().run(steps()).split()[1], 16)
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
def test_programs_that_cannot_be_started(make, name, error):
    """What cannot be started is an OSError at the yield, and leaves no pipe."""
    with pytest.raises(error):
        one(Spawn([name], ENVIRON, ((TO_CHILD, (0,)), (FROM_CHILD, (1,)))), make())


def test_a_text_is_no_program(make, tmp_path):
    """A file without `#!` is not handed to a shell."""
    path = tmp_path / "text"
    path.write_text("exit 0\n", encoding="ascii")
    path.chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        one(Spawn([os.fsencode(path)], ENVIRON, ()), make())
    with pytest.raises(OSError, match="Exec format error"):
        one(Spawn([b"text"], {b"PATH": os.fsencode(tmp_path) + b":/bin"}, ()), make())


def test_path_is_searched(make, tmp_path):
    """A directory of PATH in which the program may not be executed is passed over, and remembered for the error."""
    (tmp_path / "sh").write_text("no program", encoding="ascii")

    def steps(path):
        child = yield Spawn([b"sh", b"-c", b"exit 3"], {b"PATH": path}, ())
        return (yield Wait(child, PATIENCE)).status

    place = os.fsencode(tmp_path)
    assert make().run(steps(b"/nonexistent:" + place + b":/bin")) == 3
    with pytest.raises(PermissionError):
        make().run(steps(place + b":/nonexistent"))


def test_an_environment_that_cannot_be(make):
    """A name that Python does not take is an OSError like any other trouble with starting."""
    with pytest.raises(OSError, match=r".") as caught:
        one(Spawn([b"true"], {**ENVIRON, b"": b"x"}, ((TO_CHILD, (0,)),)), make())
    assert not isinstance(caught.value, ValueError)


def test_no_descriptor_for_a_pipe(make):
    """When descriptors run out in the middle of starting a program, those that were opened are closed."""
    wiring = ((TO_CHILD, (0,)), (FROM_CHILD, (1,)), (NULL, (2,)), (TO_CHILD, (3,)))
    highest = max(map(int, descriptors()))
    held = []
    while not held or max(held) < max(highest, 40):
        held.append(os.dup(2))  # so that there is no gap below the limit

    def steps():
        failed = 0
        before = descriptors()
        for number in range(1, 9):
            try:
                with room(max(held) + 1 + number):
                    child = yield Spawn([b"true"], ENVIRON, wiring)
            except OSError:
                failed += 1
            else:
                yield Kill(child)
            assert descriptors() == before, f"with room for {number}"
        return failed

    failed = make().run(steps())
    for descriptor in held:
        os.close(descriptor)
    assert failed >= 4


def test_write_to_a_program_that_does_not_read(make):
    """A full pipe is waited for until the time is over; one that nobody reads any more is an OSError."""

    def steps(script):
        child = yield shell(script, (TO_CHILD, (0,)))
        yield Write(child.ends[0], b"x" * 5_000_000, SHORT if "sleep" in script else PATIENCE)

    assert NOT_BEFORE <= lateness(lambda: make().run(steps("exec sleep 60"))) < PATIENCE
    with pytest.raises(BrokenPipeError):
        make().run(steps("exec <&-; exit 0"))


def test_write_waits_for_a_slow_reader(make):
    """What does not fit into the pipe waits for the reader, and all of it arrives."""

    def steps():
        child = yield shell("sleep 0.1; wc -c", (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
        yield Write(child.ends[0], b"x" * 3_000_000, PATIENCE)
        yield Close(child.ends[0])
        return (yield Wait(child, PATIENCE, child.ends[1], 100)).output

    assert int(make().run(steps())) == 3_000_000


def test_wait_is_late(make):
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

    make().run(steps())


def test_wait_keeps_only_so_much(make):
    """A program may talk as much as it likes; only the first bytes are kept."""

    def steps():
        child = yield shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 4", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 10)
        return ended.status, ended.output

    assert make().run(steps()) == (4, b"x" * 10)


def test_wait_for_a_program_with_offspring(make):
    """A grandchild that keeps the pipe open is not waited for, and what it says in time is heard."""

    def steps():
        child = yield shell("echo first; sleep 5 & exit 0", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, ended.output

    outcome, took = seconds(lambda: make().run(steps()))
    assert outcome == (0, b"first\n") and took < 4


def test_wait_for_a_program_that_closes_its_end(make):
    """A program that closes what is listened to, and runs on, is waited for without turning in circles."""

    def steps():
        child = yield shell("echo bye; exec >&-; sleep 0.3; exit 5", (FROM_CHILD, (1,)))
        began = time.process_time()
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, ended.output, time.process_time() - began

    status, output, burnt = make().run(steps())
    assert (status, output) == (5, b"bye\n") and burnt < 0.15


@pytest.mark.parametrize("missing", ["attribute", "error"])
def test_without_pidfd(make, monkeypatch, missing):
    """Where the kernel or Python has no pidfd, the same comes out."""

    def absent(pid):
        raise OSError(38, "Function not implemented")

    if missing == "attribute":
        monkeypatch.delattr(spawning.posix, "pidfd_open")
    else:
        monkeypatch.setattr(spawning.posix, "pidfd_open", absent)

    def steps():
        child = yield shell("echo out; sleep 0.1; exit 6", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        other = yield shell("exit 1")
        last = yield Wait(other, None)
        late = yield shell("exec sleep 60")
        with pytest.raises(TimedOut):
            yield Wait(late, SHORT)
        return ended.status, ended.output, last.status

    assert make().run(steps()) == (6, b"out\n", 1)


def test_kill_takes_the_group(make):
    """Killing a program kills what it has started."""

    def steps():
        child = yield shell("sleep 60 & echo $!; wait", (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        yield Kill(child)
        return int(caught.value.output)

    grandchild = make().run(steps())
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{grandchild}/status"):
        with open(f"/proc/{grandchild}/status", encoding="utf-8") as status:
            if "State:\tZ" in status.read():
                break  # dead; its new parent has not looked yet
        assert time.monotonic() < deadline


def test_kill_a_program_that_has_left_its_group(make):
    """A program that went into a session of its own is killed all the same."""

    def steps():
        child = yield Spawn([b"setsid", b"sleep", b"60"], ENVIRON, ())
        yield Kill(child)

    _, took = seconds(lambda: make().run(steps()))
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
        patch.setattr(spawning.posix, "kill", refuse)
        patch.setattr(spawning.posix, "killpg", refuse)
        StdioRunner().run(steps())
    real_kill(pids[0], 9)
    os.waitpid(pids[0], 0)


def test_pipes_are_out_of_the_way(make, monkeypatch):
    """The descriptors that a program gets do not write over each other, whatever numbers the pipes had."""
    monkeypatch.setattr(spawning, "FIRST_SAFE", 500)  # so that every one of them is moved

    def steps():
        child = yield shell(
            "cat <&5 >&6; cat <&6 2>/dev/null >&5", (TO_CHILD, (5,)), (FROM_CHILD, (6,)), (NULL, (0, 1, 2))
        )
        yield Write(child.ends[5], b"through", PATIENCE)
        yield Close(child.ends[5])
        return (yield Wait(child, PATIENCE, child.ends[6], 100)).output

    assert make().run(steps()) == b"through"


@pytest.mark.parametrize("end", ["return", "raise", "close"])
def test_no_child_outlives_run(make, end):
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
        make().run(steps())
    else:
        with pytest.raises(ValueError if end == "raise" else OSError, match=r"trouble|Bad"):
            make().run(steps())
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
