"""Yes to a good login, no to everything else: the exit status that a caller builds on."""

from checkpw.conform.model import Property, Severity
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.target import Verifier

INTERFACE = "checkpassword interface"


def accepts_good_login(target: Verifier, trials: Trials) -> None:
    """Ask for each account that was given."""
    for account in target.accounts:

        def ask(record: bytes = account.record) -> None:
            target.must_accept(target.ask(record), record)

        trials.once(ask)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "accepts-good-login",
        Severity.MUST,
        "A good login is accepted: `true` is run, and its exit status 0 comes back.",
        INTERFACE,
        accepts_good_login,
    ),
)
