"""name.cdb: the lines of its table, and who is found in it."""

import os

import pytest

from checkpw.cdb import CdbWriter, UnreadableCdb
from checkpw.names import Names, parse_line, write_cdb

LINES = [
    # line, its entry
    (b"joe@x:Joe User:joe.user@y:", (b"joe@x", b"Joe User", b"joe.user@y")),
    (b"joe@x:Joe:joe@y:\n", (b"joe@x", b"Joe", b"joe@y")),
    (b"a:b:c:anything:else", (b"a", b"b", b"c")),
    (b":::", (b"", b"", b"")),
    (b" a: b :c :", (b" a", b" b ", b"c ")),
    (b"a:b:c", None),
    (b"a:b", None),
    (b"", None),
    (b"#a:b:c:", None),
    (b" #a:b:c:", (b" #a", b"b", b"c")),
]


@pytest.mark.parametrize(("line", "entry"), LINES)
def test_lines(line, entry):
    """A line has three colons, or is none."""
    assert parse_line(line) == entry


def _open(tmp_path, write):
    path = tmp_path / "name.cdb"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    write(descriptor)
    os.close(descriptor)
    return Names(os.fsencode(path))


def test_who_is_found(tmp_path):
    """The sender counts byte by byte, and the first of several entries."""
    table = [b"joe@x:Joe:joe@y:", b"joe@x:Other:o@y:", b"# comment", b"JOE@x::big@y:", b":Nobody::"]
    names = _open(tmp_path, lambda descriptor: write_cdb(table, descriptor))
    assert names.find(b"joe@x") == (b"Joe", b"joe@y")
    assert names.find(b"JOE@x") == (b"", b"big@y")
    assert names.find(b"") == (b"Nobody", b"")
    assert names.find(b"Joe@x") is None
    names.close()


def _write_values(descriptor):
    writer = CdbWriter(descriptor)
    writer.add(b"no nul", b"Joe joe@y")
    writer.add(b"two", b"Joe\0joe@y\0Tvictim@z\0")
    writer.finish()


def test_values_that_ofmipname_did_not_make(tmp_path):
    """Without a NUL it cannot be read; what follows a second one cannot get into the envelope."""
    names = _open(tmp_path, _write_values)
    with pytest.raises(UnreadableCdb, match="not made by ofmipname"):
        names.find(b"no nul")
    assert names.find(b"two") == (b"Joe", b"joe@y")
    names.close()
