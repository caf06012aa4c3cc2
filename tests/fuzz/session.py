"""Random and mutated dialogues against the session engine, until the time is over.

    python tests/fuzz/session.py --seconds 60 [--seed N]

Each dialogue is played whole, byte by byte and in random pieces, with random decisions. What must never happen: an
exception, a line that no client can read, other words or events in other pieces, a message that nobody accepted, an
input that is not used up. The first dialogue for which it does is made shorter, printed so that it can be tried
again, and the exit status is 1.
"""

import argparse
import itertools
import pathlib
import random
import sys
import time
import traceback

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "transcripts")]

from dialogue import read_all

from checkpw.smtp.events import (
    NEED_DATA,
    OUTPUT_FULL,
    PAUSED,
    AuthAttempted,
    Closed,
    MessageAborted,
    MessageBlock,
    MessageEnded,
    MessageOffered,
    RecipientOffered,
    SenderOffered,
)
from checkpw.smtp.limits import Limits
from checkpw.smtp.offers import Offers
from checkpw.smtp.replies import Reply
from checkpw.smtp.session import Session

DECISIVE = (AuthAttempted, SenderOffered, RecipientOffered, MessageOffered, MessageEnded)
NO = Reply(554, b"5.7.1", b"no")

TOKENS = [b"EHLO x", b"HELO x", b"RSET", b"NOOP", b"QUIT", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"BDAT 5"]
TOKENS += [
    b"BDAT 7 LAST",
    b"BDAT 0 LAST",
    b"AUTH PLAIN AGEAYg==",
    b"AUTH LOGIN",
    b"YQ==",
    b"*",
    b"=",
    b".",
    b"..",
    b"\r",
]
TOKENS += [b"\n", b"\r\n", b"\r\n.\r\n", b"\0", b"<", b">", b'"', b"\\", b" SIZE=9", b" SMTPUTF8", b"\xff", b"x" * 2047]
TOKENS += [b"y" * 12288, b"Subject: s", b"", b" ", b":", b"@"]


class Failure(Exception):
    """Something happened that must never happen."""


class Case:
    """One dialogue: bytes, a seed for decisions, and the settings of the session."""

    def __init__(self, wire, seed, settings):
        self.wire = wire
        self.seed = seed
        self.settings = settings

    def __repr__(self):
        return f"Case({self.wire!r}, {self.seed}, {self.settings!r})"

    def play(self, places):
        """Play the dialogue cut at these places; give what was told and said."""
        limits = Limits(*self.settings["limits"])
        flags = {name: self.settings[name] for name in ("is_authorised", "may_speak_lf")}
        offers = Offers(smtputf8=self.settings["smtputf8"])
        session = Session(b"mail.example", limits, auth_refusal=None, offers=offers, **flags)
        server = Server(session, self.seed, flags["is_authorised"])
        ends = [0, *sorted({place for place in places if 0 < place < len(self.wire)}), len(self.wire)]
        for start, end in itertools.pairwise(ends):
            server.session.receive_data(self.wire[start:end])
            server.listen(10 * len(self.wire) + 100)
        server.session.receive_eof()
        server.listen(10 * len(self.wire) + 100)
        server.finish()
        return server.told, server.said

    def check(self):
        """Raise what is wrong with it, if anything is."""
        source = random.Random(self.seed)
        whole = self.play([])
        size = len(self.wire)
        for places in (
            range(size) if size < 6000 else range(0, size, 7),
            [source.randrange(size + 1) for _ in range(9)],
        ):
            if self.play(places) != whole:
                raise Failure("other words or events in other pieces")


class Server:
    """Decides at random what a session asks, and sees to what must never happen."""

    def __init__(self, session, seed, may_send):
        self.session = session
        self.told = []
        self.said = b""
        self._decisions = random.Random(seed)
        self._may_send = may_send
        self._is_open = False
        self._last = None

    def listen(self, patience):
        """Take events until there is none."""
        for _ in range(patience):
            self._last = event = self.session.next_event()
            if event is NEED_DATA or isinstance(event, Closed):
                self.said += self.session.data_to_send()
                return
            if event is OUTPUT_FULL:
                self.said += self.session.data_to_send()
                continue
            if event is PAUSED:
                raise Failure("paused, and everything was decided")
            self._look(event)
            self._decide(event)
            _note(self.told, event)
        raise Failure("no end of events")

    def finish(self):
        """Look at how it ended."""
        if not isinstance(self._last, Closed):
            raise Failure("not closed at the end")
        if self._is_open:
            raise Failure("a message was neither ended nor given up")
        _note(self.told, self._last)
        _check(self.said)

    def _look(self, event):
        if isinstance(event, SenderOffered | RecipientOffered | MessageOffered) and not self._may_send:
            raise Failure("offered by somebody who may not send")
        if isinstance(event, MessageBlock | MessageEnded | MessageAborted) and not self._is_open:
            raise Failure("something of a message that nobody accepted")
        if isinstance(event, MessageBlock) and (b"\r" in event.data or not event.data):
            raise Failure("a block that is empty or has a CR")
        if isinstance(event, MessageEnded | MessageAborted):
            self._is_open = False

    def _decide(self, event):
        if not isinstance(event, DECISIVE):
            return
        verdict = None if self._decisions.random() < 0.8 else NO
        if isinstance(event, AuthAttempted) and event.refusal is not None:
            verdict = event.refusal
        if verdict is not None:
            self.session.reject(verdict)
            return
        self.session.accept()
        self._may_send |= isinstance(event, AuthAttempted)
        self._is_open |= isinstance(event, MessageOffered)


def _note(told, event):
    """Note an event so that it can be compared: blocks joined, and text of messages that were given up left out."""
    name = type(event).__name__
    if isinstance(event, MessageBlock):
        if told and told[-1][0] == name:
            told[-1] = (name, told[-1][1] + event.data)
            return
        told.append((name, event.data))
        return
    if isinstance(event, MessageAborted) and told and told[-1][0] == "MessageBlock":
        told.pop()
    shown = {
        each: getattr(event, each) for each in event.__slots__ if each not in ("credentials", "envelope", "refusal")
    }
    told.append((name, shown))


def _check(said):
    if not said.endswith(b"\r\n"):
        raise Failure("a reply without its end")
    for line in said[:-2].split(b"\r\n"):
        if len(line) > 510 or not line[:3].isdigit() or line[3:4] not in (b" ", b"-") or not line.isascii():
            raise Failure(f"a line that no client can read: {line!r}")
        if b"\n" in line or b"\r" in line:
            raise Failure(f"a line with a line end in it: {line!r}")


def make(source, corpus):
    """Make a dialogue: of tokens, or one of the transcripts with something changed."""
    if source.random() < 0.5:
        ends = [b"\r\n"] * 12 + [b"\n", b"\r", b"", b"\0"]
        wire = b"".join(source.choice(TOKENS) + source.choice(ends) for _ in range(source.randrange(1, 25)))
    else:
        wire = source.choice(corpus)
        for _ in range(source.randrange(1, 6)):
            wire = _mutate(source, wire, corpus)
    settings = {
        "limits": (
            source.choice([0, 1, 20, 10**6]),
            source.choice([1, 3]),
            source.choice([2, 20]),
            source.choice([1, 5]),
        ),
        "is_authorised": source.random() < 0.7,
        "smtputf8": source.random() < 0.5,
        "may_speak_lf": source.random() < 0.3,
    }
    return Case(wire[:40_000], source.randrange(1 << 30), settings)


def _mutate(source, wire, corpus):
    at, end = sorted(source.randrange(len(wire) + 1) for _ in range(2))
    kind = source.randrange(6)
    if kind == 0:
        return wire[:at] + source.choice(TOKENS) + wire[at:]
    if kind == 1:
        return wire[:at] + wire[end:]
    if kind == 2:
        return wire[:end] + wire[at:]
    if kind == 3:
        return wire[:at] + bytes([source.randrange(256)]) + wire[at + 1 :]
    if kind == 4:
        other = source.choice(corpus)
        return wire[:at] + other[source.randrange(len(other) + 1) :]
    return wire[:at] + source.randbytes(source.randrange(1, 20)) + wire[at:]


def fails(case):
    """Give what is wrong with a case, None if nothing is."""
    try:
        case.check()
    except Exception as error:  # noqa: BLE001  whatever it is, it is what is looked for
        return error
    return None


def shorten(case, error):
    """Leave out what can be left out while it still fails in the same way."""
    size = len(case.wire) // 2
    while size:
        at = 0
        while at < len(case.wire):
            shorter = Case(case.wire[:at] + case.wire[at + size :], case.seed, case.settings)
            if type(fails(shorter)) is type(error):
                case = shorter
            else:
                at += size
        size //= 2
    return case


def main():
    """Fuzz until the time is over; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.randrange(1 << 30) if arguments.seed is None else arguments.seed
    source = random.Random(seed)
    corpus = [wire for dialogue in read_all() if 0 < len(wire := dialogue.sent) < 30_000]
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < arguments.seconds:
        case = make(source, corpus)
        count += 1
        error = fails(case)
        if error is not None:
            case = shorten(case, error)
            traceback.print_exception(fails(case))
            print(f"after {count} dialogues, seed {seed}; to try it again:")
            print(f"PYTHONPATH=tests/fuzz python -c 'from session import Case; {case!r}.check()'")
            return 1
    took = time.monotonic() - began
    print(
        f"{count} dialogues, each three ways, in {took:.0f} s: {count / took:.0f} a second, none failed (seed {seed})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
