"""Addresses and names as they are written."""

import pytest

from checkpw.mess822.quoting import quote, quote_name

ADDRESSES = [
    # address, as it is written
    (b"joe@x.org", b"joe@x.org"),
    (b"joe.user+tag=1@x.org", b"joe.user+tag=1@x.org"),
    (b"", b"<>"),
    (b"@", b"<>"),
    (b"joe", b"joe"),
    (b"joe@", b"joe"),
    (b"@x.org", b'""@x.org'),
    (b"joe user@x.org", b'"joe user"@x.org'),
    (b"a@b@c", b'"a@b"@c'),
    (b".a@b", b'".a"@b'),
    (b"a.@b", b'"a."@b'),
    (b"a..b@c", b'"a..b"@c'),
    (b"a.b@c", b"a.b@c"),
    (b'a"b\\c@d', b'"a\\"b\\\\c"@d'),
    (b"a[b]@c", b'"a\\[b\\]"@c'),
    (b"a\0b@c", b'"a\\\0b"@c'),
    (b"a\nb@c", b'"a\\\0b"@c'),
    (b"a\rb@c", b'"a\\\rb"@c'),
    (b"a\tb@c", b'"a\tb"@c'),
    (b"j\xf6rg@c", b'"j\xf6rg"@c'),
    (b"a@[192.0.2.1]", b"a@[192.0.2.1]"),
    (b"a@[x]y]", b"a@[x\\]y]"),
    (b"a@[", b'a@"\\["'),
    (b"a@x y", b'a@"x y"'),
    (b"a@x.", b'a@"x."'),
    *((b"a%sb@c" % byte, b'"a%sb"@c' % byte) for byte in (b"<", b">", b"(", b")", b",", b";", b":", b" ", b"\x7f")),
]


@pytest.mark.parametrize(("address", "text"), ADDRESSES)
def test_addresses(address, text):
    """Quotes stand where they are needed, around the local part or the host."""
    assert quote(address) == text
    assert quote(address, b"") == b'"" ' + (text if text == b"<>" else b"<" + text + b">")


def test_names():
    """A name is always in quotes, and everything in it that could end them has a backslash."""
    assert quote(b"joe@x", b"Joe User") == b'"Joe User" <joe@x>'
    assert quote(b"", b"Nobody") == b'"Nobody" <>'
    assert quote_name(b'a "b" \\ [c] \0\n\r\xe9 (d)') == b'"a \\"b\\" \\\\ \\[c\\] \\\0\\\0\\\r\xe9 (d)"'


UTF8 = [
    # address, as it is written where UTF-8 may be
    ("jörg@müller.example".encode(), "jörg@müller.example".encode()),
    ("jörg user@x".encode(), '"jörg user"@x'.encode()),
    ("jörg.@müller".encode(), '"jörg."@müller'.encode()),
    (b"j\xf6rg@m\xfcller", b'"j\xf6rg"@"m\xfcller"'),
]


@pytest.mark.parametrize(("address", "text"), UTF8)
def test_utf8(address, text):
    """Words in UTF-8 need no quotes; other 8-bit words do, and words that would need them without UTF-8."""
    assert quote(address, is_utf8=True) == text
