"""submissiond and its signals: SIGHUP takes new settings, SIGTERM ends gently; the supervisor's own end ends all."""

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import time

import pytest
from resident import Client, look_at, members, wait_until

TEXT = b"Subject: x\r\n\r\nbody\r\n"
ENVELOPE = (b"MAIL FROM:<a@here.example>", b"RCPT TO:<b@there.example>")


def _in_data(site, server):
    """Give a client that has logged in and whose message is on its way."""
    client = site.connect(server.place)
    client.hello()
    assert client.login().startswith(b"235 ")
    assert client.ask(*ENVELOPE, b"DATA").startswith(b"354 ")
    client.send(b"Subject: x\r\n\r\nbegin")
    return client


def _finish(client):
    client.send(b" end\r\n.\r\n")
    return client.reply()


def _certificate_of(server):
    with Client(server.place) as client:
        return client.secure().getpeercert(binary_form=True)


def _der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii"))


def _make_names(programs, path, text=""):
    argv = [programs / "ofmipname", path, f"{path}.tmp"]
    subprocess.run(argv, input=text.encode(), check=True, timeout=30)
    return path


# --- SIGHUP


def test_a_new_certificate_with_another_kind_of_key(site, make_certificate):
    old, old_key = make_certificate("rsa", kind=("rsa:2048",))
    new, new_key = make_certificate("ecdsa")
    place, key = site.directory / "cert.pem", site.directory / "key.pem"
    shutil.copy(old, place)
    shutil.copy(old_key, key)
    key.chmod(0o600)
    server = site.serve("--tls-cert", place, "--tls-key", key, listen=(",tls",))
    assert _certificate_of(server) == _der(old)
    with Client(server.place) as held:
        held.secure()
        held.hello()
        shutil.copy(new, place)
        shutil.copy(new_key, key)
        server.reload()
        assert _certificate_of(server) == _der(new)
        held.login()
        assert held.message().startswith(b"250 "), "the old session goes on"


def test_new_accounts_controls_and_names(site, programs):
    names = site.directory / "name.cdb"

    def make_names(name):
        _make_names(programs, names, f"a@here.example:{name}:{name}@sender.example:\n")

    make_names("Old")
    server = site.serve(arguments=(names, "mail.example", "checkpassword", "true"))
    with Client(server.place) as held:
        held.hello()
        assert held.login(b"eve", b"new").startswith(b"535 ")
        held.login()
        make_names("New")
        (site.controls / "databytes").write_text("3000\n", encoding="ascii")
        (site.controls / "rewrite").write_text("here.example:there.example\n", encoding="ascii")
        site.accounts.write_text("eve:{PLAIN}new::::::\n", encoding="ascii")
        server.reload()
        assert held.message(TEXT + b"x" * 60 + b"\r\n" * 3000).startswith(b"250 "), "with the limit that it began with"
        with Client(server.place) as client:
            assert b"SIZE 3000\r\n" in client.hello()
            assert client.login().startswith(b"535 ")
            assert client.login(b"eve", b"new").startswith(b"235 ")
            assert client.message(TEXT).startswith(b"250 ")
    (old,) = [message for message in site.queued() if len(message) > 3000]
    (new,) = [message for message in site.queued() if len(message) < 3000]
    assert old.startswith(b"Return-Path: <Old@sender.example>\n")
    assert b"Old@sender.example" not in new


def test_paths_are_relative_to_where_the_server_was_started(site, programs, script, make_certificate):
    """Also where the door changes to another directory, and at each reload."""
    certificate, key = make_certificate("relative")
    shutil.copy(certificate, site.directory / "cert.pem")
    shutil.copy(key, site.directory / "key.pem")
    _make_names(programs, site.directory / "names.cdb", "a@here.example:Ann:ann@sender.example:\n")
    home, note = site.directory / "qmail", site.place / "note"
    home.mkdir()
    queue = script("queue", f"pwd >>{note}; cat >/dev/null; tr '\\0' ' ' <&1 >>{note}", site.directory)
    server = site.serve(
        *("--tls-cert", "cert.pem", "--tls-key", "key.pem"),
        arguments=("names.cdb", "mail.example", "checkpassword", "true"),
        door="",
        environ={"OFMIPD_QMAIL": home, "QMAILQUEUE": queue},
        cwd=site.directory,
    )
    for _ in range(2):
        with Client(server.place) as client:
            client.hello()
            client.login()
            assert client.message().startswith(b"250 ")
        assert note.read_text().startswith(f"{home}\nFann@sender.example Tb@there.example ")
        note.unlink()
        server.reload()


def test_controls_and_checkers_are_relative_to_that_place_too(site, script):
    """They are what they were at the start after a reload as well."""
    home, controls = site.directory / "qmail", site.directory / "ctl"
    home.mkdir()
    controls.mkdir()
    (controls / "databytes").write_text("100000\n", encoding="ascii")
    script("checker", "exit 0", site.directory)
    server = site.serve(
        arguments=("", "mail.example", "./checker", "true"),
        door="",
        environ={"OFMIPD_QMAIL": "qmail", "CONTROLDIR": "ctl", "QMAILQUEUE": "/bin/false"},
        cwd=site.directory,
    )
    for _ in range(2):
        with Client(server.place) as client:
            assert b"250-SIZE 100000\r\n" in client.hello()
            assert client.login().startswith(b"235 ")
        server.reload()


BREAKAGES = {
    "a certificate that is gone": lambda site, place: place.unlink(),
    "a certificate of nonsense": lambda site, place: place.write_bytes(b"\xff\0nonsense"),
    "an empty certificate": lambda site, place: place.write_bytes(b""),
    "a directory for a certificate": lambda site, place: (place.unlink(), place.mkdir()),
    "a key of another certificate": lambda site, place: shutil.copy(site.other_key, site.directory / "key.pem"),
    "a control that is no number": lambda site, place: (site.controls / "databytes").write_text("many\n"),
    "a control that is a directory": lambda site, place: (site.controls / "databytes").mkdir(),
    "a name.cdb that is gone": lambda site, place: (site.directory / "n.cdb").unlink(),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_settings_leave_the_server_as_it_is(site, make_certificate, programs, breakage):
    _, site.other_key = make_certificate("another")
    made, made_key = make_certificate("first")
    place, key, names = site.directory / "cert.pem", site.directory / "key.pem", site.directory / "n.cdb"
    shutil.copy(made, place)
    shutil.copy(made_key, key)
    _make_names(programs, names)
    server = site.serve(
        *("--tls-cert", place, "--tls-key", key), arguments=(names, "mail.example", "checkpassword", "true")
    )
    first, opened = server.children(), {*look_at(server.pid).descriptors}
    BREAKAGES[breakage](site, place)
    server.tell(signal.SIGHUP)
    server.wait_for_words("stays with what it has: ")
    assert server.children() == first
    assert {*look_at(server.pid).descriptors} == opened
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
    assert server.end() == 0


def test_a_next_hop_whose_certificates_are_gone(site, make_certificate):
    authority, _ = make_certificate("authority")
    place = site.directory / "ca.pem"
    shutil.copy(authority, place)
    server = site.serve(door=f"smtps://localhost:9?ca={place}")
    place.unlink()
    server.tell(signal.SIGHUP)
    server.wait_for_words("stays with what it has: ")
    with Client(server.place) as client:
        client.hello()
    assert server.end() == 0


def test_no_reload_is_lost(site):
    """Of many SIGHUP at once, what the last of them asks for is read, too."""
    server = site.serve()
    for number in range(1, 6):
        (site.controls / "databytes").write_text(f"{1000 * number}\n", encoding="ascii")
        server.tell(signal.SIGHUP)

    def is_newest():
        with Client(server.place) as client:
            return b"SIZE 5000\r\n" in client.hello()

    wait_until(is_newest, server.log)
    assert server.end() == 0


def test_a_reload_before_the_server_is_ready(site):
    server = site.start()
    wait_until(lambda: server.children().get("worker"), server.log)
    (site.controls / "databytes").write_text("2000\n", encoding="ascii")
    server.tell(signal.SIGHUP)

    def is_new():
        with contextlib.suppress(OSError), Client(server.place) as client:
            return b"SIZE 2000\r\n" in client.hello()
        return False

    wait_until(is_new, server.log)


def test_generations_that_cannot_end(site):
    """A session of each is held open: when there are no places for further workers, that is said, and no harm done."""
    server = site.serve(workers=1)
    held = []
    for number in range(1, 4):
        held.append(site.connect(server.place))
        held[-1].hello()
        server.reload()
        assert len(server.children()["worker"]) == number + 1
    held.append(site.connect(server.place))
    held[-1].hello()
    server.tell(signal.SIGHUP)
    server.wait_for_words("reloads when sessions of older generations have ended")
    for client in held:
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
    held.pop(0).close()
    server.ready(5)
    for client in held:
        assert client.ask(b"NOOP").startswith(b"250 ")
        client.close()
    wait_until(lambda: len(server.children()["worker"]) == 1, server.log)
    assert server.end() == 0


def test_reloads_leave_nothing_behind(site, tls, programs):
    names = _make_names(programs, site.directory / "name.cdb")
    server = site.serve(*tls, arguments=(names, "mail.example", "checkpassword", "true"))

    def keys():
        return [target for target in look_at(server.pid).descriptors.values() if "memfd" in target]

    def looks():
        # That the processes of a generation are gone, the supervisor hears a moment later.
        wait_until(lambda: len(keys()) == 1, "one generation")
        first = server.children()
        return [
            sorted(target.partition(":")[0] for target in look_at(pid).descriptors.values())
            for pid in (server.pid, first["worker"][0], first["opener"][0], first["verifier"][0])
        ]

    server.reload()
    before = looks()
    for _ in range(8):
        server.reload()
    wait_until(lambda: looks() == before, lambda: (before, looks()))


def test_counters_on_request(site):
    server = site.serve(workers=2)
    held = site.connect(server.place)
    held.hello()
    for _ in range(3):
        with Client(server.place) as client:
            client.hello()
            client.login(b"joe", b"wrong")
            client.login()
            client.message()
            client.ask(b"QUIT")
    server.wait_for("session", times=3)
    server.tell(signal.SIGUSR1)
    name = f"127.0.0.1:{server.ports[0]}"
    for words in (
        f"submissiond_connections{{{name}}} 1",
        f"submissiond_sessions_total{{{name}, quit}} 3",
        f"submissiond_auth_total{{{name}, PLAIN, accepted}} 3",
        f"submissiond_auth_total{{{name}, PLAIN, rejected}} 3",
        f"submissiond_messages_total{{{name}, queued}} 3",
    ):
        server.wait_for_words(words)
    held.close()


# --- SIGTERM


def _is_refused(place):
    try:
        Client(place).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_end_lets_a_message_finish(site):
    server = site.serve("--drain-time", "20", workers=2)
    client = _in_data(site, server)
    server.tell(signal.SIGTERM)
    server.wait_for_words("ends: ")
    wait_until(lambda: len(server.children()["worker"]) == 1, "the end of the idle worker")
    # Whoever comes now can go elsewhere, and does not wait for somebody who never speaks.
    wait_until(lambda: _is_refused(server.place), "the end of the busy worker's listening")
    assert _finish(client).startswith(b"250 ")
    assert client.ask(b"QUIT").startswith(b"221 ")
    assert server.process.wait(30) == 0
    server.is_gone()
    assert b"begin end\n" in site.queued()[0]


def test_the_end_has_a_limit(site):
    """An idle session is told; of a message that does not end nothing is queued."""
    server = site.serve("--drain-time", "0.3")
    idle, busy = site.connect(server.place), _in_data(site, server)
    idle.hello()
    began = time.monotonic()
    server.tell(signal.SIGTERM)
    assert idle.reply().startswith(b"421 4.3.")
    assert busy.reply().startswith(b"421 4.3.")
    assert time.monotonic() - began >= 0.3
    assert server.process.wait(30) == 0
    server.is_gone()
    assert site.queued() == []
    assert not list(site.maildir.glob("tmp/*"))
    assert [event["reason"] for event in server.events("session")] == ["shutdown", "shutdown"]


def test_a_queue_that_is_at_work_at_the_limit_may_answer(site, script):
    go = site.place / "go"
    text = f"cat >/dev/null; cat <&1 >/dev/null; until [ -e {go} ]; do sleep 0.02; done"
    queue = script("queue", text, site.directory)
    server = site.serve("--drain-time", "0.1", door="", environ={"QMAILQUEUE": queue})
    client = _in_data(site, server)
    client.send(b" end\r\n.\r\n")
    idle = site.connect(server.place)
    idle.hello()
    server.tell(signal.SIGTERM)
    assert idle.reply().startswith(b"421 ")
    go.touch()
    assert client.reply().startswith(b"250 ")
    assert client.reply().startswith(b"421 ")
    assert server.process.wait(30) == 0


def test_who_waits_for_a_verdict_at_the_limit(site):
    server = site.serve("--drain-time", "0.1", environ={"OFMIPD_AUTH_DELAY": "0.5"})
    client = site.connect(server.place)
    client.hello()
    client.send(b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n")
    server.wait_for("auth", verdict="rejected")
    server.tell(signal.SIGTERM)
    assert client.reply()[:4] in (b"535 ", b"421 ")
    assert server.process.wait(30) == 0


def test_sigterm_for_all_processes_is_as_gentle(site):
    """As systemd, and a terminal with SIGINT, send them."""
    server = site.serve("--drain-time", "20")
    client = _in_data(site, server)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        for pid in set(members(server.pid)) - {server.pid}:
            os.kill(pid, number)
    os.killpg(server.pid, signal.SIGTERM)
    server.wait_for_words("ends: ")
    assert _finish(client).startswith(b"250 ")
    client.close()
    assert server.process.wait(30) == 0
    server.is_gone()
    assert len(site.queued()) == 1


def test_a_second_sigterm_insists(site):
    server = site.serve("--drain-time", "1000")
    client = _in_data(site, server)
    server.tell(signal.SIGTERM)
    server.wait_for_words("ends: ")
    server.tell(signal.SIGTERM)
    assert server.process.wait(30) == 0
    server.is_gone()
    assert client.is_at_end()
    assert site.queued() == []


def test_the_end_during_a_reload(site):
    server = site.serve()
    server.tell(signal.SIGHUP)
    server.tell(signal.SIGTERM)
    assert server.process.wait(30) == 0
    server.is_gone()


@pytest.mark.parametrize("chain", [("checkpassword", "true"), None])
def test_nobody_stays_without_a_supervisor(site, script, chain):
    """It is killed, while a session is open and a checker runs: the others end by themselves, and what they started."""
    chain = chain or (str(script("hanging", "exec sleep 1000", site.directory)), "true")
    server = site.serve(chain=chain, workers=2)
    busy, idle = site.connect(server.place), site.connect(server.place)
    idle.hello()
    busy.hello()
    if chain[0] != "checkpassword":
        busy.send(b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n")
        wait_until(lambda: any(name == "sleep" for name, _ in members(server.pid).values()), "the checker")
    server.process.kill()
    server.process.wait()
    assert idle.reply().startswith(b"421 ")
    server.is_gone()


def test_nobody_stays_without_a_supervisor_that_had_begun_to_end(site):
    server = site.serve("--drain-time", "1000")
    client = _in_data(site, server)
    server.tell(signal.SIGTERM)
    wait_until(lambda: _is_refused(server.place), "the beginning of the end")
    server.process.kill()
    server.process.wait()
    assert client.reply().startswith(b"421 ")
    server.is_gone()
    assert site.queued() == []


def test_the_end_before_the_server_is_ready(site):
    server = site.start()
    wait_until(lambda: server.children().get("worker"), server.log)
    server.tell(signal.SIGTERM)
    assert server.process.wait(30) in (0, 111)
    server.is_gone()
