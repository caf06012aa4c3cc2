"""ofmipd that asks our own checkpassword for a verdict: a forked child decides, and nothing is executed."""

import os
import pathlib
import pwd
import shutil
import socket
import sys
import time
import types

import pytest

from checkpw.cli import exits, settings
from checkpw.cli.environment import Environment
from checkpw.errors import TemporaryFailure
from checkpw.runners.stdio import StdioRunner

NO, LATER, YES = b"535 5.7.8 authorization failed\r\n", b"454 4.7.0 temporary authentication failure\r\n", b"235 "

STORE = """\
joe:{PLAIN}secret::::::
hashed:$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4::::::
odd:{NO-SUCH-SCHEME}y::::::
malformed:{PLAIN}secret:x:y::::
locked:!{PLAIN}secret::::::
elsewhere:{PLAIN}secret::::::allow_nets=198.51.100.0/24
near:{PLAIN}secret::::::allow_nets=192.0.2.0/24
"""


# --- the same answer, whichever way


@pytest.fixture
def place(public):
    """Give a directory with an account file, and with what is none."""
    (public / "accounts").write_text(STORE, encoding="ascii")
    (public / "damaged").write_bytes(b"joe\n\xff\xfe:\0:\njoe:{PLAIN}secret::::::\n" * 3)
    (public / "directory").mkdir()
    os.mkfifo(public / "fifo")
    return public


def checkers(programs, environ):
    """Give two ways to ask the same: by starting the program, and by a forked child."""
    environ = {b"PATH": os.fsencode(programs), **environ}
    environment = Environment(environ)
    chain, launcher = [b"checkpassword", b"true"], os.fsencode(programs / "ofmipd")
    started = settings.read_checker(environment, chain, environ)
    forked = settings.read_checker(environment, chain, environ, launcher)
    assert started._short_cut is None
    assert callable(forked._short_cut())
    return started, forked


def leave(function):
    """End a forked child, as ofmipd does."""
    exits.run("ofmipd", lambda argv, environ: function())


def answer(checker, record):
    """Give all that is to be seen of an answer."""
    said = StdioRunner(leave=leave).run(checker.ask(types.SimpleNamespace(encode=lambda: record)))
    return said.verdict, said.reason, said.diagnostics


RECORDS = {
    "good": b"joe\0secret\0\0",
    "good, hashed": b"hashed\0secret\0\0",
    "wrong": b"joe\0wrong\0\0",
    "wrong, hashed": b"hashed\0wrong\0\0",
    "unknown": b"nobody\0secret\0\0",
    "bad scheme": b"odd\0x\0\0",
    "malformed line": b"malformed\0secret\0\0",
    "locked": b"locked\0secret\0\0",
    "from elsewhere": b"elsewhere\0secret\0\0",
    "from here": b"near\0secret\0\0",
    "a NUL in it": b"joe\0sec\0ret\0\0",
    "two fields": b"joe\0secret\0",
    "not closed": b"joe\0secret",
    "login only": b"joe",
    "nothing": b"",
    "512 bytes": b"joe\0secret\0".ljust(511, b"t") + b"\0",
    "512 bytes, wrong": b"joe\0" + b"x" * 507 + b"\0",
    "513 bytes": b"joe\0secret\0".ljust(512, b"t") + b"\0",
    "many bytes": b"x" * 60000,
    "not ASCII": b"j\xf6\0p\xe4\xdf\0\0",
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_forked_child_says_what_the_program_says(programs, place, record):
    """Verdict, exit status and standard error are the same for every kind of record."""
    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts"), b"TCPREMOTEIP": b"192.0.2.7"}
    started, forked = (answer(checker, record) for checker in checkers(programs, environ))
    assert started == forked


@pytest.mark.parametrize(
    ("accounts", "verdict"),
    [
        ("file:%s/damaged", "accepted"),
        ("file:%s/missing", "temporary"),
        ("file:%s/directory", "temporary"),
        ("file:%s/fifo", "temporary"),
        ("file:relative", "temporary"),
        ("verifier:%s/missing", "temporary"),
        ("verifier:%s/accounts", "temporary"),
        ("nonsense", "temporary"),
        ("", "temporary"),
        ("system:", "rejected"),
        (None, "rejected"),
    ],
)
def test_it_says_the_same_of_every_store(programs, place, accounts, verdict):
    """A store that is damaged, missing or none at all is the same trouble, in the same words."""
    environ = {} if accounts is None else {b"CHECKPW_ACCOUNTS": os.fsencode(accounts.replace("%s", str(place)))}
    record = b"joe\0secret\0\0" if accounts else b"no-such-login\0x\0\0"
    started, forked = (answer(checker, record) for checker in checkers(programs, environ))
    assert started == forked
    if accounts is None or accounts != "system:":
        assert started[0] == verdict or (accounts is None and os.geteuid() != 0)


@pytest.mark.parametrize("value", ["x", "9" * 5000, "-1"])
def test_it_says_the_same_of_a_setting_that_makes_no_sense(programs, place, value):
    """A setting of the checker that cannot be read is trouble in both."""
    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts"), b"CHECKPW_MIN_UID": value.encode()}
    started, forked = (answer(checker, RECORDS["good"]) for checker in checkers(programs, environ))
    assert started == forked


def test_codes_that_mean_no(programs, place):
    """What OFMIPD_REJECT_CODES adds holds for both."""
    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts"), b"OFMIPD_REJECT_CODES": b"2"}
    for checker in checkers(programs, environ):
        assert answer(checker, b"joe") == ("rejected", "exit status 2", answer(checker, b"joe")[2])


def test_the_environment_is_the_one_that_was_given(programs, place, monkeypatch):
    """A setting of the process that is not in the checker's environment counts for nothing."""
    monkeypatch.setenv("CHECKPW_ACCOUNTS", f"file:{place}/accounts")
    started, forked = checkers(programs, {b"CHECKPW_ACCOUNTS": b"nonsense"})
    assert answer(started, RECORDS["good"]) == answer(forked, RECORDS["good"])
    assert answer(forked, RECORDS["good"])[0] == "temporary"


def test_what_nobody_thought_of_is_no_answer(programs, place, monkeypatch):
    """A fault in a module is 111 with its place, without its text, and the child does not go on as its parent."""
    from checkpw.cli import checkpassword

    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts")}
    _, forked = checkers(programs, environ)
    us = os.getpid()
    for error in (ValueError("secret"), SystemExit(0), KeyboardInterrupt("secret"), MemoryError()):
        monkeypatch.setattr(checkpassword, "open_store", _raiser(error))
        verdict, reason, said = answer(forked, RECORDS["good"])
        assert (verdict, reason, os.getpid()) == ("temporary", "exit status 111", us)
        assert said.startswith(b"checkpassword: unexpected trouble: " + type(error).__name__.encode())
        assert b"secret" not in said
        assert said.count(b"\n") == 1
    monkeypatch.setattr(checkpassword, "open_store", _raiser(TemporaryFailure("down")))
    assert answer(forked, RECORDS["good"]) == ("temporary", "exit status 111", b"checkpassword: down\n")


def _raiser(error):
    def fail(environ):
        raise error

    return fail


# --- nothing is executed


@pytest.fixture
def silence(public, resources):
    """Give the URL of a verifier that takes a question and never answers, and who may listen there."""
    listener = socket.socket(socket.AF_UNIX)
    resources.enter_context(listener)
    listener.bind(str(public / "socket"))
    (public / "socket").chmod(0o777)
    listener.listen()
    return {"CHECKPW_ACCOUNTS": f"verifier:{public}/socket", "CHECKPW_VERIFIER_UID": pwd.getpwuid(os.geteuid()).pw_name}


def children(pid):
    """Give the numbers of a process's children."""
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _place(pid, descriptor):
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return ""


@pytest.fixture
def look_at_checker(ofmipd, tools, mail, extra):
    """Give a function that has a checker hang, and gives it, ofmipd, and what becomes of the attempt."""

    def look(*chain, environ, **state):
        environ = {"OFMIPD_CHECKER_TIMEOUT": "60", **environ}
        session = ofmipd(*chain, environ=environ, descriptors=extra, **state)
        session.reply()
        session.send(mail.plain(b"joe", b"secret") + b"\r\n")
        (pid,) = tools.wait_until(lambda: children(session.pid), "a checker")

        # It has closed descriptor 3 and connected to the verifier, whose socket has that number then.
        tools.wait_until(lambda: _place(pid, 3).startswith("socket:"), "a question to the verifier")
        return session, tools.look_at(session.pid), tools.look_at(pid)

    return look


@pytest.mark.parametrize("name", ["checkpassword", "path"])
def test_our_own_program_is_not_started(look_at_checker, silence, programs, name):
    """The child is ofmipd, forked: the same command line, the same executable, and a descriptor of the client nowhere.

    It has /dev/null, our pipe, and the socket of the store; its own process group; no signal blocked.
    """
    checker = programs / "checkpassword" if name == "path" else name
    session, parent, child = look_at_checker(checker, "true", environ=silence)
    assert child.argv == parent.argv
    assert os.readlink(f"/proc/{child.pid}/exe") == os.readlink(f"/proc/{parent.pid}/exe")
    assert sorted(child.descriptors) == [0, 1, 2, 3]
    assert child.descriptors[0][0] == child.descriptors[1][0] == "/dev/null"
    assert child.descriptors[2][0].startswith("pipe:")
    assert child.descriptors[2][0] not in (parent.descriptors[0][0], parent.descriptors[1][0])
    assert child.descriptors[3][0].startswith("socket:")
    assert os.getpgid(child.pid) == child.pid
    assert int(child.status["SigBlk"][0], 16) == 0
    session.process.terminate()


def test_it_has_as_much_time_as_a_program(ofmipd, silence, mail, tools):
    """Past OFMIPD_CHECKER_TIMEOUT it is killed, and the client is told to try later, at once."""
    session = ofmipd(
        "checkpassword", "true", environ={"OFMIPD_CHECKER_TIMEOUT": "0.5", "OFMIPD_AUTH_DELAY": "60", **silence}
    )
    session.reply()
    start = time.monotonic()
    assert session.ask(mail.plain(b"joe", b"secret")) == LATER
    assert 0.5 <= time.monotonic() - start < 25
    assert not children(session.pid)
    done = session.end()
    assert (done.status, b"no answer in 0.5 seconds" in done.log) == (0, True)


@pytest.mark.parametrize("rest", [["sh", "-c", "exit 0"], ["env", "true"], ["/usr/local/bin/true"]])
def test_a_chain_that_runs_something_is_started(look_at_checker, silence, rest):
    """Only the verdict has a short cut."""
    session, parent, child = look_at_checker("checkpassword", *rest, environ=silence)
    assert child.argv[-len(rest) :] == [word.encode() for word in rest]
    assert child.argv != parent.argv
    session.hang_up()


def test_another_checkpassword_is_started(look_at_checker, silence, programs, public):
    """A copy of ours that lies elsewhere is somebody else's program."""
    shutil.copy2(programs / "checkpassword", public / "checkpassword")
    session, parent, child = look_at_checker(public / "checkpassword", "true", environ=silence)
    assert child.argv[-2:] == [os.fsencode(public / "checkpassword"), b"true"]
    assert child.argv != parent.argv
    session.hang_up()


def test_it_dies_with_the_session(look_at_checker, silence, tools):
    """A signal that ends ofmipd ends the forked child too, and the client hears that."""
    session, _, child = look_at_checker("checkpassword", "true", environ=silence)
    session.process.terminate()
    assert session.process.wait(tools.patience) == 111
    assert not tools.is_alive(child.pid)
    assert session.end().replies.startswith(b"421 4.3.0 ")


def test_a_child_that_crashes_takes_nothing_along(look_at_checker, silence):
    """Whatever ends the child, the session goes on."""
    session, _, child = look_at_checker("checkpassword", "true", environ=silence)
    os.kill(child.pid, 11)
    assert session.reply() == LATER
    assert session.ask(b"NOOP").startswith(b"250 ")
    done = session.end()
    assert (done.status, b"killed by signal 11" in done.log) == (0, True)


def test_answers_and_log_lines(ofmipd, accounts, mail, events):
    """Yes, no and trouble reach client and log as from a program, several times in a session."""
    store = accounts(STORE)
    session = ofmipd("checkpassword", "true", environ={"CHECKPW_ACCOUNTS": store})
    session.reply()
    for login, password, reply in (
        (b"joe", b"wrong", NO),
        (b"odd", b"x", LATER),
        (b"nobody", b"secret", NO),
        (b"hashed", b"secret", YES),
    ):
        assert session.ask(mail.plain(login, password)).startswith(reply), login
    assert session.ask(b"MAIL FROM:<a@b>").startswith(b"250 ")
    done = session.end()
    assert [fields["verdict"] for fields in events(done.log, "auth")] == [
        b"rejected",
        b"temporary",
        b"rejected",
        b"accepted",
    ]
    (said,) = events(done.log, "checker")
    assert said["says"].startswith(b"checkpassword: ")
    assert (done.status, done.replies) == (0, b"")


def test_an_unprivileged_user_has_the_short_cut_too(ofmipd, everybodys, accounts, mail, tools):
    """Whoever ofmipd runs as, the verdict is what that user's checkpassword would say."""
    for mode, reply in ((0o644, YES), (0o600, LATER)):
        store = accounts(STORE, mode=mode)
        session = ofmipd(
            "checkpassword", "true", directory=everybodys, user=tools.stranger, environ={"CHECKPW_ACCOUNTS": store}
        )
        session.reply()
        wanted = reply if os.geteuid() == 0 else YES
        assert session.ask(mail.plain(b"joe", b"secret")).startswith(wanted)
        assert session.end().status == 0


def test_the_process_that_speaks_to_the_network_has_no_hash(ofmipd, accounts, mail, tools):
    """What reads accounts and computes hashes is loaded in the child only."""
    session = ofmipd("checkpassword", "true", environ={"CHECKPW_ACCOUNTS": accounts(STORE)})
    session.reply()
    assert session.ask(mail.plain(b"hashed", b"secret")).startswith(YES)
    maps = pathlib.Path(f"/proc/{session.pid}/maps").read_text()
    assert "libcrypt" not in maps
    assert sys.version_info < (3, 13) or "_blake2" not in maps
    session.end()
