"""Service files as an administrator gets them: written by the installed `checkpw service`."""

import base64
import contextlib
import smtplib
import subprocess

ACCOUNTS = "joe:{PLAIN}secret::::::\n"
RIGHT, WRONG = (base64.b64encode(b"\0joe\0" + password).decode() for password in (b"secret", b"wrong"))
LETTER = "From: joe@example.org\nTo: ann@example.net\nSubject: a service\n\nGood morning.\n"
HOST = "mail.example"
USER = "games"
"""Who talks to clients and owns the Maildir: a user that every machine has, and nobody uses."""

LOG_USER = "daemon"


def make_place(directory):
    """Put an account file and a Maildir into a directory, as both are for the user of a service."""
    import shutil

    (directory / "accounts").write_text(ACCOUNTS, encoding="ascii")
    (directory / "accounts").chmod(0o600)
    (directory / "Maildir").mkdir()
    for path in (directory / "accounts", directory / "Maildir"):
        shutil.chown(path, USER, USER)


def options(directory, *listen):
    """Give the options of `checkpw service` for such a place."""
    return [
        *("--hostname", HOST, "--user", USER, "--log-user", LOG_USER),
        *("--accounts", f"file:{directory}/accounts", "--queue", f"maildir:{directory}/Maildir"),
        *("--env", "OFMIPD_AUTH_DELAY=0.1"),
        *(word for place in listen for word in ("--listen", str(place))),
    ]


def write(programs, directory, kind, *words):
    """Write the files of a service below a directory, by the installed program, and give their paths."""
    done = subprocess.run(
        [programs / "checkpw", "service", kind, "--directory", str(directory), *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


def submit(port, host="127.0.0.1"):
    """Be refused with a wrong password, and submit a message with the right one."""
    with smtplib.SMTP(host, port, local_hostname="client.example", timeout=20) as client:
        client.ehlo()
        assert client.docmd("AUTH PLAIN", WRONG)[0] == 535
        assert client.docmd("AUTH PLAIN", RIGHT)[0] == 235
        client.sendmail("joe@example.org", ["ann@example.net"], LETTER)


def messages(directory):
    """Give the messages that arrived: (text, name of the owner)."""
    found = sorted((directory / "Maildir").glob("new/*"))
    return [(path.read_text(encoding="utf-8"), path.owner()) for path in found]


def limits(pid):
    """Give the soft limits of a process by their names in /proc, None for none."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as table:
        rows = [(line[:25].strip(), line[26:46].strip()) for line in list(table)[1:]]
    return {name: None if value == "unlimited" else int(value) for name, value in rows}


def environment(pid):
    """Give the environment with which a process was started."""
    with open(f"/proc/{pid}/environ", "rb") as block:
        return dict(entry.decode().split("=", 1) for entry in block.read().split(b"\0") if entry)


def descendants(pid):
    """Give the pids of a process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{one}/task/{one}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def is_alive(pid):
    """Tell whether a process is there and not only waiting to be collected."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
