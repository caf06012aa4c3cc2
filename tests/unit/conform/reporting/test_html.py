"""checkpw.conform.reporting.html: well-formed, self-contained, accessible; tests/interop opens it in a browser."""

import html.parser
import itertools
import re

import pytest
import samples

from checkpw.conform.reporting import html as page
from checkpw.conform.reporting.style import STYLE

VOID = {"meta", "link"}


class Reader(html.parser.HTMLParser):
    """Reads a page, and insists that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Close the last element."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note text with the element that it is in."""
        if data.strip():
            self.texts.append((self.open[-1], data))

    def all(self, tag):
        """Give the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
@pytest.mark.parametrize("strict", [False, True])
def test_every_page_is_well_formed(report, strict):
    """Whatever a program said, elements are nested, identifiers are there once, and links lead somewhere."""
    read = Reader(page.render(report, strict=strict))
    names = [attributes["id"] for _, attributes in read.seen if "id" in attributes]
    assert len(set(names)) == len(names)
    targets = {attributes["href"] for attributes in read.all("a")}
    assert targets <= {f"#{name}" for name in names}
    labels = {attributes["aria-labelledby"] for _, attributes in read.seen if "aria-labelledby" in attributes}
    assert labels <= set(names)


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
def test_nothing_is_fetched(report):
    """The page names no other resource, has no script, and forbids the browser to ask anybody for anything."""
    text = page.render(report)
    read = Reader(text)
    kinds = {tag for tag, _ in read.seen}
    assert not kinds & {"script", "img", "iframe", "object", "embed", "video", "audio", "form", "base"}
    assert [attributes["href"] for attributes in read.all("link")] == ["data:,"]
    assert not {name for _, attributes in read.seen for name in attributes} & {"src", "srcset", "action", "onclick"}
    assert not re.search(r"url\(|@import|@font-face", STYLE)
    policies = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_a_program_said_is_text():
    """Markup in what a program said, or in its name, stays text."""
    read = Reader(page.render(samples.AWFUL))
    counts = [attributes for attributes in read.all("li") if attributes["class"].startswith("count ")]
    assert len(read.all("b")) == len(counts) == 3
    assert any("exit 0 <b>&amp; \\x1b[2J" in text for tag, text in read.texts if tag == "dd")


def test_a_page_has_what_readers_and_their_tools_need():
    """Language, title, headings in order, and a table whose headers say what they are for."""
    read = Reader(page.render(samples.BAD))
    assert read.all("html") == [{"lang": "en"}]
    assert ("title", "Does not conform: ./mychecker") in read.texts
    levels = [int(tag[1]) for tag, _ in read.seen if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    heads = [text for tag, text in read.texts if tag == "th"]
    assert heads == ["Property", "Verdict", "Severity", "Source", "Runs", "Time"]
    assert {attributes["scope"] for attributes in read.all("th")} == {"col", "row"}
    assert len(read.all("main")) == len(read.all("caption")) == 1


def test_failures_come_first_and_have_a_recipe():
    """What counts stands first, then what should hold, then the dialect; each with its bytes and its shell line."""
    read = Reader(page.render(samples.BAD))
    articles = [attributes["id"] for attributes in read.all("article")]
    assert articles == ["broken-bad-must", "broken-bad-should", "broken-of-dialect"]
    pres = [text for tag, text in read.texts if tag == "pre"]
    assert pres[0] == "joe\\0secre\\0\\0"
    assert pres[1] == "0000  6a 6f 65 00 73 65 63 72 65 00 00                 joe.secre.."
    assert pres[2] == "printf 'joe\\0secre\\0\\0' | ./mychecker true 3<&0; echo $?"
    assert ("span", "failed, must hold") in read.texts
    assert ("span", "failed, should hold") in read.texts


def test_a_program_without_faults_has_no_section_of_them():
    """Where everything holds there is nothing to read but the table."""
    text = page.render(samples.GOOD)
    assert "What does not hold" not in text
    assert 'class="verdict passed"' in text
    assert "2 ms and 2 ms" in text


def test_claims_show_code_as_code():
    """What stands between backquotes is code; a single backquote is left alone."""
    assert "A claim with <code>true</code> in it." in page.render(samples.GOOD)
    odd = samples.result("odd", samples.Verdict.PASSED)
    assert page._prose("one ` only") == "one ` only"
    assert odd.judged.name in page.render(samples.report(odd))


def test_dumps_end():
    """A dump of very many bytes ends, and says what is missing."""
    lines = page.dump(b"\xff" * 5000).splitlines()
    assert len(lines) == 257
    assert lines[1] == f"0010  {'ff ' * 15}ff  {'.' * 16}"
    assert lines[-1] == "and 904 bytes more"
    assert page.dump(b"") == ""


# --- colours


def _luminance(colour):
    """Give the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _palettes():
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    return [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block)) for block in blocks]


@pytest.mark.parametrize("palette", _palettes(), ids=["light", "dark", "print"])
def test_text_can_be_read(palette):
    """Each colour of text has a contrast of 4.5 to 1 on each background that it stands on."""
    assert len(palette) == 11
    for text in ("text", "muted", "passed", "failed", "weak", "dialect", "skipped"):
        for ground in ("page", "card", "code"):
            light, dark = sorted((_luminance(palette[text]), _luminance(palette[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
