"""Services as units of systemd: a socket that systemd makes, and the service behind it, with the rights that it needs.

What is started as root gives most of that up by itself; what is not can never have it. Which of the two a service is
follows from where accounts are and mail goes: `/etc/shadow`, and queue programs that are setuid, need root.
Sources: systemd.exec(5), systemd.socket(5); the figures are those of `systemd-analyze security --offline=true`.
"""

from __future__ import annotations

import ipaddress

from checkpw.cli.service_files import File, fill
from checkpw.cli.service_plan import AUTHUP, CONNECTIONS, OFMIPD, SUBMISSIOND, VERIFIERD, Plan
from checkpw.cli.service_scripts import title
from checkpw.errors import Misuse
from checkpw.service.listeners import BACKLOG

_DESCRIPTIONS = {
    SUBMISSIOND: "Authenticated mail submission",
    OFMIPD: "Authenticated mail submission",
    AUTHUP: "Authenticated mail submission as the user who logged in",
    VERIFIERD: "Checks logins for programs that may not read the accounts",
}

_ALWAYS = {
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
}

_NOBODYS = {
    "CapabilityBoundingSet": "",
    "KeyringMode": "private",
    "NoNewPrivileges": "yes",
    "ProcSubset": "pid",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictSUIDSGID": "yes",
    "UMask": "0077",
}
"""Further settings of what needs nothing of root's."""

_CAPABILITIES = {
    # Processes become users and signal them, go into an empty directory, read keys and accounts of other owners.
    SUBMISSIOND: "CAP_SETUID CAP_SETGID CAP_KILL CAP_SYS_CHROOT CAP_DAC_READ_SEARCH",
    OFMIPD: "CAP_SETUID CAP_SETGID CAP_KILL CAP_DAC_READ_SEARCH",
    AUTHUP: "CAP_SETUID CAP_SETGID CAP_KILL CAP_DAC_READ_SEARCH",
    VERIFIERD: "CAP_SETUID CAP_SETGID CAP_DAC_READ_SEARCH",
}

_CREDENTIALS = "%d"
"""systemd's name for the directory of what LoadCredential= has read."""

_NEEDS_ROOT = ("sendmail", "")
"""Doors that are setuid or setgid programs: qmail-queue, and Postfix's postdrop behind its sendmail."""


def units(plan: Plan, *, as_root: bool | None) -> list[File]:
    """Return the units of a service.

    Args:
        plan: the service.
        as_root: whether it is started as root; None for no if that can be.

    Raises:
        Misuse: it cannot be so.
    """
    reason = _why_root(plan)
    if as_root is False and reason:
        raise Misuse(f"--unprivileged cannot be: {reason}")
    if plan.is_per_connection and plan.certificate:
        raise Misuse(f"systemd speaks no TLS for {plan.program}: leave it to stunnel in front, or take submissiond")
    is_root = bool(reason) if as_root is None else as_root
    instance = "@" if plan.is_per_connection else ""
    service = File(f"{plan.program}{instance}.service", 0o644, _service(plan, is_root=is_root, reason=reason))
    return [*_sockets(plan), service]


def _why_root(plan: Plan) -> str:
    """Return why a service has to begin as root; nothing if it need not."""
    if plan.program == AUTHUP:
        return "authup's chain becomes the user who logged in"
    if plan.accounts == "system:":
        return "system: is read by root"
    if not plan.user:
        return "there is no --user"
    if plan.door_user:
        return "only root can be somebody else at the door"
    if plan.program != VERIFIERD and plan.queue.partition(":")[0] in _NEEDS_ROOT:
        return "qmail-queue and programs like sendmail are setuid or setgid"
    return ""


def _service(plan: Plan, *, is_root: bool, reason: str) -> str:
    notes = [f"# Started as root: {reason or 'as asked for'}."] if is_root else []
    if plan.certificate and not is_root:
        notes += [
            "# Keys are read by systemd, at each start: after a renewal restart it, and do not reload it. The sockets",
            "# stay open meanwhile, and sessions have half a minute to end.",
        ]
    if plan.is_per_connection:
        unit, service, install = "CollectMode=inactive-or-failed", _per_connection(plan), ""
    else:
        sockets = " ".join(file.path for file in _sockets(plan))
        unit = f"Requires={sockets}\nAfter=network.target {sockets}"
        service = f"Sockets={sockets}\n{_resident(plan, is_root=is_root)}"
        install = f"\n[Install]\nAlso={sockets}\nWantedBy=multi-user.target"
    settings = {**plan.settings, "PATH": plan.path}
    limits = [f"LimitDATA={plan.data_limit}", *([] if plan.is_per_connection else ["MemoryMax=50%"])]
    if plan.is_per_connection:
        limits.append(f"LimitAS={plan.data_limit}")
    else:
        limits.append(f"LimitNOFILE={plan.descriptors}")
    return fill(
        "systemd-service",
        title=title(plan),
        notes="\n".join(notes),
        description=_DESCRIPTIONS[plan.program],
        program=plan.program,
        unit=unit,
        service=service if is_root else f"{service}\nUser={plan.user}",
        environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in settings.items()),
        limits="\n".join(limits),
        sandbox="\n".join(f"{name}={value}" for name, value in _sandbox(plan, is_root=is_root).items()),
        install=install,
    )


def _resident(plan: Plan, *, is_root: bool) -> str:
    has_credentials = bool(plan.certificate) and not is_root
    lines = plan.program_lines(as_root=is_root, activated=True, credentials=_CREDENTIALS if has_credentials else "")
    service = [f"Type=notify\nExecStart={_command(lines)}"]
    if has_credentials:
        service.append(f"LoadCredential=cert.pem:{_specifiers(plan.certificate)}")
        if plan.key:
            service.append(f"LoadCredential=key.pem:{_specifiers(plan.key)}")
    if plan.program == SUBMISSIOND:
        service.append("ExecReload=/bin/kill -HUP $MAINPID")
    return "\n".join([*service, "Restart=on-failure", "KillMode=mixed", "TimeoutStopSec=90", "WatchdogSec=30"])


def _per_connection(plan: Plan) -> str:
    # A session that could not be served has said so in the log, and is no failed unit.
    return f"ExecStart=-{_command(plan.program_lines())}\nStandardInput=socket\nStandardError=journal"


def _sandbox(plan: Plan, *, is_root: bool) -> dict[str, str]:
    """Return what the service may not, in the order of the alphabet."""
    door = plan.queue.partition(":")[0]
    relays = door in ("smtp", "smtps") or (door == "lmtp" and not plan.queue.startswith("lmtp:///"))
    is_networked = plan.program != VERIFIERD and (relays or bool(plan.checker) or is_root)
    families = ["AF_UNIX", *(["AF_INET", "AF_INET6"] if is_networked else []), *(["AF_NETLINK"] if is_root else [])]
    settings = _ALWAYS | {"RestrictAddressFamilies": " ".join(families)}
    if not is_networked:
        settings["PrivateNetwork"] = "yes"
    calls = "@system-service seccomp"
    if is_root:
        settings |= {
            "CapabilityBoundingSet": _CAPABILITIES[plan.program],
            "ProtectHome": "no" if plan.program == AUTHUP else "yes",
            "ProtectSystem": "full",
            "SystemCallFilter": f"{calls} chroot" if plan.program == SUBMISSIOND else calls,
        }
        return dict(sorted(settings.items()))
    settings |= _NOBODYS | {"SystemCallFilter": f"{calls}\nSystemCallFilter=~@privileged @keyring @aio @memlock"}
    if not plan.accounts.startswith("verifier:"):
        # A verifier that is not root would be nobody in there, and who listens is what its peers go by.
        settings["PrivateUsers"] = "yes"
    if door == "maildir":
        settings["ReadWritePaths"] = _specifiers(plan.queue.partition(":")[2])
    return dict(sorted(settings.items()))


def _sockets(plan: Plan) -> list[File]:
    """Return a unit for the places that are spoken to in the same way: one name is for all sockets of a unit."""
    groups: dict[str, list[str]] = {}
    for text in plan.listen:
        place, _, flags = text.partition(",")
        groups.setdefault(flags.replace(",", "-"), []).append(_stream(place))
    files = []
    for flags, places in groups.items():
        name = plan.program if flags == next(iter(groups)) else f"{plan.program}-{flags or 'plain'}"
        lines = [f"ListenStream={place}" for place in places]
        if plan.is_per_connection:
            lines += ["Accept=yes", f"MaxConnections={plan.connections or CONNECTIONS}"]
        elif plan.program == VERIFIERD:
            lines += ["SocketMode=0660", *([f"SocketGroup={plan.group}"] if plan.group else [])]
        else:
            lines.append(f"Backlog={BACKLOG}")
        if flags:
            lines.append(f"FileDescriptorName={flags}")
        if name != plan.program:
            lines.append(f"Service={plan.program}.service")
        text = fill(
            "systemd-socket",
            program=plan.program,
            description=_DESCRIPTIONS[plan.program],
            socket="\n".join(lines),
        )
        files.append(File(f"{name}.socket", 0o644, text))
    return files


def _stream(place: str) -> str:
    """Return a place as ListenStream= wants it: a port, an address and a port, or a path."""
    if place.startswith("/"):
        return _specifiers(place)
    host, _, port = place.rpartition(":")
    if not host:
        return port
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise Misuse(f"--listen {place}: systemd knows no names of hosts; want an address") from None
    return place


def _command(lines: list[list[str]]) -> str:
    return " \\\n    ".join(" ".join(_quoted(text.replace("$", "$$")) for text in line) for line in lines)


def _quoted(text: str) -> str:
    """Return a word as systemd reads it in a command line or an assignment (systemd.syntax(7)); %d stays."""
    text = text if text.startswith(_CREDENTIALS) else _specifiers(text)
    if text and not set(text) & set(" \t\"'\\;"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
