"""The transcripts, through every runner and however the client's bytes are cut."""

import random

import pytest
from dialogue import read_all, unescape
from players import PLAYS, RUNNERS, can_play, play_in_memory

from checkpw.smtp import replies, session, states
from checkpw.smtp.replies import Reply

DIALOGUES = read_all()

EXCUSED = {"NOT_SERVING"}
"""Replies that no client can bring about: a signal does (tests/transcripts/test_interruptions.py)."""


PLAYED = [
    pytest.param(dialogue, runner, how, id=f"{runner}-{how}-{dialogue}")
    for runner, how in PLAYS
    for dialogue in DIALOGUES
    if can_play(dialogue, runner, how)
]


@pytest.mark.parametrize(("dialogue", "runner", "how"), PLAYED)
def test_transcript(dialogue, runner, how, tmp_path):
    """The server says what the transcript says, and so do the door and the log."""
    outcome = RUNNERS[runner](dialogue, how, random.Random(dialogue.name), tmp_path)
    if how == "whole":
        assert outcome.said == [turn.expected for turn in dialogue.turns]
    assert b"".join(outcome.said) == dialogue.expected
    assert outcome.deliveries == dialogue.deliveries
    if dialogue.log:
        assert outcome.log == dialogue.log
    sizes = [f"bytes={len(delivery.text)}" for delivery in outcome.deliveries]
    assert [line.rpartition(" ")[2] for line in outcome.log if " result=queued " in line] == sizes


IN_CLEAR = [
    each for each in DIALOGUES if each.sent and not any(turn.ending == "TLS" or turn.later for turn in each.turns)
]


@pytest.mark.parametrize("dialogue", IN_CLEAR, ids=repr)
def test_everything_at_once(dialogue):
    """A client that waits for no answer gets the same answers, in the same order."""
    hasty = type(dialogue)("", 0, dialogue.name, dialogue.settings)
    hasty.turns[0].sent = dialogue.sent
    hasty.turns[0].ending = dialogue.turns[-1].ending
    outcome = play_in_memory(hasty, "whole", random.Random(0))
    assert b"".join(outcome.said) == dialogue.expected
    assert outcome.deliveries == dialogue.deliveries


def test_every_cell_of_the_table_has_a_transcript(monkeypatch):
    """Each verb was said in each state, and so was a verb that there is not."""
    seen = set()
    command = session.Session._command

    def record(self, line):
        seen.add((line.partition(b" ")[0].upper(), self.state))
        command(self, line)

    monkeypatch.setattr(session.Session, "_command", record)
    for dialogue in DIALOGUES:
        play_in_memory(dialogue, "whole", random.Random(0))
    wanted = {(verb, state) for verb in [*states.TABLE, b"ETRN"] for state in states.STATES}
    assert wanted - seen == set()


def test_every_reply_has_a_transcript():
    """No reply that the session gives by itself is left without an example."""
    said = b"".join(dialogue.expected for dialogue in DIALOGUES)
    named = {name: reply for name, reply in vars(replies).items() if isinstance(reply, Reply)}
    assert {name for name, reply in named.items() if reply.render() not in said} == EXCUSED


def test_unescape_knows_what_it_reads():
    """The marks of the transcripts stand for the bytes that their description says."""
    assert unescape(r"a\r\n\t\0\\\xff\{ab*2}\b{\0x}") == b"a\r\n\t\0\\\xffababAHg="
    with pytest.raises(AssertionError):
        unescape(r"\q")
