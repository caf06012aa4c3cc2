"""What each link adds to a login, and what a session costs in which the chain goes on as the user, in pairs.

A link adds at most 1.3 interpreter floors (`python -I -S -c pass`). Checker and program are /bin/true, so that nothing
is measured but the link. One that asks first runs the checker twice where there is a program; so does what it is held
against. The status is 1 if a bound does not hold.

A session is greeting, login by checkpassword and a `{PLAIN}` password, and QUIT: of ofmipd that asks itself, and of
authup and ofmipd with and without `--`. No bound is set for it.
"""

import argparse
import base64
import grp
import os
import pathlib
import statistics
import sys
import tempfile
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent.parent)]

from run import Conversation, one_shot, rounds

from checkpw.cli.install import install

BOUND = 1.3
RECORD = b"joe\0secret\0\0"
TRUE = "/bin/true"


def links(place):
    """Give, for each link, the chain with it, the chains without it, and how the first ends."""
    group = grp.getgrgid(os.getgid()).gr_name
    for name in ("checkpw-any", "checkpw-limit", "checkpw-log"):
        program = str(place / name)
        yield f"{name}, the verdict", [program, TRUE, "true"], [[TRUE, "true"]], 0
        yield f"{name}, with a program", [program, TRUE, "--", "x"], [[TRUE, "true"], [TRUE, "x"]], 0
    yield "checkgroup", [str(place / "checkgroup"), group, TRUE, "x"], [[TRUE, "x"]], 0
    # By root it refuses, which is a little less than to execute something.
    yield "checknotroot", [str(place / "checknotroot"), TRUE, "x"], [[TRUE, "x"]], int(os.geteuid() == 0)


def sessions(place):
    """Give the chains with a login, and their environment; the session is nobody's where we are root."""
    uid, gid = (os.getuid(), os.getgid()) if os.geteuid() != 0 else (65534, 65534)
    accounts = place / "accounts"
    accounts.write_text(f"joe:{{PLAIN}}secret:{uid}:{gid}::/:\n", encoding="ascii")
    accounts.chmod(0o600)
    place.chmod(0o755)
    authup, checker, ofmipd = [str(place / "authup"), "smtp"], ["checkpassword", "checknotroot"], ["ofmipd", "", "x"]
    chains = {
        "ofmipd, a session": [str(place / "ofmipd"), "", "x", "checkpassword", "true"],
        "authup, --, ofmipd": [*authup, *checker, "--", *ofmipd],
        "authup, ofmipd": [*authup, *checker, *ofmipd],
    }
    return chains, {"PATH": f"{place}:/usr/bin:/bin", "CHECKPW_ACCOUNTS": f"file:{accounts}"}


def session(argv, environ):
    """Return the wall milliseconds of a session, from exec to exit."""
    began = time.perf_counter()
    conversation = Conversation(argv, environ)
    conversation.hear()
    answer = conversation.say(b"AUTH PLAIN " + base64.b64encode(b"\0joe\0secret") + b"\r\n")
    assert answer.startswith(b"235"), (argv, answer)
    conversation.end()
    return (time.perf_counter() - began) * 1000


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for all rounds together, about")
    seconds = parser.parse_args().seconds
    print(f"{' '.join(sys.argv)}  Python {sys.version.split()[0]}  load {os.getloadavg()[0]:.2f}")
    interpreter = [sys.executable, "-I", "-S", "-c"]
    with tempfile.TemporaryDirectory(prefix="checkpw-bench-") as name:
        place = pathlib.Path(name)
        install(place)
        environ = {"PATH": "/usr/bin:/bin", "TCPREMOTEIP": "192.0.2.7", "USER": "root" if os.geteuid() == 0 else ""}
        environ |= {"USER": os.environ.get("USER", "root"), "CHECKPW_LIMIT_STORE": f"file:{place}/limits"}
        cases = {
            "interpreter floor": lambda: one_shot([*interpreter, "pass"], environ),
            "import of _sqlite3": lambda: one_shot([*interpreter, "import _sqlite3"], environ),
        }
        silent = os.open("/dev/null", os.O_WRONLY)
        os.dup2(silent, 2)  # lines of links
        measured = list(links(place))
        for title, words, plain, ending in measured:
            cases[title] = lambda words=words, ending=ending: one_shot(words, environ, RECORD, ending)
            cases[f"{title}: without"] = lambda plain=plain: sum(one_shot(words, environ, RECORD) for words in plain)
        chains, settings = sessions(place)
        for title, argv in chains.items():
            cases[title] = lambda argv=argv: session(argv, settings)
        figures, done = rounds(cases, seconds)
    floor = statistics.median(figures["interpreter floor"])
    print(f"\nWhat a link adds, medians of {done}; the interpreter floor is {floor:.2f} ms, the bound {BOUND} floors")
    pairs = [("import of _sqlite3", "interpreter floor", None)]
    pairs += [(title, f"{title}: without", BOUND) for title, *_ in measured]
    is_kept = True
    for title, without, bound in pairs:
        added = statistics.median(a - b for a, b in zip(figures[title], figures[without], strict=True))
        is_kept = is_kept and (bound is None or added <= bound * floor)
        print(f"  {title:34} {added:9.3f} ms   x {added / floor:5.2f}")
    print("\nA session with a login, and what authup adds to one of ofmipd that asks itself")
    alone = figures["ofmipd, a session"]
    for title in chains:
        median = statistics.median(figures[title])
        added = statistics.median(a - b for a, b in zip(figures[title], alone, strict=True))
        print(f"  {title:34} {median:9.3f} ms   x {median / floor:5.2f}   adds {added:.3f} ms, {added / floor:.2f}")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
