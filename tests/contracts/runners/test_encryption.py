"""Encryption by whoever started us."""

import os
import socket
import threading
import time

import pytest
from running import NOT_BEFORE, PATIENCE, SHORT, lateness, one

from checkpw.operations import Receive, Secure, Send
from checkpw.runners.stdio import StdioRunner


@pytest.fixture(params=["three", "one"])
def encrypting(request):
    """Give a runner under a UCSPI-TLS server, the client's end in clear, and the server's: control, in, out."""
    clear, incoming = socket.socketpair()
    outgoing = incoming.dup()
    pairs = [socket.socketpair() for _ in range(3 if request.param == "three" else 1)]
    ours = [pair[0] for pair in pairs] * 3
    theirs = [pair[1].detach() for pair in pairs] * 3
    for end in (clear, *ours):
        end.settimeout(PATIENCE)
    given = (incoming.detach(), outgoing.detach())
    runner = StdioRunner(*given, tls=tuple(theirs[:3]))
    yield runner, clear, ours[:3]
    for descriptor in {*given, *(runner._tls or ())}:  # the runner has closed those that it has used
        os.close(descriptor)
    for end in (clear, *ours):
        end.close()


def told(runner, control, *pieces):
    """Have TLS begun while a server tells these pieces, and give what comes of it."""

    def tell():
        assert control.recv(10) == b"Y"
        for piece in pieces:
            control.sendall(piece)
            time.sleep(0.01)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        return one(Secure(PATIENCE), runner)
    finally:
        thread.join(PATIENCE)


ENVIRON_BLOCK = b"SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=TLS_AES_256_GCM_SHA384\0SSL_X=\0OTHER=1\0SSL_NONE\0\0"


@pytest.mark.parametrize("size", [1, 20, 21, 1000])
def test_secure(encrypting, size):
    """TLS begins when the server is told so; from then on the client is where the server says, and nowhere else.

    What came in clear and was not read is the server's: it may be the beginning of the handshake.
    """
    runner, clear, (control, ours_out, ours_in) = encrypting
    clear.sendall(b"unread")
    pieces = [ENVIRON_BLOCK[at : at + size] for at in range(0, len(ENVIRON_BLOCK), size)]
    secured = told(runner, control, *pieces)
    assert secured.discarded == 0
    assert secured.environ == {
        b"SSL_PROTOCOL": b"TLSv1.3",
        b"SSL_CIPHER": b"TLS_AES_256_GCM_SHA384",
        b"SSL_X": b"",
    }
    ours_out.sendall(b"EHLO x\r\n")
    assert one(Receive(PATIENCE), runner) == b"EHLO x\r\n"
    one(Send(b"250 x\r\n", PATIENCE), runner)
    assert ours_in.recv(100) == b"250 x\r\n"
    with pytest.raises(ConnectionResetError):  # nobody has that connection any more
        clear.recv(100)
    with pytest.raises(OSError, match="UCSPI-TLS"):
        one(Secure(PATIENCE), runner)


def test_what_stands_behind_what_is_told(encrypting):
    """Where one socket is for everything, the client's first words may come together with the end of what is told."""
    runner, _, (control, ours_out, _) = encrypting
    if ours_out is not control:
        told(runner, control, ENVIRON_BLOCK + b"no words of a client")
        ours_out.sendall(b"EHLO x\r\n")
    else:
        told(runner, control, ENVIRON_BLOCK + b"EHLO x\r\n")
    assert one(Receive(PATIENCE), runner) == b"EHLO x\r\n"


def test_a_tls_server_that_says_nothing(encrypting):
    """The time limit is for all of it, also where the server goes on and on."""
    runner, _, (control, *_) = encrypting
    assert NOT_BEFORE <= lateness(lambda: one(Secure(SHORT), runner)) < PATIENCE
    is_over = threading.Event()

    def trickle():
        while not is_over.wait(0.01):
            control.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert NOT_BEFORE <= lateness(lambda: one(Secure(SHORT), runner)) < PATIENCE
    finally:
        is_over.set()
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([], "handshake failed"),
        ([b"\0"], "broke off"),
        ([b"SSL_PROTOCOL=TLSv1.3\0"], "broke off"),
        ([b"S", b"S", b"L"], "broke off"),
        ([b"SSL_X=" + b"x" * 65531], "too much"),
        ([b"x\0" * 40000], "too much"),
    ],
)
def test_a_tls_server_that_fails(encrypting, pieces, said):
    """What is told ends with two NULs and has a limit, else nothing is encrypted, and the client stays who it was."""
    runner, _, (control, *_) = encrypting

    def tell():
        control.recv(1)
        for piece in pieces:
            control.sendall(piece)
        control.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=tell)
    thread.start()
    with pytest.raises(OSError, match=said):
        one(Secure(PATIENCE), runner)
    thread.join(PATIENCE)


def test_a_tls_server_that_is_gone(encrypting):
    """Nobody to tell that TLS begins is an OSError."""
    runner, _, (control, *_) = encrypting
    control.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="Broken pipe"):
        one(Secure(PATIENCE), runner)
