"""Asking a checkpassword program, from the caller's side (cr.yp.to/checkpwd/interface.html).

The program gets descriptor 3 and an environment; its 0 and 1 are /dev/null, and what it writes to 2 goes to our log,
never to a client. An answer is an answer even if descriptor 3 was not read.
"""

from checkpw.operations import FROM_CHILD, NULL, TO_CHILD, Close, Kill, Spawn, TimedOut, Wait, Write
from checkpw.verdict import TEMPORARY, reason_of, verdict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from checkpw.credentials import Credentials
    from checkpw.operations import Ended, Steps

DIAGNOSTICS_BYTES = 4096
"""How much of what a checker writes to its standard error is logged."""

WIRING = ((NULL, (0, 1)), (FROM_CHILD, (2,)), (TO_CHILD, (3,)))


class Answer:
    """What a checker said.

    Attributes:
        verdict: ACCEPTED, REJECTED, MISUSED or TEMPORARY.
        reason: how it said so, for the log.
        diagnostics: what it wrote to its standard error.
    """

    __slots__ = ("diagnostics", "reason", "verdict")

    def __init__(self, verdict: str, reason: str, diagnostics: bytes = b"") -> None:
        self.verdict = verdict
        self.reason = reason
        self.diagnostics = diagnostics


class Checker:
    """A checkpassword program and the rest of its chain.

    Attributes:
        argv: the program and its arguments, e.g. `checkpassword true`.
    """

    __slots__ = ("_environ", "_reject_statuses", "_short_cut", "_timeout", "argv")

    def __init__(
        self,
        argv: list[bytes],
        environ: dict[bytes, bytes],
        reject_statuses: frozenset[int],
        timeout: float,
        short_cut: "Callable[[], Callable[[], int] | None] | None" = None,
    ) -> None:
        """Use a program.

        Args:
            argv: what to run.
            environ: its environment.
            reject_statuses: exit statuses that mean no. 1 does by the interface; vchkpw and cvm have others.
            timeout: seconds that it has; past them its process group is killed.
            short_cut: asked before each start, gives what a forked child of ours does to the same effect in place of
                the program, or None where the program is to be run.
        """
        self.argv = argv
        self._environ = environ
        self._reject_statuses = reject_statuses
        self._timeout = timeout
        self._short_cut = short_cut

    @property
    def reject_statuses(self) -> frozenset[int]:
        """The exit statuses that mean no."""
        return self._reject_statuses

    def ask(self, credentials: "Credentials", known: "Mapping[bytes, bytes] | None" = None) -> "Steps[Answer]":
        """Run the program and return its answer; whatever is no clear answer is TEMPORARY.

        Args:
            credentials: the login.
            known: what its environment tells of the client, over and above the one that all have.
        """
        record = credentials.encode()
        instead = self._short_cut() if self._short_cut is not None else None
        try:
            child = yield Spawn(self.argv, {**self._environ, **(known or {})}, WIRING, instead)
        except OSError as error:
            return Answer(TEMPORARY, f"unable to run it: {error.strerror}")
        try:
            try:
                # At most 512 bytes: they fit into the pipe, so that this waits for nobody.
                yield Write(child.ends[3], record, self._timeout)
            except OSError:
                pass  # it has closed descriptor 3 unread: its exit status still is its answer
            yield Close(child.ends[3])
            ended = yield Wait(child, self._timeout, child.ends[2], DIAGNOSTICS_BYTES)
        except TimedOut as late:
            yield Kill(child)
            return Answer(TEMPORARY, f"no answer in {self._timeout:g} seconds", late.output)
        except OSError as error:
            yield Kill(child)
            return Answer(TEMPORARY, f"unable to wait for it: {error.strerror}")
        return self._answer(ended)

    def _answer(self, ended: "Ended") -> Answer:
        return Answer(verdict_of(ended.status, self._reject_statuses), reason_of(ended.status), ended.output)
