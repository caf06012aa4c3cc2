"""checkpw.cli.commands: the tree finds its leaves."""

import click

from checkpw.cli import commands


def test_every_name_leads_to_a_command():
    """Each entry of the table names a module with a click command of the same name."""
    ctx = click.Context(commands.checkpw)
    for name in commands.LAZY:
        command = commands.checkpw.get_command(ctx, name)
        assert isinstance(command, click.Command)
        assert command.name == name


def test_unknown_names_lead_nowhere():
    """A name outside the table is no command."""
    assert commands.checkpw.get_command(click.Context(commands.checkpw), "nobody") is None
