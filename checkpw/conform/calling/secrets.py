"""Properties: where login and password must not be found, while the checker runs and afterwards."""

from contextlib import ExitStack

from checkpw.conform.attempts import Attempt
from checkpw.conform.calling.call import Answer, look
from checkpw.conform.calling.dialogue import Client
from checkpw.conform.calling.records import INTERFACE
from checkpw.conform.calling.target import Caller
from checkpw.conform.model import NotJudged, Property, Severity, Violation
from checkpw.conform.trials import Trials

LOGIN = b"conform-login-7f3a"
PASSWORD = b"conform-password-91c4"
HELD = Answer(holds=True)  # until it was looked at; then yes, because a no might be delayed


def _hold(caller: Caller, client: Client, attempt: Attempt) -> None:
    """Bring a session to where its checker runs and holds.

    Raises:
        NotJudged: the checker was not called.
    """
    client.begin(attempt)
    if client.session.wait_for_call(caller.patience) is None:
        raise NotJudged("the checker was not called")


def _find(caller: Caller, trials: Trials, name: str, secrets: tuple[bytes, ...]) -> None:
    """Look into a file of /proc for each process of a session whose checker runs."""
    attempt = caller.log_in(LOGIN, PASSWORD)
    encoded = {piece for line in attempt.lines for piece in line.split(b" ") if len(piece) > len(LOGIN)}
    with caller.session(HELD) as client:
        _hold(caller, client, attempt)
        pids = client.session.processes()
        seen = {pid: look(pid, name) for pid in pids}
        checker = client.session.calls()[-1]
        seen[checker.pid] = look(checker.pid, name)
        if name == "environ":
            seen[checker.pid] += b"\0".join(checker.environ)
        client.session.release()
        client.reply()
    trials.ran()
    for pid, text in seen.items():
        for secret in (*secrets, *(encoded if PASSWORD in secrets else ())):
            if secret in text:
                who = (
                    "the checker"
                    if pid == checker.pid
                    else "the server"
                    if pid == pids[0]
                    else "a process of the server"
                )
                where = "environment" if name == "environ" else "command line"
                process = "$$" if pid == checker.pid else "$PPID"
                entry = next(word for word in text.split(b"\0") if secret in word)
                raise Violation(
                    f"no {_name(secret)} in anybody's {where}",
                    f"{entry[:80]!a} in that of {who}",
                    given=attempt.wire,
                    recipe=caller.recipe(attempt.wire, shows=f"xargs -0 -n1 </proc/{process}/{name}"),
                )


def _name(secret: bytes) -> str:
    return {LOGIN: "login", PASSWORD: "password"}.get(secret, "response of the client")


def environment(caller: Caller, trials: Trials) -> None:
    """No password in an environment."""
    _find(caller, trials, "environ", (PASSWORD,))


def environment_login(caller: Caller, trials: Trials) -> None:
    """No login in an environment before the verdict."""
    _find(caller, trials, "environ", (LOGIN,))


def command_line(caller: Caller, trials: Trials) -> None:
    """Neither in an argv, which everybody on the machine may read."""
    _find(caller, trials, "cmdline", (LOGIN, PASSWORD))


def later_calls(caller: Caller, trials: Trials) -> None:
    """A second call is given nothing of the first."""
    first, second = caller.log_in(LOGIN, PASSWORD), caller.log_in(b"b", b"p")
    with caller.session(Answer(status=1)) as client:
        client.attempt(first)
        client.attempt(second)
        calls = client.session.calls()
    trials.ran()
    if len(calls) < 2:
        raise NotJudged("there is no second call in a session")
    for text in (calls[1].record, *calls[1].environ, *calls[1].argv):
        for secret in (LOGIN, PASSWORD, LOGIN[1:], PASSWORD[1:]):
            if secret in text:
                given, expected = first.wire + second.wire, "nothing of the first login in the second call"
                recipe = caller.recipe(given, Answer(status=1), shows="(od -c <&3; env)")
                raise Violation(expected, f"{text[:80]!a}", given=given, recipe=recipe)


def replies_and_log(caller: Caller, trials: Trials) -> None:
    """A password is neither said to the client nor logged."""
    attempt = caller.log_in(LOGIN, PASSWORD)
    encoded = {piece for line in attempt.lines for piece in line.split(b" ") if len(piece) > len(LOGIN)}
    answers = [Answer(status=status) for status in (0, 1, 111)]
    with ExitStack() as stack:
        clients = caller.sessions(answers, stack)
        early = [client.begin(attempt) for client in clients]
        for client, first in zip(clients, early, strict=True):
            if first is None:
                client.reply()
            client.session.hang_up()
            client.remainder(1.0)
        found = [(client.heard, client.session.said()) for client in clients]  # in the order of the answers
    trials.ran(len(answers))
    for answer, (heard, logged) in zip(answers, found, strict=True):
        for secret in (PASSWORD, *(encoded - {LOGIN})):
            for where, text in (("said to the client", heard), ("written on descriptor 2", logged)):
                if secret in text:
                    line = next(line for line in text.split(b"\n") if secret in line)
                    raise Violation(
                        f"no password {where}",
                        f"{line[:100]!a}",
                        given=attempt.wire,
                        recipe=caller.recipe(attempt.wire, answer),
                    )


PROPERTIES = (
    Property(
        "secret-environment",
        Severity.MUST,
        "While the checker runs, the password is in nobody's environment.",
        INTERFACE,
        environment,
    ),
    Property(
        "secret-environment-login",
        Severity.SHOULD,
        "While the checker runs, the login is in nobody's environment: it is a secret as the password is.",
        INTERFACE,
        environment_login,
    ),
    Property(
        "secret-arguments",
        Severity.MUST,
        "While the checker runs, login and password are in nobody's command line.",
        INTERFACE,
        command_line,
    ),
    Property(
        "secret-later-calls",
        Severity.MUST,
        "A second call in a session is given nothing of what the first was given.",
        INTERFACE,
        later_calls,
    ),
    Property(
        "secret-log",
        Severity.MUST,
        "The password is neither said to the client nor written to the log.",
        INTERFACE,
        replies_and_log,
    ),
)
