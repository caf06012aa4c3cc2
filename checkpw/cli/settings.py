"""The settings of the front ends: from environment and control files to a `Policy`, a door and a checker.

Everything that ofmipd(8) lists under ENVIRONMENT is read here and nowhere else.
"""

import posix

from checkpw.checker import Checker
from checkpw.cli.environment import Environment
from checkpw.cli.shared import (
    DEFAULT_HOSTNAME,
    demands_tls,
    read_auth_delay,
    read_checker_timeout,
    read_errors,
    read_idle_timeout,
    read_login,
    read_queue_timeout,
)
from checkpw.errors import TemporaryFailure
from checkpw.mess822.hostrules import HostRules, default_lines
from checkpw.policy import Policy
from checkpw.smtp.limits import Limits
from checkpw.verdict import read_reject_statuses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checkpw.names import Names
    from checkpw.queue.base import Door

LEAST_AUTH_TRIES = 3
USAGE = "usage: ofmipd name.cdb hostname checkpassword prog ..."

CHECKER_NAMES = (b"checkpass", b"checkpw", b"chkpw", b"checkvpw", b"authuser")
"""What the names of checkpassword programs have in common. As hostname, one of them makes what follows the checker,
and the likes of `env true` let everybody in."""


def read_arguments(words: list[bytes]) -> tuple[bytes, bytes, list[bytes]]:
    """Take `[name.cdb [hostname [checkpassword prog...]]]` apart: path, hostname, and the checker's chain.

    Raises:
        TemporaryFailure: the words cannot be what was meant. In the original a forgotten hostname makes `true` the
            checker, and so an open relay.
    """
    words = [*words, b"", b""][: max(2, len(words))]
    name_cdb, hostname, chain = words[0], words[1], words[2:]
    if b"/" in hostname:
        raise TemporaryFailure(f"{hostname!a} is no hostname: {USAGE}")
    if b"." not in hostname and any(part in hostname for part in CHECKER_NAMES):
        raise TemporaryFailure(f"{hostname!a} looks like a checker, and the hostname is forgotten: {USAGE}")
    if len(chain) == 1:
        raise TemporaryFailure(f"no program after {chain[0]!a}: {USAGE}")
    if chain and chain[0].rpartition(b"/")[2] == b"true":
        raise TemporaryFailure(f"{chain[0]!a} as checker would let everybody in")
    return name_cdb, hostname or DEFAULT_HOSTNAME, chain


def read_policy(environment: Environment, hostname: bytes) -> Policy:
    """Return what the environment decides; raises `TemporaryFailure` for a value that makes no sense."""
    limits = Limits(
        message_bytes=environment.number(b"DATABYTES", 100 * 1024 * 1024, control=b"databytes"),
        recipients=environment.number(b"OFMIPD_RECIPIENTS", 1000, 1),
        errors=read_errors(environment),
        auth_failures=environment.number(b"OFMIPD_AUTH_TRIES", 5, LEAST_AUTH_TRIES),
    )
    rules = read_host_rules(environment)
    groups = environment.word(b"OFMIPD_GROUPS", b"name")
    if groups not in (b"name", b"keep"):
        raise TemporaryFailure(f"OFMIPD_GROUPS={groups!a}: want keep or name")
    return Policy(
        hostname,
        limits,
        relays_for_all=environment.is_set(b"RELAYCLIENT") and not environment.is_set(b"OFMIPD_REQUIRE_AUTH"),
        requires_tls=demands_tls(environment),
        header_bytes=environment.number(b"OFMIPD_HEADER_BYTES", 256 * 1024),
        hops=environment.number(b"OFMIPD_HOPS", 100, 1),
        idle_timeout=read_idle_timeout(environment),
        auth_delay=read_auth_delay(environment),
        shows_user=not environment.is_set(b"OFMIPD_HIDE_USER"),
        shows_ip=not environment.is_set(b"OFMIPD_HIDE_IP"),
        host_rules=rules,
        id_host=rules.rewrite(environment.host(b"QMAILIDHOST", b"idhost", b"IDHOST")),
        keeps_groups=groups == b"keep",
    )


def read_host_rules(environment: Environment) -> HostRules:
    """Return the rules of control/rewrite, else those that qmail's default hosts make; raises `TemporaryFailure`."""
    environment.find_lines(b"me")  # cannot be read: said also where nobody needs it
    lines = environment.find_lines(b"rewrite")
    if lines is None:
        return HostRules(
            default_lines(
                environment.host(b"QMAILDEFAULTHOST", b"defaulthost", b"DEFAULTHOST"),
                environment.host(b"QMAILPLUSDOMAIN", b"plusdomain", b"PLUSDOMAIN"),
                environment.host(b"QMAILDEFAULTDOMAIN", b"defaultdomain", b"DEFAULTDOMAIN"),
            )
        )
    return HostRules(line for line in lines if line and not line.startswith(b"#"))


USERS_NAMES = b"/.ofmipd/rules.cdb"
"""Where a user's own name.cdb is, below the home directory; the place is that of pkgsrc's ofmipd-with-user-cdb."""


def find_users_names(environment: Environment) -> bytes:
    """Return the path of the name.cdb that a user has who logged in before us; empty if there is none, or none counts.

    It is read with the user's own rights, because a checker has become that user on the way to us.
    """
    home = environment.word(b"HOME")
    if not environment.is_set(b"OFMIPD_USER_CDB") or read_login(environment) is None or not home.startswith(b"/"):
        return b""
    try:
        posix.stat(home + USERS_NAMES)
    except FileNotFoundError:
        return b""
    except OSError:
        pass  # there is something, and opening it says what is wrong
    return home + USERS_NAMES


def open_names(path: bytes) -> "Names | None":
    """Open name.cdb, if one is given; raises `TemporaryFailure`."""
    if not path:
        return None
    from checkpw.names import Names

    return Names(path)


def read_checker(
    environment: Environment, chain: list[bytes], environ: dict[bytes, bytes], launcher: bytes = b""
) -> Checker | None:
    """Return who is asked about logins, None if nobody is.

    Args:
        environment: settings.
        chain: checker, and what it is to run.
        environ: environment of the checker.
        launcher: path of our own program, beside which our own checkpassword is known; empty to start that, too.
    """
    if not chain:
        return None
    reject_statuses = read_reject_statuses("OFMIPD_REJECT_CODES", environment.word(b"OFMIPD_REJECT_CODES"))
    timeout = read_checker_timeout(environment)
    # Only a look at the name: the rest, and the modules for it, can wait until somebody logs in.
    may_be_ours = launcher and len(chain) == 2 and chain[0].rpartition(b"/")[2] == b"checkpassword"
    short_cut = _short_cut(chain, environ, launcher) if may_be_ours else None
    return Checker(chain, environ, reject_statuses, timeout, short_cut)


def _short_cut(
    argv: list[bytes], environ: dict[bytes, bytes], launcher: bytes
) -> "Callable[[], Callable[[], int] | None]":
    """Return what finds out whether the checker is our own, and if so, has a forked child of ours be it."""

    def find() -> "Callable[[], int] | None":
        from checkpw.cli import verification

        return be_checkpassword if verification.is_ours(argv, environ, launcher) else None

    def be_checkpassword() -> int:
        from checkpw.cli import checkpassword, exits

        # As its launcher, in an environment that may be another one than that of the process.
        exits.run("checkpassword", lambda _argv, _environ: checkpassword.main([b"checkpassword", b"true"], environ))

    return find


def open_door(environment: Environment, hostname: bytes, serial: "Iterator[int]") -> "Door":
    """Return the door that `$OFMIPD_QUEUE` names, else that of qmail-queue; raises `TemporaryFailure` for none."""
    timeout = read_queue_timeout(environment)
    carries_smtputf8 = environment.is_set(b"OFMIPD_SMTPUTF8")
    url = environment.word(b"OFMIPD_QUEUE")
    kind, _, place = url.partition(b":")
    if kind == b"maildir" and place.startswith(b"/"):
        from checkpw.queue.maildir import Maildir

        return Maildir(place, hostname, timeout, serial)
    if kind == b"sendmail" and place.startswith(b"/"):
        from checkpw.queue.sendmail import Sendmail

        spool = environment.word(b"TMPDIR", b"/tmp")
        return Sendmail(place, spool, timeout, carries_smtputf8=carries_smtputf8)
    if b"://" in url:
        return _open_relay(environment, url, hostname)
    if url:
        raise TemporaryFailure(
            f"OFMIPD_QUEUE={url!a} names no door: want maildir:/path, sendmail:/path, smtp://host or lmtp://host"
        )
    from checkpw.queue.qmail import QmailQueue

    program = environment.word(b"QMAILQUEUE", b"bin/qmail-queue")
    if not program.startswith(b"/"):
        program = environment.qmail_home + b"/" + program
    return QmailQueue(program, environment.qmail_home, timeout, carries_smtputf8=carries_smtputf8)


def _open_relay(environment: Environment, url: bytes, hostname: bytes) -> "Door":
    from checkpw.cli.relaying import CONNECT_TIMEOUT, open_relay
    from checkpw.queue.nexthop import NextHop, local_dialer

    try:
        hop = NextHop.parse(url)
        return open_relay(environment, hop, hostname, local_dialer(hop, CONNECT_TIMEOUT))
    except TemporaryFailure as error:
        raise TemporaryFailure(f"OFMIPD_QUEUE: {error}") from None
    except OSError as error:
        raise TemporaryFailure(f"OFMIPD_QUEUE: {url!a}: unable to read certificates: {error.strerror}") from None
