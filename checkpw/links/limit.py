"""checkpw-limit(8): a link that lets nobody guess for long: failures have budgets; who has spent one is not asked."""

from checkpw.chain import NextProgram
from checkpw.errors import Rejected, TemporaryFailure
from checkpw.links import asking, grammar
from checkpw.links.budgets import BudgetFile, Claim, Unusable
from checkpw.peer import Peer, network_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.links.budgets import Budgets, Debit
    from checkpw.logline import Value

PROGRAM = "checkpw-limit"

DEFAULT_STORE = b"file:/var/lib/checkpw/limits"

MOST_TRIES = 65535
MAX_DIGITS = 9


class Settings:
    """What the environment decides.

    Attributes:
        budgets: the store.
        rates: tries and seconds by name of the budget; None for any number.
        is_temporary: that a budget is spent is our trouble, 111, and no wrong password.
        is_open: while the store is not usable, logins are checked and not counted.
        forgives_trouble: a try that ended in trouble (111) is taken back as one that ended in a yes is.
    """

    __slots__ = ("budgets", "forgives_trouble", "is_open", "is_temporary", "rates")

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        """Read the environment; raises `TemporaryFailure` for a value that makes no sense."""
        self.rates = {
            "pair": _rate(environ, b"CHECKPW_LIMIT_PAIR", b"10/900"),
            "login": _rate(environ, b"CHECKPW_LIMIT_LOGIN", b"50/900"),
            "address": _rate(environ, b"CHECKPW_LIMIT_ADDRESS", b"100/900"),
        }
        self.is_temporary = _choice(environ, b"CHECKPW_LIMIT_STATUS", (b"111", b"1")) == b"111"
        self.is_open = _choice(environ, b"CHECKPW_LIMIT_BROKEN", (b"closed", b"open")) == b"open"
        self.forgives_trouble = _choice(environ, b"CHECKPW_LIMIT_TROUBLE", (b"count", b"forgive")) == b"forgive"
        self.budgets = _open_store(environ.get(b"CHECKPW_LIMIT_STORE") or DEFAULT_STORE)


def _rate(environ: dict[bytes, bytes], name: bytes, default: bytes) -> tuple[int, int] | None:
    text = environ.get(name) or default
    if text == b"off":
        return None
    numbers = [int(part) if part.isdigit() and len(part) <= MAX_DIGITS else 0 for part in text.split(b"/")]
    if len(numbers) != 2 or not 1 <= numbers[0] <= MOST_TRIES or numbers[1] < 1:
        raise TemporaryFailure(f"{name.decode()}={text!a}: want TRIES/SECONDS, at most {MOST_TRIES} tries, or off")
    return numbers[0], numbers[1]


def _choice(environ: dict[bytes, bytes], name: bytes, choices: tuple[bytes, ...]) -> bytes:
    """Return a word that is one of these; without one, the first."""
    word = environ.get(name) or choices[0]
    if word not in choices:
        raise TemporaryFailure(f"{name.decode()}={word!a}: want {b' or '.join(choices).decode()}")
    return word


def _open_store(url: bytes) -> "Budgets":
    kind, _, place = url.partition(b":")
    if kind == b"file" and place.startswith(b"/") and b"\0" not in place:
        return BudgetFile(place)
    raise TemporaryFailure(f"CHECKPW_LIMIT_STORE={url!a} names no store: want file:/path")


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | NextProgram:
    """Answer as the checker does, or with the checker in our place; or without asking it, when a budget is spent.

    Raises:
        Misuse: no checker, nothing to run, or a malformed record.
        Rejected: a budget is spent, and that is to look like a wrong password.
        TemporaryFailure: a budget is spent, a setting makes no sense, the store is not usable, or the checker cannot be
            run.
    """
    words = grammar.parse(argv)
    settings = Settings(environ)
    question = asking.Question.receive(environ)
    debit = _debit(settings, question.credentials.login, environ)
    status = question.ask(words.checker, words.prog)
    if debit is not None and (status == 0 or (status == TemporaryFailure.exit_status and settings.forgives_trouble)):
        try:
            settings.budgets.credit(debit)
        except Unusable as trouble:  # it stays counted, and the answer stays what it is
            _tell("warning", environ, {"text": str(trouble)})
    if status == 0 and not words.asks_only:
        return question.hand_over(words.checker, words.prog)
    return asking.exit_status(status)


def _debit(settings: Settings, login: bytes, environ: dict[bytes, bytes]) -> "Debit | None":
    """Count a try; return None if it is not counted, because there is nothing to count it on or with.

    Raises:
        Rejected, TemporaryFailure: as `main`.
    """
    claims = claims_of(login, Peer.from_environment(environ), settings.rates)
    if not claims:
        return None
    try:
        debit = settings.budgets.debit(claims)
    except Unusable as trouble:
        if not settings.is_open:
            raise
        _tell("warning", environ, {"login": login, "text": str(trouble)})
        return None
    if debit.exhausted is None:
        return debit
    _tell("limited", environ, {"login": login, "budget": debit.exhausted.name})
    if settings.is_temporary:
        raise TemporaryFailure(f"too many failures, by {debit.exhausted.name}")
    raise Rejected("too many failures")


def _tell(event: str, environ: dict[bytes, bytes], fields: "dict[str, Value]") -> None:
    from checkpw.links.telling import tell  # most logins have nothing to be told about

    tell(PROGRAM, event, environ, fields)


def claims_of(login: bytes, peer: Peer, rates: dict[str, tuple[int, int] | None]) -> list[Claim]:
    """Return the budgets that a login of a client draws on.

    Logins that differ in case or in blanks at their ends are one: many stores take them for one. A client without an
    address, or one of this machine, stands for everybody behind a proxy: only its login counts.
    """
    who = login.strip().lower()
    keys = {"login": who}
    if peer.is_remote and not peer.is_loopback:
        network = network_of(peer.ip)
        keys |= {"address": network, "pair": b"%d %s%s" % (len(network), network, who)}
    return [Claim(name, keys[name], *rate) for name, rate in rates.items() if rate is not None and name in keys]
