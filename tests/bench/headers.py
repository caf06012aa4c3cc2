"""CPU time of header rewriting: an ordinary header, many addresses, and whether twice as much takes twice as long.

python tests/bench/headers.py [--rounds N]

Best of the rounds, in CPU time of this thread: on a busy machine it is the figure that says most about the program.
"""

import argparse
import os
import sys
import time

from checkpw.mess822 import dates
from checkpw.mess822.fields import HeaderCollector
from checkpw.mess822.hostrules import HostRules, default_lines
from checkpw.mess822.outgoing import Stamp, Style, rewrite

STYLE = Style(HostRules(default_lines(b"example.org", b"example.org", b"example.org")), keeps_groups=False, hops=100)
BOUND_ORDINARY = 0.4
BOUND_FIFTY = 0.8

ORDINARY = (
    b"Date: Mon, 23 Nov 2026 21:20:00 +0100\n"
    b"From: Joe User <joe@example.org>\n"
    b'To: "Mary Smith" <mary@example.net>, Bob Brown <bob.brown@mail.example.com>,\n'
    b" postmaster@example.org\n"
    b"Cc: sales@example.org\n"
    b"Subject: an ordinary subject, about as long as subjects are\n"
    b"Message-ID: <20261123202000.12345@client.example.org>\n"
    b"MIME-Version: 1.0\n"
    b"Content-Type: text/plain; charset=utf-8\n"
    b"Content-Transfer-Encoding: 8bit\n"
    b"In-Reply-To: <20261123101112.54321@example.net>\n"
    b"References: <20261123101112.54321@example.net>\n"
    b" <20261122101112.54321@example.net>\n"
) + b"".join(b"X-Field-%d: something that some mail program says of itself\n" % number for number in range(19))
"""30 fields, 5 addresses."""


def with_recipients(number):
    return (
        ORDINARY.replace(b"\nTo: ", b"\nX-To: ")
        + b"To: "
        + b",\n ".join(b'"User Number %d" <user%d@example.org>' % (at, at) for at in range(number))
        + b"\n"
    )


def once(header):
    stamp = Stamp(b"Received: x\n", dates.utc(1.6e9), lambda date: b"<%s@x>" % date, b"joe@example.org")
    collector = HeaderCollector(0)
    collected, _rest = collector.feed(header + b"\n")
    return rewrite(collected, STYLE, stamp)


def measure(header, rounds):
    """Return the least CPU milliseconds of one rewriting."""
    least = float("inf")
    repeats = max(1, 200_000 // len(header))
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(repeats):
            once(header)
        least = min(least, (time.thread_time() - began) * 1000 / repeats)
    return least


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print(f"Python {sys.version.split()[0]}  load {os.getloadavg()[0]:.2f}  CPU ms, best of {rounds}")
    ordinary = measure(ORDINARY, rounds)
    print(f"  30 fields, 5 addresses    {ordinary:8.3f}   bound {BOUND_ORDINARY}")
    one, fifty = (measure(with_recipients(number), rounds) for number in (1, 50))
    print(f"  50 To addresses, more than one of them {fifty - one:8.3f}   bound {BOUND_FIFTY}   x {fifty / one:.2f}")
    few = measure(with_recipients(5_000), max(3, rounds // 6))
    many = measure(with_recipients(10_000), max(3, rounds // 6))
    print(f"  5,000 To addresses        {few:8.3f}")
    print(f"  10,000 To addresses       {many:8.3f}   x {many / few:.2f} (2 is linear)")


if __name__ == "__main__":
    main()
