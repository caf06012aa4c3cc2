"""Whether sessions leave anything behind: memory, descriptors and processes of submissiond, before and after many.

    python tests/interop/leaks.py [--first 1000] [--then 49000] [--resets 4000] [--load /path/of/smtpload]

Clients log in, submit a message and quit; then others connect to the TLS port and reset the connection at once, or in
the middle of their first message. With smtpload (of the project's load tools) the sessions are done by that, which is
faster; the queue discards the messages. Memory is PSS: each page in parts to those who share it.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "programs")]

import resident

HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(100)
"""The beginning of a ClientHello."""


class Sizes:
    """What the processes of a server have: numbers of processes and descriptors, KiB of memory by role."""

    def __init__(self, server):
        roles = {"supervisor": [server.pid], **server.children()}
        self.processes = sum(map(len, roles.values()))
        self.descriptors = {role: sum(map(_descriptors, pids)) for role, pids in sorted(roles.items())}
        self.memory = {role: sum(map(_memory, pids)) for role, pids in sorted(roles.items())}

    def __str__(self):
        return f"{self.processes} processes, descriptors {self.descriptors}, KiB of memory {self.memory}"

    def growth(self, before):
        """Give the KiB by which each role has grown since."""
        return {role: size - before.memory[role] for role, size in self.memory.items()}


def _descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def _memory(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.search(r"^Pss: *(\d+) kB", text, re.MULTILINE)[1])


def settled(server, before=None):
    """Give the sizes once there are no more descriptors than before: the end of a connection is noticed a moment later.

    Without a before, once nothing changes. On a busy machine that may be too early, and before was too much then.
    """

    def are_gone():
        first, second = Sizes(server), Sizes(server)
        if before is None:
            return second.descriptors == first.descriptors and second
        return all(second.descriptors[role] <= number for role, number in before.descriptors.items()) and second

    return resident.wait_until(are_gone, lambda: f"{Sizes(server)} after {before}", patience=20)


def rounds(server, play, most, enough):
    """Play until that leaves memory where it was but for some KiB, and descriptors and processes in any case.

    Return the growth in each round, the last one the first that was small enough; assert that there is one.
    """
    play()
    before, grown = settled(server), []
    while not grown or grown[-1] > enough:
        assert len(grown) < most, f"it goes on growing, by {grown} KiB"
        play()
        after = settled(server, before)
        assert after.processes == before.processes, (before, after)
        grown.append(max(after.growth(before).values()))
        before = after
    return grown


def in_threads(number, function, threads=8):
    """Call a function so often, in threads; the first trouble is raised."""
    troubles = []

    def run(times):
        try:
            for _ in range(times):
                function()
        except BaseException as error:  # noqa: BLE001  raised below
            troubles.append(error)

    shares = [number // threads + (at < number % threads) for at in range(threads)]
    started = [threading.Thread(target=run, args=(share,)) for share in shares]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if troubles:
        raise troubles[0]


def session(place):
    """Be one client."""
    with resident.Client(place) as client:
        client.hello()
        assert client.login().startswith(b"235 ")
        assert client.message().startswith(b"250 ")
        client.ask(b"QUIT")


def resets(place, number, at_once=50):
    """Connect so often to a TLS port and reset, half of the times in the middle of a handshake.

    After so many the server is let come up to them: how many there are at once decides what memory it takes for good.
    """
    for at in range(number):
        if at % at_once == 0:
            with resident.Client(place) as client:
                client.secure()
        client = resident.Client(place)
        if at % 2:
            client.send(HELLO)
        client.reset()


def start(site, certificate, queue=None):
    """Start a server with a port in clear and one with TLS."""
    tls = ("--tls-cert", certificate[0], "--tls-key", certificate[1])
    options = ("--max-per-minute", "0", "--max-per-address", "0")
    environ = {"QMAILQUEUE": queue} if queue else None
    return site.serve(*tls, *options, listen=(",plain", ",tls"), door="" if queue else None, environ=environ)


def main():
    """Measure by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--then", type=int, default=49000)
    parser.add_argument("--resets", type=int, default=4000)
    parser.add_argument("--load", help="the program smtpload")
    parser.add_argument("--queue", help="a queue program that discards; default: a Maildir")
    given = parser.parse_args()
    from checkpw.cli.install import install

    with tempfile.TemporaryDirectory(prefix="checkpw-leaks-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        install(directory / "bin")
        with resident.Site(directory, directory / "bin", is_root=os.geteuid() == 0) as site:
            server = start(site, resident.openssl(directory), given.queue)

            def sessions(number):
                if not given.load:
                    in_threads(number, lambda: session(server.places[0]))
                    return
                argv = [given.load, "-c", "20", "-s", str(number), "-u", "joe", "-p", "secret", "127.0.0.1"]
                subprocess.run([*argv, str(server.ports[0])], check=True)

            print(f"at first: {settled(server)}", flush=True)
            sessions(given.first)
            before = settled(server)
            print(f"after {given.first} sessions: {before}", flush=True)
            sessions(given.then)
            after = settled(server, before)
            print(f"after {given.first + given.then}: {after}", flush=True)
            resets(server.places[1], given.resets // 2)
            half = settled(server, before)
            print(f"after {given.resets // 2} resets: {half}", flush=True)
            resets(server.places[1], given.resets - given.resets // 2)
            last = settled(server, before)
            print(f"after {given.resets}: {last}", flush=True)
            print(f"growth in KiB: sessions {after.growth(before)}, resets {last.growth(after)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
