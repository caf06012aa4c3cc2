"""Time and disk."""

import fcntl
import os

import pytest
from running import NOT_BEFORE, PATIENCE, SHORT, one, seconds, shell

from checkpw.operations import NULL, TO_CHILD, Close, Kill, Sleep, Sync, TimedOut, Wait
from checkpw.runners import spawning, stdio


def test_sleep(make):
    """Time passes, and no time is no trouble."""
    _, took = seconds(lambda: one(Sleep(SHORT), make()))
    assert NOT_BEFORE <= took < PATIENCE
    one(Sleep(0.0), make())


def test_sync(make, tmp_path):
    """A file is synced, a pipe cannot be, and that is an OSError at the yield."""
    with (tmp_path / "file").open("wb") as file:
        one(Sync(file.fileno()), make())
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        one(Sync(writing), make())
    os.close(reading)
    os.close(writing)


def test_long_times():
    """A time limit that poll cannot take in one is none the less one."""
    deadline = stdio.Deadline(10.0**9)
    assert deadline.milliseconds() == stdio.MAX_POLL
    assert stdio.Deadline(None).milliseconds() is None
    with pytest.raises(TimedOut):
        stdio.Deadline(0.0).milliseconds()


def test_pipes_are_wide(make):
    """The pipe to a program holds more than the usual 64 KiB, if the system lets us."""

    def steps():
        child = yield shell("cat", (TO_CHILD, (0,)), (NULL, (1,)))
        size = fcntl.fcntl(child.ends[0], fcntl.F_GETPIPE_SZ)
        yield Kill(child)
        return size

    assert make().run(steps()) == spawning.PIPE_BYTES


def test_a_pipe_that_cannot_be_widened(make):
    """Where the system does not let us, the program starts all the same."""

    def steps():
        child = yield shell("cat >/dev/null; exit 2", (TO_CHILD, (0,)))
        yield Close(child.ends[0])
        return (yield Wait(child, PATIENCE)).status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "F_SETPIPE_SZ", 999_999)  # as if the system did not know it
        assert make().run(steps()) == 2
