"""The door `qmail-queue`: the program of that name, or any with its interface (qmail-queue(8)).

The message goes to its descriptor 0, then the envelope to 1. Without the NUL that ends the envelope it queues nothing,
which is what `abort` relies on.
"""

import posix

from checkpw.errors import MessageRefused, TemporaryFailure
from checkpw.operations import FROM_CHILD, LOG, TO_CHILD, Close, Kill, Spawn, TimedOut, Wait, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.operations import Child, Steps
    from checkpw.smtp.events import Envelope

MESSAGE, ENVELOPE, DIAGNOSTICS, CUSTOM_ERROR, OLD_CUSTOM_ERROR = 0, 1, 2, 6, 4
"""Descriptors of qmail-queue; 6 is notqmail's for error texts of programs that stand before it, 4 an older patch's."""

CUSTOM_STATUSES = (82, 88)
"""Exit statuses that say: the reply is what I wrote to descriptor 6 or 4."""

CUSTOM_BYTES = 255
"""How much of such a text counts, as in notqmail."""

READ_ERROR = 54

ABORT_PATIENCE = 10.0
"""Seconds that a queue program has to clean up after a message that does not come."""

STATUSES: dict[int, tuple[int, bytes, bytes]] = {
    11: (554, b"5.1.3", b"envelope address too long for qq"),
    31: (554, b"5.3.0", b"mail server permanently rejected message"),
    51: (451, b"4.3.0", b"qq out of memory"),
    52: (451, b"4.3.0", b"qq timeout"),
    53: (451, b"4.3.0", b"qq write error or disk full"),
    54: (451, b"4.3.0", b"qq read error"),
    55: (451, b"4.3.0", b"qq unable to read configuration"),
    56: (451, b"4.3.0", b"qq trouble making network connection"),
    61: (451, b"4.3.0", b"qq trouble in home directory"),
    62: (451, b"4.3.0", b"qq trouble creating files in queue"),
    63: (451, b"4.3.0", b"qq trouble creating files in queue"),
    64: (451, b"4.3.0", b"qq trouble creating files in queue"),
    65: (451, b"4.3.0", b"qq trouble creating files in queue"),
    66: (451, b"4.3.0", b"qq trouble creating files in queue"),
    71: (451, b"4.3.0", b"mail server temporarily rejected message"),
    72: (451, b"4.4.1", b"connection to mail server timed out"),
    73: (451, b"4.4.1", b"connection to mail server rejected"),
    74: (451, b"4.4.2", b"communication with mail server failed"),
    81: (451, b"4.3.0", b"qq internal bug"),
    91: (451, b"4.3.0", b"qq internal bug"),
    115: (554, b"5.1.3", b"envelope address too long for qq"),
    120: (451, b"4.3.0", b"unable to exec qq"),
}
"""What qmail's qmail_close says of each exit status."""

PERMANENT = range(11, 41)
"""Exit statuses that are permanent by definition (qmail-queue(8))."""

PERMANENT_PROBLEM = (554, b"5.3.0", b"qq permanent problem")
TEMPORARY_PROBLEM = (451, b"4.3.0", b"qq temporary problem")
CRASHED = (451, b"4.3.0", b"qq crashed")
NOT_STARTED = (451, b"4.3.0", b"unable to exec qq")
TOO_SLOW = (451, b"4.3.0", b"qq timeout")


class QmailQueue:
    """Starts a queue program for each message."""

    carries_dsn = carries_requiretls = False  # its interface has no place for them

    def __init__(self, program: bytes, home: bytes, timeout: float, *, carries_smtputf8: bool = False) -> None:
        """Use a program.

        Args:
            program: its path.
            home: of qmail. ofmipd changes to it, and what stands in front of qmail-queue relies on that; where it is
                not there, we stay where we are.
            timeout: seconds that the program has for each write, and again to end.
            carries_smtputf8: an administrator vouches for it.
        """
        try:
            posix.chdir(home)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise TemporaryFailure(f"unable to change to {home!a}: {error.strerror}") from None
        self._program = program
        self._timeout = timeout
        self.carries_smtputf8 = carries_smtputf8

    def begin(self, envelope: "Envelope") -> None:
        """Return None: whom a message may go to shows when it is queued, or later."""
        del envelope

    def open(self, envelope: "Envelope", environ: dict[bytes, bytes]) -> "Steps[QmailDelivery]":
        """Start the program; raises `MessageRefused` if it cannot be started."""
        wiring = (
            (TO_CHILD, (MESSAGE,)),
            (TO_CHILD, (ENVELOPE,)),
            (LOG, (DIAGNOSTICS,)),
            (FROM_CHILD, (CUSTOM_ERROR, OLD_CUSTOM_ERROR)),
        )
        try:
            child = yield Spawn([self._program], environ, wiring)
        except OSError:
            raise MessageRefused(*NOT_STARTED) from None
        return QmailDelivery(child, envelope, self._timeout)


class QmailDelivery:
    """One message on its way into a queue program."""

    def __init__(self, child: "Child", envelope: "Envelope", timeout: float) -> None:
        """Go on with a program that was started."""
        self._child = child
        self._envelope = envelope
        self._timeout = timeout
        self._is_broken = False  # it does not take what we write; its exit status will say why
        self._is_late = False
        self._is_complete = False  # with its envelope: from here on the program may queue it

    def write(self, block: bytes) -> "Steps[None]":
        """Hand on some of the message."""
        if not self._is_broken:
            yield from self._write(MESSAGE, block)

    def _write(self, end: int, data: bytes) -> "Steps[None]":
        try:
            yield Write(self._child.ends[end], data, self._timeout)
        except TimedOut:
            self._is_broken = self._is_late = True
        except OSError:
            self._is_broken = True

    def hand_over(self) -> "Steps[int]":
        """Part with the end of the pipe that takes the message."""
        yield from ()
        return self._child.ends.pop(MESSAGE)

    def fail(self, *, is_late: bool) -> None:
        """Take note that the program does not read the message."""
        self._is_broken = True
        self._is_late = is_late

    def commit(self) -> "Steps[bytes]":
        """Hand on the envelope, and wait for the program's word."""
        if MESSAGE in self._child.ends:
            yield Close(self._child.ends[MESSAGE])
        if not self._is_broken:
            addresses = [b"F" + self._envelope.sender]
            addresses += [b"T" + recipient for recipient in self._envelope.recipients]
            self._is_complete = True
            yield from self._write(ENVELOPE, b"\0".join(addresses) + b"\0\0")
        if not self._is_late:
            yield Close(self._child.ends[ENVELOPE])
            try:
                ended = yield Wait(self._child, self._timeout, self._child.ends[CUSTOM_ERROR], CUSTOM_BYTES)
            except (OSError, TimedOut):
                self._is_late = True
            else:
                # Programs that leave with 0 before they read everything did not queue everything.
                status = READ_ERROR if self._is_broken and ended.status == 0 else ended.status
                if status == 0:
                    return b""
                raise MessageRefused(*meaning(status, ended.output))
        yield Kill(self._child)
        raise MessageRefused(*TOO_SLOW)

    def abort(self) -> "Steps[None]":
        """End the program, before it has an envelope if that is still possible.

        Then it is shown the end of both files, so that it removes what it has written, which it cannot when it is
        killed. With its envelope, it is killed at once: what it queues now, the client will send again.
        """
        if self._is_complete:
            yield Kill(self._child)
            return
        for end in (MESSAGE, ENVELOPE):
            if end in self._child.ends:
                yield Close(self._child.ends[end])
        if self._child.ends:
            try:
                yield Wait(self._child, ABORT_PATIENCE, self._child.ends[CUSTOM_ERROR])
            except (OSError, TimedOut):
                yield Kill(self._child)


def meaning(status: int, custom: bytes) -> tuple[int, bytes, bytes]:
    """Return reply code, RFC 3463 status and text for an exit status.

    Args:
        status: of the queue program, or minus the signal that killed it.
        custom: what it wrote to descriptor 6 or 4: `D` for permanent or `Z` for temporary, and a text.
    """
    if status < 0:
        return CRASHED
    if status in CUSTOM_STATUSES and len(custom) > 2 and custom[:1] in (b"D", b"Z"):
        text = b" ".join(custom[1:].split())
        return (554, b"5.3.0", text) if custom[:1] == b"D" else (451, b"4.3.0", text)
    return STATUSES.get(status, PERMANENT_PROBLEM if status in PERMANENT else TEMPORARY_PROBLEM)
