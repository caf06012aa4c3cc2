"""Handing on a chain: which programs are tried, what they find, and what is said when none can be run."""

import os
import resource
import signal

import pytest

from checkpw import chain, privileges
from checkpw.chain import NextProgram
from checkpw.errors import TemporaryFailure


@pytest.mark.parametrize(
    ("name", "environ", "expected"),
    [
        (b"/bin/true", {b"PATH": b"/x"}, [b"/bin/true"]),
        (b"./true", {b"PATH": b"/x"}, [b"./true"]),
        (b"true", {b"PATH": b"/x:/y"}, [b"/x/true", b"/y/true"]),
        (b"true", {}, [b"/bin/true", b"/usr/bin/true"]),
        (b"true", {b"PATH": b""}, [b"./true"]),
        (b"true", {b"PATH": b":/x:"}, [b"./true", b"/x/true", b"./true"]),
    ],
)
def test_candidates(name, environ, expected):
    """The rule of pathexec_run.c: a slash is a path, an unset PATH has a default, an empty directory is this one."""
    assert list(chain.candidates(name, environ)) == expected


@pytest.mark.parametrize(
    ("argv", "is_sentinel"),
    [
        ([b"true"], True),
        ([b"/bin/true"], True),
        ([b"/usr/bin/true"], True),
        ([b"true", b"x"], False),
        ([b"./true"], False),
        ([b"True"], False),
        ([], False),
    ],
)
def test_sentinel(argv, is_sentinel):
    """Exactly `true` asks for the verdict only."""
    assert chain.is_sentinel(argv) is is_sentinel


@pytest.mark.parametrize(("number", "goes_on"), [(2, True), (13, True), (1, True), (21, True), (8, False), (12, False)])
def test_which_failures_go_on(number, goes_on):
    """PATH is searched on for what is not there or not ours, and not for a text file or for lack of memory."""
    assert chain.is_worth_another_try(OSError(number, "x")) is goes_on


class Executed(Exception):
    """Stands for a process that is something else now."""


@pytest.fixture
def handed(monkeypatch):
    """Give what `hand_over` does to the process, which it does not do."""
    done = []
    failures = {}

    def execve(path, argv, environ):
        done.append(path)
        if path in failures:
            raise failures[path]
        done.append((argv, environ))
        raise Executed

    monkeypatch.setattr(chain.posix, "execve", execve)
    monkeypatch.setattr(chain.posix, "chdir", lambda path: done.append(("chdir", path)))
    monkeypatch.setattr(privileges, "become", lambda uid, gid: done.append(("become", uid, gid)))
    monkeypatch.setattr(chain._signal, "signal", lambda number, action: done.append((number, action)))
    done.append(failures)
    return done


SIGNALS = [(signal.SIGPIPE, signal.SIG_DFL), (signal.SIGXFSZ, signal.SIG_DFL)]


def test_hand_over(handed):
    """First the identity, then the directory, then the signals, then the program."""
    handed.clear()
    program = NextProgram([b"prog", b"x"], {b"PATH": b"/p"}, (5, 6), b"/home")
    with pytest.raises(Executed):
        chain.hand_over(program)
    wanted = [("become", 5, 6), ("chdir", b"/home"), *SIGNALS, b"/p/prog", ([b"prog", b"x"], {b"PATH": b"/p"})]
    assert handed == wanted


def test_hand_over_as_we_are(handed):
    """Without identity and directory, the process stays who and where it is."""
    handed.clear()
    with pytest.raises(Executed):
        chain.hand_over(NextProgram([b"/p"], {}))
    assert handed == [*SIGNALS, b"/p", ([b"/p"], {})]


@pytest.mark.parametrize(
    ("failures", "tried", "said"),
    [
        ({b"/a/p": 2, b"/b/p": 2}, 2, "not found in PATH"),
        ({b"/a/p": 13, b"/b/p": 2}, 2, "Permission denied"),
        ({b"/a/p": 2, b"/b/p": 13}, 2, "Permission denied"),
        ({b"/a/p": 8}, 1, "Exec format error"),
        ({b"/a/p": 7}, 1, "Argument list too long"),
    ],
)
def test_programs_that_cannot_be_run(handed, failures, tried, said):
    """PATH is searched to its end or to what stops the search, and the failure that matters is named."""
    kept = handed[0]
    kept.update({path: OSError(number, os.strerror(number)) for path, number in failures.items()})
    with pytest.raises(TemporaryFailure, match=f"unable to run b'p': {said}"):
        chain.hand_over(NextProgram([b"p"], {b"PATH": b"/a:/b"}))
    assert len([each for each in handed if isinstance(each, bytes)]) == tried


def test_a_path_that_is_not_there(handed):
    """A name with a slash that is not there is said to be so."""
    handed[0][b"/p"] = FileNotFoundError(2, "No such file or directory")
    with pytest.raises(TemporaryFailure, match="No such file or directory"):
        chain.hand_over(NextProgram([b"/p"], {}))


def test_what_python_does_not_take(handed):
    """An argument that Python refuses is trouble like any other."""
    handed[0][b"/a/"] = ValueError("execve() arg 2 first element cannot be empty")
    with pytest.raises(TemporaryFailure, match="cannot be empty"):
        chain.hand_over(NextProgram([b""], {b"PATH": b"/a"}))


def test_a_directory_that_cannot_be_entered(monkeypatch):
    """A home that is not there is temporary, and nothing is executed."""
    with pytest.raises(TemporaryFailure, match="unable to change to b'/nonexistent'"):
        chain.hand_over(NextProgram([b"/bin/true"], {}, directory=b"/nonexistent"))


# --- what Python changed


def test_locale_that_python_set(monkeypatch):
    """LC_CTYPE as Python's start-up sets it is taken out, or put back as the caller gave it."""
    block = {"now": b""}
    monkeypatch.setattr(chain, "_read_whole", lambda path: block["now"])
    monkeypatch.setattr(chain.posix, "environ", {b"LC_CTYPE": b"C.UTF-8", b"A": b"b"})
    block["now"] = b"A=b\0XLC_CTYPE=x\0"
    assert chain.given_environment() == {b"A": b"b"}
    block["now"] = b"A=b\0LC_CTYPE=C.UTF-8\0B=c\0"
    assert chain.given_environment() == {b"A": b"b", b"LC_CTYPE": b"C.UTF-8"}
    block["now"] = b"LC_CTYPE=POSIX\0A=b\0"
    assert chain.given_environment() == {b"A": b"b", b"LC_CTYPE": b"POSIX"}


def test_locale_of_the_callers_own(monkeypatch):
    """Any other value is the caller's and stays."""
    monkeypatch.setattr(chain.posix, "environ", {b"LC_CTYPE": b"de_DE.UTF-8"})
    assert chain.given_environment() == {b"LC_CTYPE": b"de_DE.UTF-8"}


def test_locale_without_proc(monkeypatch):
    """Where nobody can tell what the caller gave, Python's value is taken out."""

    def absent(path):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(chain, "_read_whole", absent)
    monkeypatch.setattr(chain.posix, "environ", {b"LC_CTYPE": b"C.UTF-8"})
    assert chain.given_environment() == {}


def test_the_block_of_this_process():
    """The environment that the kernel was given can be read whole."""
    with open("/proc/self/environ", "rb") as file:
        assert chain._read_whole(b"/proc/self/environ") == file.read()


def test_core_dumps():
    """The soft limit is 0 while a password is in memory, and then what it was."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    limits = chain.forbid_core_dumps()
    try:
        assert limits == before
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, before[1])
    finally:
        chain.give_back_core_dumps(limits)
    assert resource.getrlimit(resource.RLIMIT_CORE) == before


def test_keep_to_ourselves(monkeypatch):
    """What was inherited above 2 is closed at the start of our programs; 0, 1 and 2 are left alone."""
    reading, writing = os.pipe()
    try:
        for listing in (chain.posix.listdir, _no_listing):
            monkeypatch.setattr(chain.posix, "listdir", listing)
            os.set_inheritable(reading, True)  # noqa: FBT003  it takes no keyword
            before = [os.get_inheritable(number) for number in (0, 1, 2)]
            chain.keep_to_ourselves()
            assert not os.get_inheritable(reading)
            assert [os.get_inheritable(number) for number in (0, 1, 2)] == before
    finally:
        os.close(reading)
        os.close(writing)


def _no_listing(path):
    raise FileNotFoundError(2, "No such file or directory")


def test_closed_descriptors_are_filled(monkeypatch):
    """Where 0, 1 or 2 is closed, /dev/null is opened, for us and not for the next program."""
    opened = []

    def fstat(descriptor):
        if descriptor != 1:
            raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(chain.posix, "fstat", fstat)
    monkeypatch.setattr(chain.posix, "open", lambda *arguments: opened.append(arguments))
    chain.fill_standard_descriptors()
    assert opened == [("/dev/null", os.O_RDWR | os.O_CLOEXEC)] * 2


def test_children_are_ours_to_collect(monkeypatch):
    """A server that ignores SIGCHLD does not keep us from learning how a child ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        chain.collect_children()
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)
