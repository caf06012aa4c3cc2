"""The command under test: where its checker goes, what it is given, and what makes it impossible to judge."""

import os
import stat
import subprocess
import sys

import pytest

from checkpw.conform.calling import recipes, target
from checkpw.conform.calling.call import NO, SEEN, YES, Answer
from checkpw.conform.calling.dialogue import Language
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import NotJudged
from checkpw.conform.process import KitFailure

SMTP = r"printf '220 x\r\n'; read a; printf '250 AUTH PLAIN\r\n'; while read a; do printf '535 no\r\n'; done"


@pytest.mark.parametrize(
    ("argv", "whole"),
    [
        (["server"], [b"server", b"{probe}", b"true"]),
        (["server", "{probe}", "x"], [b"server", b"{probe}", b"x"]),
        (["server", b"--checker={probe} true"], [b"server", b"--checker={probe} true"]),
    ],
)
def test_where_the_checker_goes(argv, whole):
    """In the place of {probe}, or with `true` behind the command."""
    assert Caller(argv, {}).argv == whole


@pytest.mark.parametrize(
    ("argv", "is_chain"),
    [
        (["s"], False),
        (["s", "{probe}", "/bin/true"], False),
        (["s", "{probe}", "qmail-pop3d", "Maildir"], True),
        (["s", "{probe}"], True),
        (["s", "-c", "exec s {probe} true"], False),
    ],
)
def test_who_runs_the_session(argv, is_chain):
    """What stands behind the checker, unless that is `true`."""
    assert Caller(argv, {}).is_chain is is_chain


def test_the_environment(server, environ):
    """That of a UCSPI server, where nobody may relay who has not logged in."""
    argv = server("env >&2; " + SMTP)
    with Caller(argv, {**environ, b"RELAYCLIENT": b"", b"OTHER": b"1"}) as caller, caller.session() as client:
        said = client.session.said().splitlines()
    assert b"OTHER=1" in said
    assert b"TCPREMOTEIP=127.0.0.1" in said
    assert not [line for line in said if line.startswith(b"RELAYCLIENT")]


def test_what_is_found_out(server, environ):
    """What it speaks and announces; properties of what it does not speak are not judged."""
    with Caller(server(SMTP), environ) as caller:
        assert (caller.language, caller.mechanisms) == (Language.SMTP, {b"PLAIN"})
        assert caller.log_in(b"j", b"p").lines == (b"AUTH PLAIN AGoAcA==",)
        caller.announces(b"PLAIN")
        with pytest.raises(NotJudged, match="AUTH LOGIN"):
            caller.announces(b"LOGIN")
        with pytest.raises(NotJudged, match="POP3"):
            caller.only(Language.POP3)
        assert [reply.code for reply in caller.told([YES, NO, Answer(status=3)])] == [535, 535, 535]
        assert caller.delay() < 20
        caller.mechanisms = frozenset([b"LOGIN"])
        assert caller.log_in(b"j", b"p").mechanism == b"LOGIN"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo broken >&2", "does not greet: the connection closed; on descriptor 2: 'broken'"),
        (r"printf '421 x\r\n'", "does not greet: 421"),
        ("exec sleep 600", "does not greet: no reply in time; nothing"),
        (r"printf '220 x\r\n'; read a; printf '250 x\r\n'; read a", "announces neither AUTH PLAIN nor AUTH LOGIN"),
    ],
)
def test_what_cannot_be_judged(server, environ, text, message):
    """The kit says why, and leaves nothing behind."""
    caller = Caller(server(text), environ, patience=20 if "sleep" not in text else 0.1)
    with pytest.raises(KitFailure, match=message), caller:
        pass
    assert not os.path.exists(caller._root)


def test_the_private_directory(server, environ):
    """It is nobody else's, holds the probes, and is gone at the end."""
    with Caller(server(SMTP), environ) as caller:
        root = caller._root
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o700
        with caller.session() as client:
            probe = os.path.join(client.session.directory, "probe")
            assert stat.S_IMODE(os.stat(probe).st_mode) == 0o700
            # The lock is held, so it would answer; what it says without a record is trouble, and never yes.
            client.session.answer(NO)
            assert subprocess.run([probe], timeout=20, check=False).returncode == 1
    assert not os.path.exists(root)


def test_an_interpreter_that_no_script_can_name(monkeypatch):
    """Too long a path, or one with a space, is a failure of the kit and not of the command."""
    for path in ("/" + "x" * 200, "/a b/python"):
        monkeypatch.setattr(sys, "executable", path)
        with pytest.raises(KitFailure, match="interpreter"):
            target.launcher("/tmp/x")


@pytest.mark.parametrize("argv", [[b"sh", b"server", b"{probe}", b"true"], [b"sh", b"-c", b"exec sh server {probe}"]])
def test_a_recipe_works(tmp_path, argv, monkeypatch):
    """The shell line sends what is to be sent, and its checker answers as it should."""
    (tmp_path / "server").write_text('cat; printf "a\\0b\\0\\0" | "$@" 3<&0; echo $?', encoding="utf-8")
    monkeypatch.setattr(recipes, "BY_HAND", str(tmp_path / "checker"))
    if argv[1] == b"-c":
        (tmp_path / "server").write_text(f"cat; {tmp_path}/checker 3</dev/null; echo $?", encoding="utf-8")
    line = recipes.caller(argv, b"{probe}", b"A '%\\\r\n", Answer(status=7, output=b"x y\n"))
    line = line.replace(SEEN, str(tmp_path / "seen"))
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=20, check=False)
    assert done.stdout.startswith(b"A '%\\\r\nx y\n7\n0000000")


def test_a_recipe_of_a_chain(tmp_path):
    """After a yes, the words behind the checker run with 3 closed, and not after a no."""
    (tmp_path / "server").write_text('printf "a\\0b\\0\\0" | "$@" 3<&0; echo $?', encoding="utf-8")
    look = b"test -e /proc/$$/fd/3 && echo open; echo ran; exit 5"
    argv = [b"sh", b"server", b"{probe}", b"sh", b"-c", look]
    for answer, said in ((YES, b"ran\n5\n"), (NO, b"1\n")):
        line = recipes.caller(argv, b"{probe}", b"", answer, is_chain=True).replace(SEEN, str(tmp_path / "seen"))
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=20, check=False)
        assert done.stdout.startswith(said + b"0000000   a  \\0")


def test_a_recipe_without_a_checker():
    """There is a path in its place that leads to nothing."""
    line = recipes.caller([b"server", b"-c", b"{probe} true"], b"{probe}", b"A", None)
    assert line == "printf 'A' | server -c '/nonexistent true'"
