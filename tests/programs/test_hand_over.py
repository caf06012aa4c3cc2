"""What the program behind checkpassword gets, compared by the kernel's own account with what was given to us.

The reference is the same program, started in the same state without checkpassword before it.
"""

import itertools
import os
import pathlib
import resource
import shutil
import signal
import subprocess

import pytest

IS_ROOT = os.geteuid() == 0
UID = 54321 if IS_ROOT else os.getuid()
GID = 54321 if IS_ROOT else os.getgid()
TROUBLE = 111

SLEEP = shutil.which("sleep", path="/usr/bin:/bin")
ACCOUNT = f"joe:{{PLAIN}}secret:{UID}:{GID}::/usr/share:/bin/dash\n"

# Lines of /proc/PID/status that an exec hands on. Which processors and how much memory is no business of ours.
HANDED_ON = [
    *("Umask", "Uid", "Gid", "Groups", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"),
    *("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"),
]
OF_THE_IDENTITY = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "SigQ")


def has_become(process, name, tools):
    """Wait until a process is the program of this name, and has begun to wait for something."""

    def look():
        assert process.poll() is None, (process.returncode, process.stderr and process.stderr.read())
        _, _, rest = pathlib.Path(f"/proc/{process.pid}/stat").read_text().partition("(")
        comm, _, rest = rest.rpartition(")")
        # While it is loaded it has the libraries open.
        return comm == name and rest.split()[0] == "S"

    tools.wait_until(look, f"{process.pid} is {name}")


@pytest.fixture
def compare(start, programs, accounts, pipe, tools):
    """Give a function that starts a program directly and through checkpassword, and looks at both."""

    def both(*argv, environ=None, store=ACCOUNT, url=None, directory=programs, descriptors=None, **state):
        environ = {"CHECKPW_ACCOUNTS": url or accounts(store), **(environ or {})}
        name = os.path.basename(argv[0])
        seen = []
        state = {"stdin": subprocess.DEVNULL, **state}
        for words in ((), (directory / "checkpassword",)):
            further = {3: pipe(b"joe\0secret\0\0")} if words else {}
            process = start([*words, *argv], environ, descriptors={**(descriptors or {}), **further}, **state)
            has_become(process, name, tools)
            found = tools.look_at(process.pid)
            assert found.pid == process.pid
            seen.append(found)
            process.kill()
            out, said = process.communicate(timeout=tools.patience)
            assert not out
            assert not said
        return seen

    return both


# 32 and 33 are glibc's own: posix_spawn, by which some Python or other has started us, ignores them in what it starts.
OF_GLIBC = 1 << 31 | 1 << 32


def signals(found, name):
    """Give a set of signals of /proc/PID/status, without those that no program can see."""
    return int(found.status[name][0], 16) & ~OF_GLIBC


def without_pipes(descriptors):
    """Each run has pipes of its own for 1 and 2: their numbers are not compared, that they are pipes is."""
    return {
        n: ("pipe" if n in (1, 2) and what.startswith("pipe:") else what, f) for n, (what, f) in descriptors.items()
    }


# --- everything at once


def test_nothing_is_added_and_nothing_is_lost(compare):
    """Directory, identity and three variables are the account's; all the rest is what the caller gave."""
    environ = {
        "PATH": "/usr/bin:/bin",
        "LANG": "de_DE.UTF-8",
        "X": "",
        b"H\xff": b"\xfe\n=",
        "HOME": "/old",
        "USER": "x",
    }
    given, found = compare(SLEEP, "600", environ=environ)
    assert found.argv == given.argv == [os.fsencode(SLEEP), b"600"]
    assert given.environ[b"X"] == b""
    assert given.environ[b"H\xff"] == b"\xfe\n="
    assert found.environ == given.environ | {b"USER": b"joe", b"HOME": b"/usr/share", b"SHELL": b"/bin/dash"}
    assert without_pipes(found.descriptors) == without_pipes(given.descriptors)
    assert found.limits == given.limits
    assert found.cwd == "/usr/share"
    for name in HANDED_ON:
        if name.startswith("Sig") and name != "SigQ":
            assert signals(found, name) == signals(given, name), name
        elif not (IS_ROOT and name in OF_THE_IDENTITY):
            assert found.status[name] == given.status[name], name
    assert (os.getpgrp(), os.getsid(0)) == (int(found.status["NSpgid"][0]), int(found.status["NSsid"][0]))


def test_the_process_stays_the_same(start, programs, accounts, pipe, tools):
    """Prog has the pid that checkpassword had, and no child was left to it."""
    process = start(
        [programs / "checkpassword", "sh", "-c", "echo $$"],
        {"PATH": "/usr/bin:/bin", "CHECKPW_ACCOUNTS": accounts(ACCOUNT)},
        descriptors={3: pipe(b"joe\0secret\0\0")},
    )
    out, _ = process.communicate(timeout=tools.patience)
    assert int(out) == process.pid


def test_arguments_are_passed_on_as_they_are(compare):
    """Empty words, blanks, newlines and bytes above 127 arrive, whatever the locale."""
    words = ["", " ", "a b", "a\nb", "'\"\\$", "--", "-x", b"\xff\xfe\x80", "\u00e9", ""]
    for environ in ({}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LC_ALL": "C.UTF-8"}):
        given, found = compare("/bin/sh", "-c", "read line", *words, environ=environ, stdin=subprocess.PIPE)
        assert found.argv == given.argv
        assert found.argv[3:] == [word if isinstance(word, bytes) else os.fsencode(word) for word in words]


# --- environment


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_CTYPE": "C.utf8"},
        {"LC_CTYPE": "UTF-8"},
        {"LC_CTYPE": "C"},
        {"LC_CTYPE": "POSIX"},
        {"LC_CTYPE": ""},
        {"LC_CTYPE": "xx_XX"},
        {"LANG": "C"},
        {"LANG": "C", "LC_CTYPE": "C"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "LC_CTYPE": "C.UTF-8"},
        {"LC_ALL": "C.UTF-8"},
        {"PYTHONCOERCECLOCALE": "0"},
        {"PYTHONUTF8": "0", "LANG": "C"},
    ],
)
def test_the_locale_is_the_callers(compare, environ):
    """Under `env -i` Python puts LC_CTYPE into its environment: prog gets what the caller had."""
    given, found = compare(SLEEP, "600", environ=environ)
    assert {name: value for name, value in given.environ.items() if name != b"CHECKPW_ACCOUNTS"} == {
        os.fsencode(name): os.fsencode(value) for name, value in environ.items()
    }
    assert found.environ == given.environ | {b"USER": b"joe", b"HOME": b"/usr/share", b"SHELL": b"/bin/dash"}


def test_empty_fields_of_an_account(compare):
    """An account without home and shell lives in the root directory and has /bin/sh."""
    _, found = compare(SLEEP, "600", store=f"joe:{{PLAIN}}secret:{UID}:{GID}\n")
    assert found.cwd == "/"
    assert (found.environ[b"HOME"], found.environ[b"SHELL"]) == (b"/", b"/bin/sh")


# --- signals and limits


@pytest.mark.parametrize(
    ("ignored", "blocked"),
    [
        ((), ()),
        ((signal.SIGINT,), ()),
        ((signal.SIGHUP, signal.SIGTERM), ()),
        ((signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1), ()),
        ((), (signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE)),
        ((signal.SIGHUP,), (signal.SIGINT, signal.SIGCHLD)),
    ],
)
def test_signals_are_the_callers(compare, ignored, blocked):
    """What the caller ignores or blocks stays so, and nothing else is ignored: not the two that Python ignores."""
    given, found = compare(SLEEP, "600", ignored=ignored, blocked=blocked)
    for name, numbers in (("SigIgn", ignored), ("SigBlk", blocked), ("SigCgt", ())):
        assert signals(given, name) == sum(1 << (number - 1) for number in numbers), name
        assert signals(found, name) == signals(given, name), name


def test_an_ignored_sigpipe_comes_back_as_the_default(compare):
    """What Python overwrote without a trace cannot be given back: prog dies of SIGPIPE, as programs do."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        given, found = compare(SLEEP, "600", ignored=[number])
        assert signals(given, "SigIgn") == 1 << (number - 1)
        assert signals(found, "SigIgn") == 0


def test_limits_are_the_callers(compare):
    """Core files, forbidden while a password is in memory, are allowed to prog as they were before."""
    limits = {"RLIMIT_CORE": (1 << 20, 2 << 20), "RLIMIT_NOFILE": (256, 512), "RLIMIT_FSIZE": (1 << 30, 1 << 30)}
    given, found = compare(SLEEP, "600", limits=limits, umask=0o27)
    assert given.limits["Max core file size"] == [str(1 << 20), str(2 << 20)]
    assert found.limits == given.limits
    assert found.status["Umask"] == given.status["Umask"] == ["0027"]


# --- while it waits


def test_what_others_see_while_it_waits(start, programs, accounts, pipe, tools):
    """Neither arguments nor environment show login or password to `ps`, and no core file would."""
    reading, writing = pipe()
    os.write(writing, b"joe-the-login\0pass-word\0")
    limits = {"RLIMIT_CORE": (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2}
    environ = {"CHECKPW_ACCOUNTS": accounts(ACCOUNT)}
    process = start([programs / "checkpassword", "true"], environ, descriptors={3: reading}, limits=limits)
    tools.wait_until(lambda: tools.unread(reading) == 0, "it has read the password")
    found = tools.look_at(process.pid)
    for place in ("cmdline", "environ", "comm", "status"):
        content = pathlib.Path(f"/proc/{process.pid}/{place}").read_bytes()
        assert b"joe-the" not in content
        assert b"pass-word" not in content
    assert found.limits["Max core file size"][0] == "0"
    assert sorted(found.descriptors) == [0, 1, 2, 3]
    os.close(writing)
    assert process.wait(tools.patience) == 1


def test_the_password_is_not_handed_on(compare):
    """Neither arguments nor environment of prog have the password."""
    _, found = compare(SLEEP, "600")
    assert b"secret" not in b"\0".join([*found.argv, *found.environ, *found.environ.values()])


# --- descriptors


def test_further_descriptors_are_handed_on(compare, resources, pipe, tmp_path):
    """What the caller has open besides, prog has open: the same files, at the same place, with the same flags."""
    (tmp_path / "file").write_bytes(b"0123456789")
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)
    resources.callback(os.close, file)
    reading, writing = pipe()
    given, found = compare(SLEEP, "600", descriptors={4: reading, 5: file, 9: writing, 20: file, 100: reading})
    assert sorted(found.descriptors) == [0, 1, 2, 4, 5, 9, 20, 100]
    assert without_pipes(found.descriptors) == without_pipes(given.descriptors)


COMBINATIONS = [set(some) for size in range(5) for some in itertools.combinations((0, 1, 2, 3), size)]


@pytest.mark.parametrize("closed", COMBINATIONS, ids=lambda some: "".join(map(str, sorted(some))) or "none")
@pytest.mark.parametrize("scheme", ["PLAIN", "NO-SUCH"])
def test_closed_descriptors(start, programs, accounts, pipe, tools, closed, scheme):
    """With any of 0 to 3 closed, prog finds them closed, and a message of ours is not written into the store."""
    store = accounts(ACCOUNT.replace("PLAIN", scheme), mode=0o644)
    path = pathlib.Path(store.removeprefix("file:"))
    before = path.read_bytes()
    descriptors = {} if 3 in closed else {3: pipe(b"joe\0secret\0\0")}
    process = start(
        [programs / "checkpassword", SLEEP, "600"],
        {"CHECKPW_ACCOUNTS": store},
        descriptors=descriptors,
        closed=closed - {3},
    )
    if 3 in closed or scheme == "NO-SUCH":
        out, said = process.communicate(timeout=tools.patience)
        assert (process.returncode, out) == (TROUBLE, b"")
        assert said.count(b"\n") == (2 not in closed)
    else:
        has_become(process, "sleep", tools)
        assert set(tools.look_at(process.pid).descriptors) == {0, 1, 2} - closed
    assert path.read_bytes() == before


CLOSED_FOR_OFMIPD = [some for some in COMBINATIONS if 3 not in some]


@pytest.mark.parametrize("closed", CLOSED_FOR_OFMIPD, ids=lambda some: "".join(map(str, sorted(some))) or "none")
def test_ofmipd_with_closed_descriptors(ofmipd, accounts, mail, tmp_path, closed):
    """Without 0 or 1 there is no client, and the answer is 111; without 2 there is no log, and mail goes on."""
    store = accounts("joe:{PLAIN}secret::::::\n", mode=0o666)
    path = pathlib.Path(store.removeprefix("file:"))
    session = ofmipd(
        "checkpassword",
        "true",
        environ={"OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir", "CHECKPW_ACCOUNTS": store},
        closed=closed,
    )
    if 0 in closed or 1 in closed:
        done = session.end()
        assert (done.status, done.replies) == (TROUBLE, b"")
        assert done.log.count(b"\n") == (2 not in closed)
        assert not (tmp_path / "Maildir").exists()
    else:
        # joe, secret; then one message.
        session.send(b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n" + mail.whole + b"QUIT\r\n")
        done = session.end()
        assert done.status == 0
        assert [reply[:3] for reply in done.replies.splitlines()] == b"220 235 250 250 250 354 250 221".split()
        (message,) = (tmp_path / "Maildir" / "new").iterdir()
        assert b"client=" not in message.read_bytes()
        assert (b"event=" in done.log) == (2 not in closed)
    assert path.read_bytes() == b"joe:{PLAIN}secret::::::\n"


def test_a_closed_log_is_not_the_spool_file(ofmipd, script, mail, tmp_path):
    """Without 2, what a sendmail program complains about does not end up in the message that it reads."""
    sendmail = script("sendmail", f"echo noise; echo noise >&2; cat >{tmp_path}/message")
    session = ofmipd(environ={"OFMIPD_QUEUE": f"sendmail:{sendmail}", "TMPDIR": str(tmp_path)}, closed={2})
    session.send(mail.whole + b"QUIT\r\n")
    done = session.end()
    assert b"\r\n250 2.0.0 ok\r\n221 " in done.replies
    message = (tmp_path / "message").read_bytes()
    assert message.startswith(b"Received: ")
    assert message.endswith(mail.text.replace(b"\r\n", b"\n"))


# --- becoming somebody


def identity(found):
    """Give the four numbers of uid and gid, and the groups, that /proc tells."""
    return tuple([int(number) for number in found.status[name]] for name in ("Uid", "Gid", "Groups"))


def test_root_becomes_the_user_for_good(compare, root):
    """Every uid and gid is the account's, its gid is the only group, and no capability is left."""
    given, found = compare(SLEEP, "600", groups=[0, 4, 24, 65534])
    assert identity(given) == ([0] * 4, [0] * 4, [0, 4, 24, 65534])
    assert identity(found) == ([UID] * 4, [GID] * 4, [GID])
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found.status[name][0], 16) == 0, name


def test_names_in_place_of_numbers(compare, root):
    """uid and gid may be names of the machine's own databases."""
    _, found = compare(SLEEP, "600", store="joe:{PLAIN}secret:nobody:nogroup::/:\n")
    assert identity(found) == ([65534] * 4, [65534] * 4, [65534])


@pytest.fixture
def refused(checkpassword, everybodys, public):
    """Give a function that shows that a right password ends in 111 and one line, and that nothing was run."""
    public.chmod(0o777)

    def show(store, **settings):
        done = checkpassword("touch", public / "ran", store=store, directory=everybodys, **settings)
        assert (done.status, done.out, done.said.count(b"\n")) == (TROUBLE, b"", 1), done
        assert not (public / "ran").exists()
        return done.said

    return show


def test_a_virtual_account_never_gives_a_root_session(refused, root):
    """As root an account without a uid is 111: nothing runs."""
    assert b"CHECKPW_USER" in refused("joe:{PLAIN}secret::::::\n")


def test_a_virtual_account_as_nobody_special_stays_who_we_are(compare, everybodys, tools):
    """Without root there is nothing to drop, and prog runs as the caller did."""
    given, found = compare(
        SLEEP, "600", store="joe:{PLAIN}secret::::/usr:\n", directory=everybodys, user=tools.stranger, groups=[7, 8]
    )
    assert identity(found) == identity(given)
    assert found.cwd == "/usr"
    assert found.environ[b"USER"] == b"joe"


def test_the_service_user_runs_what_virtual_users_start(compare, root):
    """With CHECKPW_USER a virtual account runs as that user, under its own name."""
    environ = {"CHECKPW_USER": "nobody"}
    _, found = compare(SLEEP, "600", store="joe:{PLAIN}secret::::/usr:\n", environ=environ)
    uid, gid, groups = identity(found)
    assert (uid, gid, groups) == ([65534] * 4, [65534] * 4, [65534])
    assert found.environ[b"USER"] == b"joe"
    assert found.environ[b"CHECKPW_USER"] == b"nobody"
    assert int(found.status["CapEff"][0], 16) == 0


@pytest.mark.parametrize("user", ["root", "no-such-user", "0", "65534", "nobody "])
def test_a_service_user_that_is_none_is_trouble(refused, root, user):
    """CHECKPW_USER has to name a user who is not root."""
    refused("joe:{PLAIN}secret::::::\n", environ={"CHECKPW_USER": user})


def test_the_service_user_does_not_replace_an_identity(compare, root):
    """An account that has a uid keeps it, whatever CHECKPW_USER says."""
    _, found = compare(SLEEP, "600", environ={"CHECKPW_USER": "nobody"})
    assert identity(found) == ([UID] * 4, [GID] * 4, [GID])


@pytest.mark.parametrize(
    ("uid", "gid", "lowest"),
    [
        (0, 0, None),
        (0, 100, None),
        (100, 0, None),
        (0, 100, "0"),
        (999, 999, "1000"),
        ("root", "root", None),
        ("root", 100, None),
        (100, "root", None),
        ("00", 100, None),
        ("no-such-user", 100, None),
        (100, "no-such-group", None),
        (-1, 100, None),
        (100, -1, None),
        (4294967295, 100, None),
        (100, 4294967295, None),
        (4294967296, 100, None),
        (100, 4294967296, None),
        (99999999999999999999, 100, None),
        ("", 100, None),
        (100, "", None),
        ("0x64", 100, None),
        ("100 ", 100, None),
    ],
)
def test_identities_that_root_does_not_become(refused, root, uid, gid, lowest):
    """Root itself, a uid below CHECKPW_MIN_UID, and numbers that are none give 111 and no session."""
    refused(f"joe:{{PLAIN}}secret:{uid}:{gid}::/:\n", environ={"CHECKPW_MIN_UID": lowest} if lowest else {})


def test_the_lowest_uid_is_allowed(compare, root):
    """A uid that is just CHECKPW_MIN_UID is high enough."""
    environ = {"CHECKPW_MIN_UID": "1000"}
    _, found = compare(SLEEP, "600", store="joe:{PLAIN}secret:1000:1::/:\n", environ=environ)
    assert identity(found) == ([1000] * 4, [1] * 4, [1])


@pytest.mark.parametrize(("mode", "owner"), [(0o664, 0), (0o646, 0), (0o622, 0), (0o600, 54321), (0o644, 54321)])
def test_root_takes_no_identity_from_a_file_that_others_can_write(refused, accounts, root, mode, owner):
    """A uid from a file that is not root's, or that a group or everybody may write to, gives 111."""
    store = accounts("joe:{PLAIN}secret:1000:1000::/:\n", mode)
    os.chown(store.removeprefix("file:"), owner, 0)
    refused(store)


def test_ones_own_account_works_without_root(compare, everybodys, tools):
    """Whoever is the account already needs no privilege to become it."""
    store = f"joe:{{PLAIN}}secret:{UID}:{GID}::/usr:\n"
    given, found = compare(SLEEP, "600", store=store, directory=everybodys, user=tools.stranger)
    assert identity(found)[:2] == identity(given)[:2] == ([UID] * 4, [GID] * 4)


@pytest.mark.parametrize(("uid", "gid"), [(UID + 1, GID), (UID, GID + 1), (0, 0), (0, GID), (UID, 0), (65534, 65534)])
def test_nobody_else_can_be_become_without_root(refused, tools, uid, gid):
    """Where setuid is refused the answer is 111; checkpassword 0.90 said 1 to the right password."""
    refused(f"joe:{{PLAIN}}secret:{uid}:{gid}::/:\n", user=tools.stranger)


def test_further_groups_are_not_kept_by_ones_own_account(refused, root, tools):
    """An account's one group is all that its session has; where the others cannot be dropped, the answer is 111."""
    refused(f"joe:{{PLAIN}}secret:{UID}:{GID}::/:\n", user=tools.stranger, groups=[7, GID])
