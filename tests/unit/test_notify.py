"""What is said to systemd, and the sockets that it hands over; a small systemd of our own listens."""

import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw import notify
from checkpw.errors import Misuse

# --- messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """Give a socket that hears what is said, and the environment that names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        if request.param == "path":
            address = os.fsencode(tmp_path / "notify")
            listener.bind(address)
        else:
            listener.bind("")
            address = b"@" + listener.getsockname()[1:]
        listener.settimeout(0)
        yield listener, {b"NOTIFY_SOCKET": address, b"A": b"b"}


def _heard(listener):
    return listener.recv(4096).decode().split("\n")


def test_messages(systemd):
    """Each state is said in sd_notify's words, in one datagram, and the variable is gone."""
    listener, environ = systemd
    notifier = notify.Notifier(environ, 1)
    assert environ == {b"A": b"b"}
    assert notifier.watchdog_interval is None
    assert notifier.ready("serving")
    assert _heard(listener) == ["READY=1", "STATUS=serving"]
    assert notifier.reloading(123456)
    assert _heard(listener) == ["RELOADING=1", "MONOTONIC_USEC=123456"]
    assert notifier.stopping("draining")
    assert _heard(listener) == ["STOPPING=1", "STATUS=draining"]
    assert notifier.status("3 sessions")
    assert _heard(listener) == ["STATUS=3 sessions"]
    assert notifier.watchdog()
    assert _heard(listener) == ["WATCHDOG=1"]


@given(st.text(max_size=30))
def test_no_status_is_another_assignment(text):
    """Whatever stands in a status, it stays one line of a datagram."""
    assert b"\n" not in notify._status(text + "\nMAINPID=1")


def test_nobody_listens(tmp_path):
    """Without systemd, with one that is gone, or by a way that is not known here, nothing is said and nothing fails."""
    for address in (
        None,
        b"",
        b"vsock:2:1234",
        b"relative",
        os.fsencode(tmp_path / "none"),
        b"@nobody-there",
        b"/" * 200,
    ):
        environ = {} if address is None else {b"NOTIFY_SOCKET": address}
        assert notify.Notifier(environ, 1).ready("serving") is False
        assert environ == {}


def test_systemd_that_does_not_read(tmp_path, monkeypatch):
    """A socket that is full is given up after a while."""
    monkeypatch.setattr(notify, "_PATIENCE", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")
        notifier = notify.Notifier({b"NOTIFY_SOCKET": b"@" + listener.getsockname()[1:]}, 1)
        said = 0
        while notifier.watchdog():
            said += 1
        assert said > 0


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({b"WATCHDOG_USEC": b"30000000"}, 15.0),
        ({b"WATCHDOG_USEC": b"30000000", b"WATCHDOG_PID": b"77"}, 15.0),
        ({b"WATCHDOG_USEC": b"30000000", b"WATCHDOG_PID": b"78"}, None),
        ({b"WATCHDOG_USEC": b"0"}, None),
        ({b"WATCHDOG_PID": b"77"}, None),
    ],
)
def test_watchdog(environ, interval):
    """Half of the time that systemd allows, if it asks this process."""
    assert notify.Notifier(environ, 77).watchdog_interval == interval
    assert environ == {}


@given(st.binary(min_size=1, max_size=24))
def test_numbers_that_are_none(text):
    """Any bytes are a number or a misuse."""
    if text.isdigit() and len(text) <= 18:
        assert (notify.Notifier({b"WATCHDOG_USEC": text}, 77).watchdog_interval or 0) == int(text) / 2_000_000
    else:
        with pytest.raises(Misuse, match="WATCHDOG_USEC"):
            notify.Notifier({b"WATCHDOG_USEC": text}, 77)


# --- sockets

# Becomes a service that systemd starts: what it was given stands from descriptor 3 on.
SERVICE = """
import fcntl, os, sys
sys.path.insert(0, sys.argv[1])
given = [int(word) for word in sys.argv[2].split(",") if word]
names = sys.argv[3].encode() if len(sys.argv) > 3 else None
from checkpw import notify
from checkpw.errors import Misuse
import socket
held = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in given]
os.closerange(3, 100)
for number, descriptor in enumerate(held, 3):
    os.dup2(descriptor, number)
os.closerange(100, 200)
environ = {b"LISTEN_PID": b"%d" % os.getpid(), b"LISTEN_FDS": b"%d" % len(given), b"LISTEN_PIDFDID": b"7"}
if names is not None:
    environ[b"LISTEN_FDNAMES"] = names
try:
    taken = notify.take_activated(environ, os.getpid())
except Misuse as error:
    print("misuse", error)
else:
    for name, sock in taken:
        number = sock.fileno()
        print(name.decode(), number >= 10, os.get_inheritable(number), sock.family.name, sock.getsockname())
print(environ, sorted(int(name) for name in os.listdir("/proc/self/fd") if 3 <= int(name) < 10 and
    os.path.exists("/proc/self/fd/" + name)))
"""


def _serve(sockets, *names):
    root = os.path.dirname(os.path.dirname(notify.__file__))
    numbers = [each if isinstance(each, int) else each.fileno() for each in sockets]
    argv = [sys.executable, "-c", SERVICE, root, ",".join(map(str, numbers)), *names]
    ran = subprocess.run(argv, pass_fds=set(numbers), capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout.splitlines()


@pytest.fixture
def listeners(tmp_path):
    """Give an IPv4 listener and one on a unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as ip, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        yield ip, unix


@pytest.mark.parametrize("count", [1, 7, 12])
def test_sockets_are_taken_over(listeners, count):
    """However many there are, they are in order, above 9, for this process only; 3 is free and no variable is left."""
    ip, unix = listeners
    *lines, last = _serve([ip, unix] * count, ":".join(["submissions", "local"] * count))
    for at in range(0, 2 * count, 2):
        assert lines[at] == f"submissions True False AF_INET {ip.getsockname()}"
        assert lines[at + 1] == f"local True False AF_UNIX {unix.getsockname()}"
    assert last == "{} []"


@pytest.mark.parametrize("names", [[], ["one"], ["a:b:c"]])
def test_names_that_do_not_fit(listeners, names):
    """Without names, or with too many or too few, the sockets have none."""
    lines = _serve(listeners, *names)
    assert [line.split(" ")[0] for line in lines[:2]] == ["", ""]


def test_what_does_not_listen(listeners, tmp_path):
    """Connections, datagram sockets, files and closed descriptors are refused by their number."""
    ip, _ = listeners
    with (
        socket.create_connection(ip.getsockname()) as connection,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        open(tmp_path / "file", "wb") as file,
        socket.socket() as fresh,
    ):
        for wrong in (connection, datagrams, file, fresh):
            said, _ = _serve([ip, wrong])
            assert said.startswith("misuse LISTEN_FDS=2: descriptor 4: ")
            assert ("Accept=no" in said) == (wrong is not file)


def test_closed_descriptors():
    """Descriptors that are not there are refused."""
    root = os.path.dirname(os.path.dirname(notify.__file__))
    text = "import os, sys; sys.path.insert(0, sys.argv[1]); from checkpw import notify; os.closerange(3, 50); "
    text += "notify.take_activated({b'LISTEN_PID': b'%d' % os.getpid(), b'LISTEN_FDS': b'1'}, os.getpid())"
    ran = subprocess.run([sys.executable, "-c", text, root], capture_output=True, text=True, timeout=60, check=False)
    assert "Misuse: LISTEN_FDS=1: descriptor 3: Bad file descriptor" in ran.stderr


def test_sockets_for_somebody_else():
    """What is for another process, or for nobody, is left alone; the variables go in any case."""
    for environ in (
        {},
        {b"LISTEN_FDS": b"1"},
        {b"LISTEN_PID": b"76", b"LISTEN_FDS": b"1", b"LISTEN_FDNAMES": b"x"},
        {b"LISTEN_PID": b"77"},
        {b"LISTEN_PID": b"77", b"LISTEN_FDS": b"0"},
    ):
        assert notify.take_activated(environ, 77) == []
        assert environ == {}


@pytest.mark.parametrize(
    ("count", "said"),
    [(b"1001", "too many"), (b"-1", "no number"), (b"x", "no number"), (b"9" * 30, "no number"), (b"1 ", "no number")],
)
def test_counts_that_are_none(count, said):
    """A count that is no number, or absurd, is a misuse."""
    with pytest.raises(Misuse, match=f"LISTEN_FDS=.* is {said}"):
        notify.take_activated({b"LISTEN_PID": b"77", b"LISTEN_FDS": count}, 77)
