"""ofmipname as a program: its statuses, and that name.cdb is replaced in one step or not at all.

Its output is compared with that of the original in tests/interop/test_ofmipname.py.
"""

import os
import subprocess

import pytest

from checkpw.names import Names


@pytest.fixture
def ofmipname(programs, tmp_path):
    """Give a function that runs ofmipname in a directory of its own."""

    def run(*arguments, table=b"", **how):
        command = [programs / "ofmipname", *arguments]
        how = how or {"input": table}
        return subprocess.run(command, capture_output=True, cwd=tmp_path, check=False, timeout=60, **how)

    return run


def _find(path, sender):
    names = Names(os.fsencode(path))
    try:
        return names.find(sender)
    finally:
        names.close()


def test_a_table_becomes_a_cdb(ofmipname, tmp_path):
    """Senders are found; comments and lines with too few colons are not there; everybody may read it."""
    done = ofmipname("name.cdb", "name.tmp", table=b"# x:y:z:\njoe@x:Joe:joe@y:\nshort:line:\nlast@x:Last:last@y:")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert os.listdir(tmp_path) == ["name.cdb"]
    path = tmp_path / "name.cdb"
    assert path.stat().st_mode & 0o777 == 0o644
    assert _find(path, b"joe@x") == (b"Joe", b"joe@y")
    assert _find(path, b"last@x") == (b"Last", b"last@y")
    assert _find(path, b"# x") is None and _find(path, b"short") is None


def test_a_large_table_and_long_lines(ofmipname, tmp_path):
    """Neither the number of lines nor their length is limited."""
    table = b"".join(b"%d@x:Name %d:%d@y:\n" % (number, number, number) for number in range(20_000))
    assert ofmipname("name.cdb", "name.tmp", table=table + b"long@x:" + b"L" * 300_000 + b":l@y:\n").returncode == 0
    assert _find(tmp_path / "name.cdb", b"19999@x") == (b"Name 19999", b"19999@y")
    assert _find(tmp_path / "name.cdb", b"long@x") == (b"L" * 300_000, b"l@y")


@pytest.mark.parametrize("arguments", [(), ("name.cdb",)])
def test_usage(ofmipname, arguments):
    """Both names have to be there; if not, the status is DJB's 100."""
    done = ofmipname(*arguments)
    assert (done.returncode, done.stderr) == (100, b"ofmipname: usage: ofmipname cdb tmp\n")


TROUBLE = [
    # arguments, part of the reason
    (("name.cdb", "none/name.tmp"), b"unable to create"),
    (("name.cdb", "/dev/full"), b"unable to create"),
    (("none/name.cdb", "name.tmp"), b"unable to move"),
]


@pytest.mark.parametrize(("arguments", "reason"), TROUBLE)
def test_trouble(ofmipname, tmp_path, arguments, reason):
    """What cannot be written is 111, and name.cdb is as it was."""
    (tmp_path / "name.cdb").write_bytes(b"as it was")
    done = ofmipname(*arguments, table=b"joe@x:Joe:joe@y:\n")
    assert done.returncode == 111
    assert done.stderr.startswith(b"ofmipname: " + reason)
    assert (tmp_path / "name.cdb").read_bytes() == b"as it was"


def test_input_that_cannot_be_read(ofmipname, tmp_path):
    """A closed descriptor 0 is no empty table, and one that is open for writing only cannot be read."""
    (tmp_path / "name.cdb").write_bytes(b"as it was")
    closed = ofmipname("name.cdb", "name.tmp", preexec_fn=lambda: os.close(0))
    with open("/dev/null", "wb") as unreadable:
        for_writing = ofmipname("name.cdb", "name.tmp", stdin=unreadable)
    for done in (closed, for_writing):
        assert done.returncode == 111
        assert done.stderr.startswith(b"ofmipname: unable to read input: ")
    assert (tmp_path / "name.cdb").read_bytes() == b"as it was"
