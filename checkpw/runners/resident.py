"""Performs operations on an event loop (asyncio's or uvloop's): many generators at once in one process.

`Drive` drives one generator. What can be had at once is given to it at once; for the rest it is `PENDING`, and whoever
performs the operation calls `resume` later, exactly once.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable
from typing import Any

from checkpw import operations
from checkpw.errors import CheckpwError
from checkpw.operations import Child, Ended, TimedOut
from checkpw.runners import spawning

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from checkpw.operations import Steps

BLOCK = 64 * 1024
"""Bytes read at once, as in `stdio`."""

PENDING = object()
"""The outcome comes later."""

Performer = Callable[[Any, "Drive"], object]

PATIENCE = 0.05
"""Seconds between two looks at a child where there is no pidfd to wait on."""


class Drive:
    """One generator and the operation that it waits for.

    Attributes:
        client: whose operations `Receive`, `Send` and `Secure` are, if somebody's.
        forget: what undoes the waiting for the pending operation, as set by who performs it.
    """

    __slots__ = ("_at_end", "_performers", "_steps", "client", "forget")

    def __init__(
        self,
        steps: Steps[Any],
        performers: dict[type, Performer],
        at_end: Callable[[Any, BaseException | None], None],
        client: Any = None,
    ) -> None:
        """Prepare to drive `steps`; `at_end` is called once, with its result or with what it raised."""
        self.client = client
        self._steps = steps
        self._performers = performers
        self._at_end = at_end
        self.forget: Callable[[], None] | None = None

    def resume(self, outcome: object = None, failure: Exception | None = None) -> None:
        """Give the generator the outcome of its operation (None to start it), and perform until it has to wait."""
        steps, performers = self._steps, self._performers
        self.forget = None
        try:
            while True:
                operation = steps.send(outcome) if failure is None else steps.throw(failure)
                outcome = failure = None
                try:
                    outcome = performers[type(operation)](operation, self)
                except (OSError, TimedOut, CheckpwError) as error:
                    failure = error
                if outcome is PENDING:
                    return
        except StopIteration as stop:
            self._at_end(stop.value, None)
        except (CheckpwError, OSError, TimedOut) as error:
            self._at_end(None, error)
        except BaseException as error:  # a fault of ours ends this generator, and is told to the loop
            self._at_end(None, error)
            raise

    def interrupt(self, error: CheckpwError) -> None:
        """Have the pending operation fail with this, like a signal in a process of its own."""
        if self.forget is not None:
            self.forget()
        self.resume(None, error)


class Timer:
    """The one time limit that something has at a time, without a timer for each wait.

    A timer that is armed already and fires too early is armed again; one that nobody waits for any more is let go.
    """

    __slots__ = ("_at", "_expired", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        """Call `expired` when a time set by `start` is over."""
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float | None) -> None:
        """Set the limit; None for none."""
        if seconds is None:
            self._at = None
            return
        at = self._at = self._loop.time() + seconds
        if self._handle is not None:
            if self._handle.when() <= at:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self._fired)

    def stop(self) -> None:
        """Have no limit."""
        self._at = None

    def close(self) -> None:
        """Let go of everything."""
        self._at = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fired(self) -> None:
        self._handle = None
        if self._at is None:
            return
        if self._loop.time() >= self._at - 0.001:  # the loop's clock is as coarse as that
            self._at = None
            self._expired()
        else:
            self._handle = self._loop.call_at(self._at, self._fired)


class Descriptors:
    """Performs everything but what concerns a client: on pipes, files, sockets, programs and time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._children: dict[int, Child] = {}
        self.performers: dict[type, Performer] = {
            operations.Receive: self._receive,
            operations.Write: self._write,
            operations.Close: self._close,
            operations.Connect: self._connect,
            operations.Spawn: self._spawn,
            operations.Wait: self._wait,
            operations.Kill: self._kill,
            operations.Sleep: self._sleep,
            operations.Sync: self._sync,
        }

    @property
    def running(self) -> int:
        """The number of programs that were started and have not ended."""
        return len(self._children)

    # Waiting.

    def _until(
        self, drive: Drive, timeout: float | None, watched: tuple[int, ...], undo: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """Have the drive wait; return what ends the waiting. Past the timeout, `TimedOut` is raised in it."""
        loop = self._loop

        def settle() -> None:
            if timer is not None:
                timer.cancel()
            for descriptor in watched:
                loop.remove_reader(descriptor)
                loop.remove_writer(descriptor)
            if undo is not None:
                undo()

        def expire() -> None:
            settle()
            drive.resume(None, TimedOut())

        timer = None if timeout is None else loop.call_later(timeout, expire)
        drive.forget = settle
        return settle

    # Descriptors.

    def _receive(self, operation: operations.Receive, drive: Drive) -> object:
        descriptor = operation.descriptor
        assert descriptor is not None
        try:
            return os.read(descriptor, BLOCK)
        except BlockingIOError:
            pass
        settle = self._until(drive, operation.timeout, (descriptor,))

        def ready() -> None:
            try:
                data = os.read(descriptor, BLOCK)
            except BlockingIOError:
                return
            except OSError as error:
                settle()
                drive.resume(None, error)
                return
            settle()
            drive.resume(data)

        self._loop.add_reader(descriptor, ready)
        return PENDING

    def _write(self, operation: operations.Write, drive: Drive) -> object:
        descriptor = operation.descriptor
        view = _write_some(descriptor, memoryview(operation.data))
        if not view:
            return None
        settle = self._until(drive, operation.timeout, (descriptor,))

        def ready() -> None:
            nonlocal view
            try:
                view = _write_some(descriptor, view)
            except OSError as error:
                settle()
                drive.resume(None, error)
                return
            if not view:
                settle()
                drive.resume()

        self._loop.add_writer(descriptor, ready)
        return PENDING

    def _close(self, operation: operations.Close, drive: Drive) -> None:
        del drive
        for child in self._children.values():
            if operation.descriptor in child.ends.values():
                child.ends = {target: end for target, end in child.ends.items() if end != operation.descriptor}
                break
        os.close(operation.descriptor)

    def _connect(self, operation: operations.Connect, drive: Drive) -> object:
        task = self._loop.create_task(self._connected(operation))
        settle = self._until(drive, operation.timeout, (), functools.partial(_drop, task.cancel))

        def done(task: asyncio.Task[int]) -> None:
            if task.cancelled():
                return
            settle()
            failure = task.exception()
            if failure is None:
                drive.resume(task.result())
            else:
                drive.resume(None, failure if isinstance(failure, OSError) else OSError(str(failure)))

        task.add_done_callback(done)
        return PENDING

    async def _connected(self, operation: operations.Connect) -> int:
        if operation.host.startswith(b"/"):
            return await self._connect_to(socket.AF_UNIX, operation.host)
        found = await self._loop.getaddrinfo(operation.host, operation.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("no address")
        for family, _type, _protocol, _name, address in found:
            try:
                return await self._connect_to(family, address)
            except OSError as error:
                failure = error
        raise failure

    async def _connect_to(self, family: int, address: Any) -> int:
        client = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(client, address)
        except BaseException:
            client.close()
            raise
        return client.detach()

    # Programs.

    def _spawn(self, operation: operations.Spawn, drive: Drive) -> Child:
        del drive
        child = spawning.spawn(operation)
        self._children[child.pid] = child
        return child

    def _wait(self, operation: operations.Wait, drive: Drive) -> object:
        _Waiting(self._loop, operation, drive, self._forget).begin()
        return PENDING

    def _kill(self, operation: operations.Kill, drive: Drive) -> object:
        child = operation.child
        if child.pid not in self._children:
            return None
        self._forget(child)
        is_killed = spawning.kill_group(child.pid)
        if os.waitpid(child.pid, os.WNOHANG)[0]:
            return None
        # Who may not be killed is collected when it ends, and nobody waits for that.
        waiting = [drive] if is_killed else []
        drive.forget = waiting.clear
        self._loop.call_later(PATIENCE / 10, self._collect, child.pid, waiting)
        return PENDING if is_killed else None

    def _collect(self, pid: int, waiting: list[Drive]) -> None:
        if not os.waitpid(pid, os.WNOHANG)[0]:
            self._loop.call_later(PATIENCE, self._collect, pid, waiting)
            return
        for drive in waiting:
            drive.resume()

    def _forget(self, child: Child) -> None:
        del self._children[child.pid]
        for end in child.ends.values():
            os.close(end)
        child.ends = {}

    # Time and disk.

    def _sleep(self, operation: operations.Sleep, drive: Drive) -> object:
        drive.forget = self._loop.call_later(operation.seconds, drive.resume).cancel
        return PENDING

    def _sync(self, operation: operations.Sync, drive: Drive) -> object:
        """Wait for the disk in a thread: fsync lets the others run meanwhile, and cannot be called off."""
        future = self._loop.run_in_executor(None, os.fsync, operation.descriptor)

        def done(future: asyncio.Future[None]) -> None:
            failure = future.exception()
            drive.resume(None, failure if isinstance(failure, Exception) else None)

        future.add_done_callback(done)
        drive.forget = functools.partial(_drop, future.remove_done_callback, done)
        return PENDING

    def clean_up(self) -> None:
        """Kill every program that still runs: the process is about to end."""
        for child in list(self._children.values()):
            self._forget(child)
            if spawning.kill_group(child.pid):
                os.waitpid(child.pid, 0)


class _Waiting:
    """Somebody waits for a child, and reads what it says meanwhile."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        operation: operations.Wait,
        drive: Drive,
        forget: Callable[[Child], None],
    ) -> None:
        self._loop = loop
        self._operation = operation
        self._drive = drive
        self._forget = forget
        self._output = b""
        self._listen = operation.listen
        self._handle = spawning.open_process(operation.child.pid)
        self._timer: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        if self._operation.timeout is not None:
            self._timer = self._loop.call_later(self._operation.timeout, self._expire)
        if self._listen is not None:
            self._loop.add_reader(self._listen, self._hear)
        if self._handle >= 0:
            self._loop.add_reader(self._handle, self._look)
        else:
            self._ticking = self._loop.call_later(0.0, self._look)
        self._drive.forget = self._settle

    def _settle(self) -> None:
        for timer in (self._timer, self._ticking):
            if timer is not None:
                timer.cancel()
        if self._listen is not None:
            self._loop.remove_reader(self._listen)
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)

    def _hear(self) -> None:
        if self._listen is None:
            return
        try:
            piece = os.read(self._listen, BLOCK)
        except BlockingIOError:
            return
        self._output += piece[: max(0, self._operation.keep - len(self._output))]
        if not piece:
            self._loop.remove_reader(self._listen)
            self._listen = None  # end of file: nobody writes there any more

    def _look(self) -> None:
        child = self._operation.child
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if not pid:
            if self._handle < 0:
                self._ticking = self._loop.call_later(PATIENCE, self._look)
            return
        self._hear()  # what was written just before the end
        self._settle()
        self._forget(child)
        self._drive.resume(Ended(os.waitstatus_to_exitcode(status), self._output))

    def _expire(self) -> None:
        self._settle()
        late = TimedOut()
        late.output = self._output
        self._drive.resume(None, late)


def _drop(function: Callable[..., object], *arguments: object) -> None:
    """Call something whose result says nothing to us."""
    function(*arguments)


def _write_some(descriptor: int, view: memoryview) -> memoryview:
    """Write what can be written now, and return the rest."""
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BlockingIOError:
        pass
    return view
