"""Connecting to a server on an event loop, as `connecting` does it with blocking calls."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING

from checkpw.operations import TimedOut
from checkpw.runners.connecting import FULL

if TYPE_CHECKING:
    from typing import Any


async def connect(loop: asyncio.AbstractEventLoop, host: bytes, port: int, seconds: float) -> int:
    """Return a socket that is connected, does not block, and is closed at the start of programs.

    The addresses of a host are tried in turn, each with its share of the time that is left, so that one that does
    not answer leaves some for the next.

    Args:
        loop: to wait on.
        host: name or address; or, beginning with a slash, the path of a unix socket.
        port: of the host.
        seconds: the time for all; whoever calls sees to the lookup of the name.

    Raises:
        OSError: there is nobody, as the last address has it; a name that cannot be looked up is one too.
        TimedOut: the time is over.
    """
    end = loop.time() + seconds
    if host.startswith(b"/"):
        return await _in_time(loop, socket.AF_UNIX, host, seconds)
    if not host:
        raise OSError(errno.EINVAL, "no host")
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | TimedOut = TimedOut()
    for at, (family, _type, _protocol, _name, address) in enumerate(found):
        share = (end - loop.time()) / (len(found) - at)
        if share <= 0:
            raise TimedOut
        try:
            return await _in_time(loop, family, address, share)
        except (OSError, TimedOut) as error:
            failure = error
    raise failure


async def _in_time(loop: asyncio.AbstractEventLoop, family: int, address: Any, seconds: float) -> int:
    try:
        async with asyncio.timeout(seconds):
            return await _connect_to(loop, family, address)
    except TimeoutError as error:
        # Python's own has no number; the network's (ETIMEDOUT) is an answer, which came in time.
        if error.errno is None:
            raise TimedOut from None
        raise


async def _connect_to(loop: asyncio.AbstractEventLoop, family: int, address: Any) -> int:
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        if family == socket.AF_UNIX:
            await _connect_unix(client, address)
        else:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await loop.sock_connect(client, address)
            except OSError as error:
                if error.errno is None:
                    raise
                raise OSError(error.errno, os.strerror(error.errno)) from None  # and not words of the loop's own
        return client.detach()


async def _connect_unix(client: socket.socket, path: bytes) -> None:
    """Connect, not by the loop: that a queue is full (EAGAIN) is no beginning whose end could be waited for."""
    while True:
        try:
            client.connect(path)
        except BlockingIOError:
            await asyncio.sleep(FULL)
        else:
            return
