"""What a program of a chain has imported when it answers: exactly this, because every module costs a login time.

Python itself reports each import (-X importtime) while the installed programs run.
"""

import pathlib
import re
import subprocess

import pytest

IMPORT = re.compile(r"import time: +\d+ \| +\d+ \|( +)(\S+)")

OURS_ALWAYS = {
    "checkpw",
    "checkpw.chain",
    "checkpw.cli",
    "checkpw.cli.exits",
    "checkpw.errors",
}
C_ALWAYS = {"errno", "resource"}

CHECKPASSWORD = {
    *OURS_ALWAYS,
    "checkpw.account",
    "checkpw.accounts",
    "checkpw.accounts.base",
    "checkpw.accounts.decoy",
    "checkpw.accounts.passwd_file",
    "checkpw.cli.checkpassword",
    "checkpw.credentials",
    "checkpw.fd3",
    "checkpw.hashes",
    "checkpw.privileges",
    "checkpw.secret",
}
C_CHECKPASSWORD = {"_blake2", "_operator", "mmap"}

OFMIPD = {
    *OURS_ALWAYS,
    "checkpw.checker",
    "checkpw.cli.environment",
    "checkpw.cli.front",
    "checkpw.cli.ofmipd",
    "checkpw.cli.settings",
    "checkpw.cli.shared",
    "checkpw.conversation",
    "checkpw.credentials",
    "checkpw.logline",
    "checkpw.mess822",
    "checkpw.mess822.hostrules",
    "checkpw.operations",
    "checkpw.peer",
    "checkpw.policy",
    "checkpw.queue",
    "checkpw.queue.maildir",
    "checkpw.runners",
    "checkpw.runners.stdio",
    "checkpw.sasl",
    "checkpw.secret",
    "checkpw.smtp",
    "checkpw.smtp.data",
    "checkpw.smtp.events",
    "checkpw.smtp.exchange",
    "checkpw.smtp.grammar",
    "checkpw.smtp.incoming",
    "checkpw.smtp.limits",
    "checkpw.smtp.lines",
    "checkpw.smtp.offers",
    "checkpw.smtp.replies",
    "checkpw.smtp.session",
    "checkpw.smtp.states",
    "checkpw.submission",
    "checkpw.verdict",
}
C_OFMIPD = {"binascii", "select"}

AUTHUP = {
    *OURS_ALWAYS,
    "checkpw.checker",
    "checkpw.cli.authup",
    "checkpw.cli.authup_levels",
    "checkpw.cli.authup_session",
    "checkpw.cli.environment",
    "checkpw.cli.front",
    "checkpw.cli.shared",
    "checkpw.conversation",
    "checkpw.credentials",
    "checkpw.links",
    "checkpw.links.grammar",
    "checkpw.logline",
    "checkpw.operations",
    "checkpw.peer",
    "checkpw.runners",
    "checkpw.runners.stdio",
    "checkpw.sasl",
    "checkpw.secret",
    "checkpw.smtp",
    "checkpw.smtp.data",
    "checkpw.smtp.events",
    "checkpw.smtp.exchange",
    "checkpw.smtp.grammar",
    "checkpw.smtp.incoming",
    "checkpw.smtp.limits",
    "checkpw.smtp.lines",
    "checkpw.smtp.offers",
    "checkpw.smtp.replies",
    "checkpw.smtp.session",
    "checkpw.smtp.states",
    "checkpw.successors",
    "checkpw.verdict",
}
"""What a greeting of authup takes: nothing of mail, queues and headers."""

CHECK = {"checkpw.runners.spawning"}
"""What comes with the first program that is started: a checker, or the queue's."""

MESSAGE = {
    "checkpw.mess822.addresses",
    "checkpw.mess822.dates",
    "checkpw.mess822.fields",
    "checkpw.mess822.folding",
    "checkpw.mess822.outgoing",
    "checkpw.mess822.quoting",
    "checkpw.mess822.tokens",
    "checkpw.outbound",
}
"""What comes with the first message, and costs no client that sends none."""

WRAPPER = {
    *OURS_ALWAYS,
    "checkpw.credentials",
    "checkpw.fd3",
    "checkpw.links",
    "checkpw.links.asking",
    "checkpw.links.grammar",
    "checkpw.secret",
}
TELLING = {"checkpw.links.telling", "checkpw.logline", "checkpw.peer"}
VERDICT = {"checkpw.verdict"}
LINKS = {
    "checkgroup": {*OURS_ALWAYS, "checkpw.links", "checkpw.links.checkgroup"},
    "checknotroot": {*OURS_ALWAYS, "checkpw.links", "checkpw.links.checknotroot"},
    "checkpw-any": {*WRAPPER, *VERDICT, "checkpw.links.any"},
    "checkpw-limit": {
        *(*WRAPPER, "checkpw.links.limit", "checkpw.links.budgets", "checkpw.peer"),
    },
    "checkpw-log": {*WRAPPER, *TELLING, *VERDICT, "checkpw.links.log"},
}
C_LINKS = {"checkgroup": {"grp", "pwd"}, "checkpw-limit": {"_blake2"}}

HEAVY = {"asyncio", "click", "collections", "ctypes", "dataclasses", "email", "enum", "hashlib", "logging", "os"}
HEAVY |= {"passlib", "pathlib", "re", "signal", "site", "socket", "ssl", "subprocess", "tempfile", "typing"}
"""What design.md names, with its price; the exact sets above exclude it, and this says so in case they grow."""


@pytest.fixture
def imports(programs, tmp_path):
    """Give a function that runs an installed program, and gives its status and the names of what it imported."""
    accounts = tmp_path / "accounts"
    accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")

    def run(name, *arguments, stdin=b"", environ=None):
        with open(programs / name, encoding="utf-8") as launcher:
            interpreter, flags = launcher.readline().removeprefix("#!").rstrip("\n").split(" ")
        assert flags == "-IS"
        settings = {"CHECKPW_ACCOUNTS": f"file:{accounts}", "OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir"}
        command = [interpreter, "-IS", "-X", "importtime"]
        for file, content in (("record", b"joe\0secret\0\0"), ("stdin", stdin)):
            (tmp_path / file).write_bytes(content)
        ended = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" <stdin 3<record', "sh", *command, programs / name, *arguments],
            capture_output=True,
            cwd=tmp_path,
            env=settings | (environ or {}),
            check=False,
            timeout=60,
        )
        bare = subprocess.run([*command, "-c", "pass"], capture_output=True, check=True, timeout=60)
        return ended.returncode, _names(ended.stderr) - _names(bare.stderr)

    return run


def _names(report):
    return {found[2] for found in IMPORT.finditer(report.decode("ascii", "replace"))}


def _is_compiled(name):
    """Tell whether a module is in C: it costs a file at most, and mostly not even that."""
    import importlib.util

    found = importlib.util.find_spec(name)
    return found is not None and (
        found.origin in ("built-in", "frozen") or not pathlib.Path(found.origin).suffix.startswith(".py")
    )


def test_what_a_verdict_costs(imports):
    """checkpassword true with a {PLAIN} account in a file has imported exactly these modules."""
    status, names = imports("checkpassword", "true")
    assert status == 0
    assert names == CHECKPASSWORD | C_ALWAYS | C_CHECKPASSWORD
    assert all(map(_is_compiled, names - CHECKPASSWORD))
    assert names & HEAVY == set()


@pytest.mark.parametrize("link", LINKS)
def test_what_a_link_costs(link, imports, tmp_path):
    """A link that has its verdict has imported exactly these modules."""
    import grp
    import os
    import pwd

    checker = tmp_path / "checker"
    checker.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    checker.chmod(0o755)
    me = pwd.getpwuid(os.geteuid())
    words = {"checkgroup": [grp.getgrgid(me.pw_gid).gr_name], "checknotroot": []}.get(link, [str(checker)])
    further = {"USER": me.pw_name, "CHECKPW_LIMIT_STORE": f"file:{tmp_path}/limits", "TCPREMOTEIP": "192.0.2.7"}
    status, names = imports(link, *words, "true", environ=further)
    assert status == (1 if link == "checknotroot" and os.geteuid() == 0 else 0)
    wanted = LINKS[link] | (TELLING if status else set())
    assert names == wanted | C_ALWAYS | C_LINKS.get(link, set())
    assert all(map(_is_compiled, names - wanted))
    assert names & HEAVY == set()


def test_what_a_greeting_costs(imports):
    """ofmipd that greets a client who leaves has imported exactly these modules."""
    status, names = imports("ofmipd", "", "mail.example", "checkpassword", "true")
    assert status == 0
    assert names == OFMIPD | C_ALWAYS | C_OFMIPD
    assert all(map(_is_compiled, names - OFMIPD))
    assert names & HEAVY == set()


def test_what_comes_before_a_login_costs(imports):
    """authup that greets a client who leaves has imported these modules, and one that asks a checker no more."""
    status, names = imports("authup", "smtp", "checkpassword", "--", "true")
    assert status == 0
    assert names == AUTHUP | C_ALWAYS | C_OFMIPD
    assert all(map(_is_compiled, names - AUTHUP))
    dialogue = b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n"
    status, names = imports("authup", "smtp", "/bin/false", "--", "true", stdin=dialogue)
    assert status == 0
    assert {name for name in names if not _is_compiled(name)} == AUTHUP | CHECK
    assert names & HEAVY == set()


def test_what_a_message_costs(imports, tmp_path):
    """A whole session, AUTH and message included, imports nothing heavy on its way either."""
    dialogue = b"".join(
        line + b"\r\n"
        for line in (
            b"EHLO client",
            b"AUTH PLAIN AGpvZQBzZWNyZXQ=",
            b"MAIL FROM:<joe@example.org>",
            b"RCPT TO:<ann@example.net>",
            b"DATA",
            b"",
            b"Good morning.",
            b".",
            b"QUIT",
        )
    )
    checker = tmp_path / "checker"
    checker.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    checker.chmod(0o755)
    status, names = imports("ofmipd", "", "mail.example", str(checker), "true", stdin=dialogue)
    assert status == 0
    assert len(list((tmp_path / "Maildir" / "new").iterdir())) == 1
    assert names & HEAVY == set()
    assert names >= OFMIPD | CHECK | MESSAGE
    assert {name for name in names - OFMIPD - CHECK - MESSAGE if not _is_compiled(name)} == set()
