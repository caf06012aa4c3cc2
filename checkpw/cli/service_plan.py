"""What a service of checkpw runs: one program of this installation, with its words, variables, users and limits.

The service managers differ in how they start it, and that is `service_scripts` and `service_units`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from checkpw.service.listeners import Wanted

SUBMISSIOND, OFMIPD, AUTHUP, VERIFIERD = "submissiond", "ofmipd", "authup", "checkpw-verifierd"
PROGRAMS = (SUBMISSIOND, OFMIPD, AUTHUP, VERIFIERD)

PER_CONNECTION = (OFMIPD, AUTHUP)
"""Programs that a UCSPI server starts for each client."""

USER = "submissiond"
"""Who talks to clients, where nobody else is named."""

QMAIL_HOME = "/var/qmail"

CONNECTIONS = 40
"""At once, of a program that is a process for each of them: tcpserver's own default."""

DATA_LIMIT = {SUBMISSIOND: 1_000_000_000, OFMIPD: 160_000_000, AUTHUP: 160_000_000, VERIFIERD: 1_000_000_000}
"""Bytes that each process may have. ofmipd serves with 20 million, in a message of any size; a process of submissiond
begins with 17 million and has thousands of clients."""

DESCRIPTORS = 24000
"""Open files of a resident server: for its default of 10000 connections two each, and some to spare."""

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One service, as it was asked for; `service_checks` says what can be wrong with it.

    Attributes:
        program: one of `PROGRAMS`.
        bin: directory of the installed programs.
        hostname: said to clients.
        listen: places, as for `submissiond --listen`; of a UCSPI server and of a verifier, one.
        certificate, key: files for TLS; the key may be in the certificate's file.
        accounts: the store, as in CHECKPW_ACCOUNTS.
        queue: the door, as in OFMIPD_QUEUE; empty for qmail-queue.
        user: who talks to clients; empty for root.
        door_user: who opens the door, if that is somebody else.
        group: who may ask a verifier.
        log_user: who writes the log, where that is a process of its own.
        checker: words behind the host name; behind `authup smtp`, all of them.
        data_limit: bytes for each process.
        connections: at once; 0 for the program's own default.
        options: further words for a resident program.
        variables: further variables, NAME=VALUE.
        server: the UCSPI server, a path or a name.
        qmail: home of qmail.
        rc_subr: where the functions of rc.d scripts are.
    """

    program: str
    bin: str
    hostname: str
    listen: tuple[str, ...]
    certificate: str
    key: str
    accounts: str
    queue: str
    user: str
    door_user: str
    group: str
    log_user: str
    checker: tuple[str, ...]
    data_limit: int
    connections: int
    options: tuple[str, ...]
    variables: tuple[str, ...]
    server: str
    qmail: str
    rc_subr: str

    @property
    def is_per_connection(self) -> bool:
        """Whether a UCSPI server starts the program for each client."""
        return self.program in PER_CONNECTION

    @property
    def needs_root(self) -> bool:
        """Whether the program is to begin as root: it becomes users, or reads what only root may."""
        return not self.user or self.program == AUTHUP

    @property
    def settings(self) -> dict[str, str]:
        """The variables of the program and of what it starts, besides PATH."""
        named = {
            "CHECKPW_ACCOUNTS": self.accounts if self.is_per_connection else "",
            "CHECKPW_USER": self.user if self.program == AUTHUP else "",
            "OFMIPD_QUEUE": self.queue if self.is_per_connection else "",
            "OFMIPD_QMAIL": "" if self.qmail == QMAIL_HOME or self.program == VERIFIERD else self.qmail,
        }
        if self.is_per_connection and self.certificate:
            named |= {"UCSPITLS": "!", "CERTFILE": self.certificate, "KEYFILE": self.key or self.certificate}
        further = dict(word.split("=", 1) for word in self.variables)
        return {name: value for name, value in named.items() if value} | further

    @property
    def path(self) -> str:
        """PATH, for the checkers that programs look for."""
        places = [self.bin, *SYSTEM_PATH.split(":")]
        return ":".join(dict.fromkeys(places))

    def installed(self, name: str) -> str:
        """Return the path of a program of this installation."""
        return f"{self.bin}/{name}"

    def place(self) -> tuple[str, str]:
        """Return host and port as a UCSPI server wants them: 0 for all addresses."""
        place = Wanted(self.listen[0]).place
        assert not isinstance(place, str)
        return place[0] or "0", str(place[1])

    def server_words(self) -> list[str]:
        """Return the UCSPI server's options that ask for TLS on request, or for none."""
        return ["-ne", "-vRl0"] if self.certificate else ["-vRl0"]

    def program_lines(self, *, as_root: bool = True, activated: bool = False, credentials: str = "") -> list[list[str]]:
        """Return the program and its words, by lines as people would break them.

        Args:
            as_root: the service manager starts it as root, so it has to become somebody.
            activated: the service manager makes the sockets.
            credentials: the directory from which keys are read in place of their own.
        """
        if self.program == VERIFIERD:
            return self._verifierd_lines(as_root=as_root, activated=activated)
        if self.program == SUBMISSIOND:
            return self._submissiond_lines(as_root=as_root, activated=activated, credentials=credentials)
        chain = list(self.checker or (self.installed("checkpassword"), "true"))
        if self.program == OFMIPD:
            return [[self.installed("ofmipd"), "", self.hostname], chain]
        if self.checker:
            return [[self.installed("authup"), "smtp"], chain]
        return [
            [self.installed("authup"), "smtp"],
            [self.installed("checkpassword"), self.installed("checknotroot")],
            [self.installed("ofmipd"), "", self.hostname],
        ]

    def _submissiond_lines(self, *, as_root: bool, activated: bool, credentials: str) -> list[list[str]]:
        first = [self.installed("submissiond")]
        if as_root:
            first += ["--user", self.user or USER, *_option("--door-user", self.door_user)]
        lines = [first]
        if not activated:
            lines.append([word for place in self.listen for word in ("--listen", place)])
        if self.certificate:
            certificate = f"{credentials}/cert.pem" if credentials else self.certificate
            key = f"{credentials}/key.pem" if credentials and self.key else self.key
            lines.append(["--tls-cert", certificate, *_option("--tls-key", key)])
        lines += [["--accounts", self.accounts], _option("--queue", self.queue)]
        lines += [_option("--max-connections", str(self.connections or "")), list(self.options)]
        lines.append(["--", "", self.hostname, *(self.checker or (self.installed("checkpassword"), "true"))])
        return [line for line in lines if line]

    def _verifierd_lines(self, *, as_root: bool, activated: bool) -> list[list[str]]:
        first = [self.installed("checkpw-verifierd")]
        if not activated:
            first += ["--socket", self.listen[0], *_option("--group", self.group)]
        if as_root:
            first += _option("--user", self.user)
        limit = _option("--max-connections", str(self.connections or ""))
        return [first, ["--accounts", self.accounts, *limit, *self.options]]

    @property
    def descriptors(self) -> int:
        """How many open files a resident server may have."""
        return 2 * self.connections + 4000 if self.connections else DESCRIPTORS


def _option(name: str, value: str) -> list[str]:
    return [name, value] if value else []


def quote(words: list[str]) -> str:
    """Return words as a shell reads them."""
    return shlex.join(words)
