"""allow_nets: from where an account may be used."""

import pytest

from checkpw.accounts.networks import admit
from checkpw.errors import Rejected, TemporaryFailure

IN = [
    (b"192.0.2.1", b"192.0.2.0/24"),
    (b"192.0.2.1", b"192.0.2.1"),
    (b"192.0.2.1", b"198.51.100.0/24,192.0.2.1/32"),
    (b"192.0.2.1", b"192.0.2.77/24"),
    (b"192.0.2.1", b"0.0.0.0/0"),
    (b"2001:db8::1", b"2001:db8::/32"),
    (b"2001:db8::1", b"192.0.2.0/24,2001:DB8::/32"),
    (b"::ffff:192.0.2.1", b"192.0.2.0/24"),
    (b"192.0.2.1", b",192.0.2.1,"),
]
OUT = [
    (b"192.0.3.1", b"192.0.2.0/24"),
    (b"192.0.2.1", b""),
    (b"192.0.2.1", b"2001:db8::/32"),
    (b"2001:db9::1", b"2001:db8::/32"),
    (b"2001:db8::1", b"0.0.0.0/0"),
    (b"", b"0.0.0.0/0"),
    (b"unknown", b"0.0.0.0/0,::/0"),
    (b"\xff", b"0.0.0.0/0"),
]


@pytest.mark.parametrize(("address", "networks"), IN)
def test_in(address, networks):
    """An address that one of the networks has gets through."""
    admit(address, networks)


@pytest.mark.parametrize(("address", "networks"), OUT)
def test_out(address, networks):
    """One that none has does not, and neither does one that nobody knows."""
    with pytest.raises(Rejected):
        admit(address, networks)


@pytest.mark.parametrize("networks", [b"192.0.2.0/33", b"localhost", b"192.0.2.1 ", b"\xff", b"1.2.3", b"192.0.2.1,x"])
def test_unreadable(networks):
    """With a network that cannot be read, nobody can tell: not even for an address that another one has."""
    with pytest.raises(TemporaryFailure, match="allow_nets"):
        admit(b"192.0.2.1", networks)
