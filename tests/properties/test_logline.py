"""Log lines: what is rendered can be read back, and nothing in a value can look like anything else."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from checkpw.logline import MAX_VALUE, render

VALUES = st.one_of(
    st.binary(max_size=220),
    st.text(max_size=20),
    st.sampled_from([b"joe verdict=accepted", b'"', b"\\", b"a\nofmipd: client=1.2.3.4", b"\x1b[2J", b"", b"="]),
    st.integers(-10, 10**12),
    st.floats(0, 10**6),
)
NAMES = st.sampled_from(["client", "pid", "event", "login", "reason", "seconds"])

WORD = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "]+))(?: |$)')
ESCAPE = re.compile(r'\\(?:(["\\])|x([0-9a-f]{2}))')


def parse(line):
    """Read a line as a log filter would: (program, fields as bytes)."""
    program, _, words = line.decode("ascii").removesuffix("\n").partition(": ")
    fields, at = {}, 0
    while at < len(words):
        match = WORD.match(words, at)
        assert match, f"cannot read {words[at:]!r}"
        name, quoted, plain = match.groups()
        if plain is not None:
            assert "=" not in plain and "\\" not in plain
        text = plain if quoted is None else ESCAPE.sub(lambda found: found[1] or chr(int(found[2], 16)), quoted)
        fields[name] = text.encode("latin-1")
        at = match.end()
    return program, fields


def meant(value):
    """Give the bytes that a value stands for."""
    if isinstance(value, float):
        return f"{value:.3f}".encode()
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    data = b"%d" % data if isinstance(data, int) else data
    return data if len(data) <= MAX_VALUE or isinstance(value, int) else data[:MAX_VALUE] + b"..."


@given(st.dictionaries(NAMES, VALUES))
@example({"login": "\udcff"})
@example({"login": b"x" * MAX_VALUE})
@example({"login": b"x" * (MAX_VALUE + 1)})
def test_round_trip(fields):
    """One printable line, from which a filter reads just the fields that were meant, in their order."""
    line = render("ofmipd", fields)
    assert line.endswith(b"\n") and all(32 <= byte <= 126 for byte in line[:-1])
    program, found = parse(line)
    assert program == "ofmipd"
    assert list(found.items()) == [(name, meant(value)) for name, value in fields.items()]


@given(st.dictionaries(st.sampled_from(["login", "sender", "reason", "says"]), st.binary(min_size=1000, max_size=1200)))
def test_size(fields):
    """Four values of any length and bytes still are less than PIPE_BUF, which nobody's line comes in between."""
    assert len(render("ofmipd", fields)) < 4096 - 200
