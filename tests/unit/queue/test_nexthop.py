"""The URLs of relay doors."""

import pytest

from checkpw.errors import TemporaryFailure
from checkpw.operations import Connect
from checkpw.queue.nexthop import IMPLICIT, MAY, NEVER, VERIFY, NextHop, is_loopback, local_dialer


@pytest.mark.parametrize(
    ("url", "host", "port", "is_lmtp", "tls", "ca_file"),
    [
        (b"smtp://mail.example:2525", b"mail.example", 2525, False, MAY, b""),
        (b"smtp://mail.example", b"mail.example", 25, False, MAY, b""),
        (b"smtp://mail.example?", b"mail.example", 25, False, MAY, b""),
        (b"smtp://mail.example/", b"mail.example", 25, False, MAY, b""),
        (b"smtp://127.0.0.1:10025", b"127.0.0.1", 10025, False, NEVER, b""),
        (b"smtp://localhost?tls=may", b"localhost", 25, False, MAY, b""),
        (b"smtp://[::1]", b"::1", 25, False, NEVER, b""),
        (b"smtp://[2001:db8::1]:26", b"2001:db8::1", 26, False, MAY, b""),
        (b"smtp://mail.example?tls=never", b"mail.example", 25, False, NEVER, b""),
        (b"smtp://mail.example:587?tls=verify&ca=/etc/ca.pem", b"mail.example", 587, False, VERIFY, b"/etc/ca.pem"),
        (b"smtps://mail.example", b"mail.example", 465, False, IMPLICIT, b""),
        (b"smtps://127.0.0.1:4465?ca=/ca.pem", b"127.0.0.1", 4465, False, IMPLICIT, b"/ca.pem"),
        (b"lmtp://mail.example:24", b"mail.example", 24, True, MAY, b""),
        (b"lmtp://127.0.0.1", b"127.0.0.1", 24, True, NEVER, b""),
        (b"lmtp:///run/dovecot/lmtp", b"/run/dovecot/lmtp", 0, True, NEVER, b""),
    ],
)
def test_urls(url, host, port, is_lmtp, tls, ca_file):
    """A URL says who, where, which protocol, and what TLS is to be."""
    hop = NextHop.parse(url)
    assert (hop.host, hop.port, hop.is_lmtp, hop.tls, hop.ca_file) == (host, port, is_lmtp, tls, ca_file)
    assert hop.is_verified == (tls in (VERIFY, IMPLICIT))


@pytest.mark.parametrize(
    "url",
    [
        b"",
        b"smtp",
        b"smtp:mail.example",
        b"smtp://",
        b"smtp://:25",
        b"http://mail.example",
        b"smtp://mail.example:0",
        b"smtp://mail.example:65536",
        b"smtp://mail.example:",
        b"smtp://mail.example:x",
        b"smtp://mail.example:999999",
        b"smtp://joe:secret@mail.example",
        b"smtp://mail.example/path",
        b"smtp:///path",
        b"smtps:///path",
        b"smtp://[::1",
        b"smtp://[::1]25",
        b"smtp://[::1]:",
        b"smtp://[mail.example]",
        b"smtp://::1",
        b"smtp://mail example",
        b"smtp://mail.example?tls=maybe",
        b"smtp://mail.example?tls",
        b"smtp://mail.example?x=1",
        b"smtp://mail.example?tls=implicit",
        b"smtp://mail.example?tls=verify&",
        b"smtp://mail.example?tls=verify&ca=relative",
        b"smtp://mail.example?ca=/ca.pem",
        b"smtps://mail.example?tls=never",
        b"lmtp:///path?tls=may",
    ],
)
def test_what_is_no_url(url):
    """Anything else is a setting that makes no sense, and never a door that is less safe than it seems."""
    with pytest.raises(TemporaryFailure, match="names no next hop"):
        NextHop.parse(url)


def test_loopback():
    """Only this machine is this machine."""
    assert all(map(is_loopback, [b"127.0.0.1", b"127.9.9.9", b"localhost", b"::1"]))
    assert not any(map(is_loopback, [b"127.example", b"128.0.0.1", b"localhost.example", b"::2", b"127.0.0.1.example"]))


def test_dialling():
    """A dialer connects each time anew."""
    dial = local_dialer(NextHop.parse(b"smtp://mail.example:2525"), 7.0)
    for _ in range(2):
        steps = dial()
        operation = steps.send(None)
        assert isinstance(operation, Connect)
        assert (operation.host, operation.port, operation.timeout) == (b"mail.example", 2525, 7.0)
        with pytest.raises(StopIteration) as stop:
            steps.send(5)
        assert stop.value.value == 5
