"""Dovecot 2.3 on loopback: its configuration, and how to log in to it."""

import contextlib
import grp
import imaplib
import poplib
import subprocess

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
import_environment = {environment}
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
{databases}
"""


CHECKPASSWORD = """\
passdb {{
  driver = checkpassword
  args = {program}
}}
userdb {{
  driver = prefetch
}}
"""


def find_23(peer, refuse):
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


@contextlib.contextmanager
def serve(program, loopback, directory, *, user, auth_user, environment, databases):
    """Run Dovecot in a directory.

    Args:
        user: whose its unprivileged processes and its mail are, as pwd has it.
        auth_user: name of the user who runs the auth process.
        environment: words `NAME=value` that the auth process gets.
        databases: passdb and userdb, as they stand in the configuration.
    """
    with loopback.port() as imap, loopback.port() as pop3:
        configuration = directory / "dovecot.conf"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                unprivileged=user.pw_name,
                group=grp.getgrgid(user.pw_gid).gr_name,
                auth_user=auth_user,
                environment=environment,
                databases=databases,
                imap=imap,
                pop3=pop3,
            ),
            encoding="ascii",
        )
        with loopback.server([program, "-F", "-c", configuration], [imap, pop3], directory, {}) as running:
            yield Dovecot(running, directory, {"imap": imap, "pop3": pop3})


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
