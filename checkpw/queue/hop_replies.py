"""The replies of a next hop, which is believed as little as a client: lines and replies have limits. Pure."""

MAX_LINE = 2048
"""Bytes of a line of a reply with its end; RFC 5321 4.5.3.1.5 has 512."""

MAX_LINES = 100
"""Lines of one reply; EHLO has the longest, some 20."""


class HopFailed(Exception):
    """The connection is of no use any more; the text says why.

    Attributes:
        status: of RFC 3463.
    """

    def __init__(self, text: str, status: bytes = b"4.4.2") -> None:
        super().__init__(text)
        self.status = status


class Reply:
    """One reply of the next hop.

    Attributes:
        code: 200 to 599.
        lines: what follows the code in each line.
    """

    __slots__ = ("code", "lines")

    def __init__(self, code: int, lines: list[bytes]) -> None:
        self.code = code
        self.lines = lines

    @property
    def is_positive(self) -> bool:
        """It is a 2xx."""
        return self.code < 300

    @property
    def enhanced(self) -> bytes:
        """The RFC 3463 status, empty if there is none."""
        word = self.lines[0].partition(b" ")[0]
        digits = word.split(b".")
        is_status = len(digits) == 3 and all(part.isdigit() and len(part) <= 3 for part in digits)
        return word if is_status and word[:1] == b"%d" % (self.code // 100) else b""

    @property
    def text(self) -> bytes:
        """The words of all lines, without the status that stands before each."""
        status = self.enhanced
        return b" ".join(line[len(status) if line.startswith(status) else 0 :].strip() for line in self.lines).strip()


class ReplyReader:
    """Takes replies out of the bytes that come."""

    __slots__ = ("_buffer", "_code", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Nothing has come that was not asked for."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> None:
        """Take bytes that came."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """Return a reply, None while it is not complete; raises `HopFailed` for what is none."""
        while True:
            end = self._buffer.find(b"\n")
            length = len(self._buffer) if end < 0 else end + 1
            if length > MAX_LINE or len(self._lines) >= MAX_LINES:
                raise HopFailed("a reply without end")
            if end < 0:
                return None
            line, self._buffer = self._buffer[:end].removesuffix(b"\r"), self._buffer[end + 1 :]
            code, mark = line[:3], line[3:4]
            is_code = len(code) == 3 and code.isdigit() and b"200" <= code <= b"599"
            if not is_code or mark not in (b"", b" ", b"-"):
                raise HopFailed("no SMTP")
            if self._lines and code != self._code:
                raise HopFailed("no SMTP")
            self._code = code
            self._lines.append(line[4:])
            if mark != b"-":
                lines, self._lines = self._lines, []
                return Reply(int(code), lines)
