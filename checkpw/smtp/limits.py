"""How much a session takes; each default has a precedent."""

MAX_ADDRESS = 900
"""Bytes of an address whose host was rewritten: ofmipd answers 555 from here on; RFC 5321 4.5.3.1.3 asks for 256."""

MAX_COMMAND_LINE = 2048
"""Bytes of a command line with its end, as in Postfix; RFC 5321 4.5.3.1.4 asks for 512, extensions add to it."""

MAX_REPLIES = 200
"""Lines of replies, of some 20 to 100 bytes, that are held for a client which sends commands and reads no replies. Who
pipelines a message to a hundred recipients (RFC 5321 section 4.5.3.1.8) still gets them in one piece."""

MAX_AUTH_LINE = 12288
"""Bytes of a line within an AUTH exchange (RFC 4954 section 4.1)."""

MAX_SIZE_DIGITS = 20
"""Digits of a SIZE or BDAT number (RFC 1870 section 3, RFC 3030 section 2)."""

MAX_ENVELOPE_ID = 100
"""Bytes of an ENVID as it is sent (RFC 3461 section 4.4)."""

MAX_ORIGINAL_RECIPIENT = 500
"""Bytes of an ORCPT as it is sent (RFC 3461 section 4.2)."""


class Limits:
    """The limits that an administrator may set.

    Attributes:
        message_bytes: of a message as it is stored, 0 for no limit; the default is 100 MiB.
        recipients: of one message; RFC 5321 4.5.3.1.8 asks for 100, Postfix takes 1000.
        errors: commands that may fail in a session, Postfix's hard error limit.
        auth_failures: in a session; RFC 4954 section 4 wants at least 3.
    """

    __slots__ = ("auth_failures", "errors", "message_bytes", "recipients")

    def __init__(
        self,
        message_bytes: int = 100 * 1024 * 1024,
        recipients: int = 1000,
        errors: int = 20,
        auth_failures: int = 5,
    ) -> None:
        self.message_bytes = message_bytes
        self.recipients = recipients
        self.errors = errors
        self.auth_failures = auth_failures
