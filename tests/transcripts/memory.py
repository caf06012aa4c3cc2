"""A runner without a kernel: operations are performed on Python objects, and time passes only when it is told to.

Programs are described once (`Program`) and exist twice: as objects here, and as small shell scripts that
`StdioRunner` starts. So one transcript says the same of both runners.
"""

from checkpw.operations import Child, Ended, Secured, TimedOut

EPOCH = 1_000_000_000.0
"""Sun, 9 Sep 2001 01:46:40 UTC: when every transcript is said to happen."""


TLS = {b"SSL_PROTOCOL": b"TLSv1.3", b"SSL_CIPHER": b"TLS_AES_256_GCM_SHA384"}
"""What is known of a connection that is encrypted in memory: not really."""


class Clock:
    """Seconds since 1970, as somebody sets them."""

    def __init__(self, now=EPOCH):
        self.now = now

    def __call__(self):
        return self.now


class Program:
    """What a checker or a queue program does.

    `says` maps descriptors to bytes that it writes, `status` is how it ends: a number, minus a signal, "hang" or
    "missing". A deaf program reads nothing. With `secret`, the record on descriptor 3 decides between 0 and 1.
    """

    def __init__(self, status=0, says=None, secret=None, is_deaf=False):
        self.status = status
        self.says = says or {}
        self.secret = secret
        self.is_deaf = is_deaf


class MemoryChild(Child):
    """A program that is said to run."""

    __slots__ = ("program", "received", "spawn")

    def __init__(self, pid, ends, program, spawn):
        super().__init__(pid, ends)
        self.program = program
        self.spawn = spawn
        self.received = dict.fromkeys(ends, b"")

    def target(self, end):
        """Give the program's descriptor at the other side of an end of ours."""
        return next(target for target, ours in self.ends.items() if ours == end)


class MemoryRunner:
    """Performs the operations of one generator; `client` has `receive(timeout)`, `send(data)` and `secure(timeout)`.

    What `client.secure` gives is how many bytes it sent in clear before its handshake.

    Attributes:
        programs: by argv[0].
        ended: (spawn operation, input by descriptor, status) of each program that came to its end by itself.
        performed: every operation, in order.
    """

    def __init__(self, client, programs=None, clock=None):
        self.client = client
        self.programs = programs or {}
        self.clock = clock or Clock()
        self.ended = []
        self.killed = []
        self.performed = []
        self._children = {}
        self._next = 1000

    def run(self, steps):
        """Perform what is yielded and return what is returned; a child that is left over is an error."""
        outcome, failure = None, None
        while True:
            try:
                operation = steps.send(outcome) if failure is None else steps.throw(failure)
            except StopIteration as stop:
                assert not self._children, "a program was neither waited for nor killed"
                return stop.value
            self.performed.append(operation)
            outcome, failure = None, None
            try:
                outcome = self._perform(operation)
            except (OSError, TimedOut) as error:
                failure = error

    def clean_up(self):
        """Kill what runs, as a runner does when a signal came."""
        for child in list(self._children.values()):
            self.killed.append(child)
            self._forget(child)

    def _perform(self, operation):
        return getattr(self, "_" + type(operation).__name__.lower())(operation)

    def _receive(self, operation):
        return self.client.receive(operation.timeout)

    def _send(self, operation):
        return self.client.send(operation.data)

    def _secure(self, operation):
        return Secured(dict(TLS), self.client.secure(operation.timeout))

    def _sleep(self, operation):
        self.clock.now += operation.seconds

    def _sync(self, operation):
        raise AssertionError("nothing here is on a disk")

    def _close(self, operation):
        child = self._child_of(operation.descriptor)
        del child.ends[child.target(operation.descriptor)]

    def _kill(self, operation):
        if operation.child.pid in self._children:
            self.killed.append(operation.child)
            self._forget(operation.child)

    def _forget(self, child):
        del self._children[child.pid]
        child.ends = {}

    def _spawn(self, operation):
        program = self.programs[operation.argv[0]]
        if program.status == "missing":
            raise FileNotFoundError(2, "No such file or directory")
        ends = {}
        for what, targets in operation.wiring:
            if what in ("to child", "from child"):
                self._next += 1
                ends[targets[0]] = self._next
        self._next += 1
        child = self._children[self._next] = MemoryChild(self._next, ends, program, operation)
        return child

    def _child_of(self, descriptor):
        found = [child for child in self._children.values() if descriptor in child.ends.values()]
        assert found, f"descriptor {descriptor} is not open"
        return found[0]

    def _write(self, operation):
        child = self._child_of(operation.descriptor)
        if child.program.is_deaf:
            raise BrokenPipeError(32, "Broken pipe")
        child.received[child.target(operation.descriptor)] += operation.data

    def _wait(self, operation):
        child = operation.child
        program = child.program
        if program.status == "hang":
            self.clock.now += operation.timeout
            raise TimedOut
        status = program.status
        if program.secret is not None:
            login, password = program.secret
            status = 0 if child.received[3] == login + b"\0" + password + b"\0\0" else 1
        said = b""
        if operation.listen is not None:
            said = program.says.get(child.target(operation.listen), b"")[: operation.keep]
        self._forget(child)
        self.ended.append((child.spawn, child.received, status))
        return Ended(status, said)
