"""checkpw.cli.conform: names are completed; tests/programs/test_conform_cli.py runs it."""

import sys

import click
import pytest

from checkpw.cli.conform import caller, verifier


def _completed(command, begun):
    context = click.Context(command, info_name=command.name)
    option = next(one for one in command.params if one.name == "globs")
    return [item.value for item in option.shell_complete(context, begun)]


@pytest.mark.parametrize(
    ("command", "begun", "name"), [(verifier, "accepts-g", "accepts-good-login"), (caller, "answer-y", "answer-yes")]
)
def test_names_of_properties_are_completed(command, begun, name):
    """--select completes the names of its side."""
    assert _completed(command, begun) == [name]
    assert _completed(command, "nobody") == []


def test_without_hypothesis_nothing_is_completed(monkeypatch):
    """A shell that completes is no place for an error."""
    for name in [name for name in sys.modules if name.startswith("checkpw.conform.verifying")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    for name in [
        name for name in sys.modules if name.startswith(("checkpw.conform.trials", "checkpw.conform.strategies"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    assert _completed(verifier, "accepts-g") == []
