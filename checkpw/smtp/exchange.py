"""One AUTH exchange (RFC 4954 section 4): from the command's argument to an attempt that somebody decides."""

from checkpw import sasl
from checkpw.smtp import replies
from checkpw.smtp.events import AuthAttempted
from checkpw.smtp.replies import CommandRefused, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.sasl import Mechanism


class AuthExchange:
    """A mechanism that is being driven by a client."""

    __slots__ = ("_mechanism",)

    def __init__(self, name: bytes, mechanisms: "dict[bytes, Callable[[], Mechanism]]" = sasl.MECHANISMS) -> None:
        """Begin; raises `CommandRefused` for a mechanism that is none of these. Its case does not matter."""
        mechanism = mechanisms.get(name.upper())
        if mechanism is None:
            raise CommandRefused(replies.AUTH_UNKNOWN)
        self._mechanism = mechanism()

    def begin(self, initial: bytes) -> "bytes | AuthAttempted":
        """Take the initial response, empty if there was none; `=` stands for one of no bytes."""
        if not initial:
            return self._step(None)
        return self._step(b"") if initial == b"=" else self._decoded(initial)

    def respond(self, line: bytes) -> "bytes | AuthAttempted":
        """Take a response.

        Returns:
            The line of the next challenge, or the attempt that this completes.

        Raises:
            CommandRefused: the client gave up.
        """
        if line == b"*":
            raise CommandRefused(replies.AUTH_CANCELLED)
        return self._decoded(line)

    def _decoded(self, line: bytes) -> "bytes | AuthAttempted":
        try:
            return self._step(sasl.decode(line))
        except sasl.Malformed as error:
            return self._refused(replies.AUTH_MALFORMED, error, b"")

    def _step(self, response: bytes | None) -> "bytes | AuthAttempted":
        try:
            outcome = self._mechanism.step(response)
        except sasl.Malformed as error:
            return self._refused(replies.AUTH_MALFORMED, error, b"")
        except sasl.NotAcceptable as error:
            return self._refused(replies.AUTH_FAILED, error, error.login)
        if isinstance(outcome, bytes):
            return b"334 " + sasl.encode(outcome) + b"\r\n"
        return AuthAttempted(self._mechanism.name, outcome.login, outcome)

    def _refused(self, reply: Reply, error: Exception, login: bytes) -> AuthAttempted:
        return AuthAttempted(self._mechanism.name, login, None, reply, str(error))
