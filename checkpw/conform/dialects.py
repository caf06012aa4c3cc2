"""What families of callers are known to do otherwise, by the names of properties, each with its reason.

As with checkpassword programs, a profile makes nothing right: what it names is reported as a dialect.
"""

from checkpw.conform.profiles import Profile

_ANY_STATUS = "any status of the checker but 0 is told as 535"
_UNDEFINED = "any status of the checker but 0 is told as 535, statuses that the interface does not have included"
_CONNECTION = "the checker inherits the client's connection, as programs of UCSPI servers do"

INTERFACE = Profile("interface", "callers are held against the interface")

OFMIPD = Profile(
    "ofmipd",
    "mess822's ofmipd with Levine's SMTP AUTH",
    deviations={
        "answer-temporary": _ANY_STATUS,
        "answer-misuse": _ANY_STATUS,
        "answer-other": _UNDEFINED,
        "answer-not-started-temporary": _ANY_STATUS,
        "checker-without-client": _CONNECTION,
        "client-without-output": "1 and 2 of the checker are the client's connection",
        "client-without-errors": "1 and 2 of the checker are the client's connection",
    },
)

QMAIL_SMTPD = Profile(
    "qmail-smtpd",
    "qmail-smtpd with one of the SMTP AUTH patches",
    deviations={
        "record-third-field": "without CRAM-MD5 it writes login and password only",
        "answer-temporary": _ANY_STATUS,
        "answer-misuse": _ANY_STATUS,
        "answer-other": _UNDEFINED,
        "answer-not-started-temporary": _ANY_STATUS,
        "checker-without-client": _CONNECTION,
        "client-without-output": _CONNECTION,
        "secret-environment-login": "some of the patches set AUTHUSER before the checker runs",
    },
)

VPOPMAIL = Profile(
    "vpopmail",
    "a server that knows the statuses of vpopmail's vchkpw",
    deviations={"answer-other": "3, 12, 13, 15 and 20 to 24 are a no of vchkpw, and told as 535"},
)

PROFILES: tuple[Profile, ...] = (INTERFACE, OFMIPD, QMAIL_SMTPD, VPOPMAIL)


def find(name: str) -> Profile | None:
    """Return the profile of a name, None for one that there is not."""
    return next((profile for profile in PROFILES if profile.name == name), None)
