"""Every reply that the session gives by itself: code, RFC 3463 status, text."""


class Reply:
    """One SMTP reply.

    Attributes:
        code: 200 to 599.
        enhanced: RFC 3463 status, empty where RFC 2034 wants none (greeting, EHLO, 3xx).
        text: what follows; one line.
    """

    __slots__ = ("_line", "code", "enhanced", "text")

    def __init__(self, code: int, enhanced: bytes, text: bytes) -> None:
        self.code = code
        self.enhanced = enhanced
        self.text = text
        words = enhanced + b" " + text if enhanced else text
        self._line = b"%d %s\r\n" % (code, printable(words))

    def render(self) -> bytes:
        """Return the line for the wire; bytes that would end it or that a terminal would obey are `?`."""
        return self._line

    def __repr__(self) -> str:
        return f"Reply({self.code}, {self.enhanced!r}, {self.text!r})"


def printable(text: bytes) -> bytes:
    """Replace what is not printable ASCII."""
    if text.isascii() and text.decode("ascii").isprintable():
        return text
    return bytes(byte if 32 <= byte <= 126 else 63 for byte in text)


class CommandRefused(Exception):
    """A command gets this negative reply; caught in the session, nowhere else."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


OK = Reply(250, b"2.0.0", b"ok")
FLUSHED = Reply(250, b"2.0.0", b"flushed")
SENDER_OK = Reply(250, b"2.1.0", b"ok")
RECIPIENT_OK = Reply(250, b"2.1.5", b"ok")
VERIFY = Reply(252, b"2.5.0", b"send some mail, i'll try my best")
HELP = Reply(214, b"2.0.0", b"checkpw ofmipd: see ofmipd(8) and RFC 6409")
GO_AHEAD = Reply(354, b"", b"go ahead")
AUTHENTICATED = Reply(235, b"2.7.0", b"ok, go ahead")
TLS_GO_AHEAD = Reply(220, b"2.0.0", b"ready to start TLS")

UNIMPLEMENTED = Reply(502, b"5.5.1", b"unimplemented")
LINE_TOO_LONG = Reply(500, b"5.5.2", b"line too long")
NUL_IN_COMMAND = Reply(501, b"5.5.2", b"NUL in command")
SYNTAX = Reply(501, b"5.5.4", b"syntax error")
ADDRESS_TOO_LONG = Reply(555, b"5.5.4", b"syntax error: address too long")
ADDRESS_CONTROL = Reply(501, b"5.1.3", b"control character in address")
UNKNOWN_PARAMETER = Reply(555, b"5.5.4", b"parameter not recognized or not implemented")
NEEDS_SMTPUTF8 = Reply(553, b"5.6.7", b"a non-ASCII address needs SMTPUTF8")
NO_RECIPIENT = Reply(501, b"5.1.3", b"empty recipient address")
TOO_MANY_RECIPIENTS = Reply(452, b"4.5.3", b"too many recipients")
NAMES_UNREADABLE = Reply(451, b"4.3.0", b"unable to read cdb")
MAIL_FIRST = Reply(503, b"5.5.1", b"MAIL first")
RCPT_FIRST = Reply(503, b"5.5.1", b"RCPT first")
CHUNKS_OPEN = Reply(503, b"5.5.1", b"finish with BDAT LAST, or RSET, first")
NOT_AUTHORISED = Reply(530, b"5.7.0", b"authentication required")
TOO_BIG = Reply(552, b"5.3.4", b"sorry, that message size exceeds my databytes limit")

TLS_AGAIN = Reply(503, b"5.5.1", b"TLS is in use already")
TLS_IN_TRANSACTION = Reply(503, b"5.5.1", b"no STARTTLS during mail transaction")

AUTH_UNAVAILABLE = Reply(503, b"5.5.1", b"auth not available")
AUTH_NEEDS_TLS = Reply(530, b"5.7.0", b"authentication needs TLS here")
AUTH_NEEDS_STARTTLS = Reply(530, b"5.7.0", b"must issue a STARTTLS command first")
AUTH_AGAIN = Reply(503, b"5.5.1", b"you're already authenticated")
AUTH_IN_TRANSACTION = Reply(503, b"5.5.1", b"no auth during mail transaction")
AUTH_UNKNOWN = Reply(504, b"5.5.4", b"auth type unimplemented")
AUTH_CANCELLED = Reply(501, b"5.7.0", b"auth exchange cancelled")
AUTH_MALFORMED = Reply(501, b"5.5.2", b"malformed auth input")
AUTH_LINE_TOO_LONG = Reply(500, b"5.5.6", b"auth line too long")
AUTH_FAILED = Reply(535, b"5.7.8", b"authorization failed")
AUTH_TEMPORARY = Reply(454, b"4.7.0", b"temporary authentication failure")

TOO_MANY_ERRORS = Reply(421, b"4.7.0", b"too many errors")
TOO_MANY_FAILURES = Reply(421, b"4.7.0", b"too many failed authentications")
DESYNCHRONISED = Reply(421, b"4.5.0", b"cannot tell where this chunk ends")
TOO_SLOW = Reply(421, b"4.4.2", b"the message comes too slowly")
TIMED_OUT = Reply(421, b"4.4.2", b"timeout")
NOT_SERVING = Reply(421, b"4.3.0", b"service not available")
