"""Taking away from a process what it will never need: paths, programs, other processes, new connections.

For the workers of the resident server, which read what strangers send. `into_nowhere`, `become` (of privileges) and
`forbid`, in this order, each for good; what a worker works with, it is given before, or as a descriptor later. The
filter is a list of what is refused, and not of what is allowed: C libraries, Pythons and event loops differ in how they
wait, read and ask for memory, and none of them differs in how a file is opened.
Sources: seccomp(2), Documentation/userspace-api/seccomp_filter.rst of Linux, and its asm/unistd.h.
"""

import ctypes
import os
import resource
import sys
import tempfile
from itertools import groupby
from struct import Struct

from checkpw.errors import TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]

# The column of the tables below, the kernel's name for the machine (linux/audit.h), the number of seccomp(2).
_MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}

_REFUSED = """
# Programs and copies of this process.
execve:59:221 execveat:322:281 fork:57:- vfork:58:- uselib:134:-
# Anything by its path, watches, and files out of nothing.
open:2:- openat:257:56 openat2:437:437 creat:85:- open_by_handle_at:304:265 name_to_handle_at:303:264 link:86:-
linkat:265:37 unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 renameat2:316:276 symlink:88:- symlinkat:266:36
mkdir:83:- mkdirat:258:34 rmdir:84:- mknod:133:- mknodat:259:33 chmod:90:- fchmod:91:52 fchmodat:268:53 chown:92:-
lchown:94:- fchown:93:55 fchownat:260:54 truncate:76:45 utime:132:- utimes:235:- utimensat:280:88 futimesat:261:-
access:21:- faccessat:269:48 faccessat2:439:439 stat:4:- lstat:6:- statx:332:291 readlink:89:- readlinkat:267:78
statfs:137:43 chdir:80:49 fchdir:81:50 chroot:161:51 pivot_root:155:41 setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7
getxattr:191:8 lgetxattr:192:9 listxattr:194:11 llistxattr:195:12 removexattr:197:14 lremovexattr:198:15
fremovexattr:199:16 inotify_init:253:- inotify_init1:294:26 inotify_add_watch:254:27 fanotify_init:300:262
fanotify_mark:301:263 memfd_create:319:279 memfd_secret:447:447
# File systems as a whole.
mount:165:40 umount2:166:39 open_tree:428:428 move_mount:429:429 fsopen:430:430 fsconfig:431:431 fsmount:432:432
fspick:433:433 mount_setattr:442:442 quotactl:179:60 quotactl_fd:443:443 acct:163:89 swapon:167:224 swapoff:168:225
sync:162:81 syncfs:306:267
# Other processes, and memory and queues that are shared with them.
ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 process_madvise:440:440 process_mrelease:448:448
kcmp:312:272 pidfd_open:434:434 pidfd_getfd:438:438 pidfd_send_signal:424:424 tkill:200:130 rt_sigqueueinfo:129:138
rt_tgsigqueueinfo:297:240 setpriority:141:140 ioprio_set:251:30 sched_setaffinity:203:122 sched_setscheduler:144:119
sched_setparam:142:118 sched_setattr:314:274 migrate_pages:256:238 move_pages:279:239 setpgid:109:154 setsid:112:157
shmget:29:194 shmat:30:196 shmctl:31:195 shmdt:67:197 msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187
semget:64:190 semop:65:193 semtimedop:220:192 semctl:66:191 mq_open:240:180 mq_unlink:241:181 mq_timedsend:242:182
mq_timedreceive:243:183 mq_notify:244:184 mq_getsetattr:245:185
# Connections of one's own.
socket:41:198 connect:42:203 bind:49:200 sendmmsg:307:269
# The listening sockets that all workers share, and that nobody can open again.
listen:50:201 shutdown:48:210
# Who one is, and which machine it looks like.
setuid:105:146 setgid:106:144 setreuid:113:145 setregid:114:143 setresuid:117:147 setresgid:119:149 setgroups:116:159
setfsuid:122:151 setfsgid:123:152 capset:126:91 unshare:272:97 setns:308:268 personality:135:92
# Parts of the kernel that serve nothing here, and those that are root's.
bpf:321:280 perf_event_open:298:241 keyctl:250:219 add_key:248:217 request_key:249:218 userfaultfd:323:282
io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427 io_setup:206:0 io_submit:209:2 prctl:157:167
seccomp:317:277 splice:275:76 vmsplice:278:75 tee:276:77 copy_file_range:326:285 pkey_mprotect:329:288
remap_file_pages:216:234 init_module:175:105 finit_module:313:273 delete_module:176:106 kexec_load:246:104
kexec_file_load:320:294 reboot:169:142 syslog:103:116 sethostname:170:161 setdomainname:171:162 settimeofday:164:170
clock_settime:227:112 adjtimex:159:171 clock_adjtime:305:266 nfsservctl:180:42 lookup_dcookie:212:18 vhangup:153:58
iopl:172:- ioperm:173:- modify_ldt:154:- create_module:174:-
"""
"""System calls that are refused, with their numbers: x86_64, aarch64."""

_NOT_THERE = "clone3:435:435"
"""As if the kernel did not have it: libraries then take clone, whose flags a filter can see."""

LAST_KNOWN = 450
"""What has a higher number came after Linux 6.1, and nobody has looked at it here: as if it were not there."""

_X32 = 0x40000000
_ALLOW, _KILL, _REFUSE, _ABSENT = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026  # EPERM, ENOSYS
_LOAD, _AND, _JUMP, _JUMP_EQUAL, _JUMP_FROM, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_INSTRUCTION = Struct("=HBBI")
_ALL = 0xFFFFFFFF

# linux/capability.h: the header of capset(2), and effective, permitted and inheritable, which come twice.
_CAPABILITY_HEADER, _CAPABILITIES, _CAPABILITY_VERSION = Struct("@Ii"), Struct("@III"), 0x20080522


class _Check:
    """What an argument has to be; otherwise the call is refused.

    Attributes:
        word: which half of which argument, counted in words of four bytes: 2 * argument for the lower half.
        values: those that it may have, or with `is_in` false may not have, in the bits of `mask`.
    """

    __slots__ = ("is_in", "mask", "values", "word")

    def __init__(self, argument: int, *values: int, mask: int = _ALL, is_in: bool = True, upper: bool = False) -> None:
        self.word = 2 * argument + upper
        self.values = values
        self.mask = mask
        self.is_in = is_in

    def instructions(self) -> "list[Instruction]":
        """Return the code that refuses the call, or goes on behind itself."""
        code: list[Instruction] = [(_LOAD, 0, 0, 16 + 4 * self.word)]
        if self.mask != _ALL:
            code.append((_AND, 0, 0, self.mask))
        rest = len(self.values)
        code += [(_JUMP_EQUAL, rest - at, 0, value) for at, value in enumerate(self.values)]
        return [*code, *([] if self.is_in else [(_JUMP, 0, 0, 1)]), (_RETURN, 0, 0, _REFUSE)]


def _conditions(pid: int) -> dict[str, tuple[_Check, ...]]:
    """Return what is allowed in part. Numbers are those of Linux on both machines."""
    no_code = (_Check(2, 0, mask=4),)  # PROT_EXEC
    no_address = (_Check(4, 0), _Check(4, 0, upper=True))
    no_fast_open = 0x20000000  # MSG_FASTOPEN: sending that connects
    return {
        # Threads, which RLIMIT_NPROC refuses to anybody but root.
        "clone:56:220": (_Check(0, 0x10000, mask=0x10000),),  # CLONE_THREAD
        "mmap:9:222": no_code,
        "mprotect:10:226": no_code,
        # To oneself: raise(3) and abort(3).
        "kill:62:129": (_Check(0, pid),),
        "tgkill:234:131": (_Check(0, pid),),
        "prlimit64:302:261": (_Check(0, 0, pid),),
        # Nothing is sent to an address: no datagram to another service's socket, no connection.
        "sendto:44:206": (*no_address, _Check(3, 0, mask=no_fast_open)),
        "sendmsg:46:211": (_Check(2, 0, mask=no_fast_open),),
        "socketpair:53:199": (_Check(0, 1), _Check(1, 1, mask=15)),  # AF_UNIX, SOCK_STREAM: event loops have them
        # SOL_SOCKET and IPPROTO_TCP; SO_REUSEADDR, _ERROR, _SNDBUF, _RCVBUF, _KEEPALIVE, _PRIORITY, _LINGER, _RCVLOWAT;
        # TCP_NODELAY, _MAXSEG, _CORK, _KEEPIDLE, _KEEPINTVL, _KEEPCNT, _SYNCNT, _LINGER2, _DEFER_ACCEPT, _QUICKACK,
        # _CONGESTION, _USER_TIMEOUT. No packet filters, which all who share a listening socket would have.
        "setsockopt:54:208": (_Check(1, 1, 6), _Check(2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 18)),
        # FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TIOCOUTQ, and what isatty(3) asks: TCGETS, TCGETS2.
        "ioctl:16:29": (_Check(1, 0x5421, 0x5451, 0x5450, 0x541B, 0x5411, 0x5401, 0x802C542A),),
        # F_SETOWN, F_SETSIG, F_SETOWN_EX, by which a descriptor sends signals to others; F_SETLEASE, F_NOTIFY.
        "fcntl:72:25": (_Check(1, 8, 10, 15, 1024, 1026, is_in=False),),
        "newfstatat:262:79": (_Check(3, 0x1000, mask=0x1000),),  # AT_EMPTY_PATH: fstat(3)
    }


class Confinement:
    """What could be taken away.

    Attributes:
        has_filter: system calls are filtered.
        reason: why they are not.
    """

    __slots__ = ("has_filter", "reason")

    def __init__(self, *, has_filter: bool, reason: str = "") -> None:
        self.has_filter = has_filter
        self.reason = reason


def name(title: bytes) -> None:
    """Let the process be called so in ps(1), as far as there is room: 15 bytes. Not after `forbid`."""
    ctypes.CDLL(None).prctl(15, ctypes.c_char_p(title), *map(ctypes.c_ulong, (0, 0, 0)))  # PR_SET_NAME


def into_nowhere() -> bool:
    """Be where there are no paths: the root directory is one that does not exist any more, so that none can be made.

    Descriptors of directories still lead out; `forbid` refuses to follow them.

    Returns:
        Whether that is so. It takes root, and a container's root may lack the right.

    Raises:
        TemporaryFailure: there is no place for an empty directory.
    """
    if os.geteuid() != 0:
        return False
    try:
        directory = tempfile.mkdtemp(prefix="checkpw-")
        os.chdir(directory)
        os.rmdir(directory)
        os.chroot(".")
    except PermissionError:
        return False
    except OSError as error:
        raise TemporaryFailure(f"unable to go into an empty directory: {error.strerror}") from None
    finally:
        os.chdir("/")
    return True


def forbid() -> Confinement:
    """Take away all that a worker does not need; what it may, the kernel looks at from now on.

    Afterwards the process starts no program, copies itself not, opens, makes, changes and removes nothing by a path,
    makes no socket and no connection, signals and inspects nobody else, has no capability and gains no privileges, maps
    no memory as code, leaves no core and cannot be traced. It still accepts connections, reads, writes and passes on
    descriptors that it has or is given. What Python and the C library open late has to be asked for before: modules,
    time zones.

    Returns:
        Whether system calls are filtered, which some containers and other machines do not let us.

    Raises:
        TemporaryFailure: not even the rest could be done.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for limit in (resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
            resource.setrlimit(limit, (0, 0))
    except (OSError, ValueError) as error:
        raise TemporaryFailure(f"unable to limit the process: {error}") from None
    for option, value in ((4, 0), (38, 1)):  # PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS
        if libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
            raise _failure("confine the process")
    _give_up_capabilities(libc)
    machine = os.uname().machine
    if machine not in _MACHINES or sys.maxsize < 2**32:
        return Confinement(has_filter=False, reason=f"no filter for this machine: {machine}")
    code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program(machine, os.getpid()))
    room = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(Struct("@HP").pack(len(code) // _INSTRUCTION.size, ctypes.addressof(room)))
    number = _MACHINES[machine][2]
    # SECCOMP_SET_MODE_FILTER, with SECCOMP_FILTER_FLAG_TSYNC: threads that a library may have started, too.
    if libc.syscall(ctypes.c_long(number), ctypes.c_ulong(1), ctypes.c_ulong(1), header) != 0:
        return Confinement(has_filter=False, reason=f"seccomp: {os.strerror(ctypes.get_errno())}")
    return Confinement(has_filter=True)


def _give_up_capabilities(libc: ctypes.CDLL) -> None:
    """Have none, if there are any: who was not root may have come with some (AmbientCapabilities= of systemd).

    Without need nothing is called that a filter around us may not let through.
    """
    header = ctypes.create_string_buffer(_CAPABILITY_HEADER.pack(_CAPABILITY_VERSION, 0))
    sets = ctypes.create_string_buffer(2 * _CAPABILITIES.size)
    if libc.capget(header, sets) == 0 and any(sets.raw):
        ctypes.memset(sets, 0, len(sets))
        if libc.capset(header, sets) != 0:
            raise _failure("give up capabilities")


def _failure(what: str) -> TemporaryFailure:
    return TemporaryFailure(f"unable to {what}: {os.strerror(ctypes.get_errno())}")


# --- the filter


def program(machine: str, pid: int) -> "list[Instruction]":
    """Return the filter for a process: classic BPF, which sees number, machine and arguments of each system call.

    Args:
        machine: as uname(2) has it, one of those that are known here.
        pid: of the process.
    """
    column, audit, _ = _MACHINES[machine]
    actions: dict[int, list[Instruction]] = {}
    refused = " ".join(line for line in _REFUSED.splitlines() if not line.startswith("#"))
    for entry in refused.split():
        actions[_number(entry, column)] = [(_RETURN, 0, 0, _REFUSE)]
    actions[_number(_NOT_THERE, column)] = [(_RETURN, 0, 0, _ABSENT)]
    allow: Instruction = (_RETURN, 0, 0, _ALLOW)
    for entry, checks in _conditions(pid).items():
        actions[_number(entry, column)] = [*(part for check in checks for part in check.instructions()), allow]
    every = [actions.get(number, [allow]) for number in range(LAST_KNOWN + 1)]
    ranges = [(next(group)[0], action) for action, group in groupby(enumerate(every), key=lambda pair: pair[1])]
    # Another machine's numbers, by way of a 32-bit system call or of x32, are not those that are looked at here.
    return [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_JUMP_FROM, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        *_search([*ranges, (LAST_KNOWN + 1, [(_RETURN, 0, 0, _ABSENT)])]),
    ]


def _number(entry: str, column: int) -> int:
    """Return the number of a system call; -1 where the machine does not have it."""
    number = entry.split(":")[1 + column]
    return -1 if number == "-" else int(number)


def _search(ranges: "list[tuple[int, list[Instruction]]]") -> "list[Instruction]":
    """Return the code that finds, by halving, the range that a number is in, and does what stands there."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    # A conditional jump reaches over 255 instructions, an unconditional one over all.
    return [(_JUMP_FROM, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]
