"""The witness sees what the kernel knows, and is found wherever it runs."""

import os
import signal
import subprocess
import time

import pytest

from checkpw.conform.accounts import Account
from checkpw.conform.model import Violation
from checkpw.conform.process import State
from checkpw.conform.shell import ByHand
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.target import Verifier

ENVIRON = {b"PATH": b"/usr/bin:/bin", b"X": b"y"}


@pytest.fixture
def behind(tmp_path):
    """Give a function that looks at the witness behind a shell script."""

    def look(text, **state):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        path.chmod(0o755)
        with Verifier([str(path)], [Account(b"joe", b"secret")], environ=ENVIRON, patience=10.0) as target:
            return (*witness.behind(target, target.state(**state)), target)

    return look


def test_a_state_is_brought_about_by_hand():
    """Signals, groups and descriptors have commands; what needs none has none."""
    assert witness.by_hand(State({}, {})) == ByHand()
    state = State({}, {0: -1, 4: 9, 20: 9}, ignored=frozenset({17}), blocked=frozenset({15}), groups=(0, 7))
    front = "setpriv --groups 0,7 env --ignore-signal=CHLD env --block-signal=TERM"
    assert witness.by_hand(state) == ByHand(front=front, redirect="3<&0 4</dev/null 0<&-")


def test_what_is_handed_on_is_seen(behind):
    """Behind a program that only executes, all is as it was given but what the shell adds."""
    found, given, target = behind('exec 3<&-; exec "$@"', umask=0o27, ignored=frozenset({signal.SIGHUP}))
    assert found.argv == given.argv == (target.stayer, b"6000")
    assert found.descriptors == given.descriptors
    assert sorted(given.descriptors) == [0, 1, 2]
    assert given.environ == (b"PATH=/usr/bin:/bin", b"X=y")
    assert given.variable(b"X") == b"y"
    assert given.variable(b"Y") is None
    assert set(found.environ) >= set(given.environ)
    assert found.signals("SigIgn") == given.signals("SigIgn") == {signal.SIGHUP}
    assert found.status["Umask"] == given.status["Umask"] == "0027"
    assert found.limits == given.limits
    assert found.directory == given.directory == os.fsencode(os.getcwd())
    assert found.ids("Uid") == given.ids("Uid") == (os.geteuid(),) * 4
    assert found.group == (found.began, found.began) == (found.pid, found.pid)
    assert found.children == found.company == frozenset()


@pytest.mark.parametrize("how", ['"$@" & wait', 'setsid "$@" & wait'])
def test_a_witness_that_is_another_process_is_found(behind, how):
    """A child is seen as one, also in a session of its own, and nothing of it is left."""
    found, _, _ = behind(how)
    assert found.pid != found.began
    assert 3 in found.descriptors
    assert witness.state_of(found.pid) in (b"", b"Z")


def test_a_witness_that_is_not_run_is_a_violation(behind):
    """The end of the program says why there is none."""
    with pytest.raises(Violation, match="exit 5"):
        behind("exit 5")
    with pytest.raises(Violation, match="SIGKILL"):
        behind("kill -9 $$")


def test_secrets_are_looked_for():
    """They are found in arguments and environment, but for what was given."""
    process = subprocess.Popen(["sleep", "600"], env={"S": "secret-word"}, executable="/bin/sleep")
    try:
        # Popen returns as soon as there is another program; where its environment is, the kernel knows a moment later.
        while witness.state_of(process.pid) != b"S":
            time.sleep(0.01)
        assert witness.shows(process.pid, b"secret-word", frozenset()) == "environ"
        assert witness.shows(process.pid, b"secret-word", frozenset({b"S=secret-word"})) == ""
        assert witness.shows(process.pid, b"600", frozenset()) == "cmdline"
        assert witness.shows(process.pid, b"no-such", frozenset()) == ""
        assert witness.descendants(process.pid) == [process.pid]
        assert process.pid in witness.descendants(os.getpid())
    finally:
        process.kill()
        process.wait()
    assert witness.shows(process.pid, b"secret", frozenset()) == ""
