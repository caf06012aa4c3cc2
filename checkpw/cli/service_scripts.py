"""Services as scripts: rc.d (pkgsrc's qmailofmipd), daemontools and its relatives runit and s6, and OpenRC."""

from __future__ import annotations

import re
import shlex

from checkpw.cli.service_files import File, fill
from checkpw.cli.service_plan import AUTHUP, CONNECTIONS, VERIFIERD, Plan, quote

SUPERVISORS = {
    "daemontools": ("softlimit", "setuidgid", "multilog t s1000000 n10 ./main"),
    "runit": ("chpst", "chpst -u", "svlogd -tt ./main"),
    "s6": ("s6-softlimit", "s6-setuidgid", "s6-log -b n10 s1000000 t ./main"),
}
"""Kind: what sets limits, what becomes a user, what writes a log of ten files. The first have the same options."""

_TITLES = {
    "submissiond": "Authenticated mail submission: submissiond(8).",
    "ofmipd": "Authenticated mail submission: ofmipd(8), a process for each client.",
    "authup": "Authenticated mail submission as the user who logged in: authup(8), then ofmipd(8).",
    VERIFIERD: "Checks logins for programs that may not read the accounts: checkpw-verifierd(8).",
}

_OPENRC_RELOAD = """
reload()
{
	ebegin "Reloading $RC_SVCNAME"
	supervise-daemon "$RC_SVCNAME" --signal HUP
	eend $?
}"""

_OPENRC_USERS = """
service_knows()
{
	id -u "$1" >/dev/null 2>&1 && return
	eerror "there is no user $1"
	return 1
}"""


def title(plan: Plan) -> str:
    """Say in a sentence what the service is."""
    return _TITLES[plan.program]


def supervised(plan: Plan, kind: str) -> list[File]:
    """Return the directory of a service for svscan, runsvdir or s6-svscan, with that of its log."""
    limiter, become, logger = SUPERVISORS[kind]
    environment = {"PATH": plan.path, **plan.settings}
    run = fill(
        "supervised-run",
        title=title(plan),
        kind=kind,
        notes=_notes(plan),
        path=plan.path,
        identity=_identity(plan),
        environment=quote([f"{name}={value}" for name, value in environment.items()]),
        limit=f"{limiter} {_limit(plan)}",
        command=" \\\n    ".join(_command(plan)),
    )
    log = fill(
        "supervised-log",
        name=plan.program,
        kind=kind,
        path=plan.path,
        user=plan.log_user,
        become=become,
        logger=logger,
    )
    return [File(f"{plan.program}/run", 0o755, run), File(f"{plan.program}/log/run", 0o755, log)]


def openrc(plan: Plan) -> list[File]:
    """Return the script for /etc/init.d under OpenRC's supervise-daemon."""
    environment = {"PATH": plan.path, **plan.settings}
    words = ["-", *(f"{name}={value}" for name, value in environment.items())]
    pieces = [quote(words), *_command(plan, user=_USER_BY_NAME)]
    users = [user for user in (plan.user, plan.door_user) if user]
    text = fill(
        "openrc",
        title=title(plan),
        name=plan.program,
        notes=_notes(plan),
        command=" \\\n\t".join(_within_double_quotes(piece) for piece in pieces),
        limit=f"-{'v' if plan.is_per_connection else 'd'} {plan.data_limit // 1024}",
        commands="" if plan.is_per_connection else 'extra_started_commands="reload"',
        checks="\n".join([f"\tservice_knows {user} || return 1" for user in users] or ["\t:"]),
        functions="\n".join([_OPENRC_USERS] * bool(users) + [_OPENRC_RELOAD] * (not plan.is_per_connection)),
    )
    return [File(plan.program, 0o755, text)]


def rc_d(plan: Plan) -> list[File]:
    """Return the script for rc.subr: qmailofmipd of pkgsrc's qmail-run, or one of a resident server of ours."""
    name = "qmailofmipd" if plan.is_per_connection else plan.program.replace("-", "_")
    variables = _ucspi_variables(plan) if plan.is_per_connection else _resident_variables(plan)
    variables |= {
        "log": "YES",
        "logcmd": f"logger -t {name} -p mail.info",
        "nologcmd": "multilog '-*'",
        "loguser": plan.log_user,
        "pidfile": f"/var/run/{name}.pid",
    }
    part, commands = (
        ("rc.d-ucspi", ("pause", "cont", "cdb", "reload")) if plan.is_per_connection else ("rc.d-resident", ("reload",))
    )
    functions = fill(
        part,
        name=name,
        path=plan.path,
        control=f"{plan.qmail}/control",
        tcprules=_tcprules(plan),
        connections=str(plan.connections or CONNECTIONS),
    )
    actions = {command: f"service_{command}" for command in commands}
    text = fill(
        "rc.d",
        title=title(plan),
        name=name,
        rc_subr=plan.rc_subr,
        path=plan.path,
        variables="\n".join(_assignment(f"{name}_{key}", value) for key, value in variables.items()),
        program="tcpserver" if plan.is_per_connection else "command",
        functions=functions.rstrip("\n") + "\n",
        commands="\n".join(
            [
                f'extra_commands="status stat {" ".join(commands)}"',
                *(f"{key}_cmd={value}" for key, value in actions.items()),
            ]
        ),
    )
    return [File(name, 0o755, text)]


def _ucspi_variables(plan: Plan) -> dict[str, str]:
    """Return the variables of pkgsrc's script, with values for this installation; see facts in checkpw(8)."""
    host, port = plan.place()
    settings = {name: value for name, value in plan.settings.items() if name not in ("CERTFILE", "KEYFILE")}
    lines = [quote(line) for line in plan.program_lines()]
    is_split = plan.program == AUTHUP and not plan.checker
    chain = (
        {
            "precheckpassword": lines[0],
            "checkpassword": plan.installed("checkpassword"),
            "preofmipd": plan.installed("checknotroot"),
            "ofmipdcmd": plan.installed("ofmipd"),
            "postofmipd": quote(["", plan.hostname]),
        }
        if is_split
        else {
            **dict.fromkeys(("precheckpassword", "checkpassword", "preofmipd"), ""),
            "ofmipdcmd": plan.installed(plan.program),
            "postofmipd": f"{'smtp' if plan.program == AUTHUP else quote(['', plan.hostname])} {lines[1]}",
        }
    )
    return {
        "postenv": quote([f"{name}={value}" for name, value in settings.items()]),
        "datalimit": str(plan.data_limit),
        "pretcpserver": "",
        "tcpserver": quote([plan.server]),
        "tcpflags": quote(plan.server_words()),
        "tcphost": host,
        "tcpport": port,
        "tcprules": _tcprules(plan),
        "tcpuser": "" if plan.needs_root else plan.user,
        "autocdb": "YES",
        **chain,
        "tls": "auto",
        "tls_dhparams": f"{plan.qmail}/control/dh2048.pem",
        "tls_cert": plan.certificate or f"{plan.qmail}/control/servercert.pem",
        "tls_key": plan.key,
    }


def _resident_variables(plan: Plan) -> dict[str, str]:
    lines = plan.program_lines()
    return {
        "postenv": quote([f"{name}={value}" for name, value in plan.settings.items()]),
        "datalimit": str(plan.data_limit),
        "files": str(plan.descriptors),
        "command": lines[0][0],
        "flags": " ".join(quote(line) for line in [lines[0][1:], *lines[1:]]),
    }


def _tcprules(plan: Plan) -> str:
    return f"{plan.qmail}/control/tcprules/ofmip"


def _assignment(name: str, value: str) -> str:
    """Return the line that gives a variable its default; one that is set to nothing stays so."""
    return f'[ "${{{name}+set}}" ] || {name}={shlex.quote(value)}'


_USER_BY_SHELL = '-u "$uid" -g "$gid"'
_USER_BY_NAME = "-u $(id -u {user}) -g $(id -g {user})"


def _command(plan: Plan, user: str = _USER_BY_SHELL) -> list[str]:
    """Return what is started, as lines of shell."""
    lines = [quote(line) for line in plan.program_lines()]
    if not plan.is_per_connection:
        return lines
    host, port = plan.place()
    words = [quote([plan.server, *plan.server_words()])]
    if not plan.needs_root:
        words.append(user.format(user=plan.user))
    words.append(quote(["-c", str(plan.connections or CONNECTIONS), host, port]))
    return [" ".join(words), *lines]


def _limit(plan: Plan) -> str:
    if plan.is_per_connection:
        return f"-m {plan.data_limit}"
    return f"-d {plan.data_limit} -o {plan.descriptors}"


def _identity(plan: Plan) -> str:
    """Return the lines that look the user up: tcpserver takes numbers, and an empty one for root's."""
    if not plan.is_per_connection or plan.needs_root:
        return ""
    return f"uid=$(id -u {plan.user}) || exit 111\ngid=$(id -g {plan.user}) || exit 111"


def _notes(plan: Plan) -> str:
    """Return comments about what is not as good as it could be."""
    notes = []
    if plan.program == "ofmipd" and plan.needs_root:
        notes += [
            "# Root talks to strangers here, because nobody else can read the accounts of this machine.",
            "# Better: checkpw-verifierd(8), and `--accounts verifier:/PATH` for this service.",
        ]
    if plan.program == AUTHUP:
        notes.append(f"# Before a login, clients are told the name in {plan.qmail}/control/smtpgreeting, or me.")
    if plan.is_per_connection and plan.certificate:
        notes.append(f"# {plan.server} has to speak UCSPI-TLS; it reads CERTFILE and KEYFILE.")
    return "\n".join(notes)


def _within_double_quotes(text: str) -> str:
    """Return text that a shell takes literally there, and evaluates when it has the whole."""
    return re.sub(r'[\\"`$]', r"\\\g<0>", text)
