"""Properties: the process that a caller makes for the checker, and what it lets out of it."""

import os
import stat

from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.call import YES, Answer, Call, Descriptor
from checkpw.conform.calling.dialogue import Language, Reply
from checkpw.conform.calling.records import INTERFACE
from checkpw.conform.calling.start import Start
from checkpw.conform.calling.target import PLACE, Caller
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.trials import Trials

MARK = b"checkpw-conform-mark"
PRINTED = b"250 " + MARK + b"\r\n"
CHAIN = "the checker runs the session in its place, so that 0 and 1 have to be the client's"
OCCUPIED = " 3</dev/null 4</dev/null 5</dev/null"
UNSEEN = (13, 25, 32, 33)
"""SIGPIPE and SIGXFSZ, which the probe's interpreter ignores before anybody can look; and the two that are the C
library's own, which posix_spawn(3) of glibc ignores."""


def call_once(caller: Caller, trials: Trials, answer: Answer = YES, attempt: Attempt | None = None) -> Call:
    """Have the checker called in a session of its own, and return what it saw.

    Raises:
        NotJudged: it was not called.
    """
    reply, calls = caller.try_once(attempt or caller.log_in(), answer)
    trials.ran()
    if not calls:
        raise NotJudged(f"the checker was not called, and the reply was {reply}")
    return calls[0]


def arguments(caller: Caller, trials: Trials) -> None:
    """The words behind the checker are its arguments."""
    if PLACE not in caller.argv:
        raise NotJudged("the checker is part of a word of the command, and who takes that apart is the caller's affair")
    wanted = tuple(caller.argv[caller.argv.index(PLACE) + 1 :])
    seen = call_once(caller, trials).argv
    if seen != wanted:
        recipe = caller.recipe(caller.log_in().wire, shows='printf "%s\\n" "$0" "$@"')
        raise Violation(f"the arguments {_words(wanted)}", _words(seen), recipe=recipe)


def _words(words: tuple[bytes, ...]) -> str:
    return " ".join(ascii(word.decode("latin-1")) for word in words) or "none"


def descriptor_3(caller: Caller, trials: Trials) -> None:
    """The record is on 3, whatever the server itself was started with there."""
    attempt = caller.log_in()
    reply, calls = _try_occupied(caller, trials, attempt)
    wanted = b"".join(field + b"\0" for field in attempt.fields)
    if not calls or not calls[0].record.startswith(wanted):
        seen = f"{calls[0].record!a}" if calls else f"no call, and the reply {reply}"
        recipe = caller.recipe(attempt.wire, redirect=OCCUPIED)
        raise Violation("the record on descriptor 3 although the server has 3, 4 and 5 open", seen, recipe=recipe)


def above_3(caller: Caller, trials: Trials) -> None:
    """Nothing is open above 3, neither the client's socket nor the other end of the pipe."""
    surplus = [each for each in call_once(caller, trials).descriptors if each.number > 3]
    if surplus:
        numbers = ", ".join(f"{each.number} ({_kind(each)})" for each in surplus)
        raise Violation("no descriptor open above 3 in the checker", numbers, recipe=_listing(caller))
    # Where 3 was free, the pipe's end may have been 3 itself; here it cannot have been.
    _, calls = _try_occupied(caller, trials, caller.log_in())
    null = os.stat(os.devnull)
    inherited = (null.st_dev, null.st_ino)
    open_above = calls[0].descriptors if calls else ()
    surplus = [each for each in open_above if each.number > 3 and each.identity != inherited]
    if surplus:
        numbers = ", ".join(f"{each.number} ({_kind(each)})" for each in surplus)
        expected = "nothing of the server's above 3 in the checker, when the server has 3, 4 and 5 open from its start"
        raise Violation(expected, numbers, recipe=_listing(caller, OCCUPIED))


def _try_occupied(caller: Caller, trials: Trials, attempt: Attempt) -> tuple[Reply, list[Call]]:
    """Play an attempt to a server that was started with 3, 4 and 5 open."""
    with caller.session(YES, Start(occupied=(3, 4, 5))) as client:
        reply = client.attempt(attempt)
        calls = client.session.calls()
    trials.ran()
    return reply, calls


def standard(caller: Caller, trials: Trials) -> None:
    """0, 1 and 2 are open."""
    call = call_once(caller, trials)
    closed = [str(number) for number in (0, 1, 2) if call.find(number) is None]
    if closed:
        raise Violation("0, 1 and 2 open in the checker", f"{', '.join(closed)} closed", recipe=_listing(caller))


def client_away(caller: Caller, trials: Trials) -> None:
    """No descriptor of the checker is the client's connection."""
    if caller.is_chain:
        raise NotJudged(CHAIN)
    with caller.session(YES) as client:
        client.attempt(caller.log_in())
        calls = client.session.calls()
        endpoint = client.session.endpoint
    trials.ran()
    if not calls:
        raise NotJudged("the checker was not called")
    numbers = [str(each.number) for each in calls[0].descriptors if each.identity == endpoint]
    if numbers:
        seen = f"the client's connection on {', '.join(numbers)}"
        given = caller.log_in().wire
        raise Violation(
            "no descriptor of the checker on the client's connection", seen, given=given, recipe=_listing(caller)
        )


def _kind(descriptor: Descriptor) -> str:
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISCHR, "a device"),
    )
    return next((name for test, name in kinds if test(descriptor.mode)), "something else")


def _listing(caller: Caller, redirect: str = "") -> str:
    """Return a shell line whose checker lists its descriptors."""
    return caller.recipe(caller.log_in().wire, shows="(ls -l /proc/$$/fd)", redirect=redirect)


def _listing_of_signals(caller: Caller) -> str:
    """Return a shell line whose checker shows its signals."""
    return caller.recipe(caller.log_in().wire, shows="grep ^Sig /proc/self/status")


def _prints(caller: Caller, trials: Trials, number: int) -> None:
    attempt = caller.log_in()
    for status in (0, 1, 111):
        answer = Answer(status=status, output=PRINTED if number == 1 else b"", errors=PRINTED if number == 2 else b"")
        with caller.session(answer) as client:
            reply = client.attempt(attempt)
            if caller.language is Language.SMTP:
                client.ask(b"NOOP")
            client.session.hang_up()
            client.remainder(1.0)
            heard = client.heard
        trials.ran()
        if MARK in heard:
            at = ascii(heard[heard.index(MARK) - 4 :][:60].decode("latin-1")).strip("'\"")
            what = f"nothing of what the checker wrote on {number} sent to the client"
            raise Violation(
                what, f"{at}, and the reply {reply}", given=attempt.wire, recipe=caller.recipe(attempt.wire, answer)
            )


def stdout(caller: Caller, trials: Trials) -> None:
    """What the checker writes on 1 is not the server's voice."""
    if caller.is_chain:
        raise NotJudged(CHAIN)
    _prints(caller, trials, 1)


def stderr(caller: Caller, trials: Trials) -> None:
    """What the checker writes on 2 is for a log."""
    _prints(caller, trials, 2)


def signal_mask(caller: Caller, trials: Trials) -> None:
    """No signal is blocked or ignored in the checker that was not so in the server."""
    status = call_once(caller, trials).status
    for name, words in (("SigBlk", "blocked"), ("SigIgn", "ignored")):
        mask = int(status.get(name, "0"), 16)
        numbers = [number for number in range(1, 65) if mask >> (number - 1) & 1 and number not in UNSEEN]
        if numbers:
            seen = f"{words}: {', '.join(map(str, numbers))}"
            raise Violation("no signal blocked or ignored in the checker", seen, recipe=_listing_of_signals(caller))


PROPERTIES = (
    Property(
        "checker-arguments",
        Severity.MUST,
        "The words behind the checker in the command are the checker's arguments, unchanged.",
        INTERFACE,
        arguments,
    ),
    Property(
        "checker-descriptor-3",
        Severity.MUST,
        "The record is on descriptor 3 also when the server itself was started with 3 open.",
        INTERFACE,
        descriptor_3,
    ),
    Property(
        "checker-descriptors",
        Severity.MUST,
        "In the checker nothing is open above descriptor 3.",
        INTERFACE,
        above_3,
    ),
    Property(
        "checker-standard-descriptors",
        Severity.SHOULD,
        "In the checker 0, 1 and 2 are open, so that nothing that it opens takes their place.",
        "practice",
        standard,
    ),
    Property(
        "checker-without-client",
        Severity.SHOULD,
        "No descriptor of the checker is the client's connection.",
        "practice",
        client_away,
    ),
    Property(
        "checker-signals",
        Severity.SHOULD,
        "No signal is blocked or ignored in the checker (SIGPIPE and SIGXFSZ are not judged).",
        "practice",
        signal_mask,
    ),
    Property(
        "client-without-output",
        Severity.MUST,
        "What the checker writes on descriptor 1 never reaches the client.",
        "RFC 5321 section 4.2",
        stdout,
    ),
    Property(
        "client-without-errors",
        Severity.MUST,
        "What the checker writes on descriptor 2 never reaches the client.",
        "RFC 5321 section 4.2",
        stderr,
    ),
)
