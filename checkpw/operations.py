"""Everything that waits: the closed set of operations that generators yield and runners perform.

A checker, a door and a submission session are generators. Each `yield` hands an operation to the runner and gets its
outcome; what fails is raised at the `yield`, as `OSError` or `TimedOut`. So they read as sequential code, and no
runner holds policy. Times are in seconds; None waits for ever.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeVar

    Result = TypeVar("Result")
    Wiring = tuple[tuple[str | int, tuple[int, ...]], ...]
    Steps = Generator["Operation", Any, Result]
    """A generator that yields operations and returns a result."""


class TimedOut(Exception):
    """The time that an operation was given is over.

    Attributes:
        output: what a child that was waited for has written by then.
    """

    output = b""


class Receive:
    """Wait for bytes from the client; the outcome is b"" when it has gone away.

    Attributes:
        descriptor: a socket of ours to read in place of the client's; None for the client.
    """

    __slots__ = ("descriptor", "timeout")

    def __init__(self, timeout: float | None, descriptor: int | None = None) -> None:
        self.timeout = timeout
        self.descriptor = descriptor


class Send:
    """Send all of `data` to the client."""

    __slots__ = ("data", "timeout")

    def __init__(self, data: bytes, timeout: float | None) -> None:
        self.data = data
        self.timeout = timeout


class Secure:
    """Have the connection to the client encrypted from here on, as its TLS server; the outcome is a `Secured`.

    Bytes that came in clear and were not yet given to a `Receive` are thrown away, and are counted in the outcome. What
    fails, by the client's fault or ours, is an `OSError`: then nothing can be said to the client any more.
    """

    __slots__ = ("timeout",)

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout


class Secured:
    """A connection that is encrypted now.

    Attributes:
        environ: what is known of it under mod_ssl's names, at least `SSL_PROTOCOL` and `SSL_CIPHER`.
        discarded: how many bytes came in clear behind the command and were thrown away.
    """

    __slots__ = ("discarded", "environ")

    def __init__(self, environ: dict[bytes, bytes], discarded: int) -> None:
        self.environ = environ
        self.discarded = discarded


TO_CHILD = "to child"
"""The child reads what we write."""
FROM_CHILD = "from child"
"""We read what the child writes."""
NULL = "null"
"""/dev/null, for reading and writing."""
LOG = "log"
"""Our own standard error."""


class Spawn:
    """Start a program in a process group of its own; the outcome is a `Child`.

    Attributes:
        argv: the program, found by the PATH of `environ` as pathexec_run.c would, and its arguments.
        environ: its whole environment.
        wiring: (what, descriptors of the child) pairs, where what is one of the words above or an open descriptor of
            ours; several descriptors of one pair are the same. What is not named is closed in the child.
        instead: what a forked child of ours does in place of executing argv, with the same wiring; it leaves with the
            status that it returns. None to execute argv.
    """

    __slots__ = ("argv", "environ", "instead", "wiring")

    def __init__(
        self,
        argv: list[bytes],
        environ: dict[bytes, bytes],
        wiring: "Wiring",
        instead: "Callable[[], int] | None" = None,
    ) -> None:
        self.argv = argv
        self.environ = environ
        self.wiring = wiring
        self.instead = instead


class Child:
    """A program that was started.

    Attributes:
        pid: also the number of its process group.
        ends: our end of each pipe, by the first descriptor of the child that it was wired to.
    """

    __slots__ = ("ends", "pid")

    def __init__(self, pid: int, ends: dict[int, int]) -> None:
        self.pid = pid
        self.ends = ends


class Write:
    """Write all of `data` to a pipe or file of ours."""

    __slots__ = ("data", "descriptor", "timeout")

    def __init__(self, descriptor: int, data: bytes, timeout: float | None) -> None:
        self.descriptor = descriptor
        self.data = data
        self.timeout = timeout


class Close:
    """Close a descriptor of ours."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor


class Wait:
    """Wait until a child has ended; the outcome is an `Ended`.

    Attributes:
        listen: one of the child's ends to read meanwhile, so that it does not block on a full pipe. What a
            grandchild that keeps the pipe open writes later is not waited for.
        keep: how many bytes of it to keep.
    """

    __slots__ = ("child", "keep", "listen", "timeout")

    def __init__(self, child: Child, timeout: float | None, listen: int | None = None, keep: int = 0) -> None:
        self.child = child
        self.timeout = timeout
        self.listen = listen
        self.keep = keep


class Ended:
    """How a child ended.

    Attributes:
        status: its exit status, or minus the signal that killed it.
        output: the first bytes that it wrote to the end that was listened to.
    """

    __slots__ = ("output", "status")

    def __init__(self, status: int, output: bytes) -> None:
        self.status = status
        self.output = output


class Kill:
    """Kill a child and its process group, and close our ends of its pipes; the outcome is None."""

    __slots__ = ("child",)

    def __init__(self, child: Child) -> None:
        self.child = child


class Sleep:
    """Let time pass."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Sync:
    """Have a file or directory on disk before going on (fsync)."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor


class Connect:
    """Connect to a server; the outcome is a socket of ours, not blocking.

    Attributes:
        host: name or address of an IP host; or, beginning with a slash, the path of a unix socket.
        port: of the IP host.
    """

    __slots__ = ("host", "port", "timeout")

    def __init__(self, host: bytes, port: int, timeout: float) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout


VERIFIER, OPENER = "verifier", "opener"


class Ask:
    """Ask another process of ours; the outcome is an `Answered`, or an `OSError` when it is not there.

    Only the resident server's workers have such processes.

    Attributes:
        service: VERIFIER or OPENER.
        fields: the request.
        to: the `who` of an earlier answer, to ask the same process; None for any of them.
    """

    __slots__ = ("fields", "service", "timeout", "to")

    def __init__(self, service: str, fields: list[bytes], timeout: float | None, to: object = None) -> None:
        self.service = service
        self.fields = fields
        self.timeout = timeout
        self.to = to


class Answered:
    """What a process that was asked has said.

    Attributes:
        fields: the answer.
        descriptor: one that came with it and is ours now; -1 for none.
        who: stands for the process that has said it.
    """

    __slots__ = ("descriptor", "fields", "who")

    def __init__(self, fields: list[bytes], descriptor: int = -1, who: object = None) -> None:
        self.fields = fields
        self.descriptor = descriptor
        self.who = who


if TYPE_CHECKING:
    Operation = Receive | Send | Secure | Spawn | Write | Close | Wait | Kill | Sleep | Sync | Connect | Ask
