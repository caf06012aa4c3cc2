"""What links say on standard error: lines of `logline`, the client's address first."""

import posix

from checkpw.logline import render
from checkpw.peer import Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.logline import Value


def line(program: str, event: str, environ: dict[bytes, bytes], fields: "dict[str, Value]") -> bytes:
    """Return the line of an event: `program: client=ADDRESS pid=NUMBER event=NAME`, and further fields."""
    first: dict[str, Value] = {"client": Peer.from_environment(environ).ip, "pid": posix.getpid(), "event": event}
    return render(program, first | fields)


def tell(program: str, event: str, environ: dict[bytes, bytes], fields: "dict[str, Value]") -> None:
    """Write the line of an event to standard error; the chain goes on without a log."""
    try:
        posix.write(2, line(program, event, environ, fields))
    except OSError:
        return
