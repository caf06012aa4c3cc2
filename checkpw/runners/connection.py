"""A client's connection in the resident server: bytes from and to a socket, in clear or through TLS.

It performs `Receive`, `Send` and `Secure`. The socket is read only while somebody waits for bytes, so that a client
which sends faster than its mail can be queued is held back by TCP, and our memory for it is one block.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from checkpw.operations import Secured, TimedOut
from checkpw.runners.resident import BLOCK, PENDING, Drive
from checkpw.runners.waiting import Timer
from checkpw.tls import TlsError, TlsLayer

if TYPE_CHECKING:
    import asyncio
    import ssl

    from checkpw import operations

DONTWAIT = socket.MSG_DONTWAIT

NOTHING, BYTES, HANDSHAKE, SPACE = range(4)
"""What a connection waits for: nothing, bytes from the client, its part of a handshake, or room for what we say."""


class Handshakes:
    """How many handshakes go on at once: each holds memory for a client of whom nothing is known yet.

    Attributes:
        number: that go on.
        most: that may.
    """

    __slots__ = ("most", "number")

    def __init__(self, most: int) -> None:
        self.number = 0
        self.most = most


class Connection:
    """One client.

    Attributes:
        is_over: whose time is over, and who is to hear so instead of being heard.
        received, sent: bytes, as they went over the network.
    """

    __slots__ = (
        "_context",
        "_drive",
        "_handshakes",
        "_has_heard",
        "_has_spoken",
        "_is_over",
        "_is_reading",
        "_loop",
        "_outgoing",
        "_pushed_back",
        "_socket",
        "_timer",
        "_tls",
        "_wanted",
        "is_over",
        "received",
        "sent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: socket.socket,
        context: ssl.SSLContext | None,
        handshakes: Handshakes,
    ) -> None:
        """Take a connected socket; `context` is for `Secure`, None where there is no certificate."""
        self._handshakes = handshakes
        self._loop = loop
        self._socket = client
        self._context = context
        self._timer = Timer(loop, self._expired)
        self._tls: TlsLayer | None = None
        self._drive: Drive | None = None
        self._wanted = NOTHING
        self._has_heard = False  # something, since anything was sent
        self._is_over = False  # what comes now is nothing that the client meant to say
        self._is_reading = False
        self._outgoing = b""
        self._pushed_back = b""
        self._has_spoken = False  # since the client was heard last
        self.received = self.sent = 0
        self.is_over = False

    def push_back(self, data: bytes) -> None:
        """Have `data`, which was received, received again, or taken as the beginning of a TLS handshake."""
        self._pushed_back = data

    def close(self) -> None:
        """Close the connection; what was said and is not sent is lost."""
        self._forget()
        self._timer.close()
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket.fileno())
        if self._outgoing:
            self._loop.remove_writer(self._socket.fileno())
        elif self._tls is not None and not (self._is_over and not self._tls.eof):  # else nobody would read it
            self._say_goodbye(self._tls)
        self._tls = None  # with its buffers, now and not when somebody collects garbage
        self._socket.close()

    def _say_goodbye(self, tls: TlsLayer) -> None:
        """Tell the other side that this is the end and nothing is cut off (RFC 8446 section 6.1)."""
        try:
            self._socket.send(tls.close(), DONTWAIT)
        except OSError:
            return  # it has left before us

    @property
    def is_waiting(self) -> bool:
        """Whether the client is what is waited for."""
        return self._wanted != NOTHING

    # Performing.

    def receive(self, operation: operations.Receive, drive: Drive) -> object:
        """Perform `Receive` from the client."""
        if self._pushed_back:
            data, self._pushed_back = self._pushed_back, b""
            return data
        if self._is_over:
            return b""
        self._wait(BYTES, drive, operation.timeout)
        self._read()
        return PENDING

    def send(self, operation: operations.Send, drive: Drive) -> object:
        """Perform `Send`; what the client does not take now is waited for, and nothing is read meanwhile."""
        data = operation.data
        if self._tls is not None:
            data = self._tls.write(data)
        is_sent = self._send_some(data)
        if is_sent and not self._has_spoken:
            self._has_spoken = True
            return None
        self._wait(SPACE, drive, operation.timeout)
        if is_sent:  # a client that has sent a thousand commands at once: the others have their turn in between
            self._loop.call_soon(self._written)
        return PENDING

    def secure(self, operation: operations.Secure, drive: Drive) -> object:
        """Perform `Secure`: a handshake as server. Bytes that were pushed back are its beginning."""
        if self._context is None:
            raise OSError("there is no certificate")
        if self._handshakes.number >= self._handshakes.most:
            raise OSError("too many handshakes at once")
        self._tls = TlsLayer(self._context, server_side=True)
        if self._pushed_back:
            data, self._pushed_back = self._pushed_back, b""
            secured = self._shake_hands(self._tls, data)
            if secured is not None:
                return secured
        self._handshakes.number += 1
        self._wait(HANDSHAKE, drive, operation.timeout)
        self._read()
        return PENDING

    # Waiting.

    def _wait(self, wanted: int, drive: Drive, timeout: float | None) -> None:
        self._wanted = wanted
        self._drive = drive
        drive.forget = self._forget
        self._timer.start(timeout)

    def _forget(self) -> None:
        if self._wanted == HANDSHAKE:
            self._handshakes.number -= 1
        self._wanted = NOTHING
        self._drive = None
        self._timer.stop()

    def _resume(self, outcome: object = None, failure: Exception | None = None) -> None:
        drive = self._drive
        assert drive is not None
        self._forget()
        drive.resume(outcome, failure)

    def _expired(self) -> None:
        if self._drive is not None:
            self._resume(None, TimedOut())

    # Reading.

    def _read(self) -> None:
        """Have the socket looked at, once more if there was something.

        uvloop tells but once that a connection was broken off (libuv stops at POLLERR). If there was something to read
        then, somebody has to look again, or would wait until the time is over; a `Send` meets with the error itself.
        """
        if not self._is_reading:
            self._is_reading = True
            self._loop.add_reader(self._socket.fileno(), self._readable)
        if self._has_heard:
            self._has_heard = False
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        if not self._is_reading:
            return  # it was closed, or nobody listens any more
        if self._wanted not in (BYTES, HANDSHAKE) or self._outgoing:
            # Nobody listens: the client sends ahead, does not read, or has gone away, which is noticed in its time.
            self._is_reading = False
            self._loop.remove_reader(self._socket.fileno())
            return
        try:
            data = self._socket.recv(BLOCK, DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # a reset is a way to go
        self.received += len(data)
        self._has_spoken = False
        self._has_heard = bool(data)
        if self._tls is not None:
            self._readable_through(self._tls, data)
        else:
            self._is_over = not data
            self._resume(data)

    def _readable_through(self, tls: TlsLayer, data: bytes) -> None:
        if self._wanted == HANDSHAKE:
            try:
                if not data:
                    raise ConnectionError("the client went away during the handshake")
                secured = self._shake_hands(tls, data)
            except OSError as error:
                self._resume(None, error)
                return
            if secured is not None:
                self._resume(secured)
            elif self._has_heard:
                self._read()
            return
        text, is_end = b"", not data
        try:
            tls.receive(data)
            text = tls.read(2 * BLOCK)
        except TlsError:
            is_end = True
        try:
            answer = tls.outgoing()
            if answer:  # an alert, or the answer to a key update
                self._send_some(answer)
        except OSError:
            is_end = True
        self._is_over = is_end or tls.eof
        if text or self._is_over:
            self._resume(text)
        else:
            self._read()

    def _shake_hands(self, tls: TlsLayer, data: bytes) -> Secured | None:
        """Go on with the handshake; raises `OSError` if it fails."""
        try:
            tls.receive(data)
            is_done = tls.do_handshake()
        finally:
            answer = tls.outgoing()
            if answer:
                self._send_some(answer)
        if not is_done:
            return None
        self._pushed_back = tls.read(2 * BLOCK)  # what came right behind it
        self._is_over = tls.eof
        return Secured(tls.describe(), 0)

    # Writing.

    def _send_some(self, data: bytes) -> bool:
        """Send what goes now, and the rest when it can; tell whether there is no rest. Raises `OSError`."""
        if self._outgoing:
            self._outgoing += data
            return False
        try:
            sent = self._socket.send(data, DONTWAIT)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.sent += sent
        if sent == len(data):
            self._has_heard = False
            return True
        self._outgoing = data[sent:]
        self._loop.add_writer(self._socket.fileno(), self._writable)
        return False

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._outgoing, DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._stop_writing()
            if self._drive is not None:
                self._resume(None, error)
            return
        self.sent += sent
        self._outgoing = self._outgoing[sent:]
        if not self._outgoing:
            self._stop_writing()
            self._written()

    def _stop_writing(self) -> None:
        self._outgoing = b""
        self._loop.remove_writer(self._socket.fileno())

    def _written(self) -> None:
        if self._wanted == SPACE and not self._outgoing:
            self._resume()
        elif self._wanted != NOTHING:
            self._read()
