"""A checkpassword program that does everything right, for mutants to be made of: reference.py ACCOUNTS PROG [ARGS].

Each line of ACCOUNTS is LOGIN:PASSWORD:UID:GID:HOME:SHELL. Run it with -I -S, and with -X ignored=BITS where somebody
knows which signals were ignored before Python began: it sets two of them, and keeps no trace of what they were.
"""

import _signal
import errno
import hashlib
import os
import sys

IGNORED = int(sys._xoptions.get("ignored", "0"), 16)

YES, NO, MISUSE, TROUBLE = 0, 1, 2, 111


def leave(status):
    os._exit(status)


def read_record():
    whole = b""
    while piece := os.read(3, 513):
        whole += piece
        if len(whole) > 512:
            leave(NO)
    return whole


def split(record):
    fields = record.split(b"\0")
    if len(fields) < 3:
        leave(MISUSE)
    login, password = fields[:2]
    return login, password


def read_accounts(path):
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    return {fields[0]: fields[1:] for fields in (line.split(b":") for line in lines)}


def digest(password):
    return hashlib.pbkdf2_hmac("sha256", password, b"salt", 5000)


def check(accounts, login, password):
    stored = accounts.get(login, [b"nobody's"])[0]
    if digest(password) != digest(stored) or login not in accounts:
        leave(NO)
    return accounts[login]


def given_environment():
    with open("/proc/self/environ", "rb") as file:  # Python may have set LC_CTYPE since
        entries = file.read().split(b"\0")[:-1]
    return dict(entry.split(b"=", 1) for entry in entries)


def become(uid, gid):
    if os.geteuid() == 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)


def run(argv, environ):
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_IGN if IGNORED >> (number - 1) & 1 else _signal.SIG_DFL)
    places = environ.get(b"PATH", b"/bin:/usr/bin").split(b":")
    names = [argv[0]] if b"/" in argv[0] else [(place or b".") + b"/" + argv[0] for place in places]
    for name in names:
        try:
            os.execve(name, argv, environ)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR):
                break
    leave(TROUBLE)


def main():
    argv = [os.fsencode(word) for word in sys.argv]
    if len(argv) < 3:
        leave(MISUSE)
    environ = given_environment()
    login, password = split(read_record())
    account = check(read_accounts(argv[1]), login, password)
    _, uid, gid, home, shell = account
    become(int(uid), int(gid))
    os.chdir(home)
    environ |= {b"USER": login, b"HOME": home, b"SHELL": shell}
    os.close(3)
    run(argv[2:], environ)


try:
    main()
except BaseException:  # noqa: BLE001  1, which Python leaves with, would be an answer
    leave(TROUBLE)
