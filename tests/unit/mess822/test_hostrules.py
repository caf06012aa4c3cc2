"""Host rules: what each does to a host, and in which order."""

import pytest

from checkpw.mess822.hostrules import HostRules, default_lines

RULES = [
    # rules, host, what becomes of it
    ("=b:new", "b", "new"),
    ("=b:new", "B", "new"),
    ("=b:new", "ab", "ab"),
    ("=:new", "", "new"),
    ("=:new", "b", "b"),
    ("*.old:.new", "x.OLD", "x.new"),
    ("*.old:.new", "old", "old"),
    ("*:.new", "x", "x.new"),
    ("*.:", "x..", "x."),
    ("?.lan:.org", "x.lan", "x.org"),
    ("?.lan:.org", "x.y.lan", "x.y.lan"),
    ("?.lan:.org", "[x.lan", "[x.lan"),
    ("?.lan:.org", "x].lan", "x].lan"),
    ("?:.org", "", ".org"),
    ("-.local:new", "x.y.LOCAL", "new"),
    ("-:new", "anything", "new"),
    ("=b:", "b", ""),
    ("=b:c:d", "b", "c:d"),
    # in order, each at most once
    ("=b:c =c:d =b:e", "b", "d"),
    ("*a: *a:", "xaaa", "xa"),
    # other lines are no rules
    ("b:new +b:new =b :b", "b", "b"),
    ("", "b", "b"),
]


@pytest.mark.parametrize(("rules", "host", "becomes"), RULES)
def test_rules(rules, host, becomes):
    """Each rule does this."""
    assert HostRules(line.encode() for line in rules.split(" ")).rewrite(host.encode()) == becomes.encode()


DEFAULTS = [
    # host, what the default rules make of it
    ("", "host.example"),
    ("b", "b.domain.example"),
    ("b.", "b.domain.example"),
    ("b+", "b.plus.example"),
    ("b.c", "b.c"),
    ("b.c.", "b.c"),
    ("[192.0.2.1]", "[192.0.2.1]"),
    (".", "host.example"),
]


@pytest.mark.parametrize(("host", "becomes"), DEFAULTS)
def test_defaults(host, becomes):
    """Without control/rewrite: no dot at the end, no empty host, a plus, and a domain for what has none."""
    rules = HostRules(default_lines(b"host.example", b"plus.example", b"domain.example"))
    assert rules.rewrite(host.encode()) == becomes.encode()


ADDRESSES = [
    # address, what becomes of it
    (b"", b""),
    (b"@", b""),
    (b"a", b"a@new"),
    (b"a@", b"a@new"),
    (b"@x", b"@x"),
    (b"a@b@", b"a@b@"),
]


@pytest.mark.parametrize(("address", "becomes"), ADDRESSES)
def test_addresses(address, becomes):
    """The host begins at the first @; nobody stays nobody."""
    assert HostRules([b"=:new"]).rewrite_address(address) == becomes


def test_only_ascii_has_two_cases():
    """Other letters are compared as bytes; a NUL of a control file, kept as LF, is the NUL of a header."""
    assert HostRules([b"=\xc4:new"]).rewrite(b"\xe4") == b"\xe4"
    assert HostRules([b"*\n:new"]).rewrite(b"x\0") == b"xnew"
