"""Message text on the wire and message text in the queue (RFC 5321 4.5.2, RFC 3030).

Work is done on whole blocks with bytes methods, and the number of passes over a block is what a large message costs:
one search for a dot at the start of a line, one deletion of all CR, one count that shows the deletion was right.
"""

CRLF = b"\r\n"


class DotReader:
    """Undoes the transparency of DATA.

    CRLF.CRLF ends the message and nothing else does (CERT VU#302671). A bare LF is a line end within the message, a
    bare CR becomes a space. For a shell pipeline that speaks LF, `line_end` is LF, and LF.LF ends the message.

    Attributes:
        had_stray_returns: a bare CR was replaced.
    """

    __slots__ = ("_dot", "_end", "_held", "_is_first", "_line_end", "had_stray_returns")

    def __init__(self, line_end: bytes = CRLF) -> None:
        self._line_end = line_end
        self._dot = line_end + b"."
        self._end = line_end + b"." + line_end
        # As if a line had just ended, so that a dot in the first line is one like any other.
        self._held = line_end
        self._is_first = True
        self.had_stray_returns = False

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take bytes from the wire.

        Returns:
            The text that they complete, and what follows the end of the message, None while it has not come.
        """
        text = self._held + data
        rest = None
        # Large messages are base64, which has no dot: to see that takes a tenth of the search.
        at = text.find(self._dot) if b"." in text else -1
        if at >= 0 and (end := text.find(self._end, at)) >= 0:
            rest = text[end + len(self._end) :]
            text = text[: end + len(self._line_end)]
            self._held = b""
        else:
            self._held = self._tail(text)
            if self._held:
                text = text[: -len(self._held)]
        if at >= 0:
            text = text.replace(self._dot, self._line_end)
        if not text:
            return b"", rest
        text = self._with_line_feeds(text)
        if self._is_first:
            self._is_first = False
            text = text[1:]  # the line end that was not there
        return text, rest

    def _tail(self, text: bytes) -> bytes:
        """Return the end of `text` that the next bytes decide about."""
        held = 0
        for length in range(len(self._end) - 1, 0, -1):
            if text.endswith(self._end[:length]):
                held = length
                break
        # In a message that speaks LF, the CR of a CRLF stands before what is held.
        if text.endswith(b"\r", 0, len(text) - held):
            held += 1
        return text[len(text) - held :]

    def _with_line_feeds(self, text: bytes) -> bytes:
        converted, had_stray_returns = with_line_feeds(text)
        self.had_stray_returns |= had_stray_returns
        return converted


class ChunkReader:
    """Turns the octets of BDAT chunks into text; they are not dot-stuffed, and a chunk may end inside a CRLF.

    Attributes:
        had_stray_returns: a bare CR was replaced.
    """

    __slots__ = ("_held", "_last", "had_stray_returns")

    def __init__(self) -> None:
        self._held = b""
        self._last = b"\n"
        self.had_stray_returns = False

    def feed(self, octets: bytes) -> bytes:
        """Take octets of a chunk and return the text that they complete."""
        text = self._held + octets
        self._held = b"\r" if text.endswith(b"\r") else b""
        return self._converted(text[:-1] if self._held else text)

    def finish(self) -> bytes:
        """Return what the last chunk leaves: a CR that nothing follows, and the line end that a last line lacks.

        qmail-remote bounces a message whose last line is partial.
        """
        text = self._converted(self._held)
        return text if self._last == b"\n" else text + b"\n"

    def _converted(self, text: bytes) -> bytes:
        text, had_stray_returns = with_line_feeds(text)
        self.had_stray_returns |= had_stray_returns
        self._last = text[-1:] or self._last
        return text


def with_line_feeds(text: bytes) -> tuple[bytes, bool]:
    """Make each CRLF an LF and each other CR a space; tell whether there was such a CR.

    Deleting one byte everywhere takes a fifth of the time of replacing two by one, and is right if there are as many
    CR as CRLF. The caller sees to it that no CRLF is cut in two.
    """
    without = text.replace(b"\r", b"")
    if len(text) - len(without) == text.count(CRLF):
        return without, False
    return text.replace(CRLF, b"\n").replace(b"\r", b" "), True
