"""Shared numbers: what several processes count, and the crowd, against models that keep everything."""

import os
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpw.tallies import COUNTER, GAUGE, HISTOGRAM, Column, Crowd, CrowdLimits, Family, Tally, Verdict

AUTH = Family(
    "auth_total",
    "Logins.",
    COUNTER,
    ("verdict", "mechanism"),
    (("ok", "PLAIN"), ("ok", "LOGIN"), ("no", "PLAIN"), ("no", "LOGIN")),
)
OPEN = Family("open", "Connections that are open.", GAUGE)
QUEUE = Family("queue_seconds", "Time for the queue.", HISTOGRAM, ("door",), (("qmail",),), (0.25, 1.0, 2.5))
FAMILIES = (AUTH, OPEN, QUEUE)


def _in_child(act):
    """Do something in a process of its own, as a worker would."""
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forks where there are threads: pytest-xdist has one, which holds no lock of ours.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


# --- numbers


def test_what_processes_count_is_added_up():
    """Each slot counts by itself, in processes of their own; a successor goes on where its predecessor was."""
    tally = Tally(FAMILIES, 3)
    ok, no = tally.index("auth_total", "ok", "PLAIN"), tally.index("auth_total", "no", "LOGIN")
    for number, count in ((0, 2), (2, 3), (0, 5)):

        def work(number=number, count=count):
            slot = tally.slot(number)
            for _ in range(count):
                slot.add(ok)
            slot.add(no, 0.5)

        _in_child(work)
    assert tally.total(ok) == 10
    assert tally.total(no) == 1.5
    assert tally.total(tally.index("auth_total", "ok", "LOGIN")) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(FAMILIES), st.integers(0, 3), st.integers(0, 9))))
def test_no_number_is_in_the_way_of_another(steps):
    """Whatever is added where, each series of each slot has its own sum."""
    tally = Tally(FAMILIES, 4)
    expected = {}
    for number, family, which, amount in steps:
        values = family.series[which % len(family.series)]
        index = tally.index(family.name, *values)
        if family is QUEUE:
            tally.slot(number).observe(index, QUEUE.bounds, amount / 2)
        else:
            tally.slot(number).add(index, amount)
            expected[family.name, values] = expected.get((family.name, values), 0) + amount
    seen = {
        (family.name, tuple(labels.values())): value for family, suffix, labels, value in tally.samples() if not suffix
    }
    assert {key: value for key, value in seen.items() if value} == {key: n for key, n in expected.items() if n}


@given(st.lists(st.floats(0, 4) | st.sampled_from(QUEUE.bounds)))
def test_histograms(values):
    """A bucket holds what is at most its bound, and what the buckets below it hold."""
    tally = Tally(FAMILIES, 2)
    index = tally.index("queue_seconds", "qmail")
    for number, value in enumerate(values):
        tally.slot(number % 2).observe(index, QUEUE.bounds, value)
    seen = {(suffix, labels.get("le")): value for family, suffix, labels, value in tally.samples() if family is QUEUE}
    for bound, text in ((0.25, "0.25"), (1.0, "1"), (2.5, "2.5"), (float("inf"), "+Inf")):
        assert seen.pop(("_bucket", text)) == sum(1 for value in values if value <= bound)
    assert seen.pop(("_count", None)) == len(values)
    assert seen.pop(("_sum", None)) == pytest.approx(sum(values))
    assert seen == {}


def test_what_a_dead_process_had_is_gone():
    """Gauges of a slot can be put at zero; what was counted stays, and so do the other slots."""
    tally = Tally(FAMILIES, 2)
    opened, ok = tally.index("open"), tally.index("auth_total", "ok", "PLAIN")
    for number in (0, 1):
        tally.slot(number).add(opened, 3)
        tally.slot(number).add(ok, 3)
        tally.slot(number).add(opened, -1)
    tally.forget(1)
    assert (tally.total(opened), tally.total(ok)) == (2, 6)


def test_only_what_was_declared_can_be_counted():
    """A label that nobody declared, such as one that a client sent, is an error, and so is a slot that is not there."""
    tally = Tally(FAMILIES, 2)
    for name, *values in (("auth_total", "ok", "GSSAPI"), ("auth_total", "ok"), ("auth", "ok", "PLAIN")):
        with pytest.raises(KeyError):
            tally.index(name, *values)
    with pytest.raises(IndexError):
        tally.slot(2).add(0)


def test_slots_do_not_share_a_cache_line():
    """Two processors that count do not wait for each other."""
    tally = Tally((OPEN,), 2)
    tally.slot(1).add(0)
    assert list(tally._cells) == [0.0] * 8 + [1.0] + [0.0] * 7


def test_samples():
    """Each bucket counts those below it too, and the last one all; names and labels are those of Prometheus."""
    tally = Tally((AUTH, QUEUE), 1)
    slot = tally.slot(0)
    slot.add(tally.index("auth_total", "no", "PLAIN"))
    for value in (0.25, 2.0, 99.0):
        slot.observe(tally.index("queue_seconds", "qmail"), QUEUE.bounds, value)
    assert [(family.name + suffix, *labels.values(), value) for family, suffix, labels, value in tally.samples()] == [
        ("auth_total", "ok", "PLAIN", 0),
        ("auth_total", "ok", "LOGIN", 0),
        ("auth_total", "no", "PLAIN", 1),
        ("auth_total", "no", "LOGIN", 0),
        ("queue_seconds_bucket", "qmail", "0.25", 1),
        ("queue_seconds_bucket", "qmail", "1", 1),
        ("queue_seconds_bucket", "qmail", "2.5", 2),
        ("queue_seconds_bucket", "qmail", "+Inf", 3),
        ("queue_seconds_sum", "qmail", 101.25),
        ("queue_seconds_count", "qmail", 3),
    ]


# --- the crowd

ADDRESSES = {
    b"192.0.2.1": "a",
    b"192.0.2.2": "b",
    b"::ffff:192.0.2.2": "b",
    b"2001:db8::1": "c",
    b"2001:db8::ffff:1": "c",
    b"2001:db8:0:0:8000::": "c",
    b"2001:db8:0:1::1": "d",
    b"fe80::1%lo": "e",
    b"fe80::1%eth0": "e",
    b"unknown": None,
    b"": None,
    b"\xff": None,
    b"1.2.3.4\0": None,
}
"""Addresses, and which of them are one client."""


def _fresh(columns=3):
    """Give a crowd in which no two clients share a row by accident."""
    while True:
        crowd = Crowd(columns)
        column = crowd.column(0, CrowdLimits(0, 0, 0))
        clients = {who: column._row(ip) for ip, who in ADDRESSES.items()}
        if len(set(clients.values())) == len(clients):
            return crowd


def test_which_addresses_are_one_client():
    """Of IPv6 the first half counts, and IPv4 is the same in either form; what is no address has no row."""
    column = _fresh().column(0, CrowdLimits(0, 0, 0))
    rows = {}
    for ip, who in ADDRESSES.items():
        assert column._row(ip) == rows.setdefault(who, column._row(ip)), ip
    assert rows[None] == -1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 2), st.sampled_from(sorted(ADDRESSES))),
        st.tuples(st.just("leave"), st.integers(0, 2), st.integers(0, 99)),
        st.tuples(st.just("wait"), st.floats(0, 200), st.none()),
        st.tuples(st.just("die"), st.integers(0, 2), st.none()),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 7), st.integers(0, 4), st.integers(0, 5))
def test_the_crowd(steps, in_all, per_address, per_minute):
    """Who is let in is what a list of all connections says, whichever worker is asked."""
    crowd = _fresh()
    columns = [crowd.column(number, CrowdLimits(in_all, per_address, per_minute)) for number in range(3)]
    inside = {0: [], 1: [], 2: []}
    begun = []
    now = 1000.0
    for step, what, which in steps:
        if step == "wait":
            now += what
        elif step == "die":
            crowd.forget(what)
            inside[what] = []
        elif step == "leave":
            if inside[what]:
                columns[what].leave(inside[what].pop(which % len(inside[what])))
        else:
            verdict = columns[what].enter(which, now)
            assert verdict == _model(inside, begun, which, now, (in_all, per_address, per_minute))
            if verdict is Verdict.OK:
                inside[what].append(which)
                begun.append((now // 60, ADDRESSES[which]))
        assert crowd.open_in_all() == sum(map(len, inside.values()))


def _model(inside, begun, ip, now, limits):
    in_all, per_address, per_minute = limits
    everybody = [ADDRESSES[other] for column in inside.values() for other in column]
    who, minute = ADDRESSES[ip], now // 60
    if in_all and len(everybody) >= in_all:
        return Verdict.TOO_MANY
    if who and per_address and everybody.count(who) >= per_address:
        return Verdict.TOO_MANY_FROM_ADDRESS
    recently = begun.count((minute, who)) + (1 - now % 60 / 60) * begun.count((minute - 1, who))
    if who and per_minute and recently >= per_minute:
        return Verdict.TOO_OFTEN
    return Verdict.OK


def test_workers_see_each_other():
    """What one process lets in counts for another, until it has left or its process is forgotten."""
    crowd = _fresh(2)
    limits = CrowdLimits(0, 1, 0)
    _in_child(lambda: crowd.column(0, limits).enter(b"192.0.2.1", 0.0))
    here = crowd.column(1, limits)
    assert here.enter(b"192.0.2.1", 0.0) is Verdict.TOO_MANY_FROM_ADDRESS
    _in_child(lambda: crowd.column(0, limits).leave(b"192.0.2.1"))
    assert here.enter(b"192.0.2.1", 0.0) is Verdict.OK


def test_the_first_row_is_one_like_the_others(monkeypatch):
    """An address whose row is the first is counted by address, too."""
    monkeypatch.setattr(Column, "_row", lambda column, ip: 0)
    column = Crowd(2).column(1, CrowdLimits(0, 1, 2))
    for verdict in (Verdict.OK, Verdict.OK, Verdict.TOO_OFTEN):
        assert column.enter(b"192.0.2.1", 0.0) is verdict
        if verdict is Verdict.OK:
            assert column.enter(b"192.0.2.1", 0.0) is Verdict.TOO_MANY_FROM_ADDRESS
            column.leave(b"192.0.2.1")


def test_forgetting_a_worker_touches_no_other():
    """Only what the dead worker had let in is taken out, every row of it."""
    crowd = Crowd(2)
    columns = [crowd.column(number, CrowdLimits(0, 0, 0)) for number in range(2)]
    for number in range(300):
        for column in columns:
            column.enter(b"192.0.%d.%d" % divmod(number, 256), 0.0)
    crowd.forget(0)
    assert sum(crowd._open[0::2]) == 0
    assert sum(crowd._open[1::2]) == 300
    assert crowd.open_in_all() == 300


def test_an_old_minute_is_not_a_new_one():
    """What began two minutes ago counts no more, though it is in the same table; and a count never grows into it."""
    crowd = _fresh(1)
    column = crowd.column(0, CrowdLimits(0, 0, 65535))
    row = column._row(b"192.0.2.1")
    crowd._begun[0][row] = 2 << 16 | 65534
    assert column.enter(b"192.0.2.1", 2 * 60.0) is Verdict.OK
    assert column.enter(b"192.0.2.1", 2 * 60.0) is Verdict.TOO_OFTEN
    assert crowd.column(0, CrowdLimits(0, 0, 0)).enter(b"192.0.2.1", 2 * 60.0) is Verdict.OK
    assert crowd._begun[0][row] == 2 << 16 | 65535
    assert column.enter(b"192.0.2.1", 4 * 60.0) is Verdict.OK
    assert crowd._begun[0][row] == 4 << 16 | 1


def test_nobody_knows_who_shares_a_row():
    """Which addresses share limits differs from one start of the server to the next."""
    rows = {Crowd(1).column(0, CrowdLimits(0, 0, 0))._row(b"192.0.2.1") for _ in range(8)}
    assert len(rows) > 1
    assert all(0 <= row < 65536 for row in rows)
