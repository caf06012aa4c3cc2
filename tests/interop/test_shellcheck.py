"""Everything that `checkpw service` prints for a shell is fine with shellcheck and with the shells themselves."""

import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent)]

import installed

KINDS = ("rc.d", "daemontools", "runit", "s6", "openrc")
ODD = ["--env", 'ODD=it\'s a "b" \\ c;', "--options", "--relay-from '192.0.2.0/24'"]
HOSTILE = 'it\'s $HOME, `date`, $(date); \\ "quoted" *'
"""What a shell would make something else of. (That it stands in single quotes, shellcheck takes for a mistake.)"""


@pytest.mark.parametrize("program", ["submissiond", "ofmipd", "authup", "checkpw-verifierd"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_scripts_of_every_kind(program, tls, programs, tmp_path, run, peer):
    """No kind, program or certificate makes a script that shellcheck has a word about, or that a shell cannot read."""
    words = ["--program", program, "--hostname", installed.HOST, *ODD[: 4 if program == "submissiond" else 2]]
    if tls and program != "checkpw-verifierd":
        words += ["--tls-cert", "/etc/ssl/our mail.pem"]
    if program != "authup":
        words += ["--user", installed.USER]
    paths = []
    for kind in KINDS:
        paths += installed.write(programs, tmp_path / kind, kind, *words)
    assert len(paths) == 8
    told = run([peer("shellcheck"), "--shell=sh", *paths])
    assert (told.returncode, told.stdout) == (0, b"")
    for shell in ("dash", "bash"):
        for path in paths:
            assert run([peer(shell), "-n", path]).stdout == b""


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_what_they_were(kind, programs, tmp_path, run, peer):
    """Whatever stands in an option reaches the program as one word, however often shells have read it."""
    words = ["--env", f"ODD={HOSTILE}", "--queue", f"maildir:/{HOSTILE}", "--program", "submissiond"]
    path = installed.write(programs, tmp_path, kind, *words)[0]
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if kind == "rc.d":
        text = text.partition("load_rc_config")[2].partition("\n")[2].rpartition("run_rc_command")[0]
        text = f'name=submissiond\n{text}\nservice_words && eval "set -- $words"'
    elif kind == "openrc":
        text += '\neval "set -- $command_args"'
    else:
        text = text.replace("exec env", "set -- env").replace("exec 2>&1", "")
    said = run([peer("dash"), "-c", text + "\nprintf '%s\\n' \"$@\""]).stdout.decode().splitlines()
    assert f"ODD={HOSTILE}" in said
    assert said[said.index("--queue") + 1] == f"maildir:/{HOSTILE}"
