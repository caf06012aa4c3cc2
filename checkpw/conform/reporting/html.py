"""The report for browsers: one page that needs nothing else, neither another file nor a script nor the network."""

from collections.abc import Iterable
from html import escape

from checkpw.conform import shell
from checkpw.conform.model import Report, Result, Verdict, Violation
from checkpw.conform.reporting import wording
from checkpw.conform.reporting.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A browser that knows it asks nobody for anything, whatever a program under test has put into the report."""

KINDS = (
    ("passed", "passed"),
    ("failed", "failed"),
    ("weak", "failed, should hold"),
    ("dialect", "of the dialect"),
    ("skipped", "skipped"),
)
"""Attribute of Counts, which is the class in the style sheet too: what is said of it."""

DUMPED_BYTES = 4096
COLUMNS = 16

ROLES = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
"""Spelt out, because a table that the style sheet lays out as blocks is none for assistive technology otherwise."""


def render(report: Report, *, strict: bool = False) -> str:
    """Return a report as an HTML page; `strict` lets what only should hold count."""
    said = wording.conclusion(report, strict=strict)
    title = _text(f"{said}: {shell.quote_all(report.command)}")
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        *_summary(report, strict=strict),
        *_broken(report, strict=strict),
        *_table(report, strict=strict),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _summary(report: Report, *, strict: bool) -> Iterable[str]:
    good = wording.judged_any(report) and wording.conforms(report, strict=strict)
    counts = wording.count(report)
    kind = ("weak" if counts.weak else "passed") if good else "failed"
    there = [(name, label, number) for name, label in KINDS if (number := getattr(counts, name))]
    facts = [
        ("Profile", report.profile),
        ("Began", wording.moment(report).replace("T", " ").replace("Z", " UTC")),
        ("Took", f"{wording.seconds(report):.1f} s"),
        ("Repeat with", f"--seed {report.seed} --examples {report.examples}"),
        *((name[:1].upper() + name[1:], value) for name, value in report.surroundings),
    ]
    yield '<header class="card">'
    yield f"<h1>checkpw conform {_text(report.side)}</h1>"
    yield f'<p class="verdict {kind}" id="verdict">{wording.conclusion(report, strict=strict)}</p>'
    yield f'<p class="command"><code>{_text(shell.quote_all(report.command))}</code></p>'
    yield '<div class="bar" aria-hidden="true">'
    yield "".join(f'<i class="{name}" style="--share:{number}"></i>' for name, _, number in there)
    yield "</div>"
    yield '<ul class="counts" aria-label="Properties by verdict">'
    yield from (f'<li class="count {name}"><b>{number}</b> {label}</li>' for name, label, number in there)
    yield "</ul>"
    yield '<dl class="facts">'
    yield from (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    yield "</dl>"
    yield "</header>"


def _broken(report: Report, *, strict: bool) -> Iterable[str]:
    """Give the properties that do not hold, those that stand against the program first."""
    broken = [(result, found) for result in report.results if (found := result.violation) is not None]
    broken.sort(key=lambda one: (one[0].verdict is Verdict.DIALECT, not wording.is_failure(one[0], strict=strict)))
    if broken:
        yield '<section aria-labelledby="broken">'
        yield '<h2 id="broken">What does not hold</h2>'
        for result, found in broken:
            yield from _failure(result, found)
        yield "</section>"


def _failure(result: Result, found: Violation) -> Iterable[str]:
    judged = result.judged
    facts = [("Expected", found.expected), ("Saw", found.seen)]
    facts += [("Dialect", result.why)] if result.why else []
    facts += [("Source", judged.source)]
    yield f'<article class="card broken {_kind(result)}" id="broken-{_text(judged.name)}">'
    yield f'<div class="head"><h3>{_text(judged.name)}</h3>{_mark(result, names_severity=True)}</div>'
    yield f'<p class="claim">{_prose(judged.claim)}</p>'
    yield '<dl class="facts">'
    yield from (f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    yield "</dl>"
    if found.given is not None:
        yield f'<p class="label">The smallest bytes found, {wording.plural(len(found.given), "byte")}</p>'
        yield f'<pre class="copy given" tabindex="0">{_text(shell.quote_printf(found.given)[1:-1])}</pre>'
        yield "<details><summary>The same in hexadecimal</summary>"
        yield f'<pre tabindex="0">{escape(dump(found.given))}</pre></details>'
    if found.recipe:
        yield '<p class="label">By hand (one click selects the whole line)</p>'
        yield f'<pre class="copy recipe" tabindex="0">{_text(found.recipe)}</pre>'
    yield "</article>"


def _table(report: Report, *, strict: bool) -> Iterable[str]:
    yield '<section aria-labelledby="all">'
    yield '<h2 id="all">All properties</h2>'
    yield '<div class="card">'
    yield _open("table")
    yield "<caption>In the order in which they were tried. What must hold decides"
    yield " whether the program conforms; "
    yield (
        "what should hold counts as well, as was asked for.</caption>"
        if strict
        else "what should hold does not.</caption>"
    )
    yield f"{_open('thead')}{_open('tr')}"
    for name, kind in (("Property", ""), ("Verdict", ""), ("Severity", ""), ("Source", ""), ("Runs", "number")):
        yield _heading(name, kind)
    yield f"{_heading('Time', 'number')}</tr></thead>"
    yield _open("tbody")
    for result in report.results:
        yield from _row(result)
    yield "</tbody></table>"
    yield "</div>"
    yield "</section>"


def _heading(name: str, kind: str) -> str:
    return f'<th role="columnheader" scope="col"{_class(kind)}>{name}</th>'


def _row(result: Result) -> Iterable[str]:
    judged = result.judged
    name = _text(judged.name)
    shown = f'<a href="#broken-{name}">{name}</a>' if result.violation is not None else name
    yield f'<tr role="row" id="property-{name}" class="{_kind(result)}">'
    yield f'<th role="rowheader" scope="row"><div class="name">{shown}</div>'
    yield f'<div class="claim">{_prose(judged.claim)}</div>'
    if result.why:
        yield f'<div class="note">{_text(result.why)}</div>'
    yield "</th>"
    yield f"{_open('td')}{_mark(result)}</td>"
    yield f"{_open('td')}{judged.severity.value}</td>"
    yield f"{_open('td', 'source')}{_text(judged.source)}</td>"
    was_judged = result.verdict is not Verdict.SKIPPED
    yield f"{_open('td', 'number')}{wording.plural(result.examples, 'run') if was_judged else ''}</td>"
    yield f"{_open('td', 'number')}{f'{result.seconds:.1f} s' if was_judged else ''}</td></tr>"


def dump(data: bytes) -> str:
    """Return bytes in hexadecimal, 16 a line with their offset, and what of them prints; of very many, the first."""
    lines = []
    for at in range(0, min(len(data), DUMPED_BYTES), COLUMNS):
        piece = data[at : at + COLUMNS]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{at:04x}  {piece.hex(' '):<{COLUMNS * 3 - 1}}  {text}")
    left = len(data) - DUMPED_BYTES
    return "\n".join([*lines, *([f"and {wording.plural(left, 'byte')} more"] if left > 0 else [])])


def _kind(result: Result) -> str:
    return "weak" if wording.is_weak(result) else result.verdict.value


def _mark(result: Result, *, names_severity: bool = False) -> str:
    words = result.verdict.value
    if result.verdict is Verdict.FAILED and names_severity:
        words += f", {result.judged.severity.value} hold"
    return f'<span class="mark {_kind(result)}">{words}</span>'


def _open(tag: str, kind: str = "") -> str:
    return f'<{tag} role="{ROLES[tag]}"{_class(kind)}>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _text(text: str) -> str:
    return escape(wording.visible(text))


def _prose(text: str) -> str:
    """Return a sentence in which what stands between backquotes is set as code."""
    parts = _text(text).split("`")
    if len(parts) % 2 == 0:
        return _text(text)
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
