"""The verifier: turns, guesses, tickets, and two ways to ask that are one."""

import os
import socket
import time

import pytest

from checkpw import tickets
from checkpw.budget import Budget
from checkpw.checker import Answer, Checker
from checkpw.cli import verification
from checkpw.credentials import Credentials
from checkpw.operations import Ask
from checkpw.runners.channel import Answerer, Asker
from checkpw.runners.resident import Descriptors
from checkpw.secret import Secret
from checkpw.service.remote import Pass, RemoteChecker
from checkpw.service.turns import Turns
from checkpw.service.verifier import Inline, Program, Verifier
from checkpw.verdict import ACCEPTED, MISUSED, REJECTED, TEMPORARY

KEY = bytes(range(32))
LIFE = 50
ACCOUNTS = "joe:{PLAIN}secret\nann:{PLAIN}other\nbad:{MD4}abc\n"


class Desk:
    """A verifier whose questions somebody answers by hand, and a worker that asks it."""

    def __init__(self, runner, ask=None, *, at_once=2, waiting=10, failures=5):
        self.runner = runner
        self.asked = []
        self.turns = Turns(at_once, waiting)
        self.guesses = Budget(failures, 600.0, b"secret")
        verifier = Verifier(ask or self._note, self.turns, KEY, LIFE, self.guesses)
        ours, theirs = socket.socketpair()
        self.answerer = Answerer(runner.loop, theirs, verifier.handler())
        self.asker = Asker(runner.loop, ours, lambda: None)
        runner.performers[Ask] = self.asker.perform
        self.answers = []

    def _note(self, credentials, origin, told):
        self.asked.append((credentials.login, origin, told))

    def login(self, login=b"joe", password=b"secret", address=b"192.0.2.7", timeout=20.0):
        """Try to log in; what comes of it is noted: (answer, pass)."""
        pass_ = Pass()
        known = {b"TCPREMOTEIP": address, b"PATH": b"/evil"}
        self.runner.start(
            RemoteChecker(pass_, timeout).ask(Credentials(login, Secret(password)), known),
            lambda answer, _failure: self.answers.append((answer, pass_)),
        )

    def wait(self, number):
        """Wait for so many answers, and give them."""
        self.runner.turn(lambda: len(self.answers) >= number)
        return self.answers

    def turn(self):
        """Let everybody do what there is to do."""
        for _ in range(20):
            self.runner.turn(lambda: True)

    def close(self):
        self.asker.close()
        self.runner.turn(lambda: not self.answerer._line.is_open)


@pytest.fixture
def desk(runner):
    """Give one, with two at once."""
    made = Desk(runner)
    yield made
    made.close()


@pytest.mark.parametrize("verdict", [ACCEPTED, REJECTED, MISUSED, TEMPORARY])
def test_a_ticket_after_a_yes_only(desk, verdict):
    """The worker gets verdict, reason and diagnostics, and a ticket for this login after a yes."""
    desk.login()
    desk.runner.turn(lambda: desk.asked)
    login, origin, told = desk.asked[0]
    assert (login, origin) == (b"joe", {b"TCPREMOTEIP": b"192.0.2.7"})
    told(Answer(verdict, "exit status 7", b"says\n" * 2000))
    ((answer, pass_),) = desk.wait(1)
    assert (answer.verdict, answer.reason, answer.diagnostics) == (verdict, "exit status 7", (b"says\n" * 2000)[:4096])
    now = time.monotonic()
    if verdict == ACCEPTED:
        assert tickets.read(KEY, pass_.ticket, now) == b"joe"
        assert tickets.read(KEY, pass_.ticket, now + LIFE + 1) is None
    else:
        assert pass_.ticket == b""


def test_a_second_login_that_fails(desk):
    """Whoever has logged in and then fails has nothing that the first time gave."""
    pass_ = Pass()
    remote = RemoteChecker(pass_, 20.0)
    for verdict in (ACCEPTED, REJECTED):
        desk.runner.start(remote.ask(Credentials(b"joe", Secret(b"x")), {}), lambda *_: desk.answers.append(True))
        desk.runner.turn(lambda: desk.asked)
        desk.asked.pop()[2](Answer(verdict, "x"))
        desk.runner.turn(lambda: desk.answers)
        desk.answers.clear()
        assert bool(pass_.ticket) == (verdict == ACCEPTED)


def test_turns(desk):
    """So many are asked at once; a client with many waiting does not keep another from its turn."""
    for number in range(6):
        desk.login(b"greedy%d" % number)
    desk.turn()
    assert [login for login, *_ in desk.asked] == [b"greedy0", b"greedy1"]
    desk.login(b"other", address=b"192.0.2.8")
    desk.turn()
    for number in range(3):
        desk.asked[number][2](Answer(ACCEPTED, "yes"))
        desk.turn()
    assert [login for login, *_ in desk.asked[2:]] == [b"greedy2", b"other", b"greedy3"]


def test_too_many_wait(runner):
    """Beyond those that may wait there is an answer at once, which is no no and costs no guess."""
    desk = Desk(runner, at_once=1, waiting=2, failures=1)
    for number in range(5):
        desk.login(b"%d" % number, address=b"192.0.2.%d" % number)
    answers = desk.wait(2)
    assert [(answer.verdict, answer.reason) for answer, _ in answers] == [
        (TEMPORARY, "too many wait to be checked")
    ] * 2
    desk.asked[0][2](Answer(REJECTED, "no"))
    desk.turn()
    assert len(desk.asked) == 2
    desk.login(b"3", address=b"192.0.2.3")
    desk.login(b"0", address=b"192.0.2.0")  # who has had its guess
    assert [answer.reason for answer, _ in desk.wait(4)][-1] == "too many failures from this address"
    desk.asked[1][2](Answer(REJECTED, "no"))
    desk.asked[2][2](Answer(REJECTED, "no"))
    desk.turn()
    assert [login for login, *_ in desk.asked] == [b"0", b"1", b"2", b"3"]
    desk.close()


def test_guesses(runner):
    """After so many failures nobody is asked for this address any more; right ones cost nothing, and others are free.

    A guess counts before it is answered: as many at once are no way around.
    """
    desk = Desk(runner, at_once=100, failures=3)
    for _ in range(5):
        desk.login()
    desk.turn()
    assert len(desk.asked) == 3
    assert [answer.reason for answer, _ in desk.wait(2)] == ["too many failures from this address"] * 2
    desk.login(address=b"192.0.2.8")
    desk.turn()
    assert len(desk.asked) == 4
    for at, verdict in enumerate([ACCEPTED, TEMPORARY, REJECTED]):
        desk.asked[at][2](Answer(verdict, "x"))
    desk.wait(5)
    for _ in range(3):  # two were given back
        desk.login()
    desk.turn()
    assert len(desk.asked) == 6 and len(desk.wait(6)) == 6
    for network in (b"2001:db8::1", b"2001:db8::2", b"2001:db8:0:0:ffff::", b"2001:db8::3", b"2001:db8:0:1::1"):
        desk.login(address=network)
    desk.turn()
    assert len(desk.asked) == 6 + 3 + 1
    desk.close()


@pytest.mark.parametrize("when", ["waiting", "asked"])
def test_a_worker_that_is_gone(runner, when):
    """Its questions have their turn, their answers go nowhere, and everybody else's turn comes."""
    desk = Desk(runner, at_once=1)
    desk.login()
    desk.login(b"second")
    desk.turn()
    desk.asker.close()
    desk.turn()
    assert [answer.verdict for answer, _ in desk.answers] == [TEMPORARY, TEMPORARY]
    desk.asked[0][2](Answer(ACCEPTED, "yes"))
    if when == "waiting":
        assert [login for login, *_ in desk.asked] == [b"joe", b"second"]
        desk.asked[1][2](Answer(REJECTED, "no"))
        started = []
        desk.turns.take(b"x", lambda: started.append(True))
        assert started
    desk.close()


def test_a_verifier_that_does_not_answer(desk):
    """That is temporary, in time, and a late yes is nobody's."""
    desk.login(timeout=0.05)
    ((answer, pass_),) = desk.wait(1)
    assert (answer.verdict, answer.reason) == (TEMPORARY, "the verifier does not answer")
    desk.asked[0][2](Answer(ACCEPTED, "yes"))
    desk.turn()
    assert pass_.ticket == b"" and len(desk.answers) == 1


def test_no_verifier(desk):
    """Neither is a verifier that is not there a no."""
    desk.answerer._line.close()
    desk.turn()
    desk.login()
    ((answer, _),) = desk.wait(1)
    assert (answer.verdict, answer.reason) == (TEMPORARY, "the verifier is not there")


# --- asking for real


@pytest.fixture
def environ(tmp_path):
    """Give the environment of a checker with an account store."""
    accounts = tmp_path / "accounts"
    accounts.write_text(ACCOUNTS, encoding="ascii")
    accounts.chmod(0o600)
    return {b"PATH": b"/usr/bin:/bin", b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(accounts)}


LOGINS = [
    (b"joe", b"secret"),
    (b"joe", b"wrong"),
    (b"nobody", b"secret"),
    (b"ann", b"other"),
    (b"bad", b"x"),
    (b"\xff=\n", b"\xff"),
    (b"x" * 250, b"y" * 259),
    (b"joe", b""),
]


@pytest.mark.parametrize("store", ["there", "missing", "nonsense"])
def test_both_ways_are_one(runner, programs, environ, store):
    """Our own code, asked in this process, answers as our program does when it is started."""
    if store != "there":
        environ[b"CHECKPW_ACCOUNTS"] = b"file:/nonexistent" if store == "missing" else b"nonsense:"
    argv = [os.fsencode(programs / "checkpassword"), b"true"]
    program = Program(Descriptors(runner.loop), Checker(argv, environ, frozenset({1}), 20.0))
    inline = Inline(runner.loop, verification.answer, environ)
    found = []
    for ask in (program, inline):
        desk = Desk(runner, ask, failures=100)
        for number, (login, password) in enumerate(LOGINS):
            desk.login(login, password)
            desk.wait(number + 1)
        found.append(
            [
                (answer.verdict, answer.reason, answer.diagnostics, tickets.read(KEY, pass_.ticket, time.monotonic()))
                for answer, pass_ in desk.answers
            ]
        )
        desk.close()
    assert found[0] == found[1]
    verdicts = [verdict for verdict, *_ in found[0]]
    if store == "there":
        assert verdicts == [ACCEPTED, REJECTED, REJECTED, ACCEPTED, TEMPORARY, REJECTED, REJECTED, REJECTED]
        assert [login for *_, login in found[0]] == [b"joe", None, None, b"ann", None, None, None, None]
    else:
        assert set(verdicts) == {TEMPORARY} or store == "nonsense"
        assert ACCEPTED not in verdicts and REJECTED not in verdicts


def test_a_checker_that_cannot_be_started(runner):
    """That is temporary; and a thousand that wait for their turn then are answered one after the other."""
    program = Program(Descriptors(runner.loop), Checker([b"/nonexistent"], {}, frozenset({1}), 20.0))
    held = []

    def ask(credentials, origin, told):
        if held:
            program(credentials, origin, told)
        else:
            held.append(told)

    desk = Desk(runner, ask, at_once=1, waiting=2000, failures=5000)
    for _ in range(1500):
        desk.login()
    desk.runner.turn(lambda: desk.turns.waiting == 1499)
    held[0](Answer(ACCEPTED, "yes"))
    answers = desk.wait(1500)
    assert [answer.verdict for answer, _ in answers] == [ACCEPTED] + [TEMPORARY] * 1499
    desk.close()


def test_a_checker_is_told_where_the_client_is(runner, tmp_path):
    """What the worker says of a client is in its environment, the rest of which is ours."""
    script = tmp_path / "checker"
    script.write_text('#!/bin/sh\necho "$TCPREMOTEIP $PATH $OURS" >&2\nexit 0\n', encoding="ascii")
    script.chmod(0o755)
    environ = {b"PATH": b"/bin", b"OURS": b"x", b"TCPREMOTEIP": b"none"}
    program = Program(Descriptors(runner.loop), Checker([os.fsencode(script)], environ, frozenset({1}), 20.0))
    desk = Desk(runner, program)
    desk.login(address=b"192.0.2.9")
    ((answer, _),) = desk.wait(1)
    assert answer.diagnostics == b"192.0.2.9 /bin x\n"
    assert answer.verdict == ACCEPTED
    desk.close()
