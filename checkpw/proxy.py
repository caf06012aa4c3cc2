"""The PROXY protocol, by which a balancer says for whom it connects: versions 1 and 2, the receiver's side.

Takes bytes, gives a header and what stands behind it; reads nothing, and trusts nobody: whether the balancer is one is
decided before. Whatever is not exactly a header is an error, and nothing is guessed from it.
Source: haproxy.org/download/3.0/doc/proxy-protocol.txt; sections are named by its numbers.
"""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct

MAX_LINE = 107
"""Bytes of a header of version 1, CRLF included (2.1)."""
MAX_HEADER = 4096
"""Bytes of a header of version 2. Addresses take 232 at most, and senders stay below a segment of 536 (2); clouds add
values of their own, and nginx reads as much as this (NGX_PROXY_PROTOCOL_MAX_HEADER)."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_WORD = b"PROXY "
_FIXED = Struct(">12sBBH")
_FAMILIES = {b"TCP4": (AF_INET, frozenset(b"0123456789.")), b"TCP6": (AF_INET6, frozenset(b"0123456789abcdefABCDEF:."))}
# Family of the addresses: how many bytes both take together with what follows them (2.2).
_INET, _INET6, _UNIX = 1, 2, 3
_BLOCKS = {_INET: 12, _INET6: 36, _UNIX: 216}
_LOCAL, _PROXY = 0x20, 0x21
_STREAM, _DGRAM = 1, 2
_CRC32C = 3


class BadHeader(Exception):
    """The other side does not keep to the protocol. Says how, and nothing of what it sent."""


class Header:
    """What a balancer said about a connection.

    Attributes:
        source_ip: the client's address; None if it has none that means anything here: the balancer itself connects
            (LOCAL), or it does not know or does not say (UNKNOWN, UNSPEC), or nothing of IP (UNIX). An IPv4 address in
            IPv6 clothes is written as IPv4, as in `Peer`.
        source_port: the client's port; 0 without an address.
        destination_ip: where the client connected to; None as above.
        destination_port: 0 without an address.
        rest: the bytes that came behind the header.
    """

    __slots__ = ("destination_ip", "destination_port", "rest", "source_ip", "source_port")

    def __init__(
        self,
        rest: bytes,
        source_ip: bytes | None = None,
        source_port: int = 0,
        destination_ip: bytes | None = None,
        destination_port: int = 0,
    ) -> None:
        self.rest = rest
        self.source_ip = source_ip
        self.source_port = source_port
        self.destination_ip = destination_ip
        self.destination_port = destination_port


class HeaderReader:
    """Takes bytes as they come until they are a header. Good for one connection, and for no more bytes after it."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Header | None:
        """Take some bytes; return the header once it is complete, None before that; raises `BadHeader`."""
        self._buffer += data
        buffer = self._buffer
        if buffer[: len(SIGNATURE)] == SIGNATURE[: len(buffer)]:
            return _read_binary(buffer)
        if buffer[: len(_WORD)] == _WORD[: len(buffer)]:
            return _read_line(buffer)
        raise BadHeader("no PROXY header")


# --- version 1


def _read_line(buffer: bytes) -> Header | None:
    end = next((at for at, byte in enumerate(buffer[:MAX_LINE]) if not 32 <= byte <= 126), min(len(buffer), MAX_LINE))
    if end + 2 > MAX_LINE:
        raise BadHeader("a PROXY line is too long")
    ending = buffer[end : end + 2]
    if ending in (b"", b"\r"):
        return None
    if ending != b"\r\n":
        raise BadHeader("a PROXY line holds more than printable characters")
    rest = buffer[end + 2 :]
    words = buffer[len(_WORD) : end].split(b" ")
    if words[0] == b"UNKNOWN":  # whatever else stands there
        return Header(rest)
    if len(words) != 5 or words[0] not in _FAMILIES:
        raise BadHeader("a PROXY line is not of the form TCP4 or TCP6, two addresses, two ports")
    family, source, destination, source_port, destination_port = words
    ips = [_address_of_text(ip, *_FAMILIES[family]) for ip in (source, destination)]
    ports = [_port_of_text(port) for port in (source_port, destination_port)]
    return Header(rest, ips[0], ports[0], ips[1], ports[1])


def _address_of_text(text: bytes, family: int, characters: frozenset[int]) -> bytes:
    # inet_pton takes no leading zeros and no short forms. It does take the last four bytes of an IPv6 address with
    # dots, which 2.1 does not know and which senders write all the same: inet_ntop gives them an IPv4 address so.
    if characters.issuperset(text):
        try:
            return _text_of_address(inet_pton(family, text.decode("ascii")))
        except OSError:
            pass
    raise BadHeader("a PROXY line holds an address that is none")


def _port_of_text(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or (text[:1] == b"0" and text != b"0") or int(text) > 65535:
        raise BadHeader("a PROXY line holds a port that is none")
    return int(text)


# --- version 2


def _read_binary(buffer: bytes) -> Header | None:
    if len(buffer) < _FIXED.size:
        return None
    _, command, kind, size = _FIXED.unpack_from(buffer)
    family, protocol = kind >> 4, kind & 15
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("a PROXY header has a version or a command that nobody knows")
    if command == _PROXY and (family > _UNIX or protocol > _DGRAM):
        raise BadHeader("a PROXY header has a family or a protocol that nobody knows")
    end = _FIXED.size + size
    if end > MAX_HEADER:
        raise BadHeader("a PROXY header is too long")
    if len(buffer) < end:
        return None
    header, rest = buffer[:end], buffer[end:]
    # With LOCAL everything else is to be thrown away, and without a family nobody knows where values begin (2.2).
    if command == _LOCAL or family not in _BLOCKS or not protocol:
        return Header(rest)
    values = _FIXED.size + _BLOCKS[family]
    if end < values:
        raise BadHeader("a PROXY header is shorter than its addresses")
    _check_values(header, values)
    if family == _UNIX or protocol != _STREAM:
        return Header(rest)
    form = Struct(">4s4sHH" if family == _INET else ">16s16sHH")
    source, destination, source_port, destination_port = form.unpack_from(header, _FIXED.size)
    return Header(rest, _text_of_address(source), source_port, _text_of_address(destination), destination_port)


def _check_values(header: bytes, at: int) -> None:
    """Check that the rest of a header is type-length-value triples, and the checksum if there is one (2.2.3)."""
    while at < len(header):
        size = int.from_bytes(header[at + 1 : at + 3], "big")
        value = at + 3
        if value + size > len(header):
            raise BadHeader("a PROXY header holds a value that is longer than the header")
        if header[at] == _CRC32C:
            zeroed = header[:value] + bytes(size) + header[value + size :]
            if size != 4 or int.from_bytes(header[value : value + 4], "big") != crc32c(zeroed):
                raise BadHeader("a PROXY header is damaged: its checksum is wrong")
        at = value + size


def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # Castagnoli's polynomial, reflected (RFC 9260 appendix A)
    return crc


_CRCS = tuple(_crc_of_byte(byte) for byte in range(256))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes, which is not the one of zlib."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRCS[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _text_of_address(address: bytes) -> bytes:
    if len(address) == 16 and address.startswith(bytes(10) + b"\xff\xff"):
        address = address[12:]
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address).encode("ascii")
