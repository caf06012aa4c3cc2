"""checkgroup(8): a link behind a checker that lets a chain go on for members of a group only."""

import posix

from checkpw.chain import NextProgram, is_sentinel
from checkpw.errors import Misuse, Rejected, TemporaryFailure

PROGRAM = "checkgroup"


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | NextProgram:
    """Hand the chain on as it came.

    Raises:
        Misuse: no groups, nothing to run, or no `$USER` to look up.
        Rejected: that user is in none of the groups, or is not who this process is.
        TemporaryFailure: a group of that name is not to be found.
    """
    names, rest = argv[1:2], argv[2:]
    if not rest:
        raise Misuse(f"usage: {PROGRAM} group[,group] prog [arguments]")
    user = environ.get(b"USER")
    if user is None:
        raise Misuse("USER is not set: this stands behind a checker, which sets it")
    try:
        _must_be_member(user, _gids(names[0]))
    except Rejected as no:
        from checkpw.links.telling import tell

        tell(PROGRAM, "refused", environ, {"login": user, "reason": str(no)})
        raise
    return 0 if is_sentinel(rest) else NextProgram(rest, environ)


def _must_be_member(user: bytes, gids: set[int]) -> None:
    """Raise `Rejected` for a user who is in none of these groups, or is not who this process is."""
    if not gids & groups_of(user):
        raise Rejected("in none of the groups")


def _gids(names: bytes) -> set[int]:
    """Return the gids of groups, whose names are separated by commas.

    Raises:
        TemporaryFailure: there is no group of one of the names, or nobody can tell: getgrnam(3) may say the same of
            both, and a name that is mistyped should not look like a wrong password.
    """
    import grp

    gids = set()
    for name in names.split(b","):
        try:
            gids.add(grp.getgrnam(name.decode("utf-8", "surrogateescape")).gr_gid)
        except (KeyError, OSError):
            raise TemporaryFailure(f"no group of the name {name!a} is to be found") from None
    return gids


def groups_of(user: bytes) -> set[int]:
    """Return the gids of all groups that a user is in; the process itself has only one by now.

    Raises:
        Rejected: there is no such user, or this process is another one: a virtual user whose login is also the name of
            somebody on this machine would get that one's groups.
    """
    import pwd

    try:
        name = user.decode("utf-8")
        entry = pwd.getpwnam(name)
    except (KeyError, UnicodeDecodeError):
        raise Rejected("no such user on this machine") from None
    if set(posix.getresuid()) != {entry.pw_uid}:
        raise Rejected(f"uid {entry.pw_uid} is not that of the process, {posix.geteuid()}")
    return {entry.pw_gid, *posix.getgrouplist(name, entry.pw_gid)}
