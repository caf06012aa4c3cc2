"""checkpw conform as a process: what it says and writes, its exit statuses, terminals, signals, and what it leaves."""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import pytest

ROOT = str(pathlib.Path(__file__).parents[2])
START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1));"
    "runpy.run_module('checkpw.cli.admin', run_name='__main__', alter_sys=True)"
)
PATIENCE = 60

CHECKER = r"""
given=$(tr '\n\0' '\1\n' <&3) || exit 111
[ "$given" = "$(printf 'joe\nsecret')" ] || exit 1
exec "$@" 3<&-
"""
"""Lets joe in, as the checker of checkpw(7)."""

ANYBODY = 'exec "$@" 3<&-'
"""Lets anybody in."""

FEW = ("--select", "accepts-good-login", "--select", "rejects-empty-password", "--examples", "5")
JOE = ("--account", "joe:secret")


def command(*words, before=""):
    """Give the command line of checkpw of this tree, which may be spoilt first."""
    return [sys.executable, "-I", "-c", before + START, ROOT, "conform", *map(str, words)]


@pytest.fixture
def place(tmp_path):
    """Give an empty current directory."""
    directory = tmp_path / "cwd"
    directory.mkdir()
    return directory


@pytest.fixture
def conform(place):
    """Give a function that runs checkpw conform to its end."""

    def run(*words, before="", environ=None, **settings):
        return subprocess.run(
            command(*words, before=before),
            cwd=place,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.defpath, **(environ or {})},
            timeout=PATIENCE,
            check=False,
            **settings,
        )

    return run


@pytest.fixture
def good(script):
    """Give a checker that lets joe in and nobody else."""
    return script("good", CHECKER)


@pytest.fixture
def bad(script):
    """Give a checker that lets anybody in."""
    return script("bad", ANYBODY)


# --- what it says


def test_a_program_that_conforms(conform, good, place):
    """Command, number, time and seed first, then a row for each property, and the conclusion; 0; nothing is left."""
    done = conform("verifier", *JOE, *FEW, "--seed", "7", "--", good)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"checkpw conform verifier: {good}"
    assert re.fullmatch(r"2 properties, about [0-9.]+ (s|min); profile djb, seed 7, up to 5 examples each", lines[1])
    assert [line.split()[:3] for line in lines[3:5]] == [
        ["passed", "must", "accepts-good-login"],
        ["passed", "must", "rejects-empty-password"],
    ]
    assert lines[-1].startswith("Conforms: 2 passed, 0 failed, in ")
    assert lines[-1].endswith("repeat it with --seed 7 --examples 5")
    assert done.stderr == ""
    assert list(place.iterdir()) == []


def test_nothing_is_left_in_the_current_directory(conform, good, place):
    """hypothesis keeps what it knows of bytes and letters elsewhere."""
    done = conform("verifier", *JOE, "--select", "rejects-wrong-password", "--examples", "30", "--", good)
    assert done.returncode == 0
    assert list(place.iterdir()) == []


def test_a_program_that_does_not(conform, bad, place):
    """1; and the shell line of the failure, given to a shell, shows the fault."""
    done = conform("verifier", *JOE, *FEW, "--json", "--", bad)
    assert done.returncode == 1
    results = {one["name"]: one for one in json.loads(done.stdout)["results"]}
    assert results["accepts-good-login"]["verdict"] == "passed"
    violation = results["rejects-empty-password"]["violation"]
    assert violation["given"]["printf"] == "joe\\0\\0\\0"
    by_hand = subprocess.run(
        ["/bin/sh", "-c", violation["recipe"]], cwd=place, capture_output=True, check=False, timeout=PATIENCE
    )
    assert by_hand.stdout.splitlines()[-1] == b"0"
    assert violation["recipe"] in done.stderr


def test_the_smallest_bytes_are_found(conform, bad):
    """A fault that any bytes show is shown by one byte."""
    done = conform("verifier", *JOE, "--select", "rejects-wrong-password", "--json", "--", bad)
    (found,) = json.loads(done.stdout)["results"]
    assert found["violation"]["given"]["size"] == len("joe\0?\0\0")


def test_reports_go_where_they_are_wanted(conform, bad, place):
    """TAP has standard output to itself, files have theirs, and people read standard error."""
    done = conform("verifier", *JOE, *FEW, "--tap", "--junit", "c.xml", "--html", "c.html", "--", bad)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "TAP version 13"
    assert "not ok 2 - rejects-empty-password\n" in done.stdout
    assert done.stderr.splitlines()[0] == f"checkpw conform verifier: {bad}"
    root = ET.fromstring((place / "c.xml").read_bytes())
    assert [case.get("name") for case in root.iter("testcase")] == ["accepts-good-login", "rejects-empty-password"]
    assert "<title>Does not conform: " in (place / "c.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in place.iterdir()) == ["c.html", "c.xml"]


def test_a_seed_repeats_a_run(conform, good):
    """With the same seed the same is tried; each run without one has another, and says which."""
    runs = [
        json.loads(conform("verifier", *JOE, *FEW, *seed, "--json", "--", good).stdout)
        for seed in (["--seed", "11"], ["--seed", "11"], [], [])
    ]
    assert [run["seed"] for run in runs[:2]] == [11, 11]
    assert runs[2]["seed"] != runs[3]["seed"]
    assert [one["examples"] for one in runs[0]["results"]] == [one["examples"] for one in runs[1]["results"]]


def test_examples_are_a_limit(conform, good):
    """A property is tried on no more values than that."""
    words = ("verifier", *JOE, "--select", "rejects-wrong-password", "--json")
    for number in (3, 12):
        (found,) = json.loads(conform(*words, "--examples", number, "--", good).stdout)["results"]
        assert 0 < found["examples"] <= number


def test_accounts_come_from_a_file_too(conform, good, tmp_path):
    """A file of accounts that only we can read will do."""
    accounts = tmp_path / "accounts"
    accounts.write_text("# for the test\njoe:secret\n", encoding="ascii")
    accounts.chmod(0o600)
    assert conform("verifier", "--account-file", accounts, *FEW, "--", good).returncode == 0


def test_words_behind_the_program_are_its_own(conform, script):
    """What looks like an option of ours behind PROGRAM is PROGRAM's, and so is a second --."""
    checker = script("words", '[ "$1 $2 $3" = "--list --seed --" ] || exit 111; shift 3' + CHECKER)
    done = conform("verifier", *JOE, *FEW, checker, "--list", "--seed", "--")
    assert done.returncode == 0, done.stdout


def test_strict_counts_what_should_hold(conform, script):
    """A broken should is told, and is a failure with --strict only."""
    checker = script("two-fields", "given=$(tr '\\n\\0' '\\1\\n' <&3)\n[ \"$given\" ] || exit 1\n" + ANYBODY)
    words = ("verifier", *JOE, "--select", "malformed-record-is-misuse")
    for strict, status, said in ((), 0, "Conforms, but not in everything"), (("--strict",), 1, "Does not conform"):
        done = conform(*words, *strict, "--", checker)
        assert done.returncode == status, done.stdout
        assert done.stdout.splitlines()[-1].startswith(said)


def test_a_dialect_does_not_count(conform, script):
    """A no by another status fails, and with the profile that is known for it is a dialect."""
    checker = script("three", CHECKER.replace("exit 1\n", "exit 3\n"))
    for profile, status, word in ("djb", 1, "FAILED"), ("vchkpw", 0, "dialect"):
        done = conform("verifier", *JOE, "--select", "rejects-wrong-password", "--profile", profile, "--", checker)
        assert done.returncode == status, done.stdout
        assert f"{word:<8} must   rejects-wrong-password" in done.stdout


def test_the_store_is_taken_down_and_up(conform, script, tmp_path):
    """--down and --up are shell commands."""
    store = tmp_path / "store"
    store.touch()
    checker = script("stored", f"[ -e {store} ] || exit 111{CHECKER}")
    done = conform(
        *("verifier", *JOE, "--select", "store-down-is-trouble", "--down", f"rm {store}", "--up", f": >{store}"),
        *("--", checker),
    )
    assert done.returncode == 0, done.stdout
    assert store.exists()


@pytest.fixture
def relative(script, place):
    """Give a function that makes ./checker, which runs only where its file of accounts is."""

    def make(home, enters="cd $HOME"):
        become = f"USER=joe HOME={home} SHELL=/bin/sh; export USER HOME SHELL; {enters}\n"
        script("checker", f"[ -e accounts ] || exit 111{CHECKER.replace('exec', become + 'exec')}", place)
        (place / "accounts").touch()

    return make


def test_a_program_may_be_named_by_a_relative_path(conform, relative):
    """And its arguments may be relative paths: it is started in the current directory."""
    relative("/usr")
    done = conform("verifier", *JOE, "--select", "enters-home", "--", "./checker")
    assert done.returncode == 0, done.stdout


def test_started_in_the_home_of_the_account(conform, script, place):
    """What does not enter it is found out all the same, from elsewhere, and the shell line shows it."""
    become = f"USER=joe HOME={place} SHELL=/bin/sh; export USER HOME SHELL\n"
    for enters, status in (("cd $HOME; ", 0), ("", 1)):
        checker = script("checker", CHECKER.replace("exec", f"{become}{enters}exec"))
        done = conform("verifier", *JOE, "--select", "enters-home", "--json", "--", checker)
        assert done.returncode == status, done.stderr
    (found,) = json.loads(done.stdout)["results"]
    words = ["/bin/sh", "-c", found["violation"]["recipe"]]
    by_hand = subprocess.run(words, cwd=place, capture_output=True, check=False, timeout=PATIENCE)
    assert by_hand.stdout.splitlines()[0] == b"/tmp"


def test_a_relative_program_started_in_the_home_of_the_account(conform, relative, place):
    """It runs nowhere else, so nobody can tell whether it enters it."""
    relative(place)
    done = conform("verifier", *JOE, "--select", "enters-home", "--", "./checker")
    assert done.returncode == 111, done.stdout
    assert "runs nowhere else" in done.stdout


# --- callers


def test_a_caller(conform, programs):
    """A server is judged by what it says and what its checker is given, which stands for `{probe}` or is added."""
    environ = {"OFMIPD_AUTH_DELAY": "0"}
    few = ("--select", "answer-yes", "--select", "record-512", "--examples", "5")
    for place in ((), ("{probe}", "true")):
        done = conform("caller", *few, "--", programs / "ofmipd", "", "mail.example", *place, environ=environ)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert "passed   must   answer-yes" in done.stdout
        assert "profile interface" in done.stdout


def test_a_dialect_of_a_caller_does_not_count(conform, programs):
    """Where 2 is told as 535, --profile decides whether that stands against the server."""
    environ = {"OFMIPD_AUTH_DELAY": "0", "OFMIPD_REJECT_CODES": "1,2"}
    command = ("--", programs / "ofmipd", "", "mail.example")
    for profile, status, word in ("interface", 1, "FAILED"), ("ofmipd", 0, "dialect"):
        words = ("--select", "answer-misuse", "--strict", "--profile", profile, *command)
        done = conform("caller", *words, environ=environ)
        assert done.returncode == status, (done.stdout, done.stderr)
        assert f"{word:<8} should answer-misuse" in done.stdout
        assert f"profile {profile}" in done.stdout


def test_a_caller_that_cannot_be_talked_to(conform):
    """A command that does not greet cannot be judged: 111."""
    done = conform("caller", "--", "sh", "-c", "exit 3")
    assert done.returncode == 111
    assert "the kit could not run" in done.stderr


@pytest.mark.parametrize("side", ["verifier", "caller"])
def test_list(conform, side):
    """--list needs no program; with --select and --json it is a table for programs."""
    done = conform(side, "--list")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    some = conform(side, "--list", "--select", names[3], "--select", f"{names[0][:-1]}?", "--json")
    assert [one["name"] for one in json.loads(some.stdout)] == [names[0], names[3]]
    assert set(json.loads(some.stdout)[0]) == {"name", "severity", "claim", "source"}


# --- wrong usage, and trouble


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verifier", *JOE), "which program?"),
        (("verifier", "--", "true"), "which logins does it accept?"),
        (("verifier", "--account", "joesecret", "--", "true"), "there is no colon"),
        (("verifier", "--account", "joe:", "--", "true"), "neither may be empty"),
        (("verifier", "--account-file", "/nonexistent", "--", "true"), "does not exist"),
        (("verifier", "--account-file", "{file}", "--", "true"), "everybody may read it"),
        (("verifier", *JOE, "--", "/nonexistent/checker"), "no such program"),
        (("verifier", *JOE, "--", "{file}"), "not executable"),
        (("verifier", *JOE, "--select", "nobody", "--", "true"), "no property is called nobody; --list"),
        (("verifier", *JOE, "--down", "true", "--", "true"), "give both or none"),
        (("verifier", *JOE, "--profile", "none", "--", "true"), "'none' is not one of"),
        (("verifier", *JOE, "--tap", "--json", "--", "true"), "both want standard output"),
        (("verifier", *JOE, "--junit", "/nonexistent/x.xml", "--", "true"), "no file can be written there"),
        (("verifier", *JOE, "--html", "/", "--", "true"), "is a directory"),
        (("verifier", *JOE, "--examples", "0", "--", "true"), "examples"),
        (("caller",), "which program?"),
        (("caller", "--", "/nonexistent/server"), "no such program"),
        (("caller", "--language", "imap", "--", "true"), "'imap' is not one of"),
    ],
)
def test_wrong_usage(conform, tmp_path, words, said):
    """It is 2 and said why, before anything is tried, and no password is in the message."""
    file = tmp_path / "for-everybody"
    file.write_text("joe:secret\n", encoding="ascii")
    file.chmod(0o644)
    done = conform(*(word.replace("{file}", str(file)) for word in words))
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "secret" not in done.stderr
    assert done.stdout == ""


def test_without_hypothesis(conform):
    """111, and how to get it; the help of checkpw is there all the same."""
    before = "import sys; sys.modules['hypothesis'] = None; "
    done = conform("verifier", *JOE, "--", "true", before=before)
    assert done.returncode == 111
    assert done.stderr == "checkpw: the kit needs hypothesis: pip install 'checkpw[conform]'\n"
    assert conform("verifier", "--help", before=before).returncode == 0


def test_where_nothing_can_be_judged(conform, good):
    """A run that could judge nothing is no success: 111."""
    done = conform("verifier", *JOE, "--select", "rejects-password-truncated-at-72", "--", good)
    assert done.returncode == 111
    assert done.stdout.splitlines()[-1].startswith("Nothing could be judged: 0 passed")


def test_a_report_that_cannot_be_written(conform, good):
    """A full disk is 111, whatever the verdict was."""
    done = conform("verifier", *JOE, *FEW, "--junit", "/dev/full", "--", good)
    assert done.returncode == 111
    assert done.stderr == "checkpw: unable to write /dev/full: No space left on device\n"
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            command("verifier", *JOE, *FEW, "--", good),
            stdout=full,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath},
            timeout=PATIENCE,
            check=False,
        )
    assert ended.returncode == 111


def test_a_reader_who_goes_away_does_not_stop_a_run(good, place):
    """The report for a file is written, though nobody reads the terminal's any more."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as nobody:
        subprocess.run(
            command("verifier", *JOE, *FEW, "--junit", "c.xml", "--", good),
            cwd=place,
            stdout=nobody,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            timeout=PATIENCE,
            check=False,
        )
    assert len(list(ET.fromstring((place / "c.xml").read_bytes()).iter("testcase"))) == 2


# --- signals


def _left():
    return {
        path for pattern in ("checkpw-conform-*", "checkpw-hypothesis-*") for path in pathlib.Path("/tmp").glob(pattern)
    }


def _wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(script, place, tmp_path, number, kill_later):
    """111, what was found so far is said, no report is written, and nothing is left: no process and no directory."""
    note = tmp_path / "pid"
    # Says yes to everybody who only asks, and waits when it is to run what the kit has put into its directory.
    text = f'[ "${{1##*/}}" = true ] && exit 0; echo "$$ $1" >{note}.new; mv {note}.new {note}; exec sleep 600'
    checker = script("slow", text)
    names = ("accepts-good-login", "rejects-empty-password", "runs-prog")
    words = [word for name in names for word in ("--select", name)]
    process = subprocess.Popen(
        command("verifier", *JOE, *words, "--junit", "c.xml", "--", checker),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.defpath, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    kill_later(process.pid)
    pid, private = _wait_for(lambda: note.exists() and note.read_text(encoding="ascii").split())
    private = pathlib.Path(private).parent
    assert private.name.startswith("checkpw-conform-")
    assert private.is_dir()
    process.send_signal(number)
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 111
    assert said == "checkpw: interrupted after 2 of 3 properties; no report was written\n"
    assert "by hand:\nprintf 'joe\\0\\0\\0'" in out
    assert "onform" not in out.partition("\n")[2]
    _wait_for(lambda: not os.path.exists(f"/proc/{pid}") or "sleep" not in _name(pid))
    assert not private.exists()
    assert list(place.iterdir()) == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith("checkpw-")] == []


def _name(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read()
    return ""


# --- terminals


def on_terminal(words, environ, columns=60):
    """Run on a terminal of our own, and give what it was sent, and the status."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.clear()
        os.environ.update({"PATH": os.defpath, **environ})
        sys.stdout.flush()
        os.execve(sys.executable, command(*words), os.environ)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    seen, deadline = b"", time.monotonic() + PATIENCE
    try:
        while select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
    finally:
        os.kill(pid, signal.SIGKILL) if time.monotonic() > deadline else None
        _, status = os.waitpid(pid, 0)
        os.close(master)
    return seen.decode("utf-8"), os.waitstatus_to_exitcode(status)


def test_a_terminal_has_progress_and_colours(good):
    """While a property is tried the last line says so; rows and conclusion are coloured."""
    seen, status = on_terminal(("verifier", *JOE, *FEW, "--", good), {"TERM": "xterm"})
    assert status == 0
    assert "\r\x1b[K[1/2] accepts-good-login" in seen
    assert "\x1b[32mpassed  \x1b[0m must   accepts-good-login" in seen
    assert "\x1b[1;32mConforms:\x1b[0m" in seen


def test_no_color_is_honoured(good):
    """With NO_COLOR there is progress, and no colour."""
    seen, _ = on_terminal(("verifier", *JOE, *FEW, "--", good), {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\r\x1b[K[1/2] accepts-good-login" in seen
    assert not re.search(r"\x1b\[[0-9;]*m", seen)


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}])
def test_a_dumb_terminal_is_sent_lines(good, environ):
    """A terminal that cannot move its cursor is written to as a file is."""
    seen, status = on_terminal(("verifier", *JOE, *FEW, "--", good), environ)
    assert status == 0
    assert "\x1b" not in seen


def test_list_fits_a_terminal():
    """Claims are broken to the width of a terminal."""
    seen, _ = on_terminal(("verifier", "--list"), {"TERM": "xterm"}, columns=50)
    lines = seen.replace("\r", "").splitlines()
    assert lines[0] == "accepts-good-login (must)"
    assert max(map(len, lines)) < 60
