"""Both ends of the line between two processes: descriptors, time, pressure, and ends that are not well."""

import fcntl
import os
import resource
import socket

import pytest
from resident_runner import LOOPS, ResidentRunner

from checkpw.errors import TemporaryFailure
from checkpw.frames import MAX_FRAME, BadFrame, encode
from checkpw.operations import Ask, TimedOut
from checkpw.runners import channel
from checkpw.runners.channel import Answerer, Asker

PATIENCE = 20.0
SERVICE = "service"


class Handler:
    """Keeps requests, and answers those that it is told to at once."""

    def __init__(self, answer_at_once=None):
        self.requests = []
        self.gone_times = 0
        self._answer_at_once = answer_at_once

    def request(self, fields, answer):
        if fields and fields[0] == b"bad":
            raise BadFrame("bad")
        self.requests.append((fields, answer))
        if self._answer_at_once is not None:
            self._answer_at_once(fields, answer)

    def gone(self):
        self.gone_times += 1


class Pair:
    """An asker and an answerer on one loop."""

    def __init__(self, runner, handler):
        self.runner = runner
        self.handler = handler
        ours, theirs = socket.socketpair()
        self.lost = []
        self.answered = []
        self.asker = Asker(runner.loop, ours, lambda: self.lost.append(True))
        self.answerer = Answerer(runner.loop, theirs, handler)
        runner.performers[Ask] = self.asker.perform

    def ask(self, *fields, timeout=PATIENCE):
        """Ask, and note what comes of it: fields and descriptor, or an exception."""

        def steps():
            answered = yield Ask(SERVICE, list(fields), timeout)
            return answered.fields, answered.descriptor

        def at_end(result, failure):
            self.answered.append(result if failure is None else failure)

        return self.runner.start(steps(), at_end)

    def close(self):
        self.asker.close()
        self.answerer._line.close()


@pytest.fixture
def pair(runner):
    """Give a pair whose handler answers nothing by itself."""
    made = Pair(runner, Handler())
    yield made
    made.close()


@pytest.fixture
def echo(runner):
    """Give a pair whose handler sends everything back, and a pipe with what asks for one."""

    def answer_at_once(fields, answer):
        descriptor = -1
        if fields[0] == b"pipe":
            descriptor, other = os.pipe()
            os.write(other, fields[1])
            os.close(other)
        answer.give(fields, descriptor)

    made = Pair(runner, Handler(answer_at_once))
    yield made
    made.close()


def test_many_at_once(echo):
    """Requests of one turn are answered each with its own, and each descriptor comes with its own answer."""
    for number in range(300):
        word = b"pipe" if number % 3 == 0 else b"plain"
        echo.ask(word, b"%d" % number, b"x" * (number * 40))
    echo.runner.turn(lambda: len(echo.answered) == 300)
    for number, (fields, descriptor) in enumerate(echo.answered):
        assert fields[1] == b"%d" % number and len(fields[2]) == number * 40
        if number % 3 == 0:
            assert os.read(descriptor, 100) == b"%d" % number
            assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            os.close(descriptor)
        else:
            assert descriptor == -1


def test_answers_in_another_order(pair):
    """An answer belongs to its request, whichever is given first."""
    for number in range(5):
        pair.ask(b"%d" % number)
    pair.runner.turn(lambda: len(pair.handler.requests) == 5)
    for fields, answer in reversed(pair.handler.requests):
        answer.give([b"to", *fields])
    pair.runner.turn(lambda: len(pair.answered) == 5)
    assert pair.answered == [([b"to", b"%d" % number], -1) for number in reversed(range(5))]
    assert pair.asker.pending == 0


@pytest.mark.parametrize("how", ["time", "interrupt"])
def test_a_late_answer(pair, how):
    """An answer that nobody waits for any more is dropped; its descriptor is closed and the other side is told."""
    for word in (b"plain", b"pipe"):
        drive = pair.ask(word, timeout=0.01 if how == "time" else PATIENCE)
        if how == "interrupt":
            drive.interrupt(TemporaryFailure("the server goes down"))
    pair.runner.turn(lambda: len(pair.answered) == 2 and len(pair.handler.requests) == 2)
    assert all(isinstance(error, TimedOut if how == "time" else TemporaryFailure) for error in pair.answered)
    reading, writing = os.pipe()
    (_, first), (_, second) = pair.handler.requests
    first.give([b"answer"])
    second.give([b"opened", b"7"], writing)
    pair.runner.turn(lambda: len(pair.handler.requests) == 3)
    assert pair.handler.requests[2][0] == [b"opened", b"7"]
    assert os.read(reading, 1) == b""  # nobody has the other end
    os.close(reading)
    assert len(pair.answered) == 2
    ask_and_hear(pair)


def ask_and_hear(pair):
    """See that the line is in order."""
    before = len(pair.answered), len(pair.handler.requests)
    pair.ask(b"another")
    pair.runner.turn(lambda: len(pair.handler.requests) > before[1])
    pair.handler.requests[-1][1].give([b"yes"])
    pair.runner.turn(lambda: len(pair.answered) > before[0])
    assert pair.answered[-1] == ([b"yes"], -1)


def test_no_room_for_a_descriptor(pair):
    """Where the kernel cannot give us another descriptor, that question fails, and the line lives."""
    pair.ask(b"pipe")
    pair.runner.turn(lambda: pair.handler.requests)
    descriptor = os.open("/dev/null", os.O_RDONLY)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    held = []
    while not held or max(held) < highest + 1:
        held.append(os.dup(2))
    pair.handler.requests[0][1].give([b"opened", b"9"], descriptor)
    pair.answerer._line._flush()  # which closes our copy
    held.append(os.dup(2))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, hard))
    try:
        pair.asker._line._readable()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in held:
            os.close(each)
    assert isinstance(pair.answered[0], OSError) and pair.answered[0].errno == 24
    pair.runner.turn(lambda: len(pair.handler.requests) == 2)
    assert pair.handler.requests[1][0] == [b"opened", b"9"]  # sent back
    ask_and_hear(pair)


def test_a_request_that_is_too_long(pair):
    """It is an OSError at the yield, and not the end of the line for all others."""
    pair.ask(b"x" * MAX_FRAME)
    assert isinstance(pair.answered[0], OSError) and pair.asker.pending == 0
    pair.ask(b"x" * (MAX_FRAME - 100))
    pair.runner.turn(lambda: pair.handler.requests)
    assert len(pair.handler.requests[0][0][0]) == MAX_FRAME - 100
    ask_and_hear(pair)


def test_who_is_asked_is_gone(pair):
    """What waits for an answer fails, what asks later fails at once, and it is told once."""
    for _ in range(3):
        pair.ask(b"x")
    pair.runner.turn(lambda: len(pair.handler.requests) == 3)
    pair.answerer._line.close()
    pair.runner.turn(lambda: len(pair.answered) == 3)
    pair.ask(b"x")
    assert [type(error) for error in pair.answered] == [ConnectionError] * 4
    assert pair.lost == [True]


def test_hanging_up_on_who_is_asked(pair):
    """When we turn to another process, what waits for this one fails then, and not when its time is over."""
    pair.ask(b"x", timeout=None)
    pair.asker.close()
    assert [type(error) for error in pair.answered] == [ConnectionError]
    pair.runner.turn(lambda: pair.handler.gone_times)
    assert pair.handler.gone_times == 1


def test_who_asks_is_gone(pair):
    """The handler is told once, and answers that are given later go nowhere, their descriptors closed."""
    pair.ask(b"x")
    pair.runner.turn(lambda: pair.handler.requests)
    pair.asker._line.close()
    pair.runner.turn(lambda: pair.handler.gone_times)
    reading, writing = os.pipe()
    pair.handler.requests[0][1].give([b"late"], writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert pair.handler.gone_times == 1
    pair.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_who_asks_dies_in_the_middle(loop):
    """A process that is killed with answers unread and requests unheard is missed all the same."""
    with ResidentRunner(new_loop=LOOPS[loop]) as runner:
        handler = Handler(lambda fields, answer: answer.give([b"x" * 100]) if fields == [b"y"] else None)
        ours, theirs = socket.socketpair()
        Answerer(runner.loop, theirs, handler)
        ours.sendall(encode([b"", b"0001", b"y"]))
        runner.turn(lambda: handler.requests)
        for _ in range(10):
            runner.turn(lambda: True)  # the answer is on its way
        ours.settimeout(0)
        sent = ours.send(encode([b"", b"0001", b"y" * 1000]) * 180)
        ours.close()
        runner.turn(lambda: handler.gone_times)
        assert len(handler.requests) == 1 + sent // len(encode([b"", b"0001", b"y" * 1000]))


@pytest.mark.parametrize(
    "wire",
    [
        encode([]),
        encode([b"", b"123"]),
        encode([b"", b"12345"]),
        encode([b""]),
        encode([b"e", b"1234"]),
        encode([b"d", b"1234", b"x"]),
        encode([b"", b"1234", b"bad"]),
        b"\xff\xff\xff\xff",
        (MAX_FRAME + 1).to_bytes(4),
        b"\0\0\0\5\0\0\0\0x",
        b"\0\0\0\3abc",
        b"\0\0\0\4\0\0\0\1",
    ],
)
def test_requests_that_nobody_of_ours_makes(runner, wire):
    """Whoever sends what is no request is not listened to any more; what came before in good order was heard."""
    handler = Handler()
    ours, theirs = socket.socketpair()
    with ours:
        Answerer(runner.loop, theirs, handler)
        ours.sendall(encode([b"", b"0001", b"good"]))
        runner.turn(lambda: handler.requests)
        with open("/dev/null", "rb") as file:  # of whom no descriptor is taken
            socket.send_fds(ours, [wire], [file.fileno()] * 3)
        runner.turn(lambda: handler.gone_times)
        ours.settimeout(PATIENCE)
        assert ours.recv(10) == b""
    assert [fields for fields, _ in handler.requests] == [[b"good"]]
    assert handler.gone_times == 1


def test_a_fault_of_ours(runner):
    """One request that we fail at is a fault for the loop, and those behind it are heard."""

    def fail(fields, answer):
        if fields == [b"1"]:
            raise ZeroDivisionError

    handler = Handler(fail)
    pair = Pair(runner, handler)
    for number in range(4):
        pair.ask(b"%d" % number)
    with pytest.raises(ZeroDivisionError):
        runner.turn(lambda: len(handler.requests) == 4)
    runner._faults.clear()
    runner.turn(lambda: len(handler.requests) == 4)
    pair.close()


def test_a_fault_of_one_who_asked(runner):
    """One generator that fails at its answer, or at the lack of it, does not keep the others from theirs."""
    pair = Pair(runner, Handler())

    def steps():
        try:
            yield Ask(SERVICE, [b"x"], PATIENCE)
        finally:
            raise ZeroDivisionError

    for answers in (True, False):
        ended = []
        for _ in range(2):
            runner.start(steps(), lambda _result, failure, ended=ended: ended.append(failure))
            pair.ask(b"y")
        pair.runner.turn(lambda: len(pair.handler.requests) == 4)
        requests = pair.handler.requests[:]
        pair.handler.requests.clear()
        for _, answer in requests:
            if answers:
                answer.give([b"yes"])
        if not answers:
            pair.answerer._line.close()
        with pytest.raises(ZeroDivisionError):
            runner.turn(lambda: len(pair.answered) == 2)
        runner._faults.clear()
        pair.runner.turn(lambda: len(pair.answered) == 2 and len(ended) == 2)  # noqa: B023  called at once
        runner._faults.clear()
        assert [type(failure) for failure in ended] == [ZeroDivisionError] * 2
        assert all(answers == isinstance(each, tuple) for each in pair.answered)
        pair.answered.clear()
    assert pair.lost == [True]
    pair.close()


def test_who_asks_and_does_not_read(runner):
    """No request is read while too much waits for who asked; it goes on when that is read, and nothing is lost."""
    handler = Handler(lambda fields, answer: answer.give([b"x" * 1000]))
    ours, theirs = socket.socketpair()
    request, number, sent = encode([b"", b"0001", b"y"]), 20_000, 0
    answerer = Answerer(runner.loop, theirs, handler)
    wire = request * number
    ours.settimeout(0)
    for _ in range(3000):
        try:
            sent += ours.send(wire[sent : sent + 50_000])
        except BlockingIOError:
            pass
        runner.loop.call_soon(runner.loop.stop)
        runner.loop.run_forever()
    assert sent < len(wire)
    assert answerer._line._unread < channel.MOST_UNREAD + 64 * 1024 * 60  # one read of requests, answered
    heard = 0

    def go_on():
        nonlocal sent, heard
        try:
            sent += ours.send(wire[sent : sent + 50_000])
        except BlockingIOError:
            pass
        try:
            heard += len(ours.recv(1 << 20))
        except BlockingIOError:
            pass
        return heard == number * len(encode([b"", b"0001", b"x" * 1000]))

    runner.turn(go_on)
    assert len(handler.requests) == number
    ours.close()
    runner.turn(lambda: handler.gone_times)
