"""DJB's constant database (cr.yp.to/cdb/cdb.txt): a file that is looked into, and written once.

A file is 256 pointers to hash tables, records, and the tables. All numbers are unsigned, of 32 bits, little-endian.
"""

import posix

from checkpw.errors import TemporaryFailure

TABLES = 256
HEADER_BYTES = 8 * TABLES
MAX_BYTES = 1 << 32
BLOCK = 65536


class UnreadableCdb(TemporaryFailure):
    """The file cannot be read, or is no cdb, or not a whole one."""


def cdb_hash(key: bytes) -> int:
    """Return the hash of a key."""
    value = 5381
    for byte in key:
        value = (value * 33 & 0xFFFFFFFF) ^ byte
    return value


class Cdb:
    """A database that is open for reading.

    A file that took its place since is not seen. Nothing in the file is trusted: it may be cut off or lie.
    """

    __slots__ = ("_descriptor", "_path", "_size")

    def __init__(self, path: bytes) -> None:
        """Open the file; raises `UnreadableCdb`."""
        self._path = path
        try:
            self._descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
            self._size = posix.fstat(self._descriptor).st_size
        except OSError as error:
            raise UnreadableCdb(f"unable to read {path!a}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        posix.close(self._descriptor)

    def find(self, key: bytes) -> bytes | None:
        """Return the first value of a key, None if it has none; raises `UnreadableCdb`."""
        value = cdb_hash(key)
        table, slots = self._pair(8 * (value % TABLES))
        slot = (value >> 8) % slots if slots else 0
        for _ in range(slots):
            found, place = self._pair(table + 8 * slot)
            if not place:
                return None
            if found == value:
                key_size, size = self._pair(place)
                if key_size == len(key) and self._read(place + 8, key_size) == key:
                    return self._read(place + 8 + key_size, size)
            slot = (slot + 1) % slots
        return None

    def _pair(self, at: int) -> tuple[int, int]:
        pair = self._read(at, 8)
        return int.from_bytes(pair[:4], "little"), int.from_bytes(pair[4:], "little")

    def _read(self, at: int, size: int) -> bytes:
        if at + size > self._size:  # before so much memory is asked for
            raise self._damage()
        pieces = b""
        try:
            while len(pieces) < size and (piece := posix.pread(self._descriptor, size - len(pieces), at + len(pieces))):
                pieces += piece
        except OSError as error:
            raise UnreadableCdb(f"unable to read {self._path!a}: {error.strerror}") from None
        if len(pieces) < size:
            raise self._damage()
        return pieces

    def _damage(self) -> UnreadableCdb:
        return UnreadableCdb(f"{self._path!a} is no cdb, or not a whole one")


class CdbWriter:
    """Writes a database to a descriptor at the beginning of an empty file. Raises `OSError`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = bytearray(HEADER_BYTES)  # to be filled in at the end
        self._size = HEADER_BYTES
        self._tables: list[list[tuple[int, int]]] = [[] for _ in range(TABLES)]

    def add(self, key: bytes, value: bytes) -> None:
        """Add a record; a key may have several."""
        hashed = cdb_hash(key)
        self._tables[hashed % TABLES].append((hashed, self._size))
        self._write(_pack(len(key), len(value)) + key + value)

    def finish(self) -> None:
        """Write the tables, and have all of it on the disk."""
        header = bytearray()
        for entries in self._tables:
            header += _pack(self._size, 2 * len(entries))
            slots = [(0, 0)] * (2 * len(entries))
            for hashed, place in entries:
                at = (hashed >> 8) % len(slots)
                while slots[at][1]:
                    at = (at + 1) % len(slots)
                slots[at] = (hashed, place)
            self._write(b"".join([_pack(*slot) for slot in slots]))
        self._flush()
        posix.pwrite(self._descriptor, header, 0)
        posix.fsync(self._descriptor)

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size >= MAX_BYTES:
            import errno

            raise OSError(errno.EFBIG, "too large for a cdb")
        self._pending += data
        if len(self._pending) >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(bytes(self._pending))
        self._pending.clear()
        while data:
            data = data[posix.write(self._descriptor, data) :]


def _pack(first: int, second: int) -> bytes:
    return first.to_bytes(4, "little") + second.to_bytes(4, "little")
