"""Messages between processes: lists of byte strings, length-prefixed, and nothing else.

A frame is a length and so many bytes; these are fields, each a length and so many bytes. Lengths are four bytes, most
significant first. What does not fit together exactly is no frame, and whoever sent it is not listened to any more.
"""

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH = Struct(">I")

MAX_FRAME = 2 * 1024 * 1024
"""Bytes of a frame: an envelope of 1000 recipients of 900 bytes and what goes with it takes half."""


class BadFrame(Exception):
    """The other side does not keep to the protocol. Says how, and nothing of what it sent."""


def pack(fields: "Iterable[bytes]") -> bytes:
    """Return fields with their lengths, as they stand in a frame; also to make one field of several."""
    length = _LENGTH.pack
    return b"".join([part for field in fields for part in (length(len(field)), field)])


def encode(fields: "Iterable[bytes]") -> bytes:
    """Return the frame of some fields."""
    body = pack(fields)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come, gives frames."""

    __slots__ = ("_buffer", "_limit", "_needed")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        """Begin; a frame of more than `limit` bytes is a bad one."""
        self._buffer = bytearray()
        self._limit = limit
        self._needed = 4  # bytes, before there is anything new to say

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Take some bytes and return the fields of every frame that is complete now; raises `BadFrame`."""
        buffer = data
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            buffer = bytes(self._buffer)
        frames = []
        at, have = 0, len(buffer)
        self._needed = 4
        while have - at >= 4:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if size > self._limit:
                raise BadFrame("a frame is too long")
            if have - at - 4 < size:
                self._needed = 4 + size
                break
            frames.append(unpack(buffer, at + 4, at + 4 + size))
            at += 4 + size
        self._buffer = bytearray(buffer[at:])
        return frames

    @property
    def is_between_frames(self) -> bool:
        """Tell whether everything that came was whole frames."""
        return not self._buffer


def unpack(buffer: bytes, at: int = 0, end: int | None = None) -> list[bytes]:
    """Take apart what `pack` made; raises `BadFrame`."""
    end = len(buffer) if end is None else end
    fields = []
    while at < end:
        if end - at < 4:
            raise BadFrame("a field has no length")
        (size,) = _LENGTH.unpack_from(buffer, at)
        at += 4
        if size > end - at:
            raise BadFrame("a field is longer than its frame")
        fields.append(buffer[at : at + size])
        at += size
    return fields
