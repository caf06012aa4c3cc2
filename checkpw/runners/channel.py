"""Both ends of the line between two processes of ours: requests one way, answers the other (`checkpw.frames`).

Every frame begins with a field that says whether a descriptor goes with it, then a number: an answer repeats that of
its request, so that many are under way at once. What one turn of the event loop has to say is written at once.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Protocol

from checkpw.frames import MAX_FRAME, BadFrame, FrameReader, encode
from checkpw.operations import Answered, TimedOut
from checkpw.runners.resident import BLOCK, PENDING, Drive

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from checkpw import operations

NUMBER = 4
"""Bytes of a request's number."""

PLAIN, WITH_DESCRIPTOR = b"", b"d"

ONE_DESCRIPTOR = socket.CMSG_SPACE(4)

NONE, LOST = -1, -2
"""In place of a descriptor: none came, and there was no room for the one that came."""

MOST_READS = 16
"""Times that a line is read before others have their turn; who has died leaves less."""

MOST_UNREAD = 256 * 1024
"""Bytes of answers that may wait for who asked; no request is read while there are more."""


class Line:
    """One end: whole frames in, whole frames out, a descriptor with a frame now and then."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        heard: Callable[[list[bytes], int], None],
        broken: Callable[[], None],
        *,
        takes_descriptors: bool,
        most_unread: int | None = None,
    ) -> None:
        """Use a connected socket.

        Args:
            loop: to wait on.
            end: is ours from now on.
            heard: takes the fields of each frame, and the descriptor that came with it, NONE or LOST; it may raise
                `BadFrame`.
            broken: called once, when the other side is gone or does not keep to the protocol.
            takes_descriptors: what the other side sends may come with a descriptor; else the kernel drops it.
            most_unread: nothing is read while more bytes than this wait to be sent; None for whatever waits. Only one
                end of a line may have such a limit, or both wait for each other.
        """
        end.settimeout(0)
        self._loop = loop
        self._end = end
        self._heard = heard
        self._broken = broken
        self._room = ONE_DESCRIPTOR if takes_descriptors else 0
        self._most_unread = most_unread
        self._unread = 0
        self._reader = FrameReader()
        self._frames: deque[list[bytes]] = deque()  # that came, and were not looked at yet
        self._outgoing: deque[tuple[bytes, int]] = deque()
        self._descriptors: deque[int] = deque()  # that came, for frames that are not complete yet
        self._is_flushing = False
        self._is_reading = True
        self.is_open = True
        loop.add_reader(end.fileno(), self._readable)

    def send(self, fields: list[bytes], descriptor: int = -1) -> None:
        """Send a frame; a descriptor goes along, and our copy of it is closed.

        Raises:
            OSError: the frame is longer than the other side would take.
        """
        if not self.is_open:
            _close(descriptor)
            return
        frame = encode([PLAIN if descriptor < 0 else WITH_DESCRIPTOR, *fields])
        if len(frame) > MAX_FRAME:
            _close(descriptor)
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        self._outgoing.append((frame, descriptor))
        self._unread += len(frame)
        if self._most_unread is not None and self._unread > self._most_unread and self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._end.fileno())
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Hang up, without a word to anybody."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
            self._end.close()
            for _, descriptor in self._outgoing:
                _close(descriptor)
            for descriptor in self._descriptors:
                _close(descriptor)
            self._outgoing.clear()
            self._descriptors.clear()
            self._frames.clear()

    def _break(self) -> None:
        if self.is_open:
            self.close()
            self._broken()

    def _readable(self) -> None:
        """Read what has come, and look once more: uvloop tells but once that the other side died (see `Connection`)."""
        for _ in range(MOST_READS):
            if not (self.is_open and self._is_reading and self._read()):
                return

    def _read(self) -> bool:
        """Read something, and tell whether there was anything."""
        try:
            data, ancillary, flags, _address = self._end.recvmsg(BLOCK, self._room, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, ancillary, flags = b"", [], 0
        if self._room:
            self._take_descriptors(ancillary, is_cut=bool(flags & socket.MSG_CTRUNC))
        if not data:
            self._break()
            return False
        try:
            self._frames.extend(self._reader.feed(data))
        except BadFrame:
            self._break()
        else:
            self._listen()
        return True

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]], *, is_cut: bool) -> None:
        """Note a descriptor that came, or that it could not come because we have too many (unix(7))."""
        came: list[int] = []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                came.extend(array.array("i", content[: len(content) - len(content) % 4]))
        if is_cut and not came:
            came.append(LOST)
        self._descriptors.extend(came)

    def _listen(self) -> None:
        """Hand on what came. A fault of ours in one frame is not the end of those behind it."""
        frames = self._frames
        try:
            while frames:
                fields = frames.popleft()
                self._heard(fields[1:], self._descriptor_for(fields))
        except BadFrame:
            self._break()
        finally:
            if frames:
                self._loop.call_soon(self._listen)

    def _descriptor_for(self, fields: list[bytes]) -> int:
        if len(fields) < 2 or fields[0] not in (PLAIN, WITH_DESCRIPTOR):
            raise BadFrame("a frame without a mark or a number")
        if fields[0] == PLAIN:
            return NONE
        if not self._descriptors:
            raise BadFrame("a frame without its descriptor")
        return self._descriptors.popleft()

    def _flush(self) -> None:
        self._is_flushing = False
        if not self.is_open:
            return
        outgoing = self._outgoing
        try:
            while outgoing:
                data, descriptor = outgoing[0]
                if descriptor >= 0:
                    sent = self._end.sendmsg(
                        [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", (descriptor,)))]
                    )
                    outgoing.popleft()
                    self._unread -= sent
                    _close(descriptor)
                    if sent < len(data):
                        outgoing.appendleft((data[sent:], -1))
                    continue
                if len(outgoing) > 1:
                    data = self._join()
                sent = self._end.send(data)
                self._unread -= sent
                outgoing.popleft()
                if sent < len(data):
                    outgoing.appendleft((data[sent:], -1))
        except (BlockingIOError, InterruptedError):
            self._is_flushing = True
            self._loop.add_writer(self._end.fileno(), self._writable)
        except OSError:
            self._break()
        if not self._is_reading and self._unread == 0:
            self._read_on()

    def _read_on(self) -> None:
        if self.is_open:
            self._is_reading = True
            self._loop.add_reader(self._end.fileno(), self._readable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._end.fileno())
        self._flush()

    def _join(self) -> bytes:
        """Make one of the first frames that go without a descriptor, as long as it is not too much."""
        parts: list[bytes] = []
        size = 0
        while self._outgoing and self._outgoing[0][1] < 0 and size < BLOCK:
            parts.append(self._outgoing.popleft()[0])
            size += len(parts[-1])
        data = b"".join(parts)
        self._outgoing.appendleft((data, -1))
        return data


class Asker:
    """The end that asks: performs `Ask` for one service.

    Attributes:
        is_late: a question was not answered in time, and nothing has been heard since: rather ask somebody else.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket, gone: Callable[[], None]) -> None:
        """Ask through a socket; `gone` is called when nobody is there any more."""
        self._line = Line(loop, end, self._heard, self._lost, takes_descriptors=True)
        self._loop = loop
        self._gone = gone
        self._waiting: dict[bytes, tuple[Drive, asyncio.TimerHandle | None]] = {}
        self._number = 0
        self.is_late = False

    @property
    def pending(self) -> int:
        """How many answers are waited for."""
        return len(self._waiting)

    def perform(self, operation: operations.Ask, drive: Drive) -> object:
        """Send the request."""
        if not self._line.is_open:
            raise ConnectionError("the process that is asked is gone")
        self._number = (self._number + 1) & 0xFFFFFFFF
        number = self._number.to_bytes(NUMBER)
        self._line.send([number, *operation.fields])

        def expire() -> None:
            del self._waiting[number]
            self.is_late = True
            drive.resume(None, TimedOut())

        timer = None if operation.timeout is None else self._loop.call_later(operation.timeout, expire)
        self._waiting[number] = drive, timer

        def forget() -> None:
            del self._waiting[number]
            if timer is not None:
                timer.cancel()

        drive.forget = forget
        return PENDING

    def close(self) -> None:
        """Hang up; what is waited for does not come any more."""
        self._line.close()
        self._fail_all()

    def _heard(self, fields: list[bytes], descriptor: int) -> None:
        self.is_late = False
        waiting = self._waiting.pop(fields[0], None)
        if descriptor != NONE and (waiting is None or descriptor == LOST):
            # It came too late, or not. Whoever has opened something for us has to know that nobody will use it.
            self._line.send(fields)
        if waiting is None:
            _close(descriptor)
            return
        drive, timer = waiting
        if timer is not None:
            timer.cancel()
        if descriptor == LOST:
            drive.resume(None, OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        else:
            drive.resume(Answered(fields[1:], descriptor, self))

    def _lost(self) -> None:
        self._gone()
        self._fail_all()

    def _fail_all(self) -> None:
        """Tell everybody who waits that there will be no answer. A fault in one is not the end of the others."""
        waiting = self._waiting
        try:
            while waiting:
                _, (drive, timer) = waiting.popitem()
                if timer is not None:
                    timer.cancel()
                drive.resume(None, ConnectionError("the process that was asked is gone"))
        finally:
            if waiting:
                self._loop.call_soon(self._fail_all)


class Handler(Protocol):
    """Who answers the requests of one asker."""

    def request(self, fields: list[bytes], answer: Answer) -> None:
        """Take a request, answer it now or later; raises `BadFrame` for one that no asker of ours would send.

        An answer with a descriptor that came too late for who had asked is sent back, and comes here.
        """

    def gone(self) -> None:
        """Take note that nobody asks, or listens, any more."""


class Answer:
    """Where the answer to one request goes."""

    __slots__ = ("_line", "_number")

    def __init__(self, line: Line, number: bytes) -> None:
        self._line = line
        self._number = number

    def give(self, fields: list[bytes], descriptor: int = -1) -> None:
        """Send the answer; a descriptor goes along, and our copy of it is closed."""
        self._line.send([self._number, *fields], descriptor)


class Answerer:
    """The end that answers. It takes no descriptors from who asks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket, handler: Handler) -> None:
        """Answer what comes through a socket."""
        self._handler = handler
        self._line = Line(loop, end, self._heard, handler.gone, takes_descriptors=False, most_unread=MOST_UNREAD)

    def _heard(self, fields: list[bytes], _descriptor: int) -> None:
        if len(fields[0]) != NUMBER:
            raise BadFrame("a request without a number")
        self._handler.request(fields[1:], Answer(self._line, fields[0]))


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        socket.close(descriptor)
