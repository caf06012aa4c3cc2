"""The settings that several front ends have: times, limits, who has logged in, and TLS."""

import posix

from checkpw.cli.environment import MAX_DIGITS, Environment
from checkpw.errors import TemporaryFailure

DEFAULT_HOSTNAME = b"ofmipd.local"
DEFAULT_TIMEOUT = 300.0  # RFC 5321 section 4.5.3.2.7


def read_idle_timeout(
    environment: Environment, control: bytes = b"timeoutsmtpd", default: float = DEFAULT_TIMEOUT
) -> float:
    """Return the seconds that a client has to say something; raises `TemporaryFailure` for what is no number."""
    return environment.seconds(b"OFMIPD_TIMEOUT", default, control=control)


def read_errors(environment: Environment) -> int:
    """Return how many commands of a session may fail; raises as `read_idle_timeout`."""
    return environment.number(b"OFMIPD_ERRORS", 20, 1)


def read_auth_delay(environment: Environment) -> float:
    """Return the seconds from the start of a check to a 535; raises as `read_idle_timeout`."""
    return environment.seconds(b"OFMIPD_AUTH_DELAY", 5.0, may_be_none=True)


def read_checker_timeout(environment: Environment) -> float:
    """Return the seconds that a checker has; raises as `read_idle_timeout`."""
    return environment.seconds(b"OFMIPD_CHECKER_TIMEOUT", 30.0)


def read_queue_timeout(environment: Environment) -> float:
    """Return the seconds that whoever takes a message has; raises as `read_idle_timeout`."""
    return environment.seconds(b"OFMIPD_QUEUE_TIMEOUT", 600.0)


def read_login(environment: Environment) -> bytes | None:
    """Return who has logged in before we were started, as authup(8) says; None for nobody."""
    return environment.word(b"AUTHUP_USER") or None


def demands_tls(environment: Environment) -> bool:
    """Tell whether nobody logs in without TLS."""
    return environment.is_set(b"OFMIPD_REQUIRE_TLS") or _starttls_policy(environment) == b"!"


def _starttls_policy(environment: Environment) -> bytes:
    """Return what `$UCSPITLS` says (authup(8) of acceptutils): `!` demands TLS, `-` is no, everything else an offer."""
    if environment.is_set(b"DISABLETLS") or not environment.is_set(b"UCSPITLS"):
        return b"-"
    return environment.word(b"UCSPITLS")


TLS_VARIABLES = (b"SSLCTLFD", b"SSLREADFD", b"SSLWRITEFD")


def read_starttls(environment: Environment) -> tuple[int, int, int] | None:
    """Return control, reading and writing descriptor of the UCSPI-TLS server, None where STARTTLS is not offered.

    Raises:
        TemporaryFailure: what should be one of them cannot be.
    """
    given = [environment.word(name) for name in TLS_VARIABLES]
    if _starttls_policy(environment) == b"-" or not any(given):
        return None
    control, reading, writing = map(_descriptor, TLS_VARIABLES, given)
    return control, reading, writing


def _descriptor(name: bytes, text: bytes) -> int:
    if not text.isdigit() or len(text) > MAX_DIGITS or int(text) <= 2:
        raise TemporaryFailure(f"{name.decode()}: {text!a} is not the number of a descriptor above 2")
    try:
        posix.fstat(int(text))
    except (OSError, OverflowError):
        raise TemporaryFailure(f"{name.decode()}: descriptor {text.decode()} is closed") from None
    return int(text)
