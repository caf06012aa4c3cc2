"""The tree of checkpw's commands, and the two pieces of click that all of them share."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

import checkpw as package

LAZY = {
    "ask": ("checkpw.cli.ask", "ask"),
    "completion": ("checkpw.cli.completion", "completion"),
    "conform": ("checkpw.cli.conform", "conform"),
    "demo": ("checkpw.cli.demo", "demo"),
    "hash": ("checkpw.cli.hash", "hash_"),
    "install-programs": ("checkpw.cli.install", "install_programs"),
    "names": ("checkpw.cli.names", "names"),
    "service": ("checkpw.cli.service", "service"),
    "user": ("checkpw.cli.user", "user"),
}
"""Name of a subcommand: the module that holds it, and its name there. Imported when it is used or listed."""


class LazyGroup(click.Group):
    """A group whose commands may be imported by name, so that one of them does not pay for the others."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.lazy = lazy or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help to who names no command, as wrong usage: click before 8.2 calls that a success."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the alphabet."""
        return sorted({*self.lazy, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, None if there is none of that name."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, attribute = self.lazy[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


class Setting(click.Option):
    """An option that may come from the environment which `main` was given, and not from the process's own."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value, None if it is unset or empty."""
        environ: Mapping[str, str] = ctx.obj or {}
        return environ.get(str(self.envvar)) or None


@click.group(
    cls=LazyGroup,
    lazy=LAZY,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="""\b
EXAMPLES
  checkpw user add --file /etc/checkpw/accounts joe
  checkpw user list --file /etc/checkpw/accounts
  printf 'joe\\nsecret\\n' | checkpw ask -- checkpassword true && echo yes

\b
EXIT STATUS
  0 done, or yes    1 no    2 wrong usage    111 trouble, try later

See checkpw(8), and checkpw-passwd(5) for the file.""",
)
@click.version_option(package.__version__, prog_name="checkpw")
def checkpw() -> None:
    """Manage mail accounts and ask checkpassword programs."""
