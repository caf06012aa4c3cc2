"""Proof that somebody has just logged in, from the process that verified it to the one that opens the queue.

Between the two stands a worker, which talks to the network and is believed by neither. The verifier gives it a ticket
for each login that was verified, and the opener takes a login from nothing but a ticket. Both hold a key that the
worker never sees; a worker that was taken over can use the tickets that it was given, until they expire, and make none.

A ticket is the MAC, the time at which it expires (eight bytes, most significant first), and the login.
"""

import fcntl
import os
from hashlib import blake2b
from hmac import compare_digest
from mmap import mmap
from struct import Struct

from checkpw.errors import TemporaryFailure

KEY_BYTES = 32
MAC_BYTES = 32
MAX_LOGIN = 512
"""Bytes of a login: descriptor 3 carries no more (cr.yp.to/checkpwd/interface.html)."""

_EXPIRES = Struct(">Q")
_HEAD = MAC_BYTES + _EXPIRES.size
_PERSON = b"checkpw ticket"  # so that no other use of the key, if there ever is one, makes tickets
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def make(key: bytes, login: bytes, expires: int) -> bytes:
    """Return a ticket.

    Args:
        key: of `load_key`.
        login: who has just logged in; 1 to 512 bytes.
        expires: the second from which on the ticket is worth nothing, by any clock that both processes read, such as
            `time.monotonic()`.
    """
    if not 0 < len(login) <= MAX_LOGIN:
        raise ValueError("a ticket is for a login of 1 to 512 bytes")
    signed = _EXPIRES.pack(expires) + login
    return _mac(key, signed) + signed


def read(key: bytes, ticket: bytes, now: float) -> bytes | None:
    """Return the login of a ticket that was made with `key` and has not expired, None for anything else."""
    mac, signed = ticket[:MAC_BYTES], ticket[MAC_BYTES:]
    if not _HEAD < len(ticket) <= _HEAD + MAX_LOGIN or not compare_digest(mac, _mac(key, signed)):
        return None
    (expires,) = _EXPIRES.unpack_from(signed)
    return signed[_EXPIRES.size :] if now < expires else None


def _mac(key: bytes, signed: bytes) -> bytes:
    return blake2b(signed, digest_size=MAC_BYTES, key=key, person=_PERSON).digest()


def shared_key() -> int:
    """Return a descriptor of a sealed memory file that holds a new key, which nobody has seen yet.

    The supervisor calls this, and every process is a copy of the supervisor: so the kernel writes the random bytes
    straight into the file's own page, and nothing of them stays in the supervisor's memory. A process that is to know
    nothing closes the descriptor; the others call `load_key`.

    Raises:
        TemporaryFailure: the system has no memory files or no random bytes.
    """
    descriptor = -1
    try:
        descriptor = os.memfd_create("checkpw key", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, KEY_BYTES)
        _fill(descriptor)
        # Refused while the page is mapped for writing anywhere, which is the proof that it is not any more.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise TemporaryFailure(f"unable to make a key: {error.strerror}") from None
    return descriptor


def _fill(descriptor: int) -> None:
    source = os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with mmap(descriptor, KEY_BYTES) as page:
            got = os.readv(source, [page])
    finally:
        os.close(source)
    if got != KEY_BYTES:
        raise TemporaryFailure("unable to make a key: /dev/urandom gave less than was asked for")


def load_key(descriptor: int) -> bytes:
    """Return the key behind a descriptor of `shared_key`, which stays open; raises `TemporaryFailure` if it is none."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        key = os.pread(descriptor, KEY_BYTES + 1, 0)
    except OSError as error:
        raise TemporaryFailure(f"unable to read the key: {error.strerror}") from None
    if seals != _SEALS or len(key) != KEY_BYTES:
        raise TemporaryFailure("unable to read the key: what was handed in is no key")
    return key
