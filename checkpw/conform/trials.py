"""Trying a program under test on many values, and finding the smallest one that shows a fault.

The search and the shrinking are hypothesis's; what is reported is what the program did, not what hypothesis says.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from checkpw.conform.model import Violation

SHRINKING_SECONDS = 10.0
"""What a person waits for gladly, to have smaller bytes to look at."""

Value = TypeVar("Value")


class _Leave(BaseException):
    """Carries an exception that is no violation past hypothesis, which would begin to shrink it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Trials:
    """How often a property is tried, and what came out besides a violation.

    Args:
        examples: how many values a property is tried on at most.
        seed: the same one gives the same values.
        on_example: called after each run with the number of runs so far.
        shrinking: seconds after which the smallest value found so far is what is reported.
        clock: gives seconds.

    Attributes:
        examples: as given, for checks that choose their own values.
        seed: as given.
        count: how often the program under test was run.
        remark: what a check measured and wants to be reported, "" for nothing.
        dialect: the first violation that the profile is known for, None where there was none.
    """

    def __init__(
        self,
        examples: int,
        seed: int,
        on_example: Callable[[int], None] | None = None,
        shrinking: float = SHRINKING_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.examples = examples
        self.seed = seed
        self.count = 0
        self.remark = ""
        self.dialect: Violation | None = None
        self._on_example = on_example
        self._shrinking = shrinking
        self._clock = clock

    def once(self, body: Callable[[], None]) -> None:
        """Run `body`, which runs the program under test once.

        Raises:
            Violation: from `body`, unless the profile is known for it: then that is kept in `dialect`.
        """
        self._run(body)

    def ran(self, times: int = 1) -> None:
        """Count runs of the program under test that no other method has counted."""
        self.count += times
        if self._on_example is not None:
            self._on_example(self.count)

    def each(self, strategy: SearchStrategy[Value], body: Callable[[Value], None], *, most: int | None = None) -> None:
        """Run `body` on values of a strategy until it raises, and then on smaller and smaller ones.

        Args:
            strategy: where values come from; they must be comparable.
            body: runs the program under test once with a value.
            most: an upper limit for the number of values, where many are not worth their time.

        Raises:
            Violation: of the smallest value found. One that is not seen again with the same value says so.
        """
        failed: list[tuple[Value, Violation]] = []
        began_to_shrink = 0.0

        def trial(value: Value) -> None:
            nonlocal began_to_shrink
            if failed and self._clock() - began_to_shrink > self._shrinking:
                if value == failed[-1][0]:
                    raise failed[-1][1]
                return
            try:
                self._run(lambda: body(value))
            except Violation as violation:
                if not failed:
                    began_to_shrink = self._clock()
                failed.append((value, violation))
                raise
            except Exception as error:  # raised again outside of hypothesis
                raise _Leave(error) from error

        examples = self.examples if most is None else min(self.examples, most)
        search: Callable[[], Any] = hypothesis.seed(self.seed)(_quiet(examples)(hypothesis.given(strategy)(trial)))
        try:
            search()
        except _Leave as leave:
            raise leave.error from None
        except (Flaky, ExceptionGroup):
            raise _not_every_time(failed[-1][1]) from None
        except Violation as violation:
            raise violation.with_traceback(None) from None

    def _run(self, body: Callable[[], None]) -> None:
        try:
            body()
        except Violation as violation:
            if not violation.is_dialect:
                raise
            self.dialect = self.dialect or violation
        finally:
            self.ran()


def _quiet(examples: int) -> hypothesis.settings:
    """Give settings under which hypothesis prints nothing, writes nothing and gives up nothing."""
    return hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def _not_every_time(violation: Violation) -> Violation:
    return Violation(
        violation.expected,
        f"{violation.seen}, but not every time",
        given=violation.given,
        recipe=violation.recipe,
        is_dialect=violation.is_dialect,
    )
