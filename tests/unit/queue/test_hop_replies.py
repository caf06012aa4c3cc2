"""Replies and their limits."""

import pytest

from checkpw.queue import hop_replies
from checkpw.queue.hop_replies import HopFailed, ReplyReader


def read(data, size=None):
    """Give all replies that some bytes are, fed in pieces."""
    reader = ReplyReader()
    found = []
    for at in range(0, len(data), size or len(data)):
        reader.feed(data[at : at + (size or len(data))])
        while (reply := reader.next_reply()) is not None:
            found.append((reply.code, reply.enhanced, reply.text))
    return found, reader


@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 ok\r\n", [(250, b"", b"ok")]),
        (b"250\r\n", [(250, b"", b"")]),
        (b"250 \n", [(250, b"", b"")]),
        (b"250-a\r\n250-b\r\n250 c\r\n", [(250, b"", b"a b c")]),
        (b"250-\r\n250 c\r\n", [(250, b"", b"c")]),
        (b"250 2.1.5 ok\r\n550 5.1.1 no\r\n", [(250, b"2.1.5", b"ok"), (550, b"5.1.1", b"no")]),
        (b"550-5.1.1 no\r\n550-5.1.1 such\r\n550 user\r\n", [(550, b"5.1.1", b"no such user")]),
        (b"550 4.1.1 no\r\n", [(550, b"", b"4.1.1 no")]),
        (b"550 5.1 no\r\n", [(550, b"", b"5.1 no")]),
        (b"550 5.1.1111 no\r\n", [(550, b"", b"5.1.1111 no")]),
        (b"550 5.7.30\r\n", [(550, b"5.7.30", b"")]),
    ],
)
def test_replies(data, replies, size):
    """A reply has one code, and a status only if it fits."""
    found, reader = read(data, size)
    assert found == replies and reader.is_empty


def test_what_is_not_complete():
    """A reply is not one before its last line is whole, and what was not asked for is noticed."""
    for data in (b"2", b"250-a\r\n", b"250 ok\r\n2", b"250 ok"):
        found, reader = read(data)
        assert len(found) == (data == b"250 ok\r\n2") and not reader.is_empty


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"2x0 ok\r\n",
        b"25\r\n",
        b"2500 ok\r\n",
        b"250_ok\r\n",
        b"199 ok\r\n",
        b"600 ok\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\nb\r\n",
        b"\xef\xbc\x92\xef\xbc\x95\xef\xbc\x90 ok\r\n",
        b"250 " + b"x" * hop_replies.MAX_LINE + b"\r\n",
        b"250 " + b"x" * hop_replies.MAX_LINE,
        b"250-x\r\n" * (hop_replies.MAX_LINES + 1),
    ],
)
def test_what_is_no_reply(data):
    """Garbage and what has no end are noticed before they take much memory."""
    with pytest.raises(HopFailed):
        read(data)


def test_limits_are_no_smaller():
    """A reply at the limits is one."""
    assert read(b"250 " + b"x" * (hop_replies.MAX_LINE - 6) + b"\r\n")[0]
    assert read(b"250-x\r\n" * (hop_replies.MAX_LINES - 1) + b"250 x\r\n")[0]
