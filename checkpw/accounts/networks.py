"""Dovecot's `allow_nets`: from which addresses an account may be used."""

import ipaddress

from checkpw.errors import Rejected, TemporaryFailure


def admit(address: bytes, networks: bytes) -> None:
    """Let an address through if one of the networks, separated by commas, has it.

    An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address; an address that nobody knows is in no
    network.

    Raises:
        Rejected: none has it.
        TemporaryFailure: a network cannot be read, so that nobody can tell.
    """
    try:
        allowed = [ipaddress.ip_network(text.decode("ascii"), strict=False) for text in networks.split(b",") if text]
    except ValueError as error:
        raise TemporaryFailure(f"allow_nets cannot be read: {error}") from None
    try:
        remote = ipaddress.ip_address(address.decode("ascii"))
    except ValueError:
        raise Rejected("the account is bound to networks, and the client's address is not known") from None
    if isinstance(remote, ipaddress.IPv6Address) and remote.ipv4_mapped is not None:
        remote = remote.ipv4_mapped
    if not any(remote in network for network in allowed):
        raise Rejected("the account may not be used from this address")
