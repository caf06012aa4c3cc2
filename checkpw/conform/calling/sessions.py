"""Properties: whole sessions. Several attempts in one, two sessions side by side, and dialogues drawn at random."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from checkpw.conform import attempts, dialogues
from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.answers import LONG
from checkpw.conform.calling.call import NO, YES, Answer
from checkpw.conform.calling.dialogue import Client, Kind, Language
from checkpw.conform.calling.lasting import MALFORMED
from checkpw.conform.calling.records import INTERFACE, require_exact, third_of
from checkpw.conform.calling.relaying import require_shut
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.trials import Trials

LEAST_FAILURES = 3  # before which RFC 4954 section 4 would not have the connection dropped


def again(caller: Caller, trials: Trials) -> None:
    """After a failure the next attempt is asked about as if it were the first."""
    first, second = caller.log_in(b"a-long-login", b"a-long-password"), caller.log_in(b"b", b"p")
    with ExitStack() as stack:
        clients = caller.sessions([Answer(status=1), Answer(status=111)], stack)
        if all(client.begin(first) is None for client in clients):
            told = [client.reply() for client in clients]
            if any(reply.kind is Kind.SILENT for reply in told):
                raise Violation(
                    "a reply to the first attempt", "none", given=first.wire, recipe=caller.recipe(first.wire)
                )
        for client in clients:
            _log_in_after(caller, client, first, second)
    trials.ran(2)


def _log_in_after(caller: Caller, client: Client, first: Attempt, second: Attempt) -> None:
    client.session.answer(YES)
    before = len(client.session.calls())
    reply = client.attempt(second)
    if reply.kind is Kind.CLOSED and caller.language is Language.POP3:
        raise NotJudged("it ends the session after a failure, as POP3 permits")
    calls = client.session.calls()[before:]
    require_exact(caller, second, reply, calls, third_of(caller, client.greeting), first.wire)
    if reply.kind is not Kind.YES and not caller.is_chain:
        given = first.wire + second.wire
        raise Violation("a yes in the second attempt", str(reply), given=given, recipe=caller.recipe(given))


def three_failures(caller: Caller, trials: Trials) -> None:
    """The connection stands three failures."""
    caller.only(Language.SMTP)
    attempt = caller.log_in()
    with caller.session(NO) as client:
        for number in range(1, LEAST_FAILURES + 1):
            reply = client.attempt(attempt)
            if reply.kind is Kind.CLOSED or reply.code == 421:
                expected, given = f"{LEAST_FAILURES} failures before the connection is closed", attempt.wire * number
                raise Violation(expected, f"{reply} at {number}", given=given, recipe=caller.recipe(given, NO))
    trials.ran()


def apart(caller: Caller, trials: Trials) -> None:
    """Two sessions, their attempts interleaved, have their own records and their own verdicts."""
    yes, no = Answer(holds=True), Answer(status=1, holds=True)
    first, second = caller.log_in(b"first", b"secret-1"), caller.log_in(b"second", b"secret-2")
    recipe = f"({caller.recipe(first.wire, yes)}) & ({caller.recipe(second.wire, no)}); wait"
    with ExitStack() as stack:
        clients = caller.sessions((yes, no), stack)
        for client, attempt in zip(clients, (first, second), strict=True):
            client.begin(attempt)
        for client, attempt in zip(clients, (first, second), strict=True):
            if client.session.wait_for_call(caller.patience) is None:
                expected = f"a call for each of two sessions at the same time; by {attempt.way}"
                raise Violation(expected, "none", given=attempt.wire, recipe=recipe)
        for client in reversed(clients):
            client.session.release()
        for client, attempt, is_yes in zip(clients, (first, second), (True, False), strict=True):
            reply = client.reply()
            require_exact(caller, attempt, reply, client.session.calls(), third_of(caller, client.greeting))
            if is_yes:
                caller.require_session(reply)
            if not caller.is_chain and (reply.kind is Kind.YES) != is_yes:
                wanted = "a yes" if is_yes else "a refusal"
                expected = f"{wanted}, while another session is told the contrary"
                raise Violation(expected, str(reply), given=attempt.wire, recipe=recipe)
    trials.ran(2)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a dialogue: an attempt, the checker's status, and whether the client asks for a relay afterwards."""

    attempt: Attempt
    status: int
    relays: bool


def _known_dialogues(is_slow: bool) -> Iterator[tuple[Step, ...]]:
    """Yield dialogues in which something could be left over from the first attempt.

    Args:
        is_slow: whether a wrong password costs so much time that only what ends without a verdict comes first.
    """
    given_up = Attempt("AUTH LOGIN, given up at the password", (b"AUTH LOGIN", attempts.encode(b"somebody-else"), b"*"))
    not_base64 = Attempt("AUTH PLAIN that is not base64", (b"AUTH PLAIN", b"c29t!ZWJvZHk="))
    first = [given_up, not_base64]
    if not is_slow:
        first += [way(b"somebody-else", b"another-password") for way in attempts.SMTP_WAYS]
    for before in first:
        for way in attempts.SMTP_WAYS:
            yield Step(before, 1, relays=True), Step(way(b"joe", b"secret"), 0, relays=False)


def _steps(mechanisms: frozenset[bytes]) -> SearchStrategy[tuple[Step, ...]]:
    good = dialogues.smtp_attempts()
    # Only what is refused by whoever refuses anything: the rest has properties of its own.
    bad = st.one_of(dialogues.cancelled(), st.sampled_from([each for each in MALFORMED if b"=" not in each.wire]))
    attempt = st.one_of(good, bad).filter(lambda attempt: attempt.mechanism in mechanisms)
    return st.lists(st.builds(Step, attempt, st.sampled_from((0, 1)), st.booleans()), min_size=1, max_size=3).map(tuple)


def any_dialogue(caller: Caller, trials: Trials) -> None:
    """A dialogue of up to three attempts, good and bad, with any verdicts: each in its turn has its due."""
    caller.only(Language.SMTP)

    def judge(steps: tuple[Step, ...]) -> None:
        with caller.session(NO) as client:
            _play(caller, client, steps)

    for steps in _known_dialogues(caller.delay() > LONG):
        if all(step.attempt.mechanism in caller.mechanisms for step in steps):
            trials.once(partial(judge, steps))
    trials.each(_steps(caller.mechanisms), judge, most=4 if caller.delay() > LONG else 20)


def _play(caller: Caller, client: Client, steps: tuple[Step, ...]) -> None:
    wire, is_in = b"", False
    for step in steps:
        before = len(client.session.calls())
        client.session.answer(Answer(status=step.status))
        reply = client.attempt(step.attempt)
        calls = client.session.calls()[before:]
        said, wire = wire, wire + step.attempt.wire
        if reply.kind is Kind.CLOSED or reply.code == 421:
            return
        recipe = caller.recipe(wire, YES if is_in else NO)
        if step.attempt.fields and not is_in:
            require_exact(caller, step.attempt, reply, calls, third_of(caller, client.greeting), said)
            is_in = step.status == 0
            if (reply.kind is Kind.YES) != is_in:
                raise Violation("235" if is_in else "a refusal", str(reply), given=wire, recipe=recipe)
        elif calls:
            raise Violation("no call", f"one with {calls[0].record!a}", given=wire, recipe=recipe)
        elif reply.kind not in (Kind.NO, Kind.LATER):
            raise Violation("a refusal", str(reply), given=wire, recipe=recipe)
        if step.relays and not is_in:
            require_shut(caller, client, "without a login", wire)


def leaves(caller: Caller, trials: Trials) -> None:
    """After QUIT the server ends, and nothing of it is left."""
    attempt = caller.log_in()
    with caller.session(NO) as client:
        client.attempt(attempt)
        client.session.send(b"QUIT\r\n")
        client.reply()
        limit = min(caller.patience, 10.0)
        client.session.hang_up()
        running = client.session.processes()[1:]
        status = client.session.process.wait(limit)
    trials.ran()
    given, recipe = attempt.wire + b"QUIT\r\n", f"{caller.recipe(attempt.wire, NO)}; ps"
    if status is None:
        raise Violation(f"an end within {limit:g} seconds after QUIT", "none", given=given, recipe=recipe)
    if running:
        seen = f"{len(running)} of them"
        raise Violation("no process left when the client says QUIT", seen, given=given, recipe=recipe)


PROPERTIES = (
    Property(
        "session-again",
        Severity.MUST,
        "After a failure the session goes on, and the next login is asked about with its own bytes.",
        "RFC 4954 section 4",
        again,
    ),
    Property(
        "session-three-failures",
        Severity.SHOULD,
        "The connection is not closed before the third failure.",
        "RFC 4954 section 4",
        three_failures,
    ),
    Property(
        "session-apart",
        Severity.MUST,
        "Two sessions at the same time have each its own record and its own verdict.",
        INTERFACE,
        apart,
    ),
    Property(
        "session-any-dialogue",
        Severity.MUST,
        "In a dialogue of good and bad attempts with any verdicts, each call, reply and relay is what is due.",
        f"{INTERFACE}; RFC 4954",
        any_dialogue,
    ),
    Property(
        "session-ends",
        Severity.SHOULD,
        "After QUIT the server ends, and leaves no process behind.",
        "practice",
        leaves,
    ),
)
