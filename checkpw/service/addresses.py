"""Addresses of clients: which networks they are in."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Networks:
    """A set of networks."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Read addresses and networks such as 192.0.2.0/24; raises `ValueError` for what is none."""
        self._networks = [ipaddress.ip_network(text, strict=False) for text in texts]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, ip: bytes) -> bool:
        """Tell whether an address is in one of them; what is no address is in none."""
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(ip.decode("ascii", "replace"))
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def plain(ip: str) -> bytes:
    """Return an address of the kernel's without zone, an IPv4 address in IPv6 clothes as IPv4."""
    ip = ip.partition("%")[0]
    if ip.startswith("::ffff:") and "." in ip:
        ip = ip[len("::ffff:") :]
    return ip.encode("ascii")
