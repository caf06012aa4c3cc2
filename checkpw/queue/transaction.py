"""One message at a next hop: first its envelope, then its text, then the hop's word.

A connection is given back to be used again only when every reply to what was said on it has been read; whatever else
happens, a signal too, closes it. So no reply is ever taken for the answer to something else.
"""

from checkpw.errors import MessageRefused
from checkpw.queue.hop_replies import HopFailed
from checkpw.queue.wire import MAX_TEXT, Stuffer, lost, mail_command, printable, recipient_command, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.operations import Steps
    from checkpw.queue.hop_replies import Reply
    from checkpw.queue.relay import Relay
    from checkpw.queue.smtp_client import Connection
    from checkpw.smtp.events import Envelope

BLOCK_TIMEOUT = 180.0
"""Seconds for a block of the message (RFC 5321 4.5.3.2.5)."""

RESET_TIMEOUT = 10.0
"""Seconds for the answer to RSET: it only saves a new connection."""

GROUP = 50
"""Recipients that are sent before their replies are read. They and their replies fit into any socket's buffers, so that
hop and client never wait for each other (RFC 2920 section 3.1)."""

SEND_BYTES = 32 * 1024
"""Bytes of a message that are collected before they are sent: a small one goes with its final dot."""


class RelayTransaction:
    """One envelope that a next hop is asked about, before the message."""

    def __init__(self, door: "Relay", envelope: "Envelope") -> None:
        """Prepare to ask about an envelope, whose recipients may still come."""
        self._door = door
        self._envelope = envelope
        self._connection: Connection | None = None
        self._agreed: list[bytes] = []  # the recipients that the hop has agreed to, on this connection

    def renew(self) -> "Steps[None]":
        """Ask about the sender, and about all recipients that the envelope has by now.

        A connection that was used before may have been closed by the hop meanwhile: then all is asked again on a new
        one, once. Nothing of a message was sent.

        Raises:
            MessageRefused: by the hop, or because it cannot be asked.
        """
        self._drop()
        try:
            connection = yield from self._door.take()
            try:
                refused = yield from self._ask_all(connection)
            except HopFailed:
                if connection.is_fresh:
                    raise
                connection = yield from self._door.take(is_fresh=True)
                refused = yield from self._ask_all(connection)
        except HopFailed as failure:
            raise lost(str(failure), failure.status) from None
        self._connection = connection
        if refused is not None:
            yield from self.abort()
            raise refused
        self._agreed = self._envelope.recipients[:]

    def offer(self, recipient: bytes, parameters: list[bytes]) -> "Steps[None]":
        """Ask about one more recipient, which the envelope has not got yet.

        Raises:
            MessageRefused: it is refused, or the hop cannot be asked; the others stand.
        """
        reply = None
        if self._connection is not None:
            try:
                reply = yield from self._ask(self._connection, recipient, parameters)
            except HopFailed:
                pass  # the client took its time, and the hop has hung up
        if reply is None:
            yield from self.renew()
            assert self._connection is not None
            try:
                reply = yield from self._ask(self._connection, recipient, parameters)
            except HopFailed as failure:
                raise lost(str(failure), failure.status) from None
        if not reply.is_positive:
            raise refusal(reply.code, reply.enhanced, reply.text)
        self._agreed.append(recipient)

    def open(self, envelope: "Envelope", environ: dict[bytes, bytes]) -> "Steps[RelayDelivery]":
        """Begin the message, for exactly the recipients of `envelope`.

        Raises:
            MessageRefused: not all of them are taken, or the hop takes no message.
        """
        del environ  # no program is started
        self._envelope = envelope
        if self._connection is not None and self._agreed == envelope.recipients:
            try:
                return (yield from self._begin_message(self._connection))
            except HopFailed:
                pass  # as above
        yield from self.renew()
        assert self._connection is not None
        try:
            return (yield from self._begin_message(self._connection))
        except HopFailed as failure:
            raise lost(str(failure), failure.status) from None

    def abort(self) -> "Steps[None]":
        """Forget the envelope; also after trouble, and more than once. The connection is kept if the hop agrees."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            reply = yield from connection.command(b"RSET\r\n", RESET_TIMEOUT)
        except HopFailed:
            connection.drop()
        except BaseException:
            connection.drop()
            raise
        else:
            if reply.is_positive:
                yield from self._door.keep(connection)
            else:
                yield from connection.close()

    def _ask_all(self, connection: "Connection") -> "Steps[MessageRefused | None]":
        """Say MAIL and RCPT, as many at once as the hop allows, and return what is wrong with them."""
        envelope, extensions, timeout = self._envelope, connection.extensions, self._door.step_timeout
        size = GROUP if b"PIPELINING" in extensions else 1
        refused = None
        try:
            lines = [mail_command(envelope, extensions)]
            pairs = zip(envelope.recipients, envelope.recipient_parameters, strict=True)
            lines += [recipient_command(address, words, extensions) for address, words in pairs]
            for at in range(0, len(lines), size):
                yield from connection.send(b"".join(lines[at : at + size]), timeout)
                for number in range(at, min(at + size, len(lines))):
                    reply = yield from connection.reply(timeout)
                    if refused is None and not reply.is_positive:
                        about = envelope.recipients[number - 1] if number else b""
                        refused = refusal(reply.code, reply.enhanced, reply.text, about)
                if refused is not None:
                    break
        except MessageRefused as error:
            return error  # by ourselves: the hop has not been asked yet
        except BaseException:
            connection.drop()
            raise
        return refused

    def _ask(self, connection: "Connection", recipient: bytes, parameters: list[bytes]) -> "Steps[Reply]":
        line = recipient_command(recipient, parameters, connection.extensions)
        try:
            return (yield from connection.command(line, self._door.step_timeout))
        except BaseException:
            self._drop()
            raise

    def _begin_message(self, connection: "Connection") -> "Steps[RelayDelivery]":
        try:
            reply = yield from connection.command(b"DATA\r\n", self._door.step_timeout)
        except BaseException:
            self._drop()
            raise
        if reply.code >= 400:
            yield from self.abort()
            raise refusal(reply.code, reply.enhanced, reply.text)
        if reply.code != 354:
            self._drop()
            raise HopFailed("no SMTP")
        self._connection = None
        return RelayDelivery(self._door, connection, self._agreed)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._agreed = []
        if connection is not None:
            connection.drop()


class RelayDelivery:
    """One message on its way to a next hop, which has agreed to all its recipients."""

    def __init__(self, door: "Relay", connection: "Connection", recipients: list[bytes]) -> None:
        """Go on behind the 354."""
        self._door = door
        self._connection: Connection | None = connection
        self._recipients = recipients
        self._stuffer = Stuffer()
        self._waiting: list[bytes] = []
        self._size = 0
        self._refusal: MessageRefused | None = None

    def write(self, block: bytes) -> "Steps[None]":
        """Send some of the message, sooner or later."""
        if self._refusal is None:
            wire = self._stuffer.feed(block)
            self._waiting.append(wire)
            self._size += len(wire)
            if self._size >= SEND_BYTES:
                yield from self._send()

    def commit(self) -> "Steps[bytes]":
        """Send the final dot, and return what the hop says to it."""
        connection = self._connection
        assert connection is not None
        words = b""
        try:
            # What comes before the final dot is no answer to it.
            if self._refusal is None and not connection.is_quiet():
                self._refusal = self._overheard(connection) or lost("connection lost", b"4.4.2")
            if self._refusal is None:
                self._waiting.append(self._stuffer.finish())
                yield from self._send()
            if self._refusal is None:
                words = yield from self._hear(connection)
                self._connection = None
                yield from self._door.keep(connection)
        except HopFailed as failure:
            self._refusal = lost(str(failure), failure.status)
        if self._refusal is not None:
            yield from self.abort()
            raise self._refusal
        return words

    def abort(self) -> "Steps[None]":
        """Close the connection: a message without its final dot is none."""
        connection, self._connection = self._connection, None
        if connection is not None:
            yield from connection.close()

    def _send(self) -> "Steps[None]":
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        connection = self._connection
        assert connection is not None
        try:
            yield from connection.send(data, BLOCK_TIMEOUT)
        except HopFailed as failure:
            self._refusal = self._overheard(connection) or lost(str(failure), failure.status)

    def _overheard(self, connection: "Connection") -> "MessageRefused | None":
        """Return the refusal of a hop that did not wait for the end of the message, if there is one."""
        connection.is_quiet()
        reply = connection.overheard()
        return refusal(reply.code, reply.enhanced, reply.text) if reply is not None and reply.code >= 400 else None

    def _hear(self, connection: "Connection") -> "Steps[bytes]":
        """Read what the hop says to the message; LMTP says it for each recipient (RFC 2033 section 4.2)."""
        replies = []
        for _ in self._recipients if self._door.is_lmtp else self._recipients[:1]:
            reply = yield from connection.reply(self._door.timeout)
            if 300 <= reply.code < 400:
                raise HopFailed("no SMTP")
            replies.append(reply)
        refused = [(reply, name) for reply, name in zip(replies, self._recipients, strict=False) if reply.code >= 400]
        if refused:
            reply, name = min(refused, key=lambda pair: pair[0].code >= 500)  # what is for now comes first
            about = name if len(replies) > 1 else b""
            self._refusal = refusal(reply.code, reply.enhanced, reply.text, about)
        return printable(replies[0].text)[:MAX_TEXT] if len(replies) == 1 else b""
