"""Profiles name what others do."""

import pytest

from checkpw.conform import profiles
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
    assert profiles.find(profile.name) is profile


def test_an_unknown_profile_is_none():
    """There is no default for a name that is not there."""
    assert profiles.find("qmail") is None
