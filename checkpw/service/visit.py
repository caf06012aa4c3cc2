"""One client at one worker, from its connection to its leave, and what is known of where it comes from."""

from __future__ import annotations

import time

from checkpw.errors import TemporaryFailure
from checkpw.operations import Receive
from checkpw.proxy import HeaderReader
from checkpw.service.addresses import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket

    from checkpw.operations import Steps
    from checkpw.runners.connection import Connection
    from checkpw.runners.resident import Drive
    from checkpw.service.listeners import Listener
    from checkpw.service.worker import Worker

PROXY_TIMEOUT = 10.0
"""Seconds for a PROXY header: a balancer sends it at once."""


class Visit:
    """One client at one worker."""

    __slots__ = ("_drive", "_environ", "_limit", "_listener", "_worker", "connection")

    def __init__(self, worker: Worker, listener: Listener, client: socket.socket, address: object) -> None:
        self._worker = worker
        self._listener = listener
        self.connection = worker.connect(client)
        self._environ = origin(listener.here, client, address)
        self._drive: Drive | None = None
        self._limit: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Serve the client."""
        self._limit = self._worker.limit(self)
        self._drive = self._worker.drive(self, self._worker.serve(self, self._listener, self._environ))
        self._drive.resume()

    def end(self) -> None:
        """Have the session end, with a word to the client, as soon as it waits for nobody else."""
        self.connection.is_over = True
        if self._drive is not None and self.connection.is_waiting:
            self._drive.interrupt(TemporaryFailure("the server goes down"))

    def ended(self, _result: object, _failure: BaseException | None) -> None:
        """Take leave."""
        self._drive = None
        if self._limit is not None:
            self._limit.cancel()
        self.connection.close()
        self._worker.left(self)


def origin(here: tuple[str, int] | None, client: socket.socket, address: object) -> dict[bytes, bytes]:
    """Return what the kernel knows of a connection, as tcp-environ(5) has it; `here` is our end, if it is always so."""
    if not isinstance(address, tuple):
        return {b"PROTO": b"UNIX"}
    if here is None:
        try:
            here = client.getsockname()[:2]
        except OSError:
            here = ("", 0)
    return {
        b"PROTO": b"TCP",
        b"TCPLOCALIP": plain(here[0]),
        b"TCPLOCALPORT": b"%d" % here[1],
        b"TCPREMOTEIP": plain(address[0]),
        b"TCPREMOTEPORT": b"%d" % address[1],
    }


def proxied(connection: Connection) -> Steps[dict[bytes, bytes]]:
    """Read a PROXY header, and return what it says of the client; what came behind it is received again."""
    reader = HeaderReader()
    began = time.monotonic()
    header = None
    while header is None:
        data = yield Receive(max(0.01, PROXY_TIMEOUT - (time.monotonic() - began)))
        if not data:
            raise ConnectionError("gone before the PROXY header was complete")
        header = reader.feed(data)
    connection.push_back(header.rest)
    if header.source_ip is None or header.destination_ip is None:
        return {b"PROTO": b"TCP"}
    return {
        b"PROTO": b"TCP",
        b"TCPLOCALIP": header.destination_ip,
        b"TCPLOCALPORT": b"%d" % header.destination_port,
        b"TCPREMOTEIP": header.source_ip,
        b"TCPREMOTEPORT": b"%d" % header.source_port,
    }
