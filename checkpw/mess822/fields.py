"""Where a header ends, and which field a line begins (facts of mess822's ofmipd)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


NAME_BYTES = bytes(range(33, 127)).replace(b":", b"")
"""What a field name is made of (RFC 5322 section 2.2)."""


class TooLarge(Exception):
    """A header passed its limit."""


class HeaderCollector:
    """Gathers text until the header is complete."""

    __slots__ = ("_at", "_limit", "_text")

    def __init__(self, limit: int) -> None:
        """Begin; `limit` is in bytes, 0 for any size."""
        self._limit = limit
        self._text = b""
        self._at = 0  # where the first line starts that was not looked at

    def feed(self, text: bytes) -> tuple[bytes, bytes] | None:
        """Take text whose lines end in LF.

        Returns:
            The header and what follows it, which begins with an empty line; None while the header goes on. The header
            ends before the first line that is empty or no field and no continuation of one.

        Raises:
            TooLarge: it does not end within the limit.
        """
        self._text += text
        while (end := self._text.find(b"\n", self._at)) >= 0:
            line = self._text[self._at : end]
            if not line or not ((self._at and is_continuation(line)) or field_name(line)):
                # A line that ends the header without being empty counts too: while it is not complete, nobody can tell
                # what it is, and how the text is cut into pieces must not matter.
                self._within_limit(self._text[: end if line else self._at])
                rest = self._text[self._at :]
                return self._text[: self._at], rest if not line else b"\n" + rest
            self._at = end + 1
        self._within_limit(self._text)
        return None

    def finish(self) -> bytes:
        """Return the header of a message that ends inside it."""
        return self._within_limit(self._text)

    def _within_limit(self, header: bytes) -> bytes:
        if self._limit and len(header) > self._limit:
            raise TooLarge
        return header


def is_continuation(line: bytes) -> bool:
    """Tell whether a line goes on with the field before it."""
    return line.startswith((b" ", b"\t"))


def field_name(line: bytes) -> bytes | None:
    """Return the name of the field that a line begins, in lower case; None if it begins none.

    A name is printable ASCII without a colon; blanks and tabs may stand between it and the colon.
    """
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    if not colon or not name or name.translate(None, NAME_BYTES):
        return None
    return name.lower()


def split_fields(header: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield the name of each field in lower case, and the field with its line ends."""
    start = 0
    while start < len(header):
        end = header.find(b"\n", start) + 1 or len(header)
        while header[end : end + 1] in (b" ", b"\t"):
            end = header.find(b"\n", end) + 1 or len(header)
        lines = header[start:end]
        yield field_name(lines.partition(b"\n")[0]) or b"", lines
        start = end
