"""The process that has the others: it starts them, replaces them, joins them by lines, and ends them.

It has no threads, speaks with nobody, and reads from the others one byte, that they are ready. Each child has a control
socket to it; when the supervisor is gone, that ends, and so does the child.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from typing import TYPE_CHECKING

from checkpw.errors import CheckpwError
from checkpw.operations import OPENER, VERIFIER
from checkpw.service.generations import (
    ALIVE,
    BEGIN,
    DRAIN,
    LINE,
    METRICS,
    QUIT,
    READY,
    WORKER,
    WORKER_ROLE,
    Child,
    Generation,
)

if TYPE_CHECKING:
    from checkpw.service.generations import Plan, Role
    from checkpw.service.surroundings import Surroundings

START_TIME = 60.0
"""Seconds that a child has to become ready."""

PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a process that has died is replaced, by how many times in a row it died young. Who can make a worker
crash has no use of being given a new one at once."""

YOUNG = 30.0
"""Seconds after which a process that dies has lived."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


KILL_AFTER = 30.0
"""Seconds after the time of a drain in which a generation must be gone."""

LOOK_EVERY = 1.0
"""Seconds between two looks at everything that nobody tells us."""


class Supervisor:
    """Keeps generations of processes."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._generations: list[Generation] = []
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._wakeup = (-1, -1)
        self._is_ending = False
        self._is_reload_late = False
        self._is_reload_wanted = False
        self._was_ready = False
        self._next_sign = 0.0
        self._looked = time.monotonic()
        self._patient_until = 0.0

    def run(self) -> int:
        """Keep the server running until a signal ends it.

        Returns:
            The exit status: 0, or 111 if the first generation did not become ready.

        Raises:
            CheckpwError: the first settings make no sense.
        """
        self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in SIGNALS:
            signal.signal(number, self._take_signal)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ)
        self._begin_generation(self._around.make_plan())
        while self._generations:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj == self._wakeup[0]:
                    os.read(self._wakeup[0], 4096)
                else:
                    self._hear(key.data)
            while self._signals:
                self._obey(self._signals.pop(0))
            self._collect()
            self._look_after()
        return 0 if self._was_ready or self._is_ending else 111

    # Signals.

    def _take_signal(self, number: int, _frame: object) -> None:
        self._signals.append(number)

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end()
        elif number == signal.SIGHUP:
            self._is_reload_wanted = True
        elif number == signal.SIGUSR1:
            self._around.print_counters()

    def _end(self) -> None:
        if self._is_ending:  # somebody insists
            for generation in self._generations:
                self._kill(generation)
            return
        self._is_ending = True
        self._around.stop_listening()
        self._around.notifier.stopping("sessions end")
        self._around.log("ends: no new connections, sessions have their time")
        for generation in self._generations:
            if generation.is_ready:
                self._drain(generation)
            else:
                self._kill(generation)

    def _reload(self) -> None:
        """Begin a generation, unless one is about to begin or to fail: what it has read may be old already."""
        if self._is_ending or not self._generations[-1].is_ready:
            return
        if len(self._free_slots()) < self._generations[-1].plan.workers:
            if not self._is_reload_late:
                self._is_reload_late = True
                self._around.log("reloads when sessions of older generations have ended")
            return
        self._is_reload_wanted = self._is_reload_late = False
        self._around.notifier.reloading(time.monotonic_ns() // 1000)
        try:
            plan = self._around.make_plan()
        except (CheckpwError, OSError) as error:
            self._stay(str(error))
            return
        self._begin_generation(plan)

    def _stay(self, reason: str) -> None:
        self._around.log(f"stays with what it has: {reason}")
        self._around.notifier.ready("serves as before")

    # Generations.

    def _begin_generation(self, plan: Plan) -> None:
        generation = Generation(plan)
        self._generations.append(generation)
        for name, role in plan.roles.items():
            if name != WORKER_ROLE:
                for _ in range(role.number):
                    self._start(generation, role, -1, 0)
        for slot in self._free_slots()[: plan.workers]:
            self._start(generation, plan.roles[WORKER_ROLE], slot, 0)
        if generation.is_draining:
            self._kill(generation)

    def _free_slots(self) -> list[int]:
        taken = {child.slot for generation in self._generations for child in generation.children}
        taken |= {slot for generation in self._generations for _, _, slot, _ in generation.replacements}
        return [slot for slot in range(self._around.slots) if slot not in taken]

    def _became_ready(self, generation: Generation) -> None:
        generation.is_ready = self._was_ready = True
        for worker in generation.of(WORKER_ROLE):
            worker.tell(BEGIN)
        for older in self._generations:
            if older is not generation:
                self._drain(older)
        pids = " ".join(f"{child.role.name}={child.pid}" for child in generation.children)
        self._around.log(f"is ready: {pids}")
        self._around.notifier.ready("serves")

    def _drain(self, generation: Generation) -> None:
        if not generation.is_draining:
            generation.is_draining = True
            generation.replacements = [late for late in generation.replacements if late[1].name != WORKER_ROLE]
            generation.kill_at = time.monotonic() + self._around.drain_time + KILL_AFTER
            for worker in generation.of(WORKER_ROLE):
                worker.tell(DRAIN)

    def _kill(self, generation: Generation) -> None:
        generation.is_draining = True
        generation.replacements.clear()
        for child in generation.children:
            os.kill(child.pid, signal.SIGKILL)

    # Children.

    def _start(self, generation: Generation, role: Role, slot: int, deaths: int) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            self._cannot_start(generation, role, slot, deaths, error)
            return

        def live() -> int:
            ours.close()
            self._let_go(generation)
            return role.run(theirs, slot)

        try:
            pid = self._around.fork(role.name, live)
        except OSError as error:
            ours.close()
            self._cannot_start(generation, role, slot, deaths, error)
            return
        finally:
            theirs.close()
        ours.settimeout(0)
        child = Child(pid, role, ours, slot, deaths)
        self._selector.register(ours, selectors.EVENT_READ, child)
        is_worker = role.name == WORKER_ROLE
        workers = [child] if is_worker else generation.of(WORKER_ROLE)
        services = [child] if not is_worker else generation.of(VERIFIER) + generation.of(OPENER)
        generation.children.append(child)
        if role.name == METRICS:
            return
        try:
            for worker in workers:
                for service in services:
                    asks, answers = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                    service.tell(WORKER, answers)
                    worker.tell(LINE[service.role.name], asks)
        except OSError as error:  # no descriptors: it cannot be used, and is tried again as one that has died
            self._around.log(f"unable to join the {role.name} to others: {error.strerror}")
            os.kill(pid, signal.SIGKILL)

    def _cannot_start(self, generation: Generation, role: Role, slot: int, deaths: int, error: OSError) -> None:
        """Try again later; a generation that is not complete yet has failed."""
        self._around.log(f"unable to start the {role.name}: {error.strerror}")
        if generation.is_ready:
            self._replace(generation, role, slot, deaths + 1)
        else:
            self._fail(generation, f"the new {role.name} cannot be started")

    def _let_go(self, own: Generation) -> None:
        """In a child: be nobody's supervisor, and know nothing of what other generations have."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            # What a service manager or a terminal sends to all of us is for the supervisor. Handlers, since what is
            # ignored would stay so in the programs that this child starts.
            signal.signal(number, _do_nothing)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for generation in self._generations:
            for child in generation.children:
                child.control.close()
            if generation is not own:
                generation.plan.close()
        self._generations.clear()
        self._selector.close()
        for end in self._wakeup:
            os.close(end)

    def _hear(self, child: Child) -> None:
        try:
            word = child.control.recv(16)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        child.heard = time.monotonic()
        if word == ALIVE:
            return
        if word != READY:  # it is about to end, or has lost its mind
            self._selector.unregister(child.control)
            if word:
                os.kill(child.pid, signal.SIGKILL)
            return
        child.is_ready = True
        generation = next(generation for generation in self._generations if child in generation.children)
        if not generation.is_ready:
            # One that was given up, because a process of it has died, does not become ready by having lost it.
            if not generation.is_draining and all(other.is_ready for other in generation.children):
                self._became_ready(generation)
        elif child.role.name == WORKER_ROLE:
            child.tell(DRAIN if generation.is_draining else BEGIN)

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for generation in list(self._generations):
                for child in list(generation.children):
                    if child.pid == pid:
                        self._bury(generation, child, os.waitstatus_to_exitcode(status))

    def _bury(self, generation: Generation, child: Child, status: int) -> None:
        generation.children.remove(child)
        if child.control in self._selector.get_map():
            self._selector.unregister(child.control)
        child.control.close()
        is_worker = child.role.name == WORKER_ROLE
        if is_worker:
            self._around.worker_died(child.slot)
        is_wanted = not generation.is_draining or (not is_worker and generation.of(WORKER_ROLE))
        if is_wanted or status != 0:
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            self._around.log(f"{child.role.name} {child.pid} ended: {how}")
        if not generation.is_ready:
            self._fail(generation, f"the new {child.role.name} ended")
        elif is_wanted:
            deaths = 0 if time.monotonic() - child.born > YOUNG else child.deaths + 1
            self._replace(generation, child.role, child.slot, deaths)

    def _replace(self, generation: Generation, role: Role, slot: int, deaths: int) -> None:
        pause = PAUSES[min(deaths, len(PAUSES) - 1)]
        generation.replacements.append((time.monotonic() + pause, role, slot, deaths))

    def _fail(self, generation: Generation, reason: str) -> None:
        """Give a generation up that is not ready."""
        if not generation.is_draining:
            self._kill(generation)
            if self._was_ready:
                self._stay(reason)
            else:
                self._around.log(f"does not begin: {reason}")

    # Time.

    def _patience(self) -> float:
        """Return the seconds until something is to be looked at."""
        now = time.monotonic()
        times = [now + LOOK_EVERY]
        times += [late[0] for generation in self._generations for late in generation.replacements]
        if self._around.notifier.watchdog_interval is not None:
            times.append(self._next_sign)
        return max(0.0, min(times) - now)

    def _look_after(self) -> None:
        now = time.monotonic()
        for generation in list(self._generations):
            for late in list(generation.replacements):
                if late[0] <= now:
                    generation.replacements.remove(late)
                    self._start(generation, *late[1:])
            if not generation.is_ready and now > generation.born + START_TIME:
                self._fail(generation, "the new generation does not become ready")
            if generation.is_draining:
                self._end_when_alone(generation, now)
        if self._is_reload_wanted and self._generations:
            self._reload()
        self._give_signs(now)

    def _end_when_alone(self, generation: Generation, now: float) -> None:
        """Send the services of a generation without workers home, and forget one without children."""
        if generation.kill_at is not None and now > generation.kill_at:
            self._kill(generation)
            generation.kill_at = None
        if not generation.of(WORKER_ROLE):
            generation.replacements.clear()
            for child in generation.children:
                child.tell(QUIT)
        if not generation.children:
            self._generations.remove(generation)
            generation.plan.close()

    def _give_signs(self, now: float) -> None:
        """Tell the service manager that we live, unless a process hangs: that one is replaced, and then we do."""
        if now > self._looked + 10 * LOOK_EVERY:  # all of us were stopped: nobody could give signs
            self._patient_until = now + self._around.hangs_after
        self._looked = now
        hanging = [
            child
            for generation in self._generations
            for child in generation.children
            if now > self._patient_until and self._hangs(child, now)
        ]
        for child in hanging:
            self._around.log(f"{child.role.name} {child.pid} hangs")
            os.kill(child.pid, signal.SIGKILL)
        interval = self._around.notifier.watchdog_interval
        if interval is not None and now >= self._next_sign and not hanging:
            self._next_sign = now + interval
            self._around.notifier.watchdog()

    def _hangs(self, child: Child, now: float) -> bool:
        if not child.is_ready or now < child.born + self._around.hangs_after:
            return False
        if child.role.name == WORKER_ROLE:
            return not self._around.is_alive(child.slot)
        return child.role.name != METRICS and now > child.heard + self._around.hangs_after


def _do_nothing(_number: int, _frame: object) -> None:
    return
