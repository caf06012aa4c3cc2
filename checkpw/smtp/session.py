"""One SMTP submission session without I/O: bytes in, events and replies out.

Drive it by `receive_data`, `receive_eof`, `next_event` and `data_to_send`. After an event that waits for a decision it
parses nothing until `accept` or `reject`: pipelined commands are never executed under an assumption. After a STARTTLS
that was accepted it parses nothing until `start_over`, and nothing that came before that. Whatever bytes come in,
`next_event` raises nothing.

Commands are ofmipd's (facts of mess822's ofmipd(8)), replies RFC 5321's with the codes of RFC 3463.
"""

from checkpw.smtp import grammar, replies, states
from checkpw.smtp.data import CRLF, ChunkReader, DotReader
from checkpw.smtp.events import (
    NEED_DATA,
    OUTPUT_FULL,
    PAUSED,
    AuthAttempted,
    Closed,
    Envelope,
    MessageOffered,
    RecipientOffered,
    SenderOffered,
    Signal,
    TlsRequested,
)
from checkpw.smtp.exchange import AuthExchange
from checkpw.smtp.incoming import CHUNK_CAP, Chunk, Incoming
from checkpw.smtp.limits import MAX_AUTH_LINE, MAX_COMMAND_LINE, MAX_REPLIES, Limits
from checkpw.smtp.lines import Input, TooLong
from checkpw.smtp.offers import DEFAULT, Offers
from checkpw.smtp.replies import CommandRefused, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from checkpw.smtp.events import Event

    Decide = Callable[[Reply | None, bytes | None], None]

# What the next bytes are.
COMMAND, AUTH, DATA, CHUNK, HANDSHAKE, CLOSED = "command", "auth", "data", "chunk", "handshake", "closed"

SIMPLE = {b"NOOP": replies.OK, b"VRFY": replies.VERIFY, b"HELP": replies.HELP}
"""Verbs that are answered and forgotten."""

OBJECT_THEMSELVES = (b"STARTTLS", b"AUTH", b"BDAT")
"""Verbs for which `states` does not come first: they may not be offered, or have octets behind them."""


class Session:
    """The server's side of one connection.

    Attributes:
        state: one of `states.STATES`.
        login: who authenticated, None if nobody did.
        is_extended: the client did not say HELO, so that it gets ESMTP in the trace field (RFC 3848).
        uses_tls: the connection is encrypted.
    """

    __slots__ = (
        "_auth_failures",
        "_auth_refusal",
        "_chunk",
        "_close_reason",
        "_decide",
        "_envelope",
        "_errors",
        "_events",
        "_exchange",
        "_hostname",
        "_input",
        "_is_authorised",
        "_is_eof",
        "_limits",
        "_may_speak_lf",
        "_message",
        "_mode",
        "_offers",
        "_offers_starttls",
        "_output",
        "is_extended",
        "login",
        "state",
        "uses_tls",
    )

    def __init__(
        self,
        hostname: bytes,
        limits: Limits,
        *,
        is_authorised: bool = False,
        auth_refusal: Reply | None = replies.AUTH_UNAVAILABLE,
        offers: Offers = DEFAULT,
        offers_starttls: bool = False,
        uses_tls: bool = False,
        may_speak_lf: bool = False,
        login: bytes | None = None,
    ) -> None:
        """Begin with the greeting.

        Args:
            hostname: said in greeting, HELO, EHLO and QUIT.
            limits: of this session.
            is_authorised: the client may send without AUTH (RELAYCLIENT).
            auth_refusal: the reply to AUTH where it cannot be used; None offers it.
            offers: what EHLO announces because of others.
            offers_starttls: whoever decides can have the connection encrypted.
            uses_tls: it is encrypted from the start.
            may_speak_lf: a client whose first line ends in a bare LF ends its messages with LF.LF.
            login: who has logged in already, as somebody else found out: the reply to that AUTH is the greeting.
        """
        self.uses_tls = uses_tls
        self._hostname = hostname
        self._limits = limits
        self._is_authorised = is_authorised
        self._offers = offers
        self._offers_starttls = offers_starttls
        self._may_speak_lf = may_speak_lf
        self._is_eof = False
        self._output: list[bytes] = []
        self._events: list[Event] = []
        self._decide: Decide | None = None
        self._errors = 0
        self._auth_failures = 0
        self._close_reason = ""
        self._message: Incoming | None = None
        self._chunk: Chunk | None = None
        self._forget_client(auth_refusal)
        if login is None:
            self._say(Reply(220, b"", hostname + b" ESMTP"))
        else:
            self._log_in(login)

    def _forget_client(self, auth_refusal: Reply | None) -> None:
        """Begin with a client of whom nothing is known but how often it has failed."""
        self.state = states.READY if self._is_authorised else states.STRANGER
        self.login: bytes | None = None
        self.is_extended = True
        self._auth_refusal = auth_refusal
        self._mode = COMMAND
        self._input = Input()
        self._exchange: AuthExchange | None = None
        self._envelope: Envelope | None = None

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
        """Go on until there is something to tell.

        Returns:
            An event; NEED_DATA when the input is used up; OUTPUT_FULL when there is more input, and replies enough to
            be sent before it is used; PAUSED while a decision is owed, or `start_over` after a
            STARTTLS. `Closed` comes last, again and again.
        """
        while True:
            if self._events:
                return self._events.pop(0)
            if self._decide is not None or self._mode == HANDSHAKE:
                return PAUSED
            if self._mode == CLOSED:
                return Closed(self._close_reason)
            if len(self._output) >= MAX_REPLIES:
                return OUTPUT_FULL
            if not self._advance():
                if not self._is_eof:
                    return NEED_DATA
                self._end(None, "eof")

    def accept(self, value: bytes | None = None) -> None:
        """Say yes to the event that waits: `value` is an address to take instead, or the text of a 250."""
        self._decision()(None, value)

    def reject(self, reply: Reply) -> None:
        """Say no to the event that waits, with this reply."""
        self._decision()(reply, None)

    def start_over(self, auth_refusal: Reply | None) -> int:
        """Begin again on a connection that is encrypted now (RFC 3207 section 4.2).

        Nothing that was said in clear counts any more, and what came behind STARTTLS is never executed
        (CVE-2011-0411). Only failures stay counted: else a client could guess passwords without end.

        Args:
            auth_refusal: as for a session that begins.

        Returns:
            How many bytes were thrown away.
        """
        if self._mode != HANDSHAKE:
            raise RuntimeError("no handshake is under way")
        discarded = len(self._input.take_all())
        self.uses_tls = True
        self._may_speak_lf = False  # that is for shell pipelines
        self._forget_client(auth_refusal)
        return discarded

    def close(self, reply: Reply | None, reason: str) -> None:
        """End the session from outside: on a timeout, when the server goes down, or, wordless, without TLS."""
        self._decide = None
        self._events.clear()  # what they would decide is decided
        self._end(reply, reason)

    # Input.

    def _advance(self) -> bool:
        """Use some input; return False if there is not enough of it."""
        mode = self._mode
        if mode == DATA:
            return self._read_data()
        if mode == CHUNK:
            return self._read_chunk()
        is_auth = mode == AUTH
        try:
            line = self._input.next_line(MAX_AUTH_LINE if is_auth else MAX_COMMAND_LINE)
            if line is None:
                return False
            self._mode = COMMAND
            if is_auth:
                self._auth_response(line)
            else:
                self._command(line)
        except TooLong:
            self._mode = COMMAND
            self._refuse(replies.AUTH_LINE_TOO_LONG if is_auth else replies.LINE_TOO_LONG)
        except CommandRefused as refused:
            self._refuse(refused.reply)
        return True

    # Output and decisions.

    def _say(self, reply: Reply) -> None:
        self._output.append(reply.render())

    def _refuse(self, reply: Reply) -> None:
        """Give a negative reply, and count it if it is the client's fault.

        4xx is not: who sends to 1,100 recipients gets 100 times 452, and must get its 250 for the others.
        """
        self._say(reply)
        if reply.code >= 500:
            self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._end(replies.TOO_MANY_ERRORS, "errors")

    def _end(self, reply: Reply | None, reason: str) -> None:
        if self._mode == CLOSED:
            return
        self._abort_message(reason)
        if reply is not None and self._mode != HANDSHAKE:  # there, words in clear would be taken for a part of it
            self._say(reply)
        self._mode, self._close_reason = CLOSED, reason
        self._input.take_all()

    def _ask(self, event: "Event", decide: "Decide") -> None:
        self._events.append(event)
        self._decide = decide

    def _decision(self) -> "Decide":
        decide, self._decide = self._decide, None
        if decide is None:
            raise RuntimeError("no decision is owed")
        return decide

    # Commands.

    def _command(self, line: bytes) -> None:
        verb, argument = grammar.split_command(line)
        if b"\0" in line and verb != b"BDAT":  # what follows BDAT has to be read, whatever the answer
            raise CommandRefused(replies.NUL_IN_COMMAND)
        if verb not in OBJECT_THEMSELVES:
            refusal = states.objection(verb, self.state)
            if refusal is not None:
                raise CommandRefused(refusal)
        if verb in SIMPLE:
            self._say(SIMPLE[verb])
        else:
            self._COMMANDS[verb](self, argument)

    def _quit(self, _argument: bytes) -> None:
        self._end(Reply(221, b"2.0.0", self._hostname), "quit")

    # RSET, HELO and EHLO end a transaction.

    def _rset(self, _argument: bytes) -> None:
        self._abort_message("reset")
        self._leave_transaction()
        self._say(replies.FLUSHED)

    def _helo(self, _argument: bytes) -> None:
        self._abort_message("reset")
        self._leave_transaction()
        self.is_extended = False
        self._say(Reply(250, b"", self._hostname))

    def _ehlo(self, _argument: bytes) -> None:
        self._abort_message("reset")
        self._leave_transaction()
        self.is_extended = True
        offered = self._offers.lines(
            self._limits.message_bytes,
            uses_tls=self.uses_tls,
            starttls=self._offers_starttls and not self.uses_tls,
            auth=self._auth_refusal is None and self.login is None,
        )
        *lines, last = [self._hostname, *offered]
        self._output.append(b"".join(b"250-" + line + b"\r\n" for line in lines) + b"250 " + last + b"\r\n")

    def _keywords(self) -> tuple[bytes, ...]:
        return self._offers.keywords(uses_tls=self.uses_tls)

    def _starttls(self, argument: bytes) -> None:
        """Ask for a handshake (RFC 3207), where there is somebody to make it."""
        refusal = states.objection(b"STARTTLS", self.state)
        if not self._offers_starttls:
            refusal = replies.UNIMPLEMENTED
        elif self.uses_tls:
            refusal = replies.TLS_AGAIN
        if refusal is None and argument:
            refusal = replies.SYNTAX
        if refusal is not None:
            raise CommandRefused(refusal)
        self._ask(TlsRequested(), self._decide_tls)

    def _decide_tls(self, refusal: Reply | None, _value: bytes | None) -> None:
        if refusal is not None:
            self._refuse(refusal)
            return
        self._mode = HANDSHAKE
        self._say(replies.TLS_GO_AHEAD)

    def _leave_transaction(self) -> None:
        if self.state != states.STRANGER:
            self.state = states.READY

    def _mail(self, argument: bytes) -> None:
        # What was pipelined behind a MAIL that is refused must not go to the recipients of the one before.
        self._leave_transaction()
        address, words = grammar.parse_path(argument)
        passed_on: list[bytes] = []
        is_utf8 = False
        if words:
            passed_on, is_utf8 = grammar.parse_mail_parameters(words, self._keywords(), self._limits.message_bytes)
        grammar.check_characters(address, is_utf8=is_utf8)
        offered = Envelope(address, passed_on, is_utf8=is_utf8)

        def decide(refusal: Reply | None, instead: bytes | None) -> None:
            if refusal is not None:
                self._refuse(refusal)
                return
            if instead is not None:
                offered.sender = instead
            self._envelope = offered
            self.state = states.MAIL
            self._say(replies.SENDER_OK)

        self._ask(SenderOffered(address, offered), decide)

    def _rcpt(self, argument: bytes) -> None:
        envelope = self._envelope
        assert envelope is not None
        if len(envelope.recipients) >= self._limits.recipients:
            raise CommandRefused(replies.TOO_MANY_RECIPIENTS)
        address, words = grammar.parse_path(argument)
        if not address:
            raise CommandRefused(replies.NO_RECIPIENT)
        passed_on: list[bytes] = []
        if words:
            passed_on = grammar.parse_recipient_parameters(words, self._keywords(), is_utf8=envelope.is_utf8)
        grammar.check_characters(address, is_utf8=envelope.is_utf8)

        def decide(refusal: Reply | None, instead: bytes | None) -> None:
            if refusal is not None:
                self._refuse(refusal)
                return
            envelope.add(address if instead is None else instead, passed_on)
            self.state = states.RCPT
            self._say(replies.RECIPIENT_OK)

        self._ask(RecipientOffered(address, passed_on), decide)

    # AUTH (RFC 4954).

    def _auth(self, argument: bytes) -> None:
        """Begin an exchange; the order of objections is ofmipd's."""
        if self.login is not None:
            raise CommandRefused(replies.AUTH_AGAIN)
        if self._auth_refusal is not None:
            raise CommandRefused(self._auth_refusal)
        refusal = states.objection(b"AUTH", self.state)
        if refusal is not None:
            raise CommandRefused(refusal)
        name, _, initial = argument.partition(b" ")
        self._exchange = AuthExchange(name, self._offers.mechanisms)
        self._continue_exchange(self._exchange.begin(initial.strip(b" ")))

    def _auth_response(self, line: bytes) -> None:
        assert self._exchange is not None
        self._continue_exchange(self._exchange.respond(line))

    def _continue_exchange(self, outcome: bytes | AuthAttempted) -> None:
        if isinstance(outcome, bytes):
            self._output.append(outcome)
            self._mode = AUTH
            return
        self._exchange = None

        def decide(refusal: Reply | None, _value: bytes | None) -> None:
            if refusal is None:
                self._log_in(outcome.login)
                return
            self._say(refusal)
            if refusal.code == replies.AUTH_TEMPORARY.code:
                self._count_error()  # no wrong password, but each costs us a process
                return
            self._auth_failures += 1
            if self._auth_failures >= self._limits.auth_failures:
                self._end(replies.TOO_MANY_FAILURES, "auth")

        self._ask(outcome, decide)

    def _log_in(self, login: bytes) -> None:
        self.login = login
        self.state = states.READY
        self._say(replies.AUTHENTICATED)

    # Messages.

    def _offer_message(self, decide: "Decide") -> None:
        assert self._envelope is not None
        self._ask(MessageOffered(self._envelope), decide)

    def _pass_on(self, event: "Event | None") -> None:
        if event is not None:
            self._events.append(event)

    def _abort_message(self, reason: str) -> None:
        if self._message is not None:
            self._pass_on(self._message.abort(reason))
            self._message = None

    def _end_message(self, message: Incoming) -> None:
        """Give a message that was received whole its reply, as soon as somebody decided about it."""
        self._message = None
        self._leave_transaction()
        if message.refusal is not None:
            self._refuse(message.refusal)
            return

        def decide(refusal: Reply | None, text: bytes | None) -> None:
            if refusal is None:
                self._say(replies.OK if text is None else Reply(250, b"2.0.0", text))
            else:
                self._refuse(refusal)

        self._ask(message.end(), decide)

    def _data(self, _argument: bytes) -> None:
        self._offer_message(self._decide_data)

    def _decide_data(self, refusal: Reply | None, _value: bytes | None) -> None:
        if refusal is not None:
            self._leave_transaction()
            self._refuse(refusal)
            return
        speaks_lf = self._may_speak_lf and self._input.first_line_end == b"\n"
        self._message = Incoming(self._limits.message_bytes, DotReader(b"\n" if speaks_lf else CRLF))
        self._mode = DATA
        self._say(replies.GO_AHEAD)

    def _read_data(self) -> bool:
        message = self._message
        assert message is not None and isinstance(message.reader, DotReader)
        data = self._input.take_all()
        if not data:
            return False
        text, rest = message.reader.feed(data)
        self._pass_on(message.take(text))
        if rest is not None:
            self._input.append(rest)
            self._mode = COMMAND
            self._end_message(message)
        return True

    def _bdat(self, argument: bytes) -> None:
        """Begin a chunk (RFC 3030). Its octets are read whatever the answer is: they are no commands."""
        try:
            size, is_last = grammar.parse_chunk(argument)
        except CommandRefused as refused:
            self._say(refused.reply)
            self._end(replies.DESYNCHRONISED, "desync")
            return
        limit = self._limits.message_bytes
        refusal = states.objection(b"BDAT", self.state)
        if refusal is None and limit and size > limit:
            refusal = replies.TOO_BIG
            self._abort_message("size")
            self._leave_transaction()
        self._chunk = chunk = Chunk(size, is_last=is_last)
        if refusal is not None:
            self._swallow(chunk, refusal)
        elif self.state == states.RCPT:
            self._offer_message(self._decide_chunks)
        else:
            self._mode = CHUNK

    def _swallow(self, chunk: Chunk, refusal: Reply) -> None:
        """Read and throw away the octets of a chunk, and refuse it then; of a very large one, at once."""
        if chunk.size > CHUNK_CAP:
            self._say(refusal)
            self._end(replies.DESYNCHRONISED, "desync")
        else:
            chunk.refusal = refusal
            self._mode = CHUNK

    def _decide_chunks(self, refusal: Reply | None, _value: bytes | None) -> None:
        if refusal is None:
            self._mode = CHUNK
            self.state = states.CHUNKS
            self._message = Incoming(self._limits.message_bytes, ChunkReader())
        else:
            self._leave_transaction()
            assert self._chunk is not None
            self._swallow(self._chunk, refusal)

    def _read_chunk(self) -> bool:
        chunk, message = self._chunk, self._message
        assert chunk is not None
        octets = self._input.take(chunk.left)
        if not octets and chunk.left:
            return False
        chunk.left -= len(octets)
        if chunk.refusal is None:
            assert message is not None and isinstance(message.reader, ChunkReader)
            self._pass_on(message.take(message.reader.feed(octets)))
            chunk.refusal = message.refusal
            if chunk.refusal is None and chunk.is_last and not chunk.left:
                self._pass_on(message.take(message.reader.finish()))
                chunk.refusal = message.refusal
        if not chunk.left:
            self._mode = COMMAND
            self._end_chunk(chunk)
        return True

    def _end_chunk(self, chunk: Chunk) -> None:
        if chunk.refusal is not None:
            if self._message is not None and self._message.refusal is not None:
                self._message = None
                self._leave_transaction()
            self._refuse(chunk.refusal)
        elif chunk.is_last:
            assert self._message is not None
            self._end_message(self._message)
        else:
            self._say(Reply(250, b"2.0.0", b"%d octets received" % chunk.size))

    _COMMANDS: "ClassVar[dict[bytes, Callable[[Session, bytes], None]]]" = {  # noqa: RUF012  it is annotated
        b"EHLO": _ehlo,
        b"HELO": _helo,
        b"RSET": _rset,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"BDAT": _bdat,
        b"QUIT": _quit,
    }
