"""The session engine: a small model of it, step by step, and arbitrary bytes."""

import base64

import hypothesis
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from references import slow_dot_decode
from splits import PLACES, cut

from checkpw.smtp import replies
from checkpw.smtp.events import (
    NEED_DATA,
    OUTPUT_FULL,
    PAUSED,
    AuthAttempted,
    Closed,
    MessageBlock,
    MessageEnded,
    MessageOffered,
    RecipientOffered,
    SenderOffered,
    TlsRequested,
)
from checkpw.smtp.limits import Limits
from checkpw.smtp.offers import Offers
from checkpw.smtp.replies import Reply
from checkpw.smtp.session import Session

DECISIVE = (AuthAttempted, SenderOffered, RecipientOffered, MessageOffered, MessageEnded, TlsRequested)
NO = Reply(554, b"5.7.1", b"no")
LATER = Reply(454, b"4.7.0", b"later")
LATER_TLS = Reply(450, b"4.7.0", b"no TLS now")


def describe(event):
    """Give what can be compared of an event."""
    told = {name: getattr(event, name) for name in event.__slots__}
    if "credentials" in told and told["credentials"] is not None:
        told["credentials"] = told["credentials"].encode()
    if "envelope" in told:
        envelope = told["envelope"]
        assert len(envelope.recipient_parameters) == len(envelope.recipients)
        told["envelope"] = {name: getattr(envelope, name) for name in envelope.__slots__}
    return type(event).__name__, tuple((name, repr(value)) for name, value in told.items())


class Driver:
    """Feeds a session and decides what it asks, by `decide(event)`: None for yes, or a reply.

    Attributes:
        told: every event, consecutive blocks as one.
        said: everything that was sent.
        is_shaking_hands: STARTTLS was accepted, and `secure` is due.
    """

    def __init__(self, session, decide):
        self.session = session
        self.decide = decide
        self.told = []
        self.said = b""
        self.is_closed = False
        self.is_shaking_hands = False

    def feed(self, *pieces):
        """Give the session bytes, until it wants more; give the events that came of it."""
        before = len(self.told)
        for piece in pieces:
            self.session.receive_data(piece)
            self._drain()
        return self.told[before:]

    def secure(self):
        """Be done with a handshake; give how much the session has thrown away."""
        self.is_shaking_hands = False
        discarded = self.session.start_over(None)
        self._drain()
        return discarded

    def end(self):
        """Tell the session that the client is gone."""
        if self.is_shaking_hands:
            self.secure()
        self.session.receive_eof()
        self._drain()
        assert self.is_closed

    def _drain(self):
        while not self.is_shaking_hands and (event := self.session.next_event()) is not NEED_DATA:
            if event is OUTPUT_FULL:
                self.said += self.session.data_to_send()
                continue
            if isinstance(event, Closed):
                if not self.is_closed:
                    self.told.append(describe(event))
                self.is_closed = True
                break
            if isinstance(event, MessageBlock) and self.told and self.told[-1][0] == "MessageBlock":
                self.told[-1] = ("MessageBlock", self.told[-1][1] + event.data)
            else:
                block = isinstance(event, MessageBlock)
                self.told.append(("MessageBlock", event.data) if block else describe(event))
            if isinstance(event, DECISIVE):
                assert self.session.next_event() is PAUSED
                assert self.session.next_event() is PAUSED
                verdict = self.decide(event)
                if verdict is None:
                    self.session.accept()
                    self.is_shaking_hands = isinstance(event, TlsRequested)
                else:
                    self.session.reject(verdict)
        if self.is_shaking_hands:
            assert self.session.next_event() is PAUSED
        self.said += self.session.data_to_send()


def check_wire(said):
    """See to it that every line is one that a client can read."""
    for line in said.split(b"\r\n")[:-1]:
        assert len(line) <= 510 and b"\n" not in line and b"\r" not in line
        assert line[:3].isdigit() and line[3:4] in (b" ", b"-")
        code, words = int(line[:3]), line[4:].split()
        is_status = bool(words) and words[0].count(b".") == 2 and words[0].replace(b".", b"").isdigit()
        if is_status:
            assert words[0][:1] == line[:1]
        else:
            assert code in (220, 250, 334, 354)
    assert said.endswith(b"\r\n")


# --- step by step


MESSAGE_BYTES = 60
RECIPIENTS = 2


class SessionMachine(RuleBasedStateMachine):
    """What a client may do, and what a small model expects to hear."""

    @initialize(is_authorised=st.booleans(), errors=st.integers(1, 12), failures=st.integers(1, 4), seed=st.randoms())
    def begin(self, is_authorised, errors, failures, seed):
        """Open a session, of which a second and a third are told the same, cut otherwise."""
        self.seed = seed
        self.arguments = {"is_authorised": is_authorised, "auth_refusal": None, "offers_starttls": True}
        self.arguments["offers"] = Offers(smtputf8=True, dsn=True, requiretls=True)
        self.limits = Limits(MESSAGE_BYTES, RECIPIENTS, errors, failures)
        self.verdicts = []
        self.wire = b""
        self.driver = Driver(Session(b"mail.example", self.limits, **self.arguments), self._decide)
        self.driver.feed(b"")
        self.heard = len(self.driver.said)
        self.authorised = is_authorised
        self.logged_in = self.uses_tls = False
        self.before_tls = None
        self.transaction = None  # or the number of recipients, or "chunks"
        self.size = 0
        self.failed = self.failures = 0
        self.verdict = None
        self.is_over = False

    def _decide(self, _event):
        self.verdicts.append(self.verdict)
        return self.verdict

    def _say(self, wire, *codes, events=()):
        """Send something, and expect these codes and kinds of events."""
        self.wire += wire
        told = [name for name, _ in self.driver.feed(wire)]
        said = self.driver.said[self.heard :]
        self.heard = len(self.driver.said)
        heard = [int(line[:3]) for line in said.split(b"\r\n")[:-1] if line[3:4] == b" "]
        codes = [*codes, *self._count(codes)]
        assert heard == codes, (wire, heard, codes)
        assert told == [*events, *["Closed"] * self.is_over], (wire, told)

    def _count(self, codes):
        """Count what is held against a client, and say when it is enough."""
        final = codes[-1] if codes else 250
        if final in (535, 501) and self.is_attempt:
            self.failures += 1
            is_enough = self.failures >= self.limits.auth_failures
        elif final >= 500 or final == 454:
            self.failed += 1
            is_enough = self.failed >= self.limits.errors
        else:
            is_enough = False
        self.is_attempt = False
        self.is_over |= is_enough
        return [421] if is_enough else []

    is_attempt = False

    def teardown(self):
        """Go away; the same bytes and decisions in other pieces give the same events and words."""
        if not hasattr(self, "driver"):
            return
        self.driver.end()
        if self.driver.said:
            check_wire(self.driver.said)
        random_places = [self.seed.randrange(1 + len(self.wire)) for _ in range(10)]
        for places in ([], None, random_places):
            verdicts = iter(self.verdicts)
            again = Driver(Session(b"mail.example", self.limits, **self.arguments), lambda _event: next(verdicts))  # noqa: B023
            if self.before_tls is None:
                again.feed(b"", *cut(self.wire, places))
            else:
                again.feed(b"", *cut(self.wire[: self.before_tls], places))
                again.secure()
                again.feed(b"", *cut(self.wire[self.before_tls :], places))
            again.end()
            assert (again.told, again.said) == (self.driver.told, self.driver.said)

    @invariant()
    def agrees(self):
        """The session's state is the model's."""
        if hasattr(self, "driver") and not self.is_over:
            state = self.driver.session.state
            if not self.authorised:
                assert state == "stranger"
            else:
                assert state == {None: "ready", 0: "mail", "chunks": "chunks"}.get(self.transaction, "rcpt")
            assert (self.driver.session.login is not None) == self.logged_in
            assert self.driver.session.uses_tls == self.uses_tls

    # What does not matter to anything.

    @precondition(lambda self: not self.is_over)
    @rule(word=st.sampled_from([(b"NOOP x", 250), (b"VRFY", 252), (b"HELP", 214), (b"ETRN", 502), (b"", 502)]))
    def say_something(self, word):
        """Commands without consequence."""
        self._say(word[0] + b"\r\n", word[1])

    @precondition(lambda self: not self.is_over)
    @rule()
    def hear_what_is_offered(self):
        """STARTTLS is announced before it, REQUIRETLS behind it, and AUTH to whom has not logged in."""
        aborted = ["MessageAborted"] if self.transaction == "chunks" else []
        self.transaction = None
        self._say(b"EHLO x\r\n", 250, events=aborted)
        words = self.driver.said.rpartition(b"250-mail.example\r\n")[2].split(b"\r\n")
        assert (b"STARTTLS" in {word[4:] for word in words}) == (not self.uses_tls)
        assert (b"REQUIRETLS" in {word[4:] for word in words}) == self.uses_tls
        assert any(word[4:9] == b"AUTH " for word in words) == (not self.logged_in)
        assert {b"SMTPUTF8", b"DSN"} <= {word[4:] for word in words}

    @precondition(lambda self: not self.is_over)
    @rule(
        verdict=st.sampled_from([None, None, LATER_TLS]),
        behind=st.sampled_from(
            [b"", b"NOOP\r\n", b"QUIT\r\n", b"AUTH PLAIN AGpvZQB4\r\nMAIL FROM:<a@b>\r\n", b"MAIL F"]
        ),
        argument=st.sampled_from([b"", b"", b" ", b" x"]),
    )
    def starttls(self, verdict, behind, argument):
        """STARTTLS takes everything back but failures, and what stands behind it in clear was never said."""
        wire = b"STARTTLS" + argument + b"\r\n"
        if self.uses_tls or self.transaction is not None:
            self._say(wire, 503)
        elif argument == b" x":
            self._say(wire, 501)
        else:
            self.verdict = verdict
            if verdict is not None:
                self._say(wire, 450, events=["TlsRequested"])
                return
            self._say(wire + behind, 220, events=["TlsRequested"])
            self.before_tls = len(self.wire)
            assert self.driver.secure() == len(behind)
            self.logged_in, self.uses_tls = False, True
            self.authorised = self.arguments["is_authorised"]

    @precondition(lambda self: not self.is_over)
    @rule(word=st.sampled_from([b"RSET", b"HELO x", b"EHLO x"]))
    def reset(self, word):
        """The transaction is over, the permission is not."""
        aborted = ["MessageAborted"] if self.transaction == "chunks" else []
        self.transaction = None
        self._say(word + b"\r\n", 250, events=aborted)

    # AUTH.

    @precondition(lambda self: not self.is_over)
    @rule(
        kind=st.sampled_from(
            ["right", "right", "wrong", "later", "malformed", "nobody else", "in two lines", "cancelled"]
        )
    )
    def authenticate(self, kind):
        """An exchange, if there may be one."""
        text = b"root\0joe\0x" if kind == "nobody else" else b"\0joe\0x"
        response = b"!" if kind == "malformed" else base64.b64encode(text)
        if self.logged_in or self.transaction is not None:
            self._say(b"AUTH PLAIN " + response + b"\r\n", 503)
            return
        if kind == "cancelled":
            self._say(b"AUTH LOGIN\r\n*\r\n", 334, 501)
            return
        outcome, code = {
            "wrong": (replies.AUTH_FAILED, 535),
            "later": (LATER, 454),
            "malformed": (replies.AUTH_MALFORMED, 501),
            "nobody else": (replies.AUTH_FAILED, 535),
        }.get(kind, (None, 235))
        self.verdict = outcome
        self.is_attempt = True
        if outcome is None:
            self.logged_in = self.authorised = True
        if kind == "in two lines":
            self._say(b"AUTH PLAIN\r\n" + response + b"\r\n", 334, code, events=["AuthAttempted"])
        else:
            self._say(b"AUTH PLAIN " + response + b"\r\n", code, events=["AuthAttempted"])

    # A transaction.

    @precondition(lambda self: not self.is_over)
    @rule(verdict=st.sampled_from([None, None, NO]), is_bad=st.sampled_from([False, False, True]))
    def mail(self, verdict, is_bad):
        """MAIL begins a transaction, unless it is refused, and ends one in any case."""
        wire = b"MAIL FROM:<a@b>" + (b" X=Y\r\n" if is_bad else b" BODY=8BITMIME\r\n")
        if not self.authorised:
            self._say(wire, 530)
        elif self.transaction == "chunks":
            self._say(wire, 503)
        else:
            self.verdict = verdict
            self.transaction = None if is_bad or verdict else 0
            code = 555 if is_bad else 554 if verdict else 250
            self._say(wire, code, events=[] if is_bad else ["SenderOffered"])

    @precondition(lambda self: not self.is_over)
    @rule(verdict=st.sampled_from([None, None, None, NO]), is_bad=st.sampled_from([False, False, True]))
    def rcpt(self, verdict, is_bad):
        """RCPT adds a recipient, up to the limit."""
        wire = b"RCPT TO:<>\r\n" if is_bad else b"RCPT TO:<c@d>\r\n"
        if not self.authorised:
            self._say(wire, 530)
        elif self.transaction in (None, "chunks"):
            self._say(wire, 503)
        elif self.transaction == RECIPIENTS:
            self._say(wire, 452)
        elif is_bad:
            self._say(wire, 501)
        else:
            self.verdict = verdict
            self.transaction += verdict is None
            self._say(wire, 554 if verdict else 250, events=["RecipientOffered"])

    @precondition(lambda self: not self.is_over)
    @rule(
        verdict=st.sampled_from([None, None, None, NO]),
        lines=st.lists(
            st.sampled_from([b"", b".", b"..x", b"QUIT", b"MAIL FROM:<evil@x>", b"a\rb", b"x" * 20]), max_size=5
        ),
    )
    def data(self, verdict, lines):
        """DATA takes a message, whose text is no command, and one decision before and one after it."""
        if not self.authorised or self.transaction in (None, 0, "chunks"):
            self._say(b"DATA\r\n", 503 if self.authorised else 530)
            return
        self.verdict = verdict
        self.transaction = None
        if verdict is not None:
            self._say(b"DATA\r\n", 554, events=["MessageOffered"])
            return
        text = b"".join(line.replace(b"\r", b" ") + b"\n" for line in lines)
        wire = b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines)
        block = ["MessageBlock"] * bool(text)
        if len(text) > MESSAGE_BYTES:
            # Whether anything of it was passed on depends on how it came: here it came in one piece.
            self._say(b"DATA\r\n", 354, events=["MessageOffered"])
            self._say(wire + b".\r\n", 552, events=["MessageAborted"])
            return
        self._say(b"DATA\r\n", 354, events=["MessageOffered"])
        self._say(wire + b".\r\n", 250, events=[*block, "MessageEnded"])
        if text:
            assert self.driver.told[-2 - self.is_over] == ("MessageBlock", text)

    @precondition(lambda self: not self.is_over)
    @rule(
        octets=st.sampled_from([b"", b"QUIT\r\n", b"RSET\r\n", b"x" * 30, b"\r", b"\n", b"\r\n.\r\n", b"x" * 61]),
        is_last=st.booleans(),
        verdict=st.sampled_from([None, None, None, NO]),
    )
    def bdat(self, octets, is_last, verdict):
        """BDAT takes its octets, whatever becomes of them, and answers once."""
        wire = b"BDAT %d%s\r\n" % (len(octets), b" LAST" * is_last) + octets
        if not self.authorised or self.transaction in (None, 0):
            self._say(wire, 503 if self.authorised else 530)
            return
        is_first, self.verdict = self.transaction != "chunks", verdict
        if len(octets) > MESSAGE_BYTES:
            self.transaction = None
            self._say(wire, 552, events=[] if is_first else ["MessageAborted"])
            return
        events = ["MessageOffered"] if is_first else []
        if is_first:
            self.size = 0
            self.text = b""
            if verdict is not None:
                self.transaction = None
                self._say(wire, 554, events=events)
                return
        self._take_chunk(wire, octets, is_last, events)

    def _take_chunk(self, wire, octets, is_last, events):
        before = _as_text(self.text, is_complete=False)
        self.text += octets
        after = _as_text(self.text, is_complete=is_last)
        self.transaction = "chunks"
        if len(after) > MESSAGE_BYTES:
            self.transaction = None
            # The line end that is added comes as a block of its own, after what the chunk brought.
            brought = _as_text(self.text, is_complete=False)
            fits = ["MessageBlock"] * (before != brought and len(brought) <= MESSAGE_BYTES)
            self._say(wire, 552, events=[*events, *self._new(fits), "MessageAborted"])
            return
        block = self._new(["MessageBlock"] * (before != after))
        if is_last:
            self.transaction = None
            code = 250 if self.verdict is None else 554
            self._say(wire, code, events=[*events, *block, "MessageEnded"])
        else:
            self._say(wire, 250, events=[*events, *block])

    def _new(self, block):
        """Blocks that follow each other are told as one."""
        is_more = self.driver.told and self.driver.told[-1][0] == "MessageBlock"
        return [] if is_more else block

    @precondition(lambda self: not self.is_over)
    @rule()
    def leave(self):
        """QUIT ends everything, and nothing behind it is heard."""
        aborted = ["MessageAborted"] if self.transaction == "chunks" else []
        self.is_over = True
        self._say(b"QUIT\r\nNOOP\r\nMAIL FROM:<a@b>\r\n", 221, events=aborted)

    @precondition(lambda self: self.is_over)
    @rule()
    def speak_after_the_end(self):
        """Whoever speaks after the end is not heard."""
        self.wire += b"NOOP\r\n"
        assert self.driver.feed(b"NOOP\r\n") == []
        assert self.driver.said[self.heard :] == b""


def _as_text(octets, *, is_complete):
    """Give the text of chunks so far: a CR at the end waits for what comes next."""
    held = b"" if is_complete or not octets.endswith(b"\r") else b"\r"
    text = octets.removesuffix(held) if held else octets
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    return text + b"\n" if is_complete and text and not text.endswith(b"\n") else text


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = hypothesis.settings(stateful_step_count=25, max_examples=150)


# --- arbitrary bytes


COMMANDS = [b"EHLO x", b"RSET", b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b> SMTPUTF8", b"RCPT TO:<c@d>", b"DATA", b"BDAT 5"]
COMMANDS += [b"BDAT 9 LAST", b"BDAT x", b"AUTH PLAIN AGpvZQB4", b"AUTH LOGIN", b"AUTH PLAIN", b"am9l", b"*", b"QUIT"]
COMMANDS += [b"STARTTLS", b"MAIL FROM:<a@b> RET=HDRS ENVID=x", b"RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;a"]
COMMANDS += [b".", b"x" * 2050, b"y" * 12300, b"Subject: s", b"", b"NOOP"]
WIRE = st.one_of(
    st.lists(
        st.tuples(st.sampled_from(COMMANDS), st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"", b"\0"])),
        max_size=25,
    ).map(lambda made: b"".join(command + end for command, end in made)),
    st.binary(max_size=80),
)
YES, NEVER = "yes", "never"


def _driver(policy, *, is_authorised=False, may_speak_lf=False):
    """Make a session in which everything that can be accepted is, nothing is, or every other thing."""
    asked = []

    def decide(event):
        asked.append(event)
        if isinstance(event, AuthAttempted) and event.refusal is not None:
            return event.refusal
        is_yes = policy == YES or (policy != NEVER and len(asked) % 2)
        return None if is_yes else NO

    session = Session(
        b"mail.example",
        Limits(40, 2, 6, 3),
        is_authorised=is_authorised,
        auth_refusal=None,
        offers=Offers(smtputf8=True, dsn=True),
        offers_starttls=True,
        may_speak_lf=may_speak_lf,
    )
    return Driver(session, decide)


@given(WIRE, PLACES, st.sampled_from([YES, NEVER, "in turn"]), st.booleans(), st.booleans())
@example(b"x" * 3000 + b"\r\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n.\nQUIT\n.\r\n", [3001], YES, True, True)  # noqa: FBT003
def test_any_bytes(wire, places, policy, is_authorised, may_speak_lf):
    """No input makes the engine raise, and it leads to the same however it is cut."""
    outcomes = []
    for pieces in (cut(wire, []), cut(wire, places)):
        driver = _driver(policy, is_authorised=is_authorised, may_speak_lf=may_speak_lf)
        driver.feed(b"", *pieces)
        driver.end()
        check_wire(driver.said)
        outcomes.append((_without_lost_text(driver.told), driver.said))
    assert outcomes[0] == outcomes[1]


def _without_lost_text(told):
    """Leave out text of messages that were aborted: how much of it was passed on depends on how it came."""
    kept = []
    for name, what in told:
        if name == "MessageAborted" and kept and kept[-1][0] == "MessageBlock":
            kept.pop()
        kept.append((name, what))
    return kept


@given(WIRE, WIRE, PLACES, st.booleans())
@example(b"", b"NOOP\r\n", None, False)  # noqa: FBT003
@example(b"", b"AUTH PLAIN AGpvZQB4\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", [], True)  # noqa: FBT003
@example(b"EHLO x\r\nAUTH LOGIN\r\nam9l\r\nYg==\r\n", b"RCPT TO:<c@d>\r\nDATA\r\n", [11], False)  # noqa: FBT003
@example(b"", b"x" * 9000, [], True)  # noqa: FBT003
def test_nothing_crosses_into_tls(before, behind, places, is_authorised):
    """Whatever came in clear behind STARTTLS leaves no trace but a number, and the session is as at its beginning."""
    driver = _driver(YES, is_authorised=is_authorised)
    driver.feed(b"", before, b"\r\n")
    hypothesis.assume(
        not driver.is_closed and not driver.is_shaking_hands and driver.session.state in ("stranger", "ready")
    )
    said = len(driver.said)
    driver.feed(b"STARTTLS\r\n")
    hypothesis.assume(driver.is_shaking_hands)
    assert driver.said[said:].endswith(b"220 2.0.0 ready to start TLS\r\n")
    said, told = len(driver.said), len(driver.told)
    driver.feed(*cut(behind, places))
    assert driver.secure() == len(behind)
    assert (len(driver.said), len(driver.told)) == (said, told)
    assert driver.session.login is None and driver.session.is_extended
    assert driver.session.state == ("ready" if is_authorised else "stranger")
    driver.feed(b"RCPT TO:<c@d>\r\nNOOP\r\nSTARTTLS\r\n")
    codes = [line[:3] for line in driver.said[said:].split(b"\r\n")]
    wanted = [b"503" if is_authorised else b"530", b"250", b"503"]
    assert codes[:-1] in (wanted, [*wanted, b"421"], [wanted[0], b"421"])  # errors in clear are not forgotten


@given(WIRE, PLACES)
@example(b"AUTH PLAIN AGpvZQB4\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n", [])
def test_nothing_without_permission(wire, places):
    """Where nobody says yes, nothing is offered but attempts to log in, and never a 235, a 250 2.1 or a 354."""
    driver = _driver(NEVER)
    driver.feed(b"", *cut(wire, places))
    driver.end()
    assert {name for name, _ in driver.told} <= {"AuthAttempted", "TlsRequested", "Closed"}
    assert not any(line.startswith((b"235", b"250 2.1", b"354", b"220 2")) for line in driver.said.split(b"\r\n"))


def _in_transaction(session_driver):
    session_driver.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    said = len(session_driver.said)
    return session_driver, said


@given(st.one_of(WIRE, st.binary(max_size=60)), PLACES)
@example(b"x\n.\r\nQUIT\r\n", [])
@example(b"x\r\n.\nQUIT\r\n", [])
@example(b".\rQUIT\r\n", [])
def test_no_command_out_of_data(text, places):
    """Until CRLF.CRLF nothing in a message is executed or answered, whatever it looks like."""
    _, rest, _ = slow_dot_decode(text, b"\r\n")
    hypothesis.assume(rest is None)
    driver, _ = _in_transaction(_driver(YES, is_authorised=True))
    driver.feed(b"DATA\r\n")
    said, told = driver.said, len(driver.told)
    driver.feed(*cut(text, places))
    assert driver.said == said
    assert {name for name, _ in driver.told[told:]} <= {"MessageBlock", "MessageAborted"}


@given(WIRE, PLACES, st.booleans(), st.sampled_from([YES, NEVER]), st.booleans())
@example(b"QUIT\r\n", [], True, YES, True)  # noqa: FBT003
def test_no_command_out_of_chunks(octets, places, is_last, policy, is_authorised):
    """The octets of a chunk are never commands: accepted, refused or not allowed, it has one answer."""
    driver, said = _in_transaction(_driver(policy, is_authorised=is_authorised))
    driver.feed(*cut(b"BDAT %d%s\r\n" % (len(octets), b" LAST" * is_last) + octets, places))
    assert driver.said[said:].count(b"\r\n") == 1
    assert not driver.is_closed


@given(WIRE, st.sampled_from([YES, NEVER]))
def test_close_from_outside(wire, policy):
    """Whenever a session is closed, it says so, tells nothing more that waits for a decision, and stays closed."""
    driver = _driver(policy, is_authorised=True)
    driver.feed(b"", wire)
    driver.session.close(replies.NOT_SERVING, "shutdown")
    events = []
    while not isinstance(event := driver.session.next_event(), Closed):
        events.append(type(event).__name__)
    assert events in ([], ["MessageAborted"])
    words = driver.session.data_to_send()
    assert words == (b"" if driver.is_closed or driver.is_shaking_hands else replies.NOT_SERVING.render())
    assert event.reason == ("shutdown" if not driver.is_closed else event.reason)
    driver.session.receive_data(b"NOOP\r\n")
    assert isinstance(driver.session.next_event(), Closed) and driver.session.data_to_send() == b""
