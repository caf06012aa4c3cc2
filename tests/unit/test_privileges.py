"""Dropping privileges: who becomes whom, in which order, and that it is checked."""

import pwd

import pytest

from checkpw import privileges
from checkpw.account import Account
from checkpw.errors import TemporaryFailure


class Process:
    """A process whose identity can be changed, as the system would let it."""

    def __init__(self, uid=0, gid=0, groups=(0, 4)):
        self.uids = (uid,) * 3
        self.gids = (gid,) * 3
        self.groups = list(groups)
        self.calls = []
        self.refuses = None
        self.ignores = None

    def _change(self, name, value):
        self.calls.append((name, value))
        if self.refuses == name:
            raise PermissionError(1, "Operation not permitted")
        return self.ignores != name

    def setgroups(self, groups):
        """Change the groups."""
        if self._change("setgroups", groups):
            self.groups = groups

    def setgid(self, gid):
        """Change the gid."""
        if gid > 2**32:
            raise OverflowError
        if self._change("setgid", gid):
            self.gids = (gid,) * 3

    def setuid(self, uid):
        """Change the uid."""
        if self._change("setuid", uid):
            self.uids = (uid,) * 3

    def getresuid(self):
        """Say who we are."""
        return self.uids

    def getresgid(self):
        """Say in which group."""
        return self.gids

    def getgroups(self):
        """Say in which groups else."""
        return self.groups


@pytest.fixture
def process(monkeypatch):
    """Give a process of root's."""
    made = Process()
    monkeypatch.setattr(privileges, "posix", made)
    return made


def test_order(process):
    """Groups first, then gid, then uid: afterwards the first two would not be allowed."""
    privileges.become(5, 6)
    assert process.calls == [("setgroups", [6]), ("setgid", 6), ("setuid", 5)]


@pytest.mark.parametrize("name", ["setgroups", "setgid", "setuid"])
def test_refused(process, name):
    """What the system refuses is our trouble, not a wrong password."""
    process.refuses = name
    with pytest.raises(TemporaryFailure, match="unable to become uid 5, gid 6"):
        privileges.become(5, 6)


@pytest.mark.parametrize("name", ["setgroups", "setgid", "setuid"])
def test_not_done(process, name):
    """What the system says it did is looked at."""
    process.ignores = name
    with pytest.raises(TemporaryFailure, match="became something else"):
        privileges.become(5, 6)


def test_out_of_range(process):
    """A number that no system call takes is trouble with a name."""
    with pytest.raises(TemporaryFailure, match="out of range"):
        privileges.become(5, 2**40)


@pytest.mark.parametrize("groups", [[6], []])
def test_already(process, groups):
    """Who is exactly that already is left alone, so that an account of one's own works without root."""
    process.uids, process.gids, process.groups = (5,) * 3, (6,) * 3, groups
    privileges.become(5, 6)
    assert process.calls == []


@pytest.mark.parametrize("change", [{"uids": (5, 5, 0)}, {"uids": (0, 5, 5)}, {"gids": (6, 6, 0)}, {"groups": [6, 0]}])
def test_almost(process, change):
    """Who is that only in part is not left alone."""
    process.uids, process.gids, process.groups = (5,) * 3, (6,) * 3, [6]
    vars(process).update(change)
    privileges.become(5, 6)
    assert process.calls


# --- who the rest of the chain becomes


def test_a_real_account(process):
    """An account with uid and gid is that."""
    assert privileges.identity_for(Account(b"joe", 5, 6), b"") == (5, 6)


def test_a_doubtful_account(process):
    """Root, or whoever could, does not become what a file says that others may write."""
    with pytest.raises(TemporaryFailure, match="not ours"):
        privileges.identity_for(Account(b"joe", 5, 6, doubt="not ours"), b"")


def test_a_doubtful_account_of_ones_own(process):
    """Who is that account already may stay so, but for root."""
    process.uids, process.gids, process.groups = (5,) * 3, (6,) * 3, [6]
    assert privileges.identity_for(Account(b"joe", 5, 6, doubt="not ours"), b"") == (5, 6)
    process.uids, process.gids, process.groups = (0,) * 3, (0,) * 3, [0]
    with pytest.raises(TemporaryFailure, match="not ours"):
        privileges.identity_for(Account(b"joe", 0, 0, doubt="not ours"), b"")


def test_a_virtual_account_without_root(process):
    """Who is not root goes on as they are."""
    process.uids = (5,) * 3
    assert privileges.identity_for(Account(b"joe"), b"nobody") is None


@pytest.mark.parametrize("uids", [(0, 0, 0), (5, 5, 0), (0, 5, 5), (5, 0, 5)])
def test_a_virtual_account_as_root(process, uids):
    """Root, in any of its forms, is not handed on: the service user is, where one is named."""
    process.uids = uids
    with pytest.raises(TemporaryFailure, match="set CHECKPW_USER"):
        privileges.identity_for(Account(b"joe"), b"")
    nobody = pwd.getpwnam("nobody")
    assert privileges.identity_for(Account(b"joe"), b"nobody") == (nobody.pw_uid, nobody.pw_gid)


@pytest.mark.parametrize(
    ("name", "said"), [(b"root", "is root"), (b"no-such-user", "no such user"), (b"\xff", "no such")]
)
def test_service_users_that_are_none(process, name, said):
    """Root is no service user, and neither is nobody's name."""
    with pytest.raises(TemporaryFailure, match=said):
        privileges.identity_for(Account(b"joe"), name)


def test_a_service_user_in_the_group_of_root(process, monkeypatch):
    """A service user whose group is root's is root enough."""
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 5, 0, "", "/", "/bin/sh")))
    with pytest.raises(TemporaryFailure, match="is root"):
        privileges.identity_for(Account(b"joe"), b"almost")
