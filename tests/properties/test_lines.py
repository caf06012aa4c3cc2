"""Input: lines with a limit, however they arrive."""

from hypothesis import example, given
from hypothesis import strategies as st
from splits import PLACES, cut

from checkpw.smtp.lines import Input, TooLong

WIRE = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bb", b"\0"]), max_size=40).map(b"".join)


def slow_lines(data, limit):
    """Give the lines, None for each that is too long, and how the first one ended."""
    whole = [piece + b"\n" for piece in data.split(b"\n")[:-1]]
    lines = [None if len(line) > limit else line[:-2] if line.endswith(b"\r\n") else line[:-1] for line in whole]
    first = None if not whole else b"\r\n" if whole[0].endswith(b"\r\n") else b"\n"
    return lines, first


def _lines(given_input, limit):
    while True:
        try:
            line = given_input.next_line(limit)
        except TooLong:
            yield None
            continue
        if line is None:
            return
        yield line


@given(WIRE, st.integers(1, 8), PLACES)
@example(b"a" * 20 + b"\r\n", 5, None)
@example(b"a" * 4 + b"\r\n" + b"a" * 3 + b"\r\n", 5, [])
def test_lines_against_reference(data, limit, places):
    """The same lines come, are too long, and end the same way, whole, byte by byte and in pieces."""
    source, found = Input(), []
    for piece in cut(data, places):
        source.append(piece)
        found += _lines(source, limit)
    assert (found, source.first_line_end) == slow_lines(data, limit)


@given(WIRE, PLACES, st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=12))
def test_lines_and_octets_in_turn(data, places, wanted):
    """Lines and octets are taken in the order in which they came, and nothing is lost between them."""
    source, left = Input(), data
    for piece in cut(data, places):
        source.append(piece)
    for size in wanted:
        if size is not None:
            assert source.take(size) == left[:size]
            left = left[size:]
        elif (line := source.next_line(1000)) is None:
            assert b"\n" not in left
        else:
            whole, _, left = left.partition(b"\n")
            assert line == whole.removesuffix(b"\r")
    assert source.take_all() == left
    assert source.take_all() == b""
