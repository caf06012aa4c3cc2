"""What a client can make our log say: nothing but its own address, and its own words in quotes."""

import base64
import os
import random
import re
import select

import pytest

ADDRESS = "192.0.2.7"
FIELDS = {
    "auth": ["client", "pid", "event", "login", "mechanism", "tls", "verdict", "reason", "seconds"],
    "warning": ["client", "pid", "event", "text", "seconds"],
    "session": ["client", "pid", "event", "tls", "reason", "messages", "bytes", "seconds"],
}

LOGINS = [
    b"joe",
    b"joe@mail.example",
    b"joe smith",
    b" ",
    b" joe ",
    b"joe=",
    b"=",
    b'"',
    b'joe"',
    b'"joe"',
    b"\\",
    b"joe\\",
    b'\\"',
    b'\\" verdict=accepted x="',
    b"x verdict=accepted",
    b'x" verdict=accepted reason="exit status 0" seconds=0.001',
    b"x mechanism=PLAIN tls=yes verdict=accepted",
    b"client=9.9.9.9",
    b"x client=9.9.9.9 event=auth login=root verdict=accepted",
    b"ofmipd: client=9.9.9.9 pid=1 event=auth login=root verdict=rejected",
    b"\tjoe",
    b"joe\x0b\x0c\x85",
    b"\x1b[2J\x1b]0;title\x07",
    b"\x08\x08\x08\x7f",
    b"\xe2\x80\xa8joe\xe2\x80\xae",
    "j\u00f6e".encode(),
    b"\xff\xfe\x80\x9b31m",
    b"\\x0a",
    b"%s%n%00$(id)`id`;|&",
    b"127.0.0.1",
    b"::1",
    bytes(byte for byte in range(1, 256) if byte not in (10, 13)),
    b"x" * 400,
    b"\x01" * 400,
]


def logged(value):
    """Give what the log has of a value: its first 200 bytes."""
    return value if len(value) <= 200 else value[:200] + b"..."


def plain(login, password=b"pass-word"):
    return b"AUTH PLAIN " + base64.b64encode(b"\0" + login + b"\0" + password)


@pytest.fixture
def attempts(ofmipd, script):
    """Give a function that tries logins one after the other in one session, and gives the log; one status for all."""

    def run(lines, status=1, **environ):
        checker = script("checker", f"cat <&3 >/dev/null; exit {status}")
        settings = {"OFMIPD_AUTH_TRIES": "100000", "OFMIPD_ERRORS": "100000", "TCPREMOTEIP": ADDRESS, **environ}
        session = ofmipd(checker, "true", environ=settings)
        session.reply()
        for line in lines:
            session.ask(line)
        done = session.end()
        assert done.status == 0
        return done.log

    return run


def as_a_filter_reads(log):
    """Give the addresses that a filter of fail2ban would find: anchored, and knowing no quotes."""
    return re.findall(rb"(?m)^ofmipd: client=(\S+) pid=\d+ event=auth login=.* verdict=rejected reason=", log)


def check_attempts(log, events, logins, verdict):
    """Insist on one line for each attempt that says what happened and cannot be read in another way."""
    assert log.isascii()
    assert all(32 <= byte <= 126 or byte == 10 for byte in log)
    lines = events(log)
    for fields in lines:
        assert list(fields) == FIELDS[fields["event"].decode()]
        assert fields["client"] == ADDRESS.encode()
    attempts = [fields for fields in lines if fields["event"] == b"auth"]
    assert [fields["login"] for fields in attempts] == [logged(login) for login in logins]
    assert {fields["verdict"] for fields in attempts} == {verdict}
    assert {fields["mechanism"] for fields in attempts} == {b"PLAIN"}
    assert len(lines) == 2 * len(logins) + 1
    assert b"pass-word" not in log


def test_a_login_is_a_value_and_nothing_else(attempts, events):
    """Whatever a login holds, each attempt is one line with the true address, event, verdict and that very login."""
    log = attempts([plain(login) for login in LOGINS])
    check_attempts(log, events, LOGINS, b"rejected")
    assert as_a_filter_reads(log) == [ADDRESS.encode()] * len(LOGINS)


def test_random_logins(attempts, events):
    """So it is for two hundred logins made of what a forger would use."""
    chance = random.Random(4)  # the same ones each time
    pieces = [
        b" ",
        b"=",
        b'"',
        b"\\",
        b"\\x",
        b"verdict",
        b"accepted",
        b"client=",
        b"1.2.3.4",
        b"\x1b[",
        b"\xff",
        b"\t",
    ]
    logins = [b"".join(chance.choices(pieces, k=chance.randint(1, 12))) for _ in range(200)]
    check_attempts(attempts([plain(login) for login in logins]), events, logins, b"rejected")


def test_no_login_makes_a_refused_attempt_look_accepted(attempts, events):
    """A temporary failure is logged as one, whatever the login says."""
    log = attempts([plain(login) for login in LOGINS], status=111)
    check_attempts(log, events, LOGINS, b"temporary")
    assert as_a_filter_reads(log) == []


def test_login_by_the_other_mechanism(ofmipd, events, script):
    """AUTH LOGIN logs the same value."""
    session = ofmipd(script("checker", "exit 1"), "true", environ={"OFMIPD_AUTH_TRIES": "1000"})
    session.reply()
    for login in LOGINS:
        session.ask(b"AUTH LOGIN", base64.b64encode(login), base64.b64encode(b"pass-word"))
    log = session.end().log
    assert [fields["login"] for fields in events(log, "auth")] == [logged(login) for login in LOGINS]
    assert b"pass-word" not in log


@pytest.mark.parametrize(
    "line",
    [
        plain(b"joe\nofmipd: client=9.9.9.9 pid=1 event=auth login=x verdict=rejected reason=x"),
        plain(b"joe\r\nx"),
        plain(b"joe\0x"),
        plain(b"joe", b"pass-word\0x"),
        plain(b"joe", b"pass-word\n"),
        plain(b"", b"pass-word"),
        plain(b"joe", b""),
        plain(b"joe", b"pass-word" * 60),
        b"AUTH PLAIN " + base64.b64encode(b"pass-word"),
        b"AUTH PLAIN " + base64.b64encode(b"ann\0joe\0pass-word"),
        b"AUTH PLAIN pass-word!",
        b"AUTH PLAIN \x1b[31mpass-word",
        b"AUTH pass-word pass-word",
        b"AUTH LOGIN pass-word!",
        b"pass-word",
        b"NOOP pass-word\x1b[31m",
        b"PASS pass-word",
    ],
)
def test_what_is_refused_before_a_checker(attempts, events, line):
    """What is malformed is at most one line, with no word of the password and no second line from a line end."""
    log = attempts([line])
    lines = events(log)
    assert all(32 <= byte <= 126 or byte == 10 for byte in log)
    assert len([fields for fields in lines if fields["event"] == b"auth"]) <= 1
    assert {fields["client"] for fields in lines} == {ADDRESS.encode()}
    assert b"pass-word" not in log
    assert base64.b64encode(b"pass-word")[:-4] not in log
    assert b"9.9.9.9" not in log
    assert b"accepted" not in log


def test_what_a_checker_prints_is_what_is_seen(ofmipd, script, events):
    """A checker that prints passwords has them in the log: in its own lines, quoted, and nowhere else.

    Not to log what checkers say would leave an administrator without a word about theirs.
    """
    checker = script("checker", "tr '\\0' ' ' <&3 >&2; exit 1")
    session = ofmipd(checker, "true")
    session.reply()
    session.ask(plain(b"joe"))
    log = session.end().log
    assert [fields["event"] for fields in events(log) if b"pass-word" in b"".join(fields.values())] == [b"checker"]
    (line,) = events(log, "checker")
    assert line["says"] == b"joe pass-word  "


@pytest.mark.parametrize(
    "text", [r"event=auth verdict=accepted", r"\r\nclient=9.9.9.9", r"\033[2J\n\n\n", r"\342\200\250x\205y\v\f"]
)
def test_a_checker_cannot_forge_either(ofmipd, script, events, text):
    """What a checker writes stays inside the value of `says`."""
    session = ofmipd(script("checker", f"printf '{text}' >&2; exit 1"), "true")
    session.reply()
    session.ask(plain(b"joe"))
    log = session.end().log
    assert all(32 <= byte <= 126 or byte == 10 for byte in log)
    assert {fields["client"] for fields in events(log)} == {ADDRESS.encode()}
    assert [fields["verdict"] for fields in events(log, "auth")] == [b"rejected"]
    assert {fields["event"] for fields in events(log)} <= {b"checker", b"auth", b"warning", b"session"}


SENDERS = [
    (b"a@client.example", None),
    (b'"a b"@client.example', b"a b@client.example"),
    (b'"a\\"b"@client.example', b'a"b@client.example'),
    (b'"x result=queued event=auth"@c', b"x result=queued event=auth@c"),
    (b'"\\" result=queued x=\\""@c', b'" result=queued x="@c'),
    (b"a=b@c", None),
    (b'"\\\\"@c', b"\\@c"),
    (b"client=9.9.9.9@", None),
    (b"", None),
    (b"x" * 898 + b"@", None),
]


@pytest.mark.parametrize("status", [0, 31])
def test_a_sender_is_a_value_and_nothing_else(ofmipd, script, events, status):
    """Whatever a sender's address holds, each message is one line with the true address and result, and that sender."""
    queue = script("queue", f"cat >/dev/null; cat <&1 >/dev/null; exit {status}")
    session = ofmipd(environ={"QMAILQUEUE": str(queue), "TCPREMOTEIP": ADDRESS})
    session.reply()
    for sender, _ in SENDERS:
        assert session.ask(b"MAIL FROM:<" + sender + b">", b"RCPT TO:<b@c>", b"DATA").startswith(b"354 ")
        session.ask(b"Subject: x\r\n\r\nclient=9.9.9.9\r\n.")
    log = session.end().log
    lines = events(log, "message")
    assert [fields["sender"] for fields in lines] == [logged(s if meant is None else meant) for s, meant in SENDERS]
    assert {fields["result"] for fields in lines} == {b"refused" if status else b"queued"}
    assert {fields["client"] for fields in lines} == {ADDRESS.encode()}
    assert len(events(log)) == len(SENDERS) + 1


def test_control_characters_in_a_sender_are_refused(ofmipd, events):
    """An address with an escape sequence never gets as far as the log."""
    session = ofmipd()
    session.reply()
    for address in (b"\x1b[31m@c", b"a\tb@c", b"a\x7f@c", b'"a\\\x1b"@c', b"a\x00@c"):
        assert session.ask(b"MAIL FROM:<" + address + b">").startswith(b"501 "), address
    (line,) = events(session.end().log)
    assert line["event"] == b"session"


def test_words_of_the_queue_are_a_value(submit, script, tmp_path, events):
    """The reason in the log is one value, whatever a queue program wrote as its custom error."""
    (tmp_path / "text").write_bytes(b'Dx\x1b[2J"\r\nofmipd: client=9.9.9.9 pid=1 event=message result=queued \xff')
    queue = script("queue", f"cat >/dev/null; cat <&1 >/dev/null; cat {tmp_path}/text >&6; exit 82")
    log = submit(queue=queue).log
    message, session = events(log)
    assert (message["result"], message["client"], session["event"]) == (b"refused", ADDRESS.encode(), b"session")
    assert message["reason"].startswith(b'554 5.3.0 x\x1b[2J" ofmipd: client=9.9.9.9')


@pytest.mark.parametrize("address", ["9.9.9.9 event=auth", '9.9.9.9"', "a\nb", "\x1b[31m", "=", "\xff"])
def test_the_address_is_a_value_too(ofmipd, events, address):
    """An address that a server took from somewhere untrusted, as REMOTE_HOST may be, forges nothing either."""
    session = ofmipd(environ={"TCPREMOTEIP": None, "REMOTE_HOST": address, "TCPREMOTEINFO": "x\n\x1b y=z"})
    session.reply()
    log = session.end().log
    (line,) = events(log)
    assert line["client"] == address.encode("utf-8")
    assert line["event"] == b"session"


def test_a_line_is_written_at_once(ofmipd, script, accounts, tmp_path, pipe, events):
    """A line is shorter than what a pipe takes in one piece, so that two processes' lines are never mixed."""
    reading, writing = pipe()
    checker = script("checker", "head -c 5000 /dev/zero >&2; exit 0")
    environ = {"OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir"}
    session = ofmipd(checker, "true", environ=environ, stderr=writing)
    session.reply()
    session.ask(plain(b"\x01" * 490))
    sender = "\u00e9".encode() * 448
    session.send(b"MAIL FROM:<" + sender + b"> SMTPUTF8\r\nRCPT TO:<b@c>\r\nDATA\r\n\r\n.\r\nQUIT\r\n")
    done = session.end()
    assert b"250 2.0.0 ok" in done.replies
    log = b""
    while select.select([reading], [], [], 0)[0]:
        log += os.read(reading, 65536)
    assert [fields["event"] for fields in events(log)] == [b"checker", b"auth", b"warning", b"message", b"session"]
    assert max(len(line) for line in log.splitlines(keepends=True)) <= select.PIPE_BUF
