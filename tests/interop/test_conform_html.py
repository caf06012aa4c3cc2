"""The HTML report of the conformance kit in a real browser: what it shows, how it is laid out, and whom it asks.

The browser is Debian's chromium without a window, kept from resolving any name. What it made of the page is read from
its DOM and measured by a script in a frame around it; whom the page asked, from its own log of the network.
"""

import html.parser
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import zlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "unit/conform/reporting"))

import samples

from checkpw.conform.reporting import html as page

PATIENCE = 60.0  # seconds: it starts in about one


@pytest.fixture(scope="session")
def browse(peer, tmp_path_factory):
    """Give a function that has chromium open a file, and gives what it wrote."""
    chromium = peer("chromium")
    profile = tmp_path_factory.mktemp("chromium")

    def run(path, *options, fragment=""):
        argv = [
            chromium,
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ]
        # Not for the page's sake: it asks its makers for updates, dictionaries and the time.
        argv += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        argv += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={profile}"]
        # It refuses to be root with its sandbox, and opens nothing here but a page that we wrote.
        argv += ["--no-sandbox"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*argv, *options, f"file://{path}{fragment}"],
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(profile), "LC_ALL": "C.UTF-8"},
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode("utf-8")

    return run


@pytest.fixture
def written(tmp_path):
    """Give a function that writes a report's page, and gives the path."""

    def write(report):
        path = tmp_path / "report.html"
        path.write_text(page.render(report), encoding="utf-8")
        return path

    return write


class Document(html.parser.HTMLParser):
    """The DOM as the browser dumped it: elements in order, with their attributes and all text in them."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        """Close an element."""
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        """Add text to all elements that it is in."""
        for element in self._open:
            element[2] += data

    def texts(self, tag, kind=None):
        """Give the texts of the elements of a kind, and with a class."""
        return [
            text for name, has, text in self.elements if name == tag and kind in (None, *has.get("class", "").split())
        ]


def test_the_browser_shows_what_was_found(browse, written):
    """Verdict, counts, a row for each property, and each failure with its bytes and its shell line are in the DOM."""
    document = Document(browse(written(samples.BAD), "--dump-dom"))
    assert document.texts("title") == ["Does not conform: ./mychecker"]
    assert document.texts("p", "verdict") == ["Does not conform"]
    assert document.texts("li", "count") == [
        "1 passed",
        "1 failed",
        "1 failed, should hold",
        "1 of the dialect",
        "1 skipped",
    ]
    assert document.texts("div", "name") == [result.judged.name for result in samples.BAD.results]
    assert document.texts("pre", "recipe")[0] == "printf 'joe\\0secre\\0\\0' | ./mychecker true 3<&0; echo $?"
    assert document.texts("pre", "given") == ["joe\\0secre\\0\\0"] * 2
    assert all(len(has) for tag, has, _ in document.elements if tag == "table")


def test_nothing_of_what_a_program_said_becomes_markup(browse, written):
    """The browser finds the same elements whether or not a program said something with markup in it."""
    harmless = samples.result("bad-nasty", samples.Verdict.FAILED, why="so", violation=samples.violation("exit 0"))
    found = {}
    for name, first in (("harmless", harmless), ("nasty", samples.NASTY_FAILED)):
        document = Document(browse(written(samples.report(first)), "--dump-dom"))
        found[name] = [(tag, sorted(has)) for tag, has, _ in document.elements]
    assert found["nasty"] == found["harmless"]


@pytest.fixture
def tempting():
    """Give the address of a web server, and the list of what it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def _requested(log):
    """Give the addresses that a page has asked for, by a net log; what the browser wants for itself has no origin."""
    events = [one.get("params", {}) for one in json.loads(log.read_text(encoding="utf-8"))["events"]]
    return {one["url"] for one in events if "url" in one and one.get("initiator", "not an origin") != "not an origin"}


def test_nobody_is_asked_for_anything(browse, written, tempting, tmp_path):
    """The browser's own log of the network has no address but the page's; and it knows how to write one down."""
    address, asked = tempting
    log = tmp_path / "net.json"
    path = written(samples.AWFUL)
    browse(path, "--dump-dom", f"--log-net-log={log}")
    assert _requested(log) == set()
    # The same page, tempted: its policy forbids what an attacker would have put into it.
    text = path.read_text(encoding="utf-8")
    tempted = tmp_path / "tempted.html"
    lure = (
        f'<img src="{address}/a.png"><script src="{address}/a.js"></script><link rel=stylesheet href="{address}/a.css">'
    )
    tempted.write_text(text.replace("<main>", f"<main>{lure}"), encoding="utf-8")
    browse(tempted, "--dump-dom")
    assert asked == []
    # Without the policy the server hears of it: what was shown above can be seen.
    tempted.write_text(re.sub("<meta http-equiv.*", "", tempted.read_text(encoding="utf-8")), encoding="utf-8")
    browse(tempted, "--dump-dom", f"--log-net-log={log}")
    assert {"/a.png", "/a.js", "/a.css"} <= set(asked)
    assert f"{address}/a.png" in _requested(log)


FRAME = """<!DOCTYPE html>
<iframe id="page" src="{name}" style="width:{width}px;height:800px;border:0"></iframe>
<pre></pre>
<script>
onload = () => {{
  const view = document.getElementById("page").contentWindow, page = view.document, root = page.documentElement;
  const style = (what) => view.getComputedStyle(page.querySelector(what));
  const wide = [...page.querySelectorAll("main *")].filter(
      (one) => one.getBoundingClientRect().right > {width} + 0.5).map((one) => one.outerHTML.slice(0, 80));
  document.querySelector("pre").textContent = JSON.stringify({{
    pres: [...page.querySelectorAll("pre")].every((one) => one.scrollWidth <= one.clientWidth),
    scrolled: root.scrollWidth, wide: wide, text: style("body").color, ground: style("body").backgroundColor,
    head: style("thead").position, row: style("tbody tr").display, select: style("pre.copy").userSelect,
    broken: style(".broken.failed").borderLeftColor}});
}};
</script>"""


@pytest.fixture
def measure(browse, written, tmp_path):
    """Give a function that has a page laid out at a width, and gives what a script sees of it."""

    def run(report, width, *options):
        path = written(report)
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.format(name=path.name, width=width), encoding="ascii")
        text = browse(frame, "--dump-dom", "--allow-file-access-from-files", "--window-size=1300,900", *options)
        (seen,) = Document(text).texts("pre")
        return json.loads(seen)

    return run


@pytest.mark.parametrize("width", [320, 360, 768, 1200])
def test_it_fits_whatever_the_width(measure, width):
    """Nothing sticks out at any width, be a word as long as it will; the table becomes rows of blocks where narrow."""
    seen = measure(samples.AWFUL, width)
    assert seen["scrolled"] <= width
    assert seen["wide"] == []
    assert seen["pres"]
    assert seen["row"] == ("table-row" if width > 704 else "flex")
    assert seen["head"] == ("static" if width > 704 else "absolute")
    assert seen["select"] == "all"


def test_it_is_dark_where_that_is_wished(measure):
    """Text and ground change places for readers who prefer dark pages."""
    light = measure(samples.BAD, 1200, "--blink-settings=preferredColorScheme=1")
    dark = measure(samples.BAD, 1200, "--blink-settings=preferredColorScheme=0")

    def brightness(colour):
        return sum(map(int, re.findall("[0-9]+", colour)))

    assert brightness(light["text"]) < 150
    assert brightness(light["ground"]) > 600
    assert brightness(dark["text"]) > 600
    assert brightness(dark["ground"]) < 150
    assert light["broken"] != dark["broken"]


def test_it_can_be_printed(browse, written, tmp_path):
    """Printed, it is a document of its own with all of its text, and no part of it is cut off."""
    path = tmp_path / "report.pdf"
    browse(written(samples.BAD), f"--print-to-pdf={path}", "--no-pdf-header-footer")
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            pages += len(re.findall(rb"/Type\s*/Page\b", zlib.decompress(stream)))
        except zlib.error:
            continue
    assert 1 <= pages <= 3
