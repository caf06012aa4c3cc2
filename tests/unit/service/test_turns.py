"""Whose turn it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw.service.turns import TooMany, Turns


class Ledger:
    """Starts things, and notes in which order."""

    def __init__(self, turns):
        self.turns = turns
        self.started = []

    def take(self, client, number=0):
        """Want something."""
        self.turns.take(client, lambda: self.started.append((client, number)))


def test_at_once_and_then_in_turn():
    """As many go on at once as may; then whoever asks most waits longest, and nobody is passed over."""
    ledger = Ledger(Turns(2, 100))
    for number in range(10):
        ledger.take(b"greedy", number)
    ledger.take(b"one")
    ledger.take(b"two")
    assert ledger.started == [(b"greedy", 0), (b"greedy", 1)]
    for _ in range(5):
        ledger.turns.done()
    assert ledger.started[2:] == [(b"greedy", 2), (b"one", 0), (b"two", 0), (b"greedy", 3), (b"greedy", 4)]


def test_so_many_may_wait():
    """One more than may wait is told so, and takes nobody's place."""
    ledger = Ledger(Turns(1, 3))
    for number in range(4):
        ledger.take(b"a", number)
    with pytest.raises(TooMany):
        ledger.take(b"b")
    assert ledger.turns.waiting == 3
    ledger.turns.done()
    ledger.take(b"b")
    for _ in range(4):
        ledger.turns.done()
    assert [client for client, _ in ledger.started] == [b"a", b"a", b"a", b"b", b"a"]
    assert ledger.turns.waiting == 0


def test_turns_that_end_as_they_begin():
    """Thousands that end at once, one after the other, are no deep stack."""
    turns, count = Turns(1, 100_000), []

    def start():
        count.append(1)
        turns.done()

    turns.take(b"first", lambda: None)
    for number in range(50_000):
        turns.take(b"%d" % (number % 7), start)
    turns.done()
    assert len(count) == 50_000 and turns.waiting == 0
    ledger = Ledger(turns)
    ledger.take(b"a")
    assert ledger.started == [(b"a", 0)]


def test_a_start_that_fails():
    """A fault in one does not keep those behind it waiting for ever."""
    turns = Turns(1, 10)
    ledger = Ledger(turns)

    def fail():
        turns.done()
        raise ZeroDivisionError

    ledger.take(b"a", 0)
    turns.take(b"b", fail)
    ledger.take(b"c", 1)
    with pytest.raises(ZeroDivisionError):
        turns.done()
    ledger.take(b"d", 2)
    turns.done()
    assert ledger.started == [(b"a", 0), (b"c", 1), (b"d", 2)]


@given(st.integers(1, 4), st.lists(st.one_of(st.sampled_from([b"a", b"b", b"c"]), st.none()), max_size=60))
def test_nobody_is_forgotten(at_once, steps):
    """Never more go on than may, as many as may whenever somebody waits, and each client's in its order."""
    ledger = Ledger(Turns(at_once, 1000))
    wanted, done = [], 0
    for number, client in enumerate(steps):
        if client is not None:
            wanted.append((client, number))
            ledger.take(client, number)
        elif done < len(ledger.started):
            done += 1
            ledger.turns.done()
        going_on = len(ledger.started) - done
        assert going_on == min(at_once, len(wanted) - done)
    while done < len(ledger.started):
        done += 1
        ledger.turns.done()
    assert sorted(ledger.started) == sorted(wanted)
    for client in (b"a", b"b", b"c"):
        assert [each for each in ledger.started if each[0] == client] == [each for each in wanted if each[0] == client]
