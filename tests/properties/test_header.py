"""HeaderCollector against a reader that goes line by line (facts 6.7)."""

from hypothesis import example, given
from hypothesis import strategies as st
from splits import PLACES, cut

from checkpw.mess822.fields import HeaderCollector, TooLarge
from checkpw.mess822.outgoing import received_field

LINES = [
    b"To: x",
    b"Bcc: a",
    b"bcc : b",
    b"BCC:",
    b" folded",
    b"\tfolded",
    b"Received: r",
    b"Date: d",
    b"Message-ID: m",
]
LINES += [b"dAtE\t: d", b"", b"no field", b": x", b"\xc3\xb6: x", b"X Y: z", b"Resent-Bcc: k", b" ", b"Bcc", b"\0: x"]
TEXT = st.one_of(
    st.lists(st.sampled_from(LINES), max_size=12).map(lambda lines: b"".join(line + b"\n" for line in lines)),
    st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"") + b"\n"),
)


def _name(line):
    """Give the name of the field that a line begins, in lower case, or None."""
    if b":" not in line:
        return None
    name = line[: line.index(b":")]
    while name[-1:] in (b" ", b"\t"):
        name = name[:-1]
    return name.lower() if name and all(33 <= byte <= 126 for byte in name) else None


def slow_split(text):
    """Give the fields as (name, lines) and the rest, None where the text ends inside the header."""
    fields, at = [], 0
    for line in text.split(b"\n")[:-1]:
        if line[:1] in (b" ", b"\t"):
            name, lines = fields.pop() if fields else (b"", b"")
            fields.append((name, lines + line + b"\n"))
        elif line and _name(line) is not None:
            fields.append((_name(line), line + b"\n"))
        else:
            rest = text[at:]
            return fields, rest if not line else b"\n" + rest
        at += len(line) + 1
    return fields, None


def _collect(text, places, limit=0):
    collector, pieces = HeaderCollector(limit), cut(text, places)
    while pieces:
        complete = collector.feed(pieces.pop(0))
        if complete is not None:
            return complete[0], complete[1] + b"".join(pieces)
    return collector.finish(), None


@given(TEXT, PLACES)
@example(b" x: y\n", [])
@example(b"\n", [])
def test_collector_against_reference(text, places):
    """The header ends where the slow reader says, however the text is cut, and not a byte is lost."""
    fields, rest = slow_split(text)
    assert _collect(text, places) == (b"".join(lines for _, lines in fields), rest)


def _is_too_large(text, places, limit):
    try:
        _collect(text, places, limit)
    except TooLarge:
        return True
    return False


@given(TEXT, PLACES, st.integers(1, 30))
@example(b"To: x\n\nbody\n", [], 6)
@example(b"To: x\n\nbody\n", [], 5)
@example(b"a line that is no field\n", [9], 8)
def test_limit(text, places, limit):
    """Whether a header is too large does not depend on how it is cut; one over the limit always is."""
    fields, rest = slow_split(text)
    size = sum(len(lines) for _, lines in fields)
    whole = _is_too_large(text, [], limit)
    assert _is_too_large(text, places, limit) == whole
    if size > limit:
        assert whole
    elif rest is not None and rest == text[size:]:
        assert not whole  # an empty line ends it within the limit


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
def test_received_field(who, ip, hostname):
    """Nobody can end the comment, the field or the line, or nest another comment."""
    field = received_field(who, ip, hostname, b"ESMTPSA", b"9 Sep 2001 01:46:40 -0000")
    assert field.endswith(b" with ESMTPSA; 9 Sep 2001 01:46:40 -0000\n")
    assert (
        field.count(b"\n")
        == field.count(b"(")
        == field.count(b")")
        == field.count(b";") - hostname.count(b";") - (who.count(b";") + ip.count(b";"))
    )
    assert all(32 <= byte <= 126 for byte in field[:-1])
    assert field.count(b"@") == (1 if who and ip else 0)
