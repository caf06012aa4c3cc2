"""The original ofmipd and ours get the same random sessions and make the same messages and envelopes of them.

CHECKPW_ORIGINAL_OFMIPD names the original, mess822's ofmipd with the AUTH patch, and CHECKPW_ORIGINAL_HOME the qmail
home that it was built for (not set: /var/qmail). CHECKPW_AGREEMENT_SESSIONS is how many sessions are compared (300),
from number CHECKPW_AGREEMENT_FIRST on (0); for tens of thousands, `python tests/interop/agreement.py` needs no pytest.
"""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from agreement import Place, Session, find_original, first_difference

SESSIONS = int(os.environ.get("CHECKPW_AGREEMENT_SESSIONS", "300"))
FIRST = int(os.environ.get("CHECKPW_AGREEMENT_FIRST", "0"))
AS_PROGRAM = 20
"""So many sessions with our program as a process, which reads its settings and starts its queue program itself."""


@pytest.fixture
def place(source_peer, tmp_path):
    """Give a place where sessions are run with both."""
    source_peer("ofmipd of mess822 with the AUTH patch", "CHECKPW_ORIGINAL_OFMIPD")
    return Place(tmp_path, *find_original())


def _compare(place, number, run_ours):
    session = Session(number)
    place.prepare(session)
    original = place.run_original(session)
    ours = run_ours(session)
    assert original == ours, f"session {number}: {first_difference(session, original, ours)}"
    return len(original.queued)


@pytest.mark.parametrize("part", range(10))
def test_messages_and_envelopes_are_the_same(place, part):
    """Byte by byte, but for the trace field and for what the clock and the process number make."""
    numbers = range(FIRST + part, FIRST + SESSIONS, 10)
    messages = sum(_compare(place, number, place.run_ours) for number in numbers)
    assert messages >= 4 * len(numbers), "hardly any session got as far as a message"


def test_the_program_makes_the_same_of_them(place, programs):
    """As above, with our program instead of its parts."""
    argv = [str(programs / "ofmipd")]
    for number in range(FIRST, FIRST + AS_PROGRAM):
        _compare(place, number, lambda session: place.run_program(argv, session))
