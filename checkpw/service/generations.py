"""What the supervisor knows of its processes, and the words that it has with them.

Each process has a control socket to the supervisor; frames would be too much for words of one byte, some of which come
with a socket.
"""

from __future__ import annotations

import socket
import time

from checkpw.operations import OPENER, VERIFIER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READY = b"r"
"""A child: I can be used."""
LINE = {VERIFIER: b"v", OPENER: b"o"}
"""To a worker, with a socket: ask this one from now on."""
WORKER = b"w"
"""To a verifier or opener, with a socket: this worker will ask you."""
BEGIN = b"b"
"""To a worker: accept clients."""
DRAIN = b"d"
"""To a worker: accept nobody any more."""
QUIT = b"q"
"""To who is no worker: nobody will ask you any more."""

ALIVE = b"a"
"""From a verifier or opener: my loop turns."""

WORKER_ROLE, METRICS = "worker", "metrics"


class Role:
    """A kind of process.

    Attributes:
        name: VERIFIER, OPENER, METRICS or WORKER_ROLE.
        run: what it does, given its control socket and slot; its result is the exit status.
        number: how many there are.
    """

    __slots__ = ("name", "number", "run")

    def __init__(self, name: str, run: Callable[[socket.socket, int], int], number: int = 1) -> None:
        self.name = name
        self.run = run
        self.number = number


class Plan:
    """What a generation consists of: made anew from the settings for each.

    Attributes:
        roles: by their names.
        close: lets go of what was opened for them, in a process that has no use for it.
    """

    __slots__ = ("close", "roles")

    def __init__(self, roles: list[Role], close: Callable[[], None]) -> None:
        """Have the processes of these roles."""
        self.roles = {role.name: role for role in roles}
        self.close = close

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return self.roles[WORKER_ROLE].number


class Child:
    """A process that was started.

    Attributes:
        heard: when it said something for the last time.
    """

    __slots__ = ("born", "control", "deaths", "heard", "is_ready", "pid", "role", "slot")

    def __init__(self, pid: int, role: Role, control: socket.socket, slot: int, deaths: int) -> None:
        self.pid = pid
        self.role = role
        self.control = control
        self.slot = slot
        self.deaths = deaths
        self.born = self.heard = time.monotonic()
        self.is_ready = False

    def tell(self, word: bytes, end: socket.socket | None = None) -> None:
        """Say a word, with a socket that is closed here; a child that is gone hears nothing."""
        try:
            if end is None:
                self.control.send(word)
            else:
                socket.send_fds(self.control, [word], [end.fileno()])
        except OSError:
            pass
        finally:
            if end is not None:
                end.close()


class Generation:
    """Processes that were started with the same settings.

    Attributes:
        is_ready: all of them can be used; before that, one that dies ends the whole.
        is_draining: its workers accept nobody any more.
        replacements: (when, role, slot, deaths) of children that are to be started again.
        kill_at: when what is left of it is killed.
    """

    __slots__ = ("born", "children", "is_draining", "is_ready", "kill_at", "plan", "replacements")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.born = time.monotonic()
        self.children: list[Child] = []
        self.replacements: list[tuple[float, Role, int, int]] = []
        self.is_ready = False
        self.is_draining = False
        self.kill_at: float | None = None

    def of(self, name: str) -> list[Child]:
        """Return the children of a role."""
        return [child for child in self.children if child.role.name == name]
