"""The rc.d script of checkpw under a small rc.subr of the tests' own, with a real tcpserver and real rc.conf lines."""

import contextlib
import os
import pathlib
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE)]

import installed

pytestmark = pytest.mark.usefixtures("root")

REFERENCE = """\
qmailofmipd=YES
qmailofmipd_datalimit="160000000"
qmailofmipd_postofmipd="'' mail.example checkpassword true"
"""
"""The three lines that a machine with pkgsrc's qmail-run has in its rc.conf."""

RECORDER = """#!/bin/sh
{ printf '%s\\n' "$@"; } >"@place@/words.tmp"
env >"@place@/environment"
mv "@place@/words.tmp" "@place@/words"
exec argv0 sleep qmailofmipd 600
"""
"""Stands in for a UCSPI server: keeps its words, a line each."""


class Script:
    """A script for rc.d, its rc.conf, and what it is told."""

    def __init__(self, path, place, port):
        self.path = path
        self.place = place
        self.port = port
        self.name = path.name
        self.pidfile = place / "pid"

    def configure(self, *lines):
        """Write the rc.conf: what is of this machine, then the lines."""
        log = f"{self.name}_logcmd=\"sh -c 'exec cat >>{self.place}/log'\""
        here = [f"{self.name}_pidfile={self.pidfile}", log]
        if self.name == "qmailofmipd":
            here.append(f"qmailofmipd_tcpport={self.port}")
        (self.place / "rc.conf").write_text("\n".join([*here, *lines, ""]), encoding="ascii")

    def tell(self, action):
        """Run the script with an action; give its status and what it said."""
        environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "RC_CONF": str(self.place / "rc.conf"), "ODD": "inherited"}
        with (self.place / "said").open("w+b") as said:
            # Not a pipe: what goes on in the background might hold it open.
            done = subprocess.run(
                [self.path, action],
                cwd="/",
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
                timeout=60,
            )
            said.seek(0)
            return done.returncode, said.read().decode()

    def pid(self):
        """Give the pid in the pid file."""
        return int(self.pidfile.read_text(encoding="ascii"))

    def log(self):
        """Give what was logged."""
        return (self.place / "log").read_text(encoding="ascii")

    def listens(self):
        """Tell whether somebody can connect."""
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port), 20):
            return True
        return False


@pytest.fixture
def rc_d(peer, everybodys, loopback, eventually):
    """Give a context manager: a script is written for a place of its own, and what it started is gone at the end."""

    @contextlib.contextmanager
    def make(*words, name="qmailofmipd", server="tcpserver"):
        for program, package in (("tcpserver", "ucspi-tcp"), ("argv0", "ucspi-tcp"), ("softlimit", "daemontools")):
            peer(program, package)
        with loopback.directory() as place, loopback.port() as port:
            installed.make_place(place)
            (place / "qmail" / "control").mkdir(parents=True)
            given = installed.options(place, *([f"127.0.0.1:{port}"] if "--listen" not in words else []))
            given += ["--rc-subr", HERE / "rc.subr", "--qmail", place / "qmail", "--server", peer(server), *words]
            (path,) = installed.write(everybodys, place / "rc.d", "rc.d", *given)
            script = Script(pathlib.Path(path), place, port)
            (place / "log").touch()
            shutil.chown(place / "log", installed.LOG_USER)
            assert script.name == name
            script.configure(f"{name}=YES")
            try:
                yield script
            finally:
                script.tell("onestop")
                if script.pidfile.exists() and installed.is_alive(script.pid()):
                    os.kill(script.pid(), signal.SIGKILL)

    return make


def test_three_lines_of_rc_conf(rc_d, eventually):
    """The reference lines, as they stand in the documentation, start a server that takes mail, with that data limit."""
    with rc_d() as script:
        script.configure(REFERENCE)
        assert script.tell("start") == (0, "Starting qmailofmipd.\n")
        eventually(script.listens, "the server listens")
        installed.submit(script.port)
        ((text, owner),) = installed.messages(script.place)
        assert "by mail.example with ESMTPA" in text
        assert owner == installed.USER
        eventually(lambda: "event=message" in script.log(), "the log")
        limits = installed.limits(script.pid())
        assert {limits[f"Max {what}"] for what in ("data size", "stack size", "address space")} == {160_000_000}
        assert "ODD" not in installed.environment(script.pid())


STUNNEL = """\
foreground = yes
pid =
syslog = no
cert = @cert@
key = @key@

[submission]
accept = 127.0.0.1:@front@
connect = 127.0.0.1:@port@
protocol = smtp
"""

AS_THE_USER = """\
qmailofmipd=YES
qmailofmipd_tcpuser=
qmailofmipd_checkpassword=checkpassword
"""
SET_UPS = {
    "a server without AUTH": AS_THE_USER
    + """\
qmailofmipd_postenv="CHECKPW_ACCOUNTS=file:@place@/people OFMIPD_AUTH_DELAY=0.1 AUTHUP_LEVEL=always"
qmailofmipd_precheckpassword="authup smtp"
qmailofmipd_preofmipd="checknotroot --"
qmailofmipd_ofmipdcmd="/usr/bin/python3 -IS @place@/stock_server.py"
qmailofmipd_postofmipd=auth,polite
""",
    "AUTH in ofmipd": REFERENCE,
    "AUTH in authup": AS_THE_USER
    + """\
qmailofmipd_postenv="CHECKPW_ACCOUNTS=file:@place@/people OFMIPD_QUEUE=maildir:@place@/Maildir \
    OFMIPD_AUTH_DELAY=0.1 UCSPITLS=!"
qmailofmipd_tls_cert=@cert@
qmailofmipd_tls_key=@key@
qmailofmipd_precheckpassword="/usr/bin/python3 @here@/ucspi_tlsd.py reup -t 5 authup smtp"
qmailofmipd_preofmipd=checknotroot
qmailofmipd_postofmipd="'' mail.example"
""",
}
"""What rc.conf says of the reference set-ups: an old server behind AUTH, AUTH in ofmipd, and the later chain."""


@pytest.mark.parametrize("set_up", SET_UPS)
def test_reference_set_ups(set_up, rc_d, eventually, peer, certify, loopback):
    """From TLS to the queue, with a wrong password on the way; behind authup, as the user who has logged in."""
    with rc_d() as script, loopback.port() as front:
        place = script.place
        certificate, key = certify(place, "localhost")
        places = {"place": place, "here": HERE, "cert": certificate, "key": key, "front": front, "port": script.port}
        user = pwd.getpwnam(installed.USER)
        (place / "people").write_text(f"joe:{{PLAIN}}secret:{user.pw_uid}:{user.pw_gid}::{place}:\n", encoding="ascii")
        (place / "people").chmod(0o600)
        shutil.copy(HERE.parent / "transcripts" / "stock_server.py", place)
        (place / "stunnel.conf").write_text(_filled(STUNNEL, places), encoding="ascii")
        script.configure(_filled(SET_UPS[set_up], places))
        assert script.tell("start")[0] == 0
        eventually(script.listens, "the server listens")
        tunnel = contextlib.nullcontext()
        if "authup" not in set_up:
            tunnel = loopback.server([peer("stunnel4"), place / "stunnel.conf"], [front], place, {})
        with tunnel:
            said = _submit_by_tls(script.port if "authup" in set_up else front, certificate)
        if set_up == "a server without AUTH":
            assert b"Subject: a service" in said
            return
        ((text, owner),) = installed.messages(place)
        assert f"(ofmipd joe@127.0.0.1) by mail.example with ESMTP{'SA' if 'authup' in set_up else 'A'}; " in text
        assert owner == installed.USER


def _filled(template, values):
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    return template


def _submit_by_tls(port, certificate):
    """Submit a message after STARTTLS and two logins, and give the answer to its text."""
    with smtplib.SMTP("localhost", port, local_hostname="client.example", timeout=20) as client:
        client.starttls(context=ssl.create_default_context(cafile=certificate))
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.docmd("AUTH PLAIN", installed.WRONG)[0] == 535
        assert client.docmd("AUTH PLAIN", installed.RIGHT)[0] == 235
        assert client.mail("joe@example.org")[0] == 250
        assert client.rcpt("ann@example.net")[0] == 250
        status, said = client.data(installed.LETTER)
        assert status == 250, said
        return said


def test_each_action(rc_d, eventually):
    """start, status, stat, pause, cont, restart and stop do what they say, and say it."""
    with rc_d() as script:
        assert script.tell("status") == (1, "qmailofmipd is not running.\n")
        assert script.tell("stop") == (1, "qmailofmipd is not running.\n")
        assert script.tell("pause")[0] == script.tell("cont")[0] == 1
        assert script.tell("start")[0] == 0
        first = script.pid()
        eventually(script.listens, "the server listens")
        assert script.tell("start") == (1, f"qmailofmipd is running already, as process {first}.\n")
        for action in ("status", "stat"):
            assert script.tell(action) == (0, f"qmailofmipd is running as process {first}.\n")
        assert script.tell("pause") == (0, "Pausing qmailofmipd.\n")
        eventually(lambda: _state(first) == "T", "it is stopped")
        with socket.create_connection(("127.0.0.1", script.port), 20) as waiting:
            assert script.tell("cont") == (0, "Continuing qmailofmipd.\n")
            assert waiting.recv(4096).startswith(b"220 ")
        assert script.tell("restart")[0] == 0
        assert script.pid() != first and not installed.is_alive(first)
        eventually(script.listens, "the next one listens")
        last = script.pid()
        with smtplib.SMTP("127.0.0.1", script.port, timeout=20) as session:
            session.ehlo()
            assert script.tell("stop") == (0, "Stopping qmailofmipd.\n")
            assert not installed.is_alive(last) and not script.pidfile.exists()
            assert not script.listens()
            assert session.noop()[0] == 250, "a session that is under way goes on"


def _state(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def test_what_is_paused_can_be_stopped(rc_d):
    """stop lets it go on, so that it hears that it is to end."""
    with rc_d() as script:
        script.tell("start")
        pid = script.pid()
        script.tell("pause")
        assert script.tell("stop")[0] == 0
        assert not installed.is_alive(pid)


def test_it_is_not_started_unless_rc_conf_says_so(rc_d):
    """qmailofmipd=NO starts nothing; onestart does."""
    with rc_d() as script:
        script.configure("qmailofmipd=NO")
        assert script.tell("start") == (0, "")
        assert not script.pidfile.exists()
        assert script.tell("onestart")[0] == 0
        assert installed.is_alive(script.pid())


def test_somebody_elses_pid_is_left_alone(rc_d):
    """A pid file that was left behind, and whose number is another process by now, is nobody's to stop."""
    with rc_d() as script, subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as other:  # ends with the block
        for content in (str(other.pid), "", "1 2", "-1", "nonsense"):
            script.pidfile.write_text(f"{content}\n", encoding="ascii")
            assert script.tell("status")[0] == 1
            assert script.tell("stop")[0] == 1
        assert other.poll() is None
        script.pidfile.unlink()


def test_rules_are_built_and_followed(rc_d, eventually):
    """tcprules are built at start; cdb and reload take changes over without a restart; autocdb=NO leaves them."""
    with rc_d() as script:
        rules = script.place / "qmail" / "control" / "tcprules" / "ofmip"
        assert (script.tell("cdb")[0], script.tell("reload")[0]) == (1, 0)
        rules.parent.mkdir()
        rules.write_text(":deny\n", encoding="ascii")
        script.tell("start")
        eventually(script.listens, "the server listens")
        assert _greeting(script.port) == b""
        for action, line, greets in (("cdb", ":allow", True), ("reload", ":deny", False)):
            rules.write_text(f"{line}\n", encoding="ascii")
            assert bool(_greeting(script.port)) != greets, "not yet"
            assert script.tell(action)[0] == 0
            assert bool(_greeting(script.port)) == greets
        script.configure("qmailofmipd=YES", "qmailofmipd_autocdb=NO")
        rules.write_text(":allow\n", encoding="ascii")
        script.tell("restart")
        eventually(script.listens, "the server listens")
        assert _greeting(script.port) == b""


def _greeting(port):
    with socket.create_connection(("127.0.0.1", port), 20) as client, contextlib.suppress(ConnectionResetError):
        return client.recv(4096)
    return b""


def test_rules_that_rc_conf_names_have_to_be_there(rc_d):
    """Where somebody counts on rules, nothing is started without them."""
    with rc_d() as script:
        script.configure("qmailofmipd=YES", "qmailofmipd_tcprules=/nonexistent/rules")
        status, said = script.tell("start")
        assert (status, said) == (1, "qmailofmipd: there is no /nonexistent/rules\n")


# --- words, seen by a server that keeps them


@pytest.fixture
def recorded(rc_d, eventually):
    """Give a function: with these options and rc.conf lines, the words and the environment of the UCSPI server."""

    def record(options, *lines, control=()):
        with rc_d(*options) as script:
            recorder = script.place / "recorder"
            recorder.write_text(RECORDER.replace("@place@", str(script.place)), encoding="ascii")
            recorder.chmod(0o755)
            for name, text in control:
                path = script.place / "qmail" / "control" / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="ascii")
            script.configure("qmailofmipd=YES", f"qmailofmipd_tcpserver={recorder}", *lines)
            status, said = script.tell("start")
            assert status == 0, said
            eventually((script.place / "words").exists, "the words are written")
            words = (script.place / "words").read_text(encoding="ascii").splitlines()
            known = dict(
                line.split("=", 1) for line in (script.place / "environment").read_text(encoding="ascii").splitlines()
            )
            return [word.replace(str(script.place / "qmail" / "control"), "CONTROL") for word in words], known, script

    return record


def test_the_first_generation(recorded):
    """Variables of the scripts before authup are put where they were then."""
    words, known, _ = recorded(
        [],
        'qmailofmipd_tcpflags="-vR"',
        "qmailofmipd_tcphost=127.0.0.2",
        "qmailofmipd_tcpport=2626",
        "qmailofmipd_preofmipd=\"spamdyke -f 'a b'\"",
        "qmailofmipd_postofmipd=\"'' $(printf mail.example) checkpassword true\"",
        "qmailofmipd_postenv=A=1",
        control=[("concurrencyofmip", "17\n"), ("tcprules/ofmip", ":allow\n")],
    )
    user = pwd.getpwnam(installed.USER)
    assert words[: words.index("spamdyke")] == [
        *(
            "-vR",
            "-u",
            str(user.pw_uid),
            "-g",
            str(user.pw_gid),
            "-x",
            "CONTROL/tcprules/ofmip.cdb",
            "-c",
            "17",
            "127.0.0.2",
            "2626",
        ),
    ]
    assert words[words.index("spamdyke") :][:3] == ["spamdyke", "-f", "a b"]
    ofmipd, *rest = words[words.index("spamdyke") + 3 :]
    assert ofmipd.endswith("/ofmipd")
    assert rest == ["", "mail.example", "checkpassword", "true"]
    assert known["A"] == "1"
    assert known["DISABLETLS"] == "1"
    assert "CHECKPW_ACCOUNTS" not in known, "rc.conf has the last word"


def test_the_second_generation(recorded):
    """Variables of the scripts with authup are put where they are there, and TLS is the server's."""
    words, known, _ = recorded(
        ["--program", "authup", "--listen", ":587", "--tls-cert", "/nonexistent/cert.pem"],
        "qmailofmipd_tcphost=0",
        "qmailofmipd_tcpport=587",
        "qmailofmipd_tls_cert=/etc/passwd",
        "qmailofmipd_tls_key=/etc/shadow",
        "qmailofmipd_tls_dhparams=/etc/group",
        'qmailofmipd_precheckpassword="reup -t 5 authup smtp"',
        "qmailofmipd_checkpassword=nbcheckpassword",
        'qmailofmipd_preofmipd="checknotroot fixsmtpio"',
        "qmailofmipd_ofmipdcmd=ofmipd-with-user-cdb",
        'qmailofmipd_postofmipd=""',
        control=[("concurrencysubmission", "23\n"), ("concurrencyofmip", "17\n")],
    )
    assert words == [
        *("-ne", "-vRl0", "-c", "23", "0", "587", "reup", "-t", "5", "authup", "smtp", "nbcheckpassword"),
        *("checknotroot", "fixsmtpio", "ofmipd-with-user-cdb"),
    ]
    tls = {"CERTFILE": "/etc/passwd", "KEYFILE": "/etc/shadow", "DHFILE": "/etc/group", "UCSPITLS": "!"}
    assert tls.items() <= known.items()
    assert "DISABLETLS" not in known


def test_the_chain_of_authup(recorded):
    """By itself, the script for authup starts the chain that goes on as the user."""
    words, known, _ = recorded(["--program", "authup"])
    at = next(index for index, word in enumerate(words) if word.endswith("/authup"))
    assert [word.rpartition("/")[2] for word in words[at:]] == [
        *("authup", "smtp", "checkpassword", "checknotroot", "ofmipd", "", installed.HOST),
    ]
    assert "-u" not in words[:at], "root becomes the user"
    assert known["CHECKPW_USER"] == installed.USER


@pytest.mark.parametrize(
    ("lines", "tls"),
    [
        (["qmailofmipd_tls=NO", "qmailofmipd_tcphost=0"], {"DISABLETLS": "1"}),
        (["qmailofmipd_tls=auto"], {"DISABLETLS": "1"}),
        (["qmailofmipd_tls=AUTO", "qmailofmipd_tls_cert=/etc/passwd"], {"CERTFILE": "/etc/passwd"}),
        (["qmailofmipd_tls=YES", "qmailofmipd_tls_cert=/nonexistent"], {"CERTFILE": "/nonexistent"}),
        (
            ["qmailofmipd_tcphost=0", "qmailofmipd_tls_cert=/etc/passwd"],
            {"CERTFILE": "/etc/passwd", "UCSPITLS": "!"},
        ),
    ],
)
def test_tls(recorded, lines, tls):
    """auto is TLS where there is a certificate; who can be reached from elsewhere takes no password before it."""
    _, known, _ = recorded([], *lines)
    names = {"CERTFILE", "KEYFILE", "DHFILE", "UCSPITLS", "DISABLETLS"}
    assert {name: value for name, value in known.items() if name in names} == tls


def test_without_a_certificate_strangers_are_not_served(rc_d):
    """Where others than this machine can connect, passwords in clear have to be asked for."""
    with rc_d() as script:
        script.configure("qmailofmipd=YES", "qmailofmipd_tcphost=0")
        status, said = script.tell("start")
        assert status == 1
        assert "there is no certificate" in said
        assert not script.pidfile.exists()


@pytest.mark.parametrize("line", ["qmailofmipd_tcpuser=nosuchuser", ""])
def test_what_cannot_be_meant_is_not_started(rc_d, line):
    """A user that is not there does not become root, and a limit that is no number is none."""
    with rc_d() as script:
        script.configure("qmailofmipd=YES", line)
        if not line:
            (script.place / "qmail" / "control" / "concurrencyofmip").write_text("many\n", encoding="ascii")
        status, said = script.tell("start")
        assert status == 1, said
        assert not script.pidfile.exists()


def test_where_the_log_goes(rc_d, eventually):
    """With log=NO it goes to nologcmd, and either is run by the log's user."""
    with rc_d() as script:
        (script.place / "logs").mkdir(mode=0o777)
        (script.place / "logs").chmod(0o777)
        command = f"qmailofmipd_nologcmd=\"multilog t '-*' '+*reason=quit*' {script.place}/logs/main\""
        script.configure("qmailofmipd=YES", "qmailofmipd_log=NO", command, f"qmailofmipd_loguser={installed.LOG_USER}")
        assert script.tell("start")[0] == 0
        eventually(script.listens, "the server listens")
        installed.submit(script.port)
        current = script.place / "logs" / "main" / "current"
        eventually(lambda: "reason=quit" in current.read_text(encoding="ascii"), "the log")
        assert current.owner() == installed.LOG_USER
        assert len(current.read_text(encoding="ascii").splitlines()) == 1


# --- resident servers


@pytest.mark.parametrize("program", ["submissiond", "checkpw-verifierd"])
def test_resident_servers(rc_d, program, eventually):
    """A script for a server of ours starts, reloads and stops it."""
    name = program.replace("-", "_")
    words = ["--program", program, "--options", "--workers 1 --drain-time 0.1"]
    if program != "submissiond":
        words = ["--program", program, "--listen", "/run/checkpw-test/verifier"]
    with rc_d(*words, name=name) as script:
        if program != "submissiond":
            text = script.path.read_text(encoding="utf-8")
            script.path.write_text(text.replace("/run/checkpw-test", str(script.place)), encoding="utf-8")
        assert script.tell("start") == (0, f"Starting {name}.\n")
        ready = "is ready" if program == "submissiond" else "event=start"
        eventually(lambda: ready in script.log(), "the server is ready")
        limits = installed.limits(script.pid())
        assert limits["Max data size"] == 1_000_000_000
        if program == "submissiond":
            installed.submit(script.port)
        assert script.tell("reload") == (0, f"Reloading {name}.\n")
        again = "hangup" if program != "submissiond" else "is ready"
        eventually(
            lambda: re.search(rf"{again}(?s:.*){'' if program != 'submissiond' else again}", script.log()), again
        )
        pid = script.pid()
        assert script.tell("stop")[0] == 0
        assert not installed.is_alive(pid)
