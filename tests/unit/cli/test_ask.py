"""checkpw ask: what each way in which a checker can end is called."""

import os
import signal

import pytest

from checkpw.cli.ask import MEANINGS, explain


@pytest.mark.parametrize(
    ("code", "answer", "word"),
    [
        (0, 0, "accepted"),
        (1, 1, "rejected"),
        (2, 2, "misuse"),
        (3, 1, "vchkpw"),
        (12, 1, "vchkpw"),
        (13, 1, "vchkpw"),
        (15, 1, "vchkpw"),
        (20, 1, "vchkpw"),
        (21, 1, "vchkpw"),
        (22, 1, "vchkpw"),
        (23, 1, "vchkpw"),
        (24, 1, "vchkpw"),
        (6, 111, "vchkpw"),
        (100, 1, "cvm"),
        (111, 111, "temporary"),
        (42, 111, "exit status 42"),
        (255, 111, "exit status 255"),
    ],
)
def test_statuses_of_a_chain_that_asks_only(code, answer, word):
    """With `true` at the end a status is the checker's: known ways to say no are no, unknown ones are trouble."""
    assert explain(code << 8, runs_more=False)[0] == answer
    assert word in explain(code << 8, runs_more=False)[1]


@pytest.mark.parametrize("code", range(1, 256))
def test_statuses_of_a_chain_that_runs_something(code):
    """What a program in the chain leaves with is passed on, and named as possibly its own."""
    answer, words = explain(code << 8, runs_more=True)
    assert answer == code
    assert f"exit status {code}" in words


@pytest.mark.parametrize("runs_more", [False, True])
def test_killed_by_a_signal(runs_more):
    """A checker that crashed gave no answer."""
    answer, words = explain(signal.SIGSEGV, runs_more=runs_more)
    assert answer == 111
    assert "signal 11" in words


def test_only_zero_is_yes():
    """No status but 0 is ever turned into a yes."""
    assert [code for code, (answer, _) in MEANINGS.items() if answer == 0] == [0]
    assert all(answer in (0, 1, 2, 111) for answer, _ in MEANINGS.values())


def test_a_program_that_is_not_there(checkpw):
    """A checker that cannot be started is trouble, with its name in the message."""
    done = checkpw("ask", "--", "no-such-checker", "true", stdin=b"joe\nsecret\n", PATH="/nonexistent")
    assert done.status == 111
    assert "no-such-checker" in done.err
    assert "not found in PATH" in done.err


@pytest.mark.parametrize(
    ("stdin", "status"),
    [
        (b"jo\0e\nsecret\n", 2),
        (b"joe\nse\0cret\n", 2),
        (b"joe\n\n", 2),
        (b"joe\n", 2),
        (b"", 2),
        (b"joe\n" + b"p" * 507 + b"\n", 1),
    ],
)
def test_what_no_checker_takes_starts_none(checkpw, tmp_path, stdin, status):
    """A NUL, a missing line or more than 512 bytes are answered before anything is started."""
    done = checkpw("ask", "--", "touch", str(tmp_path / "started"), stdin=stdin, PATH=os.defpath)
    assert done.status == status
    assert not (tmp_path / "started").exists()
    assert "secret" not in done.err
