"""checknotroot and checkgroup, behind the real checkpassword and as real users of a machine that is the test's own."""

import grp
import os
import pwd

import pytest

NO, MISUSE, TROUBLE = 1, 2, 111
OTHER = 54321  # a uid and a gid that nobody has

ME = pwd.getpwuid(os.geteuid())

# {SHA512-CRYPT} of "secret", by `openssl passwd -6 -salt checkpwtest secret`.
HASH = "$6$checkpwtest$mrcVQX/tLax.XqV/BTMNLkKWFLdhfstqscNrTBdBUNEllu/8jDEEj91o9CFEsywfaemRTlFPTFqBFgWdIz.BF1"


@pytest.fixture
def machine(private_etc):
    """Give the words that run a program on a machine with root, joe and ann, whose password is secret.

    joe is in the group friends besides his own; toor is another name of root's uid, and wheel has the gid of root.
    """
    users = ["root:0:0", "toor:0:54321", "wheel:54323:0", "joe:54321:54321", "ann:54322:54322"]
    return private_etc(
        {
            "passwd": [f"{name}:x:{ids}::/:/bin/sh" for name, ids in (user.split(":", 1) for user in users)],
            "shadow": [f"{user.partition(':')[0]}:{HASH}:19000::::::" for user in users],
            "group": ["root:x:0:", "joe:x:54321:", "ann:x:54322:", "friends:x:54399:joe", "foes:x:54398:"],
            "nsswitch.conf": ["passwd: files", "group: files", "shadow: files"],
        }
    )


@pytest.fixture
def log_in(machine, run_chain, everybodys):
    """Give a function that runs checkpassword and a chain behind it on that machine, for a login and a password."""

    def run(login, *chain, password="secret", environ=None):
        settings = {"PATH": f"{everybodys}:/usr/bin:/bin", "TCPREMOTEIP": "192.0.2.7", **(environ or {})}
        record = f"{login}\0{password}\0\0".encode()
        words = [everybodys / "checkpassword", *chain]
        return run_chain(*words, record=record, store=None, environ=settings, prefix=machine)

    return run


# --- checknotroot


@pytest.mark.parametrize("prog", [["true"], ["sh", "-c", "echo here"]])
def test_roots_right_password_looks_like_a_wrong_one(prog, log_in):
    """Whoever has root's password, under any name of root's uid or gid, gets the answer of a wrong one."""
    for login in ("root", "toor", "wheel"):
        right, wrong = (log_in(login, "checknotroot", *prog, password=word) for word in ("secret", "wrong"))
        assert (right.status, right.out) == (wrong.status, wrong.out) == (NO, b"")
        assert right.said.startswith(b"checknotroot: client=192.0.2.7 pid=")
        assert right.said.endswith(f' login={login} reason="uid 0 or gid 0"\n'.encode())
        assert b"secret" not in right.said
        assert log_in(login, "true").status == 0  # it was the right one


def test_everybody_else_goes_on_behind_a_checker(log_in):
    """A user runs PROG as that user, and says nothing."""
    done = log_in("joe", "checknotroot", "sh", "-c", "id -u; id -G; echo $USER; exit 7")
    assert (done.status, done.out, done.said) == (7, b"54321\n54321\njoe\n", b"")
    assert log_in("joe", "checknotroot", "true").status == 0
    assert log_in("joe", "checknotroot", "true", password="wrong").status == NO


@pytest.mark.parametrize("groups", [[0], [OTHER + 1, 0]])
def test_the_group_of_root_does_not_go_on(root, groups, run_chain, everybodys):
    """Whoever is in root's group besides the own one gets a no, too."""
    done = run_chain(everybodys / "checknotroot", "true", user=OTHER, groups=groups, record=None)
    assert done.status == NO


@pytest.mark.parametrize("ids", ["os.setresgid(0, 9, 9); os.setresuid(9, 9, 9)", "os.setgid(9); os.setresuid(0, 9, 9)"])
def test_who_could_become_root_again_does_not_go_on(root, ids, run_chain, everybodys, script):
    """A real id of root's is as good as an effective one."""
    text = f"import os, sys\nos.setgroups([9])\n{ids}\nos.execv(sys.argv[1], sys.argv[1:])"
    half = script("half", text, everybodys, "#!/usr/bin/env -S python3 -IS")
    assert run_chain(half, everybodys / "checknotroot", "true", record=None).status == NO
    whole = text.replace("(0, 9, 9)", "(9, 9, 9)")
    whole = script("whole", whole, everybodys, "#!/usr/bin/env -S python3 -IS")
    assert run_chain(whole, everybodys / "checknotroot", "true", record=None).status == 0


def test_with_the_sentinel_nothing_is_executed(run_chain, everybodys):
    """Who is not root gets a yes without anything to run."""
    settings = {"PATH": "/nonexistent"}
    done = run_chain(everybodys / "checknotroot", "true", environ=settings, user=OTHER, record=None)
    assert (done.status, done.out, done.said) == (0, b"", b"")


@pytest.mark.parametrize("words", [["checknotroot"], ["checkgroup"], ["checkgroup", "root"]])
def test_no_program_is_misuse(words, run_chain, programs):
    """Without a program it is misuse, also for root."""
    done = run_chain(programs / words[0], *words[1:], environ={"USER": ME.pw_name}, record=None)
    assert done.status == MISUSE
    assert b"usage: " in done.said


def test_a_program_that_cannot_be_run_is_trouble(run_chain, everybodys):
    """It is 111, and not a no."""
    done = run_chain(everybodys / "checknotroot", "/nonexistent", user=OTHER, record=None)
    assert done.status == TROUBLE


# --- checkgroup


@pytest.mark.parametrize(
    ("login", "groups", "status"),
    [
        ("joe", "joe", 0),
        ("joe", "friends", 0),
        ("joe", "foes,friends", 0),
        ("joe", "friends,foes", 0),
        ("joe", "foes", NO),
        ("joe", "ann,root", NO),
        ("ann", "friends", NO),
        ("ann", "ann", 0),
        ("joe", "no-such-group", TROUBLE),
        ("joe", "friends,no-such-group", TROUBLE),
        ("joe", "", TROUBLE),
        ("joe", "friends,", TROUBLE),
        ("joe", "54399", TROUBLE),
        ("joe", b"\xff", TROUBLE),
    ],
)
def test_who_is_in_a_group(login, groups, status, log_in):
    """The own group counts and all others; a group that is not there was mistyped, and is no wrong password."""
    done = log_in(login, "checkgroup", groups, "true")
    assert (done.status, done.out) == (status, b"")
    if status == NO:
        assert done.said.startswith(b"checkgroup: client=192.0.2.7 pid=")
        assert done.said.endswith(f' login={login} reason="in none of the groups"\n'.encode())
    else:
        assert bool(done.said) == (status == TROUBLE)


def test_groups_are_looked_at_and_not_given(log_in):
    """PROG has the one group that the checker left; both links stand in a row."""
    done = log_in("joe", "checknotroot", "checkgroup", "friends", "sh", "-c", "id -u; id -G; exit 7")
    assert (done.status, done.out, done.said) == (7, b"54321\n54321\n", b"")


@pytest.mark.parametrize("user", ["ann", "root", "nobody-here", "", b"\xff", "ann\nroot"])
def test_another_name_than_ones_own_is_refused(user, log_in):
    """A virtual user who is called like somebody on this machine gets nothing of that one's, and forges no line."""
    pretend = ["env", b"USER=" + (user if isinstance(user, bytes) else user.encode())]
    done = log_in("joe", *pretend, "checkgroup", "ann,root,friends", "true")
    assert (done.status, done.out, done.said.count(b"\n")) == (NO, b"", 1)


@pytest.mark.parametrize("ids", ["os.setresuid(54321, 9, 9)", "os.setresuid(9, 54321, 9)"])
def test_half_a_user_is_refused(ids, machine, run_chain, everybodys, script):
    """The uid has to be that of the user wherever a process has one."""
    text = f"import os, sys\nos.setgid(9)\n{ids}\nos.execv(sys.argv[1], sys.argv[1:])"
    half = script("half", text, everybodys, "#!/usr/bin/env -S python3 -IS")
    words = [half, everybodys / "checkgroup", "friends", "true"]
    assert run_chain(*words, environ={"USER": "joe"}, record=None, prefix=machine).status == NO


def test_the_own_group_is_enough(run_chain, programs):
    """Whoever runs the tests is in the own group, and runs PROG."""
    words = [programs / "checkgroup", grp.getgrgid(ME.pw_gid).gr_name, "sh", "-c", "id -u; exit 7"]
    done = run_chain(*words, environ={"USER": ME.pw_name}, record=None)
    assert (done.status, done.out) == (7, b"%d\n" % ME.pw_uid)


def test_without_a_checker_in_front_it_is_misuse(run_chain, programs):
    """Without $USER nobody has logged in."""
    done = run_chain(programs / "checkgroup", "root", "true", record=None)
    assert (done.status, done.out) == (MISUSE, b"")
    assert b"USER is not set" in done.said
