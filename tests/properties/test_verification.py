"""The short cut and the program cannot differ: both get the same record, store and environment, and say the same."""

import concurrent.futures
import ctypes  # noqa: F401  as whoever asks from threads does
import os
import pathlib
import sys
import tempfile
import types

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from checkpw.checker import Checker
from checkpw.cli import verification
from checkpw.runners.stdio import StdioRunner

PASSWORDS = {
    b"{PLAIN}secret": b"secret",
    b"secret": b"secret",
    b"$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4": b"secret",
    b"{PLAIN}p\xe4\xdf": b"p\xe4\xdf",
    b"{SHA}nope": b"x",
    b"{NO-SUCH-SCHEME}x": b"x",
    b"{PLAIN}\0x": b"\0x",
    b"{PLAIN.HEX}736563726574": b"secret",
    b"!{PLAIN}secret": b"secret",
    b"*": b"*",
    b"": b"",
    b"$1$x": b"x",
    b"$5$rounds=1000$abcdefgh$": b"",
}
"""What stands in a file as the hash: the password that somebody would try who had seen it."""

LOGINS = st.sampled_from(
    [b"joe", b"ann", b"joe@mail.example", b"", b"#joe", b"j\xf6", b"root", b"joe:x", b"joe\n", b"joe\r"]
)
IDENTITIES = st.sampled_from(
    [
        b":",
        b"1000:1000",
        b"1000:",
        b":1000",
        b"0:0",
        b"root:root",
        b"no-such-user:1",
        b"-1:-1",
        b"9" * 5000 + b":1",
        b"\xff:1",
    ]
)
EXTRAS = st.sampled_from(
    [
        b"",
        b"nologin",
        b"nologin=no",
        b"allow_nets=192.0.2.0/24,2001:db8::/32",
        b"allow_nets=nonsense",
        b"allow_nets=",
        b"allow_nets=\xff",
        b"allow_real_nets=192.0.2.1",
        b"nologin allow_nets=192.0.2.1",
        b"userdb_quota=1",
    ]
)
LINES = st.one_of(
    st.builds(
        lambda login, stored, identity, extra: b":".join((login, stored, identity, b"", b"/home/x", b"/bin/sh", extra)),
        LOGINS,
        st.sampled_from(sorted(PASSWORDS)),
        IDENTITIES,
        EXTRAS,
    ),
    st.builds(lambda login, stored: login + b":" + stored, LOGINS, st.sampled_from(sorted(PASSWORDS))),
    st.binary(max_size=30),
)
STORES = st.builds(
    lambda lines, end: end.join(lines) + end, st.lists(LINES, max_size=6), st.sampled_from([b"\n", b"\r\n"])
)
RECORDS = st.one_of(
    st.builds(
        lambda login, password, rest: login + b"\0" + password + rest,
        LOGINS,
        st.one_of(st.sampled_from(sorted({*PASSWORDS.values(), b"wrong"})), st.binary(max_size=12)),
        st.sampled_from([b"\0\0", b"\0", b"\0t\0more\0", b""]),
    ),
    st.sampled_from([510, 511, 512, 513, 600]).map(lambda size: b"joe\0secret\0".ljust(size, b"t")),
    st.sampled_from([510, 511, 512, 513, 600]).map(lambda size: b"joe\0" + b"x" * (size - 5) + b"\0"),
    st.binary(max_size=20),
)
PLACES = st.sampled_from(
    ["file:%s/accounts"] * 12
    + ["file:%s/missing", "file:%s", "file:%s/fifo", "file:%s/closed", "file:accounts", "file:", "", "system:x"]
    + [
        "nonsense",
        "verifier:",
        "verifier:%s/missing",
        "verifier:%s/accounts",
        "verifier:/" + "x" * 200,
        "FILE:%s/accounts",
    ]
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        b"CHECKPW_MIN_UID": st.sampled_from([b"0", b"1", b"1001", b"-1", b"", b"x", b"\xb2", b"1.0", b"9" * 5000]),
        b"TCPREMOTEIP": st.sampled_from([b"192.0.2.1", b"::ffff:192.0.2.1", b"2001:db8::1", b"", b"\xff", b"unknown"]),
        b"CHECKPW_USER": st.sampled_from([b"nobody", b"no-such-user"]),
        b"CHECKPW_VERIFIER_UID": st.sampled_from([b"0", b"x", b"no-such-user", b"9" * 5000, b""]),
        b"LC_ALL": st.sampled_from([b"C", b"tr_TR.UTF-8", b"nonsense"]),
        b"PYTHONSTARTUP": st.just(b"/nonexistent"),
        b"HOME": st.just(b"/nonexistent"),
    },
)


@pytest.fixture(scope="module")
def program(programs):
    """Give a function that asks the program itself, as any caller does, whatever the record is."""

    def ask(record, environ, codes=frozenset({1})):
        checker = Checker([os.fsencode(programs / "checkpassword"), b"true"], environ, codes, 60.0)
        # A caller's own Credentials would refuse to send what is no record.
        return StdioRunner().run(checker.ask(types.SimpleNamespace(encode=lambda: record)))

    return ask


@pytest.fixture(scope="module")
def place():
    """Give a directory with what may be named as a store and is none."""
    with tempfile.TemporaryDirectory(prefix="checkpw-stores-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        os.mkfifo(directory / "fifo")
        (directory / "closed").write_bytes(b"joe:{PLAIN}secret::::::\n")
        (directory / "closed").chmod(0)  # root reads it all the same, and so do both
        yield directory


def shown(answer):
    """Give all that a caller sees of an answer."""
    return answer.verdict, answer.reason, answer.diagnostics


@given(RECORDS, STORES, PLACES, SETTINGS)
@example(b"joe\0secret\0\0", b"joe:{PLAIN}secret::::::\n", "file:%s/accounts", {})
@example(b"joe\0secret\0\0", b"joe:{PLAIN}secret:" + b"9" * 5000 + b":1::::\n", "file:%s/accounts", {})
@example(b"joe\0secret\0\0", b"", "file:%s/fifo", {})
@example(b"joe\0secret\0\0", b"", "file:%s/closed", {b"CHECKPW_MIN_UID": b"9" * 5000})
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_the_program_and_the_short_cut_say_the_same(program, place, record, store, url, environ):
    """Verdict, reason and diagnostics are the same, whatever the file, the record and the environment."""
    (place / "accounts").write_bytes(store)
    environ = environ | {b"CHECKPW_ACCOUNTS": os.fsencode(url.replace("%s", str(place)))}
    assert shown(verification.answer(record, environ)) == shown(program(record, environ))


@pytest.mark.parametrize(
    "record", [b"root\0wrong\0\0", b"no-such-login\0x\0\0", b"\0\0\0", b"root\0\0\0", b"\xff\0x\0"]
)
def test_the_same_of_the_accounts_of_the_machine(program, record):
    """Without a setting, both ask system:, and can or cannot read shadow."""
    assert shown(verification.answer(record, {})) == shown(program(record, {}))


@pytest.mark.parametrize("codes", [{1}, {1, 2}, {1, 3, 100}])
@pytest.mark.parametrize("record", [b"joe\0secret\0\0", b"joe\0wrong\0\0", b"joe", b"odd\0x\0\0", b"x" * 513])
def test_statuses_that_mean_no_mean_it_to_both(program, place, codes, record):
    """Which statuses a caller takes for a no decides in both ways alike."""
    (place / "accounts").write_bytes(b"joe:{PLAIN}secret::::::\nodd:{ODD}x:\n")
    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts")}
    ours = verification.answer(record, environ, frozenset(codes))
    assert shown(ours) == shown(program(record, environ, frozenset(codes)))


def test_a_broken_module_is_trouble_to_both(program, place, monkeypatch):
    """What nobody thought of is 111 with the place of it, and without what it says."""
    (place / "accounts").write_bytes(b"joe:{PLAIN}secret::::::allow_nets=127.0.0.1\n")
    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts"), b"TCPREMOTEIP": b"127.0.0.1"}
    for error in (ValueError("secret"), SystemExit(0), KeyboardInterrupt("secret"), MemoryError()):
        broken = types.SimpleNamespace(admit=_raiser(error))
        monkeypatch.setitem(sys.modules, "checkpw.accounts.networks", broken)
        monkeypatch.setattr("checkpw.accounts.networks", broken, raising=False)
        answer = verification.answer(b"joe\0secret\0\0", environ)
        assert (answer.verdict, answer.reason) == ("temporary", "exit status 111")
        assert answer.diagnostics.startswith(b"checkpassword: unexpected trouble: " + type(error).__name__.encode())
        assert b"secret" not in answer.diagnostics
        assert answer.diagnostics.count(b"\n") == 1


def _raiser(error):
    def admit(address, networks):
        raise error

    return admit


def test_threads_do_not_mix_answers_up(place):
    """Questions asked at once from several threads are answered each as alone, with hashes that run at once."""
    hashes = sorted(PASSWORDS)
    lines = [b"user%d:%s:%d:1::/home/%d::" % (at, stored, at + 1, at) for at, stored in enumerate(hashes)]
    (place / "accounts").write_bytes(b"\n".join(lines))
    environ = {b"CHECKPW_ACCOUNTS": b"file:" + os.fsencode(place / "accounts")}
    records = [b"user%d\0%s\0\0" % (at, PASSWORDS[stored]) for at, stored in enumerate(hashes)]
    records += [b"user%d\0wrong\0\0" % at for at in range(len(hashes))] + [b"nobody\0x\0\0"]
    machine = {b"CHECKPW_ACCOUNTS": b"system:"}
    questions = [(record, environ) for record in records] + [(b"root\0wrong\0\0", machine), (b"nobody\0x\0\0", machine)]
    alone = [_all(verification.attempt(*question)) for question in questions]
    assert {status for status, *_ in alone} == {0, 1, 111}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda question: _all(verification.attempt(*question)), questions * 12)) == alone * 12


def _all(outcome):
    who = outcome.account
    return outcome.status, outcome.output, None if who is None else (who.login, who.uid, who.home)


# --- which program is ours


@pytest.fixture
def installed(programs, tmp_path):
    """Give a directory with our programs, which a test may change."""
    for name in ("checkpassword", "ofmipd"):
        (tmp_path / name).write_bytes((programs / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    return tmp_path


def ours(directory, *argv, path=None, launcher=None):
    """Ask whether a chain is ours, for the ofmipd in a directory."""
    environ = {} if path is None else {b"PATH": os.fsencode(path)}
    return verification.is_ours(
        [os.fsencode(word) for word in argv], environ, os.fsencode(launcher or directory / "ofmipd")
    )


def test_our_own_program_is_known(installed, monkeypatch):
    """By path, through PATH, by a link, and from a launcher that was started by a name without a slash."""
    for sentinel in ("true", "/bin/true", "/usr/bin/true"):
        assert ours(installed, installed / "checkpassword", sentinel)
        assert ours(installed, "checkpassword", sentinel, path=f"/nonexistent:{installed}:/usr/bin")
    (installed / "link").symlink_to(installed / "checkpassword")
    assert ours(installed, installed / "link", "true")
    monkeypatch.chdir(installed)
    assert ours(installed, "checkpassword", "true", path="", launcher="ofmipd")
    assert ours(installed, "./checkpassword", "true", launcher="./ofmipd")


@pytest.mark.parametrize(
    "rest", [[], ["true", "x"], ["sh"], ["./true"], ["sh", "-c", "exit 1"], ["checkpassword", "true"]]
)
def test_only_the_verdict_has_a_short_cut(installed, rest):
    """A chain that runs something is to be run."""
    assert not ours(installed, installed / "checkpassword", *rest)


def test_another_program_is_not_ours(installed, programs, tmp_path):
    """Not a copy elsewhere, not what comes first in PATH, not what is missing or cannot be run."""
    other = tmp_path / "other"
    other.mkdir()
    assert not ours(installed, "checkpassword", "true", path=other)
    assert not ours(installed, "true", "true", path="/usr/bin:/bin")
    (other / "checkpassword").write_bytes((installed / "checkpassword").read_bytes())
    # Not executable: whoever searches PATH goes on.
    (other / "checkpassword").chmod(0o644)
    assert ours(installed, "checkpassword", "true", path=f"{other}:{installed}")
    (other / "directory" / "checkpassword").mkdir(parents=True)
    assert ours(installed, "checkpassword", "true", path=f"{other}/directory:{installed}")
    (other / "checkpassword").chmod(0o755)
    assert not ours(installed, "checkpassword", "true", path=f"{other}:{installed}")
    assert not ours(installed, other / "checkpassword", "true")
    (installed / "checkpassword").chmod(0o644)
    assert not ours(installed, installed / "checkpassword", "true")
    (installed / "checkpassword").unlink()
    assert not ours(installed, installed / "checkpassword", "true")
    assert not ours(installed, installed, "true")
    assert not ours(installed, "a\0b", "true")
    assert not ours(installed, "", "true")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"#!/bin/sh\nexit 0\n",
        lambda text: b"\x7fELF" + text,
        lambda text: text.replace(b"checkpw.cli.checkpassword", b"checkpw.cli.ofmipd"),
        lambda text: text.replace(b"sys.path += [", b"sys.path += ['/other', "),
        lambda text: text.replace(b"#!", b"#!/other", 1),
        lambda text: b"",
    ],
)
def test_what_somebody_put_in_its_place_is_not_ours(installed, change):
    """A file of the name beside our program that is none of ours, or of another installation, is started as ever."""
    path = installed / "checkpassword"
    path.write_bytes(change(path.read_bytes()))
    assert not ours(installed, path, "true")
