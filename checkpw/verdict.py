"""What the exit status of a checkpassword program says (cr.yp.to/checkpwd/interface.html)."""

from checkpw.errors import TemporaryFailure

ACCEPTED, REJECTED, MISUSED, TEMPORARY = "accepted", "rejected", "misused", "temporary"

MISUSE_STATUS = 2

MAX_EXIT_STATUS = 255

MAX_DIGITS = 3


def verdict_of(status: int, reject_statuses: frozenset[int]) -> str:
    """Return what a status says: of an exit, or minus the signal that killed the checker."""
    if status == 0:
        return ACCEPTED
    if status in reject_statuses:
        return REJECTED
    return MISUSED if status == MISUSE_STATUS else TEMPORARY


def reason_of(status: int) -> str:
    """Return a status in words."""
    return f"exit status {status}" if status >= 0 else f"killed by signal {-status}"


def read_reject_statuses(name: str, text: bytes) -> frozenset[int]:
    """Read which exit statuses mean no, from a variable that lists more than 1.

    Raises:
        TemporaryFailure: one of them is no exit status, or means something else by the interface.
    """
    codes = text.replace(b",", b" ").split()
    for code in codes:
        is_status = code.isdigit() and len(code) <= MAX_DIGITS and 1 <= int(code) <= MAX_EXIT_STATUS
        if not is_status or int(code) == TemporaryFailure.exit_status:
            raise TemporaryFailure(f"{name}: {code!a} cannot mean no")
    return frozenset({1, *map(int, codes)})
