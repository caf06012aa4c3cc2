"""What descriptor 3 may carry, in which pieces it may come, and how far it is read."""

import functools
import time

from hypothesis import strategies as st

from checkpw.conform import strategies
from checkpw.conform.accounts import MAX_RECORD, record, wrong_password
from checkpw.conform.model import Property, Severity
from checkpw.conform.process import Process
from checkpw.conform.shell import ByHand
from checkpw.conform.trials import Trials
from checkpw.conform.verifying.target import RAN, TRUE, Verifier
from checkpw.conform.verifying.verdicts import INTERFACE

CALLERS = "qmail-smtpd-auth, tmda-ofmipd"

PAUSE = 1.2  # seconds that a slow writer takes, more than programs allow that poll

AT_ONCE = 5.0  # seconds within which an answer that needs nothing more is there


def accepts_any_timestamp(target: Verifier, trials: Trials) -> None:
    """Ask with any third field, for a good login and for a wrong password."""
    target.needs_yes()
    account = target.account
    room = MAX_RECORD - len(account.record) - 1

    def ask(tried: tuple[bytes, bool]) -> None:
        timestamp, is_good = tried
        password = account.password if is_good else wrong_password(account)
        _answer(target, record(account.login, password, timestamp), is_good=is_good)

    special = st.sampled_from((account.password, account.login, b"0" * room, b"\n"))
    trials.each(st.tuples(st.one_of(strategies.timestamps(room), special), st.booleans()), ask)


def _answer(target: Verifier, given: bytes, *, is_good: bool) -> None:
    if is_good:
        target.must_accept(target.ask(given), given)
    else:
        target.must_reject(target.ask(given), given)


def accepts_more_fields(target: Verifier, trials: Trials) -> None:
    """Ask with any bytes after the third field, for a good login and for a wrong password."""
    target.needs_yes()
    account = target.account
    room = MAX_RECORD - len(account.record) - 1

    def ask(tried: tuple[bytes, bool]) -> None:
        more, is_good = tried
        password = account.password if is_good else wrong_password(account)
        _answer(target, record(account.login, password) + more, is_good=is_good)

    again = account.record[:room]
    more = st.one_of(
        st.binary(max_size=min(60, room)), st.sampled_from((again, account.password + b"\0", b"\0" * room))
    )
    trials.each(st.tuples(more, st.booleans()), ask)


def accepts_two_fields(target: Verifier, trials: Trials) -> None:
    """Ask with a third field that is not there, or has no NUL at its end."""
    target.needs_yes()
    account = target.account

    def ask(tried: tuple[bytes, bool]) -> None:
        third, is_good = tried
        password = account.password if is_good else wrong_password(account)
        _answer(target, b"%b\0%b\0%b" % (account.login, password, third), is_good=is_good)

    trials.each(st.tuples(st.one_of(st.just(b""), strategies.fields(0, 20)), st.booleans()), ask, most=10)


def accepts_512_bytes(target: Verifier, trials: Trials) -> None:
    """Ask with records of nearly 512 bytes and of just that many, filled up by a third or by further fields."""
    target.needs_yes()
    account = target.account

    def ask(tried: tuple[int, bytes, bool]) -> None:
        size, filling, is_good = tried
        begin = b"%b\0%b\0" % (account.login, account.password if is_good else wrong_password(account))
        given = begin + (b"t" * (size - len(begin) - 1) + b"\0" if filling == b"t" else filling * (size - len(begin)))
        _answer(target, given, is_good=is_good)

    sizes = st.one_of(st.just(MAX_RECORD), st.integers(MAX_RECORD - 8, MAX_RECORD))
    trials.each(st.tuples(sizes, st.sampled_from((b"t", b"\0")), st.booleans()), ask, most=12)


def refuses_513_bytes(target: Verifier, trials: Trials) -> None:
    """Ask with a good login and more than 512 bytes."""
    target.needs_yes()
    prog = (target.marker,)

    def ask(given: bytes) -> None:
        target.must_refuse(target.ask(given, prog), given, prog)

    trials.each(strategies.oversized_records(target.account.login, target.account.password), ask)


def answers_513_bytes_at_once(target: Verifier, trials: Trials) -> None:
    """Give more than 512 bytes and no end of file."""
    target.needs_yes()
    given = target.account.record + b"t" * (600 - len(target.account.record))

    def ask() -> None:
        answer = target.ask(given, holds=True, patience=AT_ONCE)
        if answer.status is None:
            words = f"none within {AT_ONCE:.0f} s, while descriptor 3 stays open"
            by_hand = ByHand(front=f"timeout {AT_ONCE:g}", is_held=True)
            raise target.violation("an answer to byte 513", words, given, by_hand=by_hand)

    trials.once(ask)


def refuses_malformed_record(target: Verifier, trials: Trials) -> None:
    """Give nothing, one field, or a password without its NUL, all of a good login."""
    target.needs_yes()
    prog = (target.marker,)

    def ask(given: bytes) -> None:
        if given.count(b"\0") < 2:
            target.must_refuse(target.ask(given, prog), given, prog)

    account = target.account
    whole = b"%b\0%b" % (account.login, account.password)
    malformed = st.one_of(
        st.sampled_from((b"", account.login, account.login + b"\0", whole, b"\0", b"\0" + account.password)),
        strategies.malformed_records(account.login, account.password),
    )
    trials.each(malformed, ask)


def malformed_record_is_misuse(target: Verifier, trials: Trials) -> None:
    """Give the same, and look whether the answer says that nobody was asked for."""
    target.needs_yes()

    def ask(given: bytes) -> None:
        expected = "misuse, exit 2"
        target.must_leave(target.ask(given), {2}, target.profile.misuse - {1}, expected, given, TRUE)

    account = target.account
    cut = b"%b\0%b" % (account.login, account.password)
    for given in (b"", b"\0", account.login, account.login + b"\0", cut):
        trials.once(functools.partial(ask, given))


def reads_to_end_of_file(target: Verifier, trials: Trials) -> None:
    """Give a whole record, wait until it was read, and then make it too long."""
    target.needs_yes()
    prog = (target.marker,)
    whole = target.account.record
    rest = b"t" * (MAX_RECORD + 1)

    def ask(pieces: tuple[bytes, ...]) -> None:
        given = b"".join(pieces)
        by_hand = ByHand(pieces=pieces, pause=1.0)
        target.must_refuse(target.ask(None, prog, pieces=pieces), given, prog, by_hand=by_hand)

    for pieces in ((whole, rest), (whole[:-1], rest), (whole + whole, rest)):
        trials.once(functools.partial(ask, pieces))


def reads_byte_by_byte(target: Verifier, trials: Trials) -> None:
    """Give each byte only when the one before it was read."""
    target.needs_yes()
    for is_good in (True, False):
        _in_pieces(target, trials, tuple(bytes([byte]) for byte in _record(target, is_good=is_good)), is_good=is_good)


def _record(target: Verifier, *, is_good: bool) -> bytes:
    return target.account.record if is_good else target.wrong


def _in_pieces(target: Verifier, trials: Trials, pieces: tuple[bytes, ...], *, is_good: bool) -> None:
    def ask() -> None:
        answer, by_hand = target.ask(None, pieces=pieces), ByHand(pieces=pieces)
        if is_good:
            target.must_accept(answer, b"".join(pieces), what="in pieces, yes", by_hand=by_hand)
        else:
            target.must_reject(answer, b"".join(pieces), what="in pieces, no", by_hand=by_hand)

    trials.once(ask)


def reads_in_pieces(target: Verifier, trials: Trials) -> None:
    """Give the record in pieces of any size, each only when the one before it was read."""
    target.needs_yes()

    def ask(tried: tuple[bool, tuple[bytes, ...]]) -> None:
        is_good, pieces = tried
        given = b"".join(pieces)
        answer, by_hand = target.ask(None, pieces=pieces), ByHand(pieces=pieces)
        if is_good:
            target.must_accept(answer, given, what=f"in pieces of {_sizes(pieces)} bytes, yes", by_hand=by_hand)
        else:
            target.must_reject(answer, given, what=f"in pieces of {_sizes(pieces)} bytes, no", by_hand=by_hand)

    def cut(is_good: bool) -> st.SearchStrategy[tuple[bool, tuple[bytes, ...]]]:
        return strategies.pieces(_record(target, is_good=is_good)).map(lambda pieces: (is_good, pieces))

    trials.each(st.one_of(cut(is_good=True), cut(is_good=False)), ask)


def _sizes(pieces: tuple[bytes, ...]) -> str:
    return ", ".join(str(len(piece)) for piece in pieces)


def waits_for_a_slow_writer(target: Verifier, trials: Trials) -> None:
    """Give one half of the record, and the other half a good while later."""
    target.needs_yes()
    whole = target.account.record
    half = len(whole) // 2

    def pause(_: Process) -> None:
        time.sleep(PAUSE)

    def ask() -> None:
        pieces, prog = (whole[:half], whole[half:]), (target.marker,)
        answer = target.ask(None, prog, pieces=pieces, between=pause)
        by_hand = ByHand(pieces=pieces, pause=2 * PAUSE)
        target.must_accept(answer, whole, prog, RAN, what=f"after a pause of {PAUSE} s, yes", by_hand=by_hand)

    trials.once(ask)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "accepts-any-timestamp",
        Severity.MUST,
        "The third field may be anything, and is no second password.",
        INTERFACE,
        accepts_any_timestamp,
    ),
    Property(
        "accepts-more-fields",
        Severity.MUST,
        "Whatever follows the third field changes nothing.",
        INTERFACE,
        accepts_more_fields,
    ),
    Property(
        "accepts-two-fields",
        Severity.SHOULD,
        "A record without a third field, or with one that is not ended, is answered like any other.",
        CALLERS,
        accepts_two_fields,
    ),
    Property(
        "accepts-512-bytes",
        Severity.MUST,
        "A record of 512 bytes is answered like any other.",
        INTERFACE,
        accepts_512_bytes,
    ),
    Property(
        "refuses-513-bytes",
        Severity.MUST,
        "More than 512 bytes are refused, exit 1 or 2, even with a good login at their beginning.",
        INTERFACE,
        refuses_513_bytes,
    ),
    Property(
        "answers-513-bytes-at-once",
        Severity.SHOULD,
        "Byte 513 is answered without waiting for more: nobody can fill the memory.",
        "checkpassword 0.90",
        answers_513_bytes_at_once,
    ),
    Property(
        "refuses-malformed-record",
        Severity.MUST,
        "A record without login and password, each ended by NUL, is refused, exit 1 or 2, and nothing is run.",
        INTERFACE,
        refuses_malformed_record,
    ),
    Property(
        "malformed-record-is-misuse",
        Severity.SHOULD,
        "A malformed record is answered with exit 2, so that nobody is told of a wrong password.",
        "checkpassword 0.90",
        malformed_record_is_misuse,
    ),
    Property(
        "reads-to-end-of-file",
        Severity.MUST,
        "Descriptor 3 is read to its end before there is an answer.",
        INTERFACE,
        reads_to_end_of_file,
    ),
    Property(
        "reads-byte-by-byte",
        Severity.MUST,
        "A record that comes byte by byte is answered like any other.",
        INTERFACE,
        reads_byte_by_byte,
    ),
    Property(
        "reads-in-pieces",
        Severity.MUST,
        "A record that comes in pieces of any size is answered like any other.",
        INTERFACE,
        reads_in_pieces,
    ),
    Property(
        "waits-for-a-slow-writer",
        Severity.MUST,
        "A writer may take a second between two bytes.",
        INTERFACE,
        waits_for_a_slow_writer,
    ),
)
