"""Looking for a secret in what a program shows, on a machine that leaves it no time."""

import os
import signal

import pytest

from checkpw.conform.accounts import Account
from checkpw.conform.model import Verdict
from checkpw.conform.profiles import DJB
from checkpw.conform.run import Settings, judge
from checkpw.conform.verifying import PROPERTIES, Verifier, environment

JOE = Account(b"joe", b"secret")
NO_SECRET = next(one for one in PROPERTIES if one.name == "no-secret-shown")
HELPER = "sh -c 'sleep 0.3; :' $secret"


@pytest.fixture
def judged(tmp_path):
    """Give a function that judges a checker, in the midst of which a line of shell is run."""

    def run(line):
        path = tmp_path / "checker"
        path.write_text(f"#!/bin/sh\nsecret=$(tr '\\0' '\\n' <&3 | sed -n 2p)\n{line}\nexit 0\n", encoding="ascii")
        path.chmod(0o755)
        with Verifier([str(path)], [JOE], environ={b"PATH": b"/usr/bin:/bin"}) as target:
            return judge(target, NO_SECRET, Settings(1, 5, DJB))

    return run


@pytest.mark.parametrize(("line", "verdict"), [(HELPER, Verdict.FAILED), (":", Verdict.PASSED)])
def test_who_has_no_time_behind_others_is_looked_at_among_them(judged, monkeypatch, line, verdict):
    """A program that is never run behind everybody else is started again as one of them, and watched to its end."""
    monkeypatch.setattr(environment, "UNHURRIED", 0.2)
    monkeypatch.setattr(os, "sched_setscheduler", lambda pid, *_: os.kill(pid, signal.SIGSTOP))
    assert judged(line).verdict is verdict


def test_what_was_not_watched_to_its_end_is_not_judged(judged, monkeypatch):
    """Nothing seen in time is no evidence."""
    monkeypatch.setattr(environment, "_watch", lambda *_, **__: None)
    result = judged(":")
    assert (result.verdict, result.why) == (Verdict.SKIPPED, "it does not end while it is looked at")
