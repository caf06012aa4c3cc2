"""The kit and callers: the reference has no fault, and each mutant's is caught by the property that names it."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import caller_mutants

from checkpw.conform import profiles, run
from checkpw.conform.calling import PROPERTIES
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import Verdict

REFERENCE = pathlib.Path(__file__).parent / "caller_server.py"
SETTINGS = run.Settings(seed=1, examples=20, profile=profiles.DJB, shrinking=0)
NAMED = {one.name: one for one in PROPERTIES}
ENOUGH = 20  # mutants that issue 5 asks for


def _caller(path, protocol, seconds, limit):
    """Give a caller that leaves a checker so many seconds, and is left so many itself."""
    environ = {**os.environb, b"CHECKER_SECONDS": str(seconds).encode()}
    return Caller([sys.executable, "-IS", str(path), protocol], environ, patience=limit, hang_limit=limit)


@pytest.mark.parametrize(("protocol", "other"), [("smtp", "POP3"), ("pop3", "SMTP")])
def test_the_reference_conforms(protocol, other):
    """It passes everything that can be judged, and what cannot belongs to the other protocol."""
    with _caller(REFERENCE, protocol, 5, 30) as caller:
        report = run.run("caller", caller.argv, caller, PROPERTIES, SETTINGS)
    failed = [(result.judged.name, str(result.violation)) for result in report.results if result.violation]
    assert failed == []
    assert report.conforms
    reasons = {result.why for result in report.results if result.verdict is Verdict.SKIPPED}
    assert reasons == {f"it does not speak {other}"}
    assert all(result.examples for result in report.results if result.verdict is Verdict.PASSED)


@pytest.mark.parametrize("mutant", caller_mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_is_caught(mutant, tmp_path):
    """By the property that names it; and the line that shows it by hand starts the command."""
    path = tmp_path / "caller.py"
    path.write_text(mutant.text(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
    with _caller(path, mutant.protocol, 1, 3) as caller:
        result = run.judge(caller, NAMED[mutant.caught_by], SETTINGS)
    assert result.verdict is Verdict.FAILED
    assert result.violation.expected
    assert result.violation.seen
    recipe = result.violation.recipe
    assert not recipe or str(path) in recipe


def test_each_property_catches_something():
    """No property is without a mutant that shows that it can fail, and no name of a mutant is there twice."""
    assert {mutant.caught_by for mutant in caller_mutants.MUTANTS} == set(NAMED)
    names = [mutant.name + mutant.protocol for mutant in caller_mutants.MUTANTS]
    assert len(names) == len(set(names)) >= ENOUGH
    assert set(caller_mutants.MISSED_AT_FIRST) <= {mutant.name for mutant in caller_mutants.MUTANTS}
