"""What EHLO announces, as far as it depends on more than the session: on the door, and on who goes on after AUTH."""

from checkpw import sasl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.sasl import Mechanism

ALWAYS = (b"PIPELINING", b"8BITMIME", b"CHUNKING", b"ENHANCEDSTATUSCODES")
"""What the session itself can do."""


class Offers:
    """Extensions that a session has.

    Attributes:
        mechanisms: of AUTH, by name, in the order in which they are announced.
    """

    __slots__ = ("_carried", "_is_legacy", "_stands_for", "mechanisms")

    def __init__(
        self,
        *,
        smtputf8: bool = False,
        dsn: bool = False,
        requiretls: bool = False,
        stands_for: tuple[bytes, ...] | None = None,
        mechanisms: "dict[bytes, Callable[[], Mechanism]]" = sasl.MECHANISMS,
        is_legacy: bool = False,
    ) -> None:
        """Describe them.

        Args:
            smtputf8: the door can carry it.
            dsn: the same.
            requiretls: the same; announced where TLS is used (RFC 8689 section 2).
            stands_for: what a server can do that goes on after AUTH; announced in place of what the session can.
            mechanisms: as the attribute.
            is_legacy: mechanisms are announced once more, with `=`, for clients from before RFC 2554.
        """
        self._carried = (b"SMTPUTF8",) * smtputf8 + (b"DSN",) * dsn + (b"REQUIRETLS",) * requiretls
        self._stands_for = stands_for
        self._is_legacy = is_legacy
        self.mechanisms = mechanisms

    def keywords(self, *, uses_tls: bool) -> tuple[bytes, ...]:
        """Return what is announced because the door carries it."""
        if uses_tls or b"REQUIRETLS" not in self._carried:
            return self._carried
        return tuple(keyword for keyword in self._carried if keyword != b"REQUIRETLS")

    def lines(self, message_bytes: int, *, uses_tls: bool, starttls: bool, auth: bool) -> list[bytes]:
        """Return what follows the host name.

        Args:
            message_bytes: limit of a message, 0 for no fixed limit (RFC 1870 section 4).
            uses_tls: the connection is encrypted.
            starttls: STARTTLS can be said.
            auth: AUTH can be said.
        """
        if self._stands_for is None:
            found = [*ALWAYS, b"SIZE %d" % message_bytes, *self.keywords(uses_tls=uses_tls)]
        else:
            found = list(self._stands_for)
        if starttls:
            found.append(b"STARTTLS")
        if auth:
            names = b" ".join(self.mechanisms)
            found.append(b"AUTH " + names)
            if self._is_legacy:
                found.append(b"AUTH=" + names)
        return found


DEFAULT = Offers()
