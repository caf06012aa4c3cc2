"""Reports made by hand: one that conforms, and one with everything in it that can go wrong in a report."""

from checkpw.conform.model import Property, Report, Result, Severity, Verdict, Violation
from checkpw.conform.shell import ByHand, recipe

MUST, SHOULD = Severity.MUST, Severity.SHOULD
RECORD = b"joe\0secre\0\0"
NASTY = "exit 0 <b>&amp; \x1b[2J \udcff \u202e ]]> \"'` # \\ \uffff\r\n-->"


def _property(name, severity=MUST, claim="A claim with `true` in it."):
    return Property(name, severity, claim, "checkpassword interface", lambda target, trials: None)


def result(name, verdict, severity=MUST, why="", violation=None):
    """Make one result."""
    return Result(_property(name, severity), verdict, why, violation, 0 if verdict is Verdict.SKIPPED else 7, 1.25)


def violation(seen="exit 0", given=RECORD):
    """Make what was seen, with the shell line for it."""
    line = recipe(["./mychecker", "true"], given, ByHand()) if given is not None else ""
    return Violation("no, exit 1", seen, given=given, recipe=line)


def report(*results, command=("./mychecker",)):
    """Make a report of these results."""
    return Report(
        side="verifier",
        command=command,
        profile="djb",
        seed=42,
        examples=100,
        results=results,
        began=1763950000.0,
        surroundings=(("kit", "checkpw 0.1.0"), ("system", "Linux")),
    )


PASSED = result("good-passed", Verdict.PASSED)
REMARK = result("good-remark", Verdict.PASSED, SHOULD, why="2 ms and 2 ms")
FAILED = result("bad-must", Verdict.FAILED, violation=violation())
WEAK = result("bad-should", Verdict.FAILED, SHOULD, violation=violation("b'hello'", None))
DIALECT = result("of-dialect", Verdict.DIALECT, why="it says no with 3", violation=violation("exit 3"))
SKIPPED = result("not-judged", Verdict.SKIPPED, why="it takes #2 accounts \\ more")

GOOD = report(PASSED, REMARK)
WEAKLY = report(PASSED, WEAK, DIALECT, SKIPPED)
BAD = report(PASSED, FAILED, WEAK, DIALECT, SKIPPED)
NOTHING = report(SKIPPED)
NASTY_FAILED = result("bad-nasty", Verdict.FAILED, why=NASTY, violation=violation(NASTY, bytes(range(256)) * 3))
AWFUL = report(
    NASTY_FAILED,
    result("skipped-nasty", Verdict.SKIPPED, why=NASTY),
    result("dialect-nasty", Verdict.DIALECT, why=NASTY, violation=violation(NASTY)),
    command=("./my checker", NASTY, "\udcfe"),
)
EMPTY = report()

ALL = {"good": GOOD, "weakly": WEAKLY, "bad": BAD, "nothing": NOTHING, "awful": AWFUL, "empty": EMPTY}
