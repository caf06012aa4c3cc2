"""The dialects of callers name properties that there are, and make nothing right that lets somebody in."""

import pytest

from checkpw.conform.calling import PROPERTIES
from checkpw.conform.dialects import INTERFACE, PROFILES, find

NEVER = ("answer-never-yes", "relay-not-", "record-plain", "record-login", "refuse-nul", "session-")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_what_a_profile_names(profile):
    """Each name is one of a property, with a reason; none of them is about who gets in."""
    assert set(profile.deviations) <= {one.name for one in PROPERTIES}
    assert all(profile.deviations.values())
    assert not [name for name in profile.deviations if name.startswith(NEVER)]
    assert bool(profile.deviations) == (profile is not INTERFACE)


def test_a_profile_is_found_by_its_name():
    """And one that there is not, is not."""
    assert [find(profile.name) for profile in PROFILES] == list(PROFILES)
    assert find("djb") is None


def test_names():
    """Properties are named in lower case, claim one sentence, and say where it is written."""
    for one in PROPERTIES:
        assert one.name.replace("-", "").isalnum()
        assert one.name == one.name.lower()
        assert one.claim.endswith(".")
        assert one.claim.count(". ") == 0
        assert one.source
    assert len({one.name for one in PROPERTIES}) == len(PROPERTIES)
