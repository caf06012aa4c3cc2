"""A running submissiond for tests: started with listeners of its own, spoken to, looked at, and seen to its end.

All its processes, and the programs that these start, are of one session (setsid(2)): so nobody can be missed when it is
asked who is left.
"""

import base64
import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
import types

PATIENCE = 30.0  # seconds: an idle machine needs hundredths, a loaded one with two cores some of them
WORKER_USER, DOOR_USER = "nobody", "daemon"  # of which every Debian has both
ROLES = {"wrk": "worker", "vfy": "verifier", "opn": "opener", "met": "metrics"}
_ESCAPED = re.compile(r"(\w+)=(?:\"((?:[^\"\\]|\\.)*)\"|(\S*))")


def wait_until(condition, what, patience=PATIENCE):
    """Poll until the condition gives something true, and give that back."""
    deadline = time.monotonic() + patience
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what() if callable(what) else what}"
        time.sleep(0.01)
    return outcome


@contextlib.contextmanager
def reserve_port():
    """Keep a loopback port to ourselves while the block runs, as tests/interop/conftest.py does, which says how."""
    start = 20000 + os.getpid() * 7 % 12000
    for port in (20000 + (start + step) % 12000 for step in range(12000)):
        with contextlib.ExitStack() as held:
            lock = held.enter_context(socket.socket(socket.AF_UNIX))
            probe = held.enter_context(socket.socket(socket.AF_INET6))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                lock.bind(f"\0checkpw-test-port-{port}")
                probe.bind(("::", port))
            except OSError:
                continue
            probe.close()
            yield port
            return
    raise AssertionError("no free port on loopback")


def openssl(directory, name="mail", *, host="mail.example", kind=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
    """Make a certificate that signs itself, and give the paths of it and of its key; `FileNotFoundError` if it cannot.

    `kind` is what follows openssl's -newkey.
    """
    program = shutil.which("openssl")
    if program is None:
        raise FileNotFoundError("openssl")
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    words = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-newkey", *kind, "-nodes"]
    argv = [program, "req", "-x509", "-days", "2", *words, "-keyout", key, "-out", certificate]
    subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE)
    return certificate, key


# --- a client


class Client:
    """One connection to the server; the greeting is not read yet."""

    def __init__(self, place, patience=PATIENCE, source=None):
        family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(patience)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect(place)
        except OSError:
            self.socket.close()
            raise
        self._received = b""

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.close()

    def close(self):
        """Hang up."""
        self.socket.close()

    def reset(self):
        """Hang up with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def secure(self, context=None, name="mail.example"):
        """Become a TLS client, that believes everybody if it is not told better; give the socket."""
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        assert not self._received
        self.socket = context.wrap_socket(self.socket, server_hostname=name)
        return self.socket

    def send(self, data):
        """Say something."""
        self.socket.sendall(data)

    def reply(self):
        """Wait for the next reply, all of its lines; `ConnectionError` if none comes any more."""
        while not (found := re.match(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n", self._received)):
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError(f"the end, and only {self._received}")
            self._received += piece
        self._received = self._received[found.end() :]
        return found[0]

    def ask(self, *lines):
        """Say a line and give the answer; of several, the last answer."""
        answer = b""
        for line in lines:
            self.send(line + b"\r\n")
            answer = self.reply()
        return answer

    def hello(self):
        """Read the greeting, and give the answer to EHLO."""
        assert self.reply().startswith(b"220 "), "greeting"
        return self.ask(b"EHLO client.example")

    def login(self, name=b"joe", password=b"secret"):
        """Give the answer to AUTH."""
        return self.ask(plain(name, password))

    def message(self, text=b"Subject: x\r\n\r\nbody\r\n", recipients=(b"b@there.example",)):
        """Send a message, and give the last answer: a refusal on the way or that to the message."""
        lines = [b"MAIL FROM:<a@here.example>", *(b"RCPT TO:<%s>" % recipient for recipient in recipients), b"DATA"]
        for line in lines:
            answer = self.ask(line)
            if answer[:1] not in b"23":
                return answer
        self.send(text + b".\r\n")
        return self.reply()

    def is_at_end(self):
        """Wait for the end of the connection, and tell whether nothing came before it."""
        try:
            return self._received == b"" and self.socket.recv(65536) == b""
        except ConnectionResetError:
            return True

    def is_silent(self, seconds=0.05):
        """Tell whether nothing comes for a while."""
        return not self._received and not select.select([self.socket], [], [], seconds)[0]


def plain(login, password):
    """Give an AUTH PLAIN command."""
    return b"AUTH PLAIN " + base64.b64encode(b"\0%s\0%s" % (login, password))


# --- processes


def look_at(pid):
    """Give what the kernel knows of a process."""
    place = pathlib.Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    descriptors = {}
    for name in os.listdir(place / "fd"):
        with contextlib.suppress(FileNotFoundError):
            descriptors[int(name)] = os.readlink(place / "fd" / name)
    return types.SimpleNamespace(
        status={name: value.split() for name, value in status.items()},
        descriptors=descriptors,
        root=os.readlink(place / "root"),
        maps=(place / "maps").read_text(),
    )


def members(session):
    """Give the processes of a session that have not ended: {pid: (name, parent)}."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                stat = pathlib.Path(f"/proc/{name}/stat").read_text(encoding="ascii", errors="replace")
                title, _, rest = stat.partition("(")[2].rpartition(")")
                state, parent, _group, of = rest.split()[:4]
                if int(of) == session and state not in "ZX":
                    found[int(name)] = title, int(parent)
    return found


# --- the server


class Server:
    """A submissiond.

    Attributes:
        pid: of its supervisor.
        process: it, as `subprocess` has it.
    """

    def __init__(self, argv, environ, log, **started):
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in argv],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=started.pop("stderr", output),
                start_new_session=True,
                **started,
            )
        self.pid = self.process.pid

    # Its log.

    def log(self):
        """Give what it has said so far."""
        return self._log.read_text(encoding="ascii")

    def events(self, kind=None, **fields):
        """Give the lines of its log as dictionaries: of a kind, and with these fields."""
        found = []
        for line in self.log().splitlines():
            program, _, rest = line.partition(": ")
            if program == "submissiond":
                event = {name: plain or quoted for name, quoted, plain in _ESCAPED.findall(rest)}
                if kind in (None, event.get("event")) and fields.items() <= event.items():
                    found.append(event)
        return found

    def wait_for(self, kind=None, times=1, **fields):
        """Wait for an event with these fields, for the so maniest; give it."""
        return wait_until(lambda: self.events(kind, **fields)[times - 1 :], lambda: (kind, fields, self.log()))[0]

    def wait_for_words(self, words, times=1):
        """Wait until the log has these words so often."""
        wait_until(
            lambda: self.log().count(words) >= times or self.process.poll() is not None, lambda: (words, self.log())
        )
        assert self.log().count(words) >= times, self.log()

    def ready(self, times=1):
        """Wait until so many generations were ready, and give the processes of the last one, {role: [pid, ...]}."""
        self.wait_for_words("is ready: ", times)
        line = next(line for line in reversed(self.log().splitlines()) if "is ready: " in line)
        processes = {}
        for role, pid in re.findall(r"(\w+)=(\d+)", line.partition("is ready: ")[2]):
            processes.setdefault(role, []).append(int(pid))
        return processes

    # Its processes.

    def children(self):
        """Give its processes that are there now, {role: [pid, ...]}."""
        found = {}
        for pid, (name, parent) in members(self.pid).items():
            if parent == self.pid and name.startswith("submissiond-"):
                found.setdefault(ROLES[name[-3:]], []).append(pid)
        return found

    def tell(self, number):
        """Send a signal to its supervisor."""
        self.process.send_signal(number)

    def reload(self):
        """Have it start a new generation, and give the processes of that."""
        times = self.log().count("is ready: ")
        self.tell(signal.SIGHUP)
        return self.ready(times + 1)

    def end(self, number=signal.SIGTERM):
        """End it; give its status. Nothing of it is left then."""
        self.tell(number)
        status = self.process.wait(PATIENCE)
        self.is_gone()
        return status

    def is_gone(self):
        """Wait until nothing of it is left."""
        wait_until(lambda: not members(self.pid), lambda: f"left: {members(self.pid)}; log: {self.log()}")

    def kill(self):
        """Kill whatever is left of it."""
        while left := members(self.pid):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.process.poll() is None:
                self.process.wait()
            time.sleep(0.005)
        self.process.poll()


class Site:
    """A place with accounts, a Maildir and certificates, where a server is started.

    Attributes:
        directory: everybody may enter it.
        is_root: the server is started as root, with users for its processes.
    """

    def __init__(self, directory, programs, *, is_root):
        self.directory = directory
        self.programs = programs
        self.is_root = is_root
        self.accounts = directory / "accounts"
        self.accounts.write_text("joe:{PLAIN}secret::::::\nann:{PLAIN}geheim::::::\n", encoding="ascii")
        self.accounts.chmod(0o600)
        self.controls = directory / "control"
        self.controls.mkdir()
        (self.controls / "rewrite").touch()
        self.place = directory / "door"
        self.place.mkdir(mode=0o700)
        if is_root:
            shutil.chown(self.place, DOOR_USER)
        self.maildir = self.place / "Maildir"
        self._held = contextlib.ExitStack()
        self._servers = []

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        for server in self._servers:
            server.kill()
        self._held.close()

    def port(self):
        """Give a port of our own, for as long as the site is there."""
        return self._held.enter_context(reserve_port())

    def connect(self, place, **how):
        """Give a client that hangs up with the test."""
        return self._held.enter_context(Client(place, **how))

    def start(
        self,
        *options,
        chain=("checkpassword", "true"),
        listen=(",plain",),
        environ=None,
        arguments=None,
        workers=1,
        door=None,
        as_root=None,
        prefix=(),
        program=None,
        **started,
    ):
        """Start a server; `listen` are ends of places on loopback, whose ports are in `ports` of the server.

        `door` is the URL of the queue, the Maildir's if there is none; an empty one leaves it to `environ`. What is
        None of `environ` is not set, and of `workers` not said.
        """
        ports = [self.port() for _ in listen]
        for port, end in zip(ports, listen, strict=True):
            options = (*options, "--listen", f"127.0.0.1:{port}{end}")
        if self.is_root if as_root is None else as_root:
            options = (*options, "--user", WORKER_USER, "--door-user", DOOR_USER)
        if door != "":
            options = (*options, "--queue", door or f"maildir:{self.maildir}")
        if workers is not None:
            options = (*options, "--workers", workers)
        settings = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "CHECKPW_ACCOUNTS": f"file:{self.accounts}",
            "OFMIPD_AUTH_DELAY": "0",
            "OFMIPD_QMAIL": "/nonexistent",
            "CONTROLDIR": str(self.controls),
            **(environ or {}),
        }
        argv = [*prefix, program or self.programs / "submissiond", *options]
        arguments = ("", "mail.example", *chain) if arguments is None else arguments
        if arguments:
            argv += ["--", *arguments]
        log = self.directory / f"log.{len(self._servers)}"
        settings = {name: str(value) for name, value in settings.items() if value is not None}
        server = Server(argv, settings, log, **started)
        self._servers.append(server)
        server.ports = ports
        server.places = [("127.0.0.1", port) for port in ports]
        server.place = server.places[0] if ports else None
        return server

    def serve(self, *options, **state):
        """Start a server, and wait until it is ready."""
        server = self.start(*options, **state)
        server.first = server.ready()
        return server

    def queued(self):
        """Give the messages in the Maildir."""
        return [path.read_bytes() for path in self.maildir.glob("new/*")]
