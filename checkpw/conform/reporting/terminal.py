"""The report for people at a terminal, or in a log: a row for each property, then each failure in full."""

from dataclasses import dataclass

from checkpw.conform import shell
from checkpw.conform.model import Report, Result, Verdict
from checkpw.conform.reporting import wording

LONGEST_LINE = 4000
"""Characters of a shell line, beyond which it is for a file and not for a terminal."""

LONGEST_BYTES = 200
"""Characters of the bytes beside it, which the shell line has in full."""

INDENT = " " * 9

COLOURS = {Verdict.PASSED: "32", Verdict.FAILED: "1;31", Verdict.DIALECT: "36", Verdict.SKIPPED: "2"}
WEAK = "1;33"


@dataclass(frozen=True, slots=True)
class Style:
    """How a terminal is written to.

    Attributes:
        is_coloured: whether it takes colours.
        name_width: columns for the names of properties.
    """

    is_coloured: bool = False
    name_width: int = 36

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, a list of SGR parameters (ECMA-48 8.3.117)."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.is_coloured and colour else text


def render(report: Report, *, strict: bool = False, style: Style | None = None) -> str:
    """Return the whole report.

    Args:
        report: of a run.
        strict: whether what only should hold counts.
        style: for a terminal that takes colours.
    """
    style = style or Style()
    rows = [row(result, style) for result in report.results]
    return "\n".join([heading(report, len(rows)), "", *rows, ending(report, strict=strict, style=style)])


def heading(report: Report, total: int, estimate: float | None = None) -> str:
    """Return what is said before the first property is tried.

    Args:
        report: in which there are no results yet.
        total: how many properties will be tried.
        estimate: how many seconds it will take, as far as that is known.
    """
    command = wording.visible(shell.quote_all(report.command))
    number = f"{total} properties" if total != 1 else "1 property"
    expected = f", about {duration(estimate)}" if estimate is not None else ""
    how = f"profile {report.profile}, seed {report.seed}, up to {wording.plural(report.examples, 'example')} each"
    return f"checkpw conform {report.side}: {command}\n{number}{expected}; {how}"


def duration(estimate: float) -> str:
    """Return a time that is only guessed, in words."""
    return f"{max(1, round(estimate))} s" if estimate < 90 else f"{estimate / 60:.1f} min"


def row(result: Result, style: Style) -> str:
    """Return the line about one property."""
    verdict = result.verdict.value.upper() if result.verdict is Verdict.FAILED else result.verdict.value
    colour = WEAK if wording.is_weak(result) else COLOURS[result.verdict]
    words = [
        style.paint(f"{verdict:<8}", colour),
        f"{result.judged.severity.value:<6}",
        f"{result.judged.name:<{style.name_width}}",
    ]
    if result.verdict is not Verdict.SKIPPED:
        words += [f"{wording.plural(result.examples, 'run'):>9}", f"{result.seconds:6.1f} s"]
    if result.why:
        words.append(style.paint(wording.visible(result.why), "2"))
    return " ".join(words).rstrip()


def ending(report: Report, *, strict: bool, style: Style) -> str:
    """Return what is said when the last property has been tried: the failures in full, and what the run came to."""
    return failures(report, strict=strict, style=style) + _conclusion(report, strict=strict, style=style) + "\n"


def failures(report: Report, *, strict: bool, style: Style) -> str:
    """Return all that is known of the properties that do not hold, and of those of the dialect a line each."""
    dialects = [dialect(result, style) for result in report.results if result.verdict is Verdict.DIALECT]
    broken = [result for result in report.results if result.verdict is Verdict.FAILED]
    # What must hold comes last, next to the conclusion, where it is seen first.
    broken.sort(key=lambda one: wording.is_failure(one, strict=strict))
    listed = "".join(f"{line}\n" for line in dialects) + "\n" * bool(dialects)
    return "\n" + listed + "".join(failure(result, style) + "\n\n" for result in broken)


def dialect(result: Result, style: Style) -> str:
    """Return the line about a property that the profile is known to break; --html and --json have the rest."""
    seen = f"saw {result.violation.seen}: " if result.violation is not None else ""
    words = wording.visible(f"{seen}{result.why}")
    return f"{style.paint(f'{result.verdict.value:<8}', COLOURS[result.verdict])} {result.judged.name}: {words}"


def failure(result: Result, style: Style) -> str:
    """Return all that is known of a property that does not hold."""
    found, judged = result.violation, result.judged
    assert found is not None
    colour = WEAK if wording.is_weak(result) else COLOURS[result.verdict]
    lines = [f"{style.paint(f'{result.verdict.value:<8}', colour)} {judged.name} ({judged.severity.value})"]
    lines += [f"{INDENT}{judged.claim}", f"{INDENT}source    {judged.source}"]
    lines += [f"{INDENT}dialect   {wording.visible(result.why)}"] if result.why else []
    lines += [
        f"{INDENT}expected  {wording.visible(found.expected)}",
        f"{INDENT}saw       {wording.visible(found.seen)}",
    ]
    if found.given is not None:
        lines.append(f"{INDENT}bytes     {_bytes(found.given)}")
    if found.recipe:
        lines += [f"{INDENT}by hand:", _line(wording.visible(found.recipe))]
    return "\n".join(lines)


def _bytes(given: bytes) -> str:
    shown = shell.quote_printf(given)[1:-1]
    if len(shown) <= LONGEST_BYTES:
        return wording.in_words(given)
    return f"{shown[: LONGEST_BYTES // 2]}... ({wording.plural(len(given), 'byte')})"


def _line(recipe: str) -> str:
    """Return a shell line, or of one that nobody could read how it begins and where to find it."""
    if len(recipe) <= LONGEST_LINE:
        return recipe
    return f"{recipe[:LONGEST_BYTES]}... ({len(recipe)} characters; --json and --html have all of it)"


def _conclusion(report: Report, *, strict: bool, style: Style) -> str:
    good = wording.judged_any(report) and wording.conforms(report, strict=strict)
    colour = ("1;33" if wording.count(report).weak else "1;32") if good else "1;31"
    said = style.paint(f"{wording.conclusion(report, strict=strict)}:", colour)
    repeat = f"repeat it with --seed {report.seed} --examples {report.examples}"
    return f"{said} {wording.count(report)}, in {wording.seconds(report):.1f} s; {repeat}"
