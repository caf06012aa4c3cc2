"""The client's side of one SMTP or LMTP connection: replies in time, extensions, TLS. It knows no messages."""

import posix

from checkpw.operations import Close, Receive, TimedOut, Write
from checkpw.queue.hop_replies import HopFailed, ReplyReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.operations import Steps
    from checkpw.queue.hop_replies import Reply
    from checkpw.tls import TlsLayer

BLOCK = 65536

GOODBYE_TIMEOUT = 1.0
"""Seconds that QUIT may take on a connection that nobody needs any more."""


class Connection:
    """One connection.

    Attributes:
        extensions: what the next hop offers, keyword in capitals: parameters.
        is_fresh: no message went over it yet.
        idle_since: when it was last used, on the clock that it was made with.
    """

    __slots__ = ("_descriptor", "_layer", "_now", "_reader", "extensions", "idle_since", "is_fresh")

    def __init__(self, descriptor: int, now: "Callable[[], float]") -> None:
        """Use a connected socket that does not block, which is ours from now on; `now` counts seconds."""
        self._descriptor = descriptor
        self._now = now
        self._layer: TlsLayer | None = None
        self._reader = ReplyReader()
        self.extensions: dict[bytes, bytes] = {}
        self.is_fresh = True
        self.idle_since = 0.0

    @property
    def is_encrypted(self) -> bool:
        """TLS was begun."""
        return self._layer is not None

    def send(self, data: bytes, timeout: float) -> "Steps[None]":
        """Send all of `data`; raises `HopFailed`."""
        if self._layer is not None:
            try:
                data = self._layer.write(data)
            except OSError as error:
                raise HopFailed(f"TLS: {error}", b"4.7.5") from None
        yield from self._write(data, timeout)

    def _write(self, data: bytes, timeout: float) -> "Steps[None]":
        try:
            yield Write(self._descriptor, data, timeout)
        except TimedOut:
            raise HopFailed("timeout") from None
        except OSError:
            raise HopFailed("connection lost") from None

    def reply(self, timeout: float) -> "Steps[Reply]":
        """Return the next reply, which has to be complete in time.

        Raises:
            HopFailed: it has not come, or says 421: then the hop is about to hang up, whatever was asked.
        """
        deadline = self._now() + timeout
        while (reply := self._reader.next_reply()) is None:
            data = yield from self._receive(deadline)
            if self._layer is None:
                self._reader.feed(data)
            else:
                self._decrypt(self._layer, data)
        if reply.code == 421:
            raise HopFailed(f"it says {reply.code} {reply.text.decode('ascii', 'replace')}")
        return reply

    def command(self, line: bytes, timeout: float) -> "Steps[Reply]":
        """Say something and return the reply; raises `HopFailed`."""
        yield from self.send(line, timeout)
        return (yield from self.reply(timeout))

    def hello(self, verb: bytes, hostname: bytes, timeout: float) -> "Steps[None]":
        """Say EHLO or LHLO and note the extensions; HELO to a hop that does not know EHLO. Raises `HopFailed`."""
        self.extensions = {}
        reply = yield from self.command(verb + b" " + hostname + b"\r\n", timeout)
        if reply.code >= 500 and verb == b"EHLO":
            reply = yield from self.command(b"HELO " + hostname + b"\r\n", timeout)
        elif reply.is_positive:
            for line in reply.lines[1:]:
                keyword, _, parameters = line.strip().partition(b" ")
                self.extensions[keyword.upper()] = parameters
        if not reply.is_positive:
            raise HopFailed(f"it says {reply.code} to our greeting")

    def secure(self, layer: "TlsLayer", timeout: float) -> "Steps[None]":
        """Have everything encrypted from here on; raises `HopFailed`."""
        if not self._reader.is_empty:
            raise HopFailed("it said something in clear after it agreed to TLS")
        deadline = self._now() + timeout
        try:
            while not layer.do_handshake():
                yield from self._write(layer.outgoing(), timeout)
                layer.receive((yield from self._receive(deadline)))
        except OSError as error:
            yield from self._write(layer.outgoing(), GOODBYE_TIMEOUT)
            raise HopFailed(f"TLS: {error}", b"4.7.5") from None
        if last := layer.outgoing():
            yield from self._write(last, timeout)
        self._layer = layer

    def _receive(self, deadline: float) -> "Steps[bytes]":
        left = deadline - self._now()
        if left <= 0:
            raise HopFailed("timeout")
        try:
            data: bytes = yield Receive(left, self._descriptor)
        except TimedOut:
            raise HopFailed("timeout") from None
        except OSError:
            raise HopFailed("connection lost") from None
        if not data:
            raise HopFailed("connection lost")
        return data

    def _decrypt(self, layer: "TlsLayer", data: bytes) -> None:
        try:
            layer.receive(data)
            while text := layer.read(BLOCK):
                self._reader.feed(text)
        except OSError as error:
            raise HopFailed(f"TLS: {error}", b"4.7.5") from None
        if layer.eof and self._reader.is_empty:
            raise HopFailed("connection lost")

    def is_quiet(self) -> bool:
        """Tell, without waiting, whether the hop is still there and has said nothing that nobody asked for."""
        layer = self._layer
        try:
            data = posix.read(self._descriptor, BLOCK)
            is_there = bool(data)
            if layer is not None and data:
                layer.receive(data)
                data = layer.read(BLOCK)
                is_there = not layer.eof
            self._reader.feed(data)
        except BlockingIOError:
            is_there = True
        except OSError:
            is_there = False
        return is_there and self._reader.is_empty

    def overheard(self) -> "Reply | None":
        """Return what was said before it was asked for, as far as `is_quiet` has heard it."""
        try:
            return self._reader.next_reply()
        except HopFailed:
            return None

    def quit(self) -> "Steps[None]":
        """Say goodbye, without waiting for an answer, and close."""
        words, layer = b"QUIT\r\n", self._layer
        try:
            yield from self._write(words if layer is None else layer.write(words) + layer.close(), GOODBYE_TIMEOUT)
        except (HopFailed, OSError):
            pass  # it is gone already
        except BaseException:  # a signal
            self.drop()
            raise
        yield from self.close()

    def close(self) -> "Steps[None]":
        """Close the connection, once or more often."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            yield Close(descriptor)

    def drop(self) -> None:
        """Close the connection where nothing can be waited for."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            posix.close(descriptor)
