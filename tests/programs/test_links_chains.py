"""Links that wrap a checker: how they ask, what they make of the answer, and what they hand on.

The checkers are shell scripts that write down what they were given: descriptor 3 to a file, and whatever else a test
wants to know.
"""

import os
import pathlib
import signal
import subprocess

import pytest

NO, MISUSE, TROUBLE = 1, 2, 111
RECORD = b"joe\0secret\0\0"

WRAPPERS = {
    "any": ["checkpw-any"],
    "limit": ["checkpw-limit"],
    "log": ["checkpw-log"],
    "three": ["checkpw-log", "checkpw-limit", "checkpw-any"],
}
each_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS)

# Keeps the record of each call; with the sentinel it gives the verdict of the test, else it runs its program.
CHECKER = """\
cd {directory}
cat <&3 >>records
exec 3<&-
echo "$@" >>asked
{further}
[ "$*" = true ] && {verdict}
[ "$1" = -- ] && exit 99
exec "$@"
"""


@pytest.fixture
def checker(script, tmp_path):
    """Give a function that writes a checker with a verdict (a command of sh), and gives its path."""

    def write(verdict="exit 0", further="", name="checker"):
        return script(name, CHECKER.format(directory=tmp_path, verdict=verdict, further=further))

    return write


@pytest.fixture
def wrap(programs, run_chain, tmp_path):
    """Give a function that runs a wrapper around a checker and gives how that was, and what the checker was told."""

    def run(wrapper, *words, environ=None, **state):
        first, *others = WRAPPERS[wrapper]
        settings = {"PATH": f"{programs}:/usr/bin:/bin", "CHECKPW_LIMIT_STORE": f"file:{tmp_path}/limits"}
        done = run_chain(programs / first, *others, *words, environ={**settings, **(environ or {})}, **state)
        for name in ("records", "asked"):
            path = tmp_path / name
            setattr(done, name, path.read_bytes() if path.exists() else b"")
        return done

    return run


# --- verdicts


@each_wrapper
@pytest.mark.parametrize("sentinel", [["true"], ["/bin/true"], ["--", "true"], ["--", "/usr/bin/true"]])
def test_a_yes(wrapper, sentinel, wrap, checker):
    """With the sentinel the checker is asked once, with the record as it came, and nothing else runs."""
    done = wrap(wrapper, checker("exit 0", '[ "$*" = "true" ] || set -- true'), *sentinel)
    assert (done.status, done.out) == (0, b"")
    assert done.records == RECORD


@each_wrapper
@pytest.mark.parametrize("sentinel", ["true", "/bin/true", "/usr/bin/true"])
def test_the_sentinel_is_the_one_that_was_given(wrapper, sentinel, wrap, script, tmp_path):
    """A checker that knows only names with a slash gets the one of its chain."""
    done = wrap(wrapper, script("checker", f'echo "$@" >>{tmp_path}/asked'), sentinel)
    assert (done.status, done.asked) == (0, f"{sentinel}\n".encode())


@each_wrapper
@pytest.mark.parametrize("prog", [["true"], ["--", "sh", "-c", "exit 7"]])
def test_a_no(wrapper, prog, wrap, checker):
    """After a no nothing runs, and the answer is 1."""
    done = wrap(wrapper, checker("exit 1"), *prog)
    assert (done.status, done.out) == (NO, b"")
    assert done.asked == b"true\n"


@each_wrapper
@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ("exit 2", MISUSE),
        ("exit 3", 3),
        ("exit 100", 100),
        ("exit 111", TROUBLE),
        ("exit 255", 255),
        ("kill -9 $$", TROUBLE),
        ("kill -15 $$", TROUBLE),
    ],
)
def test_other_answers_are_passed_on(wrapper, verdict, status, wrap, checker):
    """Any other status is that of the checker, and no PROG runs; a signal is trouble, and never a no."""
    done = wrap(wrapper, checker(verdict), "--", "sh", "-c", "exit 0")
    assert (done.status, done.out) == (status, b"")
    assert done.asked == b"true\n"


@each_wrapper
def test_a_status_of_prog_is_none_of_the_checker(wrapper, wrap, checker):
    """After a yes PROG runs behind the checker, and its status is only its own: no 1 of it is a no."""
    statuses = (0, 1, 2, 7, 111)
    for status in statuses:
        done = wrap(wrapper, checker(), "--", "sh", "-c", f"echo ran; exit {status}")
        assert (done.status, done.out) == (status, b"ran\n")
    # Each link of a row asks once, and at last the checker runs PROG.
    assert done.records == RECORD * (len(WRAPPERS[wrapper]) + 1) * len(statuses)


@each_wrapper
def test_prog_keeps_its_words(wrapper, wrap, checker):
    """Words behind the first -- are the program's, further -- and true among them."""
    done = wrap(wrapper, checker(), "--", "sh", "-c", 'printf "%s," "$@"', "a b", "--", "", "-x", "true")
    assert (done.status, done.out) == (0, b"--,,-x,true,")


@each_wrapper
def test_a_checker_that_cannot_be_run(wrapper, wrap):
    """It is trouble, and said on standard error."""
    for prog in (["true"], ["--", "id"]):
        done = wrap(wrapper, "/nonexistent/checker", *prog)
        assert (done.status, done.out) == (TROUBLE, b"")
        assert b"unable to run b'/nonexistent/checker': No such file or directory" in done.said


# --- misuse


@pytest.mark.parametrize("wrapper", ["any", "limit", "log"])
@pytest.mark.parametrize("words", [[], ["true"], ["checker"], ["checker", "prog"], ["--", "prog"], ["checker", "--"]])
def test_no_grammar_is_misuse(wrapper, words, wrap, pipe, tools):
    """Without a checker or a program it is misuse, before a byte of descriptor 3 is read."""
    reading, writing = pipe()
    os.write(writing, RECORD)
    done = wrap(wrapper, *words, record=None, descriptors={3: reading})
    assert (done.status, done.out) == (MISUSE, b"")
    assert b"usage: checkpw-" in done.said
    assert tools.unread(reading) == len(RECORD)


def test_misuse_further_down_a_row_is_misuse_of_it(wrap):
    """A row of links without a checker at its end answers as the link does that misses it."""
    assert wrap("three", "true").status == MISUSE
    assert wrap("three", "--", "prog").status == MISUSE


@each_wrapper
@pytest.mark.parametrize(
    ("record", "status"),
    [
        (b"", MISUSE),
        (b"joe", MISUSE),
        (b"joe\0secret", MISUSE),
        (b"joe\0secret\0".ljust(513, b"x"), NO),
        (b"x" * 60000, NO),
    ],
)
def test_what_is_no_record_reaches_nobody(wrapper, record, status, wrap, checker):
    """A malformed record is misuse, and a long one a no, as with checkpassword; no checker is started for it."""
    done = wrap(wrapper, checker(), "true", record=record)
    assert (done.status, done.asked) == (status, b"")


@each_wrapper
def test_a_closed_descriptor_3_is_trouble(wrapper, wrap, checker):
    """Without a record nobody can tell."""
    done = wrap(wrapper, checker(), "true", record=None)
    assert (done.status, done.asked) == (TROUBLE, b"")


@each_wrapper
@pytest.mark.parametrize(
    "record",
    [
        b"joe\0secret\0",
        b"joe\0secret\0t",
        b"joe\0secret\0t\0and\0more",
        b"\0\0",
        b"\xff\n\0\n\xfe\0\0\0\0",
        b"joe\0" + b"p" * 506 + b"\0\0",
    ],
)
def test_a_record_arrives_byte_for_byte(wrapper, record, wrap, checker):
    """Two fields, three or more, and 512 bytes: what is asked, and what is handed over, is what came."""
    assert len(record) <= 512
    done = wrap(wrapper, checker(), "--", "echo", "ran", record=record)
    assert (done.status, done.out) == (0, b"ran\n")
    assert done.records == record * (len(WRAPPERS[wrapper]) + 1)


# --- what the next one finds

SIGNALS = ("SigBlk", "SigIgn", "SigCgt")
OF_GLIBC = 1 << 31 | 1 << 32
"""32 and 33, which posix_spawn of whoever started us ignores in what it starts."""


def compared(found):
    """Give what two processes are compared by; pipes have other numbers each time."""
    descriptors = {
        number: (what.partition(":")[0] if what.startswith("pipe:") else what, flags)
        for number, (what, flags) in found.descriptors.items()
    }
    signals = {name: int(found.status[name][0], 16) & ~OF_GLIBC for name in SIGNALS}
    rest = {name: found.status[name] for name in ("Umask", "Uid", "Gid", "Groups", "CapEff", "Seccomp")}
    return found.argv, found.environ, found.limits, found.cwd, descriptors, signals, rest


@pytest.fixture
def surrounded(programs, start, pipe, accounts, resources, tools, tmp_path):
    """Give a function that starts a chain in a state with something of everything, and gives the process."""
    null = os.open("/dev/null", os.O_RDONLY)
    resources.callback(os.close, null)
    environ = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "X": "",
        "A": "b=c d",
        b"H\xff": b"\xfe\n=",
        "USER": "old",
        "CHECKPW_ACCOUNTS": accounts("joe:{PLAIN}secret::::::\n"),
        "CHECKPW_USER": "nobody",
        "CHECKPW_LIMIT_STORE": f"file:{tmp_path}/limits",
    }

    def begin(*argv):
        return start(
            [programs / argv[0], *argv[1:]],
            environ,
            descriptors={3: pipe(RECORD), 7: null},
            ignored=[signal.SIGUSR1, signal.SIGCHLD],
            blocked=[signal.SIGUSR2],
            limits={"RLIMIT_NOFILE": (100, 200)},
            umask=0o27,
            stderr=subprocess.DEVNULL,
        )

    return begin


def waits(pid, program="sleep"):
    """Tell whether a process is this program, and waits for something."""
    _, _, rest = pathlib.Path(f"/proc/{pid}/stat").read_text().partition("(")
    comm, _, rest = rest.rpartition(")")
    return comm == program and rest.split()[0] == "S"


@each_wrapper
def test_prog_finds_what_it_finds_without_the_link(wrapper, surrounded, tools):
    """The process is the same, and so is all that an exec hands on: nothing is added, leaks or gets lost."""
    seen = []
    for words in (["checkpassword"], [*WRAPPERS[wrapper], "checkpassword", "--"]):
        process = surrounded(*words, "sleep", "600")
        tools.wait_until(lambda process=process: waits(process.pid), "the chain has come to its end")
        seen.append(compared(tools.look_at(process.pid)))
        process.kill()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("wrapper", ["any", "limit", "log"])
def test_the_asked_checker_finds_what_it_finds_without_the_link(wrapper, surrounded, tools, tmp_path):
    """It gets what it would get, and descriptor 3; but SIGCHLD has its default action, and it leaves no core."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    alone = surrounded("/bin/cat", fifo, "true")
    tools.wait_until(lambda: waits(alone.pid, "cat"), "it waits")
    checker = [f"/bin/cat {fifo}"] if wrapper == "any" else ["/bin/cat", fifo]
    link = surrounded(*WRAPPERS[wrapper], *checker, "true")
    children = pathlib.Path(f"/proc/{link.pid}/task/{link.pid}/children")
    (pid,) = tools.wait_until(lambda: children.read_text().split(), "it asks")
    tools.wait_until(lambda: waits(pid, "cat"), "it is asked")
    seen = [compared(tools.look_at(found)) for found in (alone.pid, int(pid))]
    link.terminate()  # and with it the checker, which nobody else would end
    link.wait(tools.patience)
    (argv, environ, limits, cwd, descriptors, signals, rest), asked = seen
    assert asked[0] == argv
    assert asked[1] == environ
    assert asked[2] == limits | {"Max core file size": ["0", *limits["Max core file size"][1:]]}
    assert asked[3] == cwd
    assert asked[4] == descriptors
    assert asked[5] == signals | {"SigIgn": signals["SigIgn"] & ~(1 << (signal.SIGCHLD - 1))}
    assert asked[6] == rest


@each_wrapper
def test_sigterm_ends_the_checker_too(wrapper, programs, start, pipe, script, tmp_path, tools):
    """A link that is told to end answers 111, and the checker that it asks does not stay behind."""
    slow = script("checker", f"echo $$ >{tmp_path}/pid.new\nmv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 600")
    first, *others = WRAPPERS[wrapper]
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "CHECKPW_LIMIT_STORE": f"file:{tmp_path}/limits"}
    process = start([programs / first, *others, slow, "true"], environ, descriptors={3: pipe(RECORD)})
    tools.wait_until((tmp_path / "pid").exists, "the checker runs")
    process.terminate()
    assert process.wait(tools.patience) == TROUBLE
    pid = int((tmp_path / "pid").read_text())
    tools.wait_until(lambda: not tools.is_alive(pid), "the checker has ended")


@each_wrapper
def test_closed_descriptors_stay_closed(wrapper, wrap, script, tmp_path):
    """Who is started without 0, 1 and 2 asks a checker that finds them closed, too."""
    checker = script("checker", f"ls /proc/$$/fd >{tmp_path}/open")
    wrap(wrapper, checker, "true", closed=[0, 1, 2])
    # 1 is where ls writes, 10 and 255 are where shells keep their script.
    assert set((tmp_path / "open").read_text().split()) - {"1", "10", "255"} == {"3"}


@each_wrapper
def test_ignored_sigchld_hides_no_status(wrapper, wrap, checker):
    """A caller that ignores SIGCHLD, whose children leave no status, gets the right answer."""
    assert wrap(wrapper, checker("exit 1"), "true", ignored=[signal.SIGCHLD]).status == NO


# --- checkpw-any


def verdicts(script, tmp_path, *verdicts):
    """Write checkers that note their names and give a verdict each; give their paths."""
    return [
        script(f"checker{number}", f'echo {number} "$@" >>{tmp_path}/asked\n{verdict}')
        for number, verdict in enumerate(verdicts, 1)
    ]


@pytest.mark.parametrize(
    ("answers", "status", "asked"),
    [
        (["exit 0", "exit 0"], 0, "1"),
        (["exit 1", "exit 0"], 0, "12"),
        (["exit 1", "exit 1", "exit 1"], NO, "123"),
        (["exit 1", "exit 111", "exit 0"], TROUBLE, "12"),
        (["exit 2", "exit 0"], MISUSE, "1"),
        (["exit 3", "exit 0"], 3, "1"),
        (["kill -9 $$", "exit 0"], TROUBLE, "1"),
    ],
)
def test_the_first_yes_wins(answers, status, asked, wrap, script, tmp_path):
    """A no asks the next one; everything else is the answer."""
    done = wrap("any", *verdicts(script, tmp_path, *answers), "true")
    assert done.status == status
    assert done.asked == b"".join(b"%c true\n" % number for number in asked.encode())


@pytest.mark.parametrize("answer", [3, 12, 100])
def test_codes_that_mean_no(answer, wrap, script, tmp_path):
    """What vchkpw and cvm say for no asks the next one, if a setting says so."""
    checkers = verdicts(script, tmp_path, f"exit {answer}", "exit 0")
    assert wrap("any", *checkers, "true").status == answer
    assert wrap("any", *checkers, "true", environ={"CHECKPW_REJECT_CODES": "3,12 100"}).status == 0
    assert wrap("any", checkers[0], "true", environ={"CHECKPW_REJECT_CODES": "3,12 100"}).status == NO


@pytest.mark.parametrize("codes", ["x", "0", "111", "256", "-1"])
@pytest.mark.parametrize("wrapper", ["any", "log"])
def test_codes_that_cannot_mean_no(wrapper, codes, wrap, checker):
    """A setting that makes no sense is trouble before anybody is asked."""
    done = wrap(wrapper, checker(), "true", environ={"CHECKPW_REJECT_CODES": codes})
    assert (done.status, done.asked) == (TROUBLE, b"")
    assert b"CHECKPW_REJECT_CODES" in done.said


def test_the_winner_becomes_the_chain(wrap, script, tmp_path):
    """The checker that said yes, with its own arguments, runs PROG; the others run nothing."""
    no, yes = verdicts(script, tmp_path, "exit 1", 'shift; exec "$@"')
    done = wrap("any", f"{no} a", f"{yes} 'b c'", "--", "sh", "-c", "echo ran; exit 1")
    assert (done.status, done.out) == (1, b"ran\n")
    assert done.asked == b"1 a true\n2 b c true\n2 b c sh -c echo ran; exit 1\n"


def test_quotes_that_are_open_are_misuse(wrap, checker):
    """What cannot be split is misuse before anybody is asked."""
    done = wrap("any", str(checker()), "a 'b", "true")
    assert (done.status, done.asked) == (MISUSE, b"")


def test_rows_inside_of_candidates(programs, run_chain, accounts, tmp_path):
    """A candidate may be a row of links itself."""
    store = accounts("joe:{PLAIN}secret::::::\n")
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "CHECKPW_LIMIT_STORE": f"file:{tmp_path}/limits"}
    words = ["false", "checkpw-log checkpw-limit checkpassword", "--", "sh", "-c", "echo $USER; exit 1"]
    done = run_chain(programs / "checkpw-any", *words, environ=environ | {"CHECKPW_USER": "nobody"}, store=store)
    assert (done.status, done.out) == (1, b"joe\n")
    done = run_chain(programs / "checkpw-any", *words, environ=environ, store=store, record=b"joe\0wrong\0\0")
    assert (done.status, done.out) == (NO, b"")


def test_an_unknown_module_is_trouble(programs, tmp_path):
    """A link whose package is not there leaves with 111."""
    for name in ("checkgroup", "checknotroot", "checkpw-any", "checkpw-limit", "checkpw-log"):
        text = (programs / name).read_text(encoding="utf-8")
        copy = tmp_path / name
        copy.write_text(text.replace("from checkpw.links.", "from checkpw.missing."), encoding="utf-8")
        copy.chmod(0o755)
        ended = subprocess.run([copy, "true"], capture_output=True, check=False, timeout=60)
        assert ended.returncode == TROUBLE
        assert b"unable to start" in ended.stderr
