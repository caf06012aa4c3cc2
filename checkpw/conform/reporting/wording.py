"""What all reports say in the same words: what counts as a failure, how much there was, and bytes for people."""

import datetime as dt
from collections import Counter
from dataclasses import dataclass

from checkpw.conform.model import Report, Result, Severity, Verdict
from checkpw.conform.shell import quote_printf

FIRST_PRINTABLE, DELETE, LAST_C1 = 0x20, 0x7F, 0x9F
SURROGATES = range(0xD800, 0xE000)
UNDECODED = range(0xDC80, 0xDD00)  # a byte that was no UTF-8, as os.fsdecode has it
NOT_CHARACTERS = (0xFFFE, 0xFFFF)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many properties came to what.

    Attributes:
        passed: that hold.
        failed: that must hold and do not.
        weak: that should hold and do not.
        dialect: that do not hold, which the profile is known for.
        skipped: that could not be judged.
    """

    passed: int
    failed: int
    weak: int
    dialect: int
    skipped: int

    def __str__(self) -> str:
        words = [f"{self.passed} passed", f"{self.failed} failed"]
        words += [f"{self.weak} that should hold failed"] if self.weak else []
        words += [f"{self.dialect} of the dialect"] if self.dialect else []
        words += [f"{self.skipped} skipped"] if self.skipped else []
        return ", ".join(words)


def count(report: Report) -> Counts:
    """Count the verdicts of a report."""
    found = Counter(result.verdict for result in report.results)
    weak = sum(is_weak(result) for result in report.results)
    return Counts(
        found[Verdict.PASSED], found[Verdict.FAILED] - weak, weak, found[Verdict.DIALECT], found[Verdict.SKIPPED]
    )


def is_weak(result: Result) -> bool:
    """Tell whether something is broken that only should hold."""
    return result.verdict is Verdict.FAILED and result.judged.severity is Severity.SHOULD


def is_failure(result: Result, *, strict: bool) -> bool:
    """Tell whether a result stands against the program; `strict` lets what only should hold count as well."""
    return result.verdict is Verdict.FAILED and (strict or not is_weak(result))


def conforms(report: Report, *, strict: bool) -> bool:
    """Tell whether nothing stands against the program."""
    return not any(is_failure(result, strict=strict) for result in report.results)


def conclusion(report: Report, *, strict: bool) -> str:
    """Say in a sentence what the run came to."""
    if not judged_any(report):
        return "Nothing could be judged"
    if not conforms(report, strict=strict):
        return "Does not conform"
    return "Conforms, but not in everything that it should" if count(report).weak else "Conforms"


def judged_any(report: Report) -> bool:
    """Tell whether any property was judged at all."""
    return any(result.verdict is not Verdict.SKIPPED for result in report.results)


def note(result: Result) -> str:
    """Return what else is to be said of a result, in a line; nothing for most."""
    if result.verdict is Verdict.FAILED and result.violation is not None:
        return f"expected {result.violation.expected}, saw {result.violation.seen}"
    return result.why


def seconds(report: Report) -> float:
    """Return how long all properties took together."""
    return sum(result.seconds for result in report.results)


def moment(report: Report) -> str:
    """Return when the run began, in UTC, as ISO 8601 has it."""
    return dt.datetime.fromtimestamp(report.began, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plural(number: int, word: str) -> str:
    """Return a number of things: `1 byte`, `2 bytes`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def in_words(given: bytes) -> str:
    """Return bytes as printf(1) takes them, without quotes, and how many they are."""
    return f"{quote_printf(given)[1:-1]} ({plural(len(given), 'byte')})" if given else "nothing (0 bytes)"


def visible(text: str) -> str:
    r"""Replace what no terminal should be sent and what XML cannot hold by \xNN or \uNNNN; letters of any script stay.

    >>> visible("\x1b[2J")
    '\\x1b[2J'
    """
    return "".join(character if _is_harmless(ord(character)) else _escaped(ord(character)) for character in text)


def _is_harmless(code: int) -> bool:
    if code < FIRST_PRINTABLE or DELETE <= code <= LAST_C1 or code in SURROGATES:
        return False
    # Controls of the direction of text let a line look like another one.
    return code not in NOT_CHARACTERS and not (0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069)


def _escaped(code: int) -> str:
    if code in UNDECODED:
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
