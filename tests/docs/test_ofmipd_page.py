"""The tables of ofmipd(8) against the code: settings, replies, exit statuses of queue programs, log lines."""

import inspect
import posix
import re
import socket
import subprocess

import pytest
from pages import page

from checkpw import conversation, logline, submission
from checkpw.cli import environment as surroundings
from checkpw.cli import settings, shared
from checkpw.errors import TemporaryFailure
from checkpw.logline import render
from checkpw.outbound import REFUSALS
from checkpw.policy import Policy
from checkpw.queue import maildir, qmail, sendmail
from checkpw.smtp import limits, replies
from checkpw.smtp.limits import Limits
from checkpw.smtp.replies import Reply

OFMIPD = page("ofmipd")


# --- settings


def _read(environ):
    environment = surroundings.Environment({b"CONTROLDIR": b"/nonexistent", **environ})
    policy = settings.read_policy(environment, b"mail.example")
    checker = settings.read_checker(environment, [b"checker", b"true"], {})
    door = settings.open_door(environment, b"mail.example", iter(()))
    return policy, checker, door


VALUES = {
    "DATABYTES": lambda policy, checker, door: policy.limits.message_bytes,
    "OFMIPD_AUTH_DELAY": lambda policy, checker, door: policy.auth_delay,
    "OFMIPD_AUTH_TRIES": lambda policy, checker, door: policy.limits.auth_failures,
    "OFMIPD_CHECKER_TIMEOUT": lambda policy, checker, door: checker._timeout,
    "OFMIPD_ERRORS": lambda policy, checker, door: policy.limits.errors,
    "OFMIPD_HEADER_BYTES": lambda policy, checker, door: policy.header_bytes,
    "OFMIPD_HOPS": lambda policy, checker, door: policy.hops,
    "OFMIPD_QUEUE_TIMEOUT": lambda policy, checker, door: door._timeout,
    "OFMIPD_RECIPIENTS": lambda policy, checker, door: policy.limits.recipients,
    "OFMIPD_REJECT_CODES": lambda policy, checker, door: next(iter(checker._reject_statuses)),
    "OFMIPD_TIMEOUT": lambda policy, checker, door: policy.idle_timeout,
}
"""Setting: where its value ends up."""

TABLE = {row[0]: row[1] for row in OFMIPD.rows("Limits and times", "variable")}


def test_the_table_has_every_number():
    """The table of limits lists the settings that are numbers."""
    assert set(TABLE) == set(VALUES)


@pytest.mark.parametrize("name", TABLE)
def test_defaults_are_those_of_the_page(name):
    """Without any setting each value is the one in the table."""
    assert VALUES[name](*_read({b"OFMIPD_QUEUE": b"maildir:/nonexistent"})) == int(TABLE[name])


@pytest.mark.parametrize("name", TABLE)
def test_a_setting_has_an_effect(name):
    """Each variable of the table changes the value that the table is about, and no other one."""
    given = int(TABLE[name]) + 1
    before = _read({b"OFMIPD_QUEUE": b"maildir:/nonexistent"})
    after = _read({b"OFMIPD_QUEUE": b"maildir:/nonexistent", name.encode(): b"%d" % given})
    if name == "OFMIPD_REJECT_CODES":
        assert after[1]._reject_statuses == {1, 2}
        return
    assert {other for other, value in VALUES.items() if value(*before) != value(*after)} == {name}
    assert VALUES[name](*after) == given


def test_defaults_are_the_same_everywhere():
    """Settings, policy and limits give the same defaults when nobody says anything.

    But for the hosts: without control files they are words that nobody can miss, without settings nothing is done.
    """
    policy, bare = _read({b"OFMIPD_QUEUE": b"maildir:/nonexistent"})[0], Policy(b"mail.example", Limits())
    for name in set(Policy.__slots__) - {"limits", "host_rules", "id_host"}:
        assert getattr(policy, name) == getattr(bare, name), name
    for name in Limits.__slots__:
        assert getattr(policy.limits, name) == getattr(bare.limits, name), name


def test_the_least_number_of_tries_is_that_of_the_page():
    """AUTH may fail as often as the page says, and a setting below that is refused."""
    (row,) = [row for row in OFMIPD.rows("Limits and times", "variable") if row[0] == "OFMIPD_AUTH_TRIES"]
    least = int(row[2].rpartition(" ")[2])
    assert _read({b"OFMIPD_AUTH_TRIES": b"%d" % least, b"OFMIPD_QUEUE": b"maildir:/x"})[0].limits.auth_failures == least
    with pytest.raises(TemporaryFailure):
        _read({b"OFMIPD_AUTH_TRIES": b"%d" % (least - 1), b"OFMIPD_QUEUE": b"maildir:/x"})


def test_paths_and_names_are_those_of_the_page():
    """Qmail's home, the host name and the numbers in prose are the code's."""
    assert surroundings.QMAIL_HOME.decode() in OFMIPD.text
    assert shared.DEFAULT_HOSTNAME.decode() in OFMIPD.text
    assert f"{surroundings.QMAIL_HOME.decode()}/bin/qmail-queue" in OFMIPD.text
    assert f"More than {limits.MAX_AUTH_LINE} bytes" in OFMIPD.text
    assert f"a command of more than {limits.MAX_COMMAND_LINE} bytes" in OFMIPD.text.lower()
    assert f"An address of {limits.MAX_ADDRESS} bytes or more" in OFMIPD.text
    assert f"At most {conversation.DIAGNOSTIC_LINES} lines are logged" in OFMIPD.text
    assert f"{qmail.CUSTOM_BYTES} bytes of it" in OFMIPD.text
    assert f"has {qmail.ABORT_PATIENCE:g} seconds to clean up" in OFMIPD.text
    assert f"A value of more than {logline.MAX_VALUE} bytes is cut" in OFMIPD.text
    assert f"has more than {surroundings.MAX_DIGITS} digits" in OFMIPD.text
    shown = " ".join(map(str, (sendmail.NOT_AN_ARGUMENT[0], *map(bytes.decode, sendmail.NOT_AN_ARGUMENT[1:]))))
    assert f".Ql {shown} ." in OFMIPD.lines


# --- replies

CODES = {
    name: f"{reply.code} {reply.enhanced.decode()} {reply.text.decode()}"
    for name, reply in vars(replies).items()
    if isinstance(reply, Reply)
}
POSITIVE = {"OK", "FLUSHED", "SENDER_OK", "RECIPIENT_OK", "VERIFY", "HELP", "GO_AHEAD", "TLS_GO_AHEAD"}
"""Replies that need no explanation."""
OF_AUTH = {name for name in CODES if name.startswith("AUTH")} | {"NOT_AUTHORISED", "TOO_MANY_FAILURES"}


def test_replies_to_auth_are_those_of_the_code():
    """The page explains each reply that AUTH can lead to, in its very words, and none that there is not."""
    assert sorted(OFMIPD.items("Replies to AUTH")) == sorted(CODES[name] for name in OF_AUTH)


def test_other_replies_are_those_of_the_code():
    """The page explains each further negative reply of the session and of the message on its way."""
    others = [text for name, text in CODES.items() if name not in OF_AUTH | POSITIVE]
    others += [f"{code} {enhanced.decode()} {text.decode()}" for code, enhanced, text in REFUSALS.values()]
    assert sorted(OFMIPD.items("Other replies")) == sorted(others)


def test_the_refusal_at_start_is_that_of_the_page():
    """What a client gets in place of a greeting stands in the page."""
    from checkpw.cli import ofmipd

    assert f".Ql {ofmipd.REFUSAL.decode().rstrip()} ," in OFMIPD.lines


# --- doors


def _table(which):
    """Give one of the two tables of statuses: words for the status, code, text."""
    lines = OFMIPD.part("Doors")
    starts = [at for at, line in enumerate(lines) if line.startswith(".It Em status Ta ")]
    rows = []
    for line in lines[starts[which] + 1 :]:
        if line == ".El":
            return rows
        rows.append([cell.strip() for cell in line[4:].split(" Ta ")])
    raise LookupError(which)


def _statuses(rows):
    return {
        int(number): (code, text)
        for statuses, code, text in rows
        if re.fullmatch(r"[\d, ]+", statuses)
        for number in statuses.split(", ")
    }


def _as_shown(meaning):
    code, enhanced, text = meaning
    return f"{code} {enhanced.decode()}", text.decode()


def test_statuses_of_queue_programs_are_those_of_the_code():
    """The table of qmail-queue's exit statuses is the code's table, and so is what it says of all others."""
    shown = _statuses(_table(0))
    assert " ".join(shown.pop(0)) == CODES["OK"]
    assert shown == {status: _as_shown(meaning) for status, meaning in qmail.STATUSES.items()}
    rest = {row[0]: (row[1], row[2]) for row in _table(0)}
    assert rest["12 to 40"] == _as_shown(qmail.meaning(12, b"")) == _as_shown(qmail.meaning(40, b""))
    assert rest["others"] == _as_shown(qmail.meaning(41, b"")) == _as_shown(qmail.meaning(10, b""))
    assert rest["signal"] == _as_shown(qmail.meaning(-9, b""))
    for status in qmail.CUSTOM_STATUSES:
        assert re.search(rf"\b{status}\b", OFMIPD.text)


def test_statuses_of_sendmail_are_those_of_the_code():
    """The table of sendmail's exit statuses is the code's table."""
    shown = _statuses(_table(1))
    del shown[0]
    assert shown == {status: _as_shown(meaning) for status, meaning in sendmail.STATUSES.items()}
    assert {row[0]: (row[1], row[2]) for row in _table(1)}["others"] == _as_shown(sendmail.TEMPORARY)
    assert posix.EX_TEMPFAIL not in shown


def test_a_full_disk_is_what_the_page_says():
    """Maildir and spool file answer a full disk alike."""
    assert maildir.FULL[:2] == sendmail.NOT_SPOOLED[:2] == (452, b"4.3.1")
    assert "is 452 4.3.1." in OFMIPD.text


def test_custom_error_texts_are_as_the_page_says():
    """D is permanent and Z temporary, for both statuses, and nothing else is believed."""
    for status in qmail.CUSTOM_STATUSES:
        assert qmail.meaning(status, b"Dno such tenant")[0::2] == (554, b"no such tenant")
        assert qmail.meaning(status, b"Zlater")[0::2] == (451, b"later")
        assert qmail.meaning(status, b"Xlater") == qmail.TEMPORARY_PROBLEM


# --- the log

EVENTS = {
    words[0].removeprefix("event="): set(words[1:]) - {"Ar"}
    for words in (item.split() for item in OFMIPD.items("DIAGNOSTICS"))
}
COMMON = {"client", "pid", "event", "login", "seconds"}

CHECKER = """#!/bin/sh
echo something odd >&2
record=$(tr '\\0' : <&3)
case $record in joe:*) exit 0;; eve:*) exit 2;; esac
exit 1
"""
DIALOGUE = [
    "EHLO client",
    "AUTH PLAIN AGFubgB4",  # ann
    "AUTH PLAIN AGV2ZQB4",  # eve
    "AUTH PLAIN AGpvZQB4",  # joe
    *("MAIL FROM:<joe@example.org>", "RCPT TO:<ann@example.net>", "DATA", "", "Good morning.", "."),
    *("MAIL FROM:<joe@example.org>", "RCPT TO:<ann@example.net>", "DATA", *101 * ["Received: x"], "", "."),
    *("MAIL FROM:<joe@example.org>", "RCPT TO:<ann@example.net>", "DATA", "half a message"),
]


@pytest.fixture(scope="module")
def log(programs, tmp_path_factory):
    """The log of a session in which everything that is logged happens."""
    directory = tmp_path_factory.mktemp("log")
    checker = directory / "checker"
    checker.write_text(CHECKER, encoding="ascii")
    checker.chmod(0o755)
    argv = [programs / "ofmipd", "", "mail.example", checker, "true"]
    environ = {
        "PATH": "/usr/bin:/bin",
        "OFMIPD_QUEUE": f"maildir:{directory}/Maildir",
        "OFMIPD_AUTH_DELAY": "0",
        "TCPREMOTEIP": "192.0.2.7",
    }
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        door = {"OFMIPD_QUEUE": f"smtp://127.0.0.1:{nobody.getsockname()[1]}", "RELAYCLIENT": ""}
        refused = _log_of(argv, {**environ, **door}, ["MAIL FROM:<joe@example.org>"])
    under_tls = [line for told in TLS_SERVERS for line in _log_under_tls(argv, environ, told)]
    return _log_of(argv, environ, DIALOGUE) + refused + under_tls


TLS_SERVERS = (b"SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=X\0\0QUIT\r\n", b"")
"""What a UCSPI-TLS server says after a handshake, with what the client says then; and after one that failed."""


def _log_under_tls(argv, environ, told):
    """Give the log of a session with STARTTLS; one socket is control, incoming and outgoing, as it may be."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(told)
        ours.shutdown(socket.SHUT_WR)
        number = str(theirs.fileno())
        variables = dict.fromkeys(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"), number)
        return _log_of(argv, {**environ, "UCSPITLS": "", **variables}, ["STARTTLS"], pass_fds=[theirs.fileno()])


def _log_of(argv, environ, dialogue, **options):
    ended = subprocess.run(
        argv,
        input="".join(f"{line}\r\n" for line in dialogue).encode(),
        capture_output=True,
        env=environ,
        check=True,
        timeout=60,
        **options,
    )
    return ended.stderr.decode("ascii").splitlines()


WORD = re.compile(r'([a-z_]+)=(?:"(?:[^"\\]|\\.)*"|[^\s"]+)')


def test_log_lines_have_the_fields_of_the_page(log):
    """Each event that is logged is in the page with its fields, and each field of the page is logged."""
    seen = {}
    for line in log:
        program, _, rest = line.partition(" ")
        assert program == "ofmipd:"
        keys = WORD.findall(rest)
        assert WORD.sub("", rest).split() == []
        assert keys[:3] == ["client", "pid", "event"]
        assert keys[-1] == "seconds"
        event = re.search(r" event=(\w+)", line)[1]
        seen.setdefault(event, set()).update(set(keys) - COMMON | ({"login"} if event == "auth" else set()))
    assert seen == EVENTS


def test_words_of_the_log_are_in_the_page(log):
    """Verdicts and results that are logged stand in the page."""
    shown = " ".join(OFMIPD.part("DIAGNOSTICS"))
    words = set(re.findall(r" (?:verdict|result)=(\w+)", "\n".join(log)))
    assert {"accepted", "rejected", "misused", "queued", "refused", "aborted"} <= words
    for word in words:
        assert f".Li {word}" in shown


def test_reasons_for_the_end_of_a_session_are_in_the_page():
    """Each reason with which the session engine closes stands in the page."""
    from checkpw.smtp import session

    source = "".join(map(inspect.getsource, (session, conversation, submission)))
    reasons = set(re.findall(r'(?:_end|\.close)\(.*, "(\w+)"\)', source))
    assert {"quit", "eof", "timeout"} <= reasons
    shown = " ".join(OFMIPD.part("DIAGNOSTICS"))
    assert {reason for reason in reasons if f".Li {reason}" not in shown} == set()


# --- fail2ban


@pytest.fixture(scope="module")
def failregex():
    """The filter of the page, with fail2ban's <HOST> as it would be replaced."""
    (block,) = [block for block in OFMIPD.literal("EXAMPLES") if "failregex" in block]
    text = block.partition("failregex = ")[2].strip()
    assert text.count("<HOST>") == 1
    return re.compile(text.replace("<HOST>", r"(?P<host>[0-9a-fA-F.:]+)"))


def _line(login, verdict="rejected"):
    fields = {"client": b"192.0.2.7", "pid": 4711, "event": "auth", "login": login, "mechanism": b"PLAIN"}
    fields |= {"tls": "no", "verdict": verdict, "reason": "exit status 1", "seconds": 5.0}
    return render("ofmipd", fields).decode("ascii")


LOGINS = [
    b"joe",
    b"",
    b"joe smith",
    b'a" verdict=rejected reason="',
    b"x verdict=accepted",
    b"\\",
    b'"',
    b"\xff\n\r\0",
    b"client=198.51.100.1",
    b"joe mechanism=PLAIN tls=no verdict=rejected ",
]


@pytest.mark.parametrize("login", LOGINS)
def test_the_filter_finds_who_was_rejected(failregex, login):
    """Whatever the login is, the filter finds the address of a rejected client, also behind a stamp that is cut out."""
    for stamp in ("", " "):
        assert failregex.search(stamp + _line(login))["host"] == "192.0.2.7"


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("verdict", ["accepted", "temporary", "misused"])
def test_the_filter_bans_nobody_else(failregex, login, verdict):
    """No login makes an accepted client, or one that met our trouble, look rejected."""
    assert failregex.search(_line(login, verdict)) is None


def test_the_filter_fits_a_real_line(failregex, log):
    """In a real log the filter finds the one rejected attempt and no other line."""
    assert [failregex.search(line)["host"] for line in log if failregex.search(line)] == ["192.0.2.7"]
