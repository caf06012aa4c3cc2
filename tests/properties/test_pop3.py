"""POP3 before a login, whatever comes: it never raises, cuts do not matter, and nobody is in without a question."""

import hypothesis.strategies as st
from hypothesis import given
from splits import PLACES, cut

from checkpw.pop3 import Pop3Login
from checkpw.smtp import replies
from checkpw.smtp.events import NEED_DATA, OUTPUT_FULL, AuthAttempted, Closed, TlsRequested
from checkpw.smtp.limits import Limits

STAMP = b"<1.2@mail.example>"
WORDS = [
    b"USER joe",
    b"USER",
    b"PASS secret",
    b"PASS  a b ",
    b"PASS",
    b"APOP joe " + b"0" * 32,
    b"APOP x",
    b"STLS",
    b"CAPA",
]
WORDS += [b"NOOP", b"QUIT", b"STAT", b"", b"user ann", b"x" * 3000, b"PASS a\0b", b"PASS " + b"p" * 600]
LINES = st.one_of(st.sampled_from(WORDS), st.binary(max_size=30))
WIRES = st.lists(st.tuples(LINES, st.sampled_from([b"\r\n", b"\n"])), max_size=20).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def play(pieces, *, apop, needs_tls):
    """Give what was said and asked; every login is refused, every STLS granted, and the rest of its piece goes on."""
    refusal = replies.AUTH_NEEDS_STARTTLS if needs_tls else None
    session = Pop3Login(
        STAMP, Limits(errors=9, auth_failures=3), auth_refusal=refusal, offers_apop=apop, offers_stls=True
    )
    said, asked = session.data_to_send(), []
    for piece in [*pieces, None]:
        if piece is None:
            session.receive_eof()
        else:
            session.receive_data(piece)
        while (event := session.next_event()) is not NEED_DATA:
            said += session.data_to_send()
            if isinstance(event, Closed):
                return said, asked, event.reason
            if isinstance(event, AuthAttempted):
                asked.append((event.mechanism, event.login, event.credentials and event.credentials.encode()))
                session.reject(event.refusal or replies.AUTH_FAILED)
            elif isinstance(event, TlsRequested):
                return said, asked, "tls"
            else:
                assert event is OUTPUT_FULL
        said += session.data_to_send()
    raise AssertionError("it does not end")


@given(WIRES, st.booleans(), st.booleans(), PLACES)
def test_cuts_do_not_matter(wire, apop, needs_tls, places):
    """The same is said and asked, however the bytes come; each line has one answer, and CAPA one that ends in a dot."""
    whole = play([wire], apop=apop, needs_tls=needs_tls)
    assert play(cut(wire, places), apop=apop, needs_tls=needs_tls) == whole
    said, asked, reason = whole
    assert said.endswith(b"\r\n")
    assert all(byte in (10, 13) or 32 <= byte <= 126 for byte in said)
    assert (not needs_tls) or asked == []
    assert len(asked) <= 3
    for mechanism, _, record in asked:
        assert record is None or (len(record) <= 512 and record.count(b"\0") == 3 and record.endswith(STAMP + b"\0"))
        assert mechanism == b"USER" or apop
    assert reason in ("quit", "eof", "errors", "auth", "tls")


@given(WIRES)
def test_what_came_in_clear_is_never_executed(wire):
    """After STLS the session knows nothing of what was said before, nor of what came behind it."""
    session = Pop3Login(STAMP, Limits(), auth_refusal=replies.AUTH_NEEDS_STARTTLS, offers_stls=True)
    session.receive_data(b"STLS\r\nUSER joe\r\n" + wire)
    assert isinstance(session.next_event(), TlsRequested)
    session.accept()
    session.data_to_send()
    assert session.start_over(None) == len(wire) + len(b"USER joe\r\n")
    session.receive_data(b"PASS secret\r\n")
    assert session.next_event() is NEED_DATA
    assert session.data_to_send() == b"-ERR USER first\r\n"
