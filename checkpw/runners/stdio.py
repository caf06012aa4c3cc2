"""Performs operations with blocking calls: the client is on two descriptors, and there is one session per process."""

import errno
import posix
import select
import time

from checkpw import operations
from checkpw.errors import CheckpwError
from checkpw.operations import Child, Ended, TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from checkpw.operations import Result, Steps

BLOCK = 64 * 1024
"""Bytes read from the client at once. From 128 KiB on malloc maps fresh pages for each block (mallopt(3)), which
takes a third of the time again."""

ATOMIC = 4096
"""PIPE_BUF on Linux: a descriptor that polls writable takes so many bytes without blocking."""


class StdioRunner:
    """Runs one generator to its end.

    Attributes:
        incoming, outgoing: descriptors of the client.
    """

    def __init__(
        self,
        incoming: int = 0,
        outgoing: int = 1,
        *,
        tls: tuple[int, int, int] | None = None,
        reads_lines: bool = False,
        leave: "Callable[[Callable[[], int]], NoReturn] | None" = None,
    ) -> None:
        """Speak to a client.

        Args:
            incoming: descriptor to read.
            outgoing: descriptor to write, or the same one.
            tls: control, reading and writing descriptor of a UCSPI-TLS server, which `Secure` needs.
            reads_lines: nothing behind the end of a line is read with it: another program goes on with the client.
            leave: ends a forked child of ours with the status that a function returns, or that its exception means;
                what `Spawn` with `instead` needs.
        """
        self.incoming = incoming
        self.outgoing = outgoing
        self._tls = tls
        self._reads_lines = reads_lines
        self._leave = leave
        self._children: dict[int, Child] = {}
        self._perform: dict[type, Callable[[Any], object]] = {
            operations.Receive: self._receive,
            operations.Send: self._send,
            operations.Secure: self._secure,
            operations.Connect: self._connect,
            operations.Spawn: self._spawn,
            operations.Write: self._write,
            operations.Close: self._close,
            operations.Wait: self._wait,
            operations.Kill: self._kill,
            operations.Sleep: self._sleep,
            operations.Sync: self._sync,
        }

    def run(self, steps: "Steps[Result]") -> "Result":
        """Perform what `steps` yields and return what it returns; no child outlives this.

        A signal that ends the program comes as `CheckpwError`, out of an operation or between two. It is raised at the
        `yield` like any other failure, so that the generator can clean up and say goodbye before it passes it on.
        """
        outcome: object = None
        failure: Exception | None = None
        try:
            while True:
                try:
                    operation = steps.send(outcome) if failure is None else steps.throw(failure)
                    outcome, failure = None, None
                    outcome = self._perform[type(operation)](operation)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                except (OSError, TimedOut, CheckpwError) as error:
                    if steps.gi_frame is None:  # type: ignore[attr-defined]  # every generator of Python's has one
                        raise  # the generator itself has ended with it
                    failure = error
        finally:
            steps.close()
            for child in list(self._children.values()):
                self._kill(operations.Kill(child))

    # The client.

    def _receive(self, operation: operations.Receive) -> bytes:
        deadline = Deadline(operation.timeout)
        if operation.descriptor is not None:
            return _read_socket(operation.descriptor, deadline)
        try:
            if self._reads_lines:
                return _read_line(self.incoming, deadline)
            _wait_until(self.incoming, select.POLLIN, deadline)
            return posix.read(self.incoming, BLOCK)
        except ConnectionError:
            return b""  # a reset is a way to go

    def _send(self, operation: operations.Send) -> None:
        data, deadline = operation.data, Deadline(operation.timeout)
        while data:
            _wait_until(self.outgoing, select.POLLOUT, deadline)
            data = data[posix.write(self.outgoing, data[:ATOMIC]) :]

    def _secure(self, operation: operations.Secure) -> operations.Secured:
        """Have the server that started us do it. What came in clear and is unread goes to it, as part of TLS."""
        from checkpw.runners import ucspi_tls

        if self._tls is None:
            raise OSError(errno.ENOTSUP, "no UCSPI-TLS server")
        deadline = Deadline(operation.timeout)
        environ = ucspi_tls.start(*self._tls, lambda descriptor, event: _wait_until(descriptor, event, deadline))
        ucspi_tls.change_over(*self._tls, self.incoming, self.outgoing)
        self._tls = None
        return operations.Secured(environ, 0)

    # Other servers.

    def _connect(self, operation: operations.Connect) -> int:
        from checkpw.runners import connecting

        return connecting.connect(operation.host, operation.port, operation.timeout)

    # Programs.

    def _spawn(self, operation: operations.Spawn) -> Child:
        from checkpw.runners import spawning

        child = spawning.spawn(operation, self._fork if operation.instead is not None else None)
        self._children[child.pid] = child
        return child

    def _fork(self, operation: operations.Spawn, actions: list[tuple[int, int, int]]) -> int:
        from checkpw.runners import forking

        if self._leave is None:
            raise OSError(errno.ENOTSUP, "nobody to end a forked child")
        return forking.fork(operation, {target: source for _, source, target in actions}, self._leave)

    def _write(self, operation: operations.Write) -> None:
        data, deadline = operation.data, Deadline(operation.timeout)
        view = memoryview(data)
        while view:
            try:
                view = view[posix.write(operation.descriptor, view) :]
            except BlockingIOError:
                _wait_until(operation.descriptor, select.POLLOUT, deadline)

    def _close(self, operation: operations.Close) -> None:
        try:
            for child in self._children.values():
                child.ends = {target: end for target, end in child.ends.items() if end != operation.descriptor}
        finally:
            posix.close(operation.descriptor)

    def _wait(self, operation: operations.Wait) -> Ended:
        from checkpw.runners import spawning

        child, deadline = operation.child, Deadline(operation.timeout)
        output, status = b"", 0
        handle = spawning.open_process(child.pid)
        try:
            while True:
                end = operation.listen
                ready = _poll([handle, -1 if end is None else end], deadline)
                if end is not None:
                    piece = _read_available(end)
                    output += piece[: max(0, operation.keep - len(output))]
                    if not piece and end in ready:
                        operation.listen = None  # end of file: nobody writes there any more
                if handle in ready or handle < 0:
                    pid, status = posix.waitpid(child.pid, posix.WNOHANG)
                    if pid:
                        break
        except TimedOut as late:
            late.output = output
            raise
        finally:
            if handle >= 0:
                posix.close(handle)
        if operation.listen is not None:  # what was written just before the end
            output += _read_available(operation.listen)[: max(0, operation.keep - len(output))]
        self._forget(child)
        return Ended(posix.waitstatus_to_exitcode(status), output)

    def _kill(self, operation: operations.Kill) -> None:
        child = operation.child
        if self._children.get(child.pid) is child:
            from checkpw.runners import spawning

            if spawning.kill_group(child.pid):
                posix.waitpid(child.pid, 0)
            self._forget(child)

    def _forget(self, child: Child) -> None:
        del self._children[child.pid]
        for end in child.ends.values():
            posix.close(end)
        child.ends = {}

    # Time and disk.

    def _sleep(self, operation: operations.Sleep) -> None:
        time.sleep(operation.seconds)

    def _sync(self, operation: operations.Sync) -> None:
        posix.fsync(operation.descriptor)


MAX_POLL = 2**31 - 1
"""Milliseconds that fit into poll's argument: 24 days. Whoever waits longer asks again."""


class Deadline:
    """A point in time that a wait must not pass."""

    __slots__ = ("_at",)

    def __init__(self, timeout: float | None) -> None:
        self._at = None if timeout is None else time.monotonic() + timeout

    def milliseconds(self) -> float | None:
        """Return what is left, for poll, or as much of it as poll takes; raises `TimedOut` when nothing is."""
        if self._at is None:
            return None
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimedOut
        return min(left * 1000, MAX_POLL)


def _wait_until(descriptor: int, event: int, deadline: Deadline) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    while not poller.poll(deadline.milliseconds()):
        pass


def _read_line(descriptor: int, deadline: Deadline) -> bytes:
    """Read up to the end of a line, or as much of one as we look at in one piece.

    Byte by byte: what has been read from a pipe cannot be put back, and a TLS server gives us one.
    """
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    line = bytearray()
    while len(line) < ATOMIC:
        while not poller.poll(deadline.milliseconds()):
            pass
        byte = posix.read(descriptor, 1)
        line += byte
        if not byte or byte == b"\n":
            break
    return bytes(line)


def _read_socket(descriptor: int, deadline: Deadline) -> bytes:
    """Read what has come to a socket of ours, which does not block; what is wrong with it is an `OSError`."""
    while True:
        try:
            return posix.read(descriptor, BLOCK)
        except BlockingIOError:
            _wait_until(descriptor, select.POLLIN, deadline)


PATIENCE = 50.0
"""Milliseconds between two looks at a child where there is no pidfd to wait on."""


def _poll(descriptors: list[int], deadline: Deadline) -> list[int]:
    """Wait until one of the descriptors (but -1) can be read; where the process has no handle, also for a while."""
    left = deadline.milliseconds()
    if descriptors[0] < 0:
        left = PATIENCE if left is None else min(left, PATIENCE)
    poller = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(left)]


def _read_available(descriptor: int) -> bytes:
    try:
        return posix.read(descriptor, 65536)
    except BlockingIOError:
        return b""
