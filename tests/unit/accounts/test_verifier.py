"""The store that asks a verifier: every answer that is none, and everybody who may not be asked."""

import contextlib
import os
import socket
import threading
import time

import pytest

from checkpw import frames
from checkpw.accounts.verifier import MAX_ANSWER, Verifier
from checkpw.credentials import Credentials
from checkpw.errors import Misuse, Rejected, TemporaryFailure
from checkpw.secret import Secret

YES = [b"0", b"joe", b"1000", b"1001", b"/home/joe", b"/bin/sh", b""]
QUESTION = [b"joe\0secret\0t", b"192.0.2.7", b"checkpassword"]


class Player:
    """Plays a verifier: takes one connection, reads a question, says some bytes and closes; None holds its tongue."""

    def __init__(self, path, pieces):
        self.heard = []
        self._pieces = pieces
        self._line = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):  # the test is over
            self._line, _ = self._listener.accept()
            reader = frames.FrameReader()
            while not self.heard and (data := self._line.recv(65536)):
                self.heard += reader.feed(data)
            for piece in self._pieces:
                if piece is None:
                    return
                self._line.sendall(piece)
            self._line.close()

    def end(self):
        """Stop, wherever it is."""
        for line in (self._listener, self._line):
            if line is not None:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                line.close()
        self._thread.join(30)


@pytest.fixture
def verifier(tmp_path):
    """Give the path of a socket, and a function that has a verifier played there and gives what that will hear."""
    players = []

    def listen(*pieces):
        players.append(Player(str(tmp_path / "socket"), pieces))
        return players[-1].heard

    yield os.fsencode(tmp_path / "socket"), listen
    for player in players:
        player.end()


def ask(path, *, timestamp=b"t", timeout=30.0, **settings):
    """Ask as checkpassword does."""
    store = Verifier(path, b"192.0.2.7", timeout=timeout, **settings)
    return store.authenticate(Credentials(b"joe", Secret(b"secret"), timestamp))


def test_a_question_and_a_yes(verifier):
    """The record, the client's address and our name are asked, and the account is that of the answer."""
    path, listen = verifier
    heard = listen(frames.encode(YES))
    account = ask(path)
    assert heard == [QUESTION]
    assert (account.login, account.uid, account.gid) == (b"joe", 1000, 1001)
    assert (account.home, account.shell) == (b"/home/joe", b"/bin/sh")


def test_an_answer_in_pieces(verifier):
    """An answer is whole when its frame is, however it comes."""
    path, listen = verifier
    listen(*(bytes([byte]) for byte in frames.encode(YES)))
    assert ask(path).login == b"joe"


def test_a_record_of_512_bytes_without_its_last_nul(verifier):
    """What came on descriptor 3 is asked, and not one byte more."""
    path, listen = verifier
    heard = listen(frames.encode(YES))
    ask(path, timestamp=b"t" * 501)
    assert len(heard[0][0]) == 512
    with pytest.raises(Rejected):
        ask(path, timestamp=b"t" * 502)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (b"1", Rejected),
        (b"2", Misuse),
        (b"111", TemporaryFailure),
        (b"3", TemporaryFailure),
        (b"", TemporaryFailure),
        (b"00", TemporaryFailure),
        (b"\x01", TemporaryFailure),
    ],
)
def test_statuses(verifier, status, error):
    """0, 1 and 2 mean what they mean as exit statuses; everything else is trouble."""
    path, listen = verifier
    listen(frames.encode([status, *YES[1:]]))
    with pytest.raises(error) as caught:
        ask(path)
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {1: b""},
        {1: b"j\0e"},
        {2: b""},
        {3: b""},
        {2: b"-1"},
        {2: b"4294967295"},
        {3: b"9" * 5000},
        {3: b"\xb2"},
        {4: b"/home\0"},
        {6: b"\xff"},
    ],
)
def test_accounts_that_make_no_sense(verifier, change):
    """A yes for half an identity, a number that is none, a NUL: nobody can tell."""
    path, listen = verifier
    listen(frames.encode([change.get(at, field) for at, field in enumerate(YES)]))
    with pytest.raises(TemporaryFailure, match="makes no sense"):
        ask(path)


WHOLE = frames.encode(YES)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b""],
        [WHOLE[:-1]],
        [WHOLE[:3]],
        [WHOLE + b"\0"],
        [WHOLE * 2],
        [frames.encode(YES[:6])],
        [frames.encode([*YES, b""])],
        [frames.encode([])],
        [b"\xff" * 100],
        [b"220 mail.example ESMTP\r\n"],
        [(MAX_ANSWER + 1).to_bytes(4)],
        [b"\0\0\0\x04\xff\xff\xff\xff"],
    ],
)
def test_answers_that_are_none(verifier, pieces):
    """Cut off, too much, or garbage: trouble, and neither a yes nor a no."""
    path, listen = verifier
    listen(*pieces)
    with pytest.raises(TemporaryFailure, match="verifier"):
        ask(path)


@pytest.mark.parametrize("pieces", [[None], [WHOLE[:5], None]])
def test_silence(verifier, pieces):
    """Whoever does not answer in time is not waited for."""
    path, listen = verifier
    listen(*pieces)
    with pytest.raises(TemporaryFailure, match=r"no answer in 0\.2 seconds"):
        ask(path, timeout=0.2)


def test_a_queue_that_is_full(tmp_path):
    """Where no further connection has room, we wait, but not for ever."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = []
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].settimeout(0)
                waiting[-1].connect(path)
        except BlockingIOError:
            pass
        with pytest.raises(TemporaryFailure, match="no answer in"):
            ask(path.encode(), timeout=0.1)
        room = threading.Timer(0.05, lambda: [listener.accept()[0].close() for _ in range(len(waiting))])
        room.start()
        began = time.monotonic()
        with pytest.raises(TemporaryFailure, match=r"closed the connection|reset|Broken pipe"):
            ask(path.encode(), timeout=20.0)
        assert time.monotonic() - began < 10
        room.join()
        for line in waiting:
            line.close()


@pytest.mark.parametrize("path", [b"/nonexistent/socket", b"/", b"/dev/null", b"/" + b"x" * 300])
def test_nobody_there(path):
    """No socket, and what is none, is trouble that says where."""
    with pytest.raises(TemporaryFailure, match=r"^verifier b'/"):
        ask(path)


# --- who listens

STRANGER = 54321


@pytest.fixture
def stranger(tmp_path, root):
    """Give the path of a socket on which a stranger listens, and the end of a pipe that tells what it has heard."""
    reading, writing = os.pipe()
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    path = str(open_to_all / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            listener.listen()
            os.write(writing, b"ready\n")
            line, _ = listener.accept()
            if data := line.recv(65536):
                os.write(writing, data)
                line.sendall(WHOLE)
        finally:
            os._exit(0)
    os.close(writing)
    listener.close()
    with open(reading, "rb", buffering=0) as heard:
        assert heard.read(6) == b"ready\n"
        yield path.encode(), heard
    os.waitpid(pid, 0)


def test_a_stranger_hears_no_password(stranger):
    """Who listens where others may make sockets is not told anything."""
    path, heard = stranger
    with pytest.raises(TemporaryFailure, match=f"uid {STRANGER} listens there"):
        ask(path, trusted_uid=STRANGER + 1)
    assert heard.read(100) == b""


def test_a_user_who_is_named_is_believed_but_for_the_uid(stranger):
    """With CHECKPW_VERIFIER_UID a verdict counts; root does not become whom an unprivileged verifier names."""
    path, heard = stranger
    account = ask(path, trusted_uid=STRANGER)
    assert heard.read(4096).endswith(b"checkpassword")
    assert (account.uid, account.gid) == (1000, 1001)
    assert f"uid {STRANGER}" in account.doubt


def test_doubts_are_handed_on(verifier):
    """Why root may not take a uid that the verifier read is said as where it was read."""
    path, listen = verifier
    listen(frames.encode([*YES[:6], b"the file is not root's"]))
    assert ask(path).doubt == "the file is not root's"


def test_a_virtual_user(verifier):
    """An account without identity has none, and nothing to doubt."""
    path, listen = verifier
    listen(frames.encode([b"0", b"joe", b"", b"", b"", b"", b""]))
    account = ask(path)
    assert (account.uid, account.gid, account.home, account.doubt) == (None, None, b"/", "")
