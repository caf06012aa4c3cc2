"""submissiond as real processes: what it says on the wire, who its processes are, and what happens when they die."""

import base64
import contextlib
import os
import pathlib
import random
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

import pytest

PATIENCE = 30.0  # seconds, for what never takes so long
HOST = "mail.example"
QUEUES = {"maildir": "Maildir", "sendmail": "sendmail"}
WORKER, VERIFIER, OPENER = "submissiond-wrk", "submissiond-vfy", "submissiond-opn"

pytestmark = pytest.mark.usefixtures("root")


def until(condition, what):
    """Poll until the condition gives something true, and give that back."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)
    return found


class Server:
    """A submissiond with an account store and a Maildir, in a directory of its own."""

    def __init__(
        self, programs, directory, *options, checker=("checkpassword", "true"), queue="maildir", **environment
    ):
        self.directory = directory
        self.port = _free_port()
        self.log_path = directory / "log"
        argv = [
            *(programs / "submissiond", "--listen", f"127.0.0.1:{self.port}", "--user", "nobody"),
            *("--door-user", "nobody", "--workers", "2", "--queue", f"{queue}:{directory}/{QUEUES[queue]}"),
            *("--accounts", f"file:{directory}/accounts", "--auth-delay", "0.1", *options, "--", "", HOST, *checker),
        ]
        settings = {"PATH": f"{programs}:/usr/bin:/bin", "CONTROLDIR": str(directory), **environment}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=settings,
                start_new_session=True,
            )
        self.children_ever = set()
        self.wait_ready()

    def log(self):
        return self.log_path.read_text(encoding="utf-8")

    def wait_ready(self, times=1):
        """Wait until generations are ready, or the server has ended."""
        until(lambda: self.log().count("is ready:") >= times or self.process.poll() is not None, "is ready")
        assert self.process.poll() is None, self.log()

    def children(self, name=None):
        """Give the numbers of its processes, all or of a name."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        pids = [int(word) for word in found.stdout.split()]
        self.children_ever |= set(pids)
        return [pid for pid in pids if name is None or _comm(pid) == name]

    def messages(self):
        return [path.read_text(encoding="utf-8") for path in (self.directory / "Maildir" / "new").glob("*")]

    def connect(self):
        client = smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example", timeout=PATIENCE)
        client.ehlo()
        return client

    def submit(self, text="hello"):
        """Log in and submit a message."""
        with self.connect() as client:
            client.login("joe", "secret")
            client.sendmail("joe@mail.example", ["ann@example.org"], f"Subject: x\r\n\r\n{text}\r\n")

    def end(self):
        """End it as a service manager would, and see to it that nothing is left."""
        self.children()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        self.process.kill()
        status = self.process.wait()
        until(lambda: not any(map(_lives, self.children_ever)), "the end of its processes")
        return status


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _comm(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    return ""


def _lives(pid):
    return _comm(pid).startswith("submissiond")


def _status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))


@pytest.fixture
def server(programs):
    """Give a function that starts a server; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(*options, **settings):
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="checkpw-", dir="/tmp")))
            directory.chmod(0o755)
            accounts = directory / "accounts"
            accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
            accounts.chmod(0o600)
            (directory / "Maildir").mkdir()
            os.chown(directory / "Maildir", 65534, 65534)
            started = Server(programs, directory, *options, **settings)
            stack.callback(started.end)
            return started

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Give a self-made certificate and its key."""
    from checkpw.certificates import self_signed

    return self_signed(str(tmp_path_factory.mktemp("certificate")), HOST)


def test_a_message_over_each_kind_of_connection(server, certificate):
    """Implicit TLS, STARTTLS, and in clear from this machine: each message arrives, with how it came in its trace."""
    implicit = _free_port()
    cert, key = certificate
    served = server("--listen", f"127.0.0.1:{implicit},tls", "--tls-cert", cert, "--tls-key", key)
    context = ssl.create_default_context(cafile=cert)
    served.submit("in clear")
    with served.connect() as client:
        client._host = HOST
        client.starttls(context=context)
        client.ehlo()
        client.login("joe", "secret")
        client.sendmail("joe@mail.example", ["ann@example.org"], "Subject: x\r\n\r\nstarttls\r\n")
    with context.wrap_socket(socket.create_connection(("127.0.0.1", implicit), PATIENCE), server_hostname=HOST) as raw:
        stream = raw.makefile("rwb")
        for line in (b"EHLO c", b"AUTH PLAIN " + base64.b64encode(b"\0joe\0secret"), b"MAIL FROM:<joe@x.example>"):
            stream.write(line + b"\r\n")
        stream.write(b"RCPT TO:<ann@example.org>\r\nDATA\r\n")
        stream.flush()
        while not stream.readline().startswith(b"354"):
            pass
        stream.write(b"\r\nimplicit\r\n.\r\nQUIT\r\n")
        stream.flush()
        assert stream.readline().startswith(b"250 2.0.0")
    arrived = served.messages()
    assert len(arrived) == 3
    for words, protocol in (("in clear", "ESMTPA"), ("starttls", "ESMTPSA"), ("implicit", "ESMTPSA")):
        assert any(words in text and f"with {protocol};" in text for text in arrived)
    assert served.end() == 0


def test_nothing_is_relayed_without_a_yes(server):
    """A wrong password, no password, and RELAYCLIENT in the environment relay nothing; --relay-from does."""
    served = server(RELAYCLIENT="")
    with served.connect() as client:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("joe", "wrong")
        assert client.mail("joe@x.example")[0] == 530
    trusting = server("--relay-from", "127.0.0.0/8")
    with trusting.connect() as client:
        client.sendmail("joe@x.example", ["ann@example.org"], "Subject: x\r\n\r\ntrusted\r\n")
    assert served.messages() == [] and len(trusting.messages()) == 1


def test_what_came_in_clear_behind_starttls_is_never_executed(server, certificate):
    """A command in the same segment as STARTTLS is thrown away and logged."""
    cert, key = certificate
    served = server("--tls-cert", cert, "--tls-key", key)
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as raw:
        raw.recv(4096)
        raw.sendall(b"EHLO c\r\nSTARTTLS\r\nRSET\r\nNOOP\r\n")
        said = b""
        while b"220 2.0.0" not in said:
            said += raw.recv(4096)
        with ssl.create_default_context(cafile=cert).wrap_socket(raw, server_hostname=HOST) as secured:
            secured.sendall(b"QUIT\r\n")
            assert secured.recv(4096) == b"221 2.0.0 mail.example\r\n"
    until(lambda: "event=tls" in served.log(), "the log line")
    assert re.search(r"event=tls .*discarded=12", served.log())


def test_a_proxy_header_names_the_client(server):
    """Behind a balancer, the log and the trace have the client's address; who is no balancer is not heard."""
    proxied = _free_port()
    served = server("--listen", f"127.0.0.1:{proxied},plain,proxy", "--proxy-from", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", proxied), PATIENCE) as raw:
        raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 587\r\n")
        assert raw.recv(4096).startswith(b"220 ")
        raw.sendall(b"EHLO c\r\n")
        assert b"AUTH" not in raw.recv(4096), "a password in clear from another machine"
        raw.sendall(b"QUIT\r\n")
        raw.recv(4096)
    until(lambda: "client=192.0.2.7" in served.log(), "the client's address")
    other = _free_port()
    strict = server("--listen", f"127.0.0.1:{other},plain,proxy", "--proxy-from", "192.0.2.0/24")
    with socket.create_connection(("127.0.0.1", other), PATIENCE) as raw:
        raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 587\r\n")
        with contextlib.suppress(ConnectionError):
            assert raw.recv(4096) == b""
    until(lambda: "reason=proxy" in strict.log(), "the reason")


def test_who_the_processes_are(server):
    """Workers and opener are nobody, workers see no files and start nothing, and nobody but workers has listeners."""
    served = server()
    workers, verifiers, openers = (served.children(name) for name in (WORKER, VERIFIER, OPENER))
    assert len(workers) == 2 and verifiers and openers
    for pid in workers:
        status = _status(pid)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert os.readlink(f"/proc/{pid}/root").endswith("(deleted)")
        assert not any("checkpw key" in target for target in _targets(pid))
    assert all(set(_status(pid)["Uid"].split()) == {"65534"} for pid in openers)
    for pid in verifiers + openers:
        listening = _listening_inodes()
        assert not any(f"socket:[{inode}]" in _targets(pid) for inode in listening[served.port])


def _targets(pid):
    found = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return found


def _listening_inodes():
    found = {}
    with open("/proc/net/tcp", encoding="ascii") as table:
        for row in list(table)[1:]:
            words = row.split()
            if words[3] == "0A":
                found.setdefault(int(words[1].rpartition(":")[2], 16), []).append(words[9])
    return found


@pytest.mark.parametrize("name", [VERIFIER, OPENER, WORKER])
def test_a_process_that_dies_is_replaced(server, name):
    """What was lost is lost; a moment later everything works as before."""
    served = server()
    before = served.children(name)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(served.children(name)) == len(before) and not set(before) & set(served.children(name)), "others")

    def works():
        try:
            served.submit()
        except (smtplib.SMTPException, OSError):
            return False
        return True

    until(works, "a message")
    assert len(served.messages()) >= 1


def test_reloading_takes_new_settings_and_lets_old_sessions_finish(server):
    """SIGHUP: a new account is known at once, and a session that was open before goes on."""
    served = server()
    with served.connect() as old:
        old.login("joe", "secret")
        (served.directory / "defaulthost").write_text("rewritten.example\n", encoding="ascii")
        served.process.send_signal(signal.SIGHUP)
        served.wait_ready(2)
        with served.connect() as new:
            new.login("joe", "secret")
            new.sendmail("joe", ["ann@example.org"], "From: joe\r\n\r\nnew\r\n")
        old.sendmail("joe", ["ann@example.org"], "From: joe\r\n\r\nold\r\n")
    texts = served.messages()
    assert ["rewritten.example" in text for text in sorted(texts, key=lambda text: "old" in text)] == [True, False]
    until(lambda: len(served.children(WORKER)) == 2, "the old workers' end")


def test_settings_that_make_no_sense_leave_the_server_as_it_is(server):
    """SIGHUP with a broken control file: the log says why, and mail goes on."""
    served = server()
    (served.directory / "databytes").write_text("many\n", encoding="ascii")
    served.process.send_signal(signal.SIGHUP)
    until(lambda: "stays with what it has" in served.log(), "the refusal")
    served.submit()
    assert len(served.messages()) == 1


def test_the_end_is_gentle(server):
    """SIGTERM to all processes: a message under way is taken, an idle session is told, and the status is 0."""
    served = server("--drain-time", "2")
    busy, idle = served.connect(), served.connect()
    busy.login("joe", "secret")
    busy.mail("joe@x.example")
    busy.rcpt("ann@example.org")
    busy.putcmd("data")
    assert busy.getreply()[0] == 354
    served.children()
    os.killpg(served.process.pid, signal.SIGTERM)
    until(lambda: "ends:" in served.log(), "the beginning of the end")
    busy.send(b"Subject: x\r\n\r\nin time\r\n.\r\n")
    assert busy.getreply()[0] == 250
    busy.quit()
    assert idle.getreply()[0] == 421
    idle.close()
    assert served.process.wait(PATIENCE) == 0
    assert len(served.messages()) == 1
    assert served.end() == 0


def test_nobody_stays_when_the_supervisor_is_killed(server):
    """The others end by themselves."""
    served = server("--drain-time", "1")
    served.children()
    served.process.kill()
    served.process.wait()
    until(lambda: not any(map(_lives, served.children_ever)), "the end of all")


@pytest.mark.parametrize("options", [(), ("--listen", "nonsense"), ("--listen", ":1,proxy", "--user", "nobody")])
def test_misuse_is_told_apart_from_trouble(programs, options):
    """What cannot be meant is 2, with a line that says why."""
    result = subprocess.run(
        [programs / "submissiond", *options, "--", "", HOST], capture_output=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 2 and result.stderr.count(b"\n") <= 4 and b"Traceback" not in result.stderr


def test_nothing_is_lost_or_doubled_in_chaos(server):
    """Processes are killed at random while clients submit: each 250 is in the Maildir exactly once, and whole."""
    served = server("--max-per-minute", "0", "--max-per-address", "0")
    chance = random.Random(4)
    promised, lock = set(), threading.Lock()
    over = threading.Event()

    def client(number):
        serial = 0
        while not over.is_set():
            serial += 1
            name = f"message-{number}-{serial}"
            try:
                served.submit(f"{name}\r\n" + "x" * chance.choice((10, 70_000)) + f"\r\nend of {name}")
            except (smtplib.SMTPException, OSError):
                continue
            with lock:
                promised.add(name)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        time.sleep(chance.uniform(0.1, 0.5))
        if victims := served.children(chance.choice((WORKER, VERIFIER, OPENER))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    arrived = [re.search(r"^message-\d+-\d+$", text, re.MULTILINE)[0] for text in served.messages()]
    for text, name in zip(served.messages(), arrived, strict=True):
        assert f"end of {name}" in text, "a message that is not whole"
    assert promised <= set(arrived), "a 250 without a message"
    assert all(arrived.count(name) == 1 for name in promised), "a message that came twice"
    assert len(promised) > 5
    assert not list((served.directory / "Maildir" / "tmp").glob("*")) or len(set(arrived) - promised) >= 0


def test_what_is_counted_is_told(server):
    """Prometheus gets numbers per listener, a balancer that all is well, and SIGUSR1 has them in the log."""
    pytest.importorskip("prometheus_client")
    place = _free_port()
    served = server("--metrics", f"127.0.0.1:{place}")
    served.submit()
    until(lambda: "event=session" in served.log(), "the end of the session")
    with urllib.request.urlopen(f"http://127.0.0.1:{place}/metrics", timeout=PATIENCE) as answer:
        told = answer.read().decode("utf-8")
    name = f'listener="127.0.0.1:{served.port}"'
    assert f'submissiond_messages_total{{{name},result="queued"}} 1.0' in told
    assert f'submissiond_auth_total{{{name},mechanism="PLAIN",verdict="accepted"}} 1.0' in told
    assert f"submissiond_auth_seconds_count{{{name}}} 1.0" in told
    with urllib.request.urlopen(f"http://127.0.0.1:{place}/healthz", timeout=PATIENCE) as answer:
        assert answer.read() == b"ok\n"
    served.process.send_signal(signal.SIGUSR1)
    until(lambda: "submissiond_messages_total" in served.log(), "the counters")


def test_a_login_does_not_cross_starttls(server, certificate):
    """Who logged in before STARTTLS has not logged in after it, also where no login is asked for (RFC 3207)."""
    cert, key = certificate
    served = server("--tls-cert", cert, "--tls-key", key, "--relay-from", "127.0.0.1", queue="sendmail")
    queue = served.directory / "sendmail"
    queue.write_text(
        f'#!/bin/sh\ncat >/dev/null\necho "login=$SMTPAUTHUSER" >>{served.directory}/Maildir/log\n', encoding="ascii"
    )
    queue.chmod(0o755)
    with served.connect() as client:
        client.login("joe", "secret")
        client.sendmail("joe@x.example", ["ann@example.org"], "\r\nbefore\r\n")
        client._host = HOST
        client.starttls(context=ssl.create_default_context(cafile=cert))
        client.ehlo()
        client.sendmail("joe@x.example", ["ann@example.org"], "\r\nafter\r\n")
    lines = (served.directory / "Maildir" / "log").read_text(encoding="ascii").splitlines()
    assert lines == ["login=joe", "login="]


def test_a_name_in_tls_that_is_none_does_not_reach_the_log_by_itself(server, certificate):
    """A ClientHello whose server name is not ASCII ends its connection; what Python says of it is one line of ours."""
    implicit = _free_port()
    cert, key = certificate
    served = server("--listen", f"127.0.0.1:{implicit},tls", "--tls-cert", cert, "--tls-key", key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl._create_unverified_context()
    hello = context.wrap_bio(incoming, outgoing, server_hostname="mail.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    with socket.create_connection(("127.0.0.1", implicit), PATIENCE) as raw:
        raw.sendall(outgoing.read().replace(b"mail.example", b"m\xe4il.example"))
        while raw.recv(4096):
            pass
    served.submit()
    until(lambda: "reason=tls" in served.log(), "the end of the handshake")
    assert all(line.startswith("submissiond: ") for line in served.log().splitlines()), served.log()


def test_a_slow_request_for_metrics_holds_nobody_up(server):
    """Who sends its request byte by byte is left alone after a while."""
    pytest.importorskip("prometheus_client")
    place = _free_port()
    served = server("--metrics", f"127.0.0.1:{place}")
    with socket.create_connection(("127.0.0.1", place), PATIENCE) as slow:
        is_over = threading.Event()

        def trickle():
            with contextlib.suppress(OSError):
                while not is_over.wait(0.2):
                    slow.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{place}/healthz", timeout=PATIENCE) as answer:
            assert answer.read() == b"ok\n"
        is_over.set()
        thread.join()
    served.submit()
