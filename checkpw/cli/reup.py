"""reup(8): run a program again until it succeeds, so many times at most."""

import _signal
import posix

from checkpw import chain
from checkpw.errors import Misuse, TemporaryFailure

MAX_DIGITS = 9

USAGE = "usage: reup -t tries prog [arguments]"

ENDING = (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT)


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | chain.NextProgram:
    """Return the status of the first run that succeeds; the last one takes our place.

    Raises:
        Misuse: arguments that make no sense.
        TemporaryFailure: the program cannot be run, or a signal wants us to end; then it gets that, too.
    """
    words = argv[1:]
    if words and words[0] != b"-t" and words[0].startswith(b"-t"):
        words[:1] = [b"-t", words[0][2:]]
    if len(words) < 3 or words[0] != b"-t" or not words[1].isdigit() or len(words[1]) > MAX_DIGITS or int(words[1]) < 1:
        raise Misuse(USAGE)
    prog = words[2:]
    chain.collect_children()
    for _ in range(int(words[1]) - 1):
        if Run(prog, environ).wait() == 0:
            return 0
    return chain.NextProgram(prog, environ)


class Run:
    """One run of the program. A signal that ends us ends it, also one that comes while it is being started."""

    __slots__ = ("_number", "_pid")

    def __init__(self, prog: list[bytes], environ: dict[bytes, bytes]) -> None:
        """Start it; raises `TemporaryFailure`."""
        self._pid = self._number = 0
        before = [(number, _signal.signal(number, self._note)) for number in ENDING]
        try:
            self._pid = chain.start(prog, environ)
        finally:
            for number, handler in before:
                _signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self._number = number

    def wait(self) -> int:
        """Wait for its end and return its status; raises `TemporaryFailure` for a signal."""
        if self._number:
            self._end()
            raise TemporaryFailure(f"ended by signal {self._number}")
        try:
            return posix.waitstatus_to_exitcode(posix.waitpid(self._pid, 0)[1])
        except TemporaryFailure:
            self._end()
            raise

    def _end(self) -> None:
        try:
            posix.kill(self._pid, _signal.SIGTERM)
        except OSError:
            return  # it has ended, or become somebody who is not ours to end
