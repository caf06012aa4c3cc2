"""authup behind stunnel and tcpserver: before our ofmipd, before a server of the old kind, and before a mailbox.

The first reference set-up: a server that knows no AUTH, wrapped by AUTH, wrapped by stunnel.
"""

import contextlib
import os
import pathlib
import poplib
import smtplib
import ssl
import sys
import types

import pytest

PATIENCE = 20
STOCK = pathlib.Path(__file__).parents[1] / "transcripts" / "stock_server.py"
UID = 54321

STUNNEL = """\
foreground = yes
pid =
syslog = no
cert = {certificate}
key = {key}

[service]
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect}
{options}
"""

MAILBOX = """#!/bin/sh
printf '+OK\\r\\n'
while read -r verb rest; do
case $verb in
STAT*) printf '+OK 1 %s\\r\\n' "$(id -u)";;
QUIT*) printf '+OK\\r\\n'; exit 0;;
*) printf -- '-ERR\\r\\n';;
esac
done
"""


@pytest.fixture
def serve(loopback, peer, everybodys, certify):
    """Give a context manager: tcpserver with stunnel in front; gives ports, certificate, directory and servers."""

    @contextlib.contextmanager
    def begin(*words, options="", **environment):
        tcpserver, stunnel = peer("tcpserver", "ucspi-tcp"), peer("stunnel4")
        with loopback.directory() as directory, loopback.port() as backend, loopback.port() as accept:
            is_root = os.geteuid() == 0
            uid = f"{UID}:{UID}" if is_root else f"{os.getuid()}:{os.getgid()}"
            accounts = directory / "accounts"
            accounts.write_text(f"joe:{{PLAIN}}secret:{uid}::{directory}:\n", encoding="ascii")
            accounts.chmod(0o600)
            directory.chmod(0o777)
            certificate, key = certify(directory, "localhost")
            (directory / "mailbox").write_text(MAILBOX, encoding="ascii")
            (directory / "mailbox").chmod(0o755)
            settings = {
                "PATH": f"{directory}:{everybodys}:/usr/local/bin:/usr/bin:/bin",
                "CHECKPW_ACCOUNTS": f"file:{accounts}",
                "OFMIPD_QUEUE": f"maildir:{directory}/Maildir",
                "OFMIPD_AUTH_DELAY": "0.2",
                **environment,
            }
            configuration = directory / "stunnel.conf"
            ports = {"accept": accept, "connect": backend}
            configuration.write_text(STUNNEL.format(certificate=certificate, key=key, options=options, **ports))
            argv = [tcpserver, "-vRl0", "127.0.0.1", backend, everybodys / "authup", *words]
            with (
                loopback.server(argv, [backend], directory, settings) as server,
                loopback.server([stunnel, configuration], [accept], directory, {}),
            ):
                yield types.SimpleNamespace(
                    port=accept,
                    server=server,
                    directory=directory,
                    uid=UID if is_root else os.getuid(),
                    context=ssl.create_default_context(cafile=certificate),
                )

    return begin


def _connect(running):
    client = smtplib.SMTP("localhost", running.port, local_hostname="client.example", timeout=PATIENCE)
    client.starttls(context=running.context)
    client.ehlo()
    return client


LETTER = "From: joe@example.org\r\nSubject: x\r\n\r\nA line\r\n.\r\nand AUTH PLAIN x\r\n"


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
def test_our_ofmipd(serve, separator):
    """Mail is queued as the user, and traced to the login; a wrong password comes before it, in one session."""
    words = ["smtp", "checkpassword", "checknotroot", *separator, "ofmipd", "", "mail.example"]
    with serve(*words, options="protocol = smtp") as running:
        with _connect(running) as client:
            assert not client.has_extn("starttls")
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("joe", "wrong")
            client.login("joe", "secret")
            client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
            client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
        messages = list((running.directory / "Maildir" / "new").iterdir())
        assert len(messages) == 2
        assert {path.stat().st_uid for path in messages} == {running.uid}
        assert "(ofmipd joe@127.0.0.1) by mail.example with ESMTPA; " in messages[0].read_text()
        running.server.wait_for_log("event=auth login=joe mechanism=", "verdict=rejected")


def test_a_server_that_knows_no_auth(serve):
    """The client sees one server with AUTH, and the server sees none of it; text arrives as it was sent."""
    python = sys.executable if os.geteuid() != 0 else "/usr/bin/python3"
    words = ["smtp", "checkpassword", "checknotroot", "--", python, "-IS", "stock_server.py", "auth"]
    with serve(*words, options="protocol = smtp", AUTHUP_LEVEL="always") as running:
        (running.directory / "stock_server.py").write_bytes(STOCK.read_bytes())
        with _connect(running) as client:
            assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
            assert client.docmd("MAIL FROM:<a@b>")[0] == 530
            client.login("joe", "secret")
            client.ehlo()
            assert not client.has_extn("auth")
            assert client.ehlo_resp.startswith(b"stock.example\n")
            assert client.docmd("AUTH PLAIN x")[0] == 503
            client.docmd("MAIL FROM:<a@b>")
            assert client.data(LETTER) == (250, b"text " + repr(LETTER.replace("\n.", "\n..").encode()).encode())
            assert client.docmd("NOOP") == (250, b"got 'NOOP'")


def test_a_mailbox(serve):
    """POP3 in TLS: the mailbox runs as the user."""
    words = ["-t", "2", "pop3", "checkpassword", "checknotroot", "--", "mailbox"]
    with serve(*words, options="protocol = pop3") as running:
        client = poplib.POP3("localhost", running.port, timeout=PATIENCE)
        client.stls(context=running.context)
        assert "STLS" not in client.capa()
        client.user("joe")
        with pytest.raises(poplib.error_proto, match="AUTH"):
            client.pass_("wrong")
        client.user("joe")
        client.pass_("secret")
        assert client.stat() == (1, running.uid)
        client.quit()
