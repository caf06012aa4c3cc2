"""How often something may be tried: so many times at once, and then as often as time pays back.

A leaky bucket for each key (the generic cell rate algorithm, ITU-T I.371): of `tries` in `seconds`, all may come at
once, and every `seconds / tries` one more. Whoever asks brings the time; nothing here looks at a clock.

Memory is bounded by a table of fixed size into which keys fall by a keyed hash. Two keys may fall on one place and then
share its budget, so that a flood of invented keys makes the limit stricter and never forgets what was counted.
"""

from _blake2 import blake2b
from array import array

PLACES = 65536
"""Budgets in a table, 512 KiB: some hundred keys that are counted at once seldom meet."""


class Budget:
    """Counts tries by key."""

    __slots__ = ("_cost", "_paid", "_seconds", "_secret")

    def __init__(
        self, tries: int, seconds: float, secret: bytes, cells: "array[float] | memoryview[float] | None" = None
    ) -> None:
        """Begin with nothing tried.

        Args:
            tries: how many may come at once; at least 1.
            seconds: the time in which so many are paid back.
            secret: up to 64 random bytes, so that nobody can choose keys that fall on somebody else's place.
            cells: a table of zeros to use, which several processes may share; what two of them count at the same
                moment may count once. None for one of our own.
        """
        self._cost = seconds / tries
        self._seconds = seconds
        self._secret = secret
        self._paid = array("d", bytes(8 * PLACES)) if cells is None else cells
        """For each place, the time at which all tries will have been paid back."""

    def take(self, key: bytes, now: float) -> float | None:
        """Count a try; return the time at which it is paid back, or None if it is one too many and does not count."""
        place = self._place(key)
        begin = max(self._paid[place], now)
        # Half a try of tolerance: sums of fractions are not exact, and N means N.
        if begin - now > self._seconds - self._cost / 2:
            return None
        self._paid[place] = begin + self._cost
        return begin + self._cost

    def give_back(self, key: bytes, paid: float, now: float) -> None:
        """Count a try no more, e.g. because the guess was right.

        Args:
            key: as it was taken with.
            paid: what `take` returned; what time has paid back by now is not given back again.
            now: the time.
        """
        if paid > now:
            self._paid[self._place(key)] -= min(self._cost, paid - now)

    def _place(self, key: bytes) -> int:
        return int.from_bytes(blake2b(key, key=self._secret, digest_size=8).digest()) % len(self._paid)
