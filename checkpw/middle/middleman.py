"""In front of an SMTP server that knows neither AUTH nor STARTTLS, or had better not: what spamdyke was for others.

The server is on two pipes. One command is passed on at a time, and its reply waited for: so it is known at each moment
what the next bytes are, and text of a message is never looked at as commands. Text goes on in large blocks, with lines
that end in CRLF: a server that ends a message at a bare LF cannot be made to see an end, and commands behind it, where
a client put none (CERT VU#302671).

Mail is passed on for who has logged in, before us (authup(8)) or, where the server's own AUTH is let through, there;
and for everybody where an administrator said so (RELAYCLIENT).
"""

from checkpw.errors import CheckpwError
from checkpw.middle import server
from checkpw.middle.client import Client, Over
from checkpw.operations import Secure, TimedOut
from checkpw.queue.hop_replies import HopFailed
from checkpw.queue.wire import Stuffer
from checkpw.smtp import replies
from checkpw.smtp.data import DotReader
from checkpw.smtp.grammar import parse_chunk
from checkpw.smtp.incoming import CHUNK_CAP
from checkpw.smtp.limits import MAX_AUTH_LINE, MAX_COMMAND_LINE
from checkpw.smtp.lines import Input
from checkpw.smtp.replies import CommandRefused, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from checkpw.logline import Value
    from checkpw.middle.manners import Manners
    from checkpw.middle.server import BackServer
    from checkpw.operations import Steps
    from checkpw.peer import Peer
    from checkpw.queue.hop_replies import Reply as ServersReply

HIDDEN = (b"AUTH", b"STARTTLS")
"""What the server may offer, and the client is not to see."""

CONTROLS = bytes(byte for byte in range(32) if byte != 9) + b"\x7f"
"""Bytes that no command has; a server may take one for the end of a line, or of a word."""

BODY_BLOCK = 1 << 16
"""Octets of a chunk that are passed on at once."""

MAIL_VERBS = (b"MAIL", b"RCPT", b"DATA", b"SEND", b"SOML", b"SAML", b"TURN", b"ETRN", b"ATRN", b"XEXCH50")
"""What has to do with mail, in RFC 821 and later, but for BDAT."""

REFUSED_FOR_NOW, REFUSED_FOR_GOOD = 14, 15
"""Exit statuses after a greeting of 4xx and 5xx, those of fixsmtpio: the client has heard it."""

CONTROL_IN_COMMAND = Reply(501, b"5.5.2", b"control character in command")
NOTHING_LEFT = Reply(421, b"4.3.0", b"the mail server behind this one is not available")


class Middleman:
    """One client, and the server that it is to see."""

    __slots__ = (
        "_argv",
        "_auth_failures",
        "_began",
        "_client",
        "_environ",
        "_extensions",
        "_is_in_transaction",
        "_is_logged_in",
        "_log",
        "_login",
        "_manners",
        "_now",
        "_peer",
        "_pid",
        "_server",
    )

    def __init__(
        self,
        argv: list[bytes],
        environ: dict[bytes, bytes],
        manners: "Manners",
        peer: "Peer",
        *,
        login: bytes | None,
        log: "Callable[[dict[str, Value]], None]",
        now: "Callable[[], float]",
        pid: int,
    ) -> None:
        """Stand before a server.

        Args:
            argv: the server.
            environ: its environment; who logged in, and what is known of TLS, is added.
            manners: what an administrator decided.
            peer: the client.
            login: who has logged in before us: the greeting is the reply to that AUTH. None for nobody.
            log: takes the fields of an event.
            now: seconds since 1970.
            pid: of this process, for the log.
        """
        self._argv = argv
        self._environ = environ
        self._manners = manners
        self._peer = peer
        self._login = login
        self._log = log
        self._now = now
        self._pid = pid
        self._began = 0.0
        self._client = Client(manners.idle_timeout, manners.errors)
        self._extensions: set[bytes] = set()
        self._is_logged_in = login is not None
        self._is_in_transaction = False
        self._auth_failures = 0
        self._server: BackServer | None = None

    def serve(self) -> "Steps[int]":
        """Serve the client until the session is over, and return the exit status that says how it began.

        Raises:
            TemporaryFailure: a signal wants us to end. The client is told.
        """
        self._began = self._now()
        try:
            over = yield from self._serve()
        except CheckpwError:
            yield from self._leave(Over("shutdown", replies.NOT_SERVING))
            raise
        yield from self._leave(over)
        return over.status

    def _serve(self) -> "Steps[Over]":
        try:
            yield from self._greet()
            while True:
                yield from self._command((yield from self._client.line(MAX_COMMAND_LINE)))
        except HopFailed as failure:
            self._tell("warning", text=str(failure))
            return Over("server", NOTHING_LEFT, REFUSED_FOR_NOW)
        except Over as over:
            return over

    def _leave(self, over: Over) -> "Steps[None]":
        if over.reply is not None:
            self._client.say(over.reply)
        try:
            yield from self._client.flush()
            if self._server is not None:
                yield from self._server.end()
        except (Over, CheckpwError):
            pass  # it is gone, or we are
        self._tell("session", tls="yes" if self._peer.uses_tls else "no", reason=over.reason)

    def _tell(self, event: str, **fields: "Value") -> None:
        words: dict[str, Value] = {"client": self._peer.ip, "pid": self._pid, "event": event}
        if self._login is not None:
            words["login"] = self._login
        self._log(words | fields | {"seconds": self._now() - self._began})

    # The server.

    def _greet(self) -> "Steps[None]":
        greeting = yield from self._start()
        if not greeting.is_positive:
            status = REFUSED_FOR_NOW if greeting.code < 500 else REFUSED_FOR_GOOD
            self._client.copy(greeting)
            raise Over("server", None, status)
        if self._login is not None:
            yield from self._introduce()
            self._client.say(replies.AUTHENTICATED)
        else:
            self._client.pass_on(greeting)

    def _introduce(self) -> "Steps[None]":
        """Say hello for a client who has said it before the login, and need not say it again (RFC 4954 section 4)."""
        name = self._peer.literal
        reply = yield from self._ask(b"EHLO " + name)
        self._extensions = server.extensions(reply)
        if not reply.is_positive:
            yield from self._ask(b"HELO " + name)

    def _start(self) -> "Steps[ServersReply]":
        self._server = yield from server.start(self._argv, self._environ, self._manners.server_timeout)
        return (yield from self._server.reply())

    def _ask(self, line: bytes) -> "Steps[ServersReply]":
        assert self._server is not None
        return (yield from self._server.command(line))

    # Commands.

    def _command(self, line: bytes) -> "Steps[None]":
        # As servers read it that are more lenient than RFC 5321: blanks may stand in front, and tabs for spaces.
        verb, _, argument = line.replace(b"\t", b" ").strip(b" ").partition(b" ")
        verb = verb.upper()
        if verb == b"BDAT":
            yield from self._chunk(argument)
            return
        refusal = self._objection(line, verb)
        if refusal is not None:
            self._client.refuse(refusal)
        elif verb in self._COMMANDS:
            yield from self._COMMANDS[verb](self, line)
        else:
            reply = yield from self._ask(line)
            self._client.pass_on(reply)
            if verb in (b"MAIL", b"RSET", b"HELO") and reply.is_positive:
                self._is_in_transaction = verb == b"MAIL"
        if self._client.has_unread_replies():
            yield from self._client.flush()

    def _objection(self, line: bytes, verb: bytes) -> Reply | None:
        """Return why a command does not get to the server, None if it does."""
        if len(line.translate(None, CONTROLS)) != len(line):
            return replies.NUL_IN_COMMAND if b"\0" in line else CONTROL_IN_COMMAND
        if verb == b"AUTH":
            if self._is_logged_in:
                return replies.AUTH_AGAIN
            return self._needs_tls() if self._manners.observes else replies.AUTH_UNAVAILABLE
        if verb == b"STARTTLS" and not (self._manners.offers_starttls and self._login is None):
            return replies.UNIMPLEMENTED
        return self._mail_objection() if verb in MAIL_VERBS else None

    def _mail_objection(self) -> Reply | None:
        if self._is_logged_in:
            return None
        return self._needs_tls() if self._manners.relays_for_all else replies.NOT_AUTHORISED

    def _needs_tls(self) -> Reply | None:
        if not self._manners.requires_tls or self._peer.uses_tls:
            return None
        return replies.AUTH_NEEDS_STARTTLS if self._manners.offers_starttls else replies.AUTH_NEEDS_TLS

    def _quit(self, line: bytes) -> "Steps[None]":
        self._client.pass_on((yield from self._ask(line)))
        raise Over("quit")

    def _ehlo(self, line: bytes) -> "Steps[None]":
        reply = yield from self._ask(line)
        if reply.is_positive:
            self._is_in_transaction = False
            self._extensions = server.extensions(reply)
            has_auth = self._manners.observes and not self._is_logged_in and self._needs_tls() is None
            hidden = HIDDEN[1:] if has_auth else HIDDEN
            reply.lines[1:] = [found for found in reply.lines[1:] if server.keyword(found) not in hidden]
            if self._manners.offers_starttls and self._login is None and not self._peer.uses_tls:
                reply.lines.append(b"STARTTLS")
        self._client.pass_on(reply)

    def _auth(self, line: bytes) -> "Steps[None]":
        """Let an exchange through that is the server's."""
        reply = yield from self._ask(line)
        while reply.code == 334:
            self._client.pass_on(reply)
            response = yield from self._client.line(MAX_AUTH_LINE)
            reply = yield from self._ask(response.translate(None, CONTROLS))
        if reply.code == 235:
            self._is_logged_in = True
        self._tell("auth", tls="yes" if self._peer.uses_tls else "no", verdict=b"observed", reason=b"%d" % reply.code)
        self._client.pass_on(reply)
        if reply.code == 535:
            self._auth_failures += 1
            if self._auth_failures >= self._manners.auth_failures:
                raise Over("auth", replies.TOO_MANY_FAILURES)

    def _starttls(self, line: bytes) -> "Steps[None]":
        """Have the connection encrypted. The server is another one afterwards, that has heard nothing in clear."""
        if self._peer.uses_tls:
            self._client.refuse(replies.TLS_AGAIN)
        elif self._is_in_transaction:
            self._client.refuse(replies.TLS_IN_TRANSACTION)
        elif line.strip(b" \t").upper() != b"STARTTLS":
            self._client.refuse(replies.SYNTAX)
        else:
            self._client.say(replies.TLS_GO_AHEAD)
            yield from self._client.flush()
            discarded = len(self._client.input.take_all())
            try:
                secured = yield Secure(self._manners.handshake_timeout)
            except (OSError, TimedOut) as error:
                raise Over("tls", None) from error
            assert self._server is not None
            yield from self._server.end()
            self._client.input, self._is_logged_in = Input(), False
            self._peer = self._peer.secured()
            self._environ = self._environ | secured.environ
            self._tell("tls", discarded=discarded + secured.discarded)
            if not (yield from self._start()).is_positive:
                raise HopFailed("the server greets with a refusal")

    # Messages.

    def _data(self, line: bytes) -> "Steps[None]":
        assert self._server is not None
        reply = yield from self._ask(line)
        self._client.pass_on(reply)
        if reply.code != 354:
            return
        reader, stuffer, rest = DotReader(), Stuffer(), None
        while rest is None:
            if not (data := self._client.input.take_all()):
                yield from self._client.receive()
                continue
            text, rest = reader.feed(data)
            yield from self._server.write(stuffer.feed(text))
        self._client.input.append(rest)
        yield from self._server.write(stuffer.finish())
        yield from self._client.flush()
        self._client.pass_on((yield from self._server.reply()))
        self._is_in_transaction = False

    def _chunk(self, argument: bytes) -> "Steps[None]":
        """Pass a chunk on, or throw it away where it is not wanted: its octets are no commands."""
        assert self._server is not None
        try:
            size, is_last = parse_chunk(argument)
        except CommandRefused as refused:
            self._client.say(refused.reply)
            raise Over("desync", replies.DESYNCHRONISED) from None
        refusal = self._mail_objection() or (None if b"CHUNKING" in self._extensions else replies.UNIMPLEMENTED)
        if refusal is not None and size > CHUNK_CAP:
            self._client.say(refusal)
            raise Over("desync", replies.DESYNCHRONISED)
        if refusal is None:  # in our words: what else a line may have in it, two servers may read in two ways
            yield from self._server.write(b"BDAT %d%s\r\n" % (size, b" LAST" * is_last))
        while size:
            data = self._client.input.take(min(size, BODY_BLOCK))
            if not data:
                yield from self._client.receive()
                continue
            size -= len(data)
            if refusal is None:
                yield from self._server.write(data)
        if refusal is not None:
            self._client.refuse(refusal)
        else:
            self._client.pass_on((yield from self._server.reply()))

    _COMMANDS: "ClassVar[dict[bytes, Callable[[Middleman, bytes], Steps[None]]]]" = {  # noqa: RUF012  it is annotated
        b"QUIT": _quit,
        b"EHLO": _ehlo,
        b"AUTH": _auth,
        b"STARTTLS": _starttls,
        b"DATA": _data,
    }
