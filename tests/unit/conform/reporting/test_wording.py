"""checkpw.conform.reporting.wording: what counts, and text that can do no harm."""

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from checkpw.conform.reporting import wording


@pytest.mark.parametrize(
    ("report", "strict", "conforms", "said"),
    [
        (samples.GOOD, False, True, "Conforms"),
        (samples.WEAKLY, False, True, "Conforms, but not in everything that it should"),
        (samples.WEAKLY, True, False, "Does not conform"),
        (samples.BAD, False, False, "Does not conform"),
        (samples.NOTHING, False, True, "Nothing could be judged"),
        (samples.EMPTY, False, True, "Nothing could be judged"),
    ],
)
def test_what_counts(report, strict, conforms, said):
    """What must hold counts, what should only when asked for, dialects and what was skipped never."""
    assert wording.conforms(report, strict=strict) == conforms
    assert wording.conclusion(report, strict=strict) == said
    assert strict or report.conforms == conforms


def test_counts_are_of_every_kind():
    """Each property is counted once, and what there is none of is not mentioned."""
    counts = wording.count(samples.BAD)
    assert counts == wording.Counts(passed=1, failed=1, weak=1, dialect=1, skipped=1)
    assert str(counts) == "1 passed, 1 failed, 1 that should hold failed, 1 of the dialect, 1 skipped"
    assert str(wording.count(samples.GOOD)) == "2 passed, 0 failed"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("\x1b[2J\x7f\x9b", "\\x1b[2J\\x7f\\x9b"),
        ("\r\n\t", "\\x0d\\x0a\\x09"),
        ("\udcff", "\\xff"),
        ("\ud800\u202e\uffff", "\\ud800\\u202e\\uffff"),
    ],
)
def test_what_is_made_visible(text, shown):
    """Controls, bytes that were no UTF-8 and what XML cannot hold are spelt out; letters stay."""
    assert wording.visible(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_visible_text_harms_nobody(text):
    """Whatever a program says, what is shown of it is one line, can be encoded, and is allowed in XML 1.0."""
    shown = wording.visible(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1 or not {"\n", "\r", "\x1b"} & set(shown)
    for character in shown:
        code = ord(character)
        assert 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "nothing (0 bytes)"),
        (b"a", "a (1 byte)"),
        (b"joe\0secre\0\0", "joe\\0secre\\0\\0 (11 bytes)"),
        (b"\0001'%", "\\0001\\47%% (4 bytes)"),
    ],
)
def test_bytes_are_those_of_printf(data, shown):
    """Bytes are written so that printf(1) understands them."""
    assert wording.in_words(data) == shown


def test_moments_are_utc():
    """When a run began is told in UTC."""
    assert wording.moment(samples.GOOD) == "2025-11-24T02:06:40Z"
    assert wording.seconds(samples.GOOD) == 2.5
