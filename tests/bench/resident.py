"""The figures of submissiond, measured in pairs: ours and a peer in turn, in one run, medians and ratios.

Run it on a quiet machine, as root for the same separation of privileges as in service. SMTPLOAD names smtpload and
NULL_QUEUE null-queue (../shared/load); OFMIPD_C and CHECKPASSWORD_C name the C peers, built by hand outside the
checkout, and SYSTEM_LOGIN a `user:password` of this machine with a $6$ hash of 5000 rounds for the latter; tcpserver
is taken from PATH. A figure that needs something which is missing is named as not measured.
"""

import argparse
import importlib.util
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

import tls_client
from peers import feed_queue
from servers import Place

from checkpw import libcrypt, newhash
from checkpw.secret import Secret

MEGABYTES = 50
FRONT_END = ("submissiond-wrk", "submissiond-opn")
LOOPBACK = ("--relay-from", "127.0.0.0/8")


class Run:
    """What the cases share: the place, the parameters, and the table that they print."""

    def __init__(self, place, options):
        self.place = place
        self.options = options

    def figure(self, name, value, unit, least=None, most=None, note=""):
        """Print a figure with its bound: at least, or at most."""
        verdict = ""
        if least is not None:
            verdict = f"bound >= {least:g}  {'ok' if value >= least else 'MISSED'}"
        elif most is not None:
            verdict = f"bound <= {most:g}  {'ok' if value <= most else 'MISSED'}"
        print(f"  {name:62} {value:9.3f} {unit:12} {verdict:24} {note}", flush=True)

    def has(self, *missing):
        """Tell whether no tool is missing, and name what is; each is a name and what was found."""
        absent = [name for name, value in missing if not value]
        if absent:
            print(f"  not measured: {', '.join(absent)} missing", flush=True)
        return not absent

    def has_load(self):
        return self.has(("SMTPLOAD", self.place.smtpload), ("NULL_QUEUE", self.place.queue))

    def has_c(self, *more):
        return self.has(("tcpserver", self.place.tcpserver), ("OFMIPD_C", self.place.c_ofmipd), *more)

    def load(self, server, sessions, *words):
        """Run smtpload; return what it says and `cpu`, milliseconds of the server for a session."""
        before = server.cpu()
        argv = [self.place.smtpload, "-s", str(sessions), *map(str, words), "127.0.0.1", str(server.ports[0])]
        words = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300).stdout
        said = {key: float(value) for key, value in (x.split("=") for x in words.split() if x.count("=") == 1)}
        if said["failed"]:
            print(f"  {said['failed']:.0f} sessions failed: {argv}")
        return {**said, "cpu": (server.cpu() - before) * 1000 / sessions}

    def in_turn(self, **cases):
        """Measure all cases in turn; return of each the median of every number that it gave."""
        figures = {name: [] for name in cases}
        for _ in range(self.options.rounds):
            for name, case in cases.items():
                figures[name].append(case())
        return {
            name: {key: statistics.median(value[key] for value in values) for key in values[0]}
            for name, values in figures.items()
        }


def hash_time(stored, count):
    """Return the CPU milliseconds of one hash."""
    setting = stored.partition(b"}")[2]
    began = time.process_time()
    for _ in range(count):
        assert libcrypt.crypt(setting, b"secret") == setting
    return (time.process_time() - began) * 1000 / count


def queue_time(place, count=100):
    """Return the CPU milliseconds of one queue process that is fed a message of 2 KB."""
    return sum(feed_queue(place.queue, b"x" * 2300, b"Fa@b\0Tc@d\0\0") for _ in range(count)) * 1000 / count


def auth(run):
    """Sessions with AUTH against a $6$ account."""
    user, _, password = os.environ.get("SYSTEM_LOGIN", "").partition(":")
    c_checker = ("CHECKPASSWORD_C", run.place.c_checkpassword), ("SYSTEM_LOGIN", user), ("root", os.geteuid() == 0)
    if not run.has_load():
        return
    stored = newhash.make("SHA512-CRYPT", Secret(b"secret"), cost=5000)
    with run.place.ours(stored=stored) as ours:
        for clients in (10, 50):
            words = (run.options.batch, "-c", clients)
            cases = {"ours": lambda words=words: run.load(ours, *words, "-u", "user", "-p", "secret")}
            cases["hash"] = lambda: {"cpu": hash_time(stored, 200)}
            cases["queue"] = lambda: {"cpu": queue_time(run.place)}
            if run.has_c(*c_checker):
                with run.place.c_stack() as theirs:
                    cases["c"] = lambda words=words, theirs=theirs: run.load(theirs, *words, "-u", user, "-p", password)
                    got = run.in_turn(**cases)
            else:
                got = run.in_turn(**cases)
            report_sessions(run, got, f"AUTH $6$, c={clients}", 1.6)
            least = got["hash"]["cpu"] + got["queue"]["cpu"]
            note = f"hash {got['hash']['cpu']:.2f}, queue {got['queue']['cpu']:.2f}"
            run.figure(f"c={clients}: CPU beyond hash and queue", got["ours"]["cpu"] - least, "ms", most=0.8, note=note)
            if "c" in got:
                run.figure(f"c={clients}: the same of the C stack", got["c"]["cpu"] - least, "ms")


def report_sessions(run, got, name, least, rate="sess_per_s"):
    run.figure(f"{name}: ours, CPU a session", got["ours"]["cpu"], "ms", note=f"{got['ours'][rate]:.0f}/s")
    if "c" in got:
        run.figure(f"{name}: C stack, CPU a session", got["c"]["cpu"], "ms", note=f"{got['c'][rate]:.0f}/s")
        run.figure(f"{name}: {rate}, ours / C", got["ours"][rate] / got["c"][rate], "", least=least)


def relay(run):
    """Sessions without AUTH."""
    if run.has_load() and run.has_c():
        with run.place.ours(*LOOPBACK) as ours, run.place.c_stack(RELAYCLIENT="") as theirs:
            for clients in (10, 50):
                words = (2 * run.options.batch, "-c", clients)
                got = run.in_turn(ours=lambda: run.load(ours, *words), c=lambda: run.load(theirs, *words))  # noqa: B023
                report_sessions(run, got, f"no AUTH, c={clients}", 1.1)


def pipelined(run):
    """Fifty pipelined messages a connection, without AUTH."""
    if run.has_load() and run.has_c():
        words = (max(10, run.options.batch // 10), "-c", 10, "-m", 50, "-P")
        with run.place.ours(*LOOPBACK) as ours, run.place.c_stack(RELAYCLIENT="") as theirs:
            got = run.in_turn(ours=lambda: run.load(ours, *words), c=lambda: run.load(theirs, *words))
        report_sessions(run, got, "50 pipelined, c=10", 1.0, "msg_per_s")


def yescrypt(run):
    """The hash as the limit."""
    if not run.has_load():
        return
    stored = newhash.make("YESCRYPT", Secret(b"secret"))
    with run.place.ours(stored=stored) as ours:
        words = (run.options.batch // 4, "-c", 10, "-u", "user", "-p", "secret")
        got = run.in_turn(ours=lambda: run.load(ours, *words), hash=lambda: {"cpu": hash_time(stored, 20)})
    limit = os.cpu_count() * 1000 / got["hash"]["cpu"]
    note = f"hash {got['hash']['cpu']:.2f} ms, {got['ours']['sess_per_s']:.1f}/s"
    run.figure("yescrypt, c=10: share of cores / hash", got["ours"]["sess_per_s"] / limit, "", least=0.9, note=note)


def aiosmtpd(run):
    """Aiosmtpd with the same hash and queue."""
    if not run.has_load() or not run.has(("aiosmtpd", importlib.util.find_spec("aiosmtpd"))):
        return
    stored = newhash.make("SHA512-CRYPT", Secret(b"secret"), cost=5000)
    words = (run.options.batch // 2, "-c", 10, "-u", "user", "-p", "secret")
    with (
        run.place.ours(stored=stored) as ours,
        run.place.peer("aiosmtpd", stored.partition(b"}")[2].decode()) as theirs,
    ):
        got = run.in_turn(ours=lambda: run.load(ours, *words), c=lambda: run.load(theirs, *words))
    run.figure("AUTH $6$, c=10: aiosmtpd, CPU a session", got["c"]["cpu"], "ms", note=f"{got['c']['sess_per_s']:.0f}/s")
    ratio = got["ours"]["sess_per_s"] / got["c"]["sess_per_s"]
    run.figure("AUTH $6$, c=10: sess_per_s, ours / aiosmtpd", ratio, "", least=2)


def tls(run):
    """Handshakes against a bare server, and what TLS adds to a session."""

    def clients(server, port, act, *words, is_secured=True):
        before = server.cpu()
        rate = tls_client.in_processes(run.options.batch, act, port, is_secured, *words)
        return {"rate": rate, "cpu": (server.cpu() - before) * 1000 / run.options.batch}

    with (
        run.place.ours(*LOOPBACK, tls=True) as ours,
        run.place.peer("tls", run.place.certificate, run.place.key) as bare,
    ):
        plain, secured = ours.ports
        cases = {
            "ours": lambda: clients(ours, secured, tls_client.greet),
            "bare": lambda: clients(bare, bare.ports[0], tls_client.greet),
        }
        if is_queued := run.has(("NULL_QUEUE", run.place.queue)):
            cases["without"] = lambda: clients(ours, plain, tls_client.converse, tls_client.LINES, is_secured=False)
            cases["with"] = lambda: clients(ours, secured, tls_client.converse, tls_client.LINES)
        got = run.in_turn(**cases)
    note = f"{got['ours']['rate']:.0f} and {got['bare']['rate']:.0f}/s, clients on the same cores"
    run.figure("handshakes a second, ours / bare", got["ours"]["rate"] / got["bare"]["rate"], "", least=0.85, note=note)
    note = f"{got['ours']['cpu']:.2f} and {got['bare']['cpu']:.2f} ms"
    run.figure(
        "handshakes a CPU second, ours / bare", got["bare"]["cpu"] / got["ours"]["cpu"], "", least=0.85, note=note
    )
    if is_queued:
        note = f"{got['with']['cpu']:.2f} and {got['without']['cpu']:.2f} ms"
        run.figure(
            "CPU of a session, with TLS - without",
            got["with"]["cpu"] - got["without"]["cpu"],
            "ms",
            most=1.2,
            note=note,
        )


def large(run):
    """A large message: MB per CPU second of the front end, without the queue program."""
    if not run.has_load() or not run.has_c():
        return
    notes = run.place.directory / "queue-cpu"

    def c_front_end():
        notes.unlink(missing_ok=True)
        spent = run.load(theirs, 1, "-b", MEGABYTES * 1_000_000)["cpu"] / 1000
        return {"rate": MEGABYTES / (spent - int(notes.read_text()) / 1e6)}

    def front_end(act):
        before = ours.cpu(FRONT_END)
        act()
        return {"rate": MEGABYTES / (ours.cpu(FRONT_END) - before)}

    body = tls_client.LINES * (MEGABYTES * 1_000_000 // len(tls_client.LINES))
    with (
        run.place.ours(*LOOPBACK, tls=True) as ours,
        run.place.c_stack(RELAYCLIENT="", NULLQ_RUSAGE=str(notes)) as theirs,
    ):
        got = run.in_turn(
            ours=lambda: front_end(lambda: run.load(ours, 1, "-b", MEGABYTES * 1_000_000)),
            c=c_front_end,
            tls=lambda: front_end(lambda: tls_client.converse(ours.ports[1], tls_client.context(), body)),
        )
    note = f"{got['ours']['rate']:.0f} and {got['c']['rate']:.0f} MB a CPU second"
    run.figure(
        f"{MEGABYTES} MB message, ours / C ofmipd", got["ours"]["rate"] / got["c"]["rate"], "", least=2, note=note
    )
    run.figure(f"{MEGABYTES} MB message over TLS", got["tls"]["rate"], "MB/CPU s", least=200)


def idle(run):
    """Connections that have said EHLO and wait: memory of each, and how soon another one is answered."""
    count = run.options.idle
    with run.place.ours(*LOOPBACK, "--max-connections", str(count + 1000), tls=True) as ours:
        for port, name, most in ((ours.ports[0], "without TLS", 12), (ours.ports[1], "with TLS", 45)):
            secured = tls_client.context() if port == ours.ports[1] else None

            def p99(port=port, secured=secured):
                times = [tls_client.time_of_ehlo(port, secured) * 1000 for _ in range(run.options.batch)]
                return statistics.quantiles(times, n=100)[98]

            p99()  # warms up
            before, empty, few = p99(), ours.pss(), ours.descriptors()
            held = [tls_client.idle(port, secured) for _ in range(count)]
            each, full = (ours.pss() - empty) / count, p99()
            assert ours.descriptors() >= few + count, "connections were closed"
            for descriptor in held:
                os.close(descriptor)
            ours.descriptors(few)
            after = p99()
            run.figure(f"{count} idle connections {name}: PSS of each", each, "KiB", most=most)
            note = f"p99 {before:.2f} ms before, {full:.2f} with them, {after:.2f} after"
            run.figure(
                f"{count} idle connections {name}: EHLO, p99 with / before", full / before, "", most=2, note=note
            )


def endurance(run):
    """Many sessions, and many connections that are reset, leave nothing behind."""
    stored = newhash.make("SHA512-CRYPT", Secret(b"secret"), cost=5000)
    words = ("-c", 50, "-u", "user", "-p", "secret")
    with run.place.ours(stored=stored, tls=True) as ours:

        def compare(name, first, then):
            first()
            before = (ours.pss(), ours.descriptors(), len(ours.settle()))
            then()
            descriptors = ours.descriptors(before[1])
            run.figure(
                f"{name}: PSS, growth", ours.pss() - before[0], "KiB", most=before[0] // 50, note=f"{before[0]} KiB"
            )
            run.figure(f"{name}: descriptors, growth", descriptors - before[1], "", most=0, note=f"{before[1]}")
            run.figure(f"{name}: processes, growth", len(ours.settle()) - before[2], "", most=0, note=f"{before[2]}")

        count = run.options.sessions
        if run.has_load():
            first = min(1000, count // 2)
            rest = count - first
            compare(f"{count} sessions", lambda: run.load(ours, first, *words), lambda: run.load(ours, rest, *words))

        def resets(begin, end):
            for number in range(begin, end):
                tls_client.reset(ours.ports[1], number)

        count = run.options.resets
        compare(f"{count} resets on the TLS port", lambda: resets(0, count // 4), lambda: resets(count // 4, count))


CASES = {case.__name__: case for case in (auth, relay, pipelined, yescrypt, aiosmtpd, tls, large, idle, endurance)}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=CASES, help="a case, as often as there are")
    parser.add_argument("--batch", type=int, default=1000, help="sessions of a round, about")
    parser.add_argument("--idle", type=int, default=1000, help="connections that are held")
    parser.add_argument("--sessions", type=int, default=5000, help="of the endurance case")
    parser.add_argument("--resets", type=int, default=4000, help="of the endurance case")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    python = f"Python {sys.version.split()[0]} ({loop})"
    print(f"{' '.join(sys.argv)}\n{python}, {os.cpu_count()} cores, medians of {options.rounds}")
    with tempfile.TemporaryDirectory(prefix="checkpw-bench-") as name:
        run = Run(Place(name), options)
        for case in options.only or CASES:
            print(f"\n{CASES[case].__doc__}  load {os.getloadavg()[0]:.2f}", flush=True)
            CASES[case](run)
    print(f"\nload {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
