"""Judging a program by properties, one after the other, and telling its faults from those of the kit."""

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from checkpw.conform.model import NotJudged, Property, Report, Result, Verdict, Violation
from checkpw.conform.process import KitFailure
from checkpw.conform.profiles import Profile
from checkpw.conform.trials import SHRINKING_SECONDS, Trials

__all__ = ["Interrupted", "KitFailure", "Progress", "Settings", "run", "select"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is done.

    Attributes:
        seed: the same one gives the same values.
        examples: how many values a property is tried on at most.
        profile: the dialect that the program is held against.
        surroundings: what else a reader of the report must know.
        shrinking: seconds after which the smallest value found so far is what is reported.
    """

    seed: int
    examples: int
    profile: Profile
    surroundings: tuple[tuple[str, str], ...] = ()
    shrinking: float = SHRINKING_SECONDS


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        number: of the property, from 1.
        total: how many properties there are.
        judged: the property.
        examples: how often the program was run for it so far.
        result: what it came to, None as long as it is being tried.
    """

    number: int
    total: int
    judged: Property
    examples: int
    result: Result | None


class Interrupted(KeyboardInterrupt):
    """Somebody ended the run; `report` has what was known by then."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def select(properties: Sequence[Property], globs: Sequence[str]) -> tuple[Property, ...]:
    """Return the properties whose names match one of the patterns; without patterns all of them.

    Raises:
        LookupError: a pattern matches no property.
    """
    for glob in globs:
        if not any(fnmatch.fnmatchcase(one.name, glob) for one in properties):
            raise LookupError(f"no property is called {glob}")
    return tuple(one for one in properties if not globs or any(fnmatch.fnmatchcase(one.name, glob) for glob in globs))


def run(
    side: str,
    command: Sequence[str],
    target: Any,
    properties: Sequence[Property],
    settings: Settings,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Judge a target by each property in turn.

    Args:
        side: "verifier" or "caller".
        command: the program under test, for the report.
        target: what a check is called with; already entered as a context manager.
        properties: in the order in which they are tried.
        settings: how.
        on_progress: called before, during and after each property.
        clock: seconds since the epoch.

    Raises:
        KitFailure: a check broke down; that says nothing about the program.
        Interrupted: by SIGINT.
    """
    began = clock()
    results: list[Result] = []

    def report() -> Report:
        return Report(
            side=side,
            command=tuple(command),
            profile=settings.profile.name,
            seed=settings.seed,
            examples=settings.examples,
            results=tuple(results),
            began=began,
            surroundings=settings.surroundings,
        )

    for number, one in enumerate(properties, 1):

        def tell(examples: int, result: Result | None = None, number: int = number, one: Property = one) -> None:
            if on_progress is not None:
                on_progress(Progress(number, len(properties), one, examples, result))

        try:
            tell(0)
            result = judge(target, one, settings, tell)
        except KeyboardInterrupt:
            raise Interrupted(report()) from None
        results.append(result)
        tell(result.examples, result)
    return report()


def judge(target: Any, one: Property, settings: Settings, on_example: Callable[[int], None] | None = None) -> Result:
    """Judge a target by one property.

    Raises:
        KitFailure: the check broke down.
    """
    trials = Trials(settings.examples, settings.seed, on_example, settings.shrinking)
    began = time.monotonic()
    verdict, why, violation = Verdict.PASSED, "", None
    try:
        one.check(target, trials)
    except NotJudged as missing:
        verdict, why = Verdict.SKIPPED, str(missing)
    except Violation as found:
        verdict, violation = Verdict.DIALECT if found.is_dialect else Verdict.FAILED, found
    except KitFailure:
        raise
    except Exception as error:
        raise KitFailure(f"while judging {one.name}: {type(error).__name__}: {error}") from error
    if verdict is Verdict.PASSED:
        verdict, why, violation = (
            (Verdict.DIALECT, "", trials.dialect) if trials.dialect else (verdict, trials.remark, None)
        )
    if violation is not None and settings.profile.knows(one.name, violation):
        verdict, why = Verdict.DIALECT, settings.profile.deviations[one.name]
    elif verdict is Verdict.DIALECT:
        why = settings.profile.summary
    return Result(one, verdict, why, violation, trials.count, time.monotonic() - began)
