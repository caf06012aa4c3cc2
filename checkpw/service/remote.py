"""What a worker has in place of a checker and a door: it asks the verifier and the opener."""

from __future__ import annotations

from checkpw.checker import Answer
from checkpw.errors import MessageRefused
from checkpw.operations import OPENER, VERIFIER, Answered, Ask, Close, TimedOut, Write
from checkpw.service import words
from checkpw.verdict import ACCEPTED, MISUSED, REJECTED, TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.credentials import Credentials
    from checkpw.operations import Steps
    from checkpw.smtp.events import Envelope

VERDICTS = {verdict.encode(): verdict for verdict in (ACCEPTED, REJECTED, MISUSED, TEMPORARY)}

LOGIN = b"SMTPAUTHUSER"
"""By this, a session tells its door that somebody has logged in."""

SMALL = 32 * 1024
"""Bytes of a message that a worker keeps and hands over whole: most are no larger, and that takes one question in
place of two, and no descriptor that goes from process to process."""

NOT_OPENED = (451, b"4.3.0", b"the queue cannot be reached")
NOT_AN_ADDRESS = (554, b"5.1.3", b"this address cannot be passed on")
NOT_ANSWERED = (451, b"4.3.0", b"the queue does not answer")


class Pass:
    """What one client has been given: the verifier's word that it has logged in, for the opener.

    Attributes:
        ticket: empty before that.
    """

    __slots__ = ("ticket",)

    def __init__(self) -> None:
        self.ticket = b""


class RemoteChecker:
    """Has the verifier check logins, for one client."""

    __slots__ = ("_pass", "_timeout")

    def __init__(self, pass_: Pass, timeout: float) -> None:
        """Ask for one client.

        Args:
            pass_: gets the ticket.
            timeout: seconds for an answer; the verifier has its own limits, and this is for one that hangs.
        """
        self._pass = pass_
        self._timeout = timeout

    def ask(self, credentials: Credentials, known: dict[bytes, bytes]) -> Steps[Answer]:
        """Return the verifier's answer; TEMPORARY if there is none. Of what is known, it is told `words.ORIGIN`."""
        request = [words.CHECK, credentials.encode(), words.pack_origin(known)]
        try:
            answered: Answered = yield Ask(VERIFIER, request, self._timeout)
        except TimedOut:
            return Answer(TEMPORARY, "the verifier does not answer")
        except OSError:
            return Answer(TEMPORARY, "the verifier is not there")
        verdict, reason, diagnostics, ticket = answered.fields
        self._pass.ticket = ticket
        return Answer(VERDICTS[verdict], reason.decode(), diagnostics)


class RemoteDoor:
    """Has the opener open its door, for one client."""

    __slots__ = ("_pass", "_patience", "_timeout", "carries_dsn", "carries_requiretls", "carries_smtputf8")

    def __init__(self, pass_: Pass, timeout: float, patience: float, *, carries_smtputf8: bool) -> None:
        """Ask for one client.

        Args:
            pass_: has the ticket of who logged in.
            timeout: seconds for each write, as the opener has them.
            patience: seconds for each answer; the opener has its own limits, and this is for one that hangs.
            carries_smtputf8: of the door that the opener has.
        """
        self._pass = pass_
        self._timeout = timeout
        self._patience = patience
        self.carries_smtputf8 = carries_smtputf8
        self.carries_dsn = self.carries_requiretls = False

    def begin(self, envelope: Envelope) -> None:
        """Return None: behind these doors nobody can be asked before the message."""
        del envelope

    def open(self, envelope: Envelope, environ: dict[bytes, bytes]) -> Steps[RemoteDelivery]:
        """Begin a message; who the client is, the opener takes from the ticket alone."""
        yield from ()  # nobody is asked before there is more than a small message, or the end of one
        if not words.may_be_told(envelope):
            raise MessageRefused(*NOT_AN_ADDRESS)
        # A login that TLS made the session forget (RFC 3207 section 4.2) is not for what comes after.
        ticket = self._pass.ticket if LOGIN in environ else b""
        request = [ticket, words.pack_origin(environ), words.pack_envelope(envelope)]
        return RemoteDelivery(request, self._timeout, self._patience)


class RemoteDelivery:
    """A message that is queued by the opener: a small one is handed to it whole, of a large one it opens the door."""

    __slots__ = (
        "_descriptor",
        "_held",
        "_held_bytes",
        "_number",
        "_opener",
        "_patience",
        "_refusal",
        "_request",
        "_timeout",
        "_trouble",
    )

    def __init__(self, request: list[bytes], timeout: float, patience: float) -> None:
        """Begin; `request` is what the opener is told: ticket, origin and envelope."""
        self._request = request
        self._timeout = timeout
        self._patience = patience
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._number = b""  # of the delivery that the opener has, if it was asked to open
        self._opener: object = None  # which of them that was
        self._descriptor = -1
        self._trouble = words.NONE
        self._refusal: MessageRefused | None = None

    def write(self, block: bytes) -> Steps[None]:
        """Keep some of a small message, or write it."""
        if self._descriptor < 0:
            if self._refusal is not None:
                return
            self._held.append(block)
            self._held_bytes += len(block)
            if self._held_bytes <= SMALL:
                return
            block = b"".join(self._held)
            self._held.clear()
            try:
                yield from self._open()
            except MessageRefused as refusal:
                self._refusal = refusal
                return
        if self._trouble == words.NONE:
            try:
                yield Write(self._descriptor, block, self._timeout)
            except TimedOut:
                self._trouble = words.LATE
            except OSError:
                self._trouble = words.BROKEN

    def _open(self) -> Steps[None]:
        answered = yield from _ask([words.OPEN, *self._request], self._patience, NOT_OPENED)
        if answered.fields[0] != words.OPENED:
            raise _refusal(answered)
        self._number, self._descriptor, self._opener = answered.fields[1], answered.descriptor, answered.who

    def commit(self) -> Steps[bytes]:
        """Have the opener queue the message."""
        if self._refusal is not None:
            raise self._refusal
        if self._number:
            yield from self._close()
            request = [words.COMMIT, self._number, self._trouble]
        else:
            request = [words.SUBMIT, *self._request, b"".join(self._held)]
        answered = yield from _ask(request, self._patience, NOT_ANSWERED, self._opener)
        if answered.fields[0] != words.QUEUED:
            raise _refusal(answered)
        self._number = b""
        return answered.fields[1]

    def abort(self) -> Steps[None]:
        """Have the opener forget the message, if it has heard of it."""
        self._held.clear()
        yield from self._close()
        if self._number:
            number, self._number = self._number, b""
            try:
                yield Ask(OPENER, [words.ABORT, number], self._patience, self._opener)
            except (OSError, TimedOut):
                return  # then it is gone, and everything that was open with it

    def _close(self) -> Steps[None]:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            yield Close(descriptor)


def dialer(timeout: float) -> Callable[[], Steps[int]]:
    """Return what has the opener connect to the next hop."""

    def dial() -> Steps[int]:
        answered: Answered = yield Ask(OPENER, [words.DIAL], timeout)
        if answered.fields[0] != words.OPENED:
            raise ConnectionError(answered.fields[1].decode("ascii", "replace"))
        return answered.descriptor

    return dial


def _ask(
    request: list[bytes], timeout: float, otherwise: tuple[int, bytes, bytes], to: object = None
) -> Steps[Answered]:
    try:
        answered: Answered = yield Ask(OPENER, request, timeout, to)
    except (OSError, TimedOut):
        raise MessageRefused(*otherwise) from None
    return answered


def _refusal(answered: Answered) -> MessageRefused:
    _, code, enhanced, text = answered.fields
    return MessageRefused(int(code), enhanced, text)
