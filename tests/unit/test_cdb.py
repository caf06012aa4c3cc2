"""The constant database: what is written is found, and files that lie are not believed."""

import os
import pathlib
import struct

import pytest

from checkpw.cdb import Cdb, CdbWriter, UnreadableCdb, cdb_hash
from checkpw.errors import TemporaryFailure


@pytest.fixture
def make(tmp_path):
    """Give a function that writes a database, or raw bytes, and gives the path."""

    def make(content):
        path = tmp_path / "test.cdb"
        if isinstance(content, bytes):
            path.write_bytes(content)
            return path
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        writer = CdbWriter(descriptor)
        for key, value in content:
            writer.add(key, value)
        writer.finish()
        os.close(descriptor)
        return path

    return make


@pytest.fixture
def find(make):
    """Give a function that looks a key up in a database that it makes."""

    def find(content, key):
        cdb = Cdb(os.fsencode(make(content)))
        try:
            return cdb.find(key)
        finally:
            cdb.close()

    return find


def test_the_hash():
    """The hash is that of cr.yp.to/cdb/cdb.txt: 5381, and for each byte times 33, exclusive or."""
    assert cdb_hash(b"") == 5381
    assert cdb_hash(b"one") == ((((5381 * 33 ^ ord("o")) * 33) ^ ord("n")) * 33 ^ ord("e")) & 0xFFFFFFFF
    assert cdb_hash(b"\xff" * 100) < 1 << 32


def test_a_file_by_hand(make):
    """One record, its table, and 256 pointers: the bytes of a small database are these."""
    hashed = cdb_hash(b"key")
    pointers = b"".join(
        struct.pack("<II", 2048 + 16 + (16 if number > hashed % 256 else 0), 2 if number == hashed % 256 else 0)
        for number in range(256)
    )
    slots = [b"\0" * 8, b"\0" * 8]
    slots[(hashed >> 8) % 2] = struct.pack("<II", hashed, 2048)
    wanted = pointers + struct.pack("<II", 3, 5) + b"key" + b"value" + b"".join(slots)
    assert make([(b"key", b"value")]).read_bytes() == wanted


def test_everything_is_found(make):
    """Thousands of keys, an empty one and one with every byte among them; the first of two values counts."""
    entries = [(b"%d" % number, b"value %d" % number) for number in range(3000)]
    entries += [(b"", b"nothing"), (bytes(range(256)), b""), (b"7", b"second")]
    cdb = Cdb(os.fsencode(make(entries)))
    assert all(cdb.find(key) == value for key, value in entries[:-1])
    assert cdb.find(b"3000") is None
    cdb.close()


def test_nothing_is_in_an_empty_one(find):
    """A database without records is one."""
    assert find([], b"") is None


def test_what_took_its_place_is_not_seen(make):
    """An open database stays what it was."""
    path = make([(b"a", b"1")])
    cdb = Cdb(os.fsencode(path))
    path.unlink()
    make([(b"a", b"2")])
    assert cdb.find(b"a") == b"1"
    cdb.close()


@pytest.mark.parametrize("size", [0, 4, 8 * (cdb_hash(b"k") % 256) + 7])
def test_what_is_no_cdb(find, size):
    """A file without the pointer that is looked for cannot be read."""
    with pytest.raises(UnreadableCdb):
        find(b"\0" * size, b"k")


def test_a_file_that_is_not_there(tmp_path):
    """It is trouble, with its reason."""
    with pytest.raises(TemporaryFailure, match="No such file"):
        Cdb(os.fsencode(tmp_path / "none"))


def test_a_directory(tmp_path):
    """It can be opened, but not read."""
    cdb = Cdb(os.fsencode(tmp_path))
    with pytest.raises(UnreadableCdb):
        cdb.find(b"a")
    cdb.close()


def test_cut_off_anywhere(make, find):
    """However much of a file is missing, what is found is right, or it is said that it cannot be read."""
    entries = {b"a": b"1", b"bb": b"22", b"ccc": b"333"}
    whole = make(entries.items()).read_bytes()
    outcomes = set()
    for size in [*range(0, 2048, 97), *range(2040, len(whole))]:
        for key, value in entries.items():
            try:
                found = find(whole[:size], key)
            except UnreadableCdb:
                outcomes.add("unreadable")
            else:
                assert found == value
                outcomes.add("found")
    assert outcomes == {"unreadable", "found"}


def _lie(key, table, slots, slot=(0, 0), record=b""):
    pointers = bytearray(2048)
    hashed = cdb_hash(key)
    struct.pack_into("<II", pointers, 8 * (hashed % 256), table, slots)
    return bytes(pointers) + struct.pack("<II", *slot) + record


LIES = {
    "a table behind the end": _lie(b"k", 1 << 31, 2),
    "a table of 32 GiB": _lie(b"k", 2048, (1 << 32) - 1),
    "a record behind the end": _lie(b"k", 2048, 1, (cdb_hash(b"k"), 1 << 31)),
    "a value of 4 GiB": _lie(b"k", 2048, 1, (cdb_hash(b"k"), 2056), struct.pack("<II", 1, (1 << 32) - 1) + b"kv"),
    "a value that ends a byte too late": _lie(b"k", 2048, 1, (cdb_hash(b"k"), 2056), struct.pack("<II", 1, 2) + b"kv"),
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_lies(find, content):
    """Numbers that point outside of the file are found out before memory is asked for."""
    with pytest.raises(UnreadableCdb, match="is no cdb, or not a whole one"):
        find(content, b"k")


def test_a_table_without_an_empty_slot(find):
    """The search ends where it began."""
    pairs = struct.pack("<II", cdb_hash(b"k"), 2064) * 2
    content = _lie(b"k", 2048, 2)[:2048] + pairs + struct.pack("<II", 1, 1) + b"xv"
    assert find(content, b"k") is None


def test_a_full_disk():
    """What cannot be written is an OSError, whenever it turns out."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = CdbWriter(descriptor)
    with pytest.raises(OSError, match="No space"):
        writer.add(b"key", b"value" * 100_000)
    writer = CdbWriter(descriptor)
    writer.add(b"key", b"value")
    with pytest.raises(OSError, match="No space"):
        writer.finish()
    os.close(descriptor)


def test_4_gib_are_too_much(monkeypatch, tmp_path):
    """Numbers in a cdb have 32 bits; past them it says so."""
    monkeypatch.setattr("checkpw.cdb.MAX_BYTES", 3000)
    descriptor = os.open(pathlib.Path(tmp_path / "x"), os.O_WRONLY | os.O_CREAT)
    writer = CdbWriter(descriptor)
    with pytest.raises(OSError, match="too large for a cdb"):
        writer.add(b"k", b"v" * 1000)
    os.close(descriptor)
