"""From what an administrator wishes to the processes of the resident server; see checkpw-security(7)."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  which the loop would import when it is too late, for fsync
import gc
import os
import pwd
import signal
import socket
import sys
from itertools import count
from mmap import mmap
from typing import Any

# Workers see no files, and import nothing any more: what a session needs later is here before they are made.
import checkpw.cdb
import checkpw.mess822.dates
import checkpw.mess822.outgoing
import checkpw.outbound  # noqa: F401
from checkpw import certificates, chain, confine, privileges, tickets
from checkpw.budget import PLACES, Budget
from checkpw.cli import exits, settings, verification
from checkpw.cli.relaying import CONNECT_TIMEOUT, next_hop, open_relay
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.logline import render
from checkpw.operations import OPENER, VERIFIER
from checkpw.queue.nexthop import local_dialer
from checkpw.runners.channel import Answerer, Handler
from checkpw.service import listeners as places
from checkpw.service.addresses import Networks
from checkpw.service.counters import Beats, Counters, families
from checkpw.service.listeners import Listener, Wanted
from checkpw.service.opener import Opener
from checkpw.service.remote import Pass, RemoteDoor, dialer
from checkpw.service.supervisor import BEGIN, DRAIN, LINE, METRICS, QUIT, READY, WORKER, WORKER_ROLE, Plan, Role
from checkpw.service.turns import Turns
from checkpw.service.verifier import Inline, Program, Verifier
from checkpw.service.worker import Rules, Worker
from checkpw.tallies import Crowd, CrowdLimits, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
"""Descriptors that a worker needs besides those of its clients: two for each, while mail comes."""

BEAT = 5.0
"""Seconds between two signs of life of a worker."""

FLAGS = {places.TLS, places.STARTTLS, places.PLAIN, "proxy"}
"""What the name of a socket from a service manager may say."""

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


class Wishes:
    """The settings as they were given; every generation reads anew what they name.

    Attributes:
        options: values of the command line, by click's names.
        environ: the environment, with the settings that were given as options.
        workers: how many.
        drain_time: seconds for sessions when a generation ends.
    """

    def __init__(self, options: dict[str, Any], environ: dict[bytes, bytes]) -> None:
        """Take the options apart; raises `Misuse` or `TemporaryFailure`."""
        self.options = options
        self.environ = dict(environ)
        # A resident server has many clients: none of these can be meant for all of them.
        for never in (b"RELAYCLIENT", b"UCSPITLS", b"OFMIPD_REQUIRE_AUTH", b"OFMIPD_REQUIRE_TLS", b"TCPREMOTEIP"):
            self.environ.pop(never, None)
        for name, value in options.items():
            if name.isupper() and value:
                self.environ[name.encode()] = b"1" if value is True else os.fsencode(str(value))
        self.workers: int = options["workers"] or len(os.sched_getaffinity(0))
        self.drain_time: float = options["drain_time"]
        self.name_cdb, self.hostname, self.checker = settings.read_arguments(
            [os.fsencode(word) for word in options["arguments"]]
        )
        try:
            self.relay_from = Networks(options["relay_from"])
            self.proxy_from = Networks(options["proxy_from"])
            self.wanted = [Wanted(text) for text in options["listen"]]
        except ValueError as error:
            raise Misuse(str(error)) from None
        if len(options["tls_key"]) > len(options["tls_cert"]):
            raise Misuse("there are more --tls-key than --tls-cert")
        self.identities = self._identities(options["user"], options["door_user"])

    @staticmethod
    def _identities(user: str | None, door_user: str | None) -> dict[str, tuple[int, int]]:
        """Return who workers and opener become; nobody else when not started as root."""
        if os.geteuid() != 0:
            if user or door_user:
                raise Misuse("--user and --door-user are for a server that is started as root")
            return {}
        if not user:
            raise Misuse("started as root: --user has to say who talks to clients")
        return {WORKER_ROLE: _user(user), METRICS: _user(user), OPENER: _user(door_user or user)}

    @property
    def certificates(self) -> list[tuple[str, str | None]]:
        """Pairs of files: certificate and key, None for a key in the same file."""
        keys = list(self.options["tls_key"])
        return [(cert, keys[at] if at < len(keys) else None) for at, cert in enumerate(self.options["tls_cert"])]

    def environment(self, **switches: bool) -> settings.Environment:
        """Return the settings of ofmipd(8), with further ones set."""
        return settings.Environment(self.environ | {name.encode(): b"1" for name, is_on in switches.items() if is_on})


def _user(name: str) -> tuple[int, int]:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise Misuse(f"no such user: {name}") from None
    if user.pw_uid == 0:
        raise Misuse(f"{name} is root: name somebody who may do nothing")
    return user.pw_uid, user.pw_gid


def listeners_of(wishes: Wishes, activated: list[tuple[bytes, socket.socket]]) -> list[Listener]:
    """Return the listeners that were asked for, and those that a service manager has made (sd_listen_fds(3)).

    The name of such a socket says how its clients are spoken to: `tls`, `starttls`, `plain`, `proxy`, or two of them
    with a hyphen, such as `tls-proxy`; any other name says nothing.

    Raises:
        Misuse: there is none, or one cannot be meant.
        TemporaryFailure: one cannot be had.
    """
    has_certificate = bool(wishes.certificates)
    made = []
    for name, given in activated:
        address = given.getsockname()
        text = (address or "/unnamed") if isinstance(address, str) else f"[{address[0]}]:{address[1]}"
        places.prepare(given)
        flags = os.fsdecode(name).replace("-", ",")
        try:
            asked = Wanted(f"{text},{flags}" if set(flags.split(",")) <= FLAGS else text)
            kind = asked.kind_with(has_certificate=has_certificate)
        except ValueError as error:
            raise Misuse(str(error)) from None
        made.append(Listener(given, text, kind, is_proxied=asked.is_proxied))
    try:
        for wanted in wishes.wanted:
            kind = wanted.kind_with(has_certificate=has_certificate)
            made += [Listener(one, wanted.text, kind, is_proxied=wanted.is_proxied) for one in places.listen(wanted)]
    except ValueError as error:
        raise Misuse(str(error)) from None
    if any(one.is_proxied and one.socket.family != socket.AF_UNIX for one in made) and not wishes.proxy_from:
        raise Misuse("a listener with proxy believes whoever connects: name the balancers with --proxy-from")
    if not made:
        raise Misuse("nowhere to listen: want --listen ADDRESS:PORT")
    return made


def metrics_listener(wishes: Wishes) -> socket.socket | None:
    """Return the socket that Prometheus connects to, None if nobody wants it; raises as `listeners_of`."""
    place = wishes.options["metrics"]
    if not place:
        return None
    try:
        listening = places.listen(Wanted(place))
    except ValueError as error:
        raise Misuse(f"--metrics: {error}") from None
    return listening[0]


class Shared:
    """What all processes of all generations have in common.

    Attributes:
        listeners: for clients.
        metrics: for Prometheus; None if nobody wants it.
        tally, crowd, beats: tables in shared memory.
        budget_key, budget_cells: of the budget for failures, which outlives a generation.
        busy: slots of workers that are there.
    """

    def __init__(self, listeners: list[Listener], metrics: socket.socket | None, slots: int) -> None:
        """Make the tables; before anything is forked."""
        self.listeners = listeners
        self.metrics = metrics
        names = tuple(dict.fromkeys(listener.name for listener in listeners))
        self.tally = Tally(families(names), slots)
        self.crowd = Crowd(slots)
        self.beats = Beats(slots)
        self.budget_key = os.urandom(16)
        self.budget_cells = memoryview(mmap(-1, 8 * PLACES)).cast("d")

    def died(self, slot: int) -> None:
        """Take a worker out that has died."""
        self.tally.forget(slot)
        self.crowd.forget(slot)
        self.beats.stop(slot)


def make_plan(wishes: Wishes, shared: Shared) -> Plan:
    """Read everything that the settings name, and return the processes of one generation.

    Raises:
        CheckpwError: something is not there or makes no sense; nothing has been started.
    """
    parts = Parts(wishes, shared)
    roles = [Role(OPENER, parts.run_opener), Role(WORKER_ROLE, parts.run_worker, wishes.workers)]
    if wishes.checker:
        roles.append(Role(VERIFIER, parts.run_verifier, parts.verifiers))
    if shared.metrics is not None:
        roles.append(Role(METRICS, parts.run_metrics))
    return Plan(roles)


class Parts:
    """What the processes of one generation have in common; each method that begins with `run` is one of them."""

    def __init__(self, wishes: Wishes, shared: Shared) -> None:
        """Read what the settings name."""
        self._wishes = wishes
        self._shared = shared
        environment = wishes.environment()
        self._policies = {
            (requires_tls, relays): self._policy(requires_tls=requires_tls, relays=relays)
            for requires_tls in (False, True)
            for relays in (False, True)
        }
        self._checker = settings.read_checker(environment, wishes.checker, wishes.environ)
        self._is_ours = self._checker is not None and verification.is_ours(
            self._checker.argv, wishes.environ, os.fsencode(sys.argv[0])
        )
        self._hop = next_hop(wishes.environ.get(b"OFMIPD_QUEUE", b""))
        self._door: Door
        self._relay: Relay | None = None
        if self._hop is None:
            self._door = settings.open_door(environment, wishes.hostname, count(1))
        else:
            dial = dialer(CONNECT_TIMEOUT + 5)
            self._relay = self._door = open_relay(environment, self._hop, wishes.hostname, dial)
        self._names: Names | None = settings.open_names(wishes.name_cdb)
        self._context = certificates.load(wishes.certificates) if wishes.certificates else None
        self._key = tickets.shared_key()
        self._new_loop = _loop_factory(wishes.options["loop"])
        if shared.metrics is not None:
            try:
                import checkpw.service.metrics  # noqa: F401  now, while there are files
            except ImportError:
                raise TemporaryFailure("prometheus_client is not installed: want checkpw[metrics]") from None

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
        key = self._become(VERIFIER, keeps_listeners=False)
        loop = self._loop()
        wishes = self._wishes
        assert self._checker is not None
        if self._is_ours:
            import ctypes  # noqa: F401  as in the program where hashes ask for it; loaded once

            ask: Inline | Program = Inline(loop, verification.answer, wishes.environ)
            at_once = 1
        else:
            ask = Program(loop, self._checker)
            at_once = wishes.options["max_checkers"]
        guesses = Budget(
            wishes.options["max_failures"], FAILURE_WINDOW, self._shared.budget_key, self._shared.budget_cells
        )
        life = int(wishes.options["session_time"]) + 60
        verifier = Verifier(ask, Turns(at_once, MOST_WAITING), key, life, guesses)
        _serve(loop, control, verifier.handler)
        if isinstance(ask, Program):
            ask.descriptors.clean_up()
        return 0

    def run_opener(self, control: socket.socket, _slot: int) -> int:
        """Open the door."""
        key = self._become(OPENER, keeps_listeners=False)
        loop = self._loop()
        environ = {
            name: value
            for name, value in self._wishes.environ.items()
            if name in DOOR_ENVIRONMENT or name.startswith(b"QMAIL")
        }
        door, dial = (self._door, None) if self._hop is None else (None, local_dialer(self._hop, CONNECT_TIMEOUT))
        opener = Opener(loop, door, dial, environ, key, relays_for_strangers=bool(self._wishes.relay_from))
        _serve(loop, control, opener.handler)
        opener.descriptors.clean_up()
        return 0

    def run_worker(self, control: socket.socket, slot: int) -> int:
        """Talk to clients."""
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
            checker_timeout=2 * self._wishes.environment().seconds(b"OFMIPD_CHECKER_TIMEOUT", 30.0) + 5,
            asks_for_logins=self._checker is not None,
            session_time=options["session_time"],
            connections=options["max_connections"],
            handshakes=options["max_handshakes"],
        )
        shared = self._shared
        counters = Counters(shared.tally, shared.tally.slot(slot))
        crowd = shared.crowd.column(slot, limits)
        worker = Worker(loop, shared.listeners, rules, self._make_door, self._names, crowd, counters)

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
        _listen_to(loop, control, hear)
        control.send(READY)
        loop.run_forever()
        return 0

    def run_metrics(self, control: socket.socket, _slot: int) -> int:
        """Tell Prometheus."""
        from checkpw.service import metrics

        shared = self._shared
        assert shared.metrics is not None
        server = metrics.Server(shared.metrics, shared.tally, lambda: shared.beats.oldest() < HUNG)
        self._become(METRICS, keeps_listeners=False)
        control.send(READY)
        metrics.serve(server, control)
        return 0

    def _make_door(self, pass_: Pass) -> Door:
        if self._hop is not None:
            return self._door
        timeout = 2 * self._wishes.environment().seconds(b"OFMIPD_QUEUE_TIMEOUT", 600.0) + 5
        return RemoteDoor(pass_, timeout, carries_smtputf8=self._door.carries_smtputf8)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self._new_loop()
        loop.set_exception_handler(_tell_trouble)
        return loop

    def _become(self, role: str, *, keeps_listeners: bool) -> bytes:
        """Become who this role is, with what it needs and nothing else; return the key of tickets, if it gets it."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        chain.collect_children()
        key = b""
        if role in NETWORK_ROLES:
            confine.into_nowhere()
        else:
            key = tickets.load_key(self._key)
        if role != WORKER_ROLE:
            self._context = None  # and with it the keys of certificates, which OpenSSL overwrites
            gc.collect()
        os.close(self._key)
        if not keeps_listeners:
            for listener in self._shared.listeners:
                listener.socket.close()
        if role != METRICS and self._shared.metrics is not None:
            self._shared.metrics.close()
        if role in self._wishes.identities:
            privileges.become(*self._wishes.identities[role])
        confine.name(b"submissiond-" + NAMES[role])
        if role in NETWORK_ROLES:
            confined = confine.forbid()
            if not confined.has_filter:
                _log("warning", f"system calls are not filtered: {confined.reason}")
        return key


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


def _log(event: str, text: str) -> None:
    os.write(2, render(PROGRAM, {"pid": os.getpid(), "event": event, "text": text}))


def _serve(loop: asyncio.AbstractEventLoop, control: socket.socket, handler: Callable[[], Handler]) -> None:
    """Answer every worker that the supervisor names, until it says that there is none any more, or is gone."""
    lines = []

    def hear(word: bytes, end: socket.socket | None) -> None:
        if word == WORKER and end is not None:
            lines.append(Answerer(loop, end, handler()))
        else:
            loop.stop()

    _listen_to(loop, control, hear)
    control.send(READY)
    loop.run_forever()


def _listen_to(
    loop: asyncio.AbstractEventLoop, control: socket.socket, hear: Callable[[bytes, socket.socket | None], None]
) -> None:
    """Pass on what the supervisor says; that it is gone is QUIT."""
    control.settimeout(0)

    def readable() -> None:
        try:
            word, descriptors, _flags, _address = socket.recv_fds(control, 16, 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            word, descriptors = b"", []
        if not word:
            loop.remove_reader(control)
            hear(QUIT, None)
            return
        hear(word, socket.socket(fileno=descriptors[0]) if descriptors else None)

    loop.add_reader(control, readable)
