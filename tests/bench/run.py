"""The figures of the README and of the issues, measured in pairs: ours and the floor in turn, in one run.

A ratio travels to another machine, a millisecond does not. Run it on a quiet one: `make bench`. OFMIPD_C may name
the C ofmipd (mess822 with the AUTH patch), built by hand outside the checkout, for the large message.
"""

import argparse
import hashlib
import os
import pathlib
import socket
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from checkpw import newhash
from checkpw.cli.install import install
from checkpw.secret import Secret

USERS = (1_000, 100_000)
MEGABYTES = 50
LINE = b"x" * 76 + b"\r\n"
DISCARD = "#!/bin/sh\ncat >/dev/null\nexec cat <&1 >/dev/null\n"


def spawn(argv, environment, actions=()):
    return os.posix_spawn(argv[0], argv, environment, file_actions=list(actions))


def one_shot(argv, environment, record=None, ends_with=0):
    """Return the wall milliseconds of one process that is fed a record on descriptor 3."""
    actions = []
    if record is not None:
        reading, writing = os.pipe()
        os.write(writing, record)
        os.close(writing)
        actions.append((os.POSIX_SPAWN_DUP2, reading, 3))
    began = time.perf_counter()
    _, status = os.waitpid(spawn(argv, environment, actions), 0)
    spent = (time.perf_counter() - began) * 1000
    if record is not None:
        os.close(reading)
    assert os.waitstatus_to_exitcode(status) == ends_with, (argv, status)
    return spent


class Conversation:
    """A server on a socket pair, and the client's side of it."""

    def __init__(self, argv, environment):
        self.socket, theirs = socket.socketpair()
        number = theirs.fileno()
        actions = [(os.POSIX_SPAWN_DUP2, number, target) for target in (0, 1)]
        actions.append((os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0))
        self.pid = spawn(argv, environment, actions)
        theirs.close()

    def hear(self):
        words = b""
        while not words.endswith(b"\r\n") or words.splitlines()[-1][3:4] == b"-":
            words += self.socket.recv(4096)
        return words

    def say(self, words):
        self.socket.sendall(words)
        return self.hear()

    def end(self):
        self.say(b"QUIT\r\n")
        self.socket.close()
        os.waitpid(self.pid, 0)


def banner(argv, environment):
    """Return the wall milliseconds from exec to greeting."""
    began = time.perf_counter()
    conversation = Conversation(argv, environment)
    conversation.hear()
    spent = (time.perf_counter() - began) * 1000
    conversation.end()
    return spent


def large_message(argv, environment):
    """Return the CPU seconds that the front end itself spends on a large message, and its peak memory in KiB."""
    body = b"Subject: x\r\n\r\n" + LINE * (MEGABYTES * 1_000_000 // len(LINE)) + b".\r\n"
    conversation = Conversation(argv, environment)
    conversation.hear()
    for command in (b"EHLO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n", b"DATA\r\n"):
        conversation.say(command)
    assert conversation.say(body).startswith(b"250"), "the message was not taken"
    process = pathlib.Path("/proc") / str(conversation.pid)
    spent = int(process.joinpath("schedstat").read_text().split()[0]) / 1e9
    status = process.joinpath("status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    conversation.end()
    return spent, peak


def make_store(path, users, stored):
    with path.open("wb") as file:
        for number in range(users):
            file.write(b"user%d:%s:1000:1000::/home/user%d:/bin/sh:\n" % (number, stored, number))


def rounds(cases, seconds):
    """Measure all cases in turn until the time is over, at least five rounds; return the figures of each."""
    figures = {name: [] for name in cases}
    deadline = time.monotonic() + seconds
    done = 0
    while done < 5 or time.monotonic() < deadline:
        for name, case in cases.items():
            figures[name].append(case())
        done += 1
    return figures, done


def table(title, figures, floor, unit, notes):
    print(f"\n{title}")
    base = statistics.median(figures[floor])
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"  {name:34} {median:9.3f} {unit}   x {median / base:5.2f}   {notes.get(name, '')}")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="for all rounds together, about")
    seconds = parser.parse_args().seconds
    print(f"{' '.join(sys.argv)}  Python {sys.version.split()[0]}  load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="checkpw-bench-") as name:
        place = pathlib.Path(name)
        install(place)
        plain = {"PATH": f"{place}:/usr/bin:/bin"}
        floor = [sys.executable, "-I", "-S", "-c", "pass"]
        program = str(place / "checkpassword")
        cases = {"interpreter floor": lambda: one_shot(floor, plain)}
        crypted = newhash.make("SHA512-CRYPT", Secret(b"secret"), cost=5000)
        for scheme, stored in (("{PLAIN}", b"{PLAIN}secret"), ("$6$", crypted)):
            for users in USERS:
                path = place / hashlib.sha256(f"{scheme}{users}".encode()).hexdigest()
                make_store(path, users, stored)
                environment = {**plain, "CHECKPW_ACCOUNTS": f"file:{path}"}
                record = b"user%d\0secret\0\0" % (users - 1)
                cases[f"checkpassword {scheme}, {users} users"] = lambda environment=environment, record=record: (
                    one_shot([program, "true"], environment, record)
                )
        ours = [str(place / "ofmipd"), "", "mail.example"]
        queue = place / "queue"
        queue.write_text(DISCARD)
        queue.chmod(0o755)
        served = {**plain, "QMAILQUEUE": str(queue), "RELAYCLIENT": "", "TCPREMOTEIP": "127.0.0.1"}
        cases["ofmipd, exec to banner"] = lambda: banner(ours, served)
        figures, done = rounds(cases, seconds / 2)
        notes = {"checkpassword {PLAIN}, 1000 users": "bound 1.4", "checkpassword $6$, 1000 users": "bound 1.9"}
        notes["ofmipd, exec to banner"] = "bound 2.5"
        table(f"One process, wall, medians of {done}", figures, "interpreter floor", "ms", notes)
        for scheme in ("{PLAIN}", "$6$"):
            few, many = (statistics.median(figures[f"checkpassword {scheme}, {users} users"]) for users in USERS)
            print(f"  {scheme}: 100,000 users take {many / few:.2f} times the time of 1,000 (bound 1.6)")

        front_ends = {"ofmipd": lambda: large_message(ours, served)}
        if other := os.environ.get("OFMIPD_C"):
            front_ends["C ofmipd"] = lambda: large_message([other, "", "mail.example"], served)
        figures, done = rounds(front_ends, seconds / 2)
        print(f"\nA message of {MEGABYTES} MB, CPU of the front end alone, medians of {done}")
        for server, values in figures.items():
            spent = statistics.median(value[0] for value in values)
            peak = max(value[1] for value in values)
            print(f"  {server:34} {spent:9.3f} s    {MEGABYTES / spent:6.0f} MB per CPU second   peak {peak} KiB")


if __name__ == "__main__":
    main()
