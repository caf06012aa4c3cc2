"""Trouble at every single operation of a whole session: a signal, an error, no time left.

Whatever happens wherever: nothing is queued in part, nothing is said to be queued that is not, nothing is left over,
and a signal ends the session with its own exception after a 421; only where everything was said and done, in the
goodbye, it changes nothing. From the go-ahead for TLS to the end of the handshake no word is said in clear.
"""

import contextlib
import itertools
import os
import random
import socket
import ssl
import threading

import pytest
from dialogue import SETTINGS, Dialogue
from memory import TLS, Clock, MemoryRunner
from players import HANDSHAKE, PATIENCE, PID, SocketClient, _Log, _ScriptedClient, compose, parse_envelope, programs_of
from resident_runner import LOOPS, ResidentRunner, server_context

from checkpw.checker import Checker
from checkpw.errors import TemporaryFailure
from checkpw.operations import Close, Receive, Secure, Secured, Send, Spawn, Sync, TimedOut, Wait, Write
from checkpw.peer import Peer
from checkpw.policy import Policy
from checkpw.queue.maildir import Maildir
from checkpw.queue.sendmail import Sendmail
from checkpw.runners.stdio import StdioRunner
from checkpw.smtp.limits import Limits
from checkpw.submission import Submission

TURNS = r"""
C| EHLO x\r\nSTARTTLS\r\n
TLS
C: EHLO x
C: AUTH PLAIN \b{\0joe\0secret}
C| MAIL FROM:<a@b>\r\nRCPT TO:<one@x>\r\nDATA\r\n
C| Date: d\r\nMessage-ID: m1\r\n\r\nwhole\r\n.\r\n
C| MAIL FROM:<a@b>\r\nRCPT TO:<two@x>\r\nBDAT 27\r\nDate: d\r\nMessage-ID: m2\r\n\r\n
C| BDAT 3\r\nin BDAT 7 LAST\r\nchunks\n
C| MAIL FROM:<a@b>\r\nRCPT TO:<three@x>\r\nDATA\r\nDate: d\r\nMessage-ID: m3\r\n\r\n
C| in pieces\r\n
C| .
C| \r\nQUIT\r\n
"""

HEADER_END = b"Message-ID: m%d\nFrom: a@b\nCc: recipient list not shown: ;\n\n"
BODIES = [HEADER_END % number + text for number, text in ((1, b"whole\n"), (2, b"in chunks\n"), (3, b"in pieces\n"))]


def _turns():
    """Give the client's pieces, each of which the server takes in one read."""
    dialogue = Dialogue("", 0, "interrupted", {**SETTINGS, "starttls": "yes"})
    for line in TURNS.strip().split("\n"):
        mark, _, text = line.partition(" ")
        dialogue.add(mark, text)
        dialogue.turns[-1].expected = b"anything"
    return dialogue


DIALOGUE = _turns()

SIGNAL, ERROR, LATE = TemporaryFailure("ended by signal 15"), OSError(5, "Input/output error"), TimedOut()

FITTING = {
    SIGNAL: object,
    ERROR: (Receive, Send, Secure, Spawn, Write, Sync),
    LATE: (Receive, Send, Secure, Write, Wait),
}
"""Which operations fail so."""


class Interruption:
    """Performs Receive and Send on a scripted client, hands on the rest, and lets one operation fail.

    Attributes:
        operations: how many there were.
        hit: the operation that failed, None if there was none.
    """

    def __init__(self, steps, client, at, trouble, is_done):
        self._steps = steps
        self._client = client
        self._at = at
        self._trouble = trouble
        self._is_done = is_done
        self.operations = 0
        self.hit = None

    def run(self):
        """Be the generator that a runner drives."""
        outcome, failure = None, None
        while True:
            try:
                operation = self._steps.send(outcome) if failure is None else self._steps.throw(failure)
            except StopIteration as stop:
                return stop.value
            outcome, failure = None, None
            is_hit = self.operations == self._at and self._fits(operation)
            self.operations += 1
            try:
                if not is_hit or self._is_done:
                    outcome = yield from self._perform(operation)
            except (OSError, TimedOut) as error:
                failure = error
            if is_hit:
                self.hit, outcome, failure = operation, None, self._trouble

    def _fits(self, operation):
        if not self._is_done and isinstance(operation, Close):
            return False  # closing takes no time in which it could be kept from it
        if self._is_done and self._trouble is ERROR and isinstance(operation, Spawn):
            return False  # there is no such thing as a program that runs and was not started
        return isinstance(operation, FITTING[self._trouble])

    def _perform(self, operation):
        if isinstance(operation, Receive):
            return self._client.receive(operation.timeout)
        if isinstance(operation, Send):
            return self._client.send(operation.data)
        if isinstance(operation, Secure):
            return Secured(dict(TLS), self._client.secure(operation.timeout))
        return (yield operation)


class Aftermath:
    """What a session left behind: what the client heard, what was queued and logged, how `serve` ended, litter."""

    def __init__(self, interruption, client, queued, log, error, left=()):
        self.interruption = interruption
        self.said = b"".join(client.said)
        self.queued = queued
        self.log = log.lines
        self.error = error
        self.left = list(left)


GO_AHEAD = b"220 2.0.0 ready to start TLS\r\n"


def _drive(runner, interruption):
    try:
        runner.run(interruption.run())
    except Exception as error:  # noqa: BLE001  which one it is is what the test asks
        return error
    return None


def with_queue_program(at, trouble, is_done, tmp_path):
    """Run in memory, with a program behind the door."""
    checker, queue = programs_of(DIALOGUE)
    client, log, clock = _ScriptedClient(DIALOGUE.turns, "whole", random.Random(0)), _Log(), Clock()
    runner = MemoryRunner(client, {b"/checker": checker, b"/queue": queue}, clock)
    submission = compose(DIALOGUE, b"/checker", b"/queue", {}, log, clock, 30.0)
    interruption = Interruption(submission.serve(), client, at, trouble, is_done)
    error = _drive(runner, interruption)
    runner.clean_up()
    # The program queues once it has an envelope, whether anybody listens to its answer or not.
    every = [(received[1], received[0]) for spawn, received, _ in runner.ended if spawn.argv[0] == b"/queue"]
    every += [(child.received[1], child.received[0]) for child in runner.killed if child.spawn.argv[0] == b"/queue"]
    queued = [text for envelope, text in every if parse_envelope(envelope)]
    return Aftermath(interruption, client, queued, log, error)


def _with_real_door(door, at, trouble, is_done, tmp_path, runner):
    client, log = _ScriptedClient(DIALOGUE.turns, "whole", random.Random(0)), _Log()
    submission = _submission(door, log, tmp_path)
    interruption = Interruption(submission.serve(), client, at, trouble, is_done)
    before = sorted(os.listdir("/proc/self/fd"))
    if runner == "stdio":
        error = _drive(StdioRunner(), interruption)
    else:
        with ResidentRunner(new_loop=LOOPS[runner]) as resident:
            error = _drive(resident, interruption)
    left = [f"descriptor {name} is left open" for name in set(os.listdir("/proc/self/fd")) - set(before)]
    return interruption, client, log, error, left


def _submission(door, log, tmp_path):
    """Build a session with a checker that says yes."""
    script = tmp_path / "checker"
    script.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    script.chmod(0o755)
    environ = {b"PATH": os.environb[b"PATH"]}
    policy = Policy(b"mail.example", Limits(), handshake_timeout=HANDSHAKE)
    checker = Checker([os.fsencode(script), b"true"], environ, frozenset({1}), 20.0)
    settings = {"offers_starttls": True, "log": log, "now": Clock(), "pid": PID}
    return Submission(policy, Peer(b"192.0.2.7", is_remote=True), door, checker, environ, **settings)


def with_maildir(at, trouble, is_done, tmp_path, runner="stdio"):
    """Run with real files in a Maildir."""
    place = tmp_path / "Maildir"
    door = Maildir(os.fsencode(place), b"mail.example", 20.0, itertools.count())
    interruption, client, log, error, left = _with_real_door(door, at, trouble, is_done, tmp_path, runner)
    left += [f"{path.name} is left in tmp" for path in (place / "tmp").glob("*")]
    queued = [path.read_bytes() for path in sorted((place / "new").glob("*"))]
    return Aftermath(interruption, client, queued, log, error, left)


def with_sendmail(at, trouble, is_done, tmp_path, runner="stdio"):
    """Run with a real program that keeps what it is given."""
    place = tmp_path / "sent"
    place.mkdir()
    spool = tmp_path / "spool"
    spool.mkdir()
    program = tmp_path / "sendmail"
    program.write_text(f"#!/bin/sh\ncat >{place}/$$.new && mv {place}/$$.new {place}/$$\n", encoding="ascii")
    program.chmod(0o755)
    door = Sendmail(os.fsencode(program), os.fsencode(spool), 20.0)
    interruption, client, log, error, left = _with_real_door(door, at, trouble, is_done, tmp_path, runner)
    left += [f"{path.name} is left in the spool" for path in spool.iterdir()]
    return Aftermath(interruption, client, [path.read_bytes() for path in place.glob("*[0-9]")], log, error, left)


def with_maildir_resident(at, trouble, is_done, tmp_path):
    """Run with real files on an event loop, whose Sync is a thread's."""
    return with_maildir(at, trouble, is_done, tmp_path, "asyncio")


def with_sendmail_resident(at, trouble, is_done, tmp_path):
    """Run with a real program on the other event loop."""
    return with_sendmail(at, trouble, is_done, tmp_path, "uvloop")


DOORS = [with_queue_program, with_maildir, with_sendmail, with_maildir_resident, with_sendmail_resident]


@pytest.mark.parametrize("session", DOORS, ids=lambda session: session.__name__)
def test_undisturbed(session, tmp_path):
    """Without trouble all three messages are queued, and the client is told so."""
    after = session(-1, SIGNAL, is_done=False, tmp_path=tmp_path)
    assert [any(text.endswith(body) for text in after.queued) for body in BODIES] == [True] * 3
    assert after.said.count(b"250 2.0.0 ok\r\n") == len(after.queued) == 3
    assert after.error is None and GO_AHEAD in after.said


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("trouble", [SIGNAL, ERROR, LATE], ids=["signal", "error", "late"])
@pytest.mark.parametrize("session", DOORS, ids=lambda session: session.__name__)
def test_interrupted(session, trouble, is_done, tmp_path):
    """Whichever operation fails, before or after it was performed: whole messages, true words, a clean end."""
    wrong, hits = [], set()
    for at in itertools.count():
        directory = tmp_path / str(at)
        directory.mkdir()
        after = session(at, trouble, is_done, directory)
        if after.interruption.hit is not None:
            hits.add(type(after.interruption.hit))
            wrong += [f"{at} {type(after.interruption.hit).__name__}: {what}" for what in _faults(after, trouble)]
        elif at >= after.interruption.operations:
            break
    assert at > 20 and Secure in hits
    assert not wrong, "\n".join(wrong)


def _faults(after, trouble):
    """Yield what is wrong with the way in which a session that was interrupted ended."""
    for text in after.queued:
        if not any(text.endswith(body) for body in BODIES):
            yield f"queued in part: {text!r}"
    if after.said.count(b"250 2.0.0 ok\r\n") > len(after.queued):
        yield "said to be queued, and is not"
    if any("secret" in line for line in after.log):
        yield "a password in the log"
    is_goodbye = isinstance(after.interruption.hit, Send) and any(" reason=quit " in line for line in after.log)
    if after.error is not (SIGNAL if trouble is SIGNAL and not is_goodbye else None):
        yield f"ended by {after.error!r}"
    yield from _faults_of_the_end(after, trouble)
    yield from after.left


def _faults_of_the_end(after, trouble):
    reasons = [line.partition(" reason=")[2].split()[0] for line in after.log if " event=session " in line]
    if len(reasons) != 1:
        yield f"ended {reasons}"
    elif isinstance(after.interruption.hit, Secure) or GO_AHEAD in getattr(after.interruption.hit, "data", b""):
        if reasons != ["shutdown" if trouble is SIGNAL else "tls"]:
            yield f"ended {reasons}"
        if not after.said.endswith((b"mail.example ESMTP\r\n", GO_AHEAD)):
            yield f"said in clear: {after.said[-60:]!r}"
    elif trouble is SIGNAL and reasons == ["shutdown"]:
        if not after.said.endswith(b"421 4.3.0 service not available\r\n"):
            yield f"last words {after.said[-60:]!r}"
    elif trouble is SIGNAL and not (isinstance(after.interruption.hit, Send) and reasons == ["quit"]):
        yield f"ended {reasons}"


# --- the resident runner, told to end by somebody else while it waits


class Knock:
    """Interrupts a drive once, in the turn of the loop after an operation began, if it still waits then."""

    def __init__(self, runner, at):
        self._runner = runner
        self._at = at
        self.count = 0
        self.waited_for = None

    def watch(self, steps):
        """Be the generator that is driven."""
        outcome, failure = None, None
        while True:
            try:
                operation = steps.send(outcome) if failure is None else steps.throw(failure)
            except StopIteration as stop:
                return stop.value
            outcome, failure = None, None
            if self.count == self._at:
                self._runner.loop.call_soon(self._knock, operation)
            self.count += 1
            try:
                outcome = yield operation
            except (OSError, TimedOut, TemporaryFailure) as error:
                failure = error

    def _knock(self, operation):
        if self.drive.forget is not None:
            self.waited_for = operation
            self.drive.interrupt(SIGNAL)


def _talk(client, said):
    with client, contextlib.suppress(OSError, ssl.SSLError):
        for turn in DIALOGUE.turns:
            client.send(turn.sent)
            if turn.ending == "TLS":
                while not b"".join(said).endswith(GO_AHEAD):
                    piece = client.receive(1)
                    if not piece:
                        return
                    said.append(piece)
                client.secure()
        while piece := client.receive(1):
            said.append(piece)


@pytest.mark.parametrize("loop", LOOPS)
def test_interrupted_while_it_waits(loop, tmp_path):
    """Whatever a real session waits for: a client, a handshake, a checker, the disk: it ends, and leaves nothing."""
    wrong, kinds = [], set()
    server_context()
    for at in itertools.count():
        place = tmp_path / str(at)
        place.mkdir()
        before = sorted(os.listdir("/proc/self/fd"))
        ours, theirs = socket.socketpair()
        said, log, ended = [], _Log(), []
        door = Maildir(os.fsencode(place / "Maildir"), b"mail.example", 20.0, itertools.count())
        with ResidentRunner(theirs, server_context(), new_loop=LOOPS[loop]) as runner:
            client = threading.Thread(target=_talk, args=(SocketClient(ours), said))
            client.start()
            knock = Knock(runner, at)

            def begin(knock=knock, runner=runner, door=door, log=log, place=place, ended=ended):
                steps = knock.watch(_submission(door, log, place).serve())
                knock.drive = runner.start(steps, lambda _result, failure: ended.append(failure))

            runner.loop.call_soon(begin)
            runner.turn(lambda ended=ended: ended)
            assert runner.handshakes.number == 0
        client.join(PATIENCE)
        if knock.waited_for is not None:
            kinds.add(type(knock.waited_for))
        is_goodbye = isinstance(knock.waited_for, Send) and any(" reason=quit " in line for line in log.lines)
        if ended[0] is not (None if knock.waited_for is None or is_goodbye else SIGNAL):
            wrong.append(f"{at}: ended by {ended[0]!r}")
        texts = [path.read_bytes() for path in (place / "Maildir" / "new").glob("*")]
        if not all(any(text.endswith(body) for body in BODIES) for text in texts):
            wrong.append(f"{at}: queued in part: {texts}")
        if b"".join(said).count(b"250 2.0.0 ok\r\n") > len(texts):
            wrong.append(f"{at}: said to be queued, and is not")
        if list((place / "Maildir" / "tmp").glob("*")):
            wrong.append(f"{at}: something is left in tmp")
        if sorted(os.listdir("/proc/self/fd")) != before:
            wrong.append(f"{at}: a descriptor is left")
        if at > knock.count:
            break
    assert not wrong, "\n".join(wrong)
    assert {Receive, Secure, Wait, Sync} <= kinds
