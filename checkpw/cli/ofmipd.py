"""ofmipd(8): authenticated mail submission on descriptors 0 and 1, under any UCSPI server."""

import posix
import time

from checkpw import chain
from checkpw.cli import exits, settings
from checkpw.cli.environment import TLS_VARIABLES, Environment, read_starttls
from checkpw.errors import CheckpwError, TemporaryFailure
from checkpw.logline import render
from checkpw.peer import Peer
from checkpw.runners.stdio import StdioRunner
from checkpw.submission import Submission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from checkpw.logline import Value
    from checkpw.operations import Steps
    from checkpw.queue.base import Door

REFUSAL = b"451 4.3.0 unable to read configuration\r\n"
"""What a client gets in place of a greeting."""

LAST_WORDS_TIMEOUT = 1000
"""Milliseconds that a client has to take them."""


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int:
    """Serve one client and return 0, also when it went away or was sent away.

    Raises:
        TemporaryFailure: it could not be served.
    """
    if not (posix.get_inheritable(0) and posix.get_inheritable(1)):
        raise TemporaryFailure("descriptor 0 or 1 is closed: run under a UCSPI server")
    chain.keep_to_ourselves()
    chain.collect_children()
    try:
        tls = read_starttls(Environment(environ))
        submission, door = _compose(argv, environ, offers_starttls=tls is not None)
    except CheckpwError:
        _say_last(REFUSAL)
        raise
    StdioRunner(tls=tls, leave=_leave).run(_serve(submission, door))
    return 0


def compose(argv: list[bytes], environ: dict[bytes, bytes]) -> Submission:
    """Build the session that arguments and environment describe; raises `TemporaryFailure` if they do not."""
    return _compose(argv, environ, offers_starttls=False)[0]


def _compose(argv: list[bytes], environ: dict[bytes, bytes], *, offers_starttls: bool) -> "tuple[Submission, Door]":
    name_cdb, hostname, checker_argv = settings.read_arguments(argv[1:])
    environment = Environment(environ)
    names = settings.open_names(name_cdb)  # before the door changes the directory
    # What programs of ours get: the descriptors that these name are closed in them.
    handed_on = {name: value for name, value in environ.items() if name not in TLS_VARIABLES}
    policy = settings.read_policy(environment, hostname)
    door = settings.open_door(environment, hostname, iter(range(1, 1 << 62)))
    submission = Submission(
        policy,
        Peer.from_environment(environ),
        door,
        settings.read_checker(environment, checker_argv, handed_on, argv[0]),
        handed_on,
        names=names,
        offers_starttls=offers_starttls,
        log=_log,
        now=time.time,
        pid=posix.getpid(),
    )
    return submission, door


def _serve(submission: Submission, door: "Door") -> "Steps[None]":
    """Serve the client, and then take leave of the next hop, if mail went to one."""
    yield from submission.serve()
    if hasattr(door, "close_idle"):
        yield from door.close_idle()


def _leave(function: "Callable[[], int]") -> "NoReturn":
    """End a forked child."""
    exits.run("ofmipd", lambda _argv, _environ: function())


def _log(fields: "dict[str, Value]") -> None:
    try:
        posix.write(2, render("ofmipd", fields))
    except OSError:
        return  # mail goes on without a log


def _say_last(words: bytes) -> None:
    import select

    client = select.poll()
    client.register(1, select.POLLOUT)
    try:
        if client.poll(LAST_WORDS_TIMEOUT):  # else nobody reads; the exit status tells
            posix.write(1, words)
    except OSError:
        return
