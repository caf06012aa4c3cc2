"""Dovecot 2.3 asks our checkpassword: a login over POP3 and IMAP, accepted, refused, and put off.

Dovecot gives the program a pipe on descriptor 4 and a program of its own, checkpassword-reply, to run after a yes.
That one wants to be run by the user who runs the auth process, or by whoever we became if it is told so.
"""

import contextlib
import grp
import imaplib
import os
import poplib
import pwd
import subprocess

import pytest

CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0 secs
auth_verbose = yes
auth_debug = yes
default_internal_user = {unprivileged}
default_internal_group = {group}
default_login_user = {unprivileged}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
import_environment = CHECKPW_ACCOUNTS=file:{directory}/accounts {environment}
service auth {{
  user = {auth_user}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
passdb {{
  driver = checkpassword
  args = {checkpassword}
}}
userdb {{
  driver = prefetch
}}
"""

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
}


class Dovecot:
    """A running Dovecot, and how to log in to it."""

    def __init__(self, server, directory, ports):
        self.server = server
        self.directory = directory
        self._ports = ports

    def login(self, protocol, login, password):
        """Log in, use the mailbox, leave; give the words of a refusal, or "accepted"."""
        try:
            if protocol == "pop3":
                with contextlib.closing(poplib.POP3("127.0.0.1", self._ports["pop3"], timeout=20)) as pop3:
                    pop3.user(login)
                    pop3.pass_(password)
                    assert pop3.stat() == (0, 0)
                    pop3.quit()
            else:
                with imaplib.IMAP4("127.0.0.1", self._ports["imap"], timeout=20) as imap:
                    imap.login(login, password)
                    assert imap.select() == ("OK", [b"0"])
        except (poplib.error_proto, imaplib.IMAP4.error) as error:
            return str(error)
        return "accepted"


@pytest.fixture(scope="module", params=WAYS.values(), ids=list(WAYS))
def way(request):
    """Each of the ways to let Dovecot ask."""
    return request.param


@pytest.fixture(scope="module")
def dovecot_23(peer, refuse):
    """Find Dovecot, of the last version that can ask a checkpassword program, with POP3 and IMAP."""
    program = peer("dovecot", "dovecot-core")
    for package in ("pop3", "imap"):
        peer(package, f"dovecot-{package}d")
    version = subprocess.run([program, "--version"], capture_output=True, check=True, timeout=20).stdout.decode()
    if not version.startswith("2.3."):
        refuse(
            f"peer not installed: dovecot 2.3 (Debian package dovecot-core of Debian 12; here is {version.split()[0]})"
        )
    return program


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
    with loopback.directory() as directory, loopback.port() as imap, loopback.port() as pop3:
        home = directory / "home"
        home.mkdir()
        os.chown(home, unprivileged.pw_uid, unprivileged.pw_gid)
        names = {"name": unprivileged.pw_name, "uid": unprivileged.pw_uid, "gid": unprivileged.pw_gid}
        accounts = directory / "accounts"
        accounts.write_text(way["account"].format(home=home, **names), encoding="ascii")
        accounts.chmod(0o644)
        configuration = directory / "dovecot.conf"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                unprivileged=unprivileged.pw_name,
                group=grp.getgrgid(unprivileged.pw_gid).gr_name,
                auth_user=unprivileged.pw_name if way["auth"] == "nobody" else "root",
                environment=way.get("environment", "").format(**names),
                checkpassword=programs / "checkpassword",
                imap=imap,
                pop3=pop3,
            ),
            encoding="ascii",
        )
        with loopback.server([dovecot_23, "-F", "-c", configuration], [imap, pop3], directory, {}) as running:
            yield Dovecot(running, directory, {"imap": imap, "pop3": pop3})


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
    dovecot.server.wait_for_log("auth: Error: checkpassword: ", str(accounts))


def test_no_password_is_in_the_log(dovecot, protocol):
    """Neither Dovecot with auth_debug nor our checkpassword in its log shows what was typed."""
    dovecot.login(protocol, "joe", "typed-by-mistake")
    dovecot.server.wait_for_log("auth: ", "checkpassword(joe,127.0.0.1", "exit_status=1")
    assert "typed-by-mistake" not in dovecot.server.log()
