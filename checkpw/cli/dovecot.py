"""checkpw-dovecot(8): the checkpassword program for Dovecot's passdb and userdb, which hands a login's identity back.

Dovecot has a dialect of its own: descriptor 4, `AUTHORIZED`, `EXTRA` and exit statuses 2 and 3. checkpassword(8) never
listens to any of it, because an `AUTHORIZED=1` in the environment does without a password.
"""

import posix

from checkpw import fd3, privileges
from checkpw.chain import NextProgram, is_sentinel
from checkpw.cli.checkpassword import open_store
from checkpw.errors import Misuse, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.account import Account

REPLY_DESCRIPTOR = 4
"""Where checkpassword-reply answers."""

FOUND, UNKNOWN = 2, 3
"""Exit statuses of a lookup; 0 would say that somebody forgot to run Dovecot's checkpassword-reply."""

SEPARATORS = (b"\t", b"\n", b"\r")
"""What stands between the fields that checkpassword-reply writes; with one in a value it says "wrong password"."""


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> "int | NextProgram":
    """Answer with an exit status, or with Dovecot's program that takes the account from its environment.

    Raises:
        Misuse: nothing to run, or a malformed record.
        Rejected: no.
        TemporaryFailure: nobody can tell, or Dovecot could not be told.
    """
    rest = argv[1:]
    if not rest:
        raise Misuse("usage: checkpw-dovecot checkpassword-reply, started by Dovecot with a login on descriptor 3")
    environ = dict(environ)
    is_lookup = environ.pop(b"AUTHORIZED", b"") == b"1"
    if is_lookup:
        _see_to_it_that_dovecot_asks()  # before anything is opened, which could become descriptor 4
    credentials = fd3.read_credentials()
    store = open_store(environ)
    if is_lookup:
        found = store.look_up(credentials.login)
        if found is None:
            return UNKNOWN
        account = found
        environ[b"AUTHORIZED"] = b"2"
    else:
        account = store.authenticate(credentials)
    if is_sentinel(rest):
        return FOUND if is_lookup else 0
    identity = privileges.identity_for(account, environ.get(b"CHECKPW_USER", b""))
    return NextProgram(rest, environ | _fields(account, identity))


def _see_to_it_that_dovecot_asks() -> None:
    """Raise `TemporaryFailure` unless descriptor 4 is open: who is to do without a password must have been asked."""
    try:
        posix.fstat(REPLY_DESCRIPTOR)
    except OSError:
        raise TemporaryFailure("AUTHORIZED=1, but descriptor 4 is closed: want to be started by Dovecot") from None


def _fields(account: "Account", identity: tuple[int, int] | None) -> dict[bytes, bytes]:
    """Return the variables that checkpassword-reply reads; without uid and gid it gives its own."""
    # EXTRA is ours alone: what somebody else named in it is not to be told.
    given = {b"USER": account.login, b"HOME": account.home, b"SHELL": account.shell, b"EXTRA": b""}
    if any(separator in value for value in given.values() for separator in SEPARATORS):
        raise TemporaryFailure(f"account {account.login!a} has a tab or line end in it, which Dovecot cannot be told")
    if identity is None:
        return given
    numbers = {b"userdb_uid": b"%d" % identity[0], b"userdb_gid": b"%d" % identity[1]}
    return given | numbers | {b"EXTRA": b" ".join(numbers)}
