"""Failure budgets in a file, held against a list of all tries, and against everything that can break."""

import contextlib
import os
import pathlib
import signal
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from checkpw.links import budgets
from checkpw.links.budgets import BudgetFile, Claim, Unusable

ROOT = str(pathlib.Path(__file__).parents[3])
NOW = 1_800_000_000.0
WINDOW = 160
TRIES = 3
OTHER = 54321  # a uid that nobody has


class Clock:
    """A clock that a test turns."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def path(tmp_path):
    """Give the path of a file that is not there yet."""
    return os.fsencode(tmp_path / "limits")


@pytest.fixture
def store(path, clock):
    """Give a store with its file still to be made, which waits for no lock."""
    return BudgetFile(path, clock, patience=0)


def claims(key=b"joe", tries=TRIES, seconds=WINDOW, names=("login",)):
    """Give claims for one key."""
    return [Claim(name, key, tries, seconds) for name in names]


def spend(store, wanted, times):
    """Count tries, all of which have to be counted."""
    for _ in range(times):
        assert store.debit(wanted).exhausted is None


# --- windows


def test_a_budget_is_what_it_says(store):
    """So many tries are counted, and not one more; another key has its own."""
    spend(store, claims(), TRIES)
    assert store.debit(claims()).exhausted.name == "login"
    spend(store, claims(b"ann"), TRIES)


@pytest.mark.parametrize("part", [0, 1, 5, 9, 10, 11, 15])
def test_a_window_is_never_shorter_and_hardly_longer(part, path):
    """Wherever in a slice a try was, it counts up to the end of the window, and not longer than a sixteenth more."""
    clock = Clock(NOW + WINDOW / 16 * part / 16)
    store = BudgetFile(path, clock)
    spend(store, claims(tries=1), 1)
    began = clock.now
    for sixteenths in (1, 8, 15, 15.5, 15.99):
        clock.now = began + WINDOW * sixteenths / 16
        assert store.debit(claims(tries=1)).exhausted
    clock.now = began + WINDOW * 17 / 16
    spend(store, claims(tries=1), 1)


def test_who_is_over_the_budget_makes_it_no_worse(store, clock):
    """A try that was not counted does not keep the door shut for longer."""
    spend(store, claims(), TRIES)
    for _ in range(50):
        clock.now += WINDOW / 60
        assert store.debit(claims()).exhausted
    clock.now = NOW + WINDOW * 17 / 16
    spend(store, claims(), TRIES)


def test_all_claims_or_none(store):
    """With one budget spent nothing is counted on the others."""
    wanted = [Claim("pair", b"joe", 2, WINDOW), Claim("login", b"joe", 5, WINDOW)]
    spend(store, wanted, 2)
    for _ in range(9):
        assert store.debit(wanted).exhausted.name == "pair"
    spend(store, wanted[1:], 3)
    assert store.debit(wanted[1:]).exhausted.name == "login"


def test_no_two_claims_get_one_place(store, clock, monkeypatch):
    """A place that one key has left is given to one claim only, also if the next claim is of that very key."""
    monkeypatch.setattr(budgets, "PAGES", 1)
    left, new = Claim("login", b"joe", TRIES, WINDOW), Claim("pair", b"joe", TRIES, WINDOW)
    spend(store, [left], 1)
    clock.now = NOW + WINDOW * 2
    spend(store, [new, left], TRIES)
    assert store.debit([new]).exhausted
    assert store.debit([left]).exhausted


def test_the_same_key_has_several_budgets(store):
    """Name and window tell budgets apart, whatever the key is."""
    spend(store, claims(names=("pair", "login", "address")), TRIES)
    spend(store, claims(seconds=WINDOW + 1, names=("pair", "login", "address")), TRIES)
    for name in ("pair", "login", "address"):
        assert store.debit(claims(names=(name,))).exhausted


def test_a_yes_is_taken_back(store, clock):
    """A credit makes room for one more; one that comes after the window changes nothing."""
    late = store.debit(claims())
    clock.now += WINDOW * 17 / 16
    spend(store, claims(), TRIES - 1)
    right = store.debit(claims())
    assert store.debit(claims()).exhausted
    store.credit(late)
    assert store.debit(claims()).exhausted
    store.credit(right)
    spend(store, claims(), 1)
    assert store.debit(claims()).exhausted


def test_a_credit_that_nobody_counted_takes_nothing(store):
    """What was refused cannot be taken back, and a file that was removed meanwhile owes nothing."""
    spend(store, claims(), TRIES)
    store.credit(store.debit(claims()))
    assert store.debit(claims()).exhausted
    right = store.debit(claims(b"ann"))
    os.unlink(store._path)
    store.credit(right)
    spend(store, claims(b"ann"), TRIES)


class Windows(RuleBasedStateMachine):
    """Any tries, credits and passing of time, held against the times of all tries."""

    debits = Bundle("debits")

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="checkpw-limits-")
        self.clock = Clock()
        self.counted = {}

    @initialize(tries=st.integers(1, 4), seconds=st.sampled_from([1, 7, 16, 900]))
    def begin(self, tries, seconds):
        """Make a store."""
        self.rate = tries, seconds
        self.store = BudgetFile(os.fsencode(self.directory.name) + b"/limits", self.clock)

    @rule(sixteenths=st.integers(0, 40), fraction=st.floats(0, 1, exclude_max=True))
    def pass_time(self, sixteenths, fraction):
        """Let time pass, often just a window."""
        self.clock.now += (sixteenths + fraction) * self.rate[1] / 16

    @rule(target=debits, key=st.sampled_from([b"joe", b"ann"]))
    def debit(self, key):
        """Count a try if that is possible: never more than the budget in a window, none refused without a cause."""
        tries, seconds = self.rate
        debit = self.store.debit([Claim("login", key, tries, seconds)])
        times = self.counted.setdefault(key, [])
        fresh = sum(1 for time in times if time > self.clock.now - seconds)
        remembered = sum(1 for time in times if time > self.clock.now - seconds * 17 / 16 - 1e-3)
        if debit.exhausted is not None:
            assert remembered >= tries
            return multiple()
        assert fresh < tries
        times.append(self.clock.now)
        return key, self.clock.now, debit

    @rule(taken=consumes(debits))
    def credit(self, taken):
        """Take a try back, whenever it was."""
        key, time, debit = taken
        self.store.credit(debit)
        self.counted[key].remove(time)

    def teardown(self):
        """Remove the file."""
        self.directory.cleanup()


TestWindows = Windows.TestCase
TestWindows.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_clock_that_is_set_back_stands_still(store, clock):
    """Set back by less than a window, nothing is forgotten; by more, everything is."""
    spend(store, claims(), TRIES)
    clock.now -= WINDOW * 0.9
    assert store.debit(claims()).exhausted
    clock.now = NOW - WINDOW * 1.2
    spend(store, claims(), TRIES)
    clock.now = -5000.0
    spend(store, claims(), TRIES)


def test_what_was_counted_before_the_clock_was_set_back_is_no_older_after_it(store, clock):
    """A clock that stumbles, and is put right, makes nobody forget what happened just before."""
    spend(store, claims(), TRIES - 1)
    clock.now -= WINDOW * 0.6
    spend(store, claims(), 1)
    clock.now = NOW + WINDOW / 8
    assert store.debit(claims()).exhausted


# --- the file


def test_the_file_is_ours_alone_and_names_nobody(store, path, clock):
    """Its mode is 0600 whatever the umask is, and neither logins nor addresses are in it."""
    before = os.umask(0)
    try:
        spend(store, claims(b"joe-the-login"), 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert b"joe" not in pathlib.Path(os.fsdecode(path)).read_bytes()


def test_each_file_has_a_secret_of_its_own(tmp_path, clock):
    """The same key stands elsewhere, under another name, in another file."""
    texts = []
    for name in ("a", "b"):
        store = BudgetFile(os.fsencode(tmp_path / name), clock)
        spend(store, claims(), 1)
        texts.append((tmp_path / name).read_bytes()[4096:].strip(b"\0"))
    assert texts[0][:16] != texts[1][:16]


def test_an_empty_file_will_do(store, path, clock):
    """A file that an administrator made, with the rights that are wanted, is used as it is."""
    with open(path, "wb"):
        os.chmod(path, 0o660)
    spend(store, claims(), TRIES)
    assert store.debit(claims()).exhausted
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660


def _directory(path):
    os.mkdir(path)


def _fifo(path):
    os.mkfifo(path)


def _symlink(path):
    pathlib.Path(os.fsdecode(path) + ".target").touch(0o600)
    os.symlink(path + b".target", path)


def _second_name(path):
    pathlib.Path(os.fsdecode(path)).touch(0o600)
    os.link(path, path + b".other")


def _for_everybody(path):
    pathlib.Path(os.fsdecode(path)).touch()
    os.chmod(path, 0o666)


def _text(path):
    pathlib.Path(os.fsdecode(path)).write_bytes(b"Dear diary" * 1000)


def _zeros(path):
    pathlib.Path(os.fsdecode(path)).write_bytes(bytes(8192))


def _short(path):
    pathlib.Path(os.fsdecode(path)).write_bytes(budgets.MAGIC)


def _no_directory(path):
    os.rmdir(os.path.dirname(path))


@pytest.mark.parametrize(
    "make", [_directory, _fifo, _symlink, _second_name, _for_everybody, _text, _zeros, _short, _no_directory]
)
def test_what_is_no_table_is_unusable(make, store, path):
    """Whatever else lies there is said to be unusable, at once and without touching it."""
    make(path)
    before = os.stat(path + b".target").st_size if make is _symlink else None
    with pytest.raises(Unusable, match="limits"):
        store.debit(claims())
    assert before is None or os.stat(path + b".target").st_size == before


def test_a_file_of_somebody_else_is_unusable(store, path, root):
    """Not even root counts in the file of a user, who could set the counts to what that user likes."""
    spend(store, claims(), 1)
    os.chown(path, OTHER, OTHER)
    with pytest.raises(Unusable, match="belongs to uid 54321"):
        store.debit(claims())


@pytest.mark.parametrize("begin", [0, 4096])
def test_a_file_that_may_not_grow_is_unusable(begin, path, tmp_path):
    """A full disk, a quota or a limit is said, whether it hits the beginning or an entry; no signal comes of it."""
    script = f"""
import resource, sys
sys.path.insert(0, {ROOT!r})
from checkpw.links.budgets import BudgetFile
from checkpw.links.budgets import Claim, Unusable
resource.setrlimit(resource.RLIMIT_FSIZE, ({begin}, {begin}))
try:
    BudgetFile({path!r}).debit([Claim("login", b"joe", 3, 160)])
except Unusable as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "unable to count" in ended.stdout
    spend(BudgetFile(path), claims(), TRIES)


def test_a_locked_file_is_waited_for_and_then_given_up(path, clock):
    """Somebody who holds the lock for ever is not waited for for ever; who holds it for a moment is."""
    store = BudgetFile(path, clock, patience=0.05)
    spend(store, claims(), 1)
    script = f"""
import fcntl, sys
file = open({path!r}, "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Unusable, match="locked for"):
            store.debit(claims())
        release = threading.Timer(0.05, holder.stdin.close)
        release.start()
        spend(BudgetFile(path, clock, patience=60), claims(), 1)
        release.join()


def test_no_descriptor_is_kept(store):
    """Between a debit and its credit the file is closed, also after what went wrong."""
    before = sorted(os.listdir("/proc/self/fd"))
    debit = store.debit(claims())
    assert sorted(os.listdir("/proc/self/fd")) == before
    store.credit(debit)
    os.chmod(store._path, 0o666)
    with pytest.raises(Unusable):
        store.debit(claims())
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def crowded(monkeypatch):
    """Have all keys fall into one page, which has room for 64."""
    monkeypatch.setattr(budgets, "PAGES", 1)


def test_a_full_table_is_unusable_until_time_has_passed(crowded, store, clock):
    """Where there is no place for a key, that is said; keys that are there go on, and old ones make room."""
    for number in range(64):
        spend(store, claims(b"%d" % number), 1)
    with pytest.raises(Unusable, match="full"):
        store.debit(claims(b"another"))
    spend(store, claims(b"5"), TRIES - 1)
    assert store.debit(claims(b"5")).exhausted
    clock.now += WINDOW * 17 / 16
    spend(store, claims(b"another"), 1)


def test_credits_make_room(crowded, store):
    """A key without failures takes no place: people who log in do not fill the table."""
    for number in range(200):
        store.credit(store.debit(claims(b"%d" % number)))


def test_new_claims_of_one_try_do_not_share_a_place(crowded, store):
    """Several keys that are new at once get a place each, in the same page."""
    names = tuple(f"n{number}" for number in range(60))
    store.debit(claims(names=names))
    for name in names:
        spend(store, claims(names=(name,)), TRIES - 1)
        assert store.debit(claims(names=(name,))).exhausted


@pytest.mark.parametrize("size", [64, 65, 100, 4096, 5000, 8000])
def test_a_file_that_was_cut_off_goes_on(crowded, store, path, size):
    """What was behind the cut is forgotten, and that is all."""
    for number in range(64):
        spend(store, claims(b"%d" % number), 1)
    os.truncate(path, size)
    spend(store, claims(b"new"), TRIES)


@pytest.mark.parametrize("seed", range(30))
def test_no_bytes_are_an_exception(crowded, store, path, seed, clock):
    """Whatever stands in the entries, a try is counted, refused, or the table is full."""
    import random

    noise = random.Random(seed)
    spend(store, claims(), 1)
    with open(path, "r+b") as file:
        whole = file.read()
        at = whole.index(whole[4096:].lstrip(b"\0")[:16]) - 4096
        if seed % 2:
            file.seek(4096)
            file.write(noise.randbytes(4096))
        else:
            # The entry of the key itself, but for its name.
            file.seek(4096 + at + 16)
            file.write(noise.randbytes(48))
    with contextlib.suppress(Unusable):
        store.debit(claims())


def test_an_entry_with_another_window_is_none(store, path, clock):
    """Where the length of the window was overwritten, the entry begins anew, and comes to its end as any other."""
    spend(store, claims(), TRIES)
    at = _entry(path)
    with open(path, "r+b") as file:
        file.seek(at + budgets.SECONDS_AT)
        file.write(bytes(4))
    spend(store, claims(), TRIES)
    clock.now += WINDOW * 17 / 16
    spend(store, claims(), TRIES)


def test_a_key_in_the_midst_of_an_entry_is_none(store, path):
    """The bytes of a key's name count where a name stands, and nowhere else."""
    spend(store, claims(), TRIES)
    at = _entry(path)
    with open(path, "r+b") as file:
        file.seek(at)
        entry = file.read(64)
        file.seek(at)
        file.write((b"\1" * 8 + entry[:16]).ljust(64, b"\1") + entry)
    assert store.debit(claims()).exhausted


def _entry(path):
    """Give the place of the one entry that a file has."""
    whole = pathlib.Path(os.fsdecode(path)).read_bytes()
    return len(whole) - len(whole[4096:].lstrip(b"\0"))


class _Posix:
    """The module posix, with some functions of a test."""

    def __init__(self, **functions):
        self._functions = functions

    def __getattr__(self, name):
        return self._functions.get(name) or getattr(real_posix, name)


real_posix = budgets.posix


def test_half_a_write_is_unusable(store, monkeypatch):
    """What is written only in part is trouble, and nothing that goes unnoticed."""
    spend(store, claims(), 1)
    monkeypatch.setattr(budgets, "posix", _Posix(pwrite=lambda _file, data, _at: len(data) - 1))
    with pytest.raises(Unusable, match="took half"):
        store.debit(claims())


def test_the_disk_is_waited_for_once(store, monkeypatch):
    """A new file's secret is on disk before it is used, and no login waits for the disk after that."""
    synced = []
    monkeypatch.setattr(budgets, "posix", _Posix(fsync=synced.append))
    for _ in range(3):
        store.credit(store.debit(claims()))
    assert len(synced) == 1


# --- many processes, and their ends


def _in_child(work):
    """Fork a child that does something and leaves with its status, or dies."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = work()
        finally:
            os._exit(status)
    return pid


def test_processes_at_once_do_not_overdraw(path):
    """Four processes that count as fast as they can count exactly the budget, together."""
    wanted = claims(tries=100, seconds=3600, names=("pair", "login"))

    def work():
        store = BudgetFile(path, Clock())
        return sum(store.debit(wanted).exhausted is None for _ in range(60))

    children = [_in_child(work) for _ in range(4)]
    counted = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert sum(counted) == 100


def test_processes_at_once_give_back_what_they_took(path):
    """With a credit after each debit nothing is left at the end, and nobody was refused."""
    wanted = claims(tries=4, names=("pair", "login"))

    def work():
        store = BudgetFile(path, Clock())
        for _ in range(100):
            debit = store.debit(wanted)
            if debit.exhausted:
                return 1
            store.credit(debit)
        return 0

    children = [_in_child(work) for _ in range(4)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    spend(BudgetFile(path, Clock()), wanted, 4)


class _Deadly:
    """The module posix, whose nth call kills the process before it or after it."""

    def __init__(self, calls, *, after):
        self._calls = calls
        self._after = after

    def __getattr__(self, name):
        found = getattr(real_posix, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*arguments):
            self._calls -= 1
            if self._calls == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            outcome = found(*arguments)
            if self._calls == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return outcome

        return call


@pytest.mark.parametrize("begins_with", ["no file", "a file"])
@pytest.mark.parametrize("after", [False, True])
def test_a_process_may_be_killed_at_any_call(path, begins_with, after, monkeypatch):
    """Wherever a process dies, the file is usable at once, and each claim has the failure counted or has not.

    Nothing that was not counted reached a checker: who dies before the end of a debit has asked nobody.
    """
    wanted = claims(names=("pair", "login", "address"))
    deaths = 0
    for calls in range(1, 60):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        store = BudgetFile(path, Clock(), patience=0)
        if begins_with == "a file":
            spend(store, wanted, 1)

        def work(calls=calls, store=store):
            budgets.posix = _Deadly(calls, after=after)
            store.credit(store.debit(wanted))
            return 0

        status = os.waitstatus_to_exitcode(os.waitpid(_in_child(work), 0)[1])
        assert status in (0, -signal.SIGKILL)
        before = 1 if begins_with == "a file" else 0
        for name in ("pair", "login", "address"):
            left = 0
            while store.debit(claims(names=(name,))).exhausted is None:
                left += 1
            assert left in (TRIES - before, TRIES - before - 1)
        deaths += status != 0
        if status == 0:
            break
    assert status == 0
    assert deaths > 10
