"""Asking the checker behind a link for its verdict, and handing the chain over after a yes.

The checker is asked with the sentinel in place of the program that is to run, so that its status is a verdict and never
that of the program. It gets what it would get without the link: our 0, 1 and 2, every other descriptor that we were
given, our directory, our identity and our environment, and on descriptor 3 the record, byte for byte.
"""

import _signal
import posix

from checkpw import chain
from checkpw.chain import NextProgram
from checkpw.credentials import Credentials
from checkpw.fd3 import DESCRIPTOR, read_record
from checkpw.links import grammar

SENTINEL = [b"true"]


class Question:
    """One login that checkers are asked about.

    Attributes:
        credentials: login, password and timestamp.
    """

    __slots__ = ("_environ", "_record", "credentials")

    def __init__(self, record: bytes, environ: dict[bytes, bytes]) -> None:
        """Take a record apart; raises as `Credentials.parse`.

        Args:
            record: as it came on descriptor 3.
            environ: the environment of whoever is asked, and of what runs after a yes.
        """
        self.credentials = Credentials.parse(record)
        self._record = record
        self._environ = environ

    @classmethod
    def receive(cls, environ: dict[bytes, bytes]) -> "Question":
        """Read descriptor 3, and close it.

        Raises:
            TemporaryFailure: it is closed or cannot be read.
            Rejected, Misuse: as `Credentials.parse`; no checker takes such a record.
        """
        return cls(read_record(), environ)

    def ask(self, checker: list[bytes], prog: list[bytes]) -> int:
        """Return how a checker ends that is asked for its verdict: its exit status, or minus the signal.

        Args:
            checker: the program and its arguments.
            prog: what it is to run after a yes; it is not run now, unless it is the sentinel of one's own choice.

        Raises:
            TemporaryFailure: it cannot be run, or we were told to end meanwhile; then so is the checker.
        """
        on_child = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, it would take the status away
        try:
            self._place()
            try:
                pid = chain.start([*checker, *(prog if chain.is_sentinel(prog) else SENTINEL)], self._environ)
            finally:
                posix.close(DESCRIPTOR)
            try:
                status = posix.waitpid(pid, 0)[1]
            except BaseException:
                _end(pid)
                raise
        finally:
            _signal.signal(_signal.SIGCHLD, on_child)
        return posix.waitstatus_to_exitcode(status)

    def hand_over(self, checker: list[bytes], prog: list[bytes]) -> NextProgram:
        """Put the record on descriptor 3 again; return the checker, with what it is to run, as what takes our place."""
        self._place()
        return NextProgram(grammar.join(checker, prog), self._environ)

    def _place(self) -> None:
        """Have descriptor 3 give the record, and then its end; it is inherited."""
        reading, writing = posix.pipe2(posix.O_CLOEXEC)
        try:
            posix.write(writing, self._record)  # at most 512 bytes: they fit into any pipe
        finally:
            posix.close(writing)
        if reading == DESCRIPTOR:
            posix.set_inheritable(DESCRIPTOR, True)  # noqa: FBT003  it takes no keyword
        else:
            posix.dup2(reading, DESCRIPTOR)
            posix.close(reading)


def _end(pid: int) -> None:
    try:
        posix.kill(pid, _signal.SIGTERM)
    except OSError:
        return  # it has ended, or become somebody who is not ours to end


def exit_status(status: int) -> int:
    """Return the exit status that says the same as what `Question.ask` returned."""
    return status if status >= 0 else 111
