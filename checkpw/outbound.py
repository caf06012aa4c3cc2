"""One message from the session to a door: its header rewritten, its body untouched, never held whole."""

from checkpw.errors import MessageRefused
from checkpw.mess822.fields import HeaderCollector, TooLarge
from checkpw.mess822.outgoing import TooManyHops, rewrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.mess822.outgoing import Stamp, Style
    from checkpw.operations import Steps
    from checkpw.queue.base import Delivery, Door, Transaction
    from checkpw.smtp.events import Envelope

REFUSALS: dict[type, tuple[int, bytes, bytes]] = {
    TooLarge: (552, b"5.3.4", b"the header is too large"),
    TooManyHops: (554, b"5.4.6", b"too many hops, this message is looping"),
}


class OutboundMessage:
    """A message that is coming in and going out at once.

    Attributes:
        envelope: its sender and recipients.
        size: bytes handed to the door.
    """

    def __init__(self, envelope: "Envelope", stamp: "Stamp", style: "Style", header_bytes: int) -> None:
        """Begin; `header_bytes` is the limit of the header, 0 for any size."""
        self.envelope = envelope
        self.size = 0
        self._stamp = stamp
        self._style = style
        self._header: HeaderCollector | None = HeaderCollector(header_bytes)
        self._delivery: Delivery | None = None
        self._refusal: MessageRefused | None = None

    def open(self, door: "Door | Transaction", environ: dict[bytes, bytes]) -> "Steps[None]":
        """Open the door; raises `MessageRefused` if it stays shut."""
        self._delivery = yield from door.open(self.envelope, environ)

    def take(self, block: bytes) -> "Steps[None]":
        """Take some of the message. Trouble is kept until `finish`, because the client sends on anyway."""
        if self._refusal is not None:
            return
        try:
            if self._header is not None:
                complete = self._header.feed(block)
                if complete is None:
                    return
                header, rest = complete
                self._header = None
                block = self._rewritten(header) + rest
        except (TooLarge, TooManyHops) as error:
            self._refusal = MessageRefused(*REFUSALS[type(error)])
            yield from self.abort()
        else:
            yield from self._write(block)

    def finish(self) -> "Steps[bytes]":
        """Queue the message and return the door's words.

        Raises:
            MessageRefused: it is not queued.
        """
        if self._refusal is None and self._header is not None:
            try:
                header = self._rewritten(self._header.finish())
            except (TooLarge, TooManyHops) as error:
                self._refusal = MessageRefused(*REFUSALS[type(error)])
            else:
                yield from self._write(header)
        if self._refusal is not None:
            yield from self.abort()
            raise self._refusal
        assert self._delivery is not None
        # Until it has answered, the delivery stays ours to abort.
        words = yield from self._delivery.commit()
        self._delivery = None
        return words

    def abort(self) -> "Steps[None]":
        """See to it that nothing of the message is queued; again and again if need be."""
        if self._delivery is not None:
            yield from self._delivery.abort()
            self._delivery = None

    def _rewritten(self, header: bytes) -> bytes:
        return rewrite(header, self._style, self._stamp)

    def _write(self, data: bytes) -> "Steps[None]":
        assert self._delivery is not None
        self.size += len(data)
        yield from self._delivery.write(data)
