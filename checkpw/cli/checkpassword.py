"""checkpassword(8): read a login and a password on descriptor 3, and become that user or say no."""

from checkpw import fd3, privileges
from checkpw.chain import NextProgram, is_sentinel
from checkpw.errors import Misuse, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.account import Account
    from checkpw.accounts.base import Store
    from checkpw.credentials import Credentials


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> "int | NextProgram":
    """Answer with an exit status, or with the program that the login is to run.

    Raises:
        Misuse: nothing to run, or a malformed record.
        Rejected: no.
        TemporaryFailure: nobody can tell.
    """
    rest = argv[1:]
    if not rest:
        raise Misuse("usage: checkpassword prog [arguments], with login and password on descriptor 3")
    account = authenticate(fd3.read_credentials(), environ)
    if is_sentinel(rest):
        return 0
    identity = privileges.identity_for(account, environ.get(b"CHECKPW_USER", b""))
    given = {b"USER": account.login, b"HOME": account.home, b"SHELL": account.shell}
    return NextProgram(rest, environ | given, identity, account.home)


def authenticate(credentials: "Credentials", environ: dict[bytes, bytes]) -> "Account":
    """Return the account whose login and password these are: all that this program decides.

    Raises:
        Rejected: no.
        TemporaryFailure: nobody can tell.
    """
    return open_store(environ).authenticate(credentials)


def open_store(environ: dict[bytes, bytes]) -> "Store":
    """Open the store that `$CHECKPW_ACCOUNTS` names; without it, the accounts of the machine.

    Raises:
        TemporaryFailure: no such kind of store, or it cannot be read.
    """
    url = environ.get(b"CHECKPW_ACCOUNTS", b"system:")
    kind, _, place = url.partition(b":")
    if kind == b"file" and place.startswith(b"/"):
        from checkpw.accounts.passwd_file import PasswdFile

        lowest_uid = environ.get(b"CHECKPW_MIN_UID", b"1")
        if not lowest_uid.isdigit():
            raise TemporaryFailure(f"CHECKPW_MIN_UID={lowest_uid!a} is not a number")
        return PasswdFile(place, environ.get(b"TCPREMOTEIP", b""), int(lowest_uid))
    if kind == b"system" and not place:
        from checkpw.accounts.system import System

        return System()
    if kind == b"verifier" and place.startswith(b"/"):
        from checkpw.accounts.verifier import Verifier

        return Verifier(
            place, environ.get(b"TCPREMOTEIP", b""), _trusted_uid(environ.get(b"CHECKPW_VERIFIER_UID", b""))
        )
    raise TemporaryFailure(f"CHECKPW_ACCOUNTS={url!a} names no store: want system:, file:/path or verifier:/path")


def _trusted_uid(user: bytes) -> int | None:
    """Read a uid, or the name of a user; None for nobody."""
    if not user or user.isdigit():
        return int(user) if user else None
    import pwd

    try:
        return pwd.getpwnam(user.decode("utf-8", "surrogateescape")).pw_uid
    except KeyError:
        raise TemporaryFailure(f"CHECKPW_VERIFIER_UID={user!a}: no such user") from None
