"""The words of a link that wraps a checker: `LINK CHECKER [ARGS] -- PROG [ARGS]`.

Without `--` the chain must end in the sentinel (`true`), and everything before it is CHECKER. So a link always knows
where its checker ends, can ask it for its verdict alone, and never takes a status of PROG for one.
"""

from checkpw.chain import is_sentinel
from checkpw.errors import Misuse

SEPARATOR = b"--"

WRAPPERS = (b"checkpw-any", b"checkpw-limit", b"checkpw-log")
"""Links with this grammar."""


class Words:
    """The arguments of a link, taken apart.

    Attributes:
        checker: the program to ask, and its arguments, without what it is to run.
        prog: what runs after a yes, and its arguments.
    """

    __slots__ = ("checker", "prog")

    def __init__(self, checker: list[bytes], prog: list[bytes]) -> None:
        self.checker = checker
        self.prog = prog

    @property
    def asks_only(self) -> bool:
        """Tell whether only the verdict is asked for."""
        return is_sentinel(self.prog)


def parse(argv: list[bytes], checker: str = "checker [arguments]") -> Words:
    """Take the arguments of a link apart.

    The first `--` counts: what follows it is no business of the link, further `--` included.

    Args:
        argv: the link's own name, and its arguments.
        checker: how the usage names what comes before `--`.

    Raises:
        Misuse: there is no checker, or no program, or nobody can tell where the one ends and the other begins.
    """
    words = argv[1:]
    if SEPARATOR in words:
        at = words.index(SEPARATOR)
        found = Words(words[:at], words[at + 1 :])
    elif is_sentinel(words[-1:]):
        found = Words(words[:-1], words[-1:])
    else:
        found = Words([], [])
    if not found.checker or not found.prog:
        name = argv[0].rpartition(b"/")[2].decode("ascii", "backslashreplace") if argv else "link"
        raise Misuse(f"usage: {name} {checker} -- prog [arguments], with login and password on descriptor 3")
    return found


def join(checker: list[bytes], prog: list[bytes]) -> list[bytes]:
    """Return the command that has a checker run `prog`.

    A checker that is itself a link of this grammar, or a program that runs one, gets a `--` of its own: several links
    in a row have one `--` together, before PROG.
    """
    is_wrapped = SEPARATOR not in checker and any(word.rpartition(b"/")[2] in WRAPPERS for word in checker)
    return [*checker, SEPARATOR, *prog] if is_wrapped else [*checker, *prog]
