"""One run of the command under test: its process, its socket, and the directory by which its probe is told what to do.

The command is started as a UCSPI server starts it: descriptors 0 and 1 are the same socket, 2 is a file, in a session
and process group of its own. It never outlives the session.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from checkpw.conform import process
from checkpw.conform.calling import call
from checkpw.conform.calling.call import Answer, Call
from checkpw.conform.calling.start import USUAL, Start

LONGEST_LINE = 65536  # bytes of a reply line; RFC 5321 allows 512


class Silent(Exception):
    """Nothing came within the time that was given."""


class Closed(Exception):
    """The command closed the connection."""


class Session:
    """The command, running, and a connection to it.

    Args:
        argv: the command, the probe's path filled in.
        environ: its whole environment.
        directory: where the probe finds its script and leaves what it saw.
        start: in which state the command begins.

    Attributes:
        process: the command.
        log: the path of the file that is its descriptor 2.
        endpoint: what its side of the connection is: device and inode.

    Raises:
        KitFailure: the command cannot be started.
    """

    def __init__(
        self, argv: Sequence[bytes], environ: Mapping[bytes, bytes], directory: str, start: Start = USUAL
    ) -> None:
        self.directory = directory
        self.log = os.path.join(directory, "log")
        self._received = b""
        self._socket, theirs = socket.socketpair()
        seen = os.fstat(theirs.fileno())
        self.endpoint = (seen.st_dev, seen.st_ino)
        with theirs, open(self.log, "ab") as log, open(os.devnull, "r+b", buffering=0) as null:
            descriptors = {0: theirs.fileno(), 1: theirs.fileno(), 2: log.fileno()}
            descriptors |= dict.fromkeys(start.occupied, null.fileno())
            try:
                program = process.find_program(argv[0], environ)
                self.process = process.start([program, *argv[1:]], process.State(environ, descriptors, start.ignored))
            except BaseException:
                self._socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    # --- the probe

    def answer(self, answer: Answer) -> None:
        """Tell the probe what to do in the calls from now on."""
        path = os.path.join(self.directory, "script")
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(answer.script())
        os.rename(path + ".new", path)

    def release(self) -> None:
        """Let calls that hold go on."""
        with open(os.path.join(self.directory, "release"), "wb"):
            pass

    def calls(self) -> list[Call]:
        """Return the calls of the probe so far."""
        return call.read_calls(self.directory)

    def wait_for_call(self, patience: float) -> Call | None:
        """Wait until the probe was called and has read what it reads; return that call, None if it is not in time."""
        deadline = time.monotonic() + patience
        while not (calls := [each for each in self.calls() if each.complete]):
            if time.monotonic() > deadline or not call.is_running(self.process.pid):
                return next(iter(self.calls()), None)
            time.sleep(0.005)
        return calls[-1]

    # --- the connection

    def send(self, data: bytes) -> None:
        """Send bytes; a command that no longer listens is found out by the next reply.

        Raises:
            Silent: they are not taken.
        """
        self._socket.settimeout(30)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._socket.sendall(data)
            except TimeoutError:
                raise Silent from None

    def line(self, patience: float) -> bytes:
        """Return the next line with its end.

        Raises:
            Silent: it is not there in time.
            Closed: there is none any more.
        """
        deadline = time.monotonic() + patience
        while b"\n" not in self._received and len(self._received) < LONGEST_LINE:
            if not self._receive(deadline - time.monotonic()):
                line, self._received = self._received, b""
                if line:
                    return line
                raise Closed
        line, separator, self._received = self._received.partition(b"\n")
        return line + separator

    def rest(self, patience: float) -> bytes:
        """Return everything up to the end of the connection.

        Raises:
            Silent: it does not end in time.
        """
        deadline = time.monotonic() + patience
        while self._receive(deadline - time.monotonic()):
            pass
        whole, self._received = self._received, b""
        return whole

    def is_silent(self) -> bool:
        """Tell whether there is nothing to be read now."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not self._received and not poller.poll(0)

    def wait_until_read(self, patience: float) -> bool:
        """Wait until the command has read all that was sent, or has gone; tell whether that was in time."""
        deadline = time.monotonic() + patience
        while call.is_running(self.process.pid) and struct.unpack(
            "i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        ) != (0,):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def hang_up(self) -> None:
        """Let the command find the end of its input."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _receive(self, patience: float) -> bool:
        self._socket.settimeout(max(0.0, patience) or 0.001)
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        except (TimeoutError, BlockingIOError):
            raise Silent from None
        self._received += piece
        return bool(piece)

    # --- the process

    def processes(self) -> list[int]:
        """Return the command and its descendants."""
        found = [self.process.pid]
        for pid in found:
            for task in _tasks(pid):
                found += map(int, call.look(pid, f"task/{task}/children").split())
        return found

    def holdings(self) -> tuple[int, int]:
        """Return how many descriptors the command and its descendants have open, and how many processes they are."""
        pids = self.processes()
        count = 0
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                count += len(os.listdir(f"/proc/{pid}/fd"))
        return count, len(pids)

    def said(self) -> bytes:
        """Return what the command wrote on descriptor 2."""
        with open(self.log, "rb") as file:
            return file.read()

    def end(self) -> None:
        """Kill what is left of the command and send the probe home."""
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.directory, "over"), "wb"):
            pass
        self._socket.close()
        self.process.kill()


def _tasks(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from os.listdir(f"/proc/{pid}/task")
