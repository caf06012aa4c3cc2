"""What the tests of documentation share: the modules beside them, importable by name, and mandoc."""

import pathlib
import shutil
import sys

import pytest

_HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "architecture")]


@pytest.fixture(scope="session")
def mandoc(refuse):
    """Find mandoc, or end the test that cannot have it: skipped, or failed with --require-peers."""
    found = shutil.which("mandoc")
    if found is None:
        refuse("peer not installed: mandoc (Debian package mandoc)")
    return found
