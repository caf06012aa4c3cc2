"""ofmipd(8): authenticated mail submission on descriptors 0 and 1, under any UCSPI server."""

import posix
import time

from checkpw import chain
from checkpw.cli import exits, front, settings
from checkpw.cli.environment import Environment
from checkpw.cli.shared import TLS_VARIABLES, read_login, read_starttls
from checkpw.errors import CheckpwError
from checkpw.peer import Peer
from checkpw.runners.stdio import StdioRunner
from checkpw.submission import Submission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from checkpw.operations import Steps
    from checkpw.queue.base import Door

REFUSAL = b"451 4.3.0 unable to read configuration\r\n"
"""What a client gets in place of a greeting."""

REFUSED_STATUS = 14
"""What authup(8), where it waits for us, takes for "the client has its answer"; 111 it would answer a second time."""


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int:
    """Serve one client and return 0, also when it went away or was sent away.

    Raises:
        TemporaryFailure: it could not be served.
    """
    front.demand_client()
    chain.keep_to_ourselves()
    chain.collect_children()
    try:
        try:
            environment = Environment(environ)
            tls = None
            if read_login(environment) is None:
                tls = read_starttls(environment)
            else:  # who has had the chance to begin TLS
                front.demand_checker()
            submission, door = _compose(argv, environ, offers_starttls=tls is not None)
        except CheckpwError:
            front.say_last(REFUSAL)
            raise
        StdioRunner(tls=tls, leave=_leave).run(_serve(submission, door))
    except CheckpwError as error:
        if read_login(Environment(environ)) is not None:
            error.exit_status = REFUSED_STATUS
        raise
    return 0


def compose(argv: list[bytes], environ: dict[bytes, bytes]) -> Submission:
    """Build the session that arguments and environment describe; raises `TemporaryFailure` if they do not."""
    return _compose(argv, environ, offers_starttls=False)[0]


def _compose(argv: list[bytes], environ: dict[bytes, bytes], *, offers_starttls: bool) -> "tuple[Submission, Door]":
    name_cdb, hostname, checker_argv = settings.read_arguments(argv[1:])
    environment = Environment(environ)
    login = read_login(environment)
    # Before the door changes the directory.
    names = settings.open_names(settings.find_users_names(environment) or name_cdb)
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
        login=login,
        offers_starttls=offers_starttls,
        log=front.log_of("ofmipd"),
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
