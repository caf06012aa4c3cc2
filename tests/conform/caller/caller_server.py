"""A server on descriptors 0 and 1 that asks a checkpassword program: caller_server.py smtp|pop3 CHECKER [ARGUMENTS].

The reference of the kit's tests, and what their mutants are made of: each line that a mutant replaces occurs once.
It takes mail for nobody: DATA is refused always.
"""

import binascii
import os
import select
import signal
import sys
import time

MAX_RECORD = 512
SECONDS = float(os.environ.get("CHECKER_SECONDS", "5"))
MAX_LINE = 12288
ABOVE = 50

log = []


class Gone(Exception):
    """The client has gone."""


class Input:
    """Descriptor 0, by lines."""

    def __init__(self):
        self.received = b""

    def line(self):
        """Return the next line without its end."""
        while b"\n" not in self.received:
            piece = os.read(0, 65536)
            if not piece:
                raise Gone
            self.received += piece
        text, _, self.received = self.received.partition(b"\n")
        return text.removesuffix(b"\r")


def say(text):
    """Send a line."""
    data = text.encode("latin-1") + b"\r\n"
    while data:
        data = data[os.write(1, data) :]


# --- the checker


def ask(login, password, stamp=b""):
    """Return what the checker answers: its exit status, or -1 if it gave none."""
    record = b"\0".join((login, password, stamp, b""))
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, 100), (os.POSIX_SPAWN_DUP2, reader, 3)]
    actions += [(os.POSIX_SPAWN_DUP2, 100, number) for number in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in (100, *inherited())]
    environ = dict(os.environ)
    argv = list(checker)
    try:
        pid = spawn(argv, environ, actions)
        os.write(writer, record)
    except BrokenPipeError:
        log.append("not read")
    except OSError:
        return -1
    finally:
        os.close(reader)
        os.close(writer)
        os.close(null)
    status = wait(pid)
    remember(login)
    return status


def spawn(argv, environ, actions):
    """Start the checker in a process group of its own."""
    signals = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawnp(argv[0], argv, environ, file_actions=actions, setsigdef=signals, setpgroup=0)


def inherited():
    """Return what we were started with above 3: none of the checker's business."""
    found = []
    for number in range(4, 32):
        try:
            if os.get_inheritable(number):
                found.append(number)
        except OSError:
            log.append("closed")
    return found


def wait(pid):
    """Wait for the checker, and kill it and what it started when its time is over."""
    poller = select.poll()
    watch = os.pidfd_open(pid)
    poller.register(watch, select.POLLIN)
    in_time = poller.poll(SECONDS * 1000)
    os.close(watch)
    if not in_time:
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time else -1


def remember(login):
    """Log who tried."""
    os.write(2, b"attempt of %a\n" % login)


def is_sound(login, password, overhead=3):
    """Tell whether a record can carry both."""
    if not login or not password:
        return False
    if any(byte in login + password for byte in b"\0"):
        return False
    if any(byte in login + password for byte in b"\r\n"):
        return False
    return len(login) + len(password) + overhead <= MAX_RECORD


# --- SMTP


class Malformed(Exception):
    """The client is to be told 501."""


class Smtp:
    """One session."""

    def __init__(self):
        self.is_in = False
        self.sender = None

    def run(self):
        """Talk until the client leaves."""
        say("220 reference.example ESMTP")
        while True:
            text = client.line()
            verb, _, rest = text.partition(b" ")
            verb = verb.upper()
            if verb == b"QUIT":
                say("221 bye")
                return
            self.command(verb, rest.strip())

    def command(self, verb, rest):
        """Answer one command."""
        if verb in (b"EHLO", b"HELO"):
            say("250-reference.example\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN CRAM-MD5")
        elif verb == b"AUTH":
            self.auth(rest)
        elif verb == b"MAIL":
            self.mail(rest)
        elif verb == b"RCPT":
            self.rcpt(rest)
        elif verb == b"DATA":
            say("451 this server takes no mail" if self.is_in else "530 log in first")
        elif verb in (b"NOOP", b"RSET"):
            self.sender = None
            say("250 ok")
        else:
            say("502 what")

    def mail(self, rest):
        """Begin a transaction."""
        if not self.is_in:
            say("530 log in first")
            return
        self.sender = rest
        say("250 ok")

    def rcpt(self, rest):
        """Name a recipient."""
        if not self.is_in or self.sender is None:
            say("503 log in and say MAIL first")
            return
        say("250 ok")

    def auth(self, rest):
        """Log somebody in."""
        mechanism, _, initial = rest.partition(b" ")
        if self.is_in:
            say("503 once is enough")
            return
        methods = {b"PLAIN": self.plain, b"LOGIN": self.login, b"CRAM-MD5": self.cram}
        method = methods.get(mechanism.upper())
        if method is None:
            say("504 unknown mechanism")
            return
        try:
            login, password, stamp = method(initial)
        except Malformed:
            say("501 malformed")
            return
        if not is_sound(login, password, 3 + len(stamp)):
            say("501 not acceptable")
            return
        self.verdict(ask(login, password, stamp))

    def verdict(self, status):
        """Tell the client what the checker said."""
        if status == 0:
            self.is_in = True
            say("235 welcome")
        elif status == 1:
            say("535 no")
        else:
            say("454 later")

    def plain(self, initial):
        """RFC 4616."""
        fields = (decode(initial) if initial else self.challenge(b"")).split(b"\0")
        if len(fields) != 3 or fields[0] not in (b"", fields[1]):
            raise Malformed
        return fields[1], fields[2], b""

    def login(self, initial):
        """Ask for the one and the other."""
        login = decode(initial) if initial else self.challenge(b"Username:")
        password = self.challenge(b"Password:")
        return login, password, b""

    def cram(self, initial):
        """RFC 2195."""
        stamp = b"<%d.%d@reference.example>" % (os.getpid(), time.time())
        login, _, digest = self.challenge(stamp).rpartition(b" ")
        return login, digest, stamp

    def challenge(self, text):
        """Ask the client for a response."""
        say("334 " + binascii.b2a_base64(text, newline=False).decode())
        response = client.line()
        if response == b"*":
            raise Malformed
        return decode(response)


def decode(text):
    """Decode base64 strictly; `=` alone is an initial response of no bytes."""
    if text == b"=":
        return b""
    try:
        return binascii.a2b_base64(text, strict_mode=True) if strict(text) else b""
    except ValueError:
        raise Malformed from None


def strict(text):
    """Tell whether the padding is right; older versions of Python do not look."""
    if len(text) > MAX_LINE or len(text) % 4 or text.endswith(b"==="):
        raise ValueError
    return True


# --- POP3


class Pop3:
    """One session."""

    def __init__(self):
        self.is_in = False
        self.user = None
        self.stamp = b"<%d.%d@reference.example>" % (os.getpid(), time.time())

    def run(self):
        """Talk until the client leaves."""
        say("+OK hello " + self.stamp.decode())
        while True:
            verb, _, rest = client.line().partition(b" ")
            verb = verb.upper()
            if verb == b"QUIT":
                say("+OK bye")
                return
            self.command(verb, rest)

    def command(self, verb, rest):
        """Answer one command."""
        if self.is_in and verb in (b"STAT", b"NOOP"):
            say("+OK 0 0")
        elif self.is_in:
            say("-ERR nothing here")
        elif verb == b"USER" and rest:
            self.user = rest
            say("+OK go on")
        elif verb == b"PASS" and self.user is not None:
            self.check(self.user, rest)
        elif verb == b"APOP":
            login, _, digest = rest.rpartition(b" ")
            self.check(login, digest)
        else:
            say("-ERR log in first")

    def check(self, login, secret):
        """Ask the checker."""
        self.user = None
        if not is_sound(login, secret, 3 + len(self.stamp)):
            say("-ERR not acceptable")
            return
        self.is_in = ask(login, secret, self.stamp) == 0
        say("+OK welcome" if self.is_in else "-ERR no")


# Where it is ignored, nobody can be waited for.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
client = Input()
checker = [os.fsencode(word) for word in sys.argv[2:]]
try:
    (Smtp if sys.argv[1] == "smtp" else Pop3)().run()
except Gone:
    sys.exit(1)
