"""A client's connection: in clear and through TLS, whatever the client does and stops doing."""

import gc
import os
import socket
import struct
import tracemalloc

import pytest
from resident_runner import LOOPS, ResidentRunner, server_context

from checkpw import tls
from checkpw.errors import TemporaryFailure
from checkpw.operations import Receive, Secure, Send, Sleep, TimedOut
from checkpw.runners.connection import Connection, Handshakes
from checkpw.runners.waiting import Timer
from checkpw.tls import TlsLayer

PATIENCE = 20.0
SHORT = 0.1
RESET = struct.pack("ii", 1, 0)


class Client:
    """The other end, which does just what it is told to."""

    def __init__(self, end):
        self.end = end
        self.end.settimeout(0)
        self.tls = None
        self.heard = b""

    def write(self, data, size=1 << 20):
        """Send something, through TLS if there is any, in pieces."""
        wire = self.tls.write(data) if self.tls is not None else data
        for at in range(0, len(wire), size):
            self.end.send(wire[at : at + size])

    def listen(self):
        """Take what has come, and answer what the handshake wants to be answered."""
        try:
            data = self.end.recv(1 << 20)
        except BlockingIOError:
            return
        if self.tls is None:
            self.heard += data
            return
        self.tls.receive(data)
        if not self.tls.is_established:
            self.tls.do_handshake()
            self.flush()
        self.heard += self.tls.read(1 << 20)

    def hello(self):
        """Give the beginning of a handshake."""
        self.tls = TlsLayer(tls.client_context(is_verified=False), server_side=False, server_hostname="mail.example")
        self.tls.do_handshake()
        return self.tls.outgoing()

    def flush(self):
        """Send what TLS wants to be sent."""
        if wire := self.tls.outgoing():
            self.end.send(wire)

    def reset(self):
        """Have the connection broken off."""
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.end.close()


@pytest.fixture(params=LOOPS)
def served(request, nothing_is_left):
    """Give a runner that serves a client over TCP, and the client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        end = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    client = Client(end)
    with ResidentRunner(theirs, server_context(), new_loop=LOOPS[request.param]) as runner:
        yield runner, client
        client.end.close()
        assert runner.handshakes.number == 0


class Server:
    """Performs one operation after the other, and keeps what came of each."""

    def __init__(self, runner, *operations):
        self.outcomes = []
        self.drive = runner.start(self._steps(operations))

    def _steps(self, operations):
        for operation in operations:
            try:
                self.outcomes.append((yield operation))
            except (OSError, TimedOut, TemporaryFailure) as error:
                self.outcomes.append(error)


def play(runner, client, *operations):
    """Perform operations while the client listens, and give what came of each."""
    server = Server(runner, *operations)

    def is_over():
        if client.end.fileno() >= 0:
            client.listen()
        return len(server.outcomes) == len(operations)

    runner.turn(is_over)
    return server.outcomes


def secured(runner, client):
    """Make a handshake."""
    client.end.send(client.hello())
    (outcome,) = play(runner, client, Secure(PATIENCE))
    assert outcome.environ[b"SSL_PROTOCOL"] == b"TLSv1.3" and outcome.discarded == 0


def test_a_conversation_through_tls(served):
    """What is said on both sides is what is heard, in any size."""
    runner, client = served
    secured(runner, client)
    client.write(b"EHLO x\r\n")
    assert play(runner, client, Receive(PATIENCE), Send(b"250 x\r\n", PATIENCE)) == [b"EHLO x\r\n", None]
    runner.turn(lambda: client.listen() or client.heard == b"250 x\r\n")
    assert runner.connection.received > 0 and runner.connection.sent > 0


def test_bursts(served):
    """As much as a socket takes, from both sides, comes through in order; records are cut wherever they are cut."""
    runner, client = served
    secured(runner, client)
    text = os.urandom(300_000)
    wire, heard = client.tls.write(text), []

    def steps():
        while sum(map(len, heard)) < len(text):
            heard.append((yield Receive(PATIENCE)))
        yield Send(text, PATIENCE)

    sent, ended = 0, []
    runner.start(steps(), lambda *outcome: ended.append(outcome))

    def go_on():
        nonlocal sent
        try:
            sent += client.end.send(wire[sent : sent + 7777])
        except BlockingIOError:
            pass
        client.listen()
        return ended and len(client.heard) == len(text)

    runner.turn(go_on)
    assert b"".join(heard) == text == client.heard
    assert max(map(len, heard)) <= 128 * 1024


def test_records_byte_by_byte(served):
    """A handshake and a record that come one byte at a time come all the same."""
    runner, client = served
    hello, outcomes = client.hello(), []
    server = Server(runner, Secure(PATIENCE), Receive(PATIENCE))
    pieces = [hello[at : at + 1] for at in range(len(hello))]

    def go_on():
        if pieces:
            client.end.send(pieces.pop(0))
        data = b""
        try:
            data = client.end.recv(3)
        except BlockingIOError:
            pass
        client.tls.receive(data)
        if not client.tls.is_established and client.tls.do_handshake():
            answer = client.tls.outgoing() + client.tls.write(b"MAIL\r\n")
            pieces.extend(answer[at : at + 1] for at in range(len(answer)))
        return len(server.outcomes) == 2

    runner.turn(go_on)
    outcomes = server.outcomes
    assert outcomes[0].environ[b"SSL_PROTOCOL"] == b"TLSv1.3" and outcomes[1] == b"MAIL\r\n"


@pytest.mark.parametrize("size", [0, 1, 5, 100, 10_000])
def test_a_handshake_that_begins_with_what_was_read(served, size):
    """What stands behind a PROXY header may be all or some of the ClientHello, in the same segment."""
    runner, client = served
    hello = client.hello()
    runner.connection.push_back(hello[:size])
    client.end.send(hello[size:])
    client_text = b"EHLO x\r\n"
    server = Server(runner, Secure(PATIENCE), Receive(PATIENCE))

    def go_on():
        was_established = client.tls.is_established
        client.listen()
        if client.tls.is_established and not was_established:
            client.write(client_text)
        return len(server.outcomes) == 2

    runner.turn(go_on)
    assert server.outcomes[1] == client_text


def test_in_clear_what_was_pushed_back_is_received(served):
    """Without TLS it is what the client says first."""
    runner, client = served
    runner.connection.push_back(b"EHLO")
    client.write(b" x\r\n")
    assert play(runner, client, Receive(PATIENCE), Receive(PATIENCE)) == [b"EHLO", b" x\r\n"]


# --- how it ends


def end_ours(runner):
    """Close our end."""
    runner.connection.close()
    runner.connection = None


@pytest.mark.parametrize("uses_tls", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves(served, how, uses_tls):
    """That is no bytes, with or without a word of TLS; what is said then fails, or goes nowhere."""
    runner, client = served
    if uses_tls:
        secured(runner, client)
    getattr(client if how == "reset" else client.end, how)()
    received, again, _sent = play(runner, client, Receive(PATIENCE), Receive(PATIENCE), Send(b"x" * 10, PATIENCE))
    assert received == again == b""
    outcomes = play(runner, client, Sleep(0.01), Send(b"y", PATIENCE), Sleep(0.01), Send(b"z", PATIENCE))
    assert isinstance(outcomes[3], OSError)


@pytest.mark.parametrize("uses_tls", [False, True])
def test_a_client_that_says_something_and_breaks_off(served, uses_tls):
    """What it said is heard, and that it is gone is noticed at once."""
    runner, client = served
    if uses_tls:
        secured(runner, client)
    client.write(b"Subject: x\r\n")
    client.reset()
    assert play(runner, client, Receive(PATIENCE), Receive(PATIENCE)) == [b"Subject: x\r\n", b""]


def test_half_a_record_and_a_broken_connection(served):
    """That is the end, and nobody waits for the other half."""
    runner, client = served
    secured(runner, client)
    client.end.send(client.tls.write(b"Subject: x\r\n")[:20])
    client.reset()
    assert play(runner, client, Receive(PATIENCE)) == [b""]


def test_last_words_together_with_the_end(served):
    """Text and the end of TLS in one segment are text and then the end, though TCP goes on."""
    runner, client = served
    secured(runner, client)
    client.end.send(client.tls.write(b"QUIT\r\n") + client.tls.close())
    assert play(runner, client, Receive(PATIENCE), Receive(PATIENCE), Receive(PATIENCE)) == [b"QUIT\r\n", b"", b""]


def test_all_that_a_client_ever_says_right_behind_its_handshake(served):
    """The last message of the handshake, text and the end may come together."""
    runner, client = served
    client.end.send(client.hello())
    server = Server(runner, Secure(PATIENCE), Receive(PATIENCE), Receive(PATIENCE))

    def go_on():
        try:
            client.tls.receive(client.end.recv(1 << 20))
        except BlockingIOError:
            pass
        if not client.tls.is_established and client.tls.do_handshake():
            client.end.send(client.tls.outgoing() + client.tls.write(b"QUIT\r\n") + client.tls.close())
        return len(server.outcomes) == 3

    runner.turn(go_on)
    assert server.outcomes[1:] == [b"QUIT\r\n", b""]


def test_a_client_that_is_done_speaking_still_hears(served):
    """A half-closed connection is the end of what comes, and not of what goes."""
    runner, client = served
    client.write(b"QUIT\r\n")
    client.end.shutdown(socket.SHUT_WR)
    assert play(runner, client, Receive(PATIENCE), Receive(PATIENCE), Send(b"221\r\n", 1.0)) == [b"QUIT\r\n", b"", None]
    runner.turn(lambda: client.listen() or client.heard == b"221\r\n")


def test_garbage_in_tls(served):
    """A record that is none is the end, and the client is told why."""
    runner, client = served
    secured(runner, client)
    client.end.send(b"\x17\x03\x03\0\x20" + bytes(32))
    server = Server(runner, Receive(PATIENCE), Receive(PATIENCE))
    runner.turn(lambda: len(server.outcomes) == 2)
    assert server.outcomes == [b"", b""]
    with pytest.raises(OSError, match="bad record mac"):
        runner.turn(client.listen)


def test_our_end_of_tls(served):
    """A connection that we close ends as TLS wants it: nothing is cut off."""
    runner, client = served
    secured(runner, client)
    play(runner, client, Send(b"221\r\n", PATIENCE))
    end_ours(runner)
    runner.turn(lambda: client.listen() or client.tls.eof)
    assert client.heard == b"221\r\n"


# --- handshakes


@pytest.mark.parametrize("how", ["garbage", "close", "reset", "late", "interrupt", "close ours"])
@pytest.mark.parametrize("begins", [False, True])
def test_handshakes_that_fail(served, how, begins):
    """However one fails, it does not count any more."""
    runner, client = served
    if begins:
        client.end.send(client.hello()[:100])
    server = Server(runner, Secure(SHORT if how == "late" else PATIENCE))
    assert runner.handshakes.number == 1
    if how == "garbage":
        client.end.send(b"EHLO x\r\n" * 1000)
    elif how == "close":
        client.end.close()
    elif how == "reset":
        client.reset()
    elif how == "interrupt":
        server.drive.interrupt(TemporaryFailure("the server goes down"))
    elif how == "close ours":
        end_ours(runner)
        assert runner.handshakes.number == 0
        return
    runner.turn(lambda: server.outcomes)
    kind = {"late": TimedOut, "interrupt": TemporaryFailure}.get(how, OSError)
    assert isinstance(server.outcomes[0], kind)
    assert runner.handshakes.number == 0


def test_too_many_handshakes(served):
    """One too many fails at once, and counts for nothing."""
    runner, client = served
    runner.handshakes.number = runner.handshakes.most
    (outcome,) = play(runner, client, Secure(PATIENCE))
    assert isinstance(outcome, OSError) and runner.handshakes.number == runner.handshakes.most
    runner.handshakes.number = 0
    secured(runner, client)


def test_no_certificate(runner):
    """Without a certificate there is no TLS."""
    ours, theirs = socket.socketpair()
    with ours:
        connection = Connection(runner.loop, theirs, None, Handshakes(1))
        runner.connection = connection
        (outcome,) = play(runner, Client(ours), Secure(PATIENCE))
        assert isinstance(outcome, OSError)
        assert connection._handshakes.number == 0


def test_garbage_that_was_pushed_back(served):
    """A handshake may fail before anything is waited for."""
    runner, client = served
    runner.connection.push_back(b"GET / HTTP/1.1\r\n\r\n")
    (outcome,) = play(runner, client, Secure(PATIENCE))
    assert isinstance(outcome, OSError) and runner.handshakes.number == 0


# --- pressure and time


@pytest.mark.parametrize("uses_tls", [False, True])
def test_a_client_that_does_not_read(served, uses_tls):
    """It runs into the time limit of Send; nothing that it says is read meanwhile, and it may hear the rest later."""
    runner, client = served
    runner.connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    client.end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    if uses_tls:
        secured(runner, client)
    text = os.urandom(3_000_000)
    server = Server(runner, Send(text, SHORT), Send(b"goodbye", PATIENCE))
    runner.turn(lambda: server.outcomes)
    assert isinstance(server.outcomes[0], TimedOut)
    received = runner.connection.received
    client.write(b"NOOP\r\n")
    for _ in range(50):
        runner.turn(lambda: True)
    assert runner.connection.received == received
    runner.turn(lambda: client.listen() or len(server.outcomes) == 2)
    runner.turn(lambda: client.listen() or len(client.heard) == len(text) + 7)
    assert client.heard == text + b"goodbye"
    assert play(runner, client, Receive(PATIENCE)) == [b"NOOP\r\n"]


@pytest.mark.parametrize("uses_tls", [False, True])
def test_a_client_that_only_sends(served, uses_tls):
    """It is held back by TCP: while nobody wants to hear it, it is not read, and costs no memory."""
    runner, client = served
    if uses_tls:
        secured(runner, client)
    server = Server(runner, Receive(PATIENCE), Sleep(0.2), Receive(PATIENCE))
    wire = client.tls.write(b"x" * 20_000_000) if uses_tls else b"x" * 20_000_000
    sent = 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]

        def go_on():
            nonlocal sent
            try:
                sent += client.end.send(wire[sent : sent + 100_000])
            except BlockingIOError:
                pass
            return len(server.outcomes) == 2

        runner.turn(go_on)
        assert tracemalloc.get_traced_memory()[0] - before < 500_000
    finally:
        tracemalloc.stop()
    assert runner.connection.received < 300_000
    assert sent < len(wire)  # the kernel has the rest, and no more of it than it wants
    runner.turn(lambda: len(server.outcomes) == 3)
    assert set(server.outcomes[0] + server.outcomes[2]) == {ord("x")}


def test_a_client_that_resets_while_it_is_written_to(served):
    """A write that waits fails when the client is gone."""
    runner, client = served
    server = Server(runner, Send(b"x" * 20_000_000, PATIENCE), Receive(PATIENCE))
    client.reset()
    runner.turn(lambda: len(server.outcomes) == 2)
    assert isinstance(server.outcomes[0], OSError) and server.outcomes[1] == b""


def test_interrupted_while_the_client_does_not_read(served):
    """Whoever is interrupted may say something; it comes behind what was being said, and only once."""
    runner, client = served
    text = os.urandom(8_000_000)
    server = Server(runner, Send(text, PATIENCE), Send(b"421\r\n", PATIENCE))
    assert runner.connection.is_waiting
    server.drive.interrupt(TemporaryFailure("the server goes down"))
    assert isinstance(server.outcomes[0], TemporaryFailure)
    runner.turn(lambda: client.listen() or len(server.outcomes) == 2)
    runner.turn(lambda: client.listen() or len(client.heard) == len(text) + 5)
    assert client.heard == text + b"421\r\n"
    server.drive.interrupt(TemporaryFailure("again"))  # it has ended: nothing happens
    assert len(server.outcomes) == 2


# --- timers and memory


@pytest.mark.parametrize("loop", LOOPS)
def test_the_one_timer(loop):
    """A limit that is set later is later, one that is set earlier is earlier, and one that was taken back is none."""
    with ResidentRunner(new_loop=LOOPS[loop]) as runner:
        now, fired = runner.loop.time, []
        timer = Timer(runner.loop, lambda: fired.append(now()))

        def rest(seconds):
            runner.run(iter_steps(Sleep(seconds)))

        began = now()
        timer.start(0.05)
        timer.start(0.15)
        runner.turn(lambda: fired)
        assert 0.145 <= fired.pop() - began < PATIENCE
        timer.start(PATIENCE)
        began = now()
        timer.start(0.05)
        runner.turn(lambda: fired)
        assert 0.045 <= fired.pop() - began < PATIENCE / 2
        timer.start(0.02)
        timer.stop()
        rest(0.05)
        timer.start(0.02)
        timer.start(None)
        rest(0.05)
        timer.start(0.02)
        timer.close()
        rest(0.05)
        assert fired == []


def iter_steps(operation):
    """Perform one operation."""
    yield operation


def test_a_connection_that_is_closed_leaves_nothing_to_the_collector(runner, garbage):
    """It had a time limit that was set, and that would have called it."""

    def serve():
        ours, theirs = socket.socketpair()
        runner.connection = Connection(runner.loop, ours, None, Handshakes(1))
        runner.start(iter_steps(Receive(PATIENCE)))
        runner.connection.close()
        runner.connection = None
        theirs.close()

    assert garbage(serve) == 0


def test_what_an_idle_connection_costs(runner):
    """Ten thousand clients that say nothing are to fit: a connection and its drive take a few KiB at most."""
    pairs = [socket.socketpair() for _ in range(50)]
    handshakes = Handshakes(100)

    def idle():
        yield Receive(PATIENCE)

    connections = []
    gc.collect()
    tracemalloc.start()
    try:
        for _, theirs in pairs:
            runner.connection = Connection(runner.loop, theirs, None, handshakes)
            connections.append(runner.connection)
            runner.start(idle())
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / len(pairs)
    finally:
        tracemalloc.stop()
    runner.connection = None
    for connection in connections:
        connection.close()
    for ours, _ in pairs:
        ours.close()
    assert each < 3000
