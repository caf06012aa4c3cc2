"""UCSPI-TLS, the program's side (ucspi-tls(2) of ucspi-ssl): the server that started us does TLS when it is told to.

It gave us the connection in clear as descriptors 0 and 1, and three more: on the first we say that TLS is to begin and
hear what came of it; the others are the client from then on. Those in clear are never used again.
"""

import posix
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

START = b"Y"
"""Begin, and tell about the connection."""

END = b"\0\0"

MAX_BLOCK = 64 * 1024
"""Bytes of what is told about a connection. It goes into the environment of programs, where Linux takes 128 KiB of
one variable (execve(2)); s6-tlsserver hands on 4 KiB, and servers that tell certificates need more."""

PIECE = 4096
PREFIX = b"SSL_"
UNKNOWN = b"unknown"


def start(control: int, reading: int, writing: int, wait: "Callable[[int, int], None]") -> dict[bytes, bytes]:
    """Have TLS begin, and return what is told of the connection once it is encrypted: variables of mod_ssl's names.

    Args:
        control: where we say so.
        reading: where the client's words will come, and
        writing: ours go to. They may be the same as `control`, and then only what is told may be read of it.
        wait: waits until a descriptor has an event of poll; may raise.

    Raises:
        OSError: TLS was not begun; most often by the client's fault.
    """
    wait(control, select.POLLOUT)
    posix.write(control, START)
    size = 1 if control in (reading, writing) else PIECE
    block = b""
    while END not in block[-PIECE - 1 :]:
        wait(control, select.POLLIN)
        piece = posix.read(control, size)
        if not piece:  # a handshake that failed is told by this alone
            raise OSError("the TLS server broke off" if block else "the TLS handshake failed")
        block += piece
        if len(block) > MAX_BLOCK:
            raise OSError("the TLS server tells too much about the connection")
    return {b"SSL_PROTOCOL": UNKNOWN, b"SSL_CIPHER": UNKNOWN} | _variables(block.partition(END)[0])


def _variables(told: bytes) -> dict[bytes, bytes]:
    """Return the variables that may come from a TLS server; a name without `=` says that there is no such thing."""
    entries = (entry.partition(b"=") for entry in told.split(b"\0"))
    return {name: value for name, equals, value in entries if equals and name.startswith(PREFIX)}


def change_over(control: int, reading: int, writing: int, incoming: int, outgoing: int) -> None:
    """Put what is encrypted in the place of what is in clear, which nobody can use any more."""
    posix.dup2(reading, incoming)
    posix.dup2(writing, outgoing)
    for descriptor in {control, reading, writing}:
        posix.close(descriptor)
