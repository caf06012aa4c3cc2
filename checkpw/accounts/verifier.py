"""The store `verifier:/path`: asks the process that listens there, which alone can read the accounts.

The protocol is that of checkpw-verifierd(8), and both of its ends are described here: frames of `checkpw.frames`, a
question with three fields, an answer with seven. Who listens is looked at before a password is sent.
"""

import _socket
import posix
import time
from struct import Struct

from checkpw import frames
from checkpw.account import Account
from checkpw.credentials import MAX_RECORD
from checkpw.errors import Misuse, Rejected, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.credentials import Credentials

TIMEOUT = 25.0
"""Seconds for the whole question; less than the 30 that front ends give a checker, so that the log says why."""

SERVICE = b"checkpassword"
"""What we say of ourselves, for the verifier's log."""

QUESTION_FIELDS, ANSWER_FIELDS = 3, 7

MAX_QUESTION = 1024
"""Bytes of a question's frame: 512 of a record, an address, a word."""

MAX_ANSWER = 128 * 1024
"""Bytes of an answer's frame: `system:` takes 64 KiB for the strings of an account."""

MAX_ID = 2**32 - 2
"""The largest uid and gid; what follows means "unchanged" to chown(2) and its kind."""

PATIENCE = 0.02
"""Seconds until the next try where more are waiting than the socket has room for: connect(2) does not wait there."""

_CREDENTIALS = Struct("iII")
"""`struct ucred` of unix(7): pid, uid, gid."""


class Verifier:
    """Accounts that somebody else looks after."""

    __slots__ = ("_path", "_remote_ip", "_timeout", "_trusted")

    def __init__(self, path: bytes, remote_ip: bytes, trusted_uid: int | None = None, timeout: float = TIMEOUT) -> None:
        """Name the socket; nothing is connected yet.

        Args:
            path: of the unix socket.
            remote_ip: the client's address, for `allow_nets`; empty if nobody knows it.
            trusted_uid: who may listen there besides root and ourselves; None for nobody.
            timeout: seconds for connecting, asking and being answered.
        """
        self._path = path
        self._remote_ip = remote_ip
        self._trusted = (0, posix.geteuid(), trusted_uid)
        self._timeout = timeout

    def authenticate(self, credentials: "Credentials") -> Account:
        """Return the account whose login and password these are.

        Raises:
            Rejected: the verifier says no.
            Misuse: the verifier could not read the record.
            TemporaryFailure: there is no verifier, or one that is not to be trusted, silent, in trouble or garbled.
        """
        fields = (credentials.login, credentials.password.reveal(), credentials.timestamp)
        # Without the NUL that may end the third field: the record that came may not have had it, and 512 bytes are all.
        record = b"\0".join(fields)
        if len(record) > MAX_RECORD or any(b"\0" in field for field in fields):
            # No store has such a login or password; in a record, a NUL would move what follows into the next field.
            raise Rejected("login and password do not fit into a record")
        try:
            owner, answer = self._ask(frames.encode((record, self._remote_ip, SERVICE)))
        except TimeoutError:
            raise self._failure(f"no answer in {self._timeout:g} seconds") from None
        except (OSError, frames.BadFrame) as error:
            raise self._failure(getattr(error, "strerror", None) or str(error)) from None
        status = answer[0]
        if status == b"1":
            raise Rejected("the verifier says no")
        if status == b"2":
            raise Misuse("the verifier cannot read the record of descriptor 3")
        if status != b"0":
            raise self._failure("it says that nobody can tell now; its log says why")
        try:
            return _account(answer, owner)
        except ValueError:
            raise self._failure("its answer makes no sense") from None

    def look_up(self, login: bytes) -> None:
        """Raise `TemporaryFailure`: whoever listens answers nothing about a login without its password."""
        raise self._failure(f"it tells nobody about {login!a} without the password")

    def _ask(self, question: bytes) -> tuple[int, list[bytes]]:
        """Return who answered, and the fields of the answer; raises `OSError`, `TimeoutError` or `BadFrame`."""
        deadline = time.monotonic() + self._timeout
        line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            line.settimeout(self._timeout)
            self._connect(line, deadline)
            _, owner = other_end(line)
            if owner not in self._trusted:
                raise self._failure(
                    f"uid {owner} listens there: want root, ourselves, or the user that CHECKPW_VERIFIER_UID names"
                )
            line.sendall(question)
            reader = frames.FrameReader(MAX_ANSWER)
            while True:
                line.settimeout(max(0.001, deadline - time.monotonic()))
                data = line.recv(65536)
                if not data:
                    raise frames.BadFrame("it closed the connection without an answer")
                answers = reader.feed(data)
                if answers:
                    break
        finally:
            line.close()
        if len(answers) > 1 or not reader.is_between_frames or len(answers[0]) != ANSWER_FIELDS:
            raise frames.BadFrame("its answer is not one of a verifier")
        return owner, answers[0]

    def _connect(self, line: "_socket.socket", deadline: float) -> None:
        while True:
            try:
                return line.connect(self._path)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                time.sleep(PATIENCE)

    def _failure(self, why: str) -> TemporaryFailure:
        return TemporaryFailure(f"verifier {self._path!a}: {why}")


def other_end(line: "_socket.socket") -> tuple[int, int]:
    """Return pid and uid of who called connect(2), or else listen(2), as the kernel noted them then (unix(7))."""
    pid, uid, _gid = _CREDENTIALS.unpack(line.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def _account(answer: list[bytes], owner: int) -> Account:
    """Return the account of a yes; raises `ValueError` if it cannot be one."""
    _, login, uid, gid, home, shell, doubt = answer
    if any(b"\0" in field for field in answer) or not login or bool(uid) != bool(gid):
        raise ValueError
    identity = _number(uid), _number(gid)
    words = doubt.decode("ascii")
    if owner != 0 and uid and not words:
        words = f"it comes from a verifier that is not root but uid {owner}: root takes no uid from it"
    return Account(login, *identity, home, shell, words)


def _number(field: bytes) -> int | None:
    if not field:
        return None
    if not field.isdigit() or len(field) > 10 or int(field) > MAX_ID:
        raise ValueError
    return int(field)
