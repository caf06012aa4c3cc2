"""Relaying: any text arrives as it was sent, and whatever the next hop does, a yes is its yes."""

import pathlib
import sys

from hypothesis import given
from hypothesis import strategies as st
from splits import PLACES, cut

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "contracts"))

from hop import HANG_UP, SILENCE, Hop, MemoryRunner

from checkpw.errors import MessageRefused
from checkpw.queue.nexthop import NextHop, local_dialer
from checkpw.queue.relay import Relay
from checkpw.queue.wire import Stuffer, path
from checkpw.smtp import grammar
from checkpw.smtp.data import DotReader
from checkpw.smtp.events import Envelope

TEXT = st.text(alphabet=["\n", ".", "a", "é", "\0"], max_size=60).map(str.encode)


def stuffed(text):
    """Say the same line by line, as RFC 5321 section 4.5.2 does."""
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


@given(TEXT, PLACES)
def test_text_on_the_wire(text, places):
    """However a text is cut, it goes over the wire as the standard says."""
    stuffer = Stuffer()
    assert b"".join(map(stuffer.feed, cut(text, places))) + stuffer.finish() == stuffed(text)


@given(TEXT, PLACES, PLACES)
def test_what_is_sent_is_what_is_read(text, places, wire_places):
    """Our own session reads what our own door sends, and nothing behind it."""
    stuffer, reader = Stuffer(), DotReader()
    wire = b"".join(map(stuffer.feed, cut(text, places))) + stuffer.finish() + b"RSET\r\n"
    got, rest = b"", None
    for piece in cut(wire, wire_places):
        if rest is None:
            more, rest = reader.feed(piece)
            got += more
        else:
            rest += piece
    assert rest == b"RSET\r\n" and not reader.had_stray_returns
    assert got == text if text.endswith(b"\n") or not text else text + b"\n"


@given(st.binary(max_size=30))
def test_paths(address):
    """An address is refused, or said so that a server understands just this address."""
    try:
        said = path(address)
    except MessageRefused:
        return
    assert grammar.parse_path(b"TO:" + said + b" X=1") == (address, [b"X=1"]) or address.startswith(b"@")


ANSWERS = {
    verb: st.lists(st.sampled_from([yes, yes, yes, b"450 4.0.0 no", b"550 no", b"421 bye", b"what?", HANG_UP, SILENCE]))
    for verb, yes in {
        b"greeting": b"220 hop",
        b"EHLO": b"250-hop\r\n250 PIPELINING",
        b"LHLO": b"250-hop\r\n250 PIPELINING",
        b"MAIL": b"250 ok",
        b"RCPT": b"250 ok",
        b"DATA": b"354 go on",
        b".": b"250 ok",
        b"RSET": b"250 ok",
    }.items()
}


def ask_about(door, envelope, recipients):
    """Offer the recipients one by one; give what opens for those who were taken."""
    transaction = yield from door.begin(envelope)
    for recipient in recipients:
        try:
            yield from transaction.offer(recipient, [])
        except MessageRefused:
            continue
        envelope.add(recipient, [])
    if not envelope.recipients:
        yield from transaction.abort()
        raise MessageRefused(550, b"5.0.0", b"nobody")
    return transaction


def send(door, number, recipients, *, is_asked):
    """Send a message; give what went wrong, None if nothing did, how many recipients it has, and whether it began."""
    envelope = Envelope(b"%d@a" % number)
    has_begun = False
    try:
        if is_asked:
            opener = yield from ask_about(door, envelope, recipients)
        else:
            opener = door
            for recipient in recipients:
                envelope.add(recipient, [])
        delivery = yield from opener.open(envelope, {})
        has_begun = True
        yield from delivery.write(b"%d\n" % number)
        yield from delivery.commit()
    except MessageRefused as refusal:
        return refusal, len(envelope.recipients), has_begun
    return None, len(envelope.recipients), has_begun


@given(st.fixed_dictionaries(ANSWERS), st.booleans(), st.booleans(), st.lists(st.integers(1, 4), max_size=6))
def test_a_hop_that_does_what_it_likes(answers, is_lmtp, is_asked, messages):
    """A message that was accepted was taken once, for all; one that was refused before its dot was not taken."""
    hop = Hop(is_lmtp=is_lmtp, answers=answers)
    runner = MemoryRunner(hop)
    place = NextHop.parse(b"lmtp://127.0.0.1" if is_lmtp else b"smtp://127.0.0.1")
    door = Relay(place, b"we.example", local_dialer(place, 30.0), None, 600.0, runner.clock)
    for number, size in enumerate(messages):
        before = len(hop.messages)
        recipients = [b"%d@d" % at for at in range(size)]
        refusal, count, has_begun = runner.run(send(door, number, recipients, is_asked=is_asked))
        taken = hop.messages[before:]
        if refusal is None:
            (message,) = taken
            assert len(message.recipients) == count and message.text == b"%d\n" % number
            assert message.mail == b"MAIL FROM:<%d@a>" % number
        else:
            assert 400 <= refusal.code <= 599 and refusal.code != 421
            assert refusal.enhanced.startswith(b"%d." % (refusal.code // 100))
            assert len(taken) <= has_begun
    runner.run(door.close_idle())
    left = runner.open_descriptors()
    for descriptor in list(runner.connected):
        runner.close(descriptor)
    assert left == []
