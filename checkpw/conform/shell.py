"""Shell lines by which a person sees by hand what the kit saw."""

import os
import shlex
from collections.abc import Mapping, Sequence

OCTAL = b"01234567"


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


def recipe(
    argv: Sequence[bytes | str],
    record: bytes | None,
    *,
    environ: Mapping[bytes, bytes] | None = None,
    before: str = "",
    after: str = "",
) -> str:
    """Return the shell line that gives a record to a checkpassword program.

    Args:
        argv: the program, its arguments and what it is to run.
        record: for descriptor 3; None for a closed one.
        environ: variables to set in front of it.
        before: what to do first, a command.
        after: what to do then, a command.
    """
    settings = "".join(f"{os.fsdecode(name)}={quote(value)} " for name, value in (environ or {}).items())
    command = f"{settings}{quote_all(argv)}"
    if record is None:
        line = f"{command} 3<&-"
    else:
        line = f"printf {quote_printf(record)} | {command} 3<&0"
    return "; ".join(part for part in (before, line, after) if part)
