"""Giving a program what it reads from descriptor 3, piece by piece, as long as it reads."""

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Callable, Sequence

from checkpw.conform.process import Process

PATIENCE_FOR_THE_FIRST = 5.0  # seconds: before it is read a program has to start
PATIENCE_FOR_A_PIECE = 0.2  # seconds after which a writer no longer waits for a reader who does not read


def give(
    descriptor: int,
    pieces: Sequence[bytes],
    process: Process,
    deadline: float,
    *,
    between: Callable[[Process], None] | None = None,
    waits: bool = False,
) -> None:
    """Write pieces to a program until all are written, it has closed its end, or time is up.

    Args:
        descriptor: the writing end of a pipe or of a socket.
        pieces: what to write.
        process: who reads.
        deadline: of time.monotonic.
        between: called between two pieces.
        waits: after each piece until it was read, though not for long.
    """
    os.set_blocking(descriptor, False)
    for at, piece in enumerate(pieces):
        if at and between is not None:
            between(process)
        rest = piece
        while rest and time.monotonic() < deadline:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                if not _wait_until_writable(descriptor, process, deadline):
                    return
            except (BrokenPipeError, ConnectionResetError):
                return
        if waits:
            patience = PATIENCE_FOR_A_PIECE if at else PATIENCE_FOR_THE_FIRST
            wait_until_read(descriptor, process, min(deadline, time.monotonic() + patience))


def _wait_until_writable(descriptor: int, process: Process, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if process.fileno() >= 0:
        poll.register(process.fileno(), select.POLLIN)
    ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    return descriptor in ready and process.fileno() not in ready


def unread(descriptor: int) -> int:
    """Return how many bytes wait in a pipe."""
    (size,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
    return int(size)


def wait_until_read(descriptor: int, process: Process, deadline: float) -> bool:
    """Wait until nothing is left in a pipe; tell whether that came about while the program ran."""
    while unread(descriptor):
        if process.has_ended() or time.monotonic() >= deadline:
            return False
        time.sleep(0.0002)
    return not process.has_ended()
