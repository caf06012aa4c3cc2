"""Frames, words, and the line they go over: any splitting gives the same, and garbage is only ever told to be that."""

import os
import socket
import sys
import time
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resident_runner import ResidentRunner
from splits import PLACES, cut

from checkpw.frames import BadFrame, FrameReader, encode, pack, unpack
from checkpw.operations import Ask
from checkpw.runners.channel import Answerer, Asker
from checkpw.service import words
from checkpw.service.opener import WorkerAtDoor
from checkpw.service.verifier import WorkerAsking
from checkpw.smtp.events import Envelope

FIELDS = st.lists(st.binary(max_size=40), max_size=6)
FRAMES = st.lists(FIELDS, max_size=6)
GARBAGE = st.one_of(
    st.binary(max_size=80),
    # What looks like frames up to a place.
    st.tuples(FRAMES, st.binary(max_size=20)).map(lambda pair: b"".join(map(encode, pair[0])) + pair[1]),
    st.lists(st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4)), max_size=8).map(b"".join),
)


@given(FRAMES, PLACES)
def test_any_splitting_gives_the_same_frames(frames, places):
    """What was sent comes, however it is cut, and nothing is left over."""
    reader, came = FrameReader(), []
    for piece in cut(b"".join(map(encode, frames)), places):
        came += reader.feed(piece)
    assert came == frames and reader.is_between_frames


@given(GARBAGE, PLACES)
@example(b"\0\0\0\5\0\0\0\0x", None)
@example(b"\xff" * 8, [])
def test_garbage_is_a_bad_frame(wire, places):
    """There is no other exception; what came before it is the same, however it is cut."""

    def read(pieces):
        reader, came = FrameReader(200), []
        try:
            for piece in pieces:
                came += reader.feed(piece)
        except BadFrame:
            return came, True
        return came, False

    whole, pieces = read([wire]), read(cut(wire, places))
    assert whole[1] == pieces[1]
    if not whole[1]:
        assert whole == pieces
    assert whole[0] == pieces[0][: len(whole[0])]  # frames in front of a bad one may come, or be lost with it


@given(st.integers(5, 3000), st.integers(0, 300))
def test_lengths_are_bounded(limit, excess):
    """One byte more than the limit is a bad frame as soon as its length is known."""
    reader = FrameReader(limit)
    assert reader.feed(encode([b"x" * (limit - 4)])) == [[b"x" * (limit - 4)]]
    assert reader.feed((limit).to_bytes(4)) == []
    with pytest.raises(BadFrame):
        FrameReader(limit).feed((limit + 1 + excess).to_bytes(4))


def test_memory_is_bounded():
    """A frame that comes byte by byte takes its size in memory, and time in proportion."""
    size = 200_000
    wire = encode([b"x" * size])[:-1]
    reader = FrameReader()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(len(wire)):
            assert reader.feed(wire[at : at + 1]) == []
        assert tracemalloc.get_traced_memory()[0] - before < 2 * size
    finally:
        tracemalloc.stop()
    assert reader.feed(b"x") == [[b"x" * size]]
    assert sys.getsizeof(reader._buffer) < 100


def test_time_is_in_proportion():
    """Many small pieces of a large frame are not looked at again and again."""
    wire = encode([b"x" * 400_000])
    reader, began = FrameReader(), time.process_time()
    for at in range(len(wire) - 1):
        reader.feed(wire[at : at + 1])
    assert time.process_time() - began < 3


@given(FIELDS)
def test_fields_within_a_field(fields):
    """What is packed is unpacked, and cut short it is not."""
    packed = pack(fields)
    assert unpack(packed) == fields
    for end in range(len(packed)):
        try:
            assert unpack(packed[:end]) == fields[: len(unpack(packed[:end]))]
        except BadFrame:
            continue


# --- words

ADDRESSES = st.binary(max_size=60).map(lambda data: data.replace(b"\0", b"").replace(b"\n", b""))
PARAMETERS = st.lists(ADDRESSES, max_size=words.MAX_PARAMETERS)


@st.composite
def envelopes(draw):
    """Make an envelope as a session makes it."""
    envelope = Envelope(draw(ADDRESSES), draw(PARAMETERS), is_utf8=draw(st.booleans()))
    for recipient, parameters in draw(st.lists(st.tuples(ADDRESSES, PARAMETERS), min_size=1, max_size=5)):
        envelope.add(recipient, parameters)
    return envelope


def contents(envelope):
    """Give what an envelope says."""
    return {name: getattr(envelope, name) for name in Envelope.__slots__}


@given(envelopes())
def test_an_envelope_is_told(envelope):
    """What a worker packs the opener unpacks."""
    assert words.may_be_told(envelope)
    assert contents(words.unpack_envelope(words.pack_envelope(envelope))) == contents(envelope)


@given(st.one_of(ADDRESSES, st.binary(max_size=20), st.just(b"x" * (words.MAX_ADDRESS_BYTES + 1))))
@example(b"a\nb")
@example(b"\0")
def test_an_envelope_that_may_not_be_told_is_none_that_is_taken(address):
    """A worker knows beforehand what the opener takes: it would hang up on all its sessions."""
    for envelope in (Envelope(address), Envelope(b"a@b")):
        envelope.add(address if envelope.sender == b"a@b" else b"c@d", [])
        try:
            words.unpack_envelope(words.pack_envelope(envelope))
        except BadFrame:
            assert not words.may_be_told(envelope)
        else:
            assert words.may_be_told(envelope)


@given(st.dictionaries(st.sampled_from((*words.ORIGIN, b"PATH", b"LD_PRELOAD")), st.binary(max_size=300)))
@example({b"SSL_TLS_SNI": b"x" * 256})
def test_an_origin_is_told(environ):
    """Only what may be said of a client is, and the other side takes all that is said."""
    told = words.unpack_origin(words.pack_origin(environ))
    fitting = {
        name: value
        for name, value in environ.items()
        if name in words.ORIGIN and b"\0" not in value and len(value) <= words.MAX_ORIGIN_VALUE
    }
    assert told == fitting


@pytest.mark.parametrize(
    "words_of",
    [
        [b"LD_PRELOAD", b"x"],
        [b"TCPREMOTEIP"],
        [b"TCPREMOTEIP", b"a\0b"],
        [b"TCPREMOTEIP", b"x" * 256],
        [b"PROTO", b"TCP"] * 9,
    ],
)
def test_what_may_not_be_said_of_a_client(words_of):
    """Nothing that a program would take for something else than a client's address and encryption."""
    with pytest.raises(BadFrame):
        words.unpack_origin(pack(words_of))


@pytest.mark.parametrize(
    "words_of",
    [
        [b"", b"a@b", b"", b"c@d"],
        [b"x", b"a@b", b"", b"c@d", b""],
        [b"", b"a@b", b""],
        [b"", b"a\0b", b"", b"c@d", b""],
        [b"", b"a@b", b"", b"c\nd", b""],
        [b"", b"a@b", pack([b"x"] * 17), b"c@d", b""],
        [b"", b"a@b", b"", b"c@d", pack([b"x\ny"])],
        [b"", b"a@b", b"", b"c@d", b"\0\0"],
        [b"", b"a@b", b"", b"x" * 4097, b""],
    ],
)
def test_envelopes_that_no_session_makes(words_of):
    """Each part has its form and its limit."""
    with pytest.raises(BadFrame):
        words.unpack_envelope(pack(words_of))


class Nobody:
    """An opener and a verifier that note what gets through to them."""

    def __init__(self):
        self.opened = []

    def hand_over(self, *arguments):
        self.opened.append(arguments)
        return iter(())

    submit = commit = hand_over

    def dial(self):
        return iter(())

    def drive(self, steps, at_end):
        pass

    def check(self, credentials, origin, answer):
        self.opened.append((credentials, origin))


class Deaf:
    """Where an answer goes."""

    def give(self, fields, descriptor=-1):
        pass


VERBS = st.sampled_from(
    [words.OPEN, words.SUBMIT, words.COMMIT, words.ABORT, words.DIAL, words.CHECK, words.OPENED, words.QUEUED]
)
PACKED = st.recursive(st.binary(max_size=12), lambda inner: st.lists(inner, max_size=7).map(pack), max_leaves=12)
TRUE_PARTS = st.one_of(
    envelopes().map(words.pack_envelope),
    st.just(words.pack_origin({b"TCPREMOTEIP": b"192.0.2.7"})),
    st.just(b"joe\0secret\0\0"),
    st.just(b"joe\0" + b"x" * 508),
    st.sampled_from([b"", words.BROKEN, words.LATE]),
    PACKED,
    GARBAGE,
)
REQUESTS = st.one_of(
    st.lists(PACKED, max_size=6),
    st.tuples(VERBS, st.lists(TRUE_PARTS, max_size=5)).map(lambda pair: [pair[0], *pair[1]]),
)


@settings(max_examples=400)
@given(REQUESTS)
@example([words.CHECK, b"joe\0" + b"x" * 507 + b"\0", words.pack_origin({})])
@example([words.CHECK, b"\0x\0\0", words.pack_origin({})])
@example([words.CHECK, b"joe\0secret\0\0ignored\0", words.pack_origin({})])
def test_what_a_worker_taken_over_says(fields):
    """Whatever it is, it is understood or a bad frame; and what is understood is what a worker says."""
    for handler, nobody in ((WorkerAtDoor, Nobody()), (WorkerAsking, Nobody())):
        try:
            handler(nobody).request(list(fields), Deaf())
        except BadFrame:
            assert nobody.opened == []
            continue
        for arguments in nobody.opened:
            for argument in arguments:
                if isinstance(argument, Envelope):
                    assert words.may_be_told(argument)
                elif isinstance(argument, dict):
                    assert set(argument) <= set(words.ORIGIN)
            if handler is WorkerAsking:
                assert arguments[0].login and arguments[0].encode() == fields[1]


# --- the line


class Handler:
    """Answers everything, at once or when the next request comes."""

    def __init__(self):
        self.is_gone = False
        self._late = []

    def request(self, fields, answer):
        if not fields:
            raise BadFrame("nothing is asked")
        for before, other in self._late:
            other.give(before)
        self._late = [(fields, answer)] if fields[0][:1] == b"l" else []
        if not self._late:
            answer.give(fields, os.dup(2) if fields[0][:1] == b"d" else -1)

    def gone(self):
        self.is_gone = True


REQUEST_FRAMES = st.lists(
    st.tuples(
        st.sampled_from([b"", b"", b"", b"d", b"x"]),
        st.one_of(st.binary(min_size=4, max_size=4), st.binary(max_size=6)),
        st.lists(st.one_of(st.sampled_from([b"l", b"d", b"now"]), st.binary(max_size=9)), max_size=3),
    ).map(lambda parts: encode([parts[0], parts[1], *parts[2]])),
    max_size=8,
).map(b"".join)


@settings(max_examples=150)
@given(st.one_of(REQUEST_FRAMES, GARBAGE), PLACES, st.integers(0, 3))
def test_the_answering_side_outlives_any_asker(wire, places, descriptors):
    """Whatever comes, with whatever descriptors: it answers or hangs up, and nothing stays open."""
    before = sorted(os.listdir("/proc/self/fd"))
    with ResidentRunner() as runner:
        handler = Handler()
        ours, theirs = socket.socketpair()
        answerer = Answerer(runner.loop, theirs, handler)
        ours.settimeout(0)
        try:
            for piece in cut(wire, places):
                socket.send_fds(ours, [piece], [2] * descriptors)
                runner.turn(lambda: True)
        except OSError:
            assert handler.is_gone
        ours.close()
        runner.turn(lambda: handler.is_gone)
        assert not answerer._line.is_open
    assert sorted(os.listdir("/proc/self/fd")) == before


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(st.binary(max_size=30), st.tuples(st.sampled_from([b"", b"d"]), st.integers(0, 9), st.booleans())),
        max_size=8,
    )
)
def test_the_asking_side_outlives_any_answerer(pieces):
    """Each question has one outcome at most, and no descriptor stays open that nobody was given."""
    before = sorted(os.listdir("/proc/self/fd"))
    with ResidentRunner() as runner:
        outcomes, lost = [], []
        ours, theirs = socket.socketpair()
        asker = Asker(runner.loop, theirs, lambda: lost.append(True))
        runner.performers[Ask] = asker.perform

        def ask():
            answered = yield Ask("anybody", [b"x"], None)
            if answered.descriptor >= 0:
                os.close(answered.descriptor)
            outcomes.append(answered.fields)

        ended = []
        for _ in range(5):
            runner.start(ask(), lambda _result, failure: ended.append(failure))
        ours.settimeout(0)
        try:
            for piece in pieces:
                if isinstance(piece, bytes):
                    ours.send(piece)
                else:
                    mark, number, has_descriptor = piece
                    wire = encode([mark, number.to_bytes(4), b"yes"])
                    socket.send_fds(ours, [wire], [2] if has_descriptor else [])
                runner.turn(lambda: True)
        except OSError:
            assert lost
        ours.close()
        runner.turn(lambda: lost)
        assert len(ended) == 5 and lost == [True]
        assert all(failure is None or isinstance(failure, OSError) for failure in ended)
        assert len(outcomes) == ended.count(None)
    assert sorted(os.listdir("/proc/self/fd")) == before
