"""An SMTP server of the old kind, on descriptors 0 and 1: it says in its replies what it was told.

Argument: words that change it, with commas between. It ends lines and messages at LF, as ofmipd of mess822 does, so
that what a middleman lets through can be seen to be no end of a message.
"""

import sys

WORDS = set(sys.argv[1].split(",")) if len(sys.argv) > 1 else set()
INCOMING, OUTGOING = sys.stdin.buffer, sys.stdout.buffer


def say(text):
    """Give a reply."""
    OUTGOING.write(text.encode("ascii", "backslashreplace") + b"\r\n")
    OUTGOING.flush()


def ehlo():
    """Say what there is."""
    offers = [f"250-{word.upper()}" for word in ("chunking", "starttls") if word in WORDS]
    offers += ["250-AUTH LOGIN PLAIN", "250-AUTH=LOGIN PLAIN"] if "auth" in WORDS else []
    say(
        "\r\n".join(
            ["250-stock.example", *offers, "250-PIPELINING", "250 AUTH X" if "last" in WORDS else "250 8BITMIME"]
        )
    )


def auth():
    """Let in who says yes."""
    say("334 ")
    say("235 welcome" if INCOMING.readline().strip() == b"yes" else "535 no")


def data():
    """Take a message."""
    say("354 go")
    lines = []
    while (line := INCOMING.readline()).rstrip(b"\r\n") != b".":
        if not line:
            sys.exit()
        lines.append(line)
    say(f"250 text {b''.join(lines)!r}")


def serve():
    """Serve until the client has gone."""
    say("220-stock.example\r\n220 old server")
    is_greeted = "polite" not in WORDS
    while line := INCOMING.readline():
        text = line.rstrip(b"\r\n").decode("latin-1")
        verb = text.partition(" ")[0].upper()
        is_greeted = is_greeted or verb in HELLOS
        if verb == "MAIL" and not is_greeted:
            say("503 say hello first")
        elif verb == "EHLO" and verb not in HELLOS:
            say("502 what?")
        elif verb in COMMANDS:
            COMMANDS[verb]()
        elif verb == "BDAT":
            say(f"250 after {text!r} octets {INCOMING.read(int(text.split()[1]))!r}")
        elif verb in LAST:
            say(LAST[verb])
            return
        elif verb == "DIE":
            return
        else:
            say(f"250 got {text!r}")


COMMANDS = {"EHLO": ehlo, "AUTH": auth, "DATA": data}
HELLOS = {"HELO"} if "older" in WORDS else {"HELO", "EHLO"}
LAST = {"QUIT": "221 bye", "LEAVE": "421 closing"}
GREETINGS = {"busy": "421 too busy", "closed": "554 go away"}

refused = [GREETINGS[word] for word in WORDS if word in GREETINGS]
if refused:
    say(refused[0])
elif "silent" not in WORDS:
    serve()
