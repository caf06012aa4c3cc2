"""Our ofmipname beside the original (CHECKPW_ORIGINAL_OFMIPNAME), and beside tinycdb's cdb."""

import random
import subprocess

import pytest


def _table(number):
    """Give a table of entries, comments and lines that are neither."""
    chance = random.Random(number)

    def word():
        return bytes(chance.choice(b"ab@.:#\xe9\0 \r") for _ in range(chance.randint(0, 6)))

    lines = []
    for _ in range(chance.choice([0, 1, 5, 50, 3000 if number % 10 == 0 else 3])):
        entry = b"k%d:n:a@b:" % chance.randint(0, 9999)
        lines.append(chance.choice([entry, word() + b":" + word() + b":" + word() + b":", word(), b"#" + entry]))
    return b"\n".join(lines) + chance.choice([b"", b"\n"])


def _build(program, directory, table):
    command = [program, "name.cdb", "name.tmp"]
    done = subprocess.run(command, input=table, cwd=directory, capture_output=True, check=False, timeout=60)
    return done.returncode, (directory / "name.cdb").read_bytes()


def test_the_same_cdb_as_the_original(source_peer, programs, tmp_path):
    """The same tables make the same bytes."""
    original = source_peer("ofmipname of mess822", "CHECKPW_ORIGINAL_OFMIPNAME")
    for number in range(40):
        table = _table(number)
        assert _build(original, tmp_path, table) == _build(programs / "ofmipname", tmp_path, table), number


@pytest.fixture
def tinycdb(peer):
    """Give tinycdb's program."""
    return peer("cdb", "tinycdb")


def test_tinycdb_reads_what_we_write(tinycdb, programs, tmp_path):
    """Every entry is found by somebody else's reader."""
    table = b"".join(b"%d@x:Name:%d@y:\n" % (number, number) for number in range(1000))
    assert _build(programs / "ofmipname", tmp_path, table)[0] == 0
    command = [tinycdb, "-d", "name.cdb"]
    dumped = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60).stdout
    pairs = [(b"%d@x" % number, b"Name\0%d@y" % number) for number in range(1000)]
    wanted = b"".join(b"+%d,%d:%s->%s\n" % (len(key), len(value), key, value) for key, value in pairs)
    assert dumped == wanted + b"\n"


def test_we_read_what_tinycdb_writes(tinycdb, tmp_path):
    """A name.cdb that somebody else's tool made is as good."""
    from checkpw.names import Names

    records = b"+5,9:joe@x->Joe\0joe@y\n\n"
    subprocess.run([tinycdb, "-c", "name.cdb"], input=records, cwd=tmp_path, check=True, timeout=60)
    names = Names(bytes(tmp_path / "name.cdb"))
    assert names.find(b"joe@x") == (b"Joe", b"joe@y")
    names.close()
