"""Budgets against a model that counts with fractions and a table for each key of its own."""

from array import array
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw.budget import Budget

KEYS = st.sampled_from([b"joe", b"ann", b"", b"x" * 600])
# Eighths of seconds are exact in both ways of counting.
STEPS = st.lists(st.tuples(KEYS, st.integers(0, 40).map(lambda eighths: eighths / 8), st.booleans()), max_size=80)


class Model:
    """One exact bucket for each key, without a bound."""

    def __init__(self, tries, seconds):
        self.cost, self.seconds, self.paid = Fraction(seconds) / tries, Fraction(seconds), {}

    def take(self, key, now):
        """Count a try, if fewer than the whole are not paid back yet."""
        begin = max(self.paid.get(key, Fraction(0)), Fraction(now))
        if begin - Fraction(now) > self.seconds - self.cost / 2:
            return None
        self.paid[key] = begin + self.cost
        return self.paid[key]

    def give_back(self, key, paid, now):
        """Count it no more, but for what is paid."""
        self.paid[key] -= max(Fraction(0), min(self.cost, paid - Fraction(now)))


@given(STEPS, st.sampled_from([(1, 1.0), (4, 8.0), (8, 1.0), (16, 4.0)]))
def test_it_counts_as_the_model_does(steps, rate):
    """Which tries are allowed depends on key and time alone, whatever is given back meanwhile."""
    budget, model, now = Budget(*rate, b"secret"), Model(*rate), 1000.0
    taken = []
    for key, passed, gives_back in steps:
        now += passed
        ours, theirs = budget.take(key, now), model.take(key, now)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours == float(theirs)
            taken.append((key, ours, theirs))
        if gives_back and taken:
            earlier, ours, theirs = taken.pop(0)
            budget.give_back(earlier, ours, now)
            model.give_back(earlier, theirs, now)


@given(st.integers(1, 50), st.floats(0.01, 1e5), st.floats(0, 1e9), st.lists(st.floats(0, 1e4), max_size=60))
def test_no_more_than_it_says(tries, seconds, begun, steps):
    """In any stretch of time, no more tries are allowed than at once and what the time pays back."""
    budget, now, allowed = Budget(tries, seconds, b""), begun, []
    for passed in steps:
        now += passed
        if budget.take(b"joe", now) is not None:
            allowed.append(now)
    for at, first in enumerate(allowed):
        for count, last in enumerate(allowed[at:], 1):
            assert count <= tries + (last - first) / seconds * tries + 1e-6 + 0.5


@pytest.mark.parametrize(("tries", "seconds"), [(1, 60), (3, 1), (7, 60), (20, 60), (1000, 0.3)])
def test_all_at_once_and_then_one_by_one(tries, seconds):
    """Exactly so many at the same moment, then exactly one for each part of the time."""
    budget = Budget(tries, seconds, b"k")
    assert [budget.take(b"joe", 5e8) is not None for _ in range(tries + 3)] == [True] * tries + [False] * 3
    for turn in range(1, 4):
        now = 5e8 + turn * seconds / tries
        assert [budget.take(b"joe", now) is not None for _ in range(2)] == [True, False]
    assert budget.take(b"ann", 5e8) is not None


def test_what_is_given_back_can_be_had_again():
    """A try that counts no more leaves everything as it was; one that time has paid back is no gain."""
    budget = Budget(2, 60.0, b"")
    for _ in range(100):
        budget.give_back(b"joe", budget.take(b"joe", 1000.0), 1000.0)
    first = budget.take(b"joe", 1000.0)
    budget.take(b"joe", 1000.0)
    assert budget.take(b"joe", 1000.0) is None
    budget.give_back(b"joe", first, 1030.0)  # paid back at 1030: nothing is left to give
    assert budget.take(b"joe", 1030.0) is not None
    assert budget.take(b"joe", 1030.0) is None


def test_what_time_has_paid_back_in_part_is_given_back_in_part():
    """Half of a try is paid back when it is given back: then the other half can be had, and not the whole."""
    budget = Budget(2, 60.0, b"")
    first = budget.take(b"joe", 1000.0)
    budget.take(b"joe", 1000.0)
    budget.give_back(b"joe", first, 1015.0)
    assert [budget.take(b"joe", 1015.0) is not None for _ in range(2)] == [True, False]
    # Counted are the second try and the third: 1060 - 15 + 30.
    assert budget.take(b"joe", 1029.0) is None
    assert budget.take(b"joe", 1045.0) is not None


def test_memory_is_bounded_and_nothing_is_forgotten():
    """A flood of keys shares places: it makes the limit stricter, and a key that was used up stays so."""
    budget = Budget(1, 60.0, b"secret", array("d", bytes(8 * 64)))
    assert budget.take(b"joe", 1000.0) is not None
    allowed = sum(budget.take(b"login%d" % number, 1000.0) is not None for number in range(5000))
    assert allowed == 63
    assert budget.take(b"joe", 1000.0) is None
    assert len(budget._paid) == 64


def test_who_does_not_know_the_secret_cannot_tell_which_keys_meet():
    """The place of a key depends on the secret."""
    places = [Budget(1, 1.0, bytes([number]))._place(b"joe") for number in range(20)]
    assert len(set(places)) > 15
