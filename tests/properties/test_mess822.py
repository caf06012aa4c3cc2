"""Header rewriting: nothing is lost, nothing is done twice, nothing takes longer than its length allows."""

import gc
import time

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from checkpw.mess822 import dates
from checkpw.mess822.addresses import join, parse_groups, parse_list
from checkpw.mess822.fields import HeaderCollector, split_fields
from checkpw.mess822.folding import LINE_LENGTH, fold
from checkpw.mess822.hostrules import HostRules, default_lines
from checkpw.mess822.outgoing import NOBODY_SHOWN, Stamp, Style, rewrite
from checkpw.mess822.quoting import quote, quote_name
from checkpw.mess822.tokens import tokenize, unfold

DEFAULT_RULES = default_lines(b"def.example", b"plus.example", b"dom.example")
RECEIVED = b"Received: us\n"

# Bytes that mean something, more often than others.
NASTY = st.lists(
    st.one_of(st.sampled_from([bytes((byte,)) for byte in b'",;:<>@.()[]\\ \tab\0\xff\n']), st.binary(max_size=3)),
    max_size=25,
).map(b"".join)
PART = st.lists(st.sampled_from([bytes((byte,)) for byte in b'",;:<>@.()[]\\ \tab\0\r\x7f\xe9\xff']), max_size=8).map(
    b"".join
)
WORD = st.text("abcxyz019-_=+", min_size=1, max_size=12).map(str.encode)
HOST = st.lists(WORD, min_size=2, max_size=4).map(b".".join)
NAME = st.one_of(st.none(), PART, st.lists(WORD, max_size=4).map(b" ".join))


def _style(*rules, **settings):
    return Style(HostRules(rules or DEFAULT_RULES), **{"keeps_groups": False, "hops": 1000, **settings})


def _stamp(author=None, *, is_utf8=False):
    def make(date):
        return b"<%s@id.example>" % date

    return Stamp(RECEIVED, dates.utc(1e9), make, b"joe@x.example", author, is_utf8=is_utf8)


def _rewritten(header, style=None, **stamp):
    text = rewrite(header, style or _style(), _stamp(**stamp))
    assert text.startswith(RECEIVED)
    return text.removeprefix(RECEIVED)


def _tidy(name):
    """Give a name as a list has it: several spaces are one, and none are at the ends."""
    return None if name is None else b" ".join(word for word in name.split(b" ") if word) or None


# --- quoting and parsing


@given(st.lists(st.tuples(NAME, PART.filter(bool), PART), max_size=4))
@example([(b"a  b", b'"\\', b"[]"), (None, b"a@b", b"c\\]")])
def test_what_was_quoted_is_read_as_what_it_was(parts):
    """A list of quoted mailboxes has the same addresses, and the same names but for blanks."""
    wanted, elements = [], []
    for name, local, host in parts:
        address = local + b"@" + host
        assume(host.count(b"@") == 0)
        elements.append(quote(address, name))
        wanted.append((_tidy(name), address))
    assert parse_list(unfold(fold(b"", elements)) if elements else b"") == wanted


@given(PART)
def test_a_name_without_an_address_stays_one(name):
    """An empty group is read as one."""
    assume(_tidy(name))
    assert parse_list(quote_name(name) + b": ;") == [(_tidy(name), None)]


@given(st.text(min_size=1), st.text(min_size=1))
def test_utf8_is_neither_lost_nor_mangled(local, host):
    """With SMTPUTF8, words in UTF-8 come out as they went in, and the list is read as the same."""
    assume(not {"@", "\n", "\0"} & {*local, *host})
    address = f"{local}@{host}".encode()
    quoted = quote(address, is_utf8=True)
    assert parse_list(quoted) == [(None, address)]
    if (local + host).isalnum():
        assert quoted == address


# --- folding


@given(st.lists(st.binary(max_size=100).map(lambda data: data.replace(b"\n", b"")), min_size=1, max_size=8), WORD)
def test_folding(elements, name):
    """Unfolded it is the list; a line is too long only if it is one element, or the first one."""
    start = name + b": "
    text = fold(start, elements)
    assert text.endswith(b"\n") and b"\n\n" not in text
    lines = text[:-1].split(b"\n")
    assert b" ".join([lines[0], *(line[2:] for line in lines[1:])]) == start + b", ".join(elements)
    assert all(line.startswith(b"  ") for line in lines[1:])
    for at, line in enumerate(lines):
        if len(line) > LINE_LENGTH:
            only = line.removeprefix(start if at == 0 else b"  ").removesuffix(b",")
            assert only in elements or only + b"," in elements


# --- whole headers

FIELD_NAMES = [b"To", b"cc", b"From", b"Sender", b"Reply-To", b"DATE", b"Date", b"Message-ID", b"Received", b"Bcc"]
FIELD_NAMES += [b"Subject", b"X", b"Re", b"T", b"Resent-To", b"Mail-Followup-To", b"Content-Length", b"Content-Type"]
BODY = st.one_of(NASTY, st.sampled_from([b"1 Jan 2001 10:00:00 +0000", b"joe, Mary <mary@x>", b"g: a, b;", b"g:;"]))
FIELD = st.tuples(st.sampled_from(FIELD_NAMES), BODY).map(
    lambda field: field[0] + b": " + field[1].replace(b"\n", b"\n ") + b"\n"
)
HEADER = st.lists(FIELD, max_size=8).map(b"".join)


@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.sampled_from([None, b"", b'J "X"']))
@example(data=b" x\n", keeps_groups=False, is_utf8=False, author=None)
def test_any_bytes_make_a_header(data, keeps_groups, is_utf8, author):
    """Whatever comes, a header comes out whose lines are fields, with a Date, a Message-ID, a From and a recipient."""
    collected = HeaderCollector(0).feed(data + b"\n\n")
    header, rest = collected
    assert rest.startswith(b"\n")
    text = _rewritten(header, _style(keeps_groups=keeps_groups), author=author, is_utf8=is_utf8)
    assert HeaderCollector(0).feed(text + b"\n") == (text, b"\n")
    names = [name for name, _ in split_fields(text)]
    assert {b"date", b"from"} <= set(names)
    assert {b"to", b"cc"} & set(names)
    assert all(names.count(name) == 1 for name in names if name in {b"date", b"from", b"to", b"cc", b"sender"})
    assert not {b"bcc", b"return-path"} & set(names)


@given(NASTY, NASTY)
def test_every_reader_takes_anything(text, other):
    """Tokens, lists, groups and dates are found in any bytes; only unfolded text has line ends."""
    assert b"" not in tokenize(text) and all(b"\n" not in token for token in tokenize(text))
    lists = [parse_list(text), parse_list(other)]
    assert all(name or address is not None for name, address in join(lists))
    assert all(group[1] or group[0] is not None for group in parse_groups(text))
    moment = dates.parse(text)
    assert moment is None or dates.parse(moment.format()) is not None


@given(HEADER, st.booleans())
@example(header=b"", keeps_groups=False)
@example(header=b"To: g:;\n", keeps_groups=False)
@example(header=b"To: x\nTo: g:;\nTo: y\n", keeps_groups=False)
@example(header=b"Date: 1 Jan 99 10:00 EST DST\n", keeps_groups=False)
@example(header=b"To: g: a, b;, c\n", keeps_groups=True)
@example(header=b'To: :\x00:@:"\n', keeps_groups=True)
def test_twice_is_once(header, keeps_groups):
    """Rewriting what was rewritten changes nothing, but for the recipient who is not shown, who gets quotes."""
    style = _style(keeps_groups=keeps_groups)
    once = _rewritten(header, style)
    twice = _rewritten(once, style)
    assert twice == once.replace(NOBODY_SHOWN, b'Cc: "recipient list not shown": ;\n')
    assert _rewritten(twice, style) == twice


@given(HEADER)
def test_other_fields_are_untouched(header):
    """What is no address, date or trace is at the end, byte by byte, in its order."""
    kept = [lines for name, lines in split_fields(header) if name in {b"subject", b"x", b"content-type"}]
    assert _rewritten(header).endswith(b"".join(kept))


@given(st.lists(st.tuples(st.integers(1, 31), st.integers(0, 11), st.integers(1970, 9999)), min_size=1, max_size=1))
def test_dates_are_read_as_they_are_written(parts):
    """A date that was made here says the same when it is read."""
    ((day, month, year),) = parts
    for clock, offset in (((23, 59, 60), None), ((0, 0, 0), -720), ((1, 2, 3), 59), ((4, 5, 6), 0)):
        moment = dates.Moment((year, month + 1, day), clock, offset)
        again = dates.parse(moment.format())
        assert again is not None and again.format() == moment.format() and again.stamp() == moment.stamp()


@given(st.integers(0, 2**37))
def test_the_clock_is_told_as_it_is(seconds):
    """The moment of a number of seconds is that of the C library."""
    assert dates.utc(seconds).stamp() == time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds)).encode()


# --- time

PATTERNS = {
    "addresses": b"user@x.example, ",
    "names": b'"A Name" <user@x.example>,\n ',
    "words": b"a ",
    "opening quotes": b'"a',
    "escapes": b"\\a",
    "escapes and atoms": b"a\\bc",
    "escapes in quotes": b'"\\',
    "brackets": b"[",
    "escapes in brackets": b"[\\]",
    "comments": b"(a)",
    "nested comments": b"(",
    "escapes in comments": b"(\\)",
    "angles": b"<",
    "closing angles": b">",
    "colons": b":",
    "groups": b"g: a;",
    "at signs": b"@",
    "dots": b".",
    "commas": b",",
    "semicolons": b";",
    "NULs": b"\0",
    "blanks": b" ",
    "folds": b"\n ",
    "digits": b"1",
    "DST": b" DST",
}


def _seconds(header, style):
    """The least CPU time of three tries, without the garbage collector: it visits what other tests have left, too."""
    least = float("inf")
    gc.disable()
    try:
        for _ in range(3):
            began = time.thread_time()
            collector = HeaderCollector(0)
            for at in range(0, len(header), 65536):
                collector.feed(header[at : at + 65536])
            rewrite(collector.finish(), style, _stamp())
            least = min(least, time.thread_time() - began)
    finally:
        gc.enable()
    return least


def _is_linear(header, times, style):
    """Tell whether four times as much takes less than nine times as long; a machine that stumbles gets another try."""
    for _ in range(4):
        few = _seconds(header(times), style)
        if _seconds(header(4 * times), style) < 9 * few + 0.01:
            return True
    return False


@pytest.mark.parametrize("start", [b"To: ", b"Date: 1 Jan 2001 10:00:00 +", b'To: "', b"To: (", b"To: [", b"To: <"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_time_is_linear(pattern, start):
    """Twice as much takes about twice as long: with a quadratic step, four times as much would take sixteen."""
    for style in (_style(), _style(keeps_groups=True)) if start == b"To: " else (_style(),):
        assert _is_linear(lambda times: start + pattern * times + b"\n", 50_000 // len(pattern), style)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.binary(max_size=2).map(lambda data: data.replace(b"\n", b" ")), min_size=1, max_size=6).map(b"".join)
)
def test_time_is_linear_for_any_pattern(pattern):
    """As above, for patterns that nobody thought of."""
    assert _is_linear(lambda times: b"To: " + pattern * times + b"\n", 3_000, _style())
