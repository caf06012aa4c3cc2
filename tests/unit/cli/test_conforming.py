"""checkpw.cli.conforming: how long a run will take, and a stream whose reader has gone."""

import io

import pytest

from checkpw.cli import conforming
from checkpw.conform import calling, verifying
from checkpw.conform.accounts import Account
from checkpw.conform.calling.call import NO, YES
from checkpw.conform.calling.target import Caller


@pytest.fixture
def clock(monkeypatch):
    """Give a clock that stands still unless it is moved."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(conforming, "time", clock)
    return clock


def test_a_verifier_takes_as_long_as_its_answers(clock):
    """Some 1700 runs of 0.1 s, and what the kit itself takes, are three minutes; a property is a part of that.

    About every other answer is a no, which many programs delay.
    """
    taken = {True: iter((0.5, 0.05) * 2), False: iter((0.5, 0.15) * 2)}

    class Slow(verifying.Verifier):
        def ask(self, record):
            clock.now += next(taken[record == self.account.record])

    target = Slow(["true"], [Account(b"joe", b"secret")], environ={})
    whole = conforming.estimated(target, len(verifying.PROPERTIES), 100)
    assert whole == pytest.approx((640 + 1020) * 0.106 + 2)
    assert conforming.estimated(target, 1, 100) == pytest.approx(whole / len(verifying.PROPERTIES))


def test_a_caller_takes_longer_with_a_delay(clock):
    """The delay of a failure is waited for some times; a checker that hangs is waited for once."""

    class Delayed(Caller):
        def log_in(self, *_):
            return None

        def try_once(self, _, answer):
            clock.now += {YES: 0.05, NO: 1.05}[answer]

    target = Delayed(["true"], {}, hang_limit=40.0)
    whole = conforming.estimated(target, len(calling.PROPERTIES), 100)
    assert whole == pytest.approx((370 + 260) * 0.05 + 50 * 1.0 + 40.0)


def test_what_an_encoding_has_not_is_spelt_out():
    """A terminal in another encoding is sent what it can show."""
    raw = io.BytesIO()
    paper = conforming.Paper(io.TextIOWrapper(raw, encoding="ascii"), {"TERM": "xterm"})
    paper.write("caf\xe9\n")
    assert raw.getvalue() == b"caf\\xe9\n"
    assert not paper.is_terminal
    assert paper.columns == 80
