"""The contract of runners: what each operation does, when it fails, what it leaves.

The one on descriptors and the resident one, on both event loops, keep the same contract; what only one of them can is
tried with that one.
"""

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import threading
import time

import pytest
from resident_runner import LOOPS, ResidentRunner

from checkpw.cli import exits
from checkpw.errors import Misuse, Rejected, TemporaryFailure
from checkpw.operations import (
    FROM_CHILD,
    LOG,
    NULL,
    TO_CHILD,
    Close,
    Connect,
    Kill,
    Receive,
    Secure,
    Send,
    Sleep,
    Spawn,
    Sync,
    TimedOut,
    Wait,
    Write,
)
from checkpw.runners import connecting, spawning, stdio
from checkpw.runners.stdio import StdioRunner

ENVIRON = {b"PATH": b"/usr/bin:/bin"}
SHORT = 0.2
NOT_BEFORE = SHORT - 0.002  # uvloop's clock counts whole milliseconds: a timer of its may end early by less than one
PATIENCE = 20.0


def descriptors():
    """Give the descriptors that are open."""
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left():
    """See to it that no descriptor and no child outlives a test."""
    before = descriptors()
    yield
    assert descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture(params=["stdio", *LOOPS])
def make(request, nothing_is_left):
    """Give what makes a runner, for the client at the other end of a socket if there is one."""
    made = []

    def make_runner(client=None):
        if request.param == "stdio":
            return StdioRunner() if client is None else StdioRunner(client.fileno(), client.fileno())
        made.append(ResidentRunner(client and client.dup(), new_loop=LOOPS[request.param]))
        return made[-1]

    yield make_runner
    for runner in made:
        runner.close()


@pytest.fixture
def client(make):
    """Give the client's end of a socket, and a runner at the other end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, make(theirs)


def one(operation, runner):
    """Perform one operation."""

    def steps():
        return (yield operation)

    return runner.run(steps())


def shell(script, *wiring, environ=ENVIRON):
    """Give the operation that starts a shell."""
    return Spawn([b"sh", b"-c", script.encode()], environ, wiring or ((NULL, (0, 1, 2)),))


def seconds(function):
    """Give what a function returns, and how long it took."""
    began = time.monotonic()
    outcome = function()
    return outcome, time.monotonic() - began


def lateness(function):
    """See a function run into a time limit, and give how long that took."""
    began = time.monotonic()
    with pytest.raises(TimedOut):
        function()
    return time.monotonic() - began


@contextlib.contextmanager
def room(number):
    """Have descriptors below a number only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the client


def test_receive(client):
    """What the client sent comes as it is there; its end is no bytes."""
    end, runner = client
    end.sendall(b"hello")
    assert one(Receive(PATIENCE), runner) == b"hello"
    end.shutdown(socket.SHUT_WR)
    assert one(Receive(PATIENCE), runner) == b""
    assert one(Receive(None), runner) == b""


def test_receive_is_late(client):
    """A client that says nothing runs into the time limit, at the yield and not before its time."""
    _, runner = client

    def steps():
        with pytest.raises(TimedOut):
            yield Receive(SHORT)
        return "went on"

    outcome, took = seconds(lambda: runner.run(steps()))
    assert outcome == "went on" and NOT_BEFORE <= took < PATIENCE


def test_a_reset_is_the_end(make):
    """A connection that is reset is one that is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()
            assert one(Receive(PATIENCE), make(theirs)) == b""


def test_receive_from_nothing():
    """A descriptor that is closed is an OSError at the yield."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        one(Receive(PATIENCE), StdioRunner(reading, reading))


def test_send(client):
    """All of the data reaches the client, however slowly it reads."""
    end, runner = client
    data = os.urandom(500_000)
    heard = []

    def listen():
        while sum(map(len, heard)) < len(data):
            heard.append(end.recv(65536))

    listener = threading.Thread(target=listen)
    listener.start()
    one(Send(data, PATIENCE), runner)
    listener.join(PATIENCE)
    assert b"".join(heard) == data


def test_send_is_late(client):
    """A client that does not read runs into the time limit."""
    _, runner = client
    assert NOT_BEFORE <= lateness(lambda: one(Send(b"x" * 5_000_000, SHORT), runner)) < PATIENCE


def test_send_to_nobody(make):
    """A client that is gone is an OSError, not a signal."""
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(BrokenPipeError):
        one(Send(b"hello", PATIENCE), make(theirs))


# --- encryption by whoever started us


@pytest.fixture(params=["three", "one"])
def encrypting(request):
    """Give a runner under a UCSPI-TLS server, the client's end in clear, and the server's: control, in, out."""
    clear, incoming = socket.socketpair()
    outgoing = incoming.dup()
    pairs = [socket.socketpair() for _ in range(3 if request.param == "three" else 1)]
    ours = [pair[0] for pair in pairs] * 3
    theirs = [pair[1].detach() for pair in pairs] * 3
    for end in (clear, *ours):
        end.settimeout(PATIENCE)
    given = (incoming.detach(), outgoing.detach())
    runner = StdioRunner(*given, tls=tuple(theirs[:3]))
    yield runner, clear, ours[:3]
    for descriptor in {*given, *(runner._tls or ())}:  # the runner has closed those that it has used
        os.close(descriptor)
    for end in (clear, *ours):
        end.close()


def told(runner, control, *pieces):
    """Have TLS begun while a server tells these pieces, and give what comes of it."""

    def tell():
        assert control.recv(10) == b"Y"
        for piece in pieces:
            control.sendall(piece)
            time.sleep(0.01)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        return one(Secure(PATIENCE), runner)
    finally:
        thread.join(PATIENCE)


ENVIRON_BLOCK = b"SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=TLS_AES_256_GCM_SHA384\0SSL_X=\0OTHER=1\0SSL_NONE\0\0"


@pytest.mark.parametrize("size", [1, 20, 21, 1000])
def test_secure(encrypting, size):
    """TLS begins when the server is told so; from then on the client is where the server says, and nowhere else.

    What came in clear and was not read is the server's: it may be the beginning of the handshake.
    """
    runner, clear, (control, ours_out, ours_in) = encrypting
    clear.sendall(b"unread")
    pieces = [ENVIRON_BLOCK[at : at + size] for at in range(0, len(ENVIRON_BLOCK), size)]
    secured = told(runner, control, *pieces)
    assert secured.discarded == 0
    assert secured.environ == {
        b"SSL_PROTOCOL": b"TLSv1.3",
        b"SSL_CIPHER": b"TLS_AES_256_GCM_SHA384",
        b"SSL_X": b"",
    }
    ours_out.sendall(b"EHLO x\r\n")
    assert one(Receive(PATIENCE), runner) == b"EHLO x\r\n"
    one(Send(b"250 x\r\n", PATIENCE), runner)
    assert ours_in.recv(100) == b"250 x\r\n"
    with pytest.raises(ConnectionResetError):  # nobody has that connection any more
        clear.recv(100)
    with pytest.raises(OSError, match="UCSPI-TLS"):
        one(Secure(PATIENCE), runner)


def test_what_stands_behind_what_is_told(encrypting):
    """Where one socket is for everything, the client's first words may come together with the end of what is told."""
    runner, _, (control, ours_out, _) = encrypting
    if ours_out is not control:
        told(runner, control, ENVIRON_BLOCK + b"no words of a client")
        ours_out.sendall(b"EHLO x\r\n")
    else:
        told(runner, control, ENVIRON_BLOCK + b"EHLO x\r\n")
    assert one(Receive(PATIENCE), runner) == b"EHLO x\r\n"


def test_a_tls_server_that_says_nothing(encrypting):
    """The time limit is for all of it, also where the server goes on and on."""
    runner, _, (control, *_) = encrypting
    assert NOT_BEFORE <= lateness(lambda: one(Secure(SHORT), runner)) < PATIENCE
    is_over = threading.Event()

    def trickle():
        while not is_over.wait(0.01):
            control.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert NOT_BEFORE <= lateness(lambda: one(Secure(SHORT), runner)) < PATIENCE
    finally:
        is_over.set()
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([], "handshake failed"),
        ([b"\0"], "broke off"),
        ([b"SSL_PROTOCOL=TLSv1.3\0"], "broke off"),
        ([b"S", b"S", b"L"], "broke off"),
        ([b"SSL_X=" + b"x" * 65531], "too much"),
        ([b"x\0" * 40000], "too much"),
    ],
)
def test_a_tls_server_that_fails(encrypting, pieces, said):
    """What is told ends with two NULs and has a limit, else nothing is encrypted, and the client stays who it was."""
    runner, _, (control, *_) = encrypting

    def tell():
        control.recv(1)
        for piece in pieces:
            control.sendall(piece)
        control.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=tell)
    thread.start()
    with pytest.raises(OSError, match=said):
        one(Secure(PATIENCE), runner)
    thread.join(PATIENCE)


def test_a_tls_server_that_is_gone(encrypting):
    """Nobody to tell that TLS begins is an OSError."""
    runner, _, (control, *_) = encrypting
    control.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="Broken pipe"):
        one(Secure(PATIENCE), runner)


# --- other servers


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


# --- programs


def test_spawn_write_wait(make):
    """A program reads what is written to it, and what it writes and how it ends comes back."""

    def steps():
        wiring = ((TO_CHILD, (0,)), (FROM_CHILD, (1, 2)))
        child = yield shell("cat; echo from 2 >&2; exit 7", *wiring)
        assert set(child.ends) == {0, 1}
        yield Write(child.ends[0], b"from us\n", PATIENCE)
        yield Close(child.ends[0])
        assert set(child.ends) == {1}
        ended = yield Wait(child, PATIENCE, child.ends[1], 1000)
        assert child.ends == {}
        return ended.status, ended.output

    assert make().run(steps()) == (7, b"from us\nfrom 2\n")


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9), ("kill $$", -15)])
def test_statuses(make, script, status):
    """Exit statuses are themselves, signals are negative."""

    def steps():
        child = yield shell(script)
        return (yield Wait(child, PATIENCE)).status

    assert make().run(steps()) == status


def test_a_program_gets_nothing_else(make, tmp_path):
    """A program has just the descriptors of its wiring, its own process group, and our environment is not its own."""
    script = (
        "for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n; done >&8; ps -o pgid= -p $$ >&8; env >&8"
    )
    secret = os.open("/dev/null", os.O_RDONLY)  # not inheritable, like everything that Python opens

    def steps():
        environ = {**ENVIRON, b"ONLY": b"\xff this"}
        child = yield shell(script, (NULL, (0, 1)), (LOG, (2,)), (secret, (5,)), (FROM_CHILD, (8,)), environ=environ)
        ended = yield Wait(child, PATIENCE, child.ends[8], 10000)
        return child.pid, ended.output

    pid, said = make().run(steps())
    os.close(secret)
    words = said.split(b"\n")
    assert words[:5] == [b"0", b"1", b"2", b"5", b"8"]
    assert int(words[5]) == pid
    given = {line for line in words[6:-1] if not line.startswith((b"PWD=", b"SHLVL=", b"_=", b"OLDPWD="))}
    assert given == {b"PATH=/usr/bin:/bin", b"ONLY=\xff this"}


def test_signals_of_a_program(make):
    """The signals that Python ignores are what they were for the program."""

    def steps():
        child = yield shell("grep SigIgn /proc/self/status", (FROM_CHILD, (1,)))
        return (yield Wait(child, PATIENCE, child.ends[1], 100)).output

    ignored = int(make().run(steps()).split()[1], 16)
    assert not ignored & (1 << 12 | 1 << 24)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (b"/nonexistent/program", FileNotFoundError),
        (b"no-such-program-anywhere", FileNotFoundError),
        (b"/etc/passwd", PermissionError),
        (b"/etc", PermissionError),
        (b"", OSError),
    ],
)
def test_programs_that_cannot_be_started(make, name, error):
    """What cannot be started is an OSError at the yield, and leaves no pipe."""
    with pytest.raises(error):
        one(Spawn([name], ENVIRON, ((TO_CHILD, (0,)), (FROM_CHILD, (1,)))), make())


def test_a_text_is_no_program(make, tmp_path):
    """A file without `#!` is not handed to a shell."""
    path = tmp_path / "text"
    path.write_text("exit 0\n", encoding="ascii")
    path.chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        one(Spawn([os.fsencode(path)], ENVIRON, ()), make())
    with pytest.raises(OSError, match="Exec format error"):
        one(Spawn([b"text"], {b"PATH": os.fsencode(tmp_path) + b":/bin"}, ()), make())


def test_path_is_searched(make, tmp_path):
    """A directory of PATH in which the program may not be executed is passed over, and remembered for the error."""
    (tmp_path / "sh").write_text("no program", encoding="ascii")

    def steps(path):
        child = yield Spawn([b"sh", b"-c", b"exit 3"], {b"PATH": path}, ())
        return (yield Wait(child, PATIENCE)).status

    place = os.fsencode(tmp_path)
    assert make().run(steps(b"/nonexistent:" + place + b":/bin")) == 3
    with pytest.raises(PermissionError):
        make().run(steps(place + b":/nonexistent"))


def test_an_environment_that_cannot_be(make):
    """A name that Python does not take is an OSError like any other trouble with starting."""
    with pytest.raises(OSError, match=r".") as caught:
        one(Spawn([b"true"], {**ENVIRON, b"": b"x"}, ((TO_CHILD, (0,)),)), make())
    assert not isinstance(caught.value, ValueError)


def test_no_descriptor_for_a_pipe(make):
    """When descriptors run out in the middle of starting a program, those that were opened are closed."""
    wiring = ((TO_CHILD, (0,)), (FROM_CHILD, (1,)), (NULL, (2,)), (TO_CHILD, (3,)))
    highest = max(map(int, descriptors()))
    held = []
    while not held or max(held) < max(highest, 40):
        held.append(os.dup(2))  # so that there is no gap below the limit

    def steps():
        failed = 0
        before = descriptors()
        for number in range(1, 9):
            try:
                with room(max(held) + 1 + number):
                    child = yield Spawn([b"true"], ENVIRON, wiring)
            except OSError:
                failed += 1
            else:
                yield Kill(child)
            assert descriptors() == before, f"with room for {number}"
        return failed

    failed = make().run(steps())
    for descriptor in held:
        os.close(descriptor)
    assert failed >= 4


def test_write_to_a_program_that_does_not_read(make):
    """A full pipe is waited for until the time is over; one that nobody reads any more is an OSError."""

    def steps(script):
        child = yield shell(script, (TO_CHILD, (0,)))
        yield Write(child.ends[0], b"x" * 5_000_000, SHORT if "sleep" in script else PATIENCE)

    assert NOT_BEFORE <= lateness(lambda: make().run(steps("exec sleep 60"))) < PATIENCE
    with pytest.raises(BrokenPipeError):
        make().run(steps("exec <&-; exit 0"))


def test_write_waits_for_a_slow_reader(make):
    """What does not fit into the pipe waits for the reader, and all of it arrives."""

    def steps():
        child = yield shell("sleep 0.1; wc -c", (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
        yield Write(child.ends[0], b"x" * 3_000_000, PATIENCE)
        yield Close(child.ends[0])
        return (yield Wait(child, PATIENCE, child.ends[1], 100)).output

    assert int(make().run(steps())) == 3_000_000


def test_wait_is_late(make):
    """A program that does not end in time is a TimedOut, which has what was said so far; the program runs on."""

    def steps():
        child = yield shell("echo said; exec sleep 60", (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        assert caught.value.output == b"said\n"
        os.kill(child.pid, 0)
        yield Kill(child)
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        assert child.ends == {}
        yield Kill(child)  # again, which is nothing

    make().run(steps())


def test_wait_keeps_only_so_much(make):
    """A program may talk as much as it likes; only the first bytes are kept."""

    def steps():
        child = yield shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 4", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 10)
        return ended.status, ended.output

    assert make().run(steps()) == (4, b"x" * 10)


def test_wait_for_a_program_with_offspring(make):
    """A grandchild that keeps the pipe open is not waited for, and what it says in time is heard."""

    def steps():
        child = yield shell("echo first; sleep 5 & exit 0", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, ended.output

    outcome, took = seconds(lambda: make().run(steps()))
    assert outcome == (0, b"first\n") and took < 4


def test_wait_for_a_program_that_closes_its_end(make):
    """A program that closes what is listened to, and runs on, is waited for without turning in circles."""

    def steps():
        child = yield shell("echo bye; exec >&-; sleep 0.3; exit 5", (FROM_CHILD, (1,)))
        began = time.process_time()
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        return ended.status, ended.output, time.process_time() - began

    status, output, burnt = make().run(steps())
    assert (status, output) == (5, b"bye\n") and burnt < 0.15


@pytest.mark.parametrize("missing", ["attribute", "error"])
def test_without_pidfd(make, monkeypatch, missing):
    """Where the kernel or Python has no pidfd, the same comes out."""

    def absent(pid):
        raise OSError(38, "Function not implemented")

    if missing == "attribute":
        monkeypatch.delattr(spawning.posix, "pidfd_open")
    else:
        monkeypatch.setattr(spawning.posix, "pidfd_open", absent)

    def steps():
        child = yield shell("echo out; sleep 0.1; exit 6", (FROM_CHILD, (1,)))
        ended = yield Wait(child, PATIENCE, child.ends[1], 100)
        other = yield shell("exit 1")
        last = yield Wait(other, None)
        late = yield shell("exec sleep 60")
        with pytest.raises(TimedOut):
            yield Wait(late, SHORT)
        return ended.status, ended.output, last.status

    assert make().run(steps()) == (6, b"out\n", 1)


def test_kill_takes_the_group(make):
    """Killing a program kills what it has started."""

    def steps():
        child = yield shell("sleep 60 & echo $!; wait", (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        yield Kill(child)
        return int(caught.value.output)

    grandchild = make().run(steps())
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{grandchild}/status"):
        with open(f"/proc/{grandchild}/status", encoding="utf-8") as status:
            if "State:\tZ" in status.read():
                break  # dead; its new parent has not looked yet
        assert time.monotonic() < deadline


def test_kill_a_program_that_has_left_its_group(make):
    """A program that went into a session of its own is killed all the same."""

    def steps():
        child = yield Spawn([b"setsid", b"sleep", b"60"], ENVIRON, ())
        yield Kill(child)

    _, took = seconds(lambda: make().run(steps()))
    assert took < 10


def test_a_child_out_of_reach(monkeypatch):
    """A program that may not be killed is not waited for, and nobody waits for ever."""
    real_kill, pids = os.kill, []

    def refuse(pid, number):
        raise PermissionError(1, "Operation not permitted")

    def steps():
        child = yield shell("exec sleep 60", (TO_CHILD, (0,)))
        pids.append(child.pid)
        yield Kill(child)
        assert child.ends == {}

    with monkeypatch.context() as patch:
        patch.setattr(spawning.posix, "kill", refuse)
        patch.setattr(spawning.posix, "killpg", refuse)
        StdioRunner().run(steps())
    real_kill(pids[0], 9)
    os.waitpid(pids[0], 0)


def test_pipes_are_out_of_the_way(make, monkeypatch):
    """The descriptors that a program gets do not write over each other, whatever numbers the pipes had."""
    monkeypatch.setattr(spawning, "FIRST_SAFE", 500)  # so that every one of them is moved

    def steps():
        child = yield shell(
            "cat <&5 >&6; cat <&6 2>/dev/null >&5", (TO_CHILD, (5,)), (FROM_CHILD, (6,)), (NULL, (0, 1, 2))
        )
        yield Write(child.ends[5], b"through", PATIENCE)
        yield Close(child.ends[5])
        return (yield Wait(child, PATIENCE, child.ends[6], 100)).output

    assert make().run(steps()) == b"through"


@pytest.mark.parametrize("end", ["return", "raise", "close"])
def test_no_child_outlives_run(make, end):
    """However a generator ends, what it has started is killed."""
    pids = []

    def steps():
        for _ in range(2):
            child = yield shell("exec sleep 60", (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
            pids.append(child.pid)
        if end == "raise":
            raise ValueError("trouble")
        if end == "close":
            yield Sync(1_000_000)

    if end == "return":
        make().run(steps())
    else:
        with pytest.raises(ValueError if end == "raise" else OSError, match=r"trouble|Bad"):
            make().run(steps())
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_signal_comes_at_the_yield(monkeypatch):
    """What a signal handler raises in an operation is raised at the yield, and the generator may go on a little."""

    def interrupted(seconds):
        raise TemporaryFailure("ended by signal 15")

    monkeypatch.setattr(stdio.time, "sleep", interrupted)
    said = []

    def steps():
        try:
            yield Sleep(5)
        except TemporaryFailure:
            said.append("goodbye")
            child = yield shell("exit 0")
            yield Wait(child, PATIENCE)
            raise

    with pytest.raises(TemporaryFailure):
        StdioRunner().run(steps())
    assert said == ["goodbye"]


# --- children of ours in place of programs


def leave(function):
    """End a forked child as the programs do."""
    exits.run("forked", lambda argv, environ: function())


def forking():
    """Give a runner that can fork."""
    return StdioRunner(leave=leave)


def instead(function, *wiring):
    """Give the operation that forks."""
    return Spawn([b"program"], ENVIRON, wiring or ((NULL, (0, 1, 2)),), function)


def test_a_forked_child_reads_and_writes():
    """The wiring of a forked child is that of a program, and so are its end and what it says."""

    def work():
        os.write(1, os.read(0, 100) + os.read(0, 100))
        os.write(2, b"from 2")
        return 7

    def steps():
        child = yield instead(work, (TO_CHILD, (0,)), (FROM_CHILD, (1, 2)))
        assert set(child.ends) == {0, 1}
        yield Write(child.ends[0], b"from us\n", PATIENCE)
        yield Close(child.ends[0])
        ended = yield Wait(child, PATIENCE, child.ends[1], 1000)
        assert child.ends == {}
        return ended.status, ended.output

    assert forking().run(steps()) == (7, b"from us\nfrom 2")


def look_around():
    """Say what this process has: descriptors, process group, signals; a line each."""
    words = []
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            kind = os.readlink(f"/proc/self/fd/{number}")
            words.append(f"{number}={'pipe' if kind.startswith('pipe:') else kind}")
        except OSError:
            continue
    with open("/proc/self/status", encoding="ascii") as status:
        words += [line.strip().replace("\t", "") for line in status if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    words.append(str(os.getpgrp() == os.getpid()))
    return "\n".join(words)


def test_a_forked_child_gets_nothing_else(tmp_path):
    """Its descriptors are those of its wiring, also where ours are inheritable; it has its own process group.

    No signal is blocked, and none has a handler of ours: only what Python's start-up ignores is ignored.
    """
    (tmp_path / "file").touch()
    kept = os.open(tmp_path / "file", os.O_RDONLY)
    os.set_inheritable(kept, True)  # noqa: FBT003  it takes no keyword
    high = fcntl.fcntl(kept, fcntl.F_DUPFD, 300)
    given = os.open(tmp_path / "file", os.O_RDONLY)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGUSR1, signal.SIGWINCH)}
    masks = {signal.SIGUSR2}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, masks)

    def work():
        os.write(8, look_around().encode())
        return 0

    def steps():
        child = yield instead(work, (NULL, (0, 1)), (LOG, (2,)), (given, (5,)), (FROM_CHILD, (8,)))
        ended = yield Wait(child, PATIENCE, child.ends[8], 10000)
        return ended.output.decode().splitlines()

    try:
        words = forking().run(steps())
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | masks
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for descriptor in (kept, high, given):
            os.close(descriptor)
    log = os.readlink("/proc/self/fd/2")
    log = "pipe" if log.startswith("pipe:") else log
    assert words[:5] == ["0=/dev/null", "1=/dev/null", f"2={log}", f"5={tmp_path / 'file'}", "8=pipe"]
    blocked, ignored, caught = (int(word.partition(":")[2], 16) for word in words[5:8])
    assert words[8:] == ["True"]
    assert blocked == 1 << (signal.SIGUSR2 - 1)  # as posix_spawn: a mask is handed on
    assert ignored & (1 << (signal.SIGPIPE - 1))
    assert not caught & (1 << (signal.SIGUSR1 - 1) | 1 << (signal.SIGWINCH - 1))


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (0, 0, b""),
        (255, 255, b""),
        (Rejected("no"), 1, b""),
        (Misuse("odd"), 2, b"forked: odd\n"),
        (TemporaryFailure("down"), 111, b"forked: down\n"),
        (ValueError("secret"), 111, b"forked: unexpected trouble: ValueError at "),
        (SystemExit(0), 111, b"forked: unexpected trouble: SystemExit at "),
        (KeyboardInterrupt(), 111, b"forked: unexpected trouble: KeyboardInterrupt at "),
    ],
)
def test_how_a_forked_child_ends(outcome, status, said):
    """Each exception has its status and at most one line, without a value; nothing of the parent's goes on."""

    def work():
        if isinstance(outcome, int):
            return outcome
        raise outcome

    def steps():
        child = yield instead(work, (NULL, (0, 1)), (FROM_CHILD, (2,)))
        try:
            return (yield Wait(child, PATIENCE, child.ends[2], 1000))
        finally:
            os.write(1, b"")  # in a child that went on, this would be a second time

    ended = forking().run(steps())
    assert ended.status == status
    assert ended.output.startswith(said) and ended.output.count(b"\n") == bool(said)
    assert b"secret" not in ended.output


def test_a_forked_child_never_is_us():
    """Even where what is to end it returns or raises, it does not go on in our place."""

    def steps():
        child = yield instead(lambda: 0)
        return (yield Wait(child, PATIENCE)).status

    def trouble(function):
        raise ValueError

    us = os.getpid()
    for end in (lambda function: None, trouble):
        status = StdioRunner(leave=end).run(steps())
        assert os.getpid() == us
        assert status == -signal.SIGKILL


def test_a_forked_child_is_killed():
    """Past its time it is killed like a program, with its output so far."""

    def work():
        os.write(1, b"so far")
        time.sleep(60)
        return 0

    def steps():
        child = yield instead(work, (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut) as caught:
            yield Wait(child, SHORT, child.ends[1], 100)
        assert caught.value.output == b"so far"
        yield Kill(child)
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        other = yield instead(work)
        return other.pid  # still running

    pid = forking().run(steps())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGINT])
def test_a_forked_child_and_signals(number):
    """A signal to it ends it as it would a program of ours, and does not reach us."""

    def work():
        os.write(1, b"ready")
        time.sleep(60)
        return 0

    def steps():
        child = yield instead(work, (FROM_CHILD, (1,)))
        with pytest.raises(TimedOut):
            yield Wait(child, SHORT, child.ends[1], 100)
        os.kill(child.pid, number)
        return (yield Wait(child, PATIENCE)).status

    assert forking().run(steps()) == -number


def test_nothing_to_fork_with(monkeypatch):
    """Where there can be no child, that is an OSError at the yield, and no pipe is left."""
    operation = instead(lambda: 0, (TO_CHILD, (0,)), (FROM_CHILD, (1,)))
    with pytest.raises(OSError, match="forked"):
        one(operation, StdioRunner())

    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr("posix.fork", fork)
    with pytest.raises(OSError, match="unavailable"):
        one(operation, forking())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_without_proc(monkeypatch):
    """Where there is no /proc to list, the descriptors below the usual limit are closed all the same."""
    listdir = os.listdir

    def absent(path):
        raise FileNotFoundError

    def work():
        monkeypatch.setattr("posix.listdir", listdir)
        os.write(8, " ".join(name for name in listdir("/proc/self/fd")).encode())
        return 0

    def steps():
        child = yield instead(work, (NULL, (0, 1, 2)), (FROM_CHILD, (8,)))
        return (yield Wait(child, PATIENCE, child.ends[8], 1000)).output

    monkeypatch.setattr("posix.listdir", absent)
    # 3 is that of the listing.
    assert sorted(forking().run(steps()).split()) == [b"0", b"1", b"2", b"3", b"8"]


# --- time and disk


def test_sleep(make):
    """Time passes, and no time is no trouble."""
    _, took = seconds(lambda: one(Sleep(SHORT), make()))
    assert NOT_BEFORE <= took < PATIENCE
    one(Sleep(0.0), make())


def test_sync(make, tmp_path):
    """A file is synced, a pipe cannot be, and that is an OSError at the yield."""
    with (tmp_path / "file").open("wb") as file:
        one(Sync(file.fileno()), make())
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        one(Sync(writing), make())
    os.close(reading)
    os.close(writing)


def test_long_times():
    """A time limit that poll cannot take in one is none the less one."""
    deadline = stdio.Deadline(10.0**9)
    assert deadline.milliseconds() == stdio.MAX_POLL
    assert stdio.Deadline(None).milliseconds() is None
    with pytest.raises(TimedOut):
        stdio.Deadline(0.0).milliseconds()


def test_pipes_are_wide(make):
    """The pipe to a program holds more than the usual 64 KiB, if the system lets us."""

    def steps():
        child = yield shell("cat", (TO_CHILD, (0,)), (NULL, (1,)))
        size = fcntl.fcntl(child.ends[0], fcntl.F_GETPIPE_SZ)
        yield Kill(child)
        return size

    assert make().run(steps()) == spawning.PIPE_BYTES


def test_a_pipe_that_cannot_be_widened(make):
    """Where the system does not let us, the program starts all the same."""

    def steps():
        child = yield shell("cat >/dev/null; exit 2", (TO_CHILD, (0,)))
        yield Close(child.ends[0])
        return (yield Wait(child, PATIENCE)).status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "F_SETPIPE_SZ", 999_999)  # as if the system did not know it
        assert make().run(steps()) == 2


# --- lines, for who leaves the client to somebody else


def _receive(runner, timeout=PATIENCE):
    """Give what one operation gives."""

    def steps():
        return (yield Receive(timeout))

    return runner.run(steps())


def test_nothing_behind_a_line_is_read():
    """A line comes with its end, and what follows stays where another program can read it."""
    reading, writing = os.pipe()
    try:
        runner = StdioRunner(reading, reading, reads_lines=True)
        os.write(writing, b"one\r\n\ntwo\nrest")
        assert [_receive(runner) for _ in range(3)] == [b"one\r\n", b"\n", b"two\n"]
        assert os.read(reading, 100) == b"rest"
        os.write(writing, b"x" * 10_000 + b"\n.")
        pieces = [_receive(runner) for _ in range(3)]
        assert b"".join(pieces) == b"x" * 10_000 + b"\n"
        assert os.read(reading, 100) == b"."
        os.write(writing, b"half")
        with pytest.raises(TimedOut):
            _receive(runner, SHORT)
        os.write(writing, b"last")
    finally:
        os.close(writing)
    assert [_receive(runner), _receive(runner)] == [b"last", b""]
    os.close(reading)


def test_a_line_has_to_come_in_time():
    """The time is that of the line: a client that sends a byte now and then does not stay."""
    reading, writing = os.pipe()
    done = threading.Event()

    def drip():
        while not done.wait(SHORT / 4):
            os.write(writing, b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(TimedOut):
        _receive(StdioRunner(reading, reading, reads_lines=True), SHORT)
    done.set()
    thread.join()
    os.close(writing)
    os.close(reading)
