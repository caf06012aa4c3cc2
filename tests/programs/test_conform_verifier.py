"""Our own checkpassword, judged by the kit, on each kind of store that a machine has without further servers."""

import json
import os
import subprocess
import sys

from checkpw.conform import run
from checkpw.conform.accounts import Account
from checkpw.conform.model import Verdict
from checkpw.conform.profiles import DJB
from checkpw.conform.verifying import PROPERTIES, Verifier

LONG = b"a-Password-of-more-than-seventy-two-bytes-0123456789-0123456789-0123456789-end"

ACCOUNTS = (Account(b"joe", b"Secret-Word"), Account(b"ann", b"another one"), Account(b"lee", LONG))

# {SHA512-CRYPT} of each, by `openssl passwd -6 -salt checkpwtest`.
HASHES = (
    "$6$checkpwtest$.shh0.ucVtOBet..BS4cl72dF7s/2p.8sszLOL2ELg4eEDBU9sOk1d1pYecpf1nDe8C9T2sKCspmcAukeobGq.",
    "$6$checkpwtest$GmvIBVwtO1kuWJ3ZUpX0.tq9IpiEp70e0KwOCK8sQ595knN9t.YMVCBKojBEGja/hllDsRSZl0s5FzirvIWBe/",
    "$6$checkpwtest$.4fX7kawACRZe5ceXwXvyyLvXQlJA7Byng.0DTk9KK2mgFnrI6PbWyyaGDI.mNVf.zYXvTQgBCTMvh.0GN3dG1",
)

OF_PYTHON = "hands-on-ignored-sigpipe"
"""What no program in Python can do by itself: see checkpw/chain.py."""

OF_TIME = "same-time-for-unknown-login"
"""What cannot be judged while the machine is busy with other tests."""

OF_ROOT = ("drops-groups", "drops-uid", "drops-gid")

UID = 54321

# Judges checkpassword where passwd and shadow are those of a test, so the kit runs there as a whole.
_ON_A_MACHINE = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from checkpw.conform import run
from checkpw.conform.accounts import Account
from checkpw.conform.profiles import DJB
from checkpw.conform.verifying import PROPERTIES, Verifier
accounts = [Account(login.encode(), password.encode()) for login, password in json.loads(sys.argv[3])]
environ = {b"PATH": b"/usr/bin:/bin", b"CHECKPW_ACCOUNTS": b"system:"}
with Verifier([sys.argv[2]], accounts, environ=environ) as target:
    report = run.run("verifier", [sys.argv[2]], target, PROPERTIES, run.Settings(1, 5, DJB))
json.dump([(one.judged.name, one.verdict.value, one.why or str(one.violation)) for one in report.results], sys.stdout)
"""


def _wrong(results):
    return {name: why for name, verdict, why in results if verdict != "passed"}


def test_a_file_of_accounts(programs, accounts):
    """checkpassword on file: passes all properties but the one that Python does not let it pass."""
    lines = []
    for at, (one, crypted) in enumerate(zip(ACCOUNTS, HASHES, strict=True)):
        uid, gid = (UID + at, UID + at) if os.geteuid() == 0 else (os.getuid(), os.getgid())
        lines.append(f"{one.login.decode()}:{{SHA512-CRYPT}}{crypted}:{uid}:{gid}::/usr:/bin/dash\n")
    store = accounts("".join(lines))
    path = store.removeprefix("file:")
    environ = {b"PATH": b"/usr/bin:/bin", b"CHECKPW_ACCOUNTS": store.encode()}
    argv = [str(programs / "checkpassword")]
    with Verifier(
        argv, ACCOUNTS, environ=environ, down=f"mv {path} {path}.down", up=f"mv {path}.down {path}"
    ) as target:
        report = run.run("verifier", argv, target, PROPERTIES, run.Settings(1, 5, DJB))
    results = [(one.judged.name, one.verdict.value, one.why or str(one.violation)) for one in report.results]
    wrong = _wrong(results)
    assert "SIGPIPE" in wrong.pop(OF_PYTHON)
    assert "too busy" in wrong.pop(OF_TIME, "too busy")
    assert wrong == ({} if os.geteuid() == 0 else dict.fromkeys(OF_ROOT, "it takes root"))
    assert report.conforms
    assert {one.verdict for one in report.results} <= {Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED}


def test_the_accounts_of_a_machine(root, refuse, programs, public):
    """checkpassword on system: passes the same, with passwd and shadow in place of a file."""
    files = {
        "passwd": ["root:x:0:0:root:/root:/bin/sh"],
        "shadow": ["root:*:19000::::::"],
        "group": ["root:x:0:", f"joes:x:{UID}:", "more:x:54399:joe"],
        "nsswitch.conf": ["passwd: files", "group: files", "shadow: files"],
    }
    for at, (one, crypted) in enumerate(zip(ACCOUNTS, HASHES, strict=True)):
        files["passwd"].append(f"{one.login.decode()}:x:{UID + at}:{UID}::/usr:/bin/dash")
        files["shadow"].append(f"{one.login.decode()}:{crypted}:19000:0:99999:7:::")
    mounts = []
    for name, lines in files.items():
        (public / name).write_text("\n".join(lines) + "\n", encoding="ascii")
        (public / name).chmod(0o600 if name == "shadow" else 0o644)
        mounts.append(f"mount --bind {public}/{name} /etc/{name}")
    words = ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        refuse("not run: a private /etc, unshare and mount are not allowed here")
    pairs = [(one.login.decode(), one.password.decode()) for one in ACCOUNTS]
    kit = [
        sys.executable,
        "-c",
        _ON_A_MACHINE,
        json.dumps(sys.path),
        str(programs / "checkpassword"),
        json.dumps(pairs),
    ]
    done = subprocess.run([*words, *kit], capture_output=True, timeout=240, check=False, cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    wrong = _wrong(json.loads(done.stdout))
    assert "SIGPIPE" in wrong.pop(OF_PYTHON)
    assert "too busy" in wrong.pop(OF_TIME, "too busy")
    assert wrong == {"store-down-is-trouble": "it takes --down and --up"}
