"""Connecting to a server with blocking calls. The C module below `socket` does it, which takes no time to import."""

import _socket
import time

from checkpw.operations import TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FULL = 0.01
"""Seconds until a unix socket whose queue is full is tried again: there is nothing to wait on (connect(2), EAGAIN)."""


def connect(host: bytes, port: int, timeout: float) -> int:
    """Return a socket that is connected, does not block, and is closed at the start of programs.

    The addresses of a host are tried in turn, each with its share of the time that is left, so that one that does
    not answer leaves some for the next. How long the lookup of a name takes is up to the resolver (resolv.conf(5)).

    Args:
        host: name or address; or, beginning with a slash, the path of a unix socket.
        port: of the host.
        timeout: seconds for all.

    Raises:
        OSError: there is nobody, as the last address has it; a name that cannot be looked up is one too.
        TimedOut: the time is over.
    """
    end = time.monotonic() + timeout
    if host.startswith(b"/"):
        return _connect_to(_socket.AF_UNIX, host, timeout)
    # The name as bytes: text would be encoded as IDNA, by a module of its own.
    found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    failure: OSError | TimedOut = TimedOut()
    for at, (family, _type, _protocol, _name, address) in enumerate(found):
        share = (end - time.monotonic()) / (len(found) - at)
        if share <= 0:
            raise TimedOut
        try:
            return _connect_to(family, address, share)
        except (OSError, TimedOut) as error:
            failure = error
    raise failure


def _connect_to(family: int, address: "Any", timeout: float) -> int:
    """Connect to one address; raises as `connect`."""
    end = time.monotonic() + timeout
    client = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        if family != _socket.AF_UNIX:
            client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut
            client.settimeout(left)  # which is O_NONBLOCK, and a wait of Python's own
            try:
                client.connect(address)
            except BlockingIOError:
                time.sleep(min(FULL, left))
            else:
                return client.detach()
    except TimeoutError as error:
        # Python's own has no number; the network's (ETIMEDOUT) is an answer, which came in time.
        if error.errno is None:
            raise TimedOut from None
        raise
    finally:
        client.close()  # which does nothing once it is detached
