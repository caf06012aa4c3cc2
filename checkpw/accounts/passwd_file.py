"""The store `file:/path`: one line per account, the form of checkpw-passwd(5).

That is Dovecot's passwd-file, `login:{SCHEME}hash:uid:gid:gecos:home:shell:extra`, and its relatives with fewer
fields. The first line with the login wins. The file is searched as it is: no index, no order, nothing stale.
"""

import posix
from mmap import MAP_POPULATE, MAP_SHARED, PROT_READ, mmap

from checkpw.account import Account
from checkpw.accounts import decoy
from checkpw.accounts.base import Entry, authenticate
from checkpw.errors import Rejected, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.credentials import Credentials

FILE_TYPE, REGULAR = 0o170000, 0o100000
"""S_IFMT and S_IFREG of inode(7); the module stat is not loaded for two numbers."""

RESTRICTIONS_UNKNOWN = (b"allow_real_nets",)
"""Extra fields with which Dovecot narrows who may log in, and which we cannot honour: they answer 111."""


class PasswdFile:
    """Accounts in one text file."""

    __slots__ = ("_content", "_is_safe", "_lowest_uid", "_remote_ip")

    def __init__(self, path: bytes, remote_ip: bytes = b"", lowest_uid: int = 1) -> None:
        """Open and map the file.

        Args:
            path: of the file.
            remote_ip: the client's address, for `allow_nets`; empty if nobody knows it.
            lowest_uid: the smallest uid that root may take from the file; 0 is never taken.

        Raises:
            TemporaryFailure: it cannot be read.
        """
        try:
            # Without O_NONBLOCK, a FIFO that nobody writes to would be waited for.
            descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
            try:
                status = posix.fstat(descriptor)
                if status.st_mode & FILE_TYPE != REGULAR:
                    raise TemporaryFailure(f"accounts in {path!a}: this is no regular file")
                # All at once (MAP_POPULATE), because most of it will be read; an empty file cannot be mapped.
                flags = MAP_SHARED | MAP_POPULATE
                self._content = mmap(descriptor, 0, flags, PROT_READ) if status.st_size else b""
            finally:
                posix.close(descriptor)
        except (OSError, ValueError) as error:
            raise TemporaryFailure(f"unable to read accounts in {path!a}: {error}") from None
        self._is_safe = status.st_uid == 0 and not status.st_mode & 0o022
        self._lowest_uid = max(1, lowest_uid)
        self._remote_ip = remote_ip

    def authenticate(self, credentials: "Credentials") -> Account:
        """Return the account whose login and password these are; raises as `base.authenticate`."""
        return authenticate(self, credentials)

    def look_up(self, login: bytes) -> Account | None:
        """Return the account of a login, None if there is none; raises `TemporaryFailure`."""
        entry = self.find(login)
        return None if entry is None else entry.account

    def find(self, login: bytes) -> Entry | None:
        """Return the first account with this login; raises `TemporaryFailure` for a line that makes no sense."""
        # A colon or a newline would let a login reach into the next field or line and "know" the hash.
        if not login or b":" in login or b"\n" in login or b"\0" in login or login.startswith(b"#"):
            return None
        content = self._content
        start = _find_line(content, login + b":")
        if start < 0:
            return None
        end = content.find(b"\n", start)
        line = content[start : end if end >= 0 else len(content)].rstrip(b"\r")
        # Seven colons and no more: in what follows the seventh, an IPv6 network has colons of its own.
        fields = line.split(b":", 7)
        fields += [b""] * (8 - len(fields))
        _, stored, uid, gid, _gecos, home, shell, extra = fields
        identity = _number(uid, "passwd"), _number(gid, "group")
        if None in identity and identity != (None, None):
            raise TemporaryFailure(f"account {login!a} has a uid without a gid, or the reverse")
        return Entry(Account(login, *identity, home, shell, self._doubt(*identity)), stored, extra)

    def _doubt(self, uid: int | None, gid: int | None) -> str:
        """Say why root must not become what this file says."""
        if uid is None or gid is None:
            return ""
        if not self._is_safe:
            return "the file is not root's, or others may write to it: root takes no uid from it"
        if uid < self._lowest_uid or gid == 0:
            return f"uid {uid}, gid {gid}: root, or below CHECKPW_MIN_UID={self._lowest_uid}"
        return ""

    def decoy(self, login: bytes) -> bytes:
        """Draw a hash of this file."""
        return decoy.choose(self._content, login)

    def admit(self, entry: Entry) -> None:
        """Honour the extra fields `nologin` and `allow_nets` of Dovecot's passwd-file."""
        assert isinstance(entry.conditions, bytes)
        for field in entry.conditions.split():
            name, _, value = field.partition(b"=")
            if name == b"nologin" and value != b"no":
                raise Rejected("the account may not log in")
            if name == b"allow_nets":
                from checkpw.accounts import networks

                networks.admit(self._remote_ip, value)
            elif name in RESTRICTIONS_UNKNOWN:
                raise TemporaryFailure(f"account {entry.account.login!a} has the restriction {name!a}")


SLICE = 28 * 1024
"""Bytes searched at once. CPython's search takes half the time up to 30,000 bytes, where it needs no tables."""


def _find_line(content: "bytes | mmap", beginning: bytes) -> int:
    """Return where the first line starts that begins so, -1 if none does."""
    if content[: len(beginning)] == beginning:
        return 0
    wanted = b"\n" + beginning
    for start in range(0, len(content), SLICE):
        at = content[start : start + SLICE + len(wanted) - 1].find(wanted)
        if at >= 0:
            return start + at + 1
    return -1


def _number(field: bytes, database: str) -> int | None:
    """Read a uid or gid that is a number, or a name in the system's database."""
    if not field:
        return None
    if field.isdigit():
        return int(field)
    name = field.decode("utf-8", "surrogateescape")
    try:
        if database == "passwd":
            import pwd

            return pwd.getpwnam(name).pw_uid
        import grp

        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise TemporaryFailure(f"{field!a} is not in the {database} database") from None
