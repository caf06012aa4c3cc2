"""A submission session: what its events lead to (RFC 6409). The one place where errors become SMTP replies.

`Submission.serve` is a generator over `operations`: it reads and writes the client, asks the checker, opens the door,
and decides. It starts from no: mail is taken only after RELAYCLIENT or a checker's explicit yes, and 250 is said only
after the door's.
"""

from checkpw.checker import ACCEPTED, MISUSED, REJECTED, TEMPORARY, Answer
from checkpw.errors import CheckpwError, MessageRefused
from checkpw.operations import Receive, Secure, Send, Sleep, TimedOut
from checkpw.smtp import events, replies
from checkpw.smtp.events import NEED_DATA, Closed
from checkpw.smtp.limits import MAX_ADDRESS
from checkpw.smtp.replies import Reply
from checkpw.smtp.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Protocol

    from checkpw.credentials import Credentials
    from checkpw.logline import Value
    from checkpw.mess822.outgoing import Stamp
    from checkpw.names import Names
    from checkpw.operations import Result, Steps
    from checkpw.outbound import OutboundMessage
    from checkpw.peer import Peer
    from checkpw.policy import Policy
    from checkpw.queue.base import Door, Transaction

    class Checker(Protocol):
        """Whoever is asked about logins."""

        def ask(self, credentials: Credentials) -> "Steps[Answer]":
            """Decide about a login; what goes wrong is an answer, too."""


GOODBYE_TIMEOUT = 10.0
"""Seconds that a client has for our last words."""

GRACE = 60.0
"""Seconds of a message before anybody looks how fast it comes."""

DIAGNOSTIC_LINES = 10
"""How many lines of a checker's standard error are logged."""


class Submission:
    """One client, from greeting to goodbye."""

    __slots__ = (
        "_author",
        "_began",
        "_checker",
        "_door",
        "_environ",
        "_log",
        "_message",
        "_message_began",
        "_names",
        "_now",
        "_offers_starttls",
        "_peer",
        "_pid",
        "_policy",
        "_queued",
        "_queued_bytes",
        "_serial",
        "_session",
        "_taken",
        "_transaction",
    )

    def __init__(
        self,
        policy: "Policy",
        peer: "Peer",
        door: "Door",
        checker: "Checker | None",
        environ: dict[bytes, bytes],
        *,
        names: "Names | None" = None,
        offers_starttls: bool = False,
        log: "Callable[[dict[str, Value]], None]",
        now: "Callable[[], float]",
        pid: int | bytes,
    ) -> None:
        """Put a session together.

        Args:
            policy: what the administrator decided.
            peer: the client.
            door: where mail goes.
            checker: who is asked about logins; None refuses AUTH.
            environ: what programs behind the door get; who logged in is added.
            names: who sends under another name and address (name.cdb); None for nobody.
            offers_starttls: the runner performs `Secure`.
            log: takes the fields of an event; must not block.
            now: seconds since 1970.
            pid: for the log and Message-IDs: number of this process, and of the session if it has many, as `1.2`.
        """
        self._policy = policy
        self._peer = peer
        self._door = door
        self._checker = checker
        self._environ = environ
        self._names = names
        self._log = log
        self._now = now
        self._pid = pid
        self._offers_starttls = offers_starttls
        self._session = Session(
            policy.hostname,
            policy.limits,
            is_authorised=policy.relays_for_all,
            auth_refusal=self._auth_refusal(),
            offers_smtputf8=door.carries_smtputf8,
            offers_dsn=door.carries_dsn,
            offers_requiretls=door.carries_requiretls,
            offers_starttls=offers_starttls,
            uses_tls=peer.uses_tls,
            may_speak_lf=not peer.is_remote and not peer.uses_tls,
        )
        self._author: bytes | None = None  # the name that goes with the sender, if somebody says so
        self._transaction: Transaction | None = None  # with a next hop, before the message
        self._message: OutboundMessage | None = None
        self._began = self._message_began = 0.0
        self._serial = self._taken = 0
        self._queued = 0
        self._queued_bytes = 0

    def serve(self) -> "Steps[None]":
        """Serve the client until the session is over.

        Raises:
            TemporaryFailure: a signal wants us to end. The client is told, and what it was sending is not queued.
        """
        self._began = self._now()
        try:
            yield from self._serve()
        except CheckpwError:
            self._session.close(replies.NOT_SERVING, "shutdown")
            yield from self._serve()
            raise

    def _serve(self) -> "Steps[None]":
        session, timeout = self._session, self._policy.idle_timeout
        listen = Receive(timeout)
        while not isinstance(event := session.next_event(), Closed):
            if event is not NEED_DATA:
                steps = self._HANDLERS[type(event)](self, event)
                if steps is not None:
                    yield from steps
                continue
            try:
                if words := session.data_to_send():
                    yield Send(words, timeout)
                data = yield listen
            except TimedOut:
                session.close(replies.TIMED_OUT, "timeout")
            except OSError:
                session.receive_eof()
            else:
                if data:
                    session.receive_data(data)
                else:
                    session.receive_eof()
        if self._message is not None:  # its end was interrupted
            yield from self._drop_message(events.MessageAborted(event.reason))
        yield from self._forget_transaction()
        yield from self._leave(event.reason)

    def _send_ahead(self, _full: events.Signal) -> "Steps[None]":
        """Have the client read replies before more of what it has sent is looked at."""
        try:
            yield Send(self._session.data_to_send(), self._policy.idle_timeout)
        except TimedOut:
            self._session.close(replies.TIMED_OUT, "timeout")
        except OSError:
            self._session.receive_eof()

    def _leave(self, reason: str) -> "Steps[None]":
        try:
            if words := self._session.data_to_send():
                yield Send(words, min(GOODBYE_TIMEOUT, self._policy.idle_timeout))
        except (OSError, TimedOut, CheckpwError):
            pass  # it is gone, or we are; nothing that was promised depends on these words
        tls, counts = self._yes_if_tls(), {"messages": self._queued, "bytes": self._queued_bytes}
        self._tell("session", tls=tls, reason=reason, **counts, began=self._began)

    def _yes_if_tls(self) -> str:
        return "yes" if self._peer.uses_tls else "no"

    def _tell(self, event: str, *, began: float, **fields: "Value") -> None:
        """Log an event; the client's address stands first, who has logged in or tries to, the seconds since `began`."""
        words: dict[str, Value] = {"client": self._peer.ip, "pid": self._pid, "event": event}
        if self._session.login is not None:
            words["login"] = self._session.login
        words.update(fields)
        words["seconds"] = self._now() - began
        self._log(words)

    # TLS.

    def _secure(self, _requested: events.TlsRequested) -> "Steps[None]":
        """Have the connection encrypted (RFC 3207); where that fails, there is nobody left to talk to."""
        session, timeout, began = self._session, self._policy.handshake_timeout, self._now()
        session.accept()
        try:
            yield Send(session.data_to_send(), timeout)
            secured = yield Secure(timeout)
        except (OSError, TimedOut) as error:
            self._tell("tls", reason=str(error) or "timeout", began=began)
            session.close(None, "tls")
            return
        self._peer = self._peer.secured()
        self._environ = self._environ | secured.environ
        discarded = secured.discarded + session.start_over(self._auth_refusal())
        protocol, cipher = (secured.environ.get(name, b"unknown") for name in (b"SSL_PROTOCOL", b"SSL_CIPHER"))
        self._tell("tls", protocol=protocol, cipher=cipher, discarded=discarded, began=began)
        if discarded:
            self._tell("warning", text="what came in clear behind STARTTLS was thrown away", began=began)

    # AUTH.

    def _auth_refusal(self) -> Reply | None:
        if self._checker is None:
            return replies.AUTH_UNAVAILABLE
        if self._policy.requires_tls and not self._peer.uses_tls:
            return replies.AUTH_NEEDS_STARTTLS if self._offers_starttls else replies.AUTH_NEEDS_TLS
        return None

    def _authenticate(self, attempt: events.AuthAttempted) -> "Steps[None]":
        began = self._now()
        if attempt.refusal is not None or attempt.credentials is None or self._checker is None:
            answer = Answer(REJECTED, attempt.reason)
        else:
            answer = yield from self._checker.ask(attempt.credentials)
        reply = attempt.refusal or VERDICTS[answer.verdict]
        self._tell_answer(attempt, answer, began)
        if reply is not None and reply.code == replies.AUTH_FAILED.code:
            # Until start + delay, and not for the delay: how long the check took is not to be seen.
            # A clock that is set back meanwhile does not make it longer.
            delay = self._policy.auth_delay
            yield Sleep(min(delay, max(0.0, began + delay - self._now())))
        if reply is None:
            self._session.accept()
        else:
            self._session.reject(reply)

    def _tell_answer(self, attempt: events.AuthAttempted, answer: Answer, began: float) -> None:
        for line in answer.diagnostics.splitlines()[:DIAGNOSTIC_LINES]:
            self._tell("checker", says=line, began=began)
        self._tell(
            "auth",
            login=attempt.login,
            mechanism=attempt.mechanism,
            tls=self._yes_if_tls(),
            verdict=answer.verdict,
            reason=answer.reason,
            began=began,
        )
        if answer.verdict == MISUSED:
            self._tell("warning", text="the checker says that it is misused: check its arguments", began=began)
        if self._peer.is_remote and not self._peer.uses_tls and not self._peer.is_loopback:
            self._tell("warning", text="a password came over the network without TLS", began=began)

    # Mail.

    def _take_address(self, offered: "events.SenderOffered | events.RecipientOffered") -> "Steps[None] | None":
        """Take an address, its host rewritten, if the next hop does, where there is one to ask.

        Where there is none every address is taken: whoever gets here may send, and delivery knows better than we do.
        """
        address = self._policy.host_rules.rewrite_address(offered.address)
        refusal = None
        if len(address) >= MAX_ADDRESS:
            refusal = replies.ADDRESS_TOO_LONG
        elif isinstance(offered, events.SenderOffered):
            address, refusal = self._find_author(address)
        elif not address:
            refusal = replies.NO_RECIPIENT
        if refusal is not None:
            self._session.reject(refusal)
            return None
        if isinstance(offered, events.SenderOffered):
            offered.envelope.sender = address
            return self._offer_sender(offered.envelope)
        if self._transaction is not None:
            return self._ask(self._transaction.offer(address, offered.parameters), address)
        self._session.accept(address)
        return None

    def _offer_sender(self, envelope: events.Envelope) -> "Steps[None]":
        yield from self._forget_transaction()
        asking = self._door.begin(envelope)
        if asking is None:
            self._session.accept(envelope.sender)
        else:
            self._transaction = yield from self._ask(asking, envelope.sender)

    def _ask(self, asking: "Steps[Result]", address: bytes) -> "Steps[Result | None]":
        """Accept an address if the next hop does, and return what it returns."""
        began = self._now()
        try:
            result = yield from asking
        except MessageRefused as refusal:
            reason = b"%d %s %s" % (refusal.code, refusal.enhanced, refusal.reply_text)
            self._tell("refused", address=address, reason=reason, began=began)
            self._session.reject(Reply(refusal.code, refusal.enhanced, refusal.reply_text))
            return None
        self._session.accept(address)
        return result

    def _forget_transaction(self) -> "Steps[None]":
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            yield from transaction.abort()

    def _find_author(self, sender: bytes) -> tuple[bytes, Reply | None]:
        """Look a sender up in name.cdb, note the name, and return the address to take, and why it is not taken."""
        self._author = None
        if self._names is None:
            return sender, None
        from checkpw.cdb import UnreadableCdb

        try:
            found = self._names.find(sender)
        except UnreadableCdb as error:
            self._tell("warning", text=str(error), began=self._now())
            return sender, replies.NAMES_UNREADABLE
        if found is not None:
            self._author, sender = found
        return sender, None

    def _open_message(self, offered: events.MessageOffered) -> "Steps[None]":
        # What rewrites headers is imported when there is one, and not before the greeting.
        from checkpw.mess822.outgoing import Style
        from checkpw.outbound import OutboundMessage

        self._message_began = self._now()
        self._taken = 0
        policy = self._policy
        style = Style(policy.host_rules, keeps_groups=policy.keeps_groups, hops=policy.hops)
        message = OutboundMessage(offered.envelope, self._stamp(offered.envelope), style, policy.header_bytes)
        try:
            yield from message.open(self._transaction or self._door, self._queue_environment())
        except MessageRefused as refusal:
            self._tell_message(message, "refused", refusal)
            self._session.reject(Reply(refusal.code, refusal.enhanced, refusal.reply_text))
        else:
            self._message, self._transaction = message, None
            self._session.accept()

    def _take_block(self, block: events.MessageBlock) -> "Steps[None] | None":
        message, rate = self._message, self._policy.least_rate
        assert message is not None
        if rate:
            self._taken += len(block.data)
            elapsed = self._now() - self._message_began
            if elapsed > GRACE and self._taken < rate * elapsed:
                self._session.close(replies.TOO_SLOW, "slow")
                return None
        return message.take(block.data)

    def _queue_message(self, ended: events.MessageEnded) -> "Steps[None]":
        message, began = self._message, self._now()
        assert message is not None
        try:
            words = yield from message.finish()
        except MessageRefused as refusal:
            self._message = None
            self._tell_message(message, "refused", refusal, queue_seconds=self._now() - began)
            self._session.reject(Reply(refusal.code, refusal.enhanced, refusal.reply_text))
            return
        self._message = None
        self._queued += 1
        self._queued_bytes += message.size
        stray_cr = "yes" if ended.had_stray_returns else "no"
        self._tell_message(message, "queued", stray_cr=stray_cr, queue_seconds=self._now() - began)
        self._session.accept(words or None)

    def _drop_message(self, aborted: events.MessageAborted) -> "Steps[None]":
        message, self._message = self._message, None
        assert message is not None
        yield from message.abort()
        self._tell_message(message, "aborted", reason=aborted.reason)

    def _tell_message(
        self, message: "OutboundMessage", result: str, refusal: MessageRefused | None = None, **fields: "Value"
    ) -> None:
        if refusal is not None:
            fields = {"reason": b"%d %s %s" % (refusal.code, refusal.enhanced, refusal.reply_text), **fields}
        envelope = message.envelope
        self._tell(
            "message",
            sender=envelope.sender,
            recipients=len(envelope.recipients),
            result=result,
            **fields,
            bytes=message.size,
            began=self._message_began,
        )

    def _stamp(self, envelope: events.Envelope) -> "Stamp":
        from checkpw.mess822 import dates
        from checkpw.mess822.outgoing import Stamp, received_field

        policy, session = self._policy, self._session
        now = dates.utc(self._now())
        who = (session.login or self._peer.info) if policy.shows_user else b""
        ip = self._peer.ip if policy.shows_ip else b""
        received = received_field(who, ip, policy.hostname, self._protocol(envelope), now.format())
        make_id, author = self._make_message_id, self._author
        return Stamp(received, now, make_id, envelope.sender, author, is_utf8=envelope.is_utf8)

    def _make_message_id(self, date: bytes) -> bytes:
        self._serial += 1
        pid = self._pid if isinstance(self._pid, bytes) else b"%d" % self._pid
        return b"<%s.%d.%s.qmail@%s>" % (date, self._serial, pid, self._policy.id_host)

    def _protocol(self, envelope: events.Envelope) -> bytes:
        """Return the word after `with` (RFC 3848, RFC 6531 section 4.3)."""
        word = b"UTF8SMTP" if envelope.is_utf8 else b"ESMTP" if self._session.is_extended else b"SMTP"
        return word + b"S" * self._peer.uses_tls + b"A" * (self._session.login is not None)

    def _queue_environment(self) -> dict[bytes, bytes]:
        login = self._session.login
        if login is None:
            return self._environ
        return self._environ | {b"RELAYCLIENT": b"", b"SMTPAUTHUSER": login, b"TCPREMOTEINFO": login}

    _HANDLERS: "ClassVar[dict[type, Callable[[Submission, Any], Steps[None] | None]]]" = {  # noqa: RUF012  annotated
        events.TlsRequested: _secure,
        events.AuthAttempted: _authenticate,
        events.SenderOffered: _take_address,
        events.RecipientOffered: _take_address,
        events.MessageOffered: _open_message,
        events.MessageBlock: _take_block,
        events.MessageEnded: _queue_message,
        events.MessageAborted: _drop_message,
        events.Signal: _send_ahead,  # OUTPUT_FULL: of the others, NEED_DATA is seen before, and PAUSED never
    }
    """What each event leads to; None is returned where there is nothing to wait for."""


VERDICTS = {
    ACCEPTED: None,
    REJECTED: replies.AUTH_FAILED,
    MISUSED: replies.AUTH_TEMPORARY,
    TEMPORARY: replies.AUTH_TEMPORARY,
}
"""The reply to each verdict of a checker; only a no is told as one."""
