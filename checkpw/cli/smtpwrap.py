"""smtpwrap(8): an SMTP server that is as it is becomes the session after a login, or one with TLS."""

import posix
import time

from checkpw import chain
from checkpw.cli import front
from checkpw.cli.environment import Environment
from checkpw.cli.shared import (
    TLS_VARIABLES,
    demands_tls,
    read_errors,
    read_idle_timeout,
    read_login,
    read_queue_timeout,
    read_starttls,
)
from checkpw.errors import CheckpwError, Misuse
from checkpw.middle.manners import Manners
from checkpw.middle.middleman import NOTHING_LEFT, REFUSED_FOR_NOW, Middleman
from checkpw.peer import Peer
from checkpw.runners.stdio import StdioRunner


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int:
    """Serve one client and return 0; or 14 or 15 if the server greets with a refusal, which the client has got.

    Raises:
        Misuse: no server.
        TemporaryFailure: the client could not be served.
    """
    if not argv[1:]:
        raise Misuse("usage: smtpwrap prog [arguments]")
    front.demand_client()
    login = read_login(Environment(environ))
    try:
        try:
            tls, middleman = _compose(argv[1:], environ, login)
        except CheckpwError:
            front.say_last(NOTHING_LEFT.render())
            raise
        return StdioRunner(tls=tls).run(middleman.serve())
    except CheckpwError as error:
        if login is not None:  # 111 authup(8), where it waits for us, would answer a second time
            error.exit_status = REFUSED_FOR_NOW
        raise


def _compose(
    server: list[bytes], environ: dict[bytes, bytes], login: bytes | None
) -> tuple[tuple[int, int, int] | None, Middleman]:
    """Return the descriptors for TLS, None for no STARTTLS, and who stands before the server."""
    environment, tls = Environment(environ), None
    if login is None:
        tls = read_starttls(environment)
    else:
        front.demand_checker()
    chain.keep_to_ourselves()
    chain.collect_children()
    manners = Manners(
        observes=environment.word(b"AUTHUP_LEVEL") == b"observe",
        relays_for_all=environment.is_set(b"RELAYCLIENT"),
        offers_starttls=tls is not None,
        requires_tls=demands_tls(environment),
        idle_timeout=read_idle_timeout(environment),
        server_timeout=read_queue_timeout(environment),
        errors=read_errors(environment),
    )
    given = {name: value for name, value in environ.items() if name not in TLS_VARIABLES}
    middleman = Middleman(
        server,
        given | _authority(login, given),
        manners,
        Peer.from_environment(environ),
        login=login,
        log=front.log_of("smtpwrap"),
        now=time.time,
        pid=posix.getpid(),
    )
    return tls, middleman


def _authority(login: bytes | None, environ: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what a server is told about a login: that it may relay, as far as nobody has said more about that."""
    if login is None:
        return {}
    relays = environ.get(b"RELAYCLIENT", b"")
    return {b"RELAYCLIENT": relays, b"SMTPAUTHUSER": login, b"TCPREMOTEINFO": login}
