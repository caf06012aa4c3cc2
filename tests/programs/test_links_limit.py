"""checkpw-limit as processes: many at once, killed at any moment, and with a file that is in trouble."""

import os
import pathlib
import re
import signal
import stat
import subprocess
import time

import pytest

NO, MISUSE, TROUBLE = 1, 2, 111
RIGHT, WRONG = b"joe\0secret\0\0", b"joe\0wrong\0\0"
RATE = {"CHECKPW_LIMIT_PAIR": "off", "CHECKPW_LIMIT_LOGIN": "off", "CHECKPW_LIMIT_ADDRESS": "off"}

# Notes that it was asked, in one write, and says yes to one password; trouble is in its name.
CHECKER = """\
echo asked >>{directory}/asked
case "$(tr '\\0' ' ' <&3)" in *\\ secret\\ *) ;; *\\ trouble\\ *) exit 111;; *\\ odd\\ *) exit 3;; *) exit 1;; esac
exec 3<&-
exec "$@"
"""


@pytest.fixture
def checker(script, tmp_path):
    """Give the path of a checker that counts how often it is asked."""
    return script("checker", CHECKER.format(directory=tmp_path))


@pytest.fixture
def asked(tmp_path):
    """Give a function that tells how often the checker was asked."""

    def count():
        path = tmp_path / "asked"
        return path.read_text().count("asked\n") if path.exists() else 0

    return count


@pytest.fixture
def settings(tmp_path, programs):
    """Give the environment of a link whose budgets are off, but for those of a test."""

    def make(ip="192.0.2.7", store=None, **rates):
        others = {f"CHECKPW_LIMIT_{name.upper()}": str(value) for name, value in rates.items()}
        environ = {"PATH": f"{programs}:/usr/bin:/bin", "TCPREMOTEIP": ip, **RATE, **others}
        return environ | {"CHECKPW_LIMIT_STORE": f"file:{store or tmp_path / 'limits'}"}

    return make


@pytest.fixture
def limit(programs, run_chain, checker, settings):
    """Give a function that runs checkpw-limit around the checker; further words are PROG."""

    def run(record=WRONG, *prog, directory=programs, state=None, **rates):
        words = [directory / "checkpw-limit", checker, *(prog or ["true"])]
        return run_chain(*words, record=record, store=None, environ=settings(**rates), **(state or {}))

    return run


# --- budgets


@pytest.mark.parametrize("budget", ["pair", "login", "address"])
def test_who_has_spent_a_budget_is_not_asked_about(budget, limit, asked):
    """So many wrong guesses reach the checker, and then nobody does, not even with the right password."""
    for _ in range(3):
        assert limit(**{budget: "3/3600"}).status == NO
    for record in (WRONG, RIGHT):
        done = limit(record, **{budget: "3/3600"})
        assert (done.status, done.out) == (TROUBLE, b"")
        first, second = done.said.splitlines()
        assert re.fullmatch(
            rb"checkpw-limit: client=192\.0\.2\.7 pid=\d+ event=limited time=\S+ login=joe budget=%s" % budget.encode(),
            first,
        )
        assert second == b"checkpw-limit: too many failures, by %s" % budget.encode()
    assert asked() == 3


@pytest.mark.parametrize(
    ("budget", "others"),
    [
        ("login", [(b"ann", "192.0.2.7")]),
        ("address", [(b"joe", "192.0.2.8")]),
        ("pair", [(b"ann", "192.0.2.7"), (b"joe", "192.0.2.8")]),
    ],
)
def test_others_are_asked_about(budget, others, limit):
    """A budget is that of one login, one address, or one pair of them."""
    rates = {budget: "2/3600"}
    for _ in range(2):
        limit(**rates)
    assert limit(**rates).status == TROUBLE
    for login, ip in others:
        assert limit(login + b"\0wrong\0\0", ip=ip, **rates).status == NO


def test_an_ipv6_network_has_one_budget(limit):
    """Another address of the same /64 does not help."""
    for number in range(3):
        assert limit(ip=f"2001:db8:1:2::{number}", address="3/3600").status == NO
    assert limit(ip="2001:db8:1:2:ffff:ffff:ffff:ffff", address="3/3600").status == TROUBLE
    assert limit(ip="2001:db8:1:3::1", address="3/3600").status == NO


def test_the_right_password_costs_nothing(limit, asked):
    """Who logs in well may do so for ever."""
    for _ in range(8):
        assert limit(RIGHT, pair="2/3600", login="2/3600", address="2/3600").status == 0
    assert asked() == 8


def test_time_pays_back(limit, tools):
    """After the window, and a sixteenth of it, guesses reach the checker again."""
    assert limit(login="1/1").status == NO
    began = time.monotonic()
    tools.wait_until(lambda: limit(login="1/1").status == NO, "the window has passed")
    assert time.monotonic() - began > 0.5


def test_prog_runs_after_a_yes(limit, asked):
    """PROG's own status, whatever it is, is no failure."""
    for _ in range(3):
        done = limit(RIGHT, "--", "sh", "-c", "echo ran; exit 1", login="2/3600")
        assert (done.status, done.out) == (1, b"ran\n")
    assert asked() == 6
    done = limit(WRONG, "--", "sh", "-c", "echo ran", login="2/3600")
    assert (done.status, done.out) == (NO, b"")


def test_a_spent_budget_may_look_like_a_wrong_password(limit):
    """The status is a setting; the line is there all the same."""
    assert limit(login="1/3600").status == NO
    done = limit(RIGHT, login="1/3600", status="1")
    assert (done.status, done.said.count(b"\n")) == (NO, 1)
    assert b"event=limited" in done.said


@pytest.mark.parametrize(("password", "status"), [(b"trouble", TROUBLE), (b"odd", 3)])
def test_only_a_yes_is_taken_back(password, status, limit, asked):
    """What the checker says besides yes may be its word for no, and stays counted."""
    for _ in range(2):
        assert limit(b"joe\0" + password + b"\0\0", login="2/3600").status == status
    assert limit(RIGHT, login="2/3600").status == TROUBLE
    assert asked() == 2


def test_trouble_may_be_forgiven(limit, asked):
    """By a setting 111 is taken back; what is unknown is not."""
    for _ in range(4):
        assert limit(b"joe\0trouble\0\0", login="2/3600", trouble="forgive").status == TROUBLE
    assert asked() == 4
    for _ in range(2):
        assert limit(b"joe\0odd\0\0", login="2/3600", trouble="forgive").status == 3
    assert limit(RIGHT, login="2/3600", trouble="forgive").status == TROUBLE
    assert asked() == 6


def test_what_is_no_record_is_not_counted(limit):
    """Records that no checker takes are no guesses."""
    for _ in range(3):
        assert limit(b"joe", login="1/3600").status == MISUSE
        assert limit(b"joe\0" + b"x" * 600, login="1/3600").status == NO
    assert limit(RIGHT, login="1/3600").status == 0


def test_without_budgets_there_is_no_file(limit, tmp_path):
    """Where nothing is counted, nothing is opened."""
    assert limit(RIGHT).status == 0
    assert limit(WRONG, ip="127.0.0.1", pair="1/1", address="1/1").status == NO
    assert not (tmp_path / "limits").exists()


def test_settings_that_make_no_sense_are_trouble(limit, asked):
    """Nobody is asked with half of the settings."""
    for rates in ({"login": "many"}, {"store": "../limits", "login": "1/1"}, {"broken": "perhaps"}):
        assert limit(RIGHT, **rates).status == TROUBLE
    assert asked() == 0


# --- many at once


def at_once(programs, start, pipe, checker, environ, records):
    """Start a link for each record, let all of them have their records at the same time; give their statuses."""
    gates = []
    for record in records:
        reading, writing = pipe()
        gates.append((start([programs / "checkpw-limit", checker, "true"], environ, descriptors={3: reading}), writing))
        os.write(writing, record)
    for _, writing in gates:
        os.close(writing)
    statuses = []
    for process, _ in gates:
        process.communicate(timeout=120)
        statuses.append(process.returncode)
    return statuses


def test_fifty_guesses_at_once_do_not_overdraw(programs, start, pipe, checker, settings, asked):
    """Of fifty wrong guesses at once, the checker sees as many as the budget has; the others get 111."""
    environ = settings(login="10/3600", pair="20/3600")
    statuses = at_once(programs, start, pipe, checker, environ, [WRONG] * 50)
    assert sorted(statuses) == [NO] * 10 + [TROUBLE] * 40
    assert asked() == 10


def test_right_ones_among_them_do_not_help(programs, start, pipe, checker, settings, tmp_path):
    """Right passwords of the same address at the same time let no further wrong guess through."""
    environ = settings(address="5/3600")
    statuses = at_once(programs, start, pipe, checker, environ, [WRONG, b"ann\0secret\0\0"] * 25)
    assert statuses[::2].count(NO) <= 5
    assert set(statuses[::2]) <= {NO, TROUBLE}
    assert set(statuses[1::2]) <= {0, TROUBLE}


# --- killed


def test_killed_at_any_moment(programs, start, pipe, checker, settings, asked, limit, tools):
    """However many are killed, and whenever, no more than the budget reach the checker, and the file is good."""
    environ = settings(login="12/3600")
    statuses = []
    for number in range(40):
        process = start([programs / "checkpw-limit", checker, "true"], environ, descriptors={3: pipe(WRONG)})
        # From the first instruction of the interpreter to the end: each dies a little later than the one before.
        deadline = time.monotonic() + number * 0.003
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
        process.kill()
        statuses.append(process.wait(tools.patience))
    assert statuses.count(-signal.SIGKILL) >= 5
    assert asked() <= 12
    while limit(login="12/3600").status == NO:
        assert asked() <= 12
    assert limit(login="12/3600").status == TROUBLE
    assert limit(b"ann\0secret\0\0", login="12/3600").status == 0


def test_who_dies_while_the_checker_is_asked_has_been_counted(programs, start, pipe, script, settings, limit, tools):
    """A guess that has reached the checker is counted, whatever becomes of the link."""
    slow = script("slow", "echo $$ >pid; exec sleep 600")
    for _ in range(2):
        words = [programs / "checkpw-limit", slow, "true"]
        process = start(words, settings(login="2/3600"), descriptors={3: pipe(WRONG)}, cwd=slow.parent)
        pid = slow.parent / "pid"
        tools.wait_until(lambda pid=pid: pid.exists() and pid.read_text().endswith("\n"), "the checker is asked")
        process.kill()
        process.wait(tools.patience)
        os.kill(int(pid.read_text()), signal.SIGKILL)
        pid.unlink()
    assert limit(RIGHT, login="2/3600").status == TROUBLE


# --- a file in trouble


def _directory(path):
    path.mkdir()


def _symlink(path):
    path.symlink_to("elsewhere")


def _text(path):
    path.write_text("Dear diary")


def _open_to_all(path):
    path.touch()
    path.chmod(0o666)


def _no_directory(path):
    path.parent.rmdir()


@pytest.mark.parametrize("make", [_directory, _symlink, _text, _open_to_all, _no_directory])
def test_a_file_that_cannot_be_used(make, limit, asked, tmp_path):
    """By the setting, nobody is asked and the answer is trouble, or everybody is asked; the reason is said once."""
    place = tmp_path / "place"
    place.mkdir()
    make(place / "limits")
    for record in (RIGHT, WRONG):
        done = limit(record, login="1/3600", store=place / "limits")
        assert (done.status, done.said.count(b"\n")) == (TROUBLE, 1)
        assert b"limits" in done.said
    assert asked() == 0
    for record, status in ((RIGHT, 0), (WRONG, NO), (WRONG, NO)):
        done = limit(record, login="1/3600", store=place / "limits", broken="open")
        assert (done.status, done.said.count(b"\n")) == (status, 1)
        assert b"checkpw-limit: client=192.0.2.7 pid=" in done.said
        assert b" event=warning " in done.said
    assert asked() == 3


@pytest.mark.parametrize("bytes_", [0, 100])
def test_a_disk_that_is_full(bytes_, limit, asked):
    """A file that may not grow is trouble like any other, and no signal comes of it."""
    state = {"limits": {"RLIMIT_FSIZE": (bytes_, bytes_)}}
    done = limit(RIGHT, login="1/3600", state=state)
    assert (done.status, asked()) == (TROUBLE, 0)
    assert b"unable to count" in done.said
    # The checker, too, may write nothing now: what it notes is lost, and its answer is not.
    assert limit(RIGHT, login="1/3600", state=state, broken="open").status in (0, -signal.SIGXFSZ, TROUBLE)


def test_a_small_disk(root, limit, tmp_path, refuse):
    """On a real file system without room the answer is that of the setting, and with room it goes on."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "limits", place], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        refuse("not run: a file system of the tests' own cannot be mounted here")
    try:
        store = place / "limits"
        statuses = [limit(b"u%d\0wrong\0\0" % number, login="9/3600", store=store).status for number in range(12)]
        assert set(statuses) == {NO, TROUBLE}
        assert limit(b"u0\0wrong\0\0", login="9/3600", store=store).status == NO
        done = limit(b"u11\0secret\0\0", login="9/3600", store=store, broken="open")
        assert done.status == 0
        assert b"No space left on device" in done.said
    finally:
        subprocess.run(["umount", place], check=True)


def test_the_file_is_for_its_user_alone(limit, tmp_path):
    """It is made with mode 0600, whatever the umask."""
    assert limit(login="1/3600", state={"umask": 0}).status == NO
    assert stat.S_IMODE((tmp_path / "limits").stat().st_mode) == 0o600


def test_a_user_may_have_a_file_of_its_own(root, run_chain, everybodys, script, settings, public, tools):
    """Nobody needs root to count; and root's own file is closed to others."""
    checker = script("checker", "exit 1", everybodys)
    (public / "mine").mkdir()
    os.chown(public / "mine", tools.stranger, tools.stranger)
    (public / "limits").touch(0o600)
    words = [everybodys / "checkpw-limit", checker, "true"]
    for store, status in ((public / "mine" / "limits", NO), (public / "limits", TROUBLE)):
        environ = settings(store=store, login="9/3600")
        assert run_chain(*words, record=WRONG, store=None, environ=environ, user=tools.stranger).status == status
    # root does not write to what belongs to a user.
    environ = settings(store=public / "mine" / "limits", login="9/3600")
    done = run_chain(*words, record=WRONG, store=None, environ=environ)
    assert (done.status, b"belongs to uid" in done.said) == (TROUBLE, True)


def test_neither_passwords_nor_logins_are_in_the_file(limit, tmp_path):
    """The file holds nothing that was said."""
    limit(b"a-certain-login\0a-certain-password\0\0", login="9/3600", pair="9/3600", address="9/3600")
    content = pathlib.Path(tmp_path / "limits").read_bytes()
    for word in (b"certain", b"192.0.2.7"):
        assert word not in content
