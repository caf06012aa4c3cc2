"""What a supervisor uses and does not know: settings, programs, the service manager, tables in shared memory."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.notify import Notifier
    from checkpw.service.generations import Plan


HANGS_AFTER = 60.0
"""Seconds: twice what a checker has by itself, and more than any hash of ours may take."""


class Surroundings:
    """What a supervisor uses.

    Attributes:
        make_plan: reads the settings; raises `CheckpwError` or `OSError` when they make no sense.
        fork: starts a child that runs a function and leaves with the status that it returns; gives its pid, or raises
            `OSError`.
        log: takes a line for people.
        notifier: tells the service manager (sd_notify(3)).
        worker_died: takes the slot of a worker that is gone.
        is_alive: tells whether the worker of a slot still turns its event loop.
        print_counters: on SIGUSR1.
        stop_listening: when the end begins: whoever connects from then on is to be refused, and not to wait.
        slots: how many workers there may be over all generations.
        hangs_after: seconds without a turn of its event loop after which a process is taken to hang.
        drain_time: seconds that sessions have to end, until they are told to.
    """

    __slots__ = (
        "drain_time",
        "fork",
        "hangs_after",
        "is_alive",
        "log",
        "make_plan",
        "notifier",
        "print_counters",
        "slots",
        "stop_listening",
        "worker_died",
    )

    def __init__(
        self,
        *,
        make_plan: Callable[[], Plan],
        fork: Callable[[str, Callable[[], int]], int],
        log: Callable[[str], None],
        notifier: Notifier,
        worker_died: Callable[[int], None],
        is_alive: Callable[[int], bool],
        print_counters: Callable[[], None],
        stop_listening: Callable[[], None],
        slots: int,
        drain_time: float,
        hangs_after: float = HANGS_AFTER,
    ) -> None:
        self.make_plan = make_plan
        self.fork = fork
        self.log = log
        self.notifier = notifier
        self.worker_died = worker_died
        self.is_alive = is_alive
        self.print_counters = print_counters
        self.slots = slots
        self.stop_listening = stop_listening
        self.drain_time = drain_time
        self.hangs_after = hangs_after
