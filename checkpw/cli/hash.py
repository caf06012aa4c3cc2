"""checkpw hash: print the hash of a password, for a file that somebody edits by hand or by script."""

import click

from checkpw import hashes, newhash
from checkpw.cli import prompt
from checkpw.cli.commands import Setting
from checkpw.errors import Misuse

scheme_option = click.option(
    "--scheme",
    cls=Setting,
    envvar="CHECKPW_SCHEME",
    show_envvar=True,
    type=click.Choice(newhash.SCHEMES, case_sensitive=False),
    default=newhash.DEFAULT_SCHEME,
    show_default=True,
    metavar="SCHEME",
    help=f"How to hash: {', '.join(newhash.SCHEMES)}.",
)
cost_option = click.option(
    "--cost",
    type=int,
    metavar="N",
    help="Rounds (SHA*-CRYPT, PBKDF2), their logarithm (BLF-CRYPT), 1 to 11 (YESCRYPT), passes (ARGON2ID).",
)
stdin_option = click.option(
    "--stdin", "from_stdin", is_flag=True, help="Take the password from the first line of standard input."
)


def make_hash(scheme: str, cost: int | None, *, from_stdin: bool, longest: int = hashes.MAX_PASSWORD) -> bytes:
    """Ask for a password and return `{SCHEME}hash`; warns on standard error where that hides nothing.

    Raises:
        Misuse: the password has more than `longest` bytes, or as `newhash.make`.
    """
    password = prompt.password(from_stdin=from_stdin, confirm=True)
    if len(password) > longest:
        raise Misuse("the password is too long: login and password share the 512 bytes on descriptor 3")
    made = newhash.make(scheme, password, cost=cost)
    if scheme == "PLAIN":
        click.echo("checkpw: warning: PLAIN is the password itself, for everybody who can read it", err=True)
    return made


@click.command(
    "hash",
    epilog="""\b
EXAMPLES
  checkpw hash
  checkpw hash --scheme BLF-CRYPT --cost 12
  pwgen 16 1 | checkpw hash --stdin --scheme ARGON2ID""",
)
@scheme_option
@cost_option
@stdin_option
def hash_(scheme: str, cost: int | None, from_stdin: bool) -> None:
    """Print the {SCHEME}hash of a password.

    What is printed can stand in the second field of an account file (checkpw-passwd(5)) and in Dovecot's.
    """
    click.echo(make_hash(scheme, cost, from_stdin=from_stdin))
