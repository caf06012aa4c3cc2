"""Writing to a program that reads, does not read, or has gone."""

import os
import time

import pytest

from checkpw.conform import process
from checkpw.conform.process import State
from checkpw.conform.verifying import feeding

PATIENCE = 20.0


@pytest.fixture
def reader():
    """Give a function that starts a program with a pipe as its descriptor 3, and the end to write to."""
    left = []

    def begin(*argv):
        reading, writing = os.pipe()
        running = process.start([b"/bin/sh", b"-c", *argv], State({b"PATH": b"/bin:/usr/bin"}, {3: reading}))
        os.close(reading)
        left.append((running, writing))
        return running, writing

    yield begin
    for running, writing in left:
        running.kill()
        os.close(writing)


def deadline(seconds=PATIENCE):
    return time.monotonic() + seconds


def test_each_piece_is_read_before_the_next_is_given(reader):
    """What is called between two pieces finds the first one read."""
    running, writing = reader(b"exec cat <&3 >/dev/null")
    seen = []
    pieces = (b"a", b"bc", b"d")
    feeding.give(
        writing, pieces, running, deadline(), between=lambda _: seen.append(feeding.unread(writing)), waits=True
    )
    assert seen == [0, 0]
    assert feeding.wait_until_read(writing, running, deadline())


def test_a_reader_who_has_gone_is_no_trouble(reader):
    """Writing ends where nobody reads any more, also in the midst of what a pipe cannot hold."""
    running, writing = reader(b"exec 3<&-; exit 0")
    assert running.wait(PATIENCE) == 0
    feeding.give(writing, (b"x" * 200000,), running, deadline())
    assert not feeding.wait_until_read(writing, running, deadline())


def test_a_reader_who_does_not_read_is_not_waited_for(reader):
    """More than a pipe holds is given up at the deadline, and so is waiting for it to be read."""
    running, writing = reader(b"exec sleep 600")
    began = time.monotonic()
    feeding.give(writing, (b"x" * 200000,), running, deadline(0.1))
    assert not feeding.wait_until_read(writing, running, deadline(0.1))
    assert 0.1 < time.monotonic() - began < PATIENCE
    assert not running.has_ended()
