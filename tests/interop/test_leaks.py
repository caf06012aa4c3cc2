"""Sessions, and connections that are reset, leave nothing behind; in brief."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import leaks
import pytest
import resident

ENOUGH = 500  # KiB in a role, by which a round may grow that is not the last: a leak of 2 KiB each would make 1000
ROUNDS = 8  # until as much memory is there as is needed at most


@pytest.fixture
def server(programs, loopback, peer):
    """Give a server with a port in clear and one with TLS."""
    peer("openssl")
    with (
        loopback.directory() as directory,
        resident.Site(directory, programs, is_root=os.geteuid() == 0) as site,
    ):
        server = leaks.start(site, resident.openssl(directory))
        yield server
        assert server.end() == 0, server.log()


def test_sessions(server):
    leaks.rounds(server, lambda: leaks.in_threads(300, lambda: leaks.session(server.places[0])), ROUNDS, ENOUGH)


def test_resets(server):
    leaks.rounds(server, lambda: leaks.resets(server.places[1], 500), ROUNDS, ENOUGH)
    with resident.Client(server.places[1]) as client:
        client.secure()
        client.hello()
