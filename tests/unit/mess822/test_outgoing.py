"""A rewritten header as a whole; what becomes of each field stands in tests/transcripts/rewriting_*.txt."""

import pytest

from checkpw.mess822 import dates
from checkpw.mess822.hostrules import HostRules
from checkpw.mess822.outgoing import Stamp, Style, TooManyHops, received_field, rewrite

HERE = b"Received: here\n"


def _rewrite(header, author=None, hops=3, **settings):
    asked = []

    def make(date):
        asked.append(date)
        return b"<made>"

    stamp = Stamp(HERE, dates.utc(1e9), make, b"joe@x", author)
    text = rewrite(header, Style(HostRules(), **{"keeps_groups": False, "hops": hops, **settings}), stamp)
    return text.removeprefix(HERE), asked


MADE = b"Date: 9 Sep 2001 01:46:40 -0000\nMessage-ID: <made>\n"
NOBODY = b"Cc: recipient list not shown: ;\n"


def test_an_empty_header():
    """Date, Message-ID, From and a recipient are made."""
    assert _rewrite(b"") == (MADE + b"From: joe@x\n" + NOBODY, [b"20010909014640"])


def test_a_message_id_is_made_only_where_there_is_none():
    """It has the date of the message; where there is one, no number is used up."""
    date = b"Date: 31 Dec 1999 23:59:00 -0500\n"
    assert _rewrite(date)[1] == [b"19991231235900"]
    assert _rewrite(b"Message-Id: x\n")[1] == []


def test_the_last_date_that_is_one_counts():
    """Dates that are none do not put out one that is."""
    header = b"Date: 1 Jan 2001 1:00 GMT\nDate: 2 Jan 2001 2:00 EST\nDate: soon\n"
    assert _rewrite(header)[0].startswith(b"Date: 2 Jan 2001 02:00:00 -0500\n")


def test_an_author_puts_out_every_from():
    """With a name from name.cdb, a From that came is gone; without one it stays."""
    header = b"From: a@b\nfrom: c@d\n"
    assert b"From: a@b, c@d\n" in _rewrite(header)[0]
    assert _rewrite(header, author=b"Joe")[0] == MADE + b'From: "Joe" <joe@x>\n' + NOBODY


def test_a_group_is_a_recipient():
    """Nothing is made up where somebody is named, be it an empty group."""
    for header in (b"To: g:;\n", b"Cc: g:;\n", b"To: a@b\n"):
        assert NOBODY not in _rewrite(header)[0]
    assert NOBODY in _rewrite(b"Bcc: a@b\nResent-To: c@d\n")[0]


@pytest.mark.parametrize(
    ("header", "is_loop"),
    [
        (b"Received: 1\nReceived: 2\n", False),
        (b"Received: 1\nreceived : 2\nRECEIVED: 3\n", True),
        (b"Received: 1\nDelivered-To: 2\nX-Received: 3\n", False),
    ],
)
def test_hops(header, is_loop):
    """So many Received fields are too many; others are not counted."""
    if is_loop:
        with pytest.raises(TooManyHops):
            _rewrite(header)
    else:
        assert _rewrite(header)[0].startswith(header.partition(b"X-")[0])


TRACES = [
    # login or IDENT, address, what the comment says
    (b"joe", b"192.0.2.1", b"(ofmipd joe@192.0.2.1)"),
    (b"", b"192.0.2.1", b"(ofmipd 192.0.2.1)"),
    (b"joe", b"", b"(ofmipd joe)"),
    (b"", b"", b"(ofmipd)"),
    (b"j@o(e)\\ \n\xe9", b"::1", b"(ofmipd j?o?e?????@::1)"),
]


@pytest.mark.parametrize(("who", "ip", "comment"), TRACES)
def test_the_trace_field(who, ip, comment):
    """Nobody can end the comment or the line by a name."""
    field = received_field(who, ip, b"h(x)", b"ESMTP", b"now")
    assert field == b"Received: " + comment + b" by h?x? with ESMTP; now\n"
