"""Decisions of which transcripts show no example: other addresses, other words, none owed."""

import pytest

from checkpw.smtp import replies
from checkpw.smtp.data import CRLF, DotReader
from checkpw.smtp.events import NEED_DATA, PAUSED, Closed, MessageOffered, RecipientOffered, SenderOffered
from checkpw.smtp.incoming import CHUNK_CAP, Incoming
from checkpw.smtp.limits import Limits
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
