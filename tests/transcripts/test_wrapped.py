"""The transcripts of smtpwrap, before a real server of the old kind, however the client's bytes are cut.

The client is in memory, TLS included; the server is a process on two pipes.
"""

import pathlib
import random
import re
import sys

import pytest
from dialogue import HERE, read
from memory import TLS, Clock
from players import _ScriptedClient

from checkpw import operations
from checkpw.logline import render
from checkpw.middle.manners import Manners
from checkpw.middle.middleman import Middleman
from checkpw.operations import Secured
from checkpw.peer import Peer
from checkpw.runners.stdio import StdioRunner

SETTINGS = {
    "login": "",
    "level": "none",
    "relay": "no",
    "starttls": "no",
    "require-tls": "no",
    "server": "",
    "tries": "5",
    "errors": "20",
}
SERVER = [sys.executable.encode(), b"-IS", bytes(pathlib.Path(HERE / "stock_server.py"))]


DIALOGUES = read(HERE / "front" / "wrapped.txt", SETTINGS)


class Runner(StdioRunner):
    """Performs what has to do with the client in memory."""

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.started = 0
        self.ended = 0
        self._perform |= {
            operations.Receive: self._receive_from_either,
            operations.Send: lambda operation: client.send(operation.data),
            operations.Secure: lambda operation: Secured(dict(TLS), client.secure(operation.timeout)),
        }

    def _spawn(self, operation):
        self.started += 1
        return super()._spawn(operation)

    def _wait(self, operation):
        self.ended += 1
        return super()._wait(operation)

    def _receive_from_either(self, operation):
        if operation.descriptor is None:
            return self.client.receive(operation.timeout)
        return self._receive(operation)


def play(dialogue, how):
    """Give what was said, what was logged, and the exit status."""
    settings, lines, clock = dialogue.settings, [], Clock()
    client = _ScriptedClient(dialogue.turns, how, random.Random(dialogue.name), clock)

    def log(fields):
        line = render("smtpwrap", fields).decode()
        lines.append(re.sub(r"^smtpwrap: (.*?) pid=77 (.*) seconds=[0-9.]+\n$", r"\1 \2", line))

    manners = Manners(
        observes=settings["level"] == "observe",
        relays_for_all=settings["relay"] == "yes",
        offers_starttls=settings["starttls"] == "yes",
        requires_tls=settings["require-tls"] == "yes",
        handshake_timeout=11.0,
        server_timeout=20.0,
        errors=int(settings["errors"]),
        auth_failures=int(settings["tries"]),
    )
    middleman = Middleman(
        [*SERVER, settings["server"].encode()],
        {b"PATH": b"/usr/bin:/bin"},
        manners,
        Peer(b"192.0.2.7", is_remote=True),
        login=settings["login"].encode() or None,
        log=log,
        now=clock,
        pid=77,
    )
    runner = Runner(client)
    status = runner.run(middleman.serve())
    assert runner.started == runner.ended, "a server was not waited for"
    return client.said, lines, status


@pytest.mark.parametrize("how", ["whole", "bytes", "random"])
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=repr)
def test_transcript(dialogue, how):
    """The client hears what the transcript says, and so does the log."""
    said, lines, ended = play(dialogue, how)
    assert b"".join(said) == dialogue.expected
    assert ended == dialogue.status
    if dialogue.log:
        assert lines == dialogue.log
