"""The connections of a relay door: TLS, what a hop offers, and being used again."""

import pytest
from hop import CLOSE_NOTIFY, HANG_UP, SILENCE
from messages import TEXT, deliver, envelope, refused

from checkpw.errors import TemporaryFailure
from checkpw.operations import TimedOut
from checkpw.queue.nexthop import IMPLICIT, MAY, NEVER, VERIFY
from checkpw.smtp.events import Envelope

# --- TLS


@pytest.fixture
def context(certificates):
    """Give the context of a hop that is mail.example."""
    return certificates.server("mail.example")


@pytest.mark.parametrize("mode", [MAY, VERIFY, IMPLICIT])
def test_encrypted(relay, context, certificates, mode):
    """A large message arrives; with STARTTLS the hop is greeted again, and the connection is used again."""
    hop, runner, door = relay(mode=mode, context=context, ca=certificates.ca)
    text = TEXT + b"0123456789abcde\n" * 100_000

    def steps():
        delivery = yield from door.open(envelope(), {})
        for at in range(0, len(text), 50_000):
            yield from delivery.write(text[at : at + 50_000])
        yield from delivery.commit()

    runner.run(steps())
    runner.run(deliver(door))
    assert [message.text for message in hop.messages] == [text, TEXT]
    greeting = [b"EHLO"] if mode == IMPLICIT else [b"EHLO", b"STARTTLS", b"EHLO"]
    assert hop.verbs() == greeting + [b"MAIL", b"RCPT", b"DATA"] * 2
    runner.run(door.close_idle())
    assert hop.verbs()[-1] == b"QUIT" and hop.ends == 1


@pytest.mark.parametrize(
    ("mode", "works"), [(NEVER, True), (MAY, True), (VERIFY, False)], ids=["never", "may", "verify"]
)
def test_a_hop_without_starttls(relay, mode, works):
    """Only who demands it goes without mail rather than without TLS."""
    hop, runner, door = relay(mode=mode)
    if works:
        runner.run(deliver(door))
        return
    assert runner.run(refused(deliver(door))) == (451, b"4.4.2", b"next hop: it does not offer STARTTLS")
    assert b"MAIL" not in hop.verbs()


def test_tls_that_is_not_wanted(relay, context):
    """On this machine nothing is encrypted that need not be."""
    hop, runner, door = relay(mode=NEVER, context=context)
    runner.run(deliver(door))
    assert b"STARTTLS" not in hop.verbs()


@pytest.mark.parametrize("mode", [MAY, VERIFY, IMPLICIT])
@pytest.mark.parametrize("wrong", ["ca", "name"])
def test_a_certificate_that_does_not_fit(relay, context, certificates, mode, wrong):
    """A hop that cannot show who it is gets nothing, where that is asked."""
    ca = certificates.other_ca if wrong == "ca" else certificates.ca
    name = "mail.example" if wrong == "ca" else "other.example"
    hop, runner, door = relay(mode=mode, context=context, ca=ca, name=name)
    if mode == MAY:
        runner.run(deliver(door))
        return
    code, status, words = runner.run(refused(deliver(door)))
    assert (code, status) == (451, b"4.7.5")
    assert words.startswith(b"next hop: TLS: certificate not accepted: ")
    assert b"MAIL" not in hop.verbs() and runner.open_descriptors() == []
    runner.pump()
    assert "alert" in hop.troubles[0]


@pytest.mark.parametrize("injected", [b"250-hop\r\n250 DSN\r\n", b"2"])
def test_words_behind_starttls(relay, context, injected):
    """What a hop, or somebody on the way, says in clear behind its yes to STARTTLS is never taken for encrypted."""
    hop, runner, door = relay(mode=MAY, context=context, injected=injected)
    assert runner.run(refused(deliver(door)))[2].endswith(b"it said something in clear after it agreed to TLS")
    assert hop.verbs() == [b"EHLO", b"STARTTLS"]


@pytest.mark.parametrize("answer", [b"454 4.7.0 not now", b"354 what?", HANG_UP, SILENCE])
def test_starttls_that_fails(relay, context, answer):
    """A hop that offers TLS and does not do it gets no mail in clear."""
    hop, runner, door = relay(mode=MAY, context=context, answers={b"STARTTLS": answer})
    code, _, words = runner.run(refused(deliver(door)))
    assert code == 451 and (isinstance(answer, str) or words == b"next hop: it says %s to STARTTLS" % answer[:3])
    assert hop.verbs() == [b"EHLO", b"STARTTLS"]


def test_what_is_said_in_clear_does_not_count(relay, context):
    """What a hop, or somebody on the way, offers before TLS is forgotten."""
    answers = {b"EHLO": [b"250-hop\r\n250-STARTTLS\r\n250 DSN", b"250 hop"]}
    _, runner, door = relay(mode=MAY, context=context, answers=answers)
    runner.run(deliver(door))
    assert carries(door) == (False, False, False)


def test_a_hop_that_ends_tls(relay, context):
    """A hop that says it is done is not waited for, in the middle of a message and between two."""
    hop, runner, door = relay(mode=MAY, context=context, answers={b"DATA": [CLOSE_NOTIFY]})
    assert runner.run(refused(deliver(door))) == (451, b"4.4.2", b"next hop: connection lost")
    assert runner.now == 0.0
    runner.run(deliver(door))
    runner.end_tls()
    runner.run(deliver(door))
    assert runner.now == 0.0 and hop.connections == 3


def test_a_hop_that_is_cut_off_in_tls(relay, context):
    """The end of an encrypted connection is an end, in the middle of a record too."""
    hop, runner, door = relay(mode=MAY, context=context, answers={b"DATA": HANG_UP})
    assert runner.run(refused(deliver(door)))[0] == 451
    hop.answers.clear()

    def steps():
        delivery = yield from door.open(envelope(), {})
        runner.say(b"not TLS at all\r\n")
        yield from delivery.commit()

    assert runner.run(refused(steps())) == (451, b"4.4.2", b"next hop: connection lost")
    assert hop.messages == []

    def steps_with_recipient():
        transaction = yield from door.begin(Envelope(b"a@b"))
        runner.say(b"not TLS at all\r\n")
        runner.is_down = True
        return (yield from refused(transaction.offer(b"c@d", [])))

    assert runner.run(steps_with_recipient())[1] == b"4.4.1"  # of the second try


# --- connections


def test_used_again(relay):
    """The connection that was used last is used next, as long as nobody has let too much time pass."""
    hop, runner, door = relay()
    for _ in range(3):
        runner.run(deliver(door))
        runner.now += 59.0
    assert hop.connections == 1
    runner.now += 1.0
    runner.run(deliver(door))
    assert hop.connections == 2 and hop.verbs(1)[-1] == b"QUIT"


def test_how_many_are_kept(relay):
    """No more connections are kept than may be, and the others are closed politely."""
    hop, runner, door = relay(door={"idle_connections": 2})

    def steps():
        deliveries = [None] * 4
        for number in range(4):
            deliveries[number] = yield from door.open(envelope(), {})
        for delivery in deliveries:
            yield from delivery.commit()

    runner.run(steps())
    assert len(runner.open_descriptors()) == 2
    assert hop.verbs().count(b"QUIT") == 2
    runner.run(deliver(door))
    assert hop.connections == 4


def test_the_second_try_is_on_a_new_connection(relay):
    """Where one connection is of no use any more, the others may be as old."""
    hop, runner, door = relay()

    def steps():
        first = yield from door.open(envelope(), {})
        second = yield from door.open(envelope(), {})
        yield from first.commit()
        yield from second.commit()

    runner.run(steps())
    hop.answers[b"MAIL"] = [HANG_UP]
    runner.run(deliver(door))
    assert hop.connections == 3 and len(hop.messages) == 3


def test_none_is_kept(relay):
    """A door may keep no connection at all."""
    hop, runner, door = relay(door={"idle_connections": 0})
    runner.run(deliver(door))
    assert runner.open_descriptors() == [] and hop.verbs()[-1] == b"QUIT"


def test_closing_what_is_idle(relay):
    """Who lets the door close what is idle closes no more than that."""
    _, runner, door = relay()
    runner.run(deliver(door))
    runner.now += 10.0
    runner.run(door.close_idle(60.0))
    assert len(runner.open_descriptors()) == 1
    runner.hang_up()
    runner.run(door.close_idle(10.0))
    assert runner.open_descriptors() == []


def test_a_signal_at_goodbye(relay):
    """The connection is closed, if not politely."""
    _, runner, door = relay()
    runner.run(deliver(door))
    runner.failures[len(runner.performed) + 1] = TemporaryFailure("signal")
    with pytest.raises(TemporaryFailure):
        runner.run(door.close_idle())
    assert runner.open_descriptors() == []


@pytest.mark.parametrize("mode", [NEVER, MAY])
@pytest.mark.parametrize("how", ["gone", "421"])
def test_a_kept_connection_that_ends(relay, context, mode, how):
    """A hop that hangs up meanwhile, with or without a word, is connected to anew, and no message is the poorer."""
    hop, runner, door = relay(mode=mode, context=context)
    runner.run(deliver(door))
    if how == "421":
        runner.say(b"421 4.4.2 idle for too long\r\n")
    else:
        runner.hang_up()
    runner.run(deliver(door))
    assert (len(hop.messages), hop.connections) == (2, 2)
    assert hop.verbs(1).count(b"MAIL") == 1


@pytest.mark.parametrize("failure", [TimedOut(), OSError("no such host")])
def test_a_hop_that_is_not_there(relay, failure):
    """What cannot be connected to is for now."""
    _, runner, door = relay()
    runner.failures[1] = failure
    code, status, words = runner.run(refused(deliver(door)))
    assert (code, status) == (451, b"4.4.1") and words.startswith(b"next hop: ")
    runner.run(deliver(door))


def test_a_greeting_that_is_none(relay):
    """A hop that wants no mail from us is our trouble, and not the message's."""
    _, runner, door = relay(answers={b"greeting": b"554 5.7.1 go away"})
    assert runner.run(refused(deliver(door))) == (451, b"4.4.2", b"next hop: it greets with 554 go away")
    hop, runner, door = relay(answers={b"EHLO": b"550 no", b"HELO": b"550 no"})
    assert runner.run(refused(deliver(door)))[2] == b"next hop: it says 550 to our greeting"
    assert runner.open_descriptors() == []
    hop, runner, door = relay(is_lmtp=True, answers={b"LHLO": b"500 what?"})
    assert runner.run(refused(deliver(door)))[0] == 451
    assert hop.verbs() == [b"LHLO"]


# --- what the hop can carry


def carries(door):
    """Give what the door says that it carries."""
    return door.carries_smtputf8, door.carries_dsn, door.carries_requiretls


@pytest.mark.parametrize(
    ("extensions", "mode", "expected"),
    [
        ((b"8BITMIME", b"SMTPUTF8", b"DSN", b"REQUIRETLS"), IMPLICIT, (True, True, True)),
        ((b"8BITMIME", b"SMTPUTF8", b"DSN", b"REQUIRETLS"), VERIFY, (True, True, True)),
        ((b"8BITMIME", b"SMTPUTF8", b"DSN", b"REQUIRETLS"), MAY, (True, True, False)),
        ((b"8BITMIME", b"SMTPUTF8", b"DSN", b"REQUIRETLS"), NEVER, (True, True, False)),
        ((b"SMTPUTF8", b"dsn"), NEVER, (False, True, False)),
        ((b"8BITMIME",), NEVER, (False, False, False)),
    ],
)
def test_learning(relay, context, certificates, extensions, mode, expected):
    """A door carries what its hop last offered; REQUIRETLS only where the hop has shown who it is."""
    hop, runner, door = relay(*extensions, mode=mode, context=context, ca=certificates.ca)
    assert carries(door) == (False, False, False)
    assert runner.run(door.learn())
    assert carries(door) == expected
    runner.run(deliver(door))
    assert hop.connections == 1


def test_what_an_administrator_vouches_for(relay):
    """It counts until the hop is seen."""
    vouched = {"carries_smtputf8": True, "carries_dsn": True, "carries_requiretls": True}
    _, runner, door = relay(door=vouched)
    runner.is_down = True
    assert not runner.run(door.learn())
    assert carries(door) == (True, True, True)
    runner.is_down = False
    assert runner.run(door.learn())
    assert carries(door) == (False, False, False)


@pytest.mark.parametrize("mode", [MAY, VERIFY])
def test_requiretls(relay, context, certificates, mode):
    """A message that demands TLS goes to a hop that keeps the demand and has shown who it is, and to no other."""
    hop, runner, door = relay(b"REQUIRETLS", mode=mode, context=context, ca=certificates.ca)
    to = Envelope(b"a@b", [b"REQUIRETLS"])
    to.add(b"c@d", [])
    if mode == VERIFY:
        runner.run(deliver(door, to=to))
        assert hop.messages[0].mail == b"MAIL FROM:<a@b> REQUIRETLS"
    else:
        assert runner.run(refused(deliver(door, to=to)))[:2] == (550, b"5.7.30")
