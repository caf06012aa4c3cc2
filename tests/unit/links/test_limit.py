"""What checkpw-limit counts on, and which settings make sense; what it does is in tests/programs."""

import pytest

from checkpw.errors import TemporaryFailure
from checkpw.links.limit import Settings, claims_of
from checkpw.peer import Peer

RATES = {"pair": (1, 10), "login": (2, 20), "address": (3, 30)}


def keys(login=b"joe", rates=None, **environ):
    """Give what a login draws on, by name."""
    peer = Peer.from_environment({name.encode(): value.encode() for name, value in environ.items()})
    found = claims_of(login, peer, RATES if rates is None else rates)
    assert all((claim.tries, claim.seconds) == RATES[claim.name] for claim in found)
    return {claim.name: claim.key for claim in found}


def test_a_client_of_the_network_has_three_budgets():
    """Pair, login and address are three keys, and each is another one for another login or address."""
    found = keys(TCPREMOTEIP="192.0.2.1")
    assert list(found) == ["pair", "login", "address"]
    assert (found["login"], found["address"]) == (b"joe", b"192.0.2.1")
    other = keys(b"ann", TCPREMOTEIP="192.0.2.1")
    assert {name for name in found if found[name] == other[name]} == {"address"}
    other = keys(TCPREMOTEIP="192.0.2.2")
    assert {name for name in found if found[name] == other[name]} == {"login"}


def test_an_ipv6_network_is_one_client():
    """The first 64 bits of an IPv6 address count, wherever the address stands."""
    found = keys(TCPREMOTEIP="2001:db8:1:2::1")
    assert found == keys(TCPREMOTEIP="2001:db8:1:2:ffff::9") == keys(TCP6REMOTEIP="2001:db8:1:2::2")
    assert found["address"] != keys(TCPREMOTEIP="2001:db8:1:3::1")["address"]
    assert keys(TCPREMOTEIP="::ffff:192.0.2.1") == keys(TCPREMOTEIP="192.0.2.1")


@pytest.mark.parametrize("ip", ["", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_who_may_be_anybody_has_no_address(ip):
    """Behind a proxy, or without a network, the login alone counts: an address would be everybody's."""
    assert list(keys(TCPREMOTEIP=ip)) == ["login"]


@pytest.mark.parametrize("login", [b"Joe", b"JOE", b" joe", b"joe ", b"\tjoe\r\n"])
def test_spellings_of_a_login_are_one(login):
    """Case and blanks at the ends do not make another login of it."""
    assert keys(login, TCPREMOTEIP="192.0.2.1") == keys(TCPREMOTEIP="192.0.2.1")


def test_pairs_are_not_put_together_from_other_pieces():
    """What stands before and behind the border between address and login is told apart."""
    pairs = [keys(login, TCPREMOTEIP=ip)["pair"] for login, ip in ((b"1.joe", "192.0.2."), (b"joe", "192.0.2.1."))]
    assert pairs[0] != pairs[1]


def test_budgets_can_be_off():
    """A budget that is off is not counted, each for itself."""
    for name in RATES:
        found = keys(rates={**RATES, name: None}, TCPREMOTEIP="192.0.2.1")
        assert set(found) == set(RATES) - {name}


def test_the_defaults():
    """Without settings: three budgets of 15 minutes, closed, 111, and a file."""
    settings = Settings({})
    assert settings.rates == {"pair": (10, 900), "login": (50, 900), "address": (100, 900)}
    assert (settings.is_temporary, settings.is_open, settings.forgives_trouble) == (True, False, False)
    assert settings.budgets._path == b"/var/lib/checkpw/limits"


@pytest.mark.parametrize("name", ["PAIR", "LOGIN", "ADDRESS"])
def test_rates(name):
    """A rate is tries in seconds; what is set to nothing is not set."""
    default = Settings({}).rates[name.lower()]
    variable = f"CHECKPW_LIMIT_{name}".encode()
    for text, rate in ((b"1/1", (1, 1)), (b"65535/999999999", (65535, 999999999)), (b"off", None), (b"", default)):
        assert Settings({variable: text}).rates[name.lower()] == rate
    for text in (
        b"1",
        b"/",
        b"1/",
        b"/1",
        b"0/1",
        b"1/0",
        b"65536/1",
        b"-1/1",
        b"1/1/1",
        b"1.5/2",
        b"9" * 5000 + b"/1",
    ):
        with pytest.raises(TemporaryFailure, match=variable.decode()):
            Settings({variable: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STATUS", b"2"),
        ("STATUS", b"0"),
        ("BROKEN", b"maybe"),
        ("TROUBLE", b"yes"),
        ("STORE", b"/var/lib"),
        ("STORE", b"file:limits"),
        ("STORE", b"redis://localhost"),
        ("STORE", b"file:"),
    ],
)
def test_settings_that_make_no_sense(name, text):
    """A typing error is trouble, and says which setting has it."""
    with pytest.raises(TemporaryFailure, match=f"CHECKPW_LIMIT_{name}"):
        Settings({f"CHECKPW_LIMIT_{name}".encode(): text})
