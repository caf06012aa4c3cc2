"""The words of the kit: properties, what was seen when one was broken, and what is reported."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checkpw.conform.trials import Trials


class Severity(enum.Enum):
    """How much a property weighs."""

    MUST = "must"  # the written interface
    SHOULD = "should"  # what careful implementations do: timing, leaks


class Verdict(enum.Enum):
    """What became of a property."""

    PASSED = "passed"
    FAILED = "failed"
    DIALECT = "dialect"  # not what the interface says, but what the chosen profile is known for
    SKIPPED = "skipped"  # could not be judged; the result says what was missing


class Violation(Exception):
    """A program under test did something else than a property says.

    Args:
        expected: what should have been seen, a few words.
        seen: what was seen instead; never more than a line or two.
        given: the bytes that brought it about, None where it was not about bytes.
        recipe: a shell line that shows it by hand, "" where there is none.
        is_dialect: whether the profile is known for it.
    """

    def __init__(
        self, expected: str, seen: str, *, given: bytes | None = None, recipe: str = "", is_dialect: bool = False
    ) -> None:
        super().__init__(f"expected {expected}, saw {seen}")
        self.expected = expected
        self.seen = seen
        self.given = given
        self.recipe = recipe
        self.is_dialect = is_dialect


class NotJudged(Exception):
    """A property cannot be judged here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Property:
    """One thing that a program under test must or should do.

    Attributes:
        name: lower case words joined by hyphens; it stays the same from release to release, for --select.
        severity: whether breaking it is a failure of the interface.
        claim: what holds, one sentence in the present tense.
        source: where that is written: "checkpassword interface", "RFC 4954 section 4", "practice".
        check: judges it: called with the program under test and with the trials; raises Violation or NotJudged.
    """

    name: str
    severity: Severity
    claim: str
    source: str
    check: Callable[[Any, "Trials"], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What one property came to.

    Attributes:
        judged: the property.
        verdict: what became of it.
        why: for SKIPPED and DIALECT the reason, for PASSED what was measured where that matters, else "".
        violation: for FAILED and DIALECT, the smallest that was found.
        examples: how often the program under test was run.
        seconds: how long it took.
    """

    judged: Property
    verdict: Verdict
    why: str
    violation: Violation | None
    examples: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the kit.

    Attributes:
        side: "verifier" or "caller".
        command: the program under test with its arguments.
        profile: the dialect that it was held against.
        seed: with which the same run can be repeated.
        examples: how many examples a property was given at most.
        results: in the order of the properties.
        began: when, seconds since the epoch.
        surroundings: pairs of what else a reader must know: versions, the user, the kernel.
    """

    side: str
    command: tuple[str, ...]
    profile: str
    seed: int
    examples: int
    results: tuple[Result, ...]
    began: float
    surroundings: tuple[tuple[str, str], ...] = field(default=())

    @property
    def conforms(self) -> bool:
        """Whether no property that must hold was broken; what only should hold is named, and does not count."""
        return not any(
            result.verdict is Verdict.FAILED and result.judged.severity is Severity.MUST for result in self.results
        )
