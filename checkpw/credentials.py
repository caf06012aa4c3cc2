"""The record on descriptor 3: login, password, timestamp (cr.yp.to/checkpwd/interface.html)."""

from checkpw.errors import Misuse, Rejected
from checkpw.secret import Secret

MAX_RECORD = 512
"""Bytes a checker must accept before end of file; checkpassword 0.90 answers 1 to one more."""


class Credentials:
    """What a person says to be let in.

    Attributes:
        login: the name as it was sent; bytes without NUL.
        password: its `Secret`.
        timestamp: whatever else the check depends on, e.g. the APOP challenge; usually empty.
    """

    __slots__ = ("login", "password", "timestamp")

    def __init__(self, login: bytes, password: Secret, timestamp: bytes = b"") -> None:
        self.login = login
        self.password = password
        self.timestamp = timestamp

    @classmethod
    def parse(cls, record: bytes) -> "Credentials":
        """Take a record apart as checkpassword 0.90 does.

        The third field may be missing or unterminated (several callers send two), and what follows it is ignored.

        Raises:
            Rejected: the record has more than 512 bytes.
            Misuse: the login or the password is not terminated by a NUL.
        """
        if len(record) > MAX_RECORD:
            raise Rejected("the record on descriptor 3 has more than 512 bytes")
        fields = record.split(b"\0", 3)
        if len(fields) < 3:
            raise Misuse("the record on descriptor 3 is malformed: want login NUL password NUL")
        return cls(fields[0], Secret(fields[1]), fields[2])

    def encode(self) -> bytes:
        """Return the record as callers send it: three fields, each with its NUL.

        Raises:
            Misuse: a field has a NUL in it, which would move what follows into the next field.
            Rejected: the record would have more than 512 bytes, so that no checker takes it.
        """
        fields = (self.login, self.password.reveal(), self.timestamp)
        if any(b"\0" in field for field in fields):
            raise Misuse("a NUL inside a login, a password or a timestamp")
        record = b"".join(field + b"\0" for field in fields)
        if len(record) > MAX_RECORD:
            raise Rejected("login and password have more than 512 bytes together")
        return record
