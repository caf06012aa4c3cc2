"""What no service can be made of: said by `checkpw service`, and not by a service that does not start."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from checkpw.cli.service_plan import SUBMISSIOND, VERIFIERD
from checkpw.errors import Misuse
from checkpw.service.listeners import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkpw.cli.service_plan import Plan

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+-]*\Z")
_STORES, _DOORS = ("system:", "file:/", "verifier:/"), ("maildir:/", "sendmail:/", "smtp://", "smtps://", "lmtp:/")


def check(plan: Plan) -> Plan:
    """Return the plan; raises `Misuse` for what no service can be made of."""
    complaints = [*_complaints(plan), *_complaints_about_words(plan), *_complaint_about_places(plan)]
    if complaints:
        raise Misuse(complaints[0])
    return plan


def _complaints(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with names and paths."""
    for name in (plan.user, plan.door_user, plan.group, plan.log_user, plan.hostname):
        if name and not _NAME.match(name):
            yield f"{name!r} can be no name of a user, group or host"
    for path in (plan.bin, plan.qmail, plan.rc_subr):
        if not _PLAIN_PATH.match(path):
            yield f"{path}: want an absolute path of letters, digits and _./+-"
    for path in filter(None, (plan.certificate, plan.key)):
        if not path.startswith("/"):
            yield f"{path}: a service has no directory to look from; want an absolute path"


def _complaints_about_words(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with words that programs will read."""
    words = (
        plan.accounts,
        plan.queue,
        plan.certificate,
        plan.key,
        plan.server,
        *plan.checker,
        *plan.options,
        *plan.variables,
    )
    if not all(map(str.isprintable, words)):
        yield "a value has a line end or something else that cannot be printed"
    for word in plan.variables:
        if not _VARIABLE.match(word):
            yield f"--env {word}: want NAME=VALUE"
    if not plan.accounts.startswith(_STORES):
        yield f"--accounts {plan.accounts}: want system:, file:/PATH or verifier:/PATH"
    if plan.queue and not plan.queue.startswith(_DOORS):
        yield f"--queue {plan.queue}: want maildir:/PATH, sendmail:/PATH, smtp://HOST, smtps://HOST or lmtp://"
    if plan.key and not plan.certificate:
        yield "--tls-key without --tls-cert"
    if plan.user == "root":
        yield "--user names somebody who may do nothing, and not root"
    if plan.options and plan.is_per_connection:
        yield f"{plan.program} takes no options"


def _complaint_about_places(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with where it is to listen."""
    if plan.program != SUBMISSIOND and len(plan.listen) != 1:
        yield f"{plan.program} listens at one place"
    if plan.program == VERIFIERD:
        if not plan.listen[0].startswith("/"):
            yield f"--listen {plan.listen[0]}: a verifier listens at /PATH"
        if plan.accounts.startswith("verifier:"):
            yield "a verifier asks no verifier"
        return
    for text in plan.listen:
        try:
            wanted = Wanted(text)
            if plan.is_per_connection:
                yield from _complaint_about_server(plan, wanted)
            else:
                wanted.kind_with(has_certificate=bool(plan.certificate))
        except ValueError as error:
            yield f"--listen {error}"


def _complaint_about_server(plan: Plan, wanted: Wanted) -> Iterator[str]:
    if isinstance(wanted.place, str) or wanted.is_proxied or wanted.kind is not None:
        yield f"--listen {wanted.text}: {plan.program} is started by a UCSPI server: want ADDRESS:PORT"
    elif not plan.certificate and not _is_loopback(wanted.place[0]):
        yield f"--listen {wanted.text}: passwords would cross the network in clear; want --tls-cert"


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
