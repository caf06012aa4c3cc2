"""checkpw.conform.reporting.tap: read back by a parser that takes nothing but TAP 13."""

import json
import re
import shutil
import subprocess

import pytest
import samples

from checkpw.conform.reporting import tap

POINT = re.compile(
    r"(?P<not>not )?ok (?P<number>[0-9]+) - (?P<description>(?:[^#\\]|\\[#\\])*?)"
    r"(?: # (?P<directive>SKIP|TODO)(?: (?P<reason>.*))?)?"
)


def parse(text):
    """Read TAP 13 by its specification; anything else is an error.

    Returns:
        The plan and the test points: (is ok, name, directive, reason, diagnostics).
    """
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert lines.pop(0) == "TAP version 13"
    plan, points = None, []
    while lines:
        line = lines.pop(0)
        if line.startswith("#"):
            continue
        if found := re.fullmatch(r"1\.\.([0-9]+)(?: # (.*))?", line):
            assert plan is None
            plan = int(found[1])
            continue
        found = POINT.fullmatch(line)
        assert found, line
        assert int(found["number"]) == len(points) + 1
        diagnostics = {}
        if lines and lines[0] == "  ---":
            lines.pop(0)
            while (line := lines.pop(0)) != "  ...":
                name, value = re.fullmatch(r"  ([a-z]+): (.*)", line).groups()
                diagnostics[name] = json.loads(value)
        points.append((not found["not"], found["description"], found["directive"], found["reason"], diagnostics))
    assert plan == len(points)
    return points


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
@pytest.mark.parametrize("strict", [False, True])
def test_every_report_is_tap(report, strict):
    """A parser reads each report, whatever a program said, and finds every property in it."""
    points = parse(tap.render(report, strict=strict))
    assert [point[1] for point in points] == [result.judged.name for result in report.results]


def test_what_counts_and_what_does_not():
    """A failure is not ok; what does not count is TODO, what was not judged SKIP."""
    points = {name: (is_ok, directive, reason) for is_ok, name, directive, reason, _ in parse(tap.render(samples.BAD))}
    assert points == {
        "good-passed": (True, None, None),
        "bad-must": (False, None, None),
        "bad-should": (False, "TODO", "it should hold, and need not"),
        "of-dialect": (False, "TODO", "dialect: it says no with 3"),
        "not-judged": (True, "SKIP", r"it takes \#2 accounts \\ more"),
    }


def test_strict_counts_what_should_hold():
    """With strict a broken should is no TODO."""
    points = {point[1]: point[2] for point in parse(tap.render(samples.BAD, strict=True))}
    assert points["bad-should"] is None


def test_diagnostics_of_a_failure():
    """A failure has its bytes and the shell line that shows it."""
    (diagnostics,) = (point[4] for point in parse(tap.render(samples.BAD)) if point[1] == "bad-must")
    assert diagnostics == {
        "severity": "must",
        "claim": "A claim with `true` in it.",
        "source": "checkpassword interface",
        "expected": "no, exit 1",
        "seen": "exit 0",
        "given": "joe\\0secre\\0\\0",
        "recipe": "printf 'joe\\0secre\\0\\0' | ./mychecker true 3<&0; echo $?",
    }


@pytest.mark.parametrize(("name", "status"), [("good", 0), ("weakly", 0), ("bad", 1), ("awful", 1), ("empty", 0)])
def test_prove_agrees(name, status, tmp_path, refuse):
    """The harness of Perl reads it without a word about its form, and comes to the same end."""
    prove = shutil.which("prove")
    if prove is None:
        refuse("peer not installed: prove (Debian package perl)")
    path = tmp_path / "report.tap"
    path.write_text(tap.render(samples.ALL[name]), encoding="utf-8")
    done = subprocess.run(
        [prove, "--verbose", "--exec", "cat", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == status, done.stdout
    assert "Parse errors" not in done.stdout
    assert "Unknown" not in done.stdout
