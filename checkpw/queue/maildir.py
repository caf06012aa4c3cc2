"""The door `maildir:/path`: one file for each message, envelope included, in a Maildir (maildir(5)).

The file begins with `Return-Path:` and a `Delivered-To:` for each recipient, because nothing else keeps the envelope.
"""

import errno
import posix
import time

from checkpw.errors import MessageRefused
from checkpw.operations import Close, Sync, TimedOut, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkpw.operations import Steps
    from checkpw.smtp.events import Envelope

SUBDIRECTORIES = (b"tmp", b"new", b"cur")

NOT_OPENED = (451, b"4.3.0", b"unable to write to maildir")
FULL = (452, b"4.3.1", b"maildir write error or disk full")


class Maildir:
    """Writes messages into a Maildir, which it makes if it is not there."""

    carries_smtputf8 = True
    carries_dsn = carries_requiretls = False

    def __init__(self, path: bytes, hostname: bytes, timeout: float, serial: "Iterator[int]") -> None:
        """Use the Maildir at `path`.

        Args:
            path: absolute.
            hostname: stands in file names, as maildir(5) has it.
            timeout: seconds for each write.
            serial: numbers that are not used twice in this process.
        """
        self._path = path
        self._hostname = hostname.replace(b"/", b"\\057").replace(b":", b"\\072")
        self._timeout = timeout
        self._serial = serial

    def begin(self, envelope: "Envelope") -> None:
        """Return None: whom a message may go to shows when it is queued, or later."""
        del envelope

    def open(self, envelope: "Envelope", environ: dict[bytes, bytes]) -> "Steps[MaildirDelivery]":
        """Open a new file in tmp; raises `MessageRefused` if that cannot be."""
        del environ  # no program is started
        now = time.time_ns() // 1000
        stamp = (now // 1_000_000, now % 1_000_000, posix.getpid(), next(self._serial), self._hostname)
        name = b"%d.M%dP%dQ%d.%s" % stamp
        try:
            for directory in (self._path, *(self._path + b"/" + sub for sub in SUBDIRECTORIES)):
                _make(directory)
            temporary = self._path + b"/tmp/" + name
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
            descriptor = posix.open(temporary, flags, 0o600)
        except OSError as error:
            raise MessageRefused(*(FULL if _is_full(error) else NOT_OPENED)) from None
        yield from ()  # an open that never waits is a generator like any other
        return MaildirDelivery(descriptor, temporary, self._path + b"/new/" + name, envelope, self._timeout)


class MaildirDelivery:
    """One message on its way into a Maildir."""

    def __init__(self, descriptor: int, temporary: bytes, final: bytes, envelope: "Envelope", timeout: float) -> None:
        """Go on with a file in tmp that was opened."""
        recipients = [b"Delivered-To: " + recipient + b"\n" for recipient in envelope.recipients]
        self._beginning = b"Return-Path: <" + envelope.sender + b">\n" + b"".join(recipients)
        self._descriptor = descriptor
        self._temporary = temporary
        self._final = final
        self._timeout = timeout
        self._failure: tuple[int, bytes, bytes] | None = None

    def write(self, block: bytes) -> "Steps[None]":
        """Append to the file, which begins with the envelope."""
        block, self._beginning = self._beginning + block, b""
        if self._failure is None:
            try:
                yield Write(self._descriptor, block, self._timeout)
            except (OSError, TimedOut):
                self._failure = FULL

    def hand_over(self) -> "Steps[int]":
        """Write the envelope, and return a duplicate of the file."""
        yield from self.write(b"")
        return posix.dup(self._descriptor)

    def fail(self, *, is_late: bool) -> None:
        """Take note that the disk does not take the message; how that shows makes no difference."""
        del is_late
        self._failure = FULL

    def commit(self) -> "Steps[bytes]":
        """Have the file on disk, move it to new, and have that on disk."""
        if self._beginning:
            yield from self.write(b"")
        if self._failure is None:
            try:
                yield from self._move()
            except OSError:
                self._failure = FULL
        yield from self.abort()
        if self._failure is not None:
            raise MessageRefused(*self._failure)
        return b""

    def _move(self) -> "Steps[None]":
        yield Sync(self._descriptor)
        # Before the file is there: what fails from then on is told of a message that is delivered all the same.
        directory = posix.open(self._final.rpartition(b"/")[0], posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            # link and unlink, as maildir(5) has it: rename would replace a file of the same name.
            posix.link(self._temporary, self._final)
            try:
                yield Sync(directory)
            except BaseException:  # a signal too
                posix.unlink(self._final)  # nobody was told yet that it is there
                raise
        finally:
            posix.close(directory)

    def abort(self) -> "Steps[None]":
        """Close the file and remove it from tmp."""
        if self._descriptor >= 0:
            try:
                posix.unlink(self._temporary)
            except OSError:
                pass  # somebody has cleaned up
            descriptor, self._descriptor = self._descriptor, -1
            yield Close(descriptor)


def _make(directory: bytes) -> None:
    try:
        posix.mkdir(directory, 0o700)
    except FileExistsError:
        pass


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
