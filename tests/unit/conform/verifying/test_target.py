"""How a program under test is asked, with stand-ins that answer as the test says."""

import os

import pytest

from checkpw.conform.accounts import Account, wrong_password
from checkpw.conform.model import NotJudged, Violation
from checkpw.conform.process import KitFailure, Outcome
from checkpw.conform.profiles import CVM, DJB
from checkpw.conform.verifying.target import MARK, RAN, TRUE, Verifier

JOE = Account(b"joe", b"secret")
ENVIRON = {b"PATH": b"/usr/bin:/bin"}


@pytest.fixture
def restricted():
    """Have new files closed to everybody else."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def stand_in(tmp_path):
    """Give a function that makes a target of a shell script."""

    def make(text, **settings):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        path.chmod(0o755)
        return Verifier([str(path)], [JOE], environ=ENVIRON, **settings)

    return make


def test_a_program_gets_what_it_is_asked_with(stand_in):
    """The record is on 3, the words of PROG are its arguments, and what it says is kept."""
    with stand_in('cat <&3; cat; echo "$@" >&2; exit 7') as target:
        done = target.ask(JOE.record, (b"prog", b"arg"), stdin=b"input")
        assert (done.status, done.stdout, done.stderr) == (7, b"joe\0secret\0\0input", b"prog arg\n")
        assert target.ask(None, pieces=(b"a", b"bc")).stdout == b"abc"


def test_descriptors_are_closed_on_request(stand_in):
    """None stands for a closed 3 or 0, and -1 for any other."""
    with stand_in("n=0; for d in 0 1 2 3; do [ -e /proc/$$/fd/$d ] || n=$((n + 1 << d)); done; exit $n") as target:
        assert target.ask(b"").status == 0
        assert target.ask(None).status == 1 << 3
        assert target.ask(b"", stdin=None).status == 1
        assert target.ask(b"", descriptors={1: -1}).status == 2


def test_a_held_record_has_no_end(stand_in):
    """With `holds`, whoever reads to the end waits until his time is up."""
    with stand_in("cat <&3 >/dev/null; exit 0") as target:
        assert target.ask(b"x", holds=True, patience=0.2).status is None
        assert target.ask(b"x").status == 0


def test_what_it_may_run_is_there_and_goes_away(stand_in):
    """Every user can enter the directory; after the run it is gone."""
    with stand_in('exec "$@"') as target:
        assert os.stat(target.directory).st_mode & 0o777 == 0o755
        done = target.ask(b"", (target.marker,))
        assert (done.status, done.stdout) == (RAN, MARK)
        assert target.ask(b"", (target.marker_without_words,)).status == RAN
        directory = target.directory
        line = target.violation("a", "b", JOE.record, (target.marker,)).recipe
        assert os.fsdecode(directory) not in line
        assert line.endswith(f"program /bin/sh -c 'echo the marker ran; exit {RAN}' sh 3<&0; echo $?")
    assert not os.path.exists(directory)


def test_every_user_can_run_it_whatever_the_umask_is(stand_in, restricted):
    """Directories in it too: a program under test becomes somebody else before it runs what stands there."""
    with stand_in("exit 1") as target:
        path = target.script(b"below/prog", b"exit 0\n")
        for one in (target.directory, os.path.dirname(path), path, target.marker, target.stayer):
            assert os.stat(one).st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("text", "yes", "prog"),
    [
        ("exit 1", False, False),
        (f'[ "$1" = {os.fsdecode(TRUE[0])} ] && exit 0; exit 111', True, False),
        ('exec "$@"', True, True),
    ],
)
def test_what_has_to_hold_before(stand_in, text, yes, prog):
    """A program that never says yes, or runs nothing, cannot be judged by what it runs."""
    with stand_in(text) as target:
        for needs, holds in ((target.needs_yes, yes), (target.needs_prog, prog)):
            for _ in range(2):
                if holds:
                    needs()
                else:
                    with pytest.raises(NotJudged, match="see"):
                        needs()


def outcome(status, stdout=b""):
    return Outcome(status, stdout, b"prog: no\nmore\n", 0.0, 1)


def test_answers_are_held_against_the_interface(stand_in):
    """Each kind of answer has its statuses, and a marker that ran is never right."""
    target = stand_in("exit 1")
    target.must_accept(outcome(0), b"")
    target.must_accept(outcome(42), b"", status=42)
    target.must_reject(outcome(1), b"")
    target.must_refuse(outcome(1), b"")
    target.must_refuse(outcome(2), b"")
    for must, wrong in (
        (target.must_accept, (1, 111, -9, None)),
        (target.must_reject, (0, 2, 111, 100, -11, None)),
        (target.must_refuse, (0, 111, 3, -11, None)),
    ):
        for status in wrong:
            with pytest.raises(Violation, match="prog: no") as caught:
                must(outcome(status), b"x")
            assert not caught.value.is_dialect
            assert caught.value.given == b"x"
    with pytest.raises(Violation, match="was run"):
        target.must_reject(outcome(1, MARK), b"")


def test_a_profile_makes_a_dialect_of_it(stand_in):
    """A status that the family is known for is named, and not right."""
    with pytest.raises(Violation) as caught:
        stand_in("exit 1", profile=CVM).must_reject(outcome(100), b"")
    assert caught.value.is_dialect
    with pytest.raises(Violation) as caught:
        stand_in("exit 1", profile=DJB).must_reject(outcome(100), b"")
    assert not caught.value.is_dialect


def test_whatever_says_no_to_a_wrong_password_says_it_everywhere(stand_in):
    """A status other than 1 is one deviation; a yes and a crash are never taken for a no."""
    target = stand_in("exit 3")
    target.must_reject(outcome(3), b"")
    target.must_refuse(outcome(3), b"")
    target = stand_in("read -r one <&3; case $one in *joe*) exit 3;; esac; exit 4")
    assert (target.no, target.unknown) == (3, 4)
    target.must_reject(outcome(4), b"")
    for text in ("exit 0", "kill -9 $$"):
        target = stand_in(text)
        target.must_reject(outcome(1), b"")
        for status in (0, -9, 3):
            with pytest.raises(Violation):
                target.must_reject(outcome(status), b"")


@pytest.mark.parametrize("password", [b"s", b"0ab", b"\xb0", b"secret"])
def test_a_plain_wrong_password_begins_otherwise(password):
    """It is as long, and no prefix, case or seventh bit makes it the right one."""
    wrong = wrong_password(Account(b"joe", password))
    assert len(wrong) == len(password)
    assert wrong[0] & 127 != password[0] & 127


def test_a_target_takes_a_program_and_an_account():
    """Without either there is nothing to judge."""
    with pytest.raises(KitFailure, match="no such program"):
        Verifier(["no-such-program"], [JOE], environ=ENVIRON)
    with pytest.raises(KitFailure, match="account"):
        Verifier(["true"], [], environ=ENVIRON)
