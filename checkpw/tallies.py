"""Numbers that all processes of the server share: what is counted, and who is connected.

Both are tables in memory that is mapped before the processes are forked. Nothing is locked: each cell has one process
that writes it, and whoever wants to know adds up. A cell is aligned and written at once, so that a reader sees what was
there before or after, never half of it; sums of several cells may be a moment old.
"""

import enum
import os
from bisect import bisect_left
from hashlib import blake2b
from itertools import accumulate
from mmap import mmap
from socket import AF_INET, AF_INET6, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

_CACHE_LINE = 64  # bytes: what two processors write is not in one


class Family:
    """Numbers of one name, as Prometheus has them.

    Attributes:
        name: with its unit, e.g. `submissiond_queue_seconds`.
        description: one line for people.
        kind: COUNTER only grows, GAUGE goes up and down, HISTOGRAM takes observations.
        labels: names of the labels.
        series: for each number that there is, the values of its labels; known from the beginning, so that no client
            can make new ones.
        bounds: of a histogram, the upper limits of its buckets in rising order, without the infinite one.
    """

    __slots__ = ("bounds", "description", "kind", "labels", "name", "series")

    def __init__(
        self,
        name: str,
        description: str,
        kind: str = COUNTER,
        labels: tuple[str, ...] = (),
        series: tuple[tuple[str, ...], ...] = ((),),
        bounds: tuple[float, ...] = (),
    ) -> None:
        self.name = name
        self.description = description
        self.kind = kind
        self.labels = labels
        self.series = series
        self.bounds = bounds


class Tally:
    """Families of numbers, in one slot for each process that counts.

    Make it before forking. A process that takes the place of another goes on with the same slot.
    """

    def __init__(self, families: "tuple[Family, ...]", slots: int) -> None:
        """Have all numbers at zero, for `slots` processes."""
        self.families = families
        self._first: dict[tuple[str, tuple[str, ...]], int] = {}
        size = 0
        for family in families:
            for values in family.series:
                assert len(values) == len(family.labels)
                self._first[family.name, values] = size
                size += _cells_of(family)
        per_line = _CACHE_LINE // 8
        self._stride = -(-max(size, 1) // per_line) * per_line
        self._cells = memoryview(mmap(-1, slots * self._stride * 8)).cast("d")

    def index(self, name: str, *values: str) -> int:
        """Return the number by which `Slot` knows a series of a family; raises `KeyError` if it was not declared."""
        return self._first[name, values]

    def slot(self, number: int) -> "Slot":
        """Return what one process counts with; no other process may do so at the same time."""
        start = number * self._stride
        return Slot(self._cells[start : start + self._stride])

    def forget(self, number: int) -> None:
        """Put the gauges of a slot at zero: its process has died, and what it had is not there any more."""
        for family in self.families:
            if family.kind == GAUGE:
                for values in family.series:
                    self._cells[number * self._stride + self._first[family.name, values]] = 0.0

    def total(self, index: int) -> float:
        """Return what all slots hold together."""
        return sum(self._cells[index :: self._stride])

    def samples(self) -> "Iterator[tuple[Family, str, dict[str, str], float]]":
        """Give each number of each family: the family, what follows its name, labels and value.

        A histogram gives `_bucket` with the label `le`, each bucket with those below it, then `_sum` and `_count`.
        """
        for family in self.families:
            for values in family.series:
                labels = dict(zip(family.labels, values, strict=True))
                first = self._first[family.name, values]
                cells = [self.total(first + number) for number in range(_cells_of(family))]
                if family.kind != HISTOGRAM:
                    yield family, "", labels, cells[0]
                    continue
                *buckets, together = cells
                rising = list(accumulate(buckets))
                for bound, value in zip([*map(_number, family.bounds), "+Inf"], rising, strict=True):
                    yield family, "_bucket", {**labels, "le": bound}, value
                yield family, "_sum", labels, together
                yield family, "_count", labels, rising[-1]


def _cells_of(family: Family) -> int:
    return len(family.bounds) + 2 if family.kind == HISTOGRAM else 1  # the infinite bucket, and the sum


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


class Slot:
    """What one process has counted."""

    __slots__ = ("_cells",)

    def __init__(self, cells: "memoryview[float]") -> None:
        self._cells = cells

    def add(self, index: int, amount: float = 1.0) -> None:
        """Add to a counter or a gauge."""
        self._cells[index] += amount

    def observe(self, index: int, bounds: tuple[float, ...], value: float) -> None:
        """Add an observation to a histogram, whose bounds are those of its family."""
        cells = self._cells
        cells[index + bisect_left(bounds, value)] += 1.0
        cells[index + len(bounds) + 1] += value


# --- who is connected

_ROWS = 65536
_MINUTE = 60.0  # seconds
_COUNT = 0xFFFF
_MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 address in IPv6 clothes


class Verdict(enum.Enum):
    """Whether another connection is welcome; the value is a word for the log."""

    OK = "ok"
    TOO_MANY_FROM_ADDRESS = "connections_per_address"
    TOO_OFTEN = "connections_per_minute"
    TOO_MANY = "connections"


class CrowdLimits:
    """How many are welcome; 0 is no limit.

    Attributes:
        in_all: connections that are open at a time.
        per_address: the same, of one address.
        per_minute: connections that one address begins in a minute.
    """

    __slots__ = ("in_all", "per_address", "per_minute")

    def __init__(self, in_all: int, per_address: int, per_minute: int) -> None:
        self.in_all = in_all
        self.per_address = per_address
        self.per_minute = per_minute


class Crowd:
    """How many connections each address has open over all workers, and how many it began lately.

    Make it before forking; each worker writes one column. An IPv6 client is known by its /64, since it can choose the
    rest. A keyed hash of the address names its row; addresses that share a row, which nobody can bring about on
    purpose, share their limits. Workers look at once and not one after the other: each may let one more in than it
    should. Memory: 768 KiB a column, as far as it is used.
    """

    def __init__(self, columns: int) -> None:
        """Have nobody connected, for `columns` workers."""
        self._columns = columns
        self._key = os.urandom(16)
        cells = memoryview(mmap(-1, (3 * _ROWS + 1) * columns * 4)).cast("I")
        rows = _ROWS * columns
        self._open = cells[:rows]
        # What began in even minutes and in odd ones: the low half of a cell counts, the high half says in which
        # minute, so that nobody has to clear what is old.
        self._begun = (cells[rows : 2 * rows], cells[2 * rows : 3 * rows])
        self._all = cells[3 * rows :]

    def column(self, number: int, limits: CrowdLimits) -> "Column":
        """Return what one worker asks and tells; no other worker may have the same column at a time."""
        return Column(number, limits, self._key, self._open, self._begun, self._all)

    def forget(self, number: int) -> None:
        """Take everybody out whom a worker had let in: it has died."""
        self._open[number :: self._columns] = memoryview(bytes(4 * _ROWS)).cast("I")
        self._all[number] = 0

    def open_in_all(self) -> int:
        """Return how many connections there are."""
        return sum(self._all)


class Column:
    """One worker's part of the crowd."""

    __slots__ = ("_all", "_begun", "_columns", "_key", "_limits", "_number", "_open")

    def __init__(
        self,
        number: int,
        limits: CrowdLimits,
        key: bytes,
        opened: "memoryview[int]",
        begun: "tuple[memoryview[int], memoryview[int]]",
        everybody: "memoryview[int]",
    ) -> None:
        self._number = number
        self._limits = limits
        self._key = key
        self._open = opened
        self._begun = begun
        self._all = everybody
        self._columns = len(everybody)

    def enter(self, ip: bytes, now: float) -> Verdict:
        """Let a connection in, unless there are too many; only who was let in is counted and has to leave again.

        Args:
            ip: the client's address; what is none, such as that of a unix socket, is counted only in all.
            now: seconds of a clock that all workers share and that never goes back, such as `time.monotonic()`.
        """
        limits, number = self._limits, self._number
        if limits.in_all and sum(self._all) >= limits.in_all:
            return Verdict.TOO_MANY
        row = self._row(ip)
        if row >= 0:
            if limits.per_address and sum(self._open[row : row + self._columns]) >= limits.per_address:
                return Verdict.TOO_MANY_FROM_ADDRESS
            minute = int(now // _MINUTE)
            if limits.per_minute:
                # The last sixty seconds, as if what began in the minute before had come evenly spread.
                share = 1.0 - now % _MINUTE / _MINUTE
                if self._began(row, minute) + share * self._began(row, minute - 1) >= limits.per_minute:
                    return Verdict.TOO_OFTEN
            self._begin(row + number, minute)
            self._open[row + number] += 1
        self._all[number] += 1
        return Verdict.OK

    def leave(self, ip: bytes) -> None:
        """Let a connection out that was let in."""
        row = self._row(ip)
        if row >= 0:
            self._open[row + self._number] -= 1
        self._all[self._number] -= 1

    def _row(self, ip: bytes) -> int:
        """Return where the cells of an address begin; -1 if it is none."""
        text = ip.decode("ascii", "replace").partition("%")[0]  # a link-local address has its interface behind it
        try:
            address = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
        except (OSError, ValueError):
            return -1
        if len(address) == 16:
            address = address[12:] if address.startswith(_MAPPED) else address[:8]
        digest = blake2b(address, digest_size=2, key=self._key).digest()
        return int.from_bytes(digest, "big") * self._columns

    def _began(self, row: int, minute: int) -> int:
        stamp = minute & _COUNT
        return sum(
            [cell & _COUNT for cell in self._begun[minute & 1][row : row + self._columns] if cell >> 16 == stamp]
        )

    def _begin(self, at: int, minute: int) -> None:
        cells, stamp = self._begun[minute & 1], (minute & _COUNT) << 16
        count = cells[at] & _COUNT if cells[at] & ~_COUNT == stamp else 0
        cells[at] = stamp | min(count + 1, _COUNT)
