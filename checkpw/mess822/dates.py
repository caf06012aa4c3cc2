"""Dates in header fields (RFC 5322 section 3.3), in the form that mess822 gives them."""

import time

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


def format_utc(seconds: float) -> bytes:
    """Return `D Mon YYYY HH:MM:SS -0000` for seconds since 1970; -0000 says nothing about where that was."""
    now = time.gmtime(seconds)
    clock = (now.tm_hour, now.tm_min, now.tm_sec)
    return b"%d %s %d %02d:%02d:%02d -0000" % (now.tm_mday, MONTHS[now.tm_mon - 1], now.tm_year, *clock)


def format_stamp(seconds: float) -> bytes:
    """Return `YYYYMMDDHHMMSS`, the date in a Message-ID."""
    now = time.gmtime(seconds)
    return b"%04d%02d%02d%02d%02d%02d" % now[:6]
