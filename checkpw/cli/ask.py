"""checkpw ask: put one login and password to any checkpassword program, and say in words what it answered.

The other side of cr.yp.to/checkpwd/interface.html, for people and shell pipelines. Programs that answer
otherwise than the interface says (vchkpw, cvm-checkpassword) are understood by their own statuses.
"""

import contextlib
import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import click

from checkpw import chain
from checkpw.cli import prompt
from checkpw.cli.commands import Setting
from checkpw.credentials import Credentials
from checkpw.errors import TemporaryFailure

NO, TROUBLE = 1, 111

MEANINGS = {
    0: (0, "accepted"),
    1: (NO, "rejected"),
    2: (2, "misuse: the program did not like its arguments or descriptor 3"),
    3: (NO, "rejected (vchkpw: wrong password or unknown user)"),
    4: (TROUBLE, "temporary failure (vchkpw: setgid failed)"),
    5: (TROUBLE, "temporary failure (vchkpw: setuid failed)"),
    6: (TROUBLE, "temporary failure (vchkpw: no home directory or maildir)"),
    7: (TROUBLE, "temporary failure (vchkpw: unable to set USER)"),
    8: (TROUBLE, "temporary failure (vchkpw: unable to set HOME)"),
    9: (TROUBLE, "temporary failure (vchkpw: unable to set SHELL)"),
    10: (TROUBLE, "temporary failure (vchkpw: unable to set VPOPUSER)"),
    11: (TROUBLE, "temporary failure (vchkpw: unable to read descriptor 3)"),
    12: (NO, "rejected (vchkpw: empty login)"),
    13: (NO, "rejected (vchkpw: empty password)"),
    14: (TROUBLE, "temporary failure (vchkpw: unable to create the directory)"),
    15: (NO, "rejected (vchkpw: the account has no password)"),
    20: (NO, "rejected (vchkpw: characters that no login has)"),
    21: (NO, "rejected (vchkpw: unknown system user)"),
    22: (NO, "rejected (vchkpw: no entry in the shadow file)"),
    23: (NO, "rejected (vchkpw: wrong password of a system user)"),
    24: (NO, "rejected (vchkpw: a hash that crypt does not know)"),
    100: (NO, "rejected (cvm-checkpassword)"),
    111: (TROUBLE, "temporary failure: nobody can tell now"),
}
"""Exit status of a checker: (ours, in words). Who says 3 and more: facts about vchkpw 5.6 and cvm 0.97."""


@click.command(
    short_help="Ask any checkpassword program about a login.",
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
EXAMPLES
  checkpw ask -- checkpassword true
  printf 'joe\\nsecret\\n' | checkpw ask -- checkpassword true && echo yes
  printf 'joe\\nsecret\\nmore' | checkpw ask -- checkpassword sh -c 'id; cat'
  checkpw ask --login joe --timeout 5 -- vchkpw true

\b
EXIT STATUS
  0 accepted    1 rejected    2 misuse
  111 temporary failure, killed by a signal, or out of time
  If PROGRAM runs something else than true, other statuses are passed on.""",
)
@click.option("--login", metavar="L", help="The login; otherwise it is asked for, or the first line.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read lines and do not prompt, also from a terminal.")
@click.option(
    "--timeout",
    cls=Setting,
    envvar="CHECKPW_TIMEOUT",
    show_envvar=True,
    type=click.FloatRange(0, 86400, min_open=True),
    metavar="S",
    help="Kill PROGRAM and what it started after so many seconds.",
)
@click.option("--quiet", is_flag=True, help="Answer by the exit status only.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGS]...")
@click.pass_obj
def ask(
    environ: Mapping[str, str],
    login: str | None,
    from_stdin: bool,
    timeout: float | None,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    """Ask PROGRAM, any checkpassword program, whether a login and password are good.

    Without a terminal, login and password are the first two lines of standard input (with --login, the
    password is the first); PROGRAM and what it runs get the rest of it, and their output is not touched. With
    --timeout they run in a process group of their own and cannot read from the terminal.
    """
    by_line = from_stdin or not prompt.is_terminal()
    if login is not None:
        name = os.fsencode(login)
    elif by_line:
        name = prompt.read_line("login")
    else:
        name = os.fsencode(click.prompt("Login", err=True, type=str))
    record = Credentials(name, prompt.password(from_stdin=by_line, confirm=False)).encode()
    argv = [os.fsencode(word) for word in command]
    answer, words = explain(run(argv, environ, record, timeout), runs_more=argv[-1] not in chain.SENTINELS)
    if not quiet:
        click.echo(f"checkpw: {words}", err=True)
    return answer


def explain(status: int, *, runs_more: bool) -> tuple[int, str]:
    """Return our exit status and the words for what waitpid(2) said of a checker.

    Args:
        status: from waitpid.
        runs_more: the chain does not end in `true`, so that a status may be that of what the checker ran.
    """
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return TROUBLE, f"no answer: the program was killed by signal {-code} ({signal.strsignal(-code)})"
    answer, words = MEANINGS.get(code, (TROUBLE, "temporary failure: no status of a checker"))
    if not runs_more:
        return answer, words if code in (0, 1, 2, 111) else f"{words}, exit status {code}"
    if code == 0:
        return 0, "accepted, and what it ran was content"
    return code, f"exit status {code}: {words}; unless it is the status of what the program ran"


def run(argv: list[bytes], environ: Mapping[str, str], record: bytes, timeout: float | None) -> int:
    """Run a checker with the record on descriptor 3; return what waitpid(2) says of it.

    Raises:
        TemporaryFailure: it cannot be started, or did not end in time.
    """
    with _ended_by_signal():
        pid = _spawn(argv, environ, record, own_group=timeout is not None)
        if timeout is None:
            return _wait(pid)
        try:
            return _wait_until(pid, time.monotonic() + timeout)
        except BaseException:
            # Out of time, Ctrl-C or SIGTERM. The group too: the checker may wait for a child of its own.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise


def _spawn(argv: list[bytes], environ: Mapping[str, str], record: bytes, *, own_group: bool) -> int:
    """Start the checker by posix_spawn: subprocess places no pipe on 3 without Python code in the child."""
    encoded = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
    reader, writer = os.pipe()
    try:
        # 512 bytes fit into any pipe, so nobody waits for anybody.
        os.write(writer, record)
    finally:
        os.close(writer)
    # Were the pipe 3 already, DUP2 would keep its close-on-exec flag.
    high = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(reader)
    settings: dict[str, Any] = {
        "file_actions": [(os.POSIX_SPAWN_DUP2, high, 3)],
        "setsigdef": chain.IGNORED_BY_PYTHON,
    }
    if own_group:
        settings["setpgroup"] = 0
    refusal = "not found in PATH"
    try:
        for path in chain.candidates(argv[0], encoded):
            try:
                return os.posix_spawn(path, argv, encoded, **settings)
            except OSError as error:
                if error.errno != errno.ENOENT or b"/" in argv[0]:
                    refusal = str(error.strerror)
                if not chain.is_worth_another_try(error):
                    break
            except ValueError:  # an empty name, or a variable that execve(2) could not carry
                refusal = "no possible program or environment"
                break
    finally:
        os.close(high)
    raise TemporaryFailure(f"unable to run {argv[0]!a}: {refusal}")


def _wait(pid: int) -> int:
    """Wait as system(3) does: SIGINT and SIGQUIT are for what runs, which may be a shell that goes on."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        return os.waitpid(pid, 0)[1]
    except TemporaryFailure:
        os.kill(pid, signal.SIGTERM)
        raise
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _wait_until(pid: int, deadline: float) -> int:
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or before 5.3
        descriptor = -1
    try:
        poller = select.poll()
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TemporaryFailure("no answer: the program was killed because its time was over")
            poller.poll(remaining * 1000 if descriptor >= 0 else min(remaining * 1000, 20))
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into a failure, so that no checker outlives us unnoticed."""

    def ended(number: int, frame: FrameType | None) -> None:
        del frame
        raise TemporaryFailure(f"ended by signal {number}")

    before = {number: signal.signal(number, ended) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
