"""Starting a program with the descriptors that an operation asks for, and no others."""

import errno
import posix

from checkpw import chain, operations
from checkpw.operations import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[[operations.Spawn, list[tuple[int, int, int]]], int]

PIPE_BYTES = 256 * 1024
"""What we ask for as the capacity of a pipe to a child, so that it and we seldom wait for each other."""

FIRST_SAFE = 10
"""Descriptors of pipes are moved to this number or above before a child gets them as 0 to 9."""

SIGKILL = 9


def spawn(
    operation: operations.Spawn,
    start: "Start | None" = None,
) -> Child:
    """Start a program; the pipes' ends are close-on-exec, so that it gets nothing that is not in its wiring.

    Args:
        operation: says which, and with what.
        start: starts something in its place, given the descriptors as posix_spawn takes them: (action, ours, its).
    """
    ours: dict[int, int] = {}
    theirs: list[int] = []
    actions: list[tuple[int, int, int]] = []
    try:
        for what, targets in operation.wiring:
            source = _wire(what, targets[0], ours)
            theirs.append(source)
            actions += [(posix.POSIX_SPAWN_DUP2, source, target) for target in targets]
        pid = (start or _posix_spawn)(operation, actions)
    except BaseException:
        for descriptor in ours.values():
            posix.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            posix.close(descriptor)
    return Child(pid, ours)


def _wire(what: str | int, target: int, ours: dict[int, int]) -> int:
    """Return the child's end of a new pipe or of a file, and note our end."""
    import fcntl  # only now: most sessions of a scan come to no program

    if isinstance(what, int):
        return fcntl.fcntl(what, fcntl.F_DUPFD_CLOEXEC, FIRST_SAFE)
    if what == operations.LOG:
        return fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, FIRST_SAFE)
    if what == operations.NULL:
        source = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    else:
        reading, writing = posix.pipe2(posix.O_CLOEXEC)
        source, mine = (reading, writing) if what == operations.TO_CHILD else (writing, reading)
        posix.set_blocking(mine, False)
        if what == operations.TO_CHILD:
            _widen(mine)
        ours[target] = mine
    if source < FIRST_SAFE:
        moved = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, FIRST_SAFE)
        posix.close(source)
        source = moved
    return source


def _widen(pipe: int) -> None:
    """Ask for a pipe of `PIPE_BYTES`; a user who has too many pipes already gets the usual one."""
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return


def _posix_spawn(operation: operations.Spawn, actions: list[tuple[int, int, int]]) -> int:
    """Start the program at the first place where it can be started, with the signals that Python changed restored."""
    failure: OSError = FileNotFoundError(errno.ENOENT, "not found in PATH")
    for path in chain.candidates(operation.argv[0], operation.environ):
        try:
            return posix.posix_spawn(
                path,
                operation.argv,
                operation.environ,
                file_actions=actions,
                setpgroup=0,
                setsigdef=chain.IGNORED_BY_PYTHON,
            )
        except ValueError as error:  # a name in the environment that Python does not take
            raise OSError(errno.EINVAL, str(error)) from None
        except OSError as error:
            if error.errno != errno.ENOENT or b"/" in operation.argv[0]:
                failure = error
            if not chain.is_worth_another_try(error):
                break
    raise failure


def start_with(most_descriptors: int) -> "Start":
    """Return what starts programs with this limit of descriptors (`ulimit -n`), whatever ours is.

    Programs that close all descriptors which they may have take long with a limit of a million.
    """
    import resource

    def start(operation: operations.Spawn, actions: list[tuple[int, int, int]]) -> int:
        now, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if any(source >= most_descriptors for _, source, _ in actions):
            return _posix_spawn(operation, actions)  # it takes none above the limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_descriptors, now), hard))
        try:
            return _posix_spawn(operation, actions)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (now, hard))

    return start


def kill_group(pid: int) -> bool:
    """Kill a child and its process group; tell whether the child itself could be killed.

    The group, and the child itself: it may have left its group, or changed its user, and then it is not ours to kill
    and is left to whoever collects orphans.
    """
    is_killed = False
    for kill in (posix.killpg, posix.kill):
        try:
            kill(pid, SIGKILL)
        except OSError:
            continue
        is_killed = kill is posix.kill
    return is_killed


def open_process(pid: int) -> int:
    """Return a descriptor that becomes readable when the process ends, or -1 where there is no pidfd."""
    try:
        return posix.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
