"""The process that checks logins: it alone can read the account store and start checkers.

A worker asks it, and gets the verdict, with a ticket after a yes. The checker is a program, or, when it is our own
checkpassword and nothing but the verdict is asked, its code in this process; then there are several of this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from checkpw import tickets
from checkpw.checker import Answer, Checker
from checkpw.credentials import Credentials
from checkpw.errors import CheckpwError
from checkpw.frames import BadFrame
from checkpw.peer import network_of
from checkpw.runners.resident import Drive
from checkpw.service import words
from checkpw.service.turns import TooMany, Turns
from checkpw.verdict import ACCEPTED, REJECTED, TEMPORARY

if TYPE_CHECKING:
    import asyncio

    from checkpw.budget import Budget
    from checkpw.runners import channel
    from checkpw.runners.resident import Descriptors

Told = Callable[[Answer], None]
Asker = Callable[[Credentials, dict[bytes, bytes], Told], None]
"""Finds the answer to credentials, with the environment that is known of the client, and tells it later."""

MAX_DIAGNOSTICS = 4096


class Verifier:
    """Answers all workers."""

    def __init__(
        self,
        ask: Asker,
        turns: Turns,
        key: bytes,
        ticket_life: int,
        guesses: Budget,
    ) -> None:
        """Answer by asking `ask`.

        Args:
            ask: the checker.
            turns: how many are asked at once.
            key: of the tickets.
            ticket_life: seconds for which one is good: as long as a session.
            guesses: how many failures a client address has.
        """
        self._ask = ask
        self._turns = turns
        self._key = key
        self._ticket_life = ticket_life
        self._guesses = guesses

    def handler(self) -> WorkerAsking:
        """Return who answers one worker."""
        return WorkerAsking(self)

    def check(self, credentials: Credentials, origin: dict[bytes, bytes], answer: channel.Answer) -> None:
        """Check a login in its turn, and answer."""
        address = network_of(origin.get(b"TCPREMOTEIP", b""))
        # Counted before anybody is asked, so that many guesses at once are not more than they may be.
        # Clients without an address are whoever may use a unix socket, and all of them would be one.
        paid = self._guesses.take(address, time.monotonic()) if address else 0.0
        if paid is None:
            _give(answer, Answer(TEMPORARY, "too many failures from this address"), b"")
            return

        def told(found: Answer) -> None:
            now = time.monotonic()
            if found.verdict != REJECTED:
                self._guesses.give_back(address, paid, now)
            ticket = b""
            if found.verdict == ACCEPTED:
                ticket = tickets.make(self._key, credentials.login, int(now) + self._ticket_life)
            _give(answer, found, ticket)
            self._turns.done()

        try:
            self._turns.take(address, lambda: self._ask(credentials, origin, told))
        except TooMany:
            self._guesses.give_back(address, paid, time.monotonic())
            _give(answer, Answer(TEMPORARY, "too many wait to be checked"), b"")


class WorkerAsking:
    """Answers one worker."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def request(self, fields: list[bytes], answer: channel.Answer) -> None:
        """Take a request; raises `BadFrame`."""
        match fields:
            case [words.CHECK, record, origin]:
                self._verifier.check(_parse(record), words.unpack_origin(origin), answer)
            case _:
                raise BadFrame("an unknown request")

    def gone(self) -> None:
        """Go on with what it has asked: the answers go nowhere."""


def _parse(record: bytes) -> Credentials:
    """Take apart what a worker writes, which is not all that a checker would take; raises `BadFrame`."""
    try:
        credentials = Credentials.parse(record)
        if credentials.login and credentials.encode() == record:
            return credentials
    except CheckpwError:
        pass
    raise BadFrame("a malformed record")


def _give(answer: channel.Answer, found: Answer, ticket: bytes) -> None:
    answer.give([found.verdict.encode(), found.reason.encode(), found.diagnostics[:MAX_DIAGNOSTICS], ticket])


class Program:
    """Asks a checkpassword program."""

    def __init__(self, descriptors: Descriptors, checker: Checker) -> None:
        """Ask by having `descriptors` start the program of `checker` for each login."""
        self.descriptors = descriptors
        self._checker = checker

    def __call__(self, credentials: Credentials, origin: dict[bytes, bytes], told: Told) -> None:
        """Start the program, and tell what it said."""

        def ended(result: Answer, failure: BaseException | None) -> None:
            told(Answer(TEMPORARY, "unable to ask the checker") if failure is not None else result)

        Drive(self._checker.ask(credentials, origin), self.descriptors.performers, ended).resume()


class Inline:
    """Asks our own code, in this process, one login after the other.

    There is a verifier for each core: a thread for each would share the interpreter's lock, which costs a third of a
    cheap hash, and which some hashes do not let go.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        verify: Callable[[bytes, dict[bytes, bytes]], Answer],
        environ: dict[bytes, bytes],
    ) -> None:
        """Ask `verify`, which takes a record and an environment, and raises nothing."""
        self._loop = loop
        self._verify = verify
        self._environ = environ

    def __call__(self, credentials: Credentials, origin: dict[bytes, bytes], told: Told) -> None:
        """Ask when the loop has heard what else there is to ask: whose turn comes next is decided then."""
        self._loop.call_soon(self._ask, credentials, origin, told)

    def _ask(self, credentials: Credentials, origin: dict[bytes, bytes], told: Told) -> None:
        told(self._verify(credentials.encode(), self._environ | origin))
