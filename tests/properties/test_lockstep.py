"""The runners agree: the same client meets with the same words, deliveries and log lines, whoever performs."""

import pathlib
import random
import re
import tempfile

from dialogue import SETTINGS, Dialogue
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from players import RUNNERS

LINES = [
    *(
        "EHLO x",
        "HELO x",
        "NOOP",
        "RSET",
        "VRFY x",
        "QUIT",
        "",
        "STARTTLS",
        "AUTH PLAIN",
        "AUTH LOGIN",
        "*",
        "x" * 3000,
    ),
    *("AUTH PLAIN \\b{\\0joe\\0secret}", "AUTH PLAIN \\b{\\0joe\\0wrong}", "AUTH LOGIN \\b{joe}", "\\b{secret}", "="),
    *("MAIL FROM:<a@b>", "MAIL FROM:<>", "MAIL FROM:<a@b> SIZE=99999999", "MAIL FROM:<\\xc3\\xbc@b> SMTPUTF8"),
    *("RCPT TO:<c@d>", "RCPT TO:<e@f>", "RCPT TO:<>", "RCPT TO:<c@d> X=y", "DATA", "BDAT 5", "BDAT 0 LAST", "BDAT x"),
]
MESSAGES = [
    "Date: d\\r\\nMessage-ID: m\\r\\nTo: x\\r\\n\\r\\n..text\\r\\n.\\r\\n",
    "Date: d\\r\\nMessage-ID: m\\r\\n\\r\\n\\{0123456789abcdef\\r\\n*5000}.\\r\\n",
    "Date: d\\r\\nMessage-ID: m\\r\\n\\r\\nbare \\r and \\n.\\r\\n.\\r\\n",
    ".\\r\\n",
    "no header at all",
    "\\{Subject: x\\r\\n*500}.\\r\\n",
]
TO_THE_MESSAGE = ["MAIL FROM:<a@b>\\r\\n", "RCPT TO:<c@d>\\r\\n", "DATA\\r\\n"]
WORDS = st.one_of(
    st.sampled_from(LINES).map(lambda line: [line + "\\r\\n"]),
    st.sampled_from(LINES).map(lambda line: [line + "\\n"]),
    st.sampled_from(MESSAGES).map(lambda text: [*TO_THE_MESSAGE, text]),
    st.sampled_from(MESSAGES).map(lambda text: [text]),
    st.just(["AUTH PLAIN \\b{\\0joe\\0secret}\\r\\n"]),
    st.just(["MAIL FROM:<a@b>\\r\\nRCPT TO:<c@d>\\r\\nBDAT 24 LAST\\r\\nDate: d\\r\\nMessage-ID: m\\r\\n"]),
)
CHOICES = st.fixed_dictionaries(
    {
        "relay": st.sampled_from(["yes", "yes", "no"]),
        "remote": st.sampled_from(["192.0.2.7", "192.0.2.7", ""]),
        "smtputf8": st.sampled_from(["yes", "no"]),
        "checker": st.sampled_from(["joe secret", "joe secret", "exit 111", "exit 2", "missing", "none"]),
        "checker-says": st.sampled_from(["", "", "trouble\\n\\xff = \\n"]),
        "queue": st.sampled_from(["exit 0", "exit 0", "exit 0", "exit 31", "exit 91", "custom 82 Dno", "missing"]),
        "message-bytes": st.sampled_from(["1000000", "2000"]),
        "header-bytes": st.sampled_from(["65536", "1000"]),
        "errors": st.sampled_from(["20", "3"]),
        "auth-failures": st.sampled_from(["5", "3"]),
    }
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WORDS, max_size=8), CHOICES, st.sampled_from(["whole", "random", "bytes"]), st.integers(0, 99))
@example([["AUTH PLAIN \\b{\\0joe\\0secret}\\r\\n"], [*TO_THE_MESSAGE, MESSAGES[1]], ["QUIT\\r\\n"]], {}, "whole", 0)
@example([[*TO_THE_MESSAGE, MESSAGES[1], *TO_THE_MESSAGE, MESSAGES[0]]], {"relay": "yes"}, "random", 1)
@example([["QUIT\\r\\n"], [*TO_THE_MESSAGE, MESSAGES[1]]], {"relay": "yes"}, "bytes", 2)
def test_all_runners_agree(words, choices, how, seed):
    """One dialogue, played in memory, on descriptors and on both event loops, has one outcome."""
    dialogue = Dialogue("lockstep", 0, "random", {**SETTINGS, **choices})
    for text in [text for each in words for text in each]:
        dialogue.add("C|", text)
    dialogue.turns[-1].ending = "EOF"
    if sum(len(turn.sent) for turn in dialogue.turns) > 20_000:
        how = "random" if how == "bytes" else how
    outcomes = {}
    for name in ("memory", "stdio", "resident", "uvloop"):
        with tempfile.TemporaryDirectory() as directory:
            outcome = RUNNERS[name](dialogue, how, random.Random(seed), pathlib.Path(directory))
        # How much of a message had come when it was given up depends on how it came.
        log = [
            re.sub(r" bytes=\d+$", "", line) if " event=message " in line and " result=queued " not in line else line
            for line in outcome.log
        ]
        outcomes[name] = (b"".join(outcome.said), outcome.deliveries, log)
    for name, outcome in outcomes.items():
        assert outcome == outcomes["stdio"], name
    assert outcomes["stdio"][0].startswith(b"220 ")
