"""Addresses and names as they are written into a field (RFC 822 section 3.3), in the form that mess822 gives them."""

_PLAIN = bytes(byte for byte in range(33, 127) if byte not in b'@<>[](),;:"\\')
_EIGHT_BIT = bytes(range(128, 256))
_ESCAPED = b'\0\n\r"\\[]'
_ESCAPES = tuple(b"\\" + bytes((byte,)) if byte in _ESCAPED else bytes((byte,)) for byte in range(256))


def quote(address: bytes, name: bytes | None = None, *, is_utf8: bool = False) -> bytes:
    """Return a mailbox as it stands in a field.

    Args:
        address: without quotes; what follows its last `@` is the host, and an empty host is left out.
        name: what is said before the address, which then stands in angle brackets; None for nothing.
        is_utf8: words in UTF-8 need no quotes, as RFC 6532 has it. In a host, quotes would do harm.
    """
    if address in (b"", b"@"):
        text = b"<>"
    else:
        local, at, host = address.rpartition(b"@")
        text = _word(local if at else host, is_utf8=is_utf8)
        if at and host:
            text += b"@" + _host(host, is_utf8=is_utf8)
        if name is not None:
            text = b"<" + text + b">"
    return text if name is None else quote_name(name) + b" " + text


def quote_name(name: bytes) -> bytes:
    """Return a name in quotes."""
    return b'"' + _escape(name) + b'"'


def _escape(text: bytes) -> bytes:
    if len(text.translate(None, _ESCAPED)) == len(text):
        return text
    # A NUL of a control file is kept as LF; as LF it would end the field.
    return b"".join([_ESCAPES[byte] for byte in text.replace(b"\n", b"\0")])


def _word(text: bytes, *, is_utf8: bool) -> bytes:
    return quote_name(text) if _needs_quotes(text, is_utf8=is_utf8) else text


def _host(host: bytes, *, is_utf8: bool) -> bytes:
    if len(host) >= 2 and host[:1] == b"[" and host[-1:] == b"]":
        return b"[" + _escape(host[1:-1]) + b"]"
    return _word(host, is_utf8=is_utf8)


def _needs_quotes(text: bytes, *, is_utf8: bool) -> bool:
    """Tell whether text is anything but atoms with single dots between them."""
    if not text or text[:1] == b"." or text[-1:] == b"." or b".." in text:
        return True
    strange = text.translate(None, _PLAIN)
    if not strange:
        return False
    return not (is_utf8 and not strange.translate(None, _EIGHT_BIT) and _is_utf8(text))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
