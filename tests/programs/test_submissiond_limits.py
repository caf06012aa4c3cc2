"""submissiond under attack and behind balancers: what it takes from whom, and how much."""

import contextlib
import socket
import struct
import time

import pytest
from resident import Client, plain, wait_until

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def _v2(source, destination=("192.0.2.1", 587), command=0x21, extra=b""):
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    body = addresses + struct.pack(">HH", source[1], destination[1]) + extra
    return V2 + bytes((command, 0x11)) + struct.pack(">H", len(body)) + body


def _serve(site, *options, end=",plain,proxy", **state):
    return site.serve("--proxy-from", "127.0.0.1", *options, listen=(end,), **state)


# --- the PROXY protocol

HEADERS = {
    "v1": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 587\r\n",
    "v2": _v2(("192.0.2.7", 4711)),
    "v2 with more": _v2(("192.0.2.7", 4711), extra=b"\x04\0\x05hello"),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
def test_a_header_names_the_client(site, header, pieces):
    server = _serve(site, "--auth-plaintext")
    with Client(server.place) as client:
        if pieces == "at once":
            client.send(header + b"EHLO early.example\r\n")
            client.reply()
            assert client.reply().startswith(b"250-")
        else:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(header)):
                client.send(header[at : at + 1])
            client.hello()
        client.login()
        client.message()
    assert b"(ofmipd joe@192.0.2.7) by " in site.queued()[0]
    assert server.wait_for("session")["client"] == "192.0.2.7"


def test_who_is_not_believed(site):
    server = site.serve("--proxy-from", "192.0.2.0/24", listen=(",plain,proxy",))
    with Client(server.place) as client:
        with contextlib.suppress(OSError):
            client.send(HEADERS["v1"])
        assert client.is_at_end()
    server.wait_for("session", client="127.0.0.1", reason="proxy")


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.example\r\n",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY " + b"x" * 200,
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 99999\r\n",
        V2 + b"\x21\x11\xff\xff" + b"x" * 99,
        V2 + b"\x31\x11\0\0",
        b"\0" * 16,
    ],
)
def test_no_session_without_a_header(site, header):
    server = _serve(site, "--relay-from", "127.0.0.1")
    with Client(server.place) as client:
        client.send(header)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.is_at_end()
    server.wait_for("session", reason="proxy")


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", V2 + b"\x20\0\0\0", V2 + b"\x21\0\0\0"])
def test_local_has_no_privileges_of_an_address(site, header):
    """Such as those of 127.0.0.1, where the balancer is."""
    server = _serve(site, "--relay-from", "127.0.0.0/8", "--relay-from", "0.0.0.0/0", "--relay-from", "::/0")
    with Client(server.place) as client:
        client.send(header)
        assert b"AUTH" not in client.hello()
        assert client.ask(b"MAIL FROM:<a@here.example>")[:1] == b"5"
        assert client.login()[:1] == b"5"
    assert server.wait_for("session")["client"] == "unknown"


def test_a_balancer_does_not_make_a_client_local(site):
    """That its client has the address 127.0.0.1 is no proof that nobody reads the connection to us."""
    server = _serve(site)
    with Client(server.place) as client:
        client.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 587\r\n")
        client.hello()
        assert client.login().startswith(b"530 ")


def test_relaying_is_by_the_clients_address(site):
    server = _serve(site, "--relay-from", "192.0.2.7")
    for ip, code in ((b"192.0.2.7", b"250 "), (b"192.0.2.8", b"530 "), (b"127.0.0.1", b"530 ")):
        with Client(server.place) as client:
            client.send(b"PROXY TCP4 %s 192.0.2.1 4711 587\r\n" % ip)
            client.hello()
            assert client.ask(b"MAIL FROM:<a@here.example>").startswith(code)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_and_a_handshake_in_one_segment(site, tls, header):
    import ssl

    server = _serve(site, *tls, end=",tls,proxy")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    layer = context.wrap_bio(incoming, outgoing, server_hostname="mail.example")
    with Client(server.place) as client:
        with pytest.raises(ssl.SSLWantReadError):
            layer.do_handshake()
        client.send(header + outgoing.read())
        while True:
            incoming.write(client.socket.recv(65536))
            try:
                layer.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        client.send(outgoing.read())
        while True:
            try:
                assert layer.read(100).startswith(b"220 ")
                break
            except ssl.SSLWantReadError:
                incoming.write(client.socket.recv(65536))


def test_starttls_behind_a_balancer(site, tls):
    server = _serve(site, *tls, end=",starttls,proxy")
    with Client(server.place) as client:
        client.send(HEADERS["v1"])
        client.hello()
        assert client.ask(b"STARTTLS").startswith(b"220 ")
        client.secure()
        client.ask(b"EHLO client.example")
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")


# --- how many


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_of_an_address(site, workers):
    server = site.serve("--max-per-address", "3", workers=workers)
    clients = [site.connect(server.place) for _ in range(3)]
    for client in clients:
        client.hello()
    with Client(server.place) as client:
        assert client.reply().startswith(b"421 4.7.0 ")
        assert client.is_at_end()
    with Client(server.place, source="127.0.0.2") as client:
        client.hello()
    server.wait_for("session", reason="crowd", text="connections_per_address")
    clients.pop().close()

    def is_welcome():
        with Client(server.place) as client:
            return client.reply().startswith(b"220 ")

    wait_until(is_welcome, server.log)


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_of_all(site, workers):
    server = site.serve("--max-connections", "3", workers=workers)
    clients = [site.connect(server.place, source=f"127.0.0.{number}") for number in range(2, 5)]
    for client in clients:
        client.hello()
    late = site.connect(server.place)
    # A worker that has all of them by itself takes no more; of two, either may see that there are too many.
    if workers == 1:
        assert late.is_silent(0.3)
    clients.pop().close()
    assert late.reply()[:4] in ((b"220 ",) if workers == 1 else (b"220 ", b"421 "))
    late.close()

    def is_welcome():
        with Client(server.place) as client:
            return client.reply().startswith(b"220 ")

    wait_until(is_welcome, server.log)


def test_connections_in_a_minute(site):
    server = site.serve("--max-per-minute", "5")
    answers = []
    for _ in range(7):
        with Client(server.place) as client:
            answers.append(client.reply()[:4])
    assert answers == [b"220 "] * 5 + [b"421 "] * 2
    with Client(server.place, source="127.0.0.2") as client:
        client.hello()


def test_a_refusal_on_a_tls_port_is_silent(site, tls):
    server = site.serve(*tls, "--max-per-address", "1", listen=(",tls",))
    first = site.connect(server.place)
    first.secure()
    first.hello()
    with Client(server.place) as client:
        assert client.is_at_end()
    server.wait_for("session", reason="crowd")


def test_handshakes_at_once(site, tls):
    server = site.serve(*tls, "--max-handshakes", "2", listen=(",tls",))
    silent = [site.connect(server.place) for _ in range(2)]

    def is_welcome():
        with contextlib.suppress(OSError), Client(server.place, patience=5) as client:
            client.secure()
            return client.reply().startswith(b"220 ")
        return False

    wait_until(lambda: not is_welcome(), "they count")
    server.wait_for("session", reason="tls", text="too many handshakes at once")
    silent[0].close()
    wait_until(is_welcome, server.log)
    silent[1].reset()
    for _ in range(5):
        assert is_welcome()


def test_failures_of_an_address(site):
    """Then nobody is asked any more for that address, whatever the password; a yes does not count."""
    server = site.serve("--max-failures", "4")
    for _ in range(2):
        with Client(server.place) as client:
            client.hello()
            for _ in range(2):
                assert client.login(b"joe", b"wrong").startswith(b"535 ")
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"454 4.7.0 ")
    with Client(server.place, source="127.0.0.2") as client:
        client.hello()
        assert client.login().startswith(b"235 ")
    # As long as the server is there, over all generations.
    server.reload()
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"454 ")


def test_a_yes_is_no_failure(site):
    server = site.serve("--max-failures", "2")
    for _ in range(5):
        with Client(server.place) as client:
            client.hello()
            assert client.login().startswith(b"235 ")


def test_failures_of_a_session(site):
    server = site.serve("--auth-tries", "3")
    with Client(server.place) as client:
        client.hello()
        assert client.login(b"joe", b"wrong").startswith(b"535 ")
        assert client.login(b"joe", b"wrong").startswith(b"535 ")
        client.send(plain(b"joe", b"wrong") + b"\r\n")
        assert client.reply()[:4] in (b"535 ", b"421 ")
        with contextlib.suppress(ConnectionError):
            assert client.reply().startswith(b"421 ")
        assert client.is_at_end()
    server.wait_for("session", reason="auth")


# --- how long


def test_a_session_has_its_time(site):
    server = site.serve("--session-time", "1")
    with Client(server.place) as client:
        client.hello()
        began = time.monotonic()
        while True:  # busy, and all the same
            client.send(b"NOOP\r\n")
            answer = client.reply()
            if not answer.startswith(b"250 "):
                break
            time.sleep(0.02)
            assert time.monotonic() - began < 10
        assert answer.startswith(b"421 ")
        assert client.is_at_end()
    server.wait_for("session", reason="shutdown")


def test_an_idle_client_is_sent_away(site):
    server = site.serve("--idle-time", "0.3")
    with Client(server.place) as client:
        client.hello()
        assert client.reply().startswith(b"421 4.4.2 ")
        assert client.is_at_end()
    server.wait_for("session", reason="timeout")


def test_a_client_that_does_not_read(site):
    """Its replies are kept up to a bound, then nothing of it is read, and then its time is over."""
    server = site.serve("--idle-time", "0.5", "--max-errors", "1000000")
    client = site.connect(server.place)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.hello()
    client.socket.settimeout(0.2)
    sent = 0
    try:
        while sent < 100_000_000:
            sent += client.socket.send(b"NOOP\r\n" * 10000)
    except OSError:  # it is full, or the server has hung up
        pass
    assert sent < 50_000_000
    server.wait_for("session")


def test_lines_without_end(site):
    server = site.serve()
    with Client(server.place) as client:
        client.hello()
        client.send(b"NOOP " + b"x" * 1_000_000 + b"\r\n")
        assert client.reply().startswith(b"500 5.5.2 ")
        assert client.ask(b"NOOP").startswith(b"250 ")


def test_a_slow_client_is_no_obstacle(site):
    """One in DATA that says nothing more, one before its PROXY header, one that does not read: others do not notice."""
    server = site.serve("--proxy-from", "127.0.0.1", listen=(",plain", ",plain,proxy"))
    slow = site.connect(server.places[0])
    slow.hello()
    slow.login()
    slow.ask(b"MAIL FROM:<a@here.example>", b"RCPT TO:<b@there.example>", b"DATA")
    slow.send(b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * 40000)
    mute = site.connect(server.places[1])
    with Client(server.place) as client:
        client.hello()
        client.login()
        assert client.message().startswith(b"250 ")
    slow.send(b".\r\n")
    assert slow.reply().startswith(b"250 ")
    mute.send(b"PROXY UNKNOWN\r\n")
    mute.hello()


@pytest.mark.parametrize("mechanism", [b"AUTH", b"AUTH FOO", b"AUTH PLAIN !", b"AUTH LOGIN =", b"AUTH XOAUTH2 eA=="])
def test_odd_logins_are_counted_or_not_and_harm_nobody(site, mechanism):
    server = site.serve()
    with Client(server.place) as client:
        client.hello()
        assert client.ask(mechanism)[:1] in b"53"
        client.send(b"*\r\n")
        client.reply()
        assert client.login().startswith(b"235 ")
