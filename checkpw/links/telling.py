"""What links say: lines of `logline`, the client's address and the date first."""

import posix
import time

from checkpw.logline import render
from checkpw.peer import Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.logline import Value


def line(program: str, event: str, environ: dict[bytes, bytes], fields: "dict[str, Value]") -> bytes:
    """Return the line of an event: `program: client=ADDRESS pid=NUMBER event=NAME time=DATE`, and further fields."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())  # sorts, and nobody has to guess the zone (RFC 3339)
    ip = Peer.from_environment(environ).ip
    first: dict[str, Value] = {"client": ip, "pid": posix.getpid(), "event": event, "time": now}
    return render(program, first | fields)


def tell(program: str, event: str, environ: dict[bytes, bytes], fields: "dict[str, Value]") -> None:
    """Write the line of an event to standard error."""
    write(line(program, event, environ, fields))


def write(text: bytes) -> None:
    """Write a line to standard error; the chain goes on without a log."""
    try:
        posix.write(2, text)
    except OSError:
        return
