"""Failure budgets: the port of checkpw-limit(8) to whatever counts, and the store that counts in a file.

A budget says how many tries a key has within a window of time that slides. A try is counted before anybody is asked
about a password and taken back after a yes: what is asked at the same time cannot be more than the budget.

The file is a table of fixed size, with holes where nobody has failed. A key belongs to one page of it, by a hash with a
secret of the file, and there to one entry, by 128 bits of the same hash: no key is stored, and nobody can choose keys
that meet somebody else's. An entry counts the tries of a window in 16 slices and the one that is running, so that a try
counts for the window and at most a sixteenth of it longer, and in no stretch of the window's length there are more than
the budget.

A process reads and writes under a lock of the whole file (fcntl), for some tens of microseconds, and holds no
descriptor while a checker is asked. An entry is written in one piece that crosses no page: whoever is killed has
written it or has not, and its lock is gone with it. `pread` and `pwrite` and not `mmap`: a full disk or a file that
somebody cuts off is an error and no SIGBUS.
"""

import posix
import time
from _blake2 import blake2b

from checkpw.errors import TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, Self

    class Budgets(Protocol):
        """The port: two verbs.

        One call counts on all budgets of a login or on none, and no other process, on no other machine, comes in
        between: in a server of several machines that is one script or one transaction there, by that server's clock.
        """

        def debit(self, claims: list["Claim"]) -> "Debit":
            """Count one try on each claim, unless one of them has none left: then count nothing.

            Raises:
                Unusable: the store cannot tell, or cannot count. Some of the claims may have been counted.
            """

        def credit(self, debit: "Debit") -> None:
            """Take a try back; what has left the window by now is not taken back again.

            Raises:
                Unusable: it stays counted.
            """


MAGIC = b"checkpw limits 1"
SECRET_BYTES = 32
HEADER_BYTES = 64

PAGE_BYTES = 4096
PAGES = 4096
"""Behind that of the header: 16 MiB, if all of them are used, for 262144 entries."""

ENTRY_BYTES = 64
ID_BYTES = 16
NO_ID = bytes(ID_BYTES)

SLICES = 16
"""How finely a window slides; the slice that is running comes in addition."""
COUNTS = SLICES + 1
COUNTS_AT = 24
SECONDS_AT = COUNTS_AT + 2 * COUNTS
"""An entry: 16 bytes who, 8 the number of the newest slice, 17 counts of 2 bytes each, 4 the window in seconds."""

PATIENCE = 5.0
"""Seconds that a lock is waited for; only a process that was stopped in the midst holds it that long."""

REGULAR, KIND_OF_FILE, WRITABLE_FOR_ALL = 0o100000, 0o170000, 0o002
"""Of st_mode: the module stat is 1 ms."""


class Unusable(TemporaryFailure):
    """The store is broken, full, somebody else's, or not to be had in time."""


class Claim:
    """One budget, and who draws on it.

    Attributes:
        name: which of the budgets: the same key is another one in each.
        key: who.
        tries: how many there may be in any window; 1 to 65535.
        seconds: how long the window is; at least 1.
    """

    __slots__ = ("key", "name", "seconds", "tries")

    def __init__(self, name: str, key: bytes, tries: int, seconds: int) -> None:
        self.name = name
        self.key = key
        self.tries = tries
        self.seconds = seconds


class Debit:
    """What became of a try.

    Attributes:
        exhausted: the claim that has none left, or None: then the try is counted.
        receipt: by which the store knows what to take back.
    """

    __slots__ = ("exhausted", "receipt")

    def __init__(self, exhausted: Claim | None, receipt: "Any" = None) -> None:
        self.exhausted = exhausted
        self.receipt = receipt


class Entry:
    """What the table holds for one key, brought forward to the present.

    Attributes:
        offset: where it stands in the file.
        who: which key it is.
        seconds: the length of its window.
        newest: number of the slice that is running, since 1970.
        counts: tries by slice, that of slice n at n modulo 17.
    """

    __slots__ = ("counts", "newest", "offset", "seconds", "who")

    def __init__(self, offset: int, who: bytes, seconds: int, newest: int, counts: list[int]) -> None:
        self.offset = offset
        self.who = who
        self.seconds = seconds
        self.newest = newest
        self.counts = counts

    @classmethod
    def fresh(cls, offset: int, who: bytes, seconds: int, now: float) -> "Entry":
        """Return an entry for a key that has no tries yet."""
        return cls(offset, who, seconds, _slice(now, seconds), [0] * COUNTS)

    @classmethod
    def parse(cls, offset: int, data: bytes, now: float) -> "Entry":
        """Read an entry as it is at a time; whatever the bytes are, something comes of them.

        A clock that was set back stands still for the entry until it has come where it was, unless that is further
        away than the window: then nothing counts any more, as in bytes that were never an entry.
        """
        who = data[:ID_BYTES]
        newest = int.from_bytes(data[ID_BYTES:COUNTS_AT], "little")
        counts = [int.from_bytes(data[at : at + 2], "little") for at in range(COUNTS_AT, SECONDS_AT, 2)]
        seconds = int.from_bytes(data[SECONDS_AT : SECONDS_AT + 4], "little")
        present = _slice(now, seconds)
        if newest > present + SLICES:
            return cls.fresh(offset, who, seconds, now)
        present = max(present, newest)
        for number in range(max(newest, present - COUNTS) + 1, present + 1):
            counts[number % COUNTS] = 0
        return cls(offset, who, seconds, present, counts)

    def encode(self) -> bytes:
        """Return the bytes of the entry."""
        counts = b"".join(count.to_bytes(2, "little") for count in self.counts)
        head = self.who + self.newest.to_bytes(8, "little") + counts + self.seconds.to_bytes(4, "little")
        return head.ljust(ENTRY_BYTES, b"\0")


def _slice(now: float, seconds: int) -> int:
    return max(0, int(now * SLICES / seconds)) if seconds else 0


class BudgetFile:
    """The store `file:`."""

    __slots__ = ("_clock", "_path", "_patience")

    def __init__(self, path: bytes, clock: "Callable[[], float]" = time.time, patience: float = PATIENCE) -> None:
        """Use the file at `path`, which is made when it is needed; its directory has to be there.

        Args:
            path: where it is.
            clock: seconds since 1970; what is counted outlives the machine's sleep and restart.
            patience: seconds that a lock is waited for.
        """
        self._path = path
        self._clock = clock
        self._patience = patience

    def debit(self, claims: "list[Claim]") -> Debit:
        """Count one try on each claim, or on none; raises `Unusable`."""
        try:
            with _Locked(self._path, self._patience) as table:
                return table.debit(claims, self._clock())
        except OSError as error:
            raise Unusable(f"unable to count in {self._path!a}: {error.strerror}") from None

    def credit(self, debit: Debit) -> None:
        """Take a try back; raises `Unusable`."""
        try:
            with _Locked(self._path, self._patience) as table:
                table.credit(debit, self._clock())
        except OSError as error:
            raise Unusable(f"unable to count in {self._path!a}: {error.strerror}") from None


class _Locked:
    """The open file, which is nobody else's for the length of a `with`."""

    __slots__ = ("_descriptor", "_path", "_patience", "_secret")

    def __init__(self, path: bytes, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._descriptor = -1
        self._secret = b""

    def __enter__(self) -> "Self":
        # No symbolic link: in a directory that others may write to it would have us write elsewhere.
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
        self._descriptor = posix.open(self._path, flags, 0o600)
        try:
            self._must_be_ours()
            self._lock()
            self._read_header()
        except BaseException:
            posix.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_reason: object) -> None:
        posix.close(self._descriptor)  # and so the lock is given back

    def _must_be_ours(self) -> None:
        state = posix.fstat(self._descriptor)
        if state.st_mode & KIND_OF_FILE != REGULAR or state.st_nlink > 1:
            raise Unusable(f"{self._path!a} is no file of its own")
        if state.st_uid not in (0, posix.geteuid()):
            raise Unusable(f"{self._path!a} belongs to uid {state.st_uid}, and is neither root's nor ours")
        if state.st_mode & WRITABLE_FOR_ALL:
            raise Unusable(f"everybody may write to {self._path!a}")

    def _lock(self) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                posix.lockf(self._descriptor, posix.F_TLOCK, 0)
            except (BlockingIOError, PermissionError):  # EACCES, too, says that somebody has it (lockf(3))
                if time.monotonic() >= deadline:
                    raise Unusable(f"{self._path!a} was locked for {self._patience:g} seconds") from None
                time.sleep(0.001)
            else:
                return

    def _read_header(self) -> None:
        header = posix.pread(self._descriptor, HEADER_BYTES, 0)
        if not header:
            header = (MAGIC + posix.urandom(SECRET_BYTES)).ljust(HEADER_BYTES, b"\0")
            self._write(header, 0)
            posix.fsync(self._descriptor)  # a table without its secret, after the power failed, would be a broken one
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise Unusable(f"{self._path!a} is no table of limits")
        self._secret = header[len(MAGIC) : len(MAGIC) + SECRET_BYTES]

    def _write(self, data: bytes, offset: int) -> None:
        if posix.pwrite(self._descriptor, data, offset) != len(data):
            raise Unusable(f"{self._path!a} took half of what was written")

    def debit(self, claims: "list[Claim]", now: float) -> Debit:
        """Count one try on each claim, or on none; raises `Unusable` or `OSError`, as the next."""
        entries: list[Entry] = []
        for claim in claims:
            entry = self._find(claim, now, [entry.offset for entry in entries])
            if entry is None:
                raise Unusable(f"{self._path!a} is full")
            if sum(entry.counts) >= claim.tries:
                return Debit(claim)
            entries.append(entry)
        receipt = []
        for entry in entries:
            entry.counts[entry.newest % COUNTS] += 1
            self._write(entry.encode(), entry.offset)
            receipt.append((entry.offset, entry.who, entry.newest))
        return Debit(None, receipt)

    def credit(self, debit: Debit, now: float) -> None:
        """Take a try back from each claim whose window still has it."""
        for offset, who, number in debit.receipt or ():
            data = posix.pread(self._descriptor, ENTRY_BYTES, offset)
            if not data.startswith(who) or len(data) < ENTRY_BYTES:
                continue  # the window has passed, and somebody else has the place; or it is another file
            entry = Entry.parse(offset, data, now)
            if entry.newest - COUNTS < number <= entry.newest and entry.counts[number % COUNTS]:
                entry.counts[number % COUNTS] -= 1
                self._write(entry.encode(), entry.offset)

    def _find(self, claim: "Claim", now: float, taken: list[int]) -> Entry | None:
        """Return the entry of a claim; without one, a new one in a free place; None if there is no place.

        Places that are taken were given to other claims of the same login, the one that this key has left included.
        """
        text = b"%s %d " % (claim.name.encode("ascii"), claim.seconds) + claim.key
        digest = blake2b(text, key=self._secret, digest_size=ID_BYTES + 4).digest()
        who = digest[:ID_BYTES]
        begin = (1 + int.from_bytes(digest[ID_BYTES:]) % PAGES) * PAGE_BYTES
        page = posix.pread(self._descriptor, PAGE_BYTES, begin).ljust(PAGE_BYTES, b"\0")
        at = page.find(who)
        while at >= 0:
            if at % ENTRY_BYTES == 0 and begin + at not in taken:
                entry = Entry.parse(begin + at, page[at : at + ENTRY_BYTES], now)
                return entry if entry.seconds == claim.seconds else Entry.fresh(begin + at, who, claim.seconds, now)
            at = page.find(who, at + 1)
        for at in range(0, PAGE_BYTES, ENTRY_BYTES):
            entry = Entry.parse(begin + at, page[at : at + ENTRY_BYTES], now)
            if entry.offset not in taken and (entry.who == NO_ID or not any(entry.counts)):
                return Entry.fresh(entry.offset, who, claim.seconds, now)
        return None
