"""Dovecot 2.3 and the rest of its dialect: users looked up without a password, and the passdb in Lua."""

import contextlib
import os
import pathlib
import pwd
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import dovecot_server

SCRIPT = pathlib.Path(__file__).parents[2] / "checkpw" / "share" / "dovecot.lua"
PREFETCHED = "userdb {{\n  driver = prefetch\n}}\n"
LOOKED_UP = "userdb {{\n  driver = checkpassword\n  args = {program}\n}}\n"
STATIC = "userdb {{\n  driver = static\n  args = {owner} home={home}\n}}\n"
IN_LUA = "passdb {{\n  driver = lua\n  args = file={script} blocking=yes\n}}\n"
UNPRIVILEGED = "games"


@pytest.fixture(scope="module")
def dovecot_23(peer, refuse):
    """Find Dovecot 2.3."""
    if os.geteuid() != 0:
        refuse("not run: Dovecot with its auth process as root, needs root")
    return dovecot_server.find_23(peer, refuse)


@pytest.fixture(scope="module")
def lua(dovecot_23, refuse):
    """See to it that Dovecot knows Lua, and that Lua knows unix sockets."""
    if not list(pathlib.Path("/usr/lib/dovecot/modules/auth").glob("libauthdb_lua*")):
        refuse("peer not installed: Lua for Dovecot (Debian package dovecot-auth-lua)")
    if not list(pathlib.Path("/usr/lib").glob("*/lua/5.*/socket/unix.so")):
        refuse("peer not installed: LuaSocket (Debian package lua-socket)")


class Place:
    """A directory with accounts and a home, for a Dovecot."""

    def __init__(self, directory, user):
        self.directory = directory
        self.user = user
        self.home = directory / "home"
        self.home.mkdir()
        os.chown(self.home, user.pw_uid, user.pw_gid)
        self.accounts = directory / "accounts"
        self.accounts.write_text(
            f"joe:{{PLAIN}}secret:{user.pw_uid}:{user.pw_gid}::{self.home}::\n"
            f"barred:{{PLAIN}}secret:{user.pw_uid}:{user.pw_gid}::{self.home}::nologin\n"
            f"tab:{{PLAIN}}secret:{user.pw_uid}:{user.pw_gid}::/a\tb::\n",
            encoding="ascii",
        )


@pytest.fixture
def place(loopback, dovecot_23):
    """Give a place whose mail belongs to somebody without privileges."""
    with loopback.directory() as directory:
        yield Place(directory, pwd.getpwnam(UNPRIVILEGED))


@pytest.fixture
def serve(place, dovecot_23, loopback):
    """Give a function that runs Dovecot there until the test is over."""
    with contextlib.ExitStack() as held:

        def begin(databases, environment):
            running = dovecot_server.serve(
                dovecot_23,
                loopback,
                place.directory,
                user=place.user,
                auth_user="root",
                environment=environment,
                databases=databases,
            )
            return held.enter_context(running)

        yield begin


def _look_up(peer, dovecot, login):
    argv = [peer("doveadm", "dovecot-core"), "-c", dovecot.directory / "dovecot.conf", "user", login]
    return subprocess.run(argv, capture_output=True, timeout=30, check=False, text=True)


def test_users_are_looked_up_without_a_password(serve, place, peer, programs):
    """Who is there is told with uid, gid and home; who is not is unknown; who may not log in gets mail all the same."""
    program = programs / "checkpw-dovecot"
    databases = dovecot_server.CHECKPASSWORD.partition("userdb")[0] + LOOKED_UP
    dovecot = serve(databases.format(program=program), f"CHECKPW_ACCOUNTS=file:{place.accounts}")
    for login in ("joe", "barred"):
        done = _look_up(peer, dovecot, login)
        fields = dict(line.split(None, 1) for line in done.stdout.splitlines()[1:] if len(line.split()) > 1)
        assert (fields["uid"], fields["gid"]) == (str(place.user.pw_uid), str(place.user.pw_gid)), done
        assert fields["home"] == str(place.home)
    unknown = _look_up(peer, dovecot, "nobody-here")
    assert (unknown.returncode, "doesn't exist" in unknown.stdout) == (67, True), unknown
    assert dovecot.login("imap", "joe", "secret") == "accepted"
    assert "Authentication failed" in dovecot.login("imap", "barred", "secret")
    assert "Authentication failed" in dovecot.login("imap", "joe", "wrong")
    place.accounts.rename(place.directory / "away")
    assert _look_up(peer, dovecot, "joe").returncode == 75


def test_what_dovecot_cannot_be_told(serve, place, programs):
    """A tab in a home would come out as a wrong password: it is trouble."""
    databases = dovecot_server.CHECKPASSWORD.format(program=programs / "checkpw-dovecot")
    dovecot = serve(databases, f"CHECKPW_ACCOUNTS=file:{place.accounts}")
    assert "Temporary authentication failure." in dovecot.login("pop3", "tab", "secret")
    dovecot.server.wait_for_log("checkpw-dovecot: account b'tab' has a tab or line end in it")


@pytest.fixture
def verifier(place, programs, eventually):
    """Run a checkpw-verifierd with the place's accounts, and give the path of its socket."""
    path = place.directory / "verifier"
    argv = [programs / "checkpw-verifierd", "--socket", path, "--accounts", f"file:{place.accounts}"]
    with subprocess.Popen(argv, env={}, stderr=subprocess.DEVNULL) as process:
        eventually(path.exists, "the verifier listens")
        yield path
        process.terminate()


REFUSED = "Authentication failed."
PUT_OFF = "Temporary authentication failure."


@pytest.mark.usefixtures("lua")
def test_lua_asks_the_verifier(serve, place, verifier):
    """By its socket: accepted with uid and home, refused, and put off while it is gone."""
    databases = (IN_LUA + PREFETCHED).format(script=SCRIPT)
    dovecot = serve(databases, f"CHECKPW_SOCKET={verifier}")
    for protocol in ("pop3", "imap"):
        assert dovecot.login(protocol, "joe", "secret") == "accepted", dovecot.server.log()
        for login, password in (("joe", "wrong"), ("joe", "secret "), ("nobody-here", "secret"), ("barred", "secret")):
            assert REFUSED in dovecot.login(protocol, login, password), (login, password)
    assert (place.home / "Maildir" / "cur").is_dir()
    verifier.rename(place.directory / "away")
    assert PUT_OFF in dovecot.login("pop3", "joe", "secret")
    dovecot.server.wait_for_log("checkpw: ", str(verifier))
    dovecot.login("pop3", "joe", "typed-by-mistake")
    assert "typed-by-mistake" not in dovecot.server.log()


@pytest.mark.usefixtures("lua")
def test_lua_runs_a_program(serve, place, programs):
    """With no socket: yes and no from any checkpassword program, and where mail is from another userdb."""
    owner = f"uid={place.user.pw_uid} gid={place.user.pw_gid}"
    databases = (IN_LUA + STATIC).format(script=SCRIPT, owner=owner, home=place.home)
    environment = f"CHECKPW_CHECKER={programs / 'checkpassword'} CHECKPW_ACCOUNTS=file:{place.accounts}"
    dovecot = serve(databases, environment)
    assert dovecot.login("pop3", "joe", "secret") == "accepted", dovecot.server.log()
    for login, password in (("joe", "wrong"), ("joe", "'; exit 0; '"), ("nobody-here", "secret")):
        assert REFUSED in dovecot.login("pop3", login, password), (login, password)
    place.accounts.rename(place.directory / "away")
    assert PUT_OFF in dovecot.login("pop3", "joe", "secret")
    dovecot.server.wait_for_log("checkpassword: exit 111")


@pytest.mark.usefixtures("lua")
def test_lua_without_settings(serve):
    """It says what is missing, and lets nobody in."""
    dovecot = serve((IN_LUA + PREFETCHED).format(script=SCRIPT), "NOTHING=1")
    assert PUT_OFF in dovecot.login("pop3", "joe", "secret")
    dovecot.server.wait_for_log("neither socket nor checker is set")
