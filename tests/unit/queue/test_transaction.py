"""One message at a next hop, with whatever the hop may say to it and whenever it may go."""

import pytest
from hop import HANG_UP, SILENCE, USUAL
from messages import TEXT, deliver, envelope, refused

from checkpw.errors import TemporaryFailure
from checkpw.operations import TimedOut
from checkpw.smtp.events import Envelope


def test_the_conversation(relay):
    """MAIL and RCPT go in one piece, the text with its dot in another, and the hop's words come back."""
    hop, runner, door = relay(answers={b".": b"250 2.0.0 Ok: queued as 4Xy"})
    assert runner.run(deliver(door, to=envelope(b"c@d", b"e@f"))) == b"Ok: queued as 4Xy"
    assert [line for _, line in hop.lines] == [
        b"EHLO we.example",
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<c@d>",
        b"RCPT TO:<e@f>",
        b"DATA",
    ]
    (message,) = hop.messages
    assert (message.recipients, message.text) == ([b"RCPT TO:<c@d>", b"RCPT TO:<e@f>"], TEXT)
    assert hop.writes == 4  # EHLO; MAIL and RCPT; DATA; the message


def test_without_pipelining(relay):
    """A hop that does not offer it gets one command at a time."""
    hop, runner, door = relay(b"8BITMIME")
    runner.run(deliver(door, to=envelope(b"c@d", b"e@f")))
    assert hop.writes == 6
    assert len(hop.messages) == 1


def test_many_recipients_go_in_groups(relay):
    """Neither side waits for the other with full buffers."""
    hop, runner, door = relay()
    runner.run(deliver(door, to=envelope(*(b"%d@d" % number for number in range(120)))))
    assert hop.writes == 1 + 3 + 2
    assert len(hop.messages[0].recipients) == 120


def test_a_hop_that_knows_no_ehlo(relay):
    """It gets HELO, and no parameter."""
    hop, runner, door = relay(answers={b"EHLO": b"500 what?", b"HELO": b"250 hello"})
    runner.run(deliver(door, to=envelope(words=[b"BODY=8BITMIME"])))
    assert hop.verbs() == [b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA"]
    assert hop.messages[0].mail == b"MAIL FROM:<a@b>"


def test_parameters(relay):
    """What the hop offers it gets."""
    hop, runner, door = relay(b"8BITMIME", b"SMTPUTF8", b"DSN", b"size 1000")
    to = Envelope(b"a@b", [b"BODY=8BITMIME", b"RET=HDRS"], is_utf8=True)
    to.add("ü@d".encode(), [b"NOTIFY=NEVER"])
    runner.run(deliver(door, to=to))
    assert hop.messages[0].mail == b"MAIL FROM:<a@b> BODY=8BITMIME RET=HDRS SMTPUTF8"
    assert hop.messages[0].recipients == ["RCPT TO:<ü@d> NOTIFY=NEVER".encode()]


def test_what_the_hop_cannot_carry(relay):
    """A UTF-8 message does not go where it would break, and neither does one that demands TLS without it."""
    hop, runner, door = relay()
    for to, status in ((envelope(is_utf8=True), b"5.6.7"), (envelope(words=[b"REQUIRETLS"]), b"5.7.30")):
        assert runner.run(refused(deliver(door, to=to)))[1] == status
    runner.run(deliver(door))
    assert (len(hop.messages), hop.connections) == (1, 1)
    assert runner.run(refused(deliver(door, to=envelope(b"c@d> X=1"))))[:2] == (554, b"5.1.3")


@pytest.mark.parametrize("extensions", [USUAL, (b"8BITMIME",)], ids=["pipelining", "one by one"])
@pytest.mark.parametrize(
    ("verb", "answer", "expected"),
    [
        (b"MAIL", b"550 5.7.1 not from you", (550, b"5.7.1", b"not from you")),
        (b"MAIL", b"452-4.3.1 disk\r\n452 4.3.1 full", (452, b"4.3.1", b"disk full")),
        (b"MAIL", b"530 5.7.0 log in first", (451, b"4.3.0", b"log in first")),
        (b"RCPT TO:<e@f>", b"550 5.1.1 no such user", (550, b"5.1.1", b"<e@f>: no such user")),
        (b"RCPT TO:<e@f>", b"450 4.2.0 greylisted", (450, b"4.2.0", b"<e@f>: greylisted")),
        (b"RCPT", b"550 no", (550, b"5.0.0", b"<c@d>: no")),
        (b"DATA", b"451 4.3.0 later", (451, b"4.3.0", b"later")),
        (b"DATA", b"554 5.5.1 no valid recipients", (554, b"5.5.1", b"no valid recipients")),
        (b".", b"552 5.3.4 too big", (552, b"5.3.4", b"too big")),
        (b".", b"451 4.7.1 scanner down", (451, b"4.7.1", b"scanner down")),
    ],
)
def test_refusals(relay, extensions, verb, answer, expected):
    """A refusal of any part refuses the whole message with the hop's words, and the connection is used again."""
    hop, runner, door = relay(*extensions, answers={verb: answer})
    assert runner.run(refused(deliver(door, to=envelope(b"c@d", b"e@f")))) == expected
    assert hop.messages == []
    hop.answers.clear()
    runner.run(deliver(door))
    assert ([message.recipients for message in hop.messages], hop.connections) == ([[b"RCPT TO:<c@d>"]], 1)
    assert hop.verbs().count(b"RSET") == (verb != b".")
    if verb == b"MAIL" and extensions != USUAL:
        assert hop.verbs()[:4] == [b"EHLO", b"MAIL", b"RSET", b"MAIL"]


@pytest.mark.parametrize("what", [HANG_UP, SILENCE, b"hello", b"250", b"25", b"\xff", b"600 x", b"421 4.3.2 bye"])
@pytest.mark.parametrize("verb", [b"greeting", b"EHLO", b"MAIL", b"RCPT", b"DATA", b"."])
def test_trouble_at_each_step(relay, verb, what):
    """A hop that goes, is silent or talks nonsense has not taken the message, and the connection is closed."""
    hop, runner, door = relay(answers={verb: what})
    if what == b"250" and verb != b"DATA":
        runner.run(deliver(door))
        return
    code, status, words = runner.run(refused(deliver(door)))
    assert (code, status) == (451, b"4.4.2") and words.startswith(b"next hop: ")
    assert runner.open_descriptors() == [] and hop.connections == 1
    assert hop.verbs().count(b"MAIL") <= 1 and b"RSET" not in hop.verbs()
    assert len(hop.messages) == (verb == b"." and what in (HANG_UP, b"25"))  # and nobody was told
    assert runner.now == {SILENCE: 600.0 if verb == b"." else 120.0}.get(what, 0.0)


def test_nothing_is_sent_twice_after_the_dot(relay):
    """A connection that was used before and ends after the final dot is not tried again."""
    hop, runner, door = relay(answers={b".": [b"250 ok", HANG_UP]})
    runner.run(deliver(door))
    assert runner.run(refused(deliver(door)))[0] == 451
    assert (len(hop.messages), hop.connections) == (2, 1)


@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT", b"DATA"])
@pytest.mark.parametrize("what", [HANG_UP, b"421 4.4.2 idle for too long"])
def test_a_used_connection_that_ends_early(relay, verb, what):
    """Before the message everything is said again, once, on a new connection."""
    hop, runner, door = relay()
    runner.run(deliver(door))
    hop.answers[verb] = [what]
    if verb == b"DATA":
        assert runner.run(refused(deliver(door)))[0] == 451
        return
    runner.run(deliver(door))
    assert (len(hop.messages), hop.connections) == (2, 2)
    hop.answers[verb] = what
    assert runner.run(refused(deliver(door)))[0] == 451
    assert hop.connections == 3


def test_an_early_refusal(relay):
    """A hop that says no during the message is quoted; one that says yes by then has not said it to the message."""
    hop, runner, door = relay(answers={b"text": [b"552 5.3.4 too big"]})
    assert runner.run(refused(deliver(door, b"x\n" * 100_000))) == (552, b"5.3.4", b"too big")
    hop.answers = {b"text": [b"250 2.0.0 ok"]}
    assert runner.run(refused(deliver(door, b"x\n" * 100_000)))[:2] == (451, b"4.4.2")
    hop.answers = {b"text": [b"what?"]}
    assert runner.run(refused(deliver(door, b"x\n" * 100_000)))[:2] == (451, b"4.4.2")
    assert hop.messages == [] and hop.connections == 3


def test_small_blocks_go_together(relay):
    """What a client sends in small pieces goes on in larger ones."""
    hop, runner, door = relay()

    def steps():
        delivery = yield from door.open(envelope(), {})
        for _ in range(100):
            yield from delivery.write(b"x" * 999 + b"\n")
        yield from delivery.commit()

    runner.run(steps())
    assert len(hop.messages[0].text) == 100_000
    assert hop.writes == 3 + 4  # 3 of 33 KB, and the rest with the final dot


def test_a_hop_that_goes_during_the_message(relay):
    """Trouble is kept until `commit`, and what the hop said before it went is quoted."""
    hop, runner, door = relay(answers={b"text": HANG_UP})

    def steps():
        delivery = yield from door.open(envelope(), {})
        for _ in range(20):
            yield from delivery.write(b"x\n" * 50_000)
        yield from delivery.commit()

    assert runner.run(refused(steps())) == (451, b"4.4.2", b"next hop: connection lost")

    def steps_with_words():
        delivery = yield from door.open(envelope(), {})
        runner.say(b"554 5.7.1 enough\r\n")
        runner.hang_up()
        for _ in range(20):
            yield from delivery.write(b"x\n" * 50_000)
        yield from delivery.commit()

    hop.answers.clear()
    assert runner.run(refused(steps_with_words())) == (554, b"5.7.1", b"enough")
    assert hop.messages == []


def test_a_hop_that_does_not_read(relay):
    """A block that is not taken in time is trouble."""
    _, runner, door = relay()

    def steps():
        delivery = yield from door.open(envelope(), {})
        runner.failures[len(runner.performed) + 1] = TimedOut()
        yield from delivery.write(b"x\n" * 50_000)
        yield from delivery.write(b"x\n" * 50_000)
        yield from delivery.commit()

    assert runner.run(refused(steps())) == (451, b"4.4.2", b"next hop: timeout")


def test_abort(relay):
    """A message that is given up is not taken, however much of it was sent."""
    hop, runner, door = relay()

    def steps(size):
        delivery = yield from door.open(envelope(), {})
        yield from delivery.write(b"x\n" * size)
        yield from delivery.abort()
        yield from delivery.abort()

    for size in (0, 1, 100_000):
        runner.run(steps(size))
    assert hop.messages == [] and hop.connections == 3


# --- LMTP


def test_lmtp(relay):
    """LMTP greets with LHLO and answers for each recipient."""
    hop, runner, door = relay(is_lmtp=True, answers={b".": b"250 2.0.0 stored"})
    assert runner.run(deliver(door)) == b"stored"
    assert runner.run(deliver(door, to=envelope(b"c@d", b"e@f"))) == b""
    assert hop.verbs()[:2] == [b"LHLO", b"MAIL"] and hop.connections == 1
    assert [len(message.recipients) for message in hop.messages] == [1, 2]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([b"250 ok", b"550 5.2.2 full", b"250 ok"], (550, b"5.2.2", b"<e@f>: full")),
        ([b"550 5.2.2 full", b"450 4.2.1 locked", b"250 ok"], (450, b"4.2.1", b"<e@f>: locked")),
        ([b"550 5.2.2 full", b"551 5.1.1 gone", b"554 5.0.0 no"], (550, b"5.2.2", b"<c@d>: full")),
        ([b"250 ok", b"250 ok", HANG_UP], (451, b"4.4.2", b"next hop: connection lost")),
        ([b"250 ok", b"250 ok", SILENCE], (451, b"4.4.2", b"next hop: timeout")),
        ([b"250 ok", b"354 ok", b"250 ok"], (451, b"4.4.2", b"next hop: no SMTP")),
    ],
)
def test_lmtp_refuses_some(relay, answers, expected):
    """One recipient that has not got the message is enough for a no, for now if one of them is."""
    hop, runner, door = relay(is_lmtp=True, answers={b".": answers[:]})
    assert runner.run(refused(deliver(door, to=envelope(b"c@d", b"e@f", b"g@h")))) == expected
    hop.answers.clear()
    runner.run(deliver(door))
    assert hop.connections == (1 if expected[1] != b"4.4.2" else 2)


# --- recipients one by one


def test_recipients_as_they_come(relay):
    """Each recipient gets its own answer, and the message goes to those who were taken."""
    hop, runner, door = relay(b"DSN", answers={b"RCPT TO:<no@d>": b"550 5.1.1 no such user"})

    def steps():
        to = Envelope(b"a@b")
        transaction = yield from door.begin(to)
        yield from transaction.offer(b"c@d", [b"NOTIFY=NEVER"])
        to.add(b"c@d", [b"NOTIFY=NEVER"])
        assert (yield from refused(transaction.offer(b"no@d", []))) == (550, b"5.1.1", b"no such user")
        assert (yield from refused(transaction.offer(b"no> X=@d y", [])))[:2] == (554, b"5.1.3")
        yield from transaction.offer(b"e@f", [])
        to.add(b"e@f", [])
        delivery = yield from transaction.open(to, {})
        yield from transaction.abort()  # has nothing left to forget
        yield from delivery.write(TEXT)
        yield from delivery.commit()

    runner.run(steps())
    assert hop.messages[0].recipients == [b"RCPT TO:<c@d> NOTIFY=NEVER", b"RCPT TO:<e@f>"]
    assert hop.verbs().count(b"MAIL") == 1 and hop.connections == 1


def test_a_sender_who_is_refused_at_once(relay):
    """Nothing else is asked then."""
    hop, runner, door = relay(answers={b"MAIL": b"553 5.7.1 not yours"})
    assert runner.run(refused(door.begin(Envelope(b"a@b")))) == (553, b"5.7.1", b"not yours")
    assert hop.verbs() == [b"EHLO", b"MAIL", b"RSET"]


def test_an_envelope_that_is_forgotten(relay):
    """RSET frees the connection; one that the hop does not free is closed."""
    hop, runner, door = relay()
    for answer, connections in ((b"250 ok", 1), (b"250 ok", 1), (b"502 no", 1), (HANG_UP, 2), (SILENCE, 3)):
        hop.answers[b"RSET"] = answer

        def steps():
            transaction = yield from door.begin(Envelope(b"a@b"))
            yield from transaction.abort()
            yield from transaction.abort()

        runner.run(steps())
        assert hop.connections == connections
    assert runner.open_descriptors() == [] and runner.now == 10.0


def test_a_signal_while_an_envelope_is_forgotten(relay):
    """A connection whose RSET was not answered is closed."""
    hop, runner, door = relay()

    def steps():
        transaction = yield from door.begin(Envelope(b"a@b"))
        runner.failures[len(runner.performed) + 2] = TemporaryFailure("signal")
        yield from transaction.abort()

    with pytest.raises(TemporaryFailure):
        runner.run(steps())
    assert hop.verbs()[-1] == b"RSET" and runner.open_descriptors() == []


@pytest.mark.parametrize("at", ["offer", "open"])
def test_a_client_that_takes_its_time(relay, at):
    """A hop that has hung up meanwhile is asked again; for the client nothing has happened."""
    hop, runner, door = relay()

    def steps():
        to = envelope()
        transaction = yield from door.begin(to)
        yield from transaction.offer(b"e@f", [])
        to.add(b"e@f", [])
        if at == "open":
            yield from transaction.offer(b"g@h", [])
            to.add(b"g@h", [])
        runner.hang_up()
        if at == "offer":
            yield from transaction.offer(b"g@h", [])
            to.add(b"g@h", [])
        delivery = yield from transaction.open(to, {})
        yield from delivery.write(TEXT)
        yield from delivery.commit()

    runner.run(steps())
    assert [line[9:12] for line in hop.messages[0].recipients] == [b"c@d", b"e@f", b"g@h"]
    assert hop.connections == 2


@pytest.mark.parametrize("at", ["offer", "open"])
def test_a_hop_that_has_gone_for_good(relay, at):
    """What cannot be asked is for now; a later recipient may have more luck."""
    hop, runner, door = relay()

    def steps():
        to = envelope()
        transaction = yield from door.begin(to)
        runner.hang_up()
        runner.is_down = True
        if at == "open":
            return (yield from refused(transaction.open(to, {})))
        words = yield from refused(transaction.offer(b"e@f", []))
        runner.is_down = False
        yield from transaction.offer(b"g@h", [])
        hop.answers[b"RCPT"] = HANG_UP
        assert (yield from refused(transaction.offer(b"i@j", [])))[0] == 451
        return words

    assert runner.run(steps()) == (451, b"4.4.1", b"next hop: unable to connect")


def test_a_hop_that_hangs_up_twice(relay):
    """One more try is all that a recipient gets."""
    hop, runner, door = relay(answers={b"RCPT": HANG_UP})

    def steps():
        transaction = yield from door.begin(Envelope(b"a@b"))
        return (yield from refused(transaction.offer(b"c@d", [])))

    assert runner.run(steps()) == (451, b"4.4.2", b"next hop: connection lost")
    assert hop.verbs().count(b"RCPT") == 2


def test_an_envelope_that_is_not_what_was_asked(relay):
    """The message goes to the recipients of the envelope that it comes with, and nobody else."""
    hop, runner, door = relay()

    def steps():
        transaction = yield from door.begin(Envelope(b"a@b"))
        yield from transaction.offer(b"never@accepted", [])
        delivery = yield from transaction.open(envelope(b"c@d"), {})
        yield from delivery.write(TEXT)
        yield from delivery.commit()

    runner.run(steps())
    assert hop.messages[0].recipients == [b"RCPT TO:<c@d>"]


def test_no_data_after_all(relay):
    """A hop that agrees to the envelope and answers DATA with something else is left."""
    hop, runner, door = relay(answers={b"DATA": b"250 ok"})
    assert runner.run(refused(deliver(door))) == (451, b"4.4.2", b"next hop: no SMTP")
    assert hop.connections == 1


@pytest.mark.parametrize("number", range(1, 16))
def test_a_signal_at_any_time(relay, number):
    """A signal at any operation leaves no connection behind, and no message that was not committed."""
    hop, runner, door = relay(b"8BITMIME", answers={b".": b"250 ok"})
    transactions = []

    def steps():
        to = envelope()
        transaction = yield from door.begin(to)
        transactions.append(transaction)
        yield from transaction.offer(b"e@f", [])
        to.add(b"e@f", [])
        transactions[0] = delivery = yield from transaction.open(to, {})
        yield from delivery.write(b"x\n" * 50_000)
        yield from delivery.commit()

    runner.failures[number] = TemporaryFailure("signal")
    try:
        runner.run(steps())
    except TemporaryFailure:
        if transactions:
            runner.failures.clear()
            runner.run(transactions[0].abort())
        assert runner.open_descriptors() == []
        assert len(hop.messages) == (number == 15)  # the wait for the answer to the final dot
    else:
        pytest.fail("there are fewer operations")


@pytest.mark.parametrize("number", range(1, 11))
def test_a_generator_that_is_thrown_away(relay, number):
    """A door that is opened and not waited for closes what it has opened."""
    _, runner, door = relay(b"8BITMIME")
    steps = deliver(door)
    operation = steps.send(None)
    for _ in range(number - 1):
        operation = steps.send(getattr(runner, "_" + type(operation).__name__.lower())(operation))
    steps.close()
    assert runner.open_descriptors() == []
