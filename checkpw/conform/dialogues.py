"""Strategies for hypothesis: what clients of SMTP and POP3 say to log in, well formed and not, for any server's tests.

Each gives `Attempt` values: the lines to send, and the fields that a checkpassword program must find on descriptor 3,
none where it must not be called at all.
"""

import base64

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from checkpw.conform import attempts
from checkpw.conform.attempts import Attempt

NASTY = (
    *(b"joe", b"Joe", b"JOE", b"joe@example.com", b"joe+ext@example.com", b"a" * 64, b"*", b"=", b".", b"-s", b"--"),
    *(b"%s%n", b"$(id)", b"`id`", b"a;b", b"'", b'"', b"\\", b"\\0", b"\t", b"\x7f", b"\x1b[2J", b"joe:x", b"joe,x"),
    *(b"\xc3\xa9", b"e\xcc\x81", b"\xe2\x80\x8b", b"\xf0\x9f\x94\x91", b"QUIT", b"am9l", b"true", b"/etc/passwd"),
)
"""Values that some program takes for something else than bytes. All are UTF-8, and none has a space in it."""

SPACED = (b" ", b" joe", b"joe ", b"two words", b"two  spaces", b"\tjoe\t", b" * ", b" = ")

KNOWN = (*NASTY, *SPACED)

IN_A_LINE = 120  # bytes of one field, so that a command line has at most 512 octets (RFC 5321 section 4.5.3.1.4)

_ALPHABET = st.characters(codec="utf-8", exclude_characters="\0\r\n")
_VISIBLE = st.characters(codec="utf-8", exclude_characters="\0\r\n ", exclude_categories=["Z", "C"])


def fields(longest: int = IN_A_LINE) -> SearchStrategy[bytes]:
    """Return a login or password as SASL PLAIN has it: UTF-8, not empty, without NUL; and without CR and LF."""
    drawn = st.text(_ALPHABET, min_size=1, max_size=longest // 4).map(str.encode)
    return st.one_of(st.sampled_from(KNOWN), drawn)


def any_bytes(longest: int = IN_A_LINE) -> SearchStrategy[bytes]:
    """Return a login or password that need not be UTF-8; without NUL, CR and LF."""
    high = st.binary(min_size=1, max_size=longest).map(lambda text: text.translate(None, b"\0\r\n") or b"\xff")
    return st.one_of(st.sampled_from((b"\xff", b"\xe9", b"jos\xe9", b"\xc3", b"\xed\xa0\x80")), high)


def pop3_fields(longest: int = 40) -> SearchStrategy[bytes]:
    """Return an argument of USER or PASS without a space; RFC 1939 allows 40 characters."""
    drawn = st.text(_VISIBLE, min_size=1, max_size=longest // 4).map(str.encode)
    return st.one_of(st.sampled_from([word for word in NASTY if len(word) <= longest]), drawn)


def digests() -> SearchStrategy[bytes]:
    """Return what looks like an MD5 digest in lower case hexadecimal."""
    return st.binary(min_size=16, max_size=16).map(lambda digest: digest.hex().encode())


# --- attempts that a checker must be asked about


def smtp_attempts() -> SearchStrategy[Attempt]:
    """Return well formed attempts to log in by SMTP, in each way that sends a password in clear."""
    return st.builds(lambda way, login, password: way(login, password), st.sampled_from(attempts.SMTP_WAYS), *_PAIR)


def pop3_attempts() -> SearchStrategy[Attempt]:
    """Return well formed attempts to log in by USER and PASS."""
    return st.builds(attempts.user_pass, pop3_fields(), pop3_fields())


# --- attempts that no checker must be asked about


def with_nul() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP with a NUL in the login or the password: on descriptor 3 it would begin a field."""
    pieces = st.sampled_from((b"", b"x", b"pw", b"\0"))
    dirty = st.builds(lambda before, after: before + b"\0" + after, st.sampled_from((b"", b"bob")), pieces)
    clean = st.sampled_from((b"joe", b"x"))
    by_login = [
        st.builds(way, *pair)
        for way in (attempts.login, attempts.login_initial)
        for pair in ((dirty, clean), (clean, dirty))
    ]
    ways = (attempts.plain, attempts.plain_asked)
    by_plain = [st.builds(way, clean, dirty) for way in ways]
    return st.one_of(*by_login, *by_plain).map(refused)


def with_line_end() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP with CR or LF in the login or the password."""
    end = st.sampled_from((b"\n", b"\r", b"\r\n"))
    dirty = st.builds(lambda before, end, after: before + end + after, _SHORT, end, _SHORT)
    clean = st.sampled_from((b"joe", b"x"))
    pairs = ((dirty, clean), (clean, dirty))
    return st.one_of(*(st.builds(way, *pair) for way in attempts.SMTP_WAYS for pair in pairs)).map(refused)


def empty() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP without a login or without a password."""
    pairs = ((b"", b"secret"), (b"joe", b""), (b"", b""))
    return st.sampled_from(
        [refused(way(*pair)) for way in attempts.SMTP_WAYS for pair in pairs if pair[0] or _asks(way)]
    )


def not_base64() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP whose response has a character outside the alphabet, or `=` elsewhere than at its end."""
    whole = st.builds(lambda login, password: base64.b64encode(b"\0" + login + b"\0" + password), *_PAIR_SHORT)
    foreign = st.sampled_from((*(b"=",) * 8, b"!", b"-", b"_", b"*", b".", b"\x80", b"~", b"\\", b":"))

    def spoil(text: bytes, character: bytes, from_end: int) -> bytes:
        at = max(1, len(text.rstrip(b"=")) - 1 - from_end)
        return text[:at] + character + text[at:]

    spoilt = st.builds(spoil, whole, foreign, st.one_of(st.integers(0, 4), st.integers(0, 20)))
    trailing = whole.map(lambda text: text + b"=" * (not text.endswith(b"=")) + b"QUJD")
    spoilt = st.one_of(spoilt, spoilt, trailing)
    in_command = spoilt.map(lambda text: Attempt("AUTH PLAIN", (b"AUTH PLAIN " + text,)))
    asked = spoilt.map(lambda text: Attempt("AUTH PLAIN, asked for the response", (b"AUTH PLAIN", text)))
    return st.one_of(in_command, asked)


def badly_padded() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP whose base64 has too little padding, or too much."""
    messages = st.sampled_from((b"\0joe\0secret!", b"\0joe\0secret", b"\0joe\0secre"))

    def pad(message: bytes, padding: int) -> bytes:
        text = base64.b64encode(message)
        bare = text.rstrip(b"=")
        right = len(text) - len(bare)
        return bare + b"=" * (padding if padding != right else right + 1)

    return st.builds(pad, messages, st.integers(0, 4)).map(lambda text: Attempt("AUTH PLAIN", (b"AUTH PLAIN " + text,)))


def with_foreign_identity() -> SearchStrategy[Attempt]:
    """Return attempts by AUTH PLAIN on behalf of somebody else than who logs in."""
    other = st.sampled_from((b"root", b"postmaster", b"joe2", b"jo", b"JOE", b"joe@example.com"))
    ways = (attempts.plain, attempts.plain_asked)
    return st.one_of(*(st.builds(way, st.just(b"joe"), st.just(b"secret"), other) for way in ways)).map(refused)


def wrong_shapes() -> SearchStrategy[Attempt]:
    """Return attempts by AUTH PLAIN whose message has not two NULs (RFC 4616 section 2)."""
    messages = st.sampled_from((b"", b"joe", b"joe\0secret", b"\0", b"\0joe", b"\0joe\0a\0b", b"a\0b\0c\0d"))
    return messages.map(lambda text: Attempt("AUTH PLAIN", (b"AUTH PLAIN", base64.b64encode(text))))


def cancelled() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP that the client gives up with `*` (RFC 4954 section 4)."""
    return st.sampled_from(
        [
            Attempt("AUTH PLAIN, given up", (b"AUTH PLAIN", b"*")),
            Attempt("AUTH LOGIN, given up", (b"AUTH LOGIN", b"*")),
            Attempt("AUTH LOGIN, given up at the password", (b"AUTH LOGIN", b"am9l", b"*")),
        ]
    )


def over_long(overhead: int) -> SearchStrategy[Attempt]:
    """Return attempts by SMTP whose record has 513 bytes and more.

    Args:
        overhead: bytes of the record besides login and password.
    """
    least = 513 - overhead
    totals = st.one_of(st.integers(least, least + 8), st.sampled_from((least + 88, 1024, 4096, 8192)))

    def share(total: int, part: int, way: int) -> Attempt:
        first = max(1, min(total - 1, total * part // 4))
        return refused(_LONG_WAYS[way](b"u" * first, b"p" * (total - first)))

    return st.builds(share, totals, st.integers(0, 4), st.integers(0, len(_LONG_WAYS) - 1))


def pop3_refused() -> SearchStrategy[Attempt]:
    """Return attempts by POP3 with a NUL in the login or the password."""
    dirty = st.sampled_from((b"bob\0", b"bob\0pw\0t", b"\0bob", b"b\0"))
    clean = st.sampled_from((b"joe", b"x"))
    pairs = st.one_of(st.tuples(dirty, clean), st.tuples(clean, dirty))
    return pairs.map(lambda pair: refused(attempts.user_pass(*pair)))


def pop3_over_long(overhead: int) -> SearchStrategy[Attempt]:
    """Return attempts by POP3 whose record has 513 bytes and more.

    Args:
        overhead: bytes of the record besides login and password.
    """
    totals = st.one_of(st.integers(513 - overhead, 521 - overhead), st.sampled_from((600, 1024, 4096)))
    return totals.map(lambda total: refused(attempts.user_pass(b"u" * 20, b"p" * (total - 20))))


def malformed_attempts() -> SearchStrategy[Attempt]:
    """Return attempts by SMTP that RFC 4954, RFC 4616 or the checkpassword interface forbid to ask a checker about."""
    return st.one_of(with_nul(), not_base64(), cancelled(), over_long(3))


def refused(attempt: Attempt) -> Attempt:
    """Return an attempt with the same lines, about which no checker must be asked."""
    return Attempt(attempt.way, attempt.lines)


def _asks(way: object) -> bool:
    """Tell whether a way can carry an empty login; in a command it would be another command."""
    return way is not attempts.login_initial


_SHORT = st.sampled_from((b"joe", b"x", b""))
_PAIR = (fields(), fields())
_PAIR_SHORT = (st.sampled_from((b"joe", b"a", b"ab")), st.sampled_from((b"secret", b"pw", b"p")))
_LONG_WAYS = (attempts.plain_asked, attempts.login)
