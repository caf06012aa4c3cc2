"""Dialects: what checkpassword programs other than DJB's are known to do otherwise, each with its reason.

A profile makes nothing right. What it names is reported as a dialect, and not as a failure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from checkpw.conform.model import Violation

CRASH = "killed by "
"""How a report begins to say that a program was ended by a signal."""

_IS_RUN = r"PROG was run, and exit"
_IS_STATUS = r"exit [0-9]+\b"


def _adds(*names: str) -> str:
    """Return the regular expression for these variables added, and no others, and none lost."""
    return rf"(?:(?:{'|'.join(names)})=(?:(?! added).)* added(?:, |$))+$"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a family of programs means by its statuses, and which properties it is known to break.

    Attributes:
        name: for --profile.
        summary: whose dialect it is, a few words.
        rejected: statuses by which it says no; 1 is the interface's.
        misuse: statuses for a record or arguments that it does not like; 1 and 2 are the interface's.
        temporary: statuses for trouble; 111 is the interface's.
        failed_exec: statuses for a program that cannot be run; 111 is that of DJB's program.
        deviations: name of a property: why this family is known to break it.
        seen: name of a property in `deviations`: regular expression of what is seen then; anything else is a failure.
    """

    name: str
    summary: str
    rejected: frozenset[int] = frozenset({1})
    misuse: frozenset[int] = frozenset({1, 2})
    temporary: frozenset[int] = frozenset({111})
    failed_exec: frozenset[int] = frozenset({111})
    deviations: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)

    def knows(self, name: str, violation: Violation) -> bool:
        """Tell whether the family is known to break a property in this way; a crash is nobody's dialect."""
        if name not in self.deviations or CRASH in violation.seen:
            return False
        return re.match(self.seen.get(name, ""), violation.seen) is not None


DJB = Profile("djb", "checkpassword 0.90 and what behaves like it")

VCHKPW = Profile(
    "vchkpw",
    "vpopmail's vchkpw: several statuses mean no",
    rejected=frozenset({1, 3, 12, 13, 15, 20, 21, 22, 23, 24}),
    misuse=frozenset({1, 2, 11, 12, 13}),
    temporary=frozenset({111, 4, 5, 6, 7, 8, 9, 10, 11, 14}),
    failed_exec=frozenset({111, 0}),
    deviations={
        "accepts-512-bytes": "it reads at most 155 bytes",
        "refuses-513-bytes": "it reads at most 155 bytes and ignores the rest",
        "answers-513-bytes-at-once": "it reads at most 155 bytes",
        "reads-to-end-of-file": "it reads at most 155 bytes",
        "reads-on-after-eintr": "an interrupted read is error 11",
        "runs-no-text-file": "execvp(3) gives text to a shell",
        "stops-at-what-is-wrong-in-path": "execvp(3) goes on after a file instead of a directory",
        "hands-on-environment": "it adds VPOPUSER",
        "hands-on-environment-under-env-i": "it adds VPOPUSER",
        "enters-home": "on the ports of SMTP, or for a program called true, it stays where it is",
        "drops-uid": "on the ports of SMTP, or for a program called true, it stays who it is",
        "drops-gid": "on the ports of SMTP, or for a program called true, it stays who it is",
        "store-down-is-trouble": "it knows no 111",
    },
    seen={
        "accepts-512-bytes": _IS_STATUS,
        "refuses-513-bytes": _IS_RUN,
        "answers-513-bytes-at-once": r"exit 0\b|none within",
        "reads-to-end-of-file": _IS_RUN,
        "reads-on-after-eintr": r"exit 11\b",
        "runs-no-text-file": _IS_RUN,
        "stops-at-what-is-wrong-in-path": _IS_STATUS,
        "hands-on-environment": _adds("VPOPUSER"),
        "hands-on-environment-under-env-i": _adds("VPOPUSER"),
        "store-down-is-trouble": r"exit [1-9]",
    },
)

_OF_CVM = ("UID", "GID", "NAME", "GROUP", "GIDS", "DOMAIN", "MAIL", "MAILBOX", "MAILDIR")

CVM = Profile(
    "cvm",
    "cvm-checkpassword: it leaves with the statuses of CVM",
    rejected=frozenset({1, 100}),
    misuse=frozenset({1, 2, 111}),
    temporary=frozenset({111, 1, 2, 3, 4, 5, 6, 7}),
    deviations={
        "rejects-empty-password": "no password is CVME_NOCRED, 7",
        "rejects-long-password": "its protocol has one byte for the length of a field; more is 2",
        "runs-no-text-file": "execvp(3) gives text to a shell",
        "stops-at-what-is-wrong-in-path": "execvp(3) goes on after a file instead of a directory",
        "hands-on-environment": "it adds UID, GID, NAME, GROUP, GIDS, DOMAIN, MAIL, MAILBOX and MAILDIR",
        "hands-on-environment-under-env-i": "it adds UID, GID, NAME, GROUP, GIDS, DOMAIN, MAIL, MAILBOX and MAILDIR",
    },
    seen={
        "rejects-empty-password": r"exit 7\b",
        "rejects-long-password": r"exit 2\b",
        "runs-no-text-file": _IS_RUN,
        "stops-at-what-is-wrong-in-path": _IS_STATUS,
        "hands-on-environment": _adds(*_OF_CVM),
        "hands-on-environment-under-env-i": _adds(*_OF_CVM),
    },
)

DOVECOT = Profile(
    "dovecot",
    "Dovecot's passdb checkpassword up to 2.3: the account is described in variables",
    rejected=frozenset({1, 3}),
    deviations={
        "hands-on-environment": "it adds EXTRA and what that names, and changes AUTHORIZED",
        "hands-on-environment-under-env-i": "it adds EXTRA and what that names",
        "sets-account-variables": "checkpassword-reply asks for USER and HOME only",
        "enters-home": "Dovecot enters the home itself",
        "drops-uid": "uid and gid are told in userdb_uid and userdb_gid: who changes his uid can be forged (2.2.7)",
        "drops-gid": "uid and gid are told in userdb_uid and userdb_gid",
    },
)

PROFILES: tuple[Profile, ...] = (DJB, DOVECOT, VCHKPW, CVM)


def find(name: str) -> Profile | None:
    """Return the profile of a name, None for one that there is not."""
    return next((profile for profile in PROFILES if profile.name == name), None)
