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
    "balanced": "127.0.0.1:10587",
    "bind": "bind :587",
    "certificate": "/etc/stunnel/mail.pem",
    "dovecot": "/usr/local/bin/checkpw-dovecot",
    "door": "--queue sendmail:/usr/sbin/sendmail",
    "etc": "/etc/checkpw",
    "fullchain": "/etc/letsencrypt/live/mail.example/fullchain.pem",
    "hop": "127.0.0.1:10025",
    "implicit": "accept = 465",
    "listener": "127.0.0.1 26",
    "maildir": "/var/spool/submitted",
    "prefix": "/usr/local",
    "privkey": "/etc/letsencrypt/live/mail.example/privkey.pem",
    "units": "/etc/systemd/system",
    "sendmail": "/usr/sbin/sendmail",
    "serves": "--user submissiond ",
    "starttls": "accept = 587",
    "submission": "--listen :587",
    "submissions": "--listen :465",
    "vchkpw": "/home/vpopmail/bin/vchkpw",
    "verifier": "/run/checkpw/verifier",
    "who": "id -u submissiond",
}
"""Word: what stands in the README for something that is elsewhere in a test."""
