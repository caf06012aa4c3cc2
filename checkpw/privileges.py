"""Dropping privileges: the only code that changes groups, gid and uid, and it checks what it did."""

import posix

from checkpw.errors import TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.account import Account


def identity_for(account: "Account", service_user: bytes) -> tuple[int, int] | None:
    """Return the uid and gid that the rest of the chain gets; None leaves the process as it is.

    Args:
        account: who logged in.
        service_user: name of the user who runs what virtual users start, when we are root; empty for none.

    Raises:
        TemporaryFailure: the chain would go on as root for a virtual user, or with a uid from a file that is in doubt.
    """
    if account.uid is not None and account.gid is not None:
        # Not only as root: a capability is enough to become somebody. Who is that somebody already may stay so,
        # but for root.
        if account.doubt and (0 in (account.uid, account.gid) or not _is_exactly(account.uid, account.gid)):
            raise TemporaryFailure(f"account {account.login!a}: {account.doubt}")
        return account.uid, account.gid
    if 0 not in posix.getresuid():
        return None
    if not service_user:
        raise TemporaryFailure(f"account {account.login!a} has no uid, and root is not handed on: set CHECKPW_USER")
    import pwd

    try:
        user = pwd.getpwnam(service_user.decode("utf-8", "surrogateescape"))
    except KeyError:
        raise TemporaryFailure(f"CHECKPW_USER={service_user!a}: no such user") from None
    if user.pw_uid == 0 or user.pw_gid == 0:
        raise TemporaryFailure(f"CHECKPW_USER={service_user!a} is root")
    return user.pw_uid, user.pw_gid


def become(uid: int, gid: int) -> None:
    """Be `uid` and `gid`, with `gid` as the only group, for good.

    The order is groups, gid, uid: after setuid the first two are not allowed any more. A process that is exactly that
    already is left alone, so that an account of one's own works without root.

    Raises:
        TemporaryFailure: the system refused, or the process is not what it should be now. checkpassword 0.90 leaves
            with 1 here, which tells a person that the right password was wrong.
    """
    if _is_exactly(uid, gid):
        return
    try:
        posix.setgroups([gid])
        posix.setgid(gid)
        posix.setuid(uid)
    except OSError as error:
        raise TemporaryFailure(f"unable to become uid {uid}, gid {gid}: {error.strerror}") from None
    except OverflowError:
        raise TemporaryFailure(f"uid {uid} or gid {gid} is out of range") from None
    if not _is_exactly(uid, gid):
        raise TemporaryFailure(f"became something else than uid {uid}, gid {gid}")


def _is_exactly(uid: int, gid: int) -> bool:
    return (
        posix.getresuid() == (uid, uid, uid)
        and posix.getresgid() == (gid, gid, gid)
        and posix.getgroups() in ([gid], [])
    )
