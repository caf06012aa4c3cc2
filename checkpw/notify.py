"""What a service and systemd tell each other: readiness and the like, and sockets that were open before it started.

Without systemd nothing of this is there, and nothing here does anything. The variables are taken out of the mapping,
so that no child takes them for its own.
Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3); the protocols are promised to stay
(systemd.io/PORTABILITY_AND_STABILITY).
"""

import errno
import fcntl
import os
import socket

from checkpw.errors import Misuse

_FIRST = 3  # SD_LISTEN_FDS_START
_ABOVE = 10
"""Where sockets are moved to: descriptor 3 is where a checkpassword program reads, and 6 and 7 have their customs."""
_MAX_SOCKETS = 1000  # each is a line of somebody's configuration
_PATIENCE = 1.0  # seconds: a supervisor that waits for systemd serves nobody


class Notifier:
    """Tells systemd how the service is. Nobody listens where `$NOTIFY_SOCKET` was not set.

    Attributes:
        watchdog_interval: seconds after which `watchdog` is to be called again, half of what systemd allows; None if it
            does not ask for that.
    """

    def __init__(self, environ: dict[bytes, bytes], pid: int) -> None:
        """Take what concerns us out of the environment of a process.

        Raises:
            Misuse: the watchdog's time is no number.
        """
        self._address = _address_of(environ.pop(b"NOTIFY_SOCKET", b""))
        time, of = environ.pop(b"WATCHDOG_USEC", b""), environ.pop(b"WATCHDOG_PID", b"")
        self.watchdog_interval: float | None = None
        if time and (not of or _number(b"WATCHDOG_PID", of) == pid):
            self.watchdog_interval = _number(b"WATCHDOG_USEC", time) / 2_000_000 or None

    def ready(self, status: str) -> bool:
        """Say that the service serves, also after `reloading`."""
        return self._send(b"READY=1", _status(status))

    def reloading(self, now: int) -> bool:
        """Say that the service reads its configuration again, until it is `ready`.

        Args:
            now: microseconds of CLOCK_MONOTONIC. Type=notify-reload needs them.
        """
        return self._send(b"RELOADING=1", b"MONOTONIC_USEC=%d" % now)

    def stopping(self, status: str) -> bool:
        """Say that the service comes to its end."""
        return self._send(b"STOPPING=1", _status(status))

    def status(self, status: str) -> bool:
        """Say how the service is, in words for systemctl status."""
        return self._send(_status(status))

    def watchdog(self) -> bool:
        """Say that the service is alive."""
        return self._send(b"WATCHDOG=1")

    def _send(self, *assignments: bytes) -> bool:
        """Send a datagram, and tell whether somebody got it; that nobody did is no reason not to serve."""
        if not self._address:
            return False
        try:
            # A socket for each message: none is open when the next worker is forked.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_PATIENCE)
                sender.sendto(b"\n".join(assignments), self._address)
        except OSError:
            return False
        return True


def _address_of(text: bytes) -> bytes:
    """Return the address of a socket: a path, or with @ an abstract name; of other kinds none."""
    if text.startswith(b"@"):
        return b"\0" + text[1:]
    return text if text.startswith(b"/") else b""


def _status(text: str) -> bytes:
    # A line feed would begin another assignment.
    return b"STATUS=" + " ".join(text.splitlines()).encode("utf-8", "replace")


def _number(name: bytes, text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise Misuse(f"{name.decode()}={text!a} is no number")
    return int(text)


def take_activated(environ: dict[bytes, bytes], pid: int) -> list[tuple[bytes, socket.socket]]:
    """Take over the sockets that systemd has opened for this process.

    They are moved to descriptors from 10 on, so that 3 is free, and no program inherits them.

    Returns:
        The name (`FileDescriptorName=`) and the socket of each, in the order of the unit; nothing if there are none.

    Raises:
        Misuse: what was announced is not there, or is not a stream socket that listens.
    """
    of, count = environ.pop(b"LISTEN_PID", b""), environ.pop(b"LISTEN_FDS", b"")
    names = environ.pop(b"LISTEN_FDNAMES", b"").split(b":")
    environ.pop(b"LISTEN_PIDFDID", None)
    if not of or not count or _number(b"LISTEN_PID", of) != pid:
        return []
    number = _number(b"LISTEN_FDS", count)
    if number > _MAX_SOCKETS:
        raise Misuse(f"LISTEN_FDS={number} is too many")
    if len(names) != number:  # they were not given, or by somebody who does not know how
        names = [b""] * number
    moved: list[tuple[bytes, socket.socket]] = []
    try:
        for descriptor, name in enumerate(names, _FIRST):
            moved.append((name, _listening(descriptor)))
    except OSError as error:
        for _, opened in moved:
            opened.close()
        raise Misuse(f"LISTEN_FDS={number}: descriptor {_FIRST + len(moved)}: {error.strerror}") from None
    # Only now: while all are open, none is moved to the number of another.
    for descriptor in range(_FIRST, _FIRST + number):
        os.close(descriptor)
    return moved


def _listening(descriptor: int) -> socket.socket:
    """Return a copy of a descriptor as a socket; raises `OSError` if there is none, or none that listens."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    try:
        made = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    is_stream = made.type == socket.SOCK_STREAM
    if not is_stream or not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        made.close()
        # Accept=yes hands connections over, one for each process.
        raise OSError(errno.EINVAL, "no stream socket that listens: is it ListenStream=, with Accept=no?")
    return made
