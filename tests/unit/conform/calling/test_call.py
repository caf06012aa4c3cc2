"""How the probe is told what to do, and what is read of what it saw."""

import pytest

from checkpw.conform.calling import call
from checkpw.conform.calling.call import NO, YES, Answer, Call, Descriptor

FACTS = {
    "pid": 1,
    "argv": [b"true"],
    "environ": [b"A=1"],
    "status": {"SigBlk": "0"},
    "uid": 0,
    "ended": True,
    "complete": True,
    "descriptors": [(3, 10, 11, 0o10600, 0)],
}


@pytest.mark.parametrize(
    ("answer", "words", "shell"),
    [
        (YES, "exits 0", "od -c <&3 >>/tmp/seen; exit 0"),
        (NO, "exits 1", "od -c <&3 >>/tmp/seen; exit 1"),
        (Answer(signal=9), "is killed by SIGKILL", "od -c <&3 >>/tmp/seen; kill -9 $$"),
        (Answer(hangs=True, reads=False), "hangs without reading descriptor 3", "sleep 9999"),
        (Answer(status=111, reads=False), "exits 111 without reading descriptor 3", "exit 111"),
        (Answer(closes=True), "closes descriptor 3 unread and exits 0", "exec 3<&-; exit 0"),
        (Answer(output=b"a\n", errors=b"b"), "exits 0", "od -c <&3 >>/tmp/seen; printf 'a\\n'; printf 'b' >&2; exit 0"),
    ],
)
def test_an_answer_in_words(answer, words, shell):
    """In those of a sentence, and in those of a shell."""
    assert str(answer) == words
    assert answer.shell() == shell


def test_what_is_a_yes():
    """Only the status 0."""
    assert YES.is_yes
    assert Answer(reads=False).is_yes
    assert not any(answer.is_yes for answer in (NO, Answer(status=256), Answer(signal=15), Answer(hangs=True)))


def test_calls_are_in_the_order_of_time(tmp_path):
    """And other files are none."""
    for number, record in ((2, b"b\0c"), (1, b"a\0b\0\0")):
        (tmp_path / f"call-{number:020d}-7").write_text(ascii({**FACTS, "record": record}), encoding="ascii")
    (tmp_path / "script").touch()
    (tmp_path / "new").touch()
    first, second = call.read_calls(str(tmp_path))
    assert first.fields == (b"a", b"b", b"")
    assert second.fields == (b"b", b"c")
    assert isinstance(first, Call)
    assert first.find(3) == Descriptor(3, (10, 11), 0o10600, 0)
    assert first.find(4) is None


def test_processes(tmp_path):
    """A process that is not there has nothing to show."""
    assert call.is_running(1)
    assert not call.is_running(2**22 + 1)
    assert call.look(2**22 + 1, "environ") == b""
    assert call.look(1, "cmdline")
