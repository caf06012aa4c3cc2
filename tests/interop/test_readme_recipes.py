"""The recipes of README.md with the programs that they are about; those without are in tests/docs/test_readme.py."""

import base64
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "docs")]

import dovecot_server
from readme import TEXT, recipe

LETTER = "From: joe@example.org\nTo: ann@example.net\nSubject: a recipe\n\nGood morning.\n"
RIGHT, WRONG = (base64.b64encode(b"\0joe\0" + password).decode() for password in (b"secret", b"wrong"))


@pytest.fixture
def place(loopback):
    """A directory that unprivileged programs can enter, with an account file that they can read."""
    with loopback.directory() as directory:
        (directory / "accounts").write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
        yield directory


@pytest.fixture
def serve(loopback, programs, peer, place):
    """Give a context manager: a recipe that ends in tcpserver runs, and a function connects to it by smtplib."""

    @contextlib.contextmanager
    def running(text, port, **environment):
        peer("tcpserver", "ucspi-tcp")
        settings = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "OFMIPD_AUTH_DELAY": "0.2", **environment}
        with loopback.server(["/bin/sh", "-ec", text], [port], place, settings) as server:
            yield server

    return running


def _connect(port):
    client = smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=20)
    client.ehlo()
    return client


def _verdicts(port):
    """Log in with a wrong password, then with the right one, and give the replies' codes."""
    with _connect(port) as client:
        return [client.docmd("AUTH PLAIN", word)[0] for word in (WRONG, RIGHT)]


def test_under_tcpserver(serve, loopback, place):
    """The server of the recipe refuses a wrong password, accepts the right one, and puts mail into the Maildir."""
    with loopback.port() as port:
        text = recipe("tcpserver", accounts=place / "accounts", maildir=place / "Mail", listener=f"127.0.0.1 {port}")
        with serve(text, port):
            assert _verdicts(port) == [535, 235]
            with _connect(port) as client:
                client.login("joe", "secret")
                client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
    (message,) = [path.read_text(encoding="ascii") for path in (place / "Mail" / "new").iterdir()]
    assert "Received: (ofmipd joe@127.0.0.1) by mail.example with ESMTPA; " in message


def test_behind_stunnel(serve, loopback, peer, run, place):
    """Both ports of the recipe lead to the server inside TLS; AUTH is offered there and STARTTLS no more."""
    pem = place / "mail.pem"
    argv = [peer("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-newkey", "ec"]
    argv += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-addext", "subjectAltName=DNS:localhost"]
    assert run([*argv, "-keyout", place / "key", "-out", place / "cert"]).returncode == 0
    pem.write_text((place / "key").read_text() + (place / "cert").read_text())
    context = ssl.create_default_context(cafile=place / "cert")
    with loopback.port() as port, loopback.port() as starttls, loopback.port() as implicit:
        configuration = place / "stunnel.conf"
        configuration.write_text(
            "foreground = yes\npid =\nsyslog = no\n"
            + recipe(
                "stunnel",
                certificate=pem,
                backend=f"127.0.0.1:{port}",
                starttls=f"accept = 127.0.0.1:{starttls}",
                implicit=f"accept = 127.0.0.1:{implicit}",
            ),
            encoding="ascii",
        )
        text = recipe("tcpserver", accounts=place / "accounts", maildir=place / "Mail", listener=f"127.0.0.1 {port}")
        stunnel = [peer("stunnel4"), configuration]
        with serve(text, port), loopback.server(stunnel, [starttls, implicit], place, {}):
            plain = smtplib.SMTP("localhost", starttls, local_hostname="client.example", timeout=20)
            plain.starttls(context=context)
            tls = smtplib.SMTP_SSL("localhost", implicit, local_hostname="client.example", timeout=20, context=context)
            for client in (plain, tls):
                with client:
                    client.ehlo()
                    assert not client.has_extn("starttls")
                    client.login("joe", "secret")
                    client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
    assert len(list((place / "Mail" / "new").iterdir())) == 2


# --- submissiond


def _let_have(path):
    """Let the user who serves have a directory."""
    path.mkdir()
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")
    return path


@pytest.fixture
def ours(place, certify):
    """Give what is replaced in all recipes of submissiond: the user, the files."""
    certificate, key = certify(place, "localhost")
    user = "--user nobody " if os.geteuid() == 0 else ""
    return {"serves": user, "fullchain": certificate, "privkey": key, "accounts": place / "accounts"}


@pytest.fixture
def both(loopback):
    """Give two ports, and how the recipes of submissiond are told to listen there."""
    with loopback.port() as starttls, loopback.port() as implicit:
        replaced = {"submission": f"--listen 127.0.0.1:{starttls}", "submissions": f"--listen 127.0.0.1:{implicit},tls"}
        yield (starttls, implicit), replaced


@pytest.fixture
def serve_tls(loopback, programs, place):
    """Give a context manager: a recipe of submissiond runs until it is ready, and then as long as the block."""

    @contextlib.contextmanager
    def running(text, ports):
        settings = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "OFMIPD_AUTH_DELAY": "0.2"}
        with loopback.server(["/bin/sh", "-ec", f"exec {text}"], ports, place, settings) as server:
            server.wait_for_log("is ready")
            yield server

    return running


@pytest.fixture
def connect_tls(place):
    """Give a function that connects to one of the two kinds of port, up to the answer to EHLO inside TLS."""

    def connect(port, *, implicit=False, source="127.0.0.1"):
        context = ssl.create_default_context(cafile=place / "mail.cert.pem")
        hello = {"local_hostname": "client.example", "timeout": 20, "source_address": (source, 0)}
        if implicit:
            client = smtplib.SMTP_SSL("localhost", port, context=context, **hello)
        else:
            client = smtplib.SMTP("localhost", port, **hello)
            client.starttls(context=context)
        client.ehlo()
        return client

    return connect


def test_a_server_with_tls_of_its_own(serve_tls, connect_tls, ours, both, place, certify, eventually):
    """Both ports take mail inside TLS, a wrong password is refused; after SIGHUP the new certificate is there."""
    mail = _let_have(place / "Mail")
    (starttls, implicit), listeners = both
    with serve_tls(recipe("resident", maildir=mail, **ours, **listeners), [starttls, implicit]) as server:
        for port, is_implicit in ((starttls, False), (implicit, True)):
            with connect_tls(port, implicit=is_implicit) as client:
                assert client.docmd("AUTH PLAIN", WRONG)[0] == 535
                client.login("joe", "secret")
                client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
        before = ssl.get_server_certificate(("127.0.0.1", implicit), timeout=20)
        certify(place, "localhost")
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda: server.log().count("is ready") == 2, "the new generation is ready")
        assert before != ssl.get_server_certificate(("127.0.0.1", implicit), timeout=20)
        with connect_tls(starttls) as client:
            client.login("joe", "secret")
    messages = [path.read_text(encoding="ascii") for path in (mail / "new").iterdir()]
    assert len(messages) == 2
    for message in messages:
        assert "Received: (ofmipd joe@127.0.0.1) by mail.example with ESMTPSA; " in message


def test_in_front_of_a_sendmail_of_postfix_s_kind(serve_tls, connect_tls, ours, both, place):
    """A sendmail gets sender, recipients and message, as another user; its exit status is the reply."""
    there = _let_have(place / "there")
    program = place / "sendmail"
    program.write_text(SENDMAIL.format(directory=there), encoding="ascii")
    program.chmod(0o755)
    ports, listeners = both
    text = recipe("postfix", sendmail=program, **ours, **listeners)
    with serve_tls(text, ports), connect_tls(ports[0]) as client:
        client.login("joe", "secret")
        codes = []
        for recipient in ("full", "gone", "-ann"):
            client.mail("joe@example.org")
            client.rcpt(f"{recipient}@example.net")
            codes.append(client.data(LETTER)[0])
    assert codes == [451, 554, 250]
    assert (there / "envelope").read_text(encoding="ascii") == "joe@example.org\n-ann@example.net\n"
    assert (there / "message").read_text(encoding="ascii").endswith("\nSubject: a recipe\n\nGood morning.\n")


POSTFIX = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = /dev/stdout
myhostname = mail.example
mydestination =
relayhost = [127.0.0.1]:{sink}
inet_protocols = ipv4
alias_maps =
smtpd_client_connection_rate_limit = 0
"""
MASTER = pathlib.Path("/usr/share/postfix/master.cf.dist")


@pytest.fixture
def postfix(peer, refuse, loopback):
    """Give a context manager: Postfix with its own master.cf and a recipe behind it, relaying to an smtp-sink."""
    program, smtp_sink = peer("postfix"), peer("smtp-sink", "postfix")
    if os.geteuid() != 0:
        refuse("not run: Postfix, needs root")

    @contextlib.contextmanager
    def running(lines, port):
        with loopback.directory() as directory, loopback.port() as sink:
            for name in ("etc", "queue", "data", "arrived"):
                (directory / name).mkdir()
            shutil.chown(directory / "data", "postfix")
            shutil.chown(directory / "arrived", "nobody")
            (directory / "etc" / "main.cf").write_text(POSTFIX.format(directory=directory, sink=sink), encoding="ascii")
            master = re.sub(r"^smtp +inet .*$", "", MASTER.read_text(encoding="ascii"), count=1, flags=re.MULTILINE)
            # Debian's runs in chroots that its package fills.
            master = re.sub(r"^((?:\S+ +){4})y ", r"\1n ", master, flags=re.MULTILINE)
            (directory / "etc" / "master.cf").write_text(master + lines, encoding="ascii")
            argv = [smtp_sink, "-u", "nobody", "-d", "arrived/message.", f"127.0.0.1:{sink}", "10"]
            with (
                loopback.server(argv, [sink], directory, {}),
                loopback.postfix(program, directory / "etc", [port], directory) as server,
            ):
                yield server, directory / "arrived"

    return running


def test_in_front_of_postfix_by_smtp(serve_tls, connect_tls, ours, both, loopback, postfix, eventually):
    """Postfix takes mail from us on its own port, refuses recipients to the client's face, and delivers the rest."""
    ports, listeners = both
    with loopback.port() as hop:
        shown = "--queue smtp://127.0.0.1:10025"
        assert shown in TEXT
        lines = recipe("master", hop=f"127.0.0.1:{hop}")
        with (
            postfix(lines, hop) as (server, arrived),
            serve_tls(recipe("postfix", door=f"--queue smtp://127.0.0.1:{hop}", **ours, **listeners), ports),
            connect_tls(ports[0]) as client,
        ):
            client.login("joe", "secret")
            client.mail("joe@example.org")
            assert client.rcpt("ann@example.net")[0] == 250
            assert client.rcpt("bob@[no-such-thing]")[0] == 554  # for its 501, which would be about our words
            assert client.data(LETTER)[0] == 250
            eventually(lambda: "status=sent" in server.log(), "Postfix has delivered")
            (message,) = [path.read_text(encoding="ascii") for path in arrived.iterdir()]
    assert "Rcpt-Args: <ann@example.net>" in message
    assert "\nSubject: a recipe\n" in message


def test_behind_haproxy(serve_tls, connect_tls, ours, loopback, peer, place):
    """HAProxy says who the client is, and TLS goes through it."""
    haproxy, there = peer("haproxy"), _let_have(place / "there")
    program = place / "sendmail"
    program.write_text(SENDMAIL.format(directory=there), encoding="ascii")
    program.chmod(0o755)
    with loopback.port() as front, loopback.port() as port:
        configuration = place / "haproxy.cfg"
        configuration.write_text(
            recipe("haproxy", bind=f"bind 127.0.0.1:{front}", balanced=f"127.0.0.1:{port}"), encoding="ascii"
        )
        with (
            serve_tls(recipe("proxied", sendmail=program, balanced=f"127.0.0.1:{port}", **ours), [port]) as server,
            loopback.server([haproxy, "-db", "-f", configuration], [front], place, {}),
        ):
            with connect_tls(front, source="127.0.0.2") as client:
                client.login("joe", "secret")
                client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
            server.wait_for_log("client=127.0.0.2", "event=session login=joe", "tls=yes")
    assert "Received: (ofmipd joe@127.0.0.2) by mail.example with ESMTPSA" in (there / "message").read_text()


def test_system_passwords_without_a_setuid_program(serve, loopback, place, root, nobody):
    """The front end is nobody, who can read no account, and the verifier reads them for it."""
    mail = _let_have(place / "Mail")
    (place / "accounts").chmod(0o600)
    with loopback.port() as port:
        text = recipe(
            "verifier",
            verifier=place / "verifier",
            maildir=mail,
            who="id -u nobody",
            listener=f"127.0.0.1 {port}",
        )
        accounts = {"CHECKPW_VERIFIERD_ACCOUNTS": f"file:{place}/accounts"}
        with serve(text, port, **accounts) as server:
            server.wait_for_log("checkpw-verifierd: ", "event=start")
            assert _verdicts(port) == [535, 235]
            server.wait_for_log("checkpw-verifierd: ", f"uid={nobody.pw_uid}", "verdict=accepted")
            with _connect(port) as client:
                client.login("joe", "secret")
                client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
    (message,) = (mail / "new").iterdir()
    assert message.owner() == "nobody"


# --- ofmipd


# What Postfix's sendmail would understand of a command line and nothing else, keeping what it was given.
SENDMAIL = """#!/bin/sh
while getopts if: option; do
    case $option in i) ignores=yes ;; f) sender=$OPTARG ;; *) exit 64 ;; esac
done
shift $((OPTIND - 1))
[ "$ignores" = yes ] || exit 64
printf '%s\\n' "$sender" "$@" >{directory}/envelope
cat >{directory}/message
[ "$1" != full@example.net ] || exit 75
[ "$1" != gone@example.net ] || exit 67
"""


def test_with_a_sendmail_of_postfix_s_kind(serve, loopback, place):
    """A sendmail gets sender, recipients and message; its exit status is the reply."""
    program = place / "sendmail"
    program.write_text(SENDMAIL.format(directory=place), encoding="ascii")
    program.chmod(0o755)
    with loopback.port() as port:
        text = recipe("sendmail", accounts=place / "accounts", sendmail=program, listener=f"127.0.0.1 {port}")
        with serve(text, port), _connect(port) as client:
            client.login("joe", "secret")
            codes = []
            for recipient in ("full", "gone", "-ann"):
                client.mail("joe@example.org")
                client.rcpt(f"{recipient}@example.net")
                codes.append(client.data(LETTER)[0])
    assert codes == [451, 554, 250]
    assert (place / "envelope").read_text(encoding="ascii") == "joe@example.org\n-ann@example.net\n"
    assert (place / "message").read_text(encoding="ascii").endswith("\nSubject: a recipe\n\nGood morning.\n")


def test_with_msmtp_as_sendmail(serve, loopback, peer, place):
    """A real program with sendmail's command line takes the message on, here to a second server of ours."""
    msmtp = peer("msmtp")
    with loopback.port() as port, loopback.port() as next_port:
        (place / ".msmtprc").write_text(
            f"account default\nhost 127.0.0.1\nport {next_port}\ntls off\nauth off\n", encoding="ascii"
        )
        (place / ".msmtprc").chmod(0o600)
        text = recipe("sendmail", accounts=place / "accounts", sendmail=msmtp, listener=f"127.0.0.1 {port}")
        onward = f"RELAYCLIENT= OFMIPD_QUEUE=maildir:{place}/Mail tcpserver -vRl0 127.0.0.1 {next_port} ofmipd ''"
        with serve(onward, next_port), serve(text, port, HOME=str(place)), _connect(port) as client:
            client.login("joe", "secret")
            client.sendmail("joe@example.org", ["ann@example.net", "bob@example.net"], LETTER)
    (message,) = [path.read_text(encoding="ascii") for path in (place / "Mail" / "new").iterdir()]
    assert message.startswith(
        "Return-Path: <joe@example.org>\nDelivered-To: ann@example.net\nDelivered-To: bob@example.net\n"
    )
    assert message.count("\nReceived: (ofmipd ") == 2


@pytest.fixture
def nobody(programs):
    """Somebody who can do little, and who can start our programs: nobody, or without root whoever runs the tests."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    user = pwd.getpwnam("nobody")
    try:
        argv = [programs / "checkpassword"]
        subprocess.run(argv, user="nobody", group=user.pw_gid, extra_groups=[], check=False, timeout=20)
    except PermissionError:
        pytest.skip("not run: our programs as nobody, who may not start them")
    return user


def test_dovecot_asks(peer, refuse, loopback, programs, place):
    """With the lines of the recipe Dovecot opens the mailbox for the right password, and knows where its mail is."""
    if os.geteuid() != 0:
        refuse("not run: Dovecot that hands mail to the accounts' own users, needs root")
    program = dovecot_server.find_23(peer, refuse)
    user = pwd.getpwnam("nobody")
    home = place / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    accounts = place / "accounts"
    accounts.write_text(f"joe:{{PLAIN}}secret:{user.pw_uid}:{user.pw_gid}::{home}::\n", encoding="ascii")
    lines = recipe("dovecot", accounts=accounts, dovecot=programs / "checkpw-dovecot")
    imported, _, databases = lines.partition("\n")
    words = imported.removeprefix("import_environment = $import_environment ")
    assert words != imported
    surroundings = {"user": user, "auth_user": "root", "environment": words, "databases": databases}
    with dovecot_server.serve(program, loopback, place, **surroundings) as dovecot:
        assert dovecot.login("pop3", "joe", "secret") == "accepted", dovecot.server.log()
        assert "[AUTH]" in dovecot.login("pop3", "joe", "wrong")
        argv = [peer("doveadm", "dovecot-core"), "-c", place / "dovecot.conf", "user", "-f", "home", "joe"]
        assert subprocess.check_output(argv, timeout=30, text=True).strip() == str(home)
    assert (home / "Maildir").is_dir()


VCHKPW = """#!/bin/sh
case $(tr '\\0' : <&3) in
    joe:secret:*) exec "$@" ;;
    joe:*) exit 3 ;;
    new:*) exit 15 ;;
esac
exit 11
"""


QUEUE = """#!/bin/sh
place=$(mktemp -d {place}/XXXXXX)
cat >"$place/text"
cat <&1 >/dev/null
id >"$place/who"
"""


@pytest.mark.usefixtures("root")
def test_mail_is_queued_as_the_user(serve, loopback, place, nobody):
    """The queue program runs as who has logged in, without any other group; root is refused; guesses run out."""
    queue, queued = place / "queue", place / "queued"
    queued.mkdir(mode=0o777)
    queued.chmod(0o777)
    queue.write_text(QUEUE.format(place=queued), encoding="ascii")
    queue.chmod(0o755)
    accounts = place / "accounts"
    who = f"{nobody.pw_uid}:{nobody.pw_gid}"
    accounts.write_text(f"joe:{{PLAIN}}secret:{who}::/tmp::\nann:{{PLAIN}}secret:{who}::/tmp::\n", encoding="ascii")
    accounts.chmod(0o600)
    with loopback.port() as port:
        text = recipe("authup", listener=f"127.0.0.1 {port}")
        settings = {"CHECKPW_ACCOUNTS": f"file:{accounts}", "QMAILQUEUE": str(queue), "OFMIPD_QMAIL": str(place)}
        settings["CHECKPW_LIMIT_STORE"] = f"file:{place}/limits"
        with serve(text, port, **settings), _connect(port) as client:
            assert client.docmd("AUTH PLAIN", WRONG)[0] == 535
            client.login("joe", "secret")
            client.sendmail("joe@example.org", ["ann@example.net"], LETTER)
    (message,) = queued.iterdir()
    assert re.search(r"uid=(\d+).* gid=(\d+).* groups=\2\(\w+\)$", (message / "who").read_text().strip())
    assert (message / "who").read_text().startswith(f"uid={nobody.pw_uid}(")
    assert "by mail.example" in (message / "text").read_text(encoding="ascii")


def test_with_vchkpw(serve, loopback, place):
    """What vchkpw says with 3 and 15 is a no, what it says with 11 is trouble, and nothing else changes."""
    program = place / "vchkpw"
    program.write_text(VCHKPW, encoding="ascii")
    program.chmod(0o755)
    with loopback.port() as port:
        text = recipe("vchkpw", vchkpw=program, listener=f"127.0.0.1 {port}")
        with serve(text, port, OFMIPD_QUEUE=f"maildir:{place}/Mail"):
            assert _verdicts(port) == [535, 235]
            for login, code in ((b"new", 535), (b"odd", 454)):
                with _connect(port) as client:
                    word = base64.b64encode(b"\0%s\0x" % login).decode()
                    assert client.docmd("AUTH PLAIN", word)[0] == code


def test_with_the_checker_of_fgetty(serve, loopback, peer, refuse, place):
    """The C program is found, reads what we write on descriptor 3, and its no is a no."""
    peer("checkpassword.login", "fgetty")
    if os.geteuid() != 0:
        refuse("not run: checkpassword.login, needs root")
    with loopback.port() as port:
        text = recipe("fgetty", listener=f"127.0.0.1 {port}")
        with serve(text, port, OFMIPD_QUEUE=f"maildir:{place}/Mail") as server, _connect(port) as client:
            word = base64.b64encode(b"\0no-such-user-here\0x").decode()
            assert client.docmd("AUTH PLAIN", word)[0] == 535
            assert 'reason="exit status 1"' in server.wait_for_log("event=auth", "verdict=rejected")
