"""The doors `smtp:`, `smtps:` and `lmtp:`: each message goes on to a next hop (RFC 5321, RFC 2033), which says the 250.

A recipient that the next hop refuses is refused at RCPT, where the front end asks (`Relay.begin`); where it does not
(`Relay.open`), the message is refused as a whole before it comes, and nobody gets it. So nothing is lost in silence,
and nobody gets a message twice because somebody else did not. LMTP alone can still refuse some of the recipients
after the message: then it is refused, for now if one of them is, and who got it may get it again.

Before the final dot a connection that fails costs nothing; after it nothing is sent a second time.
"""

from checkpw.operations import TimedOut
from checkpw.queue.hop_replies import HopFailed
from checkpw.queue.nexthop import IMPLICIT, MAY
from checkpw.queue.smtp_client import Connection
from checkpw.queue.transaction import RelayTransaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.operations import Steps
    from checkpw.queue.nexthop import NextHop
    from checkpw.queue.transaction import RelayDelivery
    from checkpw.smtp.events import Envelope
    from checkpw.tls import TlsLayer

STEP_TIMEOUT = 120.0
"""Seconds for a reply before the message. RFC 5321 4.5.3.2 gives most of them 300, but our own client waits for ours
meanwhile, and after DATA no longer than 120."""


class Relay:
    """Sends messages to one next hop, over connections that are used again.

    Attributes:
        carries_smtputf8, carries_dsn, carries_requiretls: what the next hop offered when it was last greeted; until
            then, what the administrator vouches for.
    """

    def __init__(
        self,
        hop: "NextHop",
        hostname: bytes,
        dial: "Callable[[], Steps[int]]",
        encrypt: "Callable[[], TlsLayer] | None",
        timeout: float,
        now: "Callable[[], float]",
        *,
        idle_connections: int = 10,
        idle_timeout: float = 60.0,
        carries_smtputf8: bool = False,
        carries_dsn: bool = False,
        carries_requiretls: bool = False,
    ) -> None:
        """Relay to `hop`.

        Args:
            hop: who it is, and what TLS is to be.
            hostname: who we are.
            dial: gives a connected socket that does not block, which is ours from then on.
            encrypt: gives the client's side of TLS, before the handshake; only called where `hop.tls` wants it.
            timeout: seconds for the reply to a message; RFC 5321 4.5.3.2.6 asks for 600.
            now: counts seconds.
            idle_connections: so many at most are kept.
            idle_timeout: seconds for which they are kept.
            carries_smtputf8: the next hop is known to take UTF-8 addresses.
            carries_dsn: and wishes about delivery reports.
            carries_requiretls: and the demand for TLS.
        """
        self._hop = hop
        self._hostname = hostname
        self._dial = dial
        self._encrypt = encrypt
        self.timeout = timeout
        self.step_timeout = min(timeout, STEP_TIMEOUT)
        self._now = now
        self._idle: list[Connection] = []
        self._idle_connections = idle_connections
        self._idle_timeout = idle_timeout
        self.carries_smtputf8 = carries_smtputf8
        self.carries_dsn = carries_dsn
        self.carries_requiretls = carries_requiretls

    @property
    def is_lmtp(self) -> bool:
        """The next hop says for each recipient whether it has the message."""
        return self._hop.is_lmtp

    # Messages.

    def begin(self, envelope: "Envelope") -> "Steps[RelayTransaction]":
        """Ask the next hop about the sender; the recipients of `envelope` are offered as they come.

        Raises:
            MessageRefused: the sender is refused, or the hop cannot be asked.
        """
        transaction = RelayTransaction(self, envelope)
        yield from transaction.renew()
        return transaction

    def open(self, envelope: "Envelope", environ: dict[bytes, bytes]) -> "Steps[RelayDelivery]":
        """Have the next hop agree to sender and recipients; raises `MessageRefused` if it does not to all of them."""
        transaction = RelayTransaction(self, envelope)
        return (yield from transaction.open(envelope, environ))

    # Connections.

    def learn(self) -> "Steps[bool]":
        """Greet the next hop to learn what it can carry; tell whether it was there."""
        try:
            connection = yield from self.take()
        except HopFailed:
            return False
        yield from self.keep(connection)
        return True

    def take(self, *, is_fresh: bool = False) -> "Steps[Connection]":
        """Return a connection on which nothing is under way, a new one if need be or if that is wanted.

        Raises:
            HopFailed: there is none.
        """
        yield from self.close_idle(self._idle_timeout)
        while self._idle and not is_fresh:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            yield from connection.close()
        try:
            descriptor = yield from self._dial()
        except TimedOut:
            raise HopFailed("timeout", b"4.4.1") from None
        except OSError:
            raise HopFailed("unable to connect", b"4.4.1") from None
        connection = Connection(descriptor, self._now)
        try:
            yield from self._greet(connection)
        except BaseException:  # a signal too
            connection.drop()
            raise
        return connection

    def keep(self, connection: Connection) -> "Steps[None]":
        """Keep a connection on which nothing is under way any more, if there is room for it."""
        connection.is_fresh = False
        connection.idle_since = self._now()
        if len(self._idle) < self._idle_connections:
            self._idle.append(connection)
        else:
            yield from connection.quit()

    def close_idle(self, seconds: float = 0.0) -> "Steps[None]":
        """Close the connections that nobody has used for so many seconds: now and then, and at the end."""
        latest = self._now() - seconds
        while self._idle and self._idle[0].idle_since <= latest:  # the one that was used last is the last
            yield from self._idle.pop(0).quit()

    def _greet(self, connection: Connection) -> "Steps[None]":
        hop, timeout = self._hop, self.step_timeout
        if hop.tls == IMPLICIT:
            yield from self._secure(connection)
        reply = yield from connection.reply(timeout)
        if not reply.is_positive:
            raise HopFailed(f"it greets with {reply.code} {reply.text.decode('ascii', 'replace')}")
        verb = b"LHLO" if hop.is_lmtp else b"EHLO"
        yield from connection.hello(verb, self._hostname, timeout)
        if hop.tls == MAY or (hop.is_verified and not connection.is_encrypted):
            if b"STARTTLS" in connection.extensions:
                reply = yield from connection.command(b"STARTTLS\r\n", timeout)
                if not reply.is_positive:
                    raise HopFailed(f"it says {reply.code} to STARTTLS")
                yield from self._secure(connection)
                yield from connection.hello(verb, self._hostname, timeout)
            elif hop.is_verified:
                raise HopFailed("it does not offer STARTTLS")
        if not hop.is_verified:  # RFC 8689 section 4.2.1 wants to know whom it is encrypted for
            connection.extensions.pop(b"REQUIRETLS", None)
        extensions = connection.extensions
        self.carries_smtputf8 = b"SMTPUTF8" in extensions and b"8BITMIME" in extensions
        self.carries_dsn = b"DSN" in extensions
        self.carries_requiretls = b"REQUIRETLS" in extensions

    def _secure(self, connection: Connection) -> "Steps[None]":
        assert self._encrypt is not None
        yield from connection.secure(self._encrypt(), self.step_timeout)
