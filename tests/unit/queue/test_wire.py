"""What is said to a next hop, and what its refusals are here."""

import pytest

from checkpw.errors import MessageRefused
from checkpw.queue import wire
from checkpw.queue.wire import Stuffer
from checkpw.smtp.events import Envelope

EVERYTHING = {b"8BITMIME", b"SMTPUTF8", b"DSN", b"REQUIRETLS", b"SIZE"}
WORDS = [b"BODY=8BITMIME", b"RET=HDRS", b"ENVID=x", b"REQUIRETLS", b"SIZE=12"]


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (b"", b"<>"),
        (b"a@b", b"<a@b>"),
        (b"a.b+c@d.example", b"<a.b+c@d.example>"),
        (b"a b@c", b'<"a b"@c>'),
        (b"a..b@c", b'<"a..b"@c>'),
        (b".a@c", b'<".a"@c>'),
        (b'a"\\b@c', b'<"a\\"\\\\b"@c>'),
        (b"a>@c", b'<"a>"@c>'),
        (b"a@b@c", b'<"a@b"@c>'),
        (b"@c", b'<""@c>'),
        (b"nohost", b"<nohost>"),
        (b"no host", b'<"no host">'),
        (b"a@[IPv6:::1]", b"<a@[IPv6:::1]>"),
        ("jürgen@bücher.example".encode(), "<jürgen@bücher.example>".encode()),
    ],
)
def test_paths(address, path):
    """An address without quotes gets them back where it needs them."""
    assert wire.path(address) == path


@pytest.mark.parametrize(
    "address", [b"a@b> SIZE=1", b"a@b c", b"a@b\r\nRSET", b"a\r\nRSET\r\n@b", b"a\0@b", b"a@b\x7f", b"a\n"]
)
def test_addresses_that_cannot_be_said(address):
    """No address ends its path, its command or its line; it is refused for ever."""
    with pytest.raises(MessageRefused) as caught:
        wire.path(address)
    assert (caught.value.code, caught.value.enhanced) == (554, b"5.1.3")


@pytest.mark.parametrize(
    ("extensions", "is_utf8", "words", "line"),
    [
        (EVERYTHING, False, WORDS, b"MAIL FROM:<a@b> " + b" ".join(WORDS)),
        (EVERYTHING, True, WORDS[:1], b"MAIL FROM:<a@b> BODY=8BITMIME SMTPUTF8"),
        ({b"8BITMIME", b"SMTPUTF8"}, True, [], b"MAIL FROM:<a@b> SMTPUTF8"),
        (set(), False, [], b"MAIL FROM:<a@b>"),
        (set(), False, [b"BODY=8BITMIME", b"RET=HDRS", b"ENVID=x", b"SIZE=12"], b"MAIL FROM:<a@b>"),
        ({b"DSN"}, False, WORDS[:3], b"MAIL FROM:<a@b> RET=HDRS ENVID=x"),
        ({b"8BITMIME"}, False, WORDS[:3], b"MAIL FROM:<a@b> BODY=8BITMIME"),
        ({b"SIZE"}, False, WORDS[4:], b"MAIL FROM:<a@b> SIZE=12"),
        (EVERYTHING, False, [b"ENVID=a\r\nRSET", b"ENVID=a b", b"OTHER=1", b"ENVID=ok"], b"MAIL FROM:<a@b> ENVID=ok"),
    ],
)
def test_mail(extensions, is_utf8, words, line):
    """A parameter goes to who knows it, and none that we do not know ourselves."""
    assert wire.mail_command(Envelope(b"a@b", words, is_utf8=is_utf8), extensions) == line + b"\r\n"


@pytest.mark.parametrize(
    ("extensions", "is_utf8", "words", "code", "enhanced"),
    [
        (set(), True, [], 553, b"5.6.7"),
        ({b"SMTPUTF8"}, True, [], 553, b"5.6.7"),
        ({b"8BITMIME"}, True, [], 553, b"5.6.7"),
        ({b"DSN"}, False, [b"REQUIRETLS"], 550, b"5.7.30"),
    ],
)
def test_messages_that_a_hop_cannot_carry(extensions, is_utf8, words, code, enhanced):
    """What cannot be left out is refused."""
    with pytest.raises(MessageRefused) as caught:
        wire.mail_command(Envelope(b"a@b", words, is_utf8=is_utf8), extensions)
    assert (caught.value.code, caught.value.enhanced) == (code, enhanced)


def test_recipients():
    """NOTIFY and ORCPT go to who knows DSN."""
    words = [b"NOTIFY=SUCCESS,DELAY", b"ORCPT=rfc822;c@d"]
    assert wire.recipient_command(b"c@d", words, {b"DSN": b""}) == b"RCPT TO:<c@d> " + b" ".join(words) + b"\r\n"
    assert wire.recipient_command(b"c@d", words, {b"SIZE": b""}) == b"RCPT TO:<c@d>\r\n"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (b"", b".\r\n"),
        (b"a\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\n", b"..\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\n.\n.b\n..c\nd.\n", b"a\r\n..\r\n..b\r\n...c\r\nd.\r\n.\r\n"),
        (b"\n\n.\n", b"\r\n\r\n..\r\n.\r\n"),
    ],
)
def test_text(text, sent):
    """Dots are doubled at the start of a line, and a last line gets its end; however the text is cut."""
    for pieces in ([text], [text[:2], b"", text[2:]], [bytes((byte,)) for byte in text]):
        stuffer = Stuffer()
        assert b"".join(map(stuffer.feed, pieces)) + stuffer.finish() == sent


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((550, b"5.1.1", b"no such user"), (550, b"5.1.1", b"no such user")),
        ((450, b"4.2.0", b"greylisted"), (450, b"4.2.0", b"greylisted")),
        ((452, b"", b"too many"), (452, b"4.0.0", b"too many")),
        ((552, b"4.3.1", b"?"), (552, b"5.0.0", b"?")),
        ((421, b"4.3.2", b"bye"), (451, b"4.3.2", b"bye")),
        ((454, b"4.7.0", b"x"), (451, b"4.7.0", b"x")),
        ((501, b"5.1.3", b"bad address"), (554, b"5.1.3", b"bad address")),
        ((571, b"5.7.1", b"spam"), (554, b"5.7.1", b"spam")),
        ((530, b"5.7.0", b"log in"), (451, b"4.3.0", b"log in")),
        ((503, b"5.5.1", b"MAIL first"), (451, b"4.3.0", b"MAIL first")),
        ((250, b"2.0.0", b"?"), (451, b"4.3.0", b"?")),
        ((354, b"", b""), (451, b"4.3.0", b"refused by the next hop")),
        ((550, b"5.0.0", "Grüße\x1b[2J".encode()), (550, b"5.0.0", b"Gr????e?[2J")),
    ],
)
def test_refusals(reply, expected):
    """What is for now stays so, what is for ever too; what is about us and not the message is for now."""
    made = wire.refusal(*reply)
    assert (made.code, made.enhanced, made.reply_text) == expected


def test_the_words_of_a_refusal():
    """They say which recipient they are about, and are not endless."""
    assert wire.refusal(550, b"5.1.1", b"no", b"c\xff@d").reply_text == b"<c?@d>: no"
    assert len(wire.refusal(550, b"5.1.1", b"x" * 5000).reply_text) == wire.MAX_TEXT
    assert wire.lost("gone\r\n", b"4.4.2").reply_text == b"next hop: gone??"
