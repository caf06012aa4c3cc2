"""checkpassword as a process: what it answers to every input, and to every trouble (facts of checkpassword 0.90)."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

NO, MISUSE, TROUBLE = 1, 2, 111


def padded(size, record=b"joe\0secret\0"):
    return record + b"t" * (size - len(record))


# --- descriptor 3


def test_no_program_is_misuse_before_descriptor_3_is_read(checkpassword, pipe, tools):
    """Without argv[1] the answer is 2, and not a byte was taken from descriptor 3."""
    reading, writing = pipe()
    os.write(writing, b"joe\0secret\0\0")
    done = checkpassword(record=None, descriptors={3: reading})
    assert (done.status, done.out) == (MISUSE, b"")
    assert b"usage" in done.said
    assert tools.unread(reading) == 12


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (b"joe\0secret\0\0", 0),
        (b"joe\0secret\0", 0),
        (b"joe\0secret\0t", 0),
        (b"joe\0secret\0t\0", 0),
        (b"joe\0secret\0t\0more\0and more", 0),
        (b"joe\0secret\0\0\0\0\0", 0),
        (padded(512), 0),
        (padded(511) + b"\0", 0),
        (padded(513), NO),
        (padded(60000), NO),
        (b"x" * 512, MISUSE),
        (b"x" * 513, NO),
        (b"\0" * 513, NO),
        (b"", MISUSE),
        (b"joe", MISUSE),
        (b"joe\0", MISUSE),
        (b"joe\0secret", MISUSE),
        (b"\0", MISUSE),
        (b"\0secret", MISUSE),
        (b"\0\0", NO),
        (b"\0secret\0", NO),
        (b"joe\0\0", NO),
        (b"joe\0\0secret\0", NO),
        (b"joe\0wrong\0\0", NO),
        (b"joe\0secre\0\0", NO),
        (b"joe\0secrets\0\0", NO),
        (b"joe\0SECRET\0\0", NO),
        (b"nobody-here\0secret\0\0", NO),
        (b"Joe\0secret\0\0", NO),
        (b"joe \0secret\0\0", NO),
        (b"empty\0\0\0", NO),
        (b"empty\0x\0\0", NO),
        (b"locked\0secret\0\0", NO),
        (b"star\0secret\0\0", NO),
        (b"star\0*\0\0", NO),
        (b"#joe\0secret\0\0", NO),
        (b"joe\n\0secret\0\0", NO),
        (b"joe:{PLAIN}secret\0secret\0\0", NO),
        (b"odd\0secret\0\0", TROUBLE),
        (b"barred\0secret\0\0", NO),
        (b"barred\0wrong\0\0", NO),
        (b"half\0secret\0\0", TROUBLE),
    ],
)
def test_the_answer_to_a_record(checkpassword, record, status):
    """Each record has the status of the table, says nothing on 1, and a no says nothing at all."""
    store = (
        "#joe:{PLAIN}secret::::::\n"
        "joe:{PLAIN}secret::::::\nempty:::::::\nlocked:!{PLAIN}secret::::::\nstar:*::::::\n"
        "odd:{NO-SUCH-SCHEME}secret::::::\nbarred:{PLAIN}secret::::::nologin\nhalf:{PLAIN}secret:1000:::::\n"
    )
    done = checkpassword("true", record=record, store=store)
    assert (done.status, done.out) == (status, b"")
    assert done.said.count(b"\n") == (0 if status in (0, NO) else 1)
    assert b"secret" not in done.said.replace(b"joe:{PLAIN}secret", b"")


def test_the_513th_byte_is_answered_at_once(checkpassword, pipe):
    """A caller that never closes descriptor 3 is told 1 as soon as it has written 513 bytes."""
    reading, writing = pipe()
    os.write(writing, padded(513))
    assert checkpassword("true", record=None, descriptors={3: reading}).status == NO


def test_512_bytes_are_waited_on(programs, start, pipe, accounts, tools):
    """After 512 bytes the end of file decides, and not the number."""
    reading, writing = pipe()
    os.write(writing, padded(512))
    environ = {"CHECKPW_ACCOUNTS": accounts("joe:{PLAIN}secret::::::\n")}
    process = start([programs / "checkpassword", "true"], environ, descriptors={3: reading})
    tools.wait_until(lambda: tools.unread(reading) == 0, "it has read what there is")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    os.close(writing)
    assert process.wait(tools.patience) == 0


def test_a_closed_descriptor_3_is_trouble(checkpassword):
    """Without descriptor 3 nobody can tell."""
    assert checkpassword("true", record=None).status == TROUBLE


@pytest.mark.parametrize(("path", "flags"), [("/", os.O_RDONLY), ("/dev/null", os.O_WRONLY)])
def test_a_descriptor_3_that_cannot_be_read_is_trouble(checkpassword, resources, path, flags):
    """A directory or a descriptor that is only for writing is a read error, and no empty record."""
    descriptor = os.open(path, flags)
    resources.callback(os.close, descriptor)
    assert checkpassword("true", record=None, descriptors={3: descriptor}).status == TROUBLE


@pytest.mark.parametrize("record", [b"joe\0secret\0\0", b"joe\0wrong\0\0"])
def test_descriptor_3_may_be_a_file(checkpassword, resources, tmp_path, record):
    """A file on descriptor 3 is as good as a pipe, and is read from where it stands."""
    (tmp_path / "record").write_bytes(b"skipped" + record)
    descriptor = os.open(tmp_path / "record", os.O_RDONLY)
    resources.callback(os.close, descriptor)
    os.lseek(descriptor, 7, os.SEEK_SET)
    done = checkpassword("true", record=None, descriptors={3: descriptor})
    assert done.status == (0 if b"secret" in record else NO)


def test_descriptor_3_may_be_a_socket(checkpassword, resources):
    """A socket on descriptor 3, whose other end has shut down its side, is as good as a pipe."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"joe\0secret\0\0")
        ours.shutdown(socket.SHUT_WR)
        assert checkpassword("true", record=None, descriptors={3: theirs.fileno()}).status == 0


def test_a_slow_writer(programs, start, pipe, accounts, tools):
    """A record that comes byte by byte is put together."""
    reading, writing = pipe()
    environ = {"CHECKPW_ACCOUNTS": accounts("joe:{PLAIN}secret::::::\n")}
    process = start([programs / "checkpassword", "true"], environ, descriptors={3: reading})
    for byte in b"joe\0secret\0\0":
        os.write(writing, bytes([byte]))
        tools.wait_until(lambda: tools.unread(reading) == 0, "it has read the byte")
    os.close(writing)
    assert process.wait(tools.patience) == 0


# --- signals


@pytest.fixture
def waiting(programs, start, pipe, accounts, tools):
    """Give a checkpassword that has read half a record, and the end of the pipe where the other half is missing."""

    def begin(**state):
        reading, writing = pipe()
        os.write(writing, b"joe\0sec")
        environ = {"PATH": "/usr/bin:/bin", "CHECKPW_ACCOUNTS": accounts("joe:{PLAIN}secret::::::\n")}
        process = start([programs / "checkpassword", "true"], environ, descriptors={3: reading}, **state)
        tools.wait_until(lambda: tools.unread(reading) == 0, "it has read the first half")
        return process, writing

    return begin


def test_interrupted_reads_are_repeated(waiting, tools):
    """Signals that do not end a process do not end the reading, nor does being stopped and continued."""
    process, writing = waiting()
    for number in (signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG, signal.SIGSTOP, signal.SIGCONT) * 5:
        process.send_signal(number)
    os.write(writing, b"ret\0")
    for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH):
        process.send_signal(number)
    os.close(writing)
    assert process.wait(tools.patience) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_it_is_trouble(waiting, number, tools):
    """SIGTERM, SIGHUP or SIGINT while it waits for the record gives 111, at once, and one line."""
    process, _ = waiting()
    process.send_signal(number)
    out, said = process.communicate(timeout=tools.patience)
    assert (process.returncode, out, said.count(b"\n")) == (TROUBLE, b"", 1)
    assert b"sec\n" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_the_caller_ignores_is_ignored(waiting, number, tools):
    """Under nohup, or a shell's `trap ''`, the signal does not count."""
    process, writing = waiting(ignored=[number])
    process.send_signal(number)
    os.write(writing, b"ret\0")
    os.close(writing)
    assert process.wait(tools.patience) == 0


# --- stores and settings


@pytest.mark.parametrize(
    "store",
    ["nonsense", "", ":", "file:", "file:accounts", "file://", "system:x", "SYSTEM:", "sql:/accounts", "file:/\xe9"],
)
def test_a_store_that_is_none_is_trouble(checkpassword, store):
    """A CHECKPW_ACCOUNTS that names no store gives 111 and a line, for a right and a wrong password alike."""
    done = checkpassword("true", store=None, environ={"CHECKPW_ACCOUNTS": store})
    assert (done.status, done.out, done.said.count(b"\n")) == (TROUBLE, b"", 1)


def test_a_missing_store_is_trouble(checkpassword, public):
    """A file that is not there, or is a directory, or below a file, says nothing about a password."""
    (public / "file").touch()
    for path in (public / "missing", public, public / "file" / "accounts"):
        done = checkpassword("true", store=f"file:{path}")
        assert (done.status, done.said.count(b"\n")) == (TROUBLE, 1)


def test_an_empty_store_knows_nobody(checkpassword):
    """A file without a line is a store that says no."""
    assert checkpassword("true", store="\n").status == NO


def test_an_unreadable_store_is_trouble(checkpassword, everybodys, accounts, root, tools):
    """A user who may not read the store is told 111, not 1; one who may is told the truth."""
    text = "joe:{PLAIN}secret::::::\n"
    for mode, right, wrong in ((0o600, TROUBLE, TROUBLE), (0o644, 0, NO)):
        store = accounts(text, mode)
        for record, status in ((b"joe\0secret\0\0", right), (b"joe\0wrong\0\0", wrong), (b"ann\0x\0\0", wrong)):
            done = checkpassword("true", store=store, record=record, directory=everybodys, user=tools.stranger)
            assert done.status == status, done


def test_the_store_of_the_machine_is_the_default(checkpassword, root):
    """Without CHECKPW_ACCOUNTS root's own password is asked for, and this is not it."""
    for environ in ({}, {"CHECKPW_ACCOUNTS": "system:"}):
        assert checkpassword("true", store=None, record=b"root\0not it\0\0", environ=environ).status == NO


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "", " 5", "0x10", "9" * 5000, "\xb2"])
def test_a_lowest_uid_that_is_no_number_is_trouble(checkpassword, number):
    """A CHECKPW_MIN_UID that cannot be read gives 111, whoever asks."""
    for record in (b"joe\0secret\0\0", b"joe\0wrong\0\0"):
        assert checkpassword("true", record=record, environ={"CHECKPW_MIN_UID": number}).status == TROUBLE


# --- the next program


@pytest.fixture
def chained(checkpassword, accounts, public):
    """Give a function that logs somebody in whose identity this process may take, at home in `public`."""
    uid = 54321 if os.geteuid() == 0 else os.getuid()
    gid = 54321 if os.geteuid() == 0 else os.getgid()

    def run(*chain, home=public, **settings):
        store = accounts(f"joe:{{PLAIN}}secret:{uid}:{gid}::{home}:/bin/sh\n", name="chained")
        return checkpassword(*chain, store=store, **settings)

    return run


@pytest.mark.parametrize("status", [0, 1, 2, 42, 111, 255])
def test_the_status_of_the_program_is_ours(chained, status):
    """Whatever prog leaves with is what the caller sees."""
    done = chained("sh", "-c", f"exit {status}")
    assert (done.status, done.out, done.said) == (status, b"", b"")


def test_a_signal_that_kills_the_program_is_seen_as_one(chained):
    """Prog is this process: what kills it kills it."""
    assert chained("sh", "-c", "kill -9 $$").status == -signal.SIGKILL


def test_a_home_that_cannot_be_entered_is_trouble(chained, public):
    """A home that is missing, a file, or closed to the user gives 111 and runs nothing."""
    (public / "file").touch()
    (public / "closed").mkdir(mode=0o000)
    for home in (public / "missing", public / "file", *([public / "closed"] if os.geteuid() == 0 else [])):
        done = chained("touch", public / "ran", home=home)
        assert (done.status, done.said.count(b"\n")) == (TROUBLE, 1)
    assert not (public / "ran").exists()


def test_a_program_that_cannot_be_run_is_trouble(chained, public, script):
    """Missing, not executable, a directory, no `#!`, an interpreter that is missing, an empty name: all 111."""
    script("text", f"touch {public}/ran", directory=public, first_line="")
    script("orphan", "exit 0", directory=public, first_line="#!/nonexistent/interpreter")
    script("plain", f"touch {public}/ran", directory=public).chmod(0o644)
    (public / "empty").touch(mode=0o755)
    (public / "directory").mkdir()
    names = ["text", "orphan", "plain", "empty", "directory", "missing"]
    for name in [*(f"{public}/{name}" for name in names), *(f"./{name}" for name in names), "no-such-program", ""]:
        done = chained(name)
        assert (done.status, done.out, done.said.count(b"\n")) == (TROUBLE, b"", 1), name
    for name in names:
        assert chained(name, environ={"PATH": str(public)}).status == TROUBLE, name
    assert not (public / "ran").exists()


def test_a_program_is_found_by_the_path_of_the_caller(chained, public, script):
    """The first directory that has an executable counts; what is there and cannot be run is passed over."""
    for name in ("one", "two", "three", "four"):
        (public / name).mkdir()
    script("prog", "exit 0", directory=public / "one").chmod(0o644)
    (public / "two" / "prog").mkdir()
    script("prog", "exit 33", directory=public / "three")
    script("prog", "exit 44", directory=public / "four")
    where = ["/nonexistent", *(str(public / name) for name in ("one", "two", "three", "four"))]
    assert chained("prog", environ={"PATH": ":".join(where)}).status == 33
    assert chained("prog", environ={"PATH": ":".join(reversed(where))}).status == 44


def test_a_text_file_ends_the_search(chained, public, script):
    """ENOEXEC starts no shell and tries no further directory, and neither does a path through a file."""
    (public / "one").mkdir()
    (public / "two").mkdir()
    script("prog", "exit 0", directory=public / "one", first_line="")
    script("prog", "exit 33", directory=public / "two")
    assert chained("prog", environ={"PATH": f"{public}/one:{public}/two"}).status == TROUBLE
    assert chained("prog", environ={"PATH": f"{public}/one/prog:{public}/two"}).status == TROUBLE


@pytest.mark.parametrize("path", ["", ":", "/nonexistent:", ":/nonexistent", "/nonexistent::/nonexistent"])
def test_an_empty_directory_in_the_path_is_the_home(chained, public, script, path):
    """An empty component is the working directory, which is the home by then."""
    script("prog-at-home", "exit 33", directory=public)
    assert chained("prog-at-home", environ={"PATH": path}).status == 33
    assert chained("prog-at-home", environ={"PATH": "/nonexistent"}).status == TROUBLE


def test_without_a_path_bin_and_usr_bin_are_searched(chained):
    """An unset PATH is /bin:/usr/bin, and prog does not get one."""
    assert chained("sh", "-c", "exit 42", environ={"PATH": None}).status == 42
    done = chained("env", environ={"PATH": None})
    assert done.status == 0
    assert b"PATH=" not in done.out


# --- the sentinel


@pytest.mark.parametrize("sentinel", ["true", "/bin/true", "/usr/bin/true"])
@pytest.mark.parametrize("user", ["root", "stranger"])
def test_the_sentinel_asks_for_the_verdict_alone(
    checkpassword, everybodys, accounts, script, public, tools, sentinel, user
):
    """With `true` nothing is executed, no directory entered, nobody becomes anybody: not even for a virtual user."""
    script("true", f"touch {public}/ran", directory=public)
    public.chmod(0o777)
    store = accounts(
        "joe:{PLAIN}secret:1234:1234::/nonexistent:/bin/sh\nzero:{PLAIN}secret:0:0::/nonexistent:\n"
        "virtual:{PLAIN}secret::::/nonexistent:\nfar:{PLAIN}secret:99999999999:1::/nonexistent:\n"
    )
    for login in ("joe", "zero", "virtual", "far"):
        for password, status in ((b"secret", 0), (b"wrong", NO)):
            done = checkpassword(
                sentinel,
                store=store,
                record=login.encode() + b"\0" + password + b"\0\0",
                environ={"PATH": str(public)},
                directory=everybodys,
                user=None if user == "root" else tools.stranger,
            )
            assert (done.status, done.out, done.said) == (status, b"", b""), login
    assert not (public / "ran").exists()


def test_true_with_an_argument_is_a_program(chained, script, public):
    """Only a chain of the one word is the sentinel: `true x` and `./true` run what they name."""
    script("true", "exit 33", directory=public)
    assert chained("true", "x", environ={"PATH": str(public)}).status == 33
    assert chained("./true").status == 33
    assert chained("sbin/true").status == TROUBLE


# --- a broken installation


@pytest.fixture(scope="module")
def broken(programs, copied):
    """Give a copy of the programs that a test may break, if it mends what it broke."""
    with tempfile.TemporaryDirectory(prefix="checkpw-broken-", dir="/tmp") as name:
        copied(programs, pathlib.Path(name))
        yield pathlib.Path(name)


@contextlib.contextmanager
def replaced(path, text):
    """Have something else in the place of a module, or nothing."""
    original = path.read_bytes()
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    try:
        yield
    finally:
        path.write_bytes(original)
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


DAMAGES = {
    "missing": None,
    "syntax": "def (",
    "empty": "",
    "exits": "raise SystemExit('text')",
    "zero": "raise SystemExit(0)",
    "interrupted": "raise KeyboardInterrupt",
}


def modules(directory):
    return sorted(path for path in (directory / "lib" / "checkpw").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("damage", ["missing", "zero"])
def test_checkpassword_without_any_one_module(checkpassword, broken, damage):
    """Whichever module is missing or broken, the answer is the one of a whole installation, or 111."""
    troubled = set()
    for path in modules(broken):
        if path.parent.name in ("smtp", "queue", "mess822", "runners") or path.name in ("admin.py", "user.py"):
            continue
        with replaced(path, DAMAGES[damage]):
            for record, status in ((b"joe\0secret\0\0", 0), (b"joe\0wrong\0\0", NO)):
                done = checkpassword("true", record=record, directory=broken)
                assert done.status in (status, TROUBLE), (path, done)
                assert done.out == b"", (path, done)
                if done.status == TROUBLE:
                    troubled.add(path.stem)
                    assert done.said.count(b"\n") == 1, (path, done)
                    assert b"secret" not in done.said.replace(b"secret.py", b"").replace(b"checkpw.secret", b"")
    assert {"checkpassword", "exits", "fd3", "base", "passwd_file", "hashes", "errors", "chain"} <= troubled


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("module", ["cli/exits", "cli/checkpassword", "errors", "hashes", "accounts/passwd_file"])
def test_checkpassword_with_a_broken_module(checkpassword, broken, module, damage):
    """However a module is broken, 1 is not the answer, and neither is 0."""
    with replaced(broken / "lib" / "checkpw" / f"{module}.py", DAMAGES[damage]):
        for record in (b"joe\0secret\0\0", b"joe\0wrong\0\0"):
            done = checkpassword("true", record=record, directory=broken)
            assert (done.status, done.out) == (TROUBLE, b""), done


@pytest.mark.parametrize("damage", ["missing", "syntax", "exits"])
@pytest.mark.parametrize("module", ["cli/exits", "cli/ofmipd", "smtp/session", "queue/maildir", "submission"])
def test_ofmipd_with_a_broken_module(ofmipd, broken, tmp_path, module, damage):
    """An ofmipd that cannot start leaves with 111 and greets nobody with 220."""
    with replaced(broken / "lib" / "checkpw" / f"{module}.py", DAMAGES[damage]):
        done = ofmipd(directory=broken, environ={"OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir"}).end()
    assert done.status == TROUBLE
    assert not done.replies.startswith(b"2")
    assert done.log.count(b"\n") == 1


@pytest.mark.parametrize("damage", ["missing", "syntax", "exits"])
@pytest.mark.parametrize("module", ["cli/admin", "errors"])
def test_checkpw_with_a_broken_module(start, broken, tools, module, damage):
    """A checkpw that cannot start leaves with 111 and one line, even when asked for help."""
    with replaced(broken / "lib" / "checkpw" / f"{module}.py", DAMAGES[damage]):
        process = start([broken / "checkpw", "--help"], {"PATH": "/usr/bin:/bin"})
        out, said = process.communicate(timeout=tools.patience)
    assert (process.returncode, out, said.count(b"\n")) == (TROUBLE, b"", 1)


@pytest.mark.parametrize("program", ["checkpassword", "ofmipd", "checkpw"])
def test_a_launcher_that_finds_no_package(start, programs, pipe, public, tools, program):
    """A launcher whose search path has nothing of ours leaves with 111 and one line."""
    lines = (programs / program).read_text(encoding="utf-8").splitlines()
    text = "\n".join("    sys.path += []" if "sys.path +=" in line else line for line in lines)
    (public / program).write_text(text, encoding="utf-8")
    (public / program).chmod(0o755)
    process = start([public / program, "true"], descriptors={3: pipe(b"joe\0secret\0\0")})
    out, said = process.communicate(timeout=tools.patience)
    assert (process.returncode, out, said.count(b"\n")) == (TROUBLE, b"", 1)


def test_as_root_nothing_is_imported_from_where_the_caller_says(
    checkpassword, start, programs, pipe, root, tmp_path, tools
):
    """Started as root without -I, as pip's scripts are, a program begins again with it: PYTHONPATH counts no more."""
    (tmp_path / "checkpw").mkdir()
    (tmp_path / "checkpw" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "resource.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for program in ("checkpassword", "ofmipd", "checkpw"):
        process = start([sys.executable, programs / program], {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"})
        process.communicate(timeout=tools.patience)
    assert not (tmp_path / "ran").exists()
