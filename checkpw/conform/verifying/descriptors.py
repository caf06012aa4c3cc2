"""Descriptors: 3 is read and closed, whatever it is, and all others belong to the program that is run."""

import contextlib
import dataclasses
import fcntl
import functools
import itertools
import os
from collections.abc import Iterable, Mapping

from hypothesis import strategies as st

from checkpw.conform.accounts import record
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.process import nothing
from checkpw.conform.shell import ByHand, quote_printf
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.feeding import unread
from checkpw.conform.verifying.target import MARK, PLAIN, RAN, TRUE, Verifier, seen
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

FURTHER = (4, 5, 6, 9, 20, 100)
"""Numbers of descriptors that a caller may have open besides."""

CAT = (b"/bin/cat",)

_SOME_CLOSED = tuple(frozenset(some) for size in (1, 2, 3) for some in itertools.combinations((0, 1, 2), size))
"""All that can be closed of the standard descriptors, the fewest first: so few that none is left to chance."""


def nothing_on_stdout(target: Verifier, trials: Trials) -> None:
    """Look at descriptor 1 after every kind of answer."""
    target.needs_yes()
    account = target.account
    questions: tuple[tuple[bytes | None, tuple[bytes, ...], bytes], ...] = (
        (account.record, TRUE, b""),
        (account.record, (target.marker,), MARK),
        (account.record, (target.directory + b"/missing",), b""),
        (account.record, (), b""),
        (target.wrong, TRUE, b""),
        (record(b"no-such-login", b"x"), TRUE, b""),
        (account.record + b"t" * 600, TRUE, b""),
        (account.login, TRUE, b""),
        (b"", TRUE, b""),
        (None, TRUE, b""),
    )
    for given, prog, expected in questions:

        def ask(given: bytes | None = given, prog: tuple[bytes, ...] = prog, expected: bytes = expected) -> None:
            said = target.ask(given, prog).stdout
            if said not in (expected, b""):
                words = f"{said[:100].decode('ascii', 'backslashreplace')!a}"
                raise target.violation("nothing on descriptor 1 but what PROG writes", words, given, prog)

        trials.once(ask)


def leaves_stdin(target: Verifier, trials: Trials) -> None:
    """Look whether PROG can read all of descriptor 0 after a yes, and whether all is still there after a no."""
    target.needs_prog()

    def ask(tried: tuple[bytes, bool]) -> None:
        content, is_good = tried
        given = target.account.record if is_good else target.wrong
        if is_good:
            answer = target.ask(given, CAT, stdin=content)
            if answer.stdout != content:
                words, expected = (
                    f"{len(answer.stdout)} bytes, {seen(answer)}",
                    f"all {len(content)} bytes of descriptor 0",
                )
                raise target.violation(f"{expected} for PROG", words, given, CAT, by_hand=_with_input(content))
            return
        reading, writing = os.pipe()
        try:
            os.write(writing, content)
            os.close(writing)
            target.ask(given, descriptors={0: reading})
            left = unread(reading)
        finally:
            os.close(reading)
        if left != len(content):
            expected, by_hand = (
                f"all {len(content)} bytes of descriptor 0 left after a no",
                _with_input(content, _CAT_AFTER),
            )
            raise target.violation(expected, f"{left} left", given, by_hand=by_hand)

    trials.each(st.tuples(st.binary(min_size=1, max_size=4000), st.booleans()), ask, most=10)


_CAT_AFTER = """sh -c '"$0" "$@"; cat'"""
"""What runs a program, in a shell line, and then says what is left of descriptor 0."""


def _with_input(content: bytes, front: str = "") -> ByHand:
    """Have descriptor 0 a file, and not the pipe of the record."""
    before = f"printf {quote_printf(content)} >/tmp/input"
    return ByHand(before=before, front=front, path="/tmp/record", redirect="3</tmp/record </tmp/input")  # noqa: S108


# --- the descriptors of the program that is run


_LISTING = (b"/bin/sh", b"-c", b"ls -l /proc/$$/fd; grep flags /proc/$$/fdinfo/*")

_FURTHER_BY_HAND = ByHand(
    front="python3 -c 'import fcntl, os, sys; fcntl.fcntl(4, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK);"
    " os.execvp(sys.argv[1], sys.argv[1:])'",
    redirect="3<&0 </dev/null >/tmp/1 2>/tmp/2 4<>/tmp/4 5<&4 6<&4 9<&4",
    after="echo $?; cat /tmp/1",
)
"""Gives a program, in a shell line, descriptors that can be told from each other, some of which do not block."""


def closes_descriptor_3(target: Verifier, trials: Trials) -> None:
    """Look whether PROG has a descriptor 3, or another way to the same record."""
    target.needs_prog()

    def ask() -> None:
        found, _ = witness.behind(target, target.state())
        if 3 in found.descriptors:
            raise _about_descriptors(target, "PROG without a descriptor 3", f"3 is {found.descriptors[3][0]}")

    trials.once(ask)


def adds_no_descriptor(target: Verifier, trials: Trials) -> None:
    """Look whether PROG has a descriptor that the caller did not give."""
    target.needs_prog()

    def ask(numbers: frozenset[int]) -> None:
        found, given = _with_further(target, numbers)
        added = {n: found.descriptors[n][0] for n in sorted(set(found.descriptors) - set(given.descriptors)) if n != 3}
        if added:
            words = ", ".join(f"{number} is {what}" for number, what in added.items())
            raise _about_descriptors(target, f"no descriptors but {_list(given.descriptors)}", words, _opening(numbers))

    trials.each(st.frozensets(st.sampled_from(FURTHER)), ask, most=8)


def hands_on_descriptors(target: Verifier, trials: Trials) -> None:
    """Look whether PROG has every descriptor that the caller gave, as it was."""
    target.needs_prog()

    def ask(numbers: frozenset[int]) -> None:
        found, given = _with_further(target, numbers)
        for number, what in given.descriptors.items():
            if found.descriptors.get(number) != what:
                words = "closed" if number not in found.descriptors else " ".join(found.descriptors[number])
                expected = f"descriptor {number} as it was given: {' '.join(what)}"
                raise target.violation(expected, words, target.account.record, _LISTING, by_hand=_FURTHER_BY_HAND)

    some = st.frozensets(st.sampled_from(FURTHER))
    trials.each(st.one_of(st.just(frozenset(FURTHER)), some), ask, most=8)


def _with_further(target: Verifier, numbers: frozenset[int]) -> tuple[witness.Seen, witness.Seen]:
    with contextlib.ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        file = nothing()
        stack.callback(os.close, file)
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)
        kinds = (reading, writing, file)
        return witness.behind(target, target.state(descriptors={n: kinds[n % 3] for n in numbers}))


def _list(descriptors: Mapping[int, object]) -> str:
    return " ".join(map(str, sorted(descriptors))) or "none"


def _closing(numbers: Iterable[int]) -> ByHand:
    return ByHand(redirect=" ".join(["3<&0", *(f"{number}<&-" for number in sorted(numbers))]))


def _opening(numbers: Iterable[int]) -> ByHand:
    """Open some for the shell line; what they are does not matter there, and shells take one digit only."""
    return ByHand(redirect=" ".join(["3<&0", *(f"{number}</dev/null" for number in sorted(numbers) if number < 10)]))


def _about_descriptors(target: Verifier, expected: str, words: str, by_hand: ByHand = PLAIN) -> Exception:
    return target.violation(
        expected, words, target.account.record, (b"/bin/ls", b"-l", b"/proc/self/fd"), by_hand=by_hand
    )


def leaves_files_alone(target: Verifier, trials: Trials) -> None:
    """Look whether owner and mode of what is open as 0, 1 and 2 are what they were."""
    target.needs_prog()

    def ask(number: int) -> None:
        descriptor = nothing()
        try:
            before = _owner_and_mode(descriptor)
            target.ask(target.account.record, (target.marker_without_words,), descriptors={number: descriptor})
            after = _owner_and_mode(descriptor)
        finally:
            os.close(descriptor)
        if after != before:
            look = "ls -l /tmp/file"
            made = f"rm -f /tmp/file; touch /tmp/file; {look}"
            by_hand = ByHand(before=made, redirect=f"3<&0 {number}<>/tmp/file", after=look)
            expected, prog = f"descriptor {number} left as it was: {before}", (target.marker_without_words,)
            raise target.violation(expected, after, target.account.record, prog, by_hand=by_hand)

    for number in (0, 1, 2):
        trials.once(functools.partial(ask, number))


def _owner_and_mode(descriptor: int) -> str:
    found = os.fstat(descriptor)
    return f"mode {found.st_mode & 0o7777:o}, owner {found.st_uid}, group {found.st_gid}"


def closed_standard_descriptors(target: Verifier, trials: Trials) -> None:
    """Ask with any of 0, 1 and 2 closed."""
    target.needs_prog()

    def ask(tried: tuple[frozenset[int], bool]) -> None:
        closed, is_good = tried
        given = target.account.record if is_good else target.wrong
        prog = (target.marker_without_words,)
        changes = dict.fromkeys(closed, -1)
        what = f"with {_list(dict.fromkeys(closed))} closed,"
        if is_good:
            answer = target.ask(given, prog, descriptors=changes)
            target.must_accept(answer, given, prog, RAN, what=f"{what} yes", by_hand=_closing(closed))
        else:
            answer = target.ask(given, prog, descriptors=changes)
            target.must_reject(answer, given, prog, what=f"{what} no", by_hand=_closing(closed))

    for tried in itertools.product(_SOME_CLOSED, (True, False)):
        trials.once(functools.partial(ask, tried))


def hands_on_closed_descriptors(target: Verifier, trials: Trials) -> None:
    """Look whether what was closed is closed for PROG, too."""
    target.needs_prog()

    def ask(closed: frozenset[int]) -> None:
        state = target.state(descriptors=dict.fromkeys(closed, -1))
        try:
            found, given = witness.behind(target, state)
        except Violation:
            raise NotJudged("PROG is not run: see answers-with-descriptors-closed") from None
        if set(found.descriptors) - {3} != set(given.descriptors):
            expected = f"with {_list(dict.fromkeys(closed))} closed, PROG with {_list(given.descriptors)}"
            by_hand = dataclasses.replace(_closing(closed), after="cat /tmp/fds")  # 1 may be closed
            prog = (*_LISTING[:2], b"(%b) >/tmp/fds; exit" % _LISTING[2])
            raise target.violation(expected, _list(found.descriptors), target.account.record, prog, by_hand=by_hand)

    for closed in _SOME_CLOSED:
        trials.once(functools.partial(ask, closed))


PROPERTIES: tuple[Property, ...] = (
    Property(
        "nothing-on-stdout",
        Severity.MUST,
        "Nothing is written to descriptor 1, which may be the network: it belongs to PROG.",
        INTERFACE,
        nothing_on_stdout,
    ),
    Property(
        "leaves-stdin",
        Severity.MUST,
        "Nothing is read from descriptor 0: all of it is for PROG, or for the caller after a no.",
        INTERFACE,
        leaves_stdin,
    ),
    Property(
        "closes-descriptor-3",
        Severity.MUST,
        "Descriptor 3 is closed before PROG is run.",
        INTERFACE,
        closes_descriptor_3,
    ),
    Property(
        "adds-no-descriptor",
        Severity.MUST,
        "PROG has no descriptor that the caller did not give.",
        INTERFACE,
        adds_no_descriptor,
    ),
    Property(
        "hands-on-descriptors",
        Severity.MUST,
        "PROG has each descriptor of the caller but 3, the same file and with the same flags.",
        INTERFACE,
        hands_on_descriptors,
    ),
    Property(
        "leaves-files-alone",
        Severity.SHOULD,
        "Owner and mode of what is open as 0, 1 and 2 stay as they were: it may be everybody's /dev/null.",
        PRACTICE,
        leaves_files_alone,
    ),
    Property(
        "answers-with-descriptors-closed",
        Severity.MUST,
        "With any of 0, 1 and 2 closed the answers are the same.",
        PRACTICE,
        closed_standard_descriptors,
    ),
    Property(
        "hands-on-closed-descriptors",
        Severity.SHOULD,
        "What of 0, 1 and 2 was closed is closed for PROG, too.",
        PRACTICE,
        hands_on_closed_descriptors,
    ),
)
