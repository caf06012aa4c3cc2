"""Starting a child of ours in place of a program: it has what exec would have given it, and nothing else of ours."""

import _signal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from checkpw.operations import Spawn

SIGKILL = 9


def fork(operation: "Spawn", descriptors: dict[int, int], leave: "Callable[[Callable[[], int]], NoReturn]") -> int:
    """Start a child that does `operation.instead`, in a process group of its own, and return its number.

    Args:
        operation: what to do there.
        descriptors: the number that each is to have in the child, and what it is here. All others are closed.
        leave: ends the child with the status that a function returns, or that its exception means.
    """
    # Our handlers of signals raise: a child that is not guarded yet would go on with that as if it were us.
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        pid = posix.fork()
        if not pid:
            try:
                leave(lambda: _become(operation, descriptors, mask))
            finally:
                posix.kill(posix.getpid(), SIGKILL)  # whatever happened, it must not be us
        return pid
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _become(operation: "Spawn", descriptors: dict[int, int], mask: set[int]) -> int:
    """Be what exec would have made of the child, and do what it is there for.

    What Python's start-up ignores stays ignored: it would be so again in a program of ours.
    """
    posix.setpgid(0, 0)
    for target, source in descriptors.items():
        posix.dup2(source, target)
    for descriptor in _open_descriptors():
        if descriptor not in descriptors:
            try:
                posix.close(descriptor)
            except OSError:
                continue  # it was open for the listing only
    for number in _signal.valid_signals():
        if callable(_signal.getsignal(number)):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    assert operation.instead is not None
    return operation.instead()


def _open_descriptors() -> list[int]:
    try:
        return [int(name) for name in posix.listdir("/proc/self/fd")]
    except OSError:
        return list(range(1024))  # no /proc: what a soft limit usually allows
