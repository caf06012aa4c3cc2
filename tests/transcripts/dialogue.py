r"""Transcripts: what a client and a server say to each other, what arrives, and what is logged.

A file has several of them, each under a line `== what it shows`. Then come

    name: value        settings, see `SETTINGS`; those before the first `==` are for the whole file
    C: text            the client sends the text and CRLF
    C| text            the client sends the text as it is: no line end but those that are written
    S: text            the server answers with just this line and CRLF
    EOF, TIMEOUT       the client goes away; the client keeps silent for too long
    TLS                the client makes a handshake (in whose place EOF and TIMEOUT may stand)
    LATER seconds      so much later the client says what follows
    DOOR ...           a message has arrived: `DOOR sender -> recipient recipient`, its environment in `E: name=value`
    M: text            a line of that message; `M| text` is text without a line end
    L: text            a line of the log, without the seconds
    STATUS: number     the exit status, of a program that has others than 0

In texts, `\r \n \t \0 \\ \xHH` are bytes, `\{x*N}` is x repeated, `\b{...}` is base64 of what stands in it.
All messages must stand there, and, in a dialogue that shows the log, all its lines.
"""

import base64
import itertools
import pathlib
import re

HERE = pathlib.Path(__file__).parent

SETTINGS = {
    "hostname": "mail.example",
    "remote": "192.0.2.7",
    "info": "",
    "tls": "no",
    "require-tls": "no",
    "starttls": "no",
    "relay": "no",
    "smtputf8": "no",
    "dsn": "no",
    "requiretls": "no",
    "checker": "joe secret",
    "checker-says": "",
    "reject-codes": "1",
    "queue": "exit 0",
    "message-bytes": "1000000",
    "recipients": "100",
    "errors": "20",
    "auth-failures": "5",
    "header-bytes": "65536",
    "hops": "100",
    "least-rate": "0",
    "trace": "user ip",
    "rules": "",
    "id-host": "mail.example",
    "groups": "name",
    "names": "",
    "runners": "",
}
"""Each setting and its default; `runners` are those that can play it, all if none is named."""

_ESCAPE = re.compile(r"\\(?:([rnt0\\])|x([0-9a-f]{2})|b\{((?:[^}\\]|\\\{[^}]*\}|\\.)*)\}|\{((?:[^*\\]|\\.)+)\*(\d+)\})")
_SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text):
    """Give the bytes that a text stands for."""
    pieces, at = [], 0
    for match in _ESCAPE.finditer(text):
        plain = text[at : match.start()]
        assert "\\" not in plain, f"what is this escape: {text!r}"
        pieces.append(plain.encode())
        at = match.end()
        simple, number, encoded, repeated, count = match.groups()
        if simple is not None:
            pieces.append(_SIMPLE[simple])
        elif number is not None:
            pieces.append(bytes.fromhex(number))
        elif encoded is not None:
            pieces.append(base64.b64encode(unescape(encoded)))
        else:
            pieces.append(unescape(repeated) * int(count))
    assert "\\" not in text[at:], f"what is this escape: {text!r}"
    return b"".join([*pieces, text[at:].encode()])


class Turn:
    """What the client sends until it waits, what the server answers to that, and how the client ends it."""

    def __init__(self):
        self.later = 0.0
        self.sent = b""
        self.expected = b""
        self.ending = None

    def __repr__(self):
        return f"Turn({self.sent!r}, {self.expected!r}, {self.ending})"


class Delivery:
    """A message that arrived."""

    def __init__(self, sender, recipients, environ, text):
        self.sender = sender
        self.recipients = recipients
        self.environ = environ
        self.text = text

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None

    def __repr__(self):
        return f"Delivery({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Dialogue:
    """One transcript."""

    def __init__(self, file, line, name, settings):
        self.name = f"{file}:{line} {name}"
        self.settings = dict(settings)
        self.turns = [Turn()]
        self.deliveries = []
        self.log = []
        self.status = 0

    def __repr__(self):
        return self.name

    @property
    def sent(self):
        """Everything that the client says."""
        return b"".join(turn.sent for turn in self.turns)

    @property
    def expected(self):
        """Everything that the server says."""
        return b"".join(turn.expected for turn in self.turns)

    def is_for(self, runner):
        """Tell whether a runner can play it."""
        return runner in (self.settings["runners"].split() or [runner])

    def add(self, mark, text):
        """Take one line of the file."""
        turn = self.turns[-1]
        if mark in ("C:", "C|"):
            if turn.expected or turn.ending:
                self.turns.append(turn := Turn())
            turn.sent += unescape(text) + (b"\r\n" if mark == "C:" else b"")
        elif mark == "S:":
            turn.expected += unescape(text) + b"\r\n"
        elif mark in ("EOF", "TIMEOUT", "TLS"):
            # A handshake comes behind the go-ahead, and before anything else that is sent.
            if (turn.expected and mark != "TLS") or turn.ending:
                self.turns.append(turn := Turn())
            turn.ending = mark
        elif mark == "LATER":
            self.turns.append(turn := Turn())
            turn.later = float(text)
        else:
            self._add_outcome(mark, text)

    def _add_outcome(self, mark, text):
        if mark == "DOOR":
            sender, _, recipients = text.partition("->")
            addresses = [unescape(word) for word in recipients.split()]
            self.deliveries.append(Delivery(unescape(sender.strip()), addresses, {}, b""))
        elif mark == "E:":
            name, _, value = unescape(text).partition(b"=")
            self.deliveries[-1].environ[name] = value
        elif mark in ("M:", "M|"):
            self.deliveries[-1].text += unescape(text) + (b"\n" if mark == "M:" else b"")
        elif mark == "L:":
            self.log.append(text)
        elif mark == "STATUS:":
            self.status = int(text)
        else:
            raise AssertionError(f"{self.name}: what is {mark!r}")


_LINE = re.compile(r"(C:|C\||S:|M:|M\||L:|E:|DOOR|EOF|TIMEOUT|TLS|LATER|STATUS:)(?: (.*)|$)", re.DOTALL)
_SETTING = re.compile(r"([a-z][a-z0-9-]+): ?(.*)")


def read(path, settings=SETTINGS):
    """Give the dialogues of a file, with these settings and their defaults."""
    dialogues, common = [], dict(settings)
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            dialogues.append(Dialogue(path.stem, number, line[3:], common))
        elif match := _LINE.fullmatch(line):
            dialogues[-1].add(match[1], match[2] or "")
        elif match := _SETTING.fullmatch(line):
            assert match[1] in settings, f"{path.name}:{number}: no such setting"
            (dialogues[-1].settings if dialogues else common)[match[1]] = match[2]
        else:
            raise AssertionError(f"{path.name}:{number}: cannot read {line!r}")
    return dialogues


def read_all():
    """Give the dialogues of all files."""
    return [dialogue for path in sorted(HERE.glob("*.txt")) for dialogue in read(path)]


def cut(data, how, random):
    """Cut data into pieces: `whole`, `bytes`, or at `random` places."""
    if how == "whole" or not data:
        return [data] if data else []
    if how == "bytes":
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted({0, len(data), *random.sample(range(len(data)), min(len(data), 12))})
    return [data[start:end] for start, end in itertools.pairwise(places)]
