"""checknotroot(8): a link behind a checker that lets no chain go on as root."""

import posix

from checkpw.chain import NextProgram, is_sentinel
from checkpw.errors import Misuse, Rejected

PROGRAM = "checknotroot"


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | NextProgram:
    """Hand the chain on as it came.

    Raises:
        Misuse: nothing to run.
        Rejected: this process is root, by whatever of its uids and gids.
    """
    rest = argv[1:]
    if not rest:
        raise Misuse(f"usage: {PROGRAM} prog [arguments]")
    # All of them, and the groups: whose real uid is that of root is root when it likes.
    if 0 in posix.getresuid() or 0 in posix.getresgid() or 0 in posix.getgroups():
        from checkpw.links.telling import tell

        tell(PROGRAM, "refused", environ, {"login": environ.get(b"USER", b""), "reason": "uid 0 or gid 0"})
        raise Rejected("root")
    return 0 if is_sentinel(rest) else NextProgram(rest, environ)
