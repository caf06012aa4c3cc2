"""Slow and simple: what the product has to agree with, written from the RFCs and the design."""


def slow_dot_decode(data, line_end):
    """Undo the transparency of DATA: (text, what follows the end or None, whether there was a bare CR)."""
    text, at, at_line_start, stray = bytearray(), 0, True, False
    while at < len(data):
        if at_line_start and data[at : at + 1] == b".":
            at += 1
            at_line_start = False
            if data[at : at + len(line_end)] == line_end:
                return bytes(text), data[at + len(line_end) :], stray
        elif data[at : at + 2] == b"\r\n":
            text += b"\n"
            at += 2
            at_line_start = True
        elif data[at : at + 1] == b"\n":
            text += b"\n"
            at += 1
            at_line_start = line_end == b"\n"
        else:
            is_return = data[at : at + 1] == b"\r"
            stray |= is_return
            text += b" " if is_return else data[at : at + 1]
            at += 1
            at_line_start = False
    return bytes(text), None, stray
