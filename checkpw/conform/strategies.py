"""Strategies of hypothesis for what goes to a checkpassword program: for the kit, and for tests of other projects."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from checkpw.conform.accounts import MAX_RECORD, record
from checkpw.conform.dialogues import (
    any_bytes,
    badly_padded,
    cancelled,
    malformed_attempts,
    not_base64,
    over_long,
    pop3_attempts,
    pop3_over_long,
    pop3_refused,
    smtp_attempts,
    with_foreign_identity,
    with_line_end,
    with_nul,
    wrong_shapes,
)

__all__ = [
    "ODD_VARIABLES",
    "any_bytes",
    "arguments",
    "badly_padded",
    "cancelled",
    "credentials",
    "environments",
    "fields",
    "logins",
    "malformed_attempts",
    "malformed_records",
    "not_base64",
    "over_long",
    "oversized_records",
    "pieces",
    "pop3_attempts",
    "pop3_over_long",
    "pop3_refused",
    "records",
    "smtp_attempts",
    "timestamps",
    "with_foreign_identity",
    "with_line_end",
    "with_nul",
    "wrong_shapes",
]

NAMES_OF_LOCALES = (b"LANG", b"LC_ALL", b"LC_CTYPE", b"TZ", b"TERM", b"PWD", b"OLDPWD", b"SHLVL", b"_", b"MAIL")

LOCALES = (b"C", b"POSIX", b"C.UTF-8", b"de_DE.ISO-8859-1", b"", b"no_SUCH")


ODD_VARIABLES = {
    b"x": b"",
    b"X Y": b" ",
    b"X\xff": b"\xff\n",
    b"X\n": b"=",
    b"X-Y": b"a=b",
    b"BASH_FUNC_x%%": b"() { :; }",
    b"IFS": b"x",
    b"CDPATH": b"/",
    b"TCPREMOTEIP": b"192.0.2.7",
    b"PROTO": b"TCP",
    b"LOGNAME": b"of-the-caller",
    b"LC_ALL": b"C",
    b"LC_CTYPE": b"C.UTF-8",
}
"""Variables that programs drop, change or trip over, all at once."""


def fields(min_size: int = 0, max_size: int = 60) -> SearchStrategy[bytes]:
    """Give bytes that one field can hold: any but NUL, often letters, and often what programs trip over.

    Args:
        min_size: in bytes.
        max_size: in bytes.
    """
    letters = st.text("abcxyzABC019.-_@ ", min_size=min_size, max_size=max_size).map(str.encode)
    anything = st.lists(st.integers(1, 255), min_size=min_size, max_size=max_size).map(bytes)
    odd = st.sampled_from(
        (b"\n", b"\r\n", b" ", b"%s%n", b"'", b'"$(id)', b"--", b"\xff\xfe", b"\xc3\xa9", b":", b"\\0")
    )
    return st.one_of(letters, anything, odd.filter(lambda one: min_size <= len(one) <= max_size))


def logins() -> SearchStrategy[bytes]:
    """Give logins: not empty, without NUL."""
    return fields(1, 40)


def credentials() -> SearchStrategy[tuple[bytes, bytes]]:
    """Give pairs of login and password, neither of them empty, that fit into one record."""
    return st.tuples(logins(), fields(1, 60))


def timestamps(room: int = 60) -> SearchStrategy[bytes]:
    """Give third fields.

    Args:
        room: how many bytes there are for it.
    """
    apop = st.from_regex(rb"<[0-9]{1,5}\.[0-9]{1,10}@[a-z]{1,9}>", fullmatch=True)
    return st.one_of(fields(0, min(60, room)), apop.filter(lambda one: len(one) <= room))


def records(login: bytes, password: bytes) -> SearchStrategy[bytes]:
    """Give well-formed records of a login: three fields, any timestamp, and now and then more after it."""
    room = MAX_RECORD - len(record(login, password))
    more = st.one_of(st.just(b""), st.binary(max_size=min(40, room)))
    return st.tuples(timestamps(room), more).map(
        lambda parts: (
            record(login, password, parts[0])[: MAX_RECORD - len(parts[1])] + parts[1]
            if len(record(login, password, parts[0])) + len(parts[1]) <= MAX_RECORD
            else record(login, password, parts[0])
        )
    )


def malformed_records(login: bytes, password: bytes) -> SearchStrategy[bytes]:
    """Give what is no record, though it may hold a good login: nothing, or a login or a password without its NUL."""
    cut = st.integers(0, len(login) + 1 + len(password)).map(lambda size: record(login, password)[:size])
    return st.one_of(cut, fields(0, MAX_RECORD), st.tuples(fields(0, 60), fields(0, 60)).map(b"\0".join))


def oversized_records(login: bytes, password: bytes) -> SearchStrategy[bytes]:
    """Give records of more than 512 bytes that hold a good login, most of them just above that."""
    begin = record(login, password)[:-1]
    size = st.one_of(st.integers(MAX_RECORD + 1, MAX_RECORD + 20), st.integers(MAX_RECORD + 1, 70000))
    kinds = st.sampled_from((b"t", b"\0", b"\xff"))
    return st.tuples(size, kinds).map(lambda parts: begin + parts[1] * (parts[0] - len(begin)))


def pieces(whole: bytes) -> SearchStrategy[tuple[bytes, ...]]:
    """Give ways to cut bytes into pieces, none of them empty."""
    cuts = st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=12).map(sorted)
    return cuts.map(lambda at: tuple(whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True) if a < b))


def arguments() -> SearchStrategy[tuple[bytes, ...]]:
    """Give arguments of a program: empty ones, ones with spaces and newlines, bytes that are no UTF-8."""
    known = st.sampled_from(
        (b"", b" ", b"a b", b"a\nb", b"\n", b"--", b"-x", b"--help", b"true", b"*", b"$HOME", b"\xff")
    )
    return st.lists(st.one_of(known, fields(0, 30)), max_size=6).map(tuple)


def environments() -> SearchStrategy[dict[bytes, bytes]]:
    """Give variables that mean nothing to a checkpassword program, and that it has to hand on."""
    plain = st.from_regex(rb"X_[A-Z0-9_]{1,8}", fullmatch=True)
    odd = st.sampled_from(sorted(ODD_VARIABLES))
    locale = st.tuples(st.sampled_from(NAMES_OF_LOCALES), st.sampled_from(LOCALES))
    given = st.tuples(st.sampled_from((b"USER", b"HOME", b"SHELL")), st.sampled_from((b"", b"/old", b"root")))
    any_pair = st.tuples(st.one_of(plain, odd), st.one_of(st.just(b"="), fields(0, 30)))
    return st.lists(st.one_of(any_pair, locale, given), max_size=6).map(dict)
