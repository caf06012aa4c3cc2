"""checkpw service: what is started with which words, and where its files are put."""

import os
import pathlib
import shlex
import subprocess

import pytest

from checkpw.cli import service_plan, service_scripts
from checkpw.cli.service_files import File, fill, shown, write
from checkpw.errors import TemporaryFailure

BASE = ["--programs", "/opt/bin", "--hostname", "mail.example"]
KINDS = ("rc.d", "systemd", "openrc", *service_scripts.SUPERVISORS)


def _words(script):
    """Give the words that a run script executes, as a shell has them, without what is in front of our program."""
    command = script.partition("exec env - ")[2].partition("\n\n")[0]
    words = shlex.split(command.replace("\\\n", " "))
    return words[next(at for at, word in enumerate(words) if word.startswith("/opt/bin/")) :]


def _run_script(text):
    return text.partition("/run (mode 0755)\n")[2].partition("\n###")[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program", service_plan.PROGRAMS)
def test_every_kind_has_every_program(service, kind, program):
    """Each program can be started by each manager, by its absolute path, and nothing is left to fill in."""
    text = service(kind, "--program", program)
    assert f"/opt/bin/{program}" in text
    assert f"checkpw service {kind}`" in text
    assert not [word for word in text.split() if word.startswith("@") and word.endswith("@")]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (
            ["--program", "submissiond", "--accounts", "file:/a b"],
            "--user submissiond --listen 127.0.0.1:26 --accounts 'file:/a b' TRUE",
        ),
        (
            ["--tls-cert", "/c.pem", "--user", "joe", "--door-user", "ann", "--connections", "7"],
            "--user joe --door-user ann LISTEN --tls-cert /c.pem --accounts system: --max-connections 7 TRUE",
        ),
        (
            ["--listen", "[::1]:26", "--options", "--loop asyncio", "--", "vchkpw", "a b"],
            "--user submissiond --listen [::1]:26 --accounts system: --loop asyncio -- '' mail.example vchkpw 'a b'",
        ),
        (["--program", "ofmipd"], "'' mail.example /opt/bin/checkpassword true"),
        (["--program", "ofmipd", "--", "vchkpw", "true"], "'' mail.example vchkpw true"),
        (
            ["--program", "authup"],
            "smtp /opt/bin/checkpassword /opt/bin/checknotroot /opt/bin/ofmipd '' mail.example",
        ),
        (["--program", "authup", "--", "vchkpw", "qmail-smtpd"], "smtp vchkpw qmail-smtpd"),
        (
            ["--program", "checkpw-verifierd", "--group", "mail", "--user", "vmail", "--accounts", "file:/a"],
            "--socket /run/checkpw/verifier --group mail --user vmail --accounts file:/a",
        ),
    ],
)
def test_words_of_the_program(service, words, command):
    """The program is started with the words that the options ask for."""
    command = command.replace("TRUE", "-- '' mail.example /opt/bin/checkpassword true")
    command = command.replace("LISTEN", "--listen :587 --listen :465")
    assert _words(_run_script(service("daemontools", *words)))[1:] == shlex.split(command)


@pytest.mark.parametrize(
    ("words", "server"),
    [
        ([], "tcpserver -vRl0 -c 40 127.0.0.1 26"),
        (["--accounts", "file:/a"], 'tcpserver -vRl0 -u "$uid" -g "$gid" -c 40 127.0.0.1 26'),
        (["--user", "joe", "--connections", "7"], 'tcpserver -vRl0 -u "$uid" -g "$gid" -c 7 127.0.0.1 26'),
        (["--listen", ":587", "--tls-cert", "/c.pem"], "sslserver -ne -vRl0 -c 40 0 587"),
        (["--listen", "[::1]:587"], "tcpserver -vRl0 -c 40 ::1 587"),
    ],
)
def test_words_of_the_server(service, words, server):
    """A UCSPI server gets a user unless only root can read the accounts, and a certificate makes it speak TLS."""
    text = _run_script(service("runit", "--program", "ofmipd", "--server", server.split()[0], *words))
    assert f" {server} \\\n" in text
    assert ("Root talks to strangers" in text) == ("-u" not in server)


def test_passwords_are_taken_inside_tls(service):
    """With a certificate, ofmipd is told not to take a password before it, and the server where the certificate is."""
    text = service("s6", "--program", "ofmipd", "--tls-cert", "/c.pem", "--tls-key", "/k.pem")
    assert "'UCSPITLS=!' CERTFILE=/c.pem KEYFILE=/k.pem" in text


def test_the_hostname_is_that_of_qmail(checkpw, tmp_path):
    """Without --hostname it is the first line of control/me, and without that the machine's own."""
    (tmp_path / "control").mkdir()
    words = ["service", "openrc", "--programs", "/opt/bin", "--qmail", str(tmp_path)]
    assert f" '' {os.uname().nodename} /opt/bin" in checkpw(*words).out
    (tmp_path / "control" / "me").write_text("me.example\nmore\n", encoding="ascii")
    done = checkpw(*words)
    assert " '' me.example /opt/bin" in done.out
    assert f"OFMIPD_QMAIL={tmp_path}" in done.out


def test_the_programs_are_those_of_this_installation(programs):
    """The installed checkpw names the programs beside itself."""
    done = subprocess.run(
        [programs / "checkpw", "service", "s6"], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"{programs}/submissiond --user" in done.stdout


# --- files


def test_a_directory_of_files(checkpw, tmp_path):
    """Files are written with their modes, and named; again, nothing is to be done."""
    for kind, names in {
        "rc.d": {"qmailofmipd": 0o755},
        "systemd": {"submissiond.socket": 0o644, "submissiond.service": 0o644},
        "daemontools": {"submissiond/run": 0o755, "submissiond/log/run": 0o755},
        "openrc": {"submissiond": 0o755},
    }.items():
        place = tmp_path / kind
        for _ in range(2):
            done = checkpw("service", kind, *BASE, "--directory", str(place))
            assert (done.status, done.err) == (0, "")
            assert sorted(done.out.split()) == sorted(str(place / name) for name in names)
        found = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
        assert {name: path.stat().st_mode & 0o7777 for name, path in found.items()} == names
        assert all(path.stat().st_mode & 0o777 == 0o755 for path in place.rglob("*") if path.is_dir())
        printed = checkpw("service", kind, *BASE).out
        assert all(path.read_text(encoding="utf-8") in printed for path in found.values())


def test_what_somebody_has_changed_stays(checkpw, tmp_path):
    """A file that says something else is replaced with --force only, and then nothing is left of the old one."""
    words = ["service", "s6", *BASE, "--directory", str(tmp_path)]
    assert checkpw(*words).status == 0
    run = tmp_path / "submissiond" / "run"
    run.write_text("#!/bin/sh\n# mine\n", encoding="ascii")
    refused = checkpw(*words)
    assert (refused.status, refused.out) == (2, "")
    assert str(run) in refused.err and "--force" in refused.err
    assert "# mine" in run.read_text(encoding="ascii")
    assert checkpw(*words, "--force").status == 0
    assert "# mine" not in run.read_text(encoding="ascii")
    run.chmod(0o600)
    assert checkpw(*words).status == 2


def test_a_directory_appears_whole(tmp_path, monkeypatch):
    """svscan starts what it sees: the directory has its name only when the log's script is there, too."""
    seen = []
    monkeypatch.setattr(os, "rename", lambda old, new: seen.append((os.fspath(old), os.fspath(new))))
    files = [File("x/run", 0o755, "run\n"), File("x/log/run", 0o755, "log\n")]
    write(tmp_path, files, force=False)
    ((old, new),) = seen
    assert new == str(tmp_path / "x")
    assert pathlib.Path(old).name.startswith(".")
    assert sorted(str(path.relative_to(old)) for path in pathlib.Path(old).rglob("run")) == ["log/run", "run"]
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_written(checkpw, tmp_path, monkeypatch):
    """Trouble is 111, and half a directory is not left."""
    (tmp_path / "file").touch()
    done = checkpw("service", "s6", *BASE, "--directory", str(tmp_path / "file" / "below"))
    assert done.status == 111

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(TemporaryFailure, match="No space left"):
        write(tmp_path / "new", [File("x/run", 0o755, "")], force=False)
    assert list((tmp_path / "new").iterdir()) == []


def test_templates():
    """Values are put in once; a line that is only an empty value goes, and a name without a value is an error."""
    text = fill("supervised-log", name="@path@", kind="k", path="/p", user="u", become="b", logger="")
    assert "The log of @path@. Made by `checkpw service k`" in text
    assert text.endswith("exec b u \n")
    with pytest.raises(KeyError):
        fill("supervised-log", name="x")
    assert "@" not in fill(
        "supervised-run",
        **dict.fromkeys(("title", "kind", "path", "environment", "limit", "command"), "x"),
        notes="",
        identity="",
    )


def test_several_files_are_told_apart():
    """One file is printed as it is, several each below a line that names it with its mode."""
    one, two = File("a", 0o644, "A\n"), File("b/run", 0o755, "B\n")
    assert shown([one]) == "A\n"
    assert shown([one, two]) == "### a (mode 0644)\nA\n\n### b/run (mode 0755)\nB\n"
