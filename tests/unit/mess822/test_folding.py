"""Where a list is broken into lines."""

from checkpw.mess822.folding import fold


def test_short_lists_stay_on_a_line():
    """Elements have a comma and a blank between them."""
    assert fold(b"To: ", [b"a"]) == b"To: a\n"
    assert fold(b"To: ", [b"a", b"b", b"c"]) == b"To: a, b, c\n"


def test_a_line_has_78_bytes_at_most():
    """With 78 bytes, a comma at the end counted, a line is full; one more, and the element goes to the next."""
    fits = [b"a" * 36, b"b" * 36]
    assert fold(b"To: ", fits) == b"To: " + fits[0] + b", " + fits[1] + b"\n"
    assert len(fold(b"To: ", fits)) == 79
    too_long = [fits[0], fits[1] + b"b"]
    assert fold(b"To: ", too_long) == b"To: " + too_long[0] + b",\n  " + too_long[1] + b"\n"
    with_comma = [*fits, b"c"]
    assert fold(b"To: ", with_comma) == b"To: " + fits[0] + b",\n  " + fits[1] + b", c\n"


def test_following_lines_begin_with_two_blanks():
    """They count, and so do commas."""
    elements = [b"a" * 80, b"b" * 37, b"c" * 36, b"d" * 37]
    assert fold(b"Cc: ", elements) == b"Cc: %s,\n  %s, %s,\n  %s\n" % tuple(elements)


def test_an_element_is_never_broken():
    """The first stays behind the name, however long it is; others get a line of their own."""
    assert fold(b"To: ", [b"a" * 100, b"b" * 100]) == b"To: " + b"a" * 100 + b",\n  " + b"b" * 100 + b"\n"
