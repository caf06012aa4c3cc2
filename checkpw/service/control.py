"""A process's side of its control socket: it hears words of the supervisor, and gives signs of life."""

from __future__ import annotations

import socket
import sys

from checkpw.runners.channel import Answerer
from checkpw.service.generations import ALIVE, QUIT, READY, WORKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from checkpw.runners.channel import Handler

BEAT = 5.0
"""Seconds between two signs of life."""


def serve(loop: asyncio.AbstractEventLoop, control: socket.socket, handler: Callable[[], Handler]) -> None:
    """Answer every worker that the supervisor names, until it says that there is none any more, or is gone."""
    lines = []

    def hear(word: bytes, end: socket.socket | None) -> None:
        if word == WORKER and end is not None:
            lines.append(Answerer(loop, end, handler()))
        else:
            loop.stop()

    def beat() -> None:
        try:
            control.send(ALIVE)
        except OSError:
            pass  # it has not listened for long, or is gone; the latter we shall hear
        loop.call_later(BEAT, beat)

    listen_to(loop, control, hear)
    control.send(READY)
    beat()
    loop.run_forever()


def listen_to(
    loop: asyncio.AbstractEventLoop, control: socket.socket, hear: Callable[[bytes, socket.socket | None], None]
) -> None:
    """Pass on what the supervisor says; that it is gone is QUIT."""
    control.settimeout(0)

    def readable() -> None:
        # All that is there: of an end that comes right behind a word, nobody may tell again.
        while not hear_one():
            pass

    def hear_one() -> bool:
        """Pass on a word; tell whether that was all for now."""
        try:
            # Close-on-exec, which Python does not see to (and recv_fds ignores its flags): programs that are started
            # here have no business with it.
            word, ancillary, _flags, _address = control.recvmsg(16, socket.CMSG_LEN(4), socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            word, ancillary = b"", []
        if not word:
            loop.remove_reader(control)
            hear(QUIT, None)
            return True
        came = [content for _level, _kind, content in ancillary if len(content) == 4]
        hear(word, socket.socket(fileno=int.from_bytes(came[0], sys.byteorder)) if came else None)
        return False

    loop.add_reader(control, readable)
