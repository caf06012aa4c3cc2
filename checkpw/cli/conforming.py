"""One run of the conformance kit for people: progress while it lasts, reports when it is over, and its exit status."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from checkpw.conform import calling, host, verifying
from checkpw.conform.calling.call import NO, YES
from checkpw.conform.model import Property, Report
from checkpw.conform.profiles import Profile
from checkpw.conform.reporting import html, junit, tap, terminal, wording
from checkpw.conform.reporting import json as as_json
from checkpw.conform.reporting.progress import Display
from checkpw.conform.run import Interrupted, KitFailure, Settings, run
from checkpw.conform.verifying import Verifier
from checkpw.errors import TemporaryFailure

if TYPE_CHECKING:
    from checkpw.cli.conform import Wishes

CONFORMS, DOES_NOT, TROUBLE = 0, 1, 111

VERIFIER_RUNS, VERIFIER_RUNS_PER_EXAMPLE = 640, 10.2
"""How often all properties of a verifier run it, and how often more for each value that they may try; counted."""

VERIFIER_OVERHEAD, VERIFIER_WAITS = 0.006, 2.0
"""Seconds that the kit itself takes for a run, measured on one core of 2.5 GHz, and those in which it only waits."""

CALLER_RUNS, CALLER_RUNS_PER_EXAMPLE = 370, 2.6
CALLER_DELAYS = 50
"""How often the delay of a caller after a failure holds the kit up."""


class Paper:
    """A stream for people. One who has gone away does not stop a run whose report goes to a file."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty() and environ.get("TERM", "") not in ("", "dumb")
        self.is_coloured = self.is_terminal and not environ.get("NO_COLOR")
        self.is_gone = False

    @property
    def columns(self) -> int:
        """How wide the terminal is."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def write(self, text: str) -> None:
        """Write; what the stream's encoding has not is spelt out."""
        if self.is_gone:
            return
        encoding = self._stream.encoding or "ascii"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            self.is_gone = True


def judge(
    side: str,
    argv: Sequence[str],
    target: Any,
    properties: Sequence[Property],
    profile: Profile,
    wishes: "Wishes",
    environ: Mapping[str, str],
) -> int:
    """Run the kit, show how it goes, write the reports; return the exit status.

    Args:
        side: "verifier" or "caller".
        argv: the program under test.
        target: the same as a context manager, which the properties are called with.
        properties: in the order in which they are tried.
        profile: the dialect.
        wishes: the options.
        environ: for what a terminal wants.

    Raises:
        TemporaryFailure: the kit could not run, was interrupted, or cannot write a report.
    """
    paper = Paper(sys.stderr if wishes.form else sys.stdout, environ)
    style = terminal.Style(paper.is_coloured, max((len(one.name) for one in properties), default=0))
    display = Display(paper.write, style, paper.columns if paper.is_terminal else None)
    seed = secrets.randbelow(2**32) if wishes.seed is None else wishes.seed
    settings = Settings(seed, wishes.examples, profile, host.surroundings())
    plan = Report(side, tuple(argv), settings.profile.name, seed, wishes.examples, (), time.time())
    try:
        with _interruptible(), host.nothing_left_behind(), target:
            estimate = estimated(target, len(properties), wishes.examples)
            paper.write(terminal.heading(plan, len(properties), estimate) + "\n\n")
            report = run(side, argv, target, properties, settings, display)
    except Interrupted as early:
        display.clear()
        paper.write(terminal.failures(early.report, strict=wishes.strict, style=style))
        done = f"{len(early.report.results)} of {len(properties)} properties"
        raise TemporaryFailure(f"interrupted after {done}; no report was written") from None
    except KeyboardInterrupt:
        raise TemporaryFailure("interrupted") from None
    except KitFailure as error:
        display.clear()
        raise TemporaryFailure(f"the kit could not run: {wording.visible(str(error))}") from None
    paper.write(terminal.ending(report, strict=wishes.strict, style=style))
    _write_reports(report, wishes)
    if paper.is_gone and not wishes.form:
        raise TemporaryFailure("unable to write the report to standard output")
    if not wording.judged_any(report):
        return TROUBLE
    return CONFORMS if wording.conforms(report, strict=wishes.strict) else DOES_NOT


def estimated(target: Any, number: int, examples: int) -> float:
    """Return about how many seconds a run will take, from how long the program takes to say yes and no.

    Args:
        target: entered.
        number: of the properties that will be tried; as if each took as long as any other.
        examples: how many values a property is tried on at most.
    """
    if isinstance(target, Verifier):
        yes = _seconds(lambda: target.ask(target.account.record))
        no = _seconds(lambda: target.ask(target.wrong))  # which PAM, for one, delays by seconds
        once = (yes + no) / 2
        whole = (once + VERIFIER_OVERHEAD) * (VERIFIER_RUNS + VERIFIER_RUNS_PER_EXAMPLE * examples) + VERIFIER_WAITS
        return whole * number / len(verifying.PROPERTIES)
    yes = _seconds(lambda: target.try_once(target.log_in(), YES))
    no = _seconds(lambda: target.try_once(target.log_in(), NO))
    whole = yes * (CALLER_RUNS + CALLER_RUNS_PER_EXAMPLE * examples) + max(0.0, no - yes) * CALLER_DELAYS
    limit: float = target.hang_limit
    return (whole + limit) * number / len(calling.PROPERTIES)


def _seconds(ask: Callable[[], object]) -> float:
    """Return how long something takes: the shorter of two, because the first reads what it needs from the disk."""
    taken = []
    for _ in range(2):
        began = time.monotonic()
        ask()
        taken.append(time.monotonic() - began)
    return min(taken)


def _write_reports(report: Report, wishes: "Wishes") -> None:
    for path, render in ((wishes.junit, junit.render), (wishes.html, html.render)):
        if path is not None:
            try:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(render(report, strict=wishes.strict))
            except OSError as error:
                raise TemporaryFailure(f"unable to write {path}: {error.strerror}") from None
    if wishes.form:
        render = as_json.render if wishes.form == "json" else tap.render
        click.echo(render(report, strict=wishes.strict), nl=False)


def show_list(properties: Sequence[Property], wishes: "Wishes") -> int:
    """Say which properties there are, for people or as JSON; return the exit status."""
    if wishes.form == "json":
        pairs = [
            {"name": one.name, "severity": one.severity.value, "claim": one.claim, "source": one.source}
            for one in properties
        ]
        click.echo(json.dumps(pairs, indent=2))
        return CONFORMS
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for one in properties:
        claim = f"{one.claim} [{one.source}]"
        if columns:
            lines = textwrap.wrap(claim, max(40, columns - 1), initial_indent="    ", subsequent_indent="    ")
            click.echo("\n".join([f"{one.name} ({one.severity.value})", *lines]))
        else:
            click.echo(f"{one.name} ({one.severity.value}) {claim}")
    return CONFORMS


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end a run as SIGINT does, so that no program under test outlives it."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
