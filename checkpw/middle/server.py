"""A server on descriptors 0 and 1 that we speak SMTP to: the client's side of it, by pipes."""

from checkpw.operations import FROM_CHILD, LOG, TO_CHILD, Close, Kill, Receive, Spawn, TimedOut, Wait, Write
from checkpw.queue.hop_replies import HopFailed, ReplyReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.operations import Child, Steps
    from checkpw.queue.hop_replies import Reply

WIRING = ((TO_CHILD, (0,)), (FROM_CHILD, (1,)), (LOG, (2,)))

END_TIMEOUT = 10.0
"""Seconds that a server has to end once it has nobody to talk to."""


class BackServer:
    """A server that was started."""

    __slots__ = ("_child", "_reader", "_timeout")

    def __init__(self, child: "Child", timeout: float) -> None:
        self._child = child
        self._timeout = timeout
        self._reader = ReplyReader()

    def write(self, data: bytes) -> "Steps[None]":
        """Say something; raises `HopFailed` if it does not listen any more."""
        try:
            yield Write(self._child.ends[0], data, self._timeout)
        except (OSError, TimedOut):
            raise HopFailed("the server does not listen") from None

    def reply(self) -> "Steps[Reply]":
        """Return the next reply; raises `HopFailed` if there is none in time, or what comes is none."""
        while (reply := self._reader.next_reply()) is None:
            try:
                data: bytes = yield Receive(self._timeout, self._child.ends[1])
            except TimedOut:
                raise HopFailed("the server does not answer") from None
            except OSError:
                data = b""
            if not data:
                raise HopFailed("the server has ended")
            self._reader.feed(data)
        return reply

    def command(self, line: bytes) -> "Steps[Reply]":
        """Say a line and return the reply. A server that has left may have said why before: then that is the reply."""
        try:
            yield from self.write(line + b"\r\n")
        except HopFailed:
            return (yield from self.reply())
        return (yield from self.reply())

    def end(self) -> "Steps[None]":
        """Have it end: by the end of its input, and if it does not notice, by force."""
        try:
            yield Close(self._child.ends[0])
            yield Wait(self._child, END_TIMEOUT)
        except (OSError, TimedOut):
            yield Kill(self._child)


def start(argv: list[bytes], environ: dict[bytes, bytes], timeout: float) -> "Steps[BackServer]":
    """Start a server; it may take `timeout` seconds for each answer. Raises `HopFailed`."""
    try:
        child = yield Spawn(argv, environ, WIRING)
    except OSError as error:
        raise HopFailed(f"unable to run {argv[0]!a}: {error.strerror}") from None
    return BackServer(child, timeout)


def extensions(reply: "Reply") -> set[bytes]:
    """Return the keywords that a reply to EHLO announces, in capitals; none for a refusal."""
    if not reply.is_positive:
        return set()
    return {keyword(line) for line in reply.lines[1:]}


def keyword(line: bytes) -> bytes:
    """Return the keyword of a line of such a reply; `AUTH=` from before RFC 2554 is AUTH as well."""
    return line.strip().partition(b" ")[0].partition(b"=")[0].upper()


def offers_auth(argv: list[bytes], environ: dict[bytes, bytes], hostname: bytes, timeout: float) -> "Steps[bool]":
    """Start a server only to see whether it offers AUTH by itself; no byte of a client's gets there.

    Raises:
        HopFailed: it does not greet.
    """
    server = yield from start(argv, environ, timeout)
    greeting = yield from server.reply()
    if not greeting.is_positive:
        raise HopFailed(f"the server greets with {greeting.code}")
    offered = extensions((yield from server.command(b"EHLO " + hostname)))
    yield from server.command(b"QUIT")
    yield from server.end()
    return b"AUTH" in offered
