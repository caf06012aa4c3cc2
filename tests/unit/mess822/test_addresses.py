"""Address lists: what each form is read as. An address without a host ends in `@`, for the host rules to fill in."""

import pytest

from checkpw.mess822.addresses import join, parse_groups, parse_list

LISTS = [
    # text, (name, address) of each mailbox
    (b"", []),
    (b" , ;, ", []),
    (b"a@b", [(None, b"a@b")]),
    (b"a", [(None, b"a@")]),
    (b"a@b, c@d", [(None, b"a@b"), (None, b"c@d")]),
    (b",,a@b,,c@d;", [(None, b"a@b"), (None, b"c@d")]),
    (b"a@b c@d", [(None, b"a@b"), (None, b"c@d")]),
    (b"a b", [(None, b"a@"), (None, b"b@")]),
    (b"a . b @ c", [(None, b"a.b@c")]),
    # names before, behind and inside
    (b"Joe User <a@b>", [(b"Joe User", b"a@b")]),
    (b'"User, Joe" <a@b>', [(b"User, Joe", b"a@b")]),
    (b"a@b (Joe User)", [(b"Joe User", b"a@b")]),
    (b"(Joe) a@b (User)", [(b"Joe User", b"a@b")]),
    (b"Joe <a@b> (User)", [(b"Joe User", b"a@b")]),
    (b"J. R. Doe <a@b>", [(b"J. R. Doe", b"a@b")]),
    (b"joe@home <a@b>", [(b"joe@home", b"a@b")]),
    (b"a (x) @ (y) b", [(b"x y", b"a@b")]),
    (b'"  many   blanks " <a@b>', [(b"many blanks", b"a@b")]),
    (b'"" <a@b>', [(None, b"a@b")]),
    (b"one <a@b> two <c@d>", [(b"one", b"a@b"), (b"two", b"c@d")]),
    (b"one <a@b>two", [(b"one", b"a@b"), (None, b"two@")]),
    (b"(one), a@b", [(b"one", b"a@b")]),
    (b"(one), (two), a@b", [(b"one", None), (b"two", b"a@b")]),
    (b"a@b, (one)", [(None, b"a@b"), (b"one", None)]),
    # angle brackets
    (b"<>", [(None, b"@")]),
    (b"<@>", [(None, b"@")]),
    (b"<a>", [(None, b"a@")]),
    (b"< a b >", [(None, b"ab@")]),
    (b"<a@b", [(None, b"a@b")]),
    (b"x <a@b", [(None, b"xa@b")]),
    (b"a@b>", [(None, b"a@b")]),
    (b"<<a@b>>", [(None, b"a@b")]),
    (b"<a, b>", [(None, b"ab@")]),
    (b"<@r,@s:a@b>", [(b"@r@s", b"a@b")]),
    (b"x <@r:a@b>", [(b"x @r", b"a@b")]),
    # groups
    (b"g: a@b, c@d;", [(b"g", b"a@b"), (None, b"c@d")]),
    (b"g: x <a@b>;", [(b"g", None), (b"x", b"a@b")]),
    (b"g:;", [(b"g", None)]),
    (b"g:;, a@b", [(b"g", b"a@b")]),
    (b"g: a@b", [(b"g", b"a@b")]),
    (b"g: h: a@b;", [(b"g", None), (b"h", b"a@b")]),
    # words that quotes or backslashes made
    (b'"a@b"@c', [(None, b"a@b@c")]),
    (b'"a b"@c', [(None, b"a b@c")]),
    (b'"a@b"', [(None, b"a@b@")]),
    (b"a@[1.2]", [(None, b"a@[1.2]")]),
    (b"a\\,b@c", [(None, b"a,b@c")]),
    (b'""@c', [(None, b"@c")]),
    (b"a@b@c", [(None, b"a@b@c")]),
    (b"@", [(None, b"@")]),
]


@pytest.mark.parametrize(("text", "mailboxes"), LISTS)
def test_lists(text, mailboxes):
    """Each text has these names and addresses."""
    assert parse_list(text) == mailboxes


GROUPS = [
    # text, name and mailboxes of each group, None for what is in no group
    (b"", []),
    (b"a@b, c", [(None, [(None, b"a@b"), (None, b"c@")])]),
    (b"g: a@b, x <c@d>;", [(b"g", [(None, b"a@b"), (b"x", b"c@d")])]),
    (b"g:;", [(b"g", [])]),
    (b"g: a@b", [(b"g", [(None, b"a@b")])]),
    (b"a@b, g: c@d;, e@f", [(None, [(None, b"a@b")]), (b"g", [(None, b"c@d")]), (None, [(None, b"e@f")])]),
    (b"g: a@b; h: c@d;", [(b"g", [(None, b"a@b")]), (b"h", [(None, b"c@d")])]),
    (b'"g, h" (x): a@b;', [(b"g, h x", [(None, b"a@b")])]),
    (b"<@r:a@b>, g: <@s:c@d>;", [(None, [(b"@r", b"a@b")]), (b"g", [(b"@s", b"c@d")])]),
    (b'",": a@b;', [(b",", [(None, b"a@b")])]),
    (b"g: h: a@b; c@d", [(b"g", [(b"h", b"a@b")]), (None, [(None, b"c@d")])]),
    (b"a@b; c@d;", [(None, [(None, b"a@b")]), (None, [(None, b"c@d")])]),
]


@pytest.mark.parametrize(("text", "groups"), GROUPS)
def test_groups(text, groups):
    """Where groups are kept, each text has these."""
    assert parse_groups(text) == groups


def test_join():
    """Lists of several fields are one list; a name at the end of one goes to a nameless address behind it."""
    lists = [[(None, b"a@b"), (b"g", None)], [], [(None, b"c@d"), (b"h", None)], [(b"x", b"e@f")]]
    assert join(lists) == [(None, b"a@b"), (b"g", b"c@d"), (b"h", None), (b"x", b"e@f")]


def test_reading_leaves_nothing_to_the_collector(garbage):
    """Each way through a list, and nothing that holds itself."""
    text = b"Joe <@relay:joe@example.org>, (a comment) ann, all: bob;"
    assert garbage(lambda: parse_list(text)) == 0
