"""A hash to compute in vain for an unknown login, of the cost that the store's own accounts have."""

from _blake2 import blake2b

from checkpw import hashes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

FALLBACK = b"$6$checkpwdecoy0000$"
"""For a store without a single usable hash. It matches nothing: a result is longer than this."""

SAMPLE = 8192
"""Bytes of the store that key the choice. Who cannot read the store cannot tell which hash a login draws."""

TRIES = 1000
"""Lines looked at from the place drawn, until one has a usable hash. The search costs a known login the same."""


def choose(content: "bytes | mmap", login: bytes) -> bytes:
    """Draw a hash from lines of the form `login:hash:...`, the same for a login while the store stays the same.

    In a store of several schemes an unknown login then behaves like some account, always the same one.
    """
    drawn = blake2b(login[:512], key=blake2b(content[:SAMPLE], digest_size=32).digest(), digest_size=8).digest()
    size = len(content)
    start = int.from_bytes(drawn) % size if size else 0
    start = content.rfind(b"\n", 0, start) + 1
    for _ in range(TRIES):
        end = content.find(b"\n", start)
        line = content[start : end if end >= 0 else size]
        stored = line.split(b":", 2)[1].rstrip(b"\r") if b":" in line else b""
        if hashes.usable(stored) and not line.startswith(b"#"):
            return stored
        if end < 0 and start == 0:
            break
        start = end + 1 if 0 <= end < size - 1 else 0
    return FALLBACK
