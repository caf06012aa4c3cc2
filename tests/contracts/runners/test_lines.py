"""Lines, for who leaves the client to somebody else."""

import os
import threading

import pytest
from running import PATIENCE, SHORT

from checkpw.operations import Receive, TimedOut
from checkpw.runners.stdio import StdioRunner


def _receive(runner, timeout=PATIENCE):
    """Give what one operation gives."""

    def steps():
        return (yield Receive(timeout))

    return runner.run(steps())


def test_nothing_behind_a_line_is_read():
    """A line comes with its end, and what follows stays where another program can read it."""
    reading, writing = os.pipe()
    try:
        runner = StdioRunner(reading, reading, reads_lines=True)
        os.write(writing, b"one\r\n\ntwo\nrest")
        assert [_receive(runner) for _ in range(3)] == [b"one\r\n", b"\n", b"two\n"]
        assert os.read(reading, 100) == b"rest"
        os.write(writing, b"x" * 10_000 + b"\n.")
        pieces = [_receive(runner) for _ in range(3)]
        assert b"".join(pieces) == b"x" * 10_000 + b"\n"
        assert os.read(reading, 100) == b"."
        os.write(writing, b"half")
        with pytest.raises(TimedOut):
            _receive(runner, SHORT)
        os.write(writing, b"last")
    finally:
        os.close(writing)
    assert [_receive(runner), _receive(runner)] == [b"last", b""]
    os.close(reading)


def test_a_line_has_to_come_in_time():
    """The time is that of the line: a client that sends a byte now and then does not stay."""
    reading, writing = os.pipe()
    done = threading.Event()

    def drip():
        while not done.wait(SHORT / 4):
            os.write(writing, b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(TimedOut):
        _receive(StdioRunner(reading, reading, reads_lines=True), SHORT)
    done.set()
    thread.join()
    os.close(writing)
    os.close(reading)
