"""Fields with lists, broken into lines as mess822 breaks them: between elements, where a line would get too long."""

LINE_LENGTH = 78
"""Bytes of a line without its end (RFC 5322 section 2.1.1); an element that is longer stays whole."""

INDENT = b"\n  "


def fold(start: bytes, elements: list[bytes]) -> bytes:
    """Return a field with its line end.

    Args:
        start: its name, colon and blank.
        elements: at least one; commas are put between them. The first is never moved to a line of its own.
    """
    pieces = [start, elements[0]]
    length = len(start) + len(elements[0]) + 1
    last = len(elements) - 1
    for number, element in enumerate(elements[1:], 1):
        size = len(element) + (number < last)  # with its comma
        if length + 1 + size > LINE_LENGTH:
            pieces += (b",", INDENT, element)
            length = 2 + size
        else:
            pieces += (b", ", element)
            length += 1 + size
    pieces.append(b"\n")
    return b"".join(pieces)
