"""Where a header ends, which fields it has, and what becomes of each (facts of mess822's ofmipd)."""

from checkpw.mess822.tokens import unfold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


NAME_BYTES = bytes(range(33, 127)).replace(b":", b"")
"""What a field name is made of (RFC 5322 section 2.2)."""

# What becomes of a field.
DATE, ADDRESSES, MESSAGE_ID, TOP, DROPPED, BOTTOM = range(6)

TABLE = {
    b"date": DATE,
    b"to": ADDRESSES,
    b"cc": ADDRESSES,
    b"notice-requested-upon-delivery-to": ADDRESSES,
    b"from": ADDRESSES,
    b"sender": ADDRESSES,
    b"reply-to": ADDRESSES,
    b"mail-reply-to": ADDRESSES,
    b"mail-followup-to": ADDRESSES,
    b"message-id": MESSAGE_ID,
    b"received": TOP,
    b"delivered-to": TOP,
    b"errors-to": TOP,
    b"return-receipt-to": TOP,
    b"resent-sender": TOP,
    b"resent-from": TOP,
    b"resent-reply-to": TOP,
    b"resent-to": TOP,
    b"resent-cc": TOP,
    b"resent-bcc": TOP,
    b"resent-date": TOP,
    b"resent-message-id": TOP,
    b"bcc": DROPPED,
    b"return-path": DROPPED,
    b"apparently-to": DROPPED,
    b"content-length": DROPPED,
}
"""The fields that do not just go to the bottom. The order counts, see `known_name`."""

_BEGINNINGS = {name[:length]: name for name in reversed(TABLE) for length in range(len(name) + 1)}


class TooLarge(Exception):
    """A header passed its limit."""


class HeaderCollector:
    """Gathers text until the header is complete."""

    __slots__ = ("_at", "_limit", "_text")

    def __init__(self, limit: int) -> None:
        """Begin; `limit` is in bytes, 0 for any size."""
        self._limit = limit
        self._text = bytearray()
        self._at = 0  # where the first line starts that was not looked at

    def feed(self, text: bytes) -> tuple[bytes, bytes] | None:
        """Take text whose lines end in LF.

        Returns:
            The header and what follows it, which begins with an empty line; None while the header goes on. The header
            ends before the first line that is empty, or does not begin with a blank and is no field.

        Raises:
            TooLarge: it does not end within the limit.
        """
        collected = self._text
        fresh = len(collected)  # before this, the line that has begun has no end
        collected += text
        while (end := collected.find(b"\n", max(self._at, fresh))) >= 0:
            line = bytes(collected[self._at : end])
            if not line or not (is_continuation(line) or field_name(line)):
                # A line that ends the header without being empty counts too: while it is not complete, nobody can tell
                # what it is, and how the text is cut into pieces must not matter.
                self._check_limit(end if line else self._at)
                rest = bytes(collected[self._at :])
                return bytes(collected[: self._at]), rest if not line else b"\n" + rest
            self._at = end + 1
        self._check_limit(len(collected))
        return None

    def finish(self) -> bytes:
        """Return the header of a message that ends inside it."""
        return bytes(self._text)

    def _check_limit(self, size: int) -> None:
        if self._limit and size > self._limit:
            raise TooLarge


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


def known_name(name: bytes) -> bytes:
    """Return the first name of `TABLE` that begins with `name`; if there is none, `name`.

    So `F:` is a From field. And lines before the first field that begin with a blank, which have no name at all, are
    a Date field.
    """
    return _BEGINNINGS.get(name, name)


def split_fields(header: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """Yield the name of each field in lower case, and the field with its line ends."""
    start = 0
    while start < len(header):
        end = header.find(b"\n", start) + 1 or len(header)
        while header[end : end + 1] in (b" ", b"\t"):
            end = header.find(b"\n", end) + 1 or len(header)
        lines = header[start:end]
        yield b"" if is_continuation(lines) else field_name(lines.partition(b"\n")[0]) or b"", lines
        start = end


def body_of(lines: bytes) -> bytes:
    """Return what follows the colon of a field, without line ends."""
    if is_continuation(lines):
        return unfold(lines.lstrip(b" \t").removeprefix(b":"))
    return unfold(lines.partition(b":")[2])
