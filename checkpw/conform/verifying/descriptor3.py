"""Descriptor 3, whatever it is: closed, unreadable, a file, a socket, or one that does not wait."""

import contextlib
import functools
import os
import socket

from hypothesis import strategies as st

from checkpw.conform.accounts import MAX_RECORD
from checkpw.conform.model import Property, Severity
from checkpw.conform.process import Outcome, Process
from checkpw.conform.shell import ByHand
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.target import PLAIN, Verifier
from checkpw.conform.verifying.verdicts import INTERFACE

PAUSE = 0.3  # seconds that a program has to take a read that failed for the end

_SOCKET = ByHand(
    front="python3 -c 'import os, socket, sys; one, other = socket.socketpair(); one.send(os.read(3, 999));"
    " one.shutdown(1); os.dup2(other.fileno(), 3); os.execvp(sys.argv[1], sys.argv[1:])'"
)
"""What runs a program, in a shell line, with a socket as descriptor 3."""

_NOT_BLOCKING = "python3 -c 'import os, sys; os.set_blocking(0, False); os.execvp(sys.argv[1], sys.argv[1:])'"
"""What runs a program, in a shell line, with a descriptor 0 that does not block."""


def closed_descriptor_3(target: Verifier, trials: Trials) -> None:
    """Ask without a descriptor 3."""
    target.needs_yes()

    def ask() -> None:
        answer = target.ask(None, (target.marker,))
        _is_trouble(target, answer, "without a descriptor 3")

    trials.once(ask)


def _is_trouble(
    target: Verifier, answer: Outcome, what: str, given: bytes | None = None, by_hand: ByHand = PLAIN
) -> None:
    expected = f"{what} exit 111 or 2, and nothing run"
    known = (target.profile.temporary | target.profile.misuse) - {1}
    target.must_leave(answer, {111, 2}, known, expected, given, (target.marker,), by_hand=by_hand)


def closed_descriptor_3_is_111(target: Verifier, trials: Trials) -> None:
    """Ask without a descriptor 3, and look whether the answer is that of a read that failed.

    Where it is exit 2 something was read: a file of the program's own, which has got the number.
    """
    target.needs_yes()

    def ask() -> None:
        answer = target.ask(None, (target.marker,))
        known = target.profile.temporary - {1}
        target.must_leave(answer, {111}, known, "without a descriptor 3 exit 111", None, (target.marker,))

    trials.once(ask)


def unreadable_descriptor_3(target: Verifier, trials: Trials) -> None:
    """Ask with a descriptor 3 that is a directory, or open for writing only."""
    target.needs_yes()
    for path, flags, what, by_hand in (
        (target.directory, os.O_RDONLY, "with a directory as descriptor 3", "3</tmp"),
        (target.marker, os.O_WRONLY, "with a descriptor 3 that is open for writing only", "3>/tmp/empty"),
    ):

        def ask(path: bytes = path, flags: int = flags, what: str = what, by_hand: str = by_hand) -> None:
            descriptor = os.open(path, flags)
            try:
                answer = target.ask(None, (target.marker,), descriptors={3: descriptor})
                _is_trouble(target, answer, what, by_hand=ByHand(redirect=by_hand))
            finally:
                os.close(descriptor)

        trials.once(ask)


def reads_a_file(target: Verifier, trials: Trials) -> None:
    """Ask by way of a file, which is read from where it stands."""
    target.needs_yes()

    def ask(tried: tuple[bytes, bool]) -> None:
        before, is_good = tried
        given = target.account.record if is_good else target.wrong
        with contextlib.ExitStack() as stack:
            descriptor = os.memfd_create("checkpw-conform-3")
            stack.callback(os.close, descriptor)
            os.write(descriptor, before + given)
            os.lseek(descriptor, len(before), os.SEEK_SET)
            answer = target.ask(None, descriptors={3: descriptor})
            by_hand = ByHand(front=_skipping(len(before)) if before else "", path="/tmp/record")  # noqa: S108
            _answer(target, answer, before + given, "from a file", is_good=is_good, by_hand=by_hand)

    trials.each(st.tuples(st.binary(max_size=20), st.booleans()), ask, most=6)


def reads_a_socket(target: Verifier, trials: Trials) -> None:
    """Ask by way of a socket."""
    target.needs_yes()

    def ask(*, is_good: bool) -> None:
        given = target.account.record if is_good else target.wrong
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(given)
            ours.shutdown(socket.SHUT_WR)
            answer = target.ask(None, descriptors={3: theirs.fileno()})
            _answer(target, answer, given, "from a socket", is_good=is_good, by_hand=_SOCKET)

    for is_good in (True, False):
        trials.once(functools.partial(ask, is_good=is_good))


def _skipping(size: int) -> str:
    """Return what runs a program, in a shell line, with a descriptor 3 that does not stand at its beginning."""
    return f"""sh -c 'dd bs={size} count=1 of=/dev/null status=none <&3; exec "$0" "$@"'"""


def _answer(target: Verifier, answer: Outcome, given: bytes, what: str, *, is_good: bool, by_hand: ByHand) -> None:
    if is_good:
        target.must_accept(answer, given, what=f"{what} yes", by_hand=by_hand)
    else:
        target.must_reject(answer, given, what=f"{what} no", by_hand=by_hand)


def waits_or_fails_where_3_does_not_block(target: Verifier, trials: Trials) -> None:
    """Give a whole record by way of a pipe that does not block, wait, and then make it too long.

    A program that waits until there is more refuses what is too long; one that cannot wait has trouble.
    """
    target.needs_yes()
    prog = (target.marker,)
    whole = target.account.record

    def wait(process: Process) -> None:
        process.has_ended_within(PAUSE)

    def ask() -> None:
        pieces = (whole, b"t" * (MAX_RECORD + 1))
        answer = target.ask(None, prog, pieces=pieces, between=wait, is_blocking=False)
        known = target.profile.temporary | target.profile.misuse
        expected = "nothing run before the end of descriptor 3, which does not block: exit 111, 1 or 2"
        target.must_leave(
            answer,
            {111, 1, 2, target.no},
            known,
            expected,
            whole,
            prog,
            by_hand=ByHand(front=_NOT_BLOCKING, is_held=True),
        )

    trials.once(ask)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "closed-descriptor-3-is-trouble",
        Severity.MUST,
        "Without a descriptor 3 the answer is exit 111, or 2, and nothing is run.",
        "checkpassword 0.90",
        closed_descriptor_3,
    ),
    Property(
        "closed-descriptor-3-is-111",
        Severity.SHOULD,
        "Without a descriptor 3 the answer is exit 111: exit 2 means that something else was read.",
        "checkpassword 0.90",
        closed_descriptor_3_is_111,
    ),
    Property(
        "unreadable-descriptor-3-is-trouble",
        Severity.MUST,
        "A descriptor 3 that cannot be read is answered with exit 111, or 2: that is no wrong password.",
        "checkpassword 0.90",
        unreadable_descriptor_3,
    ),
    Property(
        "reads-a-file",
        Severity.MUST,
        "Descriptor 3 may be a file, which is read from where it stands.",
        INTERFACE,
        reads_a_file,
    ),
    Property(
        "waits-for-end-without-blocking",
        Severity.MUST,
        "Where descriptor 3 does not block, nothing to read yet is not its end: there is no yes before the end.",
        INTERFACE,
        waits_or_fails_where_3_does_not_block,
    ),
    Property("reads-a-socket", Severity.MUST, "Descriptor 3 may be a socket.", INTERFACE, reads_a_socket),
)
