"""What a session says to whoever decides.

`AuthAttempted`, `SenderOffered`, `RecipientOffered`, `MessageOffered`, `MessageEnded` and `TlsRequested` wait for a
decision: the session parses nothing further until `accept` or `reject` was called. The others are told and done.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.credentials import Credentials
    from checkpw.smtp.replies import Reply


class Envelope:
    """What MAIL and RCPT said.

    Attributes:
        sender: address without brackets, quotes and route; empty for a bounce.
        recipients: the accepted ones, in order.
        is_utf8: SMTPUTF8 was asked for (RFC 6531).
        mail_parameters: words of MAIL for a next hop that knows them, as they go over the wire: `BODY=8BITMIME`,
            `RET=`, `ENVID=` and `REQUIRETLS`. SIZE is for whoever sends the message to say, SMTPUTF8 is `is_utf8`.
        recipient_parameters: the same of each RCPT, in the order of `recipients`: `NOTIFY=` and `ORCPT=`.
    """

    __slots__ = ("is_utf8", "mail_parameters", "recipient_parameters", "recipients", "sender")

    def __init__(self, sender: bytes, mail_parameters: "list[bytes] | None" = None, *, is_utf8: bool = False) -> None:
        self.sender = sender
        self.recipients: list[bytes] = []
        self.is_utf8 = is_utf8
        self.mail_parameters = mail_parameters or []
        self.recipient_parameters: list[list[bytes]] = []

    def add(self, recipient: bytes, parameters: list[bytes]) -> None:
        """Take a recipient."""
        self.recipients.append(recipient)
        self.recipient_parameters.append(parameters)


class AuthAttempted:
    """An AUTH exchange came to its end.

    Attributes:
        mechanism: its name in capitals.
        login: who tried, as far as that was said.
        credentials: what to ask a checker about; None if there is nothing to ask.
        refusal: the reply for an exchange that no checker is asked about; None if one is to be asked.
        reason: why it is refused, for the log.
    """

    __slots__ = ("credentials", "login", "mechanism", "reason", "refusal")

    def __init__(
        self,
        mechanism: bytes,
        login: bytes,
        credentials: "Credentials | None",
        refusal: "Reply | None" = None,
        reason: str = "",
    ) -> None:
        self.mechanism = mechanism
        self.login = login
        self.credentials = credentials
        self.refusal = refusal
        self.reason = reason


class SenderOffered:
    """MAIL: may this address send? `accept` may put another address in its place.

    Attributes:
        envelope: what becomes the message's, if it is accepted; still without recipients.
    """

    __slots__ = ("address", "envelope")

    def __init__(self, address: bytes, envelope: Envelope) -> None:
        self.address = address
        self.envelope = envelope


class RecipientOffered:
    """RCPT: may mail go to this address? `accept` may put another address in its place.

    Attributes:
        parameters: for a next hop, as in `Envelope.recipient_parameters`.
    """

    __slots__ = ("address", "parameters")

    def __init__(self, address: bytes, parameters: list[bytes]) -> None:
        self.address = address
        self.parameters = parameters


class MessageOffered:
    """DATA or the first BDAT: may the message of this envelope come?"""

    __slots__ = ("envelope",)

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope


class MessageBlock:
    """Some of the message: lines end in LF, dots are removed, no CR is left."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class MessageEnded:
    """The message is complete: `accept` only once it is safely queued.

    Attributes:
        had_stray_returns: it had a CR that was not followed by LF; each became a space.
    """

    __slots__ = ("had_stray_returns",)

    def __init__(self, *, had_stray_returns: bool) -> None:
        self.had_stray_returns = had_stray_returns


class MessageAborted:
    """The message will not be completed: nothing of it may be queued. `reason` is for the log."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class TlsRequested:
    """STARTTLS: `accept` gives the go-ahead, and after the handshake `start_over` is owed."""

    __slots__ = ()


class Closed:
    """The session is over. `reason` is for the log: quit, eof, timeout, errors, auth, desync, tls, shutdown."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Signal:
    """NEED_DATA, OUTPUT_FULL and PAUSED: what `next_event` returns when there is no event."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


NEED_DATA = Signal("NEED_DATA")
"""Send what is to be sent, then receive."""
OUTPUT_FULL = Signal("OUTPUT_FULL")
"""Send what is to be sent, then ask again: there is input, whose replies we do not want to hold as well."""
PAUSED = Signal("PAUSED")
"""A decision is owed."""

if TYPE_CHECKING:
    Event = (
        AuthAttempted
        | SenderOffered
        | RecipientOffered
        | MessageOffered
        | MessageBlock
        | MessageEnded
        | MessageAborted
        | TlsRequested
        | Closed
    )
