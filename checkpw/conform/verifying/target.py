"""A checkpassword program under test: how it is asked, and what its answers are held against."""

import contextlib
import dataclasses
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from checkpw.conform.accounts import Account, record, wrong_password
from checkpw.conform.model import NotJudged, Violation
from checkpw.conform.process import (
    KitFailure,
    Outcome,
    Process,
    State,
    find_program,
    nothing,
    place_for_programs,
    run,
    start,
)
from checkpw.conform.profiles import DJB, Profile
from checkpw.conform.shell import ByHand, recipe
from checkpw.conform.verifying.feeding import give

TRUE = (os.fsencode(shutil.which("true", path="/usr/bin:/bin") or "/bin/true"),)
"""What a program under test is asked to run where only its verdict counts, by a path: not all of them search PATH."""

RAN = 97
"""How the marker ends, so that its end is not taken for a verdict."""

PLAIN = ByHand()

MARK = b"the marker ran\n"


class Verifier:
    """A checkpassword program under test, to be used as a context manager.

    Args:
        argv: the program and its arguments, without what it is to run.
        accounts: which it is known to accept; at least one.
        environ: what it is started with.
        profile: the dialect that it is held against.
        down: a shell command that makes its store fail.
        up: the one that repairs it.
        patience: seconds after which an answer is not waited for any longer.

    Raises:
        KitFailure: there is no such program.

    Attributes:
        directory: a private directory that every user may enter; b"" outside of the context.
        stayer: path of a program in it that does nothing for a long time, when given `STAYS`.
        marker: path of a program in it that says `MARK` and ends with `RAN`.
        marker_without_words: path of a program in it that only ends with `RAN`.
    """

    STAYS = b"6000"

    def __init__(
        self,
        argv: Sequence[str | bytes],
        accounts: Sequence[Account],
        *,
        environ: Mapping[bytes, bytes],
        profile: Profile = DJB,
        down: str | None = None,
        up: str | None = None,
        patience: float = 20.0,
    ) -> None:
        if not accounts:
            raise KitFailure("no account: give --account LOGIN:PASSWORD")
        self.argv = [find_program(argv[0], environ), *(os.fsencode(word) for word in argv[1:])]
        self.accounts = tuple(accounts)
        self.environ = dict(environ)
        self.profile = profile
        self.down = down
        self.up = up
        self.patience = patience
        self.directory = b""
        self._shown = [os.fsencode(word) for word in argv]
        self._by_hand: dict[bytes, tuple[list[bytes], str]] = {}
        self._accepts: bool | None = None
        self._runs: bool | None = None
        self._finds: bool | None = None
        self._no: int | None = None
        self._unknown: int | None = None

    def __enter__(self) -> Self:
        self.directory = os.fsencode(tempfile.mkdtemp(prefix="checkpw-conform-", dir=place_for_programs()))
        os.chmod(self.directory, 0o755)  # noqa: S103  what stands there is run by the users of accounts
        self.stayer = self._copy_of_sleep()
        self.marker = self.script(b"marker", b"echo the marker ran\nexit %d\n" % RAN)
        self.marker_without_words = self.script(b"silent", b"exit %d\n" % RAN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = b""

    @property
    def account(self) -> Account:
        """The account by which is tried what needs only one."""
        return self.accounts[0]

    # --- what a program under test may be asked to run

    def script(self, name: bytes, text: bytes, mode: int = 0o755) -> bytes:
        """Write a shell script below the private directory, and return its path."""
        path = self.directory + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.chmod(os.path.dirname(path), 0o755)  # noqa: S103  whatever the umask is, users of accounts enter it
        with open(path, "wb") as file:
            file.write(b"#!/bin/sh\n" + text)
        os.chmod(path, mode)
        self.show_as(path, [b"/bin/sh", b"-c", text.strip().replace(b"\n", b"; "), b"sh"])
        return path

    def show_as(self, path: bytes, words: Sequence[bytes], before: str = "") -> None:
        """Tell what stands in shell lines for a path below the private directory, which will be gone.

        Args:
            path: of what the program under test was asked to run.
            words: instead of it.
            before: a command that makes what they name.
        """
        self._by_hand[path] = (list(words), before)

    def _copy_of_sleep(self) -> bytes:
        """Make a program that is recognised among others by its path, whatever it is called."""
        original = os.fsencode(shutil.which("sleep", path="/usr/bin:/bin") or "/bin/sleep")
        path = self.directory + b"/sleep"
        try:
            shutil.copy(original, path)
            os.chmod(path, 0o755)  # noqa: S103
            with start([path, b"0"], State({}, {})) as trial:
                works = trial.wait(self.patience) == 0
        except (OSError, KitFailure):
            works = False
        path = path if works else os.path.realpath(original)
        self.show_as(path, [b"/bin/sleep"])
        return path

    # --- asking

    def state(self, **changes: object) -> State:
        """Return the state in which the program under test begins, unless `changes` say otherwise."""
        return State(**{"environ": self.environ, "descriptors": {}, **changes})  # type: ignore[arg-type]

    def begin(self, prog: Sequence[bytes], state: State) -> Process:
        """Start the program under test."""
        return start([*self.argv, *prog], state)

    def ask(
        self,
        record: bytes | None,
        prog: Sequence[bytes] = TRUE,
        *,
        pieces: Sequence[bytes] | None = None,
        stdin: bytes | None = b"",
        between: Callable[[Process], None] | None = None,
        holds: bool = False,
        is_blocking: bool = True,
        patience: float | None = None,
        **changes: object,
    ) -> Outcome:
        """Ask for a verdict, and have `prog` run after a yes.

        Args:
            record: for descriptor 3, by way of a pipe; None for a closed one.
            prog: what to run.
            pieces: writes the record in these pieces instead, each after the one before it was read.
            stdin: what there is to read from descriptor 0; None for a closed one.
            between: called between two pieces, once the first of them was read.
            holds: keeps descriptor 3 open, so that there is no end of file.
            is_blocking: whether reading descriptor 3 waits, as it does unless somebody asked it not to.
            patience: other than the usual one.
            changes: attributes of `State`; descriptors are added to 0 to 3, -1 closes one.
        """
        with contextlib.ExitStack() as stack:
            descriptors: dict[int, int] = {}
            if stdin is not None:
                descriptors[0] = _filled(stack, stdin)
            writing = -1
            if record is not None or pieces is not None:
                descriptors[3], writing = os.pipe()
                os.set_blocking(descriptors[3], is_blocking)
                stack.callback(os.close, descriptors[3])
                stack.callback(_close_quietly, writing)
            more: Mapping[int, int] = changes.pop("descriptors", {})  # type: ignore[assignment]
            descriptors |= more
            state = self.state(
                descriptors={n: fd for n, fd in descriptors.items() if fd >= 0 or n in (1, 2)}, **changes
            )

            def feed(process: Process) -> None:
                if writing >= 0:
                    give(
                        writing,
                        pieces or (record or b"",),
                        process,
                        deadline,
                        between=between,
                        waits=pieces is not None,
                    )
                    if not holds:
                        os.close(writing)

            patience = self.patience if patience is None else patience
            deadline = time.monotonic() + patience
            return run([*self.argv, *prog], state, feed=feed, patience=patience)

    # --- holding answers against what should be

    def shown(self, prog: Sequence[bytes]) -> list[bytes]:
        """Return the command as a person would type it."""
        return [*self._shown, *prog]

    def violation(
        self,
        expected: str,
        seen: str,
        record: bytes | None,
        prog: Sequence[bytes] = TRUE,
        *,
        is_dialect: bool = False,
        environ: Mapping[bytes, bytes] | None = None,
        by_hand: ByHand = PLAIN,
    ) -> Violation:
        """Return the violation of a property by what was seen, with a shell line that shows it.

        Args:
            expected: what should have been seen.
            seen: what was seen.
            record: that was given.
            prog: that was to be run.
            is_dialect: whether the profile is known for it.
            environ: variables that brought it about.
            by_hand: what else the shell line needs.
        """
        shown, before = [], [by_hand.before]
        for word in self.shown(prog):
            words, making = self._by_hand.get(word, ([word], ""))
            shown += words
            before.append(making)
        by_hand = dataclasses.replace(by_hand, before="; ".join(filter(None, before)))
        line = recipe(shown, record, by_hand, environ=environ)
        return Violation(expected, seen, given=record, recipe=line, is_dialect=is_dialect)

    def must_accept(
        self,
        outcome: Outcome,
        record: bytes | None,
        prog: Sequence[bytes] = TRUE,
        status: int = 0,
        what: str = "yes",
        by_hand: ByHand = PLAIN,
    ) -> None:
        """Raise unless the answer was yes, and the program that was run ended with `status`."""
        if outcome.status != status:
            raise self.violation(f"{what}, exit {status}", seen(outcome), record, prog, by_hand=by_hand)

    def must_reject(
        self,
        outcome: Outcome,
        record: bytes | None,
        prog: Sequence[bytes] = TRUE,
        what: str = "no",
        by_hand: ByHand = PLAIN,
    ) -> None:
        """Raise unless the answer was the same no as to any wrong password or unknown login, and nothing was run.

        That these are 1 is a property of its own; a program that says no by another status breaks only that one.
        """
        expected = f"{what}, exit {self.no}, and nothing run"
        self.must_leave(
            outcome, {1, self.no, self.unknown}, self.profile.rejected, expected, record, prog, by_hand=by_hand
        )

    def must_refuse(
        self,
        outcome: Outcome,
        record: bytes | None,
        prog: Sequence[bytes] = TRUE,
        what: str = "no",
        by_hand: ByHand = PLAIN,
    ) -> None:
        """Raise unless the answer was 1 or 2, or the usual no, and nothing was run."""
        known = self.profile.misuse | self.profile.rejected
        expected = f"{what}, exit 1 or 2, and nothing run"
        self.must_leave(outcome, {1, 2, self.no, self.unknown}, known, expected, record, prog, by_hand=by_hand)

    def must_leave(
        self,
        outcome: Outcome,
        statuses: Collection[int],
        dialect: frozenset[int],
        expected: str,
        record: bytes | None,
        prog: Sequence[bytes],
        by_hand: ByHand = PLAIN,
    ) -> None:
        """Raise unless the status is one of these and nothing was run.

        Args:
            outcome: what was seen.
            statuses: that are right.
            dialect: further ones, which the profile is known for.
            expected: in words.
            record: that was given.
            prog: that should not have been run.
            by_hand: as for `violation`.
        """
        if MARK in outcome.stdout:
            raise self.violation(expected, f"PROG was run, and {seen(outcome)}", record, prog, by_hand=by_hand)
        if outcome.status not in statuses:
            is_dialect = outcome.status in dialect
            raise self.violation(expected, seen(outcome), record, prog, is_dialect=is_dialect, by_hand=by_hand)

    # --- what has to hold before anything else can be judged

    def needs_yes(self) -> None:
        """Raise NotJudged unless a good login is accepted at all."""
        if self._accepts is None:
            self._accepts = self.ask(self.account.record).status == 0
        if not self._accepts:
            raise NotJudged("no good login is accepted: see accepts-good-login")

    def needs_prog(self) -> None:
        """Raise NotJudged unless something is run after a yes."""
        self.needs_yes()
        if self._runs is None:
            self._runs = MARK in self.ask(self.account.record, (self.marker,)).stdout
        if not self._runs:
            raise NotJudged("nothing is run after a yes: see runs-prog")

    def needs_search(self) -> None:
        """Raise NotJudged unless a name without a slash is looked for in PATH."""
        self.needs_prog()
        if self._finds is None:
            self._finds = self.ask(self.account.record, (b"true",)).status == 0
        if not self._finds:
            raise NotJudged("PATH is not searched: see finds-prog-by-path")

    @property
    def no(self) -> int:
        """The status by which the program under test says no; 1 where it says yes, crashes or does not end."""
        if self._no is None:
            self._no = self._status_of_no(self.wrong)
        return self._no

    @property
    def unknown(self) -> int:
        """The same for a login that there is not."""
        if self._unknown is None:
            self._unknown = self._status_of_no(record(b"no-such-login", b"no-such-password"))
        return self._unknown

    def _status_of_no(self, given: bytes) -> int:
        status = self.ask(given).status
        return status if status is not None and status > 0 else 1

    @property
    def wrong(self) -> bytes:
        """A record with a password that has nothing in common with the right one but its length."""
        return record(self.account.login, wrong_password(self.account))


def seen(outcome: Outcome) -> str:
    """Say how a run ended, and the first line of what it complained about."""
    said = outcome.stderr.strip().splitlines()[:1]
    return outcome.words + (f", and it said {said[0].decode('ascii', 'backslashreplace')[:200]!a}" if said else "")


def _filled(stack: contextlib.ExitStack, content: bytes) -> int:
    """Return a descriptor from which some bytes can be read, and then the end."""
    if not content:
        descriptor = nothing()
        stack.callback(os.close, descriptor)
        return descriptor
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    os.write(writing, content)
    os.close(writing)
    return reading


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
