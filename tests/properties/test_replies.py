"""Replies: codes that fit each other, lines that fit the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw.conversation import VERDICTS
from checkpw.queue import maildir, qmail, sendmail
from checkpw.smtp import replies
from checkpw.smtp.replies import Reply

NAMED = {name: reply for name, reply in vars(replies).items() if isinstance(reply, Reply)}


@pytest.mark.parametrize("reply", NAMED.values(), ids=NAMED.keys())
def test_named_replies(reply):
    """The enhanced status is of the class of the code, there for all but 3xx, and the line is short and printable."""
    assert (reply.enhanced == b"") == (300 <= reply.code < 400)
    if reply.enhanced:
        first, subject, detail = map(int, reply.enhanced.split(b"."))
        assert first == reply.code // 100 and 0 <= subject <= 7 and 0 <= detail <= 30
    line = reply.render()
    assert len(line) <= 512 and line.endswith(b"\r\n") and all(32 <= byte <= 126 for byte in line[:-2])
    assert repr(reply) == f"Reply({reply.code}, {reply.enhanced!r}, {reply.text!r})"


def _refusals():
    for module in (maildir, qmail, sendmail):
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], int):
                yield f"{module.__name__}.{name}", value
            elif name == "STATUSES":
                yield from ((f"{module.__name__}.{status}", refusal) for status, refusal in value.items())


@pytest.mark.parametrize("refusal", [refusal for _, refusal in _refusals()], ids=[name for name, _ in _refusals()])
def test_refusals_of_doors(refusal):
    """What a door says is 4xx or 5xx with a status of its class."""
    code, enhanced, text = refusal
    assert code in (451, 452, 550, 551, 552, 553, 554) and enhanced[:1] == b"%d" % (code // 100) and text


def test_only_one_verdict_is_a_yes():
    """A verdict has a reply unless it is `accepted`, and only `rejected` says that the password was wrong."""
    assert [verdict for verdict, reply in VERDICTS.items() if reply is None] == ["accepted"]
    assert [verdict for verdict, reply in VERDICTS.items() if reply and reply.code == 535] == ["rejected"]


@given(st.integers(200, 599), st.sampled_from([b"", b"2.0.0"]), st.binary(max_size=300))
def test_render(code, enhanced, text):
    """Whatever words a reply has: one line of ASCII, as long as the words are."""
    line = Reply(code, enhanced, text).render()
    head = b"%d " % code + (enhanced + b" " if enhanced else b"")
    assert line.startswith(head) and line.endswith(b"\r\n")
    words = line[len(head) : -2]
    assert len(words) == len(text)
    assert all(
        got == (given_byte if 32 <= given_byte <= 126 else 63) for got, given_byte in zip(words, text, strict=True)
    )
