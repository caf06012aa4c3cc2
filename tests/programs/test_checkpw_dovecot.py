"""checkpw-dovecot as a process: with a password, without one, and when it is not Dovecot who asks."""

import fcntl
import os
import subprocess

import pytest

NO, FOUND, MISUSE, UNKNOWN, TROUBLE = 1, 2, 2, 3, 111

# What stands for Dovecot's checkpassword-reply: it tells what it was given on descriptor 4.
REPLY = """env -0 >&4
test "$AUTHORIZED" = 2 && exit 2
exit 0"""


@pytest.fixture
def reply(script, tmp_path):
    """Give a program that tells its environment on descriptor 4."""
    return script("reply", REPLY, tmp_path)


def _high_pipe():
    """Make a pipe whose descriptors are none of those that the program is given."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends]
    for end in ends:
        os.close(end)
    return high


@pytest.fixture
def ask(programs, tmp_path):
    """Give a function that asks as Dovecot does, and gives status, variables told on descriptor 4, and diagnostics."""
    accounts = tmp_path / "accounts"
    accounts.write_text(
        f"joe:{{PLAIN}}secret:{os.geteuid()}:{os.getegid()}::/home/joe:/bin/zsh:\n"
        "virtual:{PLAIN}secret::::/home/virtual::\n"
        f"barred:{{PLAIN}}secret:{os.geteuid()}:{os.getegid()}::/home/barred::nologin\n"
        f"tab:{{PLAIN}}secret:{os.geteuid()}:{os.getegid()}::/a\tb::\n",
        encoding="ascii",
    )

    def ask(record, *chain, with_4=True, **environ):
        settings = {"CHECKPW_ACCOUNTS": f"file:{accounts}", "PATH": "/usr/bin:/bin", **environ}
        given, taking = _high_pipe()
        os.write(taking, record)
        os.close(taking)
        heard, telling = _high_pipe()

        def plumb():
            os.dup2(given, 3)
            if with_4:
                os.dup2(telling, 4)

        argv = [programs / "checkpw-dovecot", *chain]
        passed = (3, 4) if with_4 else (3,)
        done = subprocess.run(
            argv, env=settings, preexec_fn=plumb, pass_fds=passed, capture_output=True, timeout=30, check=False
        )
        os.close(given)
        os.close(telling)
        with os.fdopen(heard, "rb") as end:
            told = end.read()
        variables = dict(entry.split(b"=", 1) for entry in told.split(b"\0") if entry)
        assert done.stdout == b""
        return done.returncode, variables, done.stderr

    return ask


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (b"virtual\0wrong\0\0", NO),
        (b"virtual\0\0\0", NO),
        (b"nobody-here\0secret\0\0", NO),
        (b"barred\0secret\0\0", NO),
        (b"virtual\0secret", MISUSE),
        (b"x" * 513, NO),
    ],
)
def test_a_no(ask, reply, record, status):
    """Nobody is told of anybody, whatever else the environment says."""
    for authorized in ({}, {"AUTHORIZED": "2"}, {"AUTHORIZED": "yes"}, {"AUTHORIZED": ""}):
        assert ask(record, reply, CHECKPW_USER="nobody", **authorized)[:2] == (status, {})


def test_a_yes(ask, reply):
    """The next program gets the account in its environment, runs as whoever we are, and its status comes back."""
    status, told, _ = ask(b"virtual\0secret\0\0", reply, CHECKPW_USER="nobody", AUTHORIZED="2", EXTRA="password")
    assert status == 0
    assert (told[b"USER"], told[b"HOME"], told[b"SHELL"]) == (b"virtual", b"/home/virtual", b"/bin/sh")
    assert b"AUTHORIZED" not in told
    if os.geteuid() == 0:
        assert told[b"EXTRA"] == b"userdb_uid userdb_gid"
        assert int(told[b"userdb_uid"]) > 0
    else:
        assert (told[b"EXTRA"], b"userdb_uid" in told) == (b"", False)
    assert b"secret" not in b"".join(told.values())


def test_root_is_not_handed_on(ask, reply):
    """An account without a uid, under an auth process that is root, is trouble and not uid 0."""
    if os.geteuid() != 0:
        pytest.skip("not run: as root, needs root")
    status, told, said = ask(b"virtual\0secret\0\0", reply)
    assert (status, told) == (TROUBLE, {})
    assert b"CHECKPW_USER" in said
    assert ask(b"joe\0secret\0\0", reply)[:2] == (TROUBLE, {})  # whose uid is 0 in the file


@pytest.mark.parametrize("login", [b"virtual", b"barred"])
def test_a_lookup(ask, reply, login):
    """Without a password: found is 2 by the reply program, which sees that it was a lookup."""
    if login == b"barred" and os.geteuid() == 0:
        pytest.skip("not run: an account of the user's own, as root it is root's")
    status, told, _ = ask(login + b"\0\0\0", reply, AUTHORIZED="1", CHECKPW_USER="nobody")
    assert (status, told[b"USER"], told[b"AUTHORIZED"]) == (FOUND, login, b"2")


def test_a_lookup_of_nobody(ask, reply):
    """Unknown is 3, and a store that cannot be read is 111."""
    assert ask(b"nobody-here\0\0\0", reply, AUTHORIZED="1")[:2] == (UNKNOWN, {})
    assert ask(b"\0\0\0", reply, AUTHORIZED="1")[:2] == (UNKNOWN, {})
    settings = {"AUTHORIZED": "1", "CHECKPW_ACCOUNTS": "file:/nonexistent"}
    assert ask(b"virtual\0\0\0", reply, **settings)[:2] == (TROUBLE, {})
    settings["CHECKPW_ACCOUNTS"] = "verifier:/nonexistent"
    status, told, said = ask(b"virtual\0\0\0", reply, **settings)
    assert (status, told) == (TROUBLE, {})
    assert b"without the password" in said


def test_a_lookup_is_never_a_yes(ask):
    """With the sentinel a lookup says 2, so that no caller of the usual kind takes it for a good password."""
    assert ask(b"virtual\0\0\0", "true", AUTHORIZED="1")[0] == FOUND
    assert ask(b"virtual\0secret\0\0", "true")[0] == 0


def test_somebody_else_than_dovecot(ask, reply):
    """Without descriptor 4 nobody is looked up: an AUTHORIZED=1 that came from elsewhere opens nothing."""
    status, _, said = ask(b"virtual\0\0\0", reply, with_4=False, AUTHORIZED="1", CHECKPW_USER="nobody")
    assert status == TROUBLE
    assert b"descriptor 4" in said


def test_checkpassword_does_not_listen(programs, tmp_path):
    """AUTHORIZED=1 means nothing to checkpassword: no password, no yes."""
    accounts = tmp_path / "accounts"
    accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
    environ = {"CHECKPW_ACCOUNTS": f"file:{accounts}", "AUTHORIZED": "1", "PATH": "/usr/bin:/bin"}
    argv = ["sh", "-c", 'exec "$@" 3<&0', "sh", programs / "checkpassword", "true"]
    for record, status in ((b"joe\0\0\0", NO), (b"joe\0secret\0\0", 0)):
        assert subprocess.run(argv, input=record, env=environ, check=False, timeout=30).returncode == status


def test_misuse(ask):
    """Nothing to run is misuse."""
    status, _, said = ask(b"virtual\0secret\0\0")
    assert status == MISUSE
    assert b"usage: checkpw-dovecot" in said


def test_tabs(ask, reply):
    """What would come out as a wrong password is trouble."""
    if os.geteuid() == 0:
        pytest.skip("not run: an account of the user's own, as root it is root's")
    assert ask(b"tab\0secret\0\0", reply)[0] == TROUBLE
