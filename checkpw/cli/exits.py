"""The one place where exceptions become exit statuses, and where a program ends."""

import _signal
import posix
import sys

from checkpw import chain
from checkpw.errors import CheckpwError, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

UNEXPECTED = 111
"""Everything that nobody thought of is temporary. Python's own status for it, 1, says "wrong password" here."""


def run(name: str, main: "Callable[[list[bytes], dict[bytes, bytes]], int | chain.NextProgram]") -> "NoReturn":
    """Call `main` with arguments and environment as bytes, and leave with the status that it means.

    `main` returns an exit status, or the program that takes our place. The process ends without Python's
    finalisation: it takes longer than checking a password.
    """
    status = UNEXPECTED
    try:
        chain.fill_standard_descriptors()
        for number in (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT):
            if _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
                _signal.signal(number, _interrupted)
        core_limits = chain.forbid_core_dumps()
        encoding = sys.getfilesystemencoding()
        argv = [word.encode(encoding, "surrogateescape") for word in sys.argv]
        outcome = main(argv, chain.given_environment())
        if isinstance(outcome, chain.NextProgram):
            chain.give_back_core_dumps(core_limits)
            chain.hand_over(outcome)
        status = outcome
    except CheckpwError as error:
        status = error.exit_status
        if status != 1:  # a no is an answer, not news
            _say(f"{name}: {error}")
    except BaseException as error:  # noqa: BLE001  whatever it was, it must not become status 1
        _say(f"{name}: unexpected trouble: {without_values(error)}")
    finally:
        posix._exit(status)  # noqa: SLF001  the name says what it skips, not that it is private


def _interrupted(number: int, _frame: object) -> None:
    raise TemporaryFailure(f"ended by signal {number}")


def without_values(error: BaseException) -> str:
    """Name an exception and where it came from; its text could hold a password."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else ""
    return type(error).__name__ + place


def _say(line: str) -> None:
    try:
        posix.write(2, line.encode("ascii", "backslashreplace") + b"\n")
    except OSError:
        return  # nobody is listening; the status still tells
