"""checkpw-verifierd as a process: what it answers to whom, what it takes from strangers, and how it ends."""

import concurrent.futures
import contextlib
import os
import pathlib
import pwd
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from checkpw import frames

NO, MISUSE, TROUBLE = 1, 2, 111

# {SHA512-CRYPT} of "secret", by `openssl passwd -6 -salt checkpwtest secret`.
HASH = "$6$checkpwtest$mrcVQX/tLax.XqV/BTMNLkKWFLdhfstqscNrTBdBUNEllu/8jDEEj91o9CFEsywfaemRTlFPTFqBFgWdIz.BF1"

ACCOUNTS = (
    "joe:{PLAIN}secret:54321:54321::/:/bin/dash:\n"
    f"six:{HASH}::::::\n"
    "ann:{PLAIN}secret::::::\n"
    "bound:{PLAIN}secret::::::allow_nets=192.0.2.0/24\n"
    "odd:{NO-SUCH-SCHEME}hash::::::\n"
    "locked:!{PLAIN}secret::::::\n"
)


class Daemon:
    """A running checkpw-verifierd, and where it listens."""

    def __init__(self, process, path, log):
        self.process = process
        self.path = path
        self._log = log

    @property
    def url(self):
        """Give the store that it is for others."""
        return f"verifier:{self.path}"

    def log(self, words="", times=1):
        """Give what it has logged, as soon as it has said these words so often: an answer may come before its line."""
        deadline = time.monotonic() + 30
        while (text := os.pread(self._log, 1 << 24, 0).decode("ascii")).count(words) < times:
            assert time.monotonic() < deadline, text
            time.sleep(0.005)
        return text

    def connect(self):
        """Give a connection to it."""
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(30)
        line.connect(str(self.path))
        return line

    def ask(self, record, ip=b"", service=b"test"):
        """Ask one question on a connection of its own, and give the fields of the answer."""
        with self.connect() as line:
            line.sendall(frames.encode([record, ip, service]))
            return read_answer(line)

    def end(self, number=signal.SIGTERM):
        """End it, and give its status."""
        self.process.send_signal(number)
        return self.process.wait(30)


def read_answer(line, reader=None):
    """Read one answer; None if the other end closes."""
    reader = reader or frames.FrameReader()
    while True:
        try:
            data = line.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        if answers := reader.feed(data):
            return answers[0]


def has_started(log):
    return b"event=start" in os.pread(log, 1 << 24, 0)


@pytest.fixture
def daemon(programs, start, public, accounts, resources, tools):
    """Give a function that starts a verifier for an account file, or for `--accounts`, and waits until it serves."""

    def begin(*options, store=ACCOUNTS, environ=None, path=None, **state):
        path = path or public / "verifier"
        if "--accounts" not in options:
            options = ["--accounts", accounts(store), *options]
        log = os.memfd_create("log")
        resources.callback(os.close, log)
        argv = [programs / "checkpw-verifierd", "--socket", path, "--mode", "0666", *options]
        process = start(argv, {"PATH": "/usr/bin:/bin", **(environ or {})}, stderr=log, **state)
        tools.wait_until(lambda: has_started(log) or process.poll() is not None, "it serves")
        return Daemon(process, path, log)

    return begin


# --- asked by checkpassword


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (b"joe\0secret\0\0", 0),
        (b"joe\0secret\0", 0),
        (b"joe\0secret\0" + b"t" * 501, 0),
        (b"joe\0secret\0" + b"t" * 502, NO),
        (b"joe\0wrong\0\0", NO),
        (b"joe\0\0secret\0", NO),
        (b"nobody-here\0secret\0\0", NO),
        (b"locked\0secret\0\0", NO),
        (b"six\0secret\0\0", 0),
        (b"six\0wrong\0\0", NO),
        (b"bound\0secret\0\0", NO),
        (b"odd\0secret\0\0", TROUBLE),
        (b"joe", MISUSE),
    ],
)
def test_a_stranger_asks(daemon, checkpassword, everybodys, tools, public, record, status):
    """Somebody who may not read the accounts gets the verdicts of somebody who may."""
    verifier = daemon()
    (public / "accounts").chmod(0o600)
    done = checkpassword("true", store=verifier.url, record=record, directory=everybodys, user=tools.stranger)
    assert (done.status, done.out) == (status, b"")
    assert done.said.count(b"\n") == (0 if status in (0, NO) else 1)
    assert b"secret" not in done.said


def test_the_clients_address_is_handed_on(daemon, checkpassword):
    """An account that is bound to networks is good from there; the address stands first in the log."""
    verifier = daemon()
    for ip, status in (("192.0.2.7", 0), ("198.51.100.7", NO)):
        done = checkpassword("true", store=verifier.url, record=b"bound\0secret\0\0", environ={"TCPREMOTEIP": ip})
        assert done.status == status
    assert re.search(
        r"^checkpw-verifierd: client=192\.0\.2\.7 uid=\d+ pid=\d+ event=verify .*accepted",
        verifier.log("event=verify", 2),
        re.MULTILINE,
    )


def test_the_environment_of_the_verifier_is_no_clients(daemon):
    """An address in the verifier's own environment is nobody's."""
    verifier = daemon(environ={"TCPREMOTEIP": "192.0.2.7"})
    assert verifier.ask(b"bound\0secret\0\0")[0] == b"1"
    assert verifier.ask(b"bound\0secret\0\0", b"192.0.2.9")[0] == b"0"


def test_the_chain_runs_as_the_verifier_says(daemon, checkpassword, root):
    """Who an account is, where it lives and what its shell is comes from the verifier."""
    verifier = daemon()
    done = checkpassword("sh", "-c", "id -u; id -G; pwd; echo $USER $SHELL", store=verifier.url)
    assert (done.status, done.out) == (0, b"54321\n54321\n/\njoe /bin/dash\n")


def test_doubts_come_from_the_verifier(daemon, checkpassword, root, public):
    """A uid out of a file that others may write to is none that root takes, but the verdict stands."""
    verifier = daemon()
    (public / "accounts").chmod(0o666)
    assert checkpassword("true", store=verifier.url).status == 0
    done = checkpassword("sh", "-c", "echo ran", store=verifier.url)
    assert (done.status, done.out) == (TROUBLE, b"")
    assert b"others may write" in done.said


def test_the_lowest_uid_is_the_verifiers(daemon, checkpassword, root):
    """CHECKPW_MIN_UID counts where the file is read."""
    verifier = daemon(environ={"CHECKPW_MIN_UID": "60000"})
    assert checkpassword("sh", "-c", "echo ran", store=verifier.url).status == TROUBLE


def test_an_unprivileged_verifier(daemon, checkpassword, everybodys, tools, root, public):
    """With --user it can read what the user can; others ask it only if they are told whom to trust."""
    (public / "accounts").write_text(ACCOUNTS, encoding="ascii")
    verifier = daemon("--user", "nobody", "--accounts", f"file:{public}/accounts")
    state = tools.look_at(verifier.process.pid).status
    nobody = subprocess.run(["id", "-u", "nobody"], capture_output=True, check=True).stdout.decode().strip()
    assert set(state["Uid"]) == {nobody}
    assert "0" not in state["Groups"]
    asking = {"store": verifier.url, "directory": everybodys, "user": tools.stranger}
    done = checkpassword("true", **asking)
    assert (done.status, b"listens there" in done.said) == (TROUBLE, True)
    assert "event=verify" not in verifier.log()
    for name in ("nobody", nobody):
        done = checkpassword("true", environ={"CHECKPW_VERIFIER_UID": name}, **asking)
        assert done.status == 0
    # Its verdict counts, but root takes no uid from it.
    done = checkpassword("sh", "-c", "echo ran", store=verifier.url, environ={"CHECKPW_VERIFIER_UID": "nobody"})
    assert (done.status, done.out) == (TROUBLE, b"")


# --- the accounts of a machine


@pytest.fixture
def machine(root, refuse, public):
    """Give the words that run a program where passwd and shadow are a test's, and nobody else sees them."""
    files = {
        "passwd": "root:x:0:0:root:/root:/bin/sh\njoe:x:54321:54321::/:/bin/dash\ngone:x:54322:54321::/:/bin/sh\n"
        "nobody:x:65534:65534::/:/bin/sh\n",
        "shadow": f"root:*:19000::::::\njoe:{HASH}:19000:0:99999:7:::\ngone:{HASH}:19000:0:99999:7::10000:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
    }
    mounts = []
    for name, text in files.items():
        (public / name).write_text(text, encoding="ascii")
        (public / name).chmod(0o600 if name == "shadow" else 0o644)
        mounts.append(f"mount --bind {public}/{name} /etc/{name}")
    words = ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        refuse("not run: a private /etc, unshare and mount are not allowed here")
    return words


@pytest.mark.parametrize(
    ("login", "password", "status"),
    [
        ("joe", "secret", 0),
        ("joe", "wrong", NO),
        ("ann", "secret", NO),
        ("gone", "secret", NO),
        ("root", "*", NO),
        ("joe", HASH, NO),
    ],
)
def test_strangers_ask_about_the_accounts_of_the_machine(
    daemon, machine, checkpassword, everybodys, tools, login, password, status
):
    """A verifier that is root answers for shadow to who may not read it; they do not even have it here."""
    verifier = daemon("--accounts", "system:", prefix=machine)
    record = f"{login}\0{password}\0\0".encode()
    done = checkpassword("true", store=verifier.url, record=record, directory=everybodys, user=tools.stranger)
    assert (done.status, done.out, done.said) == (status, b"", b"")


def test_a_verifier_that_cannot_read_shadow_does_not_start(daemon, machine):
    """What nobody could be told anyway is said at the start."""
    verifier = daemon("--accounts", "system:", "--user", "nobody", prefix=machine)
    assert verifier.process.wait(30) == TROUBLE
    assert verifier.log() == "checkpw-verifierd: unable to read b'/etc/shadow': Permission denied\n"


# --- how often somebody may guess


def test_a_login_that_is_guessed_at(daemon):
    """Past its budget a login is answered with trouble, right or wrong, and no other login is."""
    verifier = daemon("--guesses", "3/3600")
    guesses = [verifier.ask(b"joe\0wrong\0\0")[0] for _ in range(5)]
    assert guesses == [b"1"] * 3 + [b"111"] * 2
    assert verifier.ask(b"joe\0secret\0\0") == [b"111", b"", b"", b"", b"", b"", b""]
    assert verifier.ask(b"ann\0secret\0\0")[0] == b"0"
    reason = 'verdict=temporary reason="too many wrong guesses for this login"'
    assert verifier.log("event=verify", 7).count(reason) == 3


def test_right_passwords_and_trouble_are_no_guesses(daemon):
    """Only what was wrong counts, however much is asked."""
    verifier = daemon("--guesses", "2/3600", "--peer-guesses", "3/3600")
    for _ in range(10):
        assert verifier.ask(b"joe\0secret\0\0")[0] == b"0"
        assert verifier.ask(b"odd\0secret\0\0")[0] == b"111"
        assert verifier.ask(b"joe")[0] == b"2"
    assert verifier.ask(b"joe\0wrong\0\0")[0] == b"1"
    assert verifier.ask(b"joe\0secret\0\0")[0] == b"0"
    assert "too many" not in verifier.log("event=verify", 32)


def test_a_user_who_guesses(daemon, checkpassword, everybodys, tools, root):
    """Past its budget a user who asks is answered with trouble, whatever the login, and no other user is."""
    verifier = daemon("--peer-guesses", "3/3600")
    guesses = [verifier.ask(b"login%d\0wrong\0\0" % at)[0] for at in range(5)]
    assert guesses == [b"1"] * 3 + [b"111"] * 2
    assert checkpassword("true", store=verifier.url, directory=everybodys, user=tools.stranger).status == 0


def test_many_guesses_at_once_are_not_more(daemon):
    """The budget holds for guesses that come together, too."""
    verifier = daemon("--guesses", "5/3600", "--threads", "8")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: verifier.ask(b"six\0wrong\0\0")[0], range(40)))
    assert answers.count(b"1") == 5
    assert answers.count(b"111") == 35


# --- many at once, and who learns what


def test_fifty_at_once(daemon):
    """Everybody gets the own answer."""
    verifier = daemon("--guesses", "none", "--peer-guesses", "none")
    questions = [
        (b"six\0secret\0\0", b"six"),
        (b"six\0wrong\0\0", None),
        (b"joe\0secret\0\0", b"joe"),
        (b"x\0x\0\0", None),
    ]

    def ask(number):
        record, login = questions[number % len(questions)]
        with verifier.connect() as line:
            for _ in range(4):
                line.sendall(frames.encode([record, b"", b"test"]))
                answer = read_answer(line)
                if answer[:2] != ([b"1", b""] if login is None else [b"0", login]):
                    return answer
        return None

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert set(pool.map(ask, range(50))) == {None}
    assert verifier.log("event=verify", 200).count("event=verify") == 200


def test_an_unknown_login_takes_as_long_as_a_wrong_password(daemon):
    """The time of a no tells nobody which logins there are, nor that one is locked."""
    store = f"six:{HASH.replace('$6$', '$6$rounds=40000$')}::::::\nlocked:!{HASH}::::::\n"
    verifier = daemon("--guesses", "none", "--peer-guesses", "none", store=store)
    seconds = {b"six": [], b"unknown": [], b"locked": []}
    with verifier.connect() as line:
        for tries in range(150):
            for login, times in seconds.items():
                began = time.perf_counter()
                line.sendall(frames.encode([login + b"\0wrong\0\0", b"", b""]))
                assert read_answer(line)[0] == b"1"
                times.append(time.perf_counter() - began)
            # The least of each: what the machine does besides makes times longer, never shorter, and a busy one is
            # given more tries. Without a hash it is a tenth.
            least = [min(times) for times in seconds.values()]
            if tries >= 10 and max(least) < 2 * min(least):
                break
    assert max(least) < 2 * min(least)


def test_what_is_logged(daemon):
    """One line for each answer, which a login cannot forge, and which holds no password."""
    verifier = daemon()
    before = verifier.log().count("\n")
    for record in (
        b"joe\0secret\0\0",
        b"joe\0secreT\0\0",
        b"a\nevent=verify verdict=accepted\0secret\0\0",
        b"odd\0x\0\0",
    ):
        verifier.ask(record, b"192.0.2.7 uid=0\n", b"imap")
    lines = verifier.log(" seconds=", 4).splitlines()[before:]
    assert len(lines) == 4
    for line in lines:
        assert re.match(
            r'checkpw-verifierd: client="192\.0\.2\.7 uid=0\\x0a" uid=\d+ pid=\d+ event=verify login=', line
        )
        assert re.search(r" service=imap verdict=(accepted|rejected|temporary)( reason=.*)? seconds=\d+\.\d{3}$", line)
        assert "secre" not in line
    assert 'login="a\\x0aevent=verify verdict=accepted"' in lines[2].replace("\\=", "=")
    assert 'reason="checkpassword: unknown password scheme NO-SUCH-SCHEME"' in lines[3]


def test_its_memory_is_closed_to_others(daemon, tools, root):
    """No core file, whoever asks for one, and /proc of an unprivileged verifier belongs to root."""
    verifier = daemon("--user", "nobody", limits={"RLIMIT_CORE": [-1, -1]})
    assert tools.look_at(verifier.process.pid).limits["Max core file size"][:2] == ["0", "0"]
    assert os.stat(f"/proc/{verifier.process.pid}/mem").st_uid == 0


# --- strange peers


@pytest.fixture(scope="module")
def lasting(programs):
    """Run one verifier that has to outlive every example of a property."""
    with tempfile.TemporaryDirectory(prefix="checkpw-lasting-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        (directory / "accounts").write_text(ACCOUNTS, encoding="ascii")
        options = ["--accounts", f"file:{directory}/accounts", "--guesses", "none", "--peer-guesses", "none"]
        log = os.memfd_create("log")
        process = subprocess.Popen(
            [programs / "checkpw-verifierd", "--socket", directory / "socket", *options], env={}, stderr=log
        )
        try:
            deadline = time.monotonic() + 30
            while not has_started(log):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            yield Daemon(process, directory / "socket", log)
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
            os.close(log)


SIZES = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 1100)).map(lambda size: size.to_bytes(4))
STRANGE = st.one_of(
    st.binary(max_size=60),
    st.lists(st.one_of(SIZES, st.binary(max_size=20)), max_size=8).map(b"".join),
    st.lists(st.binary(max_size=600), max_size=5).map(frames.encode),
    st.just(b"GET / HTTP/1.1\r\n\r\n"),
)


@given(st.lists(STRANGE, min_size=1, max_size=4), st.sampled_from(["waits", "hangs up"]))
@example([frames.encode([b"joe\0secret\0\0", b"", b""])[:-1]], "waits")
@example([frames.encode([b"joe\0secret\0\0", b"x" * 2000, b""])], "hangs up")
@example([frames.encode([b"\0", b"\0", b"\0"])] * 4, "waits")
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_strange_frames(lasting, pieces, end):
    """Whatever somebody sends, each answer is one of the protocol, and everybody else is served as before."""
    sent = b"".join(pieces)
    got, answers = [], frames.FrameReader()
    with lasting.connect() as line, contextlib.suppress(OSError):
        for piece in pieces:
            line.sendall(piece)
        if end == "waits":
            line.shutdown(socket.SHUT_WR)
            while data := line.recv(65536):
                got += answers.feed(data)
    assert answers.is_between_frames
    assert all(len(answer) == 7 and answer[0] in (b"0", b"1", b"2", b"111") for answer in got)
    if end == "waits" and (wanted := questions_in(sent)) is not None:
        assert len(got) == wanted
    assert lasting.ask(b"joe\0secret\0\0")[:2] == [b"0", b"joe"]
    assert lasting.process.poll() is None


def questions_in(sent):
    """Count the questions in what was sent, if there is nothing else in it."""
    reader = frames.FrameReader(1024)
    try:
        questions = reader.feed(sent)
    except frames.BadFrame:
        return None
    if not reader.is_between_frames or any(len(question) != 3 for question in questions):
        return None
    return len(questions)


def test_several_questions_on_a_connection(lasting):
    """Questions are answered in their order, sent one by one or all at once."""
    records = [b"joe\0secret\0\0", b"joe\0wrong\0\0", b"ann\0secret\0\0", b"joe", b"odd\0x\0\0"]
    statuses = [b"0", b"1", b"0", b"2", b"111"]
    with lasting.connect() as line:
        for record, status in zip(records, statuses, strict=True):
            line.sendall(frames.encode([record, b"", b""]))
            assert read_answer(line)[0] == status
    with lasting.connect() as line:
        line.sendall(b"".join(frames.encode([record, b"", b""]) for record in records))
        line.shutdown(socket.SHUT_WR)
        reader, answers = frames.FrameReader(), []
        while data := line.recv(65536):
            answers += reader.feed(data)
        assert [answer[0] for answer in answers] == statuses


@pytest.mark.parametrize(
    "fields", [[], [b"joe\0secret\0\0"], [b"joe\0secret\0\0", b""], [b"joe\0secret\0\0", b"", b"", b""]]
)
def test_a_question_has_three_fields(lasting, fields):
    """Whoever does not keep to the protocol is not listened to any more."""
    with lasting.connect() as line:
        line.sendall(frames.encode(fields) + frames.encode([b"joe\0secret\0\0", b"", b""]))
        assert read_answer(line) is None
    assert "event=protocol" in lasting.log("a question has 3 fields")
    assert "event=trouble" not in lasting.log()


def test_a_peer_that_is_slow(daemon):
    """A question that does not come in time, or not whole, is not waited for; neither is the next one."""
    verifier = daemon("--timeout", "0.2")
    question = frames.encode([b"joe\0secret\0\0", b"", b""])
    for begun in (b"", question[:-1]):
        with verifier.connect() as line:
            line.sendall(begun)
            assert read_answer(line) is None
    with verifier.connect() as line:
        line.sendall(question)
        assert read_answer(line)[0] == b"0"
        assert read_answer(line) is None
    assert verifier.log("event=timeout", 3).count("event=timeout") == 3


def test_connections_of_one_user_have_a_share(daemon, checkpassword, everybodys, tools, root):
    """Who holds connections open is stopped at three quarters of them, and others are served."""
    verifier = daemon("--max-connections", "4")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(verifier.connect()) for _ in range(5)]
        assert read_answer(held[3]) is None and read_answer(held[4]) is None
        assert checkpassword("true", store=verifier.url, directory=everybodys, user=tools.stranger).status == 0
        for line in held[:3]:
            line.sendall(frames.encode([b"joe\0secret\0\0", b"", b""]))
            assert read_answer(line)[0] == b"0"
    tools.wait_until(lambda: verifier.ask(b"joe\0secret\0\0") is not None, "there is room again")


def test_whoever_finds_no_room_waits(daemon, checkpassword, everybodys, tools, root):
    """A connection past the number waits until another one ends."""
    verifier = daemon("--max-connections", "1", "--timeout", "0.3")
    with verifier.connect():
        began = time.monotonic()
        assert checkpassword("true", store=verifier.url, directory=everybodys, user=tools.stranger).status == 0
        assert time.monotonic() - began < 20
    assert verifier.log("event=timeout")


def test_nobody_computes_for_who_has_gone(daemon, tools):
    """A question whose asker has hung up before its turn costs no hash."""
    slow = f"six:{HASH.replace('$6$', '$6$rounds=300000$')}::::::\n"
    verifier = daemon("--threads", "1", "--guesses", "1/3600", store=slow)
    verifier.process.send_signal(signal.SIGSTOP)
    with verifier.connect() as first:
        first.sendall(frames.encode([b"other\0wrong\0\0", b"", b""]))
        for _ in range(3):
            with verifier.connect() as line:
                line.sendall(frames.encode([b"six\0wrong\0\0", b"", b""]))
        verifier.process.send_signal(signal.SIGCONT)
        assert read_answer(first)[0] == b"1"
    log = verifier.log("event=verify", 4)
    assert log.count("nobody waits for the answer") >= 1
    assert log.count('login=six service="" verdict=rejected') == 0


# --- how it ends


def test_what_was_asked_is_answered_before_the_end(daemon):
    """SIGTERM: what has come is answered, connections that ask nothing are closed, the socket is gone, status 0."""
    slow = f"slow:{HASH.replace('$6$', '$6$rounds=100000$')}::::::\n"
    verifier = daemon("--timeout", "300", store=ACCOUNTS + slow)
    with verifier.connect() as idle, verifier.connect() as asking:
        assert verifier.ask(b"joe\0secret\0\0")[0] == b"0"
        verifier.process.send_signal(signal.SIGSTOP)
        asking.sendall(frames.encode([b"slow\0wrong\0\0", b"", b""]))
        with verifier.connect() as late:
            late.sendall(frames.encode([b"joe\0secret\0\0", b"", b""]))
            verifier.process.send_signal(signal.SIGTERM)
            verifier.process.send_signal(signal.SIGCONT)
            assert read_answer(asking)[0] == b"1"
            assert read_answer(late)[:2] == [b"0", b"joe"]
        assert read_answer(idle) is None
        assert verifier.process.wait(30) == 0
    assert not verifier.path.exists()


def test_sighup_says_that_there_is_nothing_to_do(daemon, tools, accounts):
    """Stores are opened for each question: a new password counts at once, and SIGHUP only says so."""
    verifier = daemon()
    accounts(ACCOUNTS.replace("joe:{PLAIN}secret", "joe:{PLAIN}other"))
    assert verifier.ask(b"joe\0other\0\0")[0] == b"0"
    verifier.process.send_signal(signal.SIGHUP)
    verifier.log("event=hangup")
    assert verifier.ask(b"joe\0other\0\0")[0] == b"0"


def test_a_verifier_that_is_killed_meanwhile(daemon, programs, start, pipe, tools):
    """Who has asked one that does not answer any more is told 111, and so is who comes later."""
    verifier = daemon()
    verifier.process.send_signal(signal.SIGSTOP)
    environ = {"CHECKPW_ACCOUNTS": verifier.url}
    asking = start([programs / "checkpassword", "true"], environ, descriptors={3: pipe(b"joe\0secret\0\0")})
    tools.wait_until(lambda: has_socket(asking.pid), "it asks")
    verifier.process.kill()
    assert asking.wait(tools.patience) == TROUBLE
    late = start([programs / "checkpassword", "true"], environ, descriptors={3: pipe(b"joe\0secret\0\0")})
    assert late.wait(tools.patience) == TROUBLE


def has_socket(pid):
    """Tell whether a process has a socket."""
    place = pathlib.Path(f"/proc/{pid}/fd")
    try:
        return any(os.readlink(entry).startswith("socket:") for entry in place.iterdir())
    except FileNotFoundError:
        return False


# --- how it begins


def run(programs, *options, **environ):
    return subprocess.run(
        [programs / "checkpw-verifierd", *map(str, options)], env=environ, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], MISUSE),
        (["--no-such-option"], MISUSE),
        (["word"], MISUSE),
        (["--socket", "{0}/s", "--mode", "888"], MISUSE),
        (["--socket", "{0}/s", "--mode", "1777"], MISUSE),
        (["--socket", "{0}/s", "--group", "no-such-group"], MISUSE),
        (["--socket", "{0}/s", "--user", "no-such-user"], MISUSE),
        (["--socket", "{0}/s", "--user", "root"], MISUSE),
        (["--socket", "{0}/s", "--guesses", "0/60"], MISUSE),
        (["--socket", "{0}/s", "--guesses", "nan/nan"], MISUSE),
        (["--socket", "{0}/s", "--guesses", "3/nan"], MISUSE),
        (["--socket", "{0}/s", "--guesses", "3"], MISUSE),
        (["--socket", "{0}/s", "--threads", "0"], MISUSE),
        (["--socket", "{0}/s", "--accounts", "verifier:{0}/s"], MISUSE),
        (["--socket", "{0}/s", "--accounts", "nonsense:"], TROUBLE),
        (["--socket", "{0}/s", "--accounts", "file:{0}/missing"], TROUBLE),
        (["--socket", "{0}/missing/s"], TROUBLE),
        (["--socket", "{0}"], TROUBLE),
        (["--socket", "{0}/file"], TROUBLE),
        (["--socket", "{0}/" + "x" * 200], TROUBLE),
        (["--socket", "{0}/s", "--max-connections", "100000"], TROUBLE),
        (["--help"], 0),
    ],
)
def test_how_it_refuses_to_begin(programs, public, options, status):
    """Wrong usage is 2, trouble 111, each with a line; and 1 is never its status."""
    (public / "file").write_text("x", encoding="ascii")
    limit = ["prlimit", "--nofile=4096:4096"]
    done = subprocess.run(
        [*limit, programs / "checkpw-verifierd", *(option.format(public) for option in options)],
        env={"CHECKPW_ACCOUNTS": f"file:{public}/file"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert bool(done.stdout) == (status == 0)
    assert bool(done.stderr) == (status != 0)
    assert (public / "file").read_text(encoding="ascii") == "x"


def test_a_verifier_of_itself_is_refused(programs, public):
    """Also when the store comes from the environment."""
    done = run(programs, "--socket", public / "s", CHECKPW_ACCOUNTS=f"verifier:{public}/s")
    assert (done.returncode, b"a verifier asks no verifier" in done.stderr) == (MISUSE, True)
    assert not (public / "s").exists()


def test_every_option_is_a_variable_too(programs, public, accounts, start, tools):
    """What is not on the command line is looked for in the environment."""
    environ = {
        "CHECKPW_VERIFIERD_SOCKET": str(public / "s"),
        "CHECKPW_VERIFIERD_MODE": "0600",
        "CHECKPW_VERIFIERD_ACCOUNTS": accounts(ACCOUNTS),
        "CHECKPW_VERIFIERD_GUESSES": "1/3600",
        "CHECKPW_VERIFIERD_PEER_GUESSES": "none",
        "CHECKPW_VERIFIERD_THREADS": "3",
        "CHECKPW_ACCOUNTS": "nonsense",
    }
    log = os.memfd_create("log")
    process = start([programs / "checkpw-verifierd"], environ, stderr=log)
    tools.wait_until(lambda: has_started(log), "it serves")
    verifier = Daemon(process, public / "s", log)
    assert "threads=3" in verifier.log()
    assert verifier.path.stat().st_mode & 0o777 == 0o600
    assert [verifier.ask(b"joe\0wrong\0\0")[0] for _ in range(2)] == [b"1", b"111"]
    os.close(log)
    environ["CHECKPW_VERIFIERD_MAX_CONNECTIONS"] = "0"
    assert run(programs, **environ).returncode == MISUSE
    assert run(programs, **environ, CHECKPW_VERIFIERD_TIMEOUT="0").returncode == MISUSE


def test_who_may_ask_is_said_by_mode_and_group(daemon, checkpassword, everybodys, tools, root):
    """A socket that is closed to somebody is trouble to him."""
    verifier = daemon("--mode", "0660", "--group", "nogroup")
    status = verifier.path.stat()
    group = int(subprocess.run(["getent", "group", "nogroup"], capture_output=True, check=True).stdout.split(b":")[2])
    assert (status.st_mode & 0o777, status.st_gid) == (0o660, group)
    done = checkpassword("true", store=verifier.url, directory=everybodys, user=tools.stranger)
    assert (done.status, b"Permission denied" in done.said) == (TROUBLE, True)


def test_a_socket_that_was_left_is_replaced_and_one_in_use_is_not(daemon, programs, public):
    """After a kill the next verifier takes the place; beside a living one it does not begin."""
    first = daemon()
    store = f"file:{public}/accounts"
    done = run(programs, "--socket", first.path, "--accounts", store)
    assert (done.returncode, b"somebody listens" in done.stderr) == (TROUBLE, True)
    assert first.ask(b"joe\0secret\0\0")[0] == b"0"
    first.end(signal.SIGKILL)
    assert first.path.exists()
    second = daemon()
    assert second.ask(b"joe\0secret\0\0")[0] == b"0"
    assert second.end() == 0


# --- under systemd


@pytest.fixture
def activated(programs, start, public, accounts, resources, tools):
    """Give a function that starts a verifier as systemd does, with a socket that is there already, if it is any."""

    def begin(*options, family=socket.AF_UNIX, kind=socket.SOCK_STREAM, listens=True):
        log = os.memfd_create("log")
        resources.callback(os.close, log)
        told = resources.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(str(public / "notify"))
        told.settimeout(30)
        (public / "notify").chmod(0o777)
        with socket.socket(family, kind) as listener:
            listener.bind(str(public / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
            if listens:
                listener.listen()
            environ = {
                "LISTEN_FDS": "1",
                "NOTIFY_SOCKET": str(public / "notify"),
                "WATCHDOG_USEC": "100000",
                "CHECKPW_ACCOUNTS": accounts(ACCOUNTS),
                "PATH": "/usr/bin:/bin",
            }
            argv = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", programs / "checkpw-verifierd", *options]
            process = start(argv, environ, stderr=log, descriptors={3: listener.fileno()})
            tools.wait_until(lambda: has_started(log) or process.poll() is not None, "it serves")
        return Daemon(process, public / "s", log), told

    return begin


def test_a_socket_of_systemd(activated, tools):
    """It is taken over, systemd is told how the verifier is, and the socket stays when the verifier ends."""
    verifier, told = activated()
    assert told.recv(4096).startswith(b"READY=1\n")
    assert [told.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    assert verifier.ask(b"joe\0secret\0\0")[0] == b"0"
    assert verifier.end() == 0
    while (last := told.recv(4096)) == b"WATCHDOG=1":
        pass
    assert last.startswith(b"STOPPING=1\n")
    assert verifier.path.exists()


def test_who_listens_is_who_answers(activated, root):
    """Peers see the user that the verifier has become, and not who made the socket."""
    verifier, _ = activated("--user", "nobody")
    with verifier.connect() as line:
        _, uid, _ = struct.unpack("iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    assert uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize(
    "given", [{"family": socket.AF_INET}, {"kind": socket.SOCK_DGRAM, "listens": False}, {"listens": False}]
)
def test_sockets_that_are_of_no_use(activated, given):
    """A network socket, one without connections and one that does not listen are wrong usage."""
    verifier, _ = activated(**given)
    assert verifier.process.wait(30) == MISUSE
