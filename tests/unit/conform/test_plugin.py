"""checkpw.conform.plugin: pytest with the kit, started as a project starts it."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from checkpw.conform.verifying.target import TRUE

ROOT = pathlib.Path(__file__).parents[3]
PATIENCE = 120

CHECKER = r"""#!/bin/sh
given=$(tr '\n\0' '\1\n' <&3) || exit 111
[ "$given" = "$(printf 'joe\nsecret')" ] || exit 1
exec "$@" 3<&-
"""

OWN_TESTS = """
from hypothesis import given
from checkpw.conform import strategies

@given(strategies.credentials())
def test_pairs(pair):
    assert all(pair)

def test_verifier(checkpassword_verifier, judge_property):
    assert judge_property(checkpassword_verifier, "accepts-good-login").examples == 1

def test_caller(checkpassword_caller):
    assert checkpassword_caller.mechanisms
"""

FEW = ("--checkpassword-select=accepts-*-login", "--checkpassword-select=rejects-empty-pass*")
JOE = "--checkpassword-account=joe:secret"


@pytest.fixture
def project(tmp_path):
    """Give a function that runs pytest in a project which has nothing but a checker, and gives status and output."""

    def run(*words, checker=CHECKER, tests=None, environ=None):
        (tmp_path / "mychecker").write_text(checker, encoding="ascii")
        (tmp_path / "mychecker").chmod(0o755)
        if tests is not None:
            (tmp_path / "test_own.py").write_text(tests, encoding="ascii")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "checkpw.conform",
                "-p",
                "no:cacheprovider",
                "-rA",
                "-W",
                "error",
                *words,
            ],
            cwd=tmp_path,
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **(environ or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_each_property_is_an_item(project):
    """The properties stand next to the project's own tests, and each is named."""
    status, said = project("--checkpassword=./mychecker", JOE, *FEW, tests="def test_own(): pass")
    assert status == 0, said
    for name in ("test_own.py::test_own", *(f"checkpw-conform/verifier::{one}" for one in ("accepts-good-login",))):
        assert f"PASSED {name}\n" in said
    assert "3 passed" in said
    assert "checkpw-conform: ./mychecker; repeat with --checkpassword-seed " in said


def test_it_needs_no_other_tests(project):
    """A project without tests of its own has those of the kit."""
    status, said = project("--checkpassword=./mychecker", JOE, *FEW)
    assert (status, "2 passed" in said) == (0, True), said


def test_a_failure_can_be_read(project):
    """A failure is that of the terminal's report, with bytes and shell line and without a traceback; 1."""
    status, said = project("--checkpassword=./mychecker", JOE, *FEW, checker='#!/bin/sh\nexec "$@" 3<&-\n')
    assert status == 1
    assert "1 failed, 1 passed" in said
    assert "         bytes     joe\\0\\0\\0 (6 bytes)\n" in said
    assert f"\nprintf 'joe\\0\\0\\0' | ./mychecker {os.fsdecode(TRUE[0])} 3<&0; echo $?\n" in said
    assert "Traceback" not in said
    assert "plugin.py" not in said.replace("SKIPPED", "")


WEAK = CHECKER.replace('[ "$given" =', '[ "$given" ] || exit 1\n[ "$given" =')


def test_what_should_hold_is_an_expected_failure(project):
    """It does not count, and does with the option."""
    words = ("--checkpassword=./mychecker", JOE, "--checkpassword-select=malformed-record-is-misuse")
    status, said = project(*words)
    assert status == 0, said
    assert "XFAIL checkpw-conform/verifier::malformed-record-is-misuse - should hold, and need not: expected" in said
    status, said = project(*words, "--checkpassword-strict")
    assert status == 1
    assert "malformed-record-is-misuse (should)" in said


def test_dialects_and_what_cannot_be_judged(project):
    """A dialect is an expected failure, what cannot be judged is skipped, each with its reason."""
    checker = CHECKER.replace("exit 1\n", "exit 3\n")
    select = ("--checkpassword-select=rejects-*-another", "--checkpassword-select=rejects-wrong-password")
    words = ("--checkpassword=./mychecker", JOE, *select, "--checkpassword-examples=2")
    status, said = project(*words, "--checkpassword-profile=vchkpw", checker=checker)
    assert status == 0, said
    assert "XFAIL checkpw-conform/verifier::rejects-wrong-password - dialect: vpopmail's vchkpw" in said
    assert "it takes two accounts with two passwords" in said


def test_properties_are_chosen_as_tests_are(project):
    """-k conform runs the properties alone, and a name one of them; the project's tests can be run alone too."""
    words = ("--checkpassword=./mychecker", JOE, *FEW)
    for expression, passed in (("conform", 2), ("accepts-good-login", 1), ("not conform", 1)):
        status, said = project(*words, "-k", expression, tests="def test_own(): pass")
        assert (status, f"{passed} passed" in said) == (0, True), said


def test_fixtures_and_strategies(project):
    """A project's tests ask the program that was named; without one they are skipped, and nothing is added."""
    status, said = project(tests=OWN_TESTS)
    assert status == 0, said
    assert "1 passed, 2 skipped" in said
    assert "no --checkpassword was given" in said
    status, said = project("--checkpassword=./mychecker", JOE, "-k", "not conform", tests=OWN_TESTS)
    assert (status, "2 passed, 1 skipped" in said) == (0, True), said


def test_a_caller(project, programs):
    """A caller is named likewise, and both may be tested in one run."""
    environ = {"OFMIPD_AUTH_DELAY": "0"}
    command = f"--checkpassword-caller={programs}/ofmipd '' mail.example"
    words = ("--checkpassword=./mychecker", JOE, command, *FEW, "--checkpassword-select=answer-yes")
    status, said = project(*words, "-k", "not test_pairs", tests=OWN_TESTS, environ=environ)
    assert status == 0, said
    assert "PASSED checkpw-conform/caller::answer-yes" in said
    assert "5 passed" in said


def test_a_dialect_of_a_caller(project, programs):
    """Has an option of its own, because that of the program says nothing about who calls it."""
    command = f"--checkpassword-caller={programs}/ofmipd '' mail.example"
    words = (command, "--checkpassword-select=answer-misuse", "--checkpassword-caller-profile=qmail-smtpd")
    environ = {"OFMIPD_AUTH_DELAY": "0", "OFMIPD_REJECT_CODES": "1,2"}
    status, said = project(*words, environ=environ)
    assert status == 0, said
    assert "XFAIL checkpw-conform/caller::answer-misuse - dialect: any status" in said


SEEDS = """
import pytest
@pytest.mark.parametrize("number", range(8))
def test_seed(pytestconfig, number):
    print("the seed is", pytestconfig.stash[SEED])
"""


def test_processes_of_xdist_share_the_items_and_the_seed(project):
    """With -n each process has the same items and the same values."""
    tests = f"from checkpw.conform.plugin import SEED\n{SEEDS}"
    status, said = project("--checkpassword=./mychecker", JOE, *FEW, "-n", "2", tests=tests)
    assert (status, "10 passed" in said) == (0, True), said
    (seed,) = re.findall("--checkpassword-seed ([0-9]+)", said)
    assert re.findall("the seed is ([0-9]+)", said) == [seed] * 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--checkpassword=",), None),
        (("--checkpassword=./nobody", JOE), "--checkpassword: ./nobody: no such program"),
        (("--checkpassword=./mychecker",), "which logins does it accept?"),
        (("--checkpassword=./mychecker", "--checkpassword-account=joe"), "there is no colon"),
        (("--checkpassword='", JOE), "No closing quotation"),
        (("--checkpassword=./mychecker", JOE, "--checkpassword-select=nobody"), "no property is called nobody"),
        (("--checkpassword=./mychecker", JOE, "--checkpassword-down=true"), "give both or none"),
        (("--checkpassword=./mychecker", JOE, "--checkpassword-profile=none"), "invalid choice: 'none'"),
    ],
)
def test_wrong_usage(project, words, said):
    """Options that make no sense end the run before any test, with a line that says why."""
    status, output = project(*words)
    if said is None:
        assert status == 5
    else:
        assert status == 4, output
        assert said in output
        assert "INTERNALERROR" not in output
