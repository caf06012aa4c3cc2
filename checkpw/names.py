"""Who sends under another name and address: name.cdb, and the table that it is made from (ofmipname(8)).

A line of the table is `key:name:address:`, where the key is an envelope sender after host rewriting, compared byte by
byte. What follows the third colon is ignored, as is a line with fewer colons, or with a `#` in front.
"""

from checkpw.cdb import Cdb, UnreadableCdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Names:
    """A name.cdb that is open."""

    __slots__ = ("_cdb", "_path")

    def __init__(self, path: bytes) -> None:
        """Open it; raises `UnreadableCdb`."""
        self._path = path
        self._cdb = Cdb(path)

    def find(self, sender: bytes) -> tuple[bytes, bytes] | None:
        """Return name and address for a sender, None if nobody says so; raises `UnreadableCdb`."""
        value = self._cdb.find(sender)
        if value is None:
            return None
        name, nul, address = value.partition(b"\0")
        if not nul:
            raise UnreadableCdb(f"{self._path!a} was not made by ofmipname: no NUL in the value of {sender!a}")
        # What follows a second NUL would come after the end of the sender in the envelope.
        return name, address.partition(b"\0")[0]


def parse_line(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return key, name and address of a line without or with its line end, None if it is no entry."""
    parts = line.split(b":", 3)
    if line.startswith(b"#") or len(parts) < 4:
        return None
    return parts[0], parts[1], parts[2]


def records(lines: "Iterator[bytes]") -> "Iterator[tuple[bytes, bytes]]":
    """Yield the records of a cdb for the lines of a table."""
    for line in lines:
        entry = parse_line(line)
        if entry is not None:
            key, name, address = entry
            yield key, name + b"\0" + address
