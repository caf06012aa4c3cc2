"""Yes to a good login, no to everything else: the answer that a caller builds on."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from checkpw.conform import accounts, strategies
from checkpw.conform.accounts import Account, WrongPassword, record
from checkpw.conform.model import NotJudged, Property, Severity
from checkpw.conform.shell import ByHand, recipe
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.target import TRUE, Verifier

INTERFACE = "checkpassword interface"
PRACTICE = "practice"

HISTORY = 8
"""How many questions are asked in a row, to see whether one answer depends on another."""


_KINDS = (("a space", b" "), ("a colon", b":"), ("a byte above 127", bytes(range(128, 256))))
"""Bytes in good passwords that programs have lost."""


def accepts_good_login(target: Verifier, trials: Trials) -> None:
    """Ask for each account that was given."""
    for account in target.accounts:
        _accept(target, trials, account)
    passwords = b"".join(account.password for account in target.accounts)
    lacking = [name for name, kind in _KINDS if not any(byte in kind for byte in passwords)]
    if lacking:
        trials.remark = f"no password given has {' or '.join(lacking)}: programs that lose such bytes are not found"


def _accept(target: Verifier, trials: Trials, account: Account) -> None:
    trials.once(lambda: target.must_accept(target.ask(account.record), account.record))


def rejects_wrong_password(target: Verifier, trials: Trials) -> None:
    """Try any bytes as a password, in front of `true` and of another program."""
    target.needs_yes()
    passwords = {(account.login, account.password) for account in target.accounts}

    def ask(tried: tuple[Account, bytes, bool]) -> None:
        account, password, is_true = tried
        prog = TRUE if is_true else (target.marker,)
        if (account.login, password) not in passwords:
            wrong = record(account.login, password)
            expected = "no, exit 1, and nothing run"
            target.must_leave(target.ask(wrong, prog), {1}, target.profile.rejected, expected, wrong, prog)

    trials.each(st.tuples(st.sampled_from(target.accounts), strategies.fields(1), st.booleans()), ask)


def rejects_long_password(target: Verifier, trials: Trials) -> None:
    """Try passwords, and logins, that fill the 512 bytes."""
    target.needs_yes()
    login = target.account.login

    def ask(tried: tuple[int, bytes, bool]) -> None:
        size, byte, is_login = tried
        room = accounts.MAX_RECORD - 3
        wrong = record(byte * size, b"x") if is_login else record(login, byte * (min(size + 1, room - len(login))))
        target.must_reject(target.ask(wrong[: accounts.MAX_RECORD]), wrong)

    sizes = st.one_of(st.sampled_from((64, 127, 128, 155, 156, 255, 256, 500, 508)), st.integers(60, 508))
    trials.each(st.tuples(sizes, st.sampled_from((b"x", b"\xff", b" ")), st.booleans()), ask)


def rejects_empty_password(target: Verifier, trials: Trials) -> None:
    """Ask for each account without a password."""
    target.needs_yes()
    _reject_all(target, trials, lambda _: (WrongPassword("an empty password", b""),), "")


def _rejects(made: Callable[[Account], Sequence[WrongPassword]], missing: str) -> Callable[[Verifier, Trials], None]:
    """Return the check that all passwords made from good ones by a function are rejected."""

    def check(target: Verifier, trials: Trials) -> None:
        target.needs_yes()
        _reject_all(target, trials, made, missing)

    return check


def _reject_all(
    target: Verifier, trials: Trials, made: Callable[[Account], Sequence[WrongPassword]], missing: str
) -> None:
    tried = [(account, wrong) for account in target.accounts for wrong in made(account)]
    if not tried:
        raise NotJudged(missing)
    for at, (account, wrong) in enumerate(tried):

        def ask(account: Account = account, wrong: WrongPassword = wrong, at: int = at) -> None:
            prog = (target.marker,) if at % 2 else TRUE
            given = record(account.login, wrong.password)
            target.must_reject(target.ask(given, prog), given, prog, f"no to {wrong.name}")

        trials.once(ask)


def rejects_password_of_another(target: Verifier, trials: Trials) -> None:
    """Ask for each account with the passwords of the others."""
    target.needs_yes()
    _reject_all(
        target, trials, lambda one: accounts.of_others(one, target.accounts), "it takes two accounts with two passwords"
    )


def rejects_unknown_login(target: Verifier, trials: Trials) -> None:
    """Try any bytes as a login, with the password of a good one."""
    target.needs_yes()
    known = {account.login for account in target.accounts}

    def ask(tried: tuple[bytes, bytes, bool]) -> None:
        login, password, is_true = tried
        prog = TRUE if is_true else (target.marker,)
        if login not in known:
            given = record(login, password)
            expected = f"no, exit {target.no}, and nothing run"
            answer = target.ask(given, prog)
            target.must_leave(answer, {1, target.no}, target.profile.rejected, expected, given, prog)

    passwords = st.one_of(st.just(target.account.password), strategies.fields(1))
    logins = st.one_of(strategies.logins().map(lambda login: b"q-" + login), st.just(b"no-such-login"))
    trials.each(st.tuples(logins, passwords, st.booleans()), ask)


def rejects_similar_login(target: Verifier, trials: Trials) -> None:
    """Ask with the right password for logins that are almost right."""
    target.needs_yes()
    known = {account.login for account in target.accounts}
    for account in target.accounts:
        login = account.login
        made = [login + b"x", login + b" ", b" " + login, login + b"\n", login + b":", login + b":x", b"\n" + login]
        made += [login[:-1]] if len(login) > 1 else []
        for similar in made:
            if similar in known or len(record(similar, account.password)) > accounts.MAX_RECORD:
                continue

            def ask(given: bytes = record(similar, account.password)) -> None:
                target.must_reject(target.ask(given), given)

            trials.once(ask)


def rejects_login_with_password(target: Verifier, trials: Trials) -> None:
    """Ask for logins that go on with a colon and a password, as a line of a file of accounts does."""
    target.needs_yes()
    known = {account.login for account in target.accounts}
    for account in target.accounts:
        whole = account.password
        made = [(account.login + b":" + whole, other) for other in (whole, b"x", b"0", b"")]
        made += [(account.login + b":" + whole + b":", b"x"), (account.login + b":" + whole[:1], whole)]
        parts = [at for at, byte in enumerate(whole) if byte == ord(":")]
        made += [(account.login + b":" + whole[:at], whole[at + 1 :]) for at in parts]
        for login, password in made:
            if login in known or len(record(login, password)) > accounts.MAX_RECORD:
                continue

            def ask(given: bytes = record(login, password)) -> None:
                target.must_reject(target.ask(given), given)

            trials.once(ask)


def rejects_empty_login(target: Verifier, trials: Trials) -> None:
    """Ask for nobody, with the password of a good login, with any other, and with none."""
    target.needs_yes()

    def ask(password: bytes) -> None:
        given = record(b"", password)
        target.must_refuse(target.ask(given, (target.marker,)), given, (target.marker,))

    passwords = st.one_of(st.just(target.account.password), st.just(b""), strategies.fields(0))
    trials.each(passwords, ask, most=8)


def answers_stand_alone(target: Verifier, trials: Trials) -> None:
    """Ask several questions in a row, good and bad mixed."""
    target.needs_yes()
    account = target.account
    bad = target.wrong
    unknown = record(b"no-such-login", account.password)

    def ask(questions: tuple[bytes, ...]) -> None:
        for at, question in enumerate(questions):
            trials.ran()
            answer = target.ask(question)
            before = "; ".join(recipe(target.shown(TRUE), one) for one in questions[:at])
            by_hand = ByHand(before=before)
            if question == account.record:
                target.must_accept(answer, question, what="whatever was asked before, yes", by_hand=by_hand)
            else:
                target.must_reject(answer, question, what="whatever was asked before, no", by_hand=by_hand)

    series = st.lists(st.sampled_from((account.record, bad, unknown)), min_size=2, max_size=HISTORY).map(tuple)
    trials.each(st.one_of(st.just((account.record, bad, account.record, unknown)), series), ask, most=5)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "accepts-good-login",
        Severity.MUST,
        "A good login is accepted: `true` is run, and its exit status 0 comes back.",
        INTERFACE,
        accepts_good_login,
    ),
    Property(
        "rejects-wrong-password",
        Severity.MUST,
        "Any other password is answered with exit 1, and nothing is run.",
        INTERFACE,
        rejects_wrong_password,
    ),
    Property(
        "rejects-empty-password",
        Severity.MUST,
        "An empty password for an account that has one is answered with exit 1.",
        INTERFACE,
        rejects_empty_password,
    ),
    Property(
        "rejects-password-prefix",
        Severity.MUST,
        "The beginning of a password is not the password.",
        INTERFACE,
        _rejects(accounts.prefixes, "it takes an account with a password of two bytes"),
    ),
    Property(
        "rejects-password-suffix",
        Severity.MUST,
        "The password with more after or before it is not the password.",
        INTERFACE,
        _rejects(accounts.suffixes, "it takes an account with a password that leaves room in a record"),
    ),
    Property(
        "rejects-password-case",
        Severity.MUST,
        "The password in upper case, in lower case or with its case swapped is not the password.",
        INTERFACE,
        _rejects(accounts.other_case, "it takes an account with letters in its password"),
    ),
    Property(
        "rejects-password-space",
        Severity.MUST,
        "White space at either end of the password counts.",
        INTERFACE,
        _rejects(accounts.spaces, "it takes an account with a password that leaves room in a record"),
    ),
    Property(
        "rejects-password-newline",
        Severity.MUST,
        "The end of a line in the password counts.",
        INTERFACE,
        _rejects(accounts.line_ends, "it takes an account with a password that leaves room in a record"),
    ),
    Property(
        "rejects-password-high-bytes",
        Severity.MUST,
        "The eighth bit of each byte of the password counts, and so do bytes that are no UTF-8.",
        INTERFACE,
        _rejects(accounts.high_bytes, "it takes an account"),
    ),
    Property(
        "rejects-password-truncated-at-8",
        Severity.SHOULD,
        "More than the first 8 bytes of the password count, other than with the DES hashes of crypt(3).",
        PRACTICE,
        _rejects(lambda one: accounts.truncations(one, 8), "it takes an account with a password of 8 bytes or more"),
    ),
    Property(
        "rejects-password-truncated-at-72",
        Severity.SHOULD,
        "More than the first 72 bytes of the password count, other than with bcrypt.",
        PRACTICE,
        _rejects(lambda one: accounts.truncations(one, 72), "it takes an account with a password of 72 bytes or more"),
    ),
    Property(
        "rejects-password-of-another",
        Severity.MUST,
        "The password of another account is not the password.",
        INTERFACE,
        rejects_password_of_another,
    ),
    Property(
        "rejects-long-password",
        Severity.MUST,
        "A login or a password that fills the 512 bytes is answered with exit 1 like any other.",
        INTERFACE,
        rejects_long_password,
    ),
    Property(
        "rejects-unknown-login",
        Severity.MUST,
        "A login that there is not is answered with exit 1, and nothing is run.",
        INTERFACE,
        rejects_unknown_login,
    ),
    Property(
        "rejects-similar-login",
        Severity.SHOULD,
        "A login with a byte more or less, or with white space or a colon at its end, is another login.",
        PRACTICE,
        rejects_similar_login,
    ),
    Property(
        "rejects-login-with-password",
        Severity.MUST,
        "A login that goes on with a colon and a password, as a line of a file of accounts does, is another login: no.",
        INTERFACE,
        rejects_login_with_password,
    ),
    Property(
        "rejects-empty-login",
        Severity.MUST,
        "An empty login is answered with exit 1, or 2, and nothing is run.",
        INTERFACE,
        rejects_empty_login,
    ),
    Property(
        "answers-stand-alone",
        Severity.MUST,
        "An answer does not depend on what was asked before.",
        INTERFACE,
        answers_stand_alone,
    ),
)
