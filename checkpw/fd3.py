"""Reading descriptor 3, the checker's side of the interface."""

import posix

from checkpw.credentials import MAX_RECORD, Credentials
from checkpw.errors import TemporaryFailure

DESCRIPTOR = 3

FIFO, KIND_OF_FILE = 0o010000, 0o170000
"""Of st_mode: the module stat is 1 ms."""


def read_credentials() -> Credentials:
    """Read descriptor 3 to its end, close it, and return what it said; raises as its two halves."""
    return Credentials.parse(read_record())


def read_record() -> bytes:
    """Read descriptor 3 to its end, close it, and return the record; one of 513 bytes may have had more.

    Short reads are put together and interrupted ones repeated (PEP 475). The 513th byte ends the reading at once,
    as in checkpassword 0.90: a caller that writes for ever is answered.

    Raises:
        TemporaryFailure: the descriptor is closed or cannot be read.
    """
    record = b""
    try:
        while len(record) <= MAX_RECORD:
            piece = posix.read(DESCRIPTOR, MAX_RECORD + 1 - len(record))
            if not piece:
                break
            record += piece
        posix.close(DESCRIPTOR)
    except OSError as error:
        raise TemporaryFailure(f"unable to read descriptor 3: {error.strerror}") from None
    return record


def is_unread() -> bool:
    """Tell whether descriptor 3 is a pipe that nobody has read to its end; what is in it stays there.

    One that has still to be written to is that, too: whoever fills it may be slower than we are. The writing end of a
    pipe is somebody else's, and not that.
    """
    import fcntl  # checkers read and do not ask
    import select

    try:
        is_pipe = posix.fstat(DESCRIPTOR).st_mode & KIND_OF_FILE == FIFO
        is_pipe = is_pipe and not fcntl.fcntl(DESCRIPTOR, fcntl.F_GETFL) & posix.O_WRONLY
    except OSError:
        return False
    record = select.poll()
    record.register(DESCRIPTOR, select.POLLIN)
    return is_pipe and record.poll(0) != [(DESCRIPTOR, select.POLLHUP)]
