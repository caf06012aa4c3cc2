"""Strategies give what they promise, also to other projects."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpw.conform import strategies

quick = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@quick
@given(strategies.credentials())
def test_credentials_fit_into_a_record(pair):
    """Neither is empty, neither has a NUL."""
    assert all(pair)
    assert b"\0" not in b"".join(pair)
    assert len(b"\0".join(pair)) < 510


@quick
@given(strategies.records(b"joe", b"secret"))
def test_records_are_those_of_the_login(record):
    """Two fields first, and 512 bytes at most."""
    assert record.startswith(b"joe\0secret\0")
    assert record.count(b"\0") >= 3
    assert len(record) <= 512


@quick
@given(strategies.malformed_records(b"joe", b"secret"))
def test_malformed_records_have_no_password(record):
    """There are never two NULs: a password has no end."""
    assert record.count(b"\0") < 2
    assert len(record) <= 512


@quick
@given(strategies.oversized_records(b"joe", b"secret"))
def test_oversized_records_would_be_good_without_their_end(record):
    """A good login stands in front, and there are more than 512 bytes."""
    assert record.startswith(b"joe\0secret\0")
    assert len(record) > 512


@quick
@given(st.data(), st.binary(min_size=2, max_size=30))
def test_pieces_make_the_whole(data, whole):
    """None is empty, and together they are what was cut."""
    pieces = data.draw(strategies.pieces(whole))
    assert b"".join(pieces) == whole
    assert all(pieces)


@quick
@given(strategies.arguments(), strategies.environments(), strategies.timestamps(10))
def test_words_can_be_handed_to_a_program(words, environ, timestamp):
    """No NUL anywhere, no `=` in a name, and a timestamp fits into its room."""
    assert b"\0" not in b"".join([*words, *environ, *environ.values(), timestamp])
    assert not any(b"=" in name or not name for name in environ)
    assert len(timestamp) <= 10
