"""A submission session: what its events lead to (RFC 6409). The one place where errors become SMTP replies.

`Submission.serve` is a generator over `operations`: it reads and writes the client, asks the checker, opens the door,
and decides. It starts from no: mail is taken only after RELAYCLIENT or a checker's explicit yes, and 250 is said only
after the door's.
"""

from checkpw.conversation import Conversation
from checkpw.errors import MessageRefused
from checkpw.smtp import events, replies
from checkpw.smtp.limits import MAX_ADDRESS
from checkpw.smtp.offers import Offers
from checkpw.smtp.replies import Reply
from checkpw.smtp.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from checkpw.conversation import Checker
    from checkpw.logline import Value
    from checkpw.mess822.outgoing import Stamp
    from checkpw.names import Names
    from checkpw.operations import Result, Steps
    from checkpw.outbound import OutboundMessage
    from checkpw.peer import Peer
    from checkpw.policy import Policy
    from checkpw.queue.base import Door, Transaction


GRACE = 60.0
"""Seconds of a message before anybody looks how fast it comes."""


class Submission:
    """One client, from greeting to goodbye."""

    __slots__ = (
        "_author",
        "_conversation",
        "_door",
        "_message",
        "_message_began",
        "_names",
        "_now",
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
        login: bytes | None = None,
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
            login: who has logged in already, as whoever started us found out (authup(8)); None for nobody.
            offers_starttls: the runner performs `Secure`.
            log: takes the fields of an event; must not block.
            now: seconds since 1970.
            pid: for the log and Message-IDs: number of this process, and of the session if it has many, as `1.2`.
        """
        self._policy = policy
        self._door = door
        self._names = names
        self._now = now
        self._pid = pid
        self._conversation = conversation = Conversation(
            policy, peer, checker, environ, offers_starttls=offers_starttls, log=log, now=now, pid=pid
        )
        self._session = conversation.session = Session(
            policy.hostname,
            policy.limits,
            is_authorised=policy.relays_for_all,
            auth_refusal=conversation.auth_refusal(),
            offers=Offers(smtputf8=door.carries_smtputf8, dsn=door.carries_dsn, requiretls=door.carries_requiretls),
            offers_starttls=offers_starttls,
            uses_tls=peer.uses_tls,
            may_speak_lf=not peer.is_remote and not peer.uses_tls,
            login=login,
        )
        self._author: bytes | None = None  # the name that goes with the sender, if somebody says so
        self._transaction: Transaction | None = None  # with a next hop, before the message
        self._message: OutboundMessage | None = None
        self._message_began = 0.0
        self._serial = self._taken = 0
        self._queued = 0
        self._queued_bytes = 0

    def serve(self) -> "Steps[None]":
        """Serve the client until the session is over.

        Raises:
            TemporaryFailure: a signal wants us to end. The client is told, and what it was sending is not queued.
        """
        return self._conversation.serve(self._decide, self._finish)

    def _decide(self, event: "events.Event") -> "Steps[None] | None":
        return self._HANDLERS[type(event)](self, event)

    def _finish(self, reason: str) -> "Steps[dict[str, Value]]":
        if self._message is not None:  # its end was interrupted
            yield from self._drop_message(events.MessageAborted(reason))
        yield from self._forget_transaction()
        return {"messages": self._queued, "bytes": self._queued_bytes}

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
            self._conversation.tell("refused", address=address, reason=reason, began=began)
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
            self._conversation.tell("warning", text=str(error), began=self._now())
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
        self._conversation.tell(
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
        who = (session.login or self._conversation.peer.info) if policy.shows_user else b""
        ip = self._conversation.peer.ip if policy.shows_ip else b""
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
        return word + b"S" * self._conversation.peer.uses_tls + b"A" * (self._session.login is not None)

    def _queue_environment(self) -> dict[bytes, bytes]:
        login = self._session.login
        if login is None:
            return self._conversation.environ
        return self._conversation.environ | {b"RELAYCLIENT": b"", b"SMTPAUTHUSER": login, b"TCPREMOTEINFO": login}

    _HANDLERS: "ClassVar[dict[type, Callable[[Submission, Any], Steps[None] | None]]]" = {  # noqa: RUF012  annotated
        events.SenderOffered: _take_address,
        events.RecipientOffered: _take_address,
        events.MessageOffered: _open_message,
        events.MessageBlock: _take_block,
        events.MessageEnded: _queue_message,
        events.MessageAborted: _drop_message,
    }
    """What each event leads to; None is returned where there is nothing to wait for."""
