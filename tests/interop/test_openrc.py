"""The OpenRC scripts of checkpw under the real openrc-run and supervise-daemon, in a mount namespace of their own.

OpenRC serves only where it has booted the machine. Here it is told that it has, in a /run that nobody else sees.
"""

import pathlib
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent)]

import installed

pytestmark = pytest.mark.usefixtures("root")

SESSION = """
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/log
for name in daemons exclusive failed inactive options scheduled started starting stopped stopping tmp; do
    mkdir -p /run/openrc/$name
done
echo default >/run/openrc/softlevel
script=$1 supervisor=
trap '"$script" --nodeps stop; kill $supervisor' EXIT
"$script" --nodeps start
echo started
read -r go
"$script" --nodeps status
supervisor=$(cat /run/supervise-*.pid)
echo $(cat /proc/"$supervisor"/task/*/children)
read -r go
"$script" --nodeps reload || echo no reload
read -r go
cat /var/log/*.log
trap - EXIT
"$script" --nodeps stop
"$script" --nodeps status || echo stopped
"""
"""What goes on in the namespace: each `read` waits for the test."""


@pytest.fixture
def session(peer, everybodys, loopback):
    """Give a function that writes a script, and starts a shell in which it runs; gives place, port and the shell."""
    unshare, openrc = peer("unshare", "util-linux"), peer("openrc-run", "openrc")
    assert openrc == "/sbin/openrc-run" or pathlib.Path("/sbin/openrc-run").exists(), "the first line of the scripts"
    with loopback.directory() as place, loopback.port() as port:
        installed.make_place(place)

        def start(program, *words):
            options = [*installed.options(place, f"127.0.0.1:{port}"), "--program", program, *words]
            (script,) = installed.write(everybodys, place / "init.d", "openrc", *options)
            shell = subprocess.Popen(
                [peer("timeout", "coreutils"), "60", unshare, "--mount", "/bin/sh", "-c", SESSION, "sh", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
            )
            shells.append(shell)
            return place, port, shell

        shells = []
        yield start
        for shell in shells:
            shell.stdin.close()
            shell.stdout.close()
            assert shell.wait(60) is not None


def _hear(shell, end):
    said = ""
    while end not in said:
        line = shell.stdout.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("program", ["submissiond", "ofmipd"])
def test_it_is_started_reloaded_and_stopped(session, program, eventually):
    """A service starts with its limit, takes mail, is reloaded if it can be, and stops."""
    words = ["--options", "--workers 1 --drain-time 0.1"] if program == "submissiond" else []
    place, port, shell = session(program, *words, "--data-limit", "50000000")
    _hear(shell, "started\n")

    def delivered():
        try:
            installed.submit(port)
        except ConnectionRefusedError:
            return False
        return True

    eventually(delivered, "a message is taken")
    ((_, owner),) = installed.messages(place)
    assert owner == installed.USER
    print(file=shell.stdin, flush=True)
    assert "status: started" in _hear(shell, "status: ")
    pid = int(shell.stdout.readline().split()[0])
    limits = installed.limits(pid)
    name = "Max data size" if program == "submissiond" else "Max address space"
    assert limits[name] == 50_000_000 // 1024 * 1024
    assert "PATH" in installed.environment(pid) and "OFMIPD_AUTH_DELAY" in installed.environment(pid)
    print(file=shell.stdin, flush=True)
    assert ("Reloading" in _hear(shell, "reload" if program != "submissiond" else "Reloading")) == (
        program == "submissiond"
    )
    print(file=shell.stdin, flush=True)
    said = _hear(shell, "stopped\n")
    assert "event=message" in said
    assert not installed.is_alive(pid)


def test_a_user_who_is_not_there(session):
    """Nothing is started for a user that does not exist, and the script says why."""
    _, _, shell = session("submissiond", "--user", "nosuchuser")
    assert "there is no user nosuchuser" in _hear(shell, "nosuchuser")
