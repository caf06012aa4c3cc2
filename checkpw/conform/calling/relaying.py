"""Properties: who may relay, or see a mailbox, and when. No message is ever sent: a session ends at DATA."""

from contextlib import ExitStack

from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.call import NO, YES, Answer
from checkpw.conform.calling.dialogue import Client, Kind, Language, Reply
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.trials import Trials

NOES = (NO, Answer(status=2), Answer(status=111), Answer(status=100), Answer(signal=9), Answer(status=1, closes=True))
MAILBOX = (b"STAT", b"LIST", b"RETR 1", b"DELE 1", b"UIDL")
OPEN = (Kind.YES, Kind.MORE)
UNSENT = (
    Attempt("AUTH PLAIN that is given up", (b"AUTH PLAIN", b"*")),
    Attempt("AUTH PLAIN that is not base64", (b"AUTH PLAIN !!!!",)),
    Attempt("AUTH LOGIN that is given up at the password", (b"AUTH LOGIN", b"am9l", b"*")),
    Attempt("an unknown mechanism", (b"AUTH X-NONE",)),
    Attempt("no mechanism", (b"AUTH",)),
)


def require_shut(caller: Caller, client: Client, when: str, given: bytes = b"", answer: Answer = NO) -> None:
    """Try what only somebody who is logged in may do.

    Raises:
        Violation: it is allowed.
    """
    if caller.language is Language.POP3:
        for command in MAILBOX:
            _require_no(
                client.ask(command), f"{command.decode()} refused {when}", given + command + b"\r\n", caller, answer
            )
        return
    line = b"RCPT TO:<" + caller.recipient + b">\r\n"
    relay = client.relay(caller.sender, caller.recipient)
    _require_no(relay, f"no relay {when}", given + b"MAIL FROM:<" + caller.sender + b">\r\n" + line, caller, answer)
    _require_no(client.ask(b"DATA"), f"DATA refused {when}", given + b"DATA\r\n", caller, answer)


def _require_no(reply: Reply, expected: str, given: bytes, caller: Caller, answer: Answer) -> None:
    if reply.kind in OPEN:
        raise Violation(expected, str(reply), given=given, recipe=caller.recipe(given, answer))


def before(caller: Caller, trials: Trials) -> None:
    """Nobody who has not logged in."""
    with caller.session(YES) as client:
        require_shut(caller, client, "before a login", answer=YES)
        if calls := client.session.calls():
            raise Violation("no call of the checker before a login", f"{len(calls)}, with {calls[0].record!a}")
    trials.ran()


def after_no(caller: Caller, trials: Trials) -> None:
    """Nobody who was refused, whatever the refusal was."""
    attempt = caller.log_in()
    with ExitStack() as stack:
        clients = caller.sessions(NOES, stack)
        early = [client.begin(attempt) for client in clients]
        for client, answer, first in zip(clients, NOES, early, strict=True):
            reply = first or client.reply()
            if reply.kind is not Kind.CLOSED:
                require_shut(caller, client, f"after the checker {answer}", attempt.wire, answer)
    trials.ran(len(NOES))
    if caller.language is not Language.SMTP:
        return
    for unsent in UNSENT:
        with caller.session(YES) as client:
            client.attempt(unsent)
            require_shut(caller, client, f"after {unsent.way}", unsent.wire, YES)
        trials.ran()


def after_yes(caller: Caller, trials: Trials) -> None:
    """Whoever was accepted may relay, if anybody may."""
    caller.only(Language.SMTP)
    attempt = caller.log_in()
    with caller.session(YES) as client:
        reply = client.attempt(attempt)
        if reply.kind is not Kind.YES:
            raise NotJudged(f"there is no login: {reply}")
        relay = client.relay(caller.sender, caller.recipient)
    trials.ran()
    if relay.kind is not Kind.YES:
        given = attempt.wire + b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n" % (caller.sender, caller.recipient)
        raise Violation("250 for a foreign recipient after a yes", str(relay), given=given, recipe=caller.recipe(given))


def pipelined(caller: Caller, trials: Trials) -> None:
    """What a client sends behind AUTH, without waiting, is answered after the verdict and as it says."""
    caller.only(Language.SMTP)
    attempt = caller.log_in()
    more = b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n" % (caller.sender, caller.recipient)
    with caller.session(Answer(status=1, holds=True)) as client:
        for line in attempt.lines[:-1]:
            client.ask(line)
        client.session.send(attempt.lines[-1] + b"\r\n" + more + b"DATA\r\n")
        if client.session.wait_for_call(caller.patience) is None:
            raise Violation("a call of the checker", "none", given=attempt.wire + more)
        is_early = not client.session.is_silent()
        client.session.release()
        told: list[Reply] = []
        while len(told) < 4 and (not told or told[-1].kind not in (Kind.CLOSED, Kind.SILENT)):
            told.append(client.reply())
    trials.ran()
    wire = attempt.wire + more + b"DATA\r\n"
    if is_early:
        raise Violation("no reply before the verdict", str(told[0]), given=wire, recipe=caller.recipe(wire, NO))
    if told[0].kind in OPEN:
        raise Violation("a refusal, as the checker says no", str(told[0]), given=wire, recipe=caller.recipe(wire, NO))
    # A MAIL that is accepted from anybody is no relay: RCPT and DATA count.
    for reply in told[2:]:
        _require_no(reply, "no relay for commands behind an AUTH that fails", wire, caller, NO)


def once(caller: Caller, trials: Trials) -> None:
    """Who is logged in cannot log in again."""
    caller.only(Language.SMTP)
    if caller.is_chain:
        raise NotJudged("who answers after a yes is what the checker runs")
    attempt = caller.log_in()
    with caller.session(YES) as client:
        if client.attempt(attempt).kind is not Kind.YES:
            raise NotJudged("there is no login")
        reply = client.ask(attempt.lines[0])
        count = len(client.session.calls())
    trials.ran()
    wire = attempt.wire + attempt.lines[0] + b"\r\n"
    if reply.code != 503 or count != 1:
        seen = f"{reply}, and {count} calls"
        raise Violation("503 for a second AUTH, and no second call", seen, given=wire, recipe=caller.recipe(wire))


PROPERTIES = (
    Property(
        "relay-not-before",
        Severity.MUST,
        "Before a login no mail is taken for a foreign address, nor a mailbox shown.",
        "RFC 6409 section 4.3; RFC 1939 section 4",
        before,
    ),
    Property(
        "relay-not-after-no",
        Severity.MUST,
        "After a login that failed, in whatever way, no mail is taken for a foreign address, nor a mailbox shown.",
        "RFC 6409 section 4.3; RFC 1939 section 4",
        after_no,
    ),
    Property(
        "relay-not-pipelined",
        Severity.MUST,
        "Commands that were sent behind AUTH without waiting are answered after the verdict, and under it.",
        "RFC 4954 section 4; RFC 2920",
        pipelined,
    ),
    Property(
        "relay-after-yes",
        Severity.SHOULD,
        "After a yes, mail for a foreign address is taken.",
        "RFC 6409 section 3.1",
        after_yes,
    ),
    Property(
        "relay-one-login",
        Severity.MUST,
        "After a yes, a second AUTH is answered 503 and the checker is not called again.",
        "RFC 4954 section 4",
        once,
    ),
)
