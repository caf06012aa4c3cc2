"""Where clients are listened to: addresses as an administrator writes them, and sockets made of them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Any

from checkpw.errors import TemporaryFailure

BACKLOG = 4096
"""Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn. From 50 clients that connect at once
a backlog of 20, tcpserver's, loses some."""

TLS, STARTTLS, PLAIN = "tls", "starttls", "plain"

SUBMISSIONS = 465
"""The port of submission with implicit TLS (RFC 8314 section 7.3)."""

FORMS = "want ADDRESS:PORT, [IPV6]:PORT, :PORT or /PATH, then ,tls or ,starttls or ,plain and ,proxy"


class Wanted:
    """A listener as it was asked for.

    Attributes:
        place: (host, port), or the path of a unix socket.
        kind: TLS, STARTTLS or PLAIN; None to follow from the port and whether there is a certificate.
        is_proxied: each connection begins with a PROXY header.
    """

    __slots__ = ("is_proxied", "kind", "place", "text")

    def __init__(self, text: str) -> None:
        """Read `ADDRESS:PORT[,tls|,starttls|,plain][,proxy]`; raises `ValueError` with a text for people."""
        place, *flags = text.split(",")
        self.text = place
        self.is_proxied = "proxy" in flags
        kinds = [flag for flag in flags if flag != "proxy"]
        if len(kinds) > 1 or flags.count("proxy") > 1 or not set(kinds) <= {TLS, STARTTLS, PLAIN}:
            raise ValueError(f"{text!r}: {FORMS}")
        self.kind = kinds[0] if kinds else None
        self.place: tuple[str, int] | str
        if place.startswith("/"):
            self.place = place
            return
        host, colon, port = place.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r}: {FORMS}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address stands in brackets")
        self.place = (host, int(port))

    def kind_with(self, *, has_certificate: bool) -> str:
        """Return the kind; raises `ValueError` if it needs a certificate and there is none."""
        is_submissions = isinstance(self.place, tuple) and self.place[1] == SUBMISSIONS
        kind = self.kind or (TLS if is_submissions else STARTTLS if has_certificate else PLAIN)
        if kind != PLAIN and not has_certificate:
            raise ValueError(f"{self.text}: {kind} needs --tls-cert")
        return kind


class Listener:
    """A socket that listens, and how its clients are spoken to.

    Attributes:
        name: for log and counters.
        here: address and port of our end of each connection; None where that differs.
    """

    __slots__ = ("_file", "here", "is_proxied", "kind", "name", "socket")

    def __init__(
        self, listening: socket.socket, name: str, kind: str, *, is_proxied: bool, is_ours: bool = True
    ) -> None:
        """Know a socket; `is_ours` if nobody else has made it, so that its file is removed at the end."""
        self.socket = listening
        self.name = name
        self.kind = kind
        self.is_proxied = is_proxied
        self.here: tuple[str, int] | None = None
        if listening.family != socket.AF_UNIX and (address := listening.getsockname())[0] not in ("0.0.0.0", "::"):  # noqa: S104  this compares
            self.here = address[:2]

        self._file = _identity(self.name) if is_ours and listening.family == socket.AF_UNIX else None

    def close(self) -> None:
        """Listen no more, and remove the file of a unix socket, once; what somebody else has there by now stays."""
        self.socket.close()
        file, self._file = self._file, None  # whose number another file may have from now on
        if file is not None and _identity(self.name) == file:
            with contextlib.suppress(OSError):  # who may not remove it leaves it: the next start takes its place
                os.unlink(self.name)

    @property
    def is_tls(self) -> bool:
        """Whether a connection begins with a TLS handshake."""
        return self.kind == TLS

    @property
    def offers_starttls(self) -> bool:
        """Whether a client may ask for TLS."""
        return self.kind == STARTTLS


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listen(wanted: Wanted) -> list[socket.socket]:
    """Return sockets that listen at a place: one for each address that a name has.

    Raises:
        TemporaryFailure: somebody else does, or we may not.
    """
    try:
        if isinstance(wanted.place, str):
            return [_listen_at(wanted.place)]
        host, port = wanted.place
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _listen_on_all(found)
    except OSError as error:
        raise TemporaryFailure(f"unable to listen on {wanted.text}: {error.strerror or error}") from None


def _listen_on_all(found: list[Any]) -> list[socket.socket]:
    """Listen on each address that a name has; a family that the kernel does not speak is left out, if another is."""
    made: list[socket.socket] = []
    failure = None
    for family, _type, _protocol, _name, address in found:
        try:
            made.append(_listen_on(family, address))
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            failure = error
    if failure is not None and not made:
        raise failure
    return made


def prepare(listening: socket.socket) -> None:
    """Set what accepted connections inherit."""
    listening.settimeout(0)
    if listening.family != socket.AF_UNIX:
        # Replies are collected and written at once: what is written is to go out now.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen_on(family: int, address: object) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
        listening.listen(BACKLOG)
        prepare(listening)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_at(path: str) -> socket.socket:
    """Listen on a unix socket. One that nobody listens on any more is replaced; anything else is left alone."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_abandoned(path):
            os.unlink(path)
        listening.bind(path)
        listening.listen(BACKLOG)
        prepare(listening)
    except OSError:
        listening.close()
        raise
    return listening


def _is_abandoned(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False
