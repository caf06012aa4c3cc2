"""Whether a record on descriptor 3 was read; tests/properties/test_fd3.py reads records."""

import os
import socket

import pytest

from checkpw import fd3


@pytest.fixture
def is_unread(monkeypatch):
    """Give a function that asks about another descriptor than 3, which is pytest's here."""

    def ask(descriptor):
        monkeypatch.setattr(fd3, "DESCRIPTOR", descriptor)
        return fd3.is_unread()

    return ask


def test_a_pipe_is_unread_up_to_its_end(is_unread):
    """While it is written to, while something is left in it, and until its end has come; asking takes nothing."""
    reading, writing = os.pipe()
    assert is_unread(reading)
    os.write(writing, b"joe\0secret\0\0")
    assert is_unread(reading)
    os.close(writing)
    assert is_unread(reading)
    assert os.read(reading, 11) == b"joe\0secret\0"
    assert is_unread(reading)
    assert os.read(reading, 11) == b"\0"
    assert not is_unread(reading)
    os.close(reading)
    assert not is_unread(reading)


def test_what_is_no_record_is_not_unread(is_unread):
    """A socket, a file, and the end of somebody's pipe that is for writing."""
    reading, writing = os.pipe()
    assert not is_unread(writing)
    os.close(reading)
    os.close(writing)
    ours, theirs = socket.socketpair()
    with ours, theirs, open("/dev/null", "rb") as file:
        theirs.send(b"x")
        assert not is_unread(ours.fileno())
        assert not is_unread(file.fileno())
