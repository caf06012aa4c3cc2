"""Kill submissiond's processes at random moments under load, and account for every message.

    python tests/interop/chaos.py --seconds 60 [--seed N] [--door maildir|qmail|both] [--clients N]

Clients submit numbered messages, each once. Workers, verifiers, openers, checkers and queue programs are killed
meanwhile. Then: each message with a 250 is in the queue exactly once and whole; none is there twice or in part; and one
that is there without a 250 (RFC 1047) had a kill between its last dot and the answer that did not come, of a process
that explains it. The exit status is 1 if that is not so.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "programs")]

import resident

NAMES = {
    "worker": "submissiond-wrk",
    "verifier": "submissiond-vfy",
    "opener": "submissiond-opn",
    "checker": "checker",
    "queue": "queue",
}
"""What is killed, by its name in ps(1)."""

SLACK = 0.5
"""Seconds by which a kill and what a client sees of it may be apart, on a busy machine."""

EXPLAINS = {"lost": {"worker"}, "451": {"opener", "queue"}}
"""Whose end explains that a message was queued and the client got no answer, or a 451."""

QUEUE = """
file=$(mktemp {place}/tmp/XXXXXX) || exit 53
cat >"$file" || exit 53
cat <&1 >"$file.envelope" || exit 53
if [ "$(tail -c 2 "$file.envelope" | od -An -tx1 | tr -d ' ')" != 0000 ]; then
    rm "$file" "$file.envelope"
    exit 54
fi
mv "$file" {place}/new/ || exit 53
rm "$file.envelope"
exit 0
"""
"""A stand-in for qmail-queue: what it moves to `new` is queued, at once and whole, and nothing else is."""

CHECKER = "cat <&3 >/dev/null; exit 0"


class Outcome:
    """What a client knows of one message.

    Attributes:
        said: `250`, another code, `lost` for no answer, or `unsent` if the last dot was never sent.
        began, ended: when the last dot was sent, and when the answer came or did not; seconds.
    """

    def __init__(self, number):
        self.number = number
        self.said = "unsent"
        self.began = self.ended = 0.0


def body_of(number):
    """Give the lines of a message, by its number; one in four is too large to be handed over in one go."""
    lines = 1500 if number % 4 == 0 else 3
    return b"".join(b"%d of message %d\r\n" % (line, number) for line in range(lines)) + b"end of %d\r\n" % number


class Load:
    """Clients that submit messages, until they are told to stop."""

    def __init__(self, server, clients, login):
        self.outcomes = []
        self.troubles = collections.Counter()
        self._server = server
        self._login = login
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Let them finish what they are at."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        while not self._is_over.is_set():
            try:
                with resident.Client(self._server.place, patience=20) as client:
                    self._session(client)
            except OSError as error:
                self.troubles[type(error).__name__] += 1
                time.sleep(0.02)

    def _session(self, client):
        client.hello()
        answer = client.login(*self._login)
        if not answer.startswith(b"235 "):
            self.troubles[answer[:3].decode()] += 1
            return
        for _ in range(5):
            if self._is_over.is_set():
                return
            self._message(client)

    def _message(self, client):
        with self._lock:
            outcome = Outcome(len(self.outcomes))
            self.outcomes.append(outcome)
        lines = b"MAIL FROM:<a@here.example>", b"RCPT TO:<b@there.example>", b"DATA"
        for line in lines:
            if client.ask(line)[:1] not in b"23":
                return
        client.send(b"Subject: number %d\r\n\r\n" % outcome.number + body_of(outcome.number))
        outcome.began = outcome.ended = time.monotonic()
        try:
            client.send(b".\r\n")
            outcome.said = "lost"
            outcome.said = client.reply()[:3].decode()
        finally:
            outcome.ended = time.monotonic()


class Killer:
    """Kills, until it is told to stop.

    Attributes:
        kills: (when, role) of each.
    """

    def __init__(self, server, roles, chance, pause):
        self.kills = []
        self._server = server
        self._roles = roles
        self._chance = chance
        self._pause = pause

    def run(self, seconds):
        """Kill for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, self._chance.uniform(0, 2 * self._pause)))
            role = self._chance.choice(self._roles)
            members = resident.members(self._server.pid)
            victims = [pid for pid, (name, _) in members.items() if name == NAMES[role]]
            if victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._chance.choice(victims), signal.SIGKILL)
                    self.kills.append((time.monotonic(), role))


class Account:
    """What became of the messages.

    Attributes:
        faults: sentences; none if all is as it should be.
        counts: numbers for people.
    """

    def __init__(self, outcomes, kills, texts):
        """Compare what the clients know with what is queued."""
        self.faults = []
        arrived = collections.Counter()
        for text in texts:
            number = self._number(text)
            if number is not None:
                arrived[number] += 1
        said = {outcome.number: outcome for outcome in outcomes}
        for number, times in arrived.items():
            if number not in said:
                self.faults.append(f"{number} was never sent")
            elif times > 1:
                self.faults.append(f"{number} is queued {times} times")
        unanswered = [outcome for outcome in outcomes if arrived[outcome.number] and outcome.said != "250"]
        for outcome in outcomes:
            if outcome.said == "250" and not arrived[outcome.number]:
                self.faults.append(f"{outcome.number} had a 250 and is not queued")
        explanations = collections.Counter()
        for outcome in unanswered:
            roles = self._explain(outcome, kills)
            if not roles:
                self.faults.append(f"{outcome.number} is queued, said was {outcome.said}, and nobody was killed for it")
            explanations[f"{outcome.said} after the end of {' or '.join(sorted(roles))}"] += 1
        self.counts = {
            "messages": len(outcomes),
            "answers": dict(collections.Counter(outcome.said for outcome in outcomes)),
            "queued": sum(arrived.values()),
            "queued without a 250": dict(explanations),
            "kills": dict(collections.Counter(role for _, role in kills)),
        }

    def _number(self, text):
        """Give the number of a message; that it is not whole is a fault."""
        head, _, body = text.partition(b"\n\n")
        words = [line for line in head.split(b"\n") if line.startswith(b"Subject: number ")]
        if len(words) != 1:
            self.faults.append(f"this is not a message: {text[:200]}")
            return None
        number = int(words[0].split()[-1])
        if body != body_of(number).replace(b"\r\n", b"\n"):
            self.faults.append(f"{number} is not whole: {len(body)} bytes")
        return number

    @staticmethod
    def _explain(outcome, kills):
        roles = EXPLAINS.get(outcome.said, set())
        first, last = outcome.began - SLACK, outcome.ended + SLACK
        return {role for when, role in kills if role in roles and first < when < last}


def _executable(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return path


def play(site, door, *, seconds, seed, clients=8, pause=0.1):
    """Have a server under load, kill for so many seconds, and give the account; the server is ended."""
    chance = random.Random(seed)
    place = site.place / "queued"
    roles = ["worker", "verifier", "opener"]
    options = ["--max-per-minute", "0", "--max-per-address", "0", "--max-failures", "1000000"]
    if door == "maildir":
        server = site.serve(*options, workers=2)
        queued = site.maildir
    else:
        for name in ("", "tmp", "new"):
            (place / name).mkdir()
            os.chown(place / name, site.place.stat().st_uid, -1)
        queue = _executable(site.directory / "queue", QUEUE.format(place=place))
        checker = _executable(site.directory / "checker", CHECKER)
        server = site.serve(*options, workers=2, door="", chain=(checker, "true"), environ={"QMAILQUEUE": queue})
        queued = place
        roles += 3 * ["checker", "queue"]  # of these there is no end
    load = Load(server, clients, (b"joe", b"secret"))
    killer = Killer(server, roles, chance, pause)
    try:
        killer.run(seconds)
    finally:
        load.stop()
    _serves_again(server)
    assert server.end() == 0, server.log()
    texts = [path.read_bytes() for path in queued.glob("new/*")]
    texts = [text for text in texts if b"\nSubject: afterwards\n" not in text]
    account = Account(load.outcomes, killer.kills, texts)
    account.counts["left in tmp"] = len(list(queued.glob("tmp/*")))
    account.counts["sessions that failed"] = dict(load.troubles)
    account.faults += [line for line in server.log().splitlines() if "trouble" in line]
    return account


def _serves_again(server):
    def does():
        with contextlib.suppress(OSError), resident.Client(server.place, patience=5) as client:
            client.hello()
            return client.login().startswith(b"235 ") and client.message(b"Subject: afterwards\r\n\r\n").startswith(
                b"250 "
            )
        return False

    resident.wait_until(does, server.log, patience=60)


def main():
    """Play by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--door", choices=["maildir", "qmail", "both"], default="both")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between two kills, on average")
    given = parser.parse_args()
    from checkpw.cli.install import install

    is_good = True
    for door in ("maildir", "qmail") if given.door == "both" else (given.door,):
        with tempfile.TemporaryDirectory(prefix="checkpw-chaos-", dir="/tmp") as name:
            directory = pathlib.Path(name)
            directory.chmod(0o755)
            install(directory / "bin")
            with resident.Site(directory, directory / "bin", is_root=os.geteuid() == 0) as site:
                account = play(
                    site, door, seconds=given.seconds, seed=given.seed, clients=given.clients, pause=given.pause
                )
        print(f"{door}, seed {given.seed}:")
        for what, value in account.counts.items():
            print(f"  {what}: {value}")
        for fault in account.faults:
            print(f"  FAULT: {fault}")
        is_good = is_good and not account.faults
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
