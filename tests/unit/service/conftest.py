"""Makes modules of transcripts and contracts importable by name, and sees to it that no descriptor is left."""

import os
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / "transcripts"), str(TESTS / "contracts")]

from resident_runner import ResidentRunner


@pytest.fixture(autouse=True)
def nothing_is_left():
    """See to it that no descriptor and no child outlives a test."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def runner(nothing_is_left):
    """Give a runner on a loop whose faults are the test's."""
    with ResidentRunner() as made:
        yield made
