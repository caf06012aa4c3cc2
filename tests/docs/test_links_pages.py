"""Numbers and defaults in the pages of links are those of the code."""

import pytest
from pages import page

from checkpw.links import budgets, limit, log

LIMIT, LOG = page("checkpw-limit"), page("checkpw-log")


def default(shown, variable):
    """Give what a page says is the case when a variable is not set."""
    lines = shown.part("Read")
    at = lines.index(f".It Ev {variable}")
    stop = next(n for n in range(at + 1, len(lines)) if lines[n].startswith((".It ", ".El")))
    (said,) = [n for n in range(at, stop) if lines[n].startswith("Not set:")]
    words = " ".join(lines[said:stop]).removeprefix("Not set:")
    return words.replace(".Li ", "").replace(".Pa ", "").replace(".Ev ", "").strip(" .")


@pytest.mark.parametrize("name", ["PAIR", "LOGIN", "ADDRESS"])
def test_the_budgets_are_those_of_the_page(name):
    """Tries and seconds without a setting."""
    tries, seconds = limit.Settings({}).rates[name.lower()]
    assert default(LIMIT, f"CHECKPW_LIMIT_{name}") == f"{tries}/{seconds}"


@pytest.mark.parametrize(
    ("name", "attribute", "words"),
    [
        ("STATUS", "is_temporary", {True: "111", False: "1"}),
        ("BROKEN", "is_open", {True: "open", False: "closed"}),
        ("TROUBLE", "forgives_trouble", {True: "forgive", False: "count"}),
    ],
)
def test_the_choices_are_those_of_the_page(name, attribute, words):
    """What each choice means, and which one is made without a setting."""
    variable = f"CHECKPW_LIMIT_{name}"
    assert default(LIMIT, variable) == words[getattr(limit.Settings({}), attribute)]
    for value, word in words.items():
        assert getattr(limit.Settings({variable.encode(): word.encode()}), attribute) == value


def test_the_file_is_that_of_the_page():
    """Where it is, how large it gets, and how long its lock is waited for."""
    assert default(LIMIT, "CHECKPW_LIMIT_STORE").encode() == limit.DEFAULT_STORE
    text = " ".join(LIMIT.part("The file"))
    assert f"the size of {budgets.PAGES * budgets.PAGE_BYTES // 2**20} MiB" in text
    assert f"room for {budgets.PAGES * budgets.PAGE_BYTES // budgets.ENTRY_BYTES} keys" in text
    assert f"locked for {budgets.PATIENCE:g} seconds" in text
    assert "a sixteenth later" in " ".join(LIMIT.lines) and budgets.SLICES == 16


def test_the_log_goes_where_the_page_says():
    """The socket, and that standard error is what nobody has to ask for."""
    assert default(LOG, "CHECKPW_LOG_SOCKET").encode() == log.SYSLOG_SOCKET
    assert default(LOG, "CHECKPW_LOG_TO") == "stderr"
    assert log.Settings({}).facility is None
    assert log.Settings({b"CHECKPW_LOG_TO": b"syslog"}).facility == log.FACILITIES[b"authpriv"]
