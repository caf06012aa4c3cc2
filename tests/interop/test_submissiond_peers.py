"""submissiond and the programs that people put before it: clients over both ports, stunnel, HAProxy, openssl."""

import contextlib
import os
import re
import smtplib
import socket
import ssl
import subprocess
import uuid

import pytest

STYLES = ["starttls", "implicit"]
LETTER = "From: joe@example.org\nTo: ann@example.net\nSubject: {subject}\n\nGood morning.\n"


@pytest.fixture(scope="module")
def server(resident):
    """The server for the tests that leave it as it is."""
    with resident() as running:
        yield running


# --- clients: each submits one message, and gives its exit status and all that it said


@pytest.fixture
def swaks(peer, perl_module, run):
    """Submit with swaks, the certificate checked."""
    program = peer("swaks")
    perl_module("Net::SSLeay", "libnet-ssleay-perl")

    def submit(server, style, password, subject):
        argv = [program, "--server", "127.0.0.1", "--port", server.ports[style]]
        argv += ["--tls" if style == "starttls" else "--tls-on-connect", "--tls-verify"]
        argv += ["--tls-ca-path", server.certificate, "--auth", "LOGIN", "--auth-user", "joe"]
        argv += ["--auth-password", password, "--helo", "client.example"]
        argv += ["--from", "joe@example.org", "--to", "ann@example.net", "--data", "-"]
        return run(argv, LETTER.format(subject=subject))

    return submit


@pytest.fixture
def msmtp(peer, run):
    """Submit with msmtp, the certificate checked."""
    program = peer("msmtp")

    def submit(server, style, password, subject):
        argv = [program, "--host=localhost", f"--port={server.ports[style]}", "--tls=on"]
        argv += [f"--tls-starttls={'on' if style == 'starttls' else 'off'}", f"--tls-trust-file={server.certificate}"]
        argv += ["--auth=plain", "--user=joe", f"--passwordeval=echo {password}", "--from=joe@example.org"]
        return run([*argv, "--domain=client.example", "ann@example.net"], LETTER.format(subject=subject))

    return submit


@pytest.fixture
def curl(peer, run):
    """Submit with curl, the certificate checked."""
    program = peer("curl")

    def submit(server, style, password, subject):
        scheme = "smtp" if style == "starttls" else "smtps"
        argv = [program, "--silent", "--show-error", "--ssl-reqd", "--cacert", server.certificate]
        argv += [f"{scheme}://localhost:{server.ports[style]}/client.example", "--user", f"joe:{password}"]
        argv += ["--mail-from", "joe@example.org", "--mail-rcpt", "ann@example.net", "--upload-file", "-"]
        return run(argv, LETTER.format(subject=subject))

    return submit


CLIENTS = ["swaks", "msmtp", "curl"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_submits(request, server, style, client):
    """With the right password the message arrives once, and says how it came."""
    subject = f"{client} {style} {uuid.uuid4()}"
    ended = request.getfixturevalue(client)(server, style, "secret", subject)
    assert ended.returncode == 0, ended.stdout
    (message,) = server.messages(subject)
    assert re.search(r"\nReceived: \(ofmipd joe@127\.0\.0\.1\) by mail\.example with ESMTPSA; ", message)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_with_a_wrong_password(request, server, style, client):
    """With a wrong one nothing arrives, and the client knows."""
    subject = f"{client} {style} {uuid.uuid4()}"
    ended = request.getfixturevalue(client)(server, style, "wrong", subject)
    assert ended.returncode != 0
    assert b"535" in ended.stdout or b"Login denied" in ended.stdout
    assert server.messages(subject) == []


# --- in front of it

STUNNEL = """\
foreground = yes
pid =
syslog = no
client = yes
verifyChain = yes
checkHost = localhost
CAfile = {certificate}
[starttls]
accept = 127.0.0.1:{starttls}
connect = 127.0.0.1:{ports[starttls]}
protocol = smtp
[implicit]
accept = 127.0.0.1:{implicit}
connect = 127.0.0.1:{ports[implicit]}
"""


def test_stunnel_as_client(server, loopback, peer):
    """For a program that knows no TLS stunnel speaks it, STARTTLS too, and believes our certificate."""
    stunnel = peer("stunnel4")
    with loopback.directory() as directory, loopback.port() as starttls, loopback.port() as implicit:
        configuration = directory / "stunnel.conf"
        text = STUNNEL.format(certificate=server.certificate, ports=server.ports, starttls=starttls, implicit=implicit)
        configuration.write_text(text, encoding="ascii")
        with loopback.server([stunnel, configuration], [starttls, implicit], directory, {}):
            for port in (starttls, implicit):
                subject = f"stunnel {uuid.uuid4()}"
                with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=20) as client:
                    client.ehlo()
                    assert not client.has_extn("starttls")
                    client.login("joe", "secret")
                    client.sendmail("joe@example.org", ["ann@example.net"], LETTER.format(subject=subject))
                assert len(server.messages(subject)) == 1


HAPROXY = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen starttls
    bind 127.0.0.1:{starttls}
    server mail 127.0.0.1:{ports[starttls]} {send} check check-send-proxy inter 100ms
listen implicit
    bind 127.0.0.1:{implicit}
    server mail 127.0.0.1:{ports[implicit]} {send}
"""
PROXIED = {"starttls": "starttls,proxy", "implicit": "tls,proxy"}


@pytest.fixture
def balanced(loopback, peer):
    """Give a context manager: HAProxy in front of a server, with its two ports."""
    haproxy = peer("haproxy")

    @contextlib.contextmanager
    def balance(server, send="send-proxy-v2"):
        with loopback.directory() as directory, loopback.port() as starttls, loopback.port() as implicit:
            ports = {"starttls": starttls, "implicit": implicit}
            configuration = directory / "haproxy.cfg"
            configuration.write_text(HAPROXY.format(ports=server.ports, send=send, **ports), encoding="ascii")
            with loopback.server([haproxy, "-db", "-f", configuration], list(ports.values()), directory, {}):
                yield ports

    return balance


@pytest.mark.parametrize("send", ["send-proxy-v2", "send-proxy"])
def test_haproxy(resident, balanced, send):
    """Behind HAProxy each client has its own address, in the log, in the trace field and for the limits."""
    with resident("--proxy-from", "127.0.0.1", kinds=PROXIED) as server, balanced(server, send) as ports:
        for number, style in enumerate(STYLES, 2):
            subject = f"{style} {uuid.uuid4()}"
            with server.connect(style, ports[style], source=(f"127.0.0.{number}", 0)) as client:
                client.login("joe", "secret")
                client.sendmail("joe@example.org", ["ann@example.net"], LETTER.format(subject=subject))
            (message,) = server.messages(subject)
            assert f"Received: (ofmipd joe@127.0.0.{number}) by mail.example with ESMTPSA" in message
            server.server.wait_for_log(f"client=127.0.0.{number}", "event=session login=joe", "reason=quit")


def test_haproxy_that_looks_whether_we_live(resident, balanced):
    """Its own connections, LOCAL, are greeted and end without anything that an administrator would have to see."""
    with resident("--proxy-from", "127.0.0.1", kinds=PROXIED) as server, balanced(server):
        line = server.server.wait_for_log("client=unknown", "event=session")
        assert "reason=eof" in line
        assert "reason=proxy" not in server.server.log()


def test_a_balancer_that_is_not_believed(resident, balanced, eventually):
    """From elsewhere than --proxy-from nothing is heard, whatever is said, and the log says why."""
    with resident("--proxy-from", "192.0.2.0/24", kinds=PROXIED) as server, balanced(server) as ports:
        with socket.create_connection(("127.0.0.1", ports["implicit"]), 20) as client, contextlib.suppress(OSError):
            assert client.recv(100) == b""
        line = server.server.wait_for_log("client=127.0.0.1", "reason=proxy")
        assert 'text="not a balancer that is believed"' in line


def test_who_comes_without_a_balancer(resident):
    """The header is demanded also from balancers that are believed."""
    with resident("--proxy-from", "127.0.0.1", kinds=PROXIED) as server:
        with socket.create_connection(("127.0.0.1", server.ports["starttls"]), 20) as client:
            client.sendall(b"EHLO client.example\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""
        server.server.wait_for_log("client=127.0.0.1", "reason=proxy")


# --- openssl


@pytest.fixture
def s_client(peer, run):
    """Give a function that makes a handshake by openssl s_client, and gives all that it said."""
    program = peer("openssl")

    def shake_hands(port, *options, style="implicit"):
        starttls = ["-starttls", "smtp"] if style == "starttls" else []
        argv = [program, "s_client", "-connect", f"127.0.0.1:{port}", *starttls, *options]
        return run(argv, "QUIT\r\n").stdout.decode("ascii", "replace")

    return shake_hands


# OpenSSL's own idea of security would keep it from offering these at all.
OLD = ("-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_tls_is_refused(server, s_client, style, version):
    """The server says that it does not speak TLS 1.0 and 1.1."""
    said = s_client(server.ports[style], version, *OLD, style=style)
    assert "alert protocol version" in said
    assert "Cipher is (NONE)" in said


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("version", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_tls_of_today_is_spoken(server, s_client, style, version, name):
    """TLS 1.2 and 1.3 are spoken, with forward secrecy."""
    said = s_client(server.ports[style], version, style=style)
    (cipher,) = re.findall(rf"^New, {re.escape(name)}, Cipher is (\S+)$", said, re.MULTILINE)
    assert name == "TLSv1.3" or cipher.startswith("ECDHE-")
    assert "Server Temp Key: X25519" in said
    assert "Verification error: self-signed certificate" in said


@pytest.mark.parametrize("options", [["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "kRSA"]])
def test_weak_ciphers_are_refused(server, s_client, options):
    """Nothing without encryption, or without forward secrecy, comes about."""
    assert "Cipher is (NONE)" in s_client(server.ports["implicit"], *options)


def test_nobody_renegotiates(server, peer):
    """A client that wants to renegotiate in TLS 1.2 is told no: that costs us more than it."""
    argv = [peer("openssl"), "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.ports['implicit']}"]
    streams = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(argv, **streams, stderr=subprocess.STDOUT) as client:
        while not client.stdout.readline().startswith(b"220 "):  # else the greeting comes in between
            assert client.poll() is None
        said = client.communicate(b"R\n", timeout=20)[0]
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


def subject(said):
    """Give the name that a certificate is for."""
    return re.search(r"^subject=CN ?= ?(\S+)$", said, re.MULTILINE)[1]


def test_the_name_chooses_the_certificate(resident, certify, loopback, s_client):
    """Each name gets its certificate, of the kind that the client takes; no name and another name get the first."""
    with loopback.directory() as directory:
        options = []
        for stem, names, kind in [("b", ["b.example", "*.c.example"], "ec"), ("r", ["b.example"], "rsa")]:
            certificate, key = certify(directory, *names, kind=kind, stem=stem)
            options += ["--tls-cert", certificate, "--tls-key", key]
        with resident(*options) as server:
            port = server.ports["implicit"]
            for name, wanted in [
                ("b.example", "b.example"),
                ("B.EXAMPLE", "b.example"),
                ("x.c.example", "b.example"),
                ("x.y.c.example", "localhost"),
                ("localhost", "localhost"),
                ("other.example", "localhost"),
            ]:
                assert subject(s_client(port, "-servername", name)) == wanted
            assert subject(s_client(port, "-noservername")) == "localhost"
            for kind, algorithms in [("RSA-PSS", "RSA-PSS+SHA256"), ("ECDSA", "ECDSA+SHA256")]:
                said = s_client(port, "-servername", "b.example", "-sigalgs", algorithms)
                assert f"Peer signature type: {kind}" in said


# --- what must not be


def _read_reply(file):
    """Read one reply, all of its lines."""
    lines = [file.readline()]
    while lines[-1][3:4] == b"-":
        lines.append(file.readline())
    return b"".join(lines)


@pytest.mark.parametrize(
    "injected",
    [b"NOOP\r\n", b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", b"EHLO x\r\nMAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 50],
    ids=["one", "login", "many"],
)
def test_what_comes_in_clear_behind_starttls_is_not_executed(server, injected):
    """Inside TLS everything begins anew, the injected words have no answer, and the log says how many bytes it was."""
    with socket.create_connection(("127.0.0.1", server.ports["starttls"]), 20) as plain:
        assert plain.recv(1000).startswith(b"220 ")
        plain.sendall(b"EHLO client.example\r\n")
        while b"250 " not in plain.recv(4096):
            pass
        plain.sendall(b"STARTTLS\r\n" + injected)
        assert plain.recv(1000) == b"220 2.0.0 ready to start TLS\r\n"
        context = ssl.create_default_context(cafile=server.certificate)
        with context.wrap_socket(plain, server_hostname="localhost") as client, client.makefile("rb") as file:
            client.sendall(b"MAIL FROM:<joe@example.org>\r\n")
            assert _read_reply(file).startswith(b"530 5.7.0 authentication required")
            client.sendall(b"EHLO client.example\r\n")
            assert b"AUTH PLAIN LOGIN" in _read_reply(file)
            client.sendall(b"QUIT\r\n")
            assert _read_reply(file).startswith(b"221 ")
            assert file.read() == b""
    server.server.wait_for_log("event=tls", f"discarded={len(injected)} ")
    server.server.wait_for_log("event=warning", "behind STARTTLS was thrown away")


def test_a_password_in_clear_is_not_taken_from_other_machines(resident):
    """Without TLS AUTH is neither offered nor taken, unless the client is on this machine or it is asked for."""
    kinds = {"plain": "plain,proxy", "starttls": "starttls,proxy"}
    for option, codes in ((), {"plain": 530, "starttls": 530}), (("--auth-plaintext",), dict.fromkeys(kinds, 235)):
        with resident("--proxy-from", "127.0.0.1", *option, kinds=kinds) as server:
            for kind, code in codes.items():
                with socket.create_connection(("127.0.0.1", server.ports[kind]), 20) as client:
                    client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 587\r\nEHLO client.example\r\n")
                    with client.makefile("rb") as file:
                        _read_reply(file)
                        assert (b"AUTH" in _read_reply(file)) == (code == 235)
                        client.sendall(b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n")
                        assert _read_reply(file).startswith(b"%d " % code)


# --- SIGHUP


def test_a_new_certificate_of_another_kind(resident, certify, s_client):
    """After SIGHUP new connections get the new certificate, with another kind of key even; the old session goes on."""
    with resident("--drain-time", "20") as server:
        port = server.ports["implicit"]
        assert "id-ecPublicKey" in s_client(port) or "Peer signature type: ECDSA" in s_client(port)
        with server.connect("starttls") as client:
            client.login("joe", "secret")
            fresh, key = certify(server.directory, "localhost", "new.example", kind="rsa", stem="new")
            os.replace(key, server.directory / "mail.key.pem")
            os.replace(fresh, server.directory / "mail.cert.pem")
            server.reload()
            said = s_client(port)
            assert "Peer signature type: RSA-PSS" in said
            subject_ = f"old session {uuid.uuid4()}"
            client.sendmail("joe@example.org", ["ann@example.net"], LETTER.format(subject=subject_))
        assert len(server.messages(subject_)) == 1
        with server.connect("implicit") as client:
            client.login("joe", "secret")


def test_a_certificate_that_is_damaged_at_sighup(resident, certify, s_client):
    """The server says what is wrong, and goes on with the one that it has."""
    with resident() as server:
        (server.directory / "mail.cert.pem").rename(server.directory / "old.pem")
        (server.directory / "mail.cert.pem").write_text("no certificate\n", encoding="ascii")
        os.kill(server.server.pid, 1)
        line = server.server.wait_for_log("stays with what it has")
        assert "mail.cert.pem: there is no certificate in PEM form in it" in line
        assert subject(s_client(server.ports["implicit"])) == "localhost"
