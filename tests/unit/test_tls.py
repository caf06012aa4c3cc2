"""The TLS layer: two of them talk to each other in memory."""

import gc
import ssl

import pytest

from checkpw import tls
from checkpw.tls import TlsError, TlsLayer


def connect(server_context, client_context, name="mail.example"):
    """Make both sides, before the handshake."""
    return (
        TlsLayer(server_context, server_side=True),
        TlsLayer(client_context, server_side=False, server_hostname=name),
    )


def shake_hands(server, client, size=1 << 20):
    """Carry bytes to and fro, in pieces of `size`, until both are done."""
    for _ in range(10):
        for here, there in ((client, server), (server, client)):
            here.do_handshake()
            data = here.outgoing()
            for at in range(0, len(data), size):
                there.receive(data[at : at + size])
                there.do_handshake()
        if server.is_established and client.is_established:
            client.receive(server.outgoing())
            return
    pytest.fail("the handshake does not end")


@pytest.fixture
def trusting(certificates):
    """Give the context of a client that trusts our CA."""
    return tls.client_context(is_verified=True, ca_file=certificates.ca)


@pytest.fixture
def pair(certificates, trusting):
    """Give a server and a client that are connected."""
    server, client = connect(certificates.server("mail.example"), trusting)
    shake_hands(server, client)
    return server, client


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_both_directions(certificates, trusting, size):
    """What one side writes the other reads, however the handshake was cut."""
    server, client = connect(certificates.server("mail.example"), trusting)
    assert not client.do_handshake() and not server.is_established
    shake_hands(server, client, size)
    server.receive(client.write(b"EHLO\r\n"))
    assert server.read(100) == b"EHLO\r\n"
    assert server.read(100) == b"" == client.write(b"")
    client.receive(server.write(b"250 ok\r\n"))
    assert client.read(100) == b"250 ok\r\n"


def test_a_limit_is_kept(pair):
    """No more is read than was asked for, and the rest is there for the next."""
    server, client = pair
    server.receive(client.write(b"0123456789" * 10_000))
    assert server.read(7) == b"0123456"
    assert server.read(0) == b""
    assert server.read(50_000) == (b"789" + b"0123456789" * 5000)[:50_000]
    assert len(server.read(1 << 20)) == 100_000 - 50_007


@pytest.mark.parametrize("size", [1, 5, 16_000, 33_000, 200_000])
def test_any_split(pair, size):
    """Large data arrives, however its ciphertext is cut, also when several pieces come before the first is read."""
    server, client = pair
    data = bytes(range(256)) * (4 if size < 10 else 2000)
    wire = client.write(data)
    got = b""
    for number, at in enumerate(range(0, len(wire), size)):
        server.receive(wire[at : at + size])
        if number % 3 == 2:
            got += server.read(300_000)
    got += server.read(1 << 20)
    assert got == data


def test_the_bio_stays_small(pair):
    """OpenSSL is given no more at once than it has to buffer."""
    server, client = pair
    given = []

    class Watch:
        pending = property(lambda self: bio.pending)

        def write(self, data):
            given.append(len(data))
            return bio.write(data)

    bio, server._incoming = server._incoming, Watch()
    server.receive(client.write(b"x" * 200_000))
    assert len(server.read(1 << 20)) == 200_000
    assert max(given) <= tls.SLICE and len(given) > 5


def test_close_notify(pair):
    """A side that says it is done is heard after its last words; one that only goes away has not said it."""
    server, client = pair
    last = client.write(b"QUIT\r\n")
    server.receive(last + client.close())
    assert server.read(3) == b"QUI" and not server.eof
    assert server.read(100) == b"T\r\n" and server.eof
    assert server.read(100) == b""
    assert server.close()
    with pytest.raises(TlsError):
        client.write(b"more")
    assert not client.eof


def test_nothing_comes_after_the_end(pair):
    """What follows close_notify is not looked at."""
    server, client = pair
    server.receive(client.write(b"last") + client.close() + b"whatever")
    assert server.read(100) == b"last" and server.eof
    assert server.read(100) == b""


def test_nothing_is_read_before_the_handshake(certificates, trusting):
    """To read does not shake hands, which would have no time limit."""
    server, client = connect(certificates.server("mail.example"), trusting)
    client.do_handshake()
    server.receive(client.outgoing())
    assert server.read(100) == b"" == server.outgoing()
    shake_hands(server, client)


def test_close_before_the_handshake(certificates, trusting):
    """A connection may be given up at any time."""
    server, client = connect(certificates.server("mail.example"), trusting)
    assert server.close() == b""
    client.do_handshake()
    client.close()


def test_what_stood_before_trouble_is_read(pair):
    """Damage is reported after what came undamaged, again and again, and the other side is told."""
    server, client = pair
    good, bad = client.write(b"good"), bytearray(client.write(b"bad"))
    bad[-1] ^= 1
    server.receive(good + bytes(bad))
    assert server.read(100) == b"good"
    for _ in range(2):
        with pytest.raises(TlsError, match=r"^decryption failed or bad record mac$"):
            server.read(100)
    client.receive(server.outgoing())
    with pytest.raises(TlsError, match="bad record mac"):
        client.read(100)


def test_plain_text_is_no_handshake(certificates):
    """A client that speaks in clear, or nothing yet, is an OSError and nothing worse."""
    server = TlsLayer(certificates.server("mail.example"), server_side=True)
    server.receive(b"EHLO client.example\r\n")
    with pytest.raises(OSError, match="wrong version number"):
        server.do_handshake()
    server = TlsLayer(certificates.server("mail.example"), server_side=True)
    with pytest.raises(TlsError):
        server.write(b"too early")
    assert server.read(100) == b""


@pytest.mark.parametrize(
    ("name", "trusts_other", "words"),
    [
        ("other.example", False, "certificate not accepted: Hostname mismatch"),
        ("127.0.0.1", False, "certificate not accepted: IP address mismatch"),
        ("mail.example", True, "certificate not accepted: unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_does_not_fit(certificates, name, trusts_other, words):
    """A wrong name and a wrong CA are refused, and the server is told; a client that does not look takes both."""
    ca = certificates.other_ca if trusts_other else certificates.ca
    context = certificates.server("mail.example")
    server, client = connect(context, tls.client_context(is_verified=True, ca_file=ca), name)
    with pytest.raises(TlsError, match=words):
        shake_hands(server, client)
    server.receive(client.outgoing())
    with pytest.raises(TlsError, match="alert"):
        server.do_handshake() and server.read(1)
    server, client = connect(context, tls.client_context(is_verified=False), name)
    shake_hands(server, client)
    server.receive(client.write(b"x"))
    assert server.read(1) == b"x"


def test_an_address_as_name(certificates, trusting):
    """A certificate may be made out to an address."""
    server, client = connect(certificates.server("127.0.0.1"), trusting, "127.0.0.1")
    shake_hands(server, client)
    assert server.is_established


def test_old_protocols_are_not_spoken(certificates):
    """TLS 1.1 is refused, and so is a renegotiation."""
    context = certificates.server("mail.example")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    ours = tls.client_context(is_verified=False)
    assert ours.minimum_version == ssl.TLSVersion.TLSv1_2 and ours.options & ssl.OP_NO_RENEGOTIATION
    server, client = connect(context, ours)
    with pytest.raises(TlsError):
        shake_hands(server, client)


@pytest.mark.parametrize(("version", "name"), [("TLSv1_2", b"TLSv1.2"), ("TLSv1_3", b"TLSv1.3")])
def test_description(certificates, trusting, version, name):
    """The environment of a connection has mod_ssl's names."""
    context = certificates.server("mail.example")
    context.maximum_version = ssl.TLSVersion[version]
    server, client = connect(context, trusting)
    assert server.describe() == {b"SSL_PROTOCOL": b""} or version == "TLSv1_3"
    shake_hands(server, client)
    for side in (server, client):
        assert side.describe()[b"SSL_PROTOCOL"] == name
        assert b"_" in side.describe()[b"SSL_CIPHER"] or b"-" in side.describe()[b"SSL_CIPHER"]
        assert side.describe()[b"SSL_CIPHER_USEKEYSIZE"] in (b"128", b"256")
        assert b"SSL_TLS_SNI" not in side.describe()


def test_choice_by_name(certificates, trusting):
    """A server has the certificate for the name that is asked for, else its own; the name is known."""
    context = certificates.server("mail.example")
    others = {"other.example": certificates.server("other.example")}
    tls.choose_by_name(context, others.get)
    for name in ("other.example", "mail.example"):
        server, client = connect(context, trusting, name)
        shake_hands(server, client)
        assert server.describe()[b"SSL_TLS_SNI"] == name.encode()
    server, client = connect(context, tls.client_context(is_verified=False), None)
    shake_hands(server, client)
    assert b"SSL_TLS_SNI" not in server.describe()


def test_a_name_that_is_none(certificates, trusting):
    """A client cannot put a line end into a variable of ours."""
    context = certificates.server("mail.example")
    tls.choose_by_name(context, lambda name: pytest.fail(f"{name!r} was looked for"))
    _, client = connect(context, trusting)
    client.do_handshake()
    server = TlsLayer(context, server_side=True)
    server.receive(client.outgoing().replace(b"mail.example", b"mail\nexample"))
    assert not server.do_handshake()
    assert b"SSL_TLS_SNI" not in server.describe()


def test_the_cas_of_the_system(monkeypatch, certificates):
    """Without a file of its own a client reads that of the system; a file that is not there is an OSError."""
    monkeypatch.setattr(tls, "BUNDLES", ("/nonexistent", certificates.ca))
    server, client = connect(certificates.server("mail.example"), tls.client_context(is_verified=True))
    shake_hands(server, client)
    assert client.is_established
    monkeypatch.setattr(tls, "BUNDLES", ())
    assert tls.client_context(is_verified=True).verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(OSError, match="No such file"):
        tls.client_context(is_verified=True, ca_file="/nonexistent")


def test_a_layer_is_freed_at_once(pair):
    """A connection that is over leaves nothing for the garbage collector: thousands of them come in a second."""
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(thing, ssl.SSLObject) for thing in gc.get_objects())
        server = TlsLayer(pair[0]._object.context, server_side=True)
        server.receive(b"garbage\r\n\r\n")
        with pytest.raises(TlsError):
            server.do_handshake()
        del server
        assert sum(isinstance(thing, ssl.SSLObject) for thing in gc.get_objects()) == before
    finally:
        gc.enable()
