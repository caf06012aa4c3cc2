"""Accounts that a program under test is known to accept, and the wrong passwords that are made from them.

Whatever stands here is shown in reports: it takes accounts that exist only for the test.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

MAX_RECORD = 512
"""The most that a checkpassword program is given (cr.yp.to/checkpwd/interface.html)."""


class UnusableAccount(Exception):
    """An account, or a file of them, cannot be used; the text says why and never holds a password."""


@dataclass(frozen=True, slots=True)
class Account:
    """A login and its password.

    Attributes:
        login: as it is sent.
        password: which the program under test accepts for it.
    """

    login: bytes
    password: bytes

    @property
    def record(self) -> bytes:
        """What goes to descriptor 3, with an empty third field."""
        return record(self.login, self.password)


def record(login: bytes, password: bytes, timestamp: bytes = b"") -> bytes:
    """Return the bytes of descriptor 3: three fields, each ended by NUL."""
    return b"%b\0%b\0%b\0" % (login, password, timestamp)


def parse(text: bytes) -> Account:
    """Read LOGIN:PASSWORD; the first colon is the one that counts.

    Raises:
        UnusableAccount: no colon, nothing before or after it, a NUL, or more than a record can hold.
    """
    login, colon, password = text.partition(b":")
    if not colon:
        raise UnusableAccount("an account is LOGIN:PASSWORD, and there is no colon")
    if not login or not password:
        raise UnusableAccount("an account is LOGIN:PASSWORD, and neither may be empty")
    if b"\0" in text:
        raise UnusableAccount(f"account {os.fsdecode(login)!a}: a NUL cannot be sent")
    if len(record(login, password)) > MAX_RECORD:
        raise UnusableAccount(f"account {os.fsdecode(login)!a} does not fit into {MAX_RECORD} bytes")
    return Account(login, password)


def read_file(path: str) -> tuple[Account, ...]:
    """Read a file of accounts: LOGIN:PASSWORD on each line; empty ones, and those that begin with #, do not count.

    Raises:
        UnusableAccount: it cannot be read, everybody may read it, or a line is none.
    """
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise UnusableAccount(f"{path}: everybody may read it; chmod 600 it")
            lines = file.read().split(b"\n")
    except OSError as error:
        raise UnusableAccount(f"{path}: {error.strerror}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line and not line.startswith(b"#"):
            try:
                found.append(parse(line))
            except UnusableAccount as error:
                raise UnusableAccount(f"{path}:{number}: {error}") from None
    if not found:
        raise UnusableAccount(f"{path}: no account in it")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class WrongPassword:
    """A password that is almost right.

    Attributes:
        name: how it was made, a few words.
        password: the bytes.
    """

    name: str
    password: bytes


def wrong_password(account: Account) -> bytes:
    """Return a password as long as the right one, which begins otherwise, whatever of it is compared."""
    return (b"1" if account.password[:1] in (b"0", b"\xb0") else b"0") * len(account.password)


def prefixes(account: Account) -> tuple[WrongPassword, ...]:
    """Give the beginnings of a password: all but the last byte, half of it, the first byte."""
    whole = account.password
    sizes = sorted({len(whole) - 1, len(whole) // 2, 1} - {0, len(whole)}, reverse=True)
    return tuple(WrongPassword(f"its first {size} bytes", whole[:size]) for size in sizes)


def suffixes(account: Account) -> tuple[WrongPassword, ...]:
    """Give the password with something after or before it, and without its beginning."""
    whole = account.password
    made = [("and one byte more", whole + b"x"), ("twice", whole * 2), ("a byte before it", b"x" + whole)]
    made += [("without its first byte", whole[1:])] if len(whole) > 1 else []
    return _different(account, made)


def truncations(account: Account, size: int) -> tuple[WrongPassword, ...]:
    """Give passwords that are the same in their first `size` bytes; none for a password that is shorter."""
    whole = account.password
    if len(whole) < size:
        return ()
    made = [
        (f"its first {size} bytes, then another", whole[:size] + b"\x01"),
        (f"its first {size} bytes", whole[:size]),
    ]
    made += [(f"another byte after {size}", _flip(whole, size))] if len(whole) > size else []
    return _different(account, made)


def other_case(account: Account) -> tuple[WrongPassword, ...]:
    """Give the password in the other case, upper case and lower case."""
    whole = account.password
    return _different(
        account, [("case swapped", whole.swapcase()), ("upper case", whole.upper()), ("lower case", whole.lower())]
    )


def spaces(account: Account) -> tuple[WrongPassword, ...]:
    """Give the password with white space at either end, and without what it has there."""
    whole = account.password
    made = [("a space after it", whole + b" "), ("a space before it", b" " + whole), ("a tab after it", whole + b"\t")]
    return _different(account, [*made, ("without white space at its ends", whole.strip())])


def line_ends(account: Account) -> tuple[WrongPassword, ...]:
    """Give the password with the ends of lines."""
    whole = account.password
    made = [("LF after it", whole + b"\n"), ("CR LF after it", whole + b"\r\n"), ("CR after it", whole + b"\r")]
    return _different(account, [*made, ("LF before it", b"\n" + whole), ("LF and more after it", whole + b"\nx")])


def high_bytes(account: Account) -> tuple[WrongPassword, ...]:
    """Give the password with the eighth bit of a byte turned over, and with bytes that are no UTF-8."""
    whole = account.password
    made = [("the eighth bit of its first byte", bytes([whole[0] ^ 128]) + whole[1:])]
    made += [("the eighth bit of its last byte", whole[:-1] + bytes([whole[-1] ^ 128]))]
    made += [("the eighth bit of all bytes", bytes(byte ^ 128 for byte in whole))]
    made += [("0xff after it", whole + b"\xff"), ("0xc3 0x28 after it", whole + b"\xc3\x28")]
    return _different(account, made)


def of_others(account: Account, accounts: Sequence[Account]) -> tuple[WrongPassword, ...]:
    """Give the passwords of the other accounts."""
    made = [(f"the password of {os.fsdecode(one.login)!a}", one.password) for one in accounts if one != account]
    return _different(account, made)


def _different(account: Account, made: Sequence[tuple[str, bytes]]) -> tuple[WrongPassword, ...]:
    """Leave out what is right after all, empty, twice there or too long for a record."""
    found: dict[bytes, str] = {}
    for name, password in made:
        fits = len(record(account.login, password)) <= MAX_RECORD
        if password not in (account.password, b"") and fits:
            found.setdefault(password, name)
    return tuple(WrongPassword(name, password) for password, name in found.items())


def _flip(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1 or 1]) + whole[at + 1 :]
