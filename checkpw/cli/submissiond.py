"""submissiond(8): the resident submission server. Reads the settings; `cli.generation` builds the processes of them."""

import os
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import click

from checkpw import chain, notify
from checkpw.cli import exits
from checkpw.cli.generation import HUNG, make_plan
from checkpw.cli.wishes import Shared, Wishes, listeners_of, metrics_listeners
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.logline import render
from checkpw.service import counters, logsink
from checkpw.service.supervisor import Supervisor
from checkpw.service.surroundings import Surroundings

PROGRAM = "submissiond"

GENERATIONS = 4
"""How many generations of workers there may be at once: the newest, and those that still have sessions."""

SETTINGS = (
    ("--queue", "OFMIPD_QUEUE", "URL", "Where mail goes: maildir:/PATH, sendmail:/PATH, smtp://HOST:PORT, lmtp://..."),
    (
        "--accounts",
        "CHECKPW_ACCOUNTS",
        "URL",
        "Where our own checkpassword looks: system:, file:/PATH, verifier:/PATH.",
    ),
    ("--auth-delay", "OFMIPD_AUTH_DELAY", "SECONDS", "From the start of a check to a 535."),
    ("--auth-tries", "OFMIPD_AUTH_TRIES", "N", "Failures in a session."),
    ("--checker-time", "OFMIPD_CHECKER_TIMEOUT", "SECONDS", "For a checker's verdict."),
    ("--reject-codes", "OFMIPD_REJECT_CODES", "CODES", "Exit statuses of a checker that mean no."),
    ("--queue-time", "OFMIPD_QUEUE_TIMEOUT", "SECONDS", "For the queue's word."),
    ("--idle-time", "OFMIPD_TIMEOUT", "SECONDS", "For a client to say something."),
    ("--max-bytes", "DATABYTES", "BYTES", "Of a message."),
    ("--max-header", "OFMIPD_HEADER_BYTES", "BYTES", "Of its header."),
    ("--max-recipients", "OFMIPD_RECIPIENTS", "N", "Of a message."),
    ("--max-hops", "OFMIPD_HOPS", "N", "Received fields of a message."),
    ("--max-errors", "OFMIPD_ERRORS", "N", "Commands that may fail in a session."),
    ("--groups", "OFMIPD_GROUPS", "HOW", "What becomes of groups in the header: name or keep."),
)
"""Options that are settings of ofmipd(8) too, with the same variables: (option, variable, what, help)."""

SWITCHES = (
    ("--smtputf8", "OFMIPD_SMTPUTF8", "The queue program can carry addresses in UTF-8."),
    ("--hide-user", "OFMIPD_HIDE_USER", "Keep the login out of the trace field."),
    ("--hide-ip", "OFMIPD_HIDE_IP", "Keep the client's address out of the trace field."),
)


def _with_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that are settings of ofmipd(8)."""
    for name, variable, metavar, text in reversed(SETTINGS):
        command = click.option(name, variable, envvar=variable, metavar=metavar, help=text, show_envvar=True)(command)
    for name, variable, text in reversed(SWITCHES):
        # Not click's way with variables: as for ofmipd(8), one that is set says yes, whatever it is set to.
        words = f"{text}  [env var: {variable}]"
        command = click.option(name, variable, is_flag=True, default=None, help=words, allow_from_autoenv=False)(
            command
        )
    return command


def _read_config(context: click.Context, _option: click.Parameter, path: str | None) -> None:
    """Take defaults from a TOML file; its keys are the long options without their dashes in front."""
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except OSError as error:
        raise TemporaryFailure(f"unable to read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TemporaryFailure(f"{path}: {error}") from None
    options = {name.lstrip("-"): option for option in context.command.params for name in option.opts}
    unknown = [key for key in given if key not in options or key == "config"]
    if unknown:
        raise TemporaryFailure(f"{path}: no such setting: {', '.join(unknown)}")
    for key, value in given.items():
        if not _fits(options[key], value):
            raise TemporaryFailure(f"{path}: {key} is {_meant(options[key])}")
    context.default_map = {options[key].name or key: value for key, value in given.items()}


def _fits(option: click.Parameter, value: object) -> bool:
    """Tell whether a value from TOML is of the right kind: what click makes of another is not what was meant."""
    if option.nargs == -1 or option.multiple:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if isinstance(option, click.Option) and option.is_flag:
        return isinstance(value, bool)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _meant(option: click.Parameter) -> str:
    if option.nargs == -1 or option.multiple:
        return 'a list of strings: ["...", "..."]'
    return "true or false" if isinstance(option, click.Option) and option.is_flag else "one string or number"


@click.command(
    context_settings={"auto_envvar_prefix": "SUBMISSIOND", "max_content_width": 100, "show_default": True},
    epilog="""\b
EXAMPLES
  submissiond --listen :587 --listen :465 --tls-cert /etc/ssl/mail.pem --tls-key /etc/ssl/mail.key \\
      --user submissiond -- '' mail.example.org checkpassword true
  submissiond --listen 127.0.0.1:2525,plain --queue maildir:/tmp/Maildir --accounts file:/tmp/accounts \\
      -- '' mail.example.org checkpassword true
  submissiond --config /etc/submissiond.toml""",
)
@click.option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    metavar="FILE",
    help="Take settings from a TOML file: keys are long options, arguments = [...] the words after --.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="PLACE",
    help="ADDRESS:PORT, [IPV6]:PORT, :PORT or /PATH, with ,tls ,starttls or ,plain and ,proxy.",
)
@click.option(
    "--tls-cert", multiple=True, metavar="FILE", help="Certificate with its chain; several are chosen by SNI."
)
@click.option(
    "--tls-key", multiple=True, metavar="FILE", help="Key of each certificate, if it is not in the same file."
)
@click.option("--workers", type=click.IntRange(1, 64), default=None, help="Processes that talk to clients: one a core.")
@click.option("--user", metavar="USER", help="Who workers are, when started as root.")
@click.option("--door-user", metavar="USER", help="Who opens the door: starts the queue program. Default: as --user.")
@click.option("--verifier-user", metavar="USER", help="Who checks logins. Default: root, who may read all accounts.")
@click.option("--auth-plaintext", is_flag=True, help="Take passwords without TLS also from other machines.")
@click.option("--relay-from", multiple=True, metavar="NETWORK", help="Clients that need no AUTH.")
@click.option("--proxy-from", multiple=True, metavar="NETWORK", help="Balancers whose PROXY header is believed.")
@click.option("--max-checkers", type=click.IntRange(1), default=20, help="Checkers that run at once.")
@click.option("--max-connections", type=click.IntRange(1), default=10000, help="Of all clients.")
@click.option(
    "--max-per-address", type=click.IntRange(0), default=100, help="Of one address or IPv6 /64; 0: any number."
)
@click.option("--max-per-minute", type=click.IntRange(0), default=600, help="New ones of one address; 0: any number.")
@click.option("--max-handshakes", type=click.IntRange(1), default=1000, help="TLS handshakes at once.")
@click.option("--max-failures", type=click.IntRange(1), default=100, help="Failed logins of an address in 10 minutes.")
@click.option("--handshake-time", type=click.FloatRange(0.1), default=30.0, help="Seconds for a TLS handshake.")
@click.option("--session-time", type=click.FloatRange(1), default=3600.0, help="Seconds that a session may last.")
@click.option(
    "--min-rate", type=click.IntRange(0), default=100, help="Bytes per second of a message, from a minute on."
)
@click.option("--drain-time", type=click.FloatRange(0), default=30.0, help="Seconds for sessions when the server ends.")
@click.option("--metrics", metavar="ADDR:PORT", help="Tell Prometheus there, and answer /healthz.")
@click.option("--loop", type=click.Choice(["auto", "asyncio", "uvloop"]), default="auto", help="Event loop.")
@_with_settings
@click.argument("arguments", nargs=-1, metavar="[-- NAME.CDB [HOSTNAME CHECKPASSWORD PROG...]]")
@click.pass_obj
def command(environ: dict[bytes, bytes], /, **options: Any) -> int:
    """Serve authenticated mail submission (RFC 6409) with TLS, on any number of addresses.

    What follows -- is as for ofmipd(8): a name.cdb or '', our host name, and the checkpassword program with the
    program that it is to run, usually true. Mail is taken from who has logged in, and from --relay-from.
    """
    activated = notify.take_activated(environ, os.getpid())
    strange = {*chain.keep_to_ourselves()} - {listening.fileno() for _, listening in activated}
    notifier = notify.Notifier(environ, os.getpid())
    wishes = Wishes(options, environ)
    slots = GENERATIONS * wishes.workers
    shared = Shared(listeners_of(wishes, activated), metrics_listeners(wishes), slots, strange)

    def log(words: str) -> None:
        logsink.tell(render(PROGRAM, {"pid": os.getpid(), "event": "server", "text": words}), shared.log)

    def print_counters() -> None:
        for line in counters.render(shared.tally):
            log(line)

    def stop_listening() -> None:
        for listener in shared.listeners:
            listener.close()

    around = Surroundings(
        make_plan=lambda: make_plan(wishes, shared),
        fork=_fork,
        log=log,
        notifier=notifier,
        worker_died=shared.died,
        is_alive=lambda slot: shared.beats.age(slot) < HUNG,
        print_counters=print_counters,
        stop_listening=stop_listening,
        slots=slots,
        drain_time=wishes.drain_time,
    )
    try:
        return Supervisor(around).run()
    finally:
        stop_listening()


def _fork(name: str, function: Callable[[], int]) -> int:
    pid = os.fork()
    if not pid:
        exits.run(f"{PROGRAM} {name}", lambda _argv, _environ: function())
    return pid


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int:
    """Serve until a signal ends it, and return 0.

    Raises:
        CheckpwError: the settings make no sense, or cannot be carried out.
    """
    try:
        status = command.main(
            [os.fsdecode(word) for word in argv[1:]], PROGRAM, complete_var="", standalone_mode=False, obj=environ
        )
        sys.stdout.flush()  # the process ends without Python's own end
    except click.UsageError as error:
        error.show()
        return Misuse.exit_status
    except (click.ClickException, click.Abort) as error:
        raise TemporaryFailure(str(error)) from None
    assert isinstance(status, int)
    return status
