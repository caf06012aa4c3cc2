"""SASL and base64 against small models of RFC 4616 and RFC 4954."""

import base64
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkpw import sasl
from checkpw.smtp import replies
from checkpw.smtp.events import AuthAttempted
from checkpw.smtp.exchange import AuthExchange
from checkpw.smtp.replies import CommandRefused

FIELD = st.one_of(st.sampled_from([b"", b"joe", b"secret", b"a\rb", b"a\nb", b"\xff"]), st.binary(max_size=300))
BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
RESPONSE = st.one_of(
    st.binary(max_size=30),
    st.lists(st.sampled_from([b"QUJD", b"QQ==", b"QUI=", b"=", b"A", b"\n", b"!", b"*"]), max_size=6).map(b"".join),
    st.binary(max_size=30).map(base64.b64encode),
)


@given(st.binary(max_size=700))
def test_base64_round_trip(data):
    """What is encoded can be decoded, and stands in one line."""
    assert b"\n" not in sasl.encode(data)
    assert sasl.decode(sasl.encode(data)) == data


@given(RESPONSE)
@example(b"QUI=QUI=")
@example(b"QQ=")
@example(b"====")
def test_base64_is_strict(line):
    """Just the alphabet, with padding where RFC 4648 has it and nowhere else."""
    if BASE64.fullmatch(line):
        assert sasl.decode(line) == base64.b64decode(line)
    else:
        with pytest.raises(sasl.Malformed):
            sasl.decode(line)


def model(login, password, authorisation=b""):
    """Tell how an attempt ends: malformed, refused, or asked."""
    if not login or not password or any(byte in login + password for byte in b"\0\r\n"):
        return "malformed"
    if len(login) + len(password) > 509 or authorisation not in (b"", login):
        return "refused"
    return "asked"


def _kind(attempt):
    assert isinstance(attempt, AuthAttempted)
    if attempt.refusal is None:
        assert attempt.credentials.login == attempt.login
        assert len(attempt.credentials.encode()) <= 512
        return "asked"
    assert attempt.credentials is None and attempt.reason
    return {replies.AUTH_MALFORMED: "malformed", replies.AUTH_FAILED: "refused"}[attempt.refusal]


@given(FIELD, FIELD, FIELD)
@example(b"joe", b"joe", b"secret")
@example(b"", b"j" * 255, b"p" * 254)
@example(b"", b"j" * 255, b"p" * 255)
def test_plain(authorisation, login, password):
    """PLAIN asks about what can be asked about, and says of the rest what is wrong with it."""
    message = authorisation + b"\0" + login + b"\0" + password
    attempt = AuthExchange(b"plain").begin(sasl.encode(message))
    is_three = b"\0" not in authorisation + login + password
    assert _kind(attempt) == (model(login, password, authorisation) if is_three else "malformed")
    if attempt.credentials:
        assert (attempt.login, attempt.credentials.password.reveal()) == (login, password)


@given(st.binary(max_size=60).filter(lambda message: message.count(b"\0") != 2))
def test_plain_wants_three_fields(message):
    """Whatever has not just two NULs is malformed."""
    assert _kind(AuthExchange(b"PLAIN").begin(sasl.encode(message) or b"=")) == "malformed"


@given(FIELD, FIELD, st.booleans())
def test_login(login, password, is_initial):
    """LOGIN gives the same, with the name as initial response or asked for."""
    exchange = AuthExchange(b"Login")
    if is_initial:
        outcome = exchange.begin(sasl.encode(login) or b"=")
    else:
        assert exchange.begin(b"") == b"334 VXNlcm5hbWU6\r\n"
        outcome = exchange.respond(sasl.encode(login))
    if login:
        assert outcome == b"334 UGFzc3dvcmQ6\r\n"
        outcome = exchange.respond(sasl.encode(password))
    assert _kind(outcome) == model(login, password)


@given(st.sampled_from([b"PLAIN", b"LOGIN"]), st.lists(RESPONSE, min_size=1, max_size=4))
def test_exchanges_end(name, responses):
    """An exchange goes from challenge to challenge until it is cancelled or an attempt, whatever is said."""
    exchange = AuthExchange(name)
    outcome, asked = exchange.begin(b""), 0
    for response in responses:
        assert outcome.startswith(b"334 ") and outcome.endswith(b"\r\n") and outcome.count(b"\n") == 1
        asked += 1
        if response == b"*":
            with pytest.raises(CommandRefused) as refused:
                exchange.respond(response)
            assert refused.value.reply is replies.AUTH_CANCELLED
            return
        outcome = exchange.respond(response)
        if isinstance(outcome, AuthAttempted):
            assert outcome.mechanism == name
            return
    assert (name, asked) == (b"LOGIN", 1)


def test_unknown_mechanism():
    """A mechanism that is not known is refused before anything is asked."""
    with pytest.raises(CommandRefused) as caught:
        AuthExchange(b"CRAM-MD5")
    assert caught.value.reply is replies.AUTH_UNKNOWN
