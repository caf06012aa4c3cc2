"""What they do with the client."""

import os
import socket
import struct
import threading

import pytest
from running import NOT_BEFORE, PATIENCE, SHORT, lateness, one, seconds

from checkpw.operations import Receive, Send, TimedOut
from checkpw.runners.stdio import StdioRunner


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
    assert outcome == "went on" and NOT_BEFORE <= took < PATIENCE


def test_a_reset_is_the_end(make):
    """A connection that is reset is one that is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()
            assert one(Receive(PATIENCE), make(theirs)) == b""


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
    assert NOT_BEFORE <= lateness(lambda: one(Send(b"x" * 5_000_000, SHORT), runner)) < PATIENCE


def test_send_to_nobody(make):
    """A client that is gone is an OSError, not a signal."""
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(BrokenPipeError):
        one(Send(b"hello", PATIENCE), make(theirs))
