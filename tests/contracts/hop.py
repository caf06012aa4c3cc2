"""A next hop that does what a test says, without I/O; and two ways to talk to it: in memory time, and over sockets."""

import contextlib
import os
import selectors
import socket
import threading

from checkpw.operations import TimedOut
from checkpw.tls import TlsLayer

HANG_UP = "hang up"
SILENCE = "silence"
CLOSE_NOTIFY = "close notify"
"""Answers that are none."""

USUAL = (b"PIPELINING", b"8BITMIME", b"ENHANCEDSTATUSCODES")

DEFAULTS = {
    b"greeting": b"220 hop.example ESMTP",
    b"MAIL": b"250 2.1.0 ok",
    b"RCPT": b"250 2.1.5 ok",
    b"DATA": b"354 go on",
    b".": b"250 2.0.0",
    b"RSET": b"250 2.0.0 ok",
    b"QUIT": b"221 2.0.0 bye",
    b"STARTTLS": b"220 2.0.0 go on",
}


class Message:
    """A message that the hop has taken: for its recipients it is on its own head now."""

    def __init__(self, mail, recipients, text):
        self.mail = mail
        self.recipients = recipients
        self.text = text


class Hop:
    """What a next hop does, on all its connections.

    Attributes:
        answers: by verb, or by whole line: bytes, one of the words above, or a list of these to be used up; `greeting`
            is what it says first, `.` what it says to a message, and `text` to the first bytes of one.
        messages: those that it took.
        lines: (number of the connection, line) of all that was said to it, but the text of messages.
        writes: how many pieces came.
        troubles: what went wrong with TLS.
        ends: how many connections ended TLS as they should.
    """

    def __init__(self, extensions=USUAL, *, is_lmtp=False, context=None, is_implicit=False, answers=None, injected=b""):
        self.extensions = extensions
        self.is_lmtp = is_lmtp
        self.context = context
        self.is_implicit = is_implicit
        self.answers = answers or {}
        self.injected = injected
        self.messages = []
        self.lines = []
        self.connections = 0
        self.writes = 0
        self.troubles = []
        self.ends = 0

    def answer(self, *keys):
        """Give what is said to the first of the keys about which something is known."""
        for key in keys:
            for table in (self.answers, DEFAULTS):
                if key in table:
                    found = table[key]
                    if not isinstance(found, list):
                        return found
                    if found:
                        return found.pop(0)
        return b"502 5.5.1 what?"

    def verbs(self, connection=None):
        """Give the first words of what was said, on one connection or on all."""
        return [line.split(b" ")[0] for number, line in self.lines if connection in (None, number)]


class HopConnection:
    """One connection to a hop: `feed` it, and send what `take` gives until `is_over`."""

    def __init__(self, hop):
        self._hop = hop
        hop.connections += 1
        self._number = hop.connections
        self._buffer = b""
        self._out = b""
        self._raw = b""
        self._layer = None
        self._mail = None
        self._recipients = []
        self._text = None
        self.is_over = False
        if hop.is_implicit:
            self._layer = TlsLayer(hop.context, server_side=True)
        self._say(hop.answer(b"greeting"))

    def take(self):
        """Give what is to be sent."""
        if self._layer is not None:
            if self._layer.is_established and self._out:
                self._raw += self._layer.write(self._out)
                self._out = b""
            raw, self._raw = self._raw + self._layer.outgoing(), b""
            return raw
        out, self._out = self._out, b""
        return out

    def feed(self, data):
        """Take what came."""
        self._hop.writes += 1
        if self._layer is not None:
            try:
                self._layer.receive(data)
                if not self._layer.do_handshake():
                    return
                data = self._layer.read(1 << 24)
                self._hop.ends += self._layer.eof
            except OSError as error:
                self._hop.troubles.append(str(error))
                self.is_over = True
                return
        self._buffer += data
        while not self.is_over and self._advance():
            pass

    def end_tls(self):
        """Say that nothing more is said, and keep the connection open."""
        self._raw += self._layer.close()

    def _say(self, answer):
        if answer == HANG_UP:
            self.is_over = True
        elif answer == CLOSE_NOTIFY:
            self.end_tls()
        elif answer != SILENCE:
            self._out += answer + b"\r\n"

    def _advance(self):
        if self._text is not None:
            return self._read_text()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        self._hop.lines.append((self._number, line))
        verb = line.split(b" ")[0]
        if verb in (b"EHLO", b"LHLO") and (verb == b"LHLO") == self._hop.is_lmtp and not self._hop.answers.get(verb):
            extensions = list(self._hop.extensions)
            if self._hop.context is not None and self._layer is None:
                extensions.append(b"STARTTLS")
            lines = [b"hop.example", *extensions]
            self._say(b"\r\n".join([b"250-" + line for line in lines[:-1]] + [b"250 " + lines[-1]]))
            return True
        answer = self._hop.answer(line, verb)
        self._say(answer)
        self._obey(verb, line, answer[:1])
        return True

    def _obey(self, verb, line, kind):
        if verb == b"MAIL" and kind == b"2":
            self._mail, self._recipients = line, []
        elif verb == b"RCPT" and kind == b"2":
            self._recipients.append(line)
        elif verb == b"DATA" and kind == b"3":
            self._text = b"\r\n"
        elif verb == b"RSET":
            self._mail, self._recipients = None, []
        elif verb == b"QUIT":
            self.is_over = True
        elif verb == b"STARTTLS" and kind == b"2":
            self._raw, self._out = self._out + self._hop.injected, b""
            self._layer = TlsLayer(self._hop.context, server_side=True)
            rest, self._buffer = self._buffer, b""
            if rest:
                self.feed(rest)

    def _read_text(self):
        if self._buffer and b"text" in self._hop.answers:
            self._say(self._hop.answer(b"text"))
        # Not searched again from its beginning: a large message comes in hundreds of pieces.
        start = max(0, len(self._text) - 4)
        self._text += self._buffer
        self._buffer = b""
        end = self._text.find(b"\r\n.\r\n", start)
        if end < 0:
            return False
        text, self._buffer = self._text[: end + 2], self._text[end + 5 :]
        self._text = None
        self._end_message(text.replace(b"\r\n.", b"\r\n").replace(b"\r\n", b"\n")[1:])
        return True

    def _end_message(self, text):
        taken = []
        for recipient in self._recipients if self._hop.is_lmtp else [b""]:
            answer = self._hop.answer(b". " + recipient, b".")
            if answer == HANG_UP or answer[:1] == b"2":
                taken.append(recipient)
            self._say(answer)
        if taken:
            self._hop.messages.append(Message(self._mail, taken if self._hop.is_lmtp else self._recipients, text))
        self._mail, self._recipients = None, []


class MemoryRunner:
    """Performs the operations of a relay door against a hop; who has nothing to read waits in no time at all.

    Attributes:
        now: seconds that have passed.
        is_down: nobody answers new connections.
    """

    def __init__(self, hop):
        self.hop = hop
        self.now = 0.0
        self.is_down = False
        self.failures = {}
        self.performed = []
        self.connected = {}

    def clock(self):
        """Give the time."""
        return self.now

    def run(self, steps):
        """Perform what is yielded, and give what is returned."""
        outcome, failure = None, None
        while True:
            try:
                operation = steps.send(outcome) if failure is None else steps.throw(failure)
            except StopIteration as stop:
                return stop.value
            outcome, failure = None, None
            self.performed.append(operation)
            try:
                failure = self.failures.get(len(self.performed))
                if failure is None:
                    outcome = getattr(self, "_" + type(operation).__name__.lower())(operation)
            except (OSError, TimedOut) as error:
                failure = error

    def hang_up(self):
        """Close all connections at the side of the hop."""
        for theirs, *_ in self.connected.values():
            theirs.close()

    def end_tls(self):
        """End TLS on all connections at the side of the hop, and keep them open."""
        for theirs, connection, _ in self.connected.values():
            connection.end_tls()
            theirs.sendall(connection.take())

    def say(self, data):
        """Say something on all connections that nobody asked for."""
        for theirs, *_ in self.connected.values():
            theirs.sendall(data)

    def open_descriptors(self):
        """Give the descriptors that the door has not closed."""
        return [ours for ours, (*_, inode) in self.connected.items() if _inode(ours) == inode]

    def close(self, descriptor):
        """Forget a connection."""
        if descriptor in self.connected:
            self.connected.pop(descriptor)[0].close()

    def _connect(self, operation):
        if self.is_down:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.settimeout(0)
        descriptor = ours.detach()
        self.close(descriptor)
        self.connected[descriptor] = theirs, HopConnection(self.hop), os.fstat(descriptor).st_ino
        return descriptor

    def pump(self):
        """Let the hop read what was sent to it."""
        for descriptor in self.connected:
            self._pump(descriptor)

    def _pump(self, descriptor):
        theirs, connection, _ = self.connected[descriptor]
        if theirs.fileno() < 0:
            return
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while data := theirs.recv(1 << 20):
                connection.feed(data)
        with contextlib.suppress(ConnectionError):
            theirs.sendall(connection.take())
        if connection.is_over:
            theirs.close()

    def _write(self, operation):
        view = memoryview(operation.data)
        while view:
            try:
                view = view[os.write(operation.descriptor, view) :]
            except BlockingIOError:
                self._pump(operation.descriptor)
        self._pump(operation.descriptor)

    def _receive(self, operation):
        self._pump(operation.descriptor)
        try:
            return os.read(operation.descriptor, 65536)
        except BlockingIOError:
            self.now += operation.timeout
            raise TimedOut from None

    def _close(self, operation):
        os.close(operation.descriptor)


def _inode(descriptor):
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None


class HopServer:
    """A hop on a socket of this machine, in a thread of its own, for as long as the block runs."""

    def __init__(self, hop, address):
        self.hop = hop
        self.address = address

    def __enter__(self):
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.bind(self.address)
        self._listener.listen(50)
        self.address = self._listener.getsockname()
        self._waking, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *reason):
        self._waking.close()
        self._thread.join()
        self._listener.close()
        self._woken.close()

    def _serve(self):
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as held:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listener:
                        client, _ = self._listener.accept()
                        connection = HopConnection(self.hop)
                        selector.register(held.enter_context(client), selectors.EVENT_READ, connection)
                        client.sendall(connection.take())
                    else:
                        self._talk(selector, key.fileobj, key.data)

    @staticmethod
    def _talk(selector, client, connection):
        data = b""
        with contextlib.suppress(ConnectionError):
            data = client.recv(1 << 20)
            if data:
                connection.feed(data)
                client.sendall(connection.take())
        if not data or connection.is_over:
            selector.unregister(client)
            client.close()
