"""Who is served next, when more want something at once than can have it: everybody in turn, whoever asks most."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TooMany(Exception):
    """So many wait already that one more would not have its turn in any time that makes sense."""


class Turns:
    """Lets a number of things go on at once; the others wait, one queue for each client, each client in turn."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """Begin.

        Args:
            at_once: how many go on at once.
            waiting: how many may wait.
        """
        self._at_once = at_once
        self._most_waiting = waiting
        self._going_on = 0
        self._is_starting = False
        self._queues: OrderedDict[bytes, deque[Callable[[], None]]] = OrderedDict()
        self.waiting = 0

    def take(self, client: bytes, start: Callable[[], None]) -> None:
        """Call `start` now, or when it is this client's turn; raises `TooMany`. Each start is ended by `done`."""
        if self._going_on < self._at_once and not self._queues:
            self._going_on += 1
            start()
            return
        if self.waiting >= self._most_waiting:
            raise TooMany
        self.waiting += 1
        self._queues.setdefault(client, deque()).append(start)
        self._start()

    def done(self) -> None:
        """Let the next client have its turn."""
        self._going_on -= 1
        self._start()

    def _start(self) -> None:
        """Start who may start. What is done as soon as it is started makes no deeper and deeper stack."""
        if self._is_starting:
            return
        self._is_starting = True
        try:
            while self._queues and self._going_on < self._at_once:
                client, queue = self._queues.popitem(last=False)
                start = queue.popleft()
                if queue:
                    self._queues[client] = queue  # behind all others
                self.waiting -= 1
                self._going_on += 1
                start()
        finally:
            self._is_starting = False
