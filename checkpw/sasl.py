"""AUTH PLAIN (RFC 4616), LOGIN (an expired draft that everybody speaks) and CRAM-MD5 (RFC 2195), without SMTP.

A mechanism is driven by `step`: with the initial response or None first, then with each response. It returns the next
challenge as bytes, or the `Credentials` that were meant.
"""

import binascii

from checkpw.credentials import MAX_RECORD, Credentials
from checkpw.secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Mechanism(Protocol):
        """One exchange of a mechanism."""

        @property
        def name(self) -> bytes:
            """Its name in capitals."""

        def step(self, response: bytes | None) -> bytes | Credentials:
            """Take a response, None where there is none yet; raises `Malformed` or `NotAcceptable`."""


class Malformed(Exception):
    """Not base64, or not what the mechanism says. The text is for the log and quotes nothing that was sent."""


class NotAcceptable(Exception):
    """Well formed, but nobody can log in with it; `login` is who tried."""

    def __init__(self, reason: str, login: bytes) -> None:
        super().__init__(reason)
        self.login = login


class Plain:
    """RFC 4616: one message, authzid NUL authcid NUL password."""

    __slots__ = ()

    name = b"PLAIN"

    def step(self, response: bytes | None) -> bytes | Credentials:
        """Take the response, None to be asked for it."""
        if response is None:
            return b""
        fields = response.split(b"\0")
        if len(fields) != 3:
            raise Malformed("PLAIN wants two NULs")
        authorisation, login, password = fields
        credentials = checked(login, password)
        if authorisation not in (b"", login):
            raise NotAcceptable("authorisation identity is somebody else", login)
        return credentials


class Login:
    """Asks for a user name, unless it came as the initial response, and then for a password."""

    __slots__ = ("_login",)

    name = b"LOGIN"

    def __init__(self) -> None:
        self._login: bytes | None = None

    def step(self, response: bytes | None) -> bytes | Credentials:
        """Take the user name, then the password; None to be asked for the first."""
        if response is None:
            return b"Username:"
        if self._login is None:
            if not response:
                raise Malformed("empty login")
            self._login = response
            return b"Password:"
        return checked(self._login, response)


class CramMd5:
    """RFC 2195: the answer is the login and a digest of challenge and password, which a checker has to look at.

    Only checkers that keep passwords in clear can. They get the digest as password and the challenge as timestamp, the
    order of Hoffmann's patches from 0.4 on, of vchkpw and of cmd5checkpw 0.30.
    """

    __slots__ = ("_challenge", "_is_sent")

    name = b"CRAM-MD5"

    def __init__(self, challenge: bytes) -> None:
        self._challenge = challenge
        self._is_sent = False

    def step(self, response: bytes | None) -> bytes | Credentials:
        """Give the challenge, then take the answer."""
        if response is None:
            self._is_sent = True
            return self._challenge
        login, _, digest = response.rpartition(b" ")
        if not self._is_sent or len(digest) != 32 or digest.translate(None, b"0123456789abcdef"):
            raise Malformed("CRAM-MD5 wants a challenge, and then a login and 32 hexadecimal digits")
        return checked(login, digest, self._challenge)


MECHANISMS: "dict[bytes, Callable[[], Mechanism]]" = {b"PLAIN": Plain, b"LOGIN": Login}
"""What every checker can decide about, in the order of preference in which EHLO announces them."""


def checked(login: bytes, password: bytes, timestamp: bytes = b"") -> Credentials:
    """Let through only what descriptor 3 can carry without becoming something else.

    Raises:
        Malformed: empty, or NUL, CR or LF inside; a NUL would start the next field of the record.
        NotAcceptable: the record would have more than 512 bytes.
    """
    for what, value in (("login", login), ("password", password)):
        if not value:
            raise Malformed(f"empty {what}")
        if b"\0" in value or b"\r" in value or b"\n" in value:
            raise Malformed(f"NUL, CR or LF in {what}")
    if len(login) + len(password) + len(timestamp) + 3 > MAX_RECORD:
        raise NotAcceptable("login and password have more than 512 bytes together", login)
    return Credentials(login, Secret(password), timestamp)


def decode(line: bytes) -> bytes:
    """Decode a response: strict base64 (RFC 4954 section 4).

    Raises:
        Malformed: a character outside the alphabet, or padding that is missing or misplaced.
    """
    # Python before 3.13 takes padding behind a complete group of four, even in strict mode.
    if len(line) % 4 or line.endswith(b"==="):
        raise Malformed("not base64")
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except ValueError:  # binascii.Error is one; its text says where, and is dropped with the rest
        raise Malformed("not base64") from None


def encode(challenge: bytes) -> bytes:
    """Encode a challenge for a 334 reply."""
    return binascii.b2a_base64(challenge, newline=False)
