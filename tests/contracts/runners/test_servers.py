"""Other servers that are connected to."""

import errno
import os
import socket
import struct
import threading
import time

import pytest
from running import NOT_BEFORE, PATIENCE, SHORT, lateness, one, room

from checkpw.operations import Close, Connect, Receive, Secure, TimedOut, Write
from checkpw.runners import connecting
from checkpw.runners.stdio import StdioRunner


def peer(listener):
    """Accept a connection."""
    end, _ = listener.accept()
    end.settimeout(PATIENCE)
    return end


@pytest.fixture(params=["tcp", "tcp6", "name", "unix"])
def server(request, tmp_path):
    """Give a listening socket, and where it is."""
    if request.param == "unix":
        listener, place = socket.socket(socket.AF_UNIX), (os.fsencode(tmp_path / "socket"), 0)
        listener.bind(place[0])
        listener.listen()
    elif request.param == "tcp6":
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        place = (b"::1", listener.getsockname()[1])
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        place = (b"127.0.0.1" if request.param == "tcp" else b"localhost", listener.getsockname()[1])
    listener.settimeout(PATIENCE)
    with listener:
        yield listener, place


def test_a_conversation_with_a_server(make, server):
    """A server is connected to, written to and heard, also when it reads slowly; its end is no bytes."""
    listener, place = server
    question = os.urandom(3_000_000)
    heard = []

    def serve():
        with peer(listener) as end:
            while sum(map(len, heard)) < len(question):
                heard.append(end.recv(100_000))
            end.sendall(b"answer")

    def steps():
        descriptor = yield Connect(*place, PATIENCE)
        assert not os.get_blocking(descriptor)
        assert not os.get_inheritable(descriptor)
        with socket.socket(fileno=os.dup(descriptor)) as client:
            assert client.family == socket.AF_UNIX or client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(TimedOut):
            yield Receive(SHORT, descriptor)
        thread = threading.Thread(target=serve)
        thread.start()
        yield Write(descriptor, question, PATIENCE)
        answer = b""
        while piece := (yield Receive(PATIENCE, descriptor)):
            answer += piece
        thread.join(PATIENCE)
        yield Close(descriptor)
        return answer

    assert make().run(steps()) == b"answer"
    assert b"".join(heard) == question


def test_a_server_that_does_not_read(make, server):
    """What it does not take in time is a TimedOut; what it will never take, because it is gone, an OSError."""
    listener, place = server

    def steps():
        descriptor = yield Connect(*place, PATIENCE)
        with peer(listener), pytest.raises(TimedOut):
            yield Write(descriptor, b"x" * 20_000_000, SHORT)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            yield Write(descriptor, b"x" * 20_000_000, PATIENCE)
        yield Close(descriptor)

    make().run(steps())


def test_a_server_that_resets_the_connection(make):
    """That is an OSError: other than for a client, a conversation with a server has an end of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def steps():
            descriptor = yield Connect(b"127.0.0.1", listener.getsockname()[1], PATIENCE)
            end = peer(listener)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
            with pytest.raises(ConnectionResetError):
                yield Receive(PATIENCE, descriptor)
            yield Close(descriptor)

        make().run(steps())


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (b"127.0.0.1", "refused"),
        (b"localhost", "refused"),
        (b"no-such-host.invalid", r"."),
        (b"", r"."),
        (b"%s/missing", "No such file"),
        (b"%s/dead", "refused"),
        (b"/" + b"x" * 200, "too long"),
    ],
)
def test_servers_that_are_not_there(make, tmp_path, host, said):
    """Nobody who listens, a name that there is not, a path that leads nowhere: each is an OSError at the yield."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fsencode(tmp_path / "dead"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(OSError, match=said):
        one(Connect(host.replace(b"%s", os.fsencode(tmp_path)), port, PATIENCE), make())


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_a_server_that_does_not_accept(make, tmp_path, family):
    """Where the queue of a server is full, the time runs out, and nothing is left open."""
    with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET) as listener:
        listener.bind(os.fsencode(tmp_path / "socket") if family == "unix" else ("127.0.0.1", 0))
        listener.listen(0)
        place = (os.fsencode(tmp_path / "socket"), 0) if family == "unix" else listener.getsockname()
        place = (place[0] if family == "unix" else b"127.0.0.1", place[1])
        held = []

        def steps():
            while True:
                descriptor = yield Connect(*place, SHORT)
                held.append(descriptor)

        assert NOT_BEFORE <= lateness(lambda: make().run(steps())) < PATIENCE
        for descriptor in held:
            os.close(descriptor)


def test_a_place_in_the_queue_of_a_unix_socket(make, tmp_path):
    """A unix socket whose queue is full for a while is connected to later, within the time."""
    path = os.fsencode(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)

        def accept_later():
            time.sleep(SHORT)
            for _ in range(2):
                listener.accept()[0].close()

        thread = threading.Thread(target=accept_later)
        thread.start()
        os.close(one(Connect(path, 0, PATIENCE), make()))
        thread.join(PATIENCE)


def test_each_address_of_a_host_has_its_share(monkeypatch):
    """An address that does not answer leaves time for the next one; if none does, the last failure is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as probe:
        good, closed = listener.getsockname(), probe.getsockname()
        probe.close()
        tried = []
        real = connecting._connect_to

        def connect_to(family, address, timeout):
            tried.append((address, timeout))
            if address == "silent":
                raise TimedOut
            return real(family, address, timeout)

        def found(*addresses):
            return lambda host, port, family, kind: [(socket.AF_INET, kind, 6, "", each) for each in addresses]

        monkeypatch.setattr(connecting, "_connect_to", connect_to)
        with monkeypatch.context() as patch:
            patch.setattr(connecting._socket, "getaddrinfo", found("silent", closed, good))
            os.close(one(Connect(b"host", 25, 9.0), StdioRunner()))
            assert [address for address, _ in tried] == ["silent", closed, good]
            assert tried[0][1] == pytest.approx(3.0, abs=0.5)
            assert tried[1][1] == pytest.approx(4.5, abs=0.5)
            patch.setattr(connecting._socket, "getaddrinfo", found("silent", closed))
            with pytest.raises(ConnectionRefusedError):
                one(Connect(b"host", 25, 9.0), StdioRunner())
            patch.setattr(connecting._socket, "getaddrinfo", found(closed, "silent"))
            with pytest.raises(TimedOut):
                one(Connect(b"host", 25, 9.0), StdioRunner())


def test_what_the_network_says_of_time_is_an_answer(monkeypatch):
    """ETIMEDOUT is no `TimedOut`: it came within the time, from a network that has given up."""

    class Client:
        def __init__(self, family, kind):
            pass

        def setsockopt(self, *option):
            pass

        def settimeout(self, seconds):
            pass

        def connect(self, address):
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

        def close(self):
            pass

    monkeypatch.setattr(connecting._socket, "socket", Client)
    with pytest.raises(TimeoutError, match="Connection timed out"):
        one(Connect(b"127.0.0.1", 25, PATIENCE), StdioRunner())


def test_no_descriptor_for_a_connection(make, server):
    """Where there is no descriptor left, that is an OSError, and none is lost."""

    def steps():
        with room(3):
            yield Connect(*server[1], PATIENCE)

    with pytest.raises(OSError, match=r"."):
        make().run(steps())


def test_nobody_who_does_tls():
    """A runner that was given no UCSPI-TLS server cannot encrypt."""
    with pytest.raises(OSError, match="UCSPI-TLS"):
        one(Secure(PATIENCE), StdioRunner())
