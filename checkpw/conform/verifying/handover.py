"""After a yes: which program is run, as which process, with which words, and whose exit status comes back."""

import os
from collections.abc import Callable

from hypothesis import strategies as st

from checkpw.conform import strategies
from checkpw.conform.model import Property, Severity
from checkpw.conform.process import Outcome
from checkpw.conform.shell import ByHand
from checkpw.conform.trials import Trials
from checkpw.conform.verifying import witness
from checkpw.conform.verifying.searching import PATHEXEC
from checkpw.conform.verifying.target import MARK, RAN, Verifier, seen
from checkpw.conform.verifying.verdicts import INTERFACE, PRACTICE

_SAYING_ITS_NUMBER = """sh -c 'echo $$; exec "$0" "$@"'"""
"""What runs a program, in a shell line, as a process whose number has been said."""


def runs_prog(target: Verifier, trials: Trials) -> None:
    """Have something run that says that it ran, for each account."""
    target.needs_yes()
    for account in target.accounts:

        def ask(given: bytes = account.record) -> None:
            answer = target.ask(given, (target.marker,))
            if answer.status != RAN or answer.stdout != MARK:
                raise target.violation(f"PROG runs once, exit {RAN}", seen(answer), given, (target.marker,))

        trials.once(ask)


def same_process(target: Verifier, trials: Trials) -> None:
    """Look at the number, the group and the session of PROG."""
    target.needs_prog()

    def ask() -> None:
        found, _ = witness.behind(target, target.state())
        if found.pid != found.began:
            words, given = (b"/bin/sh", b"-c", b"echo $$"), target.account.record
            expected = f"PROG as process {found.began}"
            raise target.violation(expected, f"{found.pid}", given, words, by_hand=ByHand(front=_SAYING_ITS_NUMBER))
        if found.group != (found.began, found.began):  # it was started as the leader of a session
            expected, given = "PROG in the process group and session of the caller", target.account.record
            words = (b"/bin/sh", b"-c", b"ps -o pid,pgid,sid -p $$; exit")
            raise target.violation(expected, "another", given, words, by_hand=ByHand(front="setsid -w"))

    trials.once(ask)


def no_other_process(target: Verifier, trials: Trials) -> None:
    """Look whether PROG has children that it did not start."""
    target.needs_prog()

    def ask() -> None:
        found, _ = witness.behind(target, target.state())
        others = found.company | found.children
        if others:
            words, given = (b"/bin/ps", b"-o", b"args", b"-g"), target.account.record
            by_hand = ByHand(front="""setsid -w sh -c 'exec "$0" "$@" $$'""")
            raise target.violation("no process but PROG", f"{len(others)} more", given, words, by_hand=by_hand)

    trials.once(ask)


def _about(target: Verifier, expected: str, words: str, prog: tuple[bytes, ...]) -> Exception:
    return target.violation(expected, words, target.account.record, prog)


def passes_arguments(target: Verifier, trials: Trials) -> None:
    """Have a script run that repeats its arguments, and look at the zeroth one from outside."""
    target.needs_prog()
    echo = target.script(b"arguments", b"for word; do printf '%s\\0' \"$word\"; done\n")

    def ask(words: tuple[bytes, ...]) -> None:
        prog = (echo, *words)
        answer = target.ask(target.account.record, prog)
        if answer.stdout != b"".join(word + b"\0" for word in words) or answer.status != 0:
            got = tuple(answer.stdout.split(b"\0")[:-1])
            raise _about(target, f"the arguments {_words(words)}", f"{_words(got)}, {seen(answer)}", prog)

    def look() -> None:
        found, given = witness.behind(target, target.state())
        if found.argv != given.argv:
            words = (b"/bin/sh", b"-c", b"tr '\\0' ' ' </proc/$$/cmdline; exit")
            raise _about(target, f"argv {_words(given.argv)}", _words(found.argv), words)

    trials.each(strategies.arguments(), ask)
    trials.once(look)


def _words(words: tuple[bytes, ...]) -> str:
    return " ".join(ascii(word.decode("latin-1")) for word in words) or "none"


def returns_exit_status(target: Verifier, trials: Trials) -> None:
    """Have a script run that ends with any status."""
    target.needs_prog()
    leave = target.script(b"leave", b"exit $1\n")

    def ask(status: int) -> None:
        prog = (leave, b"%d" % status)
        target.must_accept(target.ask(target.account.record, prog), target.account.record, prog, status)

    trials.each(st.one_of(st.sampled_from((0, 1, 2, 111, 100, 99, 126, 127, 255)), st.integers(0, 255)), ask, most=20)


def returns_signal(target: Verifier, trials: Trials) -> None:
    """Have a script run that is killed."""
    target.needs_prog()
    die = target.script(b"die", b"kill -9 $$\n")

    def ask() -> None:
        answer = target.ask(target.account.record, (die,))
        if answer.status != -9:
            raise _about(target, "the end of PROG, killed by SIGKILL", seen(answer), (die,))

    trials.once(ask)


# --- what cannot be run


def _cannot_be_run(target: Verifier) -> tuple[tuple[str, bytes], ...]:
    """Return programs that cannot be run, each with what is wrong with it."""
    place = target.directory
    orphan = place + b"/orphan"
    with open(orphan, "wb") as file:
        file.write(b"#!/nonexistent/interpreter\n")
    os.chmod(orphan, 0o755)  # noqa: S103  it is the interpreter that is missing
    text = target.script(b"plain/text", b"echo the marker ran\n", 0o644)
    by_hand = "/tmp/orphan"  # noqa: S108  in a line for people
    target.show_as(place + b"/missing", [b"/nonexistent"])
    target.show_as(text, [b"/etc/passwd"])
    target.show_as(place, [b"/tmp"])
    making = f"printf '#!/nonexistent/interpreter\\n' >{by_hand}; chmod 755 {by_hand}"
    target.show_as(orphan, [by_hand.encode()], making)
    return (
        ("a missing path", place + b"/missing"),
        ("a name that is not in PATH", b"checkpw-conform-missing"),
        ("a file that is not executable", text),
        ("a directory", place),
        ("a script without its interpreter", orphan),
    )


def failed_exec_is_no_verdict(target: Verifier, trials: Trials) -> None:
    """Ask with a good login for what cannot be run."""

    def check(what: str, prog: bytes, answer: Outcome) -> None:
        known = answer.status in target.profile.failed_exec - {111} and MARK not in answer.stdout
        if answer.status in (0, 1, None) or MARK in answer.stdout:
            expected = f"neither yes (0) nor no (1) for {what}"
            raise target.violation(expected, seen(answer), target.account.record, (prog,), is_dialect=known)

    _ask_for_each(target, trials, check)


def failed_exec_is_trouble(target: Verifier, trials: Trials) -> None:
    """Ask with a good login for what cannot be run, and look for 111."""

    def check(what: str, prog: bytes, answer: Outcome) -> None:
        known = answer.status in target.profile.failed_exec - {111}
        if answer.status != 111:
            expected = f"trouble, exit 111, for {what}"
            raise target.violation(expected, seen(answer), target.account.record, (prog,), is_dialect=known)

    _ask_for_each(target, trials, check)


def _ask_for_each(target: Verifier, trials: Trials, check: Callable[[str, bytes, Outcome], None]) -> None:
    target.needs_prog()
    for what, prog in _cannot_be_run(target):

        def ask(what: str = what, prog: bytes = prog) -> None:
            check(what, prog, target.ask(target.account.record, (prog,)))

        trials.once(ask)


def runs_no_text_file(target: Verifier, trials: Trials) -> None:
    """Ask with a good login for a text file that is executable, which execvp(3) gives to a shell."""
    target.needs_prog()
    text = target.script(b"text", b"")
    with open(text, "wb") as file:
        file.write(b"echo the marker ran\n")
    by_hand = "/tmp/text"  # noqa: S108  in a line for people
    making = f"printf 'echo the marker ran\\n' >{by_hand}; chmod 755 {by_hand}"
    target.show_as(text, [by_hand.encode()], making)

    def ask() -> None:
        answer = target.ask(target.account.record, (text,))
        expected = "trouble, exit 111, for a text file, and no shell"
        known = target.profile.failed_exec - {111}
        target.must_leave(answer, {111}, known, expected, target.account.record, (text,))

    trials.once(ask)


def verdict_comes_first(target: Verifier, trials: Trials) -> None:
    """Ask with a wrong password for what cannot be run."""
    target.needs_yes()
    wrong = target.wrong
    for _, prog in _cannot_be_run(target):

        def ask(prog: bytes = prog) -> None:
            target.must_reject(target.ask(wrong, (prog,)), wrong, (prog,))

        trials.once(ask)


def no_prog_is_misuse(target: Verifier, trials: Trials) -> None:
    """Ask with a good login for nothing to be run."""
    target.needs_yes()

    def ask() -> None:
        given = target.account.record
        target.must_refuse(target.ask(given, ()), given, (), what="misuse, without PROG")

    trials.once(ask)


PROPERTIES: tuple[Property, ...] = (
    Property("runs-prog", Severity.MUST, "After a yes PROG is run, once.", INTERFACE, runs_prog),
    Property(
        "same-process",
        Severity.MUST,
        "PROG is the same process, with the same number, group and session.",
        INTERFACE,
        same_process,
    ),
    Property(
        "no-other-process",
        Severity.SHOULD,
        "PROG has no children, and no company, that it did not start.",
        PRACTICE,
        no_other_process,
    ),
    Property(
        "passes-arguments",
        Severity.MUST,
        "PROG has its arguments, empty ones and ones with spaces and newlines included.",
        INTERFACE,
        passes_arguments,
    ),
    Property(
        "returns-exit-status",
        Severity.MUST,
        "The exit status of PROG is what the caller sees.",
        INTERFACE,
        returns_exit_status,
    ),
    Property(
        "returns-signal",
        Severity.MUST,
        "A signal that kills PROG is what the caller sees.",
        INTERFACE,
        returns_signal,
    ),
    Property(
        "failed-exec-is-no-verdict",
        Severity.MUST,
        "A PROG that is missing or cannot be executed is answered neither with exit 0 nor with 1.",
        INTERFACE,
        failed_exec_is_no_verdict,
    ),
    Property(
        "failed-exec-is-trouble",
        Severity.SHOULD,
        "A PROG that is missing or cannot be executed is answered with exit 111.",
        "checkpassword 0.90",
        failed_exec_is_trouble,
    ),
    Property(
        "runs-no-text-file",
        Severity.SHOULD,
        "A PROG that is text without #! is answered with exit 111 and not given to a shell.",
        PATHEXEC,
        runs_no_text_file,
    ),
    Property(
        "verdict-comes-first",
        Severity.SHOULD,
        "A wrong password is answered with exit 1, also where PROG could not be run.",
        PRACTICE,
        verdict_comes_first,
    ),
    Property(
        "no-prog-is-misuse",
        Severity.MUST,
        "Without PROG the answer is exit 2, or 1.",
        INTERFACE,
        no_prog_is_misuse,
    ),
)
