"""The search for a violation, and what comes out of it."""

import pytest
from hypothesis import strategies as st

from checkpw.conform.model import NotJudged, Violation
from checkpw.conform.trials import Trials


def violation(value, *, is_dialect=False):
    return Violation("less", str(value), given=value, recipe="line", is_dialect=is_dialect)


def test_nothing_comes_out_of_what_holds():
    """Each value is tried once, as many as was said, and each run is counted and told."""
    told = []
    trials = Trials(17, 1, told.append)
    trials.each(st.integers(), lambda _: None)
    assert trials.count == 17
    assert told == list(range(1, 18))
    trials.each(st.integers(), lambda _: None, most=5)
    trials.once(lambda: None)
    trials.ran(3)
    assert trials.count == 17 + 5 + 1 + 3


def test_the_smallest_value_comes_out():
    """A violation is shrunk."""

    def body(value):
        if b"x" in value and len(value) > 3:
            raise violation(value)

    with pytest.raises(Violation) as caught:
        Trials(2000, 1).each(st.binary(max_size=20), body)
    assert caught.value.given == b"\0\0\0x"


def test_the_same_seed_gives_the_same_values():
    """A run can be repeated, and another seed is another run."""

    def values(seed):
        seen = []
        Trials(20, seed).each(st.binary(), seen.append)
        return seen

    assert values(1) == values(1)
    assert values(1) != values(2)


def test_shrinking_ends_when_time_is_up():
    """After that no further value is run, and the last one that failed is what comes out."""
    now = [0.0]
    runs = []

    def body(value):
        runs.append(value)
        now[0] += 1.0
        if value > 10:
            raise violation(value)

    with pytest.raises(Violation) as caught:
        Trials(200, 1, shrinking=3.0, clock=lambda: now[0]).each(st.integers(0, 10**9), body)
    failed = [value for value in runs if value > 10]
    assert caught.value.given == failed[-1]
    assert len(runs) - runs.index(failed[0]) <= 5


def test_what_happens_only_once_says_so():
    """A violation that the same value does not show again is reported as such, and not as a fault of the kit."""
    seen = []

    def body(value):
        seen.append(value)
        if len(seen) == 3:
            raise violation(value)

    with pytest.raises(Violation, match="not every time") as caught:
        Trials(20, 1).each(st.integers(), body)
    assert caught.value.given == seen[2]
    assert caught.value.recipe == "line"


@pytest.mark.parametrize("error", [NotJudged("no root"), OSError("broken"), KeyboardInterrupt()])
def test_other_exceptions_pass_at_once(error):
    """What is no violation is not shrunk: it comes out of the first run."""
    runs = []

    def body(value):
        runs.append(value)
        raise error

    with pytest.raises(type(error)) as caught:
        Trials(20, 1).each(st.integers(), body)
    assert caught.value is error
    assert len(runs) == 1


def test_a_dialect_is_kept_and_the_search_goes_on():
    """The first violation that the profile is known for is remembered; a real one still comes out."""
    trials = Trials(50, 1)
    trials.each(st.just(7), lambda value: (_ for _ in ()).throw(violation(value, is_dialect=True)))
    assert trials.dialect.given == 7

    def body(value):
        raise violation(value, is_dialect=value < 100)

    with pytest.raises(Violation) as caught:
        trials.each(st.integers(0, 1000), body)
    assert caught.value.given == 100
    assert trials.dialect.given == 7


def test_nothing_is_printed_or_written(capfd, tmp_path, monkeypatch):
    """The words are the kit's: hypothesis prints nothing, and leaves no directory where the kit was started."""
    monkeypatch.chdir(tmp_path)

    def body(value):
        raise violation(value)

    with pytest.raises(Violation) as caught:
        Trials(20, 1).each(st.binary(), body)
    assert not getattr(caught.value, "__notes__", None)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
