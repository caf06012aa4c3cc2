"""reup(8): run a program again until it succeeds, so many times at most."""

import _signal
import posix

from checkpw import chain
from checkpw.cli.environment import MAX_DIGITS
from checkpw.errors import Misuse, TemporaryFailure

USAGE = "usage: reup -t tries prog [arguments]"


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
        if _run(prog, environ) == 0:
            return 0
    return chain.NextProgram(prog, environ)


def _run(prog: list[bytes], environ: dict[bytes, bytes]) -> int:
    pid = chain.start(prog, environ)
    try:
        return posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    except TemporaryFailure:
        try:
            posix.kill(pid, _signal.SIGTERM)
        except OSError:
            pass  # it has ended, or become somebody who is not ours to end
        raise
