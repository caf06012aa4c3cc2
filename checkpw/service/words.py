"""The words of the protocol between a worker, the verifier and the opener, and what they take apart.

A worker is the one that a stranger may have taken over: what it says is checked here, and the rest of the frame's shape
in `checkpw.frames`.
"""

from __future__ import annotations

from checkpw.frames import BadFrame, pack, unpack
from checkpw.smtp.events import Envelope

CHECK = b"check"
"""record, origin -> verdict, reason, diagnostics, ticket."""
OPEN = b"open"
"""ticket, origin, envelope -> OPENED number and a descriptor, or REFUSED."""
SUBMIT = b"submit"
"""ticket, origin, envelope, message -> QUEUED words, or REFUSED: a small message in one go."""
COMMIT = b"commit"
"""number, trouble -> QUEUED words, or REFUSED code, enhanced status, text."""
ABORT = b"abort"
"""number -> ABORTED."""
DIAL = b"dial"
"""-> OPENED and a socket that is connected to the next hop, or FAILED and why."""

OPENED, QUEUED, REFUSED, ABORTED, FAILED = b"opened", b"queued", b"refused", b"aborted", b"failed"

NONE, BROKEN, LATE = b"", b"broken", b"late"
"""The trouble that writing a message met with."""

ORIGIN = (
    b"PROTO",
    b"TCPLOCALIP",
    b"TCPLOCALPORT",
    b"TCPREMOTEIP",
    b"TCPREMOTEPORT",
    b"SSL_CIPHER",
    b"SSL_PROTOCOL",
    b"SSL_TLS_SNI",
)
"""What a worker may say about a client, in the environment of checkers and of programs behind the door."""

MAX_ORIGIN_VALUE = 255
MAX_ADDRESS_BYTES = 4096
MAX_RECIPIENTS = 100_000
MAX_PARAMETERS = 16


def pack_origin(environ: dict[bytes, bytes]) -> bytes:
    """Make one field of what is known about a client."""
    return pack([word for name in ORIGIN if _is_told(environ.get(name)) for word in (name, environ[name])])


def _is_told(value: bytes | None) -> bool:
    return value is not None and b"\0" not in value and len(value) <= MAX_ORIGIN_VALUE


def unpack_origin(field: bytes) -> dict[bytes, bytes]:
    """Take that apart; raises `BadFrame` for a name that is none of `ORIGIN` or a value that no client has."""
    words = unpack(field)
    if len(words) % 2 or len(words) > 2 * len(ORIGIN):
        raise BadFrame("an origin is malformed")
    origin = dict(zip(words[::2], words[1::2], strict=True))
    for name, value in origin.items():
        if name not in ORIGIN or not _is_told(value):
            raise BadFrame("an origin says what it may not")
    return origin


def may_be_told(envelope: Envelope) -> bool:
    """Tell whether `unpack_envelope` takes an envelope: its sender may be what stands in a name.cdb."""
    return len(envelope.recipients) < MAX_RECIPIENTS and all(map(_is_address, (envelope.sender, *envelope.recipients)))


def pack_envelope(envelope: Envelope) -> bytes:
    """Make one field of an envelope."""
    words = [b"u" if envelope.is_utf8 else b"", envelope.sender, pack(envelope.mail_parameters)]
    for recipient, parameters in zip(envelope.recipients, envelope.recipient_parameters, strict=True):
        words += [recipient, pack(parameters)]
    return pack(words)


def unpack_envelope(field: bytes) -> Envelope:
    """Take that apart; raises `BadFrame` for one that no session makes."""
    words = unpack(field)
    if len(words) < 5 or len(words) % 2 == 0 or words[0] not in (b"", b"u") or len(words) > 2 * MAX_RECIPIENTS:
        raise BadFrame("an envelope is malformed")
    envelope = Envelope(_address(words[1]), is_utf8=words[0] == b"u")
    envelope.mail_parameters = _parameters(words[2])
    envelope.recipients = [_address(word) for word in words[3::2]]
    envelope.recipient_parameters = [_parameters(word) for word in words[4::2]]
    return envelope


def _is_address(word: bytes) -> bool:
    return b"\0" not in word and b"\n" not in word and len(word) <= MAX_ADDRESS_BYTES


def _address(word: bytes) -> bytes:
    if not _is_address(word):
        raise BadFrame("an address is malformed")
    return word


def _parameters(field: bytes) -> list[bytes]:
    words = unpack(field)
    if len(words) > MAX_PARAMETERS:
        raise BadFrame("too many parameters")
    return [_address(word) for word in words]
