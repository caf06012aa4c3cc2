"""A process that is not root and could become it: capabilities outlive setuid(2) there."""

import subprocess

import pytest

SETPRIV = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
CAPABLE = ["--inh-caps", "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid"]


@pytest.mark.parametrize(
    ("account", "status"), [("eve:{PLAIN}secret:2000:2000::/:/bin/sh", 111), ("eve:{PLAIN}secret", 111)]
)
def test_a_way_back_to_root_is_handed_to_nobody(root, everybodys, tmp_path, account, status):
    """With the capability to change users, neither an account with a uid nor a virtual one gets a session."""
    accounts = everybodys / f"accounts-{status}-{len(account)}"
    accounts.write_text(account + "\n", encoding="ascii")
    accounts.chmod(0o644)
    chain = ["env", f"CHECKPW_ACCOUNTS=file:{accounts}", everybodys / "checkpassword", "id"]
    shell = 'printf "eve\\0secret\\0\\0" | (exec 3<&0; exec "$@" </dev/null)'
    ran = subprocess.run(
        ["sh", "-c", shell, "sh", *SETPRIV, *CAPABLE, *chain], capture_output=True, timeout=30, check=False
    )
    assert ran.returncode == status
    assert ran.stdout == b""
