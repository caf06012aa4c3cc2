"""Properties: what a caller must refuse by itself, without asking the checker."""

from collections.abc import Callable
from functools import partial

from hypothesis.strategies import SearchStrategy

from checkpw.conform import dialogues
from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.call import YES
from checkpw.conform.calling.dialogue import Kind, Language
from checkpw.conform.calling.records import INTERFACE, measure_overhead
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import Property, Severity, Violation
from checkpw.conform.trials import Trials

REFUSED = (Kind.NO, Kind.LATER, Kind.CLOSED)
SASL = "RFC 4954 section 4"


def require_refused(caller: Caller, attempt: Attempt) -> None:
    """Play an attempt to a caller whose checker would say yes.

    Raises:
        Violation: the checker was called, or the client was not refused.
    """
    reply, calls = caller.try_once(attempt, YES)
    recipe = caller.recipe(attempt.wire)
    if calls:
        seen = f"a call with {calls[0].record!a}" if len(calls[0].record) < 200 else _long(calls[0].record)
        raise Violation("no call of the checker", seen, given=attempt.wire, recipe=recipe)
    if reply.kind not in REFUSED:
        raise Violation("a refusal", f"the reply {reply}", given=attempt.wire, recipe=recipe)


def _long(record: bytes) -> str:
    return f"a call with {len(record)} bytes on descriptor 3, {record[:20]!a}..."


def _refuses(
    mechanism: bytes, attempts: Callable[[], SearchStrategy[Attempt]], most: int
) -> Callable[[Caller, Trials], None]:
    """Return the check that every attempt of a strategy is refused; of attempts by mechanisms that are announced."""

    def check(caller: Caller, trials: Trials) -> None:
        if mechanism:
            caller.announces(mechanism)
        caller.only(Language.SMTP)
        drawn = attempts().filter(lambda attempt: attempt.mechanism in caller.mechanisms)
        trials.each(drawn, partial(require_refused, caller), most=most)

    return check


def nul(caller: Caller, trials: Trials) -> None:
    """NUL in the login or the password, whatever the protocol."""
    drawn = dialogues.pop3_refused() if caller.language is Language.POP3 else dialogues.with_nul()
    drawn = drawn.filter(lambda attempt: attempt.mechanism in (*caller.mechanisms, b"USER"))
    trials.each(drawn, partial(require_refused, caller), most=30)


def over_long(caller: Caller, trials: Trials) -> None:
    """513 bytes and more."""
    overhead = measure_overhead(caller)
    if caller.language is Language.POP3:
        drawn = dialogues.pop3_over_long(overhead)
    else:
        drawn = dialogues.over_long(overhead).filter(lambda attempt: attempt.mechanism in caller.mechanisms)
    trials.each(drawn, partial(require_refused, caller), most=20)


def cancelled(caller: Caller, trials: Trials) -> None:
    """`*` in place of a response."""
    caller.only(Language.SMTP)

    def judge(attempt: Attempt) -> None:
        require_refused(caller, attempt)
        reply, _ = caller.try_once(attempt, YES)
        if reply.code != 501:
            raise Violation("501", str(reply), given=attempt.wire, recipe=caller.recipe(attempt.wire))

    drawn = dialogues.cancelled().filter(lambda attempt: attempt.mechanism in caller.mechanisms)
    trials.each(drawn, judge, most=6)


PROPERTIES = (
    Property(
        "refuse-nul",
        Severity.MUST,
        "A NUL in a login or password is refused without a call: on descriptor 3 it would begin another field.",
        INTERFACE,
        nul,
    ),
    Property(
        "refuse-over-long",
        Severity.MUST,
        "Login and password that would make a record of more than 512 bytes are refused without a call.",
        INTERFACE,
        over_long,
    ),
    Property(
        "refuse-line-end",
        Severity.SHOULD,
        "CR or LF in a login or password is refused without a call: what is logged or stored by lines is safe.",
        "practice",
        _refuses(b"", dialogues.with_line_end, 20),
    ),
    Property(
        "refuse-empty",
        Severity.SHOULD,
        "An empty login or password is refused without a call.",
        "RFC 4616 section 2",
        _refuses(b"", dialogues.empty, 11),
    ),
    Property(
        "refuse-not-base64",
        Severity.MUST,
        "A response with a character outside the alphabet of base64, or `=` before its end, is refused without a call.",
        SASL,
        _refuses(b"PLAIN", dialogues.not_base64, 30),
    ),
    Property(
        "refuse-padding",
        Severity.SHOULD,
        "A response with too little or too much padding is refused without a call.",
        "RFC 4648 section 3.2",
        _refuses(b"PLAIN", dialogues.badly_padded, 12),
    ),
    Property(
        "refuse-shape",
        Severity.MUST,
        "A response to AUTH PLAIN that has not two NULs is refused without a call.",
        "RFC 4616 section 2",
        _refuses(b"PLAIN", dialogues.wrong_shapes, 8),
    ),
    Property(
        "refuse-identity",
        Severity.SHOULD,
        "An authorisation identity that is not the login is refused without a call, because no checker can grant it.",
        "RFC 4616 section 2",
        _refuses(b"PLAIN", dialogues.with_foreign_identity, 12),
    ),
    Property(
        "refuse-cancelled",
        Severity.MUST,
        "A client that gives up with `*` is answered 501, and the checker is not called.",
        SASL,
        cancelled,
    ),
)
