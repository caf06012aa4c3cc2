"""Profiles name what others do."""

import pytest

from checkpw.conform import profiles
from checkpw.conform.model import Violation
from checkpw.conform.verifying import PROPERTIES


def test_the_default_is_the_interface():
    """DJB's own program needs no excuse."""
    assert profiles.find("djb") is profiles.DJB is profiles.PROFILES[0]
    assert profiles.DJB.rejected == {1}
    assert profiles.DJB.temporary == {111}
    assert profiles.DJB.deviations == {}


@pytest.mark.parametrize("profile", profiles.PROFILES, ids=lambda one: one.name)
def test_a_profile_adds_to_the_interface(profile):
    """No profile takes a right answer away, none makes 0 a no, and each deviation is one of a property there is."""
    assert profile.rejected >= {1}
    assert profile.misuse >= {1, 2}
    assert profile.temporary >= {111}
    assert 0 not in profile.rejected | profile.misuse | profile.temporary
    assert set(profile.deviations) <= {one.name for one in PROPERTIES}
    assert all(profile.deviations.values())
    assert set(profile.seen) <= set(profile.deviations)
    assert "drops-groups" not in profile.deviations
    assert profiles.find(profile.name) is profile


def test_an_unknown_profile_is_none():
    """There is no default for a name that is not there."""
    assert profiles.find("qmail") is None


@pytest.mark.parametrize(
    ("profile", "name", "seen", "known"),
    [
        ("vchkpw", "runs-no-text-file", "PROG was run, and exit 0", True),
        ("vchkpw", "runs-no-text-file", "exit 3", False),
        ("vchkpw", "enters-home", "in '/'", True),
        ("vchkpw", "enters-home", "killed by SIGSEGV", False),
        ("vchkpw", "store-down-is-trouble", "exit 0", False),
        ("vchkpw", "no-prog-is-misuse", "exit 0", False),
        ("cvm", "rejects-empty-password", "exit 7, and it said 'x'", True),
        ("cvm", "rejects-empty-password", "exit 77", False),
        ("cvm", "rejects-empty-password", "exit 0", False),
        ("cvm", "hands-on-environment", "UID=1 added, NAME=Kit T, 1 added", True),
        ("cvm", "hands-on-environment", "UID=1 added, FOO=2 added", False),
        ("cvm", "hands-on-environment", "UID=1 added, X=2 lost", False),
        ("djb", "enters-home", "in '/'", False),
    ],
)
def test_a_deviation_is_known_by_what_is_seen(profile, name, seen, known):
    """What a family does hides nothing else that breaks the same property, least of all a crash."""
    assert profiles.find(profile).knows(name, Violation("a", seen)) == known
