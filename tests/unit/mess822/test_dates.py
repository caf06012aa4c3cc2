"""Dates as mess822 writes them."""

import calendar

import pytest

from checkpw.mess822.dates import format_stamp, format_utc

TIMES = [
    (0, b"1 Jan 1970 00:00:00 -0000", b"19700101000000"),
    (951782400, b"29 Feb 2000 00:00:00 -0000", b"20000229000000"),
    (1_000_000_000.999, b"9 Sep 2001 01:46:40 -0000", b"20010909014640"),
    (1735689599, b"31 Dec 2024 23:59:59 -0000", b"20241231235959"),
    (253402300799, b"31 Dec 9999 23:59:59 -0000", b"99991231235959"),
]


@pytest.mark.parametrize(("seconds", "date", "stamp"), TIMES)
def test_dates(seconds, date, stamp):
    """The day has no zero in front, the time has, and the zone says nothing."""
    assert format_utc(seconds) == date
    assert format_stamp(seconds) == stamp


@pytest.mark.parametrize("month", range(1, 13))
def test_months(month):
    """Every month has its English name, whatever the locale."""
    name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month - 1]
    assert format_utc(calendar.timegm((2026, month, 15, 0, 0, 0))) == f"15 {name} 2026 00:00:00 -0000".encode()
