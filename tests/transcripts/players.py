"""Ways to play a transcript. `RUNNERS` is where another runner joins."""

import contextlib
import itertools
import os
import pathlib
import re
import shlex
import socket
import ssl
import threading

from dialogue import Delivery, cut, unescape
from memory import Clock, MemoryRunner, Program
from resident_runner import LOOPS, ResidentRunner, server_context

from checkpw.cdb import UnreadableCdb
from checkpw.checker import Checker
from checkpw.logline import render
from checkpw.mess822.hostrules import HostRules
from checkpw.names import parse_line
from checkpw.operations import TimedOut
from checkpw.peer import Peer
from checkpw.policy import Policy
from checkpw.queue.qmail import QmailQueue
from checkpw.runners.stdio import StdioRunner
from checkpw.smtp.limits import Limits
from checkpw.submission import Submission

PID = 77
PATIENCE = 20.0  # seconds, for what never takes so long
SHORT = 0.3  # seconds, for what a transcript waits for
HANDSHAKE = 11.0

_ENVIRONMENT = (b"RELAYCLIENT", b"SMTPAUTHUSER", b"TCPREMOTEINFO", b"SSL_PROTOCOL", b"SSL_CIPHER")


class Outcome:
    """What came of a dialogue: what the server said (in pieces, one for each turn), what arrived, what was logged."""

    def __init__(self, said, deliveries, log):
        self.said = said
        self.deliveries = deliveries
        self.log = log


def _read_program(text):
    """Understand `exit N`, `signal N`, `hang`, `missing`, `deaf` and, for queue programs, `custom STATUS TEXT`."""
    kind, _, rest = text.partition(" ")
    if kind in ("hang", "missing"):
        return Program(kind)
    if kind == "deaf":
        return Program(0, is_deaf=True)
    if kind == "exit":
        return Program(int(rest))
    if kind == "signal":
        return Program(-int(rest))
    if kind == "custom":
        status, _, said = rest.partition(" ")
        return Program(int(status), says={6: unescape(said)})
    return Program(secret=(kind.encode(), rest.encode()))


def programs_of(dialogue):
    """Give the checker (None for none) and the queue program that a dialogue describes."""
    settings = dialogue.settings
    checker = None if settings["checker"] == "none" else _read_program(settings["checker"])
    if checker is not None and settings["checker-says"]:
        checker.says = {2: unescape(settings["checker-says"])}
    return checker, _read_program(settings["queue"])


class _Names:
    """A name.cdb whose entries stand in a transcript with ` | ` between, or one that cannot be read: `damaged`."""

    def __init__(self, text):
        self._entries = None
        if text != "damaged":
            self._entries = {key: value for key, *value in map(parse_line, unescape(text).split(b" | "))}

    def find(self, sender):
        if self._entries is None:
            raise UnreadableCdb("'name.cdb' is no cdb, or not a whole one")
        return self._entries.get(sender)


def _time_for(dialogue):
    """Give the time limit for a client: short where it is to be over."""
    return SHORT if any(turn.ending == "TIMEOUT" for turn in dialogue.turns) else PATIENCE


def compose(dialogue, checker, queue, environ, log, clock, timeout, handshake_timeout=HANDSHAKE):
    """Build the session that a dialogue describes; `checker` and `queue` are paths, `timeout` is for programs."""
    settings = dialogue.settings
    limits = Limits(
        message_bytes=int(settings["message-bytes"]),
        recipients=int(settings["recipients"]),
        errors=int(settings["errors"]),
        auth_failures=int(settings["auth-failures"]),
    )
    policy = Policy(
        settings["hostname"].encode(),
        limits,
        relays_for_all=settings["relay"] == "yes",
        requires_tls=settings["require-tls"] == "yes",
        handshake_timeout=handshake_timeout,
        least_rate=int(settings["least-rate"]),
        header_bytes=int(settings["header-bytes"]),
        hops=int(settings["hops"]),
        idle_timeout=_time_for(dialogue),
        auth_delay=0.0,
        shows_user="user" in settings["trace"].split(),
        shows_ip="ip" in settings["trace"].split(),
        host_rules=HostRules(unescape(settings["rules"]).split()),
        id_host=settings["id-host"].encode(),
        keeps_groups=settings["groups"] == "keep",
    )
    remote = settings["remote"]
    peer = Peer(
        remote.encode() or b"unknown",
        settings["info"].encode(),
        is_remote=bool(remote),
        uses_tls=settings["tls"] == "yes",
    )
    codes = frozenset(map(int, settings["reject-codes"].split()))
    door = QmailQueue(queue, b"/nonexistent", timeout, carries_smtputf8=settings["smtputf8"] == "yes")
    door.carries_dsn, door.carries_requiretls = settings["dsn"] == "yes", settings["requiretls"] == "yes"
    return Submission(
        policy,
        peer,
        door,
        None if checker is None else Checker([checker, b"true"], environ, codes, timeout),
        environ,
        names=_Names(settings["names"]) if settings["names"] else None,
        offers_starttls=settings["starttls"] == "yes",
        log=log,
        now=clock,
        pid=PID,
    )


class _Log:
    """Takes log lines as transcripts have them: without the number of the process and the seconds."""

    def __init__(self):
        self.lines = []

    def __call__(self, fields):
        line = render("ofmipd", fields).decode()
        assert line.startswith("ofmipd: client=") and line.endswith("\n") and f" pid={PID} event=" in line
        words, _, seconds = line.removeprefix("ofmipd: ").rpartition(" seconds=")
        assert float(seconds) >= 0
        words = re.sub(r" queue_seconds=\d+\.\d+(?= bytes=\d+$)", "", words)
        self.lines.append(words.replace(f" pid={PID}", "", 1))


def parse_envelope(envelope):
    """Give sender and recipients of an envelope as qmail-queue reads it, None if it is not complete."""
    if not envelope.endswith(b"\0\0"):
        return None
    first, *rest = envelope[:-2].split(b"\0")
    assert first[:1] == b"F" and all(word[:1] == b"T" for word in rest)
    return first[1:], [word[1:] for word in rest]


# --- in memory


class _ScriptedClient:
    """Says its pieces one after the other, however often it is listened to."""

    def __init__(self, turns, how, random, clock=None):
        self._clock = clock
        self._steps = []
        for turn in turns:
            if turn.later:
                self._steps.append(turn.later)
            self._steps += cut(turn.sent, how, random)
            self._steps.append(turn)
        self.said = [b""]

    def receive(self, timeout):
        while self._steps:
            step = self._steps[0]
            if isinstance(step, bytes):
                return self._steps.pop(0)
            if isinstance(step, float):
                self._clock.now += self._steps.pop(0)
                continue
            if step.ending == "TIMEOUT":
                raise TimedOut
            if step.ending == "EOF":
                return b""
            assert step.ending is None, "the client wants TLS"
            self._steps.pop(0)
            self.said.append(b"")
        raise AssertionError(f"the server listens on after {self.said!r}")

    def send(self, data):
        self.said[-1] += data

    def secure(self, timeout):
        assert timeout == HANDSHAKE
        discarded = 0
        while isinstance(step := self._steps.pop(0), bytes) or step.ending is None:
            if isinstance(step, bytes):
                discarded += len(step)
            else:
                self.said.append(b"")
        if step.ending == "TIMEOUT":
            raise TimedOut
        if step.ending == "EOF":
            raise ConnectionError("the client went away during the handshake")
        assert step.ending == "TLS", "the server wants TLS"
        self.said.append(b"")
        return discarded


def play_in_memory(dialogue, how, random):
    """Play with the operations performed in memory."""
    checker, queue = programs_of(dialogue)
    programs = {b"/checker": checker, b"/queue": queue}
    log, clock = _Log(), Clock()
    client = _ScriptedClient(dialogue.turns, how, random, clock)
    runner = MemoryRunner(client, programs, clock)
    environ = {b"RELAYCLIENT": b""} if dialogue.settings["relay"] == "yes" else {}
    submission = compose(dialogue, checker and b"/checker", b"/queue", environ, log, clock, 30.0)
    runner.run(submission.serve())
    deliveries = []
    for spawn, received, status in runner.ended:
        if spawn.argv[0] == b"/queue" and status == 0 and (envelope := parse_envelope(received[1])):
            kept = {name: spawn.environ[name] for name in _ENVIRONMENT if name in spawn.environ}
            deliveries.append(Delivery(*envelope, kept, received[0]))
    return Outcome(client.said, deliveries, log.lines)


# --- for real


_CHECKER = r"""#!/bin/sh
{says}
{act}
"""

_QUEUE = r"""#!/bin/sh
place={place}/$(ls {place} | wc -l)
mkdir "$place"
cat >"$place/message"
cat <&1 >"$place/envelope"
env >"$place/environ"
{act}
"""


def _act(program):
    if program is None or program.status == "missing":
        return ""
    if program.secret is not None:
        login, password = program.secret
        wanted = shlex.quote(f"{login.decode()}:{password.decode()}::")
        return f'[ "$(tr "\\000" : <&3)" = {wanted} ]'
    if program.status == "hang":
        return "exec sleep 60"
    if program.status < 0:
        return f"kill {program.status} $$; sleep 60"
    return f"exit {program.status}"


def _printf(data):
    return "printf '%b' '" + "".join(f"\\0{byte:03o}" for byte in data) + "'"


def _install(directory, name, script, program):
    path = pathlib.Path(directory) / name
    if program is not None and program.status != "missing":
        path.write_text(script, encoding="ascii")
        path.chmod(0o755)
    return os.fsencode(path)


def _install_programs(dialogue, directory):
    checker, queue = programs_of(dialogue)
    place = pathlib.Path(directory) / "queued"
    place.mkdir()
    says = _printf(checker.says[2]) + " >&2" if checker and checker.says else ""
    script = _CHECKER.format(says=says, act=_act(checker))
    checker_path = _install(directory, "checker", script, checker)
    script = "#!/bin/sh\nexit 0\n"
    if not queue.is_deaf:
        custom = _printf(queue.says[6]) + " >&6\n" if queue.says else ""
        script = _QUEUE.format(place=place, act=custom + _act(queue))
    return checker and checker_path, _install(directory, "queue", script, queue), place


def _read_deliveries(place):
    deliveries = []
    for path in sorted(place.iterdir(), key=lambda path: int(path.name)):
        envelope = parse_envelope((path / "envelope").read_bytes()) if (path / "envelope").exists() else None
        if envelope is not None:
            given = dict(line.partition(b"=")[::2] for line in (path / "environ").read_bytes().splitlines())
            kept = {name: given[name] for name in _ENVIRONMENT if name in given}
            deliveries.append(Delivery(*envelope, kept, (path / "message").read_bytes()))
    return deliveries


def _serve(runner, submission, close, failures):
    try:
        runner.run(submission.serve())
    except BaseException as error:  # noqa: BLE001  the thread that asked has to hear of it
        failures.append(error)
    finally:
        close()


def play_for_real(dialogue, how, random, directory, connect):
    """Play with real programs and what `connect` makes: a runner, what closes the connection, and the client."""
    checker, queue, place = _install_programs(dialogue, directory)
    log, clock, failures = _Log(), Clock(), []
    environ = {b"PATH": os.environb[b"PATH"]}
    if dialogue.settings["relay"] == "yes":
        environ[b"RELAYCLIENT"] = b""
    hangs = "hang" in (dialogue.settings["checker"], dialogue.settings["queue"])
    submission = compose(
        dialogue, checker, queue, environ, log, clock, SHORT if hangs else PATIENCE, _time_for(dialogue)
    )
    runner, close, client = connect()
    thread = threading.Thread(target=_serve, args=(runner, submission, close, failures))
    thread.start()
    said = []
    with client:
        for turn in dialogue.turns:
            clock.now += turn.later
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server may have left on its own
                for piece in cut(turn.sent, how, random):
                    client.send(piece)
            if turn.ending == "EOF":
                client.end()
            said.append(client.receive(len(turn.expected)))
            if turn.ending == "TLS":
                client.secure()
        said[-1] += client.receive(1 << 20)
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the server does not end"
    if failures:
        raise failures[0]
    is_queued = programs_of(dialogue)[1].status == 0  # by its own word
    return Outcome(said, _read_deliveries(place) if is_queued else [], log.lines)


class SocketClient:
    """The client's end of a socket."""

    def __init__(self, end):
        self._end = end
        self._end.settimeout(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self._end.close()

    def send(self, data):
        self._end.sendall(data)

    def end(self):
        self._end.shutdown(socket.SHUT_WR)

    def secure(self):
        """Make a handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._end = context.wrap_socket(self._end)

    def receive(self, size):
        """Wait for so many bytes, or the end."""
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while len(said) < size and (piece := self._end.recv(size - len(said))):
                said += piece
        return said


class PipeClient:
    """The client's ends of two pipes."""

    def __init__(self, writing, reading):
        self._writing = writing
        self._reading = reading

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.end()
        os.close(self._reading)

    def send(self, data):
        while data:
            data = data[os.write(self._writing, data) :]

    def end(self):
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def receive(self, size):
        """Wait for so many bytes, or the end."""
        said = b""
        while len(said) < size and (piece := os.read(self._reading, size - len(said))):
            said += piece
        return said


def connect_socket():
    """Make a connection of which the server has one end as a descriptor, as under a UCSPI server."""
    ours, theirs = socket.socketpair()
    return StdioRunner(theirs.fileno(), theirs.fileno()), theirs.close, SocketClient(ours)


def connect_pipes():
    """Make two pipes, as in a shell pipeline."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()

    def close():
        os.close(theirs_in)
        os.close(theirs_out)

    return StdioRunner(theirs_in, theirs_out), close, PipeClient(ours_out, ours_in)


def connect_resident(loop):
    """Make a connection of the resident server, on this kind of event loop."""
    ours, theirs = socket.socketpair()
    runner = ResidentRunner(theirs, server_context(), new_loop=LOOPS[loop])
    return runner, runner.close, SocketClient(ours)


CONNECTIONS = {
    "stdio": connect_socket,
    "pipes": connect_pipes,
    "resident": lambda: connect_resident("asyncio"),
    "uvloop": lambda: connect_resident("uvloop"),
}


def _really(connect):
    def play(dialogue, how, random, directory):
        return play_for_real(dialogue, how, random, directory, connect)

    return play


RUNNERS = {
    "memory": lambda dialogue, how, random, _directory: play_in_memory(dialogue, how, random),
    **{name: _really(connect) for name, connect in CONNECTIONS.items()},
}
"""A runner plays a dialogue: (dialogue, how to cut what is sent, random.Random, a directory) -> Outcome."""

CUTS = ("whole", "bytes", "random")

PLAYS = [
    (runner, how)
    for runner, how in itertools.product(RUNNERS, CUTS)
    if how == "whole" or runner not in ("pipes", "uvloop")
]


def can_play(dialogue, runner, how):
    """Tell whether a dialogue can be played so."""
    if not dialogue.is_for(runner):
        return False
    # Whether a real program has left before all was written is a matter of luck; tests/contracts makes sure of it.
    if dialogue.settings["queue"] == "deaf" and runner != "memory":
        return False
    # What comes behind STARTTLS in a piece of its own is taken for a handshake, and that fails.
    return (
        runner == "memory"
        or how == "whole"
        or not any(
            turn.ending == "TLS" and not turn.sent.lower().endswith((b"starttls\r\n", b"starttls \r\n"))
            for turn in dialogue.turns
        )
    )
