"""Performs operations on an event loop (asyncio's or uvloop's): many generators at once in one process.

`Drive` drives one generator. What can be had at once is given to it at once; for the rest it is `PENDING`, and whoever
performs the operation calls `resume` later, exactly once.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import Any

from checkpw import operations
from checkpw.errors import CheckpwError
from checkpw.operations import Child, TimedOut
from checkpw.runners import dialling, spawning
from checkpw.runners.waiting import PATIENCE, ChildWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from checkpw.operations import Steps

BLOCK = 64 * 1024
"""Bytes read at once, as in `stdio`."""

PENDING = object()
"""The outcome comes later."""

Performer = Callable[[Any, "Drive"], object]


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
                    self.forget = None  # of a waiting that did not come about
                if outcome is PENDING:
                    return
        except StopIteration as stop:
            self._at_end(stop.value, None)
        except (CheckpwError, OSError, TimedOut) as error:
            self._at_end(None, error)
        except BaseException as error:  # a fault of ours ends this generator, and is told to the loop
            try:
                steps.close()
            finally:
                self._at_end(None, error)
            raise

    def interrupt(self, error: CheckpwError) -> None:
        """Have the pending operation fail with this, like a signal in a process of its own; nothing if none is."""
        if self.forget is not None:
            self.forget()
            self.resume(None, error)


class Descriptors:
    """Performs everything but what concerns a client: on pipes, files, sockets, programs and time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_descriptors: int | None = None) -> None:
        """Wait on a loop.

        Args:
            loop: asyncio's or uvloop's.
            most_descriptors: that programs may have (`ulimit -n`); None for as many as we.
        """
        self._loop = loop
        self._start = None if most_descriptors is None else spawning.start_with(most_descriptors)
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

    def _watch(
        self, add: Callable[..., None], descriptor: int, ready: Callable[[], None], settle: Callable[[], None]
    ) -> object:
        try:
            add(descriptor, ready)
        except BaseException:
            settle()  # there is nothing to wait for
            raise
        return PENDING

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

        return self._watch(self._loop.add_reader, descriptor, ready, settle)

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

        return self._watch(self._loop.add_writer, descriptor, ready, settle)

    def _close(self, operation: operations.Close, drive: Drive) -> None:
        del drive
        for child in self._children.values():
            if operation.descriptor in child.ends.values():
                child.ends = {target: end for target, end in child.ends.items() if end != operation.descriptor}
                break
        os.close(operation.descriptor)

    def _connect(self, operation: operations.Connect, drive: Drive) -> object:
        connecting = dialling.connect(self._loop, operation.host, operation.port, operation.timeout)
        task = self._loop.create_task(connecting)
        settle = self._until(drive, operation.timeout, (), functools.partial(_drop, task.cancel))

        def done(task: asyncio.Task[int]) -> None:
            if drive.forget is not settle:  # it is too late
                if not task.cancelled() and task.exception() is None:
                    os.close(task.result())
                return
            settle()
            failure = task.exception()
            if failure is None:
                drive.resume(task.result())
            else:
                drive.resume(None, failure if isinstance(failure, (OSError, TimedOut)) else OSError(str(failure)))

        task.add_done_callback(done)
        return PENDING

    # Programs.

    def _spawn(self, operation: operations.Spawn, drive: Drive) -> Child:
        del drive
        if operation.instead is not None:
            raise OSError(errno.ENOTSUP, "a process of many sessions does not fork")
        child = spawning.spawn(operation, self._start)
        self._children[child.pid] = child
        return child

    def _wait(self, operation: operations.Wait, drive: Drive) -> object:
        waiting = ChildWatch(self._loop, operation, drive, self._forget)
        try:
            waiting.begin()
        except BaseException:
            waiting.settle()
            raise
        return PENDING

    def _kill(self, operation: operations.Kill, drive: Drive) -> object:
        child = operation.child
        if self._children.get(child.pid) is not child:  # by its number it might be another one by now
            return None
        self._forget(child)
        is_killed = spawning.kill_group(child.pid)
        if _is_collected(child.pid):
            return None
        # Who may not be killed is collected when it ends, and nobody waits for that.
        waiting = [drive] if is_killed else []
        self._loop.call_later(PATIENCE / 10, self._collect, child.pid, waiting)
        if not is_killed:
            return None
        drive.forget = waiting.clear
        return PENDING

    def _collect(self, pid: int, waiting: list[Drive]) -> None:
        if not _is_collected(pid):
            self._loop.call_later(PATIENCE, self._collect, pid, waiting)
            return
        for drive in waiting:
            drive.resume()

    def _forget(self, child: Child) -> None:
        if self._children.get(child.pid) is child:
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
            if drive.forget is forget:
                drive.resume(None, failure if isinstance(failure, Exception) else None)

        def forget() -> None:
            """Let it come to its end in its thread, which may be that the descriptor is closed."""

        future.add_done_callback(done)
        drive.forget = forget
        return PENDING

    def clean_up(self) -> None:
        """Kill every program that still runs: the process is about to end."""
        for child in list(self._children.values()):
            self._forget(child)
            if spawning.kill_group(child.pid):
                _is_collected(child.pid, 0)


def _drop(function: Callable[..., object], *arguments: object) -> None:
    """Call something whose result says nothing to us."""
    function(*arguments)


def _is_collected(pid: int, flags: int = os.WNOHANG) -> bool:
    """Collect a child that has ended, if it has; tell whether there is nothing to collect any more."""
    try:
        return os.waitpid(pid, flags)[0] != 0
    except ChildProcessError:
        return True


def _write_some(descriptor: int, view: memoryview) -> memoryview:
    """Write what can be written now, and return the rest."""
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BlockingIOError:
        pass
    return view
