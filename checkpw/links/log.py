"""checkpw-log(8): a link that writes one line for each login: who, from where, for what, and what the checker said."""

import posix
import time

from checkpw.chain import NextProgram
from checkpw.errors import TemporaryFailure
from checkpw.links import asking, grammar, telling
from checkpw.verdict import ACCEPTED, REJECTED, TEMPORARY, read_reject_statuses, reason_of, verdict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.logline import Value

PROGRAM = "checkpw-log"

FACILITIES = {
    b"auth": 4,
    b"authpriv": 10,
    b"daemon": 3,
    b"mail": 2,
    b"user": 1,
    **{b"local%d" % number: 16 + number for number in range(8)},
}
"""Of syslog(3)."""

PRIORITIES = {ACCEPTED: 6, REJECTED: 5}
WARNING = 4
"""Priorities of syslog(3): info for a yes, notice for a no, and for everything else this."""

SYSLOG_SOCKET = b"/dev/log"


class Settings:
    """What the environment decides.

    Attributes:
        facility: of syslog; None for standard error.
        socket: where syslog listens.
        service: what the login is for.
        reject_statuses: exit statuses that mean no.
    """

    __slots__ = ("facility", "reject_statuses", "service", "socket")

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        """Read the environment; raises `TemporaryFailure` for a value that makes no sense."""
        kind, _, facility = (environ.get(b"CHECKPW_LOG_TO") or b"stderr").partition(b":")
        self.facility = None if kind == b"stderr" else FACILITIES.get(facility or b"authpriv")
        if kind not in (b"stderr", b"syslog") or (kind == b"syslog" and self.facility is None):
            raise TemporaryFailure(f"CHECKPW_LOG_TO={environ[b'CHECKPW_LOG_TO']!a}: want stderr or syslog[:facility]")
        self.socket = environ.get(b"CHECKPW_LOG_SOCKET") or SYSLOG_SOCKET
        self.service = environ.get(b"CHECKPW_LOG_SERVICE") or environ.get(b"TCPLOCALPORT") or b"unknown"
        self.reject_statuses = read_reject_statuses("CHECKPW_REJECT_CODES", environ.get(b"CHECKPW_REJECT_CODES", b""))


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | NextProgram:
    """Answer as the checker does, or with the checker in our place.

    Raises:
        Misuse: no checker, nothing to run, or a malformed record.
        TemporaryFailure: a setting makes no sense, or the checker cannot be run.
    """
    words = grammar.parse(argv)
    settings = Settings(environ)
    question = asking.Question.receive(environ)
    began = time.monotonic()

    def log(verdict: str, reason: str) -> None:
        fields: dict[str, Value] = {"service": settings.service, "login": question.credentials.login}
        fields |= {"verdict": verdict, "reason": reason, "seconds": time.monotonic() - began}
        _write(settings, verdict, telling.line(PROGRAM, "login", environ, fields))

    try:
        status = question.ask(words.checker, words.prog)
    except TemporaryFailure as trouble:
        log(TEMPORARY, str(trouble))
        raise
    log(verdict_of(status, settings.reject_statuses), reason_of(status))
    if status == 0 and not words.asks_only:
        return question.hand_over(words.checker, words.prog)
    return asking.exit_status(status)


def _write(settings: Settings, verdict: str, line: bytes) -> None:
    """Have syslog take a line; whatever it does not take goes to standard error."""
    if settings.facility is not None:
        priority = settings.facility * 8 + PRIORITIES.get(verdict, WARNING)
        if _send(settings.socket, b"<%d>%s" % (priority, stamped(line, posix.getpid(), time.time()))):
            return
    telling.write(line)


def stamped(line: bytes, pid: int, now: float) -> bytes:
    """Return a line as syslog(3) of the C library sends it: with the local time, and the pid behind the program."""
    program, _, text = line.rstrip(b"\n").partition(b": ")
    date = time.strftime("%b %e %H:%M:%S", time.localtime(now)).encode("ascii")
    return b"%s %s[%d]: %s" % (date, program, pid, text)


def _send(path: bytes, datagram: bytes) -> bool:
    """Send to a socket without waiting, and tell whether that was taken."""
    import _socket  # the module socket is 5 ms, and the module syslog waits for a syslogd that hangs

    client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        client.setblocking(False)  # noqa: FBT003  it takes no keyword
        client.connect(path)
        client.send(datagram)
    except OSError:
        return False
    finally:
        client.close()
    return True
