"""`checkpw demo`: a submission server with TLS on this machine, from account store to Maildir, every step shown."""

import contextlib
import os
import pwd
import secrets
import shlex
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path

import click

from checkpw import newhash
from checkpw.accounts import passwd_edit
from checkpw.cli.install import install
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.secret import Secret

HOSTNAME = "mail.example"
LOGIN = "joe"
HERE = "localhost"
"""Where the client finds the server, and what the certificate is made out to."""

NOBODY = "nobody"
"""Who talks to clients and owns the Maildir, when the demo is started as root."""

PATIENCE = 20.0
"""Seconds that the server has to listen and the client to be answered."""


@click.command(
    epilog="""\b
EXAMPLES
  checkpw demo
  checkpw demo --serve --directory /tmp/checkpw-demo""",
)
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Keep everything there.")
@click.option("--serve", is_flag=True, help="Then go on serving, until interrupted.")
@click.pass_obj
def demo(environ: Mapping[str, str], directory: Path | None, serve: bool) -> None:
    """Submit an authenticated message over TLS to a server on loopback, and show what arrived.

    Makes an account store and a certificate, starts submissiond, submits a message with Python's smtplib, which
    verifies the certificate, and leaves a directory to go on with by hand.
    """
    if shutil.which("openssl") is None:
        raise TemporaryFailure("the demo makes a certificate with the program openssl, and that is not installed")
    place = (directory or Path(tempfile.mkdtemp(prefix="checkpw-demo-"))).absolute()
    _take(place)
    programs, accounts, maildir, log = place / "bin", place / "accounts", place / "Maildir", place / "log"

    _step("Programs: launchers that start Python without site, and man pages to match (checkpw(7))")
    install(programs)
    click.echo(f"  {programs}/submissiond, checkpassword, checkpw")

    _step(f"An account: one line in {accounts} (checkpw-passwd(5))")
    password = secrets.token_hex(6)
    hashed = newhash.make("SHA512-CRYPT", Secret(password.encode()))
    _write_account(accounts, hashed)
    click.echo(f"  {LOGIN}:{hashed.decode()[:34]}...   the password is {password}")

    _step("A certificate for localhost that vouches for itself; Let's Encrypt gives real ones")
    certificate, key = _make_certificate(place)
    click.echo(f"  {certificate}, and its key {key}")

    maildir.mkdir(exist_ok=True)
    settings = ["--queue", f"maildir:{maildir}", "--accounts", f"file:{accounts}", "--auth-delay", "1"]
    settings += ["--tls-cert", certificate, "--tls-key", key, *_roles(place, maildir)]
    path = f"{programs}:{environ.get('PATH', '/usr/bin:/bin')}"
    with _server(settings, {**environ, "PATH": path}, log) as port:
        _submit(port, password, certificate)
        _show_log(log)
        _show_message(maildir)
        _explain(place, password, str(port) if serve else "PORT")
        if serve:
            _step("Serving until interrupted")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


def _take(place: Path) -> None:
    """Make the directory; one that is there must be empty or a demo's: accounts and programs are overwritten."""
    marker = place / ".checkpw-demo"
    if place.exists() and any(place.iterdir()) and not marker.exists():
        raise Misuse(f"{place} is not empty, and no demo's: name another directory")
    place.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _write_account(path: Path, hashed: bytes) -> None:
    path.write_bytes(b"")
    path.chmod(0o600)
    passwd_edit.add(os.fsencode(path), LOGIN.encode(), hashed)


def _make_certificate(place: Path) -> tuple[str, str]:
    from checkpw import certificates

    return certificates.self_signed(str(place), HERE)


def _roles(place: Path, maildir: Path) -> list[str]:
    """Return who the processes are to be, and let them reach the Maildir; nobody else where we are not root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(NOBODY)
    closed = [path for path in place.parents if not path.stat().st_mode & 0o001]
    if closed:
        raise Misuse(f"as root, the demo writes mail as {NOBODY}, who cannot enter {closed[-1]}: try below /tmp")
    place.chmod(0o755)
    for path in (maildir, *maildir.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return ["--user", NOBODY]


@contextlib.contextmanager
def _server(settings: list[str], environ: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run submissiond on a port that is free, for as long as the block runs; give the port."""
    port, argv, process = _start(settings, environ, log)
    try:
        if "is ready" not in _text(log):
            raise TemporaryFailure(f"the demo's server does not start: {_text(log).strip()}")
        _step(f"A server on 127.0.0.1 port {port}, STARTTLS as on port 587 (submissiond(8))")
        for line in _wrapped(argv):
            click.echo(f"  {line}")
        yield port
    finally:
        process.terminate()
        if not _wait(lambda: process.poll() is not None):
            process.kill()
            process.wait()


def _start(
    settings: list[str], environ: Mapping[str, str], log: Path, tries: int = 3
) -> tuple[int, list[str], "subprocess.Popen[bytes]"]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    argv = ["submissiond", "--listen", f"127.0.0.1:{port},starttls", *settings]
    argv += ["--", "", HOSTNAME, "checkpassword", "true"]
    with log.open("wb") as file:
        # Not in the terminal's group: whoever interrupts the demo interrupts the demo.
        process = subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stderr=file, start_new_session=True)
    _wait(lambda: "is ready" in _text(log) or process.poll() is not None)
    if "unable to listen" in _text(log) and tries > 1:  # somebody else was faster to take the port
        return _start(settings, environ, log, tries - 1)
    return port, argv, process


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8")


def _wrapped(argv: list[str]) -> Iterator[str]:
    """Give a command in lines, each with options and their values, as a shell takes them."""
    words = [shlex.quote(word) for word in argv]
    starts = [at for at, word in enumerate(words) if at and word.startswith("--")]
    pieces = [words[start:end] for start, end in zip([0, *starts], [*starts, len(words)], strict=True)]
    line = ""
    for piece in map(" ".join, pieces):
        if line and len(line) + len(piece) > 96:
            yield f"{line} \\"
            line = f"    {piece}"
        else:
            line = f"{line} {piece}".strip() if not line.startswith(" ") else f"{line} {piece}"
    yield line


def _wait(condition: Callable[[], bool]) -> bool:
    """Poll until a condition holds, and tell whether it does."""
    deadline = time.monotonic() + PATIENCE
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds


def _submit(port: int, password: str, certificate: str) -> None:
    _step("A client, Python's smtplib: TLS, then a wrong password, then the right one")
    message = EmailMessage()
    message["From"] = f"{LOGIN}@{HOSTNAME}"
    message["To"] = "ann@example.org"
    message["Bcc"] = "secret-reader@example.org"
    message["Subject"] = "checkpw works here"
    message.set_content("Sent with a password that went through TLS and was checked.\n")
    with smtplib.SMTP(HERE, port, local_hostname="client.example", timeout=PATIENCE) as client:
        client.starttls(context=ssl.create_default_context(cafile=certificate))
        assert isinstance(client.sock, ssl.SSLSocket)
        click.echo(f"  certificate:     good for {HERE}; {client.sock.version()}")
        try:
            client.login(LOGIN, "not " + password)
        except smtplib.SMTPAuthenticationError as error:
            answer = error.smtp_error.decode() if isinstance(error.smtp_error, bytes) else error.smtp_error
            click.echo(f"  wrong password:  {error.smtp_code} {answer}")
        code, words = client.login(LOGIN, password)
        click.echo(f"  right password:  {code} {words.decode()}")
        client.send_message(message)
        click.echo("  message:         accepted, which means that it is on disk")


def _show_log(log: Path) -> None:
    _step(f"What the server logged in {log}: one line per event, for multilog, journald or fail2ban")
    _wait(lambda: "event=session" in _text(log))  # the last line comes after the goodbye
    for line in _text(log).splitlines():
        click.echo(f"  {line}")


NOTES = {
    "Return-Path:": "the envelope's sender, written by the maildir: door",
    "Delivered-To:": "the envelope's recipient; Bcc lives on only here",
    "Received:": "who sent it, from where, with TLS (S) and a password (A)",
    "Date:": "the client's, or made if it had none",
    "Message-ID:": "likewise",
}


def _show_message(maildir: Path) -> None:
    newest = max((maildir / "new").iterdir(), key=lambda path: path.stat().st_mtime)
    _step(f"What arrived in {newest}")
    for line in newest.read_text(encoding="utf-8").splitlines():
        note = next((text for start, text in NOTES.items() if line.startswith(start)), "")
        click.echo(f"  | {line}")
        if note:
            click.secho(f"  |   ^ {note}", dim=True)


def _explain(place: Path, password: str, port: str) -> None:
    _step(f"To go on by hand, with everything in {place}")
    for line in (
        f"export PATH={place}/bin:$PATH CHECKPW_ACCOUNTS=file:{place}/accounts",
        "checkpw user list",
        f"printf '{LOGIN}\\n{password}\\n' | checkpw ask -- checkpassword true && echo yes",
        f"checkpw demo --serve --directory {place}        # stays, with a password of its own",
        f"openssl s_client -quiet -starttls smtp -connect {HERE}:{port}        # and type EHLO me",
        f"curl --ssl-reqd --cacert {place}/cert.pem smtp://{HERE}:{port} --user {LOGIN} \\",
        f"    --mail-from {LOGIN}@{HOSTNAME} --mail-rcpt ann@example.org -T FILE",
    ):
        click.echo(f"  {line}")


def _step(words: str) -> None:
    click.secho(f"\n{words}", bold=True)
