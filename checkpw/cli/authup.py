"""authup(8): what is said before a login, and then the rest of the chain as the user."""

import posix
import time

from checkpw import chain
from checkpw.chain import NextProgram
from checkpw.checker import Checker
from checkpw.cli import authup_levels, authup_session, front
from checkpw.cli.environment import MAX_DIGITS, Environment
from checkpw.cli.shared import (
    DEFAULT_TIMEOUT,
    TLS_VARIABLES,
    demands_tls,
    read_auth_delay,
    read_checker_timeout,
    read_errors,
    read_idle_timeout,
    read_starttls,
)
from checkpw.conversation import Conversation
from checkpw.errors import CheckpwError, Misuse, TemporaryFailure
from checkpw.links import grammar
from checkpw.peer import Peer
from checkpw.runners.stdio import StdioRunner
from checkpw.smtp import replies
from checkpw.smtp.limits import Limits
from checkpw.successors import AskedFirst, WaitedFor
from checkpw.verdict import read_reject_statuses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.logline import Value
    from checkpw.operations import Steps
    from checkpw.smtp import events

USAGE = "usage: authup [-t tries] smtp|pop3 checker [arguments] [--] prog [arguments]"

TRIES = {b"smtp": 5, b"pop3": 1}
"""How many logins may fail, by protocol; as in acceptutils."""

IDLE_TIMEOUTS = {b"smtp": DEFAULT_TIMEOUT, b"pop3": 600.0}
"""Seconds in which a line has to come; RFC 1939 section 3 allows no less."""

REFUSALS = {
    b"smtp": b"421 4.3.0 unable to read configuration\r\n",
    b"pop3": b"-ERR [SYS/PERM] unable to read configuration\r\n",
}
"""What a client gets in place of a greeting."""

HANDSHAKE_TIMEOUT = 30.0


class Wanted:
    """The arguments.

    Attributes:
        protocol: smtp or pop3.
        tries: how many logins may fail.
        checker: what is asked; with no `prog`, the whole chain.
        prog: the session; empty where nobody can tell where it begins.
    """

    __slots__ = ("checker", "prog", "protocol", "tries")

    def __init__(self, words: list[bytes]) -> None:
        """Take arguments apart; raises `Misuse`."""
        words, given = _take_tries(words)
        self.protocol, *self.checker = words or [b""]
        self.prog: list[bytes] = []
        if grammar.SEPARATOR in self.checker:
            at = self.checker.index(grammar.SEPARATOR)
            self.checker, self.prog = self.checker[:at], self.checker[at + 1 :]
            if not self.prog:
                raise Misuse(USAGE)
        if self.protocol not in TRIES or not self.checker:
            raise Misuse(USAGE)
        if self.checker[0] in chain.SENTINELS:
            raise Misuse(f"{self.checker[0]!a} as checker would let everybody in")
        self.tries = given or TRIES[self.protocol]


def _take_tries(words: list[bytes]) -> tuple[list[bytes], int]:
    """Return the words behind `-t TRIES` and the number, 0 where it is not given."""
    if not words or not words[0].startswith(b"-t"):
        return words, 0
    number, rest = (words[0][2:], words[1:]) if words[0] != b"-t" else (words[1] if words[1:] else b"", words[2:])
    if not number.isdigit() or len(number) > MAX_DIGITS or int(number) < 1:
        raise Misuse(USAGE)
    return rest, int(number)


class Manners:
    """How long things may take, and what has to be encrypted: see `conversation.Manners`."""

    __slots__ = ("auth_delay", "handshake_timeout", "idle_timeout", "requires_tls")

    def __init__(self, environment: Environment, protocol: bytes) -> None:
        """Read settings; raises `TemporaryFailure`."""
        self.idle_timeout = read_idle_timeout(environment, b"timeout" + protocol + b"d", IDLE_TIMEOUTS[protocol])
        self.handshake_timeout = HANDSHAKE_TIMEOUT
        self.auth_delay = read_auth_delay(environment)
        self.requires_tls = demands_tls(environment)


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | NextProgram:
    """Serve one client until it has logged in, and return what goes on with it then, or a status.

    Raises:
        Misuse: arguments that make no sense.
        TemporaryFailure: the client could not be served.
    """
    front.demand_client()
    wanted = Wanted(argv[1:])
    log = front.log_of("authup")
    try:
        environment = Environment(environ)
        level = authup_levels.read(environment) if wanted.protocol == b"smtp" else b""
        if level and not wanted.prog:
            raise TemporaryFailure("AUTHUP_LEVEL needs -- between checker and server")
        instead = authup_levels.find_server_that_stands_alone(level, argv[0], wanted.prog, environ)
        if instead is not None:
            return instead
        if level:
            wanted.prog.insert(0, authup_levels.beside(argv[0]))
        tls = read_starttls(environment)
        chain.keep_to_ourselves()
        chain.collect_children()
        # The chain does not get the descriptors that these name: who is in may not begin TLS any more.
        given = {name: value for name, value in environ.items() if name not in TLS_VARIABLES}
        successor = _make_successor(environment, wanted)
        conversation = Conversation(
            Manners(environment, wanted.protocol),
            Peer.from_environment(environ),
            None,
            given,
            successor=successor,
            offers_starttls=tls is not None,
            log=log,
            now=time.time,
            pid=posix.getpid(),
        )
        conversation.session = authup_session.make(
            wanted.protocol,
            environment,
            Limits(errors=read_errors(environment), auth_failures=wanted.tries),
            auth_refusal=conversation.auth_refusal(),
            uses_tls=conversation.peer.uses_tls,
            offers_tls=tls is not None,
            offers_cram=level.endswith(b"-encrypted"),
        )
    except CheckpwError:
        front.say_last(REFUSALS[wanted.protocol])
        raise
    StdioRunner(tls=tls, reads_lines=True).run(conversation.serve(_refuse_mail(conversation), _count_nothing))
    if successor.accepted is None:
        return successor.status
    from checkpw.links.asking import Question

    credentials, environ = successor.accepted
    return Question(credentials.encode(), environ).hand_over(wanted.checker, wanted.prog)


def _make_successor(environment: Environment, wanted: Wanted) -> AskedFirst | WaitedFor:
    rejections = read_reject_statuses("OFMIPD_REJECT_CODES", environment.word(b"OFMIPD_REJECT_CODES"))
    if not wanted.prog:
        return WaitedFor(wanted.checker, rejections)
    timeout = read_checker_timeout(environment)
    argv = grammar.join(wanted.checker, [b"true"])
    return AskedFirst(lambda environ: Checker(argv, environ, rejections, timeout))


def _refuse_mail(conversation: Conversation) -> "Callable[[events.Event], Steps[None] | None]":
    def refuse(_event: "events.Event") -> None:
        """Nobody has logged in: the session asks about no mail, and if it did, the answer is no."""
        conversation.session.reject(replies.NOT_AUTHORISED)

    return refuse


def _count_nothing(_reason: str) -> "Steps[dict[str, Value]]":
    yield from ()
    return {}
