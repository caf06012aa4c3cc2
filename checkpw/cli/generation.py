"""From what an administrator wishes to the processes of the resident server; see checkpw-security(7)."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  which the loop would import when it is too late, for fsync
import gc
import os
import resource
import signal
import sys
import time
from itertools import count
from typing import Any

# Workers see no files, and import nothing any more: what a session needs later is here before they are made.
import checkpw.cdb
import checkpw.mess822.dates
import checkpw.mess822.outgoing
import checkpw.outbound  # noqa: F401
from checkpw import certificates, chain, confine, privileges, tickets
from checkpw.budget import Budget
from checkpw.cli import exits, settings, verification
from checkpw.cli.relaying import CONNECT_TIMEOUT, next_hop, open_relay
from checkpw.cli.shared import read_checker_timeout, read_queue_timeout
from checkpw.errors import CheckpwError, TemporaryFailure
from checkpw.logline import render
from checkpw.operations import OPENER, VERIFIER
from checkpw.queue.nexthop import local_dialer
from checkpw.runners.resident import Descriptors
from checkpw.service import logsink
from checkpw.service.control import BEAT, listen_to, serve
from checkpw.service.counters import Counters
from checkpw.service.generations import BEGIN, DRAIN, LINE, METRICS, QUIT, READY, WORKER_ROLE, Plan, Role
from checkpw.service.opener import Opener
from checkpw.service.remote import Pass, RemoteDoor, dialer
from checkpw.service.turns import Turns
from checkpw.service.verifier import Inline, Program, Verifier
from checkpw.service.worker import Rules, Worker
from checkpw.tallies import CrowdLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from checkpw.cli.wishes import Shared, Wishes
    from checkpw.names import Names
    from checkpw.policy import Policy
    from checkpw.queue.base import Door
    from checkpw.queue.relay import Relay

PROGRAM = "submissiond"

MOST_WAITING = 1000
"""Logins that may wait for their turn; more would not have it in the time of a client."""

FAILURE_WINDOW = 600.0
"""Seconds in which an address may fail so often."""

SPARE = 64
"""Descriptors that a worker needs besides those of its clients, who need two each while a large message comes."""

LEAST_CLIENTS = 10
"""With descriptors for fewer of them a worker does not begin: it would seem to serve."""

IDLE_CONNECTION = 60.0
"""Seconds for which a connection to the next hop is kept for the next message."""

HUNG = 30.0
"""Seconds without a sign of life after which a worker is not well."""

NETWORK_ROLES = (WORKER_ROLE, METRICS)
"""Who talks to strangers, and is confined."""

NAMES = {WORKER_ROLE: b"wrk", VERIFIER: b"vfy", OPENER: b"opn", METRICS: b"met"}
"""What follows `submissiond-` in ps(1), where 15 bytes are shown."""

DOOR_ENVIRONMENT = (b"CONTROLDIR", b"HOME", b"LANG", b"LC_ALL", b"PATH", b"TMPDIR", b"TZ")
"""What of our environment programs behind the door get, and everything that begins with QMAIL."""


def make_plan(wishes: Wishes, shared: Shared) -> Plan:
    """Read everything that the settings name, and return the processes of one generation.

    Raises:
        CheckpwError: something is not there or makes no sense; nothing has been started.
    """
    parts = Parts(wishes, shared)
    roles = [
        Role(OPENER, parts.run_opener, len(os.sched_getaffinity(0))),
        Role(WORKER_ROLE, parts.run_worker, wishes.workers),
    ]
    if wishes.checker:
        roles.append(Role(VERIFIER, parts.run_verifier, parts.verifiers))
    if shared.metrics:
        roles.append(Role(METRICS, parts.run_metrics))
    return Plan(roles, parts.close)


class Parts:
    """What the processes of one generation have in common; each method that begins with `run` is one of them."""

    def __init__(self, wishes: Wishes, shared: Shared) -> None:
        """Read what the settings name."""
        self._wishes = wishes
        self._shared = shared
        self._most_clients = _most_clients()
        environment = wishes.environment()
        self._policies = {
            (requires_tls, relays): self._policy(requires_tls=requires_tls, relays=relays)
            for requires_tls in (False, True)
            for relays in (False, True)
        }
        self._checker = settings.read_checker(environment, wishes.checker, wishes.environ)
        self._is_ours = self._checker is not None and verification.is_ours(
            self._checker.argv, wishes.environ, wishes.launcher
        )
        self._hop = next_hop(wishes.environ.get(b"OFMIPD_QUEUE", b""))
        self._queue_timeout = read_queue_timeout(environment)
        self._door: Door
        self._relay: Relay | None = None
        if self._hop is None:
            self._door = settings.open_door(environment, wishes.hostname, count(1))
        else:
            dial = dialer(CONNECT_TIMEOUT + 5)
            try:
                self._relay = self._door = open_relay(environment, self._hop, wishes.hostname, dial)
            except OSError as error:
                raise TemporaryFailure(f"unable to read certificates for the next hop: {error.strerror}") from None
        for line in certificates.expiring(wishes.certificates, time.time()):
            _log("warning", line)
        self._new_loop = _loop_factory(wishes.options["loop"])
        if shared.metrics:
            try:
                import checkpw.service.metrics  # noqa: F401  now, while there are files
            except ImportError:
                raise TemporaryFailure("prometheus_client is not installed: want checkpw[metrics]") from None
        # Last, so that settings which make no sense leave nothing open in the supervisor, and no keys.
        self._context = certificates.load(wishes.certificates) if wishes.certificates else None
        try:
            self._names: Names | None = settings.open_names(wishes.name_cdb)
            self._key = tickets.shared_key()
        except CheckpwError:
            self._let_go_of_keys()
            raise

    def close(self) -> None:
        """Have nothing of this generation in a process that is none of it."""
        self._let_go_of_keys()
        if self._names is not None:
            self._names.close()
        os.close(self._key)

    def _let_go_of_keys(self) -> None:
        """Have none of the keys of certificates, which OpenSSL overwrites."""
        if self._context is not None:
            certificates.let_go(self._context)
            self._context = None

    def _policy(self, *, requires_tls: bool, relays: bool) -> Policy:
        environment = self._wishes.environment(OFMIPD_REQUIRE_TLS=requires_tls, RELAYCLIENT=relays)
        policy = settings.read_policy(environment, self._wishes.hostname)
        policy.handshake_timeout = self._wishes.options["handshake_time"]
        policy.least_rate = self._wishes.options["min_rate"]
        return policy

    @property
    def verifiers(self) -> int:
        """How many verifiers there are: one a core where they compute, else one that starts programs."""
        return len(os.sched_getaffinity(0)) if self._is_ours else 1

    # Processes.

    def run_verifier(self, control: socket.socket, _slot: int) -> int:
        """Check logins."""
        usual = _allow_all_descriptors()
        key = self._become(VERIFIER, keeps_listeners=False)
        loop = self._loop()
        wishes = self._wishes
        assert self._checker is not None
        if self._is_ours:
            import ctypes  # noqa: F401  as in the program where hashes ask for it; loaded once

            codes = self._checker.reject_statuses
            ask: Inline | Program = Inline(
                loop, lambda record, environ: verification.answer(record, environ, codes), wishes.environ
            )
            at_once = 1
        else:
            ask = Program(Descriptors(loop, usual), self._checker)
            at_once = wishes.options["max_checkers"]
        guesses = Budget(
            wishes.options["max_failures"], FAILURE_WINDOW, self._shared.budget_key, self._shared.budget_cells
        )
        life = int(wishes.options["session_time"]) + 60
        verifier = Verifier(ask, Turns(at_once, MOST_WAITING), key, life, guesses)
        serve(loop, control, verifier.handler)
        if isinstance(ask, Program):
            ask.descriptors.clean_up()
        return 0

    def run_opener(self, control: socket.socket, _slot: int) -> int:
        """Open the door."""
        usual = _allow_all_descriptors()
        key = self._become(OPENER, keeps_listeners=False)
        loop = self._loop()
        environ = {
            name: value
            for name, value in self._wishes.environ.items()
            if name in DOOR_ENVIRONMENT or name.startswith(b"QMAIL")
        }
        door, dial = (self._door, None) if self._hop is None else (None, local_dialer(self._hop, CONNECT_TIMEOUT))
        opener = Opener(
            Descriptors(loop, usual), door, dial, environ, key, relays_for_strangers=bool(self._wishes.relay_from)
        )
        serve(loop, control, opener.handler)
        opener.descriptors.clean_up()
        return 0

    def run_worker(self, control: socket.socket, slot: int) -> int:
        """Talk to clients."""
        _allow_all_descriptors()
        self._become(WORKER_ROLE, keeps_listeners=True)
        loop = self._loop()  # now, so that it does not begin what it may not go on with: uvloop tries io_uring(7)
        wishes, options = self._wishes, self._wishes.options
        limits = CrowdLimits(options["max_connections"], options["max_per_address"], options["max_per_minute"])
        rules = Rules(
            self._policies,
            auth_plaintext=options["auth_plaintext"],
            relay_from=wishes.relay_from,
            proxy_from=wishes.proxy_from,
            context=self._context,
            checker_timeout=2 * read_checker_timeout(self._wishes.environment()) + 5,
            asks_for_logins=self._checker is not None,
            session_time=options["session_time"],
            connections=min(options["max_connections"], self._most_clients),
            handshakes=max(1, options["max_handshakes"] // wishes.workers),
        )
        shared = self._shared
        counters = Counters(shared.tally, shared.tally.slot(slot))
        crowd = shared.crowd.column(slot, limits)
        worker = Worker(loop, shared.listeners, rules, self._make_door, self._names, crowd, counters, shared.log)

        def hear(word: bytes, end: socket.socket | None) -> None:
            if word == BEGIN:
                worker.begin()
                if self._relay is not None:
                    worker.drive_aside(self._relay.learn())
            elif word == DRAIN:
                worker.drain(wishes.drain_time)
            elif word == QUIT:
                worker.drain(0)
            else:
                for service, line in LINE.items():
                    if word == line and end is not None:
                        worker.attach(service, end)

        def beat() -> None:
            shared.beats.beat(slot)
            if self._relay is not None:
                worker.drive_aside(self._relay.close_idle(IDLE_CONNECTION))
            loop.call_later(BEAT, beat)

        beat()
        listen_to(loop, control, hear)
        control.send(READY)
        loop.run_forever()
        return 0

    def run_metrics(self, control: socket.socket, _slot: int) -> int:
        """Tell Prometheus."""
        from checkpw.service import metrics

        shared = self._shared
        registry = metrics.registry_of(shared.tally)
        servers = [metrics.Server(one, registry, lambda: shared.beats.oldest() < HUNG) for one in shared.metrics]
        self._become(METRICS, keeps_listeners=False)
        control.send(READY)
        metrics.serve(servers, control)
        return 0

    def _make_door(self, pass_: Pass) -> Door:
        if self._hop is not None:
            return self._door
        timeout = self._queue_timeout
        return RemoteDoor(pass_, timeout, 2 * timeout + 5, carries_smtputf8=self._door.carries_smtputf8)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self._new_loop()
        loop.set_exception_handler(_tell_trouble)
        return loop

    def _become(self, role: str, *, keeps_listeners: bool) -> bytes:
        """Become who this role is, with what it needs and nothing else; return the key of tickets, if it gets it."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        sys.unraisablehook = _tell_unraisable
        chain.collect_children()
        key = b""
        if role in NETWORK_ROLES:
            self._shared.forget_budget()
            confine.into_nowhere()
        else:
            key = tickets.load_key(self._key)
        self._forget_what_is_not_for(role, keeps_listeners=keeps_listeners)
        gc.freeze()  # what is inherited stays: looking through it for garbage would make each page of it our own
        if role in self._wishes.identities:
            privileges.become(*self._wishes.identities[role])
        confine.name(b"submissiond-" + NAMES[role])
        if role in NETWORK_ROLES:
            confined = confine.forbid()
            if not confined.has_filter:
                _log("warning", f"system calls are not filtered: {confined.reason}")
        return key

    def _forget_what_is_not_for(self, role: str, *, keeps_listeners: bool) -> None:
        if role != WORKER_ROLE:
            self._let_go_of_keys()
            if self._names is not None:
                self._names.close()
        for descriptor in (self._key, *self._shared.strange):
            os.close(descriptor)
        if not keeps_listeners:
            for listener in self._shared.listeners:
                listener.socket.close()
        if role != METRICS:
            for listening in self._shared.metrics:
                listening.close()


def _most_clients() -> int:
    """Return how many clients a worker has descriptors for; raises `TemporaryFailure` if those are hardly any."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = (hard - SPARE) // 2
    if clients < LEAST_CLIENTS:
        raise TemporaryFailure(f"{hard} descriptors (ulimit -n) are too few: want {SPARE + 2 * LEAST_CLIENTS} or more")
    return clients


def _allow_all_descriptors() -> int:
    """Allow this process as many descriptors as it may have; return how many were usual, and are for programs."""
    usual, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return usual


def _loop_factory(wanted: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop that was asked for: uvloop's if it is there, when it is left to us.

    Raises:
        TemporaryFailure: it is not there. Now, and not in a worker, who sees no files any more.
    """
    if wanted != "asyncio":
        try:
            import uvloop
        except ImportError:
            if wanted == "uvloop":
                raise TemporaryFailure("uvloop is not installed: want checkpw[uvloop]") from None
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def _tell_trouble(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a fault of ours that ended a session, or something of the kind; the process goes on."""
    error = context.get("exception")
    text = exits.without_values(error) if isinstance(error, BaseException) else str(context.get("message"))
    _log("trouble", text)


def _tell_unraisable(trouble: sys.UnraisableHookArgs) -> None:
    """Log what Python cannot raise, such as a server name in TLS that is no name, and would write to 2 by itself."""
    error = trouble.exc_value
    _log("trouble", exits.without_values(error) if error is not None else "nobody knows")


def _log(event: str, text: str) -> None:
    logsink.tell(render(PROGRAM, {"pid": os.getpid(), "event": event, "text": text}), 2)
