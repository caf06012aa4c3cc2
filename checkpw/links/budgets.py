"""What a store of failure budgets is: the port of checkpw-limit(8).

A budget says how many tries a key has within a window of time that slides. A try is counted before anybody is asked
about a password and taken back after a yes: what is asked at the same time cannot be more than the budget.
"""

from checkpw.errors import TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

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

    def __init__(self, exhausted: Claim | None, receipt: list[tuple[Claim, int]]) -> None:
        self.exhausted = exhausted
        self.receipt = receipt
