"""The scripted checkpassword program that the kit hands to a caller: records what it was given, and answers as told.

It is never installed, because a program that says yes when told to is an open relay. The kit writes a copy of this
text, followed by one line that calls `main`, into a directory of mode 0700 for as long as it runs; the copy answers
nothing but 111 unless the kit holds its lock. So this module imports nothing but what an interpreter has at hand.
"""

import fcntl
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = 3  # the descriptor of cr.yp.to/checkpwd/interface.html
DESCRIPTORS = 1024  # looked at: what a soft limit usually allows
PATIENCE = 5.0  # seconds for the end of file on descriptor 3; who writes at most 512 bytes needs none of them
LONGEST = 1 << 20  # bytes: more than that on descriptor 3 is not read
SENTINELS = (b"true", b"/bin/true", b"/usr/bin/true")
NO_KIT = b"this is the probe of checkpw conform, and answers nothing but the kit that wrote it\n"


def main(directory: str) -> None:
    """Answer one call as the file `script` in the directory says, and leave what was seen there; never returns."""
    try:
        # Before anything is opened: a file of ours would stand where a closed descriptor was.
        facts: dict[str, object] = {"descriptors": _descriptors()}
        if not is_kit_there(directory):
            os.write(2, NO_KIT)
            os._exit(111)
        script = _read_script(directory)
        argv, environ = _block("cmdline")[3:], _block("environ")
        facts.update(pid=os.getpid(), argv=argv, environ=environ, status=_status(), uid=os.getuid())
        facts.update(record=b"", ended=False, complete=script.get("read") == "no")
        name = f"call-{time.monotonic_ns():020d}-{os.getpid()}"
        if script.get("close") == "yes":
            os.close(RECORD)
        # Whatever happens to us later: that there was a call is known.
        _leave(directory, name, facts)
        if script.get("read") != "no":
            for facts["record"], facts["ended"], facts["complete"] in _read_record():
                _leave(directory, name, facts)
        _act(directory, script, argv, environ)
    finally:
        os._exit(111)  # only if something above failed


def is_kit_there(directory: str) -> bool:
    """Tell whether somebody holds the lock on the file `alive` beside the directory."""
    try:
        lock = os.open(os.path.join(os.path.dirname(directory), "alive"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _descriptors() -> list[tuple[int, int, int, int, int]]:
    """Return number, device, inode, mode and status flags of each open descriptor."""
    found = []
    for number in range(DESCRIPTORS):
        try:
            seen = os.fstat(number)
        except OSError:
            continue
        found.append((number, seen.st_dev, seen.st_ino, seen.st_mode, fcntl.fcntl(number, fcntl.F_GETFL)))
    return found


def _read_script(directory: str) -> dict[str, str]:
    with open(os.path.join(directory, "script"), encoding="ascii") as file:
        return dict(line.rstrip("\n").split("=", 1) for line in file)


def _block(name: str) -> list[bytes]:
    """Return what the kernel was given, before Python's start changed it."""
    with open(f"/proc/self/{name}", "rb") as file:
        return file.read().split(b"\0")[:-1]


def _status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        pairs = (line.split(":", 1) for line in file)
        return {name: value.strip() for name, value in pairs}


def _read_record() -> "Iterator[tuple[bytes, bool, bool]]":
    """Read descriptor 3; yield the bytes so far, whether the end of file has come, and whether that is all."""
    whole, deadline, is_over = b"", time.monotonic() + PATIENCE, False
    while not is_over and len(whole) < LONGEST:
        try:
            ready, _, _ = select.select([RECORD], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(RECORD, 65536) if ready else b""
        except OSError:
            ready, piece = [], b""
        whole += piece
        is_over = not piece
        yield whole, bool(ready) and is_over, is_over


def _leave(directory: str, name: str, facts: dict[str, object]) -> None:
    """Write the facts down under a name by which calls are in the order of time; the file appears whole."""
    with open(os.path.join(directory, "new"), "w", encoding="ascii") as file:
        file.write(ascii(facts))
    os.rename(file.name, os.path.join(directory, name))


def _act(directory: str, script: dict[str, str], argv: list[bytes], environ: list[bytes]) -> None:
    for number in (1, 2):
        text = bytes.fromhex(script.get(f"print{number}", ""))
        while text:
            try:
                text = text[os.write(number, text) :]
            except OSError:
                break  # closed, or nobody reads: no concern of a checker
    if script.get("ignore") == "yes":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if script.get("stay") == "yes" and os.fork() == 0:
        _wait(directory, "never")
        os._exit(0)
    if script.get("hold") == "yes":
        _wait(directory, "release")
    if script.get("hang") == "yes":
        _wait(directory, "never")
    kind, _, number_ = script["end"].partition(":")
    if kind == "signal":
        signal.signal(int(number_), signal.SIG_DFL) if int(number_) not in (signal.SIGKILL, signal.SIGSTOP) else None
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), int(number_))
        time.sleep(PATIENCE)  # until the signal comes
    if int(number_) == 0 and argv and not (len(argv) == 1 and argv[0] in SENTINELS):
        _run(argv, environ)
    os._exit(int(number_))


def _wait(directory: str, name: str) -> None:
    """Wait until the file is there, or the session is over, or the kit."""
    while not os.path.exists(os.path.join(directory, name)):
        if os.path.exists(os.path.join(directory, "over")) or not is_kit_there(directory):
            os._exit(111)
        time.sleep(0.005)


def _run(argv: list[bytes], environ: list[bytes]) -> None:
    """Become the rest of the chain, as a checkpassword program does after a yes."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.close(RECORD)
    except OSError:
        sys.exc_info()  # it was closed already
    os.execvpe(argv[0], argv, dict(entry.split(b"=", 1) for entry in environ if b"=" in entry))  # noqa: S606  no shell, on purpose
