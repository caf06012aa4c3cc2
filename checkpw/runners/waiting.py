"""Waiting on an event loop: for a time that is over, and for a child that has ended."""

from __future__ import annotations

import os

from checkpw.operations import Ended, TimedOut
from checkpw.runners import spawning

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from checkpw import operations
    from checkpw.operations import Child
    from checkpw.runners.resident import Drive

OUTPUT_BYTES = 64 * 1024
"""Bytes of a child's output that are read at once: what a pipe holds."""

LISTEN_AFTER = 0.1
"""Seconds after which what a child writes is read while it runs: a pipe takes 64 KiB before that."""

PATIENCE = 0.05
"""Seconds between two looks at a child where there is no pidfd to wait on."""


def _call_nobody() -> None:
    """Stand in for who does not want to be called any more."""


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
        """Let go of everything, also of who is to be called: it holds us, and only the collector would free both."""
        self._at = None
        self._expired = _call_nobody
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


class ChildWatch:
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
        """Wait."""
        timeout = self._operation.timeout
        if self._listen is not None and (timeout is None or timeout > LISTEN_AFTER):
            self._timer = self._loop.call_later(LISTEN_AFTER, self._begin_to_listen)
        elif timeout is not None:
            self._timer = self._loop.call_later(timeout, self._expire)
        if self._handle >= 0:
            self._loop.add_reader(self._handle, self._look)
        else:
            self._ticking = self._loop.call_later(0.0, self._look)
        self._drive.forget = self.settle

    def _begin_to_listen(self) -> None:
        """Read what the child writes from now on; it may be stuck because nobody has."""
        timeout, self._timer = self._operation.timeout, None
        if timeout is not None:
            self._timer = self._loop.call_later(timeout - LISTEN_AFTER, self._expire)
        if self._listen is not None:
            self._loop.add_reader(self._listen, self._hear)

    def settle(self) -> None:
        """Have it over."""
        for timer in (self._timer, self._ticking):
            if timer is not None:
                timer.cancel()
        if self._listen is not None:
            self._loop.remove_reader(self._listen)
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _hear(self) -> None:
        if self._listen is None:
            return
        try:
            piece = os.read(self._listen, OUTPUT_BYTES)
        except OSError:  # nothing is there, or it is no descriptor that can be read
            return
        self._output += piece[: max(0, self._operation.keep - len(self._output))]
        if not piece:
            self._loop.remove_reader(self._listen)
            self._listen = None  # end of file: nobody writes there any more

    def _look(self) -> None:
        child = self._operation.child
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except OSError as error:  # it is no child of ours any more
            self.settle()
            self._forget(child)
            self._drive.resume(None, error)
            return
        if not pid:
            if self._handle < 0:
                self._ticking = self._loop.call_later(PATIENCE, self._look)
            return
        self._hear()  # what was written just before the end
        self.settle()
        self._forget(child)
        self._drive.resume(Ended(os.waitstatus_to_exitcode(status), self._output))

    def _expire(self) -> None:
        self._hear()
        self.settle()
        late = TimedOut()
        late.output = self._output
        self._drive.resume(None, late)
