"""Dropping privileges: the only code that changes groups, gid and uid, and it checks what it did."""

import posix

from checkpw.errors import TemporaryFailure


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
