"""What has come from the client and was not used yet: as lines with a limit, or as octets."""

from checkpw.smtp.data import CRLF


class TooLong(Exception):
    """A line passed its limit; all of it is gone."""


class Input:
    """Bytes from the wire.

    Attributes:
        first_line_end: how the first line ended, CRLF or LF; None while none has.
    """

    __slots__ = ("_at", "_buffer", "_is_skipping", "first_line_end")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._is_skipping = False  # the rest of a line that is too long
        self.first_line_end: bytes | None = None

    def append(self, data: bytes) -> None:
        """Take bytes that came."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next_line(self, limit: int) -> bytes | None:
        """Return a line without its end, LF or CRLF; None while it is not complete.

        Raises:
            TooLong: it has more than `limit` bytes with its end. The bytes of such a line are not kept.
        """
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\n", at)
        length = (end + 1 if end >= 0 else len(buffer)) - at
        is_too_long = self._is_skipping or length > limit
        if end < 0:
            if is_too_long:
                self._is_skipping = True
                self._buffer = self.take_all()[-1:]  # a CR still says how the line ends
            return None
        line = buffer[at:end]
        self._at = end + 1
        has_return = line.endswith(b"\r")
        if self.first_line_end is None:
            self.first_line_end = CRLF if has_return else b"\n"
        if is_too_long:
            self._is_skipping = False
            raise TooLong
        return line[:-1] if has_return else line

    def take(self, most: int) -> bytes:
        """Return and use up at most so many bytes."""
        data = self._buffer[self._at : self._at + most]
        self._at += len(data)
        return data

    def take_all(self) -> bytes:
        """Return and use up everything."""
        data = self._buffer[self._at :]
        self._buffer, self._at = b"", 0
        return data
