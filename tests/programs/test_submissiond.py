"""submissiond as a process: its listeners, TLS and STARTTLS, who may log in and send where, and what it logs."""

import contextlib
import os
import pathlib
import signal
import socket
import ssl
import time

import pytest
from resident import Client, plain, wait_until

TEXT = b"Subject: x\r\n\r\nbody\r\n"


def _may_log_in(client):
    """Tell whether a client that has said hello may log in, and sends a message if so."""
    answer = client.login()
    if answer.startswith(b"530 "):
        return False
    assert answer.startswith(b"235 "), answer
    assert client.message().startswith(b"250 ")
    return True


def _away():
    """Give an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("not run: this machine has no address but loopback")
        return probe.getsockname()[0]


# --- listeners


def test_a_message_arrives(site):
    server = site.serve()
    with Client(server.place) as client:
        assert b"STARTTLS" not in client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
        assert client.ask(b"QUIT").startswith(b"221 ")
    (text,) = site.queued()
    assert b"Return-Path: <a@here.example>\nDelivered-To: b@there.example\n" in text
    assert b"Received: (ofmipd joe@127.0.0.1) by mail.example with ESMTPA; " in text
    assert text.endswith(b"\n\nbody\n")
    server.wait_for("session", reason="quit")
    assert server.end() == 0


def test_implicit_tls(site, tls):
    server = site.serve(*tls, listen=(",tls",))
    with Client(server.place) as client:
        client.secure()
        assert b"STARTTLS" not in client.hello()
        assert _may_log_in(client)
        assert client.ask(b"QUIT").startswith(b"221 ")
        assert client.is_at_end()
    assert b" with ESMTPSA; " in site.queued()[0]
    server.wait_for("session", reason="quit", tls="yes", messages="1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_starttls(site, tls, version):
    server = site.serve(*tls, listen=("",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    with Client(server.place) as client:
        assert b"STARTTLS" in client.hello()
        assert client.ask(b"STARTTLS").startswith(b"220 ")
        client.secure(context)
        assert client.ask(b"MAIL FROM:<a@here.example>")[:1] == b"5", "the session starts over"
        assert b"STARTTLS" not in client.ask(b"EHLO client.example")
        assert client.ask(b"STARTTLS")[:1] == b"5"
        assert _may_log_in(client)
    assert b" with ESMTPSA; " in site.queued()[0]
    assert server.wait_for("tls")["protocol"] == version.name.replace("_", ".").replace("TLSv1.", "TLSv1.")


def test_no_session_of_tls_1_3_is_resumed(site, tls):
    """There is nothing in a worker's memory that opens what was recorded before."""
    server = site.serve(*tls, listen=(",tls",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    session = None
    for _ in range(3):
        with context.wrap_socket(socket.create_connection(server.place), session=session) as client:
            assert client.recv(100).startswith(b"220 ")
            assert not client.session_reused
            session = client.session
            assert session is None or not session.has_ticket


def test_old_tls_is_refused(site, tls):
    server = site.serve(*tls, listen=(",tls",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Client(server.place) as client, pytest.raises(OSError, match=r"(?i)ssl|reset"):
        client.secure(context)
    server.wait_for("session", reason="tls")


def test_what_comes_in_clear_behind_starttls_is_not_executed(site, tls):
    server = site.serve(*tls, "--relay-from", "127.0.0.0/8", listen=("",))
    with Client(server.place) as client:
        client.hello()
        client.send(b"STARTTLS\r\nMAIL FROM:<injected@evil.example>\r\nRCPT TO:<b@there.example>\r\n")
        assert client.reply().startswith(b"220 ")
        client.secure()
        assert client.ask(b"NOOP").startswith(b"250 "), "it is the answer to this and to nothing before"
        client.ask(b"EHLO client.example")
        assert client.message().startswith(b"250 ")
    (text,) = site.queued()
    assert b"injected" not in text
    assert int(server.wait_for("tls")["discarded"]) == 62
    server.wait_for("warning")


def test_a_client_that_speaks_in_clear_to_a_tls_port(site, tls):
    server = site.serve(*tls, listen=(",tls",))
    with Client(server.place) as client:
        client.send(b"EHLO client.example\r\n")
        with pytest.raises(ConnectionError):
            client.reply()
    assert "http" not in server.wait_for("session", reason="tls")["text"]


def test_handshakes_have_a_time(site, tls):
    server = site.serve(*tls, "--handshake-time", "0.2", listen=(",tls", ""))
    with Client(server.places[0]) as silent, Client(server.places[1]) as client:
        began = time.monotonic()
        assert silent.is_at_end()
        assert time.monotonic() - began < 10
        client.hello()
        assert client.ask(b"STARTTLS").startswith(b"220 ")
        assert client.is_at_end()
    server.wait_for("session", reason="tls", text="no handshake in time")
    server.wait_for("tls", reason="timeout")


def test_certificates_are_chosen_by_name(site, certificate, make_certificate):
    other, key = make_certificate("other", host="other.example")
    server = site.serve(
        *("--tls-cert", certificate[0], "--tls-cert", other, "--tls-key", certificate[1], "--tls-key", key),
        listen=(",tls",),
    )
    for name, path in (("mail.example", certificate[0]), ("other.example", other), ("unknown.example", certificate[0])):
        with Client(server.place) as client:
            got = client.secure(name=name).getpeercert(binary_form=True)
            assert got == ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii")), name


def test_unix_socket(site):
    path = str(site.directory / "socket")
    server = site.serve("--listen", path, listen=())
    with Client(path) as client:
        client.hello()
        # No address, and no privilege of one: what stands before such a socket may have clients from anywhere.
        assert client.login().startswith(b"530 ")
    assert server.wait_for("session")["client"] == "unknown"
    assert server.end() == 0
    # What it left is no obstacle, and the socket of somebody who listens is not taken away.
    site.serve("--listen", path, listen=())
    second = site.start("--listen", path, listen=())
    assert second.process.wait(30) == 111
    assert "unable to listen" in second.log()
    with Client(path) as client:
        client.hello()


def test_ipv6(site):
    port = site.port()
    server = site.serve("--listen", f"[::1]:{port}", listen=())
    with Client(("::1", port)) as client:
        client.hello()
        assert _may_log_in(client), "it is loopback"
    assert server.wait_for("session")["client"] == "::1"


def test_all_addresses_of_both_kinds(site):
    port = site.port()
    server = site.serve("--listen", f":{port},plain", listen=())
    for place, ip in ((("::1", port), "::1"), (("127.0.0.1", port), "127.0.0.1")):
        with Client(place) as client:
            client.hello()
        server.wait_for("session", client=ip)


def test_several_listeners(site, tls):
    path = str(site.directory / "socket")
    server = site.serve(*tls, "--listen", f"{path},plain", listen=(",plain", ",starttls", ",tls"), workers=2)
    for place, offers_starttls in ((server.places[0], False), (server.places[1], True), (path, False)):
        with Client(place) as client:
            assert (b"STARTTLS" in client.hello()) is offers_starttls
    with Client(server.places[2]) as client:
        client.secure()
        client.hello()
    server.wait_for("session", times=4)


def test_a_port_that_is_taken(site):
    server = site.serve()
    second = site.start("--listen", f"127.0.0.1:{server.ports[0]}", listen=())
    assert second.process.wait(30) == 111
    assert f"unable to listen on 127.0.0.1:{server.ports[0]}: Address already in use" in second.log()


# --- who may log in and send


def test_passwords_in_clear_are_for_loopback(site, tls):
    away, port = _away(), site.port()
    server = site.serve(*tls, "--listen", f"{away}:{port}", listen=("",))
    with Client((away, port)) as client:
        assert b"AUTH" not in client.hello()
        assert client.login().startswith(b"530 ")
        assert client.ask(b"STARTTLS").startswith(b"220 ")
        client.secure()
        assert b"AUTH" in client.ask(b"EHLO client.example")
        assert _may_log_in(client)
    with Client(server.place) as client:
        client.hello()
        assert _may_log_in(client)


def test_passwords_in_clear_for_everybody(site):
    away, port = _away(), site.port()
    server = site.serve("--auth-plaintext", "--listen", f"{away}:{port}", listen=())
    with Client((away, port)) as client:
        client.hello()
        assert _may_log_in(client)
    server.wait_for("warning", text="a password came over the network without TLS")


def test_relaying_without_auth(site):
    server = site.serve("--relay-from", "127.0.0.2", "--relay-from", "192.0.2.0/24")
    with Client(server.place) as client:
        client.hello()
        assert client.ask(b"MAIL FROM:<a@here.example>").startswith(b"530 ")
    with Client(server.place, source="127.0.0.2") as client:
        client.hello()
        assert client.message().startswith(b"250 ")
    assert b"(ofmipd 127.0.0.2) by mail.example with ESMTP;" in site.queued()[0].replace(b"@127", b"127")


def test_relayclient_in_the_environment_means_nothing(site):
    environ = {"RELAYCLIENT": "", "OFMIPD_REQUIRE_AUTH": "", "TCPREMOTEIP": "127.0.0.1"}
    server = site.serve("--relay-from", "127.0.0.2", environ=environ)
    with Client(server.place) as client:
        client.hello()
        assert client.ask(b"MAIL FROM:<a@here.example>").startswith(b"530 ")
    with Client(server.place, source="127.0.0.2") as client:
        client.hello()
        assert client.message().startswith(b"250 ")


def test_without_a_checker_nobody_logs_in(site):
    server = site.serve("--relay-from", "127.0.0.2", chain=())
    assert "verifier" not in server.first
    with Client(server.place) as client:
        assert b"AUTH" not in client.hello()
        assert client.login()[:1] == b"5"
        assert client.ask(b"MAIL FROM:<a@here.example>").startswith(b"530 ")
    with Client(server.place, source="127.0.0.2") as client:
        client.hello()
        assert client.message().startswith(b"250 ")


def test_a_wrong_password_makes_nobody_else_wait(site):
    server = site.serve("--drain-time", "0", environ={"OFMIPD_AUTH_DELAY": "20"})
    with Client(server.place) as guesser, Client(server.place) as client:
        guesser.hello()
        client.hello()
        guesser.send(plain(b"joe", b"wrong") + b"\r\n")
        server.wait_for("auth", verdict="rejected")
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
        assert guesser.is_silent(0)


def test_a_wrong_password_is_told_late(site):
    server = site.serve(environ={"OFMIPD_AUTH_DELAY": "1"})
    with Client(server.place) as client:
        client.hello()
        began = time.monotonic()
        assert client.login(b"joe", b"wrong").startswith(b"535 ")
        assert time.monotonic() - began >= 0.95


@pytest.mark.parametrize("chain", [("checkpassword", "true"), ("checkpassword", "sh", "-c", "exit 0")])
def test_verdicts_of_both_ways_to_ask(site, chain):
    """Our own checkpassword in the verifier; and any program, here ours with a chain behind it."""
    if chain[1] != "true":
        site.accounts.write_text(f"joe:{{PLAIN}}secret:{os.getuid()}:{os.getgid()}::/:/bin/sh:\n", encoding="ascii")
        if os.getuid() == 0:
            site.accounts.write_text("joe:{PLAIN}secret:54321:54321::/:/bin/sh:\n", encoding="ascii")
    server = site.serve(chain=chain)
    with Client(server.place) as client:
        client.hello()
        assert client.login(b"joe", b"wrong").startswith(b"535 ")
        assert client.login(b"nobody", b"secret").startswith(b"535 ")
        assert client.login().startswith(b"235 ")
    server.wait_for("auth", times=3)
    assert [event["verdict"] for event in server.events("auth")] == ["rejected", "rejected", "accepted"]


def test_a_checker_that_hangs_has_its_time(site, script):
    checker = script("hanging", "exec sleep 1000", site.directory)
    server = site.serve("--checker-time", "0.3", chain=(str(checker), "true"))
    with Client(server.place) as client:
        client.hello()
        assert client.login().startswith(b"454 ")


def test_checkers_run_so_many_at_once(site, script):
    place = site.directory / "running"
    place.mkdir(mode=0o777)
    most = site.directory / "most"
    text = f"""
cat <&3 >/dev/null
mkdir {place}/$$
ls {place} | wc -l >>{most}
sleep 0.1
rmdir {place}/$$
exit 0"""
    checker = script("counting", text, site.directory)
    server = site.serve("--max-checkers", "2", chain=(str(checker), "true"))
    clients = [Client(server.place) for _ in range(6)]
    for client in clients:
        client.hello()
        client.send(plain(b"joe", b"x") + b"\r\n")
    for client in clients:
        assert client.reply().startswith(b"235 ")
        client.close()
    assert max(map(int, most.read_text().split())) == 2


@pytest.mark.parametrize("kind", [",plain", "", ",tls"])
def test_a_checker_is_told_of_the_client(site, tls, script, kind):
    """It knows the address, and TLS, however that began."""
    checker = script("telling", 'echo "$TCPREMOTEIP $SSL_PROTOCOL $SSL_TLS_SNI" >&2; exit 1', site.directory)
    server = site.serve(*tls, listen=(kind,), chain=(str(checker), "true"))
    with Client(server.place) as client:
        if kind == ",tls":
            client.secure()
        client.hello()
        if kind == "":
            client.ask(b"STARTTLS")
            client.secure()
        assert client.login().startswith(b"535 ")
    said = "127.0.0.1  " if kind == ",plain" else "127.0.0.1 TLSv1.3 mail.example"
    assert server.wait_for("checker")["says"] == said


# --- the queue


def test_a_large_message_arrives_whole(site):
    server = site.serve()
    body = b"".join(b"%070d\r\n" % number for number in range(5000))
    with Client(server.place) as client:
        client.hello()
        client.login()
        assert client.message(TEXT + body).startswith(b"250 ")
    assert site.queued()[0].endswith(body.replace(b"\r\n", b"\n"))


def test_qmail_queue_is_told_who_it_is(site, script):
    note = site.place / "note"
    text = f"cat >/dev/null; cat <&1 >/dev/null; env -0 >{note}.new && id -u >>{note}.new && mv {note}.new {note}"
    queue = script("queue", text, site.directory)
    server = site.serve(door="", environ={"QMAILQUEUE": queue, "SECRET": "of ours"})
    with Client(server.place) as client:
        client.hello()
        client.login()
        assert client.message().startswith(b"250 ")
    *environ, user = note.read_bytes().split(b"\0")
    given = dict(entry.split(b"=", 1) for entry in environ)
    assert given[b"RELAYCLIENT"] == b""
    assert given[b"SMTPAUTHUSER"] == given[b"TCPREMOTEINFO"] == b"joe"
    assert given[b"TCPREMOTEIP"] == b"127.0.0.1"
    assert given[b"TCPLOCALPORT"] == b"%d" % server.ports[0]
    assert b"SECRET" not in given
    assert b"CHECKPW_ACCOUNTS" not in given
    assert (int(user) == 0) is False or not site.is_root


def test_a_queue_that_says_no(site, script):
    queue = script("queue", "cat >/dev/null; cat <&1 >/dev/null; exit 31", site.directory)
    server = site.serve(door="", environ={"QMAILQUEUE": queue})
    with Client(server.place) as client:
        client.hello()
        client.login()
        assert client.message().startswith(b"554 5.3.0 ")
        assert client.message(TEXT + b"x\r\n" * 40000).startswith(b"554 5.3.0 ")
    server.wait_for("message", times=2, result="refused")


# --- the log


def test_each_line_of_the_log_is_an_event(site):
    server = site.serve()
    with Client(server.place) as client:
        client.hello()
        client.login(b'joe" event=auth verdict=accepted', b"wrong")
        client.login(b"joe", b"geheim")
        client.login()
        client.message()
        client.ask(b"QUIT")
    server.wait_for("session")
    server.end()
    for line in server.log().splitlines():
        assert line.startswith("submissiond: "), line
    assert len(server.events()) == len(server.log().splitlines())
    (session,) = server.events("session")
    assert session["client"] == "127.0.0.1"
    assert session["login"] == "joe"
    assert session["tls"] == "no"
    assert (session["messages"], session["reason"]) == ("1", "quit")
    assert float(session["seconds"]) >= 0
    assert [event["verdict"] for event in server.events("auth")] == ["rejected", "rejected", "accepted"]
    assert "geheim" not in server.log()
    # The same session has the same number everywhere.
    assert len({event["pid"] for event in server.events() if "client" in event}) == 1


def _start_with_pipe(site, *options, **state):
    """Start a server whose log is a pipe; give the server, and the end to read."""
    reading, writing = os.pipe()
    try:
        server = site.start(*options, **state, stderr=writing)
    finally:
        os.close(writing)
    said = b""
    while b"is ready" not in said:
        said += os.read(reading, 65536)
    return server, reading


def _fill(reading):
    """Have no room in a pipe."""
    writing = os.open(f"/proc/self/fd/{reading}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.close(writing)


def _serves(server):
    """Tell whether a message is taken within a second or so."""
    try:
        with Client(server.place, patience=1) as client:
            client.hello()
            return client.login().startswith(b"235 ") and client.message().startswith(b"250 ")
    except OSError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_nobody_reads_holds_nobody_up(site, workers):
    """The pipe for the log is full: mail goes on, a worker that dies is replaced, and the server ends."""
    server, reading = _start_with_pipe(site, workers=workers)
    try:
        _fill(reading)
        for _ in range(3):
            assert _serves(server)
        server.tell(signal.SIGUSR1)
        (worker, *_) = server.children()["worker"]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in server.children().get("worker", [worker]), "the end of a worker")
        wait_until(lambda: len(server.children().get("worker", [])) == workers, "a new worker")
        wait_until(lambda: _serves(server), "service")
        assert server.end() == 0
    finally:
        os.close(reading)


def test_a_log_whose_reader_is_gone(site):
    """Writing fails, and everything else goes on."""
    server, reading = _start_with_pipe(site)
    first = {*server.children()["worker"]}
    os.close(reading)
    for number in (signal.SIGUSR1, signal.SIGHUP):
        server.tell(number)
    wait_until(lambda: not first & {*server.children().get("worker", first)}, "a new generation")
    wait_until(lambda: _serves(server), "service")
    assert server.end() == 0


def test_names_in_ps(site):
    server = site.serve()
    for role, name in (("worker", "wrk"), ("verifier", "vfy"), ("opener", "opn")):
        for pid in server.first[role]:
            assert pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii") == f"submissiond-{name}\n"
