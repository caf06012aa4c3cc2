"""checkpw.conform.reporting.progress: rows for everybody, and a live line for terminals only."""

import samples

from checkpw.conform.reporting import terminal
from checkpw.conform.reporting.progress import CLEAR, Display
from checkpw.conform.run import Progress

STYLE = terminal.Style(name_width=12)
ROW = terminal.row(samples.PASSED, STYLE) + "\n"


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self):
        return self.now


def display(columns=None):
    written, clock = [], Clock()
    return Display(written.append, STYLE, columns, clock), written, clock


def step(examples=0, result=None, number=3):
    return Progress(number, 9, samples.PASSED.judged, examples, result)


def test_a_file_gets_a_line_for_each_property():
    """Without a terminal nothing is written until a property is done."""
    shown, written, _ = display()
    for progress in (step(), step(5), step(7, samples.PASSED)):
        shown(progress)
    assert written == [ROW]


def test_a_terminal_sees_what_is_tried():
    """The live line names the property and counts runs, not more often than ten times a second; the row replaces it."""
    shown, written, clock = display(80)
    shown(step())
    clock.now += 0.05
    shown(step(1))
    clock.now += 0.06
    shown(step(2))
    shown(step(7, samples.PASSED))
    assert written == [f"{CLEAR}[3/9] good-passed", f"{CLEAR}[3/9] good-passed, 2 runs", CLEAR, ROW]


def test_the_live_line_fits():
    """It is cut one column before the end of the terminal's line, where some terminals would wrap."""
    shown, written, _ = display(12)
    shown(step(1))
    assert written == [f"{CLEAR}[3/9] good-"]


def test_clear_takes_the_live_line_away_once():
    """After an interruption nothing of it is left; where there is none, nothing is written."""
    shown, written, _ = display(80)
    shown.clear()
    shown(step())
    shown.clear()
    shown.clear()
    assert written[1:] == [CLEAR]
