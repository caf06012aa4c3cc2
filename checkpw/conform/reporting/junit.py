"""The report for CI systems: JUnit XML, in the form that Jenkins, GitLab and their like read.

What is broken without standing against the program, a dialect or what only should hold, is reported as skipped with the
reason, because there a failure would be one. Control characters, which XML 1.0 cannot hold even escaped, are spelt out.
"""

from xml.sax.saxutils import escape, quoteattr

from checkpw.conform import shell
from checkpw.conform.model import Report, Result, Verdict
from checkpw.conform.reporting import wording


def render(report: Report, *, strict: bool = False) -> str:
    """Return a report as JUnit XML; `strict` lets what only should hold count."""
    failures = sum(wording.is_failure(result, strict=strict) for result in report.results)
    skipped = sum(
        result.verdict is not Verdict.PASSED and not wording.is_failure(result, strict=strict)
        for result in report.results
    )
    totals = {
        "tests": len(report.results),
        "failures": failures,
        "errors": 0,
        "time": f"{wording.seconds(report):.3f}",
    }
    name = f"checkpw conform {report.side}"
    suite = {
        "name": f"{name}: {shell.quote_all(report.command)}",
        **totals,
        "skipped": skipped,
        "timestamp": wording.moment(report).removesuffix("Z"),
    }
    settings = (
        ("profile", report.profile),
        ("seed", str(report.seed)),
        ("examples", str(report.examples)),
        *report.surroundings,
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites{_attributes({'name': name, **totals})}>",
        f"  <testsuite{_attributes(suite)}>",
        "    <properties>",
        *(f"      <property{_attributes({'name': key, 'value': value})}/>" for key, value in settings),
        "    </properties>",
        *(line for result in report.results for line in _case(report.side, result, strict=strict)),
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(side: str, result: Result, *, strict: bool) -> list[str]:
    judged = result.judged
    about = _attributes({"classname": f"checkpw.conform.{side}", "name": judged.name, "time": f"{result.seconds:.3f}"})
    if result.verdict is Verdict.PASSED:
        return [f"    <testcase{about}/>"]
    lines = [f"    <testcase{about}>"]
    if wording.is_failure(result, strict=strict):
        kind = _attributes({"type": judged.severity.value, "message": wording.note(result)})
        lines.append(f"      <failure{kind}>{escape(_details(result))}</failure>")
    else:
        lines.append(f"      <skipped{_attributes({'message': _reason(result)})}/>")
        lines += [f"      <system-out>{escape(_details(result))}</system-out>"] if result.violation else []
    return [*lines, "    </testcase>"]


def _reason(result: Result) -> str:
    if result.verdict is Verdict.FAILED:
        return f"should hold, and need not: {wording.note(result)}"
    return f"dialect: {result.why}" if result.verdict is Verdict.DIALECT else result.why


def _details(result: Result) -> str:
    """Return what is known of a property that does not hold, in lines."""
    found, judged = result.violation, result.judged
    assert found is not None
    lines = [judged.claim, f"source: {judged.source}", f"expected: {found.expected}", f"saw: {found.seen}"]
    lines += [f"bytes: {wording.in_words(found.given)}"] if found.given is not None else []
    lines += [f"by hand: {found.recipe}"] if found.recipe else []
    return "\n".join(map(wording.visible, lines))


def _attributes(pairs: dict[str, object]) -> str:
    return "".join(f" {name}={quoteattr(wording.visible(str(value)))}" for name, value in pairs.items())
