"""Makes the next hop that does what a test says, which lives with the contracts, importable by name; and its doors."""

import functools
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "contracts"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture
def relay():
    """Give a function that makes a hop, a runner and a door to it; in the end no connection may be left open."""
    from hop import Hop, MemoryRunner

    from checkpw import tls
    from checkpw.queue.nexthop import NEVER, NextHop, local_dialer
    from checkpw.queue.relay import Relay

    made = []

    def make(
        *extensions, mode=NEVER, is_lmtp=False, ca=None, name="mail.example", door=None, timeout=600.0, **settings
    ):
        named = {"extensions": extensions} if extensions else {}
        hop = Hop(is_lmtp=is_lmtp, is_implicit=mode == "implicit", **named, **settings)
        runner = MemoryRunner(hop)
        next_hop = NextHop(b"mail.example", 25, is_lmtp=is_lmtp, tls=mode)
        context = tls.client_context(is_verified=next_hop.is_verified, ca_file=ca)
        encrypt = functools.partial(tls.TlsLayer, context, server_side=False, server_hostname=name)
        dial = local_dialer(next_hop, 30.0)
        made.append((runner, Relay(next_hop, b"we.example", dial, encrypt, timeout, runner.clock, **(door or {}))))
        return hop, *made[-1]

    yield make
    for runner, door in made:
        runner.run(door.close_idle())
        left = runner.open_descriptors()
        for descriptor in list(runner.connected):
            runner.close(descriptor)
        assert left == []
