"""The changelog knows the version that the package has."""

import re

from pages import PROGRAMS, ROOT

import checkpw

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_version_has_a_section():
    """The first section is Unreleased, or that of the package's version; no version has two."""
    sections = re.findall(r"^## \[?([^\]\n ]+)", CHANGELOG, re.MULTILINE)
    assert sections[0] in ("Unreleased", checkpw.__version__)
    assert len(sections) == len(set(sections))


def test_each_program_was_announced():
    """Each program has an entry."""
    for program in PROGRAMS:
        assert f"`{program}`" in CHANGELOG
