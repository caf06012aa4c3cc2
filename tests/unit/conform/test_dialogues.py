"""What the strategies of dialogues promise, held against what a strict server would do with the lines."""

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw.conform import attempts, dialogues
from checkpw.sasl import Malformed, NotAcceptable, Plain, checked, decode


def _responses(attempt):
    """Give what a server finds in the lines of AUTH, decoded, or None for what is not base64."""
    words = [word for word in (attempt.lines[0].split(b" ")[2:], *([line] for line in attempt.lines[1:])) if word]
    return [decode(word[0]) for word in words]


def _credentials(attempt):
    """Give login and password as our own server understands an attempt, or the exception by which it is refused."""
    responses = _responses(attempt)
    if attempt.mechanism == b"PLAIN":
        credentials = Plain().step(responses[0])
    else:
        credentials = checked(responses[0], responses[1])
    return credentials.login, credentials.password.reveal()


@given(dialogues.smtp_attempts())
def test_what_is_well_formed(attempt):
    """Each good attempt is understood by a strict server as the fields that it promises."""
    assert _credentials(attempt) == attempt.fields
    assert all(len(line) <= 510 and not set(line) & {0, 10, 13} for line in attempt.lines)
    assert attempt.wire == b"".join(line + b"\r\n" for line in attempt.lines)


@pytest.mark.parametrize(
    "strategy",
    [
        dialogues.with_nul(),
        dialogues.with_line_end(),
        dialogues.empty(),
        dialogues.not_base64(),
        dialogues.badly_padded(),
        dialogues.wrong_shapes(),
        dialogues.with_foreign_identity(),
        dialogues.over_long(3),
        dialogues.malformed_attempts().filter(lambda attempt: attempt.lines[-1] != b"*"),
    ],
    ids=["nul", "line-end", "empty", "not-base64", "padding", "shape", "identity", "over-long", "malformed"],
)
def test_what_is_refused(strategy):
    """None of these has fields, and a strict server refuses each."""

    @given(strategy)
    def hold(attempt):
        assert attempt.fields == ()
        with pytest.raises((Malformed, NotAcceptable)):
            _credentials(attempt)

    hold()


@given(dialogues.not_base64())
def test_what_is_not_base64_tempts_a_lax_server(attempt):
    """At its end stands something that a decoder which stops at a strange character, or skips it, does not see."""
    text = attempt.lines[-1].split(b" ")[-1]
    with pytest.raises(binascii.Error):
        binascii.a2b_base64(text, strict_mode=True)


@given(dialogues.cancelled())
def test_who_gives_up(attempt):
    """The last line is `*` alone."""
    assert attempt.lines[-1] == b"*"
    assert attempt.fields == ()


@given(st.integers(2, 40), st.data())
def test_over_long_begins_at_513_bytes(overhead, data):
    """Whatever a caller adds to login and password."""
    attempt = data.draw(dialogues.over_long(overhead))
    *_, last = [base64.b64decode(line) for line in attempt.lines[1:]]
    total = len(last) - 2 if attempt.mechanism == b"PLAIN" else sum(len(base64.b64decode(x)) for x in attempt.lines[1:])
    assert total + overhead >= 513
    pop3 = data.draw(dialogues.pop3_over_long(overhead))
    assert len(pop3.wire) - len(b"USER \r\nPASS \r\n") + overhead >= 513


@given(dialogues.pop3_attempts())
def test_pop3(attempt):
    """Arguments have no space, and at most 40 bytes."""
    assert attempt.lines == (b"USER " + attempt.fields[0], b"PASS " + attempt.fields[1])
    assert all(b" " not in field and 0 < len(field) <= 40 for field in attempt.fields)
    assert attempt.mechanism == b"USER"


@given(dialogues.pop3_refused())
def test_pop3_with_nul(attempt):
    """There is a NUL in one of the lines."""
    assert b"\0" in attempt.wire
    assert attempt.fields == ()


@given(dialogues.fields(), dialogues.any_bytes(), dialogues.digests())
def test_fields(text, noise, digest):
    """No field is empty or has in it what a record or a line could not carry."""
    assert text.decode()
    for each in (text, noise):
        assert each
        assert not set(each) & {0, 10, 13}
    assert len(digest) == 32


def test_other_ways():
    """CRAM-MD5 and APOP carry what they are given."""
    assert attempts.cram_md5(b"joe", b"d1").lines == (b"AUTH CRAM-MD5", base64.b64encode(b"joe d1"))
    assert attempts.apop(b"joe", b"d1") == attempts.Attempt("APOP", (b"APOP joe d1",), (b"joe", b"d1"))
    assert attempts.decode(b"PGE+") == b"<a>"
    assert attempts.decode(b"PGE") == b""
