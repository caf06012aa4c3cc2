"""Which process of submissiond can do what: as the kernel has it, and by attempts; as root, and as somebody else.

The table of checkpw-security(7). What a confined process may still call is in test_confine.py.
"""

import json
import os
import pathlib
import pwd
import resource
import shutil
import subprocess
import sys

import pytest
import resident
from resident import DOOR_USER, WORKER_USER, Client, look_at, wait_until

from checkpw import confine

KEY = "memfd:checkpw key"
ALL_CAPABILITIES = 0xFFFFFFFF


def _inodes(place):
    """Give the sockets that listen on a port, as links of descriptors have them."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{place[1]:04X}") and row[3] == "0A"}


def _who(look):
    return {name: set(look.status[name]) for name in ("Uid", "Gid")}, look.status["Groups"]


def _user(name):
    user = pwd.getpwnam(name)
    return {"Uid": {str(user.pw_uid)}, "Gid": {str(user.pw_gid)}}, [str(user.pw_gid)]


def _files(look):
    """Give what descriptors lead to that is in a file system."""
    return {target for target in look.descriptors.values() if target.startswith("/")}


def _serve(site, *options, **state):
    port = site.port()
    server = site.serve("--metrics", f"127.0.0.1:{port}", *options, **state)
    server.metrics = "127.0.0.1", port
    return server


@pytest.fixture(params=["from the beginning", "after a reload", "replaced after a reload"])
def server(site, tls, request):
    """Give a server with all kinds of processes, whose first ones, or later ones, are looked at."""
    server = _serve(site, *tls, arguments=None)
    held = None
    if request.param != "from the beginning":
        held = site.connect(server.place)
        held.hello()  # so that the old generation is still there
        first = server.children()
        server.reload()
        server.first = {role: sorted({*pids} - {*first[role]}) for role, pids in server.children().items()}
    if request.param.startswith("replaced"):
        before = {pid for pids in server.children().values() for pid in pids}
        for pids in server.first.values():
            os.kill(pids[0], 9)
        for role in server.first:
            wait_until(lambda role=role: {*server.children().get(role, ())} - before, lambda role=role: role)

        def are_ready():
            children = server.children()
            server.first = {role: [pid for pid in pids if pid not in before] for role, pids in children.items()}
            names = [pid for pids in server.first.values() for pid in pids]
            return len(names) >= 4

        wait_until(are_ready, server.log)
        with Client(server.place) as client:
            client.hello()
    return server


@pytest.mark.usefixtures("root")
def test_who_they_are(server):
    supervisor = look_at(server.pid)
    assert _who(supervisor)[0] == {"Uid": {"0"}, "Gid": {"0"}}
    assert supervisor.status["Threads"] == ["1"]
    for role, user in (("worker", WORKER_USER), ("metrics", WORKER_USER), ("opener", DOOR_USER)):
        for pid in server.first[role]:
            look = look_at(pid)
            assert _who(look) == _user(user), role
            for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert int(look.status[name][0], 16) == 0, (role, name)
    for pid in server.first["verifier"]:
        assert _who(look_at(pid))[0] == {"Uid": {"0"}, "Gid": {"0"}}


@pytest.mark.usefixtures("root")
def test_who_is_confined(server):
    for role, pids in server.first.items():
        for pid in pids:
            look = look_at(pid)
            talks_to_strangers = role in ("worker", "metrics")
            assert look.status["NoNewPrivs"] == [str(int(talks_to_strangers))], role
            assert look.status["Seccomp"] == (["2"] if talks_to_strangers else ["0"]), role
            assert look.root.endswith(" (deleted)") is talks_to_strangers, role
            lines = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
            limits = {line[:26].strip(): line[26:46].strip() for line in lines}
            assert limits["Max core file size"] == "0"
            assert (limits["Max processes"] == "0") is talks_to_strangers, role


def test_what_they_have_open(site, server):
    clients, metrics = _inodes(server.place), _inodes(server.metrics)
    assert clients and metrics
    with Client(server.place) as client:
        client.hello()
        client.login()
        for role, pids in server.first.items():
            for pid in pids:
                look = look_at(pid)
                opened = {*look.descriptors.values()}
                assert bool(opened & clients) is (role == "worker"), role
                assert bool(opened & metrics) is (role == "metrics"), role
                assert not [target for target in opened if KEY in target], role
                assert not [path for path in _files(look) if str(site.accounts) in path], role
                assert not [path for path in _files(look) if path.endswith((".pem", ".key"))], role
                if role in ("worker", "metrics"):
                    log = {path for path in _files(look) if path.startswith(str(site.directory / "log."))}
                    assert _files(look) - log <= {"/dev/null", "/dev/urandom"}, role
                assert KEY not in look.maps, role
    opened = {*look_at(server.pid).descriptors.values()}
    assert opened >= clients | metrics


def test_what_was_open_at_the_start_is_the_supervisors(site):
    """Who starts the server may hold a lock by it; it is nobody else's, also not of those that come later."""
    path = site.directory / "held"
    path.touch()
    with path.open("rb") as file:
        server = site.serve(pass_fds=(file.fileno(),))
    for generation in (server.ready, server.reload):
        for pids in generation().values():
            assert not [pid for pid in pids if str(path) in look_at(pid).descriptors.values()]
    assert str(path) in look_at(server.pid).descriptors.values()


def test_nobody_has_the_line_of_others(site):
    """Each line between two processes is open at its two ends, and nowhere else."""
    server = site.serve(workers=2)
    ends = {}
    for pids in [[server.pid], *server.first.values()]:
        for pid in pids:
            for target in set(look_at(pid).descriptors.values()):
                if target.startswith("socket:"):
                    ends.setdefault(target, []).append(pid)
    listening = _inodes(server.place)
    shared = {target: pids for target, pids in ends.items() if len(pids) > 1 and target not in listening}
    assert shared == {}


_ATTEMPTS = r"""
import fcntl, json, os, signal, socket, sys
sys.argv[0] = os.environ["LAUNCHER"]
from checkpw.cli import generation, wishes
from checkpw.service.listeners import Listener
given = json.loads(os.environ["GIVEN"])
options = {
    **dict.fromkeys(("loop", "handshake_time", "min_rate", "session_time", "max_checkers", "max_failures"), 10),
    "workers": 1, "drain_time": 1.0, "arguments": ["", "mail.example", "checkpassword", "true"],
    "relay_from": [], "proxy_from": [], "listen": [], "tls_cert": [], "tls_key": [], "metrics": None,
    "user": given["user"], "door_user": given["door_user"], "verifier_user": None, "loop": "asyncio",
}
wanted = wishes.Wishes(options, dict(os.environb))
listening = socket.create_server(("127.0.0.1", 0))
shared = wishes.Shared([Listener(listening, "here", "plain", is_proxied=False)], [], 2)
parts = generation.Parts(wanted, shared)
reading, writing = os.pipe()
pid = os.fork()
if pid:
    os.close(writing)
    while piece := os.read(reading, 65536):
        os.write(1, piece)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

role = sys.argv[1]
parts._become(role, keeps_listeners=role == "worker")
outcomes = {}

def attempt(name, do):
    try:
        do()
        outcomes[name] = "done"
    except (OSError, ValueError) as error:
        outcomes[name] = type(error).__name__

def key():
    for descriptor in range(3, 100):
        try:
            fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        except OSError:
            continue
        return
    raise ValueError("no memory file")

def accept():
    listening.settimeout(0)
    try:
        listening.accept()
    except BlockingIOError:
        pass

attempt("accounts", lambda: os.open(given["accounts"], os.O_RDONLY))
attempt("accounts by fd", lambda: os.open(f"/proc/self/fd/0/{given['accounts']}", os.O_RDONLY))
attempt("door", lambda: os.close(os.open(given["door"] + "/probe." + role, os.O_CREAT | os.O_WRONLY, 0o600)))
attempt("certificate key", lambda: os.open(given["key"], os.O_RDONLY))
attempt("ticket key", key)
attempt("accept", accept)
attempt("socket", lambda: socket.socket().close())
attempt("program", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("fork", lambda: os.fork() or os._exit(0))
attempt("signal the supervisor", lambda: os.kill(os.getppid(), 0))
attempt("look at the supervisor", lambda: open(f"/proc/{os.getppid()}/environ", "rb").close())
attempt("be root", lambda: os.setuid(0))
os.write(writing, json.dumps(outcomes).encode())
os._exit(0)
"""


def _attempts(site, role, *, is_root):
    key = site.directory / "private.key"
    key.write_text("of a certificate", encoding="ascii")
    key.chmod(0o600)
    given = {
        "accounts": str(site.accounts),
        "door": str(site.place),
        "key": str(key),
        "user": WORKER_USER if is_root else None,
        "door_user": DOOR_USER if is_root else None,
    }
    environ = {
        "GIVEN": json.dumps(given),
        "LAUNCHER": str(site.programs / "submissiond"),
        "PATH": f"{site.programs}:/usr/bin:/bin",
        "PYTHONPATH": os.path.dirname(os.path.dirname(confine.__file__)),
        "CHECKPW_ACCOUNTS": f"file:{site.accounts}",
        "OFMIPD_QUEUE": f"maildir:{site.maildir}",
        "OFMIPD_QMAIL": "/nonexistent",
    }
    argv = [sys.executable, "-c", _ATTEMPTS, role]
    done = subprocess.run(argv, env=environ, capture_output=True, timeout=30, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NOTHING = "PermissionError"


@pytest.mark.usefixtures("root")
def test_what_a_worker_tries_as_root(site):
    outcomes = _attempts(site, "worker", is_root=True)
    assert outcomes.pop("accept") == "done"
    assert outcomes.pop("ticket key") == "ValueError"  # there is no such descriptor
    assert set(outcomes.values()) == {NOTHING}, outcomes


@pytest.mark.usefixtures("root")
def test_what_the_opener_tries_as_root(site):
    outcomes = _attempts(site, "opener", is_root=True)
    able = {name for name, outcome in outcomes.items() if outcome == "done"}
    assert able == {"door", "socket", "program", "fork"}, outcomes


@pytest.mark.usefixtures("root")
def test_what_the_verifier_tries_as_root(site):
    outcomes = _attempts(site, "verifier", is_root=True)
    able = {name for name, outcome in outcomes.items() if outcome == "done"}
    assert "accounts" in able
    assert not able & {"accept", "ticket key", "accounts by fd"}, outcomes


# --- not as root


@pytest.fixture
def strangers_site(public, everybodys):
    """Give a site of somebody who is not root, and how a server is started there."""
    with resident.Site(public, everybodys, is_root=False) as place:
        if os.geteuid() == 0:
            for path in (place.accounts, place.place, place.controls):
                os.chown(path, 54321, 54321)
            place.who = {"user": 54321, "group": 54321, "extra_groups": []}
        else:
            place.who = {}
        yield place


def test_who_they_are_without_root(strangers_site):
    site = strangers_site
    server = site.serve(workers=2, **site.who)
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
        assert client.message(b"Subject: x\r\n\r\n" + b"x\r\n" * 40000).startswith(b"250 ")
    assert len(site.queued()) == 2
    assert sorted(server.first) == ["opener", "verifier", "worker"]
    for role, pids in server.first.items():
        for pid in pids:
            try:
                look = look_at(pid)
            except PermissionError:  # of a process that may not be looked at, by whom it is the same user as
                assert role == "worker"
                continue
            assert look.status["Seccomp"] == (["2"] if role == "worker" else ["0"])
            assert look.status["NoNewPrivs"] == (["1"] if role == "worker" else ["0"])
            assert not [target for target in look.descriptors.values() if KEY in target], role
    held = site.connect(server.place)
    held.hello()
    server.reload()
    assert held.login().startswith(b"235 ")
    held.close()
    wait_until(lambda: len(server.children()["opener"]) == len(server.first["opener"]), "one generation")
    os.kill(server.children()["opener"][0], 9)
    server.wait_for_words("ended: signal 9")
    assert server.end() == 0


def test_users_are_for_root(strangers_site):
    server = strangers_site.start("--user", "nobody", **strangers_site.who)
    assert server.process.wait(30) == 2
    assert "--user, --door-user and --verifier-user are for a server that is started as root" in server.log()


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "--user has to say who talks to clients"),
        (("--user", "root"), "root is root"),
        (("--user", "no-such-user"), "no such user: no-such-user"),
        (("--user", "nobody", "--door-user", "root"), "root is root"),
        (("--user", "nobody", "--verifier-user", "root"), "root is root"),
        (("--user", "nobody", "--verifier-user", "no-such-user"), "no such user: no-such-user"),
    ],
)
def test_root_has_to_say_who(site, options, text):
    server = site.start(*options, as_root=False)
    assert server.process.wait(30) == 2
    assert text in server.log()


@pytest.mark.usefixtures("root")
def test_accounts_that_only_root_can_read(site):
    """The verifier reads them, and the opener's user writes the mail: its files are that user's."""
    server = site.serve()
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
    (message,) = site.maildir.glob("new/*")
    assert message.stat().st_uid == pwd.getpwnam(DOOR_USER).pw_uid
    assert server.end() == 0


@pytest.mark.usefixtures("root")
def test_a_verifier_that_is_not_root(site):
    """It is that user, without capabilities and for good, and reads what that user may read."""
    shutil.chown(site.accounts, "games")
    server = site.serve("--verifier-user", "games")
    for pid in server.first["verifier"]:
        look = look_at(pid)
        assert _who(look) == _user("games")
        assert look.status["CapEff"] == look.status["CapPrm"] == ["0000000000000000"]
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")


def test_programs_have_the_limits_that_we_were_started_with(site, script):
    """And not the number of descriptors that we allow ourselves for clients."""
    notes = {name: site.place / f"limit.{name}" for name in ("checker", "queue")}
    script("checker", f"cat <&3 >/dev/null; ulimit -Sn >{notes['checker']}", site.directory)
    script("queue", f"ulimit -Sn >{notes['queue']}; cat >/dev/null; cat <&1 >/dev/null", site.directory)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = site.serve(
        door="",
        environ={"QMAILQUEUE": site.directory / "queue"},
        chain=(site.directory / "checker", "true"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (777, hard)),
    )
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
    assert {name: note.read_text() for name, note in notes.items()} == {"checker": "777\n", "queue": "777\n"}


def test_programs_inherit_nothing_of_ours(site, script):
    """No program that is started has a listener, a line between our processes, a key or the log's own descriptor."""
    notes = {name: site.place / name for name in ("checker", "queue")}
    endings = {"checker": "cat <&3 >/dev/null", "queue": "cat >/dev/null; cat <&1 >/dev/null"}
    for name, ending in endings.items():
        text = f"ls -l /proc/$$/fd >{notes[name]}\n{ending}"
        script(name, text, site.directory)
    chain = (site.directory / "checker", "true")
    server = site.serve(door="", environ={"QMAILQUEUE": site.directory / "queue"}, chain=chain, workers=2)
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
    for name, expected in (("checker", {0, 1, 2, 3}), ("queue", {0, 1, 2, 4, 6})):
        rows = [line.split()[8:] for line in notes[name].read_text(encoding="ascii").splitlines()[1:]]
        found = {int(number): target for number, _, target in rows}
        shell = {10, 11}  # its own
        assert {*found} - shell == expected, (name, found)
        assert not [target for target in found.values() if target.startswith(("socket:", "/memfd:"))], name
