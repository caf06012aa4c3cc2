"""How people hand us a password: a hidden prompt, or the first line of standard input; never an argument."""

import os

import click

from checkpw.errors import Misuse
from checkpw.secret import Secret

MAX_LINE = 4096
"""A longer line is no login and no password: somebody piped in the wrong file."""


def password(*, from_stdin: bool, confirm: bool) -> Secret:
    """Return the password that somebody types or pipes in.

    Args:
        from_stdin: take the first line of standard input, without its newline, as it is.
        confirm: ask twice, if asking.

    Raises:
        Misuse: there is none, or nobody to ask.
        click.Abort: whoever was asked gave up.
    """
    if from_stdin:
        value = read_line("password")
    elif not is_terminal():
        raise click.UsageError("standard input is not a terminal to ask for a password: give --stdin")
    else:
        value = os.fsencode(click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True, type=str))
    if not value:
        raise Misuse("the password is empty")
    if b"\0" in value:
        raise Misuse("there is a NUL in the password")
    return Secret(value)


def is_terminal() -> bool:
    """Tell whether descriptor 0 is somebody who can be asked."""
    return os.isatty(0)


def read_line(what: str) -> bytes:
    """Read one line of descriptor 0, and not a byte more: the rest belongs to somebody else.

    Raises:
        Misuse: the input has ended, or the line is absurdly long.
    """
    line = bytearray()
    while piece := os.read(0, 1):
        if piece == b"\n":
            return bytes(line)
        line += piece
        if len(line) > MAX_LINE:
            raise Misuse(f"the line with the {what} is longer than {MAX_LINE} bytes")
    if not line:
        raise Misuse(f"standard input has no line with the {what}")
    return bytes(line)
