"""What a door is: the place where a message leaves us for good."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from checkpw.operations import Steps
    from checkpw.smtp.events import Envelope

    class Delivery(Protocol):
        """One message on its way through a door. Nothing of it is queued unless `commit` returns."""

        def write(self, block: bytes) -> "Steps[None]":
            """Take some of the message, lines ending in LF. Trouble is kept until `commit`."""

        def commit(self) -> "Steps[bytes]":
            """Queue the message and return words for the 250, empty for none.

            Raises:
                MessageRefused: it is not queued; the exception carries the reply.
            """

        def abort(self) -> "Steps[None]":
            """Forget the message; also after trouble, and more than once."""

    class LocalDelivery(Delivery, Protocol):
        """A delivery whose message another process may write, which then says how that went."""

        def hand_over(self) -> "Steps[int]":
            """Return the descriptor that takes the message in place of `write`; the caller is to close it."""

        def fail(self, *, is_late: bool) -> None:
            """Take note that the descriptor did not take everything, or not in time; `commit` will say no."""

    class Transaction(Protocol):
        """One envelope that is asked about before its message, where the answers come from a next hop."""

        def offer(self, recipient: bytes, parameters: list[bytes]) -> "Steps[None]":
            """Ask about one more recipient, which the envelope has not got yet.

            Raises:
                MessageRefused: it is refused; the others stand.
            """

        def open(self, envelope: Envelope, environ: dict[bytes, bytes]) -> "Steps[Delivery]":
            """Begin the message, as `Door.open` does."""

        def abort(self) -> "Steps[None]":
            """Forget the envelope; also after trouble, and more than once."""

    class Door(Protocol):
        """The port.

        Attributes:
            carries_smtputf8: a message with UTF-8 addresses gets through unharmed (RFC 6531).
            carries_dsn: what a client wants to be told about its delivery gets through (RFC 3461).
            carries_requiretls: the demand that every hop uses TLS gets through (RFC 8689).
        """

        carries_smtputf8: bool
        carries_dsn: bool
        carries_requiretls: bool

        def begin(self, envelope: Envelope) -> "Steps[Transaction] | None":
            """Ask about a sender, and then about recipients as they come; None where nobody can be asked.

            Raises:
                MessageRefused: the sender is refused.
            """

        def open(self, envelope: Envelope, environ: dict[bytes, bytes]) -> "Steps[Delivery]":
            """Begin a message; `environ` is what a program behind the door gets.

            Raises:
                MessageRefused: the door does not open.
            """
