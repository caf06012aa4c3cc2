"""DotReader and ChunkReader against references that go byte by byte."""

from hypothesis import example, given
from hypothesis import strategies as st
from references import slow_dot_decode
from splits import PLACES, cut

from checkpw.smtp.data import ChunkReader, DotReader, with_line_feeds

BYTES = st.one_of(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a", b"\0"]), max_size=30).map(b"".join),
    st.binary(max_size=60),
)
LINE_ENDS = st.sampled_from([b"\r\n", b"\n"])


def _read(data, places, line_end):
    """Feed a reader as a session would: nothing more once the end was there."""
    reader, text, rest = DotReader(line_end), b"", None
    for piece in cut(data, places):
        if rest is not None:
            rest += piece
            continue
        more, rest = reader.feed(piece)
        text += more
    return text, rest, reader.had_stray_returns


@given(BYTES, PLACES, LINE_ENDS)
@example(b".\r\n", [], b"\r\n")
@example(b"..\r\n.\r\n", [1], b"\r\n")
@example(b"a\r\n.\n.\r\n\r\n.\r\nNOOP\r\n", [], b"\r\n")
@example(b"a\r\r\n.\r\n", None, b"\r\n")
@example(b"a\r\r\n.\n.\n", None, b"\n")
def test_dots_against_reference(data, places, line_end):
    """Arbitrary bytes, ended somewhere or by us, give what the reference gives, however they are cut."""
    data += b"\r\n.\r\nrest" if line_end == b"\r\n" else b"\n.\nrest"
    assert _read(data, places, line_end) == slow_dot_decode(data, line_end)


@given(BYTES, PLACES, LINE_ENDS)
def test_nothing_is_given_too_early(data, places, line_end):
    """Before the end has come, what was given is the beginning of the reference's text, and hardly anything lacks."""
    text, rest, _ = _read(data, places, line_end)
    wanted, wanted_rest, _ = slow_dot_decode(data, line_end)
    assert rest == wanted_rest
    assert (wanted + b"\n").startswith(text)
    assert len(wanted) - len(text) <= len(line_end) * 2 + 1


@given(st.lists(st.binary(max_size=12).map(lambda line: line.translate(None, b"\r\n"))), PLACES, LINE_ENDS)
@example([b".", b"..", b"", b"x."], [], b"\r\n")
def test_dot_round_trip(lines, places, line_end):
    """A message that a client stuffed with dots comes back."""
    wire = b"".join((b"." if line[:1] == b"." else b"") + line + line_end for line in lines) + b"." + line_end
    assert _read(wire + b"QUIT", places, line_end) == (b"".join(line + b"\n" for line in lines), b"QUIT", False)


@given(st.lists(BYTES, max_size=5), PLACES)
@example([b"a\r", b"\nb"], [])
@example([b"a\r"], [])
@example([b"", b""], [])
def test_chunks_against_reference(chunks, places):
    """However octets are cut into chunks, and chunks into pieces: CRLF is LF, a bare CR a space, a last LF is there."""
    reader = ChunkReader()
    text = b"".join(reader.feed(piece) for chunk in chunks for piece in cut(chunk, places)) + reader.finish()
    octets = b"".join(chunks)
    wanted, at, stray = b"", 0, False
    while at < len(octets):
        pair = octets[at : at + 2]
        is_return = pair[:1] == b"\r"
        wanted += b"\n" if pair == b"\r\n" else b" " if is_return else pair[:1]
        stray |= is_return and pair != b"\r\n"
        at += 2 if pair == b"\r\n" else 1
    if wanted and not wanted.endswith(b"\n"):
        wanted += b"\n"
    assert text == wanted
    assert reader.had_stray_returns == stray


@given(BYTES)
def test_line_feeds(data):
    """No CR is left, and nothing but CR is lost."""
    text, had_stray = with_line_feeds(data)
    assert b"\r" not in text
    assert len(data) - len(text) == data.count(b"\r\n")
    assert had_stray == (data.count(b"\r") != data.count(b"\r\n"))
