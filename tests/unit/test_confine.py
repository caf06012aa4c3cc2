"""The filter of system calls, run by a small machine of its own; what it does to a process is in tests/programs."""

import os
import pathlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkpw import confine

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4711
ALLOW, REFUSE, ABSENT, KILL = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38, 0x80000000
MACHINES = st.sampled_from(sorted(AUDIT))
WORDS = st.integers(0, 2**32 - 1)

each_machine = pytest.mark.parametrize("machine", sorted(AUDIT))


def run(program, number, arguments=(), audit=None, machine="x86_64"):
    """Do what the kernel does with a filter, and give what it says and how many steps that took."""
    words = [number, AUDIT[machine] if audit is None else audit, 0, 0]
    for argument in (*arguments, *[0] * 6)[:6]:
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    at = steps = value = 0
    while True:
        code, if_true, if_false, operand = program[at]
        steps += 1
        at += 1
        if code == 0x20:
            value = words[operand // 4]
        elif code == 0x54:
            value &= operand
        elif code == 0x05:
            at += operand
        elif code == 0x15:
            at += if_true if value == operand else if_false
        elif code == 0x35:
            at += if_true if value >= operand else if_false
        else:
            assert code == 0x06
            return operand, steps


def _refused(machine):
    """Give the names and numbers of what is always refused."""
    column = sorted(AUDIT, reverse=True).index(machine)
    entries = [entry.split(":") for entry in re.findall(r"\w+:\S+", confine._REFUSED)]
    return {entry[0]: int(entry[1 + column]) for entry in entries if entry[1 + column] != "-"}


def _partly(machine):
    """Give the names and numbers of what is looked at, with the checks."""
    column = sorted(AUDIT, reverse=True).index(machine)
    return {entry.split(":")[0]: int(entry.split(":")[1 + column]) for entry in confine._conditions(PID)}


# --- numbers


@each_machine
def test_each_call_is_found(machine):
    """Whatever the number, the search ends at what the tables say, and soon."""
    program = confine.program(machine, PID)
    refused, partly = set(_refused(machine).values()), set(_partly(machine).values())
    assert not refused & partly
    for number in range(confine.LAST_KNOWN + 1):
        verdict, steps = run(program, number, machine=machine)
        if number == 435:
            assert verdict == ABSENT
        elif number not in partly:
            assert verdict == (REFUSE if number in refused else ALLOW), number
            assert steps < 30
    assert len(program) < 4096


@given(MACHINES, st.integers(451, 0x3FFFFFFF), st.integers(0x40000000, 2**32 - 1), WORDS)
@example("x86_64", 451, 0x40000000, 0x40000003)
@example("aarch64", 0x3FFFFFFF, 2**32 - 1, 0x40000028)
def test_other_numbers(machine, new, x32, audit):
    """What is newer than the tables is not there; the numbers of another machine are no numbers at all."""
    program = confine.program(machine, PID)
    assert run(program, new, machine=machine)[0] == ABSENT
    assert run(program, x32, machine=machine)[0] == KILL
    if audit != AUDIT[machine]:
        assert run(program, 0, audit=audit)[0] == KILL


@each_machine
def test_the_tables_say_what_the_kernel_says(machine, refuse):
    """Each number in the tables is that of the kernel's own headers, for both machines."""
    headers = {
        "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "aarch64": "/usr/include/asm-generic/unistd.h",
    }
    path = pathlib.Path(headers[machine])
    if not path.exists():
        refuse(f"peer not installed: {path} (linux-libc-dev)")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text(encoding="ascii"))
    kernel = {name: int(number) for name, number in found}
    if machine == "aarch64":
        # Names of 64-bit machines, in the end of that file; uselib and its kind it has never had.
        kernel["newfstatat"] = kernel.pop("fstatat")
    for name, number in {**_refused(machine), **_partly(machine), "clone3": 435}.items():
        assert kernel[name] == number, name
    have = {name for entry in re.findall(r"\w+:\S+", confine._REFUSED) for name in entry.split(":")[:1]}
    assert have & set(kernel) == set(_refused(machine))


def test_nothing_is_in_two_tables():
    """No call is both refused and looked at."""
    names = re.findall(r"(\w+):\S+", confine._REFUSED) + [entry.split(":")[0] for entry in confine._conditions(PID)]
    assert len(set(names)) == len(names)


# --- arguments

THREAD, EXEC, FAST_OPEN, EMPTY_PATH = 0x10000, 4, 0x20000000, 0x1000


@pytest.mark.parametrize(
    ("name", "arguments", "is_allowed"),
    [
        ("clone", (THREAD | 0x100,), True),
        ("clone", (THREAD | 0x11,), True),
        ("clone", (17,), False),
        ("clone", (0x7E020000,), False),
        ("mmap", (0, 4096, 0xFFFFFFFF & ~EXEC), True),
        ("mmap", (0, 4096, EXEC | 1), False),
        ("mprotect", (0, 4096, 1), True),
        ("mprotect", (0, 4096, EXEC), False),
        ("kill", (PID, 6), True),
        ("kill", (PID + 1, 6), False),
        ("kill", (0, 6), False),
        ("kill", (2**32 - 1, 6), False),
        ("kill", (2**32 - PID, 6), False),
        ("tgkill", (PID, PID + 3, 6), True),
        ("tgkill", (1, PID, 6), False),
        ("prlimit64", (0, 7), True),
        ("prlimit64", (PID, 7), True),
        ("prlimit64", (1, 7), False),
        ("sendto", (5, 1 << 40, 9, 0xFFFFFFFF & ~FAST_OPEN, 0, 0), True),
        ("sendto", (5, 1 << 40, 9, 0, 0x7FFE1000, 16), False),
        ("sendto", (5, 1 << 40, 9, 0, 0x7FFE_0000_0000, 16), False),
        ("sendto", (5, 1 << 40, 9, FAST_OPEN, 0, 0), False),
        ("sendmsg", (5, 1 << 40, 0x4040), True),
        ("sendmsg", (5, 1 << 40, FAST_OPEN | 0x40), False),
        ("socketpair", (1, 1), True),
        ("socketpair", (1, 1 | 0x80800), True),
        ("socketpair", (1, 2), False),
        ("socketpair", (1, 5), False),
        ("socketpair", (2, 1), False),
        ("socketpair", (16, 3), False),
        ("setsockopt", (5, 6, 1), True),
        ("setsockopt", (5, 6, 31), False),
        ("setsockopt", (5, 1, 9), True),
        ("setsockopt", (5, 1, 26), False),
        ("setsockopt", (5, 1, 50), False),
        ("setsockopt", (5, 41, 1), False),
        ("ioctl", (5, 0x5421), True),
        ("ioctl", (5, 0x5412), False),
        ("ioctl", (5, 0x8901), False),
        ("fcntl", (5, 4), True),
        ("fcntl", (5, 1030), True),
        ("fcntl", (5, 8), False),
        ("fcntl", (5, 10), False),
        ("fcntl", (5, 15), False),
        ("fcntl", (5, 1024), False),
        ("fcntl", (5, 1026), False),
        ("newfstatat", (5, 1 << 40, 1 << 40, EMPTY_PATH), True),
        ("newfstatat", (5, 1 << 40, 1 << 40, EMPTY_PATH | 0x101), True),
        ("newfstatat", (5, 1 << 40, 1 << 40, 0x101), False),
    ],
)
@each_machine
def test_arguments(machine, name, arguments, is_allowed):
    """What is allowed in part is allowed for what a worker does, and refused for the rest."""
    verdict, _ = run(confine.program(machine, PID), _partly(machine)[name], arguments, machine=machine)
    assert verdict == (ALLOW if is_allowed else REFUSE)


@each_machine
def test_options_and_controls(machine):
    """These options of sockets, controls of descriptors and commands of fcntl are allowed, and no other."""
    program = confine.program(machine, PID)
    calls = _partly(machine)

    def allowed(name, *arguments):
        return run(program, calls[name], arguments, machine=machine)[0] == ALLOW

    options = {
        (level, option) for level in range(300) for option in range(80) if allowed("setsockopt", 5, level, option)
    }
    assert options == {(level, option) for level in (1, 6) for option in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 18)}
    controls = {control for control in [*range(0x10000), 0x802C542A, 0x802C542B] if allowed("ioctl", 5, control)}
    assert controls == {0x5401, 0x5411, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A}
    commands = {command for command in range(2000) if not allowed("fcntl", 5, command)}
    assert commands == {8, 10, 15, 1024, 1026}
    pairs = {(family, kind) for family in range(50) for kind in range(16) if allowed("socketpair", family, kind)}
    assert pairs == {(1, 1)}


@given(MACHINES, st.integers(1, 2**22), st.integers(0, 2**32 - 1))
def test_signals_are_for_oneself(machine, pid, target):
    """Whichever process it is made for, the filter lets it signal that one only."""
    program = confine.program(machine, pid)
    for name in ("kill", "tgkill"):
        assert (run(program, _partly(machine)[name], (target,), machine=machine)[0] == ALLOW) == (target == pid)
        assert run(program, _partly(machine)[name], (pid,), machine=machine)[0] == ALLOW


# --- where it cannot be done


class Library:
    """A C library that does nothing, or refuses."""

    def __init__(self, refuses=(), capabilities=bytes(24)):
        self.refuses = refuses
        self.capabilities = capabilities
        self.calls = []

    def prctl(self, option, *arguments):
        """Note it."""
        self.calls.append((option, [argument.value for argument in arguments]))
        return -1 if "prctl" in self.refuses else 0

    def capget(self, header, sets):
        """Tell what there is."""
        assert header.raw[:8] == bytes.fromhex("2205082000000000")
        sets.raw = self.capabilities
        return 0

    def capset(self, header, sets):
        """Note it."""
        self.calls.append(("capset", header.raw[:8], sets.raw))
        return -1 if "capset" in self.refuses else 0

    def syscall(self, number, operation, flags, header):
        """Note it."""
        self.calls.append((number.value, operation.value, flags.value))
        return -1 if "syscall" in self.refuses else 0


@pytest.fixture
def library(monkeypatch):
    """Give a C library that lets the test's own process alone."""
    made = Library()
    monkeypatch.setattr(confine.ctypes, "CDLL", lambda name, use_errno: made)
    monkeypatch.setattr(confine.ctypes, "get_errno", lambda: 38)
    monkeypatch.setattr(confine.resource, "setrlimit", lambda which, limits: made.calls.append((which, limits)))
    return made


def _on(monkeypatch, machine):
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "#1", machine)))


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 317), ("aarch64", 277)])
def test_what_is_asked_of_the_kernel(monkeypatch, library, machine, number):
    """No core, no further processes, not traceable, no new privileges, then the filter, for all threads."""
    _on(monkeypatch, machine)
    assert confine.forbid().has_filter
    limits = [(confine.resource.RLIMIT_CORE, (0, 0)), (confine.resource.RLIMIT_NPROC, (0, 0))]
    assert library.calls == [*limits, (4, [0, 0, 0, 0]), (38, [1, 0, 0, 0]), (number, 1, 1)]


def test_other_machines(monkeypatch, library):
    """A machine whose numbers are not known gets no filter, and says so; the rest is done."""
    _on(monkeypatch, "riscv64")
    done = confine.forbid()
    assert (done.has_filter, done.reason) == (False, "no filter for this machine: riscv64")
    assert len(library.calls) == 4


def test_a_32_bit_interpreter(monkeypatch, library):
    """A 32-bit program on a 64-bit kernel would be killed by the filter at its first call."""
    _on(monkeypatch, "x86_64")
    monkeypatch.setattr(confine.sys, "maxsize", 2**31 - 1)
    assert not confine.forbid().has_filter


def test_a_kernel_without_filters(monkeypatch, library):
    """A kernel that has no seccomp, or a container that forbids it, is named."""
    library.refuses = ("syscall",)
    _on(monkeypatch, "x86_64")
    done = confine.forbid()
    assert (done.has_filter, done.reason) == (False, "seccomp: Function not implemented")


def test_what_must_not_fail(monkeypatch, library):
    """Where not even privileges can be renounced, nothing goes on."""
    library.refuses = ("prctl",)
    with pytest.raises(confine.TemporaryFailure, match="unable to confine the process: Function not implemented"):
        confine.forbid()

    def refuse(which, limits):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(confine.resource, "setrlimit", refuse)
    with pytest.raises(confine.TemporaryFailure, match="unable to limit the process"):
        confine.forbid()


def test_capabilities(monkeypatch, library):
    """They are given up where there are some; a filter around us may not let that through, and is not asked in vain."""
    _on(monkeypatch, "riscv64")
    library.capabilities = bytes([0, 4]) * 12
    confine.forbid()
    assert library.calls[-1] == ("capset", bytes.fromhex("2205082000000000"), bytes(24))
    library.refuses = ("capset",)
    with pytest.raises(confine.TemporaryFailure, match="unable to give up capabilities: Function not implemented"):
        confine.forbid()


@pytest.mark.parametrize("is_root", [False, True])
def test_nowhere_needs_root(monkeypatch, tmp_path, is_root):
    """Who is not root, or not root enough, stays where they are, and nothing is left behind."""
    moves = []
    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setattr(os, "chdir", moves.append)
    monkeypatch.setattr(confine.tempfile, "tempdir", str(tmp_path))

    def refuse(path):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chroot", refuse)
    assert not confine.into_nowhere()
    assert os.listdir(tmp_path) == []
    assert moves[-1:] == (["/"] if is_root else [])


def test_nowhere_to_go(monkeypatch, tmp_path):
    """Where no directory can be made, root does not go on."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chdir", lambda path: None)
    monkeypatch.setattr(confine.tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(confine.TemporaryFailure, match="unable to go into an empty directory: No such file"):
        confine.into_nowhere()
