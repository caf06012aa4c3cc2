"""The parts of checkpw-conform(7) that are made from the code. Run as a program, it writes them into the page."""

import inspect
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from checkpw.conform import calling, dialects, profiles, verifying
from checkpw.conform import strategies as public_strategies

PAGE = ROOT / "man/man7/checkpw-conform.7"


def prose(text):
    """Give a sentence as lines of mdoc(7); what stands between backquotes is literal, on a line of its own."""
    lines = []
    for at, part in enumerate(text.split("`")):
        words = part.strip().replace("\\", "\\e")
        if at % 2:
            lines.append(f".Li {words}")
        elif words[:1] in (",", ".", ":", ";") and lines:
            lines[-1] += f" {words[0]}"
            lines += [words[1:].strip()] if words[1:].strip() else []
        elif words:
            lines.append(f"\\&{words}" if words[0] in ".'" else words)
    return lines


def properties(known):
    """Give the items of a list of properties."""
    lines = []
    for one in known:
        lines += [f".It Sy {one.name} Pq {one.severity.value}", *prose(one.claim), ".br"]
        lines += [f".Em Source : No {one.source}"]
    return lines


def known_dialects(known):
    """Give the items of profiles: whose they are, and which properties they are known to break."""
    lines = []
    for one in known:
        lines += [f".It Li {one.name}", *prose(f"{one.summary}.")]
        for name, why in sorted(one.deviations.items()):
            lines += [".br", f".Sy {name} : No {why}."]
    return lines


def strategies():
    """Give the items of the strategies that others may use: name, arguments, and the first sentence about it."""
    lines = []
    for name in public_strategies.__all__:
        found = getattr(public_strategies, name)
        if callable(found):
            arguments = ", ".join(inspect.signature(found).parameters)
            first = inspect.getdoc(found).partition("\n\n")[0].replace("\n", " ")
            lines += [f".It Li {name}({arguments})", *prose(first)]
    return lines


def parts():
    """Give the lines of each part by its heading."""
    return {
        "Properties of a checkpassword program": properties(verifying.PROPERTIES),
        "Properties of a caller": properties(calling.PROPERTIES),
        "Profiles": known_dialects(profiles.PROFILES),
        "Profiles of callers": known_dialects(dialects.PROFILES),
        "As a library": strategies(),
    }


def write():
    """Bring the page up to date."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for heading, made in parts().items():
        start = lines.index(".Bl -tag -width Ds", lines.index(f".Ss {heading}")) + 1
        lines[start : lines.index(".El", start)] = made
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
