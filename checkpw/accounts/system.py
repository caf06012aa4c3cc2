"""The store `system:`: the accounts of this machine, passwd(5) and shadow(5), through the C library.

ctypes and not the module pwd, because getpwnam_r says whether a name is unknown or the database is out of reach, and
because nothing in Python 3.13 reads shadow any more.
"""

import ctypes
import errno
import time

from checkpw.account import Account
from checkpw.accounts import decoy
from checkpw.accounts.base import Entry, authenticate
from checkpw.errors import Rejected, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.credentials import Credentials

SHADOW = b"/etc/shadow"

SHADOWED = b"x"
"""What stands in passwd(5) for an account whose hash is in shadow(5)."""

SECONDS_PER_DAY = 86400

UNKNOWN = (0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM)
"""What getpwnam_r returns for a name that is not there, in the words of getpwnam(3)."""

BUFFER = 65536
"""Bytes for the strings of one record; glibc suggests 1024, directories hold more."""


class _Passwd(ctypes.Structure):
    """`struct passwd` as glibc and musl have it."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("passwd", ctypes.c_char_p),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("gecos", ctypes.c_char_p),
        ("dir", ctypes.c_char_p),
        ("shell", ctypes.c_char_p),
    )


class _Shadow(ctypes.Structure):
    """`struct spwd`; numbers are days since 1970, or -1 where the field is empty."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("passwd", ctypes.c_char_p),
        ("last_change", ctypes.c_long),
        ("minimum", ctypes.c_long),
        ("maximum", ctypes.c_long),
        ("warning", ctypes.c_long),
        ("inactive", ctypes.c_long),
        ("expire", ctypes.c_long),
        ("flag", ctypes.c_ulong),
    )


class System:
    """Accounts of the machine."""

    __slots__ = ("_library", "_today")

    def __init__(self, today: int | None = None) -> None:
        """Use the C library that runs anyway; `today` is the day since 1970 that expiry is held against."""
        self._library = ctypes.CDLL(None)
        self._today = int(time.time()) // SECONDS_PER_DAY if today is None else today

    def authenticate(self, credentials: "Credentials") -> Account:
        """Return the account whose login and password these are; raises as `base.authenticate`."""
        return authenticate(self, credentials)

    def look_up(self, login: bytes) -> Account | None:
        """Return what passwd(5) says of a login, None if it does not know it; raises `TemporaryFailure`."""
        user = _Passwd()
        if not login or b"\0" in login or not self._ask("getpwnam_r", login, user):
            return None
        return Account(user.name, user.uid, user.gid, user.dir, user.shell)

    def find(self, login: bytes) -> Entry | None:
        """Return the account, with the hash of shadow(5) where there is one, else that of passwd(5).

        Raises:
            TemporaryFailure: a database is out of reach, or shadow may not be read.
        """
        if not login or b"\0" in login:
            return None
        _must_be_readable(SHADOW)
        user, shadow = _Passwd(), _Shadow()
        if not self._ask("getpwnam_r", login, user):
            return None
        account = Account(user.name, user.uid, user.gid, user.dir, user.shell)
        if self._ask("getspnam_r", login, shadow):
            return Entry(account, shadow.passwd or b"", shadow)
        if user.passwd == SHADOWED:
            raise TemporaryFailure(f"account {login!a} has its password in shadow, and shadow does not know it")
        return Entry(account, user.passwd or b"")

    def _ask(self, function: str, login: bytes, record: ctypes.Structure) -> bool:
        """Call one of the reentrant look-ups; tell whether it knew the name."""
        strings = ctypes.create_string_buffer(BUFFER)
        found = ctypes.c_void_p()
        number = getattr(self._library, function)(
            login, ctypes.byref(record), strings, ctypes.c_size_t(BUFFER), ctypes.byref(found)
        )
        if found.value is not None:
            record.strings = strings  # the record points into them: they live as long as it does
            return True
        if number in UNKNOWN:
            return False
        raise TemporaryFailure(f"{function} failed: {errno.errorcode.get(number, number)}")

    def decoy(self, login: bytes) -> bytes:
        """Draw a hash of the shadow file where there is one to read."""
        try:
            with open(SHADOW, "rb") as file:
                return decoy.choose(file.read(), login)
        except OSError:
            return decoy.FALLBACK

    def admit(self, entry: Entry) -> None:
        """Refuse what shadow(5) calls expired: the account, or a password that had to be changed and was not."""
        ages = entry.conditions
        if not isinstance(ages, _Shadow):
            return
        if 0 <= ages.expire <= self._today:
            raise Rejected("the account has expired")
        if ages.last_change == 0:
            raise Rejected("the password has to be changed first")
        has_term = ages.last_change > 0 and ages.maximum >= 0 and ages.inactive >= 0
        if has_term and self._today > ages.last_change + ages.maximum + ages.inactive:
            raise Rejected("the password has expired")


def _must_be_readable(path: bytes) -> None:
    """Raise `TemporaryFailure` for a file that is there and may not be read.

    getspnam_r does not tell: where nsswitch.conf names a second source, that one's "unknown" hides the refusal. Every
    login is answered alike, so that nobody learns which ones there are.
    """
    try:
        with open(path, "rb"):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise TemporaryFailure(f"unable to read {path!a}: {error.strerror}") from None
