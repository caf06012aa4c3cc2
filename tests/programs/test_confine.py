"""What a confined process can still do, tried out; and what the kernel says of it.

The confined process is this very file, run as a program: it makes ready what it needs, lets itself be confined, tries,
and reports a line of JSON. `forbid` is tried alone, too: where the root directory is still there, only it refuses.
"""

import asyncio
import contextlib
import ctypes
import encodings.idna  # noqa: F401  # connecting wants it, and a stranger may not be able to read it
import errno
import fcntl
import importlib.util
import json
import mmap
import os
import pathlib
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
import traceback

import pytest

from checkpw import confine, privileges

ROOT = pathlib.Path(confine.__file__).parents[1]
STRANGER = 54321
LIBC = ctypes.CDLL(None, use_errno=True)


# --- the process that is confined


def _confine(how, prepare=lambda: None):
    """Confine this process as the server does it, and tell what was done; `prepare` runs before anything is refused."""
    done = {}
    if "nowhere" in how:
        done["nowhere"] = confine.into_nowhere()
    confine.name(b"checkpw: a title that is too long")
    if os.geteuid() == 0 and "stay root" not in how:
        privileges.become(STRANGER, STRANGER)
    done["prepared"] = prepare()
    if "forbid" in how:
        confinement = confine.forbid()
        done["filter"], done["reason"] = confinement.has_filter, confinement.reason
    return done


def _call(name, *arguments):
    """Do a system call by its number, which no library has a say in."""
    column = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
    table = " ".join([confine._REFUSED, confine._NOT_THERE, *confine._conditions(0)])
    number = re.search(rf"\b{name}:(\S+)", table)[1].split(":")[column]
    result = LIBC.syscall(ctypes.c_long(int(number)), *map(ctypes.c_ulong, (*arguments, *[0] * 6)[:6]))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def _outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError as error:
        return str(error)
    return "done"


def _near():
    """Make ready what attempts need: a process may have all of it when it is confined."""
    LIBC.prctl(4, 1, 0, 0, 0)  # else a process that was root can look at nothing of its own in /proc
    place = os.environ["PLACE"]
    listener = socket.create_server(("127.0.0.1", 0))
    mailbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    mailbox.bind("")  # a name of the kernel's choice, which is no path
    page = mmap.mmap(-1, 4096)
    allow = (ctypes.c_char * 8).from_buffer_copy(b"\6\0\0\0\xff\xff\xff\xff")
    ours, siblings = socket.socketpair()
    sibling = os.fork()
    if sibling == 0:
        ours.close()
        siblings.recv(1)  # until this process ends
        os._exit(0)
    return {
        "alive": (listener, mailbox, page, allow, ours),
        "place": place,
        "directory": os.open(place, os.O_RDONLY),
        "file": os.open(place + "/file", os.O_RDWR | os.O_CREAT, 0o666),
        "listener": listener.getsockname(),
        "fresh": socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "tcp": socket.create_connection(listener.getsockname()),
        "mailbox": mailbox.getsockname(),
        "datagrams": socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0],
        "sibling": sibling,
        "page": ctypes.addressof(ctypes.c_char.from_buffer(page)),
        "packet filter": b"\1" + bytes(7) + ctypes.addressof(allow).to_bytes(8, sys.byteorder),
    }


def _attempts(near, *, is_confined):
    """Give what a worker that was taken over might try; each succeeds where nothing is confined, in this order."""
    return {
        "fork": lambda: os.fork() or os._exit(0),
        "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "execve": lambda: is_confined and os.execve("/bin/true", ["true"], {}),
        "open to read": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "open to write": lambda: os.open(near["place"] + "/x", os.O_WRONLY | os.O_CREAT),
        "open below a directory that is open": lambda: os.open("y", os.O_WRONLY | os.O_CREAT, dir_fd=near["directory"]),
        "leave by a directory that is open": lambda: os.fchdir(near["directory"]),
        "make a directory": lambda: os.mkdir(near["place"] + "/d"),
        "rename": lambda: os.rename(near["place"] + "/d", near["place"] + "/e"),
        "remove": lambda: os.rmdir(near["place"] + "/e"),
        "symlink": lambda: os.symlink("x", near["place"] + "/s"),
        "link by descriptor": lambda: os.link(f"/proc/self/fd/{near['file']}", near["place"] + "/l"),
        "look for a file": lambda: os.stat("/etc/passwd"),
        "chmod by path": lambda: os.chmod(near["place"] + "/x", 0o777),
        "chmod by descriptor": lambda: os.fchmod(near["file"], 0o777),
        "truncate": lambda: os.truncate(near["place"] + "/x", 0),
        "memory file": lambda: os.memfd_create("x"),
        "internet socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "pair of datagram sockets": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        "bind": lambda: near["fresh"].bind(("127.0.0.1", 0)),
        "connect": lambda: near["fresh"].connect(near["listener"]),
        "listen": lambda: near["alive"][0].listen(5),
        "shutdown": lambda: near["alive"][0].shutdown(socket.SHUT_RDWR),
        "send to an address": lambda: near["datagrams"].sendto(b"x", near["mailbox"]),
        "packet filter": lambda: near["datagrams"].setsockopt(socket.SOL_SOCKET, 26, near["packet filter"]),
        "signal another": lambda: os.kill(near["sibling"], 0),
        "signal all": lambda: os.kill(-1, 0),
        "signal by a descriptor of a process": lambda: signal.pidfd_send_signal(os.pidfd_open(near["sibling"]), 0),
        "signal by a descriptor": lambda: fcntl.fcntl(near["tcp"], fcntl.F_SETOWN, near["sibling"]),
        "signal when something comes": lambda: fcntl.ioctl(near["tcp"], 0x5452, b"\1\0\0\0"),
        "priority of another": lambda: os.setpriority(os.PRIO_PROCESS, near["sibling"], 19),
        "limit another": lambda: resource.prlimit(near["sibling"], resource.RLIMIT_CPU),
        "read another's memory": lambda: _call("process_vm_readv", near["sibling"]),
        "trace another": lambda: _call("ptrace", 0x4206, near["sibling"]),
        "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
        "make memory code": lambda: _call("mprotect", near["page"], 4096, 5),
        "shared memory": lambda: _call("shmctl", _call("shmget", 0, 4096, 0o1600)),
        "become oneself": lambda: os.setuid(os.getuid()),
        "be traceable": lambda: _call("prctl", 4, 1),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096)),
    }


def attempts(how):
    """Try everything, and each system call of the tables for itself."""
    done = _confine(how, _near)
    near = done.pop("prepared")
    is_confined = "forbid" in how
    done["outcomes"] = {name: _outcome(try_) for name, try_ in _attempts(near, is_confined=is_confined).items()}
    if is_confined:
        names = [entry.split(":")[0] for entry in re.findall(r"\w+:\d+:\S+", confine._REFUSED)]
        column = 1 if os.uname().machine == "x86_64" else 2
        have = [name for name in names if not re.search(rf"\b{name}:(?:\d+:)?-", confine._REFUSED) or column == 1]
        done["calls"] = {name: _outcome(lambda name=name: _call(name)) for name in have}
        done["clone3"] = _outcome(lambda: _call("clone3"))
    print(json.dumps(done), flush=True)


def look(how):
    """Be looked at."""
    print(json.dumps(_confine(how)), flush=True)
    sys.stdin.read()


def nowhere(how):
    """Try to find or make anything where there are no paths."""
    done = _confine(how)
    inside = {
        "list": lambda: os.listdir("/") or os.stat("/anything"),
        "read": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "above": lambda: os.open("../../../../../../etc/passwd", os.O_RDONLY),
        "proc": lambda: os.open("/proc/self/status", os.O_RDONLY),
        "create": lambda: os.open("/x", os.O_WRONLY | os.O_CREAT),
        "mkdir": lambda: os.mkdir("/d"),
        "symlink": lambda: os.symlink("/", "l"),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind("/s"),
        "run": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    }
    done["outcomes"] = {name: _outcome(attempt) for name, attempt in inside.items()}
    print(json.dumps(done), flush=True)


def x32(how):
    """Do a system call by the numbers of x32."""
    _confine(how)
    LIBC.syscall(ctypes.c_long(0x40000000 | 39))


def i386(how):
    """Do a system call as a 32-bit program does: getpid, by machine code that was there before."""

    def prepare():
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
        return page

    page = _confine(how, prepare)["prepared"]
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def crash(how):
    """Raise a signal against oneself, as abort does."""
    _confine(how)
    os.abort()


def work(how):
    """Do what a worker does: a TLS connection in an event loop, descriptors that come and go, time, randomness."""
    channel = socket.socket(fileno=0)
    listener = socket.create_server(("127.0.0.1", 0), backlog=5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["CERTIFICATE"])
    time.localtime()
    print(listener.getsockname()[1], flush=True)
    if os.environ["LOOP"] == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop
    else:
        new_loop = asyncio.new_event_loop
    done = _confine(how)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        done["loop"] = type(runner.get_loop()).__module__
        runner.run(_serve(channel, listener, context))
    done["random"] = len(os.urandom(16))
    done["time"] = time.strftime("%z", time.localtime()) != "" and time.monotonic() > 0
    try:
        open("/etc/passwd", encoding="ascii").close()
    except OSError:
        done["traceback"] = traceback.format_exc().count("Error") > 0
    done["thread"] = _thread()
    print(json.dumps(done), flush=True)


def _thread():
    """Tell whether a thread can be started: privileged users have no limit of processes."""
    import _thread

    try:
        _thread.start_new_thread(time.sleep, (0,))
    except RuntimeError as error:
        return str(error)
    return "done"


class Tls(asyncio.Protocol):
    """A TLS server that says what it heard, by memory BIOs as the worker has them."""

    def __init__(self, context, over):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.over = over

    def connection_made(self, transport):
        """Begin."""
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        """Shake hands, or answer."""
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.tls.write(b"heard " + self.tls.read(100))
        self.transport.write(self.outgoing.read())

    def connection_lost(self, error):
        """End."""
        self.over.set_result(error)


async def _serve(channel, listener, context):
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    listener.settimeout(0)
    channel.settimeout(0)

    def accept():
        with contextlib.suppress(BlockingIOError):
            client, _ = listener.accept()
            client.settimeout(0)
            accepted.append(loop.create_task(loop.connect_accepted_socket(lambda: Tls(context, over), client)))

    accepted = []
    loop.add_reader(listener.fileno(), accept)
    came = loop.create_future()
    loop.add_reader(channel.fileno(), lambda: came.done() or came.set_result(None))
    await asyncio.wait_for(came, 30)
    loop.remove_reader(channel.fileno())
    data, descriptors, _, _ = socket.recv_fds(channel, 100, 4)
    os.write(descriptors[0], data + b" written")
    os.fsync(descriptors[0])
    assert os.fstat(descriptors[0]).st_size == len(data) + 8
    socket.send_fds(channel, [b"back"], descriptors)
    os.close(descriptors[0])
    await asyncio.wait_for(over, 30)
    loop.remove_reader(listener.fileno())
    await asyncio.sleep(0.001)


# --- the tests


@pytest.fixture
def confined(resources, public):
    """Give a function that starts this file as a program: what it does, how it is confined, and its environment."""

    public.chmod(0o777)

    def start(act, *how, stdin=subprocess.PIPE, **environ):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, __file__, act, *how],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "PLACE": str(public), **environ},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        resources.enter_context(process)
        resources.callback(process.kill)
        return process

    return start


def _end(process):
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said.decode()
    return json.loads(out)


HOSTS_DECISION = {"link by descriptor", "trace another", "be traceable"}
"""What some systems forbid everybody: protected_hardlinks, and Yama."""


def test_unconfined(confined):
    """Without confinement each attempt succeeds: so the next test is about the confinement and nothing else."""
    outcomes = _end(confined("attempts"))["outcomes"]
    assert {name: said for name, said in outcomes.items() if said != "done" and name not in HOSTS_DECISION} == {}


def test_what_is_refused(confined):
    """Each attempt is refused by the filter, and so is each system call of its list."""
    done = _end(confined("attempts", "forbid"))
    assert (done["filter"], done["reason"]) == (True, "")
    assert done["outcomes"].pop("raise a limit") == "not allowed to raise maximum limit"
    assert {name: said for name, said in done["outcomes"].items() if said != "EPERM"} == {}
    assert {name: said for name, said in done["calls"].items() if said != "EPERM"} == {}
    assert len(done["calls"]) > 100
    assert done["clone3"] == "ENOSYS"


def test_nowhere(root, confined):
    """Without any filter, there is no path, and not even root can make one."""
    done = _end(confined("nowhere", "nowhere", "stay root"))
    assert done["nowhere"]
    assert set(done["outcomes"].values()) == {"ENOENT"}
    done = _end(confined("nowhere", "nowhere"))
    assert set(done["outcomes"].values()) == {"EACCES"}


def test_nowhere_without_root(confined, everybodys):
    """Who is not root is told that the paths are still there."""
    if os.geteuid() == 0:
        text = f"import sys; sys.path.insert(0, {str(everybodys / 'lib')!r}); from checkpw import confine; "
        text += "print(confine.into_nowhere())"
        interpreter = (everybodys / "checkpassword").read_text().splitlines()[0][2:].split()[0]
        who = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
        told = subprocess.run([interpreter, "-IS", "-c", text], **who, capture_output=True, timeout=60, check=True)
        assert told.stdout == b"False\n"
    else:
        process = confined("look", "nowhere")
        assert json.loads(process.stdout.readline())["nowhere"] is False


def test_what_the_kernel_says(root, confined, tools):
    """No privileges, no groups, no capabilities, a filter, no core, no root directory, a name."""
    process = confined("look", "nowhere", "forbid")
    done = json.loads(process.stdout.readline())
    assert (done["nowhere"], done["filter"]) == (True, True)
    place = pathlib.Path(f"/proc/{process.pid}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == [str(STRANGER)] * 4
    assert status["Groups"].split() == [str(STRANGER)]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert (place / "comm").read_text() == "checkpw: a titl\n"
    for link in ("root", "cwd"):
        assert os.readlink(place / link).endswith(" (deleted)")
    limits = {line[:26].strip(): line[26:66].split() for line in (place / "limits").read_text().splitlines()[1:]}
    assert limits["Max core file size"] == limits["Max processes"] == ["0", "0"]
    assert (place / "maps").stat().st_uid == 0  # what cannot be traced is root's in /proc


def test_capabilities_are_given_up(root, everybodys):
    """Who is not root may have been started with some, to listen on a low port, and a worker has none of them."""
    text = f"import sys; sys.path.insert(0, {str(everybodys / 'lib')!r}); from checkpw import confine; "
    text += "status = open('/proc/self/status'); before = status.read(); confine.forbid(); status.seek(0); "
    text += "print([line for text in (before, status.read()) for line in text.splitlines() if line[:3] == 'Cap'])"
    interpreter = (everybodys / "checkpassword").read_text().splitlines()[0][2:].split()[0]
    who = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    caps = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
    told = subprocess.run(
        [*who, *caps, interpreter, "-IS", "-c", text], capture_output=True, timeout=60, check=True
    ).stdout.decode()
    found = [(name, int(value, 16)) for name, value in re.findall(r"'(Cap\w+):\\t(\w+)'", told)]
    assert [value for name, value in found if name != "CapBnd"] == [1 << 10] * 4 + [0] * 4


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of other machines are those of x86_64's")
@pytest.mark.parametrize("act", ["x32", "i386"])
def test_numbers_of_another_machine(confined, act):
    """System calls whose numbers mean something else end the process; some kernels do not have them at all."""
    process = confined(act, "forbid")
    _, said = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGSYS, -signal.SIGSEGV), said


def test_a_process_can_still_crash(confined):
    """Abort ends the process by its own signal, which is how a crash is known for one."""
    process = confined("crash", "forbid")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT


@pytest.fixture(scope="session")
def certificate(refuse, tmp_path_factory):
    """Give a file with a certificate and its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
    try:
        subprocess.run(["openssl", *words, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    except FileNotFoundError:
        refuse("peer not installed: openssl")
    with path.open("ab") as both:
        both.write(pathlib.Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_a_worker_does(confined, certificate, refuse, tmp_path, loop):
    """A confined process accepts, speaks TLS, and takes and gives descriptors, in either event loop."""
    if importlib.util.find_spec(loop) is None:
        refuse(f"peer not installed: {loop}")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        how = ["nowhere", "forbid"]
        process = confined("work", *how, stdin=theirs, CERTIFICATE=str(certificate), LOOP=loop)
        port = int(process.stdout.readline() or process.communicate()[1])
        ours.settimeout(60)
        with open(tmp_path / "message", "wb") as message:
            socket.send_fds(ours, [b"message"], [message.fileno()])
        data, back, _, _ = socket.recv_fds(ours, 100, 4)
        os.close(back[0])
        assert data == b"back"
        assert (tmp_path / "message").read_bytes() == b"message written"
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port), 60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"hello")
            assert client.recv(100) == b"heard hello"
    done = _end(process)
    assert done["filter"]
    assert done["loop"].startswith("uvloop" if loop == "uvloop" else "asyncio")
    assert (done["random"], done["time"], done["traceback"]) == (16, True, True)
    assert done["thread"] == "can't start new thread"


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
