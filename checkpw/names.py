"""Who sends under another name and address: name.cdb, and the table that it is made from (ofmipname(8)).

A line of the table is `key:name:address:`, where the key is an envelope sender after host rewriting, compared byte by
byte. What follows the third colon is ignored, and so are lines with fewer colons, and those that begin with `#`.
"""

from checkpw.cdb import Cdb, CdbWriter, UnreadableCdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Names:
    """A name.cdb that is open."""

    __slots__ = ("_cdb", "_path")

    def __init__(self, path: bytes) -> None:
        """Open it; raises `UnreadableCdb`."""
        self._path = path
        self._cdb = Cdb(path)

    def close(self) -> None:
        """Close it."""
        self._cdb.close()

    def find(self, sender: bytes) -> tuple[bytes, bytes] | None:
        """Return name and address for a sender, None if there are none; raises `UnreadableCdb`."""
        value = self._cdb.find(sender)
        if value is None:
            return None
        name, nul, address = value.partition(b"\0")
        if not nul:
            raise UnreadableCdb(f"{self._path!a} was not made by ofmipname: no NUL in the value of {sender!a}")
        # In an envelope, what follows a second NUL would be something else than the sender.
        return name, address.partition(b"\0")[0]


def parse_line(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return key, name and address of a line with or without its end; None if it is no entry."""
    parts = line.split(b":", 3)
    if line.startswith(b"#") or len(parts) < 4:
        return None
    return parts[0], parts[1], parts[2]


def write_cdb(lines: "Iterable[bytes]", descriptor: int) -> None:
    """Write the cdb of a table to an empty file; raises `OSError`."""
    writer = CdbWriter(descriptor)
    for line in lines:
        entry = parse_line(line)
        if entry is not None:
            key, name, address = entry
            writer.add(key, name + b"\0" + address)
    writer.finish()
