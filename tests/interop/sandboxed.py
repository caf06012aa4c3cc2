"""Run the command of a systemd unit as systemd would, as far as that can be done without being systemd.

    sandboxed.py UNIT CREDENTIALS

Does what these settings say: ExecStart, User, Environment, Limit*, LoadCredential (copies them into CREDENTIALS),
NoNewPrivileges, CapabilityBoundingSet, PrivateNetwork, ProtectSystem=strict with ReadWritePaths, SystemCallFilter,
MemoryDenyWriteExecute, RestrictAddressFamilies. The sets of system calls are asked of systemd-analyze, and the kernel
is told by libseccomp. Started by root.
"""

import ctypes
import os
import pathlib
import pwd
import re
import resource
import shlex
import shutil
import subprocess
import sys

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SCMP_ACT_ALLOW, SCMP_CMP_EQ, SCMP_CMP_MASKED_EQ = 0x7FFF0000, 4, 7
EPERM, EAFNOSUPPORT = 1, 97
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_CHROOT": 18,
}
HANDED_ON = ("LISTEN_", "NOTIFY_", "REMOTE_")
LIBC = ctypes.CDLL(None, use_errno=True)
LIMITS = {"LimitDATA": resource.RLIMIT_DATA, "LimitAS": resource.RLIMIT_AS, "LimitNOFILE": resource.RLIMIT_NOFILE}


class Argument(ctypes.Structure):
    """scmp_arg_cmp of seccomp.h."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def read(path):
    """Give the settings of a unit, lists in the order of the file."""
    text = pathlib.Path(path).read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def members(words):
    """Give the names of the system calls that sets and names stand for."""
    names, waiting = set(), list(words)
    while waiting:
        word = waiting.pop()
        if not word.startswith("@"):
            names.add(word)
            continue
        told = subprocess.run(
            ["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True, timeout=60
        )
        waiting += [line.split()[0] for line in told.stdout.splitlines()[1:] if line.strip() and "#" not in line]
    return names


def allowed(unit):
    """Give the names of the system calls that a unit allows: its lists, those with ~ taken away, and @default."""
    names = set()
    for value in unit["SystemCallFilter"]:
        if value.startswith("~"):
            names -= members(value[1:].split())
        else:
            names |= members(value.split())
    return names | members(["@default"])


def filter_calls(unit):
    """Let the kernel refuse everything else from now on."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p),
    ]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    context = library.seccomp_init(0x00050000 | EPERM)
    library.seccomp_attr_set(context, 3, 0)  # SCMP_FLTATR_CTL_NNP: whether that is set is the unit's business
    families = [FAMILIES[name] for name in unit["RestrictAddressFamilies"][0].split()]
    code = Argument(2, SCMP_CMP_MASKED_EQ, 4, 0)  # PROT_EXEC is 4, PROT_WRITE 2
    writable = Argument(2, SCMP_CMP_MASKED_EQ, 2, 0)
    special = {
        "mmap": [[code], [writable]],
        "mprotect": [[code]],
        "pkey_mprotect": [],
        "socket": [[Argument(0, SCMP_CMP_EQ, family, 0)] for family in families],
    }
    for name in sorted(allowed(unit)):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # of another machine
        for rule in special.get(name, [[]]):
            array = (Argument * len(rule))(*rule)
            assert library.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, len(rule), array) == 0, name
    assert library.seccomp_load(context) == 0


def check(outcome, what):
    """End with what the kernel says, unless it is nothing."""
    if outcome != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def load_credentials(unit, user, place):
    """Copy keys to where only the user can read them."""
    for value in unit.get("LoadCredential", []):
        name, _, source = value.partition(":")
        shutil.copyfile(source, place / name)
        shutil.chown(place / name, user.pw_uid)
        (place / name).chmod(0o400)


def limit(unit):
    """Set the limits of resources."""
    for name, number in LIMITS.items():
        if name in unit:
            wanted = int(unit[name][0])
            hard = resource.getrlimit(number)[1]
            wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(number, (wanted, wanted))


def close_in(unit):
    """Have a network and files of one's own, as far as the unit says so."""
    check(LIBC.unshare(CLONE_NEWNS | (CLONE_NEWNET if "PrivateNetwork" in unit else 0)), "unshare")
    check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount")
    if unit.get("ProtectSystem") == ["strict"]:
        for value in unit.get("ReadWritePaths", []):
            check(LIBC.mount(value.encode(), value.encode(), None, MS_BIND, None), value)
        check(LIBC.mount(b"none", b"/", None, MS_REMOUNT | MS_BIND | MS_RDONLY, None), "read-only")


def become(unit, user):
    """Give up rights, and be the user of the unit."""
    kept = {CAPABILITIES[name] for name in unit["CapabilityBoundingSet"][0].split()}
    for number in set(range(64)) - kept:
        LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    if "NoNewPrivileges" in unit:
        check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    if "User" in unit:
        os.setgroups([])
        os.setresgid(*[user.pw_gid] * 3)
        os.setresuid(*[user.pw_uid] * 3)


def main(path, credentials):
    """Become the command."""
    unit = read(path)
    user = pwd.getpwnam(unit["User"][0]) if "User" in unit else pwd.getpwuid(0)
    load_credentials(unit, user, pathlib.Path(credentials))
    environ = dict(word.split("=", 1) for value in unit.get("Environment", []) for word in shlex.split(value))
    environ |= {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    environ["CREDENTIALS_DIRECTORY"] = credentials
    command = shlex.split(unit["ExecStart"][0].lstrip("-"))
    argv = [word.replace("%d", credentials).replace("%%", "%") for word in command]
    limit(unit)
    close_in(unit)
    become(unit, user)
    filter_calls(unit)
    os.execve(argv[0], argv, environ)


if __name__ == "__main__":
    main(*sys.argv[1:])
