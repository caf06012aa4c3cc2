"""Submission with doors and checkers that say yes or no at random: what the client is told is what has happened."""

import base64
import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from memory import TLS, Clock, MemoryRunner, Program
from splits import PLACES, cut

from checkpw.checker import Checker
from checkpw.errors import MessageRefused
from checkpw.operations import TimedOut
from checkpw.peer import Peer
from checkpw.policy import Policy
from checkpw.smtp.limits import Limits
from checkpw.submission import Submission

REFUSAL = (451, b"4.3.0", b"not today")


class RecordingDoor:
    """A door in memory, which refuses when it is told to: at the beginning, at the end, or never.

    Attributes:
        committed: what is queued, as (sender, recipients, text).
        envelopes: of every message that began.
    """

    carries_smtputf8 = carries_dsn = carries_requiretls = True

    def __init__(self, moods):
        self._moods = moods
        self.envelopes = []
        self.committed = []
        self.talked = 0
        self.opened = 0
        self.ended = 0
        self.environs = []

    def begin(self, envelope):
        """Take everybody."""

    def open(self, envelope, environ):
        """Begin a message."""
        mood = next(self._moods)
        if mood == "shut":
            raise MessageRefused(*REFUSAL)
        self.opened += 1
        self.environs.append(environ)
        self.envelopes.append(envelope)
        yield from ()
        return RecordingDelivery(self, envelope, mood)


class RecordingDelivery:
    """One message, which must be committed or aborted just once."""

    def __init__(self, door, envelope, mood):
        self._door = door
        self._envelope = envelope
        self._mood = mood
        self._blocks = []

    def write(self, block):
        """Keep a block."""
        assert block
        self._blocks.append(block)
        yield from ()

    def commit(self):
        """Queue it."""
        self._door.ended += 1
        yield from ()
        if self._mood == "refuses":
            raise MessageRefused(*REFUSAL)
        text = b"".join(self._blocks)
        self._door.committed.append((self._envelope.sender, list(self._envelope.recipients), text))
        self._door.talked += self._mood == "talks"
        return b"queued as 1" if self._mood == "talks" else b""

    def abort(self):
        """Forget it."""
        self._door.ended += 1
        yield from ()


class Client:
    """Sends its pieces, then goes away or keeps silent."""

    def __init__(self, pieces, is_silent):
        self._pieces = list(pieces)
        self._is_silent = is_silent
        self.heard = b""

    def receive(self, timeout):
        assert timeout is not None
        if self._pieces:
            return self._pieces.pop(0)
        if self._is_silent:
            raise TimedOut
        return b""

    def send(self, data):
        self.heard += data

    def secure(self, timeout):
        """What was not yet read comes over TLS."""
        assert timeout is not None
        return 0


MOODS = st.lists(st.sampled_from(["takes", "talks", "refuses", "shut"]), min_size=1, max_size=5)


def play(wire, places, moods, *, status=0, is_silent=False, relays=False):
    """Serve a client in memory."""
    client = Client(cut(wire, places), is_silent)
    door = RecordingDoor(iter(moods * 50))
    programs = {b"checker": Program(status, secret=(b"joe", b"x") if status == 0 else None)}
    clock, log = Clock(), []
    policy = Policy(b"mail.example", Limits(200, 3, 30, 9), relays_for_all=relays, header_bytes=90, hops=2)
    submission = Submission(
        policy,
        Peer(b"192.0.2.7", is_remote=True),
        door,
        Checker([b"checker", b"true"], {}, frozenset({1}), 30.0),
        {b"GIVEN": b"1"},
        offers_starttls=True,
        log=log.append,
        now=clock,
        pid=1,
    )
    MemoryRunner(client, programs, clock).run(submission.serve())
    return client.heard, door, log


RIGHT = b"AUTH PLAIN " + base64.b64encode(b"\0joe\0x")
STEPS = [
    RIGHT,
    RIGHT,
    b"AUTH PLAIN " + base64.b64encode(b"\0joe\0y"),
    b"MAIL FROM:<a@b>",
    b"RCPT TO:<c@d>",
    b"RCPT TO:<e@f>",
    b"MAIL FROM:<g@h>\r\nRCPT TO:<i@j>\r\nDATA\r\nBcc: x\r\nTo: y\r\n\r\nbody\r\n.",
    b"MAIL FROM:<g@h>\r\nRCPT TO:<i@j>\r\nDATA\r\n" + b"X: y\r\n" * 20 + b".",
    b"MAIL FROM:<g@h>\r\nRCPT TO:<i@j>\r\nDATA\r\n" + b"Received: y\r\n" * 3 + b"\r\n.",
    b"MAIL FROM:<g@h>\r\nRCPT TO:<i@j>\r\nDATA\r\n" + b"z\r\n" * 90 + b".",
    b"MAIL FROM:<g@h>\r\nRCPT TO:<i@j>\r\nBDAT 3\r\nabc",
    b"BDAT 4 LAST\r\nx\r\ny",
    b"STARTTLS",
    b"RSET",
    b"DATA",
    b"QUIT",
]
WIRE = st.lists(st.sampled_from(STEPS), max_size=12).map(lambda steps: b"".join(step + b"\r\n" for step in steps))


@given(WIRE, PLACES, MOODS, st.booleans())
@example(STEPS[0] + b"\r\n" + STEPS[6] + b"\r\n", [], ["talks"], False)  # noqa: FBT003
def test_told_is_done(wire, places, moods, is_silent):
    """As many messages are said to be queued as are, each delivery ends just once, and the log says the same."""
    heard, door, log = play(wire, places, moods, is_silent=is_silent)
    assert heard.count(b"250 2.0.0 queued as 1\r\n") == door.talked
    assert heard.count(b"250 2.0.0 ok\r\n") == len(door.committed) - door.talked
    assert door.ended == door.opened
    results = [fields["result"] for fields in log if fields["event"] == "message"]
    assert results.count("queued") == len(door.committed)
    assert [fields["bytes"] for fields in log if fields.get("result") == "queued"] == [
        len(text) for _, _, text in door.committed
    ]
    assert [fields["event"] for fields in log].count("session") == 1 and log[-1]["event"] == "session"
    assert (log[-1]["messages"], log[-1]["bytes"]) == (len(door.committed), sum(len(m[2]) for m in door.committed))


@given(WIRE, PLACES, st.sampled_from(["refuses", "shut"]))
def test_a_door_that_always_refuses(wire, places, mood):
    """Nothing gets a 250 after its text."""
    heard, door, _ = play(wire, places, [mood])
    assert b"250 2.0.0 ok" not in heard and b"250 2.0.0 queued" not in heard
    assert door.committed == []


@given(WIRE, PLACES, st.sampled_from([1, 2, 3, 100, 111, 255, -9, -15, "hang", "missing"]))
def test_without_a_yes_nothing_is_opened(wire, places, status):
    """Unless the checker leaves with 0, no door is opened and no MAIL accepted."""
    heard, door, _ = play(wire, places, ["takes"], status=status)
    assert door.opened == 0
    assert b"235" not in heard and b"250 2.1.0" not in heard
    if status != 1:
        assert b"535" not in heard


@given(WIRE, MOODS)
def test_who_logged_in_is_told_to_the_door(wire, moods):
    """What stands behind the door is told who logged in, on top of what was given."""
    _, door, _ = play(wire, [], moods)
    expected = {b"GIVEN": b"1", b"RELAYCLIENT": b"", b"SMTPAUTHUSER": b"joe", b"TCPREMOTEINFO": b"joe"}
    assert all(environ in (expected, expected | TLS) for environ in door.environs)


@given(WIRE, MOODS)
def test_no_login_no_name(wire, moods):
    """Where everybody may relay and nobody logged in, the environment is as it was given."""
    _, door, _ = play(wire.replace(RIGHT, b"NOOP"), [], moods, relays=True)
    assert all(environ in ({b"GIVEN": b"1"}, {b"GIVEN": b"1"} | TLS) for environ in door.environs)


@given(st.randoms(use_true_random=False))
def test_bcc_never_leaves(source):
    """Whatever stands around it, no Bcc field is queued, and the body is."""
    names = ["To", "Bcc", "bcc ", "BCC\t", "Subject", "Date"]
    fields = [f"{source.choice(names)}: {source.randrange(9)}\r\n" for _ in range(6)]
    folded = [field + source.choice(["", " hidden\r\n", "\thidden,\r\n more\r\n"]) for field in fields]
    body = b"\r\nBcc: this is body\r\n"
    wire = STEPS[0] + b"\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + "".join(folded).encode() + body + b".\r\n"
    _, door, log = play(wire, [source.randrange(300) for _ in range(5)], ["takes"])
    for _, _, text in door.committed:
        header, _, rest = text.partition(b"\n\n")
        assert rest == b"Bcc: this is body\n"
        assert not any(line[:3].lower() == b"bcc" for line in header.split(b"\n"))
        kept = [field for field in folded if field.startswith("Subject")]
        assert (b"\n" + header).endswith("".join(kept).replace("\r\n", "\n").encode().removesuffix(b"\n"))
    assert len(door.committed) == 1 or any("too large" in str(fields.get("reason")) for fields in log)


@given(st.floats(0, 40), st.floats(0, 8))
def test_the_delay_is_from_the_start_of_the_check(check, delay):
    """A no is told at start + delay; how long the check took is not to be seen, unless it took longer."""
    clock, log = Clock(), []

    class SlowChecker:
        def ask(self, _credentials, _known):
            from checkpw.checker import Answer
            from checkpw.verdict import REJECTED

            clock.now += check
            yield from ()
            return Answer(REJECTED, "exit status 1")

    client = Client([STEPS[2] + b"\r\n"], is_silent=False)
    policy = Policy(b"mail.example", Limits(), auth_delay=delay)
    door = RecordingDoor(iter(()))
    submission = Submission(policy, Peer(), door, SlowChecker(), {}, log=log.append, now=clock, pid=1)
    began = clock.now
    MemoryRunner(client, {}, clock).run(submission.serve())
    assert abs(clock.now - began - max(check, delay)) < 1e-5
    assert b"535 5.7.8" in client.heard
    assert abs(log[0]["seconds"] - check) < 1e-5


@pytest.mark.parametrize(("idle", "goodbye"), [(3.0, 3.0), (300.0, 10.0)])
def test_times_of_a_client(idle, goodbye):
    """A client has its idle time for each answer and word, its own time for a handshake, and less for the goodbye."""
    client = Client([b"STARTTLS\r\n", STEPS[6] + b"\r\nQUIT\r\n"], is_silent=False)
    policy = Policy(b"mail.example", Limits(), idle_timeout=idle, handshake_timeout=7.0)
    door = RecordingDoor(iter(()))
    submission = Submission(policy, Peer(), door, None, {}, offers_starttls=True, log=print, now=Clock(), pid=1)
    runner = MemoryRunner(client)
    runner.run(submission.serve())
    times = [(type(operation).__name__, operation.timeout) for operation in runner.performed]
    handshake = [("Send", 7.0), ("Secure", 7.0)]
    assert times == [("Send", idle), ("Receive", idle), *handshake, ("Receive", idle), ("Send", goodbye)]


def test_nothing_is_said_to_who_is_gone():
    """Where there is nothing to say, nothing is sent."""
    client = Client([], is_silent=False)
    submission = Submission(
        Policy(b"mail.example", Limits()), Peer(), RecordingDoor(iter(())), None, {}, log=print, now=Clock(), pid=1
    )
    runner = MemoryRunner(client)
    runner.run(submission.serve())
    assert [type(operation).__name__ for operation in runner.performed] == ["Send", "Receive"]


def test_tls_is_of_one_session():
    """What a handshake changes belongs to its session: not to the peer, the environment or the policy it was given."""
    peer, environ, policy = Peer(b"192.0.2.7", b"ident", is_remote=True), {b"A": b"1"}, Policy(b"h", Limits())
    before = [getattr(policy, name) for name in policy.__slots__]
    log = []
    submission = Submission(
        policy, peer, RecordingDoor(iter(())), None, environ, offers_starttls=True, log=log.append, now=Clock(), pid=1
    )
    MemoryRunner(Client([b"STARTTLS\r\nX\r\n"], is_silent=False)).run(submission.serve())
    assert [(fields["event"], fields["client"]) for fields in log] == [
        ("tls", b"192.0.2.7"),
        ("warning", b"192.0.2.7"),
        ("session", b"192.0.2.7"),
    ]
    assert (log[0]["discarded"], log[-1]["tls"]) == (3, "yes")
    assert (peer.uses_tls, environ) == (False, {b"A": b"1"})
    assert before == [getattr(policy, name) for name in policy.__slots__]
    secured = peer.secured()
    assert (secured.ip, secured.info, secured.is_remote, secured.uses_tls) == (b"192.0.2.7", b"ident", True, True)
    assert peer.secured().is_loopback == peer.is_loopback


def test_a_door_is_told_what_a_next_hop_has_to_know():
    """Parameters of MAIL, and those of each recipient that was taken, reach the door in the order of the recipients."""
    mail = b"MAIL FROM:<a@b> SIZE=9 RET=hdrs BODY=8BITMIME ENVID=x SMTPUTF8 REQUIRETLS\r\n"
    rcpt = b"RCPT TO:<c@d> NOTIFY=never\r\nRCPT TO:<>\r\nRCPT TO:<e@f>\r\nRCPT TO:<g@h> ORCPT=rfc822;i@j\r\n"
    pieces = [b"STARTTLS\r\n", STEPS[0] + b"\r\n" + mail + rcpt + b"DATA\r\n\r\n.\r\n" + STEPS[6] + b"\r\n"]
    wire = b"".join(pieces)
    _, door, _ = play(wire, [len(pieces[0])], ["takes"])
    told, other = door.envelopes
    assert told.recipients == [b"c@d", b"e@f", b"g@h"] and told.is_utf8
    assert told.mail_parameters == [b"RET=HDRS", b"BODY=8BITMIME", b"ENVID=x", b"REQUIRETLS"]
    assert told.recipient_parameters == [[b"NOTIFY=NEVER"], [], [b"ORCPT=rfc822;i@j"]]
    assert (other.mail_parameters, other.recipient_parameters, other.is_utf8) == ([], [[]], False)


@pytest.mark.parametrize("mood", ["takes", "refuses"])
def test_how_long_the_queue_took(mood):
    """The log tells the time from the end of a message to the door's answer apart from that of the whole message."""
    clock, log = Clock(), []

    class SlowDelivery(RecordingDelivery):
        def commit(self):
            clock.now += 2.0
            return (yield from super().commit())

    class SlowDoor(RecordingDoor):
        def open(self, envelope, _environ):
            clock.now += 1.0
            yield from ()
            return SlowDelivery(self, envelope, mood)

    policy = Policy(b"mail.example", Limits(), relays_for_all=True)
    door = SlowDoor(iter(()))
    submission = Submission(policy, Peer(), door, None, {}, log=log.append, now=clock, pid=1)
    MemoryRunner(Client([STEPS[6] + b"\r\n"], is_silent=False), {}, clock).run(submission.serve())
    assert (log[0]["event"], log[0]["queue_seconds"], log[0]["seconds"]) == ("message", 2.0, 3.0)


@pytest.mark.parametrize("pid", [7, b"7", b"7.31"])
def test_message_ids_have_the_number_of_the_session(pid):
    """A process of many sessions gives each a number, which is what its Message-IDs and log lines have."""
    log, door = [], RecordingDoor(itertools.repeat("takes"))
    policy = Policy(b"mail.example", Limits(), relays_for_all=True)
    submission = Submission(policy, Peer(), door, None, {}, log=log.append, now=Clock(), pid=pid)
    MemoryRunner(Client([STEPS[6] + b"\r\n" + STEPS[6] + b"\r\n"], is_silent=False)).run(submission.serve())
    number = str(pid).encode() if isinstance(pid, int) else pid
    for serial, (_, _, text) in enumerate(door.committed, 1):
        assert b"Message-ID: <20010909014640.%d.%s.qmail@mail.example>\n" % (serial, number) in text
    assert len(door.committed) == 2 and {fields["pid"] for fields in log} == {pid}


def test_random_sessions_are_repeatable():
    """The same session gives the same words and messages each time: no state outlives a session."""
    source = random.Random(1)
    for _ in range(20):
        wire = b"".join(source.choice(STEPS) + b"\r\n" for _ in range(10))
        first, second = (play(wire, [], ["takes", "refuses"]) for _ in range(2))
        assert first[0] == second[0] and first[1].committed == second[1].committed and first[2] == second[2]
