"""Tickets: which are believed, and who can know the key."""

import fcntl
import mmap
import os
import pathlib
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkpw import tickets
from checkpw.errors import TemporaryFailure

KEY = bytes(range(32))
F_SEAL_FUTURE_WRITE = 0x10  # fcntl.h; this Python has no name for it
LOGINS = st.binary(min_size=1, max_size=512)


@given(LOGINS, st.integers(0, 2**63))
@example(bytes(512), 1)
@example(b"j", 1)
def test_a_ticket_is_good_until_it_expires(login, expires):
    """The login comes back before the second at which the ticket expires, and not from then on."""
    ticket = tickets.make(KEY, login, expires)
    assert tickets.read(KEY, ticket, expires - 1) == login
    assert tickets.read(KEY, ticket, expires) is None


@given(LOGINS, st.data())
def test_nothing_of_a_ticket_can_be_changed(login, data):
    """One other bit anywhere, a byte more or less, or another key: none of it is a ticket."""
    ticket = tickets.make(KEY, login, 100)
    bit = data.draw(st.integers(0, 8 * len(ticket) - 1))
    changed = bytearray(ticket)
    changed[bit // 8] ^= 1 << bit % 8
    assert tickets.read(KEY, bytes(changed), 0) is None
    assert tickets.read(KEY, ticket[:-1], 0) is None
    assert tickets.read(KEY, ticket + b"\0", 0) is None
    assert tickets.read(bytes(32), ticket, 0) is None


@given(st.binary(max_size=100) | st.binary(max_size=700))
def test_what_somebody_makes_up_is_no_ticket(made_up):
    """Bytes that were not made with the key are no ticket, and no error."""
    assert tickets.read(KEY, made_up, 0) is None


def test_a_ticket_is_for_somebody():
    """A ticket for nobody, or for a login that no checker can be asked about, is neither made nor believed."""
    for login in (b"", bytes(513)):
        with pytest.raises(ValueError, match="1 to 512"):
            tickets.make(KEY, login, 100)
        signed = bytes(8) + login
        assert tickets.read(KEY, tickets._mac(KEY, signed) + signed, -1) is None


def test_the_mac_is_of_nothing_else():
    """The form of a ticket is fixed: a verifier and an opener of one version agree, and of two are noticed here."""
    made = tickets.make(KEY, b"joe", 0x0102)
    assert made[32:] == b"\0\0\0\0\0\0\1\2joe"
    assert made[:32].hex() == "e8c7325d990993e7b3c60e3297da9debbf755c85b93740daf6daaa9007974748"


# --- the key


@pytest.fixture
def key():
    """Give the descriptor of a key."""
    descriptor = tickets.shared_key()
    yield descriptor
    os.close(descriptor)


def test_every_key_is_another(key):
    """A key is 32 bytes, the same for everybody who reads it, and no two are the same."""
    other = tickets.shared_key()
    assert len(tickets.load_key(key)) == 32
    assert tickets.load_key(key) == tickets.load_key(key)
    assert tickets.load_key(other) not in (tickets.load_key(key), bytes(32))
    os.close(other)


def test_nobody_changes_a_key(key):
    """The key can be neither written, cut, extended nor mapped for writing, and no program inherits it."""
    for change in (
        lambda: os.pwrite(key, b"x", 0),
        lambda: os.ftruncate(key, 0),
        lambda: os.ftruncate(key, 64),
        lambda: mmap.mmap(key, 32),
        lambda: fcntl.fcntl(key, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE),
    ):
        with pytest.raises(PermissionError):
            change()
    assert not os.get_inheritable(key)


def test_what_is_no_key_is_not_taken_for_one(tmp_path, key):
    """Another file, one that can still be written, one of another length and a closed descriptor are refused."""
    (tmp_path / "file").write_bytes(bytes(32))
    plain = os.open(tmp_path / "file", os.O_RDONLY)
    writable = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(writable, bytes(32))
    short = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(short, bytes(31))
    fcntl.fcntl(short, fcntl.F_ADD_SEALS, fcntl.fcntl(key, fcntl.F_GET_SEALS))
    for descriptor in (plain, writable, short, 10**6):
        with pytest.raises(TemporaryFailure, match="unable to read the key"):
            tickets.load_key(descriptor)
    for descriptor in (plain, writable, short):
        os.close(descriptor)


@pytest.mark.parametrize("function", ["memfd_create", "readv"])
def test_no_key(monkeypatch, function):
    """A system that has no memory files or no random bytes is trouble with a name, and nothing stays open."""

    def refuse(*arguments):
        raise OSError(38, "Function not implemented")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(TemporaryFailure, match="unable to make a key: Function not implemented"):
        tickets.shared_key()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_less_random_than_asked_for(monkeypatch):
    """A key that is random in part is none."""
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: 16)
    with pytest.raises(TemporaryFailure, match="less than"):
        tickets.shared_key()


SUPERVISOR = """
import os, sys
sys.path.insert(0, sys.argv[1])
from checkpw import tickets
mark = os.urandom(16)
descriptor = tickets.shared_key()
if os.fork() == 0:
    os.write(1, mark + tickets.load_key(descriptor))
    os._exit(0)
os.wait()
sys.stdin.read()
"""


def test_the_supervisor_never_knew_the_key():
    """All memory of the process that had the key made is read: a mark of its own is in it, the key is not."""
    root = str(pathlib.Path(tickets.__file__).parents[1])
    argv = [sys.executable, "-c", SUPERVISOR, root]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as supervisor:
        told = supervisor.stdout.read(48)
        mark, key = told[:16], told[16:]
        memory = _memory_of(supervisor.pid)
        supervisor.stdin.close()
    assert supervisor.returncode == 0
    assert len(key) == 32
    assert mark in memory
    assert [at for at in range(25) if key[at : at + 8] in memory] == []


def _memory_of(pid):
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end, can_read, name = re.match(r"(\w+)-(\w+) (.)\S* \S+ \S+ \S+ *(.*)", line).groups()
            if can_read == "r" and name not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                memory.seek(int(start, 16))
                found.append(memory.read(int(end, 16) - int(start, 16)))
    return b"".join(found)
