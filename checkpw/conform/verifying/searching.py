"""Which program is run where it is named without a slash: the search of PATH."""

import os
from collections.abc import Sequence

from hypothesis import strategies as st

from checkpw.conform.model import Property, Severity
from checkpw.conform.shell import ByHand
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.target import Verifier, seen

THERE = "/tmp/path"  # noqa: S108  in lines for people

PATHEXEC = "checkpassword 0.90, pathexec_run.c"


def finds_prog_by_path(target: Verifier, trials: Trials) -> None:
    """Have programs run that are only to be found in one or the other directory of PATH."""
    target.needs_prog()
    for name, status in ((b"one", 41), (b"two", 42), (b"three", 43)):
        target.script(name + b"/prog-" + name, b"exit %d\n" % status)
        target.script(name + b"/prog", b"exit %d\n" % status)
    places = [target.directory + b"/" + name for name in (b"empty", b"one", b"two", b"three")]

    def ask(tried: tuple[list[bytes], bytes]) -> None:
        order, name = tried
        status = {b"one": 41, b"two": 42, b"three": 43}
        first = next(one for one in order if os.path.basename(one) != b"empty")
        wanted = status[os.path.basename(first) if name == b"prog" else name.partition(b"-")[2]]
        path = b":".join([*order, target.environ.get(b"PATH", b"/bin:/usr/bin")])
        answer = target.ask(target.account.record, (name,), environ={**target.environ, b"PATH": path})
        if answer.status != wanted:
            places = [(os.path.basename(one), f"exit {status.get(os.path.basename(one), 0)}") for one in order]
            made = [(place, text) for place, text in places if place != b"empty"]
            made = [one for one in made if name == b"prog" or name == b"prog-" + one[0]]
            raise _about(target, f"the first {name.decode()} of PATH, exit {wanted}", seen(answer), name, made)

    names = st.sampled_from((b"prog", b"prog-one", b"prog-three"))
    trials.each(st.tuples(st.permutations(places), names), ask, most=10)


def _about(target: Verifier, expected: str, words: str, name: bytes, made: Sequence[tuple[bytes, str]]) -> Exception:
    """Return the violation, with a line that makes directories of its own and a script of that name in each."""
    prog = os.fsdecode(name)
    before = [f"mkdir -p {THERE}/{os.fsdecode(place)}" for place, _ in made]
    for place, text in made:
        file = f"{THERE}/{os.fsdecode(place)}/{prog}"
        before.append(f"printf '#!/bin/sh\\n{text}\\n' >{file}; chmod 755 {file}")
    path = ":".join([*(f"{THERE}/{os.fsdecode(place)}" for place, _ in made), "/usr/bin", "/bin"])
    return _with_path(target, expected, words, name, "; ".join(before), path)


def _with_path(target: Verifier, expected: str, words: str, name: bytes, before: str, path: str) -> Exception:
    shown = {b"PATH": path.encode()}
    return target.violation(
        expected, words, target.account.record, (name,), environ=shown, by_hand=ByHand(before=before)
    )


def passes_over_what_cannot_be_run(target: Verifier, trials: Trials) -> None:
    """Have a program run in front of which PATH has a directory and a file that is not executable."""
    target.needs_search()
    target.script(b"plain/prog", b"exit 51\n", 0o644)
    os.makedirs(target.directory + b"/folder/prog", exist_ok=True)
    target.script(b"last/prog", b"exit 52\n")
    begin = f"mkdir -p {THERE}/first {THERE}/last; rm -rf {THERE}/first/prog"
    end = f"printf '#!/bin/sh\\nexit 52\\n' >{THERE}/last/prog; chmod 755 {THERE}/last/prog"
    for before, making in ((b"plain", f"touch {THERE}/first/prog"), (b"folder", f"mkdir {THERE}/first/prog")):

        def ask(before: bytes = before, making: str = making) -> None:
            places = [target.directory + b"/" + before, target.directory + b"/last"]
            path = b":".join([*places, target.environ.get(b"PATH", b"/bin:/usr/bin")])
            answer = target.ask(target.account.record, (b"prog",), environ={**target.environ, b"PATH": path})
            if answer.status != 52:
                expected = "the first prog of PATH that can be run, exit 52"
                line, shown = f"{begin}; {making}; {end}", f"{THERE}/first:{THERE}/last:/usr/bin:/bin"
                raise _with_path(target, expected, seen(answer), b"prog", line, shown)

        trials.once(ask)


def stops_at_what_is_wrong_in_path(target: Verifier, trials: Trials) -> None:
    """Have a program run in front of which PATH has what is no directory, and what leads nowhere but to itself."""
    target.needs_search()
    target.script(b"last/prog", b"exit 52\n")
    file, loop = target.script(b"no-directory", b""), target.directory + b"/loop"
    if not os.path.lexists(loop):
        os.symlink(loop, loop)
    for first, what, making, by_hand in (
        (file, "a file instead of a directory", "", "/etc/passwd"),
        (loop, "a link to itself", f"ln -sf {THERE}/loop {THERE}/loop", f"{THERE}/loop"),
    ):

        def ask(first: bytes = first, what: str = what, making: str = making, by_hand: str = by_hand) -> None:
            path = b":".join([first, target.directory + b"/last", target.environ.get(b"PATH", b"/bin:/usr/bin")])
            answer = target.ask(target.account.record, (b"prog",), environ={**target.environ, b"PATH": path})
            if answer.status == 52:
                expected = f"no prog of a directory that stands behind {what} in PATH, but exit 111"
                lines = [f"mkdir -p {THERE}/last", *([making] if making else [])]
                lines += [f"printf '#!/bin/sh\\nexit 52\\n' >{THERE}/last/prog", f"chmod 755 {THERE}/last/prog"]
                shown = f"{by_hand}:{THERE}/last:/usr/bin:/bin"
                raise _with_path(target, expected, seen(answer), b"prog", "; ".join(lines), shown)

        trials.once(ask)


def works_without_path(target: Verifier, trials: Trials) -> None:
    """Have a shell run, without PATH in the environment."""
    target.needs_search()
    environ = {name: value for name, value in target.environ.items() if name != b"PATH"}
    prog = (b"sh", b"-c", b"exit 53")

    def ask() -> None:
        answer = target.ask(target.account.record, prog, environ=environ)
        target.must_accept(
            answer, target.account.record, prog, 53, what="sh of /bin:/usr/bin", by_hand=ByHand(front="env -u PATH")
        )

    trials.once(ask)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "finds-prog-by-path",
        Severity.MUST,
        "A PROG without a slash is found in the PATH of the caller, the first directory that has it.",
        PATHEXEC,
        finds_prog_by_path,
    ),
    Property(
        "passes-over-what-cannot-be-run",
        Severity.SHOULD,
        "In PATH, a directory and a file that is not executable are passed over.",
        PATHEXEC,
        passes_over_what_cannot_be_run,
    ),
    Property(
        "stops-at-what-is-wrong-in-path",
        Severity.SHOULD,
        "A file instead of a directory in PATH, or a link to itself, ends the search: no PROG behind it is run.",
        PATHEXEC,
        stops_at_what_is_wrong_in_path,
    ),
    Property(
        "works-without-path",
        Severity.SHOULD,
        "Without PATH, PROG is found in /bin and /usr/bin.",
        PATHEXEC,
        works_without_path,
    ),
)
