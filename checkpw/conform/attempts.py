"""What a client says to log in, line by line, and what a checker must then be given."""

import base64
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to log in.

    Attributes:
        way: how, in a few words.
        lines: what the client sends, each line without its end; a reply that asks for more is awaited before the next.
        fields: the first fields of the record that the checker must be given; none if it must not be called.
    """

    way: str
    lines: tuple[bytes, ...]
    fields: tuple[bytes, ...] = ()

    @property
    def mechanism(self) -> bytes:
        """The mechanism of SASL, or the command of POP3."""
        first, _, rest = self.lines[0].partition(b" ")
        return rest.partition(b" ")[0] if first == b"AUTH" else first

    @property
    def wire(self) -> bytes:
        """All lines, as a client that does not wait sends them."""
        return b"".join(line + b"\r\n" for line in self.lines)


def encode(text: bytes) -> bytes:
    """Return base64, as SASL has it in SMTP."""
    return base64.b64encode(text)


def decode(text: bytes) -> bytes:
    """Return what a challenge says, as far as it is base64."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def plain(login: bytes, password: bytes, identity: bytes = b"") -> Attempt:
    """Return AUTH PLAIN with the response in the command (RFC 4616, RFC 4954)."""
    message = b"\0".join((identity, login, password))
    return Attempt("AUTH PLAIN", (b"AUTH PLAIN " + encode(message),), (login, password))


def plain_asked(login: bytes, password: bytes, identity: bytes = b"") -> Attempt:
    """Return AUTH PLAIN that is asked for its response: no limit of the command line applies."""
    message = b"\0".join((identity, login, password))
    return Attempt("AUTH PLAIN, asked for the response", (b"AUTH PLAIN", encode(message)), (login, password))


def login(login: bytes, password: bytes) -> Attempt:
    """Return AUTH LOGIN, which asks for one and then for the other."""
    return Attempt("AUTH LOGIN", (b"AUTH LOGIN", encode(login), encode(password)), (login, password))


def login_initial(login: bytes, password: bytes) -> Attempt:
    """Return AUTH LOGIN with the login in the command."""
    lines = (b"AUTH LOGIN " + encode(login), encode(password))
    return Attempt("AUTH LOGIN, the login in the command", lines, (login, password))


def cram_md5(login: bytes, digest: bytes) -> Attempt:
    """Return AUTH CRAM-MD5 (RFC 2195); a caller does not judge the digest, so any will do."""
    return Attempt("AUTH CRAM-MD5", (b"AUTH CRAM-MD5", encode(login + b" " + digest)), (login, digest))


def user_pass(login: bytes, password: bytes) -> Attempt:
    """Return USER and PASS (RFC 1939)."""
    return Attempt("USER and PASS", (b"USER " + login, b"PASS " + password), (login, password))


def apop(login: bytes, digest: bytes) -> Attempt:
    """Return APOP (RFC 1939); a caller does not judge the digest, so any will do."""
    return Attempt("APOP", (b"APOP " + login + b" " + digest,), (login, digest))


Way = Callable[[bytes, bytes], Attempt]

SMTP_WAYS: tuple[Way, ...] = (plain, plain_asked, login, login_initial)
"""The ways in which a login and a password are sent in clear by SMTP."""
