"""The client: what it makes of replies, well formed and not, of silence and of an end."""

import pytest

from checkpw.conform import attempts
from checkpw.conform.calling.dialogue import Client, Kind, Language, Reply
from checkpw.conform.calling.session import Session
from checkpw.conform.model import Violation
from checkpw.conform.process import KitFailure

PATIENCE = 20.0
HELLO = r"printf '220 x ESMTP\r\n'; read ehlo; printf '250-x\r\n250-AUTH plain LOGIN\r\n250 AUTH=CRAM-MD5\r\n'"


@pytest.fixture
def connect(server, environ, tmp_path):
    """Give a function that starts a server of shell text and returns the client."""
    clients = []

    def begin(text, patience=PATIENCE, language=None):
        clients.append(Client(Session(server(text), environ, str(tmp_path)), language, patience))
        return clients[-1]

    yield begin
    for client in clients:
        client.session.end()


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (r"250 ok\r\n", Kind.YES, 250),
        (r"235-a\r\n235 b\r\n", Kind.YES, 235),
        (r"334 \r\n", Kind.MORE, 334),
        (r"354\r\n", Kind.MORE, 354),
        (r"454 x\n", Kind.LATER, 454),
        (r"535 x\r\n", Kind.NO, 535),
        (r"635 x\r\n", Kind.GARBLED, 0),
        (r"hello\r\n", Kind.GARBLED, 0),
        (r"2500 x\r\n", Kind.GARBLED, 0),
        (r"250-a\r\n235 b\r\n", Kind.GARBLED, 0),
        (r"235-a\r\noops\r\n", Kind.GARBLED, 0),
        (r"250 ok", Kind.GARBLED, 0),
        ("", Kind.CLOSED, 0),
    ],
)
def test_replies_of_smtp(connect, said, kind, code):
    """A reply is what RFC 5321 calls one, and nothing else."""
    reply = connect(f"printf '{said}'", language=Language.SMTP).reply()
    assert (reply.kind, reply.code) == (kind, code)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (r"+OK x\r\n", Kind.YES),
        (r"-ERR\r\n", Kind.NO),
        (r"+ \r\n", Kind.MORE),
        (r"250 x\r\n", Kind.GARBLED),
        (r"+ok\r\n", Kind.GARBLED),
    ],
)
def test_replies_of_pop3(connect, said, kind):
    """Those of RFC 1939, in capitals."""
    assert connect(f"printf -- '{said}'", language=Language.POP3).reply().kind is kind


@pytest.mark.parametrize(
    ("said", "language"), [("220 x", Language.SMTP), ("+OK x", Language.POP3), ("-ERR x", Language.POP3)]
)
def test_the_greeting_tells_the_language(connect, said, language):
    """Unless it is said which it is."""
    client = connect(f"printf -- '{said}\\r\\n'; read a; printf '250 x\\r\\n'; read a").greet()
    assert client.language is language
    assert client.greeting.lines == (said.encode() + b"\r\n",)


def test_mechanisms(connect):
    """Those of each line, in capitals; the old spelling with `=` too."""
    assert connect(f"{HELLO}; read a").greet().mechanisms == {b"PLAIN", b"LOGIN", b"CRAM-MD5"}


def test_a_greeting_that_is_none(connect):
    """It is kept for whoever asks."""
    assert connect(r"printf '421 later\r\n'").greet().greeting.kind is Kind.LATER
    assert connect("exit 0").greet().greeting.kind is Kind.CLOSED
    assert connect("read a", patience=0.05).greet().greeting.kind is Kind.SILENT


def test_an_attempt(connect):
    """Lines go out one by one, as long as the server asks for more."""
    client = connect(rf"{HELLO}; for i in 1 2; do read a; printf '334 \r\n'; done; read a; printf '235 x\r\n'")
    assert client.greet().attempt(attempts.login(b"joe", b"x")) == Reply(Kind.YES, (b"235 x\r\n",))
    assert client.heard.endswith(b"334 \r\n334 \r\n235 x\r\n")
    client = connect(rf"{HELLO}; read a; printf '504 x\r\n'; read a")
    assert client.greet().attempt(attempts.login(b"joe", b"x")).code == 504
    assert client.begin(attempts.plain(b"joe", b"x")) is None


def test_an_attempt_by_pop3(connect):
    """+OK to USER asks for more."""
    client = connect(r"printf '+OK\r\n'; read a; printf '+OK\r\n'; read a; printf '%s\r\n' '-ERR'").greet()
    assert client.attempt(attempts.user_pass(b"joe", b"x")).kind is Kind.NO


def test_silence_is_a_violation(connect):
    """Where a reply is due; where it is asked for with a limit, it is a kind of reply."""
    client = connect(f"{HELLO}; cat >/dev/null").greet()
    assert client.reply(0.05).kind is Kind.SILENT
    client.patience = 0.05
    with pytest.raises(Violation, match="saw none"):
        client.ask(b"NOOP")
    with pytest.raises(Violation, match="saw none"):
        client.attempt(attempts.plain(b"joe", b"x"))


def test_a_relay(connect):
    """The first refusal counts; what is accepted is given up."""
    for mail, rcpt, kind in (("550 m", "250 r", Kind.NO), ("250 m", "550 r", Kind.NO), ("250 m", "251 r", Kind.YES)):
        text = rf"{HELLO}; read a; printf '{mail}\r\n'; read a; printf '{rcpt}\r\n'; read a; printf '250\r\n'; read a"
        reply = connect(text).greet().relay(b"a@b", b"c@d")
        assert reply.kind is kind
        assert reply.lines[0].strip() in (mail.encode(), rcpt.encode())


def test_replies_in_words(connect):
    """As a reader of a report sees them."""
    assert str(Reply(Kind.NO, (b"535 no\r\n",))) == r"535 no\r\n"
    assert str(Reply(Kind.CLOSED, ())) == "the connection closed"
    assert str(Reply(Kind.SILENT, ())) == "no reply in time"


def test_the_rest(connect):
    """What comes unasked is heard too, up to the end."""
    client = connect(r"printf '220 x\r\n'; read a; printf '250 x\r\n'; printf 'more\r\nand more'").greet()
    client.remainder(20)
    assert client.heard.endswith(b"more\r\nand more")


def test_sessions(connect, tmp_path):
    """0 and 1 are one socket, 2 is a file, and nothing is left of the process when the session ends."""
    client = connect("ls -l /proc/$$/fd >&2; sleep 600 & sleep 600")
    while client.session.said().count(b"socket") < 2 or len(client.session.processes()) < 3:
        assert client.session.process.wait(0) is None
    said = client.session.said()
    assert f"socket:[{client.session.endpoint[1]}]".encode() in said
    assert b"/log" in said
    pids = client.session.processes()
    client.session.end()
    assert (tmp_path / "over").exists()
    assert client.session.processes() == [pids[0]]


def test_a_command_that_is_not_there(environ, tmp_path):
    """It is the kit that cannot run."""
    with pytest.raises(KitFailure, match="no such program"):
        Session([b"nonexistent-program"], environ, str(tmp_path))


def test_a_call_is_waited_for_until_it_is_complete(connect, tmp_path):
    """One whose probe still reads does not count, unless there is no other when the time is over."""
    session = connect("cat >/dev/null").session
    facts = {"pid": 1, "argv": [], "environ": [], "status": {}, "uid": 0, "ended": True, "descriptors": []}
    assert session.wait_for_call(0.01) is None
    for number, is_complete in ((1, False), (2, True), (3, False)):
        note = ascii({**facts, "record": b"%d" % number, "complete": is_complete})
        (tmp_path / f"call-{number:020d}-1").write_text(note, encoding="ascii")
        if number == 1:
            assert session.wait_for_call(0.01).record == b"1"
    assert session.wait_for_call(PATIENCE).record == b"2"
