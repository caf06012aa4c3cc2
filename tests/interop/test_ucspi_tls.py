"""STARTTLS of our ofmipd under servers that speak UCSPI-TLS: s6-ucspitlsd behind tcpserver, and sslserver.

Nobody packages them for Debian with TLS in them; CHECKPW_S6_UCSPITLSD and CHECKPW_SSLSERVER name what was built by hand
(s6-networking with its s6-tlsd-io, ucspi-ssl).
"""

import contextlib
import pathlib
import smtplib
import socket
import ssl
import types
import uuid

import pytest

LETTER = "From: joe@example.org\nTo: ann@example.net\nSubject: {subject}\n\nGood morning.\n"
# What stands in for qmail-queue: keeps the message, its environment and the names of its descriptors.
QUEUE = """#!/bin/sh
cd {directory}
cat >message
cat <&1 >/dev/null
env >environment
ls /proc/$$/fd >descriptors
"""
SERVERS = ("s6-ucspitlsd", "sslserver")


@pytest.fixture(scope="module")
def certificate(peer, run, loopback):
    """Make a certificate for this machine."""
    with loopback.directory() as directory:
        argv = [peer("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        argv += ["-newkey", "rsa:2048", "-addext", "subjectAltName=DNS:localhost"]
        made = run([*argv, "-keyout", directory / "key.pem", "-out", directory / "cert.pem"])
        assert made.returncode == 0, made.stdout
        yield directory


@pytest.fixture(params=SERVERS)
def serve(request, source_peer, peer, loopback, certificate, programs):
    """Give a context manager: a server runs ofmipd with a Maildir behind it, and offers it TLS."""

    program = source_peer(request.param, "CHECKPW_" + request.param.upper().replace("-", "_"))
    if request.param == "sslserver":
        front = [program, "-nes", "-vRHl0", "127.0.0.1"]  # n: when we say so; e: TCPREMOTEIP; s: all certificates
        behind = []
    else:
        front, behind = [peer("tcpserver", "ucspi-tcp"), "-vRHl0", "127.0.0.1"], [program]

    @contextlib.contextmanager
    def begin(**environment):
        with loopback.directory() as directory, loopback.port() as port:
            argv = [*front, port, *behind, programs / "ofmipd", "", "mail.example", "checkpassword", "true"]
            accounts = directory / "accounts"
            accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
            queue = directory / "queue"
            queue.write_text(QUEUE.format(directory=directory), encoding="ascii")
            queue.chmod(0o755)
            settings = {
                # s6-ucspitlsd looks for s6-tlsd-io there.
                "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin:{pathlib.Path(program).parent}",
                "CERTFILE": str(certificate / "cert.pem"),
                "KEYFILE": str(certificate / "key.pem"),
                "DHFILE": "",
                "CHECKPW_ACCOUNTS": f"file:{accounts}",
                "QMAILQUEUE": str(queue),
                "OFMIPD_AUTH_DELAY": "0.2",
                "UCSPITLS": "!",
                **environment,
            }
            with loopback.server(argv, [port], directory, settings) as server:
                yield types.SimpleNamespace(server=server, port=port, directory=directory)

    return begin


def connect(running):
    """Connect in clear."""
    client = smtplib.SMTP("localhost", running.port, local_hostname="client.example", timeout=20)
    client.ehlo()
    return client


def context(certificate):
    """Give what checks the certificate."""
    return ssl.create_default_context(cafile=certificate / "cert.pem")


def test_a_message_with_starttls(serve, certificate):
    """STARTTLS is offered, AUTH waits for it, and a message goes through; everybody knows of the encryption."""
    subject = f"test {uuid.uuid4()}"
    with serve() as running, connect(running) as client:
        assert client.has_extn("starttls")
        assert not client.has_extn("auth")
        client.starttls(context=context(certificate))
        client.ehlo()
        assert not client.has_extn("starttls")
        client.login("joe", "secret")
        client.sendmail("joe@example.org", ["ann@example.net"], LETTER.format(subject=subject))
        version, cipher = client.sock.version(), client.sock.cipher()[0]
        client.quit()
        line = running.server.wait_for_log("event=tls")
        assert f"protocol={version}" in line
        assert f"cipher={cipher}" in line
        assert "discarded=0" in line
        running.server.wait_for_log("event=session", "tls=yes", "reason=quit")
        assert subject in (running.directory / "message").read_text(encoding="ascii")
        assert "with ESMTPSA;" in (running.directory / "message").read_text(encoding="ascii")
        environment = (running.directory / "environment").read_text(encoding="ascii")
        assert f"SSL_PROTOCOL={version}\n" in environment
        assert "SSLCTLFD" not in environment
        descriptors = (running.directory / "descriptors").read_text(encoding="ascii").split()
        # The shell's own are 10 and above.
        assert {number for number in descriptors if int(number) < 10} == {"0", "1", "2", "4", "6"}


def test_what_stands_behind_starttls_is_not_executed(serve, certificate):
    """Plaintext in the segment of STARTTLS is thrown away, and the session begins anew inside TLS."""
    with serve() as running, socket.create_connection(("localhost", running.port), timeout=20) as plain:
        words = plain.makefile("rb")
        assert words.readline().startswith(b"220 ")
        plain.sendall(b"STARTTLS\r\nNOOP\r\nMAIL FROM:<evil@example.org>\r\n")
        assert words.readline().startswith(b"220 ")
        with context(certificate).wrap_socket(plain, server_hostname="localhost") as secured:
            secured.sendall(b"QUIT\r\n")
            answer = b""
            while piece := secured.recv(1000):
                answer += piece
        assert answer == b"221 2.0.0 mail.example\r\n"
        running.server.wait_for_log("event=tls", "discarded=36")


def test_a_handshake_that_fails(serve):
    """Commands in place of a handshake are answered by nobody, and nothing is left running."""
    with serve() as running, socket.create_connection(("localhost", running.port), timeout=20) as plain:
        words = plain.makefile("rb")
        words.readline()
        plain.sendall(b"STARTTLS\r\n")
        assert words.readline().startswith(b"220 ")
        plain.sendall(b"MAIL FROM:<evil@example.org>\r\nQUIT\r\n" * 3)
        with contextlib.suppress(ConnectionResetError):
            assert b"250" not in words.read()
        # sslserver sends SIGTERM then; s6-tlsd-io says it by the end of the control socket alone.
        running.server.wait_for_log("event=session", "tls=no")


@pytest.mark.parametrize("policy", ["-", None])
def test_an_administrator_who_does_not_want_it(serve, policy):
    """The server's offer alone does not make STARTTLS."""
    settings = {"UCSPITLS": policy} if policy else {"DISABLETLS": "1"}
    with serve(**settings) as running, connect(running) as client:
        assert not client.has_extn("starttls")
        assert client.has_extn("auth")
        client.login("joe", "secret")
