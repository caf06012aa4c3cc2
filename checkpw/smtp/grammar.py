"""The arguments of MAIL, RCPT and BDAT: ofmipd's lenient addresses, RFC 5321's strict parameters."""

from checkpw.smtp import replies
from checkpw.smtp.limits import MAX_SIZE_DIGITS
from checkpw.smtp.replies import CommandRefused, Reply

CONTROLS = bytes((*range(32), 127))

QUOTE, BACKSLASH = b'"'[0], b"\\"[0]


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """Split a line without its end into the verb in capitals and the rest; only a space separates, as in ofmipd."""
    verb, _, argument = line.partition(b" ")
    return verb.upper(), argument.strip(b" ")


def parse_path(argument: bytes) -> tuple[bytes, list[bytes]]:
    """Take the argument of MAIL or RCPT apart, as ofmipd does.

    The address is what stands between the first `<` and a `>` outside quotes, or, without a `<`, what follows the
    first colon up to a space. A source route is dropped, quotes and backslashes are removed, what they protect stays.

    Returns:
        The address, empty for `<>`, and the parameters behind it.

    Raises:
        CommandRefused: the address has control characters, or something is glued to it.
    """
    opening = argument.find(b"<")
    if opening >= 0 and argument[opening - 1 : opening] != b"=":  # that of AUTH=<> begins no address
        text, stop = argument[opening + 1 :], b">"
    else:
        text, stop = argument[argument.find(b":") + 1 :].lstrip(b" "), b" "
    if text.startswith(b"@"):
        text = text.partition(b":")[2]
    address, rest = _unquote(text, stop[0])
    if len(address.translate(None, CONTROLS)) != len(address):
        raise CommandRefused(replies.ADDRESS_CONTROL)
    if stop == b">" and rest and not rest.startswith(b" "):
        raise CommandRefused(replies.SYNTAX)
    return address, rest.split()


def _unquote(text: bytes, stop: int) -> tuple[bytes, bytes]:
    """Return what stands before an unquoted `stop` without quotes and backslashes, and what stands behind it."""
    if b'"' not in text and b"\\" not in text:
        address, _, rest = text.partition(bytes((stop,)))
        return address, rest
    kept = bytearray()
    is_quoted = is_escaped = False
    for at, byte in enumerate(text):
        if is_escaped:
            kept.append(byte)
            is_escaped = False
        elif byte == stop and not is_quoted:
            return bytes(kept), text[at + 1 :]
        elif byte == BACKSLASH:
            is_escaped = True
        elif byte == QUOTE:
            is_quoted = not is_quoted
        else:
            kept.append(byte)
    return bytes(kept), b""


def parse_mail_parameters(words: list[bytes], *, offers_smtputf8: bool, message_bytes: int) -> bool:
    """Check the parameters of MAIL and tell whether SMTPUTF8 is among them.

    SIZE (RFC 1870), BODY=7BIT or 8BITMIME (RFC 6152), AUTH (RFC 4954 section 5: accepted and ignored, as it may be)
    and SMTPUTF8 (RFC 6531, if offered) are known; each may come once.

    Raises:
        CommandRefused: 555 for a parameter that is not known, 501 for one that is malformed or comes twice, 552 for
            a SIZE over the limit.
    """
    seen = []
    for word in words:
        name, equals, value = word.partition(b"=")
        name = name.upper()
        if name in seen:
            raise CommandRefused(replies.SYNTAX)
        seen.append(name)
        if name == b"SIZE":
            size = parse_number(value)
            if message_bytes and size > message_bytes:
                raise CommandRefused(replies.TOO_BIG)
        elif name == b"BODY" and value.upper() in (b"7BIT", b"8BITMIME"):
            pass
        elif name == b"AUTH":
            if not value:
                raise CommandRefused(replies.SYNTAX)
        elif name == b"SMTPUTF8" and offers_smtputf8:
            if equals:
                raise CommandRefused(replies.SYNTAX)
        else:
            raise CommandRefused(replies.UNKNOWN_PARAMETER)
    return b"SMTPUTF8" in seen


def parse_number(digits: bytes) -> int:
    """Read a number of at most 20 digits; raises `CommandRefused` with 501."""
    if not digits.isdigit() or len(digits) > MAX_SIZE_DIGITS:
        raise CommandRefused(replies.SYNTAX)
    return int(digits)


def parse_chunk(argument: bytes) -> tuple[int, bool]:
    """Take the argument of BDAT apart (RFC 3030 section 2): the octets that follow, and whether they are the last.

    Raises:
        CommandRefused: nobody can tell how many octets follow.
    """
    words = argument.split()
    if len(words) == 2 and words[1].upper() == b"LAST":
        return parse_number(words[0]), True
    if len(words) == 1:
        return parse_number(words[0]), False
    raise CommandRefused(replies.SYNTAX)


def check_characters(address: bytes, *, is_utf8: bool) -> None:
    """Refuse a non-ASCII address where SMTPUTF8 was not asked for, or that is not UTF-8 (RFC 6531 section 3.5)."""
    refusal: Reply | None = None
    if not address.isascii():
        if not is_utf8:
            refusal = replies.NEEDS_SMTPUTF8
        else:
            try:
                address.decode("utf-8")
            except UnicodeDecodeError:
                refusal = replies.NEEDS_SMTPUTF8
    if refusal is not None:
        raise CommandRefused(refusal)
