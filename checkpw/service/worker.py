"""The process that talks to clients: many sessions on one event loop, and nothing that a stranger could want.

It has no way to a file or a program. Logins are the verifier's business, messages the opener's; what it holds is the
TLS keys and the sessions themselves.
"""

from __future__ import annotations

import itertools
import os
import socket
import time

from checkpw import operations
from checkpw.errors import TemporaryFailure
from checkpw.logline import render
from checkpw.operations import Secure, Send, TimedOut
from checkpw.peer import Peer
from checkpw.proxy import BadHeader
from checkpw.runners.channel import Asker
from checkpw.runners.connection import Connection, Handshakes
from checkpw.runners.resident import Descriptors, Drive, Performer
from checkpw.service.logsink import LogSink
from checkpw.service.remote import Pass, RemoteChecker
from checkpw.service.visit import Visit, proxied
from checkpw.smtp.replies import Reply
from checkpw.submission import Submission
from checkpw.tallies import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from checkpw.logline import Value
    from checkpw.names import Names
    from checkpw.operations import Steps
    from checkpw.policy import Policy
    from checkpw.queue.base import Door
    from checkpw.service.addresses import Networks
    from checkpw.service.counters import Counters
    from checkpw.service.listeners import Listener
    from checkpw.tallies import Column

PROGRAM = "submissiond"

ACCEPT_AT_ONCE = 8
"""Connections taken in one turn of the loop: a turn may be long when many clients send much."""

ACCEPT_PAUSE = 0.2
"""Seconds until accepting is tried again after the kernel had no descriptor or memory for it."""

GOODBYE = 5.0
"""Seconds for the last words to a client that is sent away unheard."""

HARD_LIMIT = 15.0
"""Seconds after the drain limit in which a session that waits for the queue may still end."""


class Rules:
    """What an administrator decided about clients, over and above the policy of a session.

    Attributes:
        policies: by (AUTH is refused without TLS, RELAYCLIENT counts).
        auth_plaintext: passwords may come in clear, from anywhere.
        relay_from: networks whose clients need no AUTH.
        proxy_from: balancers that are believed.
        context: the server's certificates; None for no TLS.
        checker_timeout: seconds for a verdict.
        asks_for_logins: a checker is there.
        session_time: seconds that a session may last.
        connections: how many this worker has at once.
    """

    __slots__ = (
        "asks_for_logins",
        "auth_plaintext",
        "checker_timeout",
        "connections",
        "context",
        "handshakes",
        "policies",
        "proxy_from",
        "relay_from",
        "session_time",
    )

    def __init__(
        self,
        policies: dict[tuple[bool, bool], Policy],
        *,
        auth_plaintext: bool,
        relay_from: Networks,
        proxy_from: Networks,
        context: ssl.SSLContext | None,
        checker_timeout: float,
        asks_for_logins: bool,
        session_time: float,
        connections: int,
        handshakes: int,
    ) -> None:
        self.policies = policies
        self.auth_plaintext = auth_plaintext
        self.relay_from = relay_from
        self.proxy_from = proxy_from
        self.context = context
        self.checker_timeout = checker_timeout
        self.asks_for_logins = asks_for_logins
        self.session_time = session_time
        self.connections = connections
        self.handshakes = handshakes


class Worker:
    """Serves the clients of some listeners."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: list[Listener],
        rules: Rules,
        make_door: Callable[[Pass], Door],
        names: Names | None,
        crowd: Column,
        counters: Counters,
        log: int,
    ) -> None:
        """Put a worker together; it serves once `begin` is called.

        Args:
            loop: to wait on.
            listeners: sockets that listen.
            rules: for clients.
            make_door: makes the door for one client.
            names: name.cdb, opened when that was possible.
            crowd: who is connected to all workers.
            counters: what is counted.
            log: a descriptor for lines, that never waits.
        """
        self._loop = loop
        self._listeners = listeners
        self._rules = rules
        self._make_door = make_door
        self._names = names
        self._crowd = crowd
        self._counters = counters
        self._handshakes = Handshakes(rules.handshakes)
        self._sink = LogSink(loop, PROGRAM, log)
        self._pid = os.getpid()
        self._serial = itertools.count(1)
        self._sessions: set[Visit] = set()
        self._is_draining = False
        self._is_accepting = False
        self._is_ending = False
        self._descriptors = Descriptors(loop)
        self._askers: dict[str, list[Asker]] = {}
        self._performers: dict[type, Performer] = {
            **self._descriptors.performers,
            operations.Receive: self._receive,
            operations.Send: _send,
            operations.Secure: _secure,
            operations.Ask: self._ask,
        }

    # What the supervisor says.

    def begin(self) -> None:
        """Accept connections."""
        for listener in self._listeners:
            self._loop.add_reader(listener.socket.fileno(), self._accept, listener)
        self._is_accepting = True

    def attach(self, service: str, end: socket.socket) -> None:
        """Ask a service through this line, too, from now on."""
        askers = self._askers.setdefault(service, [])
        asker = Asker(self._loop, end, lambda: askers.remove(asker))
        askers.append(asker)

    def drain(self, seconds: float) -> None:
        """Accept nobody any more, and end when all sessions have; after so many seconds they are told to.

        Said a second time, the time that is over first counts: the supervisor may be gone meanwhile.
        """
        if not self._is_draining:
            self._is_draining = True
            self._stop_accepting()
            for listener in self._listeners:
                listener.socket.close()  # when nobody has it open any more, clients are refused and need not wait
        self._loop.call_later(seconds, self._end_sessions)
        self._end_if_alone()

    def _end_sessions(self) -> None:
        self._is_ending = True
        for visit in list(self._sessions):
            visit.end()
        self._loop.call_later(HARD_LIMIT, self._give_up)

    def _give_up(self) -> None:
        self._sink.flush()
        self._loop.stop()

    def _end_if_alone(self) -> None:
        if self._is_draining and not self._sessions:
            self._sink.flush()
            self._loop.stop()

    # Accepting.

    def _accept(self, listener: Listener) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                client, address = listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors, no memory: it gets better when a session ends
                self._stop_accepting()
                self._loop.call_later(ACCEPT_PAUSE, self._accept_again)
                return
            Visit(self, listener, client, address).begin()
            if len(self._sessions) >= self._rules.connections:
                self._stop_accepting()
                return

    def _stop_accepting(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            for listener in self._listeners:
                self._loop.remove_reader(listener.socket.fileno())

    def _accept_again(self) -> None:
        if not self._is_accepting and not self._is_draining and len(self._sessions) < self._rules.connections:
            self.begin()

    def left(self, visit: Visit) -> None:
        """Take note that a client is gone."""
        self._sessions.discard(visit)
        if self._is_draining:
            self._end_if_alone()
        elif not self._is_accepting:
            self._accept_again()

    # Performing.

    def _receive(self, operation: operations.Receive, drive: Drive) -> object:
        if operation.descriptor is not None:
            return self._descriptors.performers[operations.Receive](operation, drive)
        if self._is_ending or drive.client.is_over:
            raise TemporaryFailure("the server goes down")
        return drive.client.receive(operation, drive)

    def _ask(self, operation: operations.Ask, drive: Drive) -> object:
        askers = self._askers.get(operation.service)
        if not askers or (operation.to is not None and operation.to not in askers):
            raise ConnectionError("nobody is there to be asked")
        asker = operation.to if isinstance(operation.to, Asker) else min(askers, key=_pending)
        return asker.perform(operation, drive)

    def drive_aside(self, steps: Steps[object]) -> None:
        """Drive something that belongs to no client; what comes of it, or fails, is of no interest."""
        Drive(steps, self._performers, lambda _result, _failure: None).resume()

    # For visits.

    def drive(self, visit: Visit, steps: Steps[None]) -> Drive:
        """Return what drives a session."""
        self._sessions.add(visit)
        return Drive(steps, self._performers, visit.ended, visit.connection)

    def connect(self, client: socket.socket) -> Connection:
        """Return the connection of a client."""
        return Connection(self._loop, client, self._rules.context, self._handshakes)

    def limit(self, visit: Visit) -> asyncio.TimerHandle:
        """Have a session end when its time is over."""
        return self._loop.call_later(self._rules.session_time, visit.end)

    def serve(self, visit: Visit, listener: Listener, environ: dict[bytes, bytes]) -> Steps[None]:
        """Serve a client, from the PROXY header to the goodbye."""
        rules, connection = self._rules, visit.connection
        ip = environ.get(b"TCPREMOTEIP", b"")
        if listener.is_proxied:
            if ip not in rules.proxy_from and listener.socket.family != socket.AF_UNIX:
                self._tell(listener, ip, "session", reason="proxy", text="not a balancer that is believed")
                return
            try:
                environ = yield from proxied(connection)
            except (BadHeader, OSError, TimedOut) as error:
                self._tell(listener, ip, "session", reason="proxy", text=str(error) or "no header in time")
                return
            ip = environ.get(b"TCPREMOTEIP", b"")
        verdict = self._crowd.enter(ip, time.monotonic())
        if verdict is not Verdict.OK:
            self._tell(listener, ip, "session", reason="crowd", text=verdict.value)
            if not listener.is_tls:
                yield Send(Reply(421, b"4.7.0", b"too many connections").render(), GOODBYE)
            return
        self._counters.opened(listener.name, 1)
        try:
            yield from self._converse(listener, ip, environ)
        finally:
            self._counters.opened(listener.name, -1)
            self._crowd.leave(ip)

    def _converse(self, listener: Listener, ip: bytes, environ: dict[bytes, bytes]) -> Steps[None]:
        rules = self._rules
        uses_tls = False
        if listener.is_tls:
            try:
                secured = yield Secure(rules.policies[True, False].handshake_timeout)
            except (OSError, TimedOut) as error:
                self._tell(listener, ip, "session", reason="tls", text=str(error) or "no handshake in time")
                return
            environ |= secured.environ
            uses_tls = True
            self._counters.handshake(listener.name, secured.environ)
        peer = Peer(ip or b"unknown", is_remote=True, uses_tls=uses_tls)
        # What a balancer says of a client is no proof that the connection stays on this machine.
        requires_tls = not (rules.auth_plaintext or (peer.is_loopback and not listener.is_proxied))
        pass_ = Pass()
        count = self._counters.event
        write = self._sink.write

        def log(fields: dict[str, Value]) -> None:
            count(listener.name, fields)
            write(render(PROGRAM, fields))

        yield from Submission(
            rules.policies[requires_tls, ip in rules.relay_from],
            peer,
            self._make_door(pass_),
            RemoteChecker(pass_, rules.checker_timeout) if rules.asks_for_logins else None,
            environ,
            names=self._names,
            log=log,
            now=time.time,
            pid=b"%d.%d" % (self._pid, next(self._serial)),
            offers_starttls=listener.offers_starttls,
        ).serve()

    def _tell(self, listener: Listener, ip: bytes, event: str, **fields: Value) -> None:
        """Log what happened to a client that did not come to a session."""
        words: dict[str, Value] = {"client": ip or b"unknown", "pid": self._pid, "event": event, **fields}
        self._counters.event(listener.name, words)
        self._sink.write(render(PROGRAM, words))


def _pending(asker: Asker) -> tuple[bool, int]:
    return asker.is_late, asker.pending


def _send(operation: operations.Send, drive: Drive) -> object:
    return drive.client.send(operation, drive)


def _secure(operation: operations.Secure, drive: Drive) -> object:
    return drive.client.secure(operation, drive)
