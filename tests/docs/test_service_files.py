"""Units in the pages are those that `checkpw service` prints for the command beside them."""

import re
import shlex

import pytest
from click.testing import CliRunner
from pages import page, pages

from checkpw.cli.service import service

COMMAND = re.compile(r"^ *checkpw service (?:.*\\\n)*.*", re.MULTILINE)


def _commands(name):
    """Give the words of each `checkpw service` in the examples of a page."""
    text = "\n".join(page(name).literal("EXAMPLES"))
    return [shlex.split(found.replace("\\\n", " "))[2:] for found in COMMAND.findall(text)]


def _printed(words):
    """Give what the command prints, when it is to write nothing."""
    at = words.index("--directory")
    done = CliRunner().invoke(service, [*words[:at], *words[at + 2 :], "--programs", "/usr/local/bin"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("name", ["submissiond", "checkpw-verifierd"])
def test_units_are_what_is_printed(name):
    """Each block of a unit stands, as it is, in what the command of the same page prints."""
    (words,) = _commands(name)
    units = [block for block in page(name).literal("EXAMPLES") if block.startswith(("[Service]", "[Socket]"))]
    assert len(units) == 2
    for unit in units:
        assert unit in _printed(words)


@pytest.mark.parametrize("name", [found.name for found in pages().values() if found.section == "8"])
def test_commands_print_something(name):
    """Each `checkpw service` of the examples can be run."""
    for words in _commands(name):
        assert "/usr/local/bin/" in _printed(words)


def test_what_was_written_by_hand_is_gone():
    """No page has a unit without the command that prints it."""
    for found in pages().values():
        has_unit = (
            any(block.startswith("[Service]") for block in found.literal("EXAMPLES")) if _has_examples(found) else False
        )
        assert not has_unit or _commands(found.name)


def _has_examples(found):
    return ".Sh EXAMPLES" in found.lines
