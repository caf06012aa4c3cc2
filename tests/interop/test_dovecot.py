"""Dovecot 2.3 asks our checkpassword: a login over POP3 and IMAP, accepted, refused, and put off.

Dovecot gives the program a pipe on descriptor 4 and a program of its own, checkpassword-reply, to run after a yes.
That one wants to be run by the user who runs the auth process, or by whoever we became if it is told so.
"""

import os
import pathlib
import pwd
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import dovecot_server

# Who asks, who we become, and what that takes. uid and gid stand for those of an unprivileged user.
WAYS = {
    "virtual users, unprivileged auth": {"auth": "nobody", "account": "joe:{{PLAIN}}secret::::{home}::\n"},
    "accounts with uid, auth as root": {
        "auth": "root",
        "account": "joe:{{PLAIN}}secret:{uid}:{gid}::{home}::\n",
        "environment": "INSECURE_SETUID=1",
    },
    "virtual users with a service user, auth as root": {
        "auth": "root",
        "account": "joe:{{PLAIN}}secret::::{home}::\n",
        "environment": "INSECURE_SETUID=1 CHECKPW_USER={name}",
    },
    "checkpw-dovecot, accounts with uid, auth as root": {
        "auth": "root",
        "account": "joe:{{PLAIN}}secret:{uid}:{gid}::{home}::\n",
        "program": "checkpw-dovecot",
    },
    "checkpw-dovecot, virtual users with a service user, auth as root": {
        "auth": "root",
        "account": "joe:{{PLAIN}}secret::::{home}::\n",
        "environment": "CHECKPW_USER={name}",
        "program": "checkpw-dovecot",
    },
    "checkpw-dovecot, virtual users, unprivileged auth": {
        "auth": "nobody",
        "account": "joe:{{PLAIN}}secret::::{home}::\n",
        "program": "checkpw-dovecot",
    },
}


@pytest.fixture(scope="module", params=WAYS.values(), ids=list(WAYS))
def way(request):
    """Each of the ways to let Dovecot ask."""
    return request.param


@pytest.fixture(scope="module")
def dovecot_23(peer, refuse):
    """Find Dovecot 2.3."""
    return dovecot_server.find_23(peer, refuse)


@pytest.fixture(scope="module")
def unprivileged(way, refuse, programs):
    """Choose who runs what needs no privileges: nobody, or, without root, the user who runs the tests."""
    if os.geteuid() != 0:
        if way["auth"] == "root":
            refuse("not run: Dovecot with its auth process as root, needs root")
        return pwd.getpwuid(os.geteuid())
    nobody = pwd.getpwnam("nobody")
    if way["auth"] == "nobody":
        try:
            argv = [programs / "checkpassword"]
            subprocess.run(argv, user="nobody", group=nobody.pw_gid, extra_groups=[], check=False, timeout=20)
        except PermissionError:
            pytest.skip("not run: Dovecot with its auth process as nobody, who may not start ours")
    return nobody


@pytest.fixture(scope="module")
def dovecot(way, dovecot_23, unprivileged, loopback, programs):
    """Run Dovecot in a directory of its own."""
    with loopback.directory() as directory:
        home = directory / "home"
        home.mkdir()
        os.chown(home, unprivileged.pw_uid, unprivileged.pw_gid)
        names = {"name": unprivileged.pw_name, "uid": unprivileged.pw_uid, "gid": unprivileged.pw_gid}
        accounts = directory / "accounts"
        accounts.write_text(way["account"].format(home=home, **names), encoding="ascii")
        accounts.chmod(0o644)
        with dovecot_server.serve(
            dovecot_23,
            loopback,
            directory,
            user=unprivileged,
            auth_user=unprivileged.pw_name if way["auth"] == "nobody" else "root",
            environment=f"CHECKPW_ACCOUNTS=file:{accounts} {way.get('environment', '').format(**names)}",
            databases=dovecot_server.CHECKPASSWORD.format(program=programs / way.get("program", "checkpassword")),
        ) as running:
            yield running


@pytest.fixture(params=["pop3", "imap"])
def protocol(request):
    """Each of the protocols that ask for a password."""
    return request.param


def test_a_good_login_is_accepted(dovecot, protocol):
    """The right password opens the mailbox in the home directory that the account names, more than once."""
    for _ in range(2):
        assert dovecot.login(protocol, "joe", "secret") == "accepted", dovecot.server.log()
    assert (dovecot.directory / "home" / "Maildir" / "cur").is_dir()


REFUSALS = {"pop3": "[AUTH] Authentication failed.", "imap": "[AUTHENTICATIONFAILED] Authentication failed."}


@pytest.mark.parametrize("credentials", [("joe", "wrong"), ("joe", ""), ("nobody-here", "secret")])
def test_a_bad_login_is_refused(dovecot, protocol, credentials):
    """A wrong or empty password and an unknown login get Dovecot's words for a failed login, not for trouble."""
    assert REFUSALS[protocol] in dovecot.login(protocol, *credentials)


def test_a_store_that_cannot_be_read_puts_the_login_off(dovecot, protocol):
    """While the account store is away the right password is a temporary failure, and it is right again afterwards."""
    accounts = dovecot.directory / "accounts"
    away = accounts.rename(dovecot.directory / "away")
    try:
        assert "Temporary authentication failure." in dovecot.login(protocol, "joe", "secret")
    finally:
        away.rename(accounts)
    assert dovecot.login(protocol, "joe", "secret") == "accepted"
    dovecot.server.wait_for_log("auth: Error: checkp", str(accounts))


def test_no_password_is_in_the_log(dovecot, protocol):
    """Neither Dovecot with auth_debug nor our checkpassword in its log shows what was typed."""
    dovecot.login(protocol, "joe", "typed-by-mistake")
    dovecot.server.wait_for_log("auth: ", "checkpassword(joe,127.0.0.1", "exit_status=1")
    assert "typed-by-mistake" not in dovecot.server.log()
