"""Clients in Python, for what smtpload cannot do: TLS, connections that idle, connections that are reset."""

import os
import socket
import ssl
import struct
import time
import traceback

LINES = b"".join(b"%s%0*d\r\n" % (b".." if n % 20 == 3 else b"xy", 74, n) for n in range(26))
"""2 KB as smtpload sends it: lines of 78 bytes, some with a dot that is doubled."""


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def connect(port, secured=None):
    """Connect and take the greeting; with a context, over TLS."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if secured:
        connection = secured.wrap_socket(connection)
    hear(connection, b"220")
    return connection


def hear(connection, code):
    words = b""
    while not words.endswith(b"\n") or words.splitlines()[-1][3:4] == b"-":
        part = connection.recv(4096)
        assert part, "the server has closed"
        words += part
    assert words.startswith(code), words


def say(connection, words, code=b"250"):
    connection.sendall(words)
    hear(connection, code)


def converse(port, secured, body):
    """Send one message with this body in one session."""
    connection = connect(port, secured)
    for words, code in (
        (b"EHLO client.example\r\n", b"250"),
        (b"MAIL FROM:<a@b.example>\r\n", b"250"),
        (b"RCPT TO:<c@d.example>\r\n", b"250"),
        (b"DATA\r\n", b"354"),
    ):
        say(connection, words, code)
    view = memoryview(b"From: a@b.example\r\nTo: c@d.example\r\nSubject: x\r\n\r\n" + body + b".\r\n")
    for start in range(0, len(view), 262_144):
        connection.sendall(view[start : start + 262_144])
    hear(connection, b"250")
    say(connection, b"QUIT\r\n", b"221")
    connection.close()


def greet(port, secured):
    """Shake hands, take the greeting and go."""
    connect(port, secured).close()


def in_processes(count, act, port, is_secured, *words, processes=4):
    """Do `act(port, secured, ...)` so often in all, in several processes; return how often a second."""
    share = count // processes
    began = time.monotonic()
    children = []
    for _ in range(processes):
        if child := os.fork():
            children.append(child)
            continue
        try:
            secured = context() if is_secured else None
            for _ in range(share):
                act(port, secured, *words)
            os._exit(0)
        except (OSError, AssertionError):
            traceback.print_exc()
        finally:
            os._exit(1)
    failures = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    assert not failures, f"{failures} clients failed"
    return share * processes / (time.monotonic() - began)


def idle(port, secured):
    """Return the descriptor of a connection that has said EHLO; with TLS, our side of it is forgotten."""
    connection = connect(port, secured)
    say(connection, b"EHLO client.example\r\n")
    return connection.detach()


def time_of_ehlo(port, secured):
    """Return the seconds from connect to the answer to EHLO."""
    began = time.perf_counter()
    connection = connect(port, secured)
    say(connection, b"EHLO client.example\r\n")
    spent = time.perf_counter() - began
    say(connection, b"QUIT\r\n", b"221")
    connection.close()
    return spent


def reset(port, number):
    """Connect and reset: at once, or in the middle of a handshake."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if number % 2:
        outgoing = ssl.MemoryBIO()
        half = context().wrap_bio(ssl.MemoryBIO(), outgoing)
        try:
            half.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read()[: None if number % 4 == 1 else 100])
        if number % 8 == 1:
            connection.recv(1)
    connection.close()
