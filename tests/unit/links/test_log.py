"""The form of a line for syslog, and settings; whole lines are in tests/programs."""

import time

import pytest

from checkpw.errors import TemporaryFailure
from checkpw.links.log import Settings, stamped

LINE = b'checkpw-log: client=192.0.2.1 event=login login="a: b"\n'


@pytest.fixture
def berlin(monkeypatch):
    """Be in Berlin."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_line_for_syslog_is_that_of_the_c_library(berlin):
    """It begins with the local time, a day of one digit has a blank, and the pid stands behind the program."""
    sent = stamped(LINE, 4711, 1780272000.0)
    assert sent == b'Jun  1 02:00:00 checkpw-log[4711]: client=192.0.2.1 event=login login="a: b"'


@pytest.mark.parametrize(
    ("text", "facility"),
    [(b"", None), (b"stderr", None), (b"syslog", 10), (b"syslog:", 10), (b"syslog:mail", 2), (b"syslog:local7", 23)],
)
def test_where_lines_go(text, facility):
    """Standard error, or a facility of syslog."""
    assert Settings({b"CHECKPW_LOG_TO": text}).facility == facility


@pytest.mark.parametrize("text", [b"file", b"syslog:nowhere", b"Syslog", b"syslog/mail"])
def test_nowhere_is_trouble(text):
    """A typing error does not leave logins without a line."""
    with pytest.raises(TemporaryFailure, match="CHECKPW_LOG_TO"):
        Settings({b"CHECKPW_LOG_TO": text})


def test_what_a_login_is_for():
    """The setting counts, else the port, else nobody knows."""
    environ = {b"CHECKPW_LOG_SERVICE": b"imap", b"TCPLOCALPORT": b"143"}
    assert Settings(environ).service == b"imap"
    del environ[b"CHECKPW_LOG_SERVICE"]
    assert Settings(environ).service == b"143"
    assert Settings({}).service == b"unknown"
