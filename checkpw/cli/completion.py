"""checkpw completion: print what a shell has to read so that it completes checkpw's words."""

import click
from click.shell_completion import get_completion_class


@click.command(
    short_help="Print the completion script of a shell.",
    epilog="""\b
EXAMPLES
  eval "$(checkpw completion bash)"                                 in ~/.bashrc
  eval "$(checkpw completion zsh)"                                  in ~/.zshrc
  checkpw completion fish > ~/.config/fish/completions/checkpw.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands and options."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this click completes nothing for {shell}")
    words = kind(ctx.find_root().command, {}, "checkpw", "_CHECKPW_COMPLETE")
    # Not words.source(), which starts bash to ask for its version: the script may be made for another
    # machine.
    click.echo(words.source_template % words.source_vars())
