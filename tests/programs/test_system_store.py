"""checkpassword on the accounts of a machine: a private one, whose passwd and shadow lie over the real ones."""

import pytest

# {SHA512-CRYPT} of "secret", by `openssl passwd -6 -salt checkpwtest secret`.
HASH = "$6$checkpwtest$mrcVQX/tLax.XqV/BTMNLkKWFLdhfstqscNrTBdBUNEllu/8jDEEj91o9CFEsywfaemRTlFPTFqBFgWdIz.BF1"

# Login, second field of shadow, and its ages.
ACCOUNTS = [
    ("joe", HASH, "19000:0:99999:7:::"),
    ("bang", "!" + HASH, "19000:0:99999:7:::"),
    ("star", "*", "19000:0:99999:7:::"),
    ("none", "", "19000:0:99999:7:::"),
    ("gone", HASH, "19000:0:99999:7::10000:"),
    ("aged", HASH, "10000:0:30:7:10::"),
    ("must", HASH, "0:0:99999:7:::"),
]


@pytest.fixture(params=["files", "files systemd"])
def machine(request, private_etc):
    """Give the words that run a program where passwd and shadow are a test's, for both usual nsswitch.conf."""
    passwd = ["root:x:0:0:root:/root:/bin/sh"]
    passwd += [f"{login}:x:{54321 + at}:54321::/:/bin/dash" for at, (login, *_) in enumerate(ACCOUNTS)]
    passwd += [f"old:{HASH}:54399:54321::/:/bin/dash", "bare::54398:54321::/:/bin/dash"]
    files = {
        "passwd": passwd,
        "shadow": ["root:*:19000::::::", *(":".join(fields) for fields in ACCOUNTS)],
        "nsswitch.conf": ["passwd: files", "group: files", f"shadow: {request.param}"],
    }
    return private_etc(files)


@pytest.mark.parametrize(
    ("login", "password", "status"),
    [
        ("joe", "secret", 0),
        ("joe", "wrong", 1),
        ("joe", HASH, 1),
        ("ann", "secret", 1),
        ("bang", "secret", 1),
        ("star", "*", 1),
        ("none", "x", 1),
        ("none", "", 1),
        ("gone", "secret", 1),
        ("aged", "secret", 1),
        ("must", "secret", 1),
        ("old", "secret", 0),
        ("bare", "", 1),
        ("root", "*", 1),
    ],
)
def test_the_verdict_of_shadow(machine, checkpassword, login, password, status):
    """The hash of shadow counts, else that of passwd; locked, empty and expired ones never match."""
    done = checkpassword("true", store=None, record=f"{login}\0{password}\0\0".encode(), prefix=machine)
    assert (done.status, done.out, done.said) == (status, b"", b"")


def test_the_chain_runs_as_the_user_of_passwd(machine, checkpassword):
    """uid, gid, home and shell are those of passwd."""
    done = checkpassword("sh", "-c", "id -u; id -G; pwd; echo $USER $HOME $SHELL", store=None, prefix=machine)
    assert (done.status, done.out) == (0, b"54321\n54321\n/\njoe / /bin/dash\n")


@pytest.mark.parametrize(
    ("login", "password"), [("joe", "secret"), ("joe", "wrong"), ("bang", "secret"), ("root", "x")]
)
def test_who_may_not_read_shadow_cannot_tell(machine, checkpassword, everybodys, tools, login, password):
    """An unprivileged user gets 111 for an account whose hash is in a shadow that is closed to him."""
    record = f"{login}\0{password}\0\0".encode()
    done = checkpassword("true", store=None, record=record, prefix=machine, directory=everybodys, user=tools.stranger)
    assert (done.status, done.out) == (111, b"")
