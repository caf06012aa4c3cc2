"""checkpw conform: run the conformance kit on a checkpassword program, or on a program that calls one.

This module reads options; checkpw.cli.conforming does what they say. The kit and hypothesis are imported when a command
runs: the help of checkpw does not wait for them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from checkpw.cli.commands import LazyGroup
from checkpw.conform import accounts, dialects, profiles
from checkpw.errors import TemporaryFailure

if TYPE_CHECKING:
    from checkpw.conform.accounts import Account
    from checkpw.conform.model import Property

EXAMPLES = 100
"""How many values a property is tried on at most, unless somebody says otherwise."""

STATUSES = """\b
EXIT STATUS
  0 it conforms    1 it does not    2 wrong usage, or there is no such program
  111 the kit could not run, was interrupted, or nothing could be judged"""


PROGRAM = {"allow_interspersed_args": False}
"""What stands behind the program belongs to it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What both commands are asked for.

    Attributes:
        globs: names of the properties to try; all of them if there is none.
        examples: how many values a property is tried on at most.
        seed: None for one that nobody has chosen.
        strict: what only should hold counts as well.
        form: what goes to standard output: "tap", "json" or "" for the report that people read.
        junit: a file for JUnit XML.
        html: a file for the page.
        lists: only say which properties there are.
    """

    globs: tuple[str, ...]
    examples: int
    seed: int | None
    strict: bool
    form: str
    junit: str | None
    html: str | None
    lists: bool


@click.group(
    cls=LazyGroup,
    short_help="Test a checkpassword program, or who calls one.",
    epilog="""\b
EXAMPLES
  checkpw conform verifier --account joe:secret -- ./mychecker
  checkpw conform caller -- ofmipd '' mail.example
  checkpw conform verifier --list

See checkpw-conform(7) for what each property says and where that is written.""",
)
def conform() -> None:
    """Test any checkpassword program, and any program that calls one, against the interface."""


def _properties(side: str) -> "tuple[Property, ...]":
    """Import the properties of a side.

    Raises:
        TemporaryFailure: hypothesis is not installed.
    """
    try:
        if side == "verifier":
            from checkpw.conform.verifying import PROPERTIES
        else:
            from checkpw.conform.calling import PROPERTIES
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != "hypothesis":
            raise
        raise TemporaryFailure("the kit needs hypothesis: pip install 'checkpw[conform]'") from None
    return PROPERTIES


def _complete_names(ctx: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the names of properties."""
    del option
    try:
        known = _properties(str(ctx.info_name))
    except TemporaryFailure:
        return []
    return [CompletionItem(one.name, help=one.claim) for one in known if one.name.startswith(begun)]


def _check_report(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse a report that cannot be written before anything is tried."""
    if value is not None and not os.access(os.path.dirname(value) or ".", os.W_OK):
        raise click.BadParameter("no file can be written there.", ctx, option)
    return value


_report = click.Path(dir_okay=False, writable=True)

_COMMON: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--select",
        "globs",
        multiple=True,
        metavar="GLOB",
        shell_complete=_complete_names,
        help="Try only properties of these names; * and ? stand for anything. May be repeated.",
    ),
    click.option(
        "--examples",
        type=click.IntRange(1, 100000),
        default=EXAMPLES,
        show_default=True,
        metavar="N",
        help="Try a property on up to N values.",
    ),
    click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Choose the values that the run with N had."
    ),
    click.option("--strict", is_flag=True, help="What only should hold counts as well."),
    click.option("--tap", is_flag=True, help="Write TAP to standard output, and the rest to standard error."),
    click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, likewise."),
    click.option("--junit", type=_report, callback=_check_report, metavar="FILE", help="Write JUnit XML to FILE."),
    click.option("--html", type=_report, callback=_check_report, metavar="FILE", help="Write one HTML page to FILE."),
    click.option("--list", "lists", is_flag=True, help="Say which properties there are, and try none."),
)


def _common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that both commands have, behind those of their own."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def _wishes(
    globs: tuple[str, ...],
    examples: int,
    seed: int | None,
    strict: bool,
    tap: bool,
    as_json: bool,
    junit: str | None,
    html: str | None,
    lists: bool,
) -> Wishes:
    if tap and as_json:
        raise click.UsageError("--tap and --json both want standard output; --junit and --html are for files.")
    return Wishes(globs, examples, seed, strict, "tap" if tap else "json" if as_json else "", junit, html, lists)


@conform.command(
    context_settings=PROGRAM,
    short_help="Test a checkpassword program.",
    epilog=f"""\b
EXAMPLES
  checkpw conform verifier --account joe:secret -- ./mychecker
  checkpw conform verifier --account joe:secret --account ann:geheim --html report.html -- ./mychecker
  checkpw conform verifier --account-file logins --profile vchkpw --junit conform.xml -- vchkpw
  checkpw conform verifier --account joe:secret --down 'chmod 0 db' --up 'chmod 600 db' -- ./mychecker
  checkpw conform verifier --account joe:secret --select 'rejects-*' --tap -- ./mychecker

{STATUSES}""",
)
@click.option(
    "--account",
    "given",
    multiple=True,
    metavar="LOGIN:PASSWORD",
    help="A login that PROGRAM accepts; two show more than one. For the test only: reports show it, and so does ps.",
)
@click.option(
    "--account-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="F",
    help="A file with a LOGIN:PASSWORD on each line, which others may not read.",
)
@click.option(
    "--profile",
    "profile",
    type=click.Choice([profile.name for profile in profiles.PROFILES]),
    default=profiles.DJB.name,
    show_default=True,
    help="The dialect that PROGRAM speaks.",
)
@click.option("--down", metavar="CMD", help="A shell command that takes the store of accounts away.")
@click.option("--up", metavar="CMD", help="The shell command that gives it back.")
@click.option(
    "--patience",
    type=click.FloatRange(0, 3600, min_open=True),
    default=20.0,
    show_default=True,
    metavar="S",
    help="Wait for an answer no longer than so many seconds.",
)
@_common_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGS]...")
@click.pass_obj
def verifier(
    environ: Mapping[str, str],
    /,
    given: tuple[str, ...],
    account_file: str | None,
    profile: str,
    down: str | None,
    up: str | None,
    patience: float,
    command: tuple[str, ...],
    **common: Any,
) -> int:
    """Test PROGRAM, any checkpassword program, by the interface: yes, no, misuse, trouble, and what it hands on.

    The kit knows nothing about PROGRAM but what a caller sees, and some logins that it accepts. It starts it some
    thousand times, with records good and bad, and tells the smallest that shows a fault and a shell line for it.
    """
    wishes = _wishes(**common)
    properties = _selected("verifier", wishes.globs)
    from checkpw.cli import conforming

    if wishes.lists:
        return conforming.show_list(properties, wishes)
    surroundings, argv = _program(command, environ)
    known = _accounts(given, account_file)
    if not known:
        raise click.UsageError("which logins does it accept? Give --account LOGIN:PASSWORD or --account-file F.")
    if (down is None) != (up is None):
        raise click.UsageError("--down takes the store away, and --up gives it back: give both or none.")
    from checkpw.conform.verifying import Verifier

    dialect = profiles.find(profile) or profiles.DJB
    target = Verifier(argv, known, environ=surroundings, profile=dialect, down=down, up=up, patience=patience)
    return conforming.judge("verifier", argv, target, properties, dialect, wishes, environ)


@conform.command(
    context_settings=PROGRAM,
    short_help="Test a program that calls a checkpassword program.",
    epilog=f"""\b
EXAMPLES
  OFMIPD_AUTH_DELAY=0 checkpw conform caller -- ofmipd '' mail.example
  checkpw conform caller --html report.html -- qmail-popup mail.example {{probe}} qmail-pop3d Maildir
  checkpw conform caller --sender joe@example.org -- sh -c 'exec ./myserver --checker={{probe}}'

{STATUSES}""",
)
@click.option(
    "--profile",
    "profile",
    type=click.Choice([profile.name for profile in dialects.PROFILES]),
    default=dialects.INTERFACE.name,
    show_default=True,
    help="The dialect that COMMAND is known for.",
)
@click.option(
    "--language",
    type=click.Choice(["smtp", "pop3"]),
    help="What COMMAND speaks; else it is known by its greeting.",
)
@click.option(
    "--sender",
    default="checkpw@client.example",
    show_default=True,
    metavar="ADDRESS",
    help="Whom mail is said to be from.",
)
@click.option(
    "--recipient",
    default="checkpw@relay.invalid",
    show_default=True,
    metavar="ADDRESS",
    help="An address that COMMAND takes mail for only from those who have logged in.",
)
@click.option(
    "--hang-limit",
    type=click.FloatRange(0, 3600, min_open=True),
    default=75.0,
    show_default=True,
    metavar="S",
    help="Give COMMAND so many seconds to give a checker up that hangs.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0, 3600, min_open=True),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Wait for a reply no longer than so many seconds, the delay of failures included.",
)
@_common_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [ARGS]...")
@click.pass_obj
def caller(
    environ: Mapping[str, str],
    /,
    profile: str,
    language: str | None,
    sender: str,
    recipient: str,
    hang_limit: float,
    patience: float,
    command: tuple[str, ...],
    **common: Any,
) -> int:
    """Test COMMAND, a server on standard input and output that asks a checkpassword program about logins.

    The kit's own checker takes the place of {probe} in COMMAND; without it, that checker and `true` are added as its
    last words. COMMAND speaks SMTP with AUTH, or POP3, as under tcpserver. No message is sent to anybody.
    """
    wishes = _wishes(**common)
    properties = _selected("caller", wishes.globs)
    from checkpw.cli import conforming

    if wishes.lists:
        return conforming.show_list(properties, wishes)
    surroundings, argv = _program(command, environ)
    from checkpw.conform.calling import target as calling
    from checkpw.conform.calling.dialogue import Language

    dialect = dialects.find(profile) or dialects.INTERFACE
    target = calling.Caller(
        argv,
        surroundings,
        language=None if language is None else Language[language.upper()],
        patience=patience,
        hang_limit=hang_limit,
        sender=os.fsencode(sender),
        recipient=os.fsencode(recipient),
    )
    return conforming.judge("caller", argv, target, properties, dialect, wishes, environ)


def _selected(side: str, globs: tuple[str, ...]) -> "tuple[Property, ...]":
    known = _properties(side)
    from checkpw.conform.run import select

    try:
        return select(known, globs)
    except LookupError as error:
        raise click.UsageError(f"{error.args[0]}; --list says what there is.") from None


def _program(command: tuple[str, ...], environ: Mapping[str, str]) -> tuple[dict[bytes, bytes], tuple[str, ...]]:
    """Return the environment as bytes, and the command, which there has to be.

    A program that there is not is wrong usage: nothing can be said about it, and trying again will not help.
    """
    from checkpw.conform.process import KitFailure, find_program

    if not command:
        raise click.UsageError("which program? Give it with its arguments behind --.")
    surroundings = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
    try:
        find_program(command[0], surroundings)
    except KitFailure:
        raise click.UsageError(f"{command[0]}: no such program, or not executable.") from None
    return surroundings, command


def _accounts(given: tuple[str, ...], path: str | None) -> "list[Account]":
    try:
        known = [accounts.parse(os.fsencode(text)) for text in given]
        return known + (list(accounts.read_file(path)) if path is not None else [])
    except accounts.UnusableAccount as error:
        raise click.UsageError(f"{error}.") from None
