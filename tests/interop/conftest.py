"""Real peers on loopback: find them, start them, read what they said, and leave none behind.

Nothing here waits for a fixed time: a condition is polled until it holds, and every wait has a bound.
A test that finds its peer missing says so by name; with `--require-peers` it fails instead.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
import types

import pytest

HOST = "mail.example"
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_HIDDEN = "/usr/lib/dovecot:/usr/libexec/dovecot:/usr/libexec"
_PATIENCE = 20.0  # seconds: an idle machine needs hundredths, a loaded one with two cores needs some of them
_LISTENING = "0A"  # the state of a socket in /proc/net/tcp


# --- which peers there are


@pytest.fixture(scope="session")
def peer(refuse):
    """Give a function that finds a peer program, or ends the test that cannot have it."""

    def find(name, package=None):
        found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), _PATH, _HIDDEN]))
        if found is None:
            refuse(f"peer not installed: {name} (Debian package {package or name})")
        return found

    return find


@pytest.fixture(scope="session")
def perl_module(refuse, peer):
    """Give a function that insists on a Perl module, without which some peers can only do half."""

    def find(name, package):
        probe = [peer("perl"), f"-M{name}", "-e", "1"]
        if subprocess.run(probe, check=False, capture_output=True, timeout=_PATIENCE).returncode != 0:
            refuse(f"peer not installed: {name} for Perl (Debian package {package})")

    return find


@pytest.fixture(scope="session")
def source_peer():
    """Give a function that finds a peer which nobody packages, in the path that a variable names."""

    def find(name, variable):
        path = os.environ.get(variable)
        if not path:
            pytest.skip(f"not run: {name}, exists only as sources; set {variable}")
        assert os.access(path, os.X_OK), f"{variable}={path} is not a program"
        return path

    return find


# --- processes


def wait_until(condition, what, patience=_PATIENCE):
    """Poll until the condition gives something true, and give that back."""
    deadline = time.monotonic() + patience
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.01)
    return outcome


@contextlib.contextmanager
def reserve_port():
    """Keep a loopback port to ourselves while the block runs.

    Ports below the kernel's own range, so that no client's connection takes one by chance; an abstract
    socket per port is the lock between test processes, and goes away with the process that holds it.
    """
    start = 20000 + os.getpid() * 7 % 12000
    for port in (20000 + (start + step) % 12000 for step in range(12000)):
        with contextlib.ExitStack() as held:
            lock = held.enter_context(socket.socket(socket.AF_UNIX))
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                lock.bind(f"\0checkpw-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            probe.close()
            yield port
            return
    pytest.fail("no free port on loopback")


def _is_listening(port):
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return any(row[1].endswith(f":{port:04X}") and row[3] == _LISTENING for row in rows)


class Server:
    """A program that listens on loopback, in a process group of its own, for as long as the block runs."""

    def __init__(self, argv, ports, directory, environment):
        self._argv = [str(word) for word in argv]
        self._ports = ports
        self._environment = {"PATH": _PATH, **environment}
        self._directory = directory
        self._log = pathlib.Path(tempfile.mkstemp(prefix="log.", dir=directory)[1])

    def __enter__(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=self._environment,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self._gone() or all(map(_is_listening, self._ports)), "the ports are served")
            assert not self._gone(), f"{self._argv} left: {self.log()}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason):
        # The leader is only collected at the end: until then nobody else can get the number of the group.
        os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            wait_until(self._gone, "end of the server", patience=3)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _gone(self):
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def pid(self):
        """The number of the process that was started."""
        return self._process.pid

    def log(self):
        """Give everything that the program and its children wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")

    def wait_for_log(self, *words):
        """Wait for the line that holds all of these words, and give it back."""

        def find():
            return next((line for line in self.log().splitlines() if all(w in line for w in words)), None)

        try:
            return wait_until(find, words)
        except AssertionError:
            pytest.fail(f"no line with {words} in:\n{self.log()}")


@contextlib.contextmanager
def run_postfix(program, configuration, ports, directory):
    """Run Postfix for the block. Its master leaves the group that a server's end kills: it has to be told to stop."""
    with Server([program, "-c", configuration, "start-fg"], ports, directory, {}) as server:
        try:
            yield server
        finally:
            stop = [program, "-c", configuration, "stop"]
            subprocess.run(stop, check=True, capture_output=True, timeout=_PATIENCE)


@contextlib.contextmanager
def make_directory():
    """Make a directory which unprivileged peers can enter (pytest's own they cannot), for the block.

    Its name is short as well: Dovecot puts sockets into it, whose paths have about 100 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="checkpw-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="session")
def loopback():
    """Give what it takes to run a server: `port()`, `directory()`, `server(argv, ports, directory, environment)`.

    And `postfix(program, configuration, ports, directory)`.
    """
    return types.SimpleNamespace(port=reserve_port, directory=make_directory, server=Server, postfix=run_postfix)


@pytest.fixture(scope="session")
def run():
    """Give a function that runs a client program to its end and keeps all that it said."""

    def run(argv, stdin="", **environment):
        return subprocess.run(
            [str(word) for word in argv],
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": _PATH, "HOME": "/nonexistent", "LC_ALL": "C", **environment},
            timeout=_PATIENCE,
            check=False,
        )

    return run


# --- our submission server


class Submission:
    """Our ofmipd under tcpserver, with an account store and a Maildir behind it."""

    def __init__(self, server, port, directory):
        self.server = server
        self.port = port
        self.directory = directory

    def messages(self, marker=""):
        """Give the messages in the Maildir that hold a text."""
        texts = [path.read_text(encoding="utf-8") for path in self.directory.glob("Maildir/new/*")]
        return [text for text in texts if marker in text]

    def connect(self):
        """Connect without TLS, the greeting and the answer to EHLO read."""
        client = smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example", timeout=_PATIENCE)
        client.ehlo()
        return client


@pytest.fixture(scope="session")
def submission(programs, peer):
    """Give a context manager: tcpserver runs ofmipd; further settings are added, or taken away with None."""

    @contextlib.contextmanager
    def serve(checker=("checkpassword", "true"), flags=("-vRl0",), ofmipd=programs / "ofmipd", **environment):
        tcpserver = peer("tcpserver", "ucspi-tcp")
        with make_directory() as directory, reserve_port() as port:
            accounts = directory / "accounts"
            accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
            accounts.chmod(0o600)
            settings = {
                "PATH": f"{programs}:{_PATH}",
                "CHECKPW_ACCOUNTS": f"file:{accounts}",
                "OFMIPD_QUEUE": f"maildir:{directory}/Maildir",
                "OFMIPD_AUTH_DELAY": "0.2",
                "OFMIPD_CHECKER_TIMEOUT": str(_PATIENCE),
                **environment,
            }
            settings = {name: value for name, value in settings.items() if value is not None}
            argv = [tcpserver, *flags, "127.0.0.1", port, ofmipd, "", HOST, *checker]
            with Server(argv, [port], directory, settings) as server:
                yield Submission(server, port, directory)

    return serve


# --- our resident server


class Resident:
    """Our submissiond, with an account store and a Maildir behind it, and a port for each kind of listener."""

    def __init__(self, server, ports, directory, certificate):
        self.server = server
        self.ports = ports
        self.directory = directory
        self.certificate = certificate

    def messages(self, marker=""):
        """Give the messages in the Maildir that hold a text."""
        texts = [path.read_text(encoding="utf-8") for path in self.directory.glob("Maildir/new/*")]
        return [text for text in texts if marker in text]

    def connect(self, style, port=None, source=None):
        """Connect with smtplib, the certificate checked, up to the answer to EHLO inside TLS."""
        context = ssl.create_default_context(cafile=self.certificate)
        hello = {"local_hostname": "client.example", "timeout": _PATIENCE, "source_address": source}
        port = port or self.ports[style]
        if style == "implicit":
            client = smtplib.SMTP_SSL("localhost", port, context=context, **hello)
        else:
            client = smtplib.SMTP("localhost", port, **hello)
            client.starttls(context=context)
        client.ehlo()
        return client

    def reload(self):
        """Send SIGHUP, and wait until the new generation serves."""
        before = self.server.log().count("is ready")
        os.kill(self.server.pid, signal.SIGHUP)
        wait_until(lambda: self.server.log().count("is ready") > before, "the new generation is ready")


@pytest.fixture(scope="session")
def certify(peer, run):
    """Give a function that makes a certificate and its key in a directory, and gives their paths."""

    def make(directory, *names, kind="ec", stem="mail"):
        certificate, key = directory / f"{stem}.cert.pem", directory / f"{stem}.key.pem"
        argv = [peer("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={names[0]}", "-newkey"]
        argv += ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else ["rsa:2048"]
        argv += ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
        made = run([*argv, "-keyout", key, "-out", certificate])
        assert made.returncode == 0, made.stdout
        return certificate, key

    return make


def _as_somebody(directory):
    """Give the options for who workers and opener are, and let them have a Maildir in a directory."""
    (directory / "Maildir").mkdir()
    if os.geteuid() != 0:
        return []
    shutil.chown(directory / "Maildir", "nobody", "nogroup")
    return ["--user", "nobody"]


@pytest.fixture(scope="session")
def resident(programs, certify):
    """Give a context manager: submissiond with listeners of two kinds; options are added to its own."""

    @contextlib.contextmanager
    def serve(*options, kinds=types.MappingProxyType({"starttls": "starttls", "implicit": "tls"})):
        with make_directory() as directory, contextlib.ExitStack() as held:
            accounts = directory / "accounts"
            accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
            accounts.chmod(0o600)
            certificate, key = certify(directory, "localhost")
            ports = {name: held.enter_context(reserve_port()) for name in kinds}
            argv = [programs / "submissiond", *_as_somebody(directory), "--tls-cert", certificate, "--tls-key", key]
            for name, kind in kinds.items():
                argv += ["--listen", f"127.0.0.1:{ports[name]},{kind}"]
            argv += ["--workers", "2", "--auth-delay", "0.2", "--drain-time", "1", "--accounts", f"file:{accounts}"]
            argv += ["--queue", f"maildir:{directory}/Maildir", *options]
            settings = {"PATH": f"{programs}:{_PATH}"}
            argv += ["--", "", HOST, "checkpassword", "true"]
            with Server(argv, list(ports.values()), directory, settings) as server:
                server.wait_for_log("is ready")
                yield Resident(server, ports, directory, certificate)

    return serve


@pytest.fixture(scope="session")
def eventually():
    """Give the function that polls for a condition, for what happens on its own time."""
    return wait_until
