"""Properties: what lasts beyond one attempt. Lines and replies keep in step, and nothing is used up."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.call import NO, YES, Answer
from checkpw.conform.calling.dialogue import Client, Kind, Language, Reply
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.shell import quote_printf
from checkpw.conform.trials import Trials

ATTEMPTS = 3  # which every session has to stand (RFC 4954 section 4), and from which two steps can be seen
MANY = 40  # attempts of a recipe, more than there are descriptors in it
MOST_REPLIES = 8
FAREWELL = 221

LENGTHS = (600, 1100, 5000, 13000, 70000)
"""Bytes of a line: more than RFC 5321 allows for a command, and than the buffers are long that servers have."""

AFTER_SMTP = (b"RSET", b"NOOP", b"QUIT")
AFTER_POP3 = (b"USER joe", b"QUIT")
"""The end of the long line, and what is sent behind it."""

MALFORMED = (
    Attempt("AUTH PLAIN =, an initial response of no bytes", (b"AUTH PLAIN =",)),
    Attempt("AUTH PLAIN with nothing but padding", (b"AUTH PLAIN ====",)),
    Attempt("AUTH PLAIN with nothing but padding, asked for", (b"AUTH PLAIN", b"====")),
    Attempt("AUTH PLAIN with no base64", (b"AUTH PLAIN !!!!",)),
    Attempt("AUTH PLAIN, given up", (b"AUTH PLAIN", b"*")),
    Attempt("AUTH PLAIN with an empty line", (b"AUTH PLAIN", b"")),
    Attempt("AUTH LOGIN, given up", (b"AUTH LOGIN", b"*")),
    Attempt("AUTH LOGIN, given up at the password", (b"AUTH LOGIN", b"am9l", b"*")),
    Attempt("AUTH LOGIN with the login in the command, given up", (b"AUTH LOGIN am9l", b"*")),
    Attempt("an unknown mechanism", (b"AUTH X-NONE",)),
)
"""What even a lenient decoder makes no login of; who takes more than that for one is found by other properties."""


def to_end(client: Client, lines: Sequence[bytes]) -> list[Reply]:
    """Say lines, the last of which is QUIT, each after the reply to the one before; return all replies up to the last.

    A reply too many puts the client out of step: it is there instead of that of a line.
    """
    told: list[Reply] = []
    over = (Kind.CLOSED, Kind.SILENT)
    for line in lines:
        client.session.send(line + b"\r\n")
        told.append(client.reply())
        if told[-1].kind in over:
            return told
    while client.language is Language.SMTP and told[-1].kind not in over and told[-1].code != FAREWELL:
        told.append(client.reply())
        if len(told) == MOST_REPLIES:
            break
    return told


def _words(replies: Sequence[Reply]) -> str:
    return ", then ".join(map(str, replies))


def in_step(caller: Caller, trials: Trials) -> None:
    """What is malformed or given up is answered once, and the session goes on."""
    caller.only(Language.SMTP)
    known = [one for one in MALFORMED if one.mechanism in (*caller.mechanisms, b"X-NONE")]
    with ExitStack() as stack:
        clients = caller.sessions([YES] * len(known), stack)
        early = [client.begin(attempt) for client, attempt in zip(clients, known, strict=True)]
        for client, attempt, first in zip(clients, known, early, strict=True):
            told = [first or client.reply()]
            if told[0].kind not in (Kind.CLOSED, Kind.SILENT):
                told += to_end(client, (b"NOOP", b"QUIT"))
            trials.ran()
            is_right = len(told) == 3 and told[0].kind is Kind.NO and told[1].kind is Kind.YES and told[0].code != 421
            if not is_right or told[2].kind not in (Kind.YES, Kind.CLOSED):
                wire = attempt.wire + b"NOOP\r\n"
                expected = f"501 after {attempt.way}, then 250 to NOOP and 221 to QUIT"
                raise Violation(expected, _words(told), given=wire, recipe=caller.recipe(wire))


def long_line(caller: Caller, trials: Trials) -> None:
    """A line that comes in pieces and has no end in sight is one line."""
    places: list[tuple[bytes, ...]] = [()]
    if b"LOGIN" in caller.mechanisms:
        places.append((b"AUTH LOGIN",))
    for before in places:
        for length in LENGTHS:
            trials.once(partial(_judge_long_line, caller, before, length))


def _judge_long_line(caller: Caller, before: tuple[bytes, ...], length: int) -> None:
    tail, *then = AFTER_SMTP if caller.language is Language.SMTP else AFTER_POP3
    with caller.session(YES) as client:
        if any(client.ask(line).kind is not Kind.MORE for line in before):
            return
        client.session.send(b"x" * length)
        if not client.session.wait_until_read(caller.patience):
            return  # it waits before it has read the line, so that no part of it can have been run
        client.session.send(tail + b"\r\n")
        told = [client.reply()]
        if told[0].kind not in (Kind.CLOSED, Kind.SILENT):
            told += to_end(client, then)
    # Letters are base64: a server without a limit may take any number of them for a login.
    if (before and told[0].kind is Kind.MORE) or is_one_line(told, len(then), caller.language):
        return
    given = b"".join(line + b"\r\n" for line in (*before, b"x" * length + tail, *then[:-1]))
    greeting = (b"EHLO client.example",) if caller.language is Language.SMTP else ()
    start, end = (b"".join(line + b"\r\n" for line in lines) for lines in ((*greeting, *before), (tail, *then)))
    feed = f"(printf {quote_printf(start)}; sleep 1; head -c {length} /dev/zero | tr '\\0' x; sleep 1; "
    recipe = caller.recipe_of(f"{feed}printf {quote_printf(end)})")
    expected = f"one refusal of a line of {length} bytes more than {tail.decode()}, sent in two pieces"
    raise Violation(expected, _words(told), given=given, recipe=recipe)


def is_one_line(told: Sequence[Reply], lines: int, language: Language | None) -> bool:
    """Tell whether replies are those to one line that was refused, and to so many lines behind it.

    Args:
        told: from that to the long line to the last that came.
        lines: how many were sent behind it, QUIT included.
        language: of the server; what QUIT is answered with cannot be told from other replies of POP3.
    """
    replies = [reply for reply in told if reply.kind is not Kind.CLOSED]
    if not replies or replies[0].kind not in (Kind.NO, Kind.LATER):
        return not replies
    return language is Language.POP3 or len(replies) <= 1 + lines


def keeps_nothing(caller: Caller, trials: Trials) -> None:
    """An attempt that is over has left nothing open and nobody running."""
    attempt = caller.log_in()
    found: list[tuple[int, int]] = []
    with caller.session(NO) as client:
        for status in (1, 111, 1)[:ATTEMPTS]:
            client.session.answer(Answer(status=status))
            reply = client.attempt(attempt)
            trials.ran()
            if reply.kind is Kind.CLOSED or reply.code == 421:
                raise NotJudged(f"it ends the session after {len(found) + 1} failures")
            found.append(_settled(client, found))
    for what, counts in zip(("descriptors", "processes"), zip(*found, strict=True), strict=True):
        if counts[0] < counts[1] < counts[2]:
            wire = attempt.wire * MANY
            recipe = caller.recipe(wire, NO, prefix=f"(ulimit -n {MANY - 8}; ") + ")"
            expected = f"as many {what} of the server after each attempt"
            raise Violation(expected, ", ".join(map(str, counts)), given=attempt.wire * ATTEMPTS, recipe=recipe)


def _settled(client: Client, before: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return what the server holds, once a checker that has answered has gone as well."""
    held = client.session.holdings()
    for _ in range(50):
        if not before or all(now <= then for now, then in zip(held, before[-1], strict=True)):
            break
        client.session.process.wait(0.01)
        held = tuple(map(min, held, client.session.holdings()))  # type: ignore[assignment]  # still a pair
    return held


PROPERTIES = (
    Property(
        "session-in-step",
        Severity.MUST,
        "What is malformed or given up is answered once, with 501 or another 5yz, and the session goes on.",
        "RFC 4954 section 4",
        in_step,
    ),
    Property(
        "session-long-line",
        Severity.MUST,
        "The end of a line that is too long, and comes in pieces, is not taken for a command or a response.",
        "RFC 5321 section 2.3.8",
        long_line,
    ),
    Property(
        "session-keeps-nothing",
        Severity.MUST,
        "An attempt leaves no descriptor open in the server and no process behind.",
        "practice",
        keeps_nothing,
    ),
)
