"""ofmipd and the programs that it asks about logins: what they get, what their answers become, who may be asked."""

import base64
import os
import re
import time

import pytest

NO, LATER, YES = b"535 5.7.8 authorization failed\r\n", b"454 4.7.0 temporary authentication failure\r\n", b"235 "


@pytest.fixture
def attempt(ofmipd, mail, script):
    """Give a function that lets a shell script answer one AUTH, and gives the reply and the log."""

    def run(program, *, password=b"secret", environ=None, words=("true",), **state):
        checker = script("checker", program) if isinstance(program, str) else program
        session = ofmipd(checker, *words, environ=environ, **state)
        session.reply()
        reply = session.ask(mail.plain(b"joe", password))
        may_send = session.ask(b"MAIL FROM:<a@b>").startswith(b"250 ")
        assert session.ask(b"QUIT").startswith(b"221 ")
        done = session.end()
        assert (done.status, done.replies) == (0, b"")
        assert may_send == reply.startswith(YES)
        assert password not in done.log
        return reply, done.log

    return run


# --- what it gets


def test_what_a_checker_gets(ofmipd, recorder, mail, extra, tmp_path):
    """The record on 3, /dev/null as 0 and 1, a pipe of ours as 2, no other descriptor, and the caller's environment."""
    checker, notes = recorder("checker", "read(3)")
    environ = {"OTHER": "1", "TCPREMOTEINFO": "ident", "H\xff": "\xfe"}
    session = ofmipd(checker, "a b", "", "true", environ=environ, descriptors=extra)
    session.reply()
    assert session.ask(mail.plain(b"joe \xff=x", b"pass word")).startswith(YES)
    session.end()
    (given,) = notes()
    assert given["read"] == {3: b"joe \xff=x\0pass word\0\0"}
    assert sorted(given["descriptors"]) == [0, 1, 2, 3]
    assert given["descriptors"][0] == given["descriptors"][1] == "/dev/null"
    assert given["descriptors"][2].startswith("pipe:")
    assert given["descriptors"][3].startswith("pipe:")
    assert given["argv"] == [os.fsencode(checker), b"a b", b"", b"true"]
    assert given["environ"].items() >= {os.fsencode(n): os.fsencode(v) for n, v in environ.items()}.items()
    assert b"LC_CTYPE" not in given["environ"]
    assert b"RELAYCLIENT" not in given["environ"]
    assert b"SMTPAUTHUSER" not in given["environ"]
    assert given["group"] == given["pid"]
    assert not any(b"pass word" in value for value in given["environ"].values())


def encoded(text):
    return base64.b64encode(text)


@pytest.mark.parametrize(
    "lines",
    [
        [b"AUTH PLAIN " + encoded(b"\0joe\0secret")],
        [b"AUTH PLAIN " + encoded(b"joe\0joe\0secret")],
        [b"auth plain " + encoded(b"\0joe\0secret")],
        [b"AUTH PLAIN", encoded(b"\0joe\0secret")],
        [b"AUTH LOGIN", encoded(b"joe"), encoded(b"secret")],
        [b"AUTH LOGIN " + encoded(b"joe"), encoded(b"secret")],
        [b"Auth Login " + encoded(b"joe"), encoded(b"secret")],
    ],
)
def test_every_way_to_say_it_is_the_same_record(ofmipd, recorder, lines):
    """PLAIN and LOGIN, with and without initial response, in any case, give the same bytes on descriptor 3."""
    checker, notes = recorder("checker", "read(3)")
    session = ofmipd(checker, "true")
    session.reply()
    *asked, answer = [session.ask(line) for line in lines]
    assert all(line.startswith(b"334 ") for line in asked)
    assert answer.startswith(YES)
    session.end()
    (given,) = notes()
    assert given["read"][3] == b"joe\0secret\0\0"


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ([b"AUTH PLAIN not-base64!"], b"501 5.5.2 "),
        ([b"AUTH PLAIN " + encoded(b"\0joe\0sec\0ret")], b"501 5.5.2 "),
        ([b"AUTH PLAIN " + encoded(b"\0joe\0sec\rret")], b"501 5.5.2 "),
        ([b"AUTH PLAIN " + encoded(b"\0j\noe\0secret")], b"501 5.5.2 "),
        ([b"AUTH PLAIN " + encoded(b"\0\0secret")], b"501 5.5.2 "),
        ([b"AUTH PLAIN " + encoded(b"\0joe\0")], b"501 5.5.2 "),
        ([b"AUTH PLAIN ="], b"501 5.5.2 "),
        ([b"AUTH PLAIN " + encoded(b"ann\0joe\0secret")], NO),
        ([b"AUTH PLAIN " + encoded(b"\0joe\0" + b"x" * 507)], NO),
        ([b"AUTH LOGIN " + encoded(b"joe\0secret\0"), encoded(b"x")], b"501 5.5.2 "),
        ([b"AUTH LOGIN", encoded(b"joe"), b"*"], b"501 5.7.0 "),
        ([b"AUTH CRAM-MD5"], b"504 5.5.4 "),
    ],
)
def test_what_never_reaches_a_checker(ofmipd, recorder, tmp_path, lines, reply):
    """Nothing malformed, empty, too long or with a NUL, CR or LF in it starts a program."""
    checker, _ = recorder("checker")
    session = ofmipd(checker, "true")
    session.reply()
    assert [session.ask(line) for line in lines][-1].startswith(reply)
    assert session.ask(b"MAIL FROM:<a@b>").startswith(b"530 ")
    assert session.end().status == 0
    assert not list(tmp_path.glob("*.note"))


def test_512_bytes_reach_a_checker(ofmipd, recorder, mail):
    """A record of just 512 bytes is asked about."""
    checker, notes = recorder("checker", "read(3)")
    session = ofmipd(checker, "true")
    session.reply()
    assert session.ask(mail.plain(b"joe", b"x" * 506)).startswith(YES)
    session.end()
    assert len(notes()[0]["read"][3]) == 512


# --- what it answers


@pytest.mark.parametrize(
    ("codes", "rejections"),
    [(None, {1}), ("3 12 13,15,20 21", {1, 3, 12, 13, 15, 20, 21}), ("100", {1, 100}), ("2", {1, 2}), ("1", {1})],
)
def test_every_exit_status_of_a_checker(ofmipd, script, mail, events, codes, rejections):
    """0 is yes, 1 and what OFMIPD_REJECT_CODES names is no, and every other status is our trouble, not the client's."""
    checker = script("checker", "exit $(tr '\\0' '\\n' <&3 | sed -n 2p)")
    environ = {"OFMIPD_REJECT_CODES": codes, "OFMIPD_AUTH_TRIES": "1000", "OFMIPD_ERRORS": "1000"}
    session = ofmipd(checker, "true", environ=environ)
    session.reply()
    statuses = [*range(1, 256 if codes is None else 30), 100, 111, 255]
    for status in statuses:
        assert session.ask(mail.plain(b"joe", b"%d" % status)) == (NO if status in rejections else LATER), status
    assert session.ask(b"MAIL FROM:<a@b>").startswith(b"530 ")
    assert session.ask(mail.plain(b"joe", b"0")).startswith(YES)
    assert session.ask(b"MAIL FROM:<a@b>").startswith(b"250 ")
    verdicts = [fields["verdict"] for fields in events(session.end().log, "auth")]
    wanted = ["rejected" if s in rejections else "misused" if s == 2 else "temporary" for s in statuses]
    assert verdicts == [*(word.encode() for word in wanted), b"accepted"]


@pytest.mark.parametrize(
    ("program", "reply"),
    [
        ("kill -9 $$", LATER),
        ("kill -SEGV $$", LATER),
        ("kill -TERM $$", LATER),
        ("kill -PIPE $$", LATER),
        ("exec 3<&-; exit 0", YES),
        ("exec 3<&-; sleep 0.1; exit 1", NO),
        ("exec 3<&-; exit 111", LATER),
        ("exit 0", YES),
        ("exit 1", NO),
        ("exec 0<&- 1>&- 2>&- 3<&-; exit 1", NO),
        ("head -c 300000 /dev/zero; exit 0", YES),
        ("head -c 300000 /dev/zero >&2; exit 0", YES),
        ("head -c 300000 /dev/urandom >&2; exit 1", NO),
        ("echo 235 ok; echo 235 ok >&2; exit 1", NO),
    ],
)
def test_an_answer_is_an_answer(attempt, program, reply):
    """What a checker reads, writes or closes does not matter: how it ends does; the client sees none of it."""
    assert attempt(program)[0].startswith(reply)


def test_what_a_checker_says_is_logged(attempt, events):
    """Its standard error goes to our log: ten lines, escaped, marked as its own; its standard output goes nowhere."""
    program = r"""echo to-stdout; printf '\033[31mred\r\nclient=9.9.9.9 event=auth verdict=accepted\n"\\\0\377\n' >&2
i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i >&2; done; exit 1"""
    reply, log = attempt(program)
    assert reply == NO
    said = [fields["says"] for fields in events(log, "checker")]
    assert said[:3] == [b"\x1b[31mred", b"client=9.9.9.9 event=auth verdict=accepted", b'"\\\0\xff']
    assert said[3:] == [b"line %d" % number for number in range(1, 8)]
    assert b"to-stdout" not in log
    assert b"\x1b" not in log
    assert [fields["verdict"] for fields in events(log, "auth")] == [b"rejected"]


@pytest.mark.parametrize("program", ["", "exec 3<&-;", "yes >&2 &", "trap '' TERM INT HUP;", "cat <&3 >/dev/null;"])
def test_a_checker_that_hangs_is_killed_with_its_children(ofmipd, script, mail, tmp_path, tools, events, program):
    """Past OFMIPD_CHECKER_TIMEOUT its whole process group is gone, and the client is told to try later."""
    checker = script("checker", f"{program} sleep 600 & echo $$ $! >{tmp_path}/pids; wait")
    session = ofmipd(checker, "true", environ={"OFMIPD_CHECKER_TIMEOUT": "0.5", "OFMIPD_AUTH_DELAY": "60"})
    session.reply()
    start = time.monotonic()
    assert session.ask(mail.plain(b"joe", b"secret")) == LATER
    assert 0.5 <= time.monotonic() - start < 25
    for pid in (tmp_path / "pids").read_text().split():
        tools.wait_until(lambda pid=pid: not tools.is_alive(pid), "the end of the group, while the session goes on")
    assert session.ask(b"MAIL FROM:<a@b>").startswith(b"530 ")
    assert events(session.end().log, "auth")[0]["verdict"] == b"temporary"


def test_a_daemon_that_keeps_the_pipe_stalls_nobody(attempt, tmp_path, kill_later):
    """A grandchild that outlives the checker with its standard error open does not hold up the answer."""
    start = time.monotonic()
    reply, _ = attempt(f"setsid sleep 600 >&2 & echo $! >{tmp_path}/pid; exit 1")
    kill_later(int((tmp_path / "pid").read_text()))
    assert reply == NO
    assert time.monotonic() - start < 25


def test_a_checker_that_cannot_be_started(attempt, script, tmp_path):
    """Missing, not executable, a directory, no `#!`, not in PATH: each is a 454, and no shell is started."""
    script("text", f"touch {tmp_path}/ran", first_line="")
    script("plain", f"touch {tmp_path}/ran").chmod(0o644)
    script("orphan", "", first_line="#!/nonexistent/interpreter")
    for name in ("missing", "text", "plain", "orphan", "."):
        assert attempt(tmp_path / name)[0] == LATER, name
    assert not (tmp_path / "ran").exists()


def test_a_checker_is_found_by_path(ofmipd, script, mail, tmp_path):
    """A name without a slash is looked for in the PATH that ofmipd was given; one that is nowhere is a 454."""
    script("my-checker", "exit 0")
    for name, reply in (("my-checker", YES), ("no-such-checker", LATER)):
        session = ofmipd(name, "true", environ={"PATH": f"/nonexistent:{tmp_path}:/usr/bin:/bin"})
        session.reply()
        assert session.ask(mail.plain(b"joe", b"secret")).startswith(reply)
        assert session.end().status == 0


def test_our_own_checkpassword(ofmipd, accounts, mail):
    """Right, wrong, unknown, and a store that is not there: yes, no, no, later."""
    store = accounts("joe:{PLAIN}secret::::::\n")
    for url, login, password, reply in (
        (store, b"joe", b"secret", YES),
        (store, b"joe", b"wrong", NO),
        (store, b"ann", b"secret", NO),
        (store + ".missing", b"joe", b"secret", LATER),
        ("nonsense", b"joe", b"secret", LATER),
    ):
        session = ofmipd("checkpassword", "true", environ={"CHECKPW_ACCOUNTS": url})
        session.reply()
        assert session.ask(mail.plain(login, password)).startswith(reply), (url, login)
        assert session.end().status == 0


# --- time, and how often


@pytest.mark.parametrize(("program", "delay", "bound"), [("exit 1", 0.7, 20), ("sleep 2; exit 1", 2.5, 4.4)])
def test_a_no_comes_at_start_and_delay(ofmipd, script, mail, program, delay, bound):
    """How long a check took is not to be seen: the 535 comes when start and delay are over, not later by the check."""
    session = ofmipd(script("checker", program), "true", environ={"OFMIPD_AUTH_DELAY": str(delay)})
    session.reply()
    start = time.monotonic()
    assert session.ask(mail.plain(b"joe", b"wrong")) == NO
    assert delay <= time.monotonic() - start < bound
    session.end()


def test_trouble_and_yes_are_told_at_once(attempt):
    """Only a no is delayed."""
    for program, reply in (("exit 111", LATER), ("exit 2", LATER), ("exit 0", YES)):
        start = time.monotonic()
        assert attempt(program, environ={"OFMIPD_AUTH_DELAY": "60"})[0].startswith(reply)
        assert time.monotonic() - start < 25


def test_what_no_checker_was_asked_about_is_delayed_too(ofmipd):
    """A 535 that we give by ourselves cannot be told from one that a checker gave."""
    session = ofmipd("false", "true", environ={"OFMIPD_AUTH_DELAY": "0.7"})
    session.reply()
    start = time.monotonic()
    assert session.ask(b"AUTH PLAIN " + encoded(b"ann\0joe\0secret")) == NO
    assert time.monotonic() - start >= 0.7
    session.end()


@pytest.mark.parametrize(("tries", "number"), [(None, 5), ("3", 3), ("7", 7)])
def test_too_many_failures_end_the_session(ofmipd, mail, events, tries, number):
    """After five failures, or OFMIPD_AUTH_TRIES, the client is sent away with 421, and the status is 0."""
    session = ofmipd("false", "true", environ={"OFMIPD_AUTH_TRIES": tries})
    session.reply()
    for at in range(number):
        # A failure that we find by ourselves counts as one.
        line = mail.plain(b"joe", b"wrong") if at % 2 else b"AUTH PLAIN " + encoded(b"ann\0joe\0secret")
        assert session.ask(line) == NO
    assert session.reply() == b"421 4.7.0 too many failed authentications\r\n"
    assert session.process.wait(20) == 0
    done = session.end()
    assert done.replies == b""
    assert len(events(done.log, "auth")) == number
    assert events(done.log, "session")[0]["reason"] == b"auth"


def test_our_trouble_is_not_a_wrong_password(ofmipd, script, mail, events):
    """Temporary failures are no failed logins, and a good login is let in after them; but each costs us a process.

    So they count as commands that failed, of which a session has twenty.
    """
    checker = script("checker", "[ $(tr '\\0' '\\n' <&3 | sed -n 2p) = secret ] || exit 111")
    session = ofmipd(checker, "true")
    session.reply()
    for _ in range(19):
        assert session.ask(mail.plain(b"joe", b"x")) == LATER
    assert session.ask(mail.plain(b"joe", b"secret")).startswith(YES)
    session.end()
    session = ofmipd(checker, "true")
    session.reply()
    for _ in range(20):
        assert session.ask(mail.plain(b"joe", b"x")) == LATER
    assert session.reply() == b"421 4.7.0 too many errors\r\n"
    assert session.process.wait(20) == 0
    assert events(session.end().log, "session")[0]["reason"] == b"errors"


# --- where AUTH is allowed


@pytest.mark.parametrize(
    ("environ", "is_allowed", "uses_tls"),
    [
        ({}, True, False),
        ({"SSL_PROTOCOL": "TLSv1.3"}, True, True),
        ({"OFMIPD_REQUIRE_TLS": ""}, False, False),
        ({"OFMIPD_REQUIRE_TLS": "1"}, False, False),
        ({"OFMIPD_REQUIRE_TLS": "1", "SSL_PROTOCOL": "TLSv1.3"}, True, True),
        ({"UCSPITLS": "!"}, False, False),
        ({"UCSPITLS": "!", "SSL_PROTOCOL": "TLSv1.3"}, True, True),
        ({"UCSPITLS": ""}, True, False),
        ({"UCSPITLS": "-"}, True, False),
    ],
)
def test_where_tls_is_required(ofmipd, script, recorder, mail, events, environ, is_allowed, uses_tls):
    """OFMIPD_REQUIRE_TLS and UCSPITLS=! refuse AUTH on a connection in clear: not announced, and no program started."""
    checker, notes = recorder("checker", "read(3)")
    queue, queued = recorder("queue", "read(0); read(1)")
    session = ofmipd(checker, "true", environ={**environ, "QMAILQUEUE": str(queue)})
    session.reply()
    assert (b"AUTH PLAIN LOGIN" in session.ask(b"EHLO x")) == is_allowed
    answer = session.ask(mail.plain(b"joe", b"secret"))
    if not is_allowed:
        assert answer.startswith(b"530 5.7.0 ")
        done = session.end()
        assert not events(done.log, "auth")
        with pytest.raises(FileNotFoundError):
            notes()
        return
    assert answer.startswith(YES)
    session.send(mail.whole)
    done = session.end()
    (note,) = events(done.log, "auth")
    assert note["tls"] == (b"yes" if uses_tls else b"no")
    assert (b"without TLS" in done.log) != uses_tls
    protocol = b"ESMTPSA" if uses_tls else b"ESMTPA"
    assert b" by mail.example with " + protocol + b"; " in queued()[0]["read"][0]


@pytest.mark.parametrize(
    ("environ", "address", "warns"),
    [
        ({"TCPREMOTEIP": "192.0.2.7"}, b"192.0.2.7", True),
        ({"TCPREMOTEIP": "2001:db8::1"}, b"2001:db8::1", True),
        ({"TCPREMOTEIP": "::ffff:192.0.2.7"}, b"192.0.2.7", True),
        ({"TCPREMOTEIP": "::FFFF:192.0.2.7"}, b"192.0.2.7", True),
        ({"TCPREMOTEIP": "fe80::1%eth0"}, b"fe80::1%eth0", True),
        ({"TCPREMOTEIP": "127.0.0.1"}, b"127.0.0.1", False),
        ({"TCPREMOTEIP": "::1"}, b"::1", False),
        ({"TCPREMOTEIP": "::ffff:127.0.0.1"}, b"127.0.0.1", False),
        ({"TCPREMOTEIP": None, "TCP6REMOTEIP": "2001:db8::2"}, b"2001:db8::2", True),
        ({"TCPREMOTEIP": None, "REMOTE_HOST": "192.0.2.9"}, b"192.0.2.9", True),
        ({"TCPREMOTEIP": None}, b"unknown", False),
        ({"TCPREMOTEIP": ""}, b"unknown", False),
    ],
)
def test_the_clients_address(ofmipd, recorder, mail, events, environ, address, warns):
    """The address is first in every log line and stands in the trace field; a password in clear is warned about."""
    queue, notes = recorder("queue", "read(0); read(1)")
    checker, _ = recorder("checker", "read(3)")
    session = ofmipd(checker, "true", environ={**environ, "QMAILQUEUE": str(queue)})
    session.reply()
    assert session.ask(b"EHLO x").endswith(b"\r\n")
    assert session.ask(mail.plain(b"joe", b"secret")).startswith(YES)
    session.send(mail.whole)
    done = session.end()
    lines = events(done.log)
    assert {fields["client"] for fields in lines} == {address}
    assert {fields["event"] for fields in lines} == {b"auth", b"message", b"session"} | (
        {b"warning"} if warns else set()
    )
    received = notes()[0]["read"][0].partition(b"\n")[0]
    assert received.startswith(b"Received: (ofmipd joe@" + address + b") by mail.example with ESMTPA; ")


@pytest.mark.parametrize(
    ("environ", "comment"),
    [
        ({}, b"(ofmipd joe@192.0.2.7)"),
        ({"OFMIPD_HIDE_USER": ""}, b"(ofmipd 192.0.2.7)"),
        ({"OFMIPD_HIDE_IP": "1"}, b"(ofmipd joe)"),
        ({"OFMIPD_HIDE_USER": "1", "OFMIPD_HIDE_IP": "1"}, b"(ofmipd)"),
    ],
)
def test_what_the_trace_field_may_hide(ofmipd, recorder, mail, events, environ, comment):
    """OFMIPD_HIDE_USER and OFMIPD_HIDE_IP keep login and address from recipients, and not from the log."""
    queue, notes = recorder("queue", "read(0); read(1)")
    checker, _ = recorder("checker", "read(3)")
    session = ofmipd(checker, "true", environ={**environ, "QMAILQUEUE": str(queue)})
    session.reply()
    session.ask(mail.plain(b"joe", b"secret"))
    session.send(mail.whole)
    done = session.end()
    message = notes()[0]["read"][0]
    assert re.match(rb"Received: (\([^)]*\)) by ", message)[1] == comment
    (line,) = events(done.log, "message")
    assert (line["client"], line["login"]) == (b"192.0.2.7", b"joe")
    for hidden, text in (("OFMIPD_HIDE_USER", b"joe"), ("OFMIPD_HIDE_IP", b"192.0.2.7")):
        assert (text in message) != (hidden in environ)


# --- memory


def test_a_large_message_is_never_held(ofmipd, script, tools, mail):
    """While 50 MB go through to a queue that reads and discards, ofmipd takes less than 30 MiB, and gives its 250."""
    queue = script("queue", "cat >/dev/null; cat <&1 >/dev/null")
    session = ofmipd(environ={"QMAILQUEUE": str(queue)})
    session.send(mail.envelope + b"DATA\r\n" + mail.text)
    block = (b"x" * 70 + b"\r\n" + b".." + b"y" * 66 + b"\r\n") * 7142
    for _ in range(50):
        session.process.stdin.write(block)
    session.send(b".\r\n")
    *_, answer = [session.reply() for _ in range(6)]
    assert answer == b"250 2.0.0 ok\r\n"
    peak = int(tools.look_at(session.pid).status["VmHWM"][0])
    done = session.end()
    assert done.status == 0
    assert int(re.search(rb"bytes=(\d+)", done.log)[1]) > 49_000_000
    assert peak < 30 * 1024, f"{peak} KiB"


def test_long_lines_and_recipients_are_never_held(ofmipd, tools):
    """A command line without an end, and a message without one, take no memory either."""
    session = ofmipd(environ={"OFMIPD_QUEUE": "sendmail:/nonexistent", "OFMIPD_HEADER_BYTES": "1000"})
    session.reply()
    for _ in range(200):
        session.process.stdin.write(b"x" * 100000)
    assert session.ask(b"").startswith(b"500 5.5.2 ")
    session.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for _ in range(200):
        session.process.stdin.write(b"X: " + b"y" * 100000)
    *_, answer = [session.reply() for _ in range(3)], session.ask(b"\r\n.")
    assert answer.startswith(b"552 5.3.4 ")
    peak = int(tools.look_at(session.pid).status["VmHWM"][0])
    assert session.end().status == 0
    assert peak < 30 * 1024, f"{peak} KiB"


def test_the_log_of_a_silent_checker_is_short(attempt, events):
    """A good login is one line, a warning about the password in clear, and the end of the session."""
    _, log = attempt("exit 0")
    assert [fields["event"] for fields in events(log)] == [b"auth", b"warning", b"session"]
    _, log = attempt("exit 0", environ={"TCPREMOTEIP": "127.0.0.1"})
    assert [fields["event"] for fields in events(log)] == [b"auth", b"session"]
