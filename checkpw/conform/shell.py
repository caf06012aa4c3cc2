"""Shell lines by which a person sees by hand what the kit saw."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OCTAL = b"01234567"

NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
"""What a shell takes for the name of a variable."""


def quote_printf(data: bytes) -> str:
    r"""Return the argument with which printf(1) writes these bytes, in single quotes.

    >>> quote_printf(b"joe\0secret\0\0")
    "'joe\\0secret\\0\\0'"
    """
    words = []
    for at, byte in enumerate(data):
        if byte in b"%\\":
            words.append(chr(byte) * 2)
        elif 32 < byte < 127 and byte != 39 and not (byte == 45 and at == 0):
            words.append(chr(byte))
        elif byte == 32 and 0 < at < len(data) - 1:
            words.append(" ")
        elif byte == 10:
            words.append("\\n")
        elif data[at + 1 : at + 2] in (bytes([digit]) for digit in OCTAL):
            words.append(f"\\{byte:03o}")
        else:
            words.append(f"\\{byte:o}")
    return f"'{''.join(words)}'"


def quote(word: bytes | str) -> str:
    """Quote one word for a shell; what does not print stands in $'...'."""
    word = os.fsencode(word)
    if all(32 <= byte < 127 for byte in word):
        return shlex.quote(word.decode("ascii"))
    escaped = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}" for byte in word)
    return f"$'{escaped}'"


def quote_all(words: Sequence[bytes | str]) -> str:
    """Quote the words of a command for a shell."""
    return " ".join(quote(word) for word in words)


@dataclass(frozen=True, slots=True)
class ByHand:
    """What a shell line needs besides a program and a record.

    Attributes:
        before: what to do first, a command.
        after: what to do then, a command.
        front: a command that runs the program, in its first words.
        redirect: of descriptors, instead of 3 alone.
        path: of a file by which the record is given, instead of a pipe.
        is_held: whether the pipe stays open for a while.
        pieces: in which the record is written, instead of at once.
        pause: seconds between two of them.
    """

    before: str = ""
    after: str = "echo $?"
    front: str = ""
    redirect: str = ""
    path: str = ""
    is_held: bool = False
    pieces: tuple[bytes, ...] = ()
    pause: float = 0.2


BARE = ByHand(after="")


def recipe(
    argv: Sequence[bytes | str],
    record: bytes | None,
    by_hand: ByHand = BARE,
    *,
    environ: Mapping[bytes, bytes] | None = None,
) -> str:
    """Return the shell line that gives a record to a checkpassword program.

    Args:
        argv: the program, its arguments and what it is to run.
        record: for descriptor 3; None for a closed one.
        by_hand: what else it needs.
        environ: variables to set in front of it.
    """
    command = " ".join(part for part in (_settings(environ or {}), by_hand.front, quote_all(argv)) if part)
    path, pieces = by_hand.path, by_hand.pieces
    if path and record is not None:
        line = f"printf {quote_printf(record)} >{path}; {command} {by_hand.redirect or f'3<{path}'}"
    elif record is None:
        line = f"{command} {by_hand.redirect or '3<&-'}"
    else:
        writer = f"; sleep {by_hand.pause:g}; ".join(f"printf {quote_printf(piece)}" for piece in pieces or [record])
        writer += "; sleep 9" if by_hand.is_held else ""
        line = f"{f'({writer})' if by_hand.is_held or pieces else writer} | {command} {by_hand.redirect or '3<&0'}"
    return "; ".join(part for part in (by_hand.before, line, by_hand.after) if part)


def _settings(environ: Mapping[bytes, bytes]) -> str:
    """Give the words that set variables; names that a shell does not take are set by env(1)."""
    if all(NAME.fullmatch(name) for name in environ):
        return " ".join(f"{name.decode()}={quote(value)}" for name, value in environ.items())
    return quote_all(["env", *(b"%b=%b" % pair for pair in environ.items())])
