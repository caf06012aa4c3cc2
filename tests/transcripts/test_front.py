"""The transcripts of authup, up to the login, however the client's bytes are cut.

Operations are performed in memory; in tests/programs/test_authup.py the chain goes on for real.
"""

import random
import re

import pytest
from dialogue import HERE, read, unescape
from memory import Clock, MemoryRunner, Program
from players import _ScriptedClient

from checkpw import sasl
from checkpw.checker import Checker
from checkpw.conversation import Conversation
from checkpw.logline import render
from checkpw.peer import Peer
from checkpw.pop3 import Pop3Login
from checkpw.smtp.limits import Limits
from checkpw.smtp.offers import Offers
from checkpw.smtp.session import Session
from checkpw.successors import AskedFirst

SETTINGS = {
    "protocol": "smtp",
    "remote": "192.0.2.7",
    "tls": "no",
    "require-tls": "no",
    "starttls": "no",
    "checker": "joe secret",
    "tries": "5",
    "errors": "20",
    "legacy": "no",
    "cram": "no",
    "apop": "no",
}
STAMP = b"<77.1@mail.example>"
DIALOGUES = [
    dialogue for path in [HERE / "front" / "smtp.txt", HERE / "front" / "pop3.txt"] for dialogue in read(path, SETTINGS)
]


class Manners:
    """What an administrator decided."""

    idle_timeout = 300.0
    handshake_timeout = 11.0
    auth_delay = 5.0

    def __init__(self, *, requires_tls):
        self.requires_tls = requires_tls


class Record(Program):
    """A checker that wants this record and no other."""

    def __init__(self, record):
        super().__init__(0)
        self.record = record


class Runner(MemoryRunner):
    """Knows checkers of that kind."""

    def _wait(self, operation):
        child = operation.child
        if isinstance(child.program, Record):
            child.program.status = int(child.received[3] != child.program.record)
        elif child.program.secret is not None:  # whatever else the record says
            fields = child.received[3].split(b"\0")
            child.program = Program(int(tuple(fields[:2]) != child.program.secret))
        return super()._wait(operation)


def _checker(text):
    kind, _, rest = text.partition(" ")
    if kind == "record":
        return Record(unescape(rest))
    if kind in ("exit", "signal"):
        return Program(int(rest) if kind == "exit" else -int(rest))
    return Program(secret=(kind.encode(), rest.encode()))


def _compose(settings, conversation):
    is_on = {name: value == "yes" for name, value in settings.items()}
    limits = Limits(errors=int(settings["errors"]), auth_failures=int(settings["tries"]))
    common = {"auth_refusal": conversation.auth_refusal(), "uses_tls": is_on["tls"]}
    if settings["protocol"] == "pop3":
        capabilities = (b"TOP", b"UIDL")
        common |= {"capabilities": capabilities, "offers_apop": is_on["apop"], "offers_stls": is_on["starttls"]}
        return Pop3Login(STAMP, limits, **common)
    mechanisms = sasl.MECHANISMS | ({b"CRAM-MD5": lambda: sasl.CramMd5(STAMP)} if is_on["cram"] else {})
    offers = Offers(stands_for=(b"PIPELINING", b"8BITMIME"), mechanisms=mechanisms, is_legacy=is_on["legacy"])
    return Session(b"mail.example", limits, offers=offers, offers_starttls=is_on["starttls"], **common)


def play(dialogue, how):
    """Give what was said, what was logged, and whom the chain goes on for."""
    settings, lines, clock = dialogue.settings, [], Clock()
    client = _ScriptedClient(dialogue.turns, how, random.Random(dialogue.name), clock)
    runner = Runner(client, {b"/checker": _checker(settings["checker"])}, clock)

    def log(fields):
        line = render("authup", fields).decode()
        lines.append(re.sub(r"^authup: (.*?) pid=77 (.*) seconds=[0-9.]+\n$", r"\1 \2", line))

    successor = AskedFirst(lambda environ: Checker([b"/checker", b"true"], environ, frozenset({1}), 30.0))
    remote = settings["remote"].encode()
    conversation = Conversation(
        Manners(requires_tls=settings["require-tls"] == "yes"),
        Peer(remote, is_remote=True, uses_tls=settings["tls"] == "yes"),
        None,
        {b"A": b"b"},
        successor=successor,
        offers_starttls=settings["starttls"] == "yes",
        log=log,
        now=clock,
        pid=77,
    )
    conversation.session = _compose(settings, conversation)

    def finish(_reason):
        yield from ()
        return {}

    runner.run(conversation.serve(pytest.fail, finish))
    return client.said, lines, successor.accepted


@pytest.mark.parametrize("how", ["whole", "bytes", "random"])
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=repr)
def test_transcript(dialogue, how):
    """The client hears what the transcript says, and so does the log."""
    said, lines, accepted = play(dialogue, how)
    assert b"".join(said) == dialogue.expected
    if how == "whole":
        assert [piece for piece in said if piece] == [turn.expected for turn in dialogue.turns if turn.expected]
    if dialogue.log:
        assert lines == dialogue.log
    assert (accepted is not None) == any("reason=login" in line for line in lines)
    if accepted is not None:
        credentials, environ = accepted
        assert environ[b"AUTHUP_USER"] == credentials.login == b"joe"
        assert environ[b"A"] == b"b"
        assert (b"SSL_PROTOCOL" in environ) == any("event=tls protocol" in line for line in lines)


def test_there_are_transcripts():
    """Both protocols have some."""
    assert {dialogue.settings["protocol"] for dialogue in DIALOGUES} == {"smtp", "pop3"}
