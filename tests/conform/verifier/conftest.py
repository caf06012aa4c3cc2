"""Fixtures of the reference checkpassword program."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import judging


@pytest.fixture
def place():
    """Give a directory with the accounts of the reference."""
    with judging.reference_in_place() as directory:
        yield directory


@pytest.fixture
def judge(place):
    """Give a function that judges a text of the reference."""
    return lambda text, *names, **settings: judging.judge_in(place, text, names, **settings)


@pytest.fixture(scope="session")
def reference():
    """Give the text of the reference."""
    return (judging.HERE / "reference.py").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def perl(refuse):
    """End the test where the reference cannot be told what Python overwrites at its start."""
    if not pathlib.Path("/usr/bin/perl").exists():
        refuse("peer not installed: perl")
