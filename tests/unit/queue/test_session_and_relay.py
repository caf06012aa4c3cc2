"""A session whose door asks a next hop: what the hop says to each command is what the client hears."""

import pytest
from hop import HANG_UP, MemoryRunner

from checkpw.peer import Peer
from checkpw.policy import Policy
from checkpw.smtp.limits import Limits
from checkpw.submission import Submission


class SessionRunner(MemoryRunner):
    """Also has a client, who sends everything at once and goes."""

    def __init__(self, hop, client):
        super().__init__(hop)
        self.client = [client, b""]
        self.heard = b""

    def _receive(self, operation):
        return self.client.pop(0) if operation.descriptor is None else super()._receive(operation)

    def _send(self, operation):
        self.heard += operation.data


def talk(relay, *lines, **hop):
    """Have a client say these lines; give the hop, and the code and status that each line got."""
    hop, _, door = relay(**hop)
    runner = SessionRunner(hop, b"".join(line + b"\r\n" for line in lines))
    door._now = runner.clock
    logged = []
    submission = Submission(
        Policy(b"mail.example", Limits(), relays_for_all=True),
        Peer.from_environment({b"TCPREMOTEIP": b"127.0.0.1"}),
        door,
        None,
        {},
        log=logged.append,
        now=runner.clock,
        pid=1,
    )
    runner.run(submission.serve())
    runner.run(door.close_idle())
    assert runner.open_descriptors() == []
    for descriptor in list(runner.connected):
        runner.close(descriptor)
    return hop, runner.heard.split(b"\r\n")[1:-1], logged


def test_each_recipient_gets_its_own_answer(relay):
    """Who is refused is not in the message, and everybody else gets it."""
    hop, heard, logged = talk(
        relay,
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<c@d>",
        b"RCPT TO:<no@d>",
        b"RCPT TO:<e@f>",
        b"DATA",
        b"Subject: x\r\n\r\nbody\r\n.",
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<g@h>",
        b"DATA",
        b"\r\n.",
        answers={b"RCPT TO:<no@d>": b"550 5.1.1 no such user", b".": b"250 2.0.0 queued as 7"},
    )
    assert heard == [
        b"250 2.1.0 ok",
        b"250 2.1.5 ok",
        b"550 5.1.1 no such user",
        b"250 2.1.5 ok",
        b"354 go ahead",
        b"250 2.0.0 queued as 7",
        b"250 2.1.0 ok",
        b"250 2.1.5 ok",
        b"354 go ahead",
        b"250 2.0.0 queued as 7",
    ]
    assert [message.recipients for message in hop.messages] == [
        [b"RCPT TO:<c@d>", b"RCPT TO:<e@f>"],
        [b"RCPT TO:<g@h>"],
    ]
    assert hop.connections == 1
    (refusal,) = [line for line in logged if line["event"] == "refused"]
    assert refusal["address"] == b"no@d"


@pytest.mark.parametrize("end", [b"RSET", b"EHLO again", b"QUIT"])
def test_an_envelope_without_a_message(relay, end):
    """It is forgotten at the next, or at the end of the session, and its connection used again."""
    hop, heard, _ = talk(relay, b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", end, b"MAIL FROM:<x@y>")
    again = [] if end == b"QUIT" else [b"MAIL", b"RSET"]
    assert hop.verbs() == [b"EHLO", b"MAIL", b"RCPT", b"RSET", *again, b"QUIT"]
    assert heard[:2] == [b"250 2.1.0 ok", b"250 2.1.5 ok"] and hop.connections == 1


def test_a_sender_who_is_refused(relay):
    """The hop's word is said to MAIL, and to DATA what the hop says to DATA."""
    hop, heard, _ = talk(
        relay,
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<c@d>",
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<c@d>",
        b"DATA",
        b"RCPT TO:<c@d>",
        answers={b"MAIL": [b"553 5.7.1 not yours"], b"DATA": b"452 4.3.1 disk full"},
    )
    assert [line[:9] for line in heard] == [
        b"553 5.7.1",
        b"503 5.5.1",
        b"250 2.1.0",
        b"250 2.1.5",
        b"452 4.3.1",
        b"503 5.5.1",
    ]
    assert hop.messages == []


def test_a_hop_that_goes_and_comes_back(relay):
    """What a hop that hung up agreed to is asked again, unseen."""
    _, heard, _ = talk(
        relay,
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<c@d>",
        b"RCPT TO:<e@f>",
        b"DATA",
        b"\r\n.",
        answers={b"RCPT TO:<e@f>": [HANG_UP], b"DATA": [HANG_UP]},
    )
    assert [line[:3] for line in heard] == [b"250", b"250", b"250", b"354", b"250"]
