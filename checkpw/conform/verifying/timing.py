"""Whether the time of a no tells that there is such a login.

Pairs of questions are asked, a wrong password and an unknown login, in random order, and the difference within each
pair is taken. If the two take the same time, each difference is as likely as its negative: that is all that the exact
Wilcoxon signed-rank test needs, whatever else runs on the machine. Seconds are counted from the end of file on
descriptor 3 to the end of the program, so that its start does not count.
"""

import math
import random
import statistics
import time
from collections.abc import Sequence

from checkpw.conform.accounts import MAX_RECORD, Account, record
from checkpw.conform.model import NotJudged, Property, Severity
from checkpw.conform.shell import ByHand, quote_all, quote_printf
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.target import TRUE, Verifier
from checkpw.conform.verifying.verdicts import PRACTICE

FALSE_ALARMS = 0.0001
"""How often equal times are called different: one time in 10,000."""

LOOKS = 4
"""How often the test may be done, with more pairs each time; each may give a quarter of the false alarms."""

MOST_PAIRS, FEWEST_PAIRS, PAIRS_PER_EXAMPLE = 120, 30, 4

SECONDS = 20.0
"""How long the measurement may take at most, about."""

SMALLEST_SHARE = 0.1
SMALLEST_SECONDS = 0.0005
"""A difference counts from this share of the time of a wrong password on, and from so many seconds on."""


def signed_rank_probability(differences: Sequence[float]) -> float:
    """Return how probable ranks as lopsided as these are, if each difference is as likely as its negative.

    The exact two-sided Wilcoxon signed-rank test; differences of nothing do not count, equal ones share no rank but
    stand in the order given, which is a random one.
    """
    nonzero = sorted((abs(one), one > 0) for one in differences if one != 0)
    size = len(nonzero)
    if size == 0:
        return 1.0
    positive = sum(rank for rank, (_, is_positive) in enumerate(nonzero, 1) if is_positive)
    total = size * (size + 1) // 2
    smaller = min(positive, total - positive)
    ways = [1] + [0] * smaller  # ways[s]: how many sets of ranks have the sum s
    for rank in range(1, size + 1):
        for reached in range(smaller, rank - 1, -1):
            ways[reached] += ways[reached - rank]
    return min(1.0, 2.0 * sum(ways) / float(2**size))


def same_time(target: Verifier, trials: Trials) -> None:
    """Measure pairs, and test whether their differences lean to one side."""
    target.needs_yes()
    chance = random.Random(trials.seed)  # noqa: S311  an order and names, nothing secret
    deadline = time.monotonic() + SECONDS
    wrong, unknown = _pair(target, trials, chance)
    batch = min(MOST_PAIRS, max(FEWEST_PAIRS, PAIRS_PER_EXAMPLE * trials.examples))
    if (wrong[1] + unknown[1]) * FEWEST_PAIRS > SECONDS:
        raise NotJudged(f"an answer takes {wrong[1]:.1f} s: fewer than {FEWEST_PAIRS} pairs in {SECONDS:.0f} s")
    measured: list[tuple[tuple[bytes, float], tuple[bytes, float]]] = []
    for _ in range(LOOKS):
        for _ in range(batch):
            if len(measured) >= FEWEST_PAIRS and time.monotonic() > deadline:
                break
            measured.append(_pair(target, trials, chance))
        if _is_judged(target, trials, measured):
            return
    coarse = detectable(_figures(measured)[2]) * 1000
    raise NotJudged(f"the machine is too busy: only a difference of {coarse:.1f} ms would have been seen")


def _is_judged(
    target: Verifier, trials: Trials, measured: Sequence[tuple[tuple[bytes, float], tuple[bytes, float]]]
) -> bool:
    """Tell whether what was measured is enough to say that there is no difference.

    Raises:
        Violation: there is one.
    """
    of_wrong, of_unknown, differences = _figures(measured)
    # The median of all means of two differences (Hodges, Lehmann): what the test tests, in seconds.
    shift = statistics.median((one + other) / 2 for at, one in enumerate(differences) for other in differences[at:])
    smallest = max(SMALLEST_SECONDS, SMALLEST_SHARE * of_wrong)
    figures = f"{of_wrong * 1000:.2f} ms for a wrong password, {of_unknown * 1000:.2f} ms for an unknown login"
    figures = f"{figures}; {len(measured)} pairs"
    probability = signed_rank_probability(differences)
    if probability < FALSE_ALARMS / LOOKS and abs(shift) >= smallest:
        raise target.violation(
            "the same time for a wrong password and an unknown login",
            f"{figures}, by chance with a probability of {probability:.0e}",
            measured[0][1][0],
            by_hand=_loops(target, measured[0][0][0], measured[0][1][0]),
        )
    seen = detectable(differences)
    trials.remark = f"{figures}, a difference of {max(seen, smallest) * 1000:.2f} ms would have been seen"
    return seen <= max(smallest, of_wrong / 2)


def _loops(target: Verifier, wrong: bytes, unknown: bytes) -> ByHand:
    """Return what the shell line of one question needs to show the time of many, of either kind."""
    command = quote_all(target.shown(TRUE))
    loop = "time (for i in $(seq 50); do printf {} | {} 3<&0; done)"
    lines = [loop.format(quote_printf(given), command) for given in (wrong, unknown)]
    return ByHand(before="; ".join(lines))


def _figures(
    measured: Sequence[tuple[tuple[bytes, float], tuple[bytes, float]]],
) -> tuple[float, float, list[float]]:
    """Return the medians of both times, and the differences."""
    of_wrong = statistics.median(wrong for (_, wrong), _ in measured)
    of_unknown = statistics.median(unknown for _, (_, unknown) in measured)
    return of_wrong, of_unknown, [wrong - unknown for (_, wrong), (_, unknown) in measured]


def detectable(differences: Sequence[float]) -> float:
    """Return the shift that the test finds nine times in ten, from how far equal times scatter.

    Half of the differences are smaller than 0.6745 standard deviations if they are normally distributed, and this
    half does not see what a busy machine does now and then; 4.21 and 1.28 are the normal deviates of one look's share
    of `FALSE_ALARMS` (two-sided) and of nine in ten, 0.955 is the efficiency of the signed-rank test there.
    """
    deviation = statistics.median(abs(one) for one in differences) / 0.6745
    return (4.21 + 1.28) * deviation / math.sqrt(0.955 * len(differences))


def _pair(target: Verifier, trials: Trials, chance: random.Random) -> tuple[tuple[bytes, float], tuple[bytes, float]]:
    """Ask for a wrong password and for an unknown login, of the same lengths, in random order."""
    account = chance.choice(target.accounts)
    wrong = record(account.login, _other(account, chance))
    unknown = record(_unknown(account, chance, {one.login for one in target.accounts}), _other(account, chance))
    seconds = {}
    for given in chance.sample((wrong, unknown), 2):
        trials.ran()
        answer = target.ask(None, TRUE, pieces=(given,))
        if answer.status is None or answer.status <= 0:
            see = "rejects-wrong-password" if given == wrong else "rejects-unknown-login"
            raise NotJudged(f"no is not what it says: see {see}")
        seconds[given] = answer.seconds
    return (wrong, seconds[wrong]), (unknown, seconds[unknown])


def _other(account: Account, chance: random.Random) -> bytes:
    """Return a wrong password as long as the right one."""
    while True:
        password = bytes(chance.choice(b"abcdefghijkmnpqrstuvwxyz") for _ in account.password)
        if password != account.password:
            return password


def _unknown(account: Account, chance: random.Random, known: set[bytes]) -> bytes:
    """Return a login that there is not, about as long as that of the account."""
    size = max(6, len(account.login))
    room = MAX_RECORD - len(account.password) - 3
    while True:
        login = bytes(chance.choice(b"abcdefghijkmnpqrstuvwxyz") for _ in range(min(size, room)))
        if login not in known:
            return login


PROPERTIES: tuple[Property, ...] = (
    Property(
        "same-time-for-unknown-login",
        Severity.SHOULD,
        "A wrong password and an unknown login take the same time: exact Wilcoxon signed-rank test, one false alarm "
        "in 10,000; differences below a tenth, or below 0.5 ms, do not count.",
        PRACTICE,
        same_time,
    ),
)
