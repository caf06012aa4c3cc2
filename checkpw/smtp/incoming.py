"""The message that is coming in: its text, its size, and whether anybody still wants it."""

from checkpw.smtp import replies
from checkpw.smtp.data import ChunkReader, DotReader
from checkpw.smtp.events import MessageAborted, MessageBlock, MessageEnded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.smtp.replies import Reply

CHUNK_CAP = 100 * 1024 * 1024
"""Octets of a refused BDAT chunk that are read and thrown away; with more announced, the session ends."""


class Chunk:
    """One BDAT command.

    Attributes:
        size: octets that it announced; `left` of them have not come.
        is_last: LAST was said.
        refusal: the reply that it gets once it was read, None while it is wanted.
    """

    __slots__ = ("is_last", "left", "refusal", "size")

    def __init__(self, size: int, *, is_last: bool) -> None:
        self.size = self.left = size
        self.is_last = is_last
        self.refusal: Reply | None = None


class Incoming:
    """A message from its acceptance to its end.

    Attributes:
        reader: turns what comes over the wire into text.
        refusal: the reply that the message gets at its end, None while it may still be queued.
        is_open: whoever decides was told of a message and not yet of its end.
    """

    __slots__ = ("_limit", "_size", "is_open", "reader", "refusal")

    def __init__(self, limit: int, reader: DotReader | ChunkReader) -> None:
        """Begin a message of at most `limit` bytes as it is stored (tcp-environ's DATABYTES), 0 for any size."""
        self._limit = limit
        self._size = 0
        self.reader = reader
        self.refusal: Reply | None = None
        self.is_open = True

    def take(self, text: bytes) -> "MessageBlock | MessageAborted | None":
        """Count some text and return what there is to tell."""
        self._size += len(text)
        if self.refusal is not None or not text:
            return None
        if self._limit and self._size > self._limit:
            self.refusal = replies.TOO_BIG
            return self.abort("size")
        return MessageBlock(text)

    def abort(self, reason: str) -> MessageAborted | None:
        """Give the message up; return what there is to tell, once."""
        if not self.is_open:
            return None
        self.is_open = False
        return MessageAborted(reason)

    def end(self) -> MessageEnded:
        """Return the event that asks whether the message was queued."""
        self.is_open = False
        return MessageEnded(had_stray_returns=self.reader.had_stray_returns)
