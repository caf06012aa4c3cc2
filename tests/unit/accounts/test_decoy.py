"""The hash that is computed in vain for an unknown login."""

from checkpw import hashes
from checkpw.accounts import decoy

CHEAP, DEAR = b"{PLAIN}secret", b"$6$rounds=5000$abcdefgh$0123456789"


def test_a_login_draws_the_same_hash_each_time():
    """Asking twice teaches nothing, and different logins draw different hashes of the store."""
    content = b"".join(b"user%d:{PLAIN}secret%d::::::\n" % (number, number) for number in range(100))
    drawn = [decoy.choose(content, b"nobody%d" % number) for number in range(50)]
    assert drawn == [decoy.choose(content, b"nobody%d" % number) for number in range(50)]
    assert len(set(drawn)) > 10
    assert all(b":" + stored + b":" in content for stored in drawn)


def test_both_schemes_of_a_mixed_store_are_drawn():
    """Unknown logins behave like accounts: some like the cheap ones, some like the dear ones."""
    content = (b"a:" + CHEAP + b":\n" + b"b:" + DEAR + b":\n") * 20
    assert {decoy.choose(content, b"nobody%d" % number) for number in range(200)} == {CHEAP, DEAR}


def test_locked_accounts_and_comments_are_passed_over():
    """What costs no time is no decoy, however many of them stand in a row."""
    content = b"#c:{PLAIN}comment:\n" + b"a:!:\n" * 500 + b"b:*:\nc::\nonly a word\n" + b"d:" + DEAR + b"\n"
    assert {decoy.choose(content, b"nobody%d" % number) for number in range(20)} == {DEAR}


def test_the_last_line_needs_no_end():
    """A store without a final newline, or with CRLF, gives whole hashes."""
    assert decoy.choose(b"a:" + DEAR, b"nobody") == DEAR
    assert decoy.choose(b"a:" + DEAR + b"\r\n", b"nobody") == DEAR


def test_a_store_without_a_hash_costs_something_too():
    """The fallback is a hash that costs what crypt(5) costs, and that nothing matches."""
    for content in (b"", b"\n", b"#\n", b"a:!:\n", b"a:!"):
        assert decoy.choose(content, b"nobody") == decoy.FALLBACK
    assert hashes.usable(decoy.FALLBACK)
    assert not hashes.verify(decoy.FALLBACK, b"secret")
