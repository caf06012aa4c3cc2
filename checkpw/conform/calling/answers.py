"""Properties: what a caller makes of the checker's answer."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from hypothesis import strategies as st

from checkpw.conform.calling.call import YES, Answer
from checkpw.conform.calling.dialogue import Kind, Language, Reply
from checkpw.conform.calling.lasting import to_end
from checkpw.conform.calling.records import INTERFACE
from checkpw.conform.calling.start import Start, Unusable
from checkpw.conform.calling.target import SIDE_BY_SIDE, Caller
from checkpw.conform.model import Property, Severity, Violation
from checkpw.conform.trials import Trials

LONG = 0.5  # seconds by which failures are delayed, and from which on fewer of them are tried
STATUSES = (3, 12, 13, 15, 20, 21, 22, 23, 64, 100, 126, 127, 128, 129, 254, 255)
"""What vchkpw, cvm-checkpassword, shells and `exit(-1)` leave with."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE, signal.SIGALRM, signal.SIGXCPU)
REFUSALS = (Kind.NO, Kind.LATER, Kind.CLOSED)


def _unlike(caller: Caller, expected: str, reply: Reply, answer: Answer) -> Violation:
    wire = caller.log_in().wire
    return Violation(
        f"{expected} when the checker {answer}", str(reply), given=wire, recipe=caller.recipe(wire, answer)
    )


def _maps(answers: Sequence[Answer], smtp: str, is_right: Callable[[Reply], bool]) -> Callable[[Caller, Trials], None]:
    """Return the check that the client is told the right thing; with POP3 there is but one no."""

    def check(caller: Caller, trials: Trials) -> None:
        told = caller.told(answers)
        trials.ran(len(answers))
        for answer, reply in zip(answers, told, strict=True):
            if caller.language is Language.POP3:
                if reply.kind not in (Kind.NO, Kind.CLOSED):
                    raise _unlike(caller, "-ERR", reply, answer)
            elif not is_right(reply):
                raise _unlike(caller, smtp, reply, answer)

    return check


def accepted(caller: Caller, trials: Trials) -> None:
    """The client is told yes; where the checker runs the session, it is what that says, and no refusal."""
    (reply,) = caller.told((YES,))
    trials.ran()
    is_right = reply.kind is Kind.YES and reply.code in (0, 235)
    if caller.is_chain:
        is_right = reply.kind not in (Kind.NO, Kind.LATER)
    if is_right:
        return
    caller.require_session(reply)
    raise _unlike(caller, "235" if caller.language is Language.SMTP else "+OK", reply, YES)


def never_yes(caller: Caller, trials: Trials) -> None:
    """Nothing but the status 0 is a yes."""
    known = [Answer(status=number) for number in (1, 2, 111, *STATUSES)]
    known += [Answer(signal=number) for number in SIGNALS]

    def judge(answers: Sequence[Answer]) -> None:
        for answer, reply in zip(answers, caller.told(answers), strict=True):
            if reply.kind not in REFUSALS:
                raise _unlike(caller, "a refusal", reply, answer)

    judge(known)
    trials.ran(len(known))
    drawn = st.builds(Answer, status=st.integers(1, 255))
    trials.each(st.tuples(*[drawn] * SIDE_BY_SIDE), judge, most=2 if caller.delay() > LONG else 4)


def unread(caller: Caller, trials: Trials) -> None:
    """A checker that does not read descriptor 3, or closes it, is answered as well, and the server lives on."""
    known = [Answer(status=status, reads=False) for status in (0, 1, 111)]
    known += [Answer(status=status, closes=True) for status in (0, 1, 111)]
    attempt = caller.log_in()
    with ExitStack() as stack:
        clients = caller.sessions(known, stack)
        early = [client.begin(attempt) for client in clients]
        for client, answer, first in zip(clients, known, early, strict=True):
            reply = first or client.reply()
            if reply.kind is Kind.SILENT or (reply.kind is Kind.CLOSED and caller.language is Language.SMTP):
                raise _unlike(caller, "a reply", reply, answer)
            if not answer.is_yes and reply.kind not in REFUSALS:
                raise _unlike(caller, "a refusal", reply, answer)
            if caller.language is Language.SMTP and (after := client.ask(b"NOOP")).kind is not Kind.YES:
                raise _unlike(caller, "a session that goes on", after, answer)
    trials.ran(len(known))


def _without_checker(caller: Caller, trials: Trials) -> Iterator[tuple[Unusable, list[Reply]]]:
    """Yield, for each reason why a checker cannot be executed, the reply to an attempt and all that follow it."""
    attempt = caller.log_in()
    with ExitStack() as stack:
        clients = [stack.enter_context(caller.session(YES, Start(unusable=why))) for why in Unusable]
        early = [client.begin(attempt) for client in clients]
        for client, why, first in zip(clients, Unusable, early, strict=True):
            told = [first or client.reply()]
            if caller.language is Language.SMTP and told[0].kind not in (Kind.CLOSED, Kind.SILENT):
                told += to_end(client, (b"NOOP", b"QUIT"))
            trials.ran()
            yield why, told


def not_there(caller: Caller, trials: Trials) -> None:
    """A checker that cannot be started is no yes; the client is told once, and can go on."""
    wire = caller.log_in().wire
    for why, told in _without_checker(caller, trials):
        recipe = caller.recipe(wire + b"NOOP\r\n", None, unusable=why)
        if told[0].kind not in REFUSALS:
            raise Violation(f"a refusal when the checker {why.value}", str(told[0]), given=wire, recipe=recipe)
        if caller.language is Language.SMTP and (len(told) != 3 or told[1].kind is not Kind.YES):
            expected = f"one refusal when the checker {why.value}, then 250 to NOOP and 221 to QUIT"
            raise Violation(expected, ", then ".join(map(str, told)), given=wire, recipe=recipe)


def not_there_temporary(caller: Caller, trials: Trials) -> None:
    """It is trouble of the server, and not the client's."""
    caller.only(Language.SMTP)
    wire = caller.log_in().wire
    for why, told in _without_checker(caller, trials):
        if told[0].kind is not Kind.LATER:
            recipe = caller.recipe(wire, None, unusable=why)
            raise Violation(f"454 when the checker {why.value}", str(told[0]), given=wire, recipe=recipe)


def children_ignored(caller: Caller, trials: Trials) -> None:
    """Started with SIGCHLD ignored, which makes wait(2) fail, a server does not take a no for a yes."""
    attempt = caller.log_in()
    known = (Answer(status=1), Answer(status=111), Answer(signal=signal.SIGKILL))
    with ExitStack() as stack:
        clients = caller.sessions(known, stack, Start(ignored=frozenset({signal.SIGCHLD})))
        early = [client.begin(attempt) for client in clients]
        for client, answer, first in zip(clients, known, early, strict=True):
            reply = first or client.reply()
            if reply.kind not in REFUSALS:
                recipe = caller.recipe(attempt.wire, answer, prefix="env --ignore-signal=CHLD ")
                expected = f"a refusal when the checker {answer}, and the server has found SIGCHLD ignored"
                raise Violation(expected, str(reply), given=attempt.wire, recipe=recipe)
    trials.ran(len(known))


def hanging(caller: Caller, trials: Trials) -> None:
    """A checker that hangs, before or after it reads, is given up, and so is one that does not end when it is told."""
    attempt = caller.log_in()
    known = (Answer(hangs=True), Answer(hangs=True, reads=False), Answer(hangs=True, ignores=True))
    began = time.monotonic()
    with ExitStack() as stack:
        clients = caller.sessions(known, stack)
        trials.ran(len(known))
        early = [client.begin(attempt) for client in clients]
        for client, answer, first in zip(clients, known, early, strict=True):
            left = caller.hang_limit - (time.monotonic() - began)
            reply = first or client.reply(max(0.1, left))
            if reply.kind not in REFUSALS:
                raise _unlike(caller, f"a refusal within {caller.hang_limit:g} seconds (--hang-limit)", reply, answer)
    trials.remark = f"given up after {time.monotonic() - began:.1f} s"


def left_behind(caller: Caller, trials: Trials) -> None:
    """A process that the checker leaves behind, its descriptors open, does not hold the answer up."""
    answer = Answer(stays=True)
    attempt = caller.log_in()
    limit = min(caller.patience, 10.0)
    with caller.session(answer) as client:
        reply = client.begin(attempt) or client.reply(limit)
        if reply.kind in (Kind.SILENT, Kind.CLOSED, Kind.NO) and not caller.is_chain:
            caller.require_session(reply)
            what = f"a yes within {limit:g} seconds, though the checker left a process behind"
            raise Violation(what, str(reply), given=attempt.wire, recipe=caller.recipe(attempt.wire, answer))
    trials.ran()


PROPERTIES = (
    Property(
        "answer-yes", Severity.MUST, "When the checker exits 0, the client is let in: 235, or +OK.", INTERFACE, accepted
    ),
    Property(
        "answer-never-yes",
        Severity.MUST,
        "Whatever else the checker does, be it any other status or a signal, the client is not let in.",
        INTERFACE,
        never_yes,
    ),
    Property(
        "answer-no",
        Severity.MUST,
        "When the checker exits 1, the client is told that login or password is wrong: 535, or -ERR.",
        f"{INTERFACE}; RFC 4954 section 6",
        _maps((Answer(status=1),), "535", lambda reply: reply.code == 535),
    ),
    Property(
        "answer-temporary",
        Severity.MUST,
        "When the checker exits 111, the client is told to try later and not that its password is wrong: 454, or -ERR.",
        f"{INTERFACE}; RFC 4954 section 6",
        _maps((Answer(status=111),), "454", lambda reply: reply.kind is Kind.LATER),
    ),
    Property(
        "answer-misuse",
        Severity.SHOULD,
        "When the checker exits 2, which is misuse, the client is not told that its password is wrong: 454, or -ERR.",
        f"{INTERFACE}; RFC 4954 section 6",
        _maps((Answer(status=2),), "454", lambda reply: reply.kind is Kind.LATER),
    ),
    Property(
        "answer-signal",
        Severity.SHOULD,
        "When the checker is killed by a signal, the client is told to try later: 454, or -ERR.",
        "RFC 4954 section 6",
        _maps(tuple(Answer(signal=number) for number in SIGNALS), "454", lambda reply: reply.kind is Kind.LATER),
    ),
    Property(
        "answer-other",
        Severity.SHOULD,
        "When the checker exits with a status that the interface does not have, the client is told to try later: 454.",
        f"{INTERFACE}; RFC 4954 section 6",
        _maps(tuple(Answer(status=number) for number in STATUSES), "454", lambda reply: reply.kind is Kind.LATER),
    ),
    Property(
        "answer-children-ignored",
        Severity.MUST,
        "When the server was started with SIGCHLD ignored, nothing but a status of 0 lets the client in either.",
        INTERFACE,
        children_ignored,
    ),
    Property(
        "answer-unread",
        Severity.MUST,
        "A checker that ends or closes descriptor 3 without reading is answered as well, and the session goes on.",
        "practice",
        unread,
    ),
    Property(
        "answer-not-started",
        Severity.MUST,
        "When the checker cannot be executed, whatever the reason, the client is refused once and can go on.",
        INTERFACE,
        not_there,
    ),
    Property(
        "answer-not-started-temporary",
        Severity.SHOULD,
        "When the checker cannot be executed, the client is told to try later: 454.",
        "RFC 4954 section 6",
        not_there_temporary,
    ),
    Property(
        "answer-hang",
        Severity.SHOULD,
        "A checker that does not end does not hold a session for ever.",
        "practice",
        hanging,
    ),
    Property(
        "answer-left-behind",
        Severity.SHOULD,
        "A process that the checker leaves behind does not hold its answer up.",
        "practice",
        left_behind,
    ),
)
