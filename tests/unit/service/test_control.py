"""A process's side of its control socket."""

import socket

import pytest
import uvloop

from checkpw.service import control
from checkpw.service.generations import ALIVE, DRAIN, QUIT, READY, WORKER


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request, runner):
    """Give an event loop of each kind."""
    if request.param == "asyncio":
        yield runner.loop
        return
    made = uvloop.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def ends():
    """Give the supervisor's end and the process's."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield pair
    for end in pair:
        end.close()


def test_words_that_come_at_once(loop, ends):
    """Each is heard, in order, and then that the supervisor is gone, once."""
    theirs, ours = ends
    heard = []

    def hear(word, end):
        heard.append((word, None if end is None else end.type))
        if end is not None:
            end.close()
        if word == QUIT:
            loop.call_soon(loop.stop)

    control.listen_to(loop, ours, hear)
    with socket.socket() as given:
        socket.send_fds(theirs, [WORKER], [given.fileno()])
    theirs.send(DRAIN)
    theirs.close()
    loop.run_forever()
    assert heard == [(WORKER, socket.SOCK_STREAM), (DRAIN, None), (QUIT, None)]


def test_signs_of_life(monkeypatch, loop, ends):
    """They come as long as somebody listens, and nobody who does not stops the process."""
    monkeypatch.setattr(control, "BEAT", 0.001)
    theirs, ours = ends
    theirs.settimeout(20)
    words = []

    def look():
        while len(words) < 4:
            words.append(theirs.recv(16))
        loop.call_later(1.0, theirs.close)  # a thousand beats that nobody takes, which is more than there is place for

    loop.call_later(0.1, look)
    control.serve(loop, ours, lambda: None)
    assert words == [READY, ALIVE, ALIVE, ALIVE]
