"""The kit's properties of a caller, held against our own ofmipd and authup as they run."""

import os

import pytest

from checkpw.conform import profiles, run
from checkpw.conform.calling import PROPERTIES
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import Verdict

# Time limits of seconds, so that a hang ends in time; the delay of a failure would cost 5 s each time.
ENVIRON = {
    b"OFMIPD_AUTH_DELAY": b"0",
    b"OFMIPD_CHECKER_TIMEOUT": b"5",
    b"OFMIPD_QMAIL": b"/nonexistent",
    b"LC_ALL": b"C",
}
POP3_SERVER = """
printf '+OK ready\\r\\n'
while read -r line; do
    printf '+OK\\r\\n'
    case $line in QUIT*) exit ;; esac
done
"""
NOT_OURS = {"it does not speak POP3", "it does not announce AUTH CRAM-MD5"}


@pytest.fixture
def judge(programs, controls):
    """Give a function that holds properties against ofmipd, or another command, and returns the report."""

    def hold(properties, examples, argv=("ofmipd", "", "mail.example"), **environ):
        settings = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        path = os.fsencode(programs) + b":/usr/bin:/bin"
        given = ENVIRON | {b"PATH": path, b"CONTROLDIR": os.fsencode(controls)} | settings
        with Caller([*argv], given, hang_limit=30) as caller:
            return run.run("caller", caller.argv, caller, properties, run.Settings(1, examples, profiles.DJB))

    return hold


def test_ofmipd_conforms(judge):
    """It has every property, those included that only should hold."""
    report = judge(PROPERTIES, 10)
    failed = [(result.judged.name, str(result.violation)) for result in report.results if result.violation]
    assert failed == []
    assert {result.why for result in report.results if result.verdict is Verdict.SKIPPED} == NOT_OURS
    assert len([result for result in report.results if result.verdict is Verdict.PASSED]) > len(PROPERTIES) - 6


def test_what_an_administrator_decided_is_seen(judge):
    """Where OFMIPD_REJECT_CODES has 2 mean no, the kit says that it should not, and that the interface is kept."""
    report = judge(run.select(PROPERTIES, ["answer-temporary", "answer-misuse"]), 10, OFMIPD_REJECT_CODES="1,2")
    assert [result.verdict for result in report.results] == [Verdict.PASSED, Verdict.FAILED]
    assert report.conforms


@pytest.mark.parametrize(
    ("language", "session", "known"),
    [
        ("smtp", ["ofmipd", "", "mail.example"], {"answer-other", "secret-environment-login"}),
        ("pop3", ["pop3-server"], {"secret-environment-login"}),
    ],
)
def test_authup_conforms(judge, script, language, session, known):
    """It has what must hold. The rest is acceptutils' contract; nor can it give up a checker that is the session."""
    if language == "pop3":
        session = [str(script("pop3-server", POP3_SERVER))]
    chosen = [one for one in PROPERTIES if one.name != "answer-hang"]
    report = judge(chosen, 4, ["authup", "-t", "20", language, "{probe}", *session])
    assert report.conforms
    assert {result.judged.name for result in report.results if result.verdict is Verdict.FAILED} == known
    assert len([result for result in report.results if result.verdict is Verdict.PASSED]) > len(chosen) / 2
