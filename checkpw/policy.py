"""What an administrator decided about submission; the defaults are the table of ofmipd(8)."""

from checkpw.mess822.hostrules import HostRules
from checkpw.smtp.limits import Limits


class Policy:
    """Settings that every session of a server shares.

    Attributes:
        hostname: in replies and in the trace field.
        limits: of the session engine.
        relays_for_all: RELAYCLIENT is set, and counts.
        requires_tls: AUTH is refused on a connection that is not encrypted.
        header_bytes: limit of a header, 0 for any size.
        hops: so many Received fields are too many; 100 as in qmail-smtpd.
        idle_timeout: seconds in which a client has to say something, or to read what we say (RFC 5321 4.5.3.2.7).
        handshake_timeout: seconds that a TLS handshake may take; between the 10 of Netty, and of Postfix under stress,
            and the 60 of nginx and asyncio.
        least_rate: bytes per second that a client has to send of a message, from `GRACE` seconds on; 0 for any.
        auth_delay: seconds from the start of a check to a 535.
        shows_user, shows_ip: whether the trace field has them.
        host_rules: for the hosts of all addresses, in the envelope and in the header.
        id_host: what follows the `@` in the Message-IDs that are made here; None for the hostname.
        keeps_groups: groups of addresses in the header stay groups.
    """

    __slots__ = (
        "auth_delay",
        "handshake_timeout",
        "header_bytes",
        "hops",
        "host_rules",
        "hostname",
        "id_host",
        "idle_timeout",
        "keeps_groups",
        "least_rate",
        "limits",
        "relays_for_all",
        "requires_tls",
        "shows_ip",
        "shows_user",
    )

    def __init__(
        self,
        hostname: bytes,
        limits: Limits,
        *,
        relays_for_all: bool = False,
        requires_tls: bool = False,
        header_bytes: int = 256 * 1024,
        hops: int = 100,
        idle_timeout: float = 300.0,
        handshake_timeout: float = 30.0,
        least_rate: int = 0,
        auth_delay: float = 5.0,
        shows_user: bool = True,
        shows_ip: bool = True,
        host_rules: HostRules | None = None,
        id_host: bytes | None = None,
        keeps_groups: bool = False,
    ) -> None:
        self.hostname = hostname
        self.limits = limits
        self.relays_for_all = relays_for_all
        self.requires_tls = requires_tls
        self.header_bytes = header_bytes
        self.hops = hops
        self.idle_timeout = idle_timeout
        self.handshake_timeout = handshake_timeout
        self.least_rate = least_rate
        self.auth_delay = auth_delay
        self.shows_user = shows_user
        self.shows_ip = shows_ip
        self.host_rules = HostRules() if host_rules is None else host_rules
        self.id_host = hostname if id_host is None else id_host
        self.keeps_groups = keeps_groups
