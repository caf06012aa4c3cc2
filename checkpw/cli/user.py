"""checkpw user: the accounts in a file (checkpw-passwd(5)), one command per deed."""

import json
import os
from typing import TYPE_CHECKING

import click

from checkpw import hashes
from checkpw.accounts import passwd_edit
from checkpw.accounts.base import authenticate
from checkpw.accounts.passwd_file import PasswdFile
from checkpw.cli import prompt
from checkpw.cli.commands import LazyGroup, Setting
from checkpw.cli.hash import cost_option, make_hash, scheme_option, stdin_option
from checkpw.credentials import MAX_RECORD, Credentials
from checkpw.errors import Misuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILE_HELP = "The account file; else what $CHECKPW_ACCOUNTS names as file:/PATH."


def _store_path(ctx: click.Context, option: click.Parameter, value: str | None) -> bytes:
    """Turn --file, or the URL in the environment, into a path."""
    del option
    if value:
        return os.fsencode(value)
    environ: Mapping[str, str] = ctx.obj or {}
    kind, _, path = environ.get("CHECKPW_ACCOUNTS", "").partition(":")
    if kind == "file" and path.startswith("/"):
        return os.fsencode(path)
    if kind:
        raise click.UsageError("$CHECKPW_ACCOUNTS names no file:/PATH, and no other store is edited here.", ctx)
    raise click.UsageError("which file? Give --file PATH, or CHECKPW_ACCOUNTS=file:/PATH.", ctx)


file_option = click.option(
    "--file", "path", type=click.Path(dir_okay=False), callback=_store_path, metavar="PATH", help=FILE_HELP
)


def _login(ctx: click.Context, argument: click.Parameter, value: str) -> bytes:
    """Turn the argument into bytes, and refuse what no line can stand for before anybody types a password."""
    del ctx, argument
    login = os.fsencode(value)
    passwd_edit.check_login(login)
    return login


login_argument = click.argument("login", callback=_login)


@click.group(
    cls=LazyGroup,
    epilog="""\b
EXAMPLES
  export CHECKPW_ACCOUNTS=file:/etc/checkpw/accounts
  checkpw user add --home /home/joe joe
  checkpw user disable joe
  checkpw user list""",
)
def user() -> None:
    """Manage the accounts in a file (checkpw-passwd(5))."""


@user.command(
    epilog="""\b
EXAMPLES
  checkpw user add --file /etc/checkpw/accounts joe
  checkpw user add --uid vmail --gid vmail --home /srv/mail/joe joe@example.org
  echo "$new" | checkpw user add --stdin --scheme BLF-CRYPT \\
      --extra 'allow_nets=192.0.2.0/24' joe"""
)
@login_argument
@file_option
@scheme_option
@cost_option
@stdin_option
@click.option("--uid", default="", help="User to become: a number or a name; needs --gid.")
@click.option("--gid", default="", help="Group to become: a number or a name; needs --uid.")
@click.option("--gecos", default="", help="The person's name; nobody reads it.")
@click.option("--home", default="", help="Directory to change to, an absolute path.")
@click.option("--shell", default="", help="What SHELL is set to.")
@click.option("--extra", default="", help="Further fields, name=value with spaces between.")
def add(login: bytes, path: bytes, scheme: str, cost: int | None, from_stdin: bool, **fields: str) -> None:
    """Add an account; the file is created if there is none."""
    if bool(fields["uid"]) != bool(fields["gid"]):
        raise click.UsageError("--uid and --gid go together.")
    if fields["uid"] in ("0", "root") or fields["gid"] in ("0", "root", "wheel"):
        raise click.UsageError("no checker takes uid 0 or gid 0 from a file.")
    if fields["home"] and not fields["home"].startswith("/"):
        raise click.UsageError("--home is an absolute path.")
    stored = _make_fitting(login, scheme, cost, from_stdin=from_stdin)
    passwd_edit.add(path, login, stored, **{name: os.fsencode(value) for name, value in fields.items()})


@user.command(
    epilog="""\b
EXAMPLES
  checkpw user passwd joe
  pwgen 16 1 | tee new | checkpw user passwd --stdin joe"""
)
@login_argument
@file_option
@scheme_option
@cost_option
@stdin_option
def passwd(login: bytes, path: bytes, scheme: str, cost: int | None, from_stdin: bool) -> None:
    """Set a new password. A disabled account stays disabled."""
    _must_exist(path, login)
    stored = _make_fitting(login, scheme, cost, from_stdin=from_stdin)
    if passwd_edit.set_hash(path, login, stored):
        click.echo(f"checkpw: note: {shown(login)} is still disabled", err=True)


@user.command(
    epilog="""\b
EXAMPLES
  checkpw user disable joe"""
)
@login_argument
@file_option
def disable(login: bytes, path: bytes) -> None:
    """Let nobody in as LOGIN; the password is kept for `enable`."""
    passwd_edit.disable(path, login)


@user.command(
    epilog="""\b
EXAMPLES
  checkpw user enable joe"""
)
@login_argument
@file_option
def enable(login: bytes, path: bytes) -> None:
    """Undo `disable`: the old password counts again."""
    passwd_edit.enable(path, login)


@user.command(
    epilog="""\b
EXAMPLES
  checkpw user remove joe"""
)
@login_argument
@file_option
def remove(login: bytes, path: bytes) -> None:
    """Take the account out of the file. Mail and home directory stay."""
    passwd_edit.remove(path, login)


@user.command(
    "list",
    epilog="""\b
EXAMPLES
  checkpw user list
  checkpw user list --json | jq -r '.[] | select(.state != "active") | .login'""",
)
@file_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(path: bytes, as_json: bool) -> None:
    """List login, scheme, state, uid and home; never a hash.

    States: active; disabled (by `disable`); locked (no password can match); nologin (by its extra field);
    shadowed (an earlier line has the same login and wins).
    """
    columns: dict[str, Callable[[passwd_edit.Line], bytes | str]] = {
        "login": lambda line: line.login,
        "scheme": lambda line: hashes.scheme_of(line.stored),
        "state": lambda line: line.state,
        "uid": lambda line: line.field("uid"),
        "home": lambda line: line.field("home"),
    }
    table = [[os.fsdecode(value(line)) for value in columns.values()] for line in passwd_edit.accounts(path)]
    if as_json:
        # Bytes that are no UTF-8 become lone surrogates, escaped: the way Python and jq keep them apart.
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in table], indent=1))
        return
    rows = [list(columns), *([shown(os.fsencode(cell)) or "-" for cell in row] for row in table)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@user.command(
    epilog="""\b
EXAMPLES
  checkpw user verify joe
  printf '%s\\n' "$old" | checkpw user verify --stdin joe || echo wrong

\b
EXIT STATUS
  0 right    1 wrong, unknown, disabled or not from there    111 nobody can tell"""
)
@login_argument
@file_option
@stdin_option
@click.option(
    "--remote-ip",
    cls=Setting,
    envvar="TCPREMOTEIP",
    show_envvar=True,
    default="",
    metavar="ADDRESS",
    help="Where the client would come from, for allow_nets.",
)
def verify(login: bytes, path: bytes, from_stdin: bool, remote_ip: str) -> None:
    """Say whether a password is right, as checkpassword would."""
    store = PasswdFile(path, os.fsencode(remote_ip))
    password = prompt.password(from_stdin=from_stdin, confirm=False)
    account = authenticate(store, Credentials(login, password))
    click.echo("checkpw: accepted", err=True)
    if account.doubt:
        click.echo(f"checkpw: note: no checker becomes this user as root: {account.doubt}", err=True)


def shown(value: bytes) -> str:
    """Make a name from the file fit for a terminal: what could move its cursor is escaped."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _must_exist(path: bytes, login: bytes) -> None:
    """Ask nobody for a password that has no place to go."""
    if all(line.login != login for line in passwd_edit.accounts(path)):
        raise Misuse(f"there is no account {login!a}")


def _make_fitting(login: bytes, scheme: str, cost: int | None, *, from_stdin: bool) -> bytes:
    """Hash a new password, unless descriptor 3 could never carry it together with the login."""
    return make_hash(scheme, cost, from_stdin=from_stdin, longest=MAX_RECORD - len(login) - 3)
