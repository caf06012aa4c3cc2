"""The reference in a directory that everybody may enter, and the kit's judgement of it; pytest is not needed."""

import contextlib
import pathlib
import sys
import tempfile

from checkpw.conform import run
from checkpw.conform.accounts import Account
from checkpw.conform.profiles import DJB
from checkpw.conform.verifying import PROPERTIES, Verifier

HERE = pathlib.Path(__file__).parent

LONG = b"a-Password-of-more-than-seventy-two-bytes-0123456789-0123456789-0123456789-end"

ODD = b" \xc3\x85ngstr\xc3\xb6m\x0b\x1c'"  # UTF-8 of which a byte, and what follows, is the end of a line in Latin-1

ACCOUNTS = (
    Account(b"joe", b"Secret-Word"),
    Account(b"ann", b"another one"),
    Account(b"lee", LONG),
    Account(b"zoe", ODD),
)

PROGRAM = "program.py"

ENVIRON = {b"PATH": b"/usr/bin:/bin", b"LANG": b"C.UTF-8", b"TZ": b"UTC"}

UID = 54321  # and the three after it: nobody has them

# Tells Python whether SIGPIPE and SIGXFSZ were ignored before it began, which it overwrites: perl touches other things.
FRONT = r"""
open F, "<", "/proc/self/status" or exit 111;
my ($ignored) = map { /^SigIgn:\s*(\S+)/ } <F>;
close F;
exec { $ARGV[0] } $ARGV[0], "-X", "ignored=$ignored", @ARGV[1 .. $#ARGV];
exit 111;
"""

BEHIND_PERL = "hands-on-ignored-sigpipe"
"""What the reference can only do when it is told so; by itself it has the fault that Python gives it."""


@contextlib.contextmanager
def reference_in_place():
    """Give a directory with the accounts of the reference."""
    with tempfile.TemporaryDirectory(prefix="checkpw-reference-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        lines = [
            b"%b:%b:%d:%d:/usr:/bin/dash\n" % (a.login, a.password, UID + n, UID + n) for n, a in enumerate(ACCOUNTS)
        ]
        (directory / "accounts").write_bytes(b"".join(lines))
        yield directory


def judge_in(directory, text, names, examples=30, interpreter=sys.executable):
    """Judge a text of the reference by the properties of these names; without names, by all."""
    (directory / PROGRAM).write_text(text, encoding="utf-8")
    accounts = str(directory / "accounts")
    argv = [interpreter, "-I", "-S", str(directory / PROGRAM), accounts]
    down, up = f"mv {accounts} {accounts}.down", f"mv {accounts}.down {accounts}"
    settings = run.Settings(seed=1, examples=examples, profile=DJB, shrinking=0.0)
    results = []
    for front in ([], ["/usr/bin/perl", "-e", FRONT]):
        properties = [one for one in run.select(PROPERTIES, names) if (one.name == BEHIND_PERL) == bool(front)]
        if not properties:
            continue
        with Verifier([*front, *argv], ACCOUNTS, environ=ENVIRON, down=down, up=up) as target:
            results += run.run("verifier", argv, target, properties, settings).results
    return results
