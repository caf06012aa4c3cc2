"""Random sessions for two front ends, the original ofmipd and ours, and what each makes of them.

By hand: python tests/interop/agreement.py --sessions 20000 [--first N]

The original is the program in $CHECKPW_ORIGINAL_OFMIPD, built for the qmail home in $CHECKPW_ORIGINAL_HOME (default
/var/qmail). A copy of it is used in which that path is `.`, so that each session has a home of its own.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from random_sessions import MONTHS, Session

MARK = b"\n=== message above, envelope below ===\n"

QUEUE = """#!/bin/sh
read n <count
echo $((n+1)) >count
exec cat - mark /dev/fd/3 3<&1 >"m$n"
"""

# --- the two front ends


class Outcome:
    """What came of a session: reply codes, and what was queued, messages and envelopes."""

    def __init__(self, codes, queued):
        self.codes = codes
        self.queued = queued

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


def _masked(message, pid):
    """Take away the trace field, whose difference is wanted, and what the clock and the process number made."""
    received, _, rest = message.partition(b"\n")
    assert received.startswith(b"Received: (ofmipd "), received
    now = received.rpartition(b"; ")[2]
    day, month, year, clock, _zone = now.split()
    stamp = b"%s%02d%02d%s" % (year, MONTHS.index(month) + 1, int(day), clock.replace(b":", b""))
    rest = rest.replace(b"\nDate: " + now, b"\nDate: NOW").replace(b".%d.qmail@" % pid, b".PID.qmail@")
    if rest.startswith(b"Date: " + now + b"\n"):
        rest = rest.replace(now, b"NOW", 1)
    return rest.replace(b"Message-ID: <" + stamp + b".", b"Message-ID: <NOW.")


def _codes(said):
    return [line[:3] for line in said.split(b"\r\n") if line[3:4] == b" "]


class Place:
    """A directory in which sessions take place, one after the other, with both front ends."""

    def __init__(self, directory, original, home):
        self.directory = pathlib.Path(directory)
        (self.directory / "mark").write_bytes(MARK)
        self._script = self._write_program("queue", QUEUE.encode())
        program = pathlib.Path(original).read_bytes()
        compiled_in = home.encode() + b"\0"
        assert program.count(compiled_in) == 1, f"{home} is not the qmail home of {original}: set CHECKPW_ORIGINAL_HOME"
        self._original = self._write_program(
            "original", program.replace(compiled_in, b".".ljust(len(compiled_in), b"\0"))
        )
        self._seen = self.directory / "control"
        self._seen.mkdir()

    def _write_program(self, name, content):
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o755)
        return str(path)

    def prepare(self, session):
        """Make the home of a session."""
        for old in self._seen.iterdir():
            old.unlink()
        for name, content in session.controls.items():
            (self._seen / name).write_bytes(content)
        self.names = ""
        if session.names:
            self.names = str(self.directory / "name.cdb")
            _make_names(self.names, session.names, session.damage)
        for old in self.directory.glob("m[0-9]*"):
            old.unlink()
        (self.directory / "count").write_text("0\n")

    def run_original(self, session):
        """Give the outcome of a session with the original."""
        return self._run([self._original, self.names, "mail.example"], session)

    def run_program(self, argv, session):
        """Give the outcome of a session with a program of ours."""
        self.prepare(session)
        return self._run([*argv, self.names, "mail.example"], session)

    def _run(self, argv, session):
        environ = {
            **session.environ,
            "PATH": "/usr/bin:/bin",
            "RELAYCLIENT": "",
            "QMAILQUEUE": self._script,
            "OFMIPD_QMAIL": ".",
        }
        with subprocess.Popen(
            argv,
            cwd=self.directory,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            said, _ = process.communicate(session.sent, timeout=60)
        queued = []
        while (path := self.directory / f"m{len(queued)}").exists():
            message, _, envelope = path.read_bytes().rpartition(MARK)
            queued.append((_masked(message, process.pid), envelope))
        return Outcome(_codes(said), queued)

    def run_ours(self, session):
        """Give the outcome of a session with ours, whose operations are performed in this process."""
        from checkpw.cli import front, ofmipd

        environ = {name.encode(): value.encode() for name, value in session.environ.items()}
        environ |= {b"RELAYCLIENT": b"", b"OFMIPD_QMAIL": os.fsencode(self.directory)}
        before = os.getcwd()
        loud = front.log_of
        front.log_of = lambda program: lambda fields: None
        try:
            submission = ofmipd.compose([b"ofmipd", os.fsencode(self.names), b"mail.example"], environ)
        finally:
            front.log_of = loud
            os.chdir(before)
        client = _Performer(session.sent)
        client.perform(submission.serve())
        if submission._names is not None:
            submission._names.close()
        queued = [(_masked(message, os.getpid()), envelope) for message, envelope in client.queued]
        return Outcome(_codes(client.said), queued)


class _Performer:
    """Performs the operations of a session whose client has said everything already."""

    def __init__(self, sent):
        self._sent = [b"", sent]
        self.said = b""
        self.queued = []
        self._pipes = {}

    def perform(self, steps):
        from checkpw import operations

        outcome = None
        with contextlib.suppress(StopIteration):
            while True:
                step = steps.send(outcome)
                outcome = None
                if isinstance(step, operations.Receive):
                    outcome = self._sent.pop()
                elif isinstance(step, operations.Send):
                    self.said += step.data
                elif isinstance(step, operations.Spawn):
                    self._pipes = {0: b"", 1: b"", 6: b""}
                    outcome = operations.Child(1, {0: 0, 1: 1, 6: 6})
                elif isinstance(step, operations.Write):
                    self._pipes[step.descriptor] += step.data
                elif isinstance(step, operations.Wait):
                    self.queued.append((self._pipes[0], self._pipes[1]))
                    outcome = operations.Ended(0, b"")
                else:
                    assert isinstance(step, operations.Close | operations.Kill), step


def _make_names(path, table, damage):
    """Write name.cdb; with a damage between 0 and 1, cut it there, or leave out the NULs."""
    from checkpw.cdb import CdbWriter
    from checkpw.names import parse_line

    has_nuls = damage is None or damage > 0.2
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    writer = CdbWriter(descriptor)
    for line in table.split(b"\n"):
        if entry := parse_line(line):
            writer.add(entry[0], (b"\0" if has_nuls else b"").join(entry[1:]))
    writer.finish()
    if has_nuls and damage is not None:
        os.truncate(path, int(os.stat(path).st_size * damage))
    os.close(descriptor)


def first_difference(session, original, ours):
    """Describe how two outcomes differ."""
    if original.codes != ours.codes:
        return f"replies\n  {original.codes}\n  {ours.codes}\n  {re.findall(rb'(?m)^(?:MAIL|RCPT).*$', session.sent)}"
    for (message, envelope), (our_message, our_envelope) in zip(original.queued, ours.queued, strict=False):
        if envelope != our_envelope:
            return f"envelope\n  {envelope}\n  {our_envelope}"
        if message != our_message:
            pairs = zip(message.split(b"\n"), our_message.split(b"\n"), strict=False)
            lines = next((pair for pair in pairs if pair[0] != pair[1]), (message, our_message))
            return f"message\n  {lines[0]!r}\n  {lines[1]!r}"
    return f"number of messages: {len(original.queued)} and {len(ours.queued)}"


def find_original():
    """Give program and home as the environment names them."""
    return os.environ["CHECKPW_ORIGINAL_OFMIPD"], os.environ.get("CHECKPW_ORIGINAL_HOME", "/var/qmail")


def main():
    """Compare many sessions and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", type=int, default=10, help="how many differences to print")
    arguments = parser.parse_args()
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as directory:
        place = Place(directory, *find_original())
        for number in range(arguments.first, arguments.first + arguments.sessions):
            session = Session(number)
            place.prepare(session)
            original, ours = place.run_original(session), place.run_ours(session)
            counts["messages"] += len(original.queued)
            counts["identical" if original == ours else "different"] += 1
            if original != ours and counts["different"] <= arguments.show:
                print(f"session {number}: {first_difference(session, original, ours)}", flush=True)
    print(dict(counts))
    return int(counts["different"] > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    sys.exit(main())
