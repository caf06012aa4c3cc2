"""The data limit of a service: who sends more than fits gets 451 or loses the session, and nobody else notices."""

import contextlib
import pathlib
import re
import select
import socket
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent)]

import installed

pytestmark = pytest.mark.usefixtures("root")

LIMIT = 40_000_000  # bytes; a session begins with some 18 million
FLOOD = 400_000_000  # bytes that a client tries to send
UNLIMITED = ["OFMIPD_HEADER_BYTES=0", "DATABYTES=0", "OFMIPD_RECIPIENTS=1000000000"]
"""Settings that leave nothing but the data limit in the way."""

ADDRESSES = b"".join(b"a%d@example.net, " % number for number in range(3000))
ENVELOPE = b"MAIL FROM:<joe@example.org>\r\nRCPT TO:<ann@example.net>\r\nDATA\r\n"
FLOODS = {
    "one long field": (ENVELOPE + b"X-Long: ", b"x" * 65536),
    "many fields": (ENVELOPE, b"X-Field: " + b"x" * 500 + b"\r\n"),
    "addresses": (ENVELOPE + b"To: ", ADDRESSES + b"\r\n "),
    "recipients": (b"MAIL FROM:<joe@example.org>\r\n", b"RCPT TO:<" + b"x" * 800 + b"@example.net>\r\n"),
}
"""What a client says after it has logged in, and what it then repeats."""


@pytest.fixture(scope="module")
def served(peer, everybodys, loopback):
    """ofmipd, started by the script for daemontools with a small limit: (port, server, place)."""
    peer("softlimit", "daemontools")
    peer("tcpserver", "ucspi-tcp")
    with loopback.directory() as place, loopback.port() as port:
        installed.make_place(place)
        words = [*installed.options(place, f"127.0.0.1:{port}"), "--data-limit", LIMIT, "--program", "ofmipd"]
        words += [word for variable in UNLIMITED for word in ("--env", variable)]
        installed.write(everybodys, place, "daemontools", *words)
        with loopback.server([place / "ofmipd" / "run"], [port], place, {}) as server:
            yield port, server, place


def _peak(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmPeak:\s+(\d+) kB", text)
        return int(found[1]) * 1024 if found else 0
    return 0


def _flood(client, first, block, measure):
    """Send until nobody listens any more; give how much, the greatest measure meanwhile, and what was answered."""
    client.settimeout(0)
    sent, peak, told, waiting = 0, 0, b"", first
    with contextlib.suppress(ConnectionError):
        while sent < FLOOD and b"451" not in told:
            peak = max(peak, measure())
            readable, writable, _ = select.select([client], [client], [], 30)
            assert readable or writable
            if readable:
                piece = client.recv(1 << 20)
                if not piece:
                    break
                told += piece
            if writable:
                waiting = waiting or block * (1 + 65536 // len(block))
                done = client.send(waiting)
                sent, waiting = sent + done, waiting[done:]
    return sent, peak, told


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_own_session(served, name, eventually):
    """The session ends with 451 or at once, its memory never passes the limit, and the next client is served."""
    port, server, place = served
    before = len(installed.messages(place))
    first, block = FLOODS[name]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as replies:
        client.sendall(b"AUTH PLAIN " + installed.RIGHT.encode() + b"\r\n")
        while not (line := replies.readline()).startswith(b"235"):
            assert line.startswith(b"220"), line
        (session,) = [pid for pid in installed.descendants(server.pid) if pid != server.pid]
        sent, peak, told = _flood(client, first, block, lambda: _peak(session))
        assert sent < FLOOD
        assert b"\n250 2.0.0" not in told
        assert 0 < peak <= LIMIT
    eventually(lambda: not installed.is_alive(session), "the session ends")
    assert len(installed.messages(place)) == before
    installed.submit(port)
    assert len(installed.messages(place)) == before + 1


def test_a_message_of_any_size_fits(served):
    """What needs no memory is not refused: a body of many times the limit arrives whole."""
    port, _, place = served
    before = {path.name for path in (place / "Maildir" / "new").iterdir()}
    line = b"0123456789abcdef" * 60 + b"\r\n"
    count = 3 * LIMIT // len(line)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as replies:
        client.sendall(b"AUTH PLAIN " + installed.RIGHT.encode() + b"\r\n" + ENVELOPE)
        while not replies.readline().startswith(b"354"):
            pass
        client.sendall(b"Subject: large\r\n\r\n")
        for _ in range(count // 100):
            client.sendall(line * 100)
        client.sendall(b".\r\nQUIT\r\n")
        assert replies.readline().startswith(b"250 ")
    (path,) = [path for path in (place / "Maildir" / "new").iterdir() if path.name not in before]
    assert path.stat().st_size > count // 100 * 100 * (len(line) - 1) > 2.9 * LIMIT
