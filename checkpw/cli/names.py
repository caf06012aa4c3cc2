"""checkpw names: who sends under another name and address (ofmipname(8)), one command per deed."""

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checkpw.cli.commands import LazyGroup, Setting
from checkpw.cli.user import shown
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.names import parse_line, write_cdb
from checkpw.textfile import edit, read

if TYPE_CHECKING:
    from collections.abc import Callable

file_option = click.option(
    "--file",
    "path",
    cls=Setting,
    envvar="CHECKPW_NAMES",
    show_envvar=True,
    required=True,
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="The table, with lines key:name:address: in it.",
)
cdb_option = click.option(
    "--cdb",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="The name.cdb that ofmipd is given; without this option, that of the table with .cdb behind it.",
)


@click.group(
    cls=LazyGroup,
    epilog="""\b
EXAMPLES
  export CHECKPW_NAMES=/etc/checkpw/names
  checkpw names add joe@example.org 'Joe User' joe.user@example.org
  checkpw names list
  ofmipd /etc/checkpw/names.cdb mail.example.org checkpassword true""",
)
def names() -> None:
    """Manage who sends under another name and address (ofmipname(8))."""


@names.command(
    epilog="""\b
EXAMPLES
  checkpw names add joe@example.org 'Joe User' joe.user@example.org"""
)
@click.argument("sender")
@click.argument("name")
@click.argument("address")
@file_option
@cdb_option
def add(sender: str, name: str, address: str, path: str, cdb: str | None) -> None:
    """Let what comes from SENDER go out from NAME and ADDRESS, and build the name.cdb.

    SENDER is the envelope sender after host rewriting, in the case in which it is written. The table is created if
    there is none.
    """
    words = [os.fsencode(word) for word in (sender, name, address)]
    if any(byte in word for word in words for byte in b":\0\r\n"):
        raise Misuse("a sender, name or address has no colon, NUL or line end")
    if words[0].startswith(b"#"):
        raise Misuse("a sender does not start with #: its line would be a comment")
    if not words[2]:
        raise Misuse("an address is not empty")
    line = b":".join(words) + b":"

    def append(lines: list[bytes]) -> list[bytes]:
        if _positions(lines, words[0]):
            raise Misuse(f"there is an entry for {words[0]!a} already")
        return [*lines, line, b""] if lines[-1] else [*lines[:-1], line, b""]

    _edit_and_build(path, cdb, append, create=True)


@names.command(
    epilog="""\b
EXAMPLES
  checkpw names remove joe@example.org"""
)
@click.argument("sender")
@file_option
@cdb_option
def remove(sender: str, path: str, cdb: str | None) -> None:
    """Let what comes from SENDER go out as it is, and build the name.cdb."""
    key = os.fsencode(sender)

    def drop(lines: list[bytes]) -> list[bytes]:
        doomed = _positions(lines, key)
        if not doomed:
            raise Misuse(f"there is no entry for {key!a}")
        return [raw for at, raw in enumerate(lines) if at not in doomed]

    _edit_and_build(path, cdb, drop, create=False)


@names.command(
    "list",
    epilog="""\b
EXAMPLES
  checkpw names list
  checkpw names list --json | jq -r '.[].address'""",
)
@file_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(path: str, as_json: bool) -> None:
    """List sender, name and address of each entry in the table."""
    content, _ = read(os.path.realpath(os.fsencode(path)))
    columns = ("sender", "name", "address")
    table = [entry for line in content.split(b"\n") if (entry := parse_line(line)) is not None]
    if as_json:
        click.echo(json.dumps([dict(zip(columns, map(os.fsdecode, row), strict=True)) for row in table], indent=1))
        return
    rows = [columns, *([shown(cell) or "-" for cell in row] for row in table)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _positions(lines: list[bytes], key: bytes) -> list[int]:
    entries = [parse_line(line) for line in lines]
    return [at for at, entry in enumerate(entries) if entry is not None and entry[0] == key]


def _edit_and_build(
    path: str, cdb: str | None, change: "Callable[[list[bytes]], list[bytes]]", *, create: bool
) -> None:
    """Change the table and build the name.cdb from it, under the table's lock: the last edit makes the last cdb."""
    table = os.path.realpath(os.fsencode(path))
    target = os.path.realpath(os.fsencode(cdb)) if cdb else table + b".cdb"
    if target == table:
        raise Misuse(f"{target!a} is the table: the cdb needs a name of its own")
    if os.path.exists(target) and not os.path.isfile(target):
        raise Misuse(f"{target!a} is no regular file, and is not replaced by a cdb")

    def change_and_build(lines: list[bytes]) -> list[bytes]:
        changed = change(lines)
        _build(target, changed)
        return changed

    edit(os.fsencode(path), change_and_build, create=create)


def _build(target: bytes, lines: list[bytes]) -> None:
    """Replace a name.cdb in one step. Everybody may read it, as one that ofmipname made."""
    place = Path(os.fsdecode(os.path.realpath(target)))
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            write_cdb(lines, descriptor)
            os.fchmod(descriptor, 0o644)
        finally:
            os.close(descriptor)
        os.rename(temporary, place)
        temporary = None
    except OSError as error:
        raise TemporaryFailure(f"unable to write {target!a}: {error.strerror}") from None
    finally:
        if temporary is not None:
            os.unlink(temporary)
