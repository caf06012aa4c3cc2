"""`checkpw service KIND`: prints the files with which a service manager starts a program of this installation."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

import click

from checkpw.cli import service_plan as plans
from checkpw.cli.service_checks import check
from checkpw.cli.service_files import File, shown, write
from checkpw.cli.service_plan import Plan
from checkpw.errors import Misuse, TemporaryFailure

KINDS = ("rc.d", "systemd", "daemontools", "runit", "s6", "openrc")

LOG_USERS = ("qmaill", "multilog", "_runit-log", "daemon")
"""Who writes logs, where nobody else is named: the first that this machine has."""

VERIFIER_SOCKET = "/run/checkpw/verifier"


@click.command(
    epilog="""\b
EXAMPLES
  checkpw service rc.d >/etc/rc.d/qmailofmipd
  checkpw service systemd --directory /etc/systemd/system --hostname mail.example \\
      --tls-cert /etc/ssl/mail.pem --accounts file:/etc/checkpw/accounts \\
      --queue maildir:/var/spool/submitted
  checkpw service daemontools --program ofmipd --directory /etc/service \\
      --hostname mail.example --accounts verifier:/run/checkpw/verifier""",
)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("checker", nargs=-1, metavar="[-- CHECKPASSWORD PROG...]")
@click.option(
    "--program",
    type=click.Choice(plans.PROGRAMS),
    help="What is started. [default: ofmipd for rc.d, else submissiond]",
)
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Write the files there.")
@click.option("--force", is_flag=True, help="Replace files that are there and say something else.")
@click.option("--hostname", metavar="NAME", help="Said to clients. [default: control/me, else the machine's]")
@click.option("--listen", multiple=True, metavar="PLACE", help="As for submissiond; several only for that.")
@click.option("--tls-cert", "certificate", default="", metavar="FILE", help="Certificate with its chain.")
@click.option("--tls-key", "key", default="", metavar="FILE", help="Its key, if it is not in the same file.")
@click.option("--accounts", default="system:", show_default=True, metavar="URL", help="The account store.")
@click.option("--queue", default="", metavar="URL", help="Where mail goes. [default: qmail-queue]")
@click.option("--user", metavar="U", help="Who talks to clients. [default: submissiond]")
@click.option("--door-user", default="", metavar="U", help="Who opens the door, in submissiond.")
@click.option("--group", default="", metavar="G", help="Who may ask checkpw-verifierd.")
@click.option("--log-user", metavar="U", help="Who writes the log, under daemontools and the like.")
@click.option("--data-limit", type=click.IntRange(20_000_000), metavar="BYTES", help="Memory of each process.")
@click.option("--connections", type=click.IntRange(1, 100_000), default=None, metavar="N", help="At once.")
@click.option("--options", default="", metavar="WORDS", help="Further options of submissiond or checkpw-verifierd.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A further variable of the program.")
@click.option("--root/--unprivileged", "as_root", default=None, help="How systemd starts it. [default: as it must]")
@click.option("--programs", metavar="DIR", help="Where our programs are. [default: where this one is]")
@click.option("--server", metavar="PROGRAM", help="The UCSPI server. [default: tcpserver; with TLS, sslserver]")
@click.option("--qmail", default=plans.QMAIL_HOME, show_default=True, metavar="DIR", help="Home of qmail.")
@click.option("--rc-subr", default="/etc/rc.subr", show_default=True, metavar="FILE", help="What rc.d scripts read.")
def service(
    kind: str,
    checker: tuple[str, ...],
    program: str | None,
    directory: Path | None,
    force: bool,
    hostname: str | None,
    listen: tuple[str, ...],
    certificate: str,
    key: str,
    accounts: str,
    queue: str,
    user: str | None,
    door_user: str,
    group: str,
    log_user: str | None,
    data_limit: int | None,
    connections: int | None,
    options: str,
    variables: tuple[str, ...],
    as_root: bool | None,
    programs: str | None,
    server: str | None,
    qmail: str,
    rc_subr: str,
) -> None:
    """Print the service files of KIND for a program of this installation.

    What is printed is complete, with the paths of the programs that are installed here. CHECKPASSWORD PROG... is the
    checker; for authup, all that it runs.
    """
    program = program or (plans.OFMIPD if kind == "rc.d" else plans.SUBMISSIOND)
    try:
        further = tuple(shlex.split(options))
    except ValueError as error:
        raise Misuse(f"--options: {error}") from None
    plan = check(
        Plan(
            program=program,
            bin=programs or _programs(),
            hostname=hostname or _hostname(qmail),
            listen=listen or _places(program, has_certificate=bool(certificate)),
            certificate=certificate,
            key=key,
            accounts=accounts,
            queue=queue,
            user=_user(program, accounts) if user is None else user,
            door_user=door_user,
            group=group,
            log_user=log_user or _log_user(),
            checker=checker,
            data_limit=data_limit or plans.DATA_LIMIT[program],
            connections=connections or 0,
            options=further,
            variables=variables,
            server=server or _server("sslserver" if certificate else "tcpserver"),
            qmail=qmail,
            rc_subr=rc_subr,
        )
    )
    files = _files(plan, kind, as_root=as_root)
    if directory is None:
        click.echo(shown(files), nl=False)
        return
    for path in write(directory, files, force=force):
        click.echo(path)


def _files(plan: Plan, kind: str, *, as_root: bool | None) -> list[File]:
    from checkpw.cli import service_scripts, service_units

    if kind == "systemd":
        return service_units.units(plan, as_root=as_root)
    if as_root is not None:
        raise Misuse("--root and --unprivileged are for systemd; elsewhere, programs are started by root")
    if kind == "rc.d":
        return service_scripts.rc_d(plan)
    return service_scripts.openrc(plan) if kind == "openrc" else service_scripts.supervised(plan, kind)


def _programs() -> str:
    """Return the directory of our programs: that of the launcher which was started, else where pip puts them."""
    started = Path(sys.argv[0]).absolute()
    place = started.parent if (started.parent / plans.SUBMISSIOND).exists() else Path(sysconfig.get_path("scripts"))
    return str(place)


def _hostname(qmail: str) -> str:
    try:
        with open(f"{qmail}/control/me", encoding="utf-8") as control:
            return control.readline().strip() or os.uname().nodename
    except FileNotFoundError:
        return os.uname().nodename
    except (OSError, UnicodeDecodeError) as error:
        raise TemporaryFailure(f"unable to read {qmail}/control/me: {error}") from None


def _places(program: str, *, has_certificate: bool) -> tuple[str, ...]:
    """Return where a program listens if nothing is said: to everybody with TLS, else to this machine."""
    if program == plans.VERIFIERD:
        return (VERIFIER_SOCKET,)
    if not has_certificate:
        return ("127.0.0.1:26",)
    return (":587", ":465") if program == plans.SUBMISSIOND else (":587",)


def _user(program: str, accounts: str) -> str:
    """Return who talks to clients if nobody is named: somebody who is not root, where that can be."""
    needs_root = program == plans.VERIFIERD or (accounts == "system:" and program in plans.PER_CONNECTION)
    return "" if needs_root else plans.USER


def _log_user() -> str:
    there = {user.pw_name for user in pwd.getpwall()}
    return next((user for user in LOG_USERS if user in there), LOG_USERS[-1])


def _server(name: str) -> str:
    return shutil.which(name) or name
