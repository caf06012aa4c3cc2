"""Who goes on with a client after a login: the rest of a chain, as the user (authup(8)).

Either the checker is asked first, with the sentinel in place of the session, and the chain then takes our place; or
checker and session are one chain that is started and waited for, and whose exit status may be that of either.
"""

from checkpw.checker import Answer, Checker
from checkpw.errors import CheckpwError, TemporaryFailure
from checkpw.operations import LOG, TO_CHILD, Close, Kill, Spawn, Wait, Write
from checkpw.smtp.replies import Reply
from checkpw.verdict import ACCEPTED, REJECTED, TEMPORARY, reason_of, verdict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.credentials import Credentials
    from checkpw.operations import Steps

TIMED_OUT = Reply(451, b"4.4.2", b"timeout")
NO_CONTROLS = Reply(421, b"4.3.0", b"unable to read controls")

LAST_WORDS = {16: TIMED_OUT, 18: NO_CONTROLS}
"""Exit status of a session that has not said why it ends: what is said in its place. Those of fixsmtpio."""

UNDECIDED = (2, TemporaryFailure.exit_status)
"""Exit statuses that are taken for the checker's, though the session may have them, too. What means no is another."""


def announced(login: bytes) -> dict[bytes, bytes]:
    """Return what the chain is told about a login."""
    return {b"AUTHUP_USER": login}


class AskedFirst:
    """The checker is asked for its verdict; the chain is not started here, but in place of this process.

    Attributes:
        accepted: whom it let in, and the environment of the chain; None for nobody by now.
        last_words: nothing: the session says that the login is good.
        status: that of the process when nobody was let in.
    """

    __slots__ = ("_make", "accepted", "last_words", "status")

    def __init__(self, make: "Callable[[dict[bytes, bytes]], Checker]") -> None:
        """Ask what `make` returns for an environment."""
        self._make = make
        self.accepted: tuple[Credentials, dict[bytes, bytes]] | None = None
        self.last_words: Reply | None = None
        self.status = 0

    def take_over(self, credentials: "Credentials", environ: dict[bytes, bytes]) -> "Steps[Answer]":
        """Ask for the verdict; who tries to log in stands in no environment before that."""
        answer = yield from self._make(environ).ask(credentials)
        if answer.verdict == ACCEPTED:
            self.accepted = credentials, environ | announced(credentials.login)
        return answer


class WaitedFor:
    """Checker and session are one chain, which has the client until it ends.

    Attributes:
        accepted: nothing, because the chain has run.
        last_words: what is left to say after it.
        status: with which it ended, if it was the session that ended.
    """

    __slots__ = ("_argv", "_client", "_reject_statuses", "accepted", "last_words", "status")

    def __init__(self, argv: list[bytes], reject_statuses: frozenset[int], client: tuple[int, int] = (0, 1)) -> None:
        """Run a chain.

        Args:
            argv: checker and session.
            reject_statuses: exit statuses that mean no.
            client: descriptors that the chain gets as 0 and 1.
        """
        self._argv = argv
        self._reject_statuses = reject_statuses
        self._client = client
        self.accepted: tuple[Credentials, dict[bytes, bytes]] | None = None
        self.last_words: Reply | None = None
        self.status = 0

    def take_over(self, credentials: "Credentials", environ: dict[bytes, bytes]) -> "Steps[Answer]":
        """Run the chain to its end, and take its status for a verdict as far as it can be one."""
        wiring = ((self._client[0], (0,)), (self._client[1], (1,)), (LOG, (2,)), (TO_CHILD, (3,)))
        record = credentials.encode()
        try:
            child = yield Spawn(self._argv, environ | announced(credentials.login), wiring)
        except OSError as error:
            return Answer(TEMPORARY, f"unable to run it: {error.strerror}")
        try:
            try:
                yield Write(child.ends[3], record, None)
            except OSError:
                pass  # closed unread: the exit status still says what came of it
            yield Close(child.ends[3])
            ended = yield Wait(child, None)
        except OSError as error:
            yield Kill(child)
            return Answer(TEMPORARY, f"unable to wait for it: {error.strerror}")
        except CheckpwError:
            yield Kill(child)
            raise
        return self._answer(ended.status)

    def _answer(self, status: int) -> Answer:
        reason = reason_of(status)
        verdict = verdict_of(status, self._reject_statuses)
        if status < 0 or verdict in (ACCEPTED, REJECTED) or status in UNDECIDED:
            return Answer(verdict, reason)
        # No status of a checker: it was the session, which has told the client what there was to tell.
        self.status = status
        self.last_words = LAST_WORDS.get(status)
        return Answer(ACCEPTED, reason)
