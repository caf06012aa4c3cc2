"""PROXY headers: written by a small model of the protocol's text, read in pieces; and everything that is none."""

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from splits import PLACES, cut

from checkpw import proxy

IP4 = st.ip_addresses(v=4)
IP6 = st.ip_addresses(v=6) | IP4.map(lambda ip: ipaddress.IPv6Address(f"::ffff:{ip}"))
PORTS = st.integers(0, 65535)
RESTS = st.binary(max_size=40) | st.sampled_from(
    [b"EHLO x\r\n", b"\x16\x03\x01\x02\x00", b"\r\n", b"PROXY UNKNOWN\r\n"]
)
PAIRS = st.one_of(st.tuples(IP4, IP4, PORTS, PORTS), st.tuples(IP6, IP6, PORTS, PORTS))


def _text(ip):
    """Write an address as logs have it."""
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return str(mapped or ip).encode()


def _line(pair):
    source, destination, source_port, destination_port = pair
    text = f"PROXY TCP{source.version} {source} {destination} {source_port} {destination_port}\r\n"
    return text.encode()


def _binary(pair, values=b"", protocol=1):
    source, destination, source_port, destination_port = pair
    block = source.packed + destination.packed + source_port.to_bytes(2) + destination_port.to_bytes(2) + values
    family = {4: 0x10, 6: 0x20}[source.version]
    return proxy.SIGNATURE + bytes([0x21, family | protocol]) + len(block).to_bytes(2) + block


def _value(kind, value):
    return bytes([kind]) + len(value).to_bytes(2) + value


VALUES = st.lists(
    st.builds(_value, st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=60)), max_size=4
).map(b"".join)


def _read(data, places=()):
    """Feed the pieces until there is a header or an error; the rest of the pieces then follows the header's rest."""
    reader = proxy.HeaderReader()
    pieces = cut(data, places)
    for number, piece in enumerate(pieces):
        try:
            header = reader.feed(piece)
        except proxy.BadHeader:
            return "bad"
        if header is not None:
            rest = header.rest + b"".join(pieces[number + 1 :])
            return header.source_ip, header.source_port, header.destination_ip, header.destination_port, rest
    return "more"


def _expected(pair, rest):
    source, destination, source_port, destination_port = pair
    return _text(source), source_port, _text(destination), destination_port, rest


NO_ADDRESS = (None, 0, None, 0)


# --- what is a header


@given(PAIRS, RESTS, PLACES)
def test_lines(pair, rest, places):
    """A line of version 1 gives what was written into it, however it is cut, and nothing behind it is touched."""
    assert _read(_line(pair) + rest, places) == _expected(pair, rest)


@given(PAIRS, VALUES, RESTS, PLACES)
def test_binary_headers(pair, values, rest, places):
    """A header of version 2 gives what was written into it, whatever other values it carries."""
    assert _read(_binary(pair, values) + rest, places) == _expected(pair, rest)


@given(PAIRS, VALUES, VALUES, st.integers(0, 8 * 400))
def test_checksums(pair, before, after, bit):
    """A checksum is verified: a header with one bit changed is none."""
    header = _binary(pair, before + _value(3, bytes(4)) + after)
    at = len(header) - len(after) - 4
    whole = header[:at] + proxy.crc32c(header).to_bytes(4) + header[at + 4 :]
    assert _read(whole) == _expected(pair, b"")
    bit %= 8 * len(whole)
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    # Where lengths, types, family or command change, there may be no checksum any more to be verified.
    if 16 <= bit // 8 < len(header) - len(before + after) - 7 or at <= bit // 8 < at + 4:
        assert _read(bytes(changed)) == "bad"


def test_the_checksum_is_castagnolis():
    """The check values of RFC 3720 appendix B.4 and of the catalogue of CRCs."""
    assert proxy.crc32c(b"123456789") == 0xE3069283
    assert proxy.crc32c(bytes(32)) == 0x8A9136AA
    assert proxy.crc32c(b"\xff" * 32) == 0x62A8AB43


@given(PAIRS, VALUES, RESTS, st.sampled_from([0x00, 0x11, 0x21, 0x31, 0xFF]), PLACES)
def test_who_gets_no_address(pair, values, rest, kind, places):
    """LOCAL, whatever block it has, gives no address; neither do UNSPEC and datagrams."""
    header = _binary(pair, values)
    local = header[:12] + bytes([0x20, kind]) + header[14:]
    assert _read(local + rest, places) == (*NO_ADDRESS, rest)
    for other in (0x00, 0x01, 0x10, 0x20, 0x02):
        assert _read(header[:13] + bytes([other]) + header[14:] + rest, places) == (*NO_ADDRESS, rest)
    assert _read(_binary(pair, values, protocol=2) + rest, places) == (*NO_ADDRESS, rest)


@pytest.mark.parametrize("kind", [0x31, 0x32])
def test_unix_sockets(kind):
    """The path of a unix socket is no address, and has to be there."""
    block = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
    header = proxy.SIGNATURE + bytes([0x21, kind, 0, 216])
    assert _read(header + block + b"rest") == (*NO_ADDRESS, b"rest")
    assert _read(proxy.SIGNATURE + bytes([0x21, kind, 0, 215]) + block[:-1]) == "bad"


@given(st.from_regex(rb"(?: [ -~]{0,89})?", fullmatch=True), RESTS, PLACES)
@example(b"", b"", None)
@example(b" " + b"x" * 90 + b"~", b"", None)
def test_unknown(words, rest, places):
    """What stands behind UNKNOWN does not matter."""
    assert _read(b"PROXY UNKNOWN" + words + b"\r\n" + rest, places) == (*NO_ADDRESS, rest)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"::ffff:192.0.2.1", b"192.0.2.1"),
        (b"::FFFF:C000:0201", b"192.0.2.1"),
        (b"2001:DB8:0:0:0:0:0:1", b"2001:db8::1"),
        (b"2001:0db8:0000:0000:0000:0000:0000:0001", b"2001:db8::1"),
        (b"::1", b"::1"),
        (b"::", b"::"),
    ],
)
def test_one_spelling_of_an_address(written, read):
    """An address that can be spelt in several ways is known by one."""
    assert _read(b"PROXY TCP6 %b %b 1 2\r\n" % (written, written)) == (read, 1, read, 2, b"")


# --- what is none


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r \n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
        b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY \r\n",
        b"PROXY\r\n",
        b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b" PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN x\ny\r\n",
        b"PROXY UNKNOWN x\0y\r\n",
        b"PROXY UNKNOWN \xff\r\n",
        b"PROXY UNKNOWN\n\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 0x1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 16909060 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8.9 1 2\r\n",
        b"PROXY TCP6 ::1%lo ::1 1 2\r\n",
        b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
        b"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
        b"PROXY TCP6 00001::2 ::1 1 2\r\n",
        b"PROXY TCP6 [::1] ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1_0 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 000000\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"EHLO client.example\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\0\r\nQUIT\r",
    ],
)
@pytest.mark.parametrize("places", [(), None], ids=["whole", "in bytes"])
def test_almost_a_line(line, places):
    """What another reader might take for a line is none, however it comes, even if more would follow."""
    assert _read(line + b"\r\nEHLO x\r\n" * 20, places) == "bad"


@pytest.mark.parametrize(
    ("at", "byte"), [(12, 0x11), (12, 0x22), (12, 0x2F), (12, 0x01), (13, 0x41), (13, 0x13), (13, 0xF1), (13, 0x1F)]
)
def test_unknown_numbers(at, byte):
    """A version, a command, a family and a protocol that nobody knows are refused, before anything else is read."""
    header = bytearray(_binary((*[ipaddress.IPv4Address("192.0.2.1")] * 2, 1, 2)))
    header[at] = byte
    assert _read(bytes(header[:16])) == "bad"
    if at == 13:
        header[12] = 0x20
        assert _read(bytes(header)) == (*NO_ADDRESS, b"")


@pytest.mark.parametrize("values", [b"\4", b"\4\0", b"\4\0\1", b"\4\0\0\4\0\2x", _value(3, b"abc"), _value(3, b"")])
def test_values_that_do_not_fit(values):
    """Types, lengths and values fill the header exactly."""
    assert _read(_binary((*[ipaddress.IPv4Address("192.0.2.1")] * 2, 1, 2), values) + b"x" * 99) == "bad"


def test_two_checksums():
    """Nobody could have computed both."""
    assert _read(_binary((*[ipaddress.IPv4Address("192.0.2.1")] * 2, 1, 2), _value(3, bytes(4)) * 2)) == "bad"


@pytest.mark.parametrize(("kind", "size"), [(0x11, 11), (0x21, 35), (0x11, 0)])
def test_addresses_that_do_not_fit(kind, size):
    """A header that is too short for its addresses does not take them from what follows."""
    assert _read(proxy.SIGNATURE + bytes([0x21, kind, 0, size]) + b"x" * 99) == "bad"


def test_how_long_a_header_may_be():
    """4096 bytes and no more, which is seen by the first 16."""
    fixed = proxy.SIGNATURE + bytes([0x21, 0x11])
    assert _read(fixed + (4080).to_bytes(2) + bytes(12) + _value(4, b"\xff" * 4065)) == (
        b"0.0.0.0",
        0,
        b"0.0.0.0",
        0,
        b"",
    )
    assert _read(fixed + (4081).to_bytes(2)) == "bad"


# --- anything at all

WORDS = st.sampled_from(
    [b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", b" ", b"1.2.3.4", b"::1", b"25", b"\r\n", b"\r", b"\n"]
)
FORMS = st.sampled_from([proxy.SIGNATURE, b"\x21\x11\0\x0c", b"\x21\x21\0\x24", b"\x20\0\0\0", b"\3\0\4", b"\4\0\1x"])
PARTS = WORDS | FORMS | st.sampled_from([bytes(12), bytes(36)]) | st.binary(max_size=3)
ANYTHING = st.one_of(st.binary(max_size=60), st.lists(PARTS, max_size=14).map(b"".join))
LINE = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)[ -~]*\r\n")


@given(ANYTHING, PLACES)
def test_anything(data, places):
    """Any bytes give a header, a wish for more or `BadHeader`, the same however they are cut; and at most a header."""
    outcome = _read(data)
    assert _read(data, places) == outcome
    if isinstance(outcome, tuple):
        rest = outcome[4]
        header = data[: len(data) - len(rest)]
        assert header + rest == data
        assert LINE.fullmatch(header) if header[:1] == b"P" else len(header) == 16 + int.from_bytes(header[14:16])


@given(ANYTHING, ANYTHING)
def test_what_is_decided_stays(data, more):
    """What follows a header or an error changes neither."""
    outcome, later = _read(data), _read(data + more)
    if isinstance(outcome, tuple):
        assert later == (*outcome[:4], outcome[4] + more)
    elif outcome == "bad":
        assert later == "bad"
