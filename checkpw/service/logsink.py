"""Where log lines go: standard error, without ever waiting for whoever reads it."""

from __future__ import annotations

import os
import select
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


class LogSink:
    """Writes lines to a descriptor, those of a moment together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, program: str, descriptor: int = 2) -> None:
        """Write to a descriptor that others write to as well: it is left blocking, and asked before each write.

        Args:
            loop: to wait on.
            program: whose lines they are.
            descriptor: where to.
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
            self._held = max(0, self._held - size)
            if not self._write(b"".join(batch)):
                return
            if self._lost and not self._lines:
                lost, self._lost = self._lost, 0
                self.write(render(self._program, {"event": "warning", "lost": lost, "text": "lines that nobody read"}))

    def _write(self, data: bytes) -> bool:
        try:
            os.write(self._descriptor, data)
        except OSError:
            self._lines.clear()  # mail goes on without a log
            self._held = 0
            return False
        return True
