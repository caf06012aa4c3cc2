"""The client's side of SMTP and POP3, as far as logging in and asking for a relay goes. It never sends a message."""

import contextlib
import enum
from dataclasses import dataclass
from typing import Self

from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.session import Closed, Session, Silent
from checkpw.conform.model import Violation


class Language(enum.Enum):
    """What a caller speaks."""

    SMTP = "smtp"
    POP3 = "pop3"


class Kind(enum.Enum):
    """What a reply says."""

    YES = "yes"  # 2yz, +OK
    MORE = "more"  # 3yz, and +OK where more has to come
    LATER = "later"  # 4yz
    NO = "no"  # 5yz, -ERR
    CLOSED = "closed"  # no reply, the connection was closed
    GARBLED = "garbled"  # no reply of this protocol
    SILENT = "silent"  # no reply in time


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    Attributes:
        kind: what it says.
        lines: of it, with their ends.
    """

    kind: Kind
    lines: tuple[bytes, ...]

    @property
    def code(self) -> int:
        """The reply code of SMTP, 0 if there is none."""
        last = self.lines[-1][:3] if self.lines else b""
        return int(last) if last.isdigit() and self.kind is not Kind.GARBLED else 0

    def __str__(self) -> str:
        if self.kind is Kind.SILENT:
            return "no reply in time"
        if self.kind is Kind.CLOSED:
            return "the connection closed"
        return ascii(b"".join(self.lines).decode("latin-1")).strip("'\"")


class Client:
    """A client of the command under test, in the middle of a session.

    Args:
        session: the command, just started.
        language: what it speaks; None to tell by its greeting.
        patience: seconds for each reply.

    Attributes:
        greeting: the first reply.
        mechanisms: what EHLO announces behind AUTH, in capitals.
        heard: everything that the command sent.
    """

    def __init__(self, session: Session, language: Language | None, patience: float) -> None:
        self.session = session
        self.language = language
        self.patience = patience
        self.greeting = Reply(Kind.SILENT, ())
        self.mechanisms: frozenset[bytes] = frozenset()
        self.heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.session.end()

    def greet(self) -> Self:
        """Hear the greeting, and in SMTP say EHLO; afterwards the client can log in."""
        self.greeting = self.reply()
        if self.language is Language.SMTP and self.greeting.kind is Kind.YES:
            lines = self.ask(b"EHLO client.example").lines
            announced = [line[4:].upper().replace(b"AUTH=", b"AUTH ").split() for line in lines]
            self.mechanisms = frozenset(word for words in announced if words[:1] == [b"AUTH"] for word in words[1:])
        return self

    def reply(self, patience: float | None = None) -> Reply:
        """Return the next reply, whatever it is."""
        given = self.patience if patience is None else patience
        try:
            return self._reply(self._line(given), given)
        except Silent:
            return Reply(Kind.SILENT, ())
        except Closed:
            return Reply(Kind.CLOSED, ())

    def ask(self, line: bytes) -> Reply:
        """Send a line and return its reply.

        Raises:
            Violation: there is none in time.
        """
        self.session.send(line + b"\r\n")
        reply = self.reply()
        if reply.kind is Kind.SILENT:
            raise Violation(f"a reply within {self.patience:g} seconds", "none", given=line + b"\r\n")
        return reply

    def attempt(self, attempt: Attempt) -> Reply:
        """Play an attempt to log in, and return the reply that ends it.

        Raises:
            Violation: there is none in time.
        """
        early = self.begin(attempt)
        if early is not None:
            return early
        reply = self.reply()
        if reply.kind is Kind.SILENT:
            raise Violation(f"a reply within {self.patience:g} seconds", "none", given=attempt.wire)
        return reply

    def begin(self, attempt: Attempt) -> Reply | None:
        """Play an attempt up to its last line, and leave the reply to that unread.

        Returns:
            The reply that ended it before the last line was sent, None if all were.
        """
        for line in attempt.lines[:-1]:
            reply = self.ask(line)
            if self.language is Language.POP3 and reply.kind is Kind.YES:
                reply = Reply(Kind.MORE, reply.lines)
            if reply.kind is not Kind.MORE:
                return reply
        self.session.send(attempt.lines[-1] + b"\r\n")
        return None

    def relay(self, sender: bytes, recipient: bytes) -> Reply:
        """Ask for a relay to a foreign address; return the first reply that is no yes, else that to RCPT.

        Nothing is sent: the transaction is given up.
        """
        reply = self.ask(b"MAIL FROM:<" + sender + b">")
        if reply.kind is Kind.YES:
            reply = self.ask(b"RCPT TO:<" + recipient + b">")
            if reply.kind is not Kind.CLOSED:
                self.ask(b"RSET")
        return reply

    def remainder(self, patience: float) -> None:
        """Hear what else comes until the connection is closed, or nothing comes for so many seconds."""
        with contextlib.suppress(Silent, Closed):
            while True:
                self._line(patience)

    def _line(self, patience: float) -> bytes:
        line = self.session.line(patience)
        self.heard += line
        return line

    def _reply(self, line: bytes, patience: float) -> Reply:
        if self.language is None:
            self.language = Language.POP3 if line.startswith((b"+OK", b"-ERR")) else Language.SMTP
        if self.language is Language.POP3:
            for kind, start in ((Kind.YES, b"+OK"), (Kind.NO, b"-ERR"), (Kind.MORE, b"+ ")):
                if line.startswith(start):
                    return Reply(kind, (line,))
            return Reply(Kind.GARBLED, (line,))
        lines = [line]
        while _is_of_smtp(lines[-1]) and lines[-1][3:4] == b"-":
            lines.append(self._line(patience))
        kinds = {b"2": Kind.YES, b"3": Kind.MORE, b"4": Kind.LATER, b"5": Kind.NO}
        if not _is_of_smtp(lines[-1]) or len({each[:3] for each in lines}) > 1:
            return Reply(Kind.GARBLED, tuple(lines))
        return Reply(kinds.get(line[:1], Kind.GARBLED), tuple(lines))


def _is_of_smtp(line: bytes) -> bool:
    """Tell whether a line is a reply line of RFC 5321 section 4.2; a bare LF at its end is let through."""
    return len(line) > 3 and line[:3].isdigit() and line[3:4] in (b" ", b"-", b"\r", b"\n") and line.endswith(b"\n")
