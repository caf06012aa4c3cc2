"""Who PROG runs as, where, and within which limits."""

import os
import pwd
import resource

from hypothesis import strategies as st

from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.shell import ByHand
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.target import Verifier
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

FOREIGN_GROUPS = (60001, 60002, 60003)
"""Groups that root has when the program under test begins, and PROG must not have."""

FILES = 512
"""How many may be open where the kit sets a limit."""

GROUPS, STATUS = (b"/usr/bin/id",), (b"/bin/grep", b"-E", b"^(Uid|Gid|CapEff)", b"/proc/self/status")


def enters_home(target: Verifier, trials: Trials) -> None:
    """Look where PROG is, for each account.

    The program is started where the kit is, because its arguments may be relative paths; unless PROG is to be there.
    """
    target.needs_prog()
    for account in target.accounts:

        def ask(given: bytes = account.record) -> None:
            found, _ = witness.behind(target, target.state(), given)
            home, before = found.variable(b"HOME") or b"", ""
            if os.path.realpath(home) == os.path.realpath(os.getcwdb()):
                before = "cd /tmp"
                elsewhere = target.state(directory=os.fsdecode(target.directory))
                try:
                    found, _ = witness.behind(target, elsewhere, given)
                except Violation:
                    raise NotJudged("the kit was started in that HOME, and PROGRAM runs nowhere else") from None
            if os.path.realpath(found.directory) != os.path.realpath(home):
                expected = f"PROG in its HOME, {os.fsdecode(home)!a}"
                words, by_hand = f"in {os.fsdecode(found.directory)!a}", ByHand(before=before)
                raise target.violation(expected, words, given, (b"/bin/pwd",), by_hand=by_hand)

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
            state = target.state(groups=(0, *FOREIGN_GROUPS))
            found, _ = witness.behind(target, state, given)
            user, own = os.fsdecode(found.variable(b"USER") or b""), set(found.ids("Gid"))
            if not _is_of_the_machine(user, found) and 0 in found.ids("Uid"):
                raise NotJudged("PROG is still root: see drops-uid")
            if _is_of_the_machine(user, found):
                own |= set(os.getgrouplist(user, found.ids("Gid")[0]))
            surplus = set(found.ids("Groups")) - own
            if surplus:
                words = " ".join(map(str, sorted(surplus)))
                raise target.violation(
                    "no groups but those of the account", f"also {words}", given, GROUPS, by_hand=witness.by_hand(state)
                )

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
    limits = {"RLIMIT_CORE": (core, core), "RLIMIT_NOFILE": (min(files, FILES) if files > 0 else FILES, files)}

    def ask(umask: int) -> None:
        found, given = witness.behind(target, target.state(umask=umask, limits=limits))
        mine = {line[:25].strip(): line[25:].split() for line in found.limits}
        for line in given.limits:
            name = line[:25].strip()
            if mine.get(name) != line[25:].split():
                wrong = " ".join(mine.get(name, ["none"])[:2])
                expected, words = f"{name}: {' '.join(line[25:].split()[:2])}", (b"/bin/sh", b"-c", b"ulimit -a")
                raise target.violation(expected, wrong, target.account.record, words, by_hand=_limiting(umask))
        if found.status["Umask"] != given.status["Umask"]:
            expected, wrong, words = (
                f"umask {given.status['Umask']}",
                found.status["Umask"],
                (b"/bin/sh", b"-c", b"umask"),
            )
            raise target.violation(expected, wrong, target.account.record, words, by_hand=_limiting(umask))

    trials.each(st.sampled_from((0o22, 0o77, 0o27, 0)), ask, most=3)


def _limiting(umask: int) -> ByHand:
    """Return what runs a program, in a shell line, with that umask and these limits."""
    limits = f"ulimit -S -c $(ulimit -H -c); ulimit -S -n {FILES}"
    return ByHand(front=f"""sh -c 'umask {umask:03o}; {limits}; exec "$0" "$@"'""")


PROPERTIES: tuple[Property, ...] = (
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
