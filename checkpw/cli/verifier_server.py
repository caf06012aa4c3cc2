"""What checkpw-verifierd does once its sockets are there: takes connections, has questions answered, and drains.

One thread does everything but the hashes. Bounded are the connections, those of one user, the bytes and the time of a
question, and how often a user and a login may be wrong. The protocol is that of `accounts.verifier`, the other end.
"""

import asyncio
import contextlib
import functools
import select
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from checkpw import frames
from checkpw.accounts.verifier import MAX_QUESTION, QUESTION_FIELDS, other_end
from checkpw.budget import Budget
from checkpw.cli import exits, verification
from checkpw.cli.verification import Outcome
from checkpw.notify import Notifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.logline import Value

    Words = dict[str, Value]

BACKLOG = 4096
"""Connections that wait to be taken; what Linux takes at most (somaxconn) since 5.4."""

PAUSE = 1.0
"""Seconds until connections are taken again after the system refused one, for want of descriptors or memory."""

BLOCK = 4096
"""Bytes read at once: some questions."""

VERDICTS = {0: "accepted", 1: "rejected", 2: "misused"}


class Limits:
    """What the verifier lets others use of it.

    Attributes:
        connections: how many are open at once; further ones wait.
        share: how many of these one user has; further ones are closed.
        timeout: seconds that a peer has to send a question, and to take the answer.
        per_login, per_peer: wrong guesses at a login, and of a user who asks; None for no limit.
    """

    __slots__ = ("connections", "per_login", "per_peer", "share", "timeout")

    def __init__(self, connections: int, timeout: float, per_login: Budget | None, per_peer: Budget | None) -> None:
        self.connections = connections
        # So that nobody who does nothing but hold connections keeps all others out.
        self.share = max(1, connections * 3 // 4)
        self.timeout = timeout
        self.per_login = per_login
        self.per_peer = per_peer


class Peer:
    """Who asks.

    Attributes:
        line: the connection.
        pid, uid: of the process that made it.
    """

    __slots__ = ("line", "pid", "uid")

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.pid, self.uid = other_end(line)


class Server:
    """Serves some sockets until it is told to stop."""

    def __init__(
        self,
        listeners: list[socket.socket],
        environ: dict[bytes, bytes],
        limits: Limits,
        threads: int,
        log: "Callable[[Words], None]",
    ) -> None:
        """Serve nobody yet.

        Args:
            listeners: unix stream sockets that listen, not blocking.
            environ: the settings of the store, but for what each question says of the client.
            limits: for peers.
            threads: how many hashes are computed at once.
            log: takes the fields of a line.
        """
        self._listeners = listeners
        self._environ = environ
        self._limits = limits
        self._pool = ThreadPoolExecutor(threads, "hash")
        self._log = log
        self._peers: dict[asyncio.Task[None], Peer] = {}
        self._by_uid: Counter[int] = Counter()
        self._stopping = asyncio.Event()

    async def serve(self, notifier: Notifier) -> None:
        """Answer until SIGTERM or SIGINT; then answer what has been asked, within the time limit, and return.

        Args:
            notifier: is told when questions are answered, and when no new ones are.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._explain_hangup)
        self._listen()
        notifier.ready("answers questions about logins")
        while notifier.watchdog_interval and not self._stopping.is_set():
            notifier.watchdog()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(notifier.watchdog_interval):
                    await self._stopping.wait()
        await self._stopping.wait()
        notifier.stopping("answers what has been asked")
        await self._drain()

    async def _drain(self) -> None:
        self._pause()
        for listener in self._listeners:
            listener.close()
        for peer in self._peers.values():
            with contextlib.suppress(OSError):  # it has gone away
                # What has arrived is still read, and then the end.
                peer.line.shutdown(socket.SHUT_RD)
        if self._peers:
            await asyncio.wait(self._peers, timeout=self._limits.timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _explain_hangup(self) -> None:
        self._log({"client": "-", "event": "hangup", "text": "stores are opened for each question: nothing to reopen"})

    def _unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong in a callback of the event loop, without the values in it."""
        text = exits.without_values(context["exception"]) if "exception" in context else str(context.get("message"))
        self._log({"client": "-", "event": "trouble", "text": text})

    # Connections.

    def _listen(self) -> None:
        if not self._stopping.is_set():
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.add_reader(listener, self._accept, listener)

    def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take the connections that wait, as many as there is room for."""
        while len(self._peers) < self._limits.connections:
            try:
                line, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._log({"client": "-", "event": "trouble", "text": f"unable to accept: {error.strerror}"})
                self._pause()
                asyncio.get_running_loop().call_later(PAUSE, self._listen)
                return
            line.settimeout(0)
            peer = Peer(line)
            if self._by_uid[peer.uid] >= self._limits.share:
                self._tell(peer, "refused", text="too many connections of one user")
                line.close()
                continue
            self._by_uid[peer.uid] += 1
            task = asyncio.create_task(self._serve(peer))
            self._peers[task] = peer
            task.add_done_callback(self._forget)
        self._pause()

    def _forget(self, task: asyncio.Task[None]) -> None:
        peer = self._peers.pop(task)
        peer.line.close()
        self._by_uid[peer.uid] -= 1
        if not self._by_uid[peer.uid]:
            del self._by_uid[peer.uid]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell(peer, "trouble", text=exits.without_values(error))
        self._listen()

    async def _serve(self, peer: Peer) -> None:
        """Answer the questions of one connection, one after the other."""
        loop = asyncio.get_running_loop()
        reader = frames.FrameReader(MAX_QUESTION)
        try:
            while True:
                questions: list[list[bytes]] = []
                async with asyncio.timeout(self._limits.timeout):
                    while not questions:
                        data = await loop.sock_recv(peer.line, BLOCK)
                        if not data:
                            return
                        questions = reader.feed(data)
                for question in questions:
                    answer = await self._answer(peer, question)
                    async with asyncio.timeout(self._limits.timeout):
                        await loop.sock_sendall(peer.line, answer)
        except TimeoutError:
            self._tell(peer, "timeout")
        except OSError:
            return  # it has gone away
        except frames.BadFrame as error:
            self._tell(peer, "protocol", text=str(error))

    # Questions.

    async def _answer(self, peer: Peer, question: list[bytes]) -> bytes:
        if len(question) != QUESTION_FIELDS:
            raise frames.BadFrame(f"a question has {QUESTION_FIELDS} fields")
        record, ip, service = question
        began = time.monotonic()
        fields, words = await self._verdict(peer, record, ip)
        login = record.partition(b"\0")[0]
        self._tell(peer, "verify", ip, login=login, service=service, **words, seconds=time.monotonic() - began)
        return frames.encode(fields)

    async def _verdict(self, peer: Peer, record: bytes, ip: bytes) -> "tuple[list[bytes], Words]":
        """Ask the store, unless too many guesses were wrong."""
        budgets = (
            ("user", self._limits.per_peer, b"%d" % peer.uid),
            ("login", self._limits.per_login, record.partition(b"\0")[0]),
        )
        taken: list[tuple[Budget, bytes, float]] = []
        outcome = Outcome(111, None, b"")
        words: Words = {}
        for name, budget, key in budgets:
            if budget is None:
                continue
            paid = budget.take(key, time.monotonic())
            if paid is None:
                words["reason"] = f"too many wrong guesses for this {name}"
                break
            taken.append((budget, key, paid))
        else:
            ask = functools.partial(self._ask, peer.line, record, ip)
            outcome, words = await asyncio.get_running_loop().run_in_executor(self._pool, ask)
        if outcome.status != 1:  # it was no wrong guess
            for budget, key, paid in taken:
                budget.give_back(key, paid, time.monotonic())
        return _answer_of(outcome), {"verdict": VERDICTS.get(outcome.status, "temporary"), **words}

    def _ask(self, line: socket.socket, record: bytes, ip: bytes) -> "tuple[Outcome, Words]":
        """Verify in a thread of the pool, unless whoever asked did not wait."""
        if has_hung_up(line):
            return Outcome(111, None, b""), {"reason": "nobody waits for the answer any more"}
        outcome = verification.attempt(record, {**self._environ, b"TCPREMOTEIP": ip})
        return outcome, {"reason": outcome.output.rstrip(b"\n")} if outcome.output else {}

    def _tell(self, peer: Peer, event: str, ip: bytes = b"", **fields: "Value") -> None:
        self._log({"client": ip or "-", "uid": peer.uid, "pid": peer.pid, "event": event, **fields})


def has_hung_up(line: socket.socket) -> bool:
    """Tell whether the other end is closed; one that only does not send any more still waits."""
    poll = select.poll()
    poll.register(line, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def _answer_of(outcome: Outcome) -> list[bytes]:
    account = outcome.account
    if account is None:
        return [b"%d" % outcome.status, b"", b"", b"", b"", b"", b""]
    uid, gid = (b"" if number is None else b"%d" % number for number in (account.uid, account.gid))
    doubt = account.doubt.encode("ascii", "backslashreplace")
    return [b"0", account.login, uid, gid, account.home, account.shell, doubt]
