"""stunnel in front of our ofmipd, as the reference set-up has it, and implicit TLS beside it.

The clients that people use submit through both. Then checkers that misbehave: what a client sees.
"""

import base64
import contextlib
import smtplib
import ssl
import types
import uuid

import pytest

CONFIGURATION = """\
foreground = yes
pid =
syslog = no
cert = {certificate}/cert.pem
key = {certificate}/key.pem

[submission]
accept = 127.0.0.1:{starttls}
connect = 127.0.0.1:{backend}
protocol = smtp

[submissions]
accept = 127.0.0.1:{implicit}
connect = 127.0.0.1:{backend}
"""
STYLES = ["starttls", "implicit"]
LETTER = "From: joe@example.org\nTo: ann@example.net\nSubject: {subject}\n\nGood morning.\n"


class Tunnel:
    """stunnel with two services, STARTTLS and implicit TLS, in front of one ofmipd."""

    def __init__(self, backend, certificate, ports):
        self.backend = backend
        self.certificate = certificate
        self.ports = ports

    def connect(self, style):
        """Connect with smtplib, the certificate checked, up to the answer to EHLO inside TLS."""
        context = ssl.create_default_context(cafile=self.certificate)
        hello = {"local_hostname": "client.example", "timeout": 20}
        if style == "implicit":
            client = smtplib.SMTP_SSL("localhost", self.ports[style], context=context, **hello)
        else:
            client = smtplib.SMTP("localhost", self.ports[style], **hello)
            client.starttls(context=context)
        client.ehlo()
        return client


@pytest.fixture(scope="module")
def certificate(peer, run, loopback):
    """Make a self-signed certificate for this machine."""
    with loopback.directory() as directory:
        argv = [peer("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        argv += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        made = run([*argv, "-keyout", directory / "key.pem", "-out", directory / "cert.pem"])
        assert made.returncode == 0, made.stdout
        yield directory


@pytest.fixture(scope="module")
def tunnelled(submission, loopback, peer, certificate):
    """Give a context manager: what `submission` gives, with stunnel in front."""

    @contextlib.contextmanager
    def serve(**settings):
        stunnel = peer("stunnel4")
        with submission(**settings) as backend, loopback.port() as starttls, loopback.port() as implicit:
            ports = {"starttls": starttls, "implicit": implicit}
            configuration = backend.directory / "stunnel.conf"
            configuration.write_text(
                CONFIGURATION.format(certificate=certificate, backend=backend.port, **ports), encoding="ascii"
            )
            with loopback.server([stunnel, configuration], list(ports.values()), backend.directory, {}):
                yield Tunnel(backend, certificate / "cert.pem", ports)

    return serve


@pytest.fixture(scope="module")
def tunnel(tunnelled):
    """The reference set-up behind stunnel, for the tests that leave it as it is."""
    with tunnelled() as running:
        yield running


# --- clients: each submits one message, and gives its exit status and all that it said


@pytest.fixture
def swaks(peer, perl_module, run):
    """Submit with swaks."""
    program = peer("swaks")
    perl_module("Net::SSLeay", "libnet-ssleay-perl")

    def submit(tunnel, style, login, password, subject):
        argv = [program, "--server", "127.0.0.1", "--port", tunnel.ports[style]]
        argv += ["--tls" if style == "starttls" else "--tls-on-connect"]
        argv += ["--auth", "LOGIN", "--auth-user", login, "--auth-password", password]
        argv += ["--helo", "client.example", "--from", "joe@example.org", "--to", "ann@example.net"]
        return run([*argv, "--data", "-"], LETTER.format(subject=subject))

    return submit


@pytest.fixture
def msmtp(peer, run):
    """Submit with msmtp, the certificate checked."""
    program = peer("msmtp")

    def submit(tunnel, style, login, password, subject):
        argv = [program, "--host=localhost", f"--port={tunnel.ports[style]}", "--tls=on"]
        argv += [f"--tls-starttls={'on' if style == 'starttls' else 'off'}"]
        argv += [f"--tls-trust-file={tunnel.certificate}", "--auth=plain", f"--user={login}"]
        argv += [f"--passwordeval=echo {password}", "--domain=client.example", "--from=joe@example.org"]
        return run([*argv, "ann@example.net"], LETTER.format(subject=subject))

    return submit


@pytest.fixture
def curl(peer, run):
    """Submit with curl, the certificate checked."""
    program = peer("curl")

    def submit(tunnel, style, login, password, subject):
        scheme = "smtp" if style == "starttls" else "smtps"
        argv = [
            program,
            "--silent",
            "--show-error",
            "--verbose",
            "--ssl-reqd",
            "--cacert",
            tunnel.certificate,
        ]
        argv += ["--url", f"{scheme}://localhost:{tunnel.ports[style]}/client.example"]
        argv += ["--user", f"{login}:{password}", "--mail-from", "joe@example.org"]
        argv += ["--mail-rcpt", "ann@example.net", "--upload-file", "-"]
        return run(argv, LETTER.format(subject=subject))

    return submit


@pytest.fixture
def python():
    """Submit with smtplib in this process, which answers in the shape of a program that ended."""

    def submit(tunnel, style, login, password, subject):
        ended = types.SimpleNamespace(returncode=0, stdout=b"")
        with tunnel.connect(style) as client:
            try:
                client.login(login, password)
                client.sendmail("joe@example.org", "ann@example.net", LETTER.format(subject=subject))
            except smtplib.SMTPResponseException as error:
                ended.returncode, ended.stdout = 1, b"%d %b" % (error.smtp_code, error.smtp_error)
        return ended

    return submit


@pytest.fixture(params=["swaks", "msmtp", "curl", "python"])
def submit(request):
    """Each of the clients in its turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def subject():
    """Give a text by which a test finds its own message among those of others."""
    return f"test {uuid.uuid4()}"


@pytest.mark.parametrize("style", STYLES)
def test_a_message_arrives_from_each_client(tunnel, submit, style, subject):
    """Each client logs in inside TLS and its message arrives, traced to the login."""
    ended = submit(tunnel, style, "joe", "secret", subject)
    assert ended.returncode == 0, ended.stdout
    (message,) = tunnel.backend.messages(subject)
    lines = message.split("\n")
    assert lines[:2] == ["Return-Path: <joe@example.org>", "Delivered-To: ann@example.net"]
    assert lines[2].startswith("Received: (ofmipd joe@127.0.0.1) by mail.example with ESMTPA; ")
    # swaks, and curl when it is given LF, put a line end of their own before the final dot.
    assert message.rstrip("\n").endswith("\n\nGood morning.")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("login", ["joe", "nobody"])
def test_each_client_is_told_of_wrong_credentials(tunnel, submit, style, login, subject):
    """A wrong password and an unknown login make each client fail, with our 535, and nothing arrives."""
    ended = submit(tunnel, style, login, "wrong", subject)
    assert ended.returncode != 0
    assert b"535 5.7.8" in ended.stdout
    assert tunnel.backend.messages(subject) == []


@pytest.mark.parametrize("style", STYLES)
def test_behind_stunnel_no_second_starttls_is_offered(tunnel, style):
    """Inside the tunnel the client sees our host name and AUTH, and is not asked to start TLS again."""
    with tunnel.connect(style) as client:
        assert client.ehlo_resp.split()[0] == b"mail.example"
        assert client.has_extn("auth")
        assert not client.has_extn("starttls")


# --- checkers that do not do what a checker should


def _checker(directory, text):
    program = directory / "checker"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    program.chmod(0o755)
    return (str(program), "true")


def _verdict(client):
    """Log in, then ask what a session out of step would show; give the codes of the answer to AUTH."""
    credentials = base64.b64encode(b"\0joe\0secret").decode()
    code, text = client.docmd("AUTH PLAIN", credentials)
    assert b"\n" not in text
    assert client.docmd("NOOP")[0] == 250
    assert client.docmd("MAIL FROM:<joe@example.org>")[0] == (250 if code == 235 else 530)
    assert client.quit()[0] == 221
    return code, text.split()[0].decode()


UNABLE = (454, "4.7.0")
CHATTER = "echo 250 garbage-on-1; echo 235 garbage-on-2 >&2; printf '\\377\\033[2J\\n' >&2; "
MISBEHAVIOUR = {
    "exits with 111": ("exit 111", UNABLE),
    "exits with 2": ("exit 2", UNABLE),
    "exits with 100": ("exit 100", UNABLE),
    "crashes": ("kill -SEGV $$", UNABLE),
    "does not read, and says yes": ("exit 0", (235, "2.7.0")),
    "does not read, and says no": ("exit 1", (535, "5.7.8")),
    "prints garbage and says yes": (CHATTER + "exit 0", (235, "2.7.0")),
    "prints garbage and says no": (CHATTER + "exit 1", (535, "5.7.8")),
    "prints garbage and fails": (CHATTER + "exit 111", UNABLE),
    "closes what it was given": ("exec 0<&- 1>&- 2>&- 3<&-; exit 1", (535, "5.7.8")),
}


@pytest.mark.parametrize(("text", "verdict"), MISBEHAVIOUR.values(), ids=list(MISBEHAVIOUR))
def test_what_a_client_sees_of_a_checker(tunnelled, tmp_path, text, verdict):
    """An exit status is a verdict or our trouble, and nothing that a checker prints reaches the client."""
    with tunnelled(checker=_checker(tmp_path, text)) as tunnel:
        assert _verdict(tunnel.connect("starttls")) == verdict


def test_what_a_checker_prints_is_logged_and_cannot_forge_a_line(tunnelled, tmp_path):
    """Standard error of a checker is in the log, inside lines of ours, control characters escaped."""
    with tunnelled(checker=_checker(tmp_path, CHATTER + "exit 1")) as tunnel:
        _verdict(tunnel.connect("implicit"))
        line = tunnel.backend.server.wait_for_log("garbage-on-2")
        assert not line.startswith(("235", "garbage"))
        assert "\033" not in tunnel.backend.server.log()


def test_a_checker_that_hangs_is_killed_and_the_client_told(tunnelled, tmp_path, eventually):
    """Past its time limit a checker and its children are gone, and the client has a 454."""
    checker = _checker(tmp_path, f"cd {tmp_path}\nsleep 60 &\necho $! >child\necho $$ >self\nwait")
    with tunnelled(checker=checker, OFMIPD_CHECKER_TIMEOUT="2") as tunnel:
        assert _verdict(tunnel.connect("starttls")) == UNABLE
    for name in ("self", "child"):
        process = int((tmp_path / name).read_text(encoding="ascii"))
        eventually(lambda process=process: not _is_running(process), f"end of {name}")


def _is_running(process):
    """Tell whether a process runs; one that ended and that nobody collected yet does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as state:
            return state.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("mode", [None, 0o644], ids=["missing", "not executable"])
def test_a_checker_that_cannot_be_run(tunnelled, tmp_path, mode):
    """A checker that is missing or not executable is our trouble, not a wrong password."""
    program = tmp_path / "checker"
    if mode is not None:
        program.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
        program.chmod(mode)
    with tunnelled(checker=(str(program), "true")) as tunnel:
        assert _verdict(tunnel.connect("starttls")) == UNABLE
