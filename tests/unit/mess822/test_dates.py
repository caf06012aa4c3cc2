"""Dates: every form that is understood, what it becomes, and what is no date."""

import pytest

from checkpw.mess822.dates import MONTHS, ZONES, parse, utc

FORMS = [
    # text, as it is written
    (b"Mon, 1 Jan 2001 10:00:00 +0000", b"1 Jan 2001 10:00:00 +0000"),
    (b"01 Jan 2001 1:2:3 +0000", b"1 Jan 2001 01:02:03 +0000"),
    # seconds may be missing
    (b"1 Jan 2001 10:00 +0000", b"1 Jan 2001 10:00:00 +0000"),
    # day of the week and all that stands before the last comma or semicolon
    (b"1 Jan 2001 10:00:00 GMT", b"1 Jan 2001 10:00:00 +0000"),
    (b"whatever, and more; 1 Jan 2001 10:00 GMT", b"1 Jan 2001 10:00:00 +0000"),
    (b"from x by y; Mon, 1 Jan 2001 10:00 GMT", b"1 Jan 2001 10:00:00 +0000"),
    # comments and blanks anywhere
    (b"(a) 1(b)Jan (c) 2001\t10 : 00 :(d) 00 GMT (Greenwich)", b"1 Jan 2001 10:00:00 +0000"),
    # months in any case
    (b"1 jAN 2001 10:00 GMT", b"1 Jan 2001 10:00:00 +0000"),
    # years of two and three digits
    (b"1 Jan 00 10:00 GMT", b"1 Jan 2000 10:00:00 +0000"),
    (b"1 Jan 49 10:00 GMT", b"1 Jan 2049 10:00:00 +0000"),
    (b"1 Jan 50 10:00 GMT", b"1 Jan 1950 10:00:00 +0000"),
    (b"1 Jan 99 10:00 GMT", b"1 Jan 1999 10:00:00 +0000"),
    (b"1 Jan 100 10:00 GMT", b"1 Jan 2000 10:00:00 +0000"),
    (b"1 Jan 126 10:00 GMT", b"1 Jan 2026 10:00:00 +0000"),
    (b"1 Jan 998 10:00 GMT", b"1 Jan 2898 10:00:00 +0000"),
    (b"1 Jan 999 10:00 GMT", b"1 Jan 999 10:00:00 +0000"),
    (b"1 Jan 10000 10:00 GMT", b"1 Jan 10000 10:00:00 +0000"),
    # leap seconds, and what is in no calendar
    (b"31 Dec 1998 23:59:60 GMT", b"31 Dec 1998 23:59:60 +0000"),
    (b"31 Feb 2001 25:61:99 GMT", b"31 Feb 2001 25:61:99 +0000"),
    # zones
    (b"1 Jan 2001 10:00 -0000", b"1 Jan 2001 10:00:00 -0000"),
    (b"1 Jan 2001 10:00 +0530", b"1 Jan 2001 10:00:00 +0530"),
    (b"1 Jan 2001 10:00 -0330", b"1 Jan 2001 10:00:00 -0330"),
    (b"1 Jan 2001 10:00 0100", b"1 Jan 2001 10:00:00 +0100"),
    (b"1 Jan 2001 10:00 +0099", b"1 Jan 2001 10:00:00 +0139"),
    (b"1 Jan 2001 10:00 -5", b"1 Jan 2001 10:00:00 -0005"),
    (b"1 Jan 2001 10:00 est", b"1 Jan 2001 10:00:00 -0500"),
    (b"1 Jan 2001 10:00 METDST", b"1 Jan 2001 10:00:00 +0200"),
    (b"1 Jan 2001 10:00 +0000 (CET)", b"1 Jan 2001 10:00:00 +0000"),
    # DST makes it an hour more, each time, and nothing else behind the zone counts
    (b"1 Jan 2001 10:00 MET DST", b"1 Jan 2001 10:00:00 +0200"),
    (b"1 Jan 2001 10:00 EST dst DST", b"1 Jan 2001 10:00:00 -0300"),
    (b"1 Jan 2001 10:00 EST summer", b"1 Jan 2001 10:00:00 -0500"),
    (b"1 Jan 2001 10:00 -0000 DST", b"1 Jan 2001 10:00:00 -0000"),
    # numbers that are none: signs alone, nothing, too large for 32 or 64 bits
    (b'"" Jan + 10:- ""', b"0 Jan 2000 10:00:00 +0000"),
    (b"-3 Jan 2001 -1:-2:-3 GMT", b"-3 Jan 2001 -01:-02:-03 +0000"),
    (b"4294967297 Jan 2001 10:00 GMT", b"1 Jan 2001 10:00:00 +0000"),
    (b"1 Jan 18446744073709551616 10:00 GMT", b"1 Jan 2000 10:00:00 +0000"),
    (b"1 Jan 1%s 10:00 GMT" % (b"0" * 9000), b"1 Jan 2000 10:00:00 +0000"),
]


@pytest.mark.parametrize(("text", "written"), FORMS, ids=lambda value: ascii(value)[:60])
def test_forms(text, written):
    """Each form is understood, and comes out in one."""
    moment = parse(text)
    assert moment is not None
    assert moment.format() == written


NO_DATES = [
    b"",
    b"yesterday",
    b"1 Jan 2001",
    b"1 Jan 2001 10 GMT",
    b"1 Jan 2001 10:00",
    b"1 Jan 2001 10:00:00",
    b"1 Jan 2001 10.00.00 GMT",
    b"Mon 1 Jan 2001 10:00 GMT",
    b"Jan 1 2001 10:00 GMT",
    b"1 January 2001 10:00 GMT",
    b"1 13 2001 10:00 GMT",
    b"1-Jan-2001 10:00 GMT",
    b"1 Jan 2001 10:00 GMT,",
    b"1 Jan 2001 10:00 Z",
    b"1 Jan 2001 10:00 A",
    b"1 Jan 2001 10:00 UTC",
    b"1 Jan 2001 10:00 GMT+0100",
    b"1 Jan 2001 10:00 +0x",
    b"1 Jan x 10:00 GMT",
    b"1x Jan 2001 10:00 GMT",
    b"1 Jan 2001 10:00:xx GMT",
    b"\xd9\xa1 Jan 2001 10:00 GMT",
]


@pytest.mark.parametrize("text", NO_DATES)
def test_no_dates(text):
    """These are no dates: military zones among them, and zones that nobody can tell apart."""
    assert parse(text) is None


@pytest.mark.parametrize("name", ZONES)
def test_named_zones(name):
    """Each named zone is what it is, in any case."""
    for zone in (name, name.upper()):
        hours, minutes = divmod(abs(ZONES[name]), 60)
        sign = b"-" if ZONES[name] < 0 else b"+"
        assert parse(b"1 Jan 2001 10:00 " + zone).format().endswith(b" %s%02d%02d" % (sign, hours, minutes))


def test_months():
    """Each month is its own."""
    for name in MONTHS:
        assert parse(b"1 %s 2001 10:00 GMT" % name).format() == b"1 %s 2001 10:00:00 +0000" % name


def test_now():
    """The clock's seconds are UTC, from nowhere in particular; a stamp is digits alone."""
    moment = utc(1_000_000_000)
    assert moment.format() == b"9 Sep 2001 01:46:40 -0000"
    assert moment.stamp() == b"20010909014640"
    assert parse(b"31 Dec 998 1:2:3 EST").stamp() == b"28981231010203"
