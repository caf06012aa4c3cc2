"""The server side of POP3 before a login, without I/O (RFC 1939 section 4, RFC 2449, RFC 2595).

Driven like `smtp.session`, whose events it has: bytes in, events and replies out. After a login the mailbox is somebody
else's, who greets with the `+OK` that answers the login.
"""

from checkpw import sasl
from checkpw.smtp import replies
from checkpw.smtp.events import NEED_DATA, OUTPUT_FULL, PAUSED, AuthAttempted, Closed, TlsRequested
from checkpw.smtp.grammar import split_command
from checkpw.smtp.limits import MAX_COMMAND_LINE, MAX_REPLIES
from checkpw.smtp.lines import Input, TooLong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from checkpw.smtp.events import Event, Signal
    from checkpw.smtp.limits import Limits
    from checkpw.smtp.replies import Reply

ALWAYS_CAPABLE = (b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE")
"""RFC 2449 and RFC 3206; PIPELINING because nothing behind a login is read before its session."""

RESPONSE_CODES = {535: b"[AUTH] ", 454: b"[SYS/TEMP] ", 421: b"[SYS/TEMP] "}
"""SMTP's code of a refusal: what RFC 3206 has for it."""


class Pop3Login:
    """One connection, from greeting to login.

    Attributes:
        login: who tries to log in, None before anybody has.
        uses_tls: the connection is encrypted.
    """

    __slots__ = (
        "_auth_failures",
        "_auth_refusal",
        "_capabilities",
        "_close_reason",
        "_errors",
        "_event",
        "_input",
        "_is_eof",
        "_is_handshaking",
        "_is_owed",
        "_limits",
        "_offers_apop",
        "_offers_stls",
        "_output",
        "_stamp",
        "_user",
        "login",
        "uses_tls",
    )

    def __init__(
        self,
        stamp: bytes,
        limits: "Limits",
        *,
        auth_refusal: "Reply | None" = None,
        capabilities: tuple[bytes, ...] = (),
        offers_apop: bool = False,
        offers_stls: bool = False,
        uses_tls: bool = False,
    ) -> None:
        """Begin with the greeting.

        Args:
            stamp: `<pid.time@host>`, which no connection had before: what an APOP digest is of, and what checkers get.
            limits: how many commands and logins may fail.
            auth_refusal: why nobody can log in by now; None if they can.
            capabilities: what the session after a login can do, for CAPA.
            offers_apop: the checker knows passwords in clear, so that it can tell whether a digest is right.
            offers_stls: whoever decides can have the connection encrypted.
            uses_tls: it is encrypted from the start.
        """
        self.login: bytes | None = None
        self.uses_tls = uses_tls
        self._stamp = stamp
        self._limits = limits
        self._capabilities = capabilities
        self._offers_apop = offers_apop
        self._offers_stls = offers_stls
        self._is_eof = self._is_owed = self._is_handshaking = False
        self._event: Event | None = None
        self._output: list[bytes] = []
        self._errors = self._auth_failures = 0
        self._close_reason = ""
        self._forget_client(auth_refusal)
        # A stamp in the greeting is the offer of APOP; without the one, clients do not try the other.
        self._say(b"+OK " + stamp if offers_apop else b"+OK ready")

    def _forget_client(self, auth_refusal: "Reply | None") -> None:
        self._auth_refusal = auth_refusal
        self._input = Input()
        self._user: bytes | None = None

    # What a runner calls.

    def receive_data(self, data: bytes) -> None:
        """Take bytes that came from the client."""
        self._input.append(data)

    def receive_eof(self) -> None:
        """Take note that nothing more will come."""
        self._is_eof = True

    def data_to_send(self) -> bytes:
        """Return and forget the replies that were given since the last call."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def next_event(self) -> "Event | Signal":
        """Go on until there is something to tell; see `smtp.session.Session.next_event`."""
        while True:
            if self._event is not None:
                event, self._event = self._event, None
                return event
            if self._close_reason:
                return Closed(self._close_reason)
            if self._is_owed or self._is_handshaking:
                return PAUSED
            if len(self._output) >= MAX_REPLIES:
                return OUTPUT_FULL
            if not self._advance():
                if not self._is_eof:
                    return NEED_DATA
                self._close_reason = "eof"

    def accept(self, _value: bytes | None = None) -> None:
        """Say yes to STLS: a yes to a login is the session's that follows."""
        self._decided()
        self._is_handshaking = True
        self._say(b"+OK begin TLS negotiation")

    def reject(self, reply: "Reply") -> None:
        """Say no to the event that waits, with what POP3 has for this reply."""
        self._decided()
        self._refuse(reply)
        if reply.code == replies.AUTH_TEMPORARY.code:
            return  # counted as an error, as in SMTP
        self._auth_failures += 1
        if self._auth_failures >= self._limits.auth_failures:
            self._close_reason = self._close_reason or "auth"

    def start_over(self, auth_refusal: "Reply | None") -> int:
        """Begin again on a connection that is encrypted now; return how many bytes in clear were thrown away."""
        if not self._is_handshaking:
            raise RuntimeError("no handshake is under way")
        discarded = len(self._input.take_all())
        self._is_handshaking = False
        self.uses_tls = True
        self._forget_client(auth_refusal)
        return discarded

    def close(self, reply: "Reply | None", reason: str) -> None:
        """End the session from outside: after a login, on a timeout, or when the server goes down."""
        self._event, self._is_owed = None, False
        if not self._close_reason:
            if reply is not None and not self._is_handshaking:  # there, words in clear would be a part of it
                self._say(_negative(reply))
            self._close_reason = reason

    def _decided(self) -> None:
        if not self._is_owed:
            raise RuntimeError("no decision is owed")
        self._is_owed = False

    # Input and output.

    def _advance(self) -> bool:
        """Use a line; return False if there is none."""
        try:
            line = self._input.next_line(MAX_COMMAND_LINE)
        except TooLong:
            self._refuse(replies.LINE_TOO_LONG)
            return True
        if line is None:
            return False
        verb, argument = split_command(line)
        if verb == b"PASS":
            argument = line.partition(b" ")[2]  # as it is: a password may begin or end with a blank
        command = self._COMMANDS.get(verb)
        if command is None:
            self._fail(b"-ERR authorization first")
        else:
            command(self, argument)
        return True

    def _say(self, line: bytes) -> None:
        self._output.append(line + b"\r\n")

    def _refuse(self, reply: "Reply") -> None:
        self._fail(_negative(reply))

    def _fail(self, line: bytes) -> None:
        self._say(line)
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._close_reason = "errors"

    def _ask(self, event: "Event") -> None:
        self._event = event
        self._is_owed = True

    # Commands.

    def _capa(self, _argument: bytes) -> None:
        lines = [b"+OK capability list follows", *ALWAYS_CAPABLE, *self._capabilities]
        if self._auth_refusal is None:
            lines.append(b"USER")
        if self._offers_stls and not self.uses_tls:
            lines.append(b"STLS")
        self._output.append(b"".join(line + b"\r\n" for line in lines) + b".\r\n")

    def _noop(self, _argument: bytes) -> None:
        self._say(b"+OK")

    def _quit(self, _argument: bytes) -> None:
        self._say(b"+OK")
        self._close_reason = "quit"

    def _stls(self, _argument: bytes) -> None:
        if not self._offers_stls or self.uses_tls:
            self._fail(b"-ERR STLS not available")
        else:
            self._ask(TlsRequested())

    def _name(self, argument: bytes) -> None:
        if self._auth_refusal is not None:
            self._refuse(self._auth_refusal)
        elif not argument:
            self._fail(b"-ERR syntax error")
        else:
            self._user = argument
            self._say(b"+OK")

    def _password(self, argument: bytes) -> None:
        user, self._user = self._user, None
        if self._auth_refusal is not None:
            self._refuse(self._auth_refusal)
        elif user is None:
            self._fail(b"-ERR USER first")
        else:
            self._attempt(b"USER", user, argument)

    def _apop(self, argument: bytes) -> None:
        user, _, digest = argument.rpartition(b" ")
        if self._auth_refusal is not None:
            self._refuse(self._auth_refusal)
        elif not self._offers_apop:
            self._fail(b"-ERR APOP not available")
        elif not user or len(digest) != 32 or digest.translate(None, b"0123456789abcdefABCDEF"):
            self._fail(b"-ERR syntax error")
        else:
            self._attempt(b"APOP", user, digest.lower())

    def _attempt(self, mechanism: bytes, user: bytes, password: bytes) -> None:
        try:
            credentials = sasl.checked(user, password, self._stamp)
        except sasl.Malformed as error:
            self._ask(AuthAttempted(mechanism, user, None, replies.AUTH_MALFORMED, str(error)))
        except sasl.NotAcceptable as error:
            self._ask(AuthAttempted(mechanism, user, None, replies.AUTH_FAILED, str(error)))
        else:
            self._ask(AuthAttempted(mechanism, user, credentials))

    _COMMANDS: "ClassVar[dict[bytes, Callable[[Pop3Login, bytes], None]]]" = {  # noqa: RUF012  it is annotated
        b"USER": _name,
        b"PASS": _password,
        b"APOP": _apop,
        b"STLS": _stls,
        b"CAPA": _capa,
        b"NOOP": _noop,
        b"QUIT": _quit,
    }


def _negative(reply: "Reply") -> bytes:
    """Return what POP3 says where SMTP says this; the words are the same, but for the name of the command."""
    text = replies.printable(reply.text).replace(b"STARTTLS", b"STLS")
    return b"-ERR " + RESPONSE_CODES.get(reply.code, b"") + text
