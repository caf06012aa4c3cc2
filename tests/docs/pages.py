"""The manual pages as data: sections, list items, words without their markup."""

import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MAN = ROOT / "man"
PROGRAMS = sorted(path.name for path in (ROOT / "bin").iterdir())

_ESCAPES = (("\\e", "\\"), ("\\(dq", '"'), ("\\(aq", "'"), ("\\&", ""))


class Page:
    """One page in mdoc(7)."""

    def __init__(self, path):
        self.path = path
        self.name, _, self.section = path.name.rpartition(".")
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()

    def part(self, heading):
        """Give the lines under a heading, of a section or of a subsection, up to the next one."""
        for macro, ends in ((".Sh", (".Sh ",)), (".Ss", (".Sh ", ".Ss "))):
            if f"{macro} {heading}" in self.lines:
                start = self.lines.index(f"{macro} {heading}") + 1
                stop = next((at for at in range(start, len(self.lines)) if self.lines[at].startswith(ends)), None)
                return self.lines[start:stop]
        raise LookupError(f"{self.path.name} has no heading {heading!r}")

    def headings(self):
        """Give the names of all sections."""
        return [line[4:] for line in self.lines if line.startswith(".Sh ")]

    def variables(self, heading):
        """Give the variables that a part has an item for."""
        items = [line.partition(" Ta ")[0] for line in self.part(heading) if line.startswith(".It Ev ")]
        return {word for item in items for word in item.split()[2:] if word != ","}

    def rows(self, heading, first):
        """Give the rows of the table under a heading whose first cell is headed `first`: lists of plain cells."""
        lines = self.part(heading)
        start = next(at for at, line in enumerate(lines) if line.startswith(f".It Em {first} Ta "))
        stop = lines.index(".El", start)
        return [[plain(cell) for cell in line[4:].split(" Ta ")] for line in lines[start + 1 : stop]]

    def items(self, heading):
        """Give the heads of the items under a heading, without markup."""
        return [plain(line[4:]) for line in self.part(heading) if line.startswith(".It ")]

    def references(self):
        """Give the pages that this one refers to, as (name, section)."""
        return set(re.findall(r"^\.(?:It )?Xr (\S+) (\d)", self.text, re.MULTILINE))

    def literal(self, heading):
        """Give the literal blocks of a part, as they are shown."""
        text = "\n".join(self.part(heading)) + "\n"
        return [unescape(block) for block in re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", text, re.MULTILINE)]


def unescape(text):
    """Give text as it is shown."""
    for escape, shown in _ESCAPES:
        text = text.replace(escape, shown)
    return text


def plain(text):
    """Give a macro line without the names of macros."""
    words = re.findall(r'"[^"]*"|\S+', text)
    return " ".join(
        unescape(word.strip('"')) for word in words if not re.fullmatch(r"[A-Z][a-z]", word) or word == "No"
    )


@functools.cache
def pages():
    """Give every page by its file name."""
    return {path.name: Page(path) for path in sorted(MAN.glob("man?/*"))}


def page(name, section="8"):
    """Give one page."""
    return pages()[f"{name}.{section}"]
