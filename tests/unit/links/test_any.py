"""Words that are split as a shell splits them; what checkpw-any makes of verdicts is in tests/programs."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpw.errors import Misuse
from checkpw.links.any import split


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", ["a"]),
        ("  a\tb \n c ", ["a", "b", "c"]),
        ("a ''", ["a", ""]),
        ('a "" b', ["a", "", "b"]),
        ("a'b c'd", ["ab cd"]),
        ('a"b c"d', ["ab cd"]),
        (r"a\ b", ["a b"]),
        (r"'a\ b'", [r"a\ b"]),
        (r'"a\ b"', [r"a\ b"]),
        (r'"a\"b\\c\$d\`e\x"', [r'a"b\c$d`e\x']),
        ("a\\\nb", ["ab"]),
        ("a \\\n b", ["a", "b"]),
        ('"a\\\nb"', ["ab"]),
        ('"it\'s"', ["it's"]),
        ("'\"'", ['"']),
        ("$HOME `id` * ? ~ ; >", ["$HOME", "`id`", "*", "?", "~", ";", ">"]),
        ("< | & # {a,b} $(id)", ["<", "|", "&", "#", "{a,b}", "$(id)"]),
    ],
)
def test_words(text, words):
    """Quotes and backslashes are the shell's, and nothing is expanded."""
    assert split(text.encode()) == [word.encode() for word in words]


@pytest.mark.parametrize("text", ["", " ", "''", '"" a', "a 'b", 'a "b', "a \\", '"a\\', '"a\\"'])
def test_what_cannot_be_split_is_misuse(text):
    """An open quote, a backslash at the end, and no command are misuse."""
    with pytest.raises(Misuse):
        split(text.encode())


PIECES = st.sampled_from(["a", "b", "'", '"', "\\", "\\\n", " ", "\t", "$ ", "-"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=10).map("".join), min_size=1, max_size=30))
def test_words_are_those_of_sh(texts):
    """Whatever can be split, a shell splits into the same words: there is nothing in it to expand."""
    for text in texts:
        try:
            words = split(text.encode())
        except Misuse:
            continue
        if "\\\\\n" in text or "\n" in text.replace("\\\n", "") or ("'" in text and "\n" in text):
            continue  # a newline that is left ends a command of the shell
        shown = subprocess.run(["/bin/sh", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True, timeout=60)
        assert shown.stdout.split(b"\0")[:-1] == words, text
