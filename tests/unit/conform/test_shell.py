"""Shell lines: a shell does with them what was meant."""

import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkpw.conform.shell import ByHand, quote, quote_printf, recipe

SHELLS = ["dash", "bash"]


@given(st.binary(max_size=40))
@example(b"")
@example(b"-n")
@example(b"--")
@example(b"\x001\x007\n 'a\\n%s%%'\xff ")
def test_printf_writes_just_these_bytes(data):
    """What is quoted for printf comes out of printf, in the shells there are, on one line."""
    line = quote_printf(data)
    assert "\n" not in line
    for shell in SHELLS:
        done = subprocess.run([shell, "-c", f"printf {line}"], capture_output=True, check=True)
        assert done.stdout == data


def test_printf_stays_readable():
    """Letters stand for themselves, and NUL is as short as it can be."""
    assert quote_printf(b"joe\0secret\0\0") == r"'joe\0secret\0\0'"
    assert quote_printf(b"a\x001") == r"'a\0001'"


@given(st.binary(max_size=30).filter(lambda word: b"\0" not in word))
def test_words_arrive_as_they_are(word):
    """A quoted word is one argument."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {quote(word)}"], capture_output=True, check=True)
    assert done.stdout == word + b"\0"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, r"printf 'joe\0x\0' | ./prog true 3<&0"),
        ({"environ": {b"PATH": b"/a b"}}, r"printf 'joe\0x\0' | PATH='/a b' ./prog true 3<&0"),
        ({"by_hand": ByHand(before="cd /")}, r"cd /; printf 'joe\0x\0' | ./prog true 3<&0; echo $?"),
    ],
)
def test_a_recipe_is_a_line(settings, line):
    """The program reads the record from descriptor 3."""
    assert recipe([b"./prog", "true"], b"joe\0x\0", **settings) == line


def test_a_recipe_without_a_record():
    """A closed descriptor 3 is closed."""
    assert recipe(["prog", "true"], None) == "prog true 3<&-"


def test_a_line_has_what_brought_it_about():
    """A file instead of a pipe, a pipe that stays open, words in front, other descriptors, odd names of variables."""
    words = (["./p", "true"], b"a\0b\0\0")
    assert recipe(*words, ByHand(after="", path="/tmp/r")) == "printf 'a\\0b\\0\\0' >/tmp/r; ./p true 3</tmp/r"
    assert recipe(*words, ByHand(after="", is_held=True)) == "(printf 'a\\0b\\0\\0'; sleep 9) | ./p true 3<&0"
    line = "(printf 'a\\0b'; sleep 1; printf '\\0\\0') | ./p true 3<&0"
    assert recipe(*words, ByHand(after="", pieces=(b"a\0b", b"\0\0"), pause=1.0)) == line
    assert recipe(["./p"], None, ByHand(after="", front="env -u X", redirect="3</tmp")) == "env -u X ./p 3</tmp"
    assert recipe(["./p"], None, environ={b"X": b"a b"}) == "X='a b' ./p 3<&-"
    assert recipe(["./p"], None, environ={b"X-Y": b"1"}) == "env X-Y=1 ./p 3<&-"
