"""The units of checkpw: read by systemd itself, measured by it, and their commands run within what they allow.

There is no systemd that runs as process 1 here. `sandboxed.py` stands in for what it does before it starts a command;
sockets come from the real systemd-socket-activate.
"""

import contextlib
import os
import pathlib
import re
import shutil
import smtplib
import ssl
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE)]

import installed
from sandboxed import allowed, read

HOST = ["--hostname", installed.HOST, "--user", installed.USER]
FILE = ["--accounts", "file:/etc/checkpw/accounts"]
MAILDIR = ["--queue", "maildir:/var/spool/submitted"]
TLS = ["--tls-cert", "/etc/ssl/mail.pem", "--tls-key", "/etc/ssl/mail key.pem"]
VERIFIERD = ["--program", "checkpw-verifierd", "--group", installed.USER]

UNPRIVILEGED = {
    "maildir": [*HOST, *FILE, *MAILDIR, *TLS],
    "relay": [*HOST, *FILE, *TLS, "--queue", "smtp://127.0.0.1:10025"],
    "verifier": [*HOST, *MAILDIR, *TLS, "--accounts", "verifier:/run/checkpw/verifier"],
    "places": [*HOST, *FILE, *MAILDIR, *TLS, "--listen", "[::1]:587", "--listen", "/run/mail/proxied,starttls,proxy"],
    "ofmipd": [*HOST, *FILE, *MAILDIR, "--program", "ofmipd"],
    "verifierd": [*VERIFIERD, *FILE, "--user", installed.USER],
}
ROOT = {
    "qmail": [*HOST, *TLS],
    "sendmail": [*HOST, *FILE, *TLS, "--queue", "sendmail:/usr/sbin/sendmail"],
    "authup": [*HOST, "--program", "authup"],
    "verifierd-system": VERIFIERD,
}


@pytest.fixture(scope="module")
def systemd(peer):
    """Insist on systemd's tools, and give the path of systemd-analyze."""
    peer("systemd-socket-activate", "systemd")
    return peer("systemd-analyze", "systemd")


@pytest.fixture
def units(everybodys, systemd, tmp_path):
    """Give a function that writes units, and gives the paths of sockets and services."""

    def make(words):
        paths = [pathlib.Path(path) for path in installed.write(everybodys, tmp_path, "systemd", *words)]
        return [path for path in paths if path.suffix == ".socket"], [
            path for path in paths if path.suffix != ".socket"
        ]

    return make


@pytest.mark.parametrize("name", UNPRIVILEGED | ROOT)
def test_systemd_understands_them(name, units, systemd, run, tmp_path):
    """`systemd-analyze verify` has nothing to say about any of them."""
    sockets, services = units((UNPRIVILEGED | ROOT)[name])
    assert sockets and len(services) == 1
    told = run(
        [systemd, "verify", "--man=no", "--recursive-errors=no", *sockets, *services], SYSTEMD_UNIT_PATH=f"{tmp_path}:"
    )
    assert (told.returncode, told.stdout) == (0, b"")


@pytest.mark.parametrize("name", UNPRIVILEGED | ROOT)
def test_exposure(name, units, systemd, run):
    """What begins without root is exposed less than 2.0 by systemd's own measure; what cannot, says why."""
    _, (service,) = units((UNPRIVILEGED | ROOT)[name])
    text = service.read_text(encoding="utf-8")
    told = run([systemd, "security", "--offline=true", "--no-pager", service], HOME="/root").stdout.decode()
    figure = float(re.search(r"Overall exposure level for \S+: (\d+\.\d)", told)[1])
    assert ("User=" in text) == (name in UNPRIVILEGED)
    assert ("# Started as root: " in text) == (name in ROOT)
    assert figure < (2.0 if name in UNPRIVILEGED else 3.5)


def test_setuid_programs_work_in_units_of_root(units):
    """Nothing that would take away what a setuid queue program gains is in a unit that is started as root."""
    for words in ROOT.values():
        _, (service,) = units([*words, "--force"])
        assert not {"NoNewPrivileges", "RestrictSUIDSGID", "User", "PrivateUsers"} & set(read(service))


# --- within what a unit allows


@pytest.fixture
def activated(everybodys, systemd, loopback, eventually, root):
    """Give a context manager: a unit's command runs in its sandbox, with a socket from systemd-socket-activate."""

    @contextlib.contextmanager
    def serve(place, listen, words, options=()):
        (path,) = [
            path for path in installed.write(everybodys, place / "units", "systemd", *words) if "service" in path
        ]
        credentials = place / f"credentials-{pathlib.Path(path).stem}"
        credentials.mkdir(mode=0o755)
        credentials.chmod(0o755)
        sandboxed = [sys.executable, HERE / "sandboxed.py", path, credentials]
        argv = [shutil.which("systemd-socket-activate"), "-l", listen, *options, *sandboxed]
        with loopback.server(argv, [], place, {}) as server:
            server.wait_for_log("Listening on")
            yield server, read(path)

    return serve


def _log_in(port, certificate=None):
    client = smtplib.SMTP("localhost" if certificate else "127.0.0.1", port, local_hostname="client", timeout=30)
    if certificate:
        client.starttls(context=ssl.create_default_context(cafile=certificate))
    client.ehlo()
    assert client.docmd("AUTH PLAIN", installed.WRONG)[0] == 535
    assert client.docmd("AUTH PLAIN", installed.RIGHT)[0] == 235
    return client


def _status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return dict(line.split(":\t", 1) for line in text.splitlines())


def _check_the_sandbox(server, is_root):
    """See to it that the processes are really locked in."""
    for pid in installed.descendants(server.pid):
        status = _status(pid)
        # The supervisor has the unit's filter, and a worker one of its own on top.
        assert int(status["Seccomp_filters"]) >= 1
        assert is_root or (status["NoNewPrivs"], int(status["CapBnd"], 16)) == ("1", 0)
        if not is_root:
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def test_an_unprivileged_server(activated, certify, loopback):
    """submissiond serves with TLS from credentials into a Maildir, with no rights, no network and no other file."""
    with loopback.directory() as place, loopback.port() as port:
        installed.make_place(place)
        certificate, key = certify(place, "localhost")
        words = [*installed.options(place, f"127.0.0.1:{port}"), "--tls-cert", certificate, "--tls-key", key]
        with activated(place, f"127.0.0.1:{port}", words) as (server, unit):
            with _log_in(port, certificate) as client:
                client.sendmail("joe@example.org", ["ann@example.net"], installed.LETTER)
                _check_the_sandbox(server, is_root=False)
            assert str(key) not in unit["ExecStart"][0]
            assert "not filtered" not in server.log(), "the workers' own filter is there as well"
        ((_, owner),) = installed.messages(place)
        assert owner == installed.USER


def test_behind_a_verifier(activated, loopback):
    """Two units: the verifier, which alone can read the accounts, and a server that asks it."""
    with loopback.directory() as place, loopback.port() as port:
        installed.make_place(place)
        shutil.chown(place / "accounts", "root", "root")
        path = place / "verifier"
        verifier = [*VERIFIERD, "--accounts", f"file:{place}/accounts", "--root", "--listen", path]
        server = [*installed.options(place, f"127.0.0.1:{port}"), "--accounts", f"verifier:{path}"]
        with activated(place, str(path), verifier) as (verifying, _):
            path.chmod(0o660)  # SocketMode= and SocketGroup=
            shutil.chown(path, group=installed.USER)
            with activated(place, f"127.0.0.1:{port}", server) as (serving, _), _log_in(port) as client:
                client.sendmail("joe@example.org", ["ann@example.net"], installed.LETTER)
                assert len(installed.messages(place)) == 1
                _check_the_sandbox(serving, is_root=False)
            assert verifying.log().count("event=verify") == 2


def test_a_server_that_is_started_as_root(activated, loopback):
    """Users are become, and a setuid queue program is one, within the filter and with five capabilities."""
    with loopback.directory() as place, loopback.port() as port:
        installed.make_place(place)
        shell = place / "setuid-sh"
        shutil.copyfile("/bin/dash", shell)
        shutil.chown(shell, "news", "news")
        shell.chmod(0o4755)
        queue = place / "queue"
        queue.write_text(
            f"#!{shell} -p\nset -e\ncd {place}/queued\ncat >message\ncat <&1 >envelope\n", encoding="ascii"
        )
        queue.chmod(0o755)
        (place / "queued").mkdir()
        shutil.chown(place / "queued", "news", "news")
        words = installed.options(place, f"127.0.0.1:{port}")
        words[words.index("--queue") + 1] = ""
        words += ["--env", f"QMAILQUEUE={queue}", "--root", "--door-user", "daemon"]
        with activated(place, f"127.0.0.1:{port}", words) as (server, unit), _log_in(port) as client:
            client.sendmail("joe@example.org", ["ann@example.net"], installed.LETTER)
            assert (place / "queued" / "envelope").owner() == "news"
            _check_the_sandbox(server, is_root=True)
            pids = installed.descendants(server.pid)
            roots = {os.readlink(f"/proc/{pid}/root") for pid in pids}
            assert any(path.endswith(" (deleted)") for path in roots), "workers are in a directory that is gone"
            users = {_status(pid)["Uid"].split()[0] for pid in pids}
            assert len(users) == 3, "root, the user and the one at the door"
            assert "chroot" in allowed(unit)
        assert not any(map(installed.is_alive, pids))


def test_a_process_for_each_client(activated, loopback, eventually):
    """ofmipd gets its connection from systemd as descriptors 0 and 1, and knows the client's address."""
    with loopback.directory() as place, loopback.port() as port:
        installed.make_place(place)
        words = [*installed.options(place, f"127.0.0.1:{port}"), "--program", "ofmipd"]
        with activated(place, f"127.0.0.1:{port}", words, ["--accept", "--inetd", "-E", "REMOTE_ADDR=127.0.0.1"]) as (
            server,
            _,
        ):
            with _log_in(port) as client:
                client.sendmail("joe@example.org", ["ann@example.net"], installed.LETTER)
            ((_, owner),) = installed.messages(place)
            assert owner == installed.USER
            eventually(lambda: "event=session" in server.log(), "the session in the log")
