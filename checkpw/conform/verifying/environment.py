"""The environment of PROG, and whether the secret can be seen in it or anywhere else."""

import contextlib
import functools
import os
import time
from collections.abc import Mapping, Sequence

from checkpw.conform import strategies
from checkpw.conform.accounts import Account, record
from checkpw.conform.model import NotJudged, Property, Severity
from checkpw.conform.process import nothing
from checkpw.conform.shell import ByHand, quote_all
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.feeding import give, wait_until_read
from checkpw.conform.verifying.target import PLAIN, RAN, TRUE, Verifier
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

OF_THE_ACCOUNT = (b"USER", b"HOME", b"SHELL")

UNHURRIED = 3.0  # seconds for a program that stands behind everybody else

SHORTEST_SECRET = 5  # bytes; a shorter password may be part of a word by chance


def hands_on_environment(target: Verifier, trials: Trials) -> None:
    """Have the caller set any variables, and look what PROG has."""
    target.needs_prog()

    def ask(further: dict[bytes, bytes]) -> None:
        _compare_environment(target, {**target.environ, **further}, further)

    trials.once(lambda: ask({}))
    trials.once(lambda: ask(strategies.ODD_VARIABLES))
    trials.each(strategies.environments(), ask)


def _compare_environment(
    target: Verifier, environ: Mapping[bytes, bytes], shown: Mapping[bytes, bytes], by_hand: ByHand = PLAIN
) -> None:
    found, given = witness.behind(target, target.state(environ=environ))

    def others(entries: Sequence[bytes]) -> list[bytes]:
        return sorted(entry for entry in entries if entry.partition(b"=")[0] not in OF_THE_ACCOUNT)

    added = [entry for entry in others(found.environ) if entry not in given.environ]
    added += [one for one in set(others(found.environ)) if found.environ.count(one) > 1]
    lost = [entry for entry in others(given.environ) if entry not in found.environ]
    if added or lost:
        changes = [f"{_word(entry)} added" for entry in added] + [f"{_word(entry)} lost" for entry in lost]
        raise _about(target, "the variables of the caller, USER, HOME and SHELL", ", ".join(changes), shown, by_hand)
    for name in OF_THE_ACCOUNT:
        times = sum(entry.startswith(name + b"=") for entry in found.environ)
        if times != 1:
            words = f"{times} times there" if times else "not there"
            raise _about(target, f"{name.decode()} once in the environment of PROG", words, shown, by_hand)


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
                    raise _about(target, f"{name.decode()} of the account", words, old)

    for account in target.accounts:
        trials.once(functools.partial(ask, account.record))


def _without(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in environ.items() if name not in OF_THE_ACCOUNT}


def environment_under_env_i(target: Verifier, trials: Trials) -> None:
    """Begin with no more variables than the program needs to accept a good login, and look what PROG has."""
    target.needs_prog()
    least = _least_environment(target, trials)
    words = [b"env", b"-i", *(b"%b=%b" % pair for pair in least.items())]
    trials.once(lambda: _compare_environment(target, least, {}, ByHand(front=quote_all(words))))


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


def _about(
    target: Verifier, expected: str, words: str, environ: Mapping[bytes, bytes], by_hand: ByHand = PLAIN
) -> Exception:
    record, prog = target.account.record, (b"/usr/bin/env",)
    return target.violation(expected, words, record, prog, environ=environ, by_hand=by_hand)


# --- secrets


def no_secret_for_prog(target: Verifier, trials: Trials) -> None:
    """Look for the password in the arguments and the environment of PROG."""
    target.needs_prog()
    for account in _with_secrets(target):

        def ask(given: bytes = account.record, secret: bytes = account.password) -> None:
            found, direct = witness.behind(target, target.state(), given)
            for entry in (*found.argv, *found.environ):
                if secret in entry and entry not in (*direct.argv, *direct.environ):
                    raise target.violation("no password in what PROG is given", _word(entry), given, (b"/usr/bin/env",))

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

    behind = True

    def ask(sent: bytes) -> None:
        nonlocal behind
        place = None
        if behind:
            place = _watch(target, sent, secret, given, patience=UNHURRIED, behind=True)
            behind = place is not None
        if place is None:  # others have the processor, and who stands behind all of them never has it
            place = _watch(target, sent, secret, given, patience=target.patience)
        if place is None:
            raise NotJudged("it does not end while it is looked at")
        if place:
            by_hand = ByHand(front="strace -f -v -s 600 -e trace=execve")
            words = f"it is in its {place}"
            raise target.violation("no password where other processes see it", words, sent, by_hand=by_hand)

    for sent in (account.record, account.record, account.record + b"\0", record(account.login, b"-" + secret)) * 2:
        trials.once(functools.partial(ask, sent))


def _watch(
    target: Verifier, sent: bytes, secret: bytes, given: frozenset[bytes], *, patience: float, behind: bool = False
) -> str | None:
    """Have the program check a record, and look at it and at what it starts.

    Args:
        target: the program.
        sent: the record.
        secret: what to look for.
        given: words and variables that it was started with, which do not count.
        patience: seconds for all of that.
        behind: whether it stands behind everybody else, so that whoever looks has more time than who is looked at.

    Returns:
        Where the secret is shown, "" for nowhere, None if time was up before the end of the program.
    """
    with contextlib.ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        null = nothing()
        stack.callback(os.close, null)
        state = target.state(descriptors={0: null, 1: null, 2: null, 3: reading})
        process = stack.enter_context(target.begin(TRUE, state))
        if behind:
            with contextlib.suppress(AttributeError, OSError):
                os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        deadline = time.monotonic() + patience
        give(writing, (sent,), process, deadline)
        wait_until_read(writing, process, deadline)
        place = witness.shows(process.pid, secret, given)
        os.close(writing)
        while not place and not process.has_ended():
            if time.monotonic() > deadline:
                return None
            for pid in witness.descendants(process.pid):
                place = place or witness.shows(pid, secret, given)
        return place


PROPERTIES: tuple[Property, ...] = (
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
)
