"""What programs in front of a session have in common: a client on 0 and 1, a log, last words, control files."""

import posix

from checkpw.cli.environment import Environment
from checkpw.cli.shared import DEFAULT_HOSTNAME
from checkpw.errors import TemporaryFailure
from checkpw.logline import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.logline import Value

LAST_WORDS_TIMEOUT = 1000
"""Milliseconds that a client has to take them."""


def demand_client() -> None:
    """See to it that there is a client; raises `TemporaryFailure`."""
    if not (posix.get_inheritable(0) and posix.get_inheritable(1)):
        raise TemporaryFailure("descriptor 0 or 1 is closed: run under a UCSPI server")


def demand_checker() -> None:
    """See to it that somebody has looked at the login that we are told of; raises `TemporaryFailure`.

    authup(8) gives login and password to whatever its chain begins with. Where they have come as far as to us, that was
    no checker, and nobody has said yes: each reads them to their end (cr.yp.to/checkpwd/interface.html).
    """
    from checkpw import fd3

    if fd3.is_unread():
        raise TemporaryFailure("descriptor 3 was not read to its end: by no checker, or by one that does not read it")


def say_last(words: bytes) -> None:
    """Tell the client in place of a greeting that nobody serves it, if it reads."""
    import select

    client = select.poll()
    client.register(1, select.POLLOUT)
    try:
        if client.poll(LAST_WORDS_TIMEOUT):  # else nobody reads; the exit status tells
            posix.write(1, words)
    except OSError:
        return


def log_of(program: str) -> "Callable[[dict[str, Value]], None]":
    """Return what writes the line of an event to standard error."""

    def log(fields: "dict[str, Value]") -> None:
        try:
            posix.write(2, render(program, fields))
        except OSError:
            return  # mail goes on without a log

    return log


def hostname(environment: Environment, protocol: bytes) -> bytes:
    """Return the name in greetings: the first word of control/smtpgreeting or pop3greeting, or control/me."""
    name = environment.host(b"", protocol + b"greeting", DEFAULT_HOSTNAME)
    return name.partition(b" ")[0] or DEFAULT_HOSTNAME
