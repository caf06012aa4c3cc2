"""A connection to a next hop that takes its time, or whose TLS is broken."""

import socket

import pytest

from checkpw.queue.hop_replies import HopFailed
from checkpw.queue.smtp_client import Connection


def test_a_drip():
    """The time of a reply is that of the whole reply, however often something comes."""
    now = [0.0]
    timeouts = []

    def drip(steps):
        outcome = None
        while True:
            timeouts.append(steps.send(outcome).timeout)
            now[0] += 1.0
            outcome = b"2"

    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours.detach(), lambda: now[0])
        with pytest.raises(HopFailed, match="timeout"):
            drip(connection.reply(10.0))
        assert timeouts == [10.0 - second for second in range(10)]
        connection.drop()
        connection.drop()


def test_tls_that_cannot_write():
    """Trouble with TLS is trouble with the connection."""

    class Broken:
        def write(self, data):
            raise OSError("broken")

    connection = Connection(-1, lambda: 0.0)
    connection._layer = Broken()
    with pytest.raises(HopFailed, match="TLS: broken"):
        next(connection.send(b"x", 1.0))
    with pytest.raises(StopIteration):
        next(connection.quit())
