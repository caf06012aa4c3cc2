"""The client of a middleman: its lines and blocks, what it is told, and how often it may fail."""

from checkpw.operations import Receive, Send, TimedOut
from checkpw.smtp import replies
from checkpw.smtp.limits import MAX_REPLIES
from checkpw.smtp.lines import Input, TooLong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.operations import Steps
    from checkpw.queue.hop_replies import Reply as ServersReply
    from checkpw.smtp.replies import Reply


class Over(Exception):
    """The session is over.

    Attributes:
        reason: for the log.
        reply: our last word, None if there is none.
        status: of the process.
    """

    def __init__(self, reason: str, reply: "Reply | None" = None, status: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply
        self.status = status


class Client:
    """One client. Whatever ends the session is raised as `Over`.

    Attributes:
        input: what has come and was not used yet.
    """

    __slots__ = ("_errors", "_most_errors", "_output", "_timeout", "input")

    def __init__(self, timeout: float, errors: int) -> None:
        """Listen.

        Args:
            timeout: seconds that it has to say something, or to read what we say.
            errors: commands that may fail.
        """
        self._timeout = timeout
        self._most_errors = errors
        self._errors = 0
        self._output: list[bytes] = []
        self.input = Input()

    def line(self, limit: int) -> "Steps[bytes]":
        """Return the next line, with all replies given before it is waited for."""
        while True:
            try:
                line = self.input.next_line(limit)
            except TooLong:
                self.refuse(replies.LINE_TOO_LONG)
                continue
            if line is not None:
                return line
            yield from self.receive()

    def receive(self) -> "Steps[None]":
        """Wait for bytes, with all replies given before."""
        yield from self.flush()
        try:
            data: bytes = yield Receive(self._timeout)
        except TimedOut:
            raise Over("timeout", replies.TIMED_OUT) from None
        except OSError:
            data = b""
        if not data:
            raise Over("eof")
        self.input.append(data)

    def flush(self) -> "Steps[None]":
        """Give all replies."""
        data = b"".join(self._output)
        self._output.clear()
        try:
            if data:
                yield Send(data, self._timeout)
        except (OSError, TimedOut):
            raise Over("eof") from None

    def say(self, reply: "Reply") -> None:
        """Give a reply, with the next ones."""
        self._output.append(reply.render())

    def refuse(self, reply: "Reply") -> None:
        """Give a negative reply, and count it."""
        self.say(reply)
        self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._most_errors:
            raise Over("errors", replies.TOO_MANY_ERRORS)

    def pass_on(self, reply: "ServersReply") -> None:
        """Give a reply of the server's; one that says goodbye ends the session, and one that refuses is counted."""
        self.copy(reply)
        if reply.code == replies.NOT_SERVING.code:
            raise Over("server")
        if reply.code >= 500:
            self._count_error()

    def copy(self, reply: "ServersReply") -> None:
        """Give a reply of the server's, whatever it says."""
        code = b"%d" % reply.code
        *lines, last = reply.lines
        self._output += [code + b"-" + replies.printable(line) + b"\r\n" for line in lines]
        self._output.append(code + b" " + replies.printable(last) + b"\r\n")

    def has_unread_replies(self) -> bool:
        """Tell whether there are as many replies as we want to hold for a client that does not read."""
        return len(self._output) >= MAX_REPLIES
