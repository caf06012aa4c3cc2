"""The values of layer 0: secrets, accounts, errors, peers, policies, events."""

import copy
import pickle
import traceback

import pytest

from checkpw import errors
from checkpw.account import Account
from checkpw.credentials import Credentials
from checkpw.errors import CheckpwError, MessageRefused, Misuse, Rejected, TemporaryFailure
from checkpw.peer import Peer
from checkpw.policy import Policy
from checkpw.secret import Secret
from checkpw.smtp.events import NEED_DATA, PAUSED
from checkpw.smtp.limits import Limits


def test_secret_gives_its_bytes_to_who_asks():
    """Who asks by name gets the bytes, and everybody their number."""
    secret = Secret(b"hunter2")
    assert secret.reveal() == b"hunter2"
    assert len(secret) == 7


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%s".__mod__, ascii], ids=range(5))
def test_secret_does_not_print_itself(show):
    """No way of making text of it shows it."""
    assert "hunter2" not in show(Secret(b"hunter2"))


@pytest.mark.parametrize("take", [bytes, pickle.dumps, copy.copy, copy.deepcopy, list], ids=lambda take: take.__name__)
def test_secret_cannot_be_taken(take):
    """No way of copying or converting it gets at it."""
    with pytest.raises((TypeError, AttributeError)):
        take(Secret(b"hunter2"))


def test_secret_is_not_compared_or_extended():
    """Two secrets of the same bytes are not equal, so that nobody compares them in a time that tells."""
    assert Secret(b"a") != Secret(b"a")
    assert not hasattr(Secret(b"a"), "__dict__")


def test_secret_in_a_traceback():
    """A traceback with local variables does not show it."""
    secret = Secret(b"hunter2")
    try:
        raise ValueError(secret)  # noqa: TRY301
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(...)" in shown
    assert "Secret(b'" not in shown


def test_credentials_show_no_password():
    """Neither do credentials."""
    assert "hunter2" not in repr(Credentials(b"joe", Secret(b"hunter2")))


def test_account_defaults():
    """An account without home or shell has those that login(1) would give it; without uid it is virtual."""
    account = Account(b"joe")
    assert (account.home, account.shell, account.uid, account.gid, account.doubt) == (b"/", b"/bin/sh", None, None, "")
    account = Account(b"joe", 1, 2, b"/home/joe", b"/bin/false", "doubtful")
    assert (account.home, account.shell, account.uid, account.gid) == (b"/home/joe", b"/bin/false", 1, 2)
    assert account.doubt == "doubtful"


def test_exit_statuses():
    """Each family has the status of the interface, and everything that is not named is temporary."""
    statuses = {Rejected: 1, Misuse: 2, TemporaryFailure: 111, CheckpwError: 111, MessageRefused: 111}
    assert {kind: kind.exit_status for kind in statuses} == statuses
    family = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)}
    assert family == set(statuses) and all(issubclass(kind, CheckpwError) for kind in family)


def test_refused_message():
    """A refusal carries what the client is told."""
    refusal = MessageRefused(451, b"4.3.0", b"later")
    assert (refusal.code, refusal.enhanced, refusal.reply_text) == (451, b"4.3.0", b"later")
    assert refusal.args == (451, b"4.3.0", b"later")


PEERS = [
    ({}, b"unknown", False),
    ({b"TCPREMOTEIP": b"192.0.2.1"}, b"192.0.2.1", True),
    ({b"TCPREMOTEIP": b""}, b"unknown", False),
    ({b"TCP6REMOTEIP": b"2001:db8::1"}, b"2001:db8::1", True),
    ({b"TCPREMOTEIP": b"", b"TCP6REMOTEIP": b"2001:db8::1"}, b"2001:db8::1", True),
    ({b"REMOTE_HOST": b"192.0.2.2"}, b"192.0.2.2", True),
    ({b"REMOTE_ADDR": b"192.0.2.3"}, b"192.0.2.3", True),
    ({b"TCPREMOTEIP": b"192.0.2.1", b"REMOTE_HOST": b"192.0.2.2"}, b"192.0.2.1", True),
    ({b"TCPREMOTEIP": b"::ffff:192.0.2.1"}, b"192.0.2.1", True),
    ({b"TCPREMOTEIP": b"::FFFF:192.0.2.1"}, b"192.0.2.1", True),
    ({b"TCPREMOTEIP": b"::ffff:c000:201"}, b"::ffff:c000:201", True),
]


@pytest.mark.parametrize(("environ", "ip", "is_remote"), PEERS)
def test_peer(environ, ip, is_remote):
    """The client's address is what the server says, IPv4 as IPv4; who has none is not remote."""
    peer = Peer.from_environment(environ)
    assert (peer.ip, peer.is_remote, peer.info, peer.uses_tls) == (ip, is_remote, b"", False)


def test_peer_of_a_server_that_knows_more():
    """What IDENT said and that there is TLS is seen too."""
    peer = Peer.from_environment({b"TCPREMOTEINFO": b"joe", b"SSL_PROTOCOL": b""})
    assert (peer.info, peer.uses_tls, peer.is_remote) == (b"joe", True, False)


@pytest.mark.parametrize(
    ("ip", "is_loopback"),
    [
        (b"127.0.0.1", True),
        (b"127.1.2.3", True),
        (b"::1", True),
        (b"1.127.0.1", False),
        (b"12.7.0.1", False),
        (b"unknown", False),
        (b"::11", False),
        (b"", False),
    ],
)
def test_loopback(ip, is_loopback):
    """Only 127.0.0.0/8 and ::1 stay on the machine."""
    assert Peer(ip).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("environ", "literal"),
    [
        ({b"TCPREMOTEIP": b"192.0.2.1"}, b"[192.0.2.1]"),
        ({b"TCP6REMOTEIP": b"2001:db8::1"}, b"[IPv6:2001:db8::1]"),
        ({b"TCP6REMOTEIP": b"fe80::1%eth0"}, b"[IPv6:fe80::1]"),
        ({}, b"[127.0.0.1]"),
    ],
)
def test_a_client_without_a_name(environ, literal):
    """It is called by its address, as RFC 5321 writes one."""
    assert Peer.from_environment(environ).literal == literal


def test_defaults_of_a_policy():
    """The defaults are the table of the design."""
    policy, limits = Policy(b"h", Limits()), Limits()
    assert (limits.message_bytes, limits.recipients, limits.errors, limits.auth_failures) == (104857600, 1000, 20, 5)
    assert (policy.header_bytes, policy.hops, policy.idle_timeout, policy.auth_delay) == (262144, 100, 300.0, 5.0)
    assert (policy.relays_for_all, policy.requires_tls, policy.shows_user, policy.shows_ip) == (
        False,
        False,
        True,
        True,
    )


def test_signals_say_their_name():
    """What a session returns instead of an event can be told apart in a failing test."""
    assert (repr(NEED_DATA), repr(PAUSED)) == ("NEED_DATA", "PAUSED")
