"""checkpw user: what each command does to the file, and what it says."""

import json
import os

import pytest

from checkpw import hashes

CHEAP = ("--scheme", "SSHA")


@pytest.fixture
def user(checkpw, tmp_path):
    """Give a function that runs `checkpw user` on a file of its own, by the environment."""
    path = tmp_path / "accounts"

    def run(*argv, stdin=b"", **environ):
        return checkpw("user", *argv, stdin=stdin, CHECKPW_ACCOUNTS=f"file:{path}", **environ)

    run.path = path
    return run


def test_life_of_an_account(user):
    """An account is added, verified, disabled, enabled, given a new password, and removed."""
    assert user("add", "--stdin", *CHEAP, "joe", stdin=b"secret\n").status == 0
    assert user("verify", "--stdin", "joe", stdin=b"secret\n").status == 0
    assert user("verify", "--stdin", "joe", stdin=b"wrong\n").status == 1
    assert user("verify", "--stdin", "ann", stdin=b"secret\n").status == 1
    assert user("disable", "joe").status == 0
    assert user("verify", "--stdin", "joe", stdin=b"secret\n").status == 1
    assert user("enable", "joe").status == 0
    assert user("verify", "--stdin", "joe", stdin=b"secret\n").status == 0
    assert user("passwd", "--stdin", *CHEAP, "joe", stdin=b"other\n").status == 0
    assert user("verify", "--stdin", "joe", stdin=b"secret\n").status == 1
    assert user("verify", "--stdin", "joe", stdin=b"other\n").status == 0
    assert user("remove", "joe").status == 0
    assert user("verify", "--stdin", "joe", stdin=b"other\n").status == 1
    assert user.path.read_bytes() == b""


def test_add_writes_its_options(user):
    """Every field that was given is in its place."""
    done = user(
        "add", "--stdin", "--scheme", "PLAIN", "--uid", "vmail", "--gid", "5", "--gecos", "Joe J.", "--home", "/h",
        "--shell", "/bin/sh", "--extra", "allow_nets=::1/128 a=b", "joe", stdin=b"secret",
    )  # fmt: skip
    assert done.status == 0
    assert "warning: PLAIN" in done.err
    assert user.path.read_bytes() == b"joe:{PLAIN}secret:vmail:5:Joe J.:/h:/bin/sh:allow_nets=::1/128 a=b\n"


def test_add_takes_the_scheme_and_cost(user):
    """--scheme and --cost are what the hash says; without them it is SHA512-CRYPT."""
    user("add", "--stdin", "--scheme", "blf-crypt", "--cost", "4", "ann", stdin=b"secret")
    user("add", "--stdin", "joe", stdin=b"secret")
    first, second = user.path.read_bytes().splitlines()
    assert first.startswith(b"ann:{BLF-CRYPT}$2y$04$")
    assert second.startswith(b"joe:{SHA512-CRYPT}$6$")
    assert hashes.verify(second.partition(b":")[2], b"secret")


@pytest.mark.parametrize(
    "options",
    [
        ["--uid", "5"],
        ["--gid", "5"],
        ["--uid", "0", "--gid", "5"],
        ["--uid", "root", "--gid", "5"],
        ["--uid", "5", "--gid", "0"],
        ["--home", "relative"],
        ["--home", "/a:b"],
        ["--extra", "a\nb"],
    ],
)
def test_add_refuses_fields_that_no_checker_takes(user, options):
    """Half an identity, root's, a relative home and what would break the line are misuse, and nothing is written."""
    assert user("add", "--stdin", *CHEAP, *options, "joe", stdin=b"secret").status == 2
    assert not user.path.exists()


@pytest.mark.parametrize("login", ["", "a:b", "#a", "a\nb"])
@pytest.mark.parametrize("command", ["add", "passwd", "verify"])
def test_impossible_logins_are_refused_before_anybody_types(user, command, login):
    """A login that cannot be is misuse, and the password is not read."""
    done = user(command, "--stdin", login, stdin=b"secret\n")
    assert done.status == 2
    assert done.rest == b"secret\n"


def test_unknown_logins_are_misuse(user):
    """Editing an account that is not there is an error of whoever asks, and no password is read for it."""
    user("add", "--stdin", *CHEAP, "joe", stdin=b"secret")
    for command in ("disable", "enable", "remove"):
        done = user(command, "ann")
        assert done.status == 2
        assert "no account b'ann'" in done.err
    assert user("passwd", "--stdin", "ann", stdin=b"secret\n").rest == b"secret\n"
    assert user("add", "--stdin", *CHEAP, "joe", stdin=b"secret").status == 2


def test_what_descriptor_3_cannot_carry_is_refused(user):
    """Login and password that no record can hold together are refused when they are set."""
    login = "l" * 200
    assert user("add", "--stdin", *CHEAP, login, stdin=b"p" * 310).status == 2
    assert user("add", "--stdin", *CHEAP, login, stdin=b"p" * 309).status == 0
    assert user("verify", "--stdin", login, stdin=b"p" * 309).status == 0


def test_a_new_password_of_a_disabled_account_is_noted(user):
    """Who sets the password of a disabled account is told that it stays disabled."""
    user("add", "--stdin", *CHEAP, "joe", stdin=b"secret")
    user("disable", "joe")
    done = user("passwd", "--stdin", *CHEAP, "joe", stdin=b"other")
    assert done.status == 0
    assert "still disabled" in done.err
    assert user("verify", "--stdin", "joe", stdin=b"other").status == 1


LISTED = b"""joe:{PLAIN}secret:5:6::/home/joe::
# comment
\xff\x1b[2J:!$6$a$b
joe:x
"""


def test_list_shows_everything_but_hashes(user):
    """The table has login, scheme, state, uid and home; nothing in it can move the terminal's cursor."""
    user.path.write_bytes(LISTED)
    done = user("list")
    assert done.status == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["login", "scheme", "state", "uid", "home"],
        ["joe", "PLAIN", "active", "5", "/home/joe"],
        [r"\xff\x1b[2J", "SHA512-CRYPT", "disabled", "-", "-"],
        ["joe", "-", "shadowed", "-", "-"],
    ]
    assert "secret" not in done.out


def test_list_as_json(user):
    """The same as one JSON array, for programs."""
    user.path.write_bytes(LISTED)
    rows = json.loads(user("list", "--json").out)
    assert rows[0] == {"login": "joe", "scheme": "PLAIN", "state": "active", "uid": "5", "home": "/home/joe"}
    assert os.fsencode(rows[1]["login"]) == b"\xff\x1b[2J"
    assert len(rows) == 3
    assert user("list", "--json").out.count("secret") == 0


def test_list_of_an_empty_file(user):
    """No accounts are a header, or an empty array."""
    user.path.write_bytes(b"")
    assert user("list").out.split() == ["login", "scheme", "state", "uid", "home"]
    assert json.loads(user("list", "--json").out) == []


def test_verify_honours_the_clients_address(user):
    """allow_nets is checked against --remote-ip, or TCPREMOTEIP."""
    user.path.write_bytes(b"joe:{PLAIN}secret::::::allow_nets=192.0.2.0/24\n")
    inside = user("verify", "--stdin", "--remote-ip", "192.0.2.7", "joe", stdin=b"secret")
    outside = user("verify", "--stdin", "--remote-ip", "198.51.100.7", "joe", stdin=b"secret")
    by_environment = user("verify", "--stdin", "joe", stdin=b"secret", TCPREMOTEIP="192.0.2.7")
    assert [done.status for done in (inside, outside, by_environment)] == [0, 1, 0]


def test_verify_notes_what_root_would_refuse(user):
    """A right password is accepted, and a uid that a checker as root would not take is mentioned."""
    user.path.write_bytes(b"joe:{PLAIN}secret:1000:1000::/:/bin/sh:\nann:{PLAIN}secret\n")
    user.path.chmod(0o666)
    done = user("verify", "--stdin", "joe", stdin=b"secret")
    assert done.status == 0
    assert "note: no checker becomes this user as root" in done.err
    assert "note" not in user("verify", "--stdin", "ann", stdin=b"secret").err


def test_verify_calls_a_password_that_cannot_be_misuse(user):
    """A NUL in the password is no wrong password: no record on descriptor 3 could carry it."""
    user.path.write_bytes(b"joe:{PLAIN}secret\n")
    assert user("verify", "--stdin", "joe", stdin=b"se\0cret").status == 2


def test_verify_says_when_nobody_can_tell(user):
    """A scheme that nobody knows is 111, and a missing file too."""
    assert user("verify", "--stdin", "joe", stdin=b"secret").status == 111
    user.path.write_bytes(b"joe:{NTLM}abc\n")
    done = user("verify", "--stdin", "joe", stdin=b"secret")
    assert done.status == 111
    assert "NTLM" in done.err
    assert "abc" not in done.err


def test_file_option_wins(user, tmp_path):
    """--file is taken before the environment."""
    other = tmp_path / "other"
    user("add", "--stdin", *CHEAP, "--file", str(other), "joe", stdin=b"secret")
    assert other.exists()
    assert not user.path.exists()


@pytest.mark.parametrize("url", ["", "system:", "file:relative", "file:", "ldap://localhost"])
def test_which_file(checkpw, url):
    """Without a file there is nothing to edit, and the message says how to name one."""
    done = checkpw("user", "list", CHECKPW_ACCOUNTS=url)
    assert done.status == 2
    assert "file:/PATH" in done.err


@pytest.mark.parametrize("command", ["list", "disable", "enable", "remove", "passwd"])
def test_a_missing_file_is_trouble(user, command):
    """Only `add` makes a file."""
    done = user(command, *(["joe"] if command != "list" else []), stdin=b"secret")
    assert done.status == 111
    assert not user.path.exists()
