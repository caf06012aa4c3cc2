"""The test of times: it is exact, its false alarms are rare, and it sees what it says that it sees."""

import itertools
import random

import pytest

from checkpw.conform.accounts import Account
from checkpw.conform.model import NotJudged, Violation
from checkpw.conform.process import Outcome
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import timing


def test_the_probability_is_exact():
    """It is what counting all combinations of signs gives."""
    sizes = (1.0, 2.5, 3.0, 4.7, 9.0, 11.0)
    sums = [
        abs(sum(rank * sign for rank, sign in enumerate(signs, 1))) for signs in itertools.product((-1, 1), repeat=6)
    ]
    for signs in itertools.product((-1, 1), repeat=6):
        found = abs(sum(rank * sign for rank, sign in enumerate(signs, 1)))
        expected = sum(one >= found for one in sums) / len(sums)
        differences = [size * sign for size, sign in zip(sizes, signs, strict=True)]
        assert timing.signed_rank_probability(differences) == pytest.approx(expected)


def test_the_probability_of_nothing():
    """No difference at all is no evidence, and thirty to one side are."""
    assert timing.signed_rank_probability([]) == timing.signed_rank_probability([0.0] * 50) == 1.0
    assert timing.signed_rank_probability([1.0 + at for at in range(30)]) == pytest.approx(2 / 2**30)


def test_false_alarms_are_as_rare_as_stated():
    """With equal times, a probability below 5 % comes about 5 times in 100, whatever the noise looks like."""
    chance = random.Random(1)
    noises = [lambda: chance.gauss(0, 1), lambda: chance.expovariate(1) ** 3 - chance.expovariate(1) ** 3]
    for noise in noises:
        alarms = sum(timing.signed_rank_probability([noise() for _ in range(40)]) < 0.05 for _ in range(600))
        assert 9 < alarms < 52  # 30 expected, and four standard deviations around it


def test_what_would_have_been_seen_is_seen():
    """A shift of just that size is found about nine times in ten, less what is lost by estimating it from sixty."""
    chance = random.Random(1)
    found = 0
    for _ in range(200):
        noise = [chance.gauss(0, 1) for _ in range(60)]
        shift = timing.detectable([chance.gauss(0, 1) for _ in range(60)])
        found += timing.signed_rank_probability([one + shift for one in noise]) < timing.FALSE_ALARMS / timing.LOOKS
    assert 130 < found < 200


class FakeTarget:
    """Answers no after a time that depends on the login."""

    accounts = (Account(b"joe", b"secret"),)

    def __init__(self, seconds):
        self.seconds = seconds
        self.asked = []

    def needs_yes(self):
        pass

    def shown(self, prog):
        return [b"./mychecker", *prog]

    def ask(self, record, prog, *, pieces):
        self.asked.append(pieces[0])
        return Outcome(1, b"", b"", self.seconds(pieces[0].startswith(b"joe\0")), 1)

    def must_reject(self, outcome, record):
        assert outcome.status == 1

    def violation(self, expected, seen, record, *, by_hand):
        return Violation(expected, seen, given=record)


def judged(seconds, examples=30):
    target, trials = FakeTarget(seconds), Trials(examples, 1)
    timing.same_time(target, trials)
    return target, trials


def test_equal_times_pass_and_are_reported():
    """What was measured, and what would have been seen, is in the report."""
    chance = random.Random(2)
    target, trials = judged(lambda is_known: 0.010 + chance.gauss(0, 0.001))
    assert "120 pairs" in trials.remark
    assert trials.count == len(target.asked) == 242
    assert len({len(one) for one in target.asked}) == 2  # an unknown login has six letters at least


@pytest.mark.parametrize("sign", [1, -1])
def test_a_hash_for_one_of_them_is_seen(sign):
    """Also in noise that is as large as the difference, and whichever takes longer."""
    chance = random.Random(3)
    with pytest.raises(Violation, match="120 pairs"):
        judged(lambda is_known: 0.020 + (0.005 * sign if is_known else 0) + abs(chance.gauss(0, 0.005)))


def test_a_difference_below_the_stated_one_does_not_count():
    """A tenth of the time, and half a millisecond: below that a machine tells nothing over a network."""
    judged(lambda is_known: 0.0100 + (0.0008 if is_known else 0.0))
    judged(lambda is_known: 0.0010 + (0.0004 if is_known else 0.0))
    with pytest.raises(Violation):
        judged(lambda is_known: 0.0100 + (0.0012 if is_known else 0.0))


def test_what_cannot_be_measured_is_not_judged():
    """A program that takes its time, and a machine that has none."""
    with pytest.raises(NotJudged, match=r"2\.0 s"):
        judged(lambda is_known: 2.0)
    chance = random.Random(4)
    with pytest.raises(NotJudged, match="busy"):
        judged(lambda is_known: 0.001 + abs(chance.gauss(0, 1)) ** 3 / 10, examples=5)
