"""Shell lines by which what the kit saw of a caller can be seen by hand: its checker is a line of shell.

The lines are sent without waiting for replies, which every server has to stand.
"""

from collections.abc import Sequence

from checkpw.conform import shell
from checkpw.conform.calling.call import SEEN, Answer

BY_HAND = "/tmp/checker"  # noqa: S108  a name for a reader to replace
NOT_THERE = "/nonexistent"


def caller(
    argv: Sequence[bytes],
    place: bytes,
    wire: bytes | str,
    answer: Answer | None,
    *,
    is_chain: bool = False,
    before: str = "",
    prefix: str = "",
    redirect: str = "",
    shows: str = "od -c <&3",
) -> str:
    """Return a shell line that says something to a caller whose checker answers in a certain way.

    Args:
        argv: the command, with `place` for the checker.
        place: what stands for it.
        wire: what the client says; a text is a command that says it.
        answer: what the checker does; as far as a line of shell can do it; None for one that is not there.
        is_chain: whether the checker runs the words behind it after a yes.
        before: a command that makes the checker, `BY_HAND`, where it is no line of shell.
        prefix: what stands in front of the command.
        redirect: further descriptors of the command.
        shows: what the checker says of what it was given, once it is all over.
    """
    words = [word.replace(place, (BY_HAND if answer or before else NOT_THERE).encode()) for word in argv]
    feed = wire if isinstance(wire, str) else f"printf {shell.quote_printf(wire)}"
    given = f"{feed} | {prefix}"
    if before:
        return f"{before}; {given}{shell.quote_all(words)}"
    if answer is None:
        return given + shell.quote_all(words)
    end = f"{redirect}; cat {SEEN}"
    given = f"rm -f {SEEN}; {given}"
    if all(word == place or place not in word for word in argv):
        does = answer.shell(shows)
        if is_chain and answer.is_yes:
            does = does.removesuffix("exit 0") + 'exec "$0" "$@" 3<&-'
        checker = f"sh -c {shell.quote(does)}"
        return given + " ".join(checker if word == place else shell.quote(word) for word in argv) + end
    make = f"printf '#!/bin/sh\\n%s\\n' {shell.quote(answer.shell(shows))} >{BY_HAND}; chmod 755 {BY_HAND}; "
    return make + given + shell.quote_all(words) + end
