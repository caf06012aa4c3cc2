"""The probe as a program: what it answers, what it sees, and that it is of no use to anybody but the kit."""

import fcntl
import os
import signal
import subprocess
import time

import pytest

from checkpw.conform.calling import call, probe
from checkpw.conform.calling.call import Answer
from checkpw.conform.calling.target import launcher

RECORD = b"joe\0secret\0\0"


class Place:
    """A session's directory beside a lock that is held, or not."""

    def __init__(self, root):
        self.directory = root / "1"
        self.directory.mkdir()
        self.program = self.directory / "probe"
        self.program.write_text(launcher(str(self.directory)), encoding="utf-8")
        self.program.chmod(0o700)
        self.lock = os.open(root / "alive", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def begin(self, answer, *words, record=RECORD, keep_open=False, **state):
        """Start it with the record on descriptor 3."""
        (self.directory / "script").write_text(answer.script(), encoding="ascii")
        reader, writer = os.pipe()
        os.write(writer, record)
        given = {"env": {"PATH": "/usr/bin:/bin", "A": "1"}, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        shell = ["/bin/bash", "-c", f'exec "$0" "$@" 3<&{reader} {reader}<&-', self.program, *words]
        process = subprocess.Popen(shell, pass_fds=[reader], **{**given, **state})
        os.close(reader)
        if not keep_open:
            os.close(writer)
        return process

    def ask(self, answer, *words, **state):
        """Run it; return its status, what it wrote, and what it saw."""
        process = self.begin(answer, *words, **state)
        out, errors = process.communicate(timeout=20)
        return process.returncode, out, errors, call.read_calls(str(self.directory))

    def die(self):
        """Let go of the lock, as a kit that is killed does."""
        os.close(self.lock)


@pytest.fixture
def place(tmp_path):
    """Give the directory of a session, its probe written."""
    return Place(tmp_path)


@pytest.mark.parametrize("status", [0, 1, 2, 111, 255])
def test_statuses(place, status):
    """It leaves with the status that it is told, and notes what it was given."""
    done, _, _, (seen,) = place.ask(Answer(status=status), "true")
    assert done == status
    assert (seen.record, seen.ended, seen.complete, seen.argv) == (RECORD, True, True, (b"true",))
    assert b"A=1" in seen.environ
    assert not any(entry.startswith(b"LC_CTYPE") for entry in seen.environ)
    assert [each.number for each in seen.descriptors] == [0, 1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGPIPE, signal.SIGSEGV])
def test_signals(place, number):
    """It is killed by the signal that it is told, and by no other."""
    assert place.ask(Answer(signal=number), "true")[0] == -number


def test_output(place):
    """It prints what it is told, on either descriptor."""
    done, out, errors, _ = place.ask(Answer(status=1, output=b"one\0\n", errors=b"two\xff"), "true")
    assert (done, out, errors) == (1, b"one\0\n", b"two\xff")


@pytest.mark.parametrize("answer", [Answer(reads=False), Answer(closes=True)])
def test_what_is_not_read(place, answer):
    """There is a note of the call all the same."""
    done, _, _, (seen,) = place.ask(answer, "true")
    assert (done, seen.record, seen.ended, seen.complete) == (0, b"", False, True)


def test_the_rest_of_a_chain(place):
    """After a yes it becomes the words behind it; 3 is closed then, and the environment is the caller's."""
    done, out, _, _ = place.ask(Answer(), "sh", "-c", 'echo "$A" "$@"; ls /proc/$$/fd; exit 7', "x", "y z")
    assert done == 7
    assert out.split() == [b"1", b"y", b"z", b"0", b"1", b"2"]
    assert place.ask(Answer(status=1), "sh", "-c", "exit 7")[0] == 1
    assert place.ask(Answer(), "/nonexistent")[0] == 111


def test_a_note_is_there_before_the_end_of_file(place):
    """Who keeps the pipe open is told from who does not call at all."""
    process = place.begin(Answer(), "true", keep_open=True)
    deadline = time.monotonic() + 20
    while not (seen := call.read_calls(str(place.directory))) or not seen[0].record:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=20)
    assert (seen[0].record, seen[0].ended, seen[0].complete) == (RECORD, False, False)


def test_without_the_kit(place):
    """A probe that somebody finds says yes to nobody: it answers 111, and why."""
    place.die()
    done, out, errors, seen = place.ask(Answer(), "true")
    assert (done, out, errors, seen) == (111, b"", probe.NO_KIT, [])


@pytest.mark.parametrize("what", ["session", "kit"])
def test_it_does_not_outlive(place, what):
    """A probe that hangs ends when its session does, or the kit."""
    process = place.begin(Answer(hangs=True), "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not call.read_calls(str(place.directory)):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert process.poll() is None
    if what == "kit":
        place.die()
    else:
        place.directory.joinpath("over").touch()
    assert process.wait(timeout=20) == 111


def test_what_stays_behind(place):
    """The answer is given, and a process keeps the descriptors open until the session is over."""
    process = place.begin(Answer(stays=True), "true")
    assert process.wait(timeout=20) == 0
    os.set_blocking(process.stdout.fileno(), False)
    assert process.stdout.read() is None
    place.directory.joinpath("over").touch()
    os.set_blocking(process.stdout.fileno(), True)
    assert process.stdout.read() == b""
    process.stderr.close()
    process.stdout.close()


def test_what_cannot_be_read_is_no_yes(place):
    """A script that it does not understand is trouble of the kit: 111."""
    process = place.begin(Answer(), "true")
    process.communicate(timeout=20)
    (place.directory / "script").write_text("end=", encoding="ascii")
    again = subprocess.run([place.program, "true"], capture_output=True, timeout=20, check=False)
    assert again.returncode == 111


def test_the_file_of_the_package_does_nothing():
    """It is neither executable nor a program: whoever runs it by hand gets no answer out of it."""
    assert not os.access(probe.__file__, os.X_OK)
    with open(probe.__file__, encoding="utf-8") as file:
        assert "__main__" not in file.read()
