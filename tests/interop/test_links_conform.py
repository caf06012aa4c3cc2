"""Links around our checkpassword are checkpassword programs: the conformance kit tries them, alone and in a row."""

import os
import re
import subprocess
import sys

import pytest

CHAINS = {
    "checknotroot": ["checkpassword", "checknotroot"],
    "checkgroup": ["checkpassword", "checkgroup", "nogroup"],
    "checkpw-any": ["checkpw-any", "/bin/false", "checkpassword", "--"],
    "checkpw-limit": ["checkpw-limit", "checkpassword", "--"],
    "checkpw-log": ["checkpw-log", "checkpassword", "--"],
    "a row of wrappers": ["checkpw-log", "checkpw-limit", "checkpw-any", "checkpassword", "--"],
    "a row on both sides": ["checkpw-log", "checkpw-limit", "checkpassword", "checknotroot", "--"],
}

OF_THE_CHECKER = re.compile("rejects-password|rejects-similar|same-time-for-unknown-login|crowd-behaves-like-one")
"""Properties of how passwords are compared, which no link has a part in; some start a program a hundred times."""

OF_PYTHON = {"hands-on-ignored-sigpipe"}
"""What checkpassword(8) says under COMPATIBILITY that no program in Python can do."""

ACCOUNTS = "nobody:{PLAIN}secret:65534:65534::/:/bin/sh\nann:{PLAIN}other:54321:54321::/:/bin/sh\n"


@pytest.fixture(scope="module")
def kit():
    """Give the words that run the kit, and the options for the properties that links have a part in."""
    words = [sys.executable, "-m", "checkpw.cli.admin", "conform", "verifier"]
    listed = subprocess.run([*words, "--list", "--", "x"], capture_output=True, text=True, check=True, timeout=60)
    names = re.findall(r"^([a-z0-9-]+) \((?:must|should)\)", listed.stdout, re.MULTILINE)
    assert set(names) >= OF_PYTHON
    return words, [word for name in names if not OF_THE_CHECKER.match(name) for word in ("--select", name)]


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_with_links_conforms(chain, kit, everybodys, loopback, refuse):
    """With links the chain does all that it must and all that it should, but for what Python itself keeps it from."""
    words, selected = kit
    with loopback.directory() as directory:
        accounts = directory / "accounts"
        as_root = os.geteuid() == 0
        accounts.write_text(ACCOUNTS if as_root else re.sub(r":\d+:\d+:", ":::", ACCOUNTS), encoding="ascii")
        accounts.chmod(0o644)
        if not as_root and "check" in CHAINS[chain][-1]:
            refuse("not run: needs root")
        program = [str(everybodys / word) if word.startswith("check") else word for word in CHAINS[chain]]
        logins = ["--account", "nobody:secret", *([] if chain == "checkgroup" else ["--account", "ann:other"])]
        moved = [f"mv {accounts} {accounts}.away", f"mv {accounts}.away {accounts}"]
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CHECKPW_")},
            "CHECKPW_ACCOUNTS": f"file:{accounts}",
            "CHECKPW_LIMIT_STORE": f"file:{directory}/limits",
            "CHECKPW_LIMIT_LOGIN": "65535/900",  # more than there are tries: it counts, and lets through
        }
        done = subprocess.run(
            [*words, *logins, *selected, "--down", moved[0], "--up", moved[1], "--examples", "1", "--", *program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environ,
            check=False,
            timeout=300,
        )
        assert (directory / "limits").exists() == ("checkpw-limit" in CHAINS[chain]), "it counted, and was asked to"
    failed = set(re.findall(r"^FAILED +\w+ +(\S+)", done.stdout, re.MULTILINE))
    assert failed <= OF_PYTHON, done.stdout + done.stderr
    assert re.search(r"[4-9]\d passed, 0 failed", done.stdout), done.stdout + done.stderr
