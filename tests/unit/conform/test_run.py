"""A run: verdicts from what checks raise, and who is to blame."""

import dataclasses

import pytest

from checkpw.conform import run
from checkpw.conform.model import NotJudged, Property, Severity, Verdict, Violation
from checkpw.conform.process import KitFailure
from checkpw.conform.profiles import DJB

SETTINGS = run.Settings(seed=5, examples=3, profile=DJB)


def a_property(check, name="some-property", severity=Severity.MUST):
    return Property(name, severity, "It holds.", "practice", check)


def raising(error):
    def check(target, trials):
        raise error

    return check


def judged(check, settings=SETTINGS):
    return run.judge("target", a_property(check), settings)


def test_what_a_check_raises_is_the_verdict():
    """Nothing is a pass, Violation a failure, NotJudged neither."""

    def passing(target, trials):
        assert target == "target"
        assert (trials.examples, trials.seed) == (3, 5)
        trials.once(lambda: None)
        trials.remark = "3 ms"

    result = judged(passing)
    assert (result.verdict, result.why, result.violation, result.examples) == (Verdict.PASSED, "3 ms", None, 1)
    violation = Violation("a", "b")
    result = judged(raising(violation))
    assert (result.verdict, result.violation) == (Verdict.FAILED, violation)
    result = judged(raising(NotJudged("no root")))
    assert (result.verdict, result.why, result.violation) == (Verdict.SKIPPED, "no root", None)


def test_a_dialect_is_neither_passed_nor_failed():
    """What the profile is known for is named: a status by the violation, a property by the table."""
    violation = Violation("a", "b", is_dialect=True)

    def status(target, trials):
        trials.once(lambda: raising(violation)(target, trials))

    result = judged(status)
    assert (result.verdict, result.why, result.violation) == (Verdict.DIALECT, DJB.summary, violation)
    assert judged(raising(violation)).verdict is Verdict.DIALECT
    known = dataclasses.replace(DJB, deviations={"some-property": "it always did"})
    result = judged(raising(Violation("a", "b")), dataclasses.replace(SETTINGS, profile=known))
    assert (result.verdict, result.why) == (Verdict.DIALECT, "it always did")
    crash = raising(Violation("a", "killed by SIGSEGV"))
    assert judged(crash, dataclasses.replace(SETTINGS, profile=known)).verdict is Verdict.FAILED
    assert judged(lambda target, trials: None, dataclasses.replace(SETTINGS, profile=known)).verdict is Verdict.PASSED


@pytest.mark.parametrize("error", [ValueError("broken"), KitFailure("no such program")])
def test_a_fault_of_the_kit_is_none_of_the_program(error):
    """Whatever else a check raises is a failure of the kit, with the name of the property."""
    with pytest.raises(KitFailure, match=r"broken|no such program") as caught:
        judged(raising(error))
    assert isinstance(error, KitFailure) or "some-property" in str(caught.value)


def test_properties_are_tried_in_their_order_and_told():
    """Each is told before, during and after; the report has all, and what is needed to repeat it."""

    def two_runs(target, trials):
        trials.ran()
        trials.ran()

    told = []
    properties = [a_property(two_runs, "one"), a_property(raising(Violation("a", "b")), "two")]
    report = run.run("verifier", ["prog", "arg"], "target", properties, SETTINGS, told.append, clock=lambda: 99.0)
    assert [(one.number, one.total, one.judged.name, one.examples, one.result is not None) for one in told] == [
        (1, 2, "one", 0, False),
        (1, 2, "one", 1, False),
        (1, 2, "one", 2, False),
        (1, 2, "one", 2, True),
        (2, 2, "two", 0, False),
        (2, 2, "two", 0, True),
    ]
    assert [one.verdict for one in report.results] == [Verdict.PASSED, Verdict.FAILED]
    assert (report.side, report.command, report.profile) == ("verifier", ("prog", "arg"), "djb")
    assert (report.seed, report.examples, report.began) == (5, 3, 99.0)
    assert not report.conforms


def test_an_interrupt_keeps_what_is_known():
    """After ^C there is a report of the properties that were judged."""
    properties = [a_property(lambda target, trials: None), a_property(raising(KeyboardInterrupt()))]
    with pytest.raises(KeyboardInterrupt) as caught:
        run.run("verifier", ["prog"], "target", properties, SETTINGS)
    assert [one.verdict for one in caught.value.report.results] == [Verdict.PASSED]


def test_properties_are_selected_by_patterns():
    """Patterns are those of a shell, the order is that of the table, and a pattern for nothing is a mistake."""
    properties = tuple(a_property(raising(None), name) for name in ("a-one", "b-two", "a-three"))
    assert run.select(properties, []) == properties
    assert run.select(properties, ["b-two", "a-*"]) == properties
    assert [one.name for one in run.select(properties, ["a-*"])] == ["a-one", "a-three"]
    with pytest.raises(LookupError, match="c-"):
        run.select(properties, ["a-*", "c-*"])
