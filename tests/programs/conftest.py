"""Start the installed programs in a process state that a test dictates to the last descriptor, and look at them.

Nothing here waits for a fixed time: a condition is polled until it holds, and every wait has a bound. Whatever a test
started and did not see the end of is killed when it is over.
"""

import ast
import base64
import contextlib
import fcntl
import json
import os
import pathlib
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import resident

PATIENCE = 30.0  # seconds: an idle machine needs hundredths, a loaded one with two cores some of them
STRANGER = 54321  # a uid and a gid that nobody has

# Becomes the process that is described on its command line, as far as a process can, and executes the program.
_ENTER = """
import fcntl, json, os, resource, signal, sys
given = json.loads(sys.argv[1])
held = {int(n): fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, 200) for n, s in given["descriptors"].items()}
os.closerange(3, 200)
for n, source in held.items():
    os.dup2(source, n)
os.chdir(given["cwd"])
os.umask(given["umask"])
for name, pair in given["limits"].items():
    resource.setrlimit(getattr(resource, name), pair)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
for number in given["ignored"]:
    signal.signal(number, signal.SIG_IGN)
if given["user"] is not None:
    os.setgroups(given["groups"])
    os.setgid(given["user"])
    os.setuid(given["user"])
elif given["groups"]:
    os.setgroups(given["groups"])
argv = [word.encode("latin-1") for word in given["argv"]]
environ = {n.encode("latin-1"): v.encode("latin-1") for n, v in given["environ"].items()}
signal.pthread_sigmask(signal.SIG_SETMASK, given["blocked"])
for n in given["closed"]:
    os.close(n)
try:
    os.execve(argv[0], argv, environ)
finally:
    os._exit(126)
"""


# --- time


def wait_until(condition, what, patience=PATIENCE):
    """Poll until the condition gives something true, and give that back."""
    deadline = time.monotonic() + patience
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.005)
    return outcome


# --- descriptors


def unread(descriptor):
    """Tell how many bytes wait in a pipe or a socket."""
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


def read_to_end(descriptor, patience=PATIENCE):
    """Read a pipe until nobody can write to it any more."""
    deadline, whole = time.monotonic() + patience, b""
    while True:
        assert select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0], whole
        piece = os.read(descriptor, 65536)
        if not piece:
            return whole
        whole += piece


# --- processes


def look_at(pid):
    """Give what the kernel knows of a process: all that an exec hands on."""
    place = pathlib.Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    limits = {line[:26].strip(): line[26:66].split() for line in (place / "limits").read_text().splitlines()[1:]}
    descriptors = {}
    for name in os.listdir(place / "fd"):
        flags = dict(line.split(":", 1) for line in (place / "fdinfo" / name).read_text().splitlines() if ":" in line)
        descriptors[int(name)] = (os.readlink(place / "fd" / name), flags["flags"].strip())
    environ = (place / "environ").read_bytes()
    return types.SimpleNamespace(
        pid=pid,
        status={name: value.split() for name, value in status.items()},
        limits=limits,
        descriptors=descriptors,
        environ=dict(entry.split(b"=", 1) for entry in environ.split(b"\0")[:-1]),
        argv=(place / "cmdline").read_bytes().split(b"\0")[:-1],
        cwd=os.readlink(place / "cwd"),
    )


def is_alive(pid):
    """Tell whether a process runs; one that has ended and was not collected does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.fixture(scope="session")
def tools():
    """Give the helpers that tests share."""
    return types.SimpleNamespace(
        patience=PATIENCE,
        stranger=STRANGER,
        wait_until=wait_until,
        unread=unread,
        read_to_end=read_to_end,
        look_at=look_at,
        is_alive=is_alive,
    )


@pytest.fixture
def public():
    """Give a directory that every user can enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="checkpw-public-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def resources():
    """Give an exit stack that closes and kills what the test left."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def pipe(resources):
    """Give a function that makes a pipe, with bytes in it if wanted, and closes its ends when the test is over."""

    def close(descriptor):
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def make(content=None):
        reading, writing = os.pipe()
        resources.callback(close, reading)
        if content is None:
            resources.callback(close, writing)
            return reading, writing
        os.write(writing, content)
        os.close(writing)
        return reading

    return make


@pytest.fixture
def start(resources):
    """Give a function that starts a program as a process whose state is dictated.

    Arguments: `descriptors` maps numbers from 3 on to open descriptors, `closed` names those of 0 to 3 that are not
    there, `ignored` and `blocked` are signals, `user` a uid that is the gid too; `prefix` is a program that runs all.
    """

    def begin(
        argv,
        environ=None,
        *,
        descriptors=None,
        closed=(),
        ignored=(),
        blocked=(),
        limits=None,
        user=None,
        groups=(),
        cwd="/",
        umask=0o22,
        prefix=(),
        **streams,
    ):
        descriptors = descriptors or {}
        given = {
            "argv": [_latin(word) for word in argv],
            "environ": {_latin(name): _latin(value) for name, value in (environ or {}).items()},
            "descriptors": descriptors,
            "closed": list(closed),
            "ignored": list(ignored),
            "blocked": list(blocked),
            "limits": limits or {},
            "user": user if os.geteuid() == 0 else None,
            "groups": list(groups) if os.geteuid() == 0 else [],
            "cwd": str(cwd),
            "umask": umask,
        }
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            [*prefix, sys.executable, "-IS", "-c", _ENTER, json.dumps(given)],
            pass_fds=sorted(set(descriptors.values())),
            **streams,
        )
        resources.callback(_end, process)
        return process

    return begin


def _latin(word):
    return word.decode("latin-1") if isinstance(word, bytes) else os.fsencode(word).decode("latin-1")


def _end(process):
    if process.poll() is None:
        process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


@pytest.fixture
def script(tmp_path):
    """Give a function that writes an executable shell script, for a stand-in."""

    def write(name, text, directory=tmp_path, first_line="#!/bin/sh"):
        path = directory / name
        path.write_text(f"{first_line}\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


# --- the accounts of a machine


@pytest.fixture
def private_etc(root, refuse, public):
    """Give a function that gives the words which run a program where files of /etc, given as lines, are a test's."""

    def words_for(files):
        mounts = []
        for name, lines in files.items():
            (public / name).write_text("\n".join(lines) + "\n", encoding="ascii")
            (public / name).chmod(0o600 if name == "shadow" else 0o644)
            mounts.append(f"mount --bind {public}/{name} /etc/{name}")
        words = ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
            refuse("not run: a private /etc, unshare and mount are not allowed here")
        return words

    return words_for


# --- checkpassword

RECORD = b"joe\0secret\0\0"


@pytest.fixture
def accounts(public):
    """Give a function that writes an account file, and the URL of that store; `mode` is of the file."""

    def write(text, mode=0o644, name="accounts"):
        path = public / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return f"file:{path}"

    return write


@pytest.fixture
def checkpassword(run_chain, programs):
    """Give a function that runs checkpassword to its end, as the one below."""

    def run(*chain, directory=programs, **state):
        return run_chain(directory / "checkpassword", *chain, **state)

    return run


@pytest.fixture
def run_chain(programs, start, pipe, accounts):
    """Give a function that runs a checkpassword program, or another one of a chain, to its end and gives how that was.

    `record` is what descriptor 3 gives; None for the caller's own `descriptors`.
    """

    def run(*argv, record=RECORD, store="joe:{PLAIN}secret::::::\n", environ=None, **state):
        settings = {"PATH": "/usr/bin:/bin"}
        if store is not None:
            settings["CHECKPW_ACCOUNTS"] = store if ":" in store.partition("/")[0] and "\n" not in store else None
            settings["CHECKPW_ACCOUNTS"] = settings["CHECKPW_ACCOUNTS"] or accounts(store)
        settings = {name: value for name, value in {**settings, **(environ or {})}.items() if value is not None}
        if record is not None:
            state["descriptors"] = {3: pipe(record), **state.get("descriptors", {})}
        process = start(argv, settings, **state)
        out, said = process.communicate(timeout=PATIENCE)
        return types.SimpleNamespace(status=process.returncode, out=out, said=said)

    return run


# --- ofmipd


class Session:
    """A running ofmipd, its client's end of it, and its log."""

    def __init__(self, process, log):
        self.process = process
        self.pid = process.pid
        self._log = log
        self._received = b""

    def log(self):
        """Give what it has logged so far."""
        return os.pread(self._log, 1 << 24, 0)

    def send(self, data):
        """Say something, at once; that nobody listens any more is no trouble."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def reply(self):
        """Wait for the next reply, all of its lines."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.match(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n", self._received)):
            patience = max(0.0, deadline - time.monotonic())
            assert select.select([self.process.stdout], [], [], patience)[0], f"no reply, only {self._received}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"the end, and only {self._received}; log: {self.log()}"
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

    def hang_up(self):
        """Go away as a client does whose connection ends."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self):
        """Wait for the end of the process; give status, the rest of what it said, and its log."""
        if not self.process.stdin.closed:
            self.hang_up()
        self.process.stdin = None
        out, _ = self.process.communicate(timeout=PATIENCE)
        return types.SimpleNamespace(status=self.process.returncode, replies=self._received + out, log=self.log())


@pytest.fixture(scope="session")
def controls():
    """Give a directory of control files with no rule for hosts: addresses stay as they are."""
    with tempfile.TemporaryDirectory(prefix="checkpw-control-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        (directory / "rewrite").touch()
        yield directory


@pytest.fixture
def ofmipd(programs, start, resources, controls):
    """Give a function that starts ofmipd for a client who may send without AUTH, or who is asked for a login.

    `environ` adds settings, None takes one away; `state` is that of `start`. The log is a file, which is never full.
    """

    def begin(*checker, environ=None, arguments=("", "mail.example"), directory=programs, **state):
        settings = {
            "PATH": f"{directory}:/usr/bin:/bin",
            "TCPREMOTEIP": "192.0.2.7",
            "OFMIPD_AUTH_DELAY": "0",
            "OFMIPD_QMAIL": "/nonexistent",
            "CONTROLDIR": None if "OFMIPD_QMAIL" in (environ or {}) else str(controls),
            **({} if checker else {"RELAYCLIENT": ""}),
            **(environ or {}),
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        argv = [directory / "ofmipd", *arguments, *checker]
        log = os.memfd_create("log")
        resources.callback(os.close, log)
        return Session(start(argv, settings, **{"stdin": subprocess.PIPE, "stderr": log, **state}), log)

    return begin


ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@there.example>\r\nRCPT TO:<c@there.example>\r\n"
TEXT = (
    b"Date: 1 Jan 2026 00:00:00 -0000\r\nMessage-ID: <1@client.example>\r\nFrom: a@client.example\r\n"
    b"To: b@there.example\r\nSubject: a test\r\n\r\nbody\r\n"
)
"""As rewriting leaves it."""
MESSAGE = ENVELOPE + b"DATA\r\n" + TEXT + b".\r\n"


def plain(login, password):
    """Give an AUTH PLAIN command."""
    return b"AUTH PLAIN " + base64.b64encode(b"\0%s\0%s" % (login, password))


@pytest.fixture(scope="session")
def mail():
    """Give one message, as a client sends it, and the function that makes an AUTH command."""
    return types.SimpleNamespace(envelope=ENVELOPE, text=TEXT, whole=MESSAGE, plain=plain)


@pytest.fixture
def submit(ofmipd):
    """Give a function that sends one message and QUIT, and gives the reply to the message, status and log.

    `door` is `$OFMIPD_QUEUE`, or with `queue` the path of a program in the place of qmail-queue.
    """

    def send(door=None, queue=None, message=MESSAGE, environ=None, **state):
        settings = {"OFMIPD_QUEUE": door, "QMAILQUEUE": None if queue is None else str(queue), **(environ or {})}
        session = ofmipd(environ=settings, **state)
        session.send(b"EHLO client.example\r\n" + message + b"QUIT\r\n")
        done = session.end()
        replies = re.findall(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n", done.replies)
        assert b"".join(replies) == done.replies, done
        done.replies = replies
        # The greeting, EHLO, MAIL, two RCPT, DATA, then the message and QUIT.
        done.reply = (replies[6] if replies[5].startswith(b"354") else replies[5]) if len(replies) > 6 else b""
        return done

    return send


# --- programs that look around


@pytest.fixture
def recorder(tmp_path, script):
    """Give a function that writes a program which notes down all that it was given, and then does what it is told."""

    def write(name, then="", status=0):
        note = tmp_path / f"{name}.note"
        text = f"""
import os, sys, time
descriptors = {{}}
for number in os.listdir("/proc/self/fd"):
    try:
        descriptors[int(number)] = os.readlink("/proc/self/fd/" + number)
    except OSError:
        pass
environ = open("/proc/self/environ", "rb").read().split(b"\\0")[:-1]
given = dict(descriptors=descriptors, environ=dict(entry.split(b"=", 1) for entry in environ),
    argv=[os.fsencode(word) for word in sys.argv], group=os.getpgrp(), pid=os.getpid(), cwd=os.getcwd(), read={{}})
def read(descriptor):
    given["read"][descriptor] = open(descriptor, "rb", closefd=False).read()
{then}
open({str(note)!r}, "a").write(repr(given) + "\\n")
os._exit({status})
"""
        path = script(name, text, first_line=f"#!{sys.executable} -IS")
        return path, lambda: [ast.literal_eval(line) for line in note.read_text().splitlines()]

    return write


@pytest.fixture
def extra(pipe, tmp_path, resources):
    """Give descriptors that ofmipd inherits and that are nobody else's business."""
    (tmp_path / "extra").touch()
    file = os.open(tmp_path / "extra", os.O_RDWR)
    resources.callback(os.close, file)
    reading, writing = pipe()
    return {3: reading, 5: file, 9: writing, 20: file}


# --- the log


def parse_line(line):
    """Read a log line by the letter of its description; anything that is not it is an error."""
    program, separator, rest = line.partition(b": ")
    assert separator and program == b"ofmipd", line
    fields = []
    while rest:
        found = re.match(rb'([a-z_]+)=(?:"((?:[ !#-\[\]-~]|\\["\\]|\\x[0-9a-f]{2})*)"|([!#-<>-\[\]-~]+))(?: |\Z)', rest)
        assert found, (line, rest)
        name, quoted, plain = found.groups()
        fields.append((name.decode(), plain if quoted is None else _unescape(quoted)))
        rest = rest[found.end() :]
    names = [name for name, _ in fields]
    assert len(set(names)) == len(names), line
    assert names[:3] == ["client", "pid", "event"], line
    return dict(fields)


def _unescape(text):
    def meant(found):
        return bytes([int(found[1], 16)]) if found[1] else found[2]

    return re.sub(rb'\\(?:x([0-9a-f]{2})|(["\\]))', meant, text)


@pytest.fixture(scope="session")
def events():
    """Give a function that reads a log: each line's fields, of one kind of event or of all."""

    def read(log, kind=None):
        assert not log or log.endswith(b"\n"), log
        lines = [parse_line(line) for line in log.split(b"\n")[:-1]]
        return [fields for fields in lines if kind is None or fields["event"] == kind.encode()]

    return read


@pytest.fixture
def kill_later(resources):
    """Give a function that has a process killed when the test is over, whatever becomes of the test."""

    def note(pid):
        def end():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

        resources.callback(end)

    return note


# --- submissiond


def _faults(text):
    """Give the lines of a log that speak of faults of ours."""
    return [line for line in text.splitlines() if "event=trouble" in line or "unexpected trouble" in line]


@pytest.fixture
def site(programs, public):
    """Give a place where submissiond is started; nothing of it is left afterwards, and its log tells of no fault."""
    with resident.Site(public, programs, is_root=os.geteuid() == 0) as place:
        yield place
        for log in public.glob("log.*"):
            assert not _faults(log.read_text(encoding="ascii")), log.read_text(encoding="ascii")


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory, refuse):
    """Give a function that makes a certificate, and gives the paths of it and of its key."""

    def make(name="mail", **words):
        try:
            return resident.openssl(tmp_path_factory.mktemp(name), name, **words)
        except FileNotFoundError:
            refuse("peer not installed: openssl (Debian package openssl)")

    return make


@pytest.fixture(scope="session")
def certificate(make_certificate):
    """Give the paths of a certificate for mail.example and of its key."""
    return make_certificate()


@pytest.fixture(scope="session")
def pair(certificate):
    """Give the path of a file with that certificate and its key; the certificate alone is beside it, as `.crt`."""
    text, key = (pathlib.Path(path).read_bytes() for path in certificate)
    path = pathlib.Path(certificate[0]).with_name("pair.pem")
    path.write_bytes(key + text)
    path.with_name("pair.pem.crt").write_bytes(text)
    return path


@pytest.fixture
def tls(certificate):
    """Give submissiond's options for that certificate."""
    return "--tls-cert", certificate[0], "--tls-key", certificate[1]
