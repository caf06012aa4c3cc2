"""A message on its way: trouble is kept until its end, and nothing is given up twice or after it is queued."""

import pytest

from checkpw.errors import MessageRefused
from checkpw.mess822 import dates
from checkpw.mess822.hostrules import HostRules
from checkpw.mess822.outgoing import Stamp, Style, rewrite
from checkpw.outbound import OutboundMessage
from checkpw.smtp.events import Envelope

STYLE = Style(HostRules([]), keeps_groups=False, hops=2)
STAMP = Stamp(b"Received: us\n", dates.parse(b"1 Jan 2026 00:00:00 -0000"), lambda date: b"<" + date + b">", b"a@b")


class Delivery:
    """Remembers what is done with it."""

    def __init__(self):
        self.done = []

    def open(self, envelope, environ):
        """Be a door as well."""
        self.done.append(("open", envelope.sender, environ))
        yield from ()
        return self

    def write(self, block):
        """Remember a block."""
        self.done.append(block)
        yield from ()

    def commit(self):
        """Be queued."""
        self.done.append("commit")
        yield from ()
        return b"words"

    def abort(self):
        """Be given up."""
        self.done.append("abort")
        yield from ()


def run(steps):
    """Drive a generator that never waits."""
    with pytest.raises(StopIteration) as stop:
        next(steps)
    return stop.value.value


def start(header_bytes=100):
    """Open a message."""
    delivery = Delivery()
    message = OutboundMessage(Envelope(b"a@b"), STAMP, STYLE, header_bytes)
    run(message.open(delivery, {b"A": b"b"}))
    assert delivery.done.pop(0) == ("open", b"a@b", {b"A": b"b"})
    return message, delivery.done


HEADER, WITH_TO = rewrite(b"", STYLE, STAMP), rewrite(b"To: x\n", STYLE, STAMP)


def test_blocks_are_handed_on_as_they_come():
    """The header is held until it is complete; the rest is not."""
    message, done = start()
    run(message.take(b"To: x\n"))
    run(message.take(b"\nbo"))
    run(message.take(b"dy\n"))
    assert done == [WITH_TO + b"\nbo", b"dy\n"]
    assert message.size == len(b"".join(done))
    assert run(message.finish()) == b"words"
    assert done[2:] == ["commit"]


def test_a_message_that_is_all_header():
    """A header that has no end is handed on at the end of the message."""
    message, done = start()
    run(message.take(b"To: x\n"))
    run(message.finish())
    assert done == [WITH_TO, "commit"]


def test_what_is_queued_is_not_given_up():
    """After the door's word nothing is aborted any more."""
    message, done = start()
    run(message.finish())
    run(message.abort())
    assert done == [HEADER, "commit"]


def test_given_up_once():
    """A message that is given up is so once, however often that is asked for."""
    message, done = start()
    run(message.abort())
    run(message.abort())
    assert done == ["abort"]


def test_nothing_to_give_up():
    """A message whose door never opened has nothing to give up."""
    run(OutboundMessage(Envelope(b""), STAMP, STYLE, 100).abort())


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        ([b"X: " + b"y" * 100 + b"\n", b"\nmore\n"], 552),
        ([b"Received: 1\nReceived: 2\n\n", b"more\n"], 554),
        ([b"Received: 1\nReceived: 2\n"], 554),
    ],
)
def test_trouble_is_kept_until_the_end(blocks, code):
    """The client sends on whatever is wrong: the refusal comes at the end, and the door has forgotten it by then."""
    message, done = start()
    for block in blocks:
        run(message.take(block))
    with pytest.raises(MessageRefused) as caught:
        next(message.finish())
    assert caught.value.code == code
    assert done == ["abort"]
