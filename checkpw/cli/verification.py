"""What `checkpassword true` decides, without starting it: for programs of ours that would start a program of ours.

Nothing is decided here. The verdict is that of `cli.checkpassword`, and its exceptions become what a caller of the
program would have seen: an exit status and at most one line of diagnostics.

Whoever asks from several threads imports ctypes first: hashes are then computed by functions that let the other
threads run (see `libcrypt`). Nothing is shared between two questions; each opens the store anew.
"""

import posix

from checkpw import chain
from checkpw.checker import Answer
from checkpw.cli import exits
from checkpw.cli.checkpassword import authenticate
from checkpw.credentials import Credentials
from checkpw.errors import CheckpwError
from checkpw.verdict import ACCEPTED, MISUSE_STATUS, MISUSED, REJECTED, TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.account import Account

PROGRAM = "checkpassword"

ENTRY = b"    from checkpw.cli.checkpassword import main"
"""The line of its launcher that tells our program from others of the name."""

SEARCH_PATH = b"    sys.path += "
"""How the line of a launcher begins that names where its package is."""

MAX_LAUNCHER = 8192
"""Bytes of a file that are looked at; a launcher has a tenth of them, and the paths of an installation."""

TYPE_OF_FILE, REGULAR = 0o170000, 0o100000
"""S_IFMT and S_IFREG of inode(7); the module stat is not loaded for two numbers."""

NO = frozenset((1,))
"""The exit status that means no by the interface."""


class Outcome:
    """How the program would have ended.

    Attributes:
        status: its exit status.
        account: whose login and password it was; None if nobody's.
        output: what it would have written to its standard error.
    """

    __slots__ = ("account", "output", "status")

    def __init__(self, status: int, account: "Account | None", output: bytes) -> None:
        self.status = status
        self.account = account
        self.output = output


def verify(record: bytes, environ: dict[bytes, bytes]) -> "Account":
    """Return the account whose login and password a record of descriptor 3 has.

    Raises:
        Rejected: no.
        Misuse: the record is malformed.
        TemporaryFailure: nobody can tell.
    """
    return authenticate(Credentials.parse(record), environ)


def attempt(record: bytes, environ: dict[bytes, bytes]) -> Outcome:
    """Verify, and tell how the program would have ended, whatever happened on the way."""
    try:
        return Outcome(0, verify(record, environ), b"")
    except CheckpwError as error:
        # As exits.run: a no is an answer, not news.
        line = "" if error.exit_status in NO else f"{PROGRAM}: {error}\n"
        return Outcome(error.exit_status, None, line.encode("ascii", "backslashreplace"))
    except BaseException as error:  # noqa: BLE001  as in exits.run, whose place this takes: trouble is no answer
        line = f"{PROGRAM}: unexpected trouble: {exits.without_values(error)}\n"
        return Outcome(exits.UNEXPECTED, None, line.encode("ascii", "backslashreplace"))


def answer(record: bytes, environ: dict[bytes, bytes], reject_statuses: frozenset[int] = NO) -> Answer:
    """Say what `checker.Checker` would say of our program, `true` being the rest of its chain.

    Args:
        record: what would be written to descriptor 3.
        environ: what would be its environment.
        reject_statuses: exit statuses that mean no; 0 and 111 are none.
    """
    outcome = attempt(record, environ)
    if outcome.status == 0:
        verdict = ACCEPTED
    elif outcome.status in reject_statuses:
        verdict = REJECTED
    else:
        verdict = MISUSED if outcome.status == MISUSE_STATUS else TEMPORARY
    return Answer(verdict, f"exit status {outcome.status}", outcome.output)


def is_ours(argv: list[bytes], environ: dict[bytes, bytes], launcher: bytes) -> bool:
    """Tell whether a checker is our own checkpassword followed by the sentinel, so that nothing need be started.

    Ours is what lies beside our own program under that name (the same device and inode), if it also belongs to the
    same installation: somebody may have put another checkpassword there since. In doubt it is not ours, and is started.

    Args:
        argv: the checker.
        environ: in whose PATH it would be found.
        launcher: the path that this process was started by, `sys.argv[0]`.
    """
    if len(argv) != 2 or not chain.is_sentinel(argv[1:]):
        return False
    directory, slash, _ = launcher.rpartition(b"/")
    try:
        beside = posix.stat((directory + slash or b"./") + PROGRAM.encode())
        for path in chain.candidates(argv[0], environ):
            try:
                found = posix.stat(path)
            except OSError:
                continue
            if found.st_mode & TYPE_OF_FILE != REGULAR or not posix.access(path, posix.X_OK, effective_ids=True):
                continue
            is_beside = (found.st_dev, found.st_ino) == (beside.st_dev, beside.st_ino)
            return is_beside and _is_of_one_installation(path, launcher)
    except (OSError, ValueError):  # ValueError: a NUL in a name
        return False
    return False


def _is_of_one_installation(path: bytes, launcher: bytes) -> bool:
    """Compare interpreter and search path of two launchers, of which the first has to be that of checkpassword."""
    theirs, ours = _lines(path), _lines(launcher)
    places = [line for line in theirs if line.startswith(SEARCH_PATH)]
    return (
        ENTRY in theirs
        and theirs[0] == ours[0]
        and len(places) == 1
        and places == [line for line in ours if line.startswith(SEARCH_PATH)]
    )


def _lines(path: bytes) -> list[bytes]:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(descriptor, MAX_LAUNCHER).split(b"\n")
    finally:
        posix.close(descriptor)
