"""The door `sendmail:/path`: any program with the sendmail command line, of Postfix, Exim, OpenSMTPD, qmail, msmtp.

End of file is the only thing that tells such a program to go on: what it has read of a message when we die, it sends.
So the message is spooled to a file without a name, and the program started when it is complete.
"""

import errno
import posix
import time

from checkpw.errors import MessageRefused
from checkpw.operations import LOG, NULL, Close, Kill, Spawn, TimedOut, Wait, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.operations import Child, Steps
    from checkpw.smtp.events import Envelope

SEEK_SET = 0

ATOM_BYTES = b".!#$%&'*+-/=?^_`{|}~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + bytes(
    range(128, 256)
)
"""What needs no quotes in a local part (RFC 5322 section 3.2.3), UTF-8 included (RFC 6532)."""

HOST_BYTES = b"-.:[]_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + bytes(range(128, 256))
"""Names and address literals. A comma there would make two addresses of one for a program that parses arguments."""

STATUSES: dict[int, tuple[int, bytes, bytes]] = {
    posix.EX_USAGE: (554, b"5.3.0", b"sendmail: usage"),
    posix.EX_DATAERR: (554, b"5.6.0", b"sendmail: data error"),
    posix.EX_NOINPUT: (554, b"5.3.0", b"sendmail: no input"),
    posix.EX_NOUSER: (554, b"5.1.1", b"sendmail: user unknown"),
    posix.EX_NOHOST: (554, b"5.1.2", b"sendmail: host unknown"),
    posix.EX_NOPERM: (554, b"5.7.0", b"sendmail: permission denied"),
}
"""Exit statuses of sysexits.h that are permanent; everything else is temporary."""

TEMPORARY = (451, b"4.3.0", b"sendmail: temporary problem")
NOT_STARTED = (451, b"4.3.0", b"unable to start sendmail")
NOT_SPOOLED = (452, b"4.3.1", b"spool write error or disk full")
TOO_SLOW = (451, b"4.3.0", b"sendmail: timeout")
NOT_AN_ARGUMENT = (554, b"5.1.3", b"sendmail cannot be given this address")


class Sendmail:
    """Starts a sendmail program for each message."""

    carries_dsn = carries_requiretls = False  # there are options for them, and programs that do not know these

    def __init__(self, program: bytes, spool: bytes, timeout: float, *, carries_smtputf8: bool = False) -> None:
        """Use `program`.

        Args:
            program: path of the program.
            spool: directory for the message while it comes in.
            timeout: seconds for each write, and for the program.
            carries_smtputf8: an administrator vouches for it.
        """
        self._program = program
        self._spool = spool
        self._timeout = timeout
        self.carries_smtputf8 = carries_smtputf8

    def begin(self, envelope: "Envelope") -> None:
        """Return None: whom a message may go to shows when it is queued, or later."""
        del envelope

    def open(self, envelope: "Envelope", environ: dict[bytes, bytes]) -> "Steps[SendmailDelivery]":
        """Open a spool file; raises `MessageRefused` if that cannot be, or for an address that is no argument."""
        for address in (envelope.sender, *envelope.recipients):
            if address.rpartition(b"@")[2].translate(None, HOST_BYTES) and b"@" in address:
                raise MessageRefused(*NOT_AN_ARGUMENT)
        try:
            descriptor = _open_nameless(self._spool)
        except OSError:
            raise MessageRefused(*NOT_SPOOLED) from None
        sender = as_argument(envelope.sender) or b"<>"
        argv = [self._program, b"-i", b"-f", sender, b"--", *map(as_argument, envelope.recipients)]
        yield from ()  # an open that never waits is a generator like any other
        return SendmailDelivery(descriptor, argv, environ, self._timeout)


class SendmailDelivery:
    """One message on its way to a sendmail program."""

    def __init__(self, descriptor: int, argv: list[bytes], environ: dict[bytes, bytes], timeout: float) -> None:
        """Go on with a spool file that was opened."""
        self._descriptor = descriptor
        self._argv = argv
        self._environ = environ
        self._timeout = timeout
        self._is_broken = False
        self._child: Child | None = None

    def write(self, block: bytes) -> "Steps[None]":
        """Append to the spool file."""
        if not self._is_broken:
            try:
                yield Write(self._descriptor, block, self._timeout)
            except (OSError, TimedOut):
                self._is_broken = True

    def hand_over(self) -> "Steps[int]":
        """Return a duplicate of the spool file."""
        yield from ()
        return posix.dup(self._descriptor)

    def fail(self, *, is_late: bool) -> None:
        """Take note that the disk does not take the message; how that shows makes no difference."""
        del is_late
        self._is_broken = True

    def commit(self) -> "Steps[bytes]":
        """Start the program on the complete message, and wait for its word."""
        if self._is_broken:
            refusal: tuple[int, bytes, bytes] | None = NOT_SPOOLED
        else:
            posix.lseek(self._descriptor, 0, SEEK_SET)
            refusal = yield from self._run()
        yield from self.abort()
        if refusal is not None:
            raise MessageRefused(*refusal)
        return b""

    def _run(self) -> "Steps[tuple[int, bytes, bytes] | None]":
        """Run the program and return what is wrong with the message, None if nothing is."""
        wiring = ((self._descriptor, (0,)), (NULL, (1,)), (LOG, (2,)))
        try:
            self._child = child = yield Spawn(self._argv, self._environ, wiring)
        except OSError:
            return NOT_STARTED
        try:
            ended = yield Wait(child, self._timeout)
        except (OSError, TimedOut):
            yield Kill(child)
            return TOO_SLOW
        return None if ended.status == 0 else STATUSES.get(ended.status, TEMPORARY)

    def abort(self) -> "Steps[None]":
        """Give the spool file up, which has no name, and end a program that was started on it."""
        if self._child is not None:
            yield Kill(self._child)
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            yield Close(descriptor)


def as_argument(address: bytes) -> bytes:
    """Quote a local part that needs it: sendmail programs take an argument for a list of RFC 5322 addresses."""
    local, at, host = address.rpartition(b"@")
    if not at:
        local, host = address, b""
    atoms = local.split(b".")
    if not local or (all(atoms) and not local.translate(None, ATOM_BYTES)):
        return address
    return b'"' + local.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' + at + host


def _open_nameless(directory: bytes) -> int:
    """Return a new file for reading and writing that is in no directory."""
    access = posix.O_RDWR | posix.O_CLOEXEC
    try:
        return posix.open(directory, access | posix.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    name = b"%s/checkpw.%d.%d" % (directory, posix.getpid(), time.monotonic_ns())
    descriptor = posix.open(name, access | posix.O_CREAT | posix.O_EXCL, 0o600)
    posix.unlink(name)
    return descriptor
