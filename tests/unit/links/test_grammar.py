"""Which words of a link are its checker, and which run after a yes."""

import pytest

from checkpw.chain import is_sentinel
from checkpw.errors import Misuse
from checkpw.links import grammar


@pytest.mark.parametrize(
    ("words", "checker", "prog"),
    [
        ("checker -- prog", "checker", "prog"),
        ("checker a b -- prog c d", "checker a b", "prog c d"),
        ("checker true", "checker", "true"),
        ("checker a /bin/true", "checker a", "/bin/true"),
        ("checker a /usr/bin/true", "checker a", "/usr/bin/true"),
        ("checker -- true", "checker", "true"),
        ("checker true -- prog", "checker true", "prog"),
        ("checker -- prog true", "checker", "prog true"),
        ("checker -- prog -- true", "checker", "prog -- true"),
        ("checker -- -- prog", "checker", "-- prog"),
        ("true true", "true", "true"),
    ],
)
def test_where_the_checker_ends(words, checker, prog):
    """The first -- divides; without one, the sentinel at the end is all that runs."""
    found = grammar.parse([b"link", *words.encode().split()])
    assert (b" ".join(found.checker), b" ".join(found.prog)) == (checker.encode(), prog.encode())
    assert found.asks_only == is_sentinel(found.prog) == (prog in ("true", "/bin/true", "/usr/bin/true"))


@pytest.mark.parametrize(
    "words", ["", "--", "true", "-- prog", "-- true", "checker", "checker --", "checker prog", "checker true prog"]
)
def test_what_nobody_can_tell_is_misuse(words):
    """No checker, no program, or no telling them apart; the usage names the link as it was called."""
    with pytest.raises(Misuse, match=r"^usage: link 'a' -- prog"):
        grammar.parse([b"/usr/bin/link", *words.encode().split()], "'a'")


def test_a_link_without_a_name_has_a_usage_too():
    """An empty argv is misuse like any other."""
    with pytest.raises(Misuse, match=r"^usage: link "):
        grammar.parse([])


@pytest.mark.parametrize(
    ("checker", "joined"),
    [
        ("checkpassword", "checkpassword prog"),
        ("checkpassword checknotroot", "checkpassword checknotroot prog"),
        ("checkpw-log checkpassword", "checkpw-log checkpassword -- prog"),
        ("/usr/bin/checkpw-limit checkpassword", "/usr/bin/checkpw-limit checkpassword -- prog"),
        ("env A=b checkpw-any checkpassword", "env A=b checkpw-any checkpassword -- prog"),
        ("checkpw-log checkpw-limit checkpassword", "checkpw-log checkpw-limit checkpassword -- prog"),
        ("checkpw-log checkpassword --", "checkpw-log checkpassword -- prog"),
        ("checkpw-logs", "checkpw-logs prog"),
    ],
)
def test_a_link_inside_gets_its_separator(checker, joined):
    """Links in a row need one -- together: each puts it in for the next."""
    assert b" ".join(grammar.join(checker.encode().split(), [b"prog"])) == joined.encode()


@pytest.mark.parametrize("prog", ["prog", "true", "checknotroot prog", "prog -- -x"])
def test_a_row_of_links_comes_to_an_end(prog):
    """Each link of a row takes itself off, and at the end stands the checker with its program."""
    argv = [*b"checkpw-log checkpw-limit checkpw-log checkpassword --".split(), *prog.encode().split()]
    for _ in range(3):
        words = grammar.parse(argv)
        assert words.prog == prog.encode().split()
        argv = grammar.join(words.checker, words.prog)
    assert argv == [b"checkpassword", *prog.encode().split()]
