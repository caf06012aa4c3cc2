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

    class Door(Protocol):
        """The port.

        Attributes:
            carries_smtputf8: a message with UTF-8 addresses gets through unharmed (RFC 6531).
        """

        carries_smtputf8: bool

        def open(self, envelope: Envelope, environ: dict[bytes, bytes]) -> "Steps[Delivery]":
            """Begin a message; `environ` is what a program behind the door gets.

            Raises:
                MessageRefused: the door does not open.
            """
