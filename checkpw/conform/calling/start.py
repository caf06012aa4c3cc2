"""How a session of the command under test begins, where that is not as usual, and checkers that cannot be executed."""

import enum
import os
import shlex
from dataclasses import dataclass

from checkpw.conform.calling import recipes


class Unusable(enum.Enum):
    """Why the file that stands in the checker's place cannot be executed; execve(2) has an error for each."""

    NOT_EXECUTABLE = "is not executable"  # EACCES
    MISSING = "is not there"  # ENOENT
    DIRECTORY = "is a directory"  # EACCES
    TEXT = "is text without #!"  # ENOEXEC
    NO_INTERPRETER = "names an interpreter that is not there"  # ENOENT, though the file is there
    LOOP = "is a symbolic link to itself"  # ELOOP

    def put(self, path: str) -> None:
        """Make such a file."""
        match self:
            case Unusable.DIRECTORY:
                os.mkdir(path, 0o700)
            case Unusable.LOOP:
                os.symlink(path, path)
            case Unusable.MISSING:
                pass
            case _:
                with open(path, "w", encoding="ascii") as file:
                    file.write(_TEXTS[self])
                os.chmod(path, 0o600 if self is Unusable.NOT_EXECUTABLE else 0o700)

    @property
    def by_hand(self) -> str:
        """The shell command that makes such a file where recipes have their checker."""
        path = recipes.BY_HAND
        match self:
            case Unusable.DIRECTORY:
                return f"mkdir {path}"
            case Unusable.LOOP:
                return f"ln -s {path} {path}"
            case Unusable.MISSING:
                return f"rm -f {path}"
            case _:
                mode = 600 if self is Unusable.NOT_EXECUTABLE else 700
                text = shlex.quote(_TEXTS[self].replace("\n", "\\n"))
                return f"printf {text} >{path}; chmod {mode} {path}"


# execvp(3) gives text to a shell: then the answer is 111, which comes to the same for the client.
_TEXTS = {
    Unusable.NOT_EXECUTABLE: "#!/bin/true\n",
    Unusable.TEXT: "exit 111\n",
    Unusable.NO_INTERPRETER: "#!/nonexistent\n",
}


@dataclass(frozen=True, slots=True)
class Start:
    """How a session begins.

    Attributes:
        occupied: numbers of descriptors that the command finds open, to /dev/null.
        ignored: signals that it finds ignored.
        unusable: why its checker cannot be executed, None for the kit's probe.
    """

    occupied: tuple[int, ...] = ()
    ignored: frozenset[int] = frozenset()
    unusable: Unusable | None = None


USUAL = Start()
