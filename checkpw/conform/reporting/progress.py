"""What is shown while a run goes on: a row for each property that was tried, and on a terminal where the run is."""

import time
from collections.abc import Callable

from checkpw.conform.reporting import terminal, wording
from checkpw.conform.run import Progress

REDRAW = 0.1  # seconds between two drawings of the live line
CLEAR = "\r\x1b[K"  # to the first column, and erase to the end of the line (ECMA-48 8.3.41, EL)


class Display:
    """Shows how a run goes; `run` is given it as `on_progress`.

    Args:
        write: takes text.
        style: of rows.
        columns: of a terminal, on whose last line is shown what is tried now; None for anything else than a terminal.
        clock: gives seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        style: terminal.Style,
        columns: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._style = style
        self._columns = columns
        self._clock = clock
        self._drawn: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        if progress.result is not None:
            self.clear()
            self._write(terminal.row(progress.result, self._style) + "\n")
        elif self._columns is not None and self._is_due():
            runs = f", {wording.plural(progress.examples, 'run')}" if progress.examples else ""
            line = f"[{progress.number}/{progress.total}] {progress.judged.name}{runs}"
            # The last column stays free: written to, some terminals go to the next line.
            self._write(CLEAR + line[: self._columns - 1])
            self._drawn = self._clock()

    def clear(self) -> None:
        """Take the live line away."""
        if self._drawn is not None:
            self._write(CLEAR)
            self._drawn = None

    def _is_due(self) -> bool:
        return self._drawn is None or self._clock() - self._drawn >= REDRAW
