"""authup(8): the session before a login, by protocol, from settings and control files."""

import posix
import time

from checkpw.cli import front

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.cli.environment import Environment
    from checkpw.conversation import Session
    from checkpw.smtp.limits import Limits
    from checkpw.smtp.replies import Reply

CAPABILITIES = {b"smtp": (b"PIPELINING", b"8BITMIME"), b"pop3": (b"TOP", b"UIDL")}
"""What the server behind a login can do where no control file says it: qmail-smtpd, ofmipd and qmail-pop3d can."""

OURS = {
    b"smtp": (b"AUTH", b"STARTTLS"),
    b"pop3": (b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"USER", b"STLS"),
}
"""What is said where it is so, whatever a control file says."""


def make(
    protocol: bytes,
    environment: "Environment",
    limits: "Limits",
    *,
    auth_refusal: "Reply | None",
    uses_tls: bool,
    offers_tls: bool,
    offers_cram: bool,
) -> "Session":
    """Return the session; raises `TemporaryFailure`.

    Args:
        protocol: smtp or pop3.
        environment: settings.
        limits: how many commands and logins may fail.
        auth_refusal: why nobody can log in by now; None if they can.
        uses_tls: the connection is encrypted.
        offers_tls: it can be.
        offers_cram: CRAM-MD5 is offered, to a checker that keeps passwords in clear.
    """
    lines = environment.find_lines(protocol + b"capabilities")
    capabilities: tuple[bytes, ...] = CAPABILITIES[protocol]
    if lines is not None:
        capabilities = tuple(line for line in lines if line and line.split()[0].upper() not in OURS[protocol])
    hostname = front.hostname(environment, protocol)
    stamp = b"<%d.%d@%s>" % (posix.getpid(), time.time_ns() // 1000, hostname)
    if protocol == b"pop3":
        from checkpw.pop3 import Pop3Login

        return Pop3Login(
            stamp,
            limits,
            auth_refusal=auth_refusal,
            capabilities=capabilities,
            offers_apop=environment.is_set(b"AUTHUP_APOP"),
            offers_stls=offers_tls,
            uses_tls=uses_tls,
        )
    from checkpw import sasl
    from checkpw.smtp.offers import Offers
    from checkpw.smtp.session import Session

    mechanisms = sasl.MECHANISMS
    if offers_cram:
        mechanisms = mechanisms | {sasl.CramMd5.name: lambda: sasl.CramMd5(stamp)}
    offers = Offers(
        stands_for=capabilities,
        mechanisms=mechanisms,
        is_legacy=environment.is_set(b"AUTHUP_SASL_BROKEN_CLIENTS"),
    )
    return Session(
        hostname, limits, auth_refusal=auth_refusal, offers=offers, offers_starttls=offers_tls, uses_tls=uses_tls
    )
