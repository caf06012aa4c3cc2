"""Accounts as they are given, and the wrong passwords that are made from them."""

import os

import pytest

from checkpw.conform import accounts
from checkpw.conform.accounts import Account, UnusableAccount

JOE = Account(b"joe", b"Secret-Word")


def passwords(made):
    return [one.password for one in made]


def test_an_account_is_parsed():
    """The first colon counts; everything else may stand in a password."""
    assert accounts.parse(b"joe:Secret-Word") == JOE
    assert accounts.parse(b"joe: a:b\xff") == Account(b"joe", b" a:b\xff")
    assert JOE.record == b"joe\0Secret-Word\0\0"


@pytest.mark.parametrize(
    "text", [b"", b"joe", b":x", b"joe:", b"jo\0e:x", b"joe:x\0", b"joe:" + b"x" * 507], ids=lambda text: text[:9]
)
def test_what_is_no_account(text):
    """It says what is wrong, and not what the password is."""
    with pytest.raises(UnusableAccount) as caught:
        accounts.parse(text)
    assert "x" * 9 not in str(caught.value)
    accounts.parse(b"joe:" + b"x" * 506)


def test_a_file_of_accounts(tmp_path):
    """One on each line; empty lines and comments do not count."""
    path = tmp_path / "accounts"
    path.write_bytes(b"# for tests\n\njoe:Secret-Word\nann:#1 \n")
    path.chmod(0o640)
    assert accounts.read_file(str(path)) == (JOE, Account(b"ann", b"#1 "))


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"joe:x\n", 0o604, "chmod 600"),
        (b"joe:x\nhidden\n", 0o600, ":2: "),
        (b"# nobody\n", 0o600, "no account"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_file_that_is_none(tmp_path, content, mode, words):
    """Its path, the line and what is wrong are told."""
    path = tmp_path / "accounts"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(UnusableAccount, match=words) as caught:
        accounts.read_file(str(path))
    assert os.fspath(path) in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_wrong_passwords_are_almost_right():
    """Each kind has what it is named for."""
    assert passwords(accounts.prefixes(JOE)) == [b"Secret-Wor", b"Secre", b"S"]
    assert set(passwords(accounts.suffixes(JOE))) >= {b"Secret-Wordx", b"ecret-Word", b"xSecret-Word"}
    assert set(passwords(accounts.other_case(JOE))) == {b"sECRET-wORD", b"SECRET-WORD", b"secret-word"}
    assert set(passwords(accounts.spaces(JOE))) == {b"Secret-Word ", b" Secret-Word", b"Secret-Word\t"}
    assert set(passwords(accounts.line_ends(JOE))) >= {b"Secret-Word\n", b"Secret-Word\r\n", b"\nSecret-Word"}
    assert b"\xd3ecret-Word" in passwords(accounts.high_bytes(JOE))
    assert b"Secret-Word\xff" in passwords(accounts.high_bytes(JOE))


def test_truncations_have_the_same_beginning():
    """They agree in as many bytes as are named and differ after them; a shorter password has none."""
    made = passwords(accounts.truncations(JOE, 8))
    assert all(one[:8] == b"Secret-W" != one for one in made if len(one) > 8)
    assert {len(one) for one in made} == {8, 9, 11}
    assert accounts.truncations(JOE, 11) == accounts.truncations(JOE, 11)
    assert passwords(accounts.truncations(JOE, 11)) == [b"Secret-Word\x01"]
    assert accounts.truncations(JOE, 12) == ()


def test_passwords_of_others():
    """Nobody's own, and not one that two have."""
    ann, lee = Account(b"ann", b"Secret-Word"), Account(b"lee", b"x")
    assert passwords(accounts.of_others(JOE, [JOE, ann, lee])) == [b"x"]
    assert accounts.of_others(JOE, [JOE]) == ()


@pytest.mark.parametrize("password", [b"x", b" ", b"\n", b"\x80", b"1", b"x" * 506, b"aA " * 20])
def test_none_of_them_is_right(password):
    """Whatever the password is: none that is made is the same, empty, there twice or too long."""
    account = Account(b"joe", password)
    kinds = [accounts.prefixes, accounts.suffixes, accounts.other_case, accounts.spaces, accounts.line_ends]
    kinds += [accounts.high_bytes, lambda one: accounts.truncations(one, 8), lambda one: accounts.truncations(one, 72)]
    for kind in kinds:
        made = passwords(kind(account))
        assert password not in made
        assert b"" not in made
        assert len(set(made)) == len(made)
        assert all(len(accounts.record(b"joe", one)) <= 512 for one in made)
