"""Dates in header fields (RFC 822 section 5, RFC 5322 section 3.3), read and written as mess822 does it.

Nothing is looked up in a calendar: 31 Feb 25:61:61 is what it says. Numbers have the sizes that they have in the
original on a 64-bit machine, so that even the absurd comes out the same.
"""

import time

from checkpw.mess822.tokens import is_word, spoken, tokenize

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")

ZONES = {
    b"ut": 0,
    b"gmt": 0,
    b"bst": 60,
    b"cdt": -300,
    b"cet": 60,
    b"cst": -360,
    b"edt": -240,
    b"eet": 120,
    b"est": -300,
    b"hkt": 480,
    b"ist": 120,
    b"jst": 540,
    b"mdt": -360,
    b"met": 60,
    b"metdst": 120,
    b"mst": -420,
    b"pdt": -420,
    b"pst": -480,
}
"""Minutes east of Greenwich. Military zones are not among them: RFC 822 has their signs wrong, so nobody knows."""

_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(MONTHS, 1)}

INT, LONG = 32, 64
"""Bits of the original's numbers."""


class Moment:
    """A date and time of day somewhere.

    Attributes:
        year, month, day, hour, minute, second: as they were said.
        offset: minutes east of Greenwich; None if the time is UTC and nothing is known about the place (-0000).
    """

    __slots__ = ("day", "hour", "minute", "month", "offset", "second", "year")

    def __init__(self, date: tuple[int, int, int], clock: tuple[int, int, int], offset: int | None) -> None:
        self.year, self.month, self.day = date
        self.hour, self.minute, self.second = clock
        self.offset = offset

    def format(self) -> bytes:
        """Return `D Mon YYYY HH:MM:SS +ZZZZ`."""
        clock = b":".join([_pad(self.hour), _pad(self.minute), _pad(self.second)])
        return b"%d %s %d %s %s" % (self.day, MONTHS[self.month - 1], self.year, clock, self._zone())

    def _zone(self) -> bytes:
        if self.offset is None:
            return b"-0000"
        hours, minutes = divmod(abs(self.offset), 60)
        return (b"-" if self.offset < 0 else b"+") + _pad(_wrap(hours, INT)) + _pad(minutes)

    def stamp(self) -> bytes:
        """Return `YYYYMMDDHHMMSS`, the date in a Message-ID."""
        return b"%d" % self.year + b"".join(
            _pad(part) for part in (self.month, self.day, self.hour, self.minute, self.second)
        )


def utc(seconds: float) -> Moment:
    """Return the moment so many seconds after 1970 began."""
    now = time.gmtime(seconds)
    return Moment((now.tm_year, now.tm_mon, now.tm_mday), (now.tm_hour, now.tm_min, now.tm_sec), None)


def parse(text: bytes) -> Moment | None:
    """Return the moment that an unfolded field tells, None if it tells none.

    What stands before the last comma or semicolon is ignored, the day of the week as much as a Received field's
    beginning. Then come day, month, year, hour, minute, a second if a colon says so, a zone, and DST for an hour more.
    """
    words = _words(text)
    if len(words) < 6 or not words[4][1]:
        return None
    day, year, hour, minute = (_number(words[at][0]) for at in (0, 2, 3, 4))
    month = _MONTH_NUMBERS.get(words[1][0].lower())
    if day is None or month is None or year is None or hour is None or minute is None:
        return None
    second: int | None = 0
    rest = words[5:]
    if rest[0][1]:
        second = _number(rest[0][0])
        rest = rest[1:]
    if second is None or not rest:
        return None
    zone = rest[0][0]
    offset = _offset(zone)
    if offset is None:
        return None
    offset += 60 * sum(word.lower() == b"dst" for word, _ in rest[1:])
    clock = (_wrap(hour, INT), _wrap(minute, INT), _wrap(second, INT))
    return Moment((_full_year(year), month, _wrap(day, INT)), clock, None if zone == b"-0000" else offset)


def _words(text: bytes) -> list[tuple[bytes, bool]]:
    """Return the words after the last separator, each with whether a colon stands between it and the one before."""
    words: list[tuple[bytes, bool]] = []
    is_after_colon = False
    for token in tokenize(text):
        if token in (b",", b";"):
            words = []
            is_after_colon = False
        elif token == b":":
            is_after_colon = True
        elif is_word(token):
            words.append((spoken(token), is_after_colon))
            is_after_colon = False
    return words


def _number(word: bytes) -> int | None:
    """Return what a word counts, None if it is no number; no digits at all are 0."""
    digits = word[1:] if word[:1] in (b"+", b"-") else word
    if digits and not digits.isdigit():
        return None
    # The rest is a multiple of 2**64, and Python refuses to read very long numbers.
    number = int(digits[-LONG:] or b"0")
    return _wrap(-number if word[:1] == b"-" else number, LONG)


def _full_year(year: int) -> int:
    """Put the century before a year of two digits, and what a three-digit year of some programs means for one."""
    if year < 50:
        year += 2000
    if year < 999:
        year += 1900
    return year


def _offset(zone: bytes) -> int | None:
    """Return the minutes east of Greenwich that a zone means, None if nobody knows."""
    number = _number(zone)
    if number is None:
        return ZONES.get(zone.lower())
    hours, minutes = divmod(abs(number), 100)
    offset = 60 * hours + minutes
    return offset if number >= 0 else -offset


def _wrap(number: int, bits: int) -> int:
    """Return what is left of a number in a signed one of so many bits."""
    half = 1 << bits - 1
    return (number + half) % (2 * half) - half


def _pad(number: int) -> bytes:
    """Return two digits at least; a sign is not counted."""
    return b"%02d" % number if number >= 0 else b"-%02d" % -number
