"""tcpserver (ucspi-tcp) runs our ofmipd and smtplib speaks to it: the reference set-up without TLS."""

import base64
import re
import smtplib
import threading
import uuid

import pytest

REFERENCE_FLAGS = ("-c", "40", "-vRl0")
RECIPIENTS = ["ann@example.net", "bob@example.net"]
LETTER = """\
From: joe@example.org
To: ann@example.net
Subject: {subject}

Good morning.
..
Bye.
"""
TRACE = re.compile(
    r"Received: \(ofmipd joe@127\.0\.0\.1\) by mail\.example with ESMTPA;"
    r" \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d -0000"
)

# What stands in for qmail-queue: keeps the message, the envelope and its environment.
QUEUE = """#!/bin/sh
cd {directory}
cat >message
cat <&1 >envelope
env >environment
exit {status}
"""


@pytest.fixture(scope="module")
def reference(submission):
    """The reference set-up: tcpserver -c 40 -vRl0 HOST PORT ofmipd '' HOST checkpassword true."""
    with submission(flags=REFERENCE_FLAGS) as running:
        yield running


@pytest.fixture
def subject():
    """Give a text by which a test finds its own message among those of others."""
    return f"test {uuid.uuid4()}"


def _send(client, subject):
    client.sendmail("joe@example.org", RECIPIENTS, LETTER.format(subject=subject))


def test_a_message_arrives_with_envelope_trace_and_body(reference, subject):
    """A message is one file in the Maildir: the envelope, our trace field, the text unchanged."""
    with reference.connect() as client:
        client.login("joe", "secret")
        _send(client, subject)
    (message,) = reference.messages(subject)
    head, _, body = message.partition("\n\n")
    sender, *recipients, trace = head.split("\n")[:4]
    assert sender == "Return-Path: <joe@example.org>"
    assert recipients == [f"Delivered-To: {recipient}" for recipient in RECIPIENTS]
    assert TRACE.fullmatch(trace)
    assert f"Subject: {subject}" in head.split("\n")
    assert body == "Good morning.\n..\nBye.\n"


@pytest.mark.parametrize("mechanism", ["plain", "login"])
@pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "challenge"])
def test_each_way_to_log_in(reference, mechanism, initial):
    """PLAIN and LOGIN are accepted with the credentials in the command and with the credentials asked for."""
    with reference.connect() as client:
        client.user, client.password = "joe", "secret"
        answer = getattr(client, f"auth_{mechanism}")
        code, text = client.auth(mechanism, answer, initial_response_ok=initial)
        assert (code, text[:5]) == (235, b"2.7.0")


def test_the_greeting_names_the_host_and_offers_auth(reference):
    """Behind tcpserver a client sees the configured name and both mechanisms, and no STARTTLS."""
    with reference.connect() as client:
        assert client.ehlo_resp.split()[0] == b"mail.example"
        assert {"PLAIN", "LOGIN"} <= set(client.esmtp_features["auth"].split())
        assert not client.has_extn("starttls")


@pytest.mark.parametrize("login", ["joe", "nobody"])
def test_wrong_credentials_get_one_answer_for_all(reference, login):
    """A wrong password and an unknown login are the same 535, and neither opens the way for mail."""
    with reference.connect() as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(login, "wrong")
        assert (refusal.value.smtp_code, refusal.value.smtp_error[:5]) == (535, b"5.7.8")
        assert client.docmd("MAIL FROM:<joe@example.org>")[0] == 530


def test_no_mail_without_login(reference, subject):
    """A client that does not log in is refused at MAIL, RCPT and DATA, and leaves nothing in the Maildir."""
    with reference.connect() as client:
        for command in ("MAIL FROM:<joe@example.org>", "RCPT TO:<ann@example.net>", "DATA"):
            code, text = client.docmd(command)
            assert (code, text[:5]) == (530, b"5.7.0")
        assert client.docmd(f"Subject: {subject}")[0] == 502
    assert reference.messages(subject) == []


def test_pipelined_commands_are_answered_in_order(reference, subject):
    """A whole transaction in two writes gets one reply per command, in the order of the commands."""
    with reference.connect() as client:
        client.login("joe", "secret")
        client.send("MAIL FROM:<joe@example.org>\r\nRCPT TO:<ann@example.net>\r\nNOOP\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(4)] == [250, 250, 250, 354]
        client.send(f"Subject: {subject}\r\n\r\nx\r\n.\r\nRSET\r\nDATA\r\nNOOP\r\n")
        assert [client.getreply()[0] for _ in range(4)] == [250, 250, 503, 250]
    assert len(reference.messages(subject)) == 1


def test_many_clients_at_once(reference, subject):
    """Clients that submit at the same time get a file each."""
    failures = []

    def submit(number):
        try:
            with reference.connect() as client:
                client.login("joe", "secret")
                _send(client, f"{subject} number {number}.")
        except (OSError, smtplib.SMTPException) as error:
            failures.append(error)

    clients = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert failures == []
    for number in range(8):
        assert len(reference.messages(f"{subject} number {number}.")) == 1


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(submission):
    """A connection that is cut inside DATA leaves no message, and the log says that the session ended."""
    with submission() as running:
        client = running.connect()
        client.login("joe", "secret")
        assert client.docmd("MAIL FROM:<joe@example.org>")[0] == 250
        assert client.docmd("RCPT TO:<ann@example.net>")[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send("Subject: half\r\n\r\nand now\r\n")
        client.close()
        running.server.wait_for_log("ofmipd: client=127.0.0.1 ", " event=session ")
        assert running.messages() == []


def test_the_log_tells_who_logged_in_and_from_where(submission):
    """Each verdict is one line: the client's address first, login, mechanism, and never a password."""
    with submission() as running:
        with running.connect() as client:
            client.login("joe", "secret")
        with running.connect() as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("joe", "wrong-guess")
        for verdict in ("accepted", "rejected"):
            line = running.server.wait_for_log(" event=auth ", f" verdict={verdict} ")
            assert line.startswith("ofmipd: client=127.0.0.1 ")
            assert {"login=joe", "mechanism=PLAIN"} <= set(line.split())
        assert "secret" not in running.server.log()
        assert "wrong-guess" not in running.server.log()


@pytest.mark.parametrize(("status", "code"), [(0, 250), (31, 554), (53, 451)])
def test_a_qmail_queue_program_takes_the_message(submission, tmp_path, subject, status, code):
    """$QMAILQUEUE gets the message, the envelope and who logged in; its exit status becomes the reply."""
    queue = tmp_path / "queue"
    queue.write_text(QUEUE.format(directory=tmp_path, status=status), encoding="ascii")
    queue.chmod(0o755)
    with submission(OFMIPD_QUEUE=None, QMAILQUEUE=str(queue)) as running, running.connect() as client:
        client.login("joe", "secret")
        client.mail("joe@example.org")
        for recipient in RECIPIENTS:
            client.rcpt(recipient)
        assert client.data(LETTER.format(subject=subject))[0] == code
    lines = (tmp_path / "message").read_text(encoding="ascii").split("\n")
    assert TRACE.fullmatch(lines[0])
    assert f"Subject: {subject}" in lines
    assert (tmp_path / "envelope").read_bytes() == b"Fjoe@example.org\0Tann@example.net\0Tbob@example.net\0\0"
    environment = (tmp_path / "environment").read_text(encoding="ascii").split("\n")
    assert {"RELAYCLIENT=", "SMTPAUTHUSER=joe", "TCPREMOTEINFO=joe"} <= set(environment)


@pytest.fixture
def relaying(peer, run, tmp_path):
    """Compile a tcprules file that lets every client on loopback relay."""
    rules = tmp_path / "rules.cdb"
    argv = [peer("tcprules", "ucspi-tcp"), rules, f"{rules}.tmp"]
    compiled = run(argv, '127.0.0.1:allow,RELAYCLIENT=""\n')
    assert compiled.returncode == 0, compiled.stdout
    return ("-vRl0", "-x", str(rules))


@pytest.mark.parametrize(("required", "code"), [(None, 250), ("1", 530)])
def test_a_tcprules_file_lets_relay_unless_auth_is_required(submission, relaying, required, code):
    """RELAYCLIENT from a tcprules file opens the way without AUTH; $OFMIPD_REQUIRE_AUTH closes it again."""
    with submission(flags=relaying, OFMIPD_REQUIRE_AUTH=required) as running, running.connect() as client:
        assert client.docmd("MAIL FROM:<joe@example.org>")[0] == code


@pytest.mark.parametrize(("password", "code"), [("secret", 235), ("wrong", 535)])
def test_the_original_ofmipd_asks_our_checkpassword(source_peer, submission, password, code):
    """mess822's own ofmipd with the AUTH patch accepts and refuses by our checkpassword."""
    original = source_peer("ofmipd of mess822 with the AUTH patch", "CHECKPW_ORIGINAL_OFMIPD")
    with submission(ofmipd=original) as running, running.connect() as client:
        credentials = base64.b64encode(f"\0joe\0{password}".encode()).decode()
        assert client.docmd("AUTH PLAIN", credentials)[0] == code
