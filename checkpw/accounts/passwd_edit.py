"""Edits the store `file:/path`, the text file of checkpw-passwd(5), one account at a time.

An edit changes the one line that it is about: comments, order, lines that nobody understands and the other
fields stay as they are. The new file takes the place of the old one in one step (rename(2)) under an
exclusive lock on `PATH.lock`: a reader sees the old file or the new one, a full disk or a killed process
leaves the old one.

Not on the lean path: only people's commands edit. The reader is `passwd_file`, and needs no lock.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from checkpw import hashes
from checkpw.errors import Misuse
from checkpw.textfile import edit, read

FIELDS = ("uid", "gid", "gecos", "home", "shell", "extra")
"""What follows login and hash in a line, in this order."""

LOCK = b"!"
"""In front of a hash this makes it match nothing, here and in Dovecot; shadow(5) has the same sign."""


@dataclass(frozen=True, slots=True)
class Line:
    """One account as its line says it.

    Attributes:
        login: the name, never empty.
        stored: the hash with its `{SCHEME}`; with a `!` in front the account is disabled.
        rest: the fields after it, as many as the line has: uid, gid, gecos, home, shell, extra.
        is_shadowed: an earlier line has the same login, so that this one is never read.
    """

    login: bytes
    stored: bytes
    rest: tuple[bytes, ...]
    is_shadowed: bool = False

    @property
    def state(self) -> str:
        """`active`; `disabled` by us; `locked` otherwise; `nologin` by its extra field; `shadowed`."""
        if self.is_shadowed:
            return "shadowed"
        if self.stored.startswith(LOCK):
            return "disabled"
        if not hashes.usable(self.stored):
            return "locked"
        for word in self.field("extra").split():
            name, _, value = word.partition(b"=")
            if name == b"nologin" and value != b"no":
                return "nologin"
        return "active"

    def field(self, name: str) -> bytes:
        """Return one of `FIELDS`, empty where the line is too short for it."""
        at = FIELDS.index(name)
        return self.rest[at] if at < len(self.rest) else b""


def accounts(path: bytes) -> list[Line]:
    """Return the accounts of the file in its order.

    Raises:
        TemporaryFailure: it cannot be read.
    """
    content, _ = read(os.path.realpath(path))
    seen: set[bytes] = set()
    found = []
    for raw in content.split(b"\n"):
        line = _parse(raw)
        if line is not None:
            found.append(Line(line.login, line.stored, line.rest, line.login in seen))
            seen.add(line.login)
    return found


def add(path: bytes, login: bytes, stored: bytes, **fields: bytes) -> None:
    """Append an account; a file that does not exist is created with mode 0600.

    Args:
        path: of the store.
        login: not in the file yet.
        stored: the hash with its `{SCHEME}`.
        **fields: any of `FIELDS`. Without one the line is the short one of htpasswd, `login:hash`.

    Raises:
        Misuse: the login is there already, or a value would break the line.
        TemporaryFailure: the file cannot be read or written; it is as it was.
    """
    check_login(login)
    _check_hash(stored)
    for name, value in fields.items():
        _check_field(name, value)
    words = [login, stored]
    if any(fields.values()):
        words += [fields.get(name, b"") for name in FIELDS]
    new = b":".join(words)

    def append(lines: list[bytes]) -> list[bytes]:
        if _positions(lines, login):
            raise Misuse(f"there is an account {login!a} already")
        # `lines` ends in what follows the last newline: nothing, in a file that is whole.
        return [*lines, new, b""] if lines[-1] else [*lines[:-1], new, b""]

    edit(path, append, create=True)


def set_hash(path: bytes, login: bytes, stored: bytes) -> bool:
    """Give an account a new hash; a disabled account stays disabled.

    Returns:
        Whether the account is disabled: the new password does not let anybody in yet.

    Raises:
        Misuse: no such login.
        TemporaryFailure: the file cannot be read or written; it is as it was.
    """
    _check_hash(stored)
    is_disabled = False

    def change(old: bytes) -> bytes:
        nonlocal is_disabled
        is_disabled = old.startswith(LOCK)
        return LOCK + stored if is_disabled else stored

    _change_hash(path, login, change)
    return is_disabled


def disable(path: bytes, login: bytes) -> None:
    """Put a `!` in front of the hash; nothing changes for an account that has one. Raises as `set_hash`."""
    _change_hash(path, login, lambda old: old if old.startswith(LOCK) else LOCK + old)


def enable(path: bytes, login: bytes) -> None:
    """Take the `!` away again. Raises as `set_hash`, and `Misuse` if no usable hash is left."""

    def change(old: bytes) -> bytes:
        new = old.lstrip(LOCK)
        if not hashes.usable(new):
            raise Misuse(f"account {login!a} has no password: set one")
        return new

    _change_hash(path, login, change)


def remove(path: bytes, login: bytes) -> None:
    """Take out every line of the login: a second one would come to life. Raises as `set_hash`."""

    def drop(lines: list[bytes]) -> list[bytes]:
        doomed = _known_positions(lines, login)
        return [raw for at, raw in enumerate(lines) if at not in doomed]

    check_login(login)
    edit(path, drop)


def check_login(login: bytes) -> None:
    """Raise `Misuse` for a login that no line of the file can stand for."""
    if not login:
        raise Misuse("a login is not empty")
    if any(byte in login for byte in b":\0\r\n"):
        raise Misuse("a login has no colon, NUL or line end")
    if login.startswith(b"#"):
        raise Misuse("a login does not start with #: its line would be a comment")


def _check_field(name: str, value: bytes) -> None:
    # The last field goes to the end of the line, and Dovecot's mail locations have colons.
    forbidden = b"\0\r\n" if name == "extra" else b":\0\r\n"
    if any(byte in value for byte in forbidden):
        raise Misuse(f"the field {name} has no NUL or line end, and no colon unless it is the last")


def _check_hash(stored: bytes) -> None:
    if any(byte in stored for byte in b":\0\r\n"):
        raise Misuse("a hash has no colon, NUL or line end")
    if not hashes.usable(stored):
        raise Misuse("a hash that nothing matches is no password")


def _parse(raw: bytes) -> Line | None:
    """Return the account that a line stands for; None for a comment and for what is no account."""
    if raw.startswith(b"#"):
        return None
    login, *rest = raw.removesuffix(b"\r").split(b":", 7)
    return Line(login, rest[0], tuple(rest[1:])) if login and rest else None


def _positions(lines: list[bytes], login: bytes) -> list[int]:
    return [at for at, raw in enumerate(lines) if raw.startswith(login + b":")]


def _known_positions(lines: list[bytes], login: bytes) -> list[int]:
    positions = _positions(lines, login)
    if not positions:
        raise Misuse(f"there is no account {login!a}")
    return positions


def _change_hash(path: bytes, login: bytes, change: Callable[[bytes], bytes]) -> None:
    """Let `change` make the new hash from the old one in the first line of the login, which is read."""

    def replace(lines: list[bytes]) -> list[bytes]:
        at = _known_positions(lines, login)[0]
        line_end = b"\r" if lines[at].endswith(b"\r") else b""
        _, old, *rest = lines[at].removesuffix(b"\r").split(b":", 2)
        return [*lines[:at], b":".join([login, change(old), *rest]) + line_end, *lines[at + 1 :]]

    check_login(login)
    edit(path, replace)
