"""What an administrator decided about a middleman."""


class Manners:
    """The settings of one session.

    Attributes:
        observes: the server's own AUTH is let through and believed.
        relays_for_all: who has not logged in may send, too.
        offers_starttls: the runner performs `Secure`.
        requires_tls: before STARTTLS there is no AUTH and no mail.
        idle_timeout: seconds that a client has to say something, or to read what we say.
        handshake_timeout: seconds that a TLS handshake may take.
        server_timeout: seconds that the server has for an answer.
        errors, auth_failures: commands and logins that may fail.
    """

    __slots__ = (
        "auth_failures",
        "errors",
        "handshake_timeout",
        "idle_timeout",
        "observes",
        "offers_starttls",
        "relays_for_all",
        "requires_tls",
        "server_timeout",
    )

    def __init__(
        self,
        *,
        observes: bool = False,
        relays_for_all: bool = False,
        offers_starttls: bool = False,
        requires_tls: bool = False,
        idle_timeout: float = 300.0,
        handshake_timeout: float = 30.0,
        server_timeout: float = 600.0,
        errors: int = 20,
        auth_failures: int = 5,
    ) -> None:
        self.observes = observes
        self.relays_for_all = relays_for_all
        self.offers_starttls = offers_starttls
        self.requires_tls = requires_tls
        self.idle_timeout = idle_timeout
        self.handshake_timeout = handshake_timeout
        self.server_timeout = server_timeout
        self.errors = errors
        self.auth_failures = auth_failures
