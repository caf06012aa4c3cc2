"""checkpw-log as processes: one line for each login, to standard error or to a syslog, that no login can forge."""

import contextlib
import os
import re
import socket

import pytest

NO, MISUSE, TROUBLE = 1, 2, 111
RIGHT, WRONG = b"joe\0secret\0\0", b"joe\0wrong\0\0"

# A word as it may stand in a line, and a whole line of them.
VALUE = rb'(?:"(?:[^"\\]|\\.)*"|[!-~]+)'
LINE = re.compile(
    rb"checkpw-log: client=(?P<client>%(v)s) pid=(?P<pid>\d+) event=login"
    rb" time=(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) service=(?P<service>%(v)s) login=(?P<login>%(v)s)"
    rb" verdict=(?P<verdict>\w+) reason=(?P<reason>%(v)s) seconds=(?P<seconds>\d+\.\d{3})\n" % {b"v": VALUE}
)


@pytest.fixture
def log(programs, run_chain, script):
    """Give a function that runs checkpw-log around a checker with an ending, and gives how that was."""

    def run(record=RIGHT, *prog, ending="exit 0", environ=None, **state):
        checker = script("checker", f'cat <&3 >/dev/null\nexec 3<&-\n[ "$1" = true ] || exec "$@"\n{ending}')
        settings = {"PATH": f"{programs}:/usr/bin:/bin", **(environ or {})}
        words = [programs / "checkpw-log", checker, *(prog or ["true"])]
        return run_chain(*words, record=record, store=None, environ=settings, **state)

    return run


@pytest.mark.parametrize(
    ("ending", "status", "verdict", "reason"),
    [
        ("exit 0", 0, "accepted", "exit status 0"),
        ("exit 1", NO, "rejected", "exit status 1"),
        ("exit 2", MISUSE, "misused", "exit status 2"),
        ("exit 3", 3, "temporary", "exit status 3"),
        ("exit 111", TROUBLE, "temporary", "exit status 111"),
        ("kill -9 $$", TROUBLE, "temporary", "killed by signal 9"),
    ],
)
def test_each_login_has_a_line(ending, status, verdict, reason, log):
    """The line says who, from where, for what and what became of it; the answer is the checker's."""
    done = log(ending=ending, environ={"TCPREMOTEIP": "192.0.2.7", "CHECKPW_LOG_SERVICE": "pop3"})
    assert (done.status, done.out) == (status, b"")
    line = LINE.fullmatch(done.said).groupdict()
    assert (line["client"], line["service"], line["login"]) == (b"192.0.2.7", b"pop3", b"joe")
    assert (line["verdict"], line["reason"]) == (verdict.encode(), f'"{reason}"'.encode())


def test_the_line_is_there_before_prog_runs(log):
    """With a program there is one line, about the login, and the program's own ending is not in it."""
    done = log(RIGHT, "--", "sh", "-c", "echo prog >&2; exit 1")
    assert done.status == 1
    line, rest = done.said.split(b"\n", 1)
    assert LINE.fullmatch(line + b"\n")["verdict"] == b"accepted"
    assert rest == b"prog\n"


def test_a_checker_that_cannot_be_run_has_a_line(programs, run_chain):
    """Trouble is logged as trouble, besides what standard error says."""
    done = run_chain(programs / "checkpw-log", "/nonexistent", "true", store=None)
    assert done.status == TROUBLE
    line, other = done.said.splitlines(keepends=True)
    assert LINE.fullmatch(line)["verdict"] == b"temporary"
    assert b"No such file or directory" in LINE.fullmatch(line)["reason"]
    assert other.startswith(b"checkpw-log: unable to run")


def test_codes_that_mean_no_are_rejections(log):
    """By a setting other statuses are a no in the line, and are passed on as they are."""
    done = log(ending="exit 3", environ={"CHECKPW_REJECT_CODES": "3 100"})
    assert (done.status, LINE.fullmatch(done.said)["verdict"]) == (3, b"rejected")


@pytest.mark.parametrize(
    ("environ", "client", "service"),
    [
        ({}, b"unknown", b"unknown"),
        ({"TCPREMOTEIP": "192.0.2.7", "TCPLOCALPORT": "587"}, b"192.0.2.7", b"587"),
        ({"TCP6REMOTEIP": "2001:db8::1"}, b"2001:db8::1", b"unknown"),
        ({"TCPREMOTEIP": "a b\n", "CHECKPW_LOG_SERVICE": "x y"}, b'"a b\\x0a"', b'"x y"'),
    ],
)
def test_where_and_for_what(environ, client, service, log):
    """Address and service are those of the environment, where there are any."""
    line = LINE.fullmatch(log(environ=environ).said)
    assert (line["client"], line["service"]) == (client, service)


@pytest.mark.parametrize(
    "login",
    [b"", b"joe smith", b'a" verdict=accepted x="', b"\\", b"x\ncheckpw-log: client=6.6.6.6", b"\xff\r\n", b"l" * 500],
)
def test_no_login_forges_a_line(login, log):
    """Whatever the login is, there is one line, with one value for each field, and no password in it."""
    done = log(login + b"\0pw4711\0\0", ending="exit 1", environ={"TCPREMOTEIP": "192.0.2.7"})
    line = LINE.fullmatch(done.said)
    assert (line["client"], line["verdict"]) == (b"192.0.2.7", b"rejected")
    assert b"pw4711" not in done.said
    assert len(done.said) < 4096


def test_what_is_no_login_has_no_line(log):
    """A malformed record, or one that is too long, has no login in it to be logged."""
    assert LINE.search(log(b"joe").said) is None
    assert LINE.search(log(b"x" * 600).said) is None


def test_a_closed_log_ends_no_login(log):
    """Without anybody to read it the line is lost, and the answer is not."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert log(stderr=writing).status == 0
        assert log(stderr=writing, ending="exit 1").status == NO
    finally:
        os.close(writing)
    assert log(closed=[2]).status == 0


# --- syslog


@pytest.fixture
def syslog(tmp_path):
    """Give a syslog of the test's own: its socket, and the settings for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(30)
        yield server, {"CHECKPW_LOG_TO": "syslog:mail", "CHECKPW_LOG_SOCKET": str(tmp_path / "log")}


SENT = re.compile(rb"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d checkpw-log\[(\d+)\]: (client=.*)")


@pytest.mark.parametrize(("ending", "priority"), [("exit 0", 22), ("exit 1", 21), ("exit 111", 20)])
def test_a_line_to_syslog(ending, priority, log, syslog):
    """It goes there as syslog(3) sends it: mail and info, notice or warning; nothing is left for standard error."""
    server, settings = syslog
    done = log(ending=ending, environ={**settings, "TCPREMOTEIP": "192.0.2.7"})
    assert done.said == b""
    number, pid, text = SENT.fullmatch(server.recv(65536)).groups()
    assert int(number) == priority
    assert LINE.fullmatch(b"checkpw-log: " + text + b"\n")["pid"] == pid


def test_what_syslog_does_not_take_is_said_all_the_same(log, syslog, tmp_path):
    """A syslog that is not there, or that is full, gets no login stuck: the line goes to standard error."""
    server, settings = syslog
    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with filler:
        filler.settimeout(0)
        filler.connect(str(tmp_path / "log"))
        with contextlib.suppress(BlockingIOError):
            while filler.send(b"x"):
                pass
        assert LINE.fullmatch(log(environ=settings).said)
    server.close()
    assert LINE.fullmatch(log(environ=settings).said)
    assert LINE.fullmatch(log(environ={**settings, "CHECKPW_LOG_SOCKET": "/nonexistent/log"}).said)


def test_the_chain_behind_syslog_has_no_socket(log, syslog):
    """PROG does not inherit the way to syslog."""
    _, settings = syslog
    done = log(RIGHT, "--", "sh", "-c", "ls -l /proc/$$/fd", environ=settings)
    assert done.status == 0
    assert b"socket" not in done.out
