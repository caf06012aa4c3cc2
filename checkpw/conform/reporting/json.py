"""The report for programs: one JSON object. checkpw-conform(7) says what its members are."""

import json
from typing import Any

from checkpw.conform.model import Report, Result, Violation
from checkpw.conform.reporting import wording
from checkpw.conform.shell import quote_printf

VERSION = 1
"""Of the form. It grows when a member goes or changes its meaning, and not when one is added."""


def render(report: Report, *, strict: bool = False) -> str:
    """Return a report as JSON; `strict` lets what only should hold count for `conforms`."""
    counts = wording.count(report)
    whole: dict[str, Any] = {
        "version": VERSION,
        "side": report.side,
        "command": [wording.visible(word) for word in report.command],
        "profile": report.profile,
        "seed": report.seed,
        "examples": report.examples,
        "strict": strict,
        "began": wording.moment(report),
        "seconds": round(wording.seconds(report), 3),
        "surroundings": {name: wording.visible(value) for name, value in report.surroundings},
        "conforms": wording.judged_any(report) and wording.conforms(report, strict=strict),
        "counts": {
            "passed": counts.passed,
            "failed": counts.failed,
            "weak": counts.weak,
            "dialect": counts.dialect,
            "skipped": counts.skipped,
        },
        "results": [_result(result) for result in report.results],
    }
    return json.dumps(whole, indent=2) + "\n"


def _result(result: Result) -> dict[str, Any]:
    return {
        "name": result.judged.name,
        "severity": result.judged.severity.value,
        "claim": result.judged.claim,
        "source": result.judged.source,
        "verdict": result.verdict.value,
        "why": wording.visible(result.why),
        "examples": result.examples,
        "seconds": round(result.seconds, 3),
        "violation": _violation(result.violation) if result.violation is not None else None,
    }


def _violation(found: Violation) -> dict[str, Any]:
    given = found.given
    return {
        "expected": wording.visible(found.expected),
        "seen": wording.visible(found.seen),
        "given": None
        if given is None
        else {"size": len(given), "hex": given.hex(), "printf": quote_printf(given)[1:-1]},
        "recipe": wording.visible(found.recipe) or None,
    }
