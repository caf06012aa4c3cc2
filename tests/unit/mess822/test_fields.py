"""Fields: where a header ends, which field a name is, and what a field says."""

import pytest

from checkpw.mess822 import fields
from checkpw.mess822.fields import HeaderCollector, TooLarge, body_of, field_name, known_name, split_fields

HEADERS = [
    # text, header, what follows it
    (b"To: x\n\nbody\n", b"To: x\n", b"\nbody\n"),
    (b"\nbody\n", b"", b"\nbody\n"),
    (b"To: x\n y\n\tz\n\n", b"To: x\n y\n\tz\n", b"\n"),
    (b" first\nTo: x\n\n", b" first\nTo: x\n", b"\n"),
    (b"To: x\n \n\n", b"To: x\n \n", b"\n"),
    # without an empty line, one is put there
    (b"To: x\nno field\n\n", b"To: x\n", b"\nno field\n\n"),
    (b"To: x\n: y\n", b"To: x\n", b"\n: y\n"),
    (b"To: x\na b: c\n", b"To: x\n", b"\na b: c\n"),
    (b"To: x\n\xe4: c\n", b"To: x\n", b"\n\xe4: c\n"),
    (b"To: x\n\x7f: c\n", b"To: x\n", b"\n\x7f: c\n"),
    (b"To \t: x\n!~: y\n\n", b"To \t: x\n!~: y\n", b"\n"),
]


@pytest.mark.parametrize(("text", "header", "rest"), HEADERS)
def test_the_end_of_a_header(text, header, rest):
    """A header ends before the first line that is empty, or neither begins with a blank nor is a field."""
    assert HeaderCollector(0).feed(text) == (header, rest)


def test_a_message_that_ends_in_its_header():
    """What was collected is the header."""
    collector = HeaderCollector(0)
    assert collector.feed(b"To: x\n") is None
    assert collector.feed(b"Cc: y\n") is None
    assert collector.finish() == b"To: x\nCc: y\n"


def test_a_header_has_a_limit():
    """A header of so many bytes is taken, one byte more is too much, and so is a line that goes on and on."""
    assert HeaderCollector(6).feed(b"To: x\n\n") == (b"To: x\n", b"\n")
    with pytest.raises(TooLarge):
        HeaderCollector(5).feed(b"To: x\n\n")
    with pytest.raises(TooLarge):
        HeaderCollector(5).feed(b"nothing")


NAMES = [
    # name, the field that it is
    (b"to", b"to"),
    (b"t", b"to"),
    (b"f", b"from"),
    (b"re", b"reply-to"),
    (b"rec", b"received"),
    (b"ret", b"return-receipt-to"),
    (b"resent", b"resent-sender"),
    (b"resent-m", b"resent-message-id"),
    (b"m", b"mail-reply-to"),
    (b"me", b"message-id"),
    (b"", b"date"),
    (b"too", b"too"),
    (b"subject", b"subject"),
    (b"su", b"su"),
    (b"s", b"sender"),
]


@pytest.mark.parametrize(("name", "known"), NAMES)
def test_known_names(name, known):
    """The beginning of a known name is that name, the first of the table that fits; no name at all is Date."""
    assert known_name(name) == known


def test_field_names():
    """A name is printable ASCII up to the colon; blanks may stand before that, and case does not matter."""
    assert field_name(b"Mail-Reply-To \t: x") == b"mail-reply-to"
    assert field_name(b"!,.<>@[]~:") == b"!,.<>@[]~"
    for line in (b"", b":", b" :", b"x", b"a b:", b"a\0:", b"\xe4:"):
        assert field_name(line) is None


def test_splitting():
    """Each field has its lines; what stands before the first is one without a name."""
    assert list(split_fields(b" x\n y\nTo: a\n b\nCC : c\n")) == [
        (b"", b" x\n y\n"),
        (b"to", b"To: a\n b\n"),
        (b"cc", b"CC : c\n"),
    ]
    assert list(split_fields(b"")) == []


def test_bodies():
    """The body is what follows the colon, unfolded; without a name, what follows blanks and perhaps a colon."""
    assert body_of(b"To: a,\n\tb:c\n") == b" a,\tb:c"
    assert body_of(b"To \t:a\n") == b"a"
    assert body_of(b" \t: 1 Jan\n") == b" 1 Jan"
    assert body_of(b"  1 Jan\n 2001\n") == b"1 Jan 2001"


def test_every_field_with_addresses_goes_out():
    """The table and the order of output know the same fields."""
    from checkpw.mess822.outgoing import BEFORE_RECIPIENTS, RECIPIENTS

    with_addresses = {name for name, fate in fields.TABLE.items() if fate == fields.ADDRESSES}
    assert {name.lower() for name in BEFORE_RECIPIENTS + RECIPIENTS} == with_addresses
