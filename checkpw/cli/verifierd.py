"""checkpw-verifierd(8): the one process that can read the accounts, asked by others through a unix socket.

What it needs root for it does first: make the socket, become the user. From then on nothing is opened but the store,
and nothing is started.
"""

import asyncio
import grp
import os
import pwd
import secrets
import socket
import sys

import click

from checkpw import notify, privileges
from checkpw.budget import Budget
from checkpw.cli import verification
from checkpw.cli import verifier_setup as setup
from checkpw.cli.verifier_server import BACKLOG, Limits, Server
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.logline import render
from checkpw.service.logsink import LogSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.logline import Value

PROGRAM = "checkpw-verifierd"

MAX_SECONDS = 1e6
"""Eleven days: what counts for longer is no rate."""

SPARE_DESCRIPTORS = 64
"""What is open besides connections, and what the threads open while they ask the store."""

NOBODYS_RECORD = b"\n\0\0\0"
"""A record whose login no store can have: asked at the start, to see whether the store can be read."""


Environ = dict[bytes, bytes]


class Setting(click.Option):
    """An option that may come from the environment which `main` was given, and not from the process's own."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value, None if it is unset or empty."""
        environ: Environ = ctx.obj or {}
        return os.fsdecode(environ.get(os.fsencode(str(self.envvar)), b"")) or None


def read_rate(_ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, float] | None:
    """Read `N/SECONDS`; None for the word none."""
    if value == "none":
        return None
    tries, _, seconds = value.partition("/")
    try:
        rate = int(tries), float(seconds)
    except ValueError:
        rate = 0, 0.0
    if not (rate[0] >= 1 and 0 < rate[1] <= MAX_SECONDS):
        raise click.BadParameter(f"{value!r} is no rate: want N/SECONDS, or none", param=param)
    return rate


def read_mode(_ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Read permissions in octal."""
    if not value or set(value) - set("01234567") or int(value, 8) > 0o777:
        raise click.BadParameter(f"{value!r} is no mode: want three octal digits", param=param)
    return int(value, 8)


def read_group(_ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    """Return the gid of a group; -1, which changes nothing, for none."""
    if value is None:
        return -1
    try:
        return grp.getgrnam(value).gr_gid
    except KeyError:
        raise click.BadParameter(f"there is no group {value!r}", param=param) from None


def read_user(_ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Return uid and gid of a user, who is not root."""
    if value is None:
        return None
    try:
        user = pwd.getpwnam(value)
    except KeyError:
        raise click.BadParameter(f"there is no user {value!r}", param=param) from None
    if user.pw_uid == 0:
        raise click.BadParameter("root needs no --user", param=param)
    return user.pw_uid, user.pw_gid


@click.command(
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="""\b
EXAMPLES
  checkpw-verifierd --socket /run/checkpw/verifier --group mail
  checkpw-verifierd --socket /run/checkpw/verifier --user vmail --mode 0666 \\
      --accounts file:/etc/checkpw/accounts
  CHECKPW_ACCOUNTS=verifier:/run/checkpw/verifier checkpassword true 3<record

\b
EXIT STATUS
  0 ended by SIGTERM    2 wrong usage    111 trouble

See checkpw-verifierd(8).""",
)
@click.option(
    "--socket",
    "path",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_SOCKET",
    show_envvar=True,
    type=click.Path(),
    help="The unix socket to make; not needed where systemd hands one over.",
)
@click.option(
    "--mode",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_MODE",
    show_envvar=True,
    callback=read_mode,
    default="0660",
    show_default=True,
    metavar="OCTAL",
    help="Permissions of the socket: who may write to it may ask.",
)
@click.option(
    "--group",
    "gid",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_GROUP",
    show_envvar=True,
    callback=read_group,
    metavar="G",
    help="Group of the socket.",
)
@click.option(
    "--user",
    "identity",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_USER",
    show_envvar=True,
    callback=read_user,
    metavar="U",
    help="Become this user, who can read the store, once the socket is made.",
)
@click.option(
    "--accounts",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_ACCOUNTS",
    show_envvar=True,
    metavar="URL",
    help="The account store. [default: that of CHECKPW_ACCOUNTS, else system:]",
)
@click.option(
    "--guesses",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_GUESSES",
    show_envvar=True,
    callback=read_rate,
    default="20/60",
    show_default=True,
    metavar="N/SECONDS",
    help="How often a password of one login may be wrong; none for no limit.",
)
@click.option(
    "--peer-guesses",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_PEER_GUESSES",
    show_envvar=True,
    callback=read_rate,
    default="1000/60",
    show_default=True,
    metavar="N/SECONDS",
    help="How often one user who asks may be wrong, with whatever login.",
)
@click.option(
    "--max-connections",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_MAX_CONNECTIONS",
    show_envvar=True,
    type=click.IntRange(1, 100000),
    default=500,
    show_default=True,
    metavar="N",
    help="How many connections are open at once; further ones wait.",
)
@click.option(
    "--threads",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_THREADS",
    show_envvar=True,
    type=click.IntRange(1, 256),
    metavar="N",
    help="How many hashes are computed at once. [default: one for each core]",
)
@click.option(
    "--timeout",
    cls=Setting,
    envvar="CHECKPW_VERIFIERD_TIMEOUT",
    show_envvar=True,
    type=click.FloatRange(0, 86400, min_open=True),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds in which a question has to come, and an answer to be taken.",
)
@click.pass_obj
def verifierd(
    environ: Environ,
    path: str | None,
    mode: int,
    gid: int,
    identity: tuple[int, int] | None,
    accounts: str | None,
    guesses: tuple[int, float] | None,
    peer_guesses: tuple[int, float] | None,
    max_connections: int,
    threads: int | None,
    timeout: float,
) -> None:
    """Answer on a unix socket whether logins and passwords are good.

    This process reads the accounts, and nobody else has to: programs that name verifier:PATH in CHECKPW_ACCOUNTS ask
    it. It says yes or no, and who an account is; it gives out no hashes.
    """
    settings = setup.store_settings(accounts, environ)
    setup.allow_descriptors(max_connections + SPARE_DESCRIPTORS)
    listeners, notifier = take_activated(environ), notify.Notifier(environ, os.getpid())
    if path is None and not listeners:
        raise click.UsageError("nowhere to listen: no --socket, and none from systemd")
    made = None
    if path is not None:
        listeners.append(setup.bind(path, mode, gid))
        made = os.lstat(path)
    if identity is not None:
        # Loads what reads the store: the user may not be able to read the files of this Python.
        verification.attempt(NOBODYS_RECORD, settings)
        privileges.become(*identity)
    setup.keep_memory_to_ourselves()
    outcome = verification.attempt(NOBODYS_RECORD, settings)
    if outcome.status != 1:
        raise TemporaryFailure(outcome.output.decode().strip().removeprefix("checkpassword: "))
    for listener in listeners:
        # Only now, and also where systemd has done it: the kernel tells peers who did it last (unix(7)).
        listener.listen(BACKLOG)
    limits = Limits(max_connections, timeout, _budget(guesses), _budget(peer_guesses))
    asyncio.run(_serve(listeners, settings, limits, threads or len(os.sched_getaffinity(0)), notifier))
    if path is not None and made is not None:
        setup.unbind(path, made)


async def _serve(
    listeners: list[socket.socket], settings: Environ, limits: Limits, threads: int, notifier: notify.Notifier
) -> None:
    sink = LogSink(asyncio.get_running_loop(), PROGRAM)

    def log(fields: "dict[str, Value]") -> None:
        sink.write(render(PROGRAM, fields))

    log({"client": "-", "event": "start", "accounts": settings[b"CHECKPW_ACCOUNTS"], "threads": threads})
    await Server(listeners, settings, limits, threads, log).serve(notifier)
    log({"client": "-", "event": "end"})
    sink.flush()


def main(argv: list[bytes], environ: Environ) -> int:
    """Run until a signal ends it, and return 0.

    Raises:
        Misuse: a verifier that asks a verifier.
        TemporaryFailure: it cannot serve.
    """
    try:
        verifierd.main(
            [os.fsdecode(word) for word in argv[1:]], PROGRAM, complete_var="", standalone_mode=False, obj=environ
        )
        sys.stdout.flush()  # the process ends without Python's own end
    except click.UsageError as error:
        error.show()
        return Misuse.exit_status
    except (click.ClickException, click.Abort) as error:
        raise TemporaryFailure(str(error)) from None
    return 0


def take_activated(environ: Environ) -> list[socket.socket]:
    """Return the sockets that systemd made; raises `Misuse` for one that is of no use here."""
    listeners = [listener for _, listener in notify.take_activated(environ, os.getpid())]
    for listener in listeners:
        if listener.family != socket.AF_UNIX:
            raise Misuse("a socket from systemd is no unix socket")
        listener.settimeout(0)
    return listeners


def _budget(rate: tuple[int, float] | None) -> Budget | None:
    return None if rate is None else Budget(*rate, secrets.token_bytes(32))
