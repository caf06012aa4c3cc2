"""Decisions of which transcripts show no example: other addresses, other words, none owed."""

import pytest

from checkpw.smtp import replies, states
from checkpw.smtp.data import CRLF, DotReader
from checkpw.smtp.events import (
    NEED_DATA,
    OUTPUT_FULL,
    PAUSED,
    Closed,
    MessageOffered,
    RecipientOffered,
    SenderOffered,
    TlsRequested,
)
from checkpw.smtp.incoming import CHUNK_CAP, Incoming
from checkpw.smtp.limits import Limits
from checkpw.smtp.offers import Offers
from checkpw.smtp.replies import Reply
from checkpw.smtp.session import Session

NO = Reply(550, b"5.7.1", b"not you")


@pytest.fixture
def session():
    """Give a session that may send, its greeting read."""
    made = Session(b"h", Limits(), is_authorised=True)
    assert made.next_event() is NEED_DATA
    assert made.data_to_send() == b"220 h ESMTP\r\n"
    return made


def _say(session, data):
    session.receive_data(data)
    return session.next_event()


def _until_asked(session):
    while (event := session.next_event()) is NEED_DATA:
        raise AssertionError("nothing is asked")
    return event


def test_other_addresses(session):
    """Who decides may put other addresses in the place of those that were offered."""
    assert _say(session, b"MAIL FROM:<a@b>\r\n").address == b"a@b"
    session.accept(b"other@x")
    assert _say(session, b"RCPT TO:<c@d>\r\n").address == b"c@d"
    session.accept(b"another@x")
    assert _say(session, b"RCPT TO:<e@f>\r\n").address == b"e@f"
    session.accept()
    offered = _say(session, b"DATA\r\n")
    assert (offered.envelope.sender, offered.envelope.recipients) == (b"other@x", [b"another@x", b"e@f"])


def test_an_empty_address_instead(session):
    """Nobody, as sender, is an address as well."""
    _say(session, b"MAIL FROM:<a@b>\r\n")
    session.accept(b"")
    _say(session, b"RCPT TO:<c@d>\r\n")
    session.accept()
    assert _say(session, b"DATA\r\n").envelope.sender == b""


def test_refused_addresses(session):
    """A refused sender begins nothing, a refused recipient is not one, and the reply is the one that was given."""
    assert isinstance(_say(session, b"MAIL FROM:<a@b>\r\n"), SenderOffered)
    session.reject(NO)
    assert session.state == "ready"
    _say(session, b"MAIL FROM:<a@b>\r\n")
    session.accept()
    assert isinstance(_say(session, b"RCPT TO:<c@d>\r\n"), RecipientOffered)
    session.reject(NO)
    assert session.state == "mail"
    assert session.data_to_send() == NO.render() + replies.SENDER_OK.render() + NO.render()


def test_words_for_the_250(session):
    """The door's words stand in the 250, cleaned."""
    session.receive_data(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n")
    for _ in range(3):
        session.next_event()
        session.accept()
    session.next_event()
    session.data_to_send()
    session.accept(b"queued as 1\r\n2")
    assert session.data_to_send() == b"250 2.0.0 queued as 1??2\r\n"


def test_paused_means_paused(session):
    """While a decision is owed, more input and the end change nothing."""
    _say(session, b"MAIL FROM:<a@b>\r\nNOOP\r\nRCPT TO:<c@d>\r\n")
    session.receive_data(b"QUIT\r\n")
    session.receive_eof()
    assert session.next_event() is session.next_event() is PAUSED
    assert session.data_to_send() == b""
    session.accept()
    assert isinstance(session.next_event(), RecipientOffered)
    assert session.data_to_send() == b"250 2.1.0 ok\r\n250 2.0.0 ok\r\n"


@pytest.mark.parametrize("decide", [Session.accept, lambda session: session.reject(NO)], ids=["accept", "reject"])
def test_no_decision_is_owed(session, decide):
    """Deciding what nobody asked, or twice, is an error of the caller."""
    with pytest.raises(RuntimeError, match="no decision is owed"):
        decide(session)
    _say(session, b"MAIL FROM:<a@b>\r\n")
    decide(session)
    with pytest.raises(RuntimeError, match="no decision is owed"):
        decide(session)


def test_closed_again_and_again(session):
    """After the end there is nothing but the end."""
    closed = _say(session, b"QUIT\r\n")
    assert closed.reason == "quit"
    session.close(replies.NOT_SERVING, "shutdown")
    again = session.next_event()
    assert isinstance(again, Closed) and again.reason == "quit"
    assert session.data_to_send() == b"221 2.0.0 h\r\n"


def test_a_large_chunk_that_the_door_refuses():
    """A chunk over the cap, allowed for its size, ends the session when the door refuses the message."""
    session = Session(b"h", Limits(message_bytes=0), is_authorised=True)
    session.receive_data(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT %d\r\n" % (CHUNK_CAP + 1))
    for _ in range(2):
        session.next_event()
        session.accept()
    assert isinstance(_until_asked(session), MessageOffered)
    session.data_to_send()
    session.reject(NO)
    assert session.next_event().reason == "desync"
    assert session.data_to_send() == NO.render() + replies.DESYNCHRONISED.render()


def test_two_sessions_know_nothing_of_each_other():
    """What one client does changes nothing for another."""
    first, second = (Session(b"h", Limits(), is_authorised=True) for _ in range(2))
    _say(first, b"MAIL FROM:<a@b>\r\n")
    first.accept()
    assert (first.state, second.state) == ("mail", "ready")
    assert _say(second, b"RCPT TO:<c@d>\r\n") is NEED_DATA
    assert second.data_to_send().endswith(b"503 5.5.1 MAIL first\r\n")


def test_a_session_starts_from_no():
    """Nobody may send, and nobody is asked to authenticate, unless somebody says so."""
    session = Session(b"h", Limits())
    assert session.state == "stranger"
    session.receive_data(b"AUTH PLAIN AGEAYg==\r\nEHLO x\r\n")
    assert session.next_event() is NEED_DATA
    said = session.data_to_send()
    assert replies.AUTH_UNAVAILABLE.render() in said
    assert b"AUTH PLAIN" not in said and b"SMTPUTF8" not in said


def test_a_message_is_given_up_once():
    """Who was told that a message is given up is not told again."""
    message = Incoming(3, DotReader(CRLF))
    assert message.take(b"") is None
    assert message.take(b"abc").data == b"abc"
    assert message.take(b"d").reason == "size"
    assert message.take(b"e") is None
    assert message.abort("eof") is None
    assert message.refusal is replies.TOO_BIG


# --- the table of states


WAYS = {
    states.STRANGER: [],
    states.READY: [],
    states.MAIL: [b"MAIL FROM:<a@b>\r\n"],
    states.RCPT: [b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n"],
    states.CHUNKS: [b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"BDAT 1\r\nx"],
}
CELLS = {
    b"HELO x": (250, 250, 250, 250, 250),
    b"EHLO x": (250, 250, 250, 250, 250),
    b"RSET": (250, 250, 250, 250, 250),
    b"NOOP": (250, 250, 250, 250, 250),
    b"VRFY x": (252, 252, 252, 252, 252),
    b"HELP": (214, 214, 214, 214, 214),
    b"STARTTLS": (220, 220, 503, 503, 503),
    b"AUTH LOGIN": (334, 334, 503, 503, 503),
    b"MAIL FROM:<a@b>": (530, 250, 250, 250, 503),
    b"RCPT TO:<c@d>": (530, 503, 250, 250, 503),
    b"DATA": (530, 503, 503, 354, 503),
    b"BDAT 0": (530, 503, 503, 250, 250),
    b"ETRN x": (502, 502, 502, 502, 502),
    b"QUIT": (221, 221, 221, 221, 221),
}
"""What is said to each verb in each state, where everything that can be accepted is."""


def _accept_all(session):
    while (event := session.next_event()) is not NEED_DATA and event is not PAUSED and not isinstance(event, Closed):
        if isinstance(event, SenderOffered | RecipientOffered | MessageOffered | TlsRequested):
            session.accept()
    return session.data_to_send()


def _reach(state, **arguments):
    session = Session(
        b"h", Limits(), is_authorised=state != states.STRANGER, auth_refusal=None, offers_starttls=True, **arguments
    )
    for wire in WAYS[state]:
        session.receive_data(wire)
        _accept_all(session)
    session.data_to_send()
    assert session.state == state
    return session


@pytest.mark.parametrize("line", CELLS, ids=bytes.decode)
@pytest.mark.parametrize("state", states.STATES)
def test_each_cell_of_the_table(state, line):
    """Each verb has its answer in each state, and what the table refuses changes nothing."""
    session = _reach(state)
    session.receive_data(line + b"\r\n")
    answer = _accept_all(session)
    code = CELLS[line][states.STATES.index(state)]
    assert int(answer[:3]) == code
    refusal = states.objection(line.partition(b" ")[0], state)
    assert refusal is None or (answer == refusal.render() and session.state == state)


def test_the_cells_are_those_of_the_table():
    """No verb is left out."""
    assert {line.partition(b" ")[0] for line in CELLS} == {*states.TABLE, b"ETRN"}


# --- STARTTLS


def test_until_the_handshake_is_done_nothing_happens():
    """Behind the go-ahead neither input nor the end nor a deadline makes the session say or ask anything."""
    session = _reach(states.STRANGER)
    assert isinstance(_say(session, b"STARTTLS\r\nNOOP\r\n"), TlsRequested)
    assert session.data_to_send() == b""
    session.accept()
    assert session.next_event() is PAUSED
    assert session.data_to_send() == replies.TLS_GO_AHEAD.render()
    session.receive_data(b"QUIT\r\n")
    assert session.next_event() is PAUSED and session.data_to_send() == b""
    assert not session.uses_tls
    assert session.start_over(None) == len(b"NOOP\r\nQUIT\r\n")
    assert session.uses_tls
    assert session.next_event() is NEED_DATA and session.data_to_send() == b""


def test_a_handshake_that_failed():
    """The session is closed without a word, whatever the words are."""
    for reply in (None, replies.NOT_SERVING):
        session = _reach(states.STRANGER)
        _say(session, b"STARTTLS\r\n")
        session.accept()
        session.data_to_send()
        session.close(reply, "tls")
        closed = session.next_event()
        assert isinstance(closed, Closed) and closed.reason == "tls" and session.data_to_send() == b""


def test_tls_may_be_refused():
    """Who decides may not want TLS now: then the session goes on in clear."""
    session = _reach(states.READY)
    _say(session, b"STARTTLS\r\n")
    session.reject(Reply(454, b"4.7.0", b"TLS not available"))
    assert isinstance(_say(session, b"MAIL FROM:<a@b>\r\n"), SenderOffered)
    assert session.data_to_send() == b"454 4.7.0 TLS not available\r\n"


@pytest.mark.parametrize("wire", [b"", b"MAIL FROM:<a@b>\r\n", b"STARTTLS\r\n", b"QUIT\r\n"])
def test_start_over_without_a_handshake(wire):
    """To start over where no STARTTLS was accepted is an error of the caller."""
    session = _reach(states.READY)
    _say(session, wire)
    with pytest.raises(RuntimeError, match="no handshake is under way"):
        session.start_over(None)


def test_failures_are_not_forgotten():
    """STARTTLS is no way to guess more passwords in a session, or to make more errors."""
    limits = Limits(errors=3, auth_failures=2)
    session = Session(b"h", limits, auth_refusal=None, offers_starttls=True)
    _say(session, b"AUTH PLAIN AGEAYg==\r\n")
    session.reject(replies.AUTH_FAILED)
    assert _say(session, b"X\r\nX\r\n") is NEED_DATA
    _say(session, b"STARTTLS\r\n")
    session.accept()
    session.start_over(None)
    _say(session, b"AUTH PLAIN AGEAYg==\r\n")
    session.reject(replies.AUTH_FAILED)
    assert session.next_event().reason == "auth"


def test_a_shell_pipeline_ends_with_tls():
    """Over TLS, messages end as on every network, also if the first line in clear ended in a bare LF."""
    session = _reach(states.READY, may_speak_lf=True)
    _say(session, b"STARTTLS\n")
    session.accept()
    session.start_over(None)
    session.receive_data(b"MAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nx\n.\n")
    assert b"354" in _accept_all(session)
    assert session.next_event() is NEED_DATA


def test_each_recipient_has_its_parameters():
    """A recipient that was refused leaves none behind, and one in the place of another takes over its parameters."""
    session = _reach(states.READY, offers=Offers(dsn=True))
    _say(session, b"MAIL FROM:<a@b> RET=FULL\r\n")
    session.accept()
    _say(session, b"RCPT TO:<1@x> NOTIFY=SUCCESS\r\n")
    session.reject(NO)
    _say(session, b"RCPT TO:<2@x>\r\n")
    session.accept()
    _say(session, b"RCPT TO:<3@x> NOTIFY=NEVER ORCPT=rfc822;4@x\r\n")
    session.accept(b"5@x")
    envelope = _say(session, b"DATA\r\n").envelope
    assert envelope.recipients == [b"2@x", b"5@x"]
    assert envelope.mail_parameters == [b"RET=FULL"]
    assert envelope.recipient_parameters == [[], [b"NOTIFY=NEVER", b"ORCPT=rfc822;4@x"]]


def test_replies_are_sent_before_more_is_asked(session):
    """A client that sends thousands of commands and reads nothing has a bounded part of its replies in memory."""
    commands = b"EHLO c\r\n" * 2000
    session.receive_data(commands)
    said = b""
    while (event := session.next_event()) is OUTPUT_FULL:
        piece = session.data_to_send()
        assert len(piece) < 32 * 1024
        said += piece
    assert event is NEED_DATA
    said += session.data_to_send()
    assert said.count(b"250-h\r\n") == 2000
