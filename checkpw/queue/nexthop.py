"""Where a relay door leads: `smtp://host:port`, `smtps://host:port`, `lmtp://host:port`, `lmtp:///path`, options."""

from checkpw.errors import TemporaryFailure
from checkpw.operations import Connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.operations import Steps

NEVER, MAY, VERIFY, IMPLICIT = "never", "may", "verify", "implicit"
"""What TLS is to be: not there; STARTTLS when it is offered, whoever answers; STARTTLS with a certificate that is
good for the host, or no mail; the same from the first byte on."""

PORTS = {b"smtp": 25, b"smtps": 465, b"lmtp": 24}
"""Scheme: the port that goes without saying. RFC 2033 forbids 25 for LMTP; 24 is "any private mail system"."""

HOST_BYTES = b"-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ADDRESS_BYTES = b":.0123456789ABCDEFabcdef"

WANTED = "want smtp://HOST[:PORT], smtps://HOST[:PORT], lmtp://HOST[:PORT] or lmtp:///PATH"


class NextHop:
    """A server that takes our mail.

    Attributes:
        host: name or address; or the path of a unix socket, beginning with a slash.
        port: of the host.
        is_lmtp: it speaks LMTP (RFC 2033).
        tls: NEVER, MAY, VERIFY or IMPLICIT.
        ca_file: certificates of the CAs that may vouch for the host; empty for those of the system.
    """

    __slots__ = ("ca_file", "host", "is_lmtp", "port", "tls")

    def __init__(
        self, host: bytes, port: int, *, is_lmtp: bool = False, tls: str = NEVER, ca_file: bytes = b""
    ) -> None:
        self.host = host
        self.port = port
        self.is_lmtp = is_lmtp
        self.tls = tls
        self.ca_file = ca_file

    @property
    def is_verified(self) -> bool:
        """Whoever gets a message has shown that it is the host."""
        return self.tls in (VERIFY, IMPLICIT)

    @classmethod
    def parse(cls, url: bytes) -> "NextHop":
        """Read a URL; `?tls=never|may|verify` and `&ca=/path` are its options.

        Without an option TLS is MAY, and on this machine NEVER: there it hides nothing and takes time.

        Raises:
            TemporaryFailure: it is none.
        """
        rest, _, query = url.partition(b"?")
        scheme, colon, place = rest.partition(b"://")
        if scheme not in PORTS or not colon:
            raise _unfit(url, WANTED)
        if scheme == b"lmtp" and place.startswith(b"/"):
            hop = cls(place, 0, is_lmtp=True)
        else:
            host, port = _authority(url, place.removesuffix(b"/"), PORTS[scheme])
            tls = NEVER if is_loopback(host) else MAY
            hop = cls(host, port, is_lmtp=scheme == b"lmtp", tls=IMPLICIT if scheme == b"smtps" else tls)
        for option in query.split(b"&") if query else ():
            name, _, value = option.partition(b"=")
            mode = value.decode("ascii", "replace")
            if name == b"tls" and mode in (NEVER, MAY, VERIFY) and hop.port and hop.tls != IMPLICIT:
                hop.tls = mode
            elif name == b"ca" and value.startswith(b"/"):
                hop.ca_file = value
            else:
                raise _unfit(url, f"there is no option {option!a} for it")
        if hop.ca_file and not hop.is_verified:
            raise _unfit(url, "ca= does nothing without smtps: or tls=verify")
        return hop


def _authority(url: bytes, place: bytes, port: int) -> tuple[bytes, int]:
    if place.startswith(b"["):
        host, bracket, digits = place[1:].partition(b"]")
        is_fit = bracket and not host.translate(None, ADDRESS_BYTES) and digits[:1] in (b"", b":")
        digits = digits[1:] if digits else b"%d" % port
    else:
        host, colon, digits = place.partition(b":")
        is_fit = not host.translate(None, HOST_BYTES)
        digits = digits if colon else b"%d" % port
    if not (host and is_fit and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise _unfit(url, WANTED)
    return host, int(digits)


def _unfit(url: bytes, why: str) -> TemporaryFailure:
    return TemporaryFailure(f"{url!a} names no next hop: {why}")


def is_loopback(host: bytes) -> bool:
    """Tell whether mail to this host stays on this machine."""
    return host in (b"localhost", b"::1") or (host.startswith(b"127.") and not host.translate(None, b"0123456789."))


def local_dialer(hop: NextHop, timeout: float) -> "Callable[[], Steps[int]]":
    """Return what connects to the hop from this process, each time it is called, in so many seconds."""

    def dial() -> "Steps[int]":
        descriptor: int = yield Connect(hop.host, hop.port, timeout)
        return descriptor

    return dial
