"""checkpw(8), the command for people: its way in, and the one place where its troubles become exit statuses.

Statuses are those of the interface it serves, because its answers stand in shell conditions beside those of
checkers: 1 is "no" and nothing else. click and Python use 1 for their own troubles, so nothing of theirs gets
past here.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

TROUBLE = 111


def main(argv: "list[str]", environ: "Mapping[str, str]") -> int:
    """Run the command and return its exit status.

    Args:
        argv: the program's name and its arguments.
        environ: where options that were not given are looked up, and what `ask` hands to a checker.
    """
    try:
        # Here and not above: a package that is missing is trouble, and not Python's status for it.
        import click

        from checkpw.cli.commands import checkpw
        from checkpw.errors import CheckpwError
    except Exception as error:  # noqa: BLE001  whatever it was, it must not become status 1
        return _trouble(error)
    try:
        outcome = checkpw.main(args=argv[1:], prog_name="checkpw", standalone_mode=False, obj=environ)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return TROUBLE
    except click.Abort:
        _say("checkpw: interrupted")
        return TROUBLE
    except CheckpwError as error:
        _say(f"checkpw: {error}")
        return error.exit_status
    except SystemExit as error:  # click's completion, or a reader of our output that went away
        return TROUBLE if error.code else 0
    except BaseException as error:  # noqa: BLE001  as above
        return _trouble(error)
    return outcome if isinstance(outcome, int) else 0


def start() -> "NoReturn":
    """Be the program."""
    status = TROUBLE
    try:
        import os

        from checkpw import chain

        chain.fill_standard_descriptors()
        # Python gave up a stream whose descriptor was closed; now there is /dev/null.
        sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        given = chain.given_environment()
        status = main(sys.argv, {os.fsdecode(name): os.fsdecode(value) for name, value in given.items()})
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001  as above
        status = _trouble(error)
    finally:
        # Python's own end flushes once more, and makes 120 of a full disk or a closed pipe.
        from posix import _exit

        _exit(status)


def _trouble(error: BaseException) -> int:
    """Report an exception that nobody expected by its name: its text could hold a password."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else ""
    missing = f" ({error.name})" if isinstance(error, ImportError) and error.name else ""
    _say(f"checkpw: unexpected trouble: {type(error).__name__}{missing}{place}")
    return TROUBLE


def _say(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return  # nobody is listening; the status still tells


if __name__ == "__main__":
    start()
