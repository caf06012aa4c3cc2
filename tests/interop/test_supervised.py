"""The service directories of checkpw under the real daemontools, runit and s6: started, asked, told, ended."""

import contextlib
import os
import pathlib
import pwd
import re
import signal
import smtplib
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent)]

import installed

VERIFIERD = "checkpw-verifierd"

pytestmark = pytest.mark.usefixtures("root")


class Manager:
    """How one of the three is spoken to: commands that take a directory behind them."""

    def __init__(self, package, scan, status, up, hangup, terminate, ends):
        self.package = package
        self.scan = scan
        self.status = status
        self.up = up
        self.hangup = hangup
        self.terminate = terminate
        self.ends = ends


MANAGERS = {
    "daemontools": Manager(
        "daemontools",
        ["svscan"],
        ["svstat"],
        r": up \(pid (\d+)\)",
        ["svc", "-h"],
        ["svc", "-t"],
        [["svc", "-dx", "{}", "{}/log"]],
    ),
    "runit": Manager(
        "runit",
        ["runsvdir"],
        ["sv", "status"],
        r"^run: .*?: \(pid (\d+)\)",
        ["sv", "hup"],
        ["sv", "term"],
        [["sv", "exit", "{}"]],
    ),
    "s6": Manager(
        "s6",
        ["s6-svscan"],
        ["s6-svstat"],
        r"^up \(pid (\d+)",
        ["s6-svc", "-h"],
        ["s6-svc", "-r"],
        [["s6-svscanctl", "-t", "."]],
    ),
}


class Running:
    """A service under its manager."""

    def __init__(self, manager, directory, place, name, eventually):
        self.manager = manager
        self.place = place
        self.service = directory / name
        self._eventually = eventually

    def tell(self, command):
        """Run one of the manager's commands for the service, and give what it says."""
        told = subprocess.run([*command, self.service], capture_output=True, text=True, check=False, timeout=20)
        return told.stdout + told.stderr

    def pid(self):
        """Give the number of the program that is supervised, None while there is none."""
        found = re.search(self.manager.up, self.tell(self.manager.status))
        return found and int(found[1])

    def log(self):
        """Give what the log has so far."""
        current = self.service / "log" / "main" / "current"
        return current.read_text(encoding="ascii") if current.exists() else ""

    def wait_for_log(self, text):
        """Wait until the log has a text."""
        self._eventually(lambda: text in self.log(), text)


@pytest.fixture
def supervise(peer, everybodys, loopback, eventually):
    """Give a context manager: a service is written, found and started by its manager, and ended with it."""

    @contextlib.contextmanager
    def run(kind, name, *words):
        manager = MANAGERS[kind]
        for command in (manager.scan, manager.status, manager.hangup):
            peer(command[0], manager.package)
        with loopback.directory() as place, loopback.port() as port:
            installed.make_place(place)
            directory = place / "service"
            ports = [port] if name != VERIFIERD else []
            listen = f"127.0.0.1:{port}" if ports else place / "verifier"
            installed.write(everybodys, directory, kind, "--program", name, *installed.options(place, listen), *words)
            running = Running(manager, directory, place, name, eventually)
            with loopback.server([*manager.scan, directory], ports, directory, {}) as server:
                started = installed.descendants(server.pid)
                try:
                    yield running, port
                finally:
                    started += installed.descendants(server.pid)
                    for command in manager.ends:
                        words = [word.format(running.service) for word in command]
                        subprocess.run(words, cwd=directory, check=False, timeout=20, capture_output=True)
                    os.kill(server.pid, signal.SIGHUP if kind == "runit" else signal.SIGTERM)
                    with contextlib.suppress(AssertionError):
                        eventually(lambda: not any(map(installed.is_alive, started)), "the end of all", patience=10)
                    left = [pid for pid in started if installed.is_alive(pid)]
                    for pid in left:
                        os.kill(pid, signal.SIGKILL)
            assert left == [], "what a manager started ends when it is told to"

    return run


@pytest.mark.parametrize("kind", MANAGERS)
def test_ofmipd_is_served(kind, supervise, eventually):
    """tcpserver runs as the user, ofmipd takes mail, the log is written by its own user, and what dies is restarted."""
    with supervise(kind, "ofmipd", "--data-limit", "40000000") as (service, port):
        installed.submit(port)
        ((text, owner),) = installed.messages(service.place)
        assert "with ESMTPA" in text
        assert owner == installed.USER
        service.wait_for_log("event=message")
        assert (service.service / "log" / "main").owner() == installed.LOG_USER
        first = service.pid()
        limits = installed.limits(first)
        assert {limits[name] for name in ("Max data size", "Max stack size", "Max address space")} == {40_000_000}
        known = installed.environment(first)
        assert set(known) == {"PATH", "CHECKPW_ACCOUNTS", "OFMIPD_QUEUE", "OFMIPD_AUTH_DELAY"}
        assert pathlib.Path(f"/proc/{first}").owner() == installed.USER
        service.tell(service.manager.terminate)
        eventually(lambda: service.pid() not in (None, first), "another process")


@pytest.mark.parametrize("kind", MANAGERS)
def test_submissiond_is_served(kind, supervise, eventually):
    """The resident server runs with its limits, is reloaded by a hangup, and told to end is started again."""
    words = ["--connections", "50", "--options", "--workers 1 --drain-time 0.1"]
    with supervise(kind, "submissiond", *words) as (service, port):
        service.wait_for_log("is ready")
        installed.submit(port)
        ((_, owner),) = installed.messages(service.place)
        assert owner == installed.USER
        limits = installed.limits(service.pid())
        assert limits["Max data size"] == 1_000_000_000
        assert limits["Max open files"] == 4100
        assert installed.environment(service.pid()).keys() == {"PATH", "OFMIPD_AUTH_DELAY"}
        service.tell(service.manager.hangup)
        eventually(lambda: service.log().count("is ready") == 2, "the new generation")
        first = service.pid()
        service.tell(service.manager.terminate)
        eventually(lambda: service.log().count("is ready") == 3, "the next start")
        assert service.pid() != first


def test_authup_is_served(supervise):
    """The whole chain runs as root until somebody has logged in, and the session as who that is."""
    with supervise("daemontools", "authup") as (service, port):
        assert pathlib.Path(f"/proc/{service.pid()}").owner() == "root"
        installed.submit(port)
        ((text, owner),) = installed.messages(service.place)
        assert "joe@127.0.0.1" in text
        assert owner == installed.USER
        service.wait_for_log("event=message")


@pytest.mark.parametrize("kind", MANAGERS)
def test_a_verifier_is_served(kind, programs, supervise):
    """The verifier becomes its user, and answers at a socket that belongs to its group."""
    with supervise(kind, VERIFIERD, "--group", installed.LOG_USER) as (service, _):
        service.wait_for_log("event=start")
        path = service.place / "verifier"
        assert path.group() == installed.LOG_USER
        with open(f"/proc/{service.pid()}/status", encoding="ascii") as status:
            assert f"\nUid:\t{pwd.getpwnam(installed.USER).pw_uid}\t" in status.read()
        asked = subprocess.run(
            [programs / "checkpw", "ask", "--quiet", "--", programs / "checkpassword", "true"],
            input=b"joe\nsecret\n",
            env={
                "PATH": "/usr/bin:/bin",
                "CHECKPW_ACCOUNTS": f"verifier:{path}",
                "CHECKPW_VERIFIER_UID": installed.USER,
            },
            check=False,
            timeout=20,
        )
        assert asked.returncode == 0


def test_no_user_is_not_root(peer, everybodys, loopback):
    """A user that is not there does not make a server that is root: nothing is started."""
    peer("tcpserver", "ucspi-tcp")
    with loopback.directory() as place, loopback.port() as port:
        words = [
            "--program",
            "ofmipd",
            "--user",
            "nosuchuser",
            "--accounts",
            "file:/x",
            "--listen",
            f"127.0.0.1:{port}",
        ]
        installed.write(everybodys, place, "daemontools", *words)
        ended = subprocess.run([place / "ofmipd" / "run"], capture_output=True, text=True, check=False, timeout=20)
        assert ended.returncode == 111
        assert "nosuchuser" in ended.stdout
        with pytest.raises(ConnectionRefusedError):
            smtplib.SMTP("127.0.0.1", port, timeout=20)
