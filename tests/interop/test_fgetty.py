"""The C program checkpassword.login (package fgetty), which descends from the original, and a real shadow account.

It is a checker for our ofmipd; and our checkpassword on the same account must do what it does. Two habits of its
own: it does not search PATH for prog (so "true" alone leaves with 111), and it adds UID to the environment.
"""

import os
import secrets
import smtplib
import subprocess

import pytest

LOGIN = f"cpw{secrets.token_hex(4)}"
PASSWORD = "correct horse: battery"
CREDENTIALS = {
    "right": (LOGIN, PASSWORD),
    "wrong password": (LOGIN, "correct horse"),
    "empty password": (LOGIN, ""),
    "unknown login": ("no-such-user-here", PASSWORD),
    "locked account": ("bin", "*"),
}


@pytest.fixture(scope="module")
def original(peer):
    """Find the C program."""
    return peer("checkpassword.login", "fgetty")


@pytest.fixture(scope="module")
def account(refuse, peer, eventually):
    """Make an account in /etc/passwd and /etc/shadow, and remove it afterwards."""
    if os.geteuid() != 0:
        refuse("not run: checkpassword.login with an account in shadow, needs root")
    useradd = [peer("useradd", "passwd"), "--no-create-home", "--home-dir", "/usr", "--shell", "/bin/sh", LOGIN]
    chpasswd, userdel = peer("chpasswd", "passwd"), peer("userdel", "passwd")

    def done(argv, text=""):
        # Each refuses while another process holds the lock of /etc/passwd.
        return subprocess.run(argv, input=text.encode(), check=False, timeout=20).returncode == 0

    try:
        eventually(lambda: done(useradd), "useradd")
        eventually(lambda: done([chpasswd], f"{LOGIN}:{PASSWORD}\n"), "chpasswd")
        yield LOGIN
    finally:
        eventually(lambda: done([userdel, LOGIN]), "userdel")


def _ask(checker, login, password, prog):
    """Give a checker a login and a password, as its callers do, and let it run prog."""
    return subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh", checker, *prog],
        input=f"{login}\0{password}\0\0".encode(),
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "CHECKPW_ACCOUNTS": "system:", "KEPT": "yes"},
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("credentials", CREDENTIALS.values(), ids=list(CREDENTIALS))
def test_our_checkpassword_and_the_c_one_agree_on_a_verdict(account, original, programs, credentials):
    """For an account in shadow both programs leave with the same exit status, and print nothing on 1."""
    theirs = _ask(original, *credentials, ["/bin/true"])
    ours = _ask(programs / "checkpassword", *credentials, ["/bin/true"])
    assert theirs.returncode == (0 if credentials == CREDENTIALS["right"] else 1)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, b"")


# Without a shell where it matters: dash blocks signals while it starts a program.
PROGS = {
    "identity": ["/bin/sh", "-c", "id; pwd; ulimit -a; umask"],
    "descriptors": ["/bin/ls", "/proc/self/fd"],
    "signals": ["/bin/grep", "-E", "^(Uid|Gid|Groups|SigBlk|SigIgn|SigCgt|CapEff):", "/proc/self/status"],
    "exit status": ["/bin/sh", "-c", "echo; exit 77"],
}


@pytest.mark.parametrize("prog", PROGS.values(), ids=list(PROGS))
def test_our_checkpassword_and_the_c_one_leave_prog_the_same_process(account, original, programs, prog):
    """Identity, place, descriptors, signals, limits and status: prog cannot tell the two apart."""
    theirs = _ask(original, LOGIN, PASSWORD, prog)
    ours = _ask(programs / "checkpassword", LOGIN, PASSWORD, prog)
    assert theirs.returncode == (77 if prog == PROGS["exit status"] else 0)
    assert theirs.stdout
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_our_checkpassword_and_the_c_one_leave_prog_the_same_environment(account, original, programs):
    """Both add USER, HOME and SHELL to what was there, and nothing else but the C program's own UID."""
    theirs = _ask(original, LOGIN, PASSWORD, ["/usr/bin/env"]).stdout.decode().splitlines()
    ours = _ask(programs / "checkpassword", LOGIN, PASSWORD, ["/usr/bin/env"]).stdout.decode().splitlines()
    assert {f"USER={LOGIN}", "HOME=/usr", "SHELL=/bin/sh", "KEPT=yes"} <= set(ours)
    assert sorted(ours) == sorted(line for line in theirs if not line.startswith("UID="))


@pytest.fixture(scope="module")
def running(account, original, submission):
    """Our ofmipd with the C program as its checker."""
    with submission(checker=(original, "/bin/true")) as running:
        yield running


def test_our_ofmipd_believes_the_c_checkpassword(running):
    """The shadow password opens the way for a message."""
    with running.connect() as client:
        client.login(LOGIN, PASSWORD)
        client.sendmail("joe@example.org", "ann@example.net", "Subject: from a shadow account\n\nx\n")
    (message,) = running.messages("from a shadow account")
    assert f"\nReceived: (ofmipd {LOGIN}@127.0.0.1) by mail.example with ESMTPA; " in message


@pytest.mark.parametrize("credentials", [(LOGIN, "wrong"), ("no-such-user-here", PASSWORD)])
def test_our_ofmipd_hears_the_c_checkpassword_refuse(running, credentials):
    """A wrong password and an unknown login, refused by the C program, are a 535."""
    with running.connect() as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(*credentials)
        assert refusal.value.smtp_code == 535
