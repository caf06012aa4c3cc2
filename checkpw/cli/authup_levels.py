"""authup(8) before a server that is as it is: who deals with AUTH, in the words of spamdyke."""

import posix

from checkpw.chain import NextProgram
from checkpw.cli import front
from checkpw.cli.environment import Environment
from checkpw.cli.shared import TLS_VARIABLES, read_checker_timeout
from checkpw.errors import TemporaryFailure

LEVELS = (b"none", b"observe", b"ondemand", b"ondemand-encrypted", b"always", b"always-encrypted")
"""What `$AUTHUP_LEVEL` may say, in spamdyke's words."""

WRAPPER = b"smtpwrap"


def read(environment: Environment) -> bytes:
    """Return what `$AUTHUP_LEVEL` says, empty for a session that knows of authup; raises `TemporaryFailure`."""
    level = environment.word(b"AUTHUP_LEVEL")
    if level and level not in LEVELS:
        raise TemporaryFailure(f"AUTHUP_LEVEL={level!a}: want one of {b', '.join(LEVELS).decode()}")
    return level


def find_server_that_stands_alone(
    level: bytes, launcher: bytes, prog: list[bytes], environ: dict[bytes, bytes]
) -> NextProgram | None:
    """Return what serves a client who does not log in here, None if logins are ours.

    Args:
        level: as `read` returns it.
        launcher: path of our own program.
        prog: the server.
        environ: what it gets.

    Raises:
        TemporaryFailure: strangers would speak to a server that is root, or there is no server.
    """
    if level in (b"", b"always", b"always-encrypted"):
        return None
    if 0 in posix.getresuid():
        raise TemporaryFailure(f"AUTHUP_LEVEL={level.decode()} starts the server before a login: not as root")
    if level.startswith(b"ondemand"):
        if not _offers_auth(prog, environ):
            return None
        level = b"observe"
    return NextProgram([beside(launcher), *prog], environ | {b"AUTHUP_LEVEL": level})


def _offers_auth(prog: list[bytes], environ: dict[bytes, bytes]) -> bool:
    from checkpw.middle import server
    from checkpw.queue.hop_replies import HopFailed
    from checkpw.runners.stdio import StdioRunner

    environment = Environment(environ)
    given = {name: value for name, value in environ.items() if name not in TLS_VARIABLES}
    hostname, timeout = front.hostname(environment, b"smtp"), read_checker_timeout(environment)
    try:
        return StdioRunner().run(server.offers_auth(prog, given, hostname, timeout))
    except HopFailed as failure:
        raise TemporaryFailure(str(failure)) from None


def beside(launcher: bytes) -> bytes:
    """Return the path of the program in front of such a server; it was installed with ours."""
    directory, slash, _ = launcher.rpartition(b"/")
    return directory + slash + WRAPPER
