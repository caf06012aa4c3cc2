"""The settings of doors that relay: from `$OFMIPD_QUEUE` to a `Relay`."""

import time

from checkpw.queue.nexthop import NEVER, PORTS, NextHop
from checkpw.queue.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.cli.environment import Environment
    from checkpw.operations import Steps
    from checkpw.tls import TlsLayer

CONNECT_TIMEOUT = 30.0
"""Seconds to connect to the next hop, as Postfix has it; our client waits meanwhile."""


def next_hop(url: bytes) -> NextHop | None:
    """Return the next hop that a URL names, None for another kind of door; raises `TemporaryFailure`."""
    return NextHop.parse(url) if url.partition(b":")[0] in PORTS else None


def open_relay(environment: "Environment", hop: NextHop, hostname: bytes, dial: "Callable[[], Steps[int]]") -> Relay:
    """Return the door; the certificates that it needs are read now. Raises `TemporaryFailure` or `OSError`."""
    return Relay(
        hop,
        hostname,
        dial,
        _encryption(hop),
        environment.seconds(b"OFMIPD_QUEUE_TIMEOUT", 600.0),
        time.monotonic,
        carries_smtputf8=environment.is_set(b"OFMIPD_SMTPUTF8"),
    )


def _encryption(hop: NextHop) -> "Callable[[], TlsLayer] | None":
    if hop.tls == NEVER:
        return None
    from checkpw import tls

    context = tls.client_context(is_verified=hop.is_verified, ca_file=hop.ca_file.decode() or None)
    return lambda: tls.TlsLayer(context, server_side=False, server_hostname=hop.host.decode())
