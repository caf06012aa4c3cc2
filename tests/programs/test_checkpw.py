"""checkpw as a process: descriptors, signals, terminals, time, and who is left behind."""

import contextlib
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

ROOT = str(pathlib.Path(__file__).parents[2])
# As `-m checkpw.cli.admin`, but of this tree, whether or not it is installed.
CHECKPW = [
    sys.executable,
    "-I",
    "-c",
    (
        "import runpy, sys; sys.path.insert(0, sys.argv.pop(1));"
        "runpy.run_module('checkpw.cli.admin', run_name='__main__', alter_sys=True)"
    ),
    ROOT,
]
PATIENCE = 30


def checkpw(*argv, stdin=b"", environ=None, **settings):
    return subprocess.run(
        [*CHECKPW, *map(str, argv)],
        input=stdin,
        capture_output=True,
        env={"PATH": os.defpath, **(environ or {})},
        timeout=PATIENCE,
        check=False,
        **settings,
    )


def ask(program, *options, stdin=b"joe\nsecret\n", **settings):
    """Ask a shell script that plays the checker."""
    return checkpw("ask", *options, "--", "sh", "-c", program, "sh", "true", stdin=stdin, **settings)


def test_accounts_from_end_to_end(tmp_path):
    """An account that one process adds is known to the next."""
    store = tmp_path / "accounts"
    assert checkpw("user", "add", "--file", store, "--stdin", "joe", stdin=b"secret\n").returncode == 0
    for password, status in ((b"secret\n", 0), (b"wrong\n", 1)):
        done = checkpw("user", "verify", "--file", store, "--stdin", "joe", stdin=password)
        assert done.returncode == status
    assert b"secret" not in store.read_bytes()


def test_the_record_arrives_on_descriptor_3():
    """A checker reads login NUL password NUL NUL and then the end of file."""
    done = ask("od -An -c <&3")
    assert done.returncode == 0
    assert done.stdout.split() == rb"j o e \0 s e c r e t \0 \0".split()
    assert done.stderr == b"checkpw: accepted\n"


def test_the_checker_gets_the_rest_of_our_input_and_writes_our_output():
    """After the two lines not a byte is taken, and nothing is put between the output of the program."""
    done = ask("cat", stdin=b"joe\nsecret\nfirst\nsecond")
    assert done.stdout == b"first\nsecond"


def test_login_as_an_option_leaves_one_line_for_the_password():
    """With --login the first line is the password."""
    done = ask("od -An -c <&3; cat", "--login", "ann", stdin=b"secret\nrest")
    assert done.stdout.split() == rb"a n n \0 s e c r e t \0 \0 rest".split()


def test_quiet_says_nothing():
    """--quiet leaves the answer to the exit status."""
    done = ask("exit 1", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("exit 0", 0, b"accepted"),
        ("exit 1", 1, b"rejected"),
        ("exit 2", 2, b"misuse"),
        ("exit 3", 1, b"vchkpw"),
        ("exit 42", 111, b"exit status 42"),
        ("exit 100", 1, b"cvm"),
        ("exit 111", 111, b"temporary"),
        ("kill -9 $$", 111, b"signal 9"),
    ],
)
def test_what_it_answered_in_words_and_by_status(program, status, words):
    """Each way to end has its own words and one of the four statuses."""
    done = ask(program)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_program_in_the_chain_keeps_its_status():
    """If the chain runs something else than `true`, its status is passed on."""
    done = checkpw("ask", "--", "sh", "-c", "exit 42", stdin=b"joe\nsecret\n")
    assert done.returncode == 42


def test_the_environment_is_the_callers(tmp_path):
    """The checker's environment is ours as it was given, without what Python adds under an empty one."""
    done = subprocess.run(
        [*CHECKPW, "ask", "--", "/usr/bin/env"],
        input=b"joe\nsecret\n",
        capture_output=True,
        env={"PATH": os.defpath, "TCPREMOTEIP": "192.0.2.1"},
        timeout=PATIENCE,
        check=True,
    )
    assert sorted(done.stdout.splitlines()) == [b"PATH=" + os.defpath.encode(), b"TCPREMOTEIP=192.0.2.1"]


def test_descriptors_of_the_checker():
    """The checker has 0 to 3, what our caller opened for it besides, and nothing of ours."""
    done = ask("ls /proc/self/fd")
    # ls opens the directory itself, on 4.
    assert done.stdout.split() == [b"0", b"1", b"2", b"3", b"4"]


def test_signals_are_given_back():
    """SIGPIPE, which Python ignores, is not ignored in the checker."""
    done = ask("grep SigIgn /proc/self/status")
    assert int(done.stdout.split()[1], 16) & 1 << (signal.SIGPIPE - 1) == 0


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_descriptors_are_not_reused(closed):
    """Started with 0, 1 or 2 closed, the checker's descriptor 3 is still the record."""
    program = f'exec {closed}{"<" if closed == 0 else ">"}&-; exec "$@"'
    shell = ["sh", "-c", program, "sh", *CHECKPW, "ask", "--login", "joe", "--", "sh", "-c", "cat <&3 >&4", "true"]
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)

        def place():
            os.dup2(writer, 4)

        done = subprocess.run(
            shell, input=b"secret\n", capture_output=True, env={"PATH": os.defpath}, timeout=PATIENCE,
            check=False, pass_fds=[4] if writer == 4 else [writer, 4], preexec_fn=place,
        )  # fmt: skip
        os.close(writer)
        got = os.read(reader, 600)
    if closed == 0:
        assert (done.returncode, got) == (2, b"")  # no line to read a password from
    else:
        assert (done.returncode, got) == (0, b"joe\0secret\0\0")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_time_is_over_for_the_whole_group(tmp_path):
    """After --timeout the checker and the child that it waits for are dead, and the answer is 111."""
    start = time.monotonic()
    done = ask(f"sleep 600 & echo $! $$ >{tmp_path}/pids; wait", "--timeout", "0.5")
    assert done.returncode == 111
    assert b"time was over" in done.stderr
    assert 0.4 < time.monotonic() - start < 20
    for pid in (tmp_path / "pids").read_text().split():
        wait_until(lambda pid=pid: not alive(pid))


def test_an_answer_in_time_is_an_answer():
    """With --timeout a checker that is quick enough answers as without."""
    assert ask("exit 1", "--timeout", "20").returncode == 1
    assert ask("exit 0", environ={"CHECKPW_TIMEOUT": "20"}).returncode == 0
    assert ask("sleep 60", environ={"CHECKPW_TIMEOUT": "0.2"}).returncode == 111


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("options", [[], ["--timeout", "100"]])
def test_a_signal_ends_the_checker_too(tmp_path, number, options):
    """Who ends `ask` ends the checker, and gets 111 and no verdict."""
    program = f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600"
    argv = [*CHECKPW, "ask", *options, "--", "sh", "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"joe\nsecret\n")
        process.stdin.flush()
        wait_until((tmp_path / "pid").exists)
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE) == 111
        assert process.stderr.read() == f"checkpw: ended by signal {number.value}\n".encode()
    wait_until(lambda: not alive((tmp_path / "pid").read_text().strip()))


def test_a_full_output_is_trouble():
    """A hash that could not be written is no success, and neither Python's 120 nor 1."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*CHECKPW, "hash", "--stdin"], input=b"secret", stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE,
            check=False,
        )  # fmt: skip
    assert done.returncode == 111
    assert b"Traceback" not in done.stderr


def test_a_reader_that_went_away_is_trouble():
    """When nobody reads the output, the status is 111 and not click's 1."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*CHECKPW, "--help"], stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
    os.close(writer)
    assert done.returncode == 111
    assert b"Traceback" not in done.stderr


def test_a_missing_module_is_trouble():
    """Without click on the path the status is 111 with one line, and not Python's 1."""
    probe = "import sys; sys.path.insert(0, sys.argv[1]); from checkpw.cli import admin; admin.start()"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", probe, ROOT], capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 111
    assert done.stderr.startswith(b"checkpw: unexpected trouble: ModuleNotFoundError (click)")
    assert done.stderr.count(b"\n") == 1


def test_completion_answers_by_the_variable():
    """The shell's question is answered with the subcommands."""
    asked = {"_CHECKPW_COMPLETE": "bash_complete", "COMP_WORDS": "checkpw us", "COMP_CWORD": "1"}
    done = checkpw(environ=asked)
    assert (done.returncode, done.stdout) == (0, b"plain,user\n")


class Terminal:
    """A person at a terminal: starts checkpw on a pseudo-terminal, reads, types."""

    def __init__(self, *argv):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(CHECKPW[0], [*CHECKPW, *argv], {"PATH": os.defpath})
        self.seen = b""

    def read_until(self, words):
        deadline = time.monotonic() + PATIENCE
        while words not in self.seen:
            assert select.select([self.descriptor], [], [], max(0, deadline - time.monotonic()))[0], self.seen
            try:
                self.seen += os.read(self.descriptor, 4096)
            except OSError:
                pytest.fail(f"no {words} in {self.seen}")

    def type(self, text):
        os.write(self.descriptor, text)

    def end(self, again=b""):
        """Wait for the end, and type `again` each second: what is typed while a terminal changes its mode is lost."""
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):  # EIO is a terminal's way to say that nobody is left
            while time.monotonic() < deadline:
                if not select.select([self.descriptor], [], [], 1)[0]:
                    os.write(self.descriptor, again)
                elif piece := os.read(self.descriptor, 4096):
                    self.seen += piece
                else:
                    break
            else:
                os.kill(self.pid, signal.SIGKILL)
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_typing_a_password_twice():
    """At a terminal the password is asked for twice and not shown; the hash is."""
    terminal = Terminal("hash", "--scheme", "SSHA")
    terminal.read_until(b"Password: ")
    terminal.type(b"secret\n")
    terminal.read_until(b"Repeat for confirmation: ")
    terminal.type(b"secret\n")
    assert terminal.end() == 0
    assert b"{SSHA}" in terminal.seen
    assert b"secret" not in terminal.seen


def test_asking_at_a_terminal():
    """`ask` prompts for login and password, and the program then has the terminal to itself."""
    terminal = Terminal("ask", "--", "sh", "-c", "cat <&3; read line; echo got $line; test -t 0")
    terminal.read_until(b"Login: ")
    terminal.type(b"joe\n")
    terminal.read_until(b"Password: ")
    terminal.type(b"secret\n")
    terminal.read_until(b"joe\0secret\0\0")
    terminal.type(b"more\n")
    terminal.read_until(b"got more")
    assert terminal.end() == 0


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
def test_giving_up_at_the_prompt(key):
    """Control-C or Control-D at the prompt is 111: nobody said no."""
    terminal = Terminal("hash")
    terminal.read_until(b"Password: ")
    terminal.type(key)
    assert terminal.end(again=key) == 111
    assert b"interrupted" in terminal.seen


def test_passwords_are_in_no_argument_and_no_environment(tmp_path):
    """While the checker runs, neither /proc/*/cmdline nor /proc/*/environ of the two processes has the password."""
    program = "cat /proc/$PPID/cmdline /proc/$PPID/environ /proc/$$/cmdline /proc/$$/environ"
    done = checkpw("ask", "--", "sh", "-c", program, stdin=b"joe\nxyzzy\n")
    assert b"cmdline" in done.stdout
    assert b"xyzzy" not in done.stdout
