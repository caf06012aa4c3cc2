"""Properties: what a caller writes on descriptor 3."""

import operator
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from hypothesis import strategies as st

from checkpw.conform import attempts, dialogues
from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.call import NO, YES, Call
from checkpw.conform.calling.dialogue import Kind, Language, Reply
from checkpw.conform.calling.target import SIDE_BY_SIDE, Caller
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.trials import Trials

INTERFACE = "checkpassword interface"
MAX_RECORD = 512

UNUSUAL = (
    (b"joe", b"\nsecret\r\n"),
    (b"\rjoe\n", b"secret"),
    (b"joe", b"secret\r"),
    (b"", b"secret"),
    (b"joe", b""),
)
"""What a server may refuse, and must not change: line ends at either end, and empty fields."""

STAMP = re.compile(rb"<[^<>\0]+@[^<>\0]+>\0")
"""A third field like that of APOP (RFC 1939): who offers no APOP has one as well, and need not show it."""


def require_exact(
    caller: Caller,
    attempt: Attempt,
    reply: Reply,
    calls: list[Call],
    is_third: Callable[[bytes], bool],
    before: bytes = b"",
) -> None:
    """Hold one attempt against what the checker was given.

    Args:
        caller: the command.
        attempt: what the client did.
        reply: what it was told in the end.
        calls: of the checker.
        is_third: tells what may follow the fields of the attempt.
        before: what the client said in the session before.

    Raises:
        Violation: there was not one call, or not with this record.
    """
    wanted = b"".join(field + b"\0" for field in attempt.fields)
    words = f"the checker given {wanted!a} by {attempt.way}"
    given = before + attempt.wire
    recipe = caller.recipe(given, NO if before else YES)
    if not calls:
        raise Violation(words, f"no call, and the reply {reply}", given=given, recipe=recipe)
    if len(calls) > 1:
        raise Violation("one call of the checker", f"{len(calls)}", given=given, recipe=recipe)
    record = calls[0].record
    if not record.startswith(wanted) or not is_third(record[len(wanted) :]):
        raise Violation(words, f"{record!a}", given=given, recipe=recipe)
    if not calls[0].ended:
        raise Violation("the end of file on descriptor 3", "none", given=given, recipe=recipe)


def third_of(caller: Caller, greeting: Reply) -> Callable[[bytes], bool]:
    """Return what tells what may follow login and password.

    That is nothing, or an empty field; with POP3, the stamp of the greeting, or any where that has none.
    """

    def is_third(rest: bytes) -> bool:
        if rest in (b"", b"\0"):
            return True
        if caller.language is not Language.POP3:
            return False
        stamp = find_stamp(greeting)
        return rest == stamp + b"\0" if stamp else STAMP.fullmatch(rest) is not None

    return is_third


def find_stamp(greeting: Reply) -> bytes:
    """Return the timestamp of a POP3 greeting (RFC 1939, APOP), nothing if there is none."""
    line = b"".join(greeting.lines)
    start, end = line.find(b"<"), line.rfind(b">")
    return line[start : end + 1] if 0 <= start < end else b""


def _judge(caller: Caller, attempt: Attempt) -> None:
    with caller.session(YES) as client:
        reply = client.attempt(attempt)
        require_exact(caller, attempt, reply, client.session.calls(), third_of(caller, client.greeting))


def _judge_together(caller: Caller, known: Sequence[Attempt]) -> None:
    """Judge attempts in sessions side by side, which is quicker where there is more than one processor."""
    with ExitStack() as stack:
        clients = caller.sessions([YES] * len(known), stack)
        early = [client.begin(attempt) for client, attempt in zip(clients, known, strict=True)]
        for client, attempt, first in zip(clients, known, early, strict=True):
            reply = first or client.reply()
            require_exact(caller, attempt, reply, client.session.calls(), third_of(caller, client.greeting))


def _judge_each(caller: Caller, trials: Trials, way: attempts.Way, most: int) -> None:
    """Try a way of sending a login and a password in clear: with what is known to go wrong, and with what is drawn."""
    known = [way(*pair) for pair in zip(dialogues.KNOWN, reversed(dialogues.KNOWN), strict=True)]
    for start in range(0, len(known), SIDE_BY_SIDE):
        _judge_together(caller, known[start : start + SIDE_BY_SIDE])
        trials.ran(len(known[start : start + SIDE_BY_SIDE]))
    trials.each(st.builds(way, dialogues.fields(), dialogues.fields()), partial(_judge, caller), most=most)


def by_plain(caller: Caller, trials: Trials) -> None:
    """AUTH PLAIN, the response in the command or asked for."""
    caller.announces(b"PLAIN")
    _judge_each(caller, trials, attempts.plain, 60)
    drawn = st.builds(attempts.plain_asked, dialogues.fields(), dialogues.fields())
    trials.each(drawn, partial(_judge, caller), most=30)


def by_login(caller: Caller, trials: Trials) -> None:
    """AUTH LOGIN that asks for both."""
    caller.announces(b"LOGIN")
    _judge_each(caller, trials, attempts.login, 60)


def by_login_initial(caller: Caller, trials: Trials) -> None:
    """AUTH LOGIN with the login in the command."""
    caller.announces(b"LOGIN")
    drawn = st.builds(attempts.login_initial, dialogues.fields(), dialogues.fields())
    trials.each(drawn, partial(_judge, caller), most=30)


def of_any_bytes(caller: Caller, trials: Trials) -> None:
    """What a server may refuse arrives as it is, or there is no call."""
    caller.only(Language.SMTP)
    ways = [way for way in attempts.SMTP_WAYS if _mechanism(way) in caller.mechanisms]

    def judge(attempt: Attempt) -> None:
        with caller.session(YES) as client:
            reply = client.attempt(attempt)
            calls = client.session.calls()
            if calls or reply.kind is Kind.YES:
                require_exact(caller, attempt, reply, calls, third_of(caller, client.greeting))

    for way in ways:
        for login, password in UNUSUAL:
            if login or way is not attempts.login_initial:  # which would be another command
                trials.once(partial(judge, way(login, password)))
    drawn = st.builds(_call, st.sampled_from(ways), dialogues.any_bytes(), dialogues.any_bytes())
    trials.each(drawn, judge, most=30)


def by_user_pass(caller: Caller, trials: Trials) -> None:
    """USER and PASS."""
    caller.only(Language.POP3)
    for login, password in zip(dialogues.NASTY, reversed(dialogues.NASTY), strict=True):
        if max(len(login), len(password)) <= 40:
            trials.once(partial(_judge, caller, attempts.user_pass(login, password)))
    trials.each(dialogues.pop3_attempts(), partial(_judge, caller), most=60)


def with_spaces(caller: Caller, trials: Trials) -> None:
    """PASS with spaces inside."""
    caller.only(Language.POP3)
    words = st.lists(st.sampled_from((b"two", b"words", b"a")), min_size=2, max_size=4)
    passwords = st.builds(lambda gap, words: gap.join(words), st.sampled_from((b" ", b"  ")), words)
    trials.each(st.builds(attempts.user_pass, st.just(b"joe"), passwords), partial(_judge, caller), most=10)


def by_apop(caller: Caller, trials: Trials) -> None:
    """APOP: the digest is the second field, the stamp of the greeting the third."""
    caller.only(Language.POP3)

    def judge(attempt: Attempt) -> None:
        with caller.session(YES) as client:
            stamp = find_stamp(client.greeting)
            if not stamp:
                raise NotJudged("its greeting has no timestamp, so there is no APOP")
            reply = client.attempt(attempt)
            calls = client.session.calls()
            if reply.kind is Kind.NO and not calls:
                raise NotJudged("it refuses APOP")
            require_exact(caller, attempt, reply, calls, partial(operator.eq, stamp + b"\0"))

    trials.each(st.builds(attempts.apop, dialogues.pop3_fields(), dialogues.digests()), judge, most=20)


def by_cram_md5(caller: Caller, trials: Trials) -> None:
    """CRAM-MD5: the client's digest is the second field, the challenge the third."""
    caller.announces(b"CRAM-MD5")

    def judge(attempt: Attempt) -> None:
        with caller.session(YES) as client:
            reply = client.attempt(attempt)
            challenge = next((line for line in client.heard.split(b"\r\n") if line.startswith(b"334 ")), b"334 ")
            third = attempts.decode(challenge[4:])
            require_exact(caller, attempt, reply, client.session.calls(), partial(operator.eq, third + b"\0"))

    names = st.sampled_from((b"joe", b"joe@example.com", b"\xc3\xa9"))
    trials.each(st.builds(attempts.cram_md5, names, dialogues.digests()), judge, most=20)


def third_field(caller: Caller, trials: Trials) -> None:
    """A third field, be it empty, stands behind login and password, and is terminated."""
    attempt = caller.log_in()

    def judge() -> None:
        reply, calls = caller.try_once(attempt)
        if not calls:
            raise Violation("a call of the checker", f"none, and the reply {reply}", given=attempt.wire)
        record = calls[0].record
        if record.count(b"\0") < 3:
            seen = f"{record!a}"
            raise Violation(
                "login, password and timestamp, a NUL behind each",
                seen,
                given=attempt.wire,
                recipe=caller.recipe(attempt.wire),
            )

    trials.once(judge)


def whole_512(caller: Caller, trials: Trials) -> None:
    """A record of 512 bytes is carried whole."""
    caller.only(Language.SMTP)
    overhead = measure_overhead(caller)
    way = attempts.plain_asked if b"PLAIN" in caller.mechanisms else attempts.login

    def judge(login: int) -> None:
        _judge(caller, way(b"u" * login, b"p" * (MAX_RECORD - overhead - login)))

    trials.each(st.sampled_from((255, 254, 64, 8, 1, 500)), judge, most=6)


def measure_overhead(caller: Caller) -> int:
    """Return how many bytes a record of this caller has besides login and password.

    Raises:
        NotJudged: the checker was not called.
    """
    attempt = caller.log_in()
    _, calls = caller.try_once(attempt)
    if not calls:
        raise NotJudged("a plain attempt to log in leads to no call")
    return len(calls[0].record) - sum(map(len, attempt.fields))


def _call(way: "attempts.Way", login: bytes, password: bytes) -> Attempt:
    return way(login, password)


def _mechanism(way: "attempts.Way") -> bytes:
    return b"PLAIN" if way in (attempts.plain, attempts.plain_asked) else b"LOGIN"


PROPERTIES = (
    Property(
        "record-plain",
        Severity.MUST,
        "Login and password of AUTH PLAIN reach descriptor 3 byte for byte, in one call, up to the end of file.",
        f"{INTERFACE}; RFC 4616",
        by_plain,
    ),
    Property(
        "record-login",
        Severity.MUST,
        "Login and password of AUTH LOGIN reach descriptor 3 byte for byte, in one call, up to the end of file.",
        INTERFACE,
        by_login,
    ),
    Property(
        "record-login-initial",
        Severity.SHOULD,
        "AUTH LOGIN with the login in the command does the same.",
        "practice",
        by_login_initial,
    ),
    Property(
        "record-any-bytes",
        Severity.MUST,
        "Bytes that are not UTF-8, line ends and empty fields arrive as they are, or the checker is not called.",
        INTERFACE,
        of_any_bytes,
    ),
    Property(
        "record-user-pass",
        Severity.MUST,
        "Login and password of USER and PASS reach descriptor 3 byte for byte, in one call, up to the end of file.",
        f"{INTERFACE}; RFC 1939",
        by_user_pass,
    ),
    Property(
        "record-pass-with-spaces",
        Severity.SHOULD,
        "Spaces inside the argument of PASS are part of the password.",
        "RFC 1939 section 7",
        with_spaces,
    ),
    Property(
        "record-apop",
        Severity.MUST,
        "With APOP the digest is the second field, and the timestamp of the greeting the third.",
        f"{INTERFACE}; RFC 1939",
        by_apop,
    ),
    Property(
        "record-cram-md5",
        Severity.MUST,
        "With CRAM-MD5 the client's digest is the second field, and the challenge, decoded, the third.",
        f"{INTERFACE}; RFC 2195",
        by_cram_md5,
    ),
    Property(
        "record-third-field",
        Severity.MUST,
        "Behind login and password there is a third field, which may be empty, and each ends with a NUL.",
        INTERFACE,
        third_field,
    ),
    Property(
        "record-512",
        Severity.SHOULD,
        "Login and password that make a record of exactly 512 bytes reach the checker.",
        f"{INTERFACE}; RFC 4616 section 2",
        whole_512,
    ),
)
