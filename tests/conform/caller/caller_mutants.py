"""Faults of callers, each made out of the reference by replacing text that occurs in it once, and who catches each.

None of them is far-fetched: most were seen in servers that are in use, the others are habits of their languages.
"""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A caller with one fault.

    Attributes:
        name: of the fault.
        caught_by: the property that names it.
        edits: pairs of text of the reference, and what stands there instead.
        protocol: that it is run with.
    """

    name: str
    caught_by: str
    edits: tuple[tuple[str, str], ...]
    protocol: str = "smtp"

    def text(self, reference):
        """Give the text of the program."""
        for old, new in self.edits:
            assert reference.count(old) == 1, (self.name, reference.count(old), old)
            reference = reference.replace(old, new)
        return reference


def _smtp(name, caught_by, *edits):
    return Mutant(name, caught_by, edits)


def _pop3(name, caught_by, *edits):
    return Mutant(name, caught_by, edits, "pop3")


def _before(line, *added):
    """Give the edit that puts lines, indented as it is, before a line."""
    indentation = line[: len(line) - len(line.lstrip())]
    return line, textwrap.indent("\n".join(added) + "\n", indentation) + line


def _after(line, *added):
    """Give the edit that puts lines, indented as it is, behind a line."""
    indentation = line[: len(line) - len(line.lstrip())]
    return line, line + textwrap.indent("\n".join(added) + "\n", indentation)


def _in(line, old, new):
    """Give the edit of a piece of a line."""
    assert line.count(old) == 1
    return line, line.replace(old, new)


RECORD = '    record = b"\\0".join((login, password, stamp, b""))\n'
ARGV = "    argv = list(checker)\n"
ENVIRON = "    environ = dict(os.environ)\n"
SETS = "    actions += [(os.POSIX_SPAWN_DUP2, 100, number) for number in (0, 1, 2)]\n"
CLOSES = "    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in (100, *inherited())]\n"
WRITES = "        os.write(writer, record)\n"
UNREAD = '        log.append("not read")\n'
NOT_STARTED = "    except OSError:\n        return -1\n"
WAITS = "    status = wait(pid)\n"
STATUS = "    return os.waitstatus_to_exitcode(status) if in_time else -1\n"
SOUND = "    if not login or not password:\n"
LIMIT = "    return len(login) + len(password) + overhead <= MAX_RECORD\n"
ASKS = "        self.verdict(ask(login, password, stamp))\n"
IS_YES = "        if status == 0:\n"
IS_NO = "        elif status == 1:\n"
SAYS_NO = '            say("535 no")\n'
SAYS_YES = '            say("235 welcome")\n'
SAYS_LATER = '            say("454 later")\n'
MALFORMED = '            say("501 malformed")\n'
LOGIN = '        login = decode(initial) if initial else self.challenge(b"Username:")\n'
FIELDS = '        if len(fields) != 3 or fields[0] not in (b"", fields[1]):\n'
DECODES = '        return binascii.a2b_base64(text, strict_mode=True) if strict(text) else b""\n'
REAPS = "    _, status = os.waitpid(pid, 0)\n"
GIVEN_UP = "            raise Malformed\n        return decode(response)\n"
READS = "            self.received += piece\n"
CLOSES_READER = "        os.close(reader)\n"
USER = "            self.user = rest\n"

# Writing late, as a server does that is interrupted after its fork: the checker may have gone.
WAITS_TO_WRITE = _before(
    WRITES,
    "os.close(reader)",
    "reader = os.dup(null)",
    "poller = select.poll()",
    "poller.register(writer, 0)",
    "poller.poll(500)",
)

MUTANTS = (
    # --- descriptor 3
    _smtp("a login in lower case", "record-plain", _in(RECORD, "login", "login.lower()")),
    _smtp("a password without spaces at its ends", "record-plain", _in(RECORD, "password", "password.strip()")),
    _smtp("a login is cut at a space", "record-login", _after(LOGIN, 'login = login.split(b" ")[0]')),
    _smtp(
        "a login in the command is forgotten",
        "record-login-initial",
        (LOGIN, '        login = self.challenge(b"Username:")\n'),
    ),
    _smtp("two calls for one attempt", "record-plain", _before(ASKS, "ask(login, password, stamp)")),
    _smtp(
        "text that is not UTF-8 is repaired",
        "record-any-bytes",
        _in(RECORD, "password", 'password.decode("utf-8", "replace").encode()'),
    ),
    _smtp("two fields", "record-third-field", _in(RECORD, 'stamp, b""', '*([stamp] if stamp else []), b""')),
    _smtp("the third field has no end", "record-third-field", _in(RECORD, 'stamp, b""', "stamp")),
    _smtp(
        "CRAM-MD5 in the old order", "record-cram-md5", ("return login, digest, stamp", "return login, stamp, digest")
    ),
    _smtp("a limit of 511 bytes", "record-512", _in(LIMIT, "<=", "<")),
    _smtp("the pipe is expected to be 3", "checker-descriptor-3", _before(ARGV, "assert reader == 3")),
    _smtp(
        "line ends are stripped from a password",
        "record-any-bytes",
        ('for byte in b"\\r\\n")', 'for byte in b"")'),
        _in(RECORD, "password", 'password.rstrip(b"\\r\\n")'),
    ),
    _smtp(
        "an empty password is the login",
        "record-any-bytes",
        _in(SOUND, " or not password", ""),
        _in(RECORD, "password", "password or login"),
    ),
    _smtp(
        "the pipe is copied to 3, and stays where it was",
        "checker-descriptors",
        _before(ARGV, "os.set_inheritable(reader, reader > 3)"),
    ),
    # --- what needs no checker
    _smtp("a NUL passes", "refuse-nul", ('for byte in b"\\0")', 'for byte in b"")')),
    _smtp(
        "NULs at the end are lost",
        "refuse-nul",
        _before(SOUND, 'login, password = login.rstrip(b"\\0"), password.rstrip(b"\\0")'),
        _before(RECORD, 'login, password = login.rstrip(b"\\0"), password.rstrip(b"\\0")'),
    ),
    _smtp("CR and LF pass", "refuse-line-end", ('for byte in b"\\r\\n")', 'for byte in b"")')),
    _smtp("an empty password passes", "refuse-empty", _in(SOUND, " or not password", "")),
    _smtp("513 bytes pass", "refuse-over-long", _in(LIMIT, "MAX_RECORD", "MAX_RECORD + 1")),
    _smtp(
        "what is too long is cut",
        "refuse-over-long",
        (LIMIT, "    return True\n"),
        _after(RECORD, "record = record[:MAX_RECORD]"),
    ),
    _smtp(
        "base64 is taken as it comes",
        "refuse-not-base64",
        (DECODES, "        return binascii.a2b_base64(text)\n"),
    ),
    _smtp(
        "what stands behind `=` is ignored",
        "refuse-not-base64",
        _before(DECODES, 'text = text.partition(b"=")[0]', 'text += b"=" * (-len(text) % 4)'),
    ),
    _smtp(
        "padding is mended",
        "refuse-padding",
        _before(DECODES, 'text = text.rstrip(b"=")', 'text += b"=" * (-len(text) % 4)'),
    ),
    _smtp("a fourth field of PLAIN is ignored", "refuse-shape", _in(FIELDS, "!= 3", "< 3")),
    _smtp("the authorisation identity is ignored", "refuse-identity", _in(FIELDS, '(b"", fields[1])', "fields")),
    _smtp("giving up is told as 535", "refuse-cancelled", _in(MALFORMED, "501", "535")),
    # --- answers
    _smtp("anything but 1 is a yes", "answer-never-yes", _in(IS_YES, "== 0", "!= 1")),
    _smtp(
        "the low bits of the status", "answer-never-yes", (STATUS, "    return status >> 8 & 0x7F if in_time else -1\n")
    ),
    _smtp("a signal is a yes", "answer-never-yes", (STATUS, "    return status >> 8 if in_time else -1\n")),
    _smtp("a yes is told as 250", "answer-yes", _in(SAYS_YES, "235", "250")),
    _smtp("a no is told as 454", "answer-no", _in(IS_NO, "== 1", "== 256")),
    _smtp("111 is told as 535", "answer-temporary", _in(IS_NO, "== 1", "in (1, 111)")),
    _smtp("2 is told as 535", "answer-misuse", _in(IS_NO, "== 1", "in (1, 2)")),
    _smtp("a crash is told as 535", "answer-signal", _in(IS_NO, "== 1", "== 1 or status < -1")),
    _smtp("3 is told as 535", "answer-other", _in(IS_NO, "== 1", "in (1, 3)")),
    _smtp(
        "a checker that nobody can wait for has said yes",
        "answer-children-ignored",
        ("signal.signal(signal.SIGCHLD, signal.SIG_DFL)\n", ""),
        _before(REAPS, "if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:", "    return 0"),
    ),
    _smtp("no limit of time", "answer-hang", ("poller.poll(SECONDS * 1000)", "poller.poll()")),
    _smtp("a checker that is late is only asked to end", "answer-hang", ("signal.SIGKILL", "signal.SIGTERM")),
    _smtp("who does not read is believed", "answer-unread", WAITS_TO_WRITE, (UNREAD, "        return 0\n")),
    _smtp(
        "a broken pipe ends the session", "answer-unread", WAITS_TO_WRITE, (UNREAD, "        raise Gone from None\n")
    ),
    _smtp("what cannot be started is a yes", "answer-not-started", _in(NOT_STARTED, "-1", "0")),
    _smtp("what cannot be started ends the session", "answer-not-started", _in(NOT_STARTED, "return -1", "raise Gone")),
    _smtp(
        "text that cannot be started is a yes",
        "answer-not-started",
        (NOT_STARTED, "    except OSError as error:\n        return 0 if error.errno == 8 else -1\n"),
    ),
    _smtp(
        "what cannot be started is told twice",
        "answer-not-started",
        (NOT_STARTED, '    except OSError:\n        say("454 unable to start")\n        return -1\n'),
    ),
    _smtp("what cannot be started is a no", "answer-not-started-temporary", _in(NOT_STARTED, "-1", "1")),
    _smtp(
        "the checker's errors are read to their end",
        "answer-left-behind",
        _after(SETS, "errors, theirs = os.pipe()", "actions += [(os.POSIX_SPAWN_DUP2, theirs, 2)]"),
        _before(WAITS, "os.close(theirs)", "while os.read(errors, 4096):", "    pass", "os.close(errors)"),
    ),
    # --- who may relay
    _smtp(
        "everybody may relay",
        "relay-not-before",
        ('        if not self.is_in:\n            say("530 log in first")\n            return\n', ""),
        ("        if not self.is_in or self.sender is None:\n", "        if self.sender is None:\n"),
    ),
    _smtp("asking is enough", "relay-not-after-no", _before(ASKS, "self.is_in = True")),
    _smtp("giving up is enough", "relay-not-after-no", _before(MALFORMED, "self.is_in = True")),
    _smtp("a crash of the checker lets in", "relay-not-after-no", _before(SAYS_LATER, "self.is_in = status == -9")),
    _smtp("a yes is forgotten", "relay-after-yes", ("            self.is_in = True\n", "")),
    _smtp("who does not wait gets in", "relay-not-pipelined", _before(SAYS_NO, "self.is_in = bool(client.received)")),
    _smtp(
        "a second login",
        "relay-one-login",
        ('        if self.is_in:\n            say("503', '        if not rest:\n            say("503'),
    ),
    # --- the checker's surroundings
    _smtp("only the first word of the checker", "checker-arguments", (ARGV, "    argv = checker[:1]\n")),
    _smtp(
        "the other end of the pipe stays open",
        "checker-descriptors",
        _after(CLOSES, "actions = [(os.POSIX_SPAWN_DUP2, writer, 40), *actions]"),
    ),
    _smtp(
        "the client's connection stays open at 40",
        "checker-descriptors",
        _after(CLOSES, "actions = [(os.POSIX_SPAWN_DUP2, 0, 40), *actions]"),
    ),
    _smtp("0 is closed", "checker-standard-descriptors", _after(CLOSES, "actions += [(os.POSIX_SPAWN_CLOSE, 0)]")),
    _smtp("0 is the client", "checker-without-client", _in(SETS, "(0, 1, 2)", "(1, 2)")),
    _smtp("1 is the client", "client-without-output", _in(SETS, "(0, 1, 2)", "(0, 2)")),
    _smtp(
        "2 is a copy of 1",
        "client-without-errors",
        _in(SETS, "(0, 1, 2)", "(0, 1)"),
        _after(CLOSES, "actions = [(os.POSIX_SPAWN_DUP2, 1, 2), *actions]"),
    ),
    _smtp("SIGTERM is blocked", "checker-signals", ("setpgroup=0)", "setpgroup=0, setsigmask=[signal.SIGTERM])")),
    # --- secrets
    _smtp(
        "the password in the environment",
        "secret-environment",
        _after(ENVIRON, 'environ["PASSWORD"] = os.fsdecode(password)'),
    ),
    _smtp(
        "the login in the environment",
        "secret-environment-login",
        _after(ENVIRON, 'environ["AUTHUSER"] = os.fsdecode(login)'),
    ),
    _smtp("the login among the arguments", "secret-arguments", (ARGV, "    argv = [*checker, login]\n")),
    _smtp("the password in the log", "secret-log", ("    remember(login)\n", "    remember(password)\n")),
    _smtp(
        "the password in the reply",
        "secret-log",
        _before(ASKS, "self.password = password"),
        (SAYS_NO, '            say("535 no: " + self.password.decode("latin-1"))\n'),
    ),
    _smtp(
        "a buffer that is not emptied",
        "secret-later-calls",
        _after(RECORD, "record += b''.join(log[-1:])[len(record) :]", "log.append(record)"),
        (UNREAD, "        pass\n"),
        ('            log.append("closed")\n', "            pass\n"),
    ),
    # --- sessions
    _smtp(
        "the first verdict is kept",
        "session-again",
        _before(ASKS, "if log:", "    self.verdict(log[0])", "    return"),
        (UNREAD, "        pass\n"),
        ('            log.append("closed")\n', "            pass\n"),
        _after(WAITS, "log.append(status)"),
    ),
    _smtp(
        "the second failure ends the session",
        "session-three-failures",
        _before(SAYS_NO, "self.failures = getattr(self, 'failures', 0) + 1", "if self.failures > 1:", "    raise Gone"),
    ),
    _smtp(
        "one file for all sessions",
        "session-apart",
        (
            "    reader, writer = os.pipe()\n",
            "    path, flags = __file__ + '.record', os.O_WRONLY | os.O_CREAT | os.O_TRUNC\n"  # noqa: ISC004
            "    writer, reader = os.open(path, flags), os.open(path, os.O_RDONLY)\n",
        ),
    ),
    _smtp(
        "a login is kept from an attempt that failed",
        "session-any-dialogue",
        _after(LOGIN, "self.kept = login = getattr(self, 'kept', login)"),
    ),
    _smtp(
        "padding alone ends the session",
        "session-in-step",
        _before(DECODES, 'if not text.strip(b"="):', "    raise Gone"),
    ),
    _smtp("giving up is told twice", "session-in-step", _before(GIVEN_UP, 'say("501 given up")')),
    _smtp(
        "padding alone asks for more",
        "session-in-step",
        ('    if text == b"=":\n        return b""\n', '    if text == b"=":\n        return client.line()\n'),
    ),
    _smtp(
        "a line that is too long is forgotten, and its end is not",
        "session-long-line",
        _after(READS, "if len(self.received) > MAX_LINE:", '    self.received = b""', '    return b"X"'),
    ),
    _smtp("a descriptor is lost in each attempt", "session-keeps-nothing", (CLOSES_READER, "")),
    _smtp(
        "a process is left behind by each attempt",
        "session-keeps-nothing",
        _before(WAITS, "if not os.fork():", "    time.sleep(60)"),
    ),
    _smtp("QUIT does not end it", "session-ends", _after('                say("221 bye")\n', "time.sleep(60)")),
    # --- POP3
    _pop3("a mailbox for everybody", "relay-not-before", ("if self.is_in and verb in", "if verb in")),
    _pop3(
        "a password ends at a space",
        "record-pass-with-spaces",
        ("self.check(self.user, rest)", 'self.check(self.user, rest.split(b" ")[0])'),
    ),
    _pop3("APOP without the stamp", "record-apop", _in(RECORD, "stamp", 'b""')),
    _pop3("APOP with its fields exchanged", "record-apop", _in(RECORD, "password, stamp", "stamp, password")),
    _pop3("a login is cut at a NUL", "refuse-nul", (USER, '            self.user = rest.split(b"\\0")[0]\n')),
    _pop3(
        "anything but 1 is a yes",
        "answer-never-yes",
        ("ask(login, secret, self.stamp) == 0", "ask(login, secret, self.stamp) != 1"),
    ),
    _pop3("a login in capitals", "record-user-pass", (USER, "            self.user = rest.upper()\n")),
)

MISSED_AT_FIRST = {
    "a login is kept from an attempt that failed": "only dialogues drawn at random were tried, and not with each seed",
    "the other end of the pipe stays open": "the probe left its note when it had read all, and was killed before",
    "what stands behind `=` is ignored": "`=` was put where nothing but a part of the login was left before it",
    "a password without spaces at its ends": "spaces were drawn too rarely; known values are all tried before",
    "line ends are stripped from a password": "only their refusal was asked for, and not that they arrive exactly",
    "the pipe is copied to 3, and stays where it was": "with 3 open at the server's start, only the record was judged",
    "3 is told as 535": "of other statuses it was only asked that they are no yes",
    "a checker that nobody can wait for has said yes": "servers were started with every signal at its default",
    "text that cannot be started is a yes": "a file without the right to execute it was the only one tried",
    "what cannot be started is told twice": "one reply was read, and NOOP was believed to have had the other",
    "padding alone ends the session": "a closed connection was taken for a refusal, and `=` alone was not tried",
    "giving up is told twice": "one reply was read, and the session ended",
    "a line that is too long is forgotten, and its end is not": "there were no long lines but those of a login",
    "a checker that is late is only asked to end": "the checker that hung did as SIGTERM told it",
    "a descriptor is lost in each attempt": "sessions were short, and nobody counted",
}
"""Mutants that an earlier version of the kit let pass, and what it lacked."""
