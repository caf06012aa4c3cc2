"""checkpw hash: a password goes in by the first line, its hash comes out, nothing else."""

import pytest

from checkpw import hashes, newhash


@pytest.mark.parametrize("scheme", newhash.SCHEMES)
def test_prints_a_hash_that_matches(checkpw, scheme):
    """One line comes out, and it matches the line that went in without its newline."""
    done = checkpw("hash", "--stdin", "--scheme", scheme.lower(), stdin=b"se cret \nmore\n")
    assert done.status == 0
    assert done.out.count("\n") == 1
    assert hashes.verify(done.out.removesuffix("\n").encode(), b"se cret ")


def test_cost_reaches_the_hash(checkpw):
    """--cost is what it says."""
    assert checkpw("hash", "--stdin", "--cost", "1234", stdin=b"x").out.startswith("{SHA512-CRYPT}$6$rounds=1234$")


def test_plain_warns(checkpw):
    """Who asks for PLAIN is told on standard error; who does not is not."""
    assert "warning: PLAIN" in checkpw("hash", "--stdin", "--scheme", "PLAIN", stdin=b"x").err
    assert checkpw("hash", "--stdin", "--scheme", "SSHA", stdin=b"x").err == ""


@pytest.mark.parametrize("stdin", [b"", b"\n", b"se\0cret\n", b"p" * 513 + b"\n", b"p" * 5000])
def test_impossible_passwords_are_misuse(checkpw, stdin):
    """No line, an empty one, a NUL and one that descriptor 3 cannot carry are refused, and not shown."""
    done = checkpw("hash", "--stdin", stdin=stdin)
    assert done.status == 2
    assert done.out == ""
    assert "cret" not in done.err
    assert "ppp" not in done.err


def test_without_a_terminal_nobody_is_asked(checkpw):
    """A pipe without --stdin is not read: the password would end up somewhere unexpected."""
    done = checkpw("hash", stdin=b"secret\n")
    assert done.status == 2
    assert "--stdin" in done.err
    assert done.rest == b"secret\n"


def test_costs_out_of_range_are_misuse(checkpw):
    """A cost that the scheme does not have is refused."""
    assert checkpw("hash", "--stdin", "--scheme", "BLF-CRYPT", "--cost", "99", stdin=b"x").status == 2
