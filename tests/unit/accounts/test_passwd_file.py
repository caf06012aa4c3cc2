"""The store `file:`: lines, fields, restrictions, and who is trusted with uids."""

import os
import pwd

import pytest

from checkpw.accounts import passwd_file
from checkpw.accounts.passwd_file import SLICE, PasswdFile
from checkpw.errors import Rejected, TemporaryFailure


@pytest.fixture
def store(tmp_path):
    """Give a function that makes a store of some text."""

    def make(text, mode=0o600, owner=None, **arguments):
        path = tmp_path / "accounts"
        path.write_bytes(text)
        path.chmod(mode)
        if owner is not None:
            os.chown(path, owner, owner)
        return PasswdFile(os.fsencode(path), **arguments)

    return make


def test_fields(store):
    """All eight fields, and nothing beyond the seventh colon is taken apart."""
    entry = store(b"joe:{PLAIN}x:5:6:Joe:/home/joe:/bin/rc:allow_nets=2001:db8::/32 a=b\n").find(b"joe")
    account = entry.account
    assert (account.login, account.uid, account.gid, account.home, account.shell) == (
        b"joe",
        5,
        6,
        b"/home/joe",
        b"/bin/rc",
    )
    assert entry.stored == b"{PLAIN}x"
    assert entry.conditions == b"allow_nets=2001:db8::/32 a=b"


@pytest.mark.parametrize("line", [b"joe:{PLAIN}x", b"joe:{PLAIN}x:", b"joe:{PLAIN}x::::::", b"joe:{PLAIN}x:::"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_few_fields(store, line, end):
    """Fields that lack are empty, and the last line needs no end; one of another system's is no part of it."""
    entry = store(line + end).find(b"joe")
    assert entry.stored == b"{PLAIN}x"
    assert (entry.account.uid, entry.account.gid, entry.conditions) == (None, None, b"")


def test_first_line_wins(store):
    """Of several lines with a login, the first one counts."""
    text = b"ann:1\njoe:2\njoe:3\nann:4\n"
    assert store(text).find(b"joe").stored == b"2"
    assert store(text).find(b"ann").stored == b"1"


def test_nobody(store):
    """An empty file, a file of comments and a file without colons know nobody."""
    for text in (b"", b"#joe:x\n", b"joe\n", b"\n\n", b":x\n", b"x#joe:x\n"):
        assert store(text).find(b"joe") is None
        assert store(text).find(b"") is None
        assert store(text).find(b"#joe") is None


@pytest.mark.parametrize("place", range(SLICE - 8, SLICE + 9))
def test_slices(store, place):
    """A line is found wherever it lies: around the place where one slice ends and the next begins, too."""
    text = b"x" * (place - 1) + b"\njoe:{PLAIN}x\n" + b"y" * 50
    assert store(text).find(b"joe").stored == b"{PLAIN}x"
    assert store(text + b"\nann:1\n").find(b"ann").stored == b"1"
    assert store(text).find(b"oe") is None


def test_beyond_many_slices(store):
    """The last line of a large file is found, and the first of two is, also when they lie in different slices."""
    filler = b"".join(b"user%d:x\n" % number for number in range(20_000))
    assert store(filler + b"joe:last").find(b"joe").stored == b"last"
    assert store(b"joe:1\n" + filler + b"joe:2\n").find(b"joe").stored == b"1"
    assert store(filler + b"joe:1\n" + filler + b"joe:2\n").find(b"joe").stored == b"1"
    assert store(filler).find(b"user19999").stored == b"x"
    assert store(filler).find(b"user20000") is None


def test_names_as_uid_and_gid(store):
    """A uid and a gid may be names of this machine; names that it does not know are trouble."""
    nobody = pwd.getpwnam("nobody")
    account = store(b"joe:x1:nobody:nogroup\n").find(b"joe").account
    assert (account.uid, account.gid) == (nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(TemporaryFailure, match="passwd database"):
        store(b"joe:x1:no-such-user:5\n").find(b"joe")
    with pytest.raises(TemporaryFailure, match="group database"):
        store(b"joe:x1:5:no-such-group\n").find(b"joe")
    with pytest.raises(TemporaryFailure, match="passwd database"):
        store(b"joe:x1:-5:5\n").find(b"joe")
    with pytest.raises(TemporaryFailure, match="passwd database"):
        store(b"joe:x1:\xff:5\n").find(b"joe")


@pytest.mark.parametrize("line", [b"joe:x1:5::", b"joe:x1::5:"])
def test_half_an_identity(store, line):
    """A uid without a gid, or the reverse, is a line that makes no sense."""
    with pytest.raises(TemporaryFailure, match="without"):
        store(line).find(b"joe")


@pytest.mark.parametrize(
    ("mode", "owner", "line", "lowest", "doubt"),
    [
        (0o600, 0, b"joe:x1:5:6", 1, ""),
        (0o644, 0, b"joe:x1:5:6", 1, ""),
        (0o620, 0, b"joe:x1:5:6", 1, "not root's"),
        (0o602, 0, b"joe:x1:5:6", 1, "not root's"),
        (0o600, 1, b"joe:x1:5:6", 1, "not root's"),
        (0o600, 1, b"joe:x1", 1, ""),
        (0o600, 0, b"joe:x1:0:6", 1, "root, or below"),
        (0o600, 0, b"joe:x1:5:0", 1, "root, or below"),
        (0o600, 0, b"joe:x1:0:0", 0, "root, or below"),
        (0o600, 0, b"joe:x1:999:6", 1000, "root, or below"),
        (0o600, 0, b"joe:x1:1000:6", 1000, ""),
    ],
)
def test_doubt(store, mode, owner, line, lowest, doubt, root):
    """Root takes a uid only from a file of its own that nobody else writes, never 0 and none below the lowest."""
    account = store(line, mode, owner, lowest_uid=lowest).find(b"joe").account
    assert account.doubt == "" if not doubt else doubt in account.doubt


def _admit(store, extra, remote_ip=b""):
    made = store(b"joe:x1::::::" + extra + b"\n", remote_ip=remote_ip)
    made.admit(made.find(b"joe"))


@pytest.mark.parametrize("extra", [b"", b"quota=5", b"nologin=no", b"userdb_nologin=yes", b"xnologin", b"a=nologin"])
def test_admitted(store, extra):
    """Extra fields that restrict nothing let everybody through."""
    _admit(store, extra)


@pytest.mark.parametrize("extra", [b"nologin", b"nologin=yes", b"nologin=", b"a=b nologin", b"nologin=No"])
def test_nologin(store, extra):
    """`nologin` locks an account, with any value but `no`."""
    with pytest.raises(Rejected):
        _admit(store, extra)


def test_allow_nets(store):
    """`allow_nets` lets through who comes from there; every one of several has to."""
    _admit(store, b"allow_nets=192.0.2.0/24", b"192.0.2.1")
    _admit(store, b"allow_nets=2001:db8::/32 a=b", b"2001:db8::1")
    for ip in (b"198.51.100.1", b""):
        with pytest.raises(Rejected):
            _admit(store, b"a=b allow_nets=192.0.2.0/24", ip)
    with pytest.raises(Rejected):
        _admit(store, b"allow_nets=192.0.2.1 allow_nets=192.0.2.2", b"192.0.2.1")


def test_unknown_restrictions(store):
    """A restriction of Dovecot's that we cannot honour is trouble, not a yes."""
    with pytest.raises(TemporaryFailure, match="allow_real_nets"):
        _admit(store, b"allow_real_nets=192.0.2.0/24", b"192.0.2.1")


def test_files_that_are_none(tmp_path):
    """What is not there, a directory, and a FIFO that nobody writes to are trouble, at once."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo", "/dev/null"):
        with pytest.raises(TemporaryFailure):
            PasswdFile(os.fsencode(path))
    with pytest.raises(TemporaryFailure):
        PasswdFile(b"a\0b")


def test_no_descriptor_is_left(store):
    """The file is closed once it is mapped, and also when it cannot be."""
    before = set(os.listdir("/proc/self/fd"))
    made = store(b"joe:x\n")
    descriptors = set(os.listdir("/proc/self/fd")) - before
    assert all(not os.readlink(f"/proc/self/fd/{number}").startswith("pipe") for number in descriptors)
    with pytest.raises(TemporaryFailure):
        PasswdFile(b"/dev/null")
    del made
    assert set(os.listdir("/proc/self/fd")) == before


def test_slices_are_no_copies_of_the_file(monkeypatch, store):
    """What is found does not depend on how large a slice is."""
    text = b"".join(b"user%d:{PLAIN}%d\n" % (number, number) for number in range(50))
    for size in (1, 7, 64, 10_000):
        monkeypatch.setattr(passwd_file, "SLICE", size)
        made = store(text)
        assert [made.find(b"user%d" % number).stored for number in range(50)] == [b"{PLAIN}%d" % n for n in range(50)]
        assert made.find(b"user50") is made.find(b"ser1") is None
