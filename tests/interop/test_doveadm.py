"""Hashes and files across programs: doveadm and htpasswd verify ours, and we verify theirs."""

import os
import subprocess

import pytest

from checkpw import hashes, newhash
from checkpw.accounts import passwd_edit
from checkpw.accounts.passwd_file import PasswdFile
from checkpw.secret import Secret

CHEAP = {
    "SHA512-CRYPT": {"cost": 1000},
    "SHA256-CRYPT": {"cost": 1000},
    "YESCRYPT": {"cost": 1},
    "BLF-CRYPT": {"cost": 4},
    "ARGON2ID": {"cost": 1, "memory": 8},
    "PBKDF2": {"cost": 1000},
}
THEIRS = [
    "PLAIN",
    "CLEARTEXT",
    "CLEAR",
    "PLAIN.B64",
    "PLAIN.HEX",
    "CRYPT",
    "DES-CRYPT",
    "MD5-CRYPT",
    "SHA256-CRYPT",
    "SHA512-CRYPT",
    "SHA512-CRYPT.B64",
    "BLF-CRYPT",
    "ARGON2I",
    "ARGON2ID",
    "SHA",
    "SHA1",
    "SHA.HEX",
    "SHA256",
    "SHA256.HEX",
    "SHA512",
    "SHA512.B64",
    "SSHA",
    "SSHA.HEX",
    "SSHA256",
    "SSHA256.B64",
    "SSHA512",
    "PBKDF2",
    "SMD5",
    "MD5",
    "PLAIN-MD5",
    "LDAP-MD5",
]
# Not longer than 8 bytes, after which DES-CRYPT does not look; with UTF-8.
PASSWORD = "pä w0rd"


@pytest.fixture(scope="session")
def doveadm(peer):
    """Give a function that runs `doveadm pw` and returns its exit status and its first line."""
    program = peer("doveadm", "dovecot-core")

    def run(*argv):
        done = subprocess.run(
            [program, "pw", *argv], capture_output=True, timeout=60, check=False, env={"PATH": os.defpath}
        )
        return done.returncode, done.stdout.partition(b"\n")[0]

    return run


@pytest.mark.parametrize("scheme", newhash.SCHEMES)
def test_doveadm_verifies_ours(doveadm, scheme):
    """What checkpw makes is verified by Dovecot, with the right password only."""
    stored = newhash.make(scheme, Secret(PASSWORD.encode()), **CHEAP.get(scheme, {})).decode()
    assert doveadm("-t", stored, "-p", PASSWORD)[0] == 0
    assert doveadm("-t", stored, "-p", PASSWORD[::-1])[0] != 0


@pytest.mark.parametrize("scheme", THEIRS)
def test_we_verify_doveadms(doveadm, scheme):
    """What Dovecot makes is verified by us, with the right password only."""
    status, stored = doveadm("-s", scheme, "-p", PASSWORD)
    assert status == 0
    assert stored.startswith(b"{" + scheme.encode() + b"}")
    assert hashes.verify(stored, PASSWORD.encode())
    assert not hashes.verify(stored, PASSWORD[::-1].encode())


def test_a_disabled_account_is_disabled_for_dovecot(doveadm, tmp_path):
    """The `!` that `checkpw user disable` writes locks the account in Dovecot too, and `enable` unlocks it."""
    store = os.fsencode(tmp_path / "accounts")
    passwd_edit.add(store, b"joe", newhash.make("SSHA", Secret(b"secret")))
    passwd_edit.disable(store, b"joe")
    disabled = passwd_edit.accounts(store)[0].stored.decode()
    passwd_edit.enable(store, b"joe")
    enabled = passwd_edit.accounts(store)[0].stored.decode()
    assert doveadm("-t", disabled, "-p", "secret")[0] != 0
    assert doveadm("-t", enabled, "-p", "secret")[0] == 0


@pytest.mark.parametrize("option", ["-m", "-s", "-d", "-B", "-2", "-5"])
def test_we_read_and_edit_what_htpasswd_writes(peer, tmp_path, option):
    """A file made by htpasswd is verified and edited by us, and htpasswd goes on with it."""
    htpasswd = peer("htpasswd", "apache2-utils")
    store = tmp_path / "htpasswd"

    def run(*argv, stdin=b""):
        return subprocess.run([htpasswd, *argv], input=stdin, capture_output=True, timeout=60, check=False)

    assert run("-ci", option, store, "joe", stdin=b"pa w0rd").returncode == 0
    assert run("-i", option, store, "ann", stdin=b"other").returncode == 0
    path = os.fsencode(store)
    assert hashes.verify(PasswdFile(path).find(b"joe").stored, b"pa w0rd")
    assert not hashes.verify(PasswdFile(path).find(b"joe").stored, b"other")
    assert hashes.verify(PasswdFile(path).find(b"ann").stored, b"other")
    passwd_edit.disable(path, b"joe")
    assert run("-vi", store, "joe", stdin=b"pa w0rd").returncode != 0
    passwd_edit.enable(path, b"joe")
    assert run("-vi", store, "joe", stdin=b"pa w0rd").returncode == 0
    passwd_edit.remove(path, b"joe")
    assert run("-vi", store, "ann", stdin=b"other").returncode == 0
    assert [line.login for line in passwd_edit.accounts(path)] == [b"ann"]
