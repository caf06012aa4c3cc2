"""Replies that are counted, up to the last; and those of a server to a line that came in pieces."""

import pytest

from checkpw.conform.calling.dialogue import Client, Kind, Language, Reply
from checkpw.conform.calling.lasting import MOST_REPLIES, is_one_line, to_end
from checkpw.conform.calling.session import Closed, Silent


class Scripted:
    """A session whose server says what a test wants, whatever it is told."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.sent = []

    def send(self, data):
        """Keep it."""
        self.sent.append(data)

    def line(self, patience):
        """Give the next line."""
        if not self.lines:
            raise Closed
        if self.lines[0] is None:
            raise Silent
        return self.lines.pop(0) + b"\r\n"


@pytest.mark.parametrize(
    ("language", "lines", "codes", "sent"),
    [
        ("SMTP", (b"250 x", b"221 x"), [250, 221], 2),
        ("SMTP", (b"501 x", b"250 x", b"221 x", b"500 never"), [501, 250, 221], 2),
        ("SMTP", (b"250 x",), [250, 0], 2),
        ("SMTP", (), [0], 1),
        ("SMTP", (None,), [0], 1),
        ("SMTP", (b"250 x", b"500 x", None), [250, 500, 0], 2),
        ("SMTP", (b"250 x",) * 20, [250] * MOST_REPLIES, 2),
        ("POP3", (b"-ERR x", b"+OK x", b"+OK never"), [0, 0], 2),
    ],
)
def test_replies_to_the_end(language, lines, codes, sent):
    """One to each line, and with SMTP whatever is too much before the farewell."""
    session = Scripted(*lines)
    told = to_end(Client(session, Language[language], 1.0), (b"NOOP", b"QUIT"))
    assert [reply.code for reply in told] == codes
    assert len(session.sent) == sent


def _replies(text):
    kinds = {"2": Kind.YES, "3": Kind.MORE, "4": Kind.LATER, "5": Kind.NO, "-": Kind.CLOSED, "?": Kind.SILENT}
    return [Reply(kinds[one], ()) for one in text]


@pytest.mark.parametrize(
    ("told", "is_one"),
    [
        ("522", True),
        ("422", True),
        ("5-", True),
        ("-", True),
        ("52-", True),
        ("5222", False),
        ("222", False),
        ("322", False),
        ("?", False),
        ("5522", False),
    ],
)
def test_a_line_that_is_refused_once(told, is_one):
    """A refusal, and then no more replies than there were lines; the connection may be closed at any time."""
    assert is_one_line(_replies(told), 2, Language.SMTP) is is_one


def test_a_line_of_pop3_that_is_refused():
    """There the first reply decides."""
    assert is_one_line(_replies("52"), 1, Language.POP3)
    assert is_one_line(_replies("-"), 1, Language.POP3)
    assert not is_one_line(_replies("22"), 1, Language.POP3)
