"""Chaos in brief, and that the account of it finds what it is there to find."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import chaos
import resident


@pytest.mark.parametrize("door", ["maildir", "qmail"])
def test_nothing_is_lost_doubled_or_cut(programs, loopback, door):
    with (
        loopback.directory() as directory,
        resident.Site(directory, programs, is_root=os.geteuid() == 0) as site,
    ):
        account = chaos.play(site, door, seconds=4, seed=os.getpid(), pause=0.15)
    assert account.faults == [], account.counts
    assert account.counts["answers"].get("250", 0) > 10, account.counts
    assert len(account.counts["kills"]) >= 2, account.counts


# --- the account


def _outcome(number, said, began=10.0, ended=11.0):
    outcome = chaos.Outcome(number)
    outcome.said, outcome.began, outcome.ended = said, began, ended
    return outcome


def _text(number):
    return b"Received: x\nSubject: number %d\n\n%s" % (number, chaos.body_of(number).replace(b"\r\n", b"\n"))


def test_all_as_it_should_be():
    outcomes = [_outcome(0, "250"), _outcome(1, "451"), _outcome(2, "lost"), _outcome(3, "unsent"), _outcome(4, "451")]
    kills = [(10.5, "opener"), (11.2, "worker")]
    account = chaos.Account(outcomes, kills, [_text(0), _text(2), _text(4)])
    assert account.faults == []
    assert account.counts["queued without a 250"] == {
        "lost after the end of worker": 1,
        "451 after the end of opener": 1,
    }


@pytest.mark.parametrize(
    ("outcomes", "kills", "texts"),
    [
        ([_outcome(1, "250")], [(10.5, "worker")], []),
        ([_outcome(1, "250")], [(10.5, "worker")], [_text(1), _text(1)]),
        ([_outcome(1, "lost")], [(10.5, "worker")], [_text(1), _text(1)]),
        ([_outcome(1, "250")], [], [_text(1)[:-5]]),
        ([_outcome(4, "250")], [], [_text(4)[:5000]]),
        ([_outcome(1, "250")], [], [_text(1), b"junk"]),
        ([_outcome(1, "250")], [], [_text(1), _text(2)]),
        ([_outcome(1, "lost")], [], [_text(1)]),
        ([_outcome(1, "lost")], [(10.5, "queue")], [_text(1)]),
        ([_outcome(1, "lost")], [(12.0, "worker")], [_text(1)]),
        ([_outcome(1, "451")], [(10.5, "checker"), (10.6, "worker")], [_text(1)]),
        ([_outcome(1, "554")], [(10.5, "worker")], [_text(1)]),
        ([_outcome(1, "unsent")], [(10.5, "worker")], [_text(1)]),
    ],
)
def test_what_is_a_fault(outcomes, kills, texts):
    assert len(chaos.Account(outcomes, kills, texts).faults) == 1
