"""checkpw.conform.reporting.terminal: rows, failures in full, and the conclusion."""

import re
import subprocess

import pytest
import samples

from checkpw.conform.model import Result, Verdict, Violation
from checkpw.conform.reporting import terminal

BAD = r"""
checkpw conform verifier: ./mychecker
5 properties; profile djb, seed 42, up to 100 examples each

passed   must   good-passed             7 runs    1.2 s
FAILED   must   bad-must                7 runs    1.2 s
FAILED   should bad-should              7 runs    1.2 s
dialect  must   of-dialect              7 runs    1.2 s it says no with 3
skipped  must   not-judged           it takes #2 accounts \ more

dialect  of-dialect: saw exit 3: it says no with 3

failed   bad-should (should)
         A claim with `true` in it.
         source    checkpassword interface
         expected  no, exit 1
         saw       b'hello'

failed   bad-must (must)
         A claim with `true` in it.
         source    checkpassword interface
         expected  no, exit 1
         saw       exit 0
         bytes     joe\0secre\0\0 (11 bytes)
         by hand:
printf 'joe\0secre\0\0' | ./mychecker true 3<&0; echo $?

Does not conform: 1 passed, 1 failed, 1 that should hold failed, 1 of the dialect, 1 skipped, in 6.2 s; repeat it with \
--seed 42 --examples 100
""".replace("\\\n", "")

PLAIN = terminal.Style(name_width=20)
COLOURED = terminal.Style(is_coloured=True, name_width=20)


def test_a_report_to_the_letter():
    """A row for each property, each failure with its smallest bytes and shell line, and what it came to."""
    assert terminal.render(samples.BAD, style=PLAIN) == BAD.removeprefix("\n")


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
@pytest.mark.parametrize("strict", [False, True])
def test_without_colours_nothing_is_sent_to_a_terminal_but_text(report, strict):
    """No control character is in a report without colours, whatever a program said."""
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", terminal.render(report, strict=strict)) == []


def test_colours_add_nothing_else():
    """The coloured report without its colours is the other one; what must hold is red, what should is yellow."""
    coloured = terminal.render(samples.BAD, style=COLOURED)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == BAD.removeprefix("\n")
    assert "\x1b[1;31mFAILED  \x1b[0m must   bad-must" in coloured
    assert "\x1b[1;33mFAILED  \x1b[0m should bad-should" in coloured
    assert "\x1b[32mpassed" in coloured
    assert "\x1b[1;31mDoes not conform:\x1b[0m" in coloured
    assert "\x1b[1;33mConforms, but" in terminal.render(samples.WEAKLY, style=COLOURED)
    assert "\x1b[1;32mConforms:" in terminal.render(samples.GOOD, style=COLOURED)
    assert "\x1b[1;31mNothing" in terminal.render(samples.NOTHING, style=COLOURED)


def test_with_strict_what_should_hold_comes_next_to_the_conclusion():
    """What counts is at the end, where it is seen."""
    shown = terminal.failures(samples.report(samples.WEAK, samples.DIALECT), strict=True, style=PLAIN)
    assert shown.index("of-dialect") < shown.index("bad-should")


def test_the_heading_tells_how_long():
    """An estimate is told in seconds or minutes."""
    heading = terminal.heading(samples.EMPTY, 71, 42.4)
    assert heading.endswith("\n71 properties, about 42 s; profile djb, seed 42, up to 100 examples each")
    assert terminal.duration(0.01) == "1 s"
    assert terminal.duration(150) == "2.5 min"


def test_long_bytes_are_cut_and_the_shell_line_is_not(tmp_path):
    """A record of 600 bytes is in the shell line in full; the line is one that a shell runs."""
    record = b"joe\0" + b"t" * 600
    shown = terminal.failure(samples.result("x", Verdict.FAILED, violation=samples.violation(given=record)), PLAIN)
    assert "ttt... (604 bytes)\n" in shown
    line = shown.splitlines()[-1]
    checker = tmp_path / "mychecker"
    checker.write_text(f"#!/bin/sh\ncat <&3 >{tmp_path}/got\nexit 9\n", encoding="ascii")
    checker.chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, check=True, timeout=30)
    assert (tmp_path / "got").read_bytes() == record
    assert done.stdout == b"9\n"


def test_lines_that_nobody_reads_are_left_to_files():
    """A shell line of 70000 characters does not fill a terminal; where it is, is said."""
    record = b"t" * 70000
    shown = terminal.failure(samples.result("x", Verdict.FAILED, violation=samples.violation(given=record)), PLAIN)
    assert len(shown) < 1000
    assert "characters; --json and --html have all of it)" in shown


def test_rows_tell_what_was_measured():
    """What a property measured stands behind it, and one run is one run."""
    assert terminal.row(samples.REMARK, PLAIN).endswith("1.2 s 2 ms and 2 ms")
    once = Result(samples.PASSED.judged, Verdict.FAILED, "", Violation("a", "b"), 1, 0.04)
    assert "    1 run    0.0 s" in terminal.row(once, PLAIN)
