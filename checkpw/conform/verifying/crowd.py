"""Many at once, and a store that is down."""

import contextlib
import os
import time
from collections.abc import Sequence

from checkpw.conform.accounts import record
from checkpw.conform.model import NotJudged, Property, Severity
from checkpw.conform.process import KitFailure, Process, State, nothing, run, signal_name
from checkpw.conform.shell import ByHand, recipe
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.feeding import give
from checkpw.conform.verifying.target import RAN, TRUE, Verifier
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

AT_ONCE = 100

SHELL_PATIENCE = 60.0  # seconds for --down and for --up


def crowd_behaves_like_one(target: Verifier, trials: Trials) -> None:
    """Start a hundred, give all their records, and let them all go on at the same moment."""
    target.needs_yes()
    account = target.account
    questions = (
        account.record,
        target.wrong,
        record(b"no-such-login", account.password),
        account.login,
    )
    alone = [target.ask(given).status for given in questions]
    trials.ran(len(questions))
    with contextlib.ExitStack() as stack:
        null = nothing()
        stack.callback(os.close, null)
        started: list[Process] = []
        held: list[int] = []
        stack.callback(_close_all, held)
        deadline = time.monotonic() + 3 * target.patience
        for at in range(AT_ONCE):
            reading, writing = os.pipe()
            held.append(writing)
            try:
                state = target.state(descriptors={0: null, 1: null, 2: null, 3: reading})
                started.append(stack.enter_context(target.begin(TRUE, state)))
            finally:
                os.close(reading)
            give(writing, (questions[at % 4],), started[-1], deadline)
        _close_all(held)
        for at, process in enumerate(started):
            status = process.wait(max(0.0, deadline - time.monotonic()))
            trials.ran()
            if status != alone[at % 4]:
                words = "no end within the time limit" if status is None else f"exit {status}"
                words = words if status is None or status >= 0 else f"killed by {signal_name(-status)}"
                expected = f"of {AT_ONCE} at once each exit {alone[at % 4]}"
                raise target.violation(expected, words, questions[at % 4], by_hand=_at_once(target, questions))


def _at_once(target: Verifier, questions: Sequence[bytes]) -> ByHand:
    """Return what the shell line of one question needs to show how often each status is the answer to many."""
    asked = " & ".join(f"({recipe(target.shown(TRUE), one)}; echo $?)" for one in questions)
    return ByHand(before=f"(for i in $(seq {AT_ONCE // len(questions)}); do {asked} & done; wait) | sort | uniq -c")


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def store_down_is_trouble(target: Verifier, trials: Trials) -> None:
    """Take the store down, ask, and repair it."""
    if target.down is None or target.up is None:
        raise NotJudged("it takes --down and --up")
    target.needs_yes()
    account = target.account
    questions = (
        ("a good login", account.record),
        ("a wrong password", target.wrong),
        ("an unknown login", record(b"no-such-login", account.password)),
    )
    prog = (target.marker,)
    by_hand = ByHand(before=target.down, after=f"echo $?; {target.up}")
    _shell(target, target.down)
    try:
        for what, given in questions:

            def ask(what: str = what, given: bytes = given) -> None:
                words = f"trouble, exit 111, for {what} while the store is down"
                answer = target.ask(given, prog)
                target.must_leave(answer, {111}, target.profile.temporary, words, given, prog, by_hand=by_hand)

            trials.once(ask)
    finally:
        _shell(target, target.up)
    trials.once(lambda: target.must_accept(target.ask(account.record, prog), account.record, prog, RAN, "yes again"))


def _shell(target: Verifier, command: str) -> None:
    """Run --down or --up.

    Raises:
        KitFailure: it did not leave with 0.
    """
    null = nothing()
    try:
        words = [b"/bin/sh", b"-c", os.fsencode(command)]
        done = run(words, State(target.environ, {0: null}), patience=SHELL_PATIENCE, leaves_others=True)
    finally:
        os.close(null)
    if done.status != 0:
        raise KitFailure(f"{command}: {done.words}")


PROPERTIES: tuple[Property, ...] = (
    Property(
        "crowd-behaves-like-one",
        Severity.SHOULD,
        f"{AT_ONCE} at once answer as one alone.",
        PRACTICE,
        crowd_behaves_like_one,
    ),
    Property(
        "store-down-is-trouble",
        Severity.MUST,
        "While the store is down every answer is exit 111, and nothing is run; when it is back, so are the answers.",
        INTERFACE,
        store_down_is_trouble,
    ),
)
