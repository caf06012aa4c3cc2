"""checkpw.accounts.passwd_edit: one account changes, everything else in the file stays."""

import contextlib
import os
import pathlib
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw.accounts import passwd_edit
from checkpw.errors import Misuse, TemporaryFailure

ROOT = str(pathlib.Path(__file__).parents[3])
OLD = b"{SHA512-CRYPT}$6$a$b"
NEW = b"{CRYPT}$y$j9T$c$d"

FILE = b"""# our accounts

joe:{PLAIN}secret:1000:1000:Joe:/home/joe:/bin/sh:allow_nets=::1,192.0.2.0/24 userdb_mail=maildir:~/Mail
ann:$apr1$a$b
a line that nobody understands
#old:{PLAIN}x
ann:{PLAIN}second
bob:!{PLAIN}b::::::nologin
"""


@pytest.fixture
def store(tmp_path):
    """Give the path of a file with accounts, comments and a line of nonsense."""
    path = tmp_path / "accounts"
    path.write_bytes(FILE)
    return os.fsencode(path)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def test_add_appends_a_short_line(store):
    """Without further fields the new line is that of htpasswd, behind everything else."""
    passwd_edit.add(store, b"eve", OLD)
    assert content(store) == FILE + b"eve:" + OLD + b"\n"


def test_add_writes_all_fields(store):
    """With any field given the new line is that of Dovecot, colons in the last one included."""
    passwd_edit.add(store, b"eve", OLD, uid=b"vmail", gid=b"5", home=b"/e", extra=b"userdb_mail=maildir:~/M")
    assert content(store) == FILE + b"eve:" + OLD + b":vmail:5::/e::userdb_mail=maildir:~/M\n"


def test_add_completes_the_last_line(tmp_path):
    """A last line without newline is not joined with the new one."""
    path = os.fsencode(tmp_path / "accounts")
    pathlib.Path(os.fsdecode(path)).write_bytes(b"joe:x")
    passwd_edit.add(path, b"eve", OLD)
    assert content(path) == b"joe:x\neve:" + OLD + b"\n"


def test_add_creates_a_private_file(tmp_path):
    """A file that was not there is readable by nobody else, whatever the umask says."""
    path = os.fsencode(tmp_path / "accounts")
    before = os.umask(0)
    try:
        passwd_edit.add(path, b"eve", OLD)
    finally:
        os.umask(before)
    assert content(path) == b"eve:" + OLD + b"\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(path + b".lock").st_mode) == 0o600


@pytest.mark.parametrize("login", [b"", b"a:b", b"a\nb", b"a\rb", b"a\0b", b"#a"])
def test_impossible_logins_are_refused_everywhere(store, login):
    """A login that no line can stand for is refused by every verb, and the file stays."""
    for act in (
        lambda: passwd_edit.add(store, login, OLD),
        lambda: passwd_edit.set_hash(store, login, OLD),
        lambda: passwd_edit.disable(store, login),
        lambda: passwd_edit.enable(store, login),
        lambda: passwd_edit.remove(store, login),
    ):
        with pytest.raises(Misuse):
            act()
    assert content(store) == FILE


@pytest.mark.parametrize("value", [b"a:b", b"a\nb", b"a\rb", b"a\0b"])
def test_values_that_break_the_line_are_refused(store, value):
    """Neither a field nor a hash may reach into the next field or line."""
    for field in ("uid", "gid", "gecos", "home", "shell"):
        with pytest.raises(Misuse, match=field):
            passwd_edit.add(store, b"eve", OLD, **{field: value})
    with pytest.raises(Misuse):
        passwd_edit.add(store, b"eve", b"{PLAIN}" + value)
    with pytest.raises(Misuse):
        passwd_edit.set_hash(store, b"joe", b"{PLAIN}" + value)
    if value != b"a:b":
        with pytest.raises(Misuse, match="extra"):
            passwd_edit.add(store, b"eve", OLD, extra=value)
    assert content(store) == FILE


@pytest.mark.parametrize("stored", [b"", b"!", b"*", b"x", b"{PLAIN}"])
def test_no_hash_is_no_password(store, stored):
    """A hash that nothing matches is not written as if it were a password."""
    with pytest.raises(Misuse):
        passwd_edit.add(store, b"eve", stored)
    with pytest.raises(Misuse):
        passwd_edit.set_hash(store, b"joe", stored)
    assert content(store) == FILE


def test_add_refuses_a_second_line(store):
    """An account that is there is not added again, not even under a disabled one."""
    for login in (b"joe", b"ann", b"bob"):
        with pytest.raises(Misuse, match="already"):
            passwd_edit.add(store, login, OLD)
    passwd_edit.add(store, b"jo", OLD)
    passwd_edit.add(store, b"old", OLD)


def test_set_hash_changes_one_field_of_one_line(store):
    """Only the second field of the first line with the login changes."""
    assert passwd_edit.set_hash(store, b"joe", NEW) is False
    assert content(store) == FILE.replace(b"joe:{PLAIN}secret:", b"joe:" + NEW + b":")
    assert passwd_edit.set_hash(store, b"ann", NEW) is False
    assert content(store).count(b"ann:{PLAIN}second\n") == 1
    assert content(store).count(b"ann:" + NEW + b"\n") == 1


def test_a_new_password_does_not_enable(store):
    """Setting a password of a disabled account says that it stays disabled."""
    assert passwd_edit.set_hash(store, b"bob", NEW) is True
    assert content(store) == FILE.replace(b"bob:!{PLAIN}b:", b"bob:!" + NEW + b":")


def test_disable_and_enable(store):
    """Disabling puts one `!` in front, twice makes no difference, and enabling gives the same file back."""
    passwd_edit.disable(store, b"joe")
    passwd_edit.disable(store, b"joe")
    assert content(store) == FILE.replace(b"joe:{PLAIN}", b"joe:!{PLAIN}")
    passwd_edit.enable(store, b"joe")
    passwd_edit.enable(store, b"joe")
    assert content(store) == FILE


@pytest.mark.parametrize("stored", [b"!", b"*", b"", b"!!", b"x", b"!{PLAIN}"])
def test_enable_refuses_an_account_without_password(tmp_path, stored):
    """An account that has no password cannot be enabled: nobody could log in, and the file would look as if."""
    path = os.fsencode(tmp_path / "accounts")
    pathlib.Path(os.fsdecode(path)).write_bytes(b"joe:" + stored + b"\n")
    with pytest.raises(Misuse, match="no password"):
        passwd_edit.enable(path, b"joe")


def test_remove_takes_every_line_of_the_login(store):
    """No second line with the login comes to life when the first is gone."""
    passwd_edit.remove(store, b"ann")
    assert content(store) == FILE.replace(b"ann:$apr1$a$b\n", b"").replace(b"ann:{PLAIN}second\n", b"")


def test_unknown_logins_are_refused(store):
    """A login that is not there is an error, and so is one that stands in a comment or is only a beginning."""
    for login in (b"nobody", b"old", b"jo", b"a line that nobody understands"):
        for act in (passwd_edit.disable, passwd_edit.enable, passwd_edit.remove):
            with pytest.raises(Misuse, match="no account"):
                act(store, login)
        with pytest.raises(Misuse, match="no account"):
            passwd_edit.set_hash(store, login, NEW)
    assert content(store) == FILE


def test_listing(store):
    """Accounts come in the order of the file with their state; comments and nonsense do not."""
    listed = passwd_edit.accounts(store)
    assert [(line.login, line.state) for line in listed] == [
        (b"joe", "active"),
        (b"ann", "active"),
        (b"ann", "shadowed"),
        (b"bob", "disabled"),
    ]
    assert listed[0].field("uid") == b"1000"
    assert listed[0].field("home") == b"/home/joe"
    assert listed[0].field("extra") == b"allow_nets=::1,192.0.2.0/24 userdb_mail=maildir:~/Mail"
    assert listed[1].field("home") == b""


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (b"a:*", "locked"),
        (b"a:", "locked"),
        (b"a:!", "disabled"),
        (b"a:{PLAIN}p::::::nologin", "nologin"),
        (b"a:{PLAIN}p::::::allow_nets=x nologin=yes", "nologin"),
        (b"a:{PLAIN}p::::::nologin=no", "active"),
        (b"a:{PLAIN}p::::::nologinx", "active"),
        (b"a:{PLAIN}p\r", "active"),
    ],
)
def test_states(tmp_path, line, state):
    """The state is what the reader of the file would make of the line."""
    path = tmp_path / "accounts"
    path.write_bytes(line + b"\n")
    assert [found.state for found in passwd_edit.accounts(os.fsencode(path))] == [state]


def test_line_ends_of_dos_stay(tmp_path):
    """A carriage return at the end of a line is not taken for a part of the hash, and not lost."""
    path = tmp_path / "accounts"
    path.write_bytes(b"joe:{PLAIN}a\r\nann:{PLAIN}b\r\n")
    passwd_edit.set_hash(os.fsencode(path), b"joe", NEW)
    assert path.read_bytes() == b"joe:" + NEW + b"\r\nann:{PLAIN}b\r\n"


def test_a_missing_file_is_created_by_add_only(tmp_path):
    """The other verbs need a file, and leave no lock behind where there is none."""
    path = os.fsencode(tmp_path / "accounts")
    for act in (passwd_edit.disable, passwd_edit.enable, passwd_edit.remove):
        with pytest.raises(TemporaryFailure, match="no file"):
            act(path, b"joe")
    with pytest.raises(TemporaryFailure, match="no file"):
        passwd_edit.accounts(path)
    assert os.listdir(tmp_path) == []


def test_only_regular_files_are_edited(tmp_path):
    """A directory or a FIFO in place of the file is refused, without waiting for anybody."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(TemporaryFailure):
            passwd_edit.disable(os.fsencode(path), b"joe")


def test_mode_is_kept(store):
    """The new file has the mode of the old one."""
    os.chmod(store, 0o640)
    passwd_edit.disable(store, b"joe")
    assert stat.S_IMODE(os.stat(store).st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: needs root")
def test_owner_is_kept(store):
    """The new file belongs to whom the old one belonged."""
    os.chown(store, 12, 34)
    passwd_edit.disable(store, b"joe")
    assert (os.stat(store).st_uid, os.stat(store).st_gid) == (12, 34)


def test_extended_attributes_are_kept(store):
    """What stands in attributes, access lists among them, goes over to the new file."""
    try:
        os.setxattr(store, "user.note", b"keep")
    except OSError:
        pytest.skip("not run: the file system has no extended attributes")
    passwd_edit.disable(store, b"joe")
    assert os.getxattr(store, "user.note") == b"keep"


def test_a_link_stays_a_link(store, tmp_path):
    """A store that is a symbolic link is replaced where it points to."""
    link = tmp_path / "link"
    link.symlink_to(os.fsdecode(store))
    passwd_edit.disable(os.fsencode(link), b"joe")
    assert link.is_symlink()
    assert b"joe:!" in content(store)
    assert not os.path.exists(os.fsencode(link) + b".lock")


def test_a_lock_that_is_a_link_is_refused(store, tmp_path):
    """A planted link in place of the lock does not make us open what it points to."""
    os.symlink(tmp_path / "elsewhere", store + b".lock")
    with pytest.raises(TemporaryFailure, match="lock"):
        passwd_edit.disable(store, b"joe")
    assert not (tmp_path / "elsewhere").exists()


def test_a_reader_never_sees_half(store):
    """The file is replaced and not written into: who has it open goes on reading the old one."""
    with open(store, "rb") as reader:
        passwd_edit.disable(store, b"joe")
        assert reader.read() == FILE


def test_nothing_to_change_writes_nothing(store):
    """An edit without effect leaves the very same file."""
    passwd_edit.disable(store, b"bob")
    before = os.stat(store)
    passwd_edit.disable(store, b"bob")
    assert (os.stat(store).st_ino, os.stat(store).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@contextlib.contextmanager
def file_size_limit(size):
    """Make every write past `size` fail with EFBIG, as a full disk does with ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_leaves_the_old_file(store):
    """When the new file does not fit, the old one is untouched and nothing else is left."""
    with file_size_limit(16), pytest.raises(TemporaryFailure, match="unable to write"):
        passwd_edit.disable(store, b"joe")
    assert content(store) == FILE
    assert sorted(os.listdir(os.path.dirname(store))) == [b"accounts", b"accounts.lock"]


@pytest.mark.parametrize("call", ["fsync", "rename", "fchmod"])
def test_any_failing_step_leaves_the_old_file(store, monkeypatch, call):
    """Whatever the system refuses on the way, the old file is there and the temporary one is not."""

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(TemporaryFailure, match="Input/output error"):
        passwd_edit.disable(store, b"joe")
    monkeypatch.undo()
    assert content(store) == FILE
    assert sorted(os.listdir(os.path.dirname(store))) == [b"accounts", b"accounts.lock"]


def test_the_new_file_is_on_the_disk_before_it_is_in_place(store, monkeypatch):
    """The content is synced before the rename, the directory after it: a power cut leaves one of the two files."""
    steps = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor):
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(old, new):
        steps.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    passwd_edit.disable(store, b"joe")
    assert steps == ["file", "rename", "directory"]


EDITOR = """
import sys
sys.path.insert(0, {root!r})
from checkpw.accounts import passwd_edit
for number in range(10):
    passwd_edit.add(sys.argv[1].encode(), b"%s-%d" % (sys.argv[2].encode(), number), b"{{PLAIN}}p")
"""


def test_editors_at_the_same_time_lose_nothing(store):
    """Several processes that edit one file take turns: every line of each of them arrives."""
    editor = [sys.executable, "-I", "-c", EDITOR.format(root=ROOT), os.fsdecode(store)]
    running = [subprocess.Popen([*editor, name]) for name in "uvw"]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    logins = [line.login for line in passwd_edit.accounts(store)]
    assert len(logins) == 34
    assert len(set(logins)) == 33


def test_an_editor_waits_for_the_lock(store):
    """While somebody else holds the lock, nothing is changed."""
    import fcntl

    with open(store + b".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        editor = [sys.executable, "-I", "-c", EDITOR.format(root=ROOT), os.fsdecode(store), "u"]
        with subprocess.Popen(editor) as process:
            time.sleep(0.5)
            assert process.poll() is None
            assert content(store) == FILE
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.wait(timeout=60) == 0
    assert b"u-9:{PLAIN}p\n" in content(store)


LINES = st.lists(
    st.one_of(
        st.just(b"joe:{PLAIN}x:1:2"),
        st.just(b"joe"),
        st.binary(max_size=20).map(lambda value: value.replace(b"\n", b"")),
    ),
    max_size=6,
)


@given(lines=LINES)
def test_other_lines_are_never_touched(tmp_path_factory, lines):
    """Whatever bytes a file has, adding and removing an account gives it back, with its last line ended."""
    path = tmp_path_factory.mktemp("store") / "accounts"
    before = b"\n".join(lines)
    path.write_bytes(before)
    known = {line.login for line in passwd_edit.accounts(os.fsencode(path))}
    login = b"eve-who-is-not-there"
    assert login not in known
    passwd_edit.add(os.fsencode(path), login, OLD)
    passwd_edit.disable(os.fsencode(path), login)
    passwd_edit.remove(os.fsencode(path), login)
    ended = before if before.endswith(b"\n") or not before else before + b"\n"
    assert path.read_bytes() == ended
