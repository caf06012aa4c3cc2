"""checkpw names: the table is edited, and the name.cdb follows."""

import json
import os

import pytest

from checkpw.names import Names


@pytest.fixture
def table(tmp_path):
    """Give the path of a table with a comment, an entry, and a line that is none."""
    path = tmp_path / "names"
    path.write_bytes(b"# names\njoe@x:Joe User:joe.user@y:\nno entry\n")
    return path


def _found(path, sender):
    names = Names(os.fsencode(path))
    try:
        return names.find(sender)
    finally:
        names.close()


def test_add(checkpw, table):
    """An entry is appended, everything else stays, and ofmipd finds old and new."""
    done = checkpw("names", "add", "--file", str(table), "ann@x", "Ann", "ann@y")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert table.read_bytes() == b"# names\njoe@x:Joe User:joe.user@y:\nno entry\nann@x:Ann:ann@y:\n"
    assert _found(f"{table}.cdb", b"ann@x") == (b"Ann", b"ann@y")
    assert _found(f"{table}.cdb", b"joe@x") == (b"Joe User", b"joe.user@y")
    assert os.stat(f"{table}.cdb").st_mode & 0o777 == 0o644


def test_add_makes_a_table(checkpw, tmp_path):
    """Where there is no table, one is made; the variable names it as the option does."""
    path = tmp_path / "new"
    assert checkpw("names", "add", "a@x", "", "b@y", CHECKPW_NAMES=str(path)).status == 0
    assert path.read_bytes() == b"a@x::b@y:\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_add_after_a_line_without_an_end(checkpw, table):
    """A last line that lacks its end gets one."""
    table.write_bytes(b"a@x:A:a@y:")
    assert checkpw("names", "add", "--file", str(table), "b@x", "B", "b@y").status == 0
    assert table.read_bytes() == b"a@x:A:a@y:\nb@x:B:b@y:\n"


def test_remove(checkpw, table, tmp_path):
    """All entries of a sender go, and the cdb is where the option says."""
    table.write_bytes(b"joe@x:1:a@y:\nann@x:2:b@y:\njoe@x:3:c@y:\n")
    place = tmp_path / "elsewhere.cdb"
    assert checkpw("names", "remove", "--file", str(table), "--cdb", str(place), "joe@x").status == 0
    assert table.read_bytes() == b"ann@x:2:b@y:\n"
    assert _found(place, b"joe@x") is None
    assert _found(place, b"ann@x") == (b"2", b"b@y")
    assert not os.path.exists(f"{table}.cdb")


def test_list(checkpw, table):
    """Entries stand in columns, and what could move a cursor is escaped."""
    table.write_bytes(b"joe@x:Joe User:joe.user@y:\n#a:b:c:\nx::\x1b[2J:\n")
    done = checkpw("names", "list", "--file", str(table))
    assert done.status == 0
    assert done.out.splitlines() == [
        "sender  name      address",
        "joe@x   Joe User  joe.user@y",
        "x       -         \\x1b[2J",
    ]
    entries = json.loads(checkpw("names", "list", "--json", "--file", str(table)).out)
    assert entries[0] == {"sender": "joe@x", "name": "Joe User", "address": "joe.user@y"}


REFUSED = [
    # arguments, part of the reason
    (("add", "joe@x", "Joe", "new@y"), "already"),
    (("add", "a:b", "Joe", "new@y"), "no colon"),
    (("add", "a@x", "J:oe", "new@y"), "no colon"),
    (("add", "a@x", "Joe", "new\n@y"), "line end"),
    (("add", "#a@x", "Joe", "new@y"), "comment"),
    (("add", "a@x", "Joe", ""), "not empty"),
    (("remove", "ann@x"), "no entry"),
]


@pytest.mark.parametrize(("arguments", "reason"), REFUSED)
def test_what_is_refused(checkpw, table, arguments, reason):
    """Wrong usage is 2 and changes nothing."""
    before = table.read_bytes()
    done = checkpw("names", *arguments[:1], "--file", str(table), *arguments[1:])
    assert done.status == 2
    assert reason in done.err
    assert table.read_bytes() == before
    assert not os.path.exists(f"{table}.cdb")


def test_a_cdb_that_cannot_be_written(checkpw, table, tmp_path):
    """It is trouble, and the table stays as the cdb is."""
    before = table.read_bytes()
    place = tmp_path / "none" / "name.cdb"
    done = checkpw("names", "add", "--file", str(table), "--cdb", str(place), "ann@x", "Ann", "ann@y")
    assert done.status == 111
    assert "unable to write" in done.err
    assert table.read_bytes() == before


def test_a_table_that_is_not_there(checkpw, tmp_path):
    """Listing or removing from none is trouble; no table at all is wrong usage."""
    for command in (("list",), ("remove", "a@x")):
        assert checkpw("names", *command, "--file", str(tmp_path / "none")).status == 111
    assert checkpw("names", "list").status == 2
    assert os.listdir(tmp_path) == []


def test_a_cdb_in_the_place_of_something_else(checkpw, table, tmp_path):
    """The table itself, under whatever name, and what is no regular file are not replaced by a cdb."""
    before = table.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(table)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (table, link, pipe):
        done = checkpw("names", "add", "--file", str(table), "--cdb", str(place), "ann@x", "Ann", "ann@y")
        assert done.status == 2
    assert table.read_bytes() == before
    assert pipe.is_fifo()
