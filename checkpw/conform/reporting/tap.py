"""The report for test harnesses: the Test Anything Protocol, version 13 (testanything.org).

Version 14 adds nothing that is needed here, and the harness of Perl 5.36 calls it a parse error.

What is broken without standing against the program, a dialect or what only should hold, is marked TODO: harnesses show
it and do not count it.
"""

import json

from checkpw.conform import shell
from checkpw.conform.model import Report, Result, Verdict
from checkpw.conform.reporting import wording


def render(report: Report, *, strict: bool = False) -> str:
    """Return a report as TAP 13; `strict` lets what only should hold count."""
    command = wording.visible(shell.quote_all(report.command))
    lines = [
        "TAP version 13",
        f"# checkpw conform {report.side}: {command}",
        f"# profile {report.profile}, seed {report.seed}, up to {wording.plural(report.examples, 'example')} each",
        f"1..{len(report.results)}" + ("" if report.results else " # SKIP nothing was selected"),
    ]
    for number, result in enumerate(report.results, 1):
        lines += _point(number, result, strict=strict)
    lines.append(f"# {wording.conclusion(report, strict=strict)}: {wording.count(report)}")
    return "\n".join(lines) + "\n"


def _point(number: int, result: Result, *, strict: bool) -> list[str]:
    """Return the lines about one property: the test point, and what is known of a failure."""
    is_ok = result.verdict in (Verdict.PASSED, Verdict.SKIPPED)
    line = f"{'ok' if is_ok else 'not ok'} {number} - {_escape(result.judged.name)}"
    if result.verdict is Verdict.SKIPPED:
        line += f" # SKIP {_escape(result.why)}"
    elif result.verdict is Verdict.DIALECT:
        line += f" # TODO dialect: {_escape(result.why)}"
    elif not is_ok and not wording.is_failure(result, strict=strict):
        line += " # TODO it should hold, and need not"
    return [line, *_diagnostics(result)]


def _diagnostics(result: Result) -> list[str]:
    """Return the YAML block of a property that does not hold; values are JSON, which YAML includes."""
    found = result.violation
    if found is None:
        return []
    pairs = [
        ("severity", result.judged.severity.value),
        ("claim", result.judged.claim),
        ("source", result.judged.source),
        ("expected", wording.visible(found.expected)),
        ("seen", wording.visible(found.seen)),
    ]
    pairs += [("given", shell.quote_printf(found.given)[1:-1])] if found.given is not None else []
    pairs += [("recipe", wording.visible(found.recipe))] if found.recipe else []
    return ["  ---", *(f"  {name}: {json.dumps(value)}" for name, value in pairs), "  ..."]


def _escape(text: str) -> str:
    """Return a description in which nothing is taken for a directive."""
    return wording.visible(text).replace("\\", "\\\\").replace("#", "\\#")
