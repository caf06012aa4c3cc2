"""What the probe is told to answer, and what it saw when it was called."""

import ast
import contextlib
import errno
import os
import signal
from dataclasses import dataclass

from checkpw.conform.shell import quote_printf

SEEN = "/tmp/seen"  # noqa: S108  the file, in a line for people, to which a checker writes what it was given


@dataclass(frozen=True, slots=True)
class Answer:
    """How the probe behaves in a call.

    Attributes:
        status: the exit status.
        signal: the signal that ends it instead, 0 for none.
        reads: whether it reads descriptor 3; what is not read is still there when it ends.
        closes: whether it closes descriptor 3 before anything else happens.
        output: what it writes on descriptor 1.
        errors: what it writes on descriptor 2.
        holds: whether it waits for `Session.release` before it ends.
        hangs: whether it never ends by itself.
        ignores: whether it ignores SIGTERM.
        stays: whether it leaves a process behind that holds its descriptors open.
    """

    status: int = 0
    signal: int = 0
    reads: bool = True
    closes: bool = False
    output: bytes = b""
    errors: bytes = b""
    holds: bool = False
    hangs: bool = False
    ignores: bool = False
    stays: bool = False

    def __str__(self) -> str:
        if self.hangs:
            end = "hangs and ignores SIGTERM" if self.ignores else "hangs"
        elif self.signal:
            end = f"is killed by {signal.Signals(self.signal).name}"
        else:
            end = f"exits {self.status}"
        if self.closes:
            return f"closes descriptor 3 unread and {end}"
        return end if self.reads else f"{end} without reading descriptor 3"

    @property
    def is_yes(self) -> bool:
        """Whether a caller may take it for a yes."""
        return not (self.status or self.signal or self.hangs)

    def script(self) -> str:
        """Return the text that the probe reads."""
        words = {
            "read": "no" if self.closes or not self.reads else "yes",
            "close": "yes" if self.closes else "no",
            "print1": self.output.hex(),
            "print2": self.errors.hex(),
            "hold": "yes" if self.holds else "no",
            "hang": "yes" if self.hangs else "no",
            "ignore": "yes" if self.ignores else "no",
            "stay": "yes" if self.stays else "no",
            "end": f"signal:{self.signal}" if self.signal else f"exit:{self.status}",
        }
        return "".join(f"{name}={value}\n" for name, value in words.items())

    def shell(self, shows: str = "od -c <&3") -> str:
        """Return shell text that answers like this.

        Args:
            shows: a command that shows what it was given; it goes to a file, because servers may drop what it says.
        """
        words = [f"{shows} >>{SEEN}"] if self.reads and not self.closes else []
        words += ["exec 3<&-"] if self.closes else []
        words += [f"printf {quote_printf(self.output)}"] if self.output else []
        words += [f"printf {quote_printf(self.errors)} >&2"] if self.errors else []
        words += ["sleep 9999 &"] if self.stays else []
        words += ["trap '' TERM"] if self.ignores else []
        words += ["sleep 1"] if self.holds else []
        if self.hangs:
            words.append("sleep 9999")
        elif self.signal:
            words.append(f"kill -{self.signal} $$")
        else:
            words.append(f"exit {self.status}")
        return "; ".join(words).replace("&;", "&")


YES = Answer()
NO = Answer(status=1)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One open descriptor of the probe: its number, what it is (device, inode), its mode and its status flags."""

    number: int
    identity: tuple[int, int]
    mode: int
    flags: int


@dataclass(frozen=True, slots=True)
class Call:
    """What the probe saw in one call.

    Attributes:
        pid: of the probe.
        argv: the words behind the probe.
        environ: the environment, as it was handed to execve(2).
        descriptors: all that were open.
        status: the fields of /proc/self/status.
        uid: the real user.
        record: what could be read from descriptor 3.
        ended: whether that came to an end of file.
        complete: whether the probe had read all that it was to read, when it was looked at or killed.
    """

    pid: int
    argv: tuple[bytes, ...]
    environ: tuple[bytes, ...]
    descriptors: tuple[Descriptor, ...]
    status: dict[str, str]
    uid: int
    record: bytes
    ended: bool
    complete: bool

    @property
    def fields(self) -> tuple[bytes, ...]:
        """The fields of the record that are terminated by NUL; what follows the last NUL is the last field, if any."""
        fields = self.record.split(b"\0")
        return tuple(fields[:-1] if not fields[-1] else fields)

    def find(self, number: int) -> Descriptor | None:
        """Return the descriptor of that number, None if it was closed."""
        return next((each for each in self.descriptors if each.number == number), None)


def read_calls(directory: str) -> list[Call]:
    """Return the calls of which the probe left a note in the directory, in the order of time."""
    calls = []
    for name in sorted(os.listdir(directory)):
        if name.startswith("call-"):
            with open(os.path.join(directory, name), encoding="ascii") as file:
                facts = ast.literal_eval(file.read())
            descriptors = tuple(
                Descriptor(number, (device, inode), mode, flags)
                for number, device, inode, mode, flags in facts.pop("descriptors")
            )
            argv, environ = (tuple(facts.pop(name)) for name in ("argv", "environ"))
            calls.append(Call(argv=argv, environ=environ, descriptors=descriptors, **facts))
    return calls


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting to be collected."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def look(pid: int, name: str) -> bytes:
    """Return a file of /proc about a process, nothing if it has gone or is not ours to look at."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM):
            return b""
        raise
