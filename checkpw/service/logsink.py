"""Where log lines go: standard error, without ever waiting for whoever reads it."""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from typing import TYPE_CHECKING

from checkpw.logline import render

if TYPE_CHECKING:
    import asyncio

MOST_HELD = 1024 * 1024
"""Bytes of lines that are kept while nobody reads; what comes then is counted and not kept."""

AT_ONCE = 4096
"""PIPE_BUF on Linux: the kernel does not let another process's line into what is not longer (pipe(7))."""


DELAY = 0.01
"""Seconds for which lines are collected: a busy server writes many at once."""


def open_log(descriptor: int = 2) -> int:
    """Return a descriptor for the same place that never waits, also when somebody else writes there meanwhile.

    Of a pipe that is one of its own: what programs of ours write to theirs may wait as always.
    """
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        pass  # no /proc, or somebody else's pipe: it is asked before each write, which is nearly as good
    return descriptor


def tell(line: bytes, descriptor: int) -> None:
    """Write a line, unless nobody reads: then there is nobody to miss it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if poll.poll(0):
        try:
            os.write(descriptor, line)
        except OSError:
            return


class LogSink:
    """Writes lines to a descriptor, those of a moment together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, program: str, descriptor: int = 2) -> None:
        """Write to a descriptor that others write to as well: it may be blocking, and is asked before each write.

        Args:
            loop: to wait on.
            program: whose lines they are.
            descriptor: where to; that of `open_log`.
        """
        self._loop = loop
        self._program = program
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._held = 0
        self._lost = 0
        self._is_scheduled = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Take a line with its end, at most `AT_ONCE` bytes of it."""
        if self._held + len(line) > MOST_HELD:
            self._lost += 1
            return
        self._lines.append(line[:AT_ONCE])
        self._held += len(line)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_later(DELAY, self.flush)

    def flush(self) -> None:
        """Write as much as is taken now."""
        self._is_scheduled = False
        while self._lines:
            if not self._poll.poll(0):
                self._is_scheduled = True
                self._loop.call_later(0.1, self.flush)
                return
            batch = [self._lines.popleft()]
            size = len(batch[0])
            while self._lines and size + len(self._lines[0]) <= AT_ONCE:
                size += len(self._lines[0])
                batch.append(self._lines.popleft())
            data = b"".join(batch)
            if not self._write(data):
                return
            self._held = max(0, self._held - size)
            if self._lost and not self._lines:
                lost, self._lost = self._lost, 0
                self.write(render(self._program, {"event": "warning", "lost": lost, "text": "lines that nobody read"}))

    def _write(self, data: bytes) -> bool:
        try:
            os.write(self._descriptor, data)
        except BlockingIOError:  # somebody else was faster
            self._lines.appendleft(data)
            self._is_scheduled = True
            self._loop.call_later(0.1, self.flush)
            return False
        except OSError:
            self._lines.clear()  # mail goes on without a log
            self._held = 0
            return False
        return True
