"""Which networks an address is in, and what counts as one client."""

import pytest

from checkpw.peer import network_of
from checkpw.service.addresses import Networks, plain


@pytest.mark.parametrize(
    ("ip", "is_in"),
    [
        (b"192.0.2.1", True),
        (b"192.0.3.1", False),
        (b"2001:db8::5", True),
        (b"2001:db9::5", False),
        (b"unknown", False),
        (b"", False),
        (b"192.0.2.1/32", False),
        (b"\xff", False),
    ],
)
def test_membership(ip, is_in):
    """What is no address is in no network."""
    assert (ip in Networks(["192.0.2.0/24", "2001:db8::/32"])) is is_in


def test_no_networks():
    """No network has anybody, and a set without networks is false."""
    assert not Networks([])
    assert b"127.0.0.1" not in Networks([])
    with pytest.raises(ValueError, match="nonsense"):
        Networks(["nonsense"])


@pytest.mark.parametrize(
    ("ip", "written"),
    [("192.0.2.1", b"192.0.2.1"), ("::ffff:192.0.2.1", b"192.0.2.1"), ("fe80::1%eth0", b"fe80::1"), ("::1", b"::1")],
)
def test_how_an_address_is_written(ip, written):
    """Without zone, and IPv4 as IPv4."""
    assert plain(ip) == written


def test_one_client():
    """An IPv4 address is one, and so is the /64 of an IPv6 address; what is neither is itself."""
    assert network_of(b"192.0.2.1") != network_of(b"192.0.2.2")
    assert network_of(b"2001:db8:1:2::1") == network_of(b"2001:db8:1:2:ffff::9") != network_of(b"2001:db8:1:3::1")
    assert network_of(b"fe80::1%eth0") == network_of(b"fe80::2")
    assert network_of(b"::ffff:c000:201") == network_of(b"::ffff:192.0.2.1") == b"192.0.2.1"
    assert network_of(b"no:address") == b"no:address"
