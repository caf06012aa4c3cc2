"""checkpw.hashes: which password matches which stored hash, and what is made for a new one."""

import pathlib
import subprocess
import sys

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from checkpw import hashes, libcrypt, newhash
from checkpw.errors import CheckpwError, Misuse, TemporaryFailure
from checkpw.secret import Secret

ROOT = str(pathlib.Path(__file__).parents[2])

# Hashes of "secret" that other programs made: doveadm pw, htpasswd, libcrypt, argon2-cffi, passlib.
FOREIGN = [
    b"{PLAIN}secret",
    b"{plain}secret",
    b"{CLEARTEXT}secret",
    b"{CLEAR}secret",
    b"{PLAIN.B64}c2VjcmV0",
    b"{PLAIN.HEX}736563726574",
    b"{DES-CRYPT}wQY.cGiESqqzo",
    b"{MD5-CRYPT}$1$aXl3mnEi$fC047HbW0C5Cx/0gJbiU91",
    b"{SHA256-CRYPT}$5$1Q4kDS1v1xx1opAY$ROVltzLjGjGkQ0S./8cVHZ8fm0sTLNyO4R0fcZuwQw0",
    (
        b"{sha512-crypt}$6$rounds=1000$abcdefgh$"
        b"nhYjN017qxiYztzyUpZtPnUQcnLy62KsunSLHNeLahp2EHPlAKmFFlrjEwSXGo2kgY5hR2.peKEg2VGUqIJJu1"
    ),
    (
        b"{SHA512-CRYPT.B64}JDYkVzFHbUNQaC5xYjhBMkpzViR2SWdOQ1gvb0FKS3Z4ZVVIR3dHZ3dEb1NFU0NDeDRXLzMxMUF5dWNE"
        b"a29aR05pVXNaNUluSlc2WHoxNXJDQkZuTUQ3SDdGVC5NT3pSTHhDdXpjdzRGLg=="
    ),
    b"{CRYPT}$2y$05$FXzgL8oMFsuO5wnFz.H8ROgnfFg3Ni0xn0QrVzKH1qMz5Yc/KSOSe",
    b"{CRYPT}$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01",
    b"{BLF-CRYPT}$2y$04$YBwmXdH5syUmHFqNKMj7zeVZ2NJ6Sf/wP2TADbRP2SQaqKWIEU3k2",
    b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    b"$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4",
    b"$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01",
    b"$gy$j75$abcdefgh$lRD8hCfuUnaykqHEd24aR4OED0E.hiL5k0lM9Kg0qT5",
    b"KlBFnh5Ir065g",
    b"_J9..abcd/H6HLCcf7nw",
    b"{ARGON2I}$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$YC9+jJCrQhs5R6db7LlN8Q",
    b"{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$+RsCrdHrAKGEJIDLM0Esow",
    b"$argon2d$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$ltt0BG6Ew30G/qU8ZrfQ+Q",
    b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    b"{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    b"{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
    b"{SHA.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
    b"{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    b"{SHA256.b64}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    b"{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
    b"{SSHA}e77SeNcOYMYxOApV3Fn/5j88o9HetZeQ",
    b"{SSHA.hex}bd9e2399b3e1d1ec807fab538054b79743afe851b9d5736e",
    b"{SSHA256}rUqr51XLpuY0+uPeUJxQiaq8vgl5s3alInCL1Mp5mQYl6jQh",
    b"{SSHA512}YOINWckOR64HklTZyzjUCTdHoY0ZSOIWZA1JWFfOcSY7U3bU1GKJgoC+dhFx74e7yLzoJ4tM+ZQq96M+UD9g786qTI8=",
    b"{PBKDF2}$1$fw7rZfVKNSnS5UCB$5000$3cc5568f0aa865ce025ff87f69a90eeb66bbacdf",
    b"{SMD5}H24M+jAiSp7T8+PQHH6nYggxc14=",
    b"{MD5}$1$66I7dRSo$P/08iVK6ucW1FDUYlljVu0",
    b"{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    b"{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    b"{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
    b"$apr1$FrOuqjsh$htO1OLbUnr9abhFFWmHFR/",
    b"$pbkdf2-sha256$1000$713rvZeSMmYMAeAcY0zJeQ$a67i/tKX9CfSNzsqawzNiopW1pLlTRjuO6IYvCzlbGk",
    (
        b"$pbkdf2-sha512$1000$bA3hPOcc45wTAmAMISSk9A$"
        b"IZibkGGWM0xTFxtGVaWau6j7tR68wfIORrWXGnq08h6I8UuifDAaceScwuW9WyNSNDkYTiHT0M97o0YAVEz1wQ"
    ),
    b"$pbkdf2$1000$aO1dC.Ecw3gPYUzJOQdA6A$73ombElpWLmjOnSqHv0sZTIOgGk",
    b"$scrypt$ln=4,r=8,p=1$EyLEGEMopVQqxVhrTQmBUA$6Xs/AnD+n7URSXRArSl8eJqdlbz/LPosaGYTTy3rm/g",
    b"$P$51B2mga7Ba/yJEllE1eBz7yHQIWxS80",
]

CHEAP = {
    "SHA512-CRYPT": {"cost": 1000},
    "SHA256-CRYPT": {"cost": 1000},
    "YESCRYPT": {"cost": 1},
    "BLF-CRYPT": {"cost": 4},
    "ARGON2ID": {"cost": 1, "memory": 8},
    "PBKDF2": {"cost": 1000},
    "SSHA512": {},
    "SSHA256": {},
    "SSHA": {},
    "PLAIN": {},
}

LOCKED = [
    b"",
    b"!",
    b"!!",
    b"*",
    b"*0",
    b"*1",
    b"*LK*",
    b"x",
    b"!{PLAIN}secret",
    b"!$6$rounds=1000$abcdefgh$nhYjN017qxiYztzyUpZtPnUQcnLy62KsunSLHNeLahp2EHPlAKmFFlrjEwSXGo2kgY5hR2.",
    b"{CRYPT}",
    b"{CRYPT}!",
    b"{CRYPT}*",
    b"{SSHA}",
    b"{SHA}!5en6G6MezRroT3XKqkdPOmY/BfQ=",
    b"{PLAIN}",
]

DAMAGED = [
    b"{SHA}not base64",
    b"{SHA}5en6!G6MezRroT3XKqkdPOmY/BfQ=",
    b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ",
    b"{SHA}e77SeNcOYMYxOApV3Fn/5j88o9HetZeQ",
    b"{SHA256}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    b"{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    b"{SSHA.HEX}5en6",
    b"{PLAIN.B64}c2Vjc",
    b"{PLAIN.HEX}7",
    b"{PBKDF2}$1$salt$5000",
    b"{PBKDF2}$2$salt$5000$3cc5568f0aa865ce025ff87f69a90eeb66bbacdf",
    b"{PBKDF2}$1$salt$0$3cc5568f0aa865ce025ff87f69a90eeb66bbacdf",
    b"{PBKDF2}$1$salt$99999999$3cc5568f0aa865ce025ff87f69a90eeb66bbacdf",
    b"{PBKDF2}$1$salt$5000$zzzz568f0aa865ce025ff87f69a90eeb66bbacdf",
    b"{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
    b"{ARGON2ID}$argon2id$v=19$m=1,t=0,p=0$c2FsdHNhbHQ$+RsCrdHrAKGEJIDLM0Esow",
    b"{BLF-CRYPT}$2y$99$YBwmXdH5syUmHFqNKMj7zeVZ2NJ6Sf/wP2TADbRP2SQaqKWIEU3k2",
    b"{BLF-CRYPT}$2y$04$YBwm",
    b"$2x$04$short",
    b"$6$rounds=abc$abcdefgh$x",
    b"$apr1$",
    b"$pbkdf2-sha256$x$y$z",
    b"$scrypt$ln=99,r=8,p=1$a$b",
    b"$P$",
    b"$nobody-knows-this$abc",
    b"{PLAIN}sec\0ret",
]


@pytest.mark.parametrize("stored", FOREIGN, ids=repr)
def test_matches_what_other_programs_made(stored):
    """A hash of another program matches its password and no neighbour of it."""
    assert hashes.usable(stored)
    assert hashes.verify(stored, b"secret") is True
    assert hashes.verify(stored, b"secreT") is False
    assert hashes.verify(stored, b"") is False
    assert hashes.verify(stored, b"secret\0") is False
    assert hashes.verify(stored, b"secret\0junk") is False


@pytest.mark.parametrize("stored", LOCKED, ids=repr)
def test_locked_or_empty_matches_nothing(stored):
    """A locked or empty hash is a plain no, also for the password that would be right without the lock."""
    assert not hashes.usable(stored)
    for password in (b"secret", b"", b"!", b"*", b"x", b"*0", stored):
        assert hashes.verify(stored, password) is False


def test_a_lock_under_an_encoding_is_a_lock():
    """An encoded `!...` is locked too, although one only sees it after decoding."""
    assert hashes.verify(b"{CRYPT.B64}ISQ2JHg=", b"secret") is False


@pytest.mark.parametrize("stored", DAMAGED, ids=repr)
def test_damaged_hash_is_temporary(stored):
    """A hash that nobody can compute is trouble for the administrator and no wrong password."""
    with pytest.raises(TemporaryFailure) as caught:
        hashes.verify(stored, b"secret")
    assert stored.partition(b"}")[2].decode() not in str(caught.value) or b"}" not in stored


@pytest.mark.parametrize(
    "stored",
    [
        b"{NTLM}abc",
        b"{SCRAM-SHA-256}4096,a",
        b"{SHA.ROT13}abc",
        b"{SHA.}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        b"{PLAIN.}secret",
        b"{}x",
    ],
)
def test_unknown_scheme_is_temporary(stored):
    """A scheme or encoding that we do not know is never answered with yes or no."""
    with pytest.raises(TemporaryFailure):
        hashes.verify(stored, b"secret")


def test_unknown_scheme_is_named_and_the_hash_is_not():
    """The administrator reads which scheme it was, and the log gets nothing of the hash."""
    with pytest.raises(TemporaryFailure, match="NTLM") as caught:
        hashes.verify(b"{NTLM}0123456789abcdef", b"secret")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("stored", [b"secret", b"{my pass} word", b"{secret", b"a password that is long"])
def test_a_password_in_the_clear_without_a_scheme_is_trouble_and_not_printed(stored):
    """A file with bare passwords neither lets in nor says "wrong", and the text does not repeat the password."""
    with pytest.raises(TemporaryFailure) as caught:
        hashes.verify(stored, b"secret")
    assert "pass" not in str(caught.value).replace("password", "")
    assert "secret" not in str(caught.value)


def test_des_settings_do_not_match_themselves():
    """A string that is only a setting for crypt (no digest) matches no password."""
    assert hashes.verify(b"$6$abcdefgh$", b"secret") is False
    assert hashes.verify(b"$5$abcdefgh", b"secret") is False


def _remove_libcrypt(monkeypatch):
    """Have neither way to libcrypt."""
    monkeypatch.setattr(libcrypt, "by_module", lambda *_: None)
    monkeypatch.setattr(libcrypt, "find", lambda _name: None)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python 3.13 has no _crypt, and ctypes is the only way")
@pytest.mark.parametrize("password", [b"secret", "pässwort".encode(), b"p\xff"], ids=repr)
def test_both_ways_to_libcrypt_agree(monkeypatch, password):
    """Python's own module and ctypes compute the same, and what the module does not take goes to ctypes."""
    setting = b"$6$abcdefgh$"
    by_ctypes = libcrypt.by_ctypes(setting, password)
    monkeypatch.delitem(sys.modules, "ctypes")
    assert libcrypt.by_module(setting, password) == (None if b"\xff" in password else by_ctypes)
    assert libcrypt.crypt(setting, password) == by_ctypes


def test_bcrypt_reads_72_bytes_with_libcrypt_and_with_the_package(monkeypatch):
    """What follows the 72nd byte does not matter to bcrypt, and is no error either."""
    stored = newhash.make("BLF-CRYPT", Secret(b"p" * 72), cost=4)
    assert hashes.verify(stored, b"p" * 72 + b"more")
    _remove_libcrypt(monkeypatch)
    assert hashes.verify(stored, b"p" * 72 + b"more")
    assert not hashes.verify(stored, b"p" * 71)


def test_libcrypt_is_loaded_once():
    """A second hash finds what the first has found: loading makes classes, which only the collector frees."""
    assert libcrypt.find("crypt_r") is libcrypt.find("crypt_r") is not None


@pytest.mark.parametrize("stored", [FOREIGN[7], FOREIGN[8], FOREIGN[9], FOREIGN[11], FOREIGN[14]], ids=repr)
def test_without_libcrypt_the_packages_step_in(monkeypatch, stored):
    """On a machine without libcrypt the common forms are verified by bcrypt and passlib."""
    _remove_libcrypt(monkeypatch)
    assert hashes.verify(stored, b"secret")
    assert not hashes.verify(stored, b"wrong")


def test_without_libcrypt_its_own_forms_are_trouble(monkeypatch):
    """Where nothing knows yescrypt, a yescrypt hash is trouble, and making one says so."""
    _remove_libcrypt(monkeypatch)
    with pytest.raises(TemporaryFailure, match="YESCRYPT"):
        hashes.verify(b"$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01", b"secret")
    with pytest.raises(TemporaryFailure, match="yescrypt"):
        newhash.make("YESCRYPT", Secret(b"secret"))


def test_without_libcrypt_a_hash_of_the_old_defect_is_trouble(monkeypatch):
    """$2x$ marks hashes of a sign error; the bcrypt package would compute them without it, and say yes wrongly."""
    stored = b"$2x$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
    assert hashes.verify(stored, b"secret")
    _remove_libcrypt(monkeypatch)
    with pytest.raises(TemporaryFailure):
        hashes.verify(stored, b"secret")


@pytest.mark.parametrize(
    ("package", "stored"),
    [
        ("_argon2_cffi_bindings", b"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$+RsCrdHrAKGEJIDLM0Esow"),
        ("passlib", b"$apr1$FrOuqjsh$htO1OLbUnr9abhFFWmHFR/"),
        ("bcrypt", b"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"),
    ],
)
def test_a_missing_package_is_temporary(monkeypatch, package, stored):
    """A package that is not installed is our trouble and never a wrong password."""
    _remove_libcrypt(monkeypatch)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TemporaryFailure, match="package"):
        hashes.verify(stored, b"secret")


def test_libcrypt_saying_no_is_no_hash(monkeypatch):
    """What libcrypt returns instead of a hash (a token with a star, or NULL) never matches a stored string."""
    for answer in (b"*0", b"*1", None):
        monkeypatch.setattr(libcrypt, "by_module", lambda *_: None)
        monkeypatch.setattr(libcrypt, "find", lambda _name, answer=answer: lambda *_: answer)
        with pytest.raises(TemporaryFailure):
            hashes.verify(b"$z$whatever", b"secret")


def test_the_password_may_have_512_bytes_and_no_more():
    """A password longer than a record on descriptor 3 matches nothing, one that fits does."""
    assert hashes.verify(b"{PLAIN}" + b"p" * 512, b"p" * 512)
    assert not hashes.verify(b"{PLAIN}" + b"p" * 513, b"p" * 513)
    stored = newhash.make("SHA512-CRYPT", Secret(b"p" * 511), cost=1000)
    assert hashes.verify(stored, b"p" * 511)


@given(stored=st.binary(max_size=120), password=st.binary(max_size=40))
@example(stored=b"{PLAIN}\xff", password=b"\xff")
def test_any_bytes_give_an_answer_or_a_known_error(stored, password):
    """Whatever stands in a file, verify answers or raises what the callers know."""
    try:
        answer = hashes.verify(stored, password)
    except CheckpwError:
        return
    assert answer in (True, False)
    if answer:
        assert password
        assert hashes.usable(stored)


HEADS = st.sampled_from(
    [
        b"$1$",
        b"$2a$04$",
        b"$2b$04$",
        b"$2x$04$",
        b"$2y$",
        b"$5$",
        b"$6$",
        b"$6$rounds=1",
        b"$apr1$",
        b"$argon2id$v=19$m=8,t=1,p=1$",
        b"$argon2i$",
        b"$pbkdf2-sha256$1$",
        b"$pbkdf2-sha512$1$",
        b"$pbkdf2$1$",
        b"$scrypt$ln=2,r=1,p=1$",
        b"$P$",
        b"$P$5",
        b"$H$",
        b"$sha1$1$",
        b"$md5$",
        b"$3$",
        b"{MD5}",
        b"{SHA}",
        b"{SSHA}",
        b"{SSHA256.HEX}",
        b"{SHA512.B64}",
        b"{PBKDF2}$1$a$1$",
        b"{PBKDF2}",
        b"{PLAIN.B64}",
        b"{CRYPT.HEX}",
        b"{ARGON2ID}",
    ]
)
TAILS = st.one_of(
    st.binary(max_size=70),
    st.text("./ABCXYZabcxyz0129$=,{}", max_size=90).map(str.encode),
)


@settings(deadline=None)
@given(head=HEADS, tail=TAILS)
def test_broken_hashes_of_known_schemes_give_an_answer_or_a_known_error(head, tail):
    """Damage behind a known prefix reaches C, bcrypt and passlib, and none of them gets through to the caller."""
    # No test waits for $6$rounds=999999999$ or its like.
    assume(not any(run.isdigit() and len(run) > 4 for run in tail.replace(b"=", b"$").split(b"$")))
    assume(not (head == b"$6$rounds=1" and tail[:4].isdigit()))
    try:
        assert hashes.verify(head + tail, b"secret") in (True, False)
    except CheckpwError:
        return


@settings(deadline=None)
@given(
    scheme=st.sampled_from(newhash.SCHEMES),
    password=st.binary(min_size=1, max_size=60).filter(lambda value: b"\0" not in value),
)
def test_what_is_made_matches_only_its_password(scheme, password):
    """A new hash matches its password, not a longer one, and fits into a line of a passwd-file."""
    stored = newhash.make(scheme, Secret(password), **CHEAP[scheme])
    assert hashes.usable(stored)
    assert hashes.verify(stored, password)
    assert not hashes.verify(stored, password + b"x")
    assert not set(stored) & set(b":\r\n\0")
    assert stored.startswith(b"{")


@pytest.mark.parametrize("scheme", newhash.SCHEMES)
def test_two_hashes_of_one_password_differ(scheme):
    """Every hash has a salt of its own, except the password in the clear."""
    first, second = (newhash.make(scheme, Secret(b"secret"), **CHEAP[scheme]) for _ in range(2))
    assert (first == second) == (scheme == "PLAIN")


@pytest.mark.parametrize("scheme", newhash.SCHEMES)
def test_names_for_people(scheme):
    """The name under which a hash is listed is the one under which it was made, locked or not."""
    stored = newhash.make(scheme, Secret(b"secret"), **CHEAP[scheme])
    assert hashes.scheme_of(stored) == scheme
    assert hashes.scheme_of(b"!" + stored) == scheme


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (b"", "-"),
        (b"!", "-"),
        (b"*", "-"),
        (b"x", "-"),
        (b"KlBFnh5Ir065g", "DES-CRYPT"),
        (b"$apr1$FrOuqjsh$htO1OLbUnr9abhFFWmHFR/", "APR1"),
        (b"a secret in the clear", "?"),
        (b"{a secret!}x", "?"),
        (b"{SCRAM-SHA-256}x", "SCRAM-SHA-256"),
    ],
)
def test_names_of_the_rest(stored, name):
    """What is no hash is listed as such, and never by its own text."""
    assert hashes.scheme_of(stored) == name


@pytest.mark.parametrize(
    ("scheme", "password", "settings_"),
    [
        ("SHA3", b"secret", {}),
        ("sha512-crypt", b"secret", {}),
        ("SHA512-CRYPT", b"", {}),
        ("SHA512-CRYPT", b"se\0cret", {}),
        ("PLAIN", b"p" * 513, {}),
        ("BLF-CRYPT", b"p" * 73, {}),
        ("BLF-CRYPT", b"secret", {"cost": 3}),
        ("BLF-CRYPT", b"secret", {"cost": 32}),
        ("SHA512-CRYPT", b"secret", {"cost": 999}),
        ("YESCRYPT", b"secret", {"cost": 12}),
        ("PBKDF2", b"secret", {"cost": 10_000_001}),
        ("ARGON2ID", b"secret", {"memory": 7}),
        ("SSHA", b"secret", {"memory": 8}),
    ],
)
def test_make_refuses_what_it_cannot_keep(scheme, password, settings_):
    """A scheme, password or cost that makes no sense is refused, and the text does not hold the password."""
    with pytest.raises(Misuse) as caught:
        newhash.make(scheme, Secret(password), **settings_)
    assert "secret" not in str(caught.value)


def test_default_costs():
    """The costs that nobody asked for are the ones that the manual page states."""
    assert newhash.make("SHA512-CRYPT", Secret(b"p")).startswith(b"{SHA512-CRYPT}$6$rounds=100000$")
    assert newhash.make("SHA256-CRYPT", Secret(b"p")).startswith(b"{SHA256-CRYPT}$5$rounds=100000$")
    assert newhash.make("YESCRYPT", Secret(b"p")).startswith(b"{CRYPT}$y$j9T$")
    assert newhash.make("BLF-CRYPT", Secret(b"p")).startswith(b"{BLF-CRYPT}$2y$10$")
    assert newhash.make("ARGON2ID", Secret(b"p")).startswith(b"{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$")
    assert newhash.make("PBKDF2", Secret(b"p")).split(b"$")[3] == b"100000"


def test_plain_that_would_break_the_line_is_encoded():
    """A password with a colon or a line end goes into the file in base64."""
    assert newhash.make("PLAIN", Secret(b"a b!")) == b"{PLAIN}a b!"
    assert newhash.make("PLAIN", Secret(b"a:b")) == b"{PLAIN.B64}YTpi"
    assert newhash.make("PLAIN", Secret(b"a\nb")) == b"{PLAIN.B64}YQpi"


PROBE = """
import sys
sys.path.append({root!r})
before = set(sys.modules)
from checkpw import hashes
assert hashes.verify(b"{{PLAIN}}secret", b"secret") and not hashes.verify(b"{{PLAIN}}secret", b"wrong")
print(*sorted(set(sys.modules) - before - set(sys.builtin_module_names)))
hashes.verify({stored!r}, b"secret") or sys.exit("no")
print(*sorted(set(sys.modules) & {{"re", "enum", "typing", "dataclasses", "os", "passlib", "argon2", "click"}}))
"""


@pytest.mark.parametrize("stored", [FOREIGN[0], FOREIGN[9]])
def test_the_lean_path_imports_nothing(stored):
    """{PLAIN} costs no import but our own two, and crypt(5) does not drag in the slow part of the library."""
    probe = PROBE.format(root=ROOT, stored=stored)
    done = subprocess.run([sys.executable, "-IS", "-c", probe], capture_output=True, text=True, check=True)
    loaded, slow = done.stdout.split("\n")[:2]
    assert loaded == "checkpw checkpw.errors checkpw.hashes"
    # ctypes itself imports os.
    assert set(slow.split()) <= {"os"}
