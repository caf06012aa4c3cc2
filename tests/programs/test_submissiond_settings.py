"""submissiond's settings: command line, environment and TOML; what makes no sense; what systemd says and hears."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from resident import Client, wait_until

from checkpw import certificates

MISUSE, TROUBLE = 2, 111


def _run(site, *argv, **environ):
    settings = {"PATH": f"{site.programs}:/usr/bin:/bin", **environ}
    return subprocess.run(
        [site.programs / "submissiond", *map(str, argv)],
        env=settings,
        capture_output=True,
        timeout=30,
        check=False,
        text=True,
    )


def _who(site):
    return ("--user", "nobody") if site.is_root else ()


# --- misuse


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ((), "nowhere to listen"),
        (("--listen", "25"), "want ADDRESS:PORT"),
        (("--listen", "127.0.0.1:99999"), "want ADDRESS:PORT"),
        (("--listen", "127.0.0.1:1,plain,tls"), "want ADDRESS:PORT"),
        (("--listen", "127.0.0.1:1,ssl"), "want ADDRESS:PORT"),
        (("--listen", "::1:25"), "an IPv6 address stands in brackets"),
        (("--listen", "127.0.0.1:1,tls"), "tls needs --tls-cert"),
        (("--listen", "127.0.0.1:465"), "tls needs --tls-cert"),
        (("--listen", "127.0.0.1:1,proxy"), "name the balancers with --proxy-from"),
        (("--listen", "127.0.0.1:1", "--proxy-from", "nonsense"), "nonsense"),
        (("--listen", "127.0.0.1:1", "--relay-from", "192.0.2.0/99"), "192.0.2.0/99"),
        (("--listen", "127.0.0.1:1", "--tls-key", "key"), "there are more --tls-key than --tls-cert"),
        (("--listen", "127.0.0.1:1", "--workers", "0"), "--workers"),
        (("--listen", "127.0.0.1:1", "--max-connections", "many"), "--max-connections"),
        (("--listen", "127.0.0.1:1", "--metrics", "nonsense"), "--metrics"),
        (("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0,tls"), "HTTP without TLS"),
        (("--listen", "127.0.0.1:0", "--metrics", "/run/x"), "HTTP without TLS"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_misuse(site, argv, text):
    done = _run(site, *_who(site), *argv)
    assert (done.returncode, done.stdout) == (MISUSE, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "environ", "text"),
    [
        (("--", "", "checkpassword", "true"), {}, "looks like a checker"),
        (("--", "", "mail.example", "checkpassword"), {}, "no program after"),
        (("--", "", "mail.example", "true", "true"), {}, "would let everybody in"),
        (("--queue", "nonsense", "--", "", "mail.example"), {}, "names no door"),
        (("--queue", "smtp://", "--", "", "mail.example"), {}, "smtp"),
        (("--tls-cert", "/nonexistent", "--", "", "mail.example"), {}, "/nonexistent"),
        (("--auth-tries", "1", "--", "", "mail.example"), {}, "at least 3"),
        (("--", "/nonexistent/name.cdb", "mail.example"), {}, "/nonexistent/name.cdb"),
        (("--",), {"OFMIPD_TIMEOUT": "soon"}, "is not a number of seconds"),
        (("--loop", "uvloop", "--config", "/nonexistent"), {}, "unable to read /nonexistent"),
    ],
)
def test_settings_that_make_no_sense(site, argv, environ, text):
    place = f"127.0.0.1:{site.port()}"
    environ = {"OFMIPD_QUEUE": f"maildir:{site.maildir}", "CONTROLDIR": str(site.controls), **environ}
    done = _run(site, *_who(site), "--listen", place, *argv, **environ)
    assert done.returncode in (MISUSE, TROUBLE)
    assert text in done.stderr
    assert "unexpected" not in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 4


def test_help_and_version(site):
    done = _run(site, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("--listen PLACE", "EXAMPLES", "--accounts URL", "[env var: OFMIPD_QUEUE]", "[default: 10000"):
        assert words in done.stdout, words


# --- TOML and the environment


def _config(site, text):
    path = site.directory / "submissiond.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_in_a_file(site, certificate):
    port = site.port()
    config = _config(
        site,
        f"""
listen = ["127.0.0.1:{port},starttls"]
tls-cert = ["{certificate[0]}"]
tls-key = ["{certificate[1]}"]
{"user = 'nobody'" if site.is_root else ""}
{"door-user = 'daemon'" if site.is_root else ""}
workers = 1
queue = "maildir:{site.maildir}"
accounts = "file:{site.accounts}"
max-bytes = 5000
auth-delay = 0
hide-user = true
relay-from = ["127.0.0.2", "192.0.2.0/24"]
min-rate = 0
drain-time = 1.5
arguments = ["", "from.file.example", "checkpassword", "true"]
""",
    )
    environ = {"CHECKPW_ACCOUNTS": None, "OFMIPD_AUTH_DELAY": None}
    server = site.serve(
        "--config", config, listen=(), door="", workers=None, arguments=(), as_root=False, environ=environ
    )
    assert len(server.first["worker"]) == 1
    with Client(("127.0.0.1", port)) as client:
        assert b"from.file.example" in client.reply()
        assert b"SIZE 5000" in client.ask(b"EHLO client.example")
        assert client.login(b"joe", b"wrong").startswith(b"535 ")
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
    assert b"joe" not in site.queued()[0]
    with Client(("127.0.0.1", port), source="127.0.0.2") as client:
        client.hello()
        assert client.message().startswith(b"250 ")


@pytest.mark.parametrize(
    ("said", "environ", "expected"),
    [
        ((), {}, 1000),
        ((), {"DATABYTES": "2000"}, 2000),
        (("--max-bytes", "3000"), {"DATABYTES": "2000"}, 3000),
    ],
)
def test_who_has_the_last_word(site, said, environ, expected):
    """Command line, environment, file, control file."""
    (site.controls / "databytes").write_text("500\n", encoding="ascii")
    config = _config(site, "max-bytes = 1000\nmax-per-address = 1\n")
    server = site.serve("--config", config, *said, environ={**environ, "SUBMISSIOND_MAX_PER_ADDRESS": "2"})
    first, second, third = (site.connect(server.place) for _ in range(3))
    assert b"SIZE %d\r\n" % expected in first.hello()
    second.hello()
    assert third.reply().startswith(b"421 ")


def test_settings_in_the_environment(site):
    port, other = site.port(), site.port()
    environ = {
        "SUBMISSIOND_LISTEN": f"127.0.0.1:{port},plain [::1]:{other},plain",
        "SUBMISSIOND_WORKERS": "2",
        "SUBMISSIOND_RELAY_FROM": "127.0.0.1 ::1",
        "SUBMISSIOND_AUTH_PLAINTEXT": "1",
        **({"SUBMISSIOND_USER": "nobody", "SUBMISSIOND_DOOR_USER": "daemon"} if site.is_root else {}),
    }
    server = site.serve(listen=(), workers=None, as_root=False, environ=environ)
    assert len(server.first["worker"]) == 2
    for place in (("127.0.0.1", port), ("::1", other)):
        with Client(place) as client:
            client.hello()
            assert client.message().startswith(b"250 ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen = [", "toml"),
        ("no-such-thing = 1", "no such setting: no-such-thing"),
        ("[section]\nlisten = []", "no such setting: section"),
        ("workers = 'many'", "workers"),
        ("workers = 0", "workers"),
        ("max-connections = -1", "max-connections"),
        ("listen = 587", "listen"),
        ("listen = '127.0.0.1:1'", "listen"),
        ("arguments = 'mail.example'", "arguments"),
        ("arguments = [1, 2]", "arguments"),
        ("config = '/etc/other.toml'", "config"),
        ("queue = ['maildir:/x']", "queue"),
        ("user = {}", "user"),
        ("help = true", "help"),
    ],
)
def test_a_file_that_makes_no_sense(site, text, words):
    config = _config(site, text)
    done = _run(site, *_who(site), "--config", config)
    assert done.returncode in (MISUSE, TROUBLE), done.stderr
    assert words in done.stderr, done.stderr
    assert "unexpected" not in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_is_no_text(site):
    config = site.directory / "bytes.toml"
    config.write_bytes(b"listen = ['\xff']\n")
    done = _run(site, "--config", config)
    assert done.returncode == TROUBLE
    assert str(config) in done.stderr
    assert "unexpected" not in done.stderr


def test_switches_are_as_in_ofmipd(site):
    """There a variable that is set says yes, whatever it is set to."""
    server = site.serve(environ={"OFMIPD_HIDE_USER": "please"})
    with Client(server.place) as client:
        client.hello()
        client.login()
        assert client.message().startswith(b"250 ")
    assert b"joe" not in site.queued()[0]


# --- numbers for Prometheus


def _get(place, path):
    try:
        with urllib.request.urlopen(f"http://{place[0]}:{place[1]}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health(site, tls):
    pytest.importorskip("prometheus_client")
    port = site.port()
    server = site.serve(*tls, "--metrics", f"127.0.0.1:{port}", listen=(",starttls",), workers=2)
    place = "127.0.0.1", port
    with Client(server.place) as client:
        client.hello()
        client.ask(b"STARTTLS")
        client.secure()
        client.ask(b"EHLO client.example")
        client.login(b"joe", b"wrong")
        client.login()
        client.message()
        status, text = _get(place, "/metrics")
        assert status == 200
        name = f'listener="127.0.0.1:{server.ports[0]}"'
        assert f"submissiond_connections{{{name}}} 1.0" in text
        client.ask(b"QUIT")
    server.wait_for("session")
    _, text = _get(place, "/metrics")
    for words in (
        f"submissiond_connections{{{name}}} 0.0",
        f'submissiond_sessions_total{{{name},reason="quit"}} 1.0',
        f'submissiond_auth_total{{{name},mechanism="PLAIN",verdict="accepted"}} 1.0',
        f'submissiond_auth_total{{{name},mechanism="PLAIN",verdict="rejected"}} 1.0',
        f'submissiond_messages_total{{{name},result="queued"}} 1.0',
        f'submissiond_tls_handshakes_total{{{name},protocol="TLSv1.3"}} 1.0',
        f"submissiond_message_seconds_count{{{name}}} 1.0",
    ):
        assert words in text, words
    assert _get(place, "/healthz") == (200, "ok\n")
    assert _get(place, "/other")[0] == 404
    # Somebody who asks and does not go on, and one who goes away: others are answered all the same.
    with socket.create_connection(place):
        server.reload()
        wait_until(lambda: _get(place, "/healthz") == (200, "ok\n"), server.log)
    assert server.end() == 0


def test_metrics_at_all_addresses_of_a_name(site):
    pytest.importorskip("prometheus_client")
    port = site.port()
    server = site.serve("--metrics", f":{port}")
    for host in ("127.0.0.1", "[::1]"):
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=20) as answer:
            assert answer.read() == b"ok\n"
    assert server.end() == 0


def test_a_certificate_that_is_about_to_end(site):
    certificate, key = certificates.self_signed(str(site.directory), "mail.example", days=3)
    server = site.serve("--tls-cert", certificate, "--tls-key", key, listen=(",starttls",))
    server.wait_for_words("the certificate expires in 3 days")


def test_the_file_of_a_socket(site):
    """It is there as long as the server, and what somebody else has put there stays."""
    path = site.directory / "socket"
    server = site.serve("--listen", f"{path},plain")
    assert path.is_socket()
    assert server.end() == 0
    assert not path.exists()
    server = site.serve("--listen", f"{path},plain")
    path.unlink()
    path.write_text("mine")
    assert server.end() == 0
    assert path.read_text() == "mine"


def test_health_without_workers(site):
    pytest.importorskip("prometheus_client")
    port = site.port()
    server = site.serve("--metrics", f"127.0.0.1:{port}")
    for _ in range(3):
        pid = wait_until(lambda: server.children().get("worker"), server.log)[0]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: pid not in server.children().get("worker", []), server.log)
    assert _get(("127.0.0.1", port), "/healthz")[0] == 503
    wait_until(lambda: _get(("127.0.0.1", port), "/healthz")[0] == 200, server.log)


# --- systemd

_ACTIVATE = """
import fcntl, os, sys
given = [int(word) for word in sys.argv[1].split(",")]
moved = [fcntl.fcntl(number, fcntl.F_DUPFD, 50) for number in given]
for at, number in enumerate(moved):
    os.dup2(number, 3 + at)
os.closerange(3 + len(given), 200)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(given))
os.execv(sys.argv[2], sys.argv[2:])
"""


def _activated(site, sockets, *options, **state):
    numbers = [one.fileno() for one in sockets]
    prefix = (sys.executable, "-c", _ACTIVATE, ",".join(map(str, numbers)))
    return site.start(*options, listen=state.pop("listen", ()), prefix=prefix, pass_fds=numbers, **state)


def test_sockets_from_systemd(site, tls):
    path = str(site.directory / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as second,
        socket.socket(socket.AF_UNIX) as third,
    ):
        third.bind(path)
        third.listen()
        environ = {"LISTEN_FDNAMES": "plain:tls:unknown"}
        server = _activated(site, (first, second, third), *tls, environ=environ, listen=(",plain",))
        server.ready()
        for place in (first.getsockname(), path, server.place):
            with Client(place) as client:
                client.hello()
        with Client(second.getsockname()[:2]) as client:
            client.secure()
            client.hello()
            assert client.login().startswith(b"235 ")
            assert client.message().startswith(b"250 ")
        server.reload()
        with Client(first.getsockname()) as client:
            client.hello()
    server.wait_for("session", times=5)
    assert server.end() == 0


def test_what_is_no_listener(site):
    with socket.socket() as unbound:
        server = _activated(site, (unbound,))
        assert server.process.wait(30) == MISUSE
        assert "no stream socket that listens" in server.log()


@pytest.fixture
def systemd(site):
    """Give a socket that hears what systemd hears, and a function that gives the next message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(site.directory / "notify"))
        ear.settimeout(30)
        yield lambda: dict(line.split("=", 1) for line in ear.recv(4096).decode().split("\n"))


def test_what_systemd_is_told(site, systemd):
    server = site.start(environ={"NOTIFY_SOCKET": site.directory / "notify"})
    message = systemd()
    assert message["READY"] == "1"
    assert "is ready" in server.log()
    before = time.monotonic_ns() // 1000
    server.tell(signal.SIGHUP)
    message = systemd()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert systemd()["READY"] == "1"
    (site.controls / "databytes").write_text("many\n", encoding="ascii")
    server.tell(signal.SIGHUP)
    assert systemd()["RELOADING"] == "1"
    assert systemd()["READY"] == "1", "also when nothing comes of it"
    server.tell(signal.SIGTERM)
    assert systemd()["STOPPING"] == "1"
    assert server.process.wait(30) == 0


def test_each_reload_is_answered(site, systemd):
    """Or systemd waits for one, and takes the service for hung."""
    server = site.start(environ={"NOTIFY_SOCKET": site.directory / "notify"})
    assert systemd()["READY"] == "1"
    server.tell(signal.SIGHUP)
    assert systemd()["RELOADING"] == "1"
    server.tell(signal.SIGHUP)
    assert systemd()["READY"] == "1"
    assert systemd()["RELOADING"] == "1"
    assert systemd()["READY"] == "1"


def test_the_watchdog(site, systemd):
    server = site.start(environ={"NOTIFY_SOCKET": site.directory / "notify", "WATCHDOG_USEC": "400000"})
    times = []
    while len(times) < 4:
        message = systemd()
        if message.get("WATCHDOG") == "1":
            times.append(time.monotonic())
    assert all(later - earlier < 0.4 for earlier, later in itertools.pairwise(times[1:]))
    assert server.end() == 0


def test_programs_are_not_told_of_systemd(site, script):
    note = site.place / "note"
    queue = script("queue", f"env >{note}; cat >/dev/null; cat <&1 >/dev/null", site.directory)
    checker = script("checker", f"env >{note}.checker; cat <&3 >/dev/null", site.directory)
    with socket.create_server(("127.0.0.1", 0)) as given:
        environ = {"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": "9000000", "QMAILQUEUE": queue}
        server = _activated(site, (given,), environ=environ, door="", chain=(checker, "true"))
        server.ready()
        with Client(given.getsockname()) as client:
            client.hello()
            assert client.login().startswith(b"235 ")
            assert client.message().startswith(b"250 ")
    for path in (note, note.with_suffix(".checker")):
        text = path.read_text(encoding="ascii")
        assert "LISTEN_" not in text and "NOTIFY_" not in text and "WATCHDOG_" not in text
