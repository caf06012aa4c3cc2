"""A password that cannot print itself."""


class Secret:
    """Holds the bytes of a password; shows them only to who asks for them by name.

    It has no `__str__`, `__bytes__`, `__eq__` or pickled form that would let them slip into a log line, an exception
    text or a comparison that takes a different time for each prefix.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes; the caller hands them to a hash or to descriptor 3 and keeps no copy."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be copied out of its process")
