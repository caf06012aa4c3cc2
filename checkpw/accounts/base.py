"""What a store of accounts is, and the one way to ask it."""

from checkpw import hashes
from checkpw.errors import Rejected, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from checkpw.account import Account
    from checkpw.credentials import Credentials

    class Store(Protocol):
        """The port: two questions, so that a store need not give out hashes."""

        def authenticate(self, credentials: Credentials) -> Account:
            """Return the account whose login and password these are; raises as the function of this name."""

        def look_up(self, login: bytes) -> Account | None:
            """Return the account of a login without asking for its password, None if there is none of that name.

            Who may log in, and from where, does not count: mail is delivered to those, too, who may not.

            Raises:
                TemporaryFailure: the store cannot be read, or tells nobody.
            """

    class HashStore(Protocol):
        """A store of hashes: three verbs, each of which raises `TemporaryFailure` when the store cannot be read."""

        def find(self, login: bytes) -> "Entry | None":
            """Return what the store holds for a login, None if it does not know it."""

        def decoy(self, login: bytes) -> bytes:
            """Return some hash of the store, the same one for a login each time, to be computed in vain."""

        def admit(self, entry: "Entry") -> None:
            """Raise `Rejected` if the account may not be used now or from here, although the password is right."""


class Entry:
    """What a store holds for one login.

    Attributes:
        account: who that is.
        stored: the hash, as `hashes.verify` takes it.
        conditions: whatever `admit` of the same store looks at.
    """

    __slots__ = ("account", "conditions", "stored")

    def __init__(self, account: "Account", stored: bytes, conditions: object = None) -> None:
        self.account = account
        self.stored = stored
        self.conditions = conditions


def authenticate(store: "HashStore", credentials: "Credentials") -> "Account":
    """Return the account of a store of hashes whose login and password these are.

    An unknown login and a locked account cost what a wrong password costs: a hash of the same store is computed in
    vain, and which one depends only on the login.

    Raises:
        Rejected: with one text for every reason that a stranger could learn something from.
        TemporaryFailure: the store cannot be read, or the account has a hash or a restriction that we do not know.
    """
    entry = store.find(credentials.login)
    decoy = store.decoy(credentials.login)
    password = credentials.password.reveal()
    if entry is not None and hashes.usable(entry.stored):
        is_right = hashes.verify(entry.stored, password)
    else:
        is_right = False
        try:
            hashes.verify(decoy, password)
        except TemporaryFailure:
            pass  # somebody else's damaged hash is not this login's trouble
    if entry is None or not is_right:
        raise Rejected("unknown login or wrong password")
    store.admit(entry)
    return entry.account
