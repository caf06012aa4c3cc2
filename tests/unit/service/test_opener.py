"""The opener and the worker's door: tickets, environments, and workers and openers that are gone."""

import asyncio
import itertools
import os
import resource

import pytest
from apart import Apart

from checkpw.errors import MessageRefused, TemporaryFailure
from checkpw.operations import Answered, Connect, Sleep, TimedOut
from checkpw.queue.maildir import Maildir
from checkpw.queue.qmail import QmailQueue
from checkpw.runners.resident import Descriptors
from checkpw.service import remote, words
from checkpw.service.opener import Opener
from checkpw.smtp.events import Envelope

TEXT = b"Subject: x\n\nbody\n"
LARGE = TEXT + b"0123456789abcde\n" * 5000
PATH = {b"PATH": b"/usr/bin:/bin", b"QMAILQUEUE": b"x"}
ORIGIN = {b"PROTO": b"TCP", b"TCPREMOTEIP": b"192.0.2.7", b"SSL_PROTOCOL": b"TLSv1.3"}
LOGGED_IN = {**ORIGIN, b"SMTPAUTHUSER": b"joe"}

QUEUE = """#!/bin/sh
place=$(mktemp -d {place}/XXXXXX)
cat >"$place/text"
cat <&1 >"$place/envelope"
env -0 >"$place/environ"
"""


class Queue:
    """A stand-in for qmail-queue."""

    def __init__(self, directory, script=QUEUE):
        self.place = directory / "queued"
        self.place.mkdir()
        program = directory / "qmail-queue"
        program.write_text(script.format(place=self.place), encoding="ascii")
        program.chmod(0o755)
        self.door = QmailQueue(os.fsencode(program), b"/nonexistent", 20.0)

    def queued(self):
        """Give (text, environment) of each message that has its whole envelope."""
        found = []
        for path in self.place.iterdir():
            if (path / "environ").exists() and (path / "envelope").read_bytes().endswith(b"\0\0"):
                lines = (path / "environ").read_bytes().split(b"\0")[:-1]
                environ = dict(line.partition(b"=")[::2] for line in lines)
                for name in (b"PWD", b"SHLVL", b"_", b"OLDPWD"):
                    environ.pop(name, None)
                found.append(((path / "text").read_bytes(), environ))
        return found


@pytest.fixture
def queue(tmp_path):
    """Give the stand-in."""
    return Queue(tmp_path)


@pytest.fixture
def make(nothing_is_left):
    """Give what makes a worker and an opener."""
    made = []

    def make_apart(door, login=b"joe", **given):
        made.append(Apart(door, PATH, login, new_loop=asyncio.new_event_loop, **given))
        return made[-1]

    yield make_apart
    for each in made:
        each.close()


def envelope(*recipients):
    """Make an envelope."""
    given = Envelope(b"a@b")
    for recipient in recipients or (b"c@d",):
        given.add(recipient, [])
    return given


def deliver(door, text=TEXT, environ=LOGGED_IN):
    """Send a message."""
    delivery = yield from door.open(envelope(), environ)
    yield from delivery.write(text)
    return (yield from delivery.commit())


SIZES = pytest.mark.parametrize("text", [TEXT, LARGE], ids=["small", "large"])


# --- tickets and environments


@SIZES
def test_the_environment_of_a_queue_program(make, queue, text):
    """It comes from the opener, from the ticket, and, of what the worker says, from what may be said of a client."""
    apart = make(queue.door)
    lies = {
        **ORIGIN,
        b"PATH": b"/evil",
        b"LD_PRELOAD": b"/evil",
        b"SMTPAUTHUSER": b"root",
        b"TCPREMOTEINFO": b"root",
        b"QMAILQUEUE": b"/evil",
        b"RELAYCLIENT": b"@evil",
        b"TCPLOCALIP": b"x" * 1000,
        b"SSL_CIPHER": b"a\0b",
    }
    apart.runner.run(deliver(apart.door(), text, lies))
    identity = {b"RELAYCLIENT": b"", b"SMTPAUTHUSER": b"joe", b"TCPREMOTEINFO": b"joe"}
    assert queue.queued() == [(text, {**PATH, **ORIGIN, **identity})]


@SIZES
@pytest.mark.parametrize("kind", ["none", "forged", "other key", "expired", "cut", "login changed"])
def test_tickets_that_are_worth_nothing(make, queue, kind, text):
    """Without a ticket of the verifier's nothing is queued, and no program started."""
    apart = make(queue.door)
    good = apart.pass_.ticket
    apart.pass_.ticket = {
        "none": b"",
        "forged": b"joe",
        "other key": make(queue.door).pass_.ticket,
        "expired": apart.ticket(b"joe", 0),
        "cut": good[:-1],
        "login changed": good[:-3] + b"moe",
    }[kind]
    with pytest.raises(MessageRefused) as caught:
        apart.runner.run(deliver(apart.door(), text))
    assert (caught.value.code, caught.value.enhanced) == (451, b"4.7.0")
    assert list(queue.place.iterdir()) == []


@SIZES
def test_strangers(make, queue, text):
    """Where some clients need no ticket, none is nobody's; one that is no good is still no good."""
    apart = make(queue.door, login=None, relays_for_strangers=True)
    apart.runner.run(deliver(apart.door(), text, ORIGIN))
    assert queue.queued() == [(text, {**PATH, **ORIGIN, b"RELAYCLIENT": b""})]
    apart.pass_.ticket = b"joe"
    with pytest.raises(MessageRefused):
        apart.runner.run(deliver(apart.door(), text))
    apart.pass_.ticket = apart.ticket(b"joe")
    apart.runner.run(deliver(apart.door(), text))
    assert sorted(environ.get(b"SMTPAUTHUSER", b"") for _, environ in queue.queued()) == [b"", b"joe"]


def test_an_address_that_cannot_be_told(make, queue):
    """An address out of a name.cdb that is none is refused, and the line to the opener lives."""
    apart = make(queue.door)

    def steps():
        yield from apart.door().open(envelope(b"c@d", b"x\ny@z"), LOGGED_IN)

    with pytest.raises(MessageRefused) as caught:
        apart.runner.run(steps())
    assert caught.value.code == 554
    apart.runner.run(deliver(apart.door()))
    assert len(queue.queued()) == 1


# --- who is gone


def with_delivery(apart, until):
    """Write a large message up to a place: opened, written, or in commit."""
    delivery = yield from apart.door().open(envelope(), LOGGED_IN)
    yield from delivery.write(LARGE)
    if until == "in commit":
        yield from delivery.commit()
    return delivery


def forget(ended):
    """Have a worker not hold what it was given; it is in one process with the opener here."""
    for delivery, _ in ended:
        if delivery is not None and delivery._descriptor >= 0:
            os.close(delivery._descriptor)


@pytest.mark.parametrize("state", ["asked", "opened"])
def test_a_worker_that_is_gone(make, tmp_path, state):
    """Whenever a worker dies, nothing of what it had open is queued, and nothing stays behind."""
    place = tmp_path / "Maildir"
    apart = make(Maildir(os.fsencode(place), b"mail.example", 20.0, itertools.count()))
    ended = []
    apart.runner.start(with_delivery(apart, "opened"), lambda *outcome: ended.append(outcome))
    if state != "asked":
        apart.runner.turn(lambda: ended)
        assert len(list((place / "tmp").iterdir())) == 1
    apart.asker._line.close()
    apart.runner.turn(lambda: not apart.answerer._line.is_open)
    apart.runner.turn(lambda: not apart.at_door._deliveries)
    assert not place.exists() or [*(place / "tmp").iterdir(), *(place / "new").iterdir()] == []
    apart.asker.close()
    forget(ended)


def test_a_worker_that_dies_while_its_program_starts(make, queue):
    """A delivery that is opened for nobody is given up as soon as it is open."""
    apart = make(queue.door)
    ended = []
    apart.runner.start(with_delivery(apart, "opened"), lambda *outcome: ended.append(outcome))
    apart.runner.turn(lambda: apart.opener.descriptors.running)
    apart.asker.close()
    forget(ended)
    apart.runner.turn(lambda: not apart.opener.descriptors.running)
    assert queue.queued() == []


def test_a_worker_that_dies_in_commit(make, tmp_path):
    """A message that is complete may be queued though its worker is gone; never in part."""
    queue = Queue(tmp_path, QUEUE + "sleep 0.1\n")
    apart = make(queue.door)
    apart.runner.start(with_delivery(apart, "in commit"))
    apart.runner.turn(lambda: list(queue.place.glob("*/environ")))
    apart.asker.close()
    apart.runner.turn(lambda: not apart.opener.descriptors.running)
    assert [text for text, _ in queue.queued()] == [LARGE]


@pytest.mark.parametrize("how", ["time", "interrupt", "gone"])
def test_an_answer_that_comes_too_late(make, queue, monkeypatch, how):
    """What the opener opened for a session that is not there any more, it closes again."""
    apart = make(queue.door)
    given = apart.opener.hand_over
    waiting = []

    def slow(*arguments):
        result = yield from given(*arguments)
        waiting.append(result)
        yield Sleep(0.2)
        return result

    monkeypatch.setattr(apart.opener, "hand_over", slow)
    ended = []
    door = remote.RemoteDoor(apart.pass_, 20.0, 0.1 if how == "time" else 20.0, carries_smtputf8=False)

    def steps():
        delivery = yield from door.open(envelope(), LOGGED_IN)
        yield from delivery.write(LARGE)
        try:
            yield from delivery.commit()
        finally:
            yield from delivery.abort()

    drive = apart.runner.start(steps(), lambda _result, failure: ended.append(failure))
    apart.runner.turn(lambda: waiting)
    if how == "interrupt":
        drive.interrupt(TemporaryFailure("the server goes down"))
    elif how == "gone":
        apart.asker.close()
    apart.runner.turn(lambda: ended)
    assert isinstance(ended[0], TemporaryFailure if how == "interrupt" else MessageRefused)
    assert apart.opener.descriptors.running == 1
    apart.runner.turn(lambda: not apart.opener.descriptors.running)
    assert queue.queued() == [] and apart.at_door._deliveries == {}


def test_each_write_has_the_time_that_was_set():
    """Answers take longer, because the opener waits for the queue program as well; to write is the same everywhere."""
    door = remote.RemoteDoor(remote.Pass(), 7.0, 19.0, carries_smtputf8=False)
    with pytest.raises(StopIteration) as opened:
        next(door.open(envelope(), LOGGED_IN))
    steps = opened.value.value.write(LARGE)
    asked = next(steps)
    assert (asked.fields[0], asked.timeout) == (words.OPEN, 19.0)
    writing = steps.send(Answered([words.OPENED, b"1"], 99))
    assert (writing.descriptor, writing.data, writing.timeout) == (99, LARGE, 7.0)


def test_an_opener_that_dies_between_open_and_commit(make, tmp_path):
    """Its successor does not take the commit of a message that it never had, nor for that of another session."""
    places = [tmp_path / "first", tmp_path / "second"]
    doors = [Maildir(os.fsencode(place), b"mail.example", 20.0, itertools.count()) for place in places]
    apart = make(doors[0])
    deliveries = []

    def begin():
        delivery = yield from apart.door().open(envelope(), LOGGED_IN)
        yield from delivery.write(LARGE)
        deliveries.append(delivery)

    apart.runner.run(begin())
    old = apart.asker, apart.answerer
    apart.opener = Opener(Descriptors(apart.runner.loop), doors[1], None, PATH, apart.key, relays_for_strangers=False)
    apart.attach()
    old[0].close()
    apart.runner.turn(lambda: not old[1]._line.is_open)
    apart.runner.run(begin())
    with pytest.raises(MessageRefused) as caught:
        apart.runner.run(deliveries[0].commit())
    assert caught.value.code == 451
    assert len(list((places[1] / "tmp").iterdir())) == 1 and list((places[1] / "new").iterdir()) == []
    apart.runner.run(deliveries[0].abort())
    apart.runner.run(deliveries[1].commit())
    assert len(list((places[1] / "new").iterdir())) == 1
    assert list((places[0] / "tmp").iterdir()) == [] == list((places[0] / "new").iterdir())


def test_no_opener(make, queue):
    """Where nobody opens, nothing is queued, for now; a delivery that was open is lost, and that is all."""
    apart = make(queue.door)

    def steps():
        delivery = yield from apart.door().open(envelope(), LOGGED_IN)
        yield from delivery.write(LARGE)
        apart.answerer._line.close()
        apart.at_door.gone()
        try:
            yield from delivery.commit()
        finally:
            yield from delivery.abort()

    for _ in range(2):
        with pytest.raises(MessageRefused) as caught:
            apart.runner.run(steps())
        assert caught.value.code == 451
    assert queue.queued() == []


# --- trouble at the opener


def test_no_descriptor_to_hand_over(make, tmp_path):
    """A file of which no duplicate can be made is not left in tmp."""
    place = tmp_path / "Maildir"
    door = Maildir(os.fsencode(place), b"mail.example", 20.0, itertools.count())
    apart = make(door)
    given = door.open

    def open_and_run_out(*arguments):
        delivery = yield from given(*arguments)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        hand_over = delivery.hand_over

        def fail():
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                return (yield from hand_over())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        delivery.hand_over = fail
        return delivery

    door.open = open_and_run_out
    with pytest.raises(MessageRefused):
        apart.runner.run(deliver(apart.door(), LARGE))
    assert [*(place / "tmp").iterdir(), *(place / "new").iterdir()] == []
    del door.open
    apart.runner.run(deliver(apart.door(), LARGE))
    assert len(list((place / "new").iterdir())) == 1


def test_dialling(make):
    """A hop that does not answer, or is not there, is told as that; who relays by itself opens no door."""

    def dial(kind):
        def steps():
            if kind == "late":
                raise TimedOut
            return (yield Connect(b"/nonexistent", 0, 1.0))

        return steps

    for kind, said in (("late", "no answer in time"), ("missing", "No such file")):
        apart = make(None, dial=dial(kind))
        with pytest.raises(ConnectionError, match=said):
            apart.runner.run(remote.dialer(20.0)())
        with pytest.raises(MessageRefused):
            apart.runner.run(deliver(apart.door()))
    apart = make(None)
    with pytest.raises(ConnectionError, match="no next hop"):
        apart.runner.run(remote.dialer(20.0)())
