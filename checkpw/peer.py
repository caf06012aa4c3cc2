"""The client at the other end of the connection, as tcp-environ(5) and its relatives describe it."""

IPV4_IN_IPV6 = bytes(10) + b"\xff\xff"
"""How an IPv4 address begins that is written as IPv6 (RFC 4291 section 2.5.5.2)."""


class Peer:
    """What the server that started us knows about the client.

    Attributes:
        ip: its address; `unknown` outside a network. An IPv4 address in IPv6 clothes is written as IPv4.
        info: what IDENT said about it (`$TCPREMOTEINFO`); empty if nobody asked.
        is_remote: it came over the network.
        uses_tls: the connection is encrypted, as far as we can see.
    """

    __slots__ = ("info", "ip", "is_remote", "uses_tls")

    def __init__(
        self, ip: bytes = b"unknown", info: bytes = b"", *, is_remote: bool = False, uses_tls: bool = False
    ) -> None:
        self.ip = ip
        self.info = info
        self.is_remote = is_remote
        self.uses_tls = uses_tls

    @classmethod
    def from_environment(cls, environ: dict[bytes, bytes]) -> "Peer":
        """Read `TCPREMOTEIP`, of tcpserver, else what its relatives set.

        `TCP6REMOTEIP` is that of IPv6 versions, `REMOTE_ADDR` systemd's (systemd.socket(5)), `REMOTE_HOST` stunnel's.
        `SSL_PROTOCOL` is what UCSPI servers that speak TLS set (mod_ssl's name).
        """
        names = (b"TCPREMOTEIP", b"TCP6REMOTEIP", b"REMOTE_ADDR", b"REMOTE_HOST")
        ip = next((environ[name] for name in names if environ.get(name)), b"")
        if ip.lower().startswith(b"::ffff:") and b"." in ip:
            ip = ip[len(b"::ffff:") :]
        return cls(
            ip or b"unknown",
            environ.get(b"TCPREMOTEINFO", b""),
            is_remote=bool(ip),
            uses_tls=b"SSL_PROTOCOL" in environ,
        )

    def secured(self) -> "Peer":
        """Return this client as it is once the connection is encrypted."""
        return Peer(self.ip, self.info, is_remote=self.is_remote, uses_tls=True)

    @property
    def literal(self) -> bytes:
        """What the client is called where it has no name (RFC 5321 section 4.1.3); without an address, this machine."""
        ip = self.ip.partition(b"%")[0] if self.is_remote else b"127.0.0.1"
        return b"[IPv6:%s]" % ip if b":" in ip else b"[%s]" % ip

    @property
    def is_loopback(self) -> bool:
        """Tell whether what is said in clear stays on this machine."""
        return self.ip == b"::1" or self.ip.startswith(b"127.")


def network_of(ip: bytes) -> bytes:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address (RFC 6177 section 2).

    IPv4 in IPv6 clothes is IPv4; what is no address is itself.
    """
    if b":" not in ip:
        return ip
    import _socket  # the module socket is 5 ms

    try:
        packed = _socket.inet_pton(_socket.AF_INET6, ip.partition(b"%")[0].decode("ascii"))
    except (OSError, UnicodeDecodeError):
        return ip
    if packed.startswith(IPV4_IN_IPV6):
        return _socket.inet_ntoa(packed[len(IPV4_IN_IPV6) :]).encode("ascii")
    return packed[:8]
