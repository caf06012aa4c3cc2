"""README.md: it names everything, and what it tells people to do works; recipes with peers are in tests/interop."""

import ast
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
from pages import PROGRAMS, pages
from readme import RECIPES, ROOT, TEXT, recipe

RECIPE_TESTS = ("tests/docs/test_readme.py", "tests/interop/test_readme_recipes.py")


def test_it_names_each_program():
    """Each program has a row in the table."""
    for program in PROGRAMS:
        assert re.search(rf"^\| `{program}` \| ", TEXT, re.MULTILINE)


def test_it_begins_with_the_two_commands():
    """make demo and make test come before everything that has to be installed, and are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert 0 < TEXT.index(f"    make {target} ") < TEXT.index("## Install")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_recipe_is_run():
    """Each named block is asked for by a test, and no test asks for one that is gone."""
    asked = set()
    for path in RECIPE_TESTS:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "recipe":
                asked.add(node.args[0].value)
    assert asked == set(RECIPES)
    assert len(RECIPES) == TEXT.count("\n```") / 2, "a block without a name is not run"


def test_paths_and_pages_that_it_names_exist():
    """Files of this repository and manual pages in the text are there."""
    for name in re.findall(r"`((?:checkpw|tests|bin|man)/[\w/.]+)`", TEXT):
        assert (ROOT / name).exists(), name
    for name, section in re.findall(r"([a-z-]+)\((\d)\)", TEXT):
        assert f"{name}.{section}" in pages()
    for section, name in re.findall(r"`man (\d) ([a-z-]+)`", TEXT):
        assert f"{name}.{section}" in pages()
    layout = re.findall(r"^    (\w+)/ ", TEXT, re.MULTILINE)
    assert layout == ["bin", "man", "checkpw", "tests"]
    for name in layout:
        assert (ROOT / name).is_dir()


def test_variables_that_it_names_exist():
    """Each setting in the text is one that a page explains."""
    known = set().union(*(page.variables("ENVIRONMENT") for page in pages().values() if page.section == "8"))
    used = set(re.findall(r"\b(?:CHECKPW|OFMIPD)_[A-Z_]*[A-Z]\b|\bQMAILQUEUE\b|\bRELAYCLIENT\b", TEXT))
    assert used
    assert used <= known


def test_make_install_puts_things_where_it_says():
    """make install PREFIX= would build its environment, write programs and copy pages below the prefix."""
    text = recipe("install", prefix="/opt/somewhere")
    ended = subprocess.run(
        ["/bin/sh", "-ec", text.replace("make install", "make -n install")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for place in ("/opt/somewhere/lib/checkpw", "install-programs '/opt/somewhere/bin'", "/opt/somewhere/share/man"):
        assert place in ended.stdout
    assert "/usr/local" not in ended.stdout


@pytest.fixture
def shell(programs, tmp_path):
    """Give a function that runs a block in a shell where our programs are on the PATH."""

    def run(text, **environment):
        return subprocess.run(
            ["/bin/sh", "-c", text],
            env={"PATH": f"{programs}:/usr/bin:/bin", **environment},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def accounts(tmp_path):
    """An account file with joe, whose password is secret, as a setting."""
    path = tmp_path / "accounts"
    path.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
    path.chmod(0o600)
    return f"file:{path}"


def _converse(argv, environment, answers):
    """Run a program on a terminal of its own; answer each prompt; give its status and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execve(argv[0], argv, environment)
        finally:
            os._exit(127)
    shown = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # Linux's end of file on a terminal
                break
            if not piece:
                break
            shown += piece
            if answers and shown.rstrip().endswith(answers[0][0]):
                os.write(terminal, answers.pop(0)[1] + b"\n")
    finally:
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), shown


def test_an_account_is_made_at_a_terminal(programs, tmp_path, shell):
    """The password is asked for twice and not shown; then the account is listed, and good."""
    text = recipe("account", etc=tmp_path / "etc")
    answers = [(b"Password:", b"correct horse"), (b"confirmation:", b"correct horse")]
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "TERM": "dumb"}
    status, shown = _converse(["/bin/sh", "-ec", text], environment, answers)
    assert status == 0, shown
    assert answers == []
    assert b"correct horse" not in shown
    assert re.search(rb"^joe +SHA512-CRYPT +active", shown, re.MULTILINE)
    check = recipe("ask").replace("secret", "correct horse")
    assert shell(check, CHECKPW_ACCOUNTS=f"file:{tmp_path}/etc/accounts").stdout == b"welcome\n"


def test_a_shell_asks_with_checkpw_ask(shell, accounts):
    """The pipeline says welcome to who knows the password, and nothing to others."""
    assert shell(recipe("ask"), CHECKPW_ACCOUNTS=accounts).stdout == b"welcome\n"
    refused = shell(recipe("ask").replace("secret", "wrong"), CHECKPW_ACCOUNTS=accounts)
    assert (refused.returncode, refused.stdout) == (1, b"")


def test_a_shell_asks_checkpassword_itself(shell, accounts):
    """The pipeline without checkpw ask does the same."""
    assert shell(recipe("bare"), CHECKPW_ACCOUNTS=accounts).stdout == b"welcome\n"
    refused = shell(recipe("bare").replace("secret", "wrong"), CHECKPW_ACCOUNTS=accounts)
    assert (refused.returncode, refused.stdout) == (1, b"")


def test_a_checker_is_held_against_the_interface(programs, tmp_path):
    """The line of the recipe writes a page, and its status says whether the checker conforms."""
    own = tmp_path / "mychecker"
    few = "--examples 5 --select rejects-wrong-password --select accepts-good-login"
    text = recipe("conform").replace(" -- ", f" {few} -- ")
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "dumb"}
    for refusal, status in ((1, 0), (0, 1)):
        own.write_text(
            f'#!/bin/sh\ntest "$(tr "\\0" : <&3)" = joe:secret:: && exec "$@" 3<&-\nexit {refusal}\n', encoding="ascii"
        )
        own.chmod(0o755)
        ended = subprocess.run(
            ["/bin/sh", "-ec", text], cwd=tmp_path, env=environ, capture_output=True, check=False, timeout=300
        )
        assert ended.returncode == status, ended.stdout
        assert "rejects-wrong-password" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_files_of_a_service_are_written(shell, tmp_path):
    """The line of the recipe leaves a unit and a socket; what they do is tested with tests/interop/test_services."""
    ended = shell(recipe("service", units=tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"submissiond.service", "submissiond.socket"}


def test_a_script_sends_a_message(shell, tmp_path):
    """The dialogue of the script leaves one message, with the envelope that it said."""
    ended = shell(recipe("script"), OFMIPD_QUEUE=f"maildir:{tmp_path}/Maildir")
    assert ended.returncode == 0
    assert [line[:3] for line in ended.stdout.splitlines()] == [b"220", b"250", b"250", b"354", b"250", b"221"]
    (message,) = [path.read_text(encoding="ascii") for path in (tmp_path / "Maildir" / "new").iterdir()]
    assert message.startswith("Return-Path: <joe@example.org>\nDelivered-To: ann@example.net\n")
    assert message.endswith("Subject: from a script\n\nGood morning.\n")


@pytest.fixture
def place():
    """Give a directory that everybody can enter, as pytest's own is not: as root, the demo writes mail as nobody."""
    with tempfile.TemporaryDirectory(prefix="checkpw-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        yield directory


def test_the_demo_is_what_it_says(refuse, place):
    """What make demo runs ends well, within a minute, and shows verdicts, log and message."""
    if shutil.which("openssl") is None:
        refuse("peer not installed: openssl (Debian package openssl)")
    dry = subprocess.run(
        ["make", "-n", "-o", ".venv/.done", "demo"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "-m checkpw.cli.admin demo" in dry.stdout
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "checkpw.cli.admin", "demo", "--directory", place / "demo"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert time.monotonic() - begun < 60
    for words in ("535 5.7.8", "235 2.7.0", "event=auth login=joe", "Received: (ofmipd joe@127.0.0.1) by mail.example"):
        assert words in ended.stdout
    assert len(list((place / "demo" / "Maildir" / "new").iterdir())) == 1
