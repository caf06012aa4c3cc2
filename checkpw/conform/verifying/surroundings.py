"""What PROG inherits: signals, environment, limits, and who it runs as; and who can see the secret meanwhile."""

import contextlib
import functools
import os
import pwd
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence

from hypothesis import strategies as st

from checkpw.conform import strategies
from checkpw.conform.accounts import Account, record
from checkpw.conform.model import NotJudged, Property, Severity
from checkpw.conform.process import Process, nothing, signal_name
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.target import RAN, Verifier, give, unread, wait_until_read
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

OF_THE_ACCOUNT = (b"USER", b"HOME", b"SHELL")

SHORTEST_SECRET = 5  # bytes; a shorter password may be part of a word by chance

FOREIGN_GROUPS = (60001, 60002, 60003)
"""Groups that root has when the program under test begins, and PROG must not have."""

POLL = 0.001  # seconds

GROUPS, STATUS = (b"id",), (b"cat", b"/proc/self/status")


# --- signals


def survives_signals(target: Verifier, trials: Trials) -> None:
    """Send signals that do not end a process while it reads, and stop and continue it."""
    target.needs_prog()
    harmless = (signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG, signal.SIGCONT, signal.SIGSTOP)
    whole = target.account.record

    def ask(tried: tuple[list[signal.Signals], int]) -> None:
        numbers, at = tried

        def send(process: Process) -> None:
            for number in numbers:
                process.signal(number)
                if number == signal.SIGSTOP:
                    process.signal(signal.SIGCONT)

        pieces = (whole[:at], whole[at:])
        answer = target.ask(None, (target.marker,), pieces=pieces, between=send)
        names = " ".join(signal_name(number) for number in numbers)
        target.must_accept(answer, whole, (target.marker,), RAN, what=f"after {names} in the midst of the record, yes")

    numbers = st.lists(st.sampled_from(harmless), min_size=1, max_size=6)
    trials.each(st.tuples(numbers, st.integers(1, len(whole) - 1)), ask, most=12)


def reads_on_after_eintr(target: Verifier, trials: Trials) -> None:
    """Have read(2) of descriptor 3 fail with EINTR, in the midst of the record.

    That happens to a program without signal handlers, too: reading a socket that has a time limit (SO_RCVTIMEO) is not
    restarted when the process was stopped and goes on (signal(7)).
    """
    target.needs_yes()

    def ask(*, is_good: bool) -> None:
        account = target.account
        whole = account.record if is_good else record(account.login, account.password + b"-")
        status = _ask_with_eintr(target, whole)
        if status != (0 if is_good else 1):
            words = "no end within the time limit" if status is None else f"exit {status}"
            expected = f"{'yes, exit 0' if is_good else 'no, exit 1'}, after read was interrupted (EINTR)"
            raise target.violation(expected, words, whole)

    for is_good in (True, False):
        trials.once(functools.partial(ask, is_good=is_good))


def _ask_with_eintr(target: Verifier, whole: bytes) -> int | None:
    ours, theirs = socket.socketpair()
    null = nothing()
    with ours, theirs, contextlib.ExitStack() as stack:
        stack.callback(os.close, null)
        long = struct.pack("ll", int(4 * target.patience), 0)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, long)
        state = target.state(descriptors={0: null, 1: null, 2: null, 3: theirs.fileno()})
        process = stack.enter_context(target.begin((b"true",), state))
        deadline = time.monotonic() + target.patience
        for piece in (whole[:2], whole[2:]):
            ours.sendall(piece)
            while unread(theirs.fileno()) and not process.has_ended() and time.monotonic() < deadline:
                time.sleep(POLL)
            for _ in range(2):
                _reach(process, b"S", deadline)
                process.signal(signal.SIGSTOP)
                _reach(process, b"T", deadline)
                process.signal(signal.SIGCONT)
        ours.shutdown(socket.SHUT_WR)
        return process.wait(max(0.0, deadline - time.monotonic()))


def _reach(process: Process, wanted: bytes, deadline: float) -> None:
    """Wait until a process waits (S) or is stopped (T), at two looks one after the other."""
    looks = 0
    while looks < 2 and not process.has_ended() and time.monotonic() < deadline:
        looks = looks + 1 if witness.state_of(process.pid) == wanted else 0
        time.sleep(POLL)


def signal_dispositions(target: Verifier, trials: Trials) -> None:
    """Have the caller ignore any signals, and look which PROG ignores."""
    target.needs_prog()

    def ask(numbers: frozenset[int]) -> None:
        _compare_signals(target, "SigIgn", numbers, frozenset())

    trials.each(st.frozensets(st.sampled_from(witness.every_signal_that_can_be_ignored()), max_size=5), ask, most=8)


def signal_mask(target: Verifier, trials: Trials) -> None:
    """Have the caller block any signals, and look which PROG blocks."""
    target.needs_prog()

    def ask(numbers: frozenset[int]) -> None:
        _compare_signals(target, "SigBlk", frozenset(), numbers)

    some = st.frozensets(st.sampled_from(witness.every_signal_that_can_be_ignored()), max_size=5)
    trials.each(some, ask, most=8)


def _hands_on_ignored(*numbers: int) -> Callable[[Verifier, Trials], None]:
    """Return the check that PROG ignores each of these signals when the caller does."""

    def check(target: Verifier, trials: Trials) -> None:
        target.needs_prog()
        for number in numbers:
            trials.once(functools.partial(_compare_signals, target, "SigIgn", frozenset({number}), frozenset()))

    return check


def _compare_signals(target: Verifier, name: str, ignored: frozenset[int], blocked: frozenset[int]) -> None:
    found, given = witness.behind(target, target.state(ignored=ignored, blocked=blocked))
    if found.signals(name) != given.signals(name):
        what = "ignored" if name == "SigIgn" else "blocked"
        expected = f"signals {what} by PROG as by the caller: {witness.names_of(given.signals(name))}"
        raise _about(target, expected, witness.names_of(found.signals(name)), STATUS)


def _about(
    target: Verifier, expected: str, words: str, prog: Sequence[bytes], environ: Mapping[bytes, bytes] | None = None
) -> Exception:
    return target.violation(expected, words, target.account.record, tuple(prog), environ=environ)


# --- environment


def hands_on_environment(target: Verifier, trials: Trials) -> None:
    """Have the caller set any variables, and look what PROG has."""
    target.needs_prog()

    def ask(further: dict[bytes, bytes]) -> None:
        _compare_environment(target, {**target.environ, **further}, further)

    trials.once(lambda: ask(strategies.ODD_VARIABLES))
    trials.each(strategies.environments(), ask)


def _compare_environment(target: Verifier, environ: Mapping[bytes, bytes], shown: Mapping[bytes, bytes]) -> None:
    found, given = witness.behind(target, target.state(environ=environ))

    def others(entries: Sequence[bytes]) -> list[bytes]:
        return sorted(entry for entry in entries if entry.partition(b"=")[0] not in OF_THE_ACCOUNT)

    added = [entry for entry in others(found.environ) if entry not in given.environ]
    added += [one for one in set(others(found.environ)) if found.environ.count(one) > 1]
    lost = [entry for entry in others(given.environ) if entry not in found.environ]
    if added or lost:
        changes = [f"{_word(entry)} added" for entry in added] + [f"{_word(entry)} lost" for entry in lost]
        raise _about(target, "the variables of the caller, USER, HOME and SHELL", ", ".join(changes), (b"env",), shown)
    for name in OF_THE_ACCOUNT:
        times = sum(entry.startswith(name + b"=") for entry in found.environ)
        if times != 1:
            words = f"{times} times there" if times else "not there"
            raise _about(target, f"{name.decode()} once in the environment of PROG", words, (b"env",), shown)


def _word(entry: bytes) -> str:
    return ascii(entry.decode("latin-1"))[1:-1][:60]


def sets_account_variables(target: Verifier, trials: Trials) -> None:
    """Have the caller set USER, HOME and SHELL to something else, and look what PROG has, for each account."""
    target.needs_prog()
    old = dict.fromkeys(OF_THE_ACCOUNT, b"/of-the-caller")

    def ask(account_record: bytes) -> None:
        for environ in ({**target.environ, **old}, _without(target.environ)):
            found, _ = witness.behind(target, target.state(environ=environ), account_record)
            for name in OF_THE_ACCOUNT:
                value = found.variable(name)
                if not value or value == old[name]:
                    words = "not there" if value is None else f"{name.decode()}={_word(value)}"
                    raise _about(target, f"{name.decode()} of the account", words, (b"env",), old)

    for account in target.accounts:
        trials.once(functools.partial(ask, account.record))


def _without(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in environ.items() if name not in OF_THE_ACCOUNT}


def environment_under_env_i(target: Verifier, trials: Trials) -> None:
    """Begin with no more variables than the program needs to accept a good login, and look what PROG has."""
    target.needs_prog()
    least = _least_environment(target, trials)
    trials.once(lambda: _compare_environment(target, least, least))


def _least_environment(target: Verifier, trials: Trials) -> dict[bytes, bytes]:
    """Leave variables out, half of them at first and then single ones, as long as a good login is accepted."""

    def is_enough(names: list[bytes]) -> bool:
        trials.ran()
        environ = {name: target.environ[name] for name in names}
        return target.ask(target.account.record, (target.marker,), environ=environ).status == RAN

    if is_enough([]):
        return {}
    kept = sorted(_without(target.environ))
    size = len(kept)
    while size:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if is_enough(fewer):
                kept = fewer
            else:
                at += size
        size //= 2
    return {name: target.environ[name] for name in kept}


# --- secrets


def no_secret_for_prog(target: Verifier, trials: Trials) -> None:
    """Look for the password in the arguments and the environment of PROG."""
    target.needs_prog()
    for account in _with_secrets(target):

        def ask(given: bytes = account.record, secret: bytes = account.password) -> None:
            found, direct = witness.behind(target, target.state(), given)
            for entry in (*found.argv, *found.environ):
                if secret in entry and entry not in (*direct.argv, *direct.environ):
                    raise target.violation("no password in what PROG is given", _word(entry), given, (b"env",))

        trials.once(ask)


def _with_secrets(target: Verifier) -> list[Account]:
    found = [account for account in target.accounts if len(account.password) >= SHORTEST_SECRET]
    if not found:
        raise NotJudged(f"it takes an account with a password of {SHORTEST_SECRET} bytes or more")
    return found


def no_secret_shown(target: Verifier, trials: Trials) -> None:
    """Look, as any other process can, at the program and all that it starts, before and after the end of file."""
    target.needs_yes()
    account = _with_secrets(target)[0]
    secret = account.password
    given = frozenset([*(b"%b=%b" % pair for pair in target.environ.items()), *target.argv])

    def ask(sent: bytes) -> None:
        place = _watch(target, sent, secret, given)
        if place:
            raise target.violation("no password where other processes see it", f"it is in its {place}", sent)

    for sent in (account.record, account.record, account.record + b"\0", record(account.login, b"-" + secret)) * 2:
        trials.once(functools.partial(ask, sent))


def _watch(target: Verifier, sent: bytes, secret: bytes, given: frozenset[bytes]) -> str:
    """Have the program check a record, and say where it or what it starts shows the secret, "" for nowhere."""
    with contextlib.ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        null = nothing()
        stack.callback(os.close, null)
        state = target.state(descriptors={0: null, 1: null, 2: null, 3: reading})
        process = stack.enter_context(target.begin((b"true",), state))
        deadline = time.monotonic() + target.patience
        give(writing, (sent,), process, deadline)
        wait_until_read(writing, process, deadline)
        place = witness.shows(process.pid, secret, given)
        os.close(writing)
        while not place and not process.has_ended() and time.monotonic() < deadline:
            for pid in witness.descendants(process.pid):
                place = place or witness.shows(pid, secret, given)
        return place


# --- who, where and with which limits


def enters_home(target: Verifier, trials: Trials) -> None:
    """Look where PROG is, for each account."""
    target.needs_prog()
    for account in target.accounts:

        def ask(given: bytes = account.record) -> None:
            found, _ = witness.behind(target, target.state(directory="/"), given)
            home = found.variable(b"HOME") or b""
            if os.path.realpath(found.directory) != os.path.realpath(home):
                expected = f"PROG in its HOME, {_word(home)}"
                raise target.violation(expected, f"in {_word(found.directory)}", given, (b"pwd",))

        trials.once(ask)


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise NotJudged("it takes root")


def drops_groups(target: Verifier, trials: Trials) -> None:
    """Begin with further groups, and look which PROG has."""
    _needs_root()
    target.needs_prog()
    for account in target.accounts:

        def ask(given: bytes = account.record) -> None:
            found, _ = witness.behind(target, target.state(groups=(0, *FOREIGN_GROUPS)), given)
            user, own = os.fsdecode(found.variable(b"USER") or b""), set(found.ids("Gid"))
            if _is_of_the_machine(user, found):
                own |= set(os.getgrouplist(user, found.ids("Gid")[0]))
            surplus = set(found.ids("Groups")) - own
            if surplus:
                words = " ".join(map(str, sorted(surplus)))
                raise target.violation("no groups but those of the account", f"also {words}", given, GROUPS)

        trials.once(ask)


def _is_of_the_machine(user: str, found: witness.Seen) -> bool:
    """Tell whether the machine knows a user of that name, and PROG runs as that one."""
    try:
        return pwd.getpwnam(user).pw_uid == found.ids("Uid")[0]
    except (KeyError, ValueError):
        return False


def drops_uid(target: Verifier, trials: Trials) -> None:
    """Look at all uids of PROG, and at its capabilities."""
    _needs_root()
    _for_each_account(target, trials, "Uid")


def drops_gid(target: Verifier, trials: Trials) -> None:
    """Look at all gids of PROG."""
    _needs_root()
    _for_each_account(target, trials, "Gid")


def _for_each_account(target: Verifier, trials: Trials, name: str) -> None:
    target.needs_prog()
    for account in target.accounts:

        def ask(given: bytes = account.record) -> None:
            found, _ = witness.behind(target, target.state(), given)
            ids = found.ids(name)
            user = os.fsdecode(found.variable(b"USER") or b"")
            expected = f"real, effective and saved {name.lower()} of the account"
            if len(set(ids)) != 1:
                raise target.violation(expected, " ".join(map(str, ids)), given, STATUS)
            if _is_of_the_machine(user, found):
                entry = pwd.getpwnam(user)
                wanted = entry.pw_uid if name == "Uid" else entry.pw_gid
                if ids[0] != wanted:
                    raise target.violation(f"{expected}, {wanted}", str(ids[0]), given, GROUPS)
            elif ids[0] == 0:
                raise target.violation(expected, "those of root", given, GROUPS)
            if name == "Uid" and ids[0] != 0 and int(found.status["CapEff"], 16):
                raise target.violation("no capabilities of root", f"CapEff {found.status['CapEff']}", given, STATUS)

        trials.once(ask)


def hands_on_limits(target: Verifier, trials: Trials) -> None:
    """Have the caller set the umask and limits, and look which PROG has."""
    target.needs_prog()
    _, core = resource.getrlimit(resource.RLIMIT_CORE)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = {"RLIMIT_CORE": (core, core), "RLIMIT_NOFILE": (min(files, 512) if files > 0 else 512, files)}

    def ask(umask: int) -> None:
        found, given = witness.behind(target, target.state(umask=umask, limits=limits))
        mine = {line[:25].strip(): line[25:].split() for line in found.limits}
        for line in given.limits:
            name = line[:25].strip()
            if mine.get(name) != line[25:].split():
                wrong = " ".join(mine.get(name, ["none"])[:2])
                raise _about(target, f"{name}: {' '.join(line[25:].split()[:2])}", wrong, (b"sh", b"-c", b"ulimit -a"))
        if found.status["Umask"] != given.status["Umask"]:
            raise _about(target, f"umask {given.status['Umask']}", found.status["Umask"], (b"sh", b"-c", b"umask"))

    trials.each(st.sampled_from((0o22, 0o77, 0o27, 0)), ask, most=3)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "survives-signals",
        Severity.MUST,
        "Reading goes on after signals that end nobody, and after a stop.",
        "checkpassword 0.90",
        survives_signals,
    ),
    Property(
        "reads-on-after-eintr",
        Severity.MUST,
        "Reading goes on after a read(2) that was interrupted (EINTR).",
        "checkpassword 0.90",
        reads_on_after_eintr,
    ),
    Property(
        "hands-on-signal-dispositions",
        Severity.MUST,
        "PROG ignores the signals that the caller ignores, and no other; three have properties of their own.",
        INTERFACE,
        signal_dispositions,
    ),
    Property(
        "hands-on-ignored-sigpipe",
        Severity.SHOULD,
        "PROG ignores SIGPIPE and SIGXFSZ if the caller does; runtimes that set them at their start forget it.",
        PRACTICE,
        _hands_on_ignored(signal.SIGPIPE, signal.SIGXFSZ),
    ),
    Property(
        "hands-on-ignored-sigchld",
        Severity.SHOULD,
        "PROG ignores SIGCHLD if the caller does, and the answer is the same.",
        PRACTICE,
        _hands_on_ignored(signal.SIGCHLD),
    ),
    Property(
        "hands-on-signal-mask",
        Severity.MUST,
        "PROG blocks the signals that the caller blocks, and no other.",
        INTERFACE,
        signal_mask,
    ),
    Property(
        "hands-on-environment",
        Severity.MUST,
        "The environment of PROG is that of the caller with USER, HOME and SHELL, each once.",
        INTERFACE,
        hands_on_environment,
    ),
    Property(
        "hands-on-environment-under-env-i",
        Severity.MUST,
        "With next to no variables PROG has those, USER, HOME and SHELL.",
        INTERFACE,
        environment_under_env_i,
    ),
    Property(
        "sets-account-variables",
        Severity.MUST,
        "USER, HOME and SHELL are those of the account, whatever the caller had.",
        INTERFACE,
        sets_account_variables,
    ),
    Property(
        "no-secret-for-prog",
        Severity.MUST,
        "The password is in no argument and no variable of PROG.",
        PRACTICE,
        no_secret_for_prog,
    ),
    Property(
        "no-secret-shown",
        Severity.SHOULD,
        "While it checks, no process of the program shows the password in its arguments, environment or name.",
        PRACTICE,
        no_secret_shown,
    ),
    Property("enters-home", Severity.MUST, "PROG begins in the HOME of the account.", INTERFACE, enters_home),
    Property(
        "drops-groups",
        Severity.MUST,
        "As root: PROG has no supplementary group but those of the account.",
        INTERFACE,
        drops_groups,
    ),
    Property(
        "drops-uid",
        Severity.MUST,
        "As root: PROG has the uid of the account, real, effective and saved, and no capability.",
        INTERFACE,
        drops_uid,
    ),
    Property(
        "drops-gid",
        Severity.MUST,
        "As root: PROG has the gid of the account, real, effective and saved.",
        INTERFACE,
        drops_gid,
    ),
    Property(
        "hands-on-limits",
        Severity.SHOULD,
        "PROG has the umask and the limits of the caller.",
        PRACTICE,
        hands_on_limits,
    ),
)
