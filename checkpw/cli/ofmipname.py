"""ofmipname(8): builds the name.cdb of ofmipd from a table on descriptor 0."""

import posix

from checkpw.errors import TemporaryFailure
from checkpw.names import write_cdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = b"ofmipname: usage: ofmipname cdb tmp\n"
USAGE_STATUS = 100
"""DJB's status for wrong usage; ofmipname is part of no chain, in which it could be misunderstood."""


class UnreadableInput(Exception):
    """Descriptor 0 cannot be read; carries the reason."""


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int:
    """Build the database beside the old one, which it replaces in one step.

    Raises:
        TemporaryFailure: the old one is as it was.
    """
    del environ
    if len(argv) < 3:
        posix.write(2, USAGE)
        return USAGE_STATUS
    path, temporary = argv[1], argv[2]
    if not posix.get_inheritable(0):  # it was closed, and now is /dev/null: an empty table
        raise TemporaryFailure("unable to read input: descriptor 0 is closed")
    posix.umask(0o033)
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC
        descriptor = posix.open(temporary, flags, 0o644)
        write_cdb(_lines(), descriptor)
        posix.close(descriptor)  # some file systems say only here that there is no room
    except UnreadableInput as error:
        raise TemporaryFailure(f"unable to read input: {error}") from None
    except OSError as error:
        raise TemporaryFailure(f"unable to create {temporary!a}: {error.strerror}") from None
    try:
        posix.rename(temporary, path)
    except OSError as error:
        raise TemporaryFailure(f"unable to move {temporary!a} to {path!a}: {error.strerror}") from None
    return 0


def _lines() -> "Iterator[bytes]":
    pieces: list[bytes] = []  # of the line that has not ended
    while block := _read():
        first, *others = block.split(b"\n")
        pieces.append(first)
        if others:
            yield b"".join(pieces)
            yield from others[:-1]
            pieces = others[-1:]
    yield b"".join(pieces)


def _read() -> bytes:
    try:
        return posix.read(0, 65536)
    except OSError as error:
        raise UnreadableInput(error.strerror) from None
