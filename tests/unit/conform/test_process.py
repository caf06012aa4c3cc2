"""Processes begin in the state that was asked for, to the last descriptor, and nothing of them is left."""

import os
import resource
import signal
import sys
import tempfile
import time
import types

import pytest

from checkpw.conform import process
from checkpw.conform.process import KitFailure, State

CAT = b"/bin/cat"
SH = b"/bin/sh"
PATIENCE = 20.0

OF_GLIBC = 1 << 31 | 1 << 32  # what posix_spawn(3) ignores in what it starts, and nobody sees


def said(argv, **state):
    state = {"environ": {}, "descriptors": {}, **state}
    done = process.run(argv, State(**state), patience=PATIENCE)
    assert done.status == 0, done
    return done.stdout


def status(**state):
    lines = said([CAT, b"/proc/self/status"], **state).decode().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_programs_stand_where_they_can_be_executed(monkeypatch):
    """/tmp is passed over where its file system has no programs, and everything that has none is trouble."""
    without = {"/tmp"}

    def statvfs(path):
        return types.SimpleNamespace(f_flag=os.ST_NOEXEC if path in without else 0)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert process.place_for_programs() == "/var/tmp"
    without |= {"/var/tmp", tempfile.gettempdir()}
    with pytest.raises(KitFailure, match="set TMPDIR"):
        process.place_for_programs()


@pytest.mark.parametrize("further", [{}, {"umask": 0o22}], ids=["spawned", "launched"])
def test_the_environment_is_exact(further):
    """Nothing is added, and odd names and values arrive."""
    environ = {b"A": b"", b"B \xff": b"\n=\xfe", b"LC_CTYPE": b"C"}
    entries = said([CAT, b"/proc/self/environ"], environ=environ, **further).split(b"\0")[:-1]
    assert entries == [b"%b=%b" % pair for pair in environ.items()]
    assert said([CAT, b"/proc/self/environ"], **further) == b""


@pytest.mark.parametrize("further", [{}, {"umask": 0o22}], ids=["spawned", "launched"])
def test_descriptors_are_exact(further):
    """Only those that were named are open, whatever the kit holds, and 0, 1, 2 are closed unless named."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # noqa: FBT003
    try:
        listed = said([b"/bin/ls", b"/proc/self/fd"], descriptors={3: reading, 9: reading}, **further).split()
        assert {int(number) for number in listed} == {0, 1, 2, 3, 9}  # 0 is the list itself
        script = b"for n in 0 1 2 3 4; do [ -e /proc/self/fd/$n ] && exit 1; done; exit 0"
        state = State({}, {1: -1, 2: -1}, **further)
        assert process.run([SH, b"-c", script], state, patience=PATIENCE).status == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_signals_are_exact():
    """Blocked and ignored ones are those named, whatever Python did to the kit itself."""
    given = status()
    assert int(given["SigBlk"], 16) == 0
    assert int(given["SigIgn"], 16) & ~OF_GLIBC == 0
    given = status(ignored=frozenset({signal.SIGPIPE, signal.SIGHUP}), blocked=frozenset({signal.SIGUSR1}))
    assert int(given["SigIgn"], 16) & ~OF_GLIBC == 1 << 12 | 1
    assert int(given["SigBlk"], 16) == 1 << 9


def test_the_rest_of_a_state(tmp_path):
    """Umask, limits, groups and directory are those named."""
    assert status(umask=0o27)["Umask"] == "0027"
    if os.geteuid() == 0:
        assert status(groups=(7, 60001))["Groups"] == "7 60001"
    assert said([b"/bin/pwd"], directory=str(tmp_path)) == os.fsencode(tmp_path) + b"\n"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert said([SH, b"-c", b"ulimit -n"], limits={"RLIMIT_NOFILE": (77, hard)}) == b"77\n"


def test_it_leads_a_session_and_dumps_no_core():
    """A terminal is out of its reach, and what it holds does not land in a file."""
    null = process.nothing()
    with process.start([b"/bin/sleep", b"600"], State({}, {0: null})) as running:
        assert os.getsid(running.pid) == os.getpgid(running.pid) == running.pid
        with open(f"/proc/{running.pid}/limits", encoding="ascii") as file:
            (core,) = (line for line in file if line.startswith("Max core"))
        assert core.split()[4] == "0"
    os.close(null)


def test_an_end_is_told():
    """Exit statuses are what they are, signals negative, and None is one that was killed after its time."""
    assert process.run([SH, b"-c", b"exit 42"], State({}, {}), patience=PATIENCE).status == 42
    killed = process.run([SH, b"-c", b"kill -9 $$"], State({}, {}), patience=PATIENCE)
    assert (killed.status, killed.words) == (-9, "killed by SIGKILL")
    endless = process.run([b"/bin/sleep", b"600"], State({}, {}), patience=0.05)
    assert (endless.status, endless.words) == (None, "no end within the time limit")
    talks = process.run([SH, b"-c", b"echo out; echo err >&2"], State({}, {}), patience=PATIENCE)
    assert (talks.stdout, talks.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_what_it_left_behind_is_killed(monkeypatch, has_pidfd):
    """Children that outlive it end with it, also on systems where processes cannot be polled."""
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    done = process.run([SH, b"-c", b"sleep 600 & echo $!"], State({b"PATH": b"/bin:/usr/bin"}, {}), patience=PATIENCE)
    assert done.status == 0
    child = int(done.stdout)
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{child}"):
        with open(f"/proc/{child}/stat", encoding="latin-1") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":
                break
        assert time.monotonic() < deadline


def test_to_look_is_not_to_collect():
    """has_ended leaves alone what the program left behind; leaves_others does so for good."""
    state = State({b"PATH": b"/bin:/usr/bin"}, {})
    done = process.run([SH, b"-c", b"sleep 600 & echo $!"], state, patience=PATIENCE, leaves_others=True)
    os.kill(int(done.stdout), signal.SIGKILL)
    with process.start([SH, b"-c", b"exit 3"], State({}, {})) as running:
        while not running.has_ended():
            pass
        assert running.status is None
        assert running.wait(PATIENCE) == 3
        running.signal(signal.SIGKILL)
    assert running.fileno() == -1


def test_what_cannot_be_started_is_no_fault_of_the_program():
    """A path that is none is a failure of the kit, and so is a name that is not in PATH."""
    with pytest.raises(KitFailure, match="/nonexistent/program"):
        process.start([b"/nonexistent/program"], State({}, {}))
    with pytest.raises(KitFailure, match="no-such-program"):
        process.find_program("no-such-program", {b"PATH": b"/bin"})
    assert process.find_program("sh", {b"PATH": b"/nonexistent:/bin"}) == b"/bin/sh"
    assert process.find_program(sys.executable, {}) == os.fsencode(sys.executable)


def test_nothing_is_not_the_null_device():
    """What stands for it can be read and written, and belongs to nobody else."""
    descriptor = process.nothing()
    assert os.read(descriptor, 1) == b""
    assert os.write(descriptor, b"x") == 1
    assert os.fstat(descriptor).st_ino != os.stat("/dev/null").st_ino
    os.close(descriptor)
