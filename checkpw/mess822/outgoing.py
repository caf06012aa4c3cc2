"""What a header becomes on its way out: trace field in front, Bcc gone, Date and Message-ID there."""

from checkpw.mess822.fields import split_fields


class TooManyHops(Exception):
    """The header has more Received fields than a mail that does not loop."""


def rewrite(header: bytes, *, received: bytes, date: bytes, message_id: bytes, hops: int) -> bytes:
    """Return the header as it is queued.

    Args:
        header: fields whose lines end in LF.
        received: the trace field with its line end, which comes first.
        date: body of the field to add where it is missing.
        message_id: likewise.
        hops: so many Received fields are one too many.

    Raises:
        TooManyHops: the header has them.
    """
    kept = []
    names = []
    for name, lines in split_fields(header):
        names.append(name)
        if name != b"bcc":
            kept.append(lines)
    if names.count(b"received") >= hops:
        raise TooManyHops
    added = [received]
    if b"date" not in names:
        added.append(b"Date: " + date + b"\n")
    if b"message-id" not in names:
        added.append(b"Message-ID: " + message_id + b"\n")
    return b"".join(added + kept)


def received_field(who: bytes, ip: bytes, hostname: bytes, protocol: bytes, date: bytes) -> bytes:
    """Return the trace field with its line end.

    Args:
        who: login, else what IDENT said; empty to leave it out.
        ip: address of the client; empty to leave it out.
        hostname: ours.
        protocol: RFC 3848 or RFC 6531 word.
        date: of now.
    """
    origin = _safe(who) + b"@" + _safe(ip) if who and ip else _safe(who or ip)
    comment = b"ofmipd " + origin if origin else b"ofmipd"
    return b"Received: (%s) by %s with %s; %s\n" % (comment, _safe(hostname), protocol, date)


def _safe(text: bytes) -> bytes:
    """Replace what could end the comment, the field or a terminal's patience."""
    return bytes(63 if byte < 33 or byte > 126 or byte in b"()@\\" else byte for byte in text)
