"""The words of a field: what each byte begins, and where what it begins ends."""

import pytest

from checkpw.mess822.tokens import SPECIALS, is_word, spoken, tokenize, unfold

TOKENS = [
    # text, its tokens
    (b"", []),
    (b"joe", [b"joe"]),
    (b"joe@x.org", [b"joe", b"@", b"x", b".", b"org"]),
    (b"a  b\tc", [b"a", b" ", b" ", b"b", b"\t", b"c"]),
    (b"<>,;:@. \t", [b"<", b">", b",", b";", b":", b"@", b".", b" ", b"\t"]),
    (b"])x\x00\x7f\xff", [b"])x\x00\x7f\xff"]),
    # quoted strings end at a quote, an atom before or behind is another word
    (b'"a b"', [b'"a b']),
    (b'""', [b'"']),
    (b'x"y"z', [b"x", b'"y', b"z"]),
    (b'"a\\"b\\\\"c', [b'"a"b\\', b"c"]),
    (b'"open, (to) the end', [b'"open, (to) the end']),
    (b'"\\', [b'"\\']),
    # domain literals keep their brackets
    (b"[1.2]", [b'"[1.2]']),
    (b"[a\\]b]c", [b'"[a]b]', b"c"]),
    (b"[open", [b'"[open]']),
    (b'["]"', [b'"["]', b'"']),
    # comments nest
    (b"(a (b) c)d", [b"(a (b) c", b"d"]),
    (b"(a\\)b\\(c)d", [b"(a)b(c", b"d"]),
    (b"()", [b"("]),
    (b"(open (to) the", [b"(open (to) the"]),
    (b"(\\", [b"(\\"]),
    (b'("quotes, commas")', [b'("quotes, commas"']),
    (b"(a)(b)", [b"(a", b"(b"]),
    # a backslash protects any byte, and what it protects is part of the atom around it
    (b"a\\,b", [b'"a,b']),
    (b"\\a", [b'"a']),
    (b"a\\", [b'"a\\']),
    (b"\\", [b'"\\']),
    (b"a\\b\\\\c", [b'"ab\\c']),
    (b"a\\(b (c)", [b'"a(b', b" ", b"(c"]),
    (b"\\<a>", [b'"<a', b">"]),
    (b",\\,,", [b",", b'",', b","]),
    (b'a\\"b"c"', [b'"a"b', b'"c']),
    (b'"a"\\b', [b'"a', b'"b']),
    (b"a\\ b", [b'"a b']),
    (b"a\\b c\\d", [b'"ab', b" ", b'"cd']),
]


@pytest.mark.parametrize(("text", "tokens"), TOKENS)
def test_tokens(text, tokens):
    """Each text has these tokens."""
    assert tokenize(text) == tokens


def test_line_ends_are_not_there():
    """A line end vanishes, the blank behind it stays."""
    assert tokenize(b"a\n b") == [b"a", b" ", b"b"]
    assert tokenize(b"a\nb") == [b"ab"]
    assert unfold(b"a,\n\tb\n") == b"a,\tb"


def test_what_a_token_is():
    """Words are atoms, quoted strings and literals; a token says its text without the mark."""
    tokens = tokenize(b'a "b" [c] (d) , \\e')
    assert [spoken(token) for token in tokens if is_word(token)] == [b"a", b"b", b"[c]", b"e"]
    assert spoken(b"(d") == b"d"
    assert not any(is_word(special) for special in SPECIALS)
