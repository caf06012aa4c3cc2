"""ofmipd as a process, at its three doors: clients that are lost in a message, full disks, and what goes through."""

import os
import pathlib
import signal
import socket
import struct
import subprocess

import pytest

TROUBLE = 111


# --- lost clients and full disks, for all doors


@pytest.fixture(params=["qmail", "maildir", "sendmail"])
def door(request, tmp_path, script):
    """Give each door in turn: its settings, and a function that tells what came through it."""

    class Door:
        kind = request.param
        environ: dict

        def __init__(self):
            queue = script(
                "queue",
                f"exec 2>/dev/null; cat >{tmp_path}/part || exit 53; cat <&1 >{tmp_path}/envelope\n"
                f"[ $(tail -c1 {tmp_path}/envelope | wc -c) = 1 ] || exit 54; ln {tmp_path}/part {tmp_path}/queued",
            )
            sendmail = script(
                "sendmail", f"touch {tmp_path}/started; cat >{tmp_path}/part; cp {tmp_path}/part {tmp_path}/queued"
            )
            (tmp_path / "spool").mkdir()
            self.environ = {
                "qmail": {"QMAILQUEUE": str(queue)},
                "maildir": {"OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir"},
                "sendmail": {"OFMIPD_QUEUE": f"sendmail:{sendmail}", "TMPDIR": f"{tmp_path}/spool"},
            }[self.kind]

        def queued(self):
            if self.kind == "maildir":
                return list((tmp_path / "Maildir" / "new").glob("*")) + list((tmp_path / "Maildir" / "cur").glob("*"))
            return list(tmp_path.glob("queued"))

        def left_over(self):
            return [
                *(tmp_path / "Maildir" / "tmp").glob("*"),
                *(tmp_path / "spool").glob("*"),
                *tmp_path.glob("started"),
            ]

    return Door()


def test_a_message_goes_through_each_door(door, ofmipd, mail, events):
    """The doors of the following tests work when nothing is wrong."""
    session = ofmipd(environ=door.environ)
    session.send(mail.whole + b"QUIT\r\n")
    done = session.end()
    assert done.status == 0
    (queued,) = door.queued()
    assert queued.read_bytes().endswith(mail.text.replace(b"\r\n", b"\n"))
    assert [fields["result"] for fields in events(done.log, "message")] == [b"queued"]


PARTS = {
    "after DATA": b"DATA\r\n",
    "in the header": b"DATA\r\nSubject: x",
    "in a long body": b"DATA\r\nSubject: x\r\n\r\n" + b"y" * 70 + b"\r\n" * 50000,
    "before the dot": b"DATA\r\nSubject: x\r\n\r\nbody\r\n",
    "at the dot": b"DATA\r\nSubject: x\r\n\r\nbody\r\n.",
    "in the last CRLF": b"DATA\r\nSubject: x\r\n\r\nbody\r\n.\r",
    "after LF dot LF": b"DATA\r\nSubject: x\n\nbody\n.\n",
    "in a chunk": b"BDAT 1000 LAST\r\nSubject: x\r\n\r\nbody\r\n",
    "before the last octet": b"BDAT 10 LAST\r\nSubject: ",
    "between chunks": b"BDAT 14\r\nSubject: x\r\n\r\n",
    "in a second chunk": b"BDAT 14\r\nSubject: x\r\n\r\nBDAT 100 LAST\r\nbody",
    "RSET between chunks": b"BDAT 14\r\nSubject: x\r\n\r\nRSET\r\nNOOP\r\n",
    "QUIT between chunks": b"BDAT 14\r\nSubject: x\r\n\r\nQUIT\r\n",
}


@pytest.mark.parametrize("part", PARTS)
def test_a_client_that_goes_away_leaves_nothing(door, ofmipd, mail, events, part):
    """Whatever is missing of a message, nothing of it is queued, nothing is left behind, and the log says so."""
    session = ofmipd(environ=door.environ)
    session.send(mail.envelope + PARTS[part])
    done = session.end()
    assert done.status == 0
    assert done.replies.count(b"\r\n250 2.0.0 ok") == (part == "RSET between chunks")
    assert not door.queued()
    assert not door.left_over()
    assert [fields["result"] for fields in events(done.log, "message")] == [b"aborted"]


@pytest.mark.parametrize("part", ["in a long body", "in a chunk", "at the dot"])
def test_a_connection_that_is_reset_leaves_nothing(door, start, programs, mail, tools, part):
    """A TCP reset in the middle of a message is a way to go like any other: status 0, and nothing is queued."""
    environ = {"PATH": "/usr/bin:/bin", "TCPREMOTEIP": "192.0.2.7", "RELAYCLIENT": "", "OFMIPD_QMAIL": "/nonexistent"}
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            process = start([programs / "ofmipd", "", "h"], {**environ, **door.environ}, stdin=server, stdout=server)
        client.sendall(mail.envelope + PARTS[part])
        answer = b""
        while answer.count(b"\n") < (5 if part != "in a chunk" else 4):
            answer += client.recv(4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _, log = process.communicate(timeout=tools.patience)
    assert (process.returncode, b"result=aborted" in log) == (0, True)
    assert not door.queued()
    assert not door.left_over()


def test_a_client_that_falls_silent_leaves_nothing(door, ofmipd, mail, events):
    """A timeout in the middle of a message is a 421 and status 0, and nothing is queued."""
    for part in ("in a long body", "in a chunk"):
        session = ofmipd(environ={**door.environ, "OFMIPD_TIMEOUT": "0.3"})
        session.send(mail.envelope + PARTS[part])
        assert session.process.wait(20) == 0
        done = session.end()
        assert done.replies.endswith(b"\r\n421 4.4.2 timeout\r\n")
        assert not door.queued()
        assert not door.left_over()
        assert events(done.log, "session")[0]["reason"] == b"timeout"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_message_leaves_nothing(door, ofmipd, mail, number, tools):
    """SIGTERM in the middle of a message is a 421 and status 111, and nothing is queued."""
    session = ofmipd(environ=door.environ)
    session.send(mail.envelope + PARTS["in a long body"])
    for _ in range(5):
        session.reply()
    tools.wait_until(lambda: tools.unread(session.process.stdin.fileno()) == 0, "all was read")
    session.process.send_signal(number)
    assert session.process.wait(tools.patience) == TROUBLE
    done = session.end()
    assert done.replies.startswith(b"421 4.3.0 ")
    assert done.replies.count(b"\n") == 1
    assert not door.queued()
    assert not door.left_over()


def test_a_file_that_may_not_grow(door, submit, mail, events):
    """A disk that is full, here RLIMIT_FSIZE, gives 452 or 451; nothing is queued, and the session goes on."""
    large = mail.whole.replace(b"body\r\n", b"body, and so on\r\n" * 10000)
    done = submit(message=large, environ=door.environ, limits={"RLIMIT_FSIZE": (8192, 8192)})
    assert done.reply[:3] in ((b"452",) if door.kind != "qmail" else (b"451", b"452"))
    assert done.replies[-1].startswith(b"221 ")
    assert done.status == 0
    assert not door.queued()
    assert not door.left_over()
    assert events(done.log, "message")[0]["result"] == b"refused"


@pytest.mark.parametrize("lines", [20000, 1])
def test_a_full_disk(ofmipd, script, mail, root, refuse, public, lines):
    """On a file system without room a message is refused with 452 and leaves nothing, the smallest one too."""
    steps = [
        f"mount -t tmpfs -o size=32k,nr_inodes=20 none {public}",
        f"mkdir {public}/M {public}/M/new {public}/M/tmp {public}/M/cur",
        f"{{ head -c 100000 /dev/zero >{public}/fill 2>/dev/null; true; }}",
        'exec "$@"',
    ]
    words = ["unshare", "--mount", "sh", "-c", " && ".join(steps), "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        refuse("not run: a small tmpfs, unshare and mount are not allowed here")
    sendmail = script("sendmail", f"touch {public}/started; cat >/dev/null")
    for url in (f"maildir:{public}/M", f"sendmail:{sendmail}"):
        session = ofmipd(environ={"OFMIPD_QUEUE": url, "TMPDIR": str(public)}, prefix=words)
        session.reply()
        session.send(mail.whole.replace(b"body\r\n", b"body, and so on\r\n" * lines))
        assert [session.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
        assert session.reply().startswith(b"452 4.3.1 ")
        inside = pathlib.Path(f"/proc/{session.pid}/root{public}")
        assert (inside / "fill").stat().st_size > 0
        assert not [*(inside / "M" / "new").iterdir(), *(inside / "M" / "tmp").iterdir()]
        assert not (inside / "started").exists()
        assert session.ask(b"QUIT").startswith(b"221 ")
        assert session.end().status == 0


# --- maildir and sendmail


def test_what_maildir_holds(submit, tmp_path):
    """One file of mode 600 in new, with the envelope in front of the message; the directories are made."""
    done = submit(f"maildir:{tmp_path}/a Maildir")
    assert done.reply == b"250 2.0.0 ok\r\n"
    assert sorted(path.name for path in (tmp_path / "a Maildir").iterdir()) == ["cur", "new", "tmp"]
    (path,) = (tmp_path / "a Maildir").glob("*/*")
    assert path.parent.name == "new"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.name.endswith(".mail.example")
    assert path.read_bytes().startswith(
        b"Return-Path: <a@client.example>\nDelivered-To: b@there.example\nDelivered-To: c@there.example\nReceived: "
    )


def test_a_maildir_that_cannot_be_written(submit, tmp_path):
    """A path that leads nowhere is a 451 to the message, and the session goes on."""
    (tmp_path / "file").touch()
    for place in ("nowhere/at/all", "file", "file/below"):
        done = submit(f"maildir:{tmp_path}/{place}")
        assert (done.reply[:4], done.status) == (b"451 ", 0), place


def test_what_sendmail_gets(ofmipd, recorder, extra):
    """argv is exact and after `--` nothing is an option; the message is its input; no descriptor of ours is open."""
    sendmail, notes = recorder("sendmail", "read(0)")
    session = ofmipd(environ={"OFMIPD_QUEUE": f"sendmail:{sendmail}"}, descriptors=extra)
    header = b"Date: 1 Jan 2026 00:00:00 -0000\r\nMessage-ID: <1@x>\r\n\r\n"
    session.send(
        b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<-bs@x>\r\nRCPT TO:<|c d@x>\r\nDATA\r\n"
        + header
        + b"..\r\nt\r\n.\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<-t@>\r\nDATA\r\n" + header + b".\r\nMAIL FROM:<-bs@x>\r\nRCPT TO:<b@x>\r\n"
        b"BDAT 3 LAST\r\nx: QUIT\r\n"
    )
    done = session.end()
    assert done.status == 0
    first, second, third = notes()
    name = os.fsencode(sendmail)
    assert first["argv"] == [name, b"-i", b"-f", b"a@x", b"--", b"b@x", b"-bs@x", b'"|c d"@x']
    assert second["argv"] == [name, b"-i", b"-f", b"<>", b"--", b"-t@"]
    assert third["argv"] == [name, b"-i", b"-f", b"-bs@x", b"--", b"b@x"]
    assert first["read"][0].partition(b"\n")[2] == (
        b"Date: 1 Jan 2026 00:00:00 -0000\nMessage-ID: <1@x>\nFrom: a@x\nCc: recipient list not shown: ;\n\n.\nt\n"
    )
    assert sorted(first["descriptors"]) == [0, 1, 2]
    assert first["descriptors"][1] == "/dev/null"
    assert first["descriptors"][0].endswith("(deleted)")
    assert b"LC_CTYPE" not in first["environ"]


def test_every_exit_status_of_sendmail(ofmipd, script, mail):
    """The permanent ones of sysexits.h are 554, everything else that is not 0 is 451."""
    permanent = {64: b"5.3.0", 65: b"5.6.0", 66: b"5.3.0", 67: b"5.1.1", 68: b"5.1.2", 77: b"5.7.0"}
    sendmail = script("sendmail", "exit $(sed -n 's/^Subject: //p')")
    session = ofmipd(environ={"OFMIPD_QUEUE": f"sendmail:{sendmail}", "OFMIPD_ERRORS": "1000"})
    session.reply()
    for status in (0, 1, 2, *range(64, 79), 100, 111, 127, 255):
        session.send(mail.whole.replace(b"a test", b"%d" % status))
        *_, reply = [session.reply() for _ in range(5)]
        if status in permanent:
            assert reply.startswith(b"554 " + permanent[status] + b" "), status
        else:
            assert reply.startswith(b"451 4.3.0 " if status else b"250 2.0.0 "), status
    assert session.end().status == 0


def test_a_sendmail_in_trouble(submit, script, tmp_path, tools):
    """Missing, killed, hanging, or not reading: each is a 451, and what hangs is killed with its group."""
    text = f"sleep 600 & echo $$ $! >{tmp_path}/pids; wait"
    for name, program in (("killed", "kill -9 $$"), ("hangs", text), ("text", None)):
        script(name, program or "exit 0", first_line="" if program is None else "#!/bin/sh")
    for name in ("missing", "killed", "hangs", "text"):
        done = submit(f"sendmail:{tmp_path}/{name}", environ={"OFMIPD_QUEUE_TIMEOUT": "1"})
        assert (done.reply[:10], done.status) == (b"451 4.3.0 ", 0), name
    for pid in (tmp_path / "pids").read_text().split():
        tools.wait_until(lambda pid=pid: not tools.is_alive(pid), "the end of the group")


def test_a_spool_that_is_not_there(submit, script, tmp_path):
    """Without a directory for the spool file the message is refused, and sendmail is not started."""
    sendmail = script("sendmail", f"touch {tmp_path}/started; cat >/dev/null")
    done = submit(f"sendmail:{sendmail}", environ={"TMPDIR": f"{tmp_path}/nowhere"})
    assert (done.reply[:4], done.status) == (b"452 ", 0)
    assert not (tmp_path / "started").exists()
