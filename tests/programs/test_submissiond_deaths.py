"""Processes of submissiond that die: they are replaced, and nothing is lost but what was theirs."""

import contextlib
import os
import resource
import signal
import subprocess
import time

import pytest
from resident import Client, look_at, plain, wait_until

LARGE = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * 40000


def _alone(server, role):
    (pid,) = server.children()[role]
    return pid


def _kill_all(server, role):
    """Kill all of a role, and give them: how many there are is nobody's business here."""
    pids = server.children()[role]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return pids


def _replaced(server, role, *dead):
    """Wait until there are as many of a role as before, and none of the dead; give them."""

    def are_there():
        now = server.children().get(role, [])
        return len(now) == len(server.first[role]) and not {*now} & {*dead} and now

    return wait_until(are_there, server.log)


def _until(answer, ask):
    """Ask until an answer begins like this."""
    wait_until(lambda: ask().startswith(answer), answer)


def _serves(server):
    with contextlib.suppress(OSError), Client(server.place, patience=5) as client:
        client.hello()
        return client.login().startswith(b"235 ") and client.message().startswith(b"250 ")
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_takes_its_sessions_with_it_and_no_others(site, number):
    server = site.serve(workers=2)
    clients = {}
    while len(clients) < 2:
        client = site.connect(server.place)
        client.hello()
        times = len(server.events("auth")) + 1
        client.login(b"joe", b"wrong")
        pid = server.wait_for("auth", times=times)["pid"]  # whose session it is stands in the log
        if clients.setdefault(int(pid.partition(".")[0]), client) is not client:
            client.close()
    (victim, lost), (_, other) = clients.items()
    assert other.login().startswith(b"235 ")
    os.kill(victim, number)
    assert lost.is_at_end()
    server.wait_for_words(f"worker {victim} ended: signal {int(number)}")
    assert other.message().startswith(b"250 ")
    _replaced(server, "worker", victim)
    assert other.message().startswith(b"250 ")
    wait_until(lambda: _serves(server), server.log)

    def is_alone():
        """Nobody is counted who is not there any more."""
        server.tell(signal.SIGUSR1)
        return f"submissiond_connections{{127.0.0.1:{server.ports[0]}}} 1" in server.log()

    wait_until(is_alone, server.log)


def test_a_message_of_a_worker_that_dies_is_not_queued(site):
    server = site.serve()
    client = site.connect(server.place)
    client.hello()
    client.login()
    client.ask(b"MAIL FROM:<a@here.example>", b"RCPT TO:<b@there.example>", b"DATA")
    client.send(LARGE)
    wait_until(lambda: list(site.maildir.glob("tmp/*")), "it is on its way")
    os.kill(_alone(server, "worker"), signal.SIGKILL)
    assert client.is_at_end()
    wait_until(lambda: not list(site.maildir.glob("tmp/*")), "the opener clears up")
    assert site.queued() == []


def test_a_verifier_that_dies(site, script):
    """While a checker runs, too: the login in question gets 454, the next one its verdict."""
    go = site.place / "go"
    checker = script("slow", f"cat <&3 >/dev/null; until [ -e {go} ]; do sleep 0.02; done", site.directory)
    server = site.serve(chain=(str(checker), "true"))
    client = site.connect(server.place)
    client.hello()
    client.send(plain(b"joe", b"secret") + b"\r\n")
    assert client.is_silent(0.2)
    verifier = _alone(server, "verifier")
    os.kill(verifier, signal.SIGKILL)
    assert client.reply().startswith(b"454 4.7.0 ")
    go.touch()
    _until(b"235 ", client.login)
    _replaced(server, "verifier", verifier)
    server.wait_for_words(f"verifier {verifier} ended: signal 9")
    assert client.message().startswith(b"250 ")


def test_verifiers_of_our_own_that_die(site):
    server = site.serve()
    client = site.connect(server.place)
    client.hello()
    _replaced(server, "verifier", *_kill_all(server, "verifier"))
    _until(b"235 ", client.login)
    assert client.message().startswith(b"250 ")


def test_an_opener_that_dies(site):
    """In the middle of a large message, and before a small one: 451, and then all is as before, in the same session."""
    server = site.serve()
    client = site.connect(server.place)
    client.hello()
    client.login()
    client.ask(b"MAIL FROM:<a@here.example>", b"RCPT TO:<b@there.example>", b"DATA")
    client.send(LARGE)
    wait_until(lambda: list(site.maildir.glob("tmp/*")), "it is on its way")
    openers = _kill_all(server, "opener")
    client.send(b"end\r\n.\r\n")
    assert client.reply().startswith(b"451 4.3.0 ")
    _until(b"250 ", client.message)
    _replaced(server, "opener", *openers)
    assert client.message(LARGE).startswith(b"250 ")
    _kill_all(server, "opener")
    _until(b"250 ", client.message)
    assert len(site.queued()) >= 3


def test_an_opener_that_dies_while_its_queue_runs(site, script):
    """The worker hears of it at once, although the queue program is still there; that goes on or not, as it likes."""
    pids = site.place / "pids"
    queue = script("queue", f"cat >/dev/null; cat <&1 >/dev/null; echo $$ >{pids}; exec sleep 1000", site.directory)
    server = site.serve(door="", environ={"QMAILQUEUE": queue})
    client = site.connect(server.place)
    client.hello()
    client.login()
    client.ask(b"MAIL FROM:<a@here.example>", b"RCPT TO:<b@there.example>", b"DATA")
    client.send(b"Subject: x\r\n\r\n.\r\n")
    wait_until(lambda: pids.exists() and pids.read_text(), "the queue program")
    began = time.monotonic()
    _kill_all(server, "opener")
    assert client.reply().startswith(b"451 4.3.0 ")
    assert time.monotonic() - began < 10
    os.kill(int(pids.read_text()), signal.SIGKILL)


def test_deaths_in_a_row_are_paced(site):
    """A worker that dies again and again is not given a new life at once; service comes back all the same."""
    server = site.serve()
    times = []
    for _ in range(4):
        pid = wait_until(lambda: server.children().get("worker"), server.log)[0]
        # Once it can die of something: it has its name from the time when it is confined.
        died = time.monotonic()  # before that: the supervisor may know of it before we go on
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: server.children().get("worker", [pid]) != [pid], server.log)
        times.append(time.monotonic() - died)
    assert times[0] >= 0.1
    assert times[1] >= 0.5
    assert times[2] >= 1.0
    assert times[3] >= 2.0
    wait_until(lambda: _serves(server), server.log)


def test_all_die_at_once(site):
    server = site.serve(workers=2)
    first = [pid for pids in server.first.values() for pid in pids]
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    for role in server.first:
        _replaced(server, role, *first)
    wait_until(lambda: _serves(server), server.log)
    assert server.end() == 0


@pytest.mark.usefixtures("root")
def test_a_process_that_cannot_be_started(site, everybodys, resources):
    """The kernel has no process for a worker in place of one that died, and later it has."""
    uid = 54400 + os.getpid() % 100  # of whom there are no other processes, which would count
    for path in (site.accounts, site.place, site.controls):
        os.chown(path, uid, uid)
    site.programs = everybodys
    who = {"user": uid, "group": uid, "extra_groups": []}

    def limit():
        resource.setrlimit(resource.RLIMIT_NPROC, (12, 12))

    server = site.serve(as_root=False, preexec_fn=limit, **who)
    others = [subprocess.Popen(["/bin/sleep", "100"], **who) for _ in range(12)]
    for other in others:
        resources.callback(other.wait)
        resources.callback(other.kill)
    os.kill(_alone(server, "worker"), signal.SIGKILL)
    server.wait_for_words("unable to start the worker: ")
    server.tell(signal.SIGHUP)
    server.wait_for_words("stays with what it has: ")
    for other in others:
        other.kill()
        other.wait()
    wait_until(lambda: _serves(server), server.log)
    server.reload()
    assert _serves(server)
    assert server.end() == 0


def test_a_generation_that_dies_young(site):
    """A reload whose worker is killed before it is ready changes nothing."""
    server = site.serve()
    first = server.children()
    server.tell(signal.SIGHUP)
    new = wait_until(lambda: set(server.children().get("worker", ())) - {*first["worker"]}, server.log)
    for pid in new:
        os.kill(pid, signal.SIGKILL)

    def is_settled():
        return "stays with what it has" in server.log() or server.log().count("is ready") == 2

    wait_until(is_settled, server.log)
    wait_until(lambda: _serves(server), server.log)
    server.reload()
    assert server.end() == 0


def test_the_first_generation_dies_young(site):
    server = site.start()
    pid = wait_until(lambda: server.children().get("worker"), server.log)[0]
    os.kill(pid, signal.SIGKILL)
    # It may have said that it is ready just before: then it is replaced, and the server stays.
    wait_until(lambda: server.process.poll() is not None or "is ready" in server.log(), server.log)
    assert server.process.poll() in (None, 111)
    server.kill()


def test_descriptors_run_out_and_come_back(site):
    """Accepting stops, nobody who is connected suffers, and goes on when somebody leaves."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    server = site.serve("--max-per-address", "0", preexec_fn=limit)
    (worker,) = server.first["worker"]
    talker = site.connect(server.place)
    talker.hello()
    clients = []
    while True:
        client = site.connect(server.place)
        clients.append(client)
        if client.is_silent(0.3):
            break
        client.hello()
        assert len(clients) < 100
    assert len(clients) > 10
    assert talker.login().startswith(b"235 ")
    assert talker.message().startswith(b"250 ")
    assert talker.message(LARGE).startswith(b"250 ")
    spent = time.process_time_ns, look_at(worker)
    assert len(spent[1].descriptors) <= 100
    clients[0].close()
    assert clients[-1].reply().startswith(b"220 "), "it had waited"
    for client in clients:
        client.close()
    wait_until(lambda: _serves(server), server.log)


def test_too_few_descriptors_for_anybody(site):
    """That is said at once, and not by a server that serves nobody."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    server = site.start(preexec_fn=limit)
    wait_until(lambda: server.process.poll() is not None or "is ready" in server.log(), server.log)
    if server.process.poll() is None:
        for _ in range(3):
            assert _serves(server), server.log()
    else:
        assert server.process.returncode == 111
        assert "descriptors" in server.log()
