"""What the checks of the properties have in common; the checks themselves are held against mutants in tests/conform."""

import pytest

from checkpw.conform import attempts
from checkpw.conform.calling import (
    PROPERTIES,
    answers,
    lasting,
    records,
    refusals,
    relaying,
    secrets,
    sessions,
    surroundings,
)
from checkpw.conform.calling.call import Call
from checkpw.conform.calling.dialogue import Kind, Language, Reply
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import Violation

YES = Reply(Kind.YES, (b"235 x\r\n",))
ATTEMPT = attempts.plain(b"joe", b"x")


def ends_or_is_empty(rest):
    """Let no third field follow but an empty one."""
    return rest in (b"", b"\0")


def _call(record, *, ended=True):
    return Call(1, (), (), (), {}, 0, record, ended, complete=True)


def test_the_whole_is_its_parts():
    """Each module's properties are tried, in the order of the report."""
    parts = (records, refusals, answers, relaying, surroundings, secrets, sessions, lasting)
    assert tuple(one for part in parts for one in part.PROPERTIES) == PROPERTIES


@pytest.mark.parametrize(
    ("calls", "seen"),
    [
        ([], "no call, and the reply 235"),
        ([_call(b"joe\0x\0\0")] * 2, "2"),
        ([_call(b"joe\0x")], "joe"),
        ([_call(b"Joe\0x\0\0")], "Joe"),
        ([_call(b"joe\0x\0stamp\0")], "stamp"),
        ([_call(b"joe\0x\0\0\0")], "joe"),
        ([_call(b"joe\0x\0\0", ended=False)], "none"),
    ],
)
def test_a_record_that_is_not_exact(calls, seen):
    """Too many calls, or none, or other bytes, or no end of them."""
    caller = Caller(["server"], {}, language=Language.SMTP)
    with pytest.raises(Violation) as caught:
        records.require_exact(caller, ATTEMPT, YES, calls, ends_or_is_empty)
    assert seen in caught.value.seen
    assert caught.value.given == ATTEMPT.wire
    assert caught.value.recipe.startswith("rm -f /tmp/seen; printf 'EHLO client.example")


def test_what_was_said_before_is_shown():
    """The line by which it is seen by hand has the whole session, and a checker that says no to its first part."""
    caller = Caller(["server"], {}, language=Language.SMTP)
    with pytest.raises(Violation) as caught:
        records.require_exact(caller, ATTEMPT, YES, [], ends_or_is_empty, b"AUTH PLAIN AGEAYg==\r\n")
    assert caught.value.given == b"AUTH PLAIN AGEAYg==\r\n" + ATTEMPT.wire
    assert r"client.example\15\nAUTH PLAIN AGEAYg==\15\nAUTH PLAIN AGpvZQB4\15\n" in caught.value.recipe
    assert "exit 1" in caught.value.recipe


@pytest.mark.parametrize("record", [b"joe\0x\0", b"joe\0x\0\0"])
def test_a_record_that_is_exact(record):
    """With a third field or without."""
    records.require_exact(Caller(["server"], {}), ATTEMPT, YES, [_call(record)], ends_or_is_empty)


@pytest.mark.parametrize(
    ("line", "stamp"),
    [
        (b"+OK <1.2@x>\r\n", b"<1.2@x>"),
        (b"+OK hello\r\n", b""),
        (b"+OK >x<\r\n", b""),
        (b"+OK a <1@b> c\r\n", b"<1@b>"),
    ],
)
def test_the_stamp_of_a_greeting(line, stamp):
    """What stands in angle brackets, if anything does."""
    greeting = Reply(Kind.YES, (line,))
    assert records.find_stamp(greeting) == stamp
    words = [b"", b"\0", stamp + b"\0", b"<9.9@y>\0", b"<9.9@y>", b"<9.9@y>\0\0", b"x\0", b"<>\0"]
    for language in Language:
        is_third = records.third_of(Caller(["s"], {}, language=language), greeting)
        fit = {word for word in words if is_third(word)}
        # Where the greeting has no stamp, that of the record is one that nobody has seen.
        third = {stamp + b"\0" if stamp else b"<9.9@y>\0"} if language is Language.POP3 else set()
        assert fit == {b"", b"\0"} | third
