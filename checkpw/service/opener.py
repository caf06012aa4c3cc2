"""The process that opens the door: it alone can start a queue program, reach the Maildir, or connect to the next hop.

A worker asks it to open, writes the message to the descriptor that it gets, and asks to commit. Who sends is what the
verifier's ticket says. When a worker is gone, nothing of what it had open is queued.
"""

from __future__ import annotations

import itertools
import os
import time

from checkpw import tickets
from checkpw.errors import MessageRefused
from checkpw.frames import BadFrame
from checkpw.operations import TimedOut
from checkpw.runners.resident import Drive
from checkpw.service import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.operations import Result, Steps
    from checkpw.queue.base import Door, LocalDelivery
    from checkpw.runners.channel import Answer
    from checkpw.runners.resident import Descriptors
    from checkpw.smtp.events import Envelope

NO_TICKET = (451, b"4.7.0", b"nobody has logged in")
NO_DELIVERY = (451, b"4.3.0", b"the message was lost")


class Opener:
    """The door, and what it takes to open it."""

    def __init__(
        self,
        descriptors: Descriptors,
        door: Door | None,
        dial: Callable[[], Steps[int]] | None,
        environ: dict[bytes, bytes],
        key: bytes,
        *,
        relays_for_strangers: bool,
    ) -> None:
        """Open one door.

        Args:
            descriptors: performs what is to be done.
            door: whose deliveries can be handed over; None where workers relay by themselves.
            dial: connects them to the next hop then.
            environ: what programs behind the door get, before anything is known of the client.
            key: of the verifier's tickets.
            relays_for_strangers: some clients need no ticket, because of where they are.
        """
        self.descriptors = descriptors
        self._door = door
        self._dial = dial
        self._environ = environ
        self._key = key
        self._relays_for_strangers = relays_for_strangers
        self._life = os.urandom(8)
        self._numbers = itertools.count(1)

    def handler(self) -> WorkerAtDoor:
        """Return who answers one worker."""
        return WorkerAtDoor(self)

    def drive(self, steps: Steps[object], at_end: Callable[[object, BaseException | None], None]) -> None:
        """Drive a generator of the door."""
        Drive(steps, self.descriptors.performers, at_end).resume()

    def number(self) -> bytes:
        """Return a number that no delivery had, at no opener: one that has died may have given some to our workers."""
        return b"%s%d" % (self._life, next(self._numbers))

    def open(self, ticket: bytes, origin: dict[bytes, bytes], envelope: Envelope) -> Steps[LocalDelivery]:
        """Open the door and return the delivery; raises `MessageRefused`."""
        environ = self._environ | origin
        if ticket or not self._relays_for_strangers:
            login = tickets.read(self._key, ticket, time.monotonic())
            if login is None:
                raise MessageRefused(*NO_TICKET)
            environ |= {b"RELAYCLIENT": b"", b"SMTPAUTHUSER": login, b"TCPREMOTEINFO": login}
        else:
            environ |= {b"RELAYCLIENT": b""}
        if self._door is None:
            raise MessageRefused(*NO_TICKET)
        delivery = yield from self._door.open(envelope, environ)
        local: LocalDelivery = delivery  # type: ignore[assignment]  # the composition gives no other door
        return local

    def hand_over(
        self, ticket: bytes, origin: dict[bytes, bytes], envelope: Envelope
    ) -> Steps[tuple[LocalDelivery, int]]:
        """Open the door and return the delivery and the descriptor that takes the message; raises `MessageRefused`."""
        delivery = yield from self.open(ticket, origin, envelope)
        return delivery, (yield from _or_abort(delivery, delivery.hand_over()))

    def submit(self, ticket: bytes, origin: dict[bytes, bytes], envelope: Envelope, message: bytes) -> Steps[bytes]:
        """Queue a message and return the door's words; raises `MessageRefused`."""
        delivery = yield from self.open(ticket, origin, envelope)
        yield from delivery.write(message)
        return (yield from _or_abort(delivery, delivery.commit()))

    def commit(self, delivery: LocalDelivery | None, trouble: bytes) -> Steps[bytes]:
        """Queue a message that a worker has written, and return the door's words; raises `MessageRefused`."""
        if delivery is None:
            raise MessageRefused(*NO_DELIVERY)
        if trouble != words.NONE:
            delivery.fail(is_late=trouble == words.LATE)
        return (yield from _or_abort(delivery, delivery.commit()))

    def dial(self) -> Steps[int]:
        """Connect to the next hop; raises `OSError`."""
        if self._dial is None:
            raise ConnectionError("there is no next hop")
        return (yield from self._dial())


class WorkerAtDoor:
    """Answers one worker."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._deliveries: dict[bytes, LocalDelivery] = {}
        self._is_gone = False

    def request(self, fields: list[bytes], answer: Answer) -> None:
        """Take a request; raises `BadFrame`."""
        match fields:
            case [words.OPEN, ticket, origin, envelope]:
                self._open(ticket, words.unpack_origin(origin), words.unpack_envelope(envelope), answer)
            case [words.SUBMIT, ticket, origin, envelope, message]:
                self._submit(ticket, words.unpack_origin(origin), words.unpack_envelope(envelope), message, answer)
            case [words.COMMIT, number, trouble] if trouble in (words.NONE, words.BROKEN, words.LATE):
                # It may be one of an opener before us.
                delivery = self._deliveries.pop(number, None)
                self._opener.drive(self._opener.commit(delivery, trouble), _teller(answer))
            case [words.ABORT, number]:
                self._abort(self._deliveries.pop(number, None), lambda: answer.give([words.ABORTED]))
            case [words.DIAL]:
                self._dial(answer)
            case [words.OPENED, number]:  # our answer, which came too late
                self._abort(self._deliveries.pop(number, None), _say_nothing)
            case [words.OPENED]:
                pass
            case _:
                raise BadFrame("an unknown request")

    def gone(self) -> None:
        """Have nothing queued of what the worker had open."""
        self._is_gone = True
        deliveries, self._deliveries = self._deliveries, {}
        for delivery in deliveries.values():
            self._abort(delivery, _say_nothing)

    def _open(self, ticket: bytes, origin: dict[bytes, bytes], envelope: Envelope, answer: Answer) -> None:
        def opened(result: object, failure: BaseException | None) -> None:
            if failure is not None:
                answer.give(_refused(failure))
                return
            assert isinstance(result, tuple)
            delivery, descriptor = result
            number = self._opener.number()
            self._deliveries[number] = delivery
            answer.give([words.OPENED, number], descriptor)
            if self._is_gone:
                self.gone()

        self._opener.drive(self._opener.hand_over(ticket, origin, envelope), opened)

    def _submit(
        self, ticket: bytes, origin: dict[bytes, bytes], envelope: Envelope, message: bytes, answer: Answer
    ) -> None:
        self._opener.drive(self._opener.submit(ticket, origin, envelope, message), _teller(answer))

    def _abort(self, delivery: LocalDelivery | None, tell: Callable[[], None]) -> None:
        if delivery is None:  # its commit was tried, and failed
            tell()
            return
        self._opener.drive(delivery.abort(), lambda _result, _failure: tell())

    def _dial(self, answer: Answer) -> None:
        def connected(result: object, failure: BaseException | None) -> None:
            if failure is not None:
                answer.give([words.FAILED, str(failure).encode("ascii", "replace")])
                return
            assert isinstance(result, int)
            answer.give([words.OPENED], result)

        self._opener.drive(_timely(self._opener.dial()), connected)


def _say_nothing() -> None:
    """Tell nobody."""


def _or_abort(delivery: LocalDelivery, steps: Steps[Result]) -> Steps[Result]:
    """Go on with a delivery; what is no word of the door's leaves nothing of it behind."""
    try:
        return (yield from steps)
    except (OSError, TimedOut):
        yield from delivery.abort()
        raise


def _timely(steps: Steps[int]) -> Steps[int]:
    try:
        return (yield from steps)
    except TimedOut:
        raise ConnectionError("no answer in time") from None


def _teller(answer: Answer) -> Callable[[object, BaseException | None], None]:
    """Return what tells a worker whether its message is queued."""

    def tell(result: object, failure: BaseException | None) -> None:
        if failure is not None:
            answer.give(_refused(failure))
            return
        assert isinstance(result, bytes)
        answer.give([words.QUEUED, result])

    return tell


def _refused(failure: BaseException) -> list[bytes]:
    if isinstance(failure, MessageRefused):
        return [words.REFUSED, b"%d" % failure.code, failure.enhanced, failure.reply_text]
    return [words.REFUSED, b"451", b"4.3.0", b"the queue cannot be reached"]
