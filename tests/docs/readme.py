"""The recipes of README.md: fenced blocks that an HTML comment names."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^<!-- recipe: ([a-z]+) -->\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPES = {name: text for name, _, text in _BLOCK.findall(TEXT)}


def recipe(name, **replaced):
    """Give a recipe with what is of this machine replaced.

    Each keyword names a place in the README by one of the words below; a word that the recipe lacks is an error, so
    that a test cannot run something else than it says.
    """
    text = RECIPES[name]
    for word, value in replaced.items():
        shown = PLACES[word]
        assert shown in text, f"the recipe {name} does not have {shown}"
        text = text.replace(shown, str(value))
    return text


PLACES = {
    "accounts": "/etc/checkpw/accounts",
    "backend": "127.0.0.1:26",
    "certificate": "/etc/stunnel/mail.pem",
    "checkpassword": "/usr/local/bin/checkpassword",
    "etc": "/etc/checkpw",
    "home": "/srv/mail/%u",
    "implicit": "accept = 465",
    "listener": "127.0.0.1 26",
    "maildir": "/var/spool/submitted",
    "prefix": "/usr/local",
    "sendmail": "/usr/sbin/sendmail",
    "starttls": "accept = 587",
    "user": "uid=vmail gid=vmail",
    "vchkpw": "/home/vpopmail/bin/vchkpw",
}
"""Word: what stands in the README for something that is elsewhere in a test."""
