"""`checkpw demo` as a process: the whole way of a message, through TLS, as root and as somebody else."""

import os
import pathlib
import subprocess
import sys

import pytest

PATIENCE = 60
PATH = "/usr/bin:/bin"
WORDS = (
    "good for localhost; TLSv1.3",
    "wrong password:  535 5.7.8",
    "right password:  235 2.7.0",
    "event=tls protocol=TLSv1.3",
    "verdict=accepted",
    "with ESMTPSA",
    "| Subject: checkpw works here",
)


@pytest.fixture(autouse=True)
def openssl(look_for):
    """The demo makes its certificate with it."""
    look_for("openssl")


@pytest.fixture
def look_for(refuse):
    """Give a function that ends the test where a program is not installed."""

    def find(name):
        if not any(os.access(f"{directory}/{name}", os.X_OK) for directory in PATH.split(":")):
            refuse(f"peer not installed: {name} (Debian package {name})")

    return find


def demo(programs, directory, path=PATH):
    """Run the demo to its end."""
    return subprocess.run(
        [programs / "checkpw", "demo", "--directory", directory],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def arrived(ran, directory):
    """Give the one message of a demo that went well, and showed all that it should."""
    assert ran.returncode == 0, ran.stderr
    for words in WORDS:
        assert words in ran.stdout
    (message,) = (directory / "Maildir" / "new").iterdir()
    return message


def test_a_message_arrives_and_is_shown(programs, public):
    """The demo says what it starts, what the client was answered, and shows the message that arrived."""
    directory = public / "demo"
    ran = demo(programs, directory)
    message = arrived(ran, directory)
    assert "Bcc:" not in message.read_text(encoding="utf-8")
    assert (directory / "accounts").stat().st_mode & 0o777 == (directory / "key.pem").stat().st_mode & 0o777 == 0o600
    users = {"nobody"} if os.geteuid() == 0 else {pathlib.Path(directory).owner()}
    assert {message.owner()} == users
    assert ("--user nobody" in ran.stdout) == (os.geteuid() == 0)


def test_the_command_that_is_shown_is_one(programs, public):
    """A shell takes the command of the server as it is shown."""
    ran = demo(programs, public / "demo")
    shown = ran.stdout[ran.stdout.index("  submissiond ") :].partition("\n\n")[0]
    given = subprocess.run(
        ["/bin/sh", "-c", f"submissiond() {{ printf '%s\\n' \"$@\"; }}\n{shown}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout.split("\n")
    assert given[given.index("--queue") + 1] == f"maildir:{public}/demo/Maildir"
    assert given[-6:] == ["--", "", "mail.example", "checkpassword", "true", ""]


def test_somebody_else_than_root(root, public):
    """Without root there is nobody else to become, and all is the same."""
    package = pathlib.Path(__file__).parents[2]
    who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    places = os.pathsep.join([str(package), *(place for place in sys.path if place.endswith("site-packages"))])
    environ = {"PATH": PATH, "PYTHONPATH": places}
    public.chmod(0o777)
    for interpreter in (sys.executable, "/usr/bin/python3"):
        argv = [interpreter, "-m", "checkpw.cli.admin", "demo"]
        options = {"env": environ, "cwd": public, "capture_output": True, "text": True, "timeout": PATIENCE, **who}
        try:
            can = subprocess.run([*argv, "--help"], check=False, **options).returncode == 0
        except OSError:
            can = False
        if can:
            ran = subprocess.run([*argv, "--directory", public / "demo"], check=False, **options)
            assert arrived(ran, public / "demo").owner() == "nobody"
            assert "--user nobody" not in ran.stdout
            return
    pytest.skip("not run: the demo as nobody, who may not start this Python")


def test_it_can_be_run_again_in_its_own_directory_and_in_no_other(programs, public):
    """A directory with somebody's account store in it is left alone."""
    assert demo(programs, public / "new").returncode == 0
    assert demo(programs, public / "new").returncode == 0
    accounts = public / "accounts"
    accounts.write_text("boss:{PLAIN}secret\n", encoding="ascii")
    assert demo(programs, public).returncode == 2
    assert accounts.read_text(encoding="ascii") == "boss:{PLAIN}secret\n"


def test_a_directory_that_nobody_can_enter(root, programs, public):
    """As root mail is written as nobody: where that cannot be, the demo says so in place of a server's trouble."""
    (public / "private").mkdir(mode=0o700)
    ran = demo(programs, public / "private" / "demo")
    assert ran.returncode == 2
    assert f"nobody, who cannot enter {public}/private" in ran.stderr


def test_without_openssl(programs, public):
    """What is missing is named before anything is made."""
    ran = demo(programs, public / "demo", path="/nonexistent")
    assert (ran.returncode, ran.stdout) == (111, "")
    assert "openssl, and that is not installed" in ran.stderr
    assert not (public / "demo").exists()
