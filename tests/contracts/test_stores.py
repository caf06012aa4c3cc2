"""The contract of stores: who is found, who is not, and that a stranger costs what an account costs."""

import ctypes
import errno
import os
import subprocess
import threading
import time

import pytest

from checkpw import hashes
from checkpw.account import Account
from checkpw.accounts import base, system
from checkpw.accounts.passwd_file import PasswdFile
from checkpw.accounts.system import System
from checkpw.accounts.verifier import Verifier
from checkpw.credentials import Credentials
from checkpw.errors import Rejected, TemporaryFailure
from checkpw.secret import Secret

PASSWORD = b"secret"
HASH = b"$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4"

# The accounts that every store of this contract has: login, hash.
ACCOUNTS = [
    (b"joe", HASH),
    (b"joey", b"{PLAIN}other"),
    (b"locked", b"!" + HASH),
    (b"starred", b"*"),
    (b"empty", b""),
    (b"nobody", b"*0"),
    (b"Case", HASH),
    (b"j.o-e_2", HASH),
]


class FakeLibrary:
    """getpwnam_r and getspnam_r of a machine with the accounts of the contract."""

    def __init__(self, accounts, *, shadow=True, trouble=0, ages=None):
        self._accounts = dict(accounts)
        self._shadow = shadow
        self._trouble = trouble
        self._ages = ages or {}

    def getpwnam_r(self, login, record, strings, size, found):
        """Look up a name as passwd(5) has it."""
        if login not in self._accounts:
            return self._trouble
        record = record._obj
        record.name, record.passwd = login, b"x" if self._shadow else self._accounts[login]
        record.uid, record.gid, record.dir, record.shell = 1001, 1002, b"/home/" + login, b"/bin/sh"
        found._obj.value = ctypes.addressof(record)
        return 0

    def getspnam_r(self, login, record, strings, size, found):
        """Look up a name as shadow(5) has it."""
        if self._trouble:
            return self._trouble
        if not self._shadow or login not in self._accounts:
            return 0
        record = record._obj
        record.name, record.passwd = login, self._accounts[login]
        record.last_change, record.minimum, record.maximum = 18000, 0, 99999
        record.warning = record.inactive = record.expire = -1
        for name, value in self._ages.items():
            setattr(record, name, value)
        found._obj.value = ctypes.addressof(record)
        return 0


@pytest.fixture
def shadow_file(tmp_path, monkeypatch):
    """Give the file that decoys of `system:` are drawn from."""
    path = tmp_path / "shadow"
    path.write_bytes(b"".join(login + b":" + stored + b":18000:0:99999:7:::\n" for login, stored in ACCOUNTS))
    monkeypatch.setattr(system, "SHADOW", str(path).encode())
    return path


def _system(library, today=20000):
    store = System(today)
    store._library = library
    return store


HASH_STORES = ["file", "crlf", "shadow", "passwd"]


def _write_accounts(path, end=b"\n"):
    lines = [login + b":" + stored + b":1001:1002::/home/" + login + b":/bin/sh:" for login, stored in ACCOUNTS]
    path.write_bytes(end.join([b"# comment", *lines, b"no colon", b""]))


@pytest.fixture(scope="module")
def verifierd(programs, tmp_path_factory):
    """Run a checkpw-verifierd with the accounts of the contract, and give the path of its socket."""
    directory = tmp_path_factory.mktemp("verifier")
    _write_accounts(directory / "accounts")
    path = directory / "socket"
    options = ["--socket", path, "--accounts", f"file:{directory}/accounts", "--guesses", "none"]
    process = subprocess.Popen(
        [programs / "checkpw-verifierd", *options, "--peer-guesses", "none"], env={}, stderr=subprocess.PIPE
    )
    with process:
        assert b"event=start" in process.stderr.readline()
        # What it says later is read by somebody, else the pipe would fill.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield str(path).encode()
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(params=[*HASH_STORES, "verifier"])
def store(request, tmp_path, shadow_file):
    """Give each kind of store with the accounts of the contract."""
    if request.param in ("file", "crlf"):
        _write_accounts(tmp_path / "accounts", b"\n" if request.param == "file" else b"\r\n")
        return PasswdFile(str(tmp_path / "accounts").encode())
    if request.param == "verifier":
        return Verifier(request.getfixturevalue("verifierd"), b"")
    return _system(FakeLibrary(ACCOUNTS, shadow=request.param == "shadow"))


of_hashes = pytest.mark.parametrize("store", HASH_STORES, indirect=True)


def _ask(store, login, password=PASSWORD):
    return store.authenticate(Credentials(login, Secret(password)))


def test_right(store):
    """The right password gives the account, with all that is known of it."""
    account = _ask(store, b"joe")
    assert (account.login, account.uid, account.gid) == (b"joe", 1001, 1002)
    assert (account.home, account.shell) == (b"/home/joe", b"/bin/sh")
    assert _ask(store, b"Case").login == b"Case"
    assert _ask(store, b"j.o-e_2").login == b"j.o-e_2"


@pytest.mark.parametrize("password", [b"", b"Secret", b"secret ", b"secretx", b"secre", b"\0secret", HASH])
def test_wrong(store, password):
    """A wrong password is a no."""
    with pytest.raises(Rejected):
        _ask(store, b"joe", password)


@pytest.mark.parametrize("login", [b"locked", b"starred", b"empty", b"nobody"])
@pytest.mark.parametrize("password", [PASSWORD, b"", b"*", b"*0", b"!", b"x"])
def test_unusable_hashes(store, login, password):
    """An account that is locked or has no password is a no, whatever is tried."""
    with pytest.raises(Rejected):
        _ask(store, login, password)


def test_look_up(store):
    """Who somebody is can be asked without a password, also of who may not log in; a verifier tells it nobody."""
    if isinstance(store, Verifier):
        with pytest.raises(TemporaryFailure, match="without the password"):
            store.look_up(b"joe")
        return
    for login in (b"joe", b"locked"):
        account = store.look_up(login)
        assert (account.login, account.uid, account.gid, account.home) == (login, 1001, 1002, b"/home/" + login)
    for login in (b"unknown", b"", b"joe\0", b"jo"):
        assert store.look_up(login) is None


ODD = [b"", b"unknown", b"jo", b"joe ", b" joe", b"joex", b"JOE", b"case", b"oe", b"y", b"1001", b"\xff", b"joe\r"]
ODD += [b"joe:", b"joe:" + HASH, b"locked:!", b"joe\njoe", b"\njoe", b"joe\0", b"\0", b"#", b"# comment", b"no colon"]
ODD += [b"x" * 600, b"joe:" + HASH + b":1001:1002::/home/joe:/bin/sh:\njoey", b":", b"\n", b"../joe"]


@pytest.mark.parametrize("login", ODD)
def test_logins_that_are_nobody(store, login):
    """Whatever is no login of the store is unknown: no part of a line is mistaken for one."""
    with pytest.raises(Rejected):
        _ask(store, login)
    if not isinstance(store, Verifier):
        assert store.find(login) is None


@pytest.mark.parametrize("login", [b"joe\0secret", b"joe\0secret\0", b"joe\0secret\0" + b"x" * 600])
def test_a_login_does_not_reach_into_the_password(store, login):
    """A NUL in a login does not bring a password of its own."""
    for password in (b"", b"x", b"secret"):
        with pytest.raises(Rejected):
            _ask(store, login, password)


def test_one_text_for_all(store):
    """The refusals of an unknown login, a wrong password and a locked account cannot be told apart."""
    texts = set()
    for login, password in ((b"unknown", PASSWORD), (b"joe", b"wrong"), (b"locked", PASSWORD), (b"empty", b"")):
        with pytest.raises(Rejected) as caught:
            _ask(store, login, password)
        texts.add(str(caught.value))
    assert len(texts) == 1


@of_hashes
def test_decoys(store):
    """A decoy is a hash of the store, the same each time, and not the same for all."""
    drawn = {login: store.decoy(login) for login in (b"login%d" % number for number in range(60))}
    assert all(store.decoy(login) == stored for login, stored in drawn.items())
    assert set(drawn.values()) == {HASH, b"{PLAIN}other"}


@of_hashes
@pytest.mark.parametrize("login", [b"unknown", b"locked", b"empty", b"joe", b""])
def test_one_hash_is_computed(store, login, monkeypatch):
    """Known or not, an attempt computes just one hash, and one that can be computed."""
    verified = []
    given_verify = hashes.verify

    def record(stored, password):
        verified.append(stored)
        return given_verify(stored, password)

    monkeypatch.setattr(base.hashes, "verify", record)
    with pytest.raises(Rejected):
        _ask(store, login, b"wrong")
    assert len(verified) == 1 and hashes.usable(verified[0])


@of_hashes
def test_a_decoy_lets_nobody_in(store, monkeypatch):
    """Not even who knows the password of the decoy gets in with an unknown login."""
    for number in range(20):
        login = b"unknown%d" % number
        for password in (PASSWORD, b"other"):
            with pytest.raises(Rejected):
                _ask(store, login, password)


@of_hashes
def test_a_damaged_decoy_is_nobodys_trouble(store, monkeypatch):
    """A stranger who draws a damaged hash gets a no like any other, but its owner is told that it cannot be read."""
    monkeypatch.setattr(type(store), "decoy", lambda self, login: b"{NONSENSE}hash")
    with pytest.raises(Rejected):
        _ask(store, b"unknown")
    entry = base.Entry(Account(b"joe"), b"{NONSENSE}hash")
    monkeypatch.setattr(type(store), "find", lambda self, login: entry)
    with pytest.raises(TemporaryFailure):
        _ask(store, b"joe")


# --- what only `system:` has


@pytest.mark.parametrize("function", ["getpwnam_r", "getspnam_r"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ETIMEDOUT, 12345])
def test_system_out_of_reach(number, function):
    """A database that cannot be asked is trouble, not a no."""
    accounts = ACCOUNTS if function == "getspnam_r" else []
    with pytest.raises(TemporaryFailure, match=function):
        _system(FakeLibrary(accounts, trouble=number)).find(b"joe")


@pytest.mark.parametrize(
    ("ages", "is_in"),
    [
        ({}, True),
        ({"expire": 20001}, True),
        ({"expire": 20000}, False),
        ({"expire": 0}, False),
        ({"expire": -1}, True),
        ({"last_change": 0}, False),
        ({"last_change": -1, "maximum": 1, "inactive": 1}, True),
        ({"last_change": 19990, "maximum": 5, "inactive": 5}, True),
        ({"last_change": 19989, "maximum": 5, "inactive": 5}, False),
        ({"last_change": 10000, "maximum": 5, "inactive": -1}, True),
        ({"last_change": 10000, "maximum": -1, "inactive": 5}, True),
        ({"last_change": 19995, "maximum": 5, "inactive": 0}, True),
        ({"last_change": 19994, "maximum": 5, "inactive": 0}, False),
    ],
)
def test_ages_of_shadow(ages, is_in, shadow_file):
    """Accounts expire on their day, passwords when their time and grace are over, and never where no term is set."""
    store = _system(FakeLibrary(ACCOUNTS, ages=ages))
    if is_in:
        assert _ask(store, b"joe").login == b"joe"
    else:
        with pytest.raises(Rejected, match=r"expired|changed"):
            _ask(store, b"joe")


def test_a_wrong_password_does_not_learn_of_the_expiry(shadow_file):
    """Who does not know the password is not told that the account has expired."""
    with pytest.raises(Rejected, match="unknown login or wrong password"):
        _ask(_system(FakeLibrary(ACCOUNTS, ages={"expire": 1})), b"joe", b"wrong")


def test_no_shadow_file(tmp_path, monkeypatch):
    """Where no shadow file can be read, the decoy is the fallback, which nobody's password matches."""
    monkeypatch.setattr(system, "SHADOW", str(tmp_path / "none").encode())
    store = _system(FakeLibrary([]))
    assert hashes.usable(store.decoy(b"x"))
    with pytest.raises(Rejected):
        _ask(store, b"x")


def test_a_shadow_that_does_not_know_an_account(shadow_file):
    """Where passwd says that the password is in shadow, and shadow does not have it, nobody can tell."""
    library = FakeLibrary([(b"joe", b"x")], shadow=False)
    with pytest.raises(TemporaryFailure, match="shadow does not know it"):
        _system(library).find(b"joe")


def test_a_shadow_that_cannot_be_read(tmp_path, monkeypatch):
    """A shadow file that is there and cannot be read is trouble for every login alike."""
    monkeypatch.setattr(system, "SHADOW", str(tmp_path).encode())
    for login in (b"joe", b"unknown"):
        with pytest.raises(TemporaryFailure, match="unable to read"):
            _system(FakeLibrary(ACCOUNTS)).find(login)


def test_this_machine(refuse):
    """The C library of this machine knows root, and knows nobody of a name that there is not."""
    if not os.access(system.SHADOW, os.R_OK):
        refuse("not run: only root reads the shadow file of this machine")
    store = System()
    entry = store.find(b"root")
    assert (entry.account.uid, entry.account.gid, entry.account.home) == (0, 0, b"/root")
    assert store.find(b"no-such-login-here") is None
    assert isinstance(entry.stored, bytes)
    assert 0 <= time.time() / 86400 - store._today < 2
