"""The caller under test: a command with a place for its checker, of which as many sessions are run as it takes."""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from checkpw.conform import attempts
from checkpw.conform.attempts import Attempt
from checkpw.conform.calling import probe, recipes
from checkpw.conform.calling.call import NO, YES, Answer, Call
from checkpw.conform.calling.dialogue import Client, Kind, Language, Reply
from checkpw.conform.calling.session import Session
from checkpw.conform.calling.start import USUAL, Start, Unusable
from checkpw.conform.model import NotJudged, Violation
from checkpw.conform.process import KitFailure, place_for_programs

PLACE = b"{probe}"
"""What stands for the checker in the command; without it, the checker and `true` are its last words."""

SENTINEL = b"true"
SIDE_BY_SIDE = 16  # sessions at once
LONGEST_SHEBANG = 126  # bytes of the first line of a script that execve(2) of Linux before 5.1 looks at

UCSPI = {
    b"PROTO": b"TCP",
    b"TCPLOCALIP": b"127.0.0.1",
    b"TCPLOCALPORT": b"587",
    b"TCPREMOTEIP": b"127.0.0.1",
    b"TCPREMOTEPORT": b"49152",
}
"""What tcp-environ(5) promises to a server."""


class Caller:
    """A command that calls a checkpassword program; a context manager, because it has a private directory.

    Args:
        argv: the command. `{probe}` in it stands for the checker; else the checker and `true` are appended.
        environ: its environment, to which what a UCSPI server sets is added, and from which RELAYCLIENT is taken.
        language: what it speaks; None to tell by its greeting.
        patience: seconds for a reply, its delay of failures included.
        hang_limit: seconds after which a session must have given a hanging checker up.
        sender: whom mail is said to be from.
        recipient: an address that no server takes mail for unless it relays.

    Attributes:
        language: what it speaks, once it is entered.
        mechanisms: what EHLO announces behind AUTH.

    Raises:
        KitFailure: from entering, if the command cannot be started, does not greet, or nobody can log in there.
    """

    def __init__(
        self,
        argv: Sequence[str | bytes],
        environ: Mapping[bytes, bytes],
        *,
        language: Language | None = None,
        patience: float = 30.0,
        hang_limit: float = 75.0,
        sender: bytes = b"checkpw@client.example",
        recipient: bytes = b"checkpw@relay.invalid",
    ) -> None:
        words = [os.fsencode(word) for word in argv]
        self.argv = words if any(PLACE in word for word in words) else [*words, PLACE, SENTINEL]
        self.environ = {name: value for name, value in environ.items() if name != b"RELAYCLIENT"} | UCSPI
        self.language = language
        self.patience = patience
        self.hang_limit = hang_limit
        self.sender = sender
        self.recipient = recipient
        self.mechanisms: frozenset[bytes] = frozenset()
        self._stack = ExitStack()
        self._root = ""
        self._count = 0
        self._spare: Session | None = None
        self._told: dict[Answer, tuple[Reply, float]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._root = tempfile.mkdtemp(prefix="checkpw-conform-", dir=place_for_programs())  # of mode 0700
            stack.callback(shutil.rmtree, self._root, ignore_errors=True)
            lock = os.open(os.path.join(self._root, "alive"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            stack.callback(self._end_spare)
            self._survey()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    # --- sessions

    def session(self, answer: Answer = NO, start: Start = USUAL) -> Client:
        """Begin a session whose checker answers like this; it is greeted, and ends with the `with` block.

        Args:
            answer: of the checker.
            start: in which state it begins.

        Raises:
            Violation: it does not greet as it did before.
        """
        if start != USUAL:
            session = self._start(start)
        else:
            session, self._spare = self._spare or self._start(), None
        try:
            session.answer(answer)
            client = Client(session, self.language, self.patience).greet()
            # The next one can begin on another processor while this one is talked to.
            if self._spare is None:
                self._spare = self._start()
        except BaseException:
            session.end()
            raise
        if client.greeting.kind is not Kind.YES:
            session.end()
            raise Violation("a greeting, as in other sessions", str(client.greeting))
        return client

    def sessions(self, answers: Sequence[Answer], stack: ExitStack, start: Start = USUAL) -> list[Client]:
        """Begin a session for each answer; they end with the stack."""
        return [stack.enter_context(self.session(answer, start)) for answer in answers]

    def try_once(self, attempt: Attempt, answer: Answer = YES) -> tuple[Reply, list[Call]]:
        """Play one attempt in a session of its own; return the reply that ends it, and the calls there were."""
        with self.session(answer) as client:
            reply = client.attempt(attempt)
            return reply, client.session.calls()

    def told(self, answers: Sequence[Answer]) -> list[Reply]:
        """Return what a client is told for each answer of the checker.

        Sessions are run side by side, because a server may delay its failures; what is known already is not tried
        again, which would cost that delay once more.

        Raises:
            Violation: no reply came in time.
        """
        fresh = [answer for answer in answers if answer not in self._told]
        attempt = self.log_in()
        for start in range(0, len(fresh), SIDE_BY_SIDE):
            batch = fresh[start : start + SIDE_BY_SIDE]
            with ExitStack() as stack:
                clients = self.sessions(batch, stack)
                began = time.monotonic()
                early = [client.begin(attempt) for client in clients]
                for client, answer, first in zip(clients, batch, early, strict=True):
                    reply = first or client.reply()
                    if reply.kind is Kind.SILENT:
                        expected = f"a reply within {self.patience:g} seconds when the checker {answer}"
                        recipe = self.recipe(attempt.wire, answer)
                        raise Violation(expected, "none", given=attempt.wire, recipe=recipe)
                    self._told[answer] = reply, time.monotonic() - began
        return [self._told[answer][0] for answer in answers]

    def delay(self) -> float:
        """Return how many seconds a client waits to be told that its password is wrong."""
        self.told((NO,))
        return self._told[NO][1]

    # --- what is known of the command

    @property
    def is_chain(self) -> bool:
        """Whether the checker runs the rest of the session in its place, as qmail-popup has it, and needs 0 and 1."""
        place = next((number for number, word in enumerate(self.argv) if word == PLACE), None)
        return place is not None and self.argv[place + 1 :] not in ([each] for each in probe.SENTINELS)

    def require_session(self, reply: Reply) -> None:
        """Have a yes judged only where something says it: with POP3 that is the session that the checker runs.

        Raises:
            NotJudged: there is none, and the connection was closed, as with `true` for a session it has to be.
        """
        if reply.kind is Kind.CLOSED and self.language is Language.POP3 and not self.is_chain:
            raise NotJudged(
                "after a yes the checker runs the session: give one, {probe} and a program that speaks POP3"
            )

    def only(self, language: Language) -> None:
        """Have a property judged for one protocol only.

        Raises:
            NotJudged: the command speaks the other one.
        """
        if self.language is not language:
            raise NotJudged(f"it does not speak {language.name}")

    def announces(self, mechanism: bytes) -> None:
        """Have a property judged only where a mechanism is announced.

        Raises:
            NotJudged: the command does not announce it.
        """
        self.only(Language.SMTP)
        if mechanism not in self.mechanisms:
            raise NotJudged(f"it does not announce AUTH {mechanism.decode('latin-1')}")

    def log_in(self, login: bytes = b"joe", password: bytes = b"secret") -> Attempt:
        """Return an attempt in the plainest way that the command has."""
        if self.language is Language.POP3:
            return attempts.user_pass(login, password)
        if b"PLAIN" in self.mechanisms:
            return attempts.plain(login, password)
        return attempts.login(login, password)

    def recipe(
        self, wire: bytes, answer: Answer | None = YES, *, unusable: Unusable | None = None, **further: str
    ) -> str:
        """Return a shell line that shows by hand what comes of a dialogue; without an answer, of a missing checker.

        Args:
            wire: what the client says.
            answer: of the checker.
            unusable: why the checker cannot be executed, instead of an answer.
            further: what else `recipes.caller` takes.
        """
        start = b"EHLO client.example\r\n" if self.language is Language.SMTP else b""
        before = unusable.by_hand if unusable else ""
        whole = start + wire + b"QUIT\r\n"
        return recipes.caller(self.argv, PLACE, whole, answer, is_chain=self.is_chain, before=before, **further)

    def recipe_of(self, feed: str) -> str:
        """Return a shell line in which a command says what the client does, from the greeting to the end."""
        return recipes.caller(self.argv, PLACE, feed, YES, is_chain=self.is_chain)

    def _survey(self) -> None:
        session = self._start()
        session.answer(NO)
        with Client(session, self.language, self.patience).greet() as client:
            if client.greeting.kind is not Kind.YES:
                raise KitFailure(f"the command does not greet: {client.greeting}; {_last(session)}")
            self.language, self.mechanisms = client.language, client.mechanisms
        if self.language is Language.SMTP and not self.mechanisms & {b"PLAIN", b"LOGIN"}:
            raise KitFailure("the command's EHLO announces neither AUTH PLAIN nor AUTH LOGIN")

    def _start(self, start: Start = USUAL) -> Session:
        self._count += 1
        directory = os.path.join(self._root, str(self._count))
        os.mkdir(directory, 0o700)
        path = os.path.join(directory, "probe")
        if start.unusable is not None:
            start.unusable.put(path)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(launcher(directory))
            os.chmod(path, 0o700)
        argv = [word.replace(PLACE, os.fsencode(path)) for word in self.argv]
        return Session(argv, self.environ, directory, start)

    def _end_spare(self) -> None:
        if self._spare is not None:
            self._spare.end()


def launcher(directory: str) -> str:
    """Return the text of a probe that serves one session, whose directory this is.

    Raises:
        KitFailure: no script can be started by this interpreter.
    """
    first = f"#!{sys.executable} -IS"
    if len(os.fsencode(first)) > LONGEST_SHEBANG or " " in sys.executable:
        raise KitFailure(f"{sys.executable}: a path that no script can name as its interpreter")
    with open(probe.__file__, encoding="utf-8") as file:
        return f"{first}\n{file.read()}\n\nmain({directory!r})\n"


def _last(session: Session) -> str:
    """Say what the command wrote on descriptor 2 last."""
    lines = session.said().decode("latin-1").splitlines()
    return f"on descriptor 2: {lines[-1]!a}" if lines else "nothing on descriptor 2"
