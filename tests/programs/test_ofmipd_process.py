"""ofmipd as a process: refusals at the start, queue programs of every temper, and how it ends."""

import os
import re
import signal
import subprocess
import time

import pytest

TROUBLE = 111


# --- the start


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "host/name", "checkpassword", "true"),
        ("", "/bin/checkpassword", "/bin/true"),
        ("", "/usr/local/bin/checkpassword", "true"),
        ("", "mail.example", "checkpassword"),
        ("", "mail.example", "true", "true"),
        ("", "mail.example", "/bin/true", "x"),
        ("", "mail.example", "/usr/bin/true", "true"),
        ("name.cdb",),
        ("name.cdb", "mail.example"),
        ("name.cdb", "mail.example", "checkpassword", "true"),
    ],
)
def test_arguments_that_cannot_be_meant(ofmipd, arguments):
    """A forgotten hostname must not become an open relay: 451 in place of a greeting, 111, and one line."""
    done = ofmipd(arguments=arguments).end()
    assert (done.status, done.replies.count(b"\r\n"), done.log.count(b"\n")) == (TROUBLE, 1, 1)
    assert done.replies.startswith(b"451 4.3.0 ")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((), b"ofmipd.local"), (("",), b"ofmipd.local"), (("", ""), b"ofmipd.local"), (("", "m.example"), b"m.example")],
)
def test_arguments_may_be_left_out(ofmipd, arguments, name):
    """Without a hostname it is ofmipd.local, in the greeting and everywhere."""
    session = ofmipd(arguments=arguments)
    assert session.reply() == b"220 " + name + b" ESMTP\r\n"
    assert session.ask(b"HELO x") == b"250 " + name + b"\r\n"
    assert session.ask(b"QUIT") == b"221 2.0.0 " + name + b"\r\n"
    assert session.end().status == 0


NUMBERS = ["x", "-1", "1k", "1.5", "0x10", "\u0661", " 5", "9" * 5000]
TIMES = ["x", "-1", "1s", "1e3", "inf", "nan", ".", "1.2.3", "1,5", "9" * 5000]
BROKEN = {
    "DATABYTES": NUMBERS,
    "OFMIPD_HEADER_BYTES": NUMBERS,
    "OFMIPD_RECIPIENTS": [*NUMBERS, "0"],
    "OFMIPD_ERRORS": [*NUMBERS, "0"],
    "OFMIPD_HOPS": [*NUMBERS, "0"],
    "OFMIPD_AUTH_TRIES": [*NUMBERS, "0", "2"],
    "OFMIPD_TIMEOUT": TIMES,
    "OFMIPD_AUTH_DELAY": TIMES,
    "OFMIPD_CHECKER_TIMEOUT": TIMES,
    "OFMIPD_QUEUE_TIMEOUT": TIMES,
    "OFMIPD_REJECT_CODES": ["x", "0", "256", "111", "-1", "1 111", "1;3", "1.5", "3-5", "9" * 5000],
    "OFMIPD_QUEUE": ["x", "maildir", "maildir:", "maildir:relative", "sendmail:", "sendmail:sendmail", "MAILDIR:/x"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_setting_that_makes_no_sense(ofmipd, name):
    """Each value that cannot be read gives 451 in place of a greeting, 111, and one line that names the setting."""
    for value in BROKEN[name]:
        done = ofmipd("checkpassword", "true", environ={name: value}).end()
        assert (done.status, done.replies[:9], done.replies.count(b"\n")) == (TROUBLE, b"451 4.3.0", 1), value[:20]
        assert done.log.count(b"\n") == 1
        assert name.encode() in done.log


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "OFMIPD_QUEUE"])
def test_a_setting_that_is_empty_is_not_set(ofmipd, name):
    """A variable that is set to nothing means its default."""
    session = ofmipd("checkpassword", "true", environ={name: ""})
    assert session.reply().startswith(b"220 ")
    assert session.end().status == 0


@pytest.mark.parametrize("name", [name for name in BROKEN if BROKEN[name] is TIMES])
@pytest.mark.parametrize("value", ["0.5", "86400", "3000000", "99999999999"])
def test_a_time_may_be_long(ofmipd, script, mail, name, value):
    """Half a second is a time, and so is more than poll(2) can count at once."""
    checker = script("checker", "cat <&3 >/dev/null")
    queue = script("queue", "cat >/dev/null; cat <&1 >/dev/null")
    environ = {name: value, "QMAILQUEUE": str(queue)}
    session = ofmipd(checker, "true", environ=environ)
    session.reply()
    assert session.ask(mail.plain(b"joe", b"secret")).startswith(b"235 ")
    session.send(mail.whole)
    assert [session.reply()[:3] for _ in range(5)] == [b"250", b"250", b"250", b"354", b"250"]
    assert session.ask(b"QUIT").startswith(b"221 ")
    assert session.end().status == 0


@pytest.mark.parametrize("name", ["databytes", "timeoutsmtpd"])
def test_control_files(ofmipd, tmp_path, name):
    """A control file that makes no sense, or is there and cannot be read, gives 451, 111 and one line."""
    environ = {"CONTROLDIR": str(tmp_path)}
    path = tmp_path / name
    for text in ("x\n", "-1\n", "12 34\n", " 12\n", "\xe9\n"):
        path.write_text(text, encoding="latin-1")
        done = ofmipd(environ=environ).end()
        assert (done.status, done.replies[:9], done.log.count(b"\n")) == (TROUBLE, b"451 4.3.0", 1), text
    for text in ("", "\n", "77\n", "77", "77 \t\nignored\n"):
        path.write_text(text, encoding="latin-1")
        session = ofmipd(environ=environ)
        assert session.reply().startswith(b"220 "), text
        if name == "databytes":
            assert (b"SIZE 77\r\n" in session.ask(b"EHLO x")) == text.startswith("77")
        assert session.end().status == 0
    path.unlink()
    path.mkdir()
    done = ofmipd(environ=environ).end()
    assert (done.status, done.replies[:9], done.log.count(b"\n")) == (TROUBLE, b"451 4.3.0", 1)
    assert name.encode() in done.log


def test_a_control_file_that_is_closed_to_us(ofmipd, everybodys, public, root, tools):
    """A control file that this user may not read is trouble, and not a missing one; so is a closed directory."""
    (public / "databytes").write_text("1000\n")
    for mode, place in ((0o600, public / "databytes"), (0o700, public)):
        place.chmod(mode)
        done = ofmipd(directory=everybodys, user=tools.stranger, environ={"CONTROLDIR": str(public)}).end()
        assert (done.status, done.replies[:9]) == (TROUBLE, b"451 4.3.0")


@pytest.mark.parametrize(("arguments", "status"), [(("name.cdb",), TROUBLE), (("", "mail.example"), 0)])
def test_descriptors_are_left_as_they_were(start, programs, pipe, tools, arguments, status):
    """Who shares 0 and 1 with us, a shell its terminal for example, does not find them non-blocking afterwards."""
    incoming = pipe(b"QUIT\r\n")
    _, outgoing = pipe()
    process = start([programs / "ofmipd", *arguments], stdin=incoming, stdout=outgoing)
    assert process.wait(tools.patience) == status
    for descriptor in (incoming, outgoing):
        assert os.get_blocking(descriptor)


def test_a_qmail_home_that_cannot_be_entered(ofmipd, tmp_path):
    """Where the qmail home is something else than a directory, nobody can tell what is configured."""
    (tmp_path / "file").touch()
    done = ofmipd(environ={"OFMIPD_QMAIL": str(tmp_path / "file")}).end()
    assert (done.status, done.replies[:9]) == (TROUBLE, b"451 4.3.0")


def test_nobody_relays_without_a_reason(ofmipd, mail):
    """Neither RELAYCLIENT nor a checker: mail is refused, and AUTH is neither offered nor possible."""
    session = ofmipd(environ={"RELAYCLIENT": None})
    session.reply()
    assert b"AUTH" not in session.ask(b"EHLO x")
    for line in (b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>", b"DATA", b"BDAT 0 LAST"):
        assert session.ask(line).startswith(b"530 5.7.0 ")
    assert session.ask(mail.plain(b"joe", b"secret")).startswith(b"503 ")
    assert session.end().status == 0


@pytest.mark.parametrize(
    ("environ", "reply"),
    [
        ({}, b"530 5.7.0 "),
        ({"RELAYCLIENT": ""}, b"250 2.1.0 "),
        ({"RELAYCLIENT": "@x"}, b"250 2.1.0 "),
        ({"RELAYCLIENT": "", "OFMIPD_REQUIRE_AUTH": ""}, b"530 5.7.0 "),
        ({"RELAYCLIENT": "", "OFMIPD_REQUIRE_AUTH": "1"}, b"530 5.7.0 "),
    ],
)
def test_relayclient(ofmipd, environ, reply):
    """RELAYCLIENT lets a client send without AUTH, unless OFMIPD_REQUIRE_AUTH makes it count for nothing."""
    session = ofmipd("checkpassword", "true", environ=environ)
    session.reply()
    assert b"AUTH PLAIN LOGIN" in session.ask(b"EHLO x")
    assert session.ask(b"MAIL FROM:<a@b>").startswith(reply)
    session.end()


# --- qmail-queue and its stand-ins


def expected(status):
    """Give the reply to an exit status of qmail-queue, by its own manual and the words of qmail_close."""
    texts = {
        11: b"554 5.1.3 envelope address too long for qq",
        115: b"554 5.1.3 envelope address too long for qq",
        31: b"554 5.3.0 mail server permanently rejected message",
        51: b"451 4.3.0 qq out of memory",
        52: b"451 4.3.0 qq timeout",
        53: b"451 4.3.0 qq write error or disk full",
        54: b"451 4.3.0 qq read error",
        55: b"451 4.3.0 qq unable to read configuration",
        56: b"451 4.3.0 qq trouble making network connection",
        61: b"451 4.3.0 qq trouble in home directory",
        **dict.fromkeys((62, 63, 64, 65, 66), b"451 4.3.0 qq trouble creating files in queue"),
        71: b"451 4.3.0 mail server temporarily rejected message",
        72: b"451 4.4.1 connection to mail server timed out",
        73: b"451 4.4.1 connection to mail server rejected",
        74: b"451 4.4.2 communication with mail server failed",
        81: b"451 4.3.0 qq internal bug",
        91: b"451 4.3.0 qq internal bug",
        120: b"451 4.3.0 unable to exec qq",
        0: b"250 2.0.0 ok",
    }
    otherwise = b"554 5.3.0 qq permanent problem" if 11 <= status <= 40 else b"451 4.3.0 qq temporary problem"
    return texts.get(status, otherwise)


def test_every_exit_status_of_the_queue(ofmipd, script, mail, events):
    """Each of the 256 statuses has its reply, and only 0 is a 250."""
    queue = script("queue", "code=$(sed -n 's/^Subject: //p'); cat <&1 >/dev/null; exit $code")
    session = ofmipd(environ={"QMAILQUEUE": str(queue), "OFMIPD_ERRORS": "1000"})
    session.reply()
    for status in range(256):
        session.send(mail.whole.replace(b"a test", b"%d" % status))
        assert [session.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
        assert session.reply() == expected(status) + b"\r\n", status
    done = session.end()
    results = [fields["result"] for fields in events(done.log, "message")]
    assert results == [b"queued"] + [b"refused"] * 255


ESCAPES = b"Dred \x1b[31m\x07 \xff\r\n250 2.0.0 ok\r\n\0end"


@pytest.mark.parametrize(
    ("descriptor", "status", "text", "reply"),
    [
        (6, 82, b"Dno such thing", b"554 5.3.0 no such thing"),
        (6, 82, b"Zlater", b"451 4.3.0 later"),
        (4, 82, b"Dno such thing", b"554 5.3.0 no such thing"),
        (4, 88, b"Zlater", b"451 4.3.0 later"),
        (6, 88, b"Dno", b"554 5.3.0 no"),
        (6, 82, b"", b"451 4.3.0 qq temporary problem"),
        (6, 88, b"", b"451 4.3.0 qq temporary problem"),
        (6, 82, b"D", b"451 4.3.0 qq temporary problem"),
        (6, 82, b"Kaccepted", b"451 4.3.0 qq temporary problem"),
        (6, 0, b"Dnot counted", b"250 2.0.0 ok"),
        (6, 31, b"Dnot counted", b"554 5.3.0 mail server permanently rejected message"),
        (6, 53, b"Dnot counted", b"451 4.3.0 qq write error or disk full"),
        (6, 82, ESCAPES, b"554 5.3.0 red ?[31m? ? 250 2.0.0 ok ?end"),
        (6, 82, b"D" + b"x" * 70000, b"554 5.3.0 " + b"x" * 254),
        (4, 82, b"Done two\nthree", b"554 5.3.0 one two three"),
    ],
)
def test_custom_errors(submit, script, tmp_path, events, descriptor, status, text, reply):
    """With 82 and 88 the program's own words are the reply: one line, nothing in it that a terminal would obey."""
    (tmp_path / "text").write_bytes(text)
    queue = script("queue", f"cat >/dev/null; cat <&1 >/dev/null; cat {tmp_path}/text >&{descriptor}; exit {status}")
    done = submit(queue=queue)
    assert done.reply == reply + b"\r\n"
    assert (done.status, done.replies[-1][:4]) == (0, b"221 ")
    (message,) = events(done.log, "message")
    assert message["result"] == (b"queued" if status == 0 else b"refused")


@pytest.mark.parametrize(("status", "lines"), [(0, 200000), (31, 200000), (31, 1), (53, 1)])
def test_a_queue_that_dies_at_once(submit, script, mail, status, lines):
    """A program that leaves before it read the message is no queue: 0 is not believed, another status is."""
    message = mail.whole.replace(b"body\r\n", b"body, and so on\r\n" * lines)
    done = submit(queue=script("queue", f"exit {status}"), message=message)
    assert done.reply == expected(status or 54) + b"\r\n"
    assert done.status == 0


@pytest.mark.parametrize("text", ["cat >/dev/null; sleep 0.3; exit 0", "sleep 0.3; exit 0"])
def test_a_queue_that_lies(submit, script, text):
    """A 0 is believed where all that we had to say fitted into the pipes, read or not: ofmipd(8) says so under CAVEATS.

    Nobody can tell from outside what was read. It is written down here, so that a change of it is a decision.
    """
    assert submit(queue=script("queue", text)).reply == b"250 2.0.0 ok\r\n"


@pytest.mark.parametrize("program", ["cat >/dev/null", ":"])
def test_a_queue_that_hangs_is_killed_with_its_children(ofmipd, mail, script, tmp_path, tools, program):
    """Past OFMIPD_QUEUE_TIMEOUT the whole process group is gone, and the client is told to come again."""
    queue = script("queue", f"{program}; sleep 600 & echo $$ $! >{tmp_path}/pids; wait")
    session = ofmipd(environ={"OFMIPD_QUEUE_TIMEOUT": "1", "QMAILQUEUE": str(queue)})
    session.reply()
    session.send(mail.whole)
    assert [session.reply() for _ in range(5)][-1] == b"451 4.3.0 qq timeout\r\n"
    for pid in (tmp_path / "pids").read_text().split():
        tools.wait_until(lambda pid=pid: not tools.is_alive(pid), "the end of the group, while the session goes on")
    assert session.ask(b"NOOP").startswith(b"250 ")
    assert session.end().status == 0


def test_a_queue_that_does_not_read_is_killed(submit, script, mail):
    """A message that the program leaves in the pipe is not waited on for ever."""
    large = mail.whole.replace(b"body\r\n", b"body, and so on\r\n" * 200000)
    done = submit(queue=script("queue", "exec sleep 600"), message=large, environ={"OFMIPD_QUEUE_TIMEOUT": "1"})
    assert done.reply == b"451 4.3.0 qq timeout\r\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGPIPE])
def test_a_queue_that_is_killed(submit, script, number):
    """A program that a signal ended has queued nothing that anybody knows of."""
    done = submit(queue=script("queue", f"cat >/dev/null; kill -{int(number)} $$; sleep 600"))
    assert done.reply == b"451 4.3.0 qq crashed\r\n"


def test_a_queue_that_cannot_be_started(submit, script, tmp_path):
    """Missing, not executable, a directory, no `#!`: each is a 451, and no shell is started."""
    script("text", f"touch {tmp_path}/ran", first_line="")
    script("plain", f"touch {tmp_path}/ran").chmod(0o644)
    script("orphan", "", first_line="#!/nonexistent/interpreter")
    for name in ("missing", "text", "plain", "orphan", ".", "missing/below"):
        done = submit(queue=tmp_path / name)
        assert done.reply == b"451 4.3.0 unable to exec qq\r\n", name
        assert done.status == 0
    assert not (tmp_path / "ran").exists()


def test_a_daemon_that_keeps_descriptor_6_stalls_nobody(submit, script, tmp_path, kill_later):
    """A grandchild with all descriptors that outlives the program does not hold up the answer."""
    text = f"cat >/dev/null; cat <&1 >/dev/null; setsid sleep 600 & echo $! >{tmp_path}/pid; exit 31"
    done = submit(queue=script("queue", text), environ={"OFMIPD_QUEUE_TIMEOUT": "20"})
    kill_later(int((tmp_path / "pid").read_text()))
    assert done.reply == expected(31) + b"\r\n"
    assert done.status == 0


def test_what_the_queue_reads(submit, recorder, events):
    """The message in lines that end in LF, with the trace field first; the envelope; and nothing besides."""
    queue, notes = recorder("queue", "read(0); read(1)")
    text = (
        b"MAIL FROM:<a@client.example> BODY=8BITMIME\r\nRCPT TO:<b@there.example>\r\nRCPT TO:<-c d@there.example>\r\n"
        b"DATA\r\nSubject: t\r\nBcc: hidden@example\r\nDate: 1 Jan 2026 00:00:00 -0000\r\nMessage-ID: <1@x>\r\n\r\n"
        b"..dot\r\n.\r\n"
    )
    done = submit(queue=queue, message=text)
    assert done.reply == b"250 2.0.0 ok\r\n"
    (given,) = notes()
    assert given["read"][1] == b"Fa@client.example\0Tb@there.example\0T-c d@there.example\0\0"
    trace, _, rest = given["read"][0].partition(b"\n")
    assert re.fullmatch(
        rb"Received: \(ofmipd 192\.0\.2\.7\) by mail\.example with ESMTP; \d+ [A-Z][a-z]+ \d{4} [\d:]{8} -0000", trace
    )
    assert rest == (
        b"Date: 1 Jan 2026 00:00:00 -0000\nMessage-ID: <1@x>\nFrom: a@client.example\n"
        b"Cc: recipient list not shown: ;\nSubject: t\n\n.dot\n"
    )
    (message,) = events(done.log, "message")
    assert int(message["bytes"]) == len(given["read"][0])
    assert message["recipients"] == b"2"


def test_what_a_pipelining_client_sends_after_the_message(submit, recorder):
    """Nothing of one message gets into the next, with DATA and with BDAT."""
    queue, notes = recorder("queue", "read(0); read(1)")
    header = b"Date: x\r\nMessage-ID: <%d@x>\r\n\r\n"
    one, two = header % 1 + b"one\r\n", header % 2 + b"two\r\n"
    text = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n" + one + b".\r\n"
    text += b"MAIL FROM:<c@x>\r\nRCPT TO:<d@x>\r\nBDAT 7\r\n" + two[:7] + b"BDAT %d LAST\r\n" % (len(two) - 7) + two[7:]
    done = submit(queue=queue, message=text)
    assert done.status == 0
    first, second = notes()
    for given, envelope, end in ((first, b"Fa@x\0Tb@x\0\0", b"\none\n"), (second, b"Fc@x\0Td@x\0\0", b"\ntwo\n")):
        assert given["read"][1] == envelope
        assert given["read"][0].endswith(end)
        assert given["read"][0].count(b"Message-ID:") == 1


def test_the_environment_of_the_queue_without_auth(submit, recorder, tmp_path):
    """Without AUTH the queue program's environment is ours as it was given, and it runs in the qmail home."""
    queue, notes = recorder("queue", "read(0); read(1)")
    environ = {"TCPREMOTEINFO": "ident", "SMTPAUTHUSER": "x", "OTHER": "1", "OFMIPD_QMAIL": str(tmp_path)}
    submit(queue=queue, environ=environ)
    (given,) = notes()
    assert (
        given["environ"].items() >= {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}.items()
    )
    assert given["environ"][b"RELAYCLIENT"] == b""
    assert b"LC_CTYPE" not in given["environ"]
    assert given["cwd"] == str(tmp_path)
    assert given["argv"] == [os.fsencode(queue)]
    assert given["group"] == given["pid"]


def test_the_environment_and_descriptors_of_the_queue_after_auth(ofmipd, script, recorder, mail, extra):
    """After AUTH the queue program is told who it was; it has descriptors 0, 1, 2, 4 and 6, and none of ours."""
    checker = script("checker", "cat <&3 >/dev/null")
    queue, notes = recorder("queue", "read(0); read(1)")
    environ = {"QMAILQUEUE": str(queue), "TCPREMOTEINFO": "ident", "LC_CTYPE": "C"}
    session = ofmipd(checker, "true", environ=environ, descriptors=extra)
    session.reply()
    assert session.ask(mail.plain(b"joe \xff=x", b"secret")).startswith(b"235 ")
    session.send(mail.whole + b"QUIT\r\n")
    done = session.end()
    assert b"\r\n250 2.0.0 ok\r\n221 " in done.replies
    (given,) = notes()
    assert given["environ"][b"RELAYCLIENT"] == b""
    assert given["environ"][b"SMTPAUTHUSER"] == given["environ"][b"TCPREMOTEINFO"] == b"joe \xff=x"
    assert given["environ"][b"LC_CTYPE"] == b"C"
    assert not any(b"secret" in value for value in given["environ"].values())
    assert sorted(given["descriptors"]) == [0, 1, 2, 4, 6]
    assert given["descriptors"][4] == given["descriptors"][6]
    assert len(set(given["descriptors"].values())) == 4
    assert given["read"][0].startswith(b"Received: (ofmipd joe??=x@192.0.2.7) by mail.example with ESMTPA; ")


def test_signals_of_the_queue_and_the_checker(ofmipd, script, tmp_path, mail):
    """Programs that ofmipd starts ignore no signal that it does not ignore: not the two that Python ignores."""
    names = "SigIgn|SigBlk"
    checker = script("checker", f"cat <&3 >/dev/null; grep -E '{names}' /proc/self/status >{tmp_path}/checker.status")
    queue = script("queue", f"cat >/dev/null; cat <&1 >/dev/null; grep -E '{names}' /proc/self/status >{tmp_path}/q")
    session = ofmipd(checker, "x", environ={"QMAILQUEUE": str(queue)}, ignored=[signal.SIGHUP])
    session.reply()
    session.ask(mail.plain(b"joe", b"secret"))
    session.send(mail.whole)
    session.end()
    for name in ("checker.status", "q"):
        blocked, ignored = (int(line.split()[1], 16) for line in sorted((tmp_path / name).read_text().splitlines()))
        assert blocked == 0, name
        # 32 and 33 are glibc's own: its posix_spawn ignores them, in whatever it starts.
        assert ignored & ~(1 << 31 | 1 << 32) == 1 << (signal.SIGHUP - 1), name


def test_a_caller_that_ignores_sigchld(ofmipd, script, mail):
    """Where the kernel collects our children before we do, a yes still is a yes, and a no is no yes."""
    queue = script("queue", "cat >/dev/null; cat <&1 >/dev/null; exit 31")
    session = ofmipd(script("checker", "cat <&3 >/dev/null; exit 1"), "x", ignored=[signal.SIGCHLD])
    session.reply()
    assert session.ask(mail.plain(b"joe", b"secret")).startswith(b"535 ")
    assert session.end().status == 0
    session = ofmipd(ignored=[signal.SIGCHLD], environ={"QMAILQUEUE": str(queue)})
    session.reply()
    session.send(mail.whole)
    *_, reply = [session.reply() for _ in range(5)]
    assert reply == expected(31) + b"\r\n"
    assert session.end().status == 0


# --- the end


def test_an_idle_client(ofmipd, events):
    """A client that says nothing gets a 421, and status 0: that is no wrong password."""
    session = ofmipd(environ={"OFMIPD_TIMEOUT": "0.3"})
    assert session.process.wait(20) == 0
    done = session.end()
    assert done.replies == b"220 mail.example ESMTP\r\n421 4.4.2 timeout\r\n"
    (fields,) = events(done.log)
    assert (fields["event"], fields["reason"]) == (b"session", b"timeout")


def test_a_client_that_does_not_read(ofmipd, tools):
    """A client that asks and asks and never reads an answer is given up."""
    session = ofmipd(environ={"OFMIPD_TIMEOUT": "0.3"})
    os.set_blocking(session.process.stdin.fileno(), False)
    sent = 0
    while session.process.poll() is None and sent < 1 << 26:
        try:
            sent += os.write(session.process.stdin.fileno(), b"NOOP\r\n" * 1000)
        except BlockingIOError:
            time.sleep(0.01)
        except BrokenPipeError:
            break
    assert session.process.wait(tools.patience) == 0
    session.end()


@pytest.mark.parametrize("state", ["idle", "checker", "queue"])
def test_a_signal_ends_session_and_children(ofmipd, script, tmp_path, mail, tools, state):
    """SIGTERM gives the client a 421 and status 111, and takes the checker or the queue program along.

    A queue program has seconds to clean up; a second signal takes them away, and the client gets no word then.
    """
    hang = f"sleep 600 & echo $$ $! >{tmp_path}/pids.new; mv {tmp_path}/pids.new {tmp_path}/pids; wait"
    checker = script("checker", hang if state == "checker" else "exit 0")
    queue = script("queue", f"cat >/dev/null; {hang}")
    session = ofmipd(checker, "x", environ={"QMAILQUEUE": str(queue)})
    session.reply()
    session.send(b"NOOP\r\n" if state == "idle" else mail.plain(b"joe", b"secret") + b"\r\n")
    if state != "checker":
        session.reply()
    if state == "queue":
        session.send(mail.envelope + b"DATA\r\n")
        for _ in range(4):
            session.reply()
        session.send(mail.text + b".\r\n")
    if state != "idle":
        tools.wait_until((tmp_path / "pids").exists, "the program hangs")
    start = time.monotonic()
    session.process.send_signal(signal.SIGTERM)
    if state == "queue":
        time.sleep(0.2)
        session.process.send_signal(signal.SIGTERM)
    assert session.process.wait(tools.patience) == TROUBLE
    assert time.monotonic() - start < 8
    done = session.end()
    if state != "queue":
        assert done.replies.startswith(b"421 4.3.0 ")
        assert done.replies.count(b"\n") == 1
    assert b"250 " not in done.replies
    assert b"signal 15" in done.log
    if state != "idle":
        for pid in (tmp_path / "pids").read_text().split():
            tools.wait_until(lambda pid=pid: not tools.is_alive(pid), "the end of the group")


def test_a_reader_that_is_gone(ofmipd, mail, tmp_path):
    """When nobody reads our answers any more, what was sent whole may be queued, and the status is 0."""
    session = ofmipd(environ={"OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir"})
    session.reply()
    session.process.stdout.close()
    session.send(mail.whole + b"QUIT\r\n")
    session.hang_up()
    assert session.process.wait(20) == 0
    assert not list((tmp_path / "Maildir").glob("tmp/*"))


def test_a_log_that_nobody_reads(ofmipd, mail, tmp_path):
    """A log pipe whose reader is gone does not stop mail."""
    session = ofmipd(environ={"OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir"}, stderr=subprocess.PIPE)
    session.process.stderr.close()
    session.send(mail.whole + b"QUIT\r\n")
    session.hang_up()
    assert session.process.wait(20) == 0
    assert len(list((tmp_path / "Maildir").glob("new/*"))) == 1
