"""Asking a checker: what it gets, and what each of its endings means."""

import pytest

from checkpw.checker import Checker
from checkpw.credentials import Credentials
from checkpw.errors import Misuse
from checkpw.operations import FROM_CHILD, NULL, TO_CHILD, Child, Close, Ended, Kill, Spawn, TimedOut, Wait, Write
from checkpw.secret import Secret
from checkpw.verdict import ACCEPTED, MISUSED, REJECTED, TEMPORARY

WHO = Credentials(b"joe", Secret(b"secret"))


def play(*outcomes, codes=(1,), timeout=7.0, who=WHO):
    """Ask, give these outcomes to the operations one by one, and return what was asked for and the answer."""
    steps = Checker([b"checkpassword", b"true"], {b"A": b"b"}, frozenset(codes), timeout).ask(who)
    operations, pending = [next(steps)], list(outcomes)
    try:
        while True:
            outcome = pending.pop(0) if pending else None
            is_trouble = isinstance(outcome, Exception)
            operations.append(steps.throw(outcome) if is_trouble else steps.send(outcome))
    except StopIteration as stop:
        assert not pending
        return operations, stop.value


def child():
    """Make a child with an end for its standard error and one for descriptor 3."""
    return Child(99, {2: 12, 3: 13})


def test_what_is_done():
    """The program gets /dev/null, our log pipe, the record and an environment; it is waited for with a time limit."""
    started = child()
    (spawn, write, close, wait), answer = play(started, None, None, Ended(0, b"hi"))
    assert isinstance(spawn, Spawn) and isinstance(write, Write) and isinstance(close, Close) and isinstance(wait, Wait)
    assert (spawn.argv, spawn.environ) == ([b"checkpassword", b"true"], {b"A": b"b"})
    assert spawn.wiring == ((NULL, (0, 1)), (FROM_CHILD, (2,)), (TO_CHILD, (3,)))
    assert (write.descriptor, write.data, write.timeout) == (13, b"joe\0secret\0\0", 7.0)
    assert close.descriptor == 13
    assert (wait.child, wait.timeout, wait.listen, wait.keep) == (started, 7.0, 12, 4096)
    assert (answer.verdict, answer.reason, answer.diagnostics) == (ACCEPTED, "exit status 0", b"hi")


@pytest.mark.parametrize(
    ("status", "codes", "verdict"),
    [
        (0, {1}, ACCEPTED),
        (1, {1}, REJECTED),
        (2, {1}, MISUSED),
        (2, {1, 2}, REJECTED),
        (3, {1}, TEMPORARY),
        (3, {1, 3}, REJECTED),
        (100, {1, 100}, REJECTED),
        (111, {1, 3, 100}, TEMPORARY),
        (255, {1}, TEMPORARY),
        (-1, {1}, TEMPORARY),
        (-9, {1}, TEMPORARY),
        (0, {0}, ACCEPTED),
    ],
)
def test_endings(status, codes, verdict):
    """0 is a yes, what was named a no, 2 misuse, and everything else nobody's answer."""
    _, answer = play(child(), None, None, Ended(status, b"said"), codes=codes)
    assert (answer.verdict, answer.diagnostics) == (verdict, b"said")
    assert answer.reason == (f"exit status {status}" if status >= 0 else f"killed by signal {-status}")


def test_not_started():
    """A program that cannot be started has not said no."""
    operations, answer = play(FileNotFoundError(2, "No such file or directory"))
    assert len(operations) == 1
    assert (answer.verdict, answer.reason) == (TEMPORARY, "unable to run it: No such file or directory")


def test_unread():
    """An answer is an answer even if descriptor 3 was not read."""
    operations, answer = play(child(), BrokenPipeError(32, "Broken pipe"), None, Ended(0, b""))
    assert [type(operation) for operation in operations] == [Spawn, Write, Close, Wait]
    assert answer.verdict == ACCEPTED


@pytest.mark.parametrize("at", ["write", "wait"])
def test_late(at):
    """Past its time it is killed, what it said is kept, and it has not said no."""
    late = TimedOut()
    late.output = b"so far"
    outcomes = [child(), late] if at == "write" else [child(), None, None, late]
    operations, answer = play(*outcomes, None)
    assert isinstance(operations[-1], Kill) and operations[-1].child.pid == 99
    assert (answer.verdict, answer.reason, answer.diagnostics) == (TEMPORARY, "no answer in 7 seconds", b"so far")


def test_out_of_reach():
    """A program that cannot be waited for is killed, and has not said anything."""
    operations, answer = play(child(), None, None, ChildProcessError(10, "No child processes"), None)
    assert isinstance(operations[-1], Kill)
    assert (answer.verdict, answer.reason) == (TEMPORARY, "unable to wait for it: No child processes")


def test_what_cannot_be_written_is_not_asked():
    """A NUL that would move a field is an error of the caller, before anything is started."""
    with pytest.raises(Misuse):
        play(who=Credentials(b"joe\0pw", Secret(b"x")))
