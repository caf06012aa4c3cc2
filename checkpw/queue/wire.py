"""What is said to a next hop: commands and text as they go over the wire, and what its refusals are here. Pure."""

from checkpw.errors import MessageRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from checkpw.smtp.events import Envelope

ATOM_BYTES = b".!#$%&'*+-/=?^_`{|}~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + bytes(
    range(128, 256)
)
"""What needs no quotes in a local part (RFC 5321 section 4.1.2), UTF-8 included (RFC 6531)."""

HOST_BYTES = b"-.:[]_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + bytes(range(128, 256))
"""Names and address literals. A `>` there would end the path, and the rest be taken for parameters."""

CONTROLS = bytes((*range(32), 127))

MAX_TEXT = 400
"""Bytes of a next hop's words that we pass on: with address and codes in front a reply stays near RFC 5321's 512."""

NO_PATH = (554, b"5.1.3", b"this address cannot be said in SMTP")
NO_SMTPUTF8 = (553, b"5.6.7", b"the next hop does not take UTF-8 addresses")
NO_REQUIRETLS = (550, b"5.7.30", b"the next hop cannot keep the demand for TLS")

NEEDS: dict[bytes, bytes] = {
    b"BODY": b"8BITMIME",
    b"SIZE": b"SIZE",
    b"RET": b"DSN",
    b"ENVID": b"DSN",
    b"NOTIFY": b"DSN",
    b"ORCPT": b"DSN",
    b"REQUIRETLS": b"REQUIRETLS",
}
"""Parameter of MAIL or RCPT: the extension that a next hop has to offer before it is passed on."""


def mail_command(envelope: "Envelope", extensions: "Container[bytes]") -> bytes:
    """Return MAIL for a next hop with these extensions.

    A parameter that the next hop does not know is left out: BODY=8BITMIME too, because a text that was sent as it is
    has nearly always arrived, and one that was converted has lost its signatures. SMTPUTF8 and REQUIRETLS cannot be
    left out.

    Raises:
        MessageRefused: this hop cannot take the message (RFC 6531 section 3.6, RFC 8689 section 4.1), or the sender's
            address cannot be said.
    """
    if envelope.is_utf8 and not (b"SMTPUTF8" in extensions and b"8BITMIME" in extensions):
        raise MessageRefused(*NO_SMTPUTF8)
    if b"REQUIRETLS" in envelope.mail_parameters and b"REQUIRETLS" not in extensions:
        raise MessageRefused(*NO_REQUIRETLS)
    words = [b"MAIL FROM:" + path(envelope.sender), *known(envelope.mail_parameters, extensions)]
    if envelope.is_utf8:
        words.append(b"SMTPUTF8")
    return b" ".join(words) + b"\r\n"


def recipient_command(address: bytes, parameters: list[bytes], extensions: "Container[bytes]") -> bytes:
    """Return RCPT; raises `MessageRefused` for an address that cannot be said."""
    return b" ".join([b"RCPT TO:" + path(address), *known(parameters, extensions)]) + b"\r\n"


def known(parameters: list[bytes], extensions: "Container[bytes]") -> list[bytes]:
    """Return the parameters that belong to one of the extensions."""
    return [word for word in parameters if NEEDS.get(word.partition(b"=")[0]) in extensions and is_printable(word)]


def path(address: bytes) -> bytes:
    """Return an address in brackets, its local part in quotes if it needs them; raises `MessageRefused`."""
    local, at, host = address.rpartition(b"@")
    if not at:
        local, host = address, b""
    if host.translate(None, HOST_BYTES) or not is_printable(address.replace(b" ", b"")):
        raise MessageRefused(*NO_PATH)
    atoms = local.split(b".")
    if address and not (all(atoms) and not local.translate(None, ATOM_BYTES)):
        local = b'"' + local.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"<" + local + at + host + b">"


def is_printable(word: bytes) -> bool:
    """Tell whether a word has neither controls nor blanks, so that it is one word in one command."""
    return b" " not in word and len(word.translate(None, CONTROLS)) == len(word)


class Stuffer:
    """Turns text with LF into what DATA wants: CRLF, and a dot doubled at the start of a line (RFC 5321 4.5.2).

    Work is done on whole blocks. Nearly every block of a large message is base64, which has no dot: to see that takes
    a fiftieth of the search for a dot at the start of a line.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b"\n"  # as if a line had just ended

    def feed(self, text: bytes) -> bytes:
        """Return some of the message for the wire."""
        if not text:
            return b""
        is_dotted = self._last == b"\n" and text.startswith(b".")
        self._last = text[-1:]
        if b"." in text and b"\n." in text:
            text = text.replace(b"\n.", b"\n..")
        text = text.replace(b"\n", b"\r\n")
        return b"." + text if is_dotted else text

    def finish(self) -> bytes:
        """Return the final dot, and before it the line end that a last line lacks."""
        return b".\r\n" if self._last == b"\n" else b"\r\n.\r\n"


PASSED_ON = (450, 451, 452, 455, 550, 551, 552, 553, 554, 555, 556)
"""Codes that mean at a submission server what they mean at its next hop. 421, say, would end the client's session."""

OURS = (500, 502, 503, 530, 534, 535, 538)
"""Codes that say what we did, not what is wrong with the message: a sequence or a login that the hop wants. An
administrator can mend that, so the message is not refused for ever."""


def refusal(code: int, enhanced: bytes, text: bytes, about: bytes = b"") -> MessageRefused:
    """Return the refusal of a message that a next hop refused.

    Args:
        code: of the next hop's reply.
        enhanced: its status; one that does not fit the code, or none, becomes the class's own.
        text: its words.
        about: the recipient that they are about, if they are about one of several.
    """
    words = printable(text)[:MAX_TEXT] or b"refused by the next hop"
    if about:
        words = b"<" + printable(about) + b">: " + words
    if code in OURS or not 400 <= code <= 599:
        return MessageRefused(451, b"4.3.0", words)
    kind = b"%d" % (code // 100)
    if code not in PASSED_ON:
        code = 451 if code < 500 else 554
    return MessageRefused(code, enhanced if enhanced.startswith(kind) else kind + b".0.0", words)


def lost(text: str, status: bytes) -> MessageRefused:
    """Return the refusal of a message whose next hop cannot be talked to."""
    return MessageRefused(451, status, b"next hop: " + printable(text.encode())[:MAX_TEXT])


def printable(text: bytes) -> bytes:
    """Replace what is not printable ASCII."""
    return bytes(byte if 32 <= byte <= 126 else 63 for byte in text)
