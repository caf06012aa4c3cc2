"""The arguments of MAIL, RCPT and BDAT: ofmipd's lenient addresses, RFC 5321's strict parameters."""

from checkpw.smtp import replies
from checkpw.smtp.limits import MAX_ENVELOPE_ID, MAX_ORIGINAL_RECIPIENT, MAX_SIZE_DIGITS
from checkpw.smtp.replies import CommandRefused, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    Known = dict[bytes, tuple[bytes, Callable[[bytes | None], bytes]]]

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


# Parameters. Each is read by a function of what stands behind its `=`, None where there is none; it returns that in the
# spelling in which it is passed on, or raises `CommandRefused`.


def parse_mail_parameters(
    words: list[bytes], keywords: "Container[bytes]", message_bytes: int
) -> tuple[list[bytes], bool]:
    """Check the parameters of MAIL.

    Args:
        words: as they came.
        keywords: what EHLO announced, as far as parameters depend on it.
        message_bytes: limit of a SIZE, 0 for none.

    Returns:
        Those that a next hop has to know, and whether SMTPUTF8 was asked for.

    Raises:
        CommandRefused: 555 for a parameter that is not known, 501 for one that is malformed or comes twice, 552 for
            a SIZE over the limit.
    """
    passed_on = []
    is_utf8 = False
    for name, value in _read(words, MAIL_PARAMETERS, keywords):
        if name == b"SIZE" and 0 < message_bytes < int(value):
            raise CommandRefused(replies.TOO_BIG)
        if name in (b"RET", b"ENVID") or (name == b"BODY" and value != b"7BIT"):
            passed_on.append(name + b"=" + value)
        elif name == b"REQUIRETLS":
            passed_on.append(name)
        is_utf8 |= name == b"SMTPUTF8"
    return passed_on, is_utf8


def parse_recipient_parameters(words: list[bytes], keywords: "Container[bytes]", *, is_utf8: bool) -> list[bytes]:
    """Check the parameters of RCPT and return them for a next hop; arguments and errors as for MAIL."""
    if not is_utf8 and not b"".join(words).isascii():
        raise CommandRefused(replies.SYNTAX)
    return [name + b"=" + value for name, value in _read(words, RECIPIENT_PARAMETERS, keywords)]


def _read(words: list[bytes], known: "Known", keywords: "Container[bytes]") -> "Iterator[tuple[bytes, bytes]]":
    seen = []
    for word in words:
        name, equals, value = word.partition(b"=")
        name = name.upper()
        if name in seen:
            raise CommandRefused(replies.SYNTAX)
        seen.append(name)
        keyword, read = known.get(name, UNKNOWN)
        if keyword and keyword not in keywords:
            raise CommandRefused(replies.UNKNOWN_PARAMETER)
        yield name, read(value if equals else None)


def _body(value: bytes | None) -> bytes:
    word = (value or b"").upper()
    if word not in (b"7BIT", b"8BITMIME"):
        raise CommandRefused(replies.UNKNOWN_PARAMETER)
    return word


def _nothing(value: bytes | None) -> bytes:
    if value is not None:
        raise CommandRefused(replies.SYNTAX)
    return b""


def _anything(value: bytes | None) -> bytes:
    if not value:
        raise CommandRefused(replies.SYNTAX)
    return value


def _returned(value: bytes | None) -> bytes:
    word = _anything(value).upper()
    if word not in (b"FULL", b"HDRS"):
        raise CommandRefused(replies.SYNTAX)
    return word


def _envelope_id(value: bytes | None) -> bytes:
    text = _anything(value)
    if len(text) > MAX_ENVELOPE_ID or not is_xtext(text):
        raise CommandRefused(replies.SYNTAX)
    return text


def _notify(value: bytes | None) -> bytes:
    wishes = _anything(value).upper()
    if wishes != b"NEVER" and not {b"SUCCESS", b"FAILURE", b"DELAY"}.issuperset(wishes.split(b",")):
        raise CommandRefused(replies.SYNTAX)
    return wishes


def _original_recipient(value: bytes | None) -> bytes:
    """Check ORCPT; an address of the type utf-8 may have characters as they are (RFC 6533 section 3)."""
    text = _anything(value)
    kind, _, address = text.partition(b";")
    encoded = address
    if kind.lower() == b"utf-8":
        check_characters(address, is_utf8=True)
        encoded = address.translate(None, NOT_ASCII)
    is_typed = kind and not kind.translate(None, ATOM)
    if len(text) > MAX_ORIGINAL_RECIPIENT or not (is_typed and address and is_xtext(encoded)):
        raise CommandRefused(replies.SYNTAX)
    return text


def is_xtext(text: bytes) -> bool:
    """Tell whether `text` is xtext (RFC 3461 section 4) and stands for nothing that could begin a field of a report."""
    plain, *escaped = text.split(b"+")
    for piece in escaped:
        code = piece[:2]
        if len(code) < 2 or code.translate(None, UPPER_HEX) or not (32 <= int(code, 16) <= 126 or code == b"09"):
            return False
    return not b"".join([plain, *escaped]).translate(None, XCHARS)


UPPER_HEX = b"0123456789ABCDEF"
NOT_ASCII = bytes(range(128, 256))
XCHARS = bytes(byte for byte in range(33, 127) if byte not in b"+=")
ATOM = bytes(byte for byte in range(33, 127) if byte not in b'()<>@,;:\\".[]')
"""RFC 822: what the address types of ORCPT are made of."""

UNKNOWN = (b"no such keyword", _nothing)

MAIL_PARAMETERS: "Known" = {
    b"SIZE": (b"", lambda value: b"%d" % parse_number(value or b"")),
    b"BODY": (b"", _body),
    b"AUTH": (b"", _anything),
    b"SMTPUTF8": (b"SMTPUTF8", _nothing),
    b"RET": (b"DSN", _returned),
    b"ENVID": (b"DSN", _envelope_id),
    b"REQUIRETLS": (b"REQUIRETLS", _nothing),
}
"""Name: the EHLO keyword that it depends on, empty for none, and how it is read.

RFC 1870, 6152, 4954 section 5 (accepted and ignored, as it may be), 6531, 3461 sections 4.3 and 4.4, 8689."""

RECIPIENT_PARAMETERS: "Known" = {b"NOTIFY": (b"DSN", _notify), b"ORCPT": (b"DSN", _original_recipient)}
"""The same for RCPT: RFC 3461 sections 4.1 and 4.2."""
