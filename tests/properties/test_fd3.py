"""The record on descriptor 3: round trip, and every malformed variant against the table of facts 1.2."""

import contextlib
import os
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from splits import PLACES, cut

from checkpw import fd3
from checkpw.credentials import Credentials
from checkpw.errors import Misuse, Rejected, TemporaryFailure
from checkpw.secret import Secret

FIELDS = st.binary(max_size=520)
RECORDS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"joe", b"secret", b"\0", b"", b"\n", b"\xff"]), max_size=9).map(b"".join),
    st.tuples(st.integers(500, 520), st.integers(0, 3)).map(lambda made: b"x\0" * made[1] + b"y" * (made[0] - made[1])),
)


def model(record):
    """Tell what facts 1.2 says of a record: an exit status for a refusal, or (login, password)."""
    if len(record) >= 513:
        return 1
    ends = [at for at in range(len(record)) if record[at] == 0]
    if len(ends) < 2:
        return 2
    return record[: ends[0]], record[ends[0] + 1 : ends[1]]


def _verdict(parse):
    try:
        credentials = parse()
    except (Misuse, Rejected) as error:
        return error.exit_status
    return credentials.login, credentials.password.reveal()


@given(FIELDS, FIELDS, st.binary(max_size=20))
@example(b"", b"", b"")
@example(b"l" * 255, b"p" * 254, b"")
@example(b"l" * 255, b"p" * 255, b"")
def test_round_trip(login, password, timestamp):
    """What can be sent arrives as it was; a NUL is our misuse, and more than 512 bytes a no."""
    credentials = Credentials(login, Secret(password), timestamp)
    if b"\0" in login + password + timestamp:
        with pytest.raises(Misuse):
            credentials.encode()
    elif len(login + password + timestamp) + 3 > 512:
        with pytest.raises(Rejected):
            credentials.encode()
    else:
        record = credentials.encode()
        assert record == login + b"\0" + password + b"\0" + timestamp + b"\0"
        parsed = Credentials.parse(record)
        assert (parsed.login, parsed.password.reveal(), parsed.timestamp) == (login, password, timestamp)


@given(RECORDS)
@example(b"")
@example(b"\0")
@example(b"\0\0")
@example(b"joe\0")
@example(b"joe\0secret")
@example(b"joe\0secret\0")
@example(b"joe\0secret\0stamp")
@example(b"joe\0secret\0stamp\0more\0")
@example(b"joe\0" + b"x" * 507 + b"\0")
@example(b"joe\0" + b"x" * 508 + b"\0")
@example(b"x" * 513)
def test_parse(record):
    """Every record gets the exit status of the table, or is taken apart at its first two NULs."""
    assert _verdict(lambda: Credentials.parse(record)) == model(record)


@given(RECORDS, PLACES)
@example(b"joe\0secret\0\0", [])
@example(b"y" * 2000, [])
@example(b"y" * 2000, [512])
def test_read(record, places):
    """A record that comes in pieces is put together, the 513th byte ends the reading, and descriptor 3 is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # each read gives one piece
    with ours, pytest.MonkeyPatch.context() as patch:
        for piece in cut(record, range(40) if places is None else places):
            ours.send(piece)
        ours.shutdown(socket.SHUT_WR)
        number = theirs.detach()
        patch.setattr(fd3, "DESCRIPTOR", number)
        try:
            assert _verdict(fd3.read_credentials) == model(record)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)
        finally:
            with contextlib.suppress(OSError):
                os.close(number)


def test_read_from_nothing(monkeypatch, tmp_path):
    """A descriptor 3 that is closed, or cannot be read, is nobody's wrong password."""
    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr(fd3, "DESCRIPTOR", file.fileno())
        with pytest.raises(TemporaryFailure, match="unable to read descriptor 3"):
            fd3.read_credentials()
    with pytest.raises(TemporaryFailure, match="unable to read descriptor 3"):
        fd3.read_credentials()
