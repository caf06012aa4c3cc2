"""`checkpw demo`: the reference set-up on this machine, from account store to Maildir, with every step shown."""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path

import click

from checkpw import chain, newhash
from checkpw.accounts import passwd_edit
from checkpw.cli.install import install
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.secret import Secret

HOSTNAME = "mail.example"
LOGIN = "joe"
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
    """Submit an authenticated message to a server on loopback, and show what arrived.

    Makes an account store, starts ofmipd for each connection (under tcpserver if that is installed), submits a
    message with Python's smtplib, and leaves a directory to go on with by hand.
    """
    place = directory or Path(tempfile.mkdtemp(prefix="checkpw-demo-"))
    _take(place)
    programs, accounts, maildir, log = place / "bin", place / "accounts", place / "Maildir", place / "log"

    _step("Programs: launchers that start Python without site, and man pages to match (checkpw(7))")
    install(programs)
    click.echo(f"  {programs}/checkpassword, checkpw, ofmipd")

    _step(f"An account: one line in {accounts} (checkpw-passwd(5))")
    password = secrets.token_hex(6)
    hashed = newhash.make("SHA512-CRYPT", Secret(password.encode()))
    _write_account(accounts, hashed)
    click.echo(f"  {LOGIN}:{hashed.decode()[:34]}...   the password is {password}")

    settings = {
        "PATH": f"{programs}:{environ.get('PATH', '/usr/bin:/bin')}",
        "CHECKPW_ACCOUNTS": f"file:{accounts}",
        "OFMIPD_QUEUE": f"maildir:{maildir}",
        "OFMIPD_AUTH_DELAY": "1",
    }
    with _server(settings, log) as (port, how):
        _step(f"A server on 127.0.0.1 port {port}: {how}")
        click.echo(f"  {shlex.join(_ofmipd())}")
        _submit(port, password)
        _show_log(log)
        _show_message(maildir)
        _explain(place, port, settings, password)
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


def _ofmipd() -> list[str]:
    return ["ofmipd", "", HOSTNAME, "checkpassword", "true"]


def _write_account(path: Path, hashed: bytes) -> None:
    path.write_bytes(b"")
    path.chmod(0o600)
    passwd_edit.add(os.fsencode(path), LOGIN.encode(), hashed)


@contextlib.contextmanager
def _server(settings: dict[str, str], log: Path) -> Iterator[tuple[int, str]]:
    """Run ofmipd for each connection, under tcpserver or the little listener below; give its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        tcpserver = shutil.which("tcpserver", path=settings["PATH"])
        if tcpserver:
            listener.close()
            handed: tuple[int, ...] = ()
            argv, how = [tcpserver, "-vRl0", "127.0.0.1", str(port), *_ofmipd()], "under tcpserver"
        else:
            listener.listen(64)
            number = listener.fileno()
            argv = [sys.executable, "-I", "-c", "from checkpw.cli.demo import listen; listen()", str(number)]
            how, handed = "under a listener of the demo's own, because tcpserver is not installed", (number,)
        with log.open("wb") as file:
            process = subprocess.Popen(argv, env=settings, stderr=file, pass_fds=handed, start_new_session=True)
        try:
            _wait_for(port, process)
            yield port, how
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
            return
        time.sleep(0.05)
    raise TemporaryFailure("the demo's server does not listen")


def listen() -> None:
    """Be a UCSPI server that is just enough: one ofmipd per connection, with tcp-environ(5)."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    given = chain.given_environment()
    children: list[subprocess.Popen[bytes]] = []
    while True:
        children = [child for child in children if child.poll() is None]
        connection, (ip, port) = listener.accept()
        with connection:
            number = connection.fileno()
            addresses = {b"PROTO": b"TCP", b"TCPREMOTEIP": ip.encode(), b"TCPREMOTEPORT": b"%d" % port}
            children.append(subprocess.Popen(_ofmipd(), stdin=number, stdout=number, env=given | addresses))


def _submit(port: int, password: str) -> None:
    _step("A client, Python's smtplib: first with a wrong password, then with the right one")
    message = EmailMessage()
    message["From"] = f"{LOGIN}@{HOSTNAME}"
    message["To"] = "ann@example.org"
    message["Bcc"] = "secret-reader@example.org"
    message["Subject"] = "checkpw works here"
    message.set_content("Sent with a password that was checked on descriptor 3.\n")
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo("client.example")
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
    deadline = time.monotonic() + PATIENCE
    while "event=session" not in (text := log.read_text(encoding="utf-8")) and time.monotonic() < deadline:
        time.sleep(0.05)  # the last line comes after the goodbye
    for line in text.splitlines():
        if line.startswith("ofmipd:"):
            click.echo(f"  {line}")


NOTES = {
    "Return-Path:": "the envelope's sender, written by the maildir: door",
    "Delivered-To:": "the envelope's recipient; Bcc lives on only here",
    "Received:": "who sent it, from where, and that a password was checked (ESMTPA)",
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


def _explain(place: Path, port: int, settings: dict[str, str], password: str) -> None:
    _step(f"To go on by hand, with everything in {place}")
    again = f"{place}/bin/checkpw demo --serve --directory {place}"
    exports = " ".join(f"{name}={value}" for name, value in settings.items() if name.startswith(("CHECKPW", "OFMIPD")))
    for line in (
        f"export PATH={place}/bin:$PATH {exports}",
        f"checkpw user list --file {place}/accounts",
        f"printf '{LOGIN}\\n{password}\\n' | checkpw ask -- checkpassword true && echo yes",
        f"ofmipd '' {HOSTNAME} checkpassword true        # and type EHLO me",
        f"{again}        # a server that stays",
        "curl smtp://127.0.0.1:PORT --user joe --mail-from joe@mail.example --mail-rcpt ann@example.org -T FILE",
    ):
        click.echo(f"  {line}".replace("PORT", str(port)))


def _step(words: str) -> None:
    click.secho(f"\n{words}", bold=True)
