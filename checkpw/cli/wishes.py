"""What an administrator wishes of the resident server, and what all its processes have in common because of that."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from itertools import zip_longest
from mmap import mmap
from typing import Any

from checkpw.budget import PLACES
from checkpw.cli import settings
from checkpw.cli.environment import Environment
from checkpw.errors import Misuse
from checkpw.operations import OPENER, VERIFIER
from checkpw.service import listeners as places
from checkpw.service import logsink
from checkpw.service.addresses import Networks
from checkpw.service.counters import Beats, families
from checkpw.service.generations import METRICS, WORKER_ROLE
from checkpw.service.listeners import Listener, Wanted
from checkpw.tallies import Crowd, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

FLAGS = {places.TLS, places.STARTTLS, places.PLAIN, "proxy"}
"""What the name of a socket from a service manager may say."""


class Wishes:
    """The settings as they were given; every generation reads anew what they name.

    Attributes:
        options: values of the command line, by click's names.
        environ: the environment, with the settings that were given as options.
        launcher: the path that the server was started by.
        workers: how many.
        certificates: pairs of files: certificate and key, None for a key in the same file.
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
        name_cdb, self.hostname, checker = settings.read_arguments([os.fsencode(word) for word in options["arguments"]])
        # Paths are relative to where we are now: qmail's door changes the directory, and SIGHUP comes later.
        self.name_cdb = name_cdb and os.path.abspath(name_cdb)
        self.checker = [os.path.abspath(word) if b"/" in word else word for word in checker[:1]] + checker[1:]
        for variable in (b"CONTROLDIR", b"OFMIPD_QMAIL"):
            if place := self.environ.get(variable):
                self.environ[variable] = os.path.abspath(place)
        self.launcher = os.path.abspath(os.fsencode(sys.argv[0]))
        self.certificates = self._certificates(options["tls_cert"], options["tls_key"])
        try:
            self.relay_from = Networks(options["relay_from"])
            self.proxy_from = Networks(options["proxy_from"])
            self.wanted = [Wanted(text) for text in options["listen"]]
        except ValueError as error:
            raise Misuse(str(error)) from None
        self.identities = self._identities(options["user"], options["door_user"], options["verifier_user"])

    @staticmethod
    def _certificates(certificates: tuple[str, ...], keys: tuple[str, ...]) -> list[tuple[str, str | None]]:
        if len(keys) > len(certificates):
            raise Misuse("there are more --tls-key than --tls-cert")
        found = [os.path.abspath(key) if key else None for key in keys]
        return list(zip_longest(map(os.path.abspath, certificates), found))

    @staticmethod
    def _identities(user: str | None, door_user: str | None, verifier_user: str | None) -> dict[str, tuple[int, int]]:
        """Return who processes become that do not stay what the server was started as, by role."""
        if os.geteuid() != 0:
            if user or door_user or verifier_user:
                raise Misuse("--user, --door-user and --verifier-user are for a server that is started as root")
            return {}
        if not user:
            raise Misuse("started as root: --user has to say who talks to clients")
        identities = {WORKER_ROLE: _user(user), METRICS: _user(user), OPENER: _user(door_user or user)}
        if verifier_user:
            identities[VERIFIER] = _user(verifier_user)
        return identities

    def environment(self, **switches: bool) -> Environment:
        """Return the settings of ofmipd(8), with further ones set."""
        return Environment(self.environ | {name.encode(): b"1" for name, is_on in switches.items() if is_on})


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
        made.append(Listener(given, text, kind, is_proxied=asked.is_proxied, is_ours=False))
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


def metrics_listeners(wishes: Wishes) -> list[socket.socket]:
    """Return the sockets that Prometheus connects to, none if nobody wants it; raises as `listeners_of`."""
    place = wishes.options["metrics"]
    if not place:
        return []
    try:
        wanted = Wanted(place)
    except ValueError as error:
        raise Misuse(f"--metrics: {error}") from None
    if wanted.kind is not None or wanted.is_proxied or isinstance(wanted.place, str):
        raise Misuse(f"--metrics: {place}: want ADDRESS:PORT and nothing else: it is HTTP without TLS")
    return places.listen(wanted)


class Shared:
    """What all processes of all generations have in common.

    Attributes:
        listeners: for clients.
        metrics: for Prometheus; none if nobody wants it.
        strange: descriptors that were open when the server was started. The supervisor keeps them, because somebody
            may hold a lock by one (setlock(8)); they are nobody else's business.
        log: a descriptor for lines, that never waits.
        tally, crowd, beats: tables in shared memory.
        budget_key, budget_cells: of the budget for failures, which outlives a generation.
        busy: slots of workers that are there.
    """

    def __init__(
        self, listeners: list[Listener], metrics: list[socket.socket], slots: int, strange: Collection[int] = ()
    ) -> None:
        """Make the tables; before anything is forked."""
        self.listeners = listeners
        self.metrics = metrics
        self.strange = strange
        self.log = logsink.open_log()
        names = tuple(dict.fromkeys(listener.name for listener in listeners))
        self.tally = Tally(families(names), slots)
        self.crowd = Crowd(slots)
        self.beats = Beats(slots)
        self.budget_key = os.urandom(16)
        self._budget_map = mmap(-1, 8 * PLACES)
        self.budget_cells = memoryview(self._budget_map).cast("d")

    def forget_budget(self) -> None:
        """Have no part in the budget for failures: a process that was taken over could give everybody a new one."""
        self.budget_cells.release()
        self._budget_map.close()

    def died(self, slot: int) -> None:
        """Take a worker out that has died."""
        self.tally.forget(slot)
        self.crowd.forget(slot)
        self.beats.stop(slot)
