"""Signals: what interrupts reading, and what PROG ignores and blocks."""

import contextlib
import functools
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from checkpw.conform.model import Property, Severity, Violation
from checkpw.conform.process import Process, nothing, signal_name
from checkpw.conform.shell import ByHand
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.feeding import unread
from checkpw.conform.verifying.target import RAN, TRUE, Verifier
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

POLL = 0.001  # seconds

STATUS = (b"/bin/grep", b"^Sig", b"/proc/self/status")


_EINTR = ByHand(
    path="/tmp/record",  # noqa: S108  in a line for people
    front="strace -f -o /dev/null -P /tmp/record -e trace=read -e inject=read:error=EINTR:when=1",
)
"""What has the first read of the record fail, in a shell line."""


def survives_signals(target: Verifier, trials: Trials) -> None:
    """Send signals that do not end a process while it reads, and stop and continue it."""
    target.needs_prog()
    harmless = (signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG, signal.SIGCONT, signal.SIGSTOP)
    whole = target.account.record

    def ask(tried: tuple[list[signal.Signals], int]) -> None:
        numbers, at = tried

        def send(process: Process) -> None:
            for number in numbers:
                process.signal(number)
                if number == signal.SIGSTOP:
                    process.signal(signal.SIGCONT)

        pieces = (whole[:at], whole[at:])
        answer = target.ask(None, (target.marker,), pieces=pieces, between=send)
        names = [signal_name(number) for number in numbers]
        what = f"after {' '.join(names)} in the midst of the record, yes"
        by_hand = ByHand(front=_sending(names), pieces=pieces, pause=2.0)
        target.must_accept(answer, whole, (target.marker,), RAN, what=what, by_hand=by_hand)

    numbers = st.lists(st.sampled_from(harmless), min_size=1, max_size=6)
    trials.each(st.tuples(numbers, st.integers(1, len(whole) - 1)), ask, most=12)


def _sending(names: Sequence[str]) -> str:
    """Return what runs a program, in a shell line, and sends it signals a second later."""
    kills = [f"kill -{name.removeprefix('SIG')} $$" for name in names]
    kills = [f"{kill}; kill -CONT $$" if kill == "kill -STOP $$" else kill for kill in kills]
    return f"""sh -c '(sleep 1; {"; ".join(kills)}) & exec "$0" "$@"'"""


def reads_on_after_eintr(target: Verifier, trials: Trials) -> None:
    """Have read(2) of descriptor 3 fail with EINTR, in the midst of the record.

    That happens to a program without signal handlers, too: reading a socket that has a time limit (SO_RCVTIMEO) is not
    restarted when the process was stopped and goes on (signal(7)).
    """
    target.needs_yes()

    def ask(*, is_good: bool) -> None:
        whole = target.account.record if is_good else target.wrong
        status = _ask_with_eintr(target, whole)
        if status not in ({0} if is_good else {1, target.no}):
            words = "no end within the time limit" if status is None else f"exit {status}"
            words = words if status is None or status >= 0 else f"killed by {signal_name(-status)}"
            expected = f"{'yes, exit 0' if is_good else f'no, exit {target.no}'}, after read was interrupted (EINTR)"
            raise target.violation(expected, words, whole, by_hand=_EINTR)

    for is_good in (True, False):
        trials.once(functools.partial(ask, is_good=is_good))


def _ask_with_eintr(target: Verifier, whole: bytes) -> int | None:
    ours, theirs = socket.socketpair()
    null = nothing()
    with ours, theirs, contextlib.ExitStack() as stack:
        stack.callback(os.close, null)
        long = struct.pack("ll", int(4 * target.patience), 0)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, long)
        state = target.state(descriptors={0: null, 1: null, 2: null, 3: theirs.fileno()})
        process = stack.enter_context(target.begin(TRUE, state))
        deadline = time.monotonic() + target.patience
        for piece in (whole[:2], whole[2:]):
            ours.sendall(piece)
            while unread(theirs.fileno()) and not process.has_ended() and time.monotonic() < deadline:
                time.sleep(POLL)
            for _ in range(2):
                _reach(process, b"S", deadline)
                process.signal(signal.SIGSTOP)
                _reach(process, b"T", deadline)
                process.signal(signal.SIGCONT)
        ours.shutdown(socket.SHUT_WR)
        return process.wait(max(0.0, deadline - time.monotonic()))


def _reach(process: Process, wanted: bytes, deadline: float) -> None:
    """Wait until a process waits (S) or is stopped (T), at two looks one after the other."""
    looks = 0
    while looks < 2 and not process.has_ended() and time.monotonic() < deadline:
        looks = looks + 1 if witness.state_of(process.pid) == wanted else 0
        time.sleep(POLL)


def signal_dispositions(target: Verifier, trials: Trials) -> None:
    """Have the caller ignore any signals, and look which PROG ignores."""
    _try_signals(target, trials, lambda numbers: _compare_signals(target, "SigIgn", numbers, frozenset()))


def signal_mask(target: Verifier, trials: Trials) -> None:
    """Have the caller block any signals, and look which PROG blocks."""
    _try_signals(target, trials, lambda numbers: _compare_signals(target, "SigBlk", frozenset(), numbers))


def _try_signals(target: Verifier, trials: Trials, ask: Callable[[frozenset[int]], None]) -> None:
    """Try none, all at once, and some: a program may change what is done about a single one."""
    target.needs_prog()
    every = witness.every_signal_that_can_be_ignored()
    trials.once(lambda: ask(frozenset()))
    try:
        trials.once(lambda: ask(frozenset(every)))
    except Violation:
        for number in every:  # the one that it is about, if it is one, is what a person wants to see
            trials.once(functools.partial(ask, frozenset({number})))
        raise
    trials.each(st.frozensets(st.sampled_from(every), max_size=5), ask, most=6)


def _hands_on_ignored(*numbers: int) -> Callable[[Verifier, Trials], None]:
    """Return the check that PROG ignores each of these signals when the caller does."""

    def check(target: Verifier, trials: Trials) -> None:
        target.needs_prog()
        for number in numbers:
            trials.once(functools.partial(_compare_signals, target, "SigIgn", frozenset({number}), frozenset()))

    return check


def _compare_signals(target: Verifier, name: str, ignored: frozenset[int], blocked: frozenset[int]) -> None:
    state = target.state(ignored=ignored, blocked=blocked)
    found, given = witness.behind(target, state)
    if found.signals(name) != given.signals(name):
        what = "ignored" if name == "SigIgn" else "blocked"
        expected = f"signals {what} by PROG as by the caller: {witness.names_of(given.signals(name))}"
        seen = witness.names_of(found.signals(name))
        if ignored or blocked:
            seen += f" (set by the caller: {witness.names_of(ignored | blocked)})"
        by_hand = witness.by_hand(state)
        raise target.violation(expected, seen, target.account.record, STATUS, by_hand=by_hand)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "survives-signals",
        Severity.MUST,
        "Reading goes on after signals that end nobody, and after a stop.",
        "checkpassword 0.90",
        survives_signals,
    ),
    Property(
        "reads-on-after-eintr",
        Severity.MUST,
        "Reading goes on after a read(2) that was interrupted (EINTR).",
        "checkpassword 0.90",
        reads_on_after_eintr,
    ),
    Property(
        "hands-on-signal-dispositions",
        Severity.MUST,
        "PROG ignores the signals that the caller ignores, and no other; three have properties of their own.",
        INTERFACE,
        signal_dispositions,
    ),
    Property(
        "hands-on-ignored-sigpipe",
        Severity.SHOULD,
        "PROG ignores SIGPIPE and SIGXFSZ if the caller does; runtimes that set them at their start forget it.",
        PRACTICE,
        _hands_on_ignored(signal.SIGPIPE, signal.SIGXFSZ),
    ),
    Property(
        "hands-on-ignored-sigchld",
        Severity.SHOULD,
        "PROG ignores SIGCHLD if the caller does, and the answer is the same.",
        PRACTICE,
        _hands_on_ignored(signal.SIGCHLD),
    ),
    Property(
        "hands-on-signal-mask",
        Severity.MUST,
        "PROG blocks the signals that the caller blocks, and no other.",
        INTERFACE,
        signal_mask,
    ),
)
