"""Dialects: what checkpassword programs other than DJB's are known to do otherwise, each with its reason.

A profile makes nothing right. What it names is reported as a dialect, and not as a failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """

    name: str
    summary: str
    rejected: frozenset[int] = frozenset({1})
    misuse: frozenset[int] = frozenset({1, 2})
    temporary: frozenset[int] = frozenset({111})
    failed_exec: frozenset[int] = frozenset({111})
    deviations: Mapping[str, str] = field(default_factory=dict)


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
        "no-prog-is-misuse": "it leaves with 0 after execvp(3) has failed",
        "runs-no-text-file": "execvp(3) gives text to a shell",
        "hands-on-environment": "it adds VPOPUSER",
        "hands-on-environment-under-env-i": "it adds VPOPUSER",
        "enters-home": "on the ports of SMTP, or for a program called true, it stays where it is",
        "drops-uid": "on the ports of SMTP, or for a program called true, it stays who it is",
        "drops-gid": "on the ports of SMTP, or for a program called true, it stays who it is",
        "drops-groups": "it calls no setgroups(2)",
        "store-down-is-trouble": "it knows no 111",
    },
)

CVM = Profile(
    "cvm",
    "cvm-checkpassword: it leaves with the statuses of CVM",
    rejected=frozenset({1, 100}),
    misuse=frozenset({1, 2, 111}),
    temporary=frozenset({111, 1, 2, 3, 4, 5, 6, 7}),
    deviations={
        "runs-no-text-file": "execvp(3) gives text to a shell",
        "hands-on-environment": "it adds UID, GID, NAME, GROUP, GIDS, DOMAIN, MAIL, MAILBOX and MAILDIR",
        "hands-on-environment-under-env-i": "it adds UID, GID, NAME, GROUP, GIDS, DOMAIN, MAIL, MAILBOX and MAILDIR",
        "drops-groups": "it calls no setgroups(2)",
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
        "drops-groups": "uid and gid are told in userdb_uid and userdb_gid",
    },
)

PROFILES: tuple[Profile, ...] = (DJB, DOVECOT, VCHKPW, CVM)


def find(name: str) -> Profile | None:
    """Return the profile of a name, None for one that there is not."""
    return next((profile for profile in PROFILES if profile.name == name), None)
