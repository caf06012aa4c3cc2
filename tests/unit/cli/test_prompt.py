"""checkpw.cli.prompt: one line is read, and not a byte more."""

from checkpw.cli import prompt


def test_only_the_first_line_is_read(checkpw):
    """What follows the password's line is left on descriptor 0 for whoever comes next."""
    assert checkpw("hash", "--stdin", "--scheme", "PLAIN", stdin=b"one\ntwo\nthree").rest == b"two\nthree"


def test_bytes_of_the_line_stay_as_they_are(checkpw):
    """Spaces, carriage returns and bytes that are no UTF-8 belong to the password."""
    done = checkpw("hash", "--stdin", "--scheme", "PLAIN", stdin=b" \xff\r\n")
    assert done.out == "{PLAIN.B64}IP8N\n"


def test_a_typed_password_is_asked_for_twice(checkpw, monkeypatch):
    """At a terminal the prompt is hidden and repeated, and what is typed arrives as bytes."""
    asked = []

    def ask(text, **settings):
        asked.append((text, settings))
        return "sécret"

    monkeypatch.setattr(prompt, "is_terminal", lambda: True)
    monkeypatch.setattr(prompt.click, "prompt", ask)
    done = checkpw("hash", "--scheme", "PLAIN")
    assert done.out == "{PLAIN.B64}c8OpY3JldA==\n"
    assert [(text, s["hide_input"], s["confirmation_prompt"]) for text, s in asked] == [("Password", True, True)]
