"""A client from greeting to goodbye: words, TLS and logins, whatever the session is about.

`Conversation.serve` is a generator over `operations` around a session without I/O: that of submission, or one that
only leads to a login. What an event of the session leads to, apart from those two, is its user's.
"""

from checkpw.checker import Answer
from checkpw.errors import CheckpwError
from checkpw.operations import Receive, Secure, Send, Sleep, TimedOut
from checkpw.smtp import events, replies
from checkpw.smtp.events import NEED_DATA, Closed
from checkpw.verdict import ACCEPTED, MISUSED, REJECTED, TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Protocol

    from checkpw.credentials import Credentials
    from checkpw.logline import Value
    from checkpw.operations import Steps
    from checkpw.peer import Peer
    from checkpw.smtp.replies import Reply

    Dispatch = Callable[[events.Event], Steps[None] | None]
    Finish = Callable[[str], Steps[dict[str, Value]]]

    class Session(Protocol):
        """What is driven: see `smtp.session`."""

        login: bytes | None

        def receive_data(self, data: bytes) -> None:
            """Take bytes that came from the client."""

        def receive_eof(self) -> None:
            """Take note that nothing more will come."""

        def data_to_send(self) -> bytes:
            """Return and forget the replies that were given since the last call."""

        def next_event(self) -> "events.Event | events.Signal":
            """Go on until there is something to tell."""

        def accept(self, value: bytes | None = None) -> None:
            """Say yes to the event that waits."""

        def reject(self, reply: Reply) -> None:
            """Say no to the event that waits."""

        def start_over(self, auth_refusal: Reply | None) -> int:
            """Begin again on a connection that is encrypted now."""

        def close(self, reply: Reply | None, reason: str) -> None:
            """End the session from outside."""

    class Manners(Protocol):
        """How long things may take, and what has to be encrypted; see `policy`."""

        @property
        def idle_timeout(self) -> float:
            """Seconds in which a client has to say something, or to read what we say."""

        @property
        def handshake_timeout(self) -> float:
            """Seconds that a TLS handshake may take."""

        @property
        def auth_delay(self) -> float:
            """Seconds from the start of a check to a 535."""

        @property
        def requires_tls(self) -> bool:
            """AUTH is refused on a connection that is not encrypted."""

    class Checker(Protocol):
        """Whoever is asked about logins."""

        def ask(self, credentials: Credentials, known: dict[bytes, bytes]) -> "Steps[Answer]":
            """Decide about a login; what goes wrong is an answer, too. `known` is of the client, and knows of TLS."""

    class Successor(Protocol):
        """Whoever is asked about logins, and goes on with the client after a yes.

        Attributes:
            last_words: the reply that ends our part then; None where the successor says everything.
        """

        last_words: Reply | None

        def take_over(self, credentials: Credentials, environ: dict[bytes, bytes]) -> "Steps[Answer]":
            """Decide about a login, and see to it that somebody goes on; `environ` knows of TLS."""


GOODBYE_TIMEOUT = 10.0
"""Seconds that a client has for our last words."""

DIAGNOSTIC_LINES = 10
"""How many lines of a checker's standard error are logged."""


class Conversation:
    """What is common to all sessions with a client.

    Attributes:
        session: what the client is told.
        peer: the client, as it is by now.
        environ: what programs of ours get; what is known of TLS is added.
    """

    __slots__ = (
        "_began",
        "_checker",
        "_log",
        "_manners",
        "_now",
        "_offers_starttls",
        "_pid",
        "_successor",
        "environ",
        "peer",
        "session",
    )

    session: "Session"

    def __init__(
        self,
        manners: "Manners",
        peer: "Peer",
        checker: "Checker | None",
        environ: dict[bytes, bytes],
        *,
        successor: "Successor | None" = None,
        offers_starttls: bool = False,
        log: "Callable[[dict[str, Value]], None]",
        now: "Callable[[], float]",
        pid: int | bytes,
    ) -> None:
        """Put a conversation together; its `session` is set before it is served.

        Args:
            manners: what the administrator decided.
            peer: the client.
            checker: who is asked about logins; None refuses AUTH, unless there is a successor.
            environ: what programs of ours get.
            successor: who is asked in place of the checker, and goes on with the client.
            offers_starttls: the runner performs `Secure`.
            log: takes the fields of an event; must not block.
            now: seconds since 1970.
            pid: for the log: number of this process, and of the session if it has many, as `1.2`.
        """
        self._manners = manners
        self.peer = peer
        self._checker = checker
        self._successor = successor
        self.environ = environ
        self._offers_starttls = offers_starttls
        self._log = log
        self._now = now
        self._pid = pid
        self._began = 0.0

    def serve(self, dispatch: "Dispatch", finish: "Finish") -> "Steps[None]":
        """Serve the client until the session is over.

        Args:
            dispatch: decides about an event that is neither of TLS nor of a login; what it returns is waited for, if
                it is not None.
            finish: called with the reason when the session is over, before the client has our last words; returns what
                else the log is to say of the session.

        Raises:
            TemporaryFailure: a signal wants us to end. The client is told before.
        """
        self._began = self._now()
        try:
            yield from self._serve(dispatch, finish)
        except CheckpwError:
            self.session.close(replies.NOT_SERVING, "shutdown")
            yield from self._serve(dispatch, finish)
            raise

    def _serve(self, dispatch: "Dispatch", finish: "Finish") -> "Steps[None]":
        session, timeout = self.session, self._manners.idle_timeout
        listen = Receive(timeout)
        while not isinstance(event := session.next_event(), Closed):
            if event is not NEED_DATA:
                own = self._OWN.get(type(event))
                steps = dispatch(event) if own is None else own(self, event)  # type: ignore[arg-type]  # no signal
                if steps is not None:
                    yield from steps
                continue
            try:
                if words := session.data_to_send():
                    yield Send(words, timeout)
                data = yield listen
            except TimedOut:
                session.close(replies.TIMED_OUT, "timeout")
            except OSError:
                session.receive_eof()
            else:
                if data:
                    session.receive_data(data)
                else:
                    session.receive_eof()
        yield from self._leave(event.reason, (yield from finish(event.reason)))

    def _leave(self, reason: str, counts: "dict[str, Value]") -> "Steps[None]":
        try:
            if words := self.session.data_to_send():
                yield Send(words, min(GOODBYE_TIMEOUT, self._manners.idle_timeout))
        except (OSError, TimedOut, CheckpwError):
            pass  # it is gone, or we are; nothing that was promised depends on these words
        self.tell("session", tls=self._yes_if_tls(), reason=reason, **counts, began=self._began)

    def _send_ahead(self, _full: events.Signal) -> "Steps[None]":
        """Have the client read replies before more of what it has sent is looked at."""
        try:
            yield Send(self.session.data_to_send(), self._manners.idle_timeout)
        except TimedOut:
            self.session.close(replies.TIMED_OUT, "timeout")
        except OSError:
            self.session.receive_eof()

    def tell(self, event: str, *, began: float, **fields: "Value") -> None:
        """Log an event; the client's address stands first, who has logged in or tries to, the seconds since `began`."""
        words: dict[str, Value] = {"client": self.peer.ip, "pid": self._pid, "event": event}
        if self.session.login is not None:
            words["login"] = self.session.login
        words.update(fields)
        words["seconds"] = self._now() - began
        self._log(words)

    def _yes_if_tls(self) -> str:
        return "yes" if self.peer.uses_tls else "no"

    # TLS.

    def _secure(self, _requested: events.TlsRequested) -> "Steps[None]":
        """Have the connection encrypted (RFC 3207, RFC 2595); where that fails, there is nobody left to talk to."""
        session, timeout, began = self.session, self._manners.handshake_timeout, self._now()
        session.accept()
        try:
            yield Send(session.data_to_send(), timeout)
            secured = yield Secure(timeout)
        except (OSError, TimedOut) as error:
            self.tell("tls", reason=str(error) or "timeout", began=began)
            session.close(None, "tls")
            return
        self.peer = self.peer.secured()
        self.environ = self.environ | secured.environ
        discarded = secured.discarded + session.start_over(self.auth_refusal())
        protocol, cipher = (secured.environ.get(name, b"unknown") for name in (b"SSL_PROTOCOL", b"SSL_CIPHER"))
        self.tell("tls", protocol=protocol, cipher=cipher, discarded=discarded, began=began)
        if discarded:
            self.tell("warning", text="what came in clear behind STARTTLS was thrown away", began=began)

    # AUTH.

    def auth_refusal(self) -> "Reply | None":
        """Return the reply to AUTH where it cannot be used by now, None where it can."""
        if self._checker is None and self._successor is None:
            return replies.AUTH_UNAVAILABLE
        if self._manners.requires_tls and not self.peer.uses_tls:
            return replies.AUTH_NEEDS_STARTTLS if self._offers_starttls else replies.AUTH_NEEDS_TLS
        return None

    def _authenticate(self, attempt: events.AuthAttempted) -> "Steps[None]":
        began = self._now()
        if attempt.refusal is not None or attempt.credentials is None:
            answer = Answer(REJECTED, attempt.reason)
        else:
            answer = yield from self._ask(attempt.credentials)
        reply = attempt.refusal or VERDICTS[answer.verdict]
        self._tell_answer(attempt, answer, began)
        if reply is not None and reply.code == replies.AUTH_FAILED.code:
            # Until start + delay, and not for the delay: how long the check took is not to be seen.
            # A clock that is set back meanwhile does not make it longer.
            delay = self._manners.auth_delay
            yield Sleep(min(delay, max(0.0, began + delay - self._now())))
        if reply is not None:
            self.session.reject(reply)
        elif self._successor is None:
            self.session.accept()
        else:
            self.session.login = attempt.login
            self.session.close(self._successor.last_words, "login")

    def _ask(self, credentials: "Credentials") -> "Steps[Answer]":
        if self._successor is not None:
            return (yield from self._successor.take_over(credentials, self.environ))
        if self._checker is not None:
            return (yield from self._checker.ask(credentials, self.environ))
        return Answer(REJECTED, "nobody to ask")

    def _tell_answer(self, attempt: events.AuthAttempted, answer: Answer, began: float) -> None:
        for line in answer.diagnostics.splitlines()[:DIAGNOSTIC_LINES]:
            self.tell("checker", says=line, began=began)
        self.tell(
            "auth",
            login=attempt.login,
            mechanism=attempt.mechanism,
            tls=self._yes_if_tls(),
            verdict=answer.verdict,
            reason=answer.reason,
            began=began,
        )
        if answer.verdict == MISUSED:
            self.tell("warning", text="the checker says that it is misused: check its arguments", began=began)
        if self.peer.is_remote and not self.peer.uses_tls and not self.peer.is_loopback:
            self.tell("warning", text="a password came over the network without TLS", began=began)

    _OWN: "ClassVar[dict[type, Callable[[Conversation, Any], Steps[None]]]]" = {  # noqa: RUF012  it is annotated
        events.TlsRequested: _secure,
        events.AuthAttempted: _authenticate,
        events.Signal: _send_ahead,  # OUTPUT_FULL: of the others, NEED_DATA is seen before, and PAUSED never
    }


VERDICTS = {
    ACCEPTED: None,
    REJECTED: replies.AUTH_FAILED,
    MISUSED: replies.AUTH_TEMPORARY,
    TEMPORARY: replies.AUTH_TEMPORARY,
}
"""The reply to each verdict of a checker; only a no is told as one."""
