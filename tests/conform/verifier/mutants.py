"""Faults, one at a time: what is changed in the reference, and the property that names the fault.

Each takes words of the reference out and puts others in their place. Those marked as missed were not caught by the
property that they were written for, when they were first tried; what the kit learned from each stands beside it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A reference with one fault, and the property that has to catch it."""

    property: str
    name: str
    old: str
    new: str
    missed: str = ""
    needs_root: bool = False


_CHECK = "if digest(password) != digest(stored) or login not in accounts:"
_READ = "    while piece := os.read(3, 513):"
_CLOSE = "    os.close(3)\n    run("
_SPLIT = "    if len(fields) < 3:"
_EXEC = "            os.execve(name, argv, environ)"
_STORE = '    with open(path, "rb") as file:\n        lines'
_ENVIRON = "    environ |= {"


def _accepts(condition):
    """Accept whatever meets this condition, too."""
    return f"right = digest(password) == digest(stored)\n    if login not in accounts or not (right or ({condition})):"


def _first(where, *lines):
    """Do something just before a place."""
    return "".join(f"    {line}\n" for line in lines) + where


def _spawn(answer):
    """Run the program as a child, and answer as told by what waitpid(2) said of it."""
    return (
        "            pid = os.fork()\n            if pid == 0:\n    " + _EXEC + "\n"
        "            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        f"            {answer}"
    )


MUTANTS = (
    # --- verdicts
    Mutant(
        "accepts-good-login",
        "only the first account",
        'file.read().split(b"\\n")[:-1]',
        'file.read().split(b"\\n")[:1]',
    ),
    Mutant(
        "accepts-good-login",
        "lines as Latin-1 has them",
        'file.read().split(b"\\n")[:-1]',
        "[one.encode('latin-1') for one in file.read().decode('latin-1').splitlines()]",
        missed="no account had such bytes in its password: nothing shows it but an account, and one is asked for now",
    ),
    Mutant("rejects-wrong-password", "a quote ends the query", _CHECK, _accepts('b"\'" in password')),
    Mutant("rejects-wrong-password", "percent is a pattern", _CHECK, _accepts('b"%" in password')),
    Mutant(
        "rejects-wrong-password",
        "runs before it says no",
        _CHECK,
        _CHECK + '\n        os.write(1, b"the marker ran\\n")',
    ),
    Mutant("rejects-wrong-password", "2 for no", _CHECK + "\n        leave(NO)", _CHECK + "\n        leave(MISUSE)"),
    Mutant("rejects-empty-password", "an empty one is good", _CHECK, _accepts("not password")),
    Mutant(
        "rejects-password-prefix",
        "compares as far as it goes",
        _CHECK,
        _accepts("password and stored.startswith(password)"),
    ),
    Mutant("rejects-password-suffix", "compares as far as stored", _CHECK, _accepts("password.startswith(stored)")),
    Mutant("rejects-password-suffix", "looks for it", _CHECK, _accepts("stored in password")),
    Mutant("rejects-password-case", "case does not count", _CHECK, _accepts("password.lower() == stored.lower()")),
    Mutant("rejects-password-space", "spaces do not count", _CHECK, _accepts("password.strip() == stored.strip()")),
    Mutant("rejects-password-newline", "reads a line", _CHECK, _accepts('password.rstrip(b"\\r\\n") == stored')),
    Mutant("rejects-password-newline", "reads the first line", _CHECK, _accepts('password.split(b"\\n")[0] == stored')),
    Mutant(
        "rejects-password-high-bytes", "seven bits", _CHECK, _accepts("bytes(one & 127 for one in password) == stored")
    ),
    Mutant(
        "rejects-password-high-bytes",
        "drops what is no UTF-8",
        _CHECK,
        _accepts('password.decode("utf-8", "ignore") == stored.decode()'),
    ),
    Mutant("rejects-password-truncated-at-8", "DES", _CHECK, _accepts("password[:8] == stored[:8]")),
    Mutant("rejects-password-truncated-at-72", "bcrypt", _CHECK, _accepts("password[:72] == stored[:72]")),
    Mutant(
        "rejects-password-of-another",
        "anybody's",
        _CHECK,
        _accepts("password in [one[0] for one in accounts.values()]"),
    ),
    Mutant(
        "rejects-long-password", "a buffer of 256", _CHECK, "if len(password) > 256:\n        leave(139)\n    " + _CHECK
    ),
    Mutant(
        "rejects-long-password",
        "a login of 128",
        _CHECK,
        "if len(login) > 128:\n        os.kill(os.getpid(), 11)\n    " + _CHECK,
    ),
    Mutant("rejects-unknown-login", "unknown is trouble", "    stored =", "    accounts[login]\n    stored ="),
    Mutant(
        "rejects-unknown-login",
        "made at first sight",
        "    stored =",
        "    accounts.setdefault(login, [password])\n    stored =",
    ),
    Mutant("rejects-similar-login", "spaces do not count", "    stored =", "    login = login.strip()\n    stored ="),
    Mutant(
        "rejects-similar-login", "ends at a colon", "    stored =", '    login = login.partition(b":")[0]\n    stored ='
    ),
    Mutant(
        "rejects-login-with-password",
        "the line begins with it",
        "    stored =",
        _first(
            "    stored =",
            'lines = [b":".join([name, *rest]) for name, rest in accounts.items()]',
            'found = [one[len(login) + 1 :].split(b":") for one in lines if one.startswith(login + b":")]',
            "accounts = {login: found[0]} if found else {}",
            "if found and len(found[0]) != 5:",
            "    leave(TROUBLE)",
        ),
        missed="a login that was known with a colon after it was tried, and never one with its password",
    ),
    Mutant(
        "rejects-empty-login",
        "nobody is the first",
        "    stored =",
        "    login = login or list(accounts)[0]\n    stored =",
    ),
    Mutant(
        "answers-stand-alone",
        "a yes is remembered",
        f"    {_CHECK}\n        leave(NO)\n",
        f'    {_CHECK}\n        if login not in accounts or not os.path.exists(sys.argv[1] + ".yes"):\n'
        '            leave(NO)\n    else:\n        open(sys.argv[1] + ".yes", "w").close()\n',
    ),
    # --- records
    Mutant(
        "accepts-any-timestamp",
        "only an empty one",
        "    login, password = fields",
        "    if fields[2]:\n        leave(MISUSE)\n    login, password = fields",
    ),
    Mutant(
        "accepts-any-timestamp",
        "a second password",
        "    login, password = fields[:2]",
        "    login, password = fields[0], fields[2] or fields[1]",
    ),
    Mutant("accepts-more-fields", "three and no more", _SPLIT, "    if len(fields) < 3 or any(fields[3:]):"),
    Mutant(
        "accepts-more-fields",
        "the last pair counts",
        "    login, password = fields[:2]",
        "    login, password = fields[-3:-1] if len(fields) > 4 else fields[:2]",
    ),
    Mutant("accepts-two-fields", "three or nothing", _SPLIT, "    if len(fields) < 4:"),
    Mutant("accepts-512-bytes", "one less", "len(whole) > 512", "len(whole) > 511"),
    Mutant(
        "refuses-513-bytes",
        "the rest is not read",
        _READ,
        "    while len(whole) < 512 and (piece := os.read(3, 512 - len(whole))):",
    ),
    Mutant("refuses-513-bytes", "no limit", "len(whole) > 512", "len(whole) > 99999"),
    Mutant(
        "answers-513-bytes-at-once",
        "counts at the end",
        "        if len(whole) > 512:\n            leave(NO)\n    return",
        "    if len(whole) > 512:\n        leave(NO)\n    return",
    ),
    Mutant("refuses-malformed-record", "two fields without an end", _SPLIT, "    if len(fields) < 2:"),
    Mutant(
        "refuses-malformed-record",
        "nothing is trouble",
        _SPLIT,
        "    if not record:\n        leave(TROUBLE)\n" + _SPLIT,
    ),
    Mutant(
        "malformed-record-is-misuse", "1 for misuse", _SPLIT + "\n        leave(MISUSE)", _SPLIT + "\n        leave(NO)"
    ),
    Mutant(
        "reads-to-end-of-file",
        "three NULs are enough",
        "            leave(NO)\n    return",
        '            leave(NO)\n        if whole.count(b"\\0") > 2:\n            break\n    return',
    ),
    Mutant(
        "reads-to-end-of-file",
        "three NULs are enough, and it starts slowly",
        _READ,
        _first('    while whole.count(b"\\0") < 3 and (piece := os.read(3, 513)):', "import time", "time.sleep(0.5)"),
        missed="it was given 0.2 s to start and to read, and then all the rest",
    ),
    Mutant(
        "reads-byte-by-byte", "one read", "    while piece := os.read(3, 513):", "    for piece in [os.read(3, 513)]:"
    ),
    Mutant(
        "reads-in-pieces",
        "two reads",
        "    while piece := os.read(3, 513):",
        "    for piece in [os.read(3, 513), os.read(3, 513)]:",
    ),
    Mutant(
        "reads-in-pieces",
        "a short read is the last",
        "            leave(NO)\n    return",
        "            leave(NO)\n        if len(piece) < 3:\n            break\n    return",
    ),
    Mutant(
        "waits-for-a-slow-writer",
        "waits a second",
        _READ,
        "    import select\n    while select.select([3], [], [], 1.0)[0] and (piece := os.read(3, 513)):",
    ),
    Mutant(
        "survives-signals",
        "EINTR is an error",
        _READ,
        "    _signal.signal(_signal.SIGWINCH, lambda *_: leave(TROUBLE))\n" + _READ,
    ),
    Mutant(
        "survives-signals",
        "EINTR is the end",
        _READ,
        "    _signal.signal(_signal.SIGCONT, lambda *_: leave(NO))\n" + _READ,
    ),
    Mutant(
        "reads-on-after-eintr",
        "any error is one",
        _READ,
        _first(
            "    while (size := libc.read(3, buffer, 513)) and (piece := buffer.raw[:size]):",
            "import ctypes",
            "libc = ctypes.CDLL(None)",
            "buffer = ctypes.create_string_buffer(513)",
        ),
        missed="no program without signal handlers was ever interrupted",
    ),
    # --- descriptors
    Mutant(
        "closed-descriptor-3-is-trouble",
        "closed is no",
        _READ,
        _first(_READ, "try:", "    os.fstat(3)", "except OSError:", "    leave(NO)"),
        missed="1, which is allowed for a malformed record, passed for the dialect of the profile here, too",
    ),
    Mutant(
        "closed-descriptor-3-is-111",
        "its accounts take the place",
        _READ,
        _first(_READ, "os.open(sys.argv[1], os.O_RDONLY)"),
        missed="2, which is allowed where nothing can be read, hid that something was: a file of its own",
    ),
    Mutant(
        "waits-for-end-without-blocking",
        "nothing yet is the end",
        _READ,
        _first("    while piece := stream.read(513):", "stream = open(3, 'rb', buffering=0, closefd=False)"),
        missed="every descriptor 3 of the kit waited for more",
    ),
    Mutant(
        "unreadable-descriptor-3-is-trouble",
        "unreadable is no",
        _READ,
        _first(_READ, "try:", "    os.read(3, 0)", "except OSError:", "    leave(NO)"),
        missed="as with the closed one",
    ),
    Mutant(
        "reads-a-file",
        "from its beginning",
        _READ,
        _first(_READ, "try:", "    os.lseek(3, 0, 0)", "except OSError:", "    pass"),
    ),
    Mutant(
        "reads-a-socket", "opened by its name", _READ, "    os.dup2(os.open('/dev/fd/3', os.O_RDONLY), 3)\n" + _READ
    ),
    Mutant("nothing-on-stdout", "says so", _SPLIT, "    os.write(1, b'checking\\n')\n" + _SPLIT),
    Mutant(
        "nothing-on-stdout",
        "says how it is used",
        "    if len(argv) < 3:",
        "    if len(argv) < 3:\n        os.write(1, b'usage')",
    ),
    Mutant("leaves-stdin", "drops a byte", _CLOSE, "    os.read(0, 1)\n" + _CLOSE),
    Mutant("leaves-stdin", "drains it before a no", _CHECK, _CHECK + "\n        os.read(0, 4096)"),
    Mutant("closes-descriptor-3", "leaves it open", _CLOSE, "    run("),
    Mutant(
        "adds-no-descriptor",
        "the accounts stay open",
        _STORE,
        "    os.set_inheritable(os.open(path, os.O_RDONLY), True)\n" + _STORE,
    ),
    Mutant(
        "adds-no-descriptor", "a second way to the record", _CLOSE, "    os.set_inheritable(os.dup(3), True)\n" + _CLOSE
    ),
    Mutant("hands-on-descriptors", "closes all of them", _CLOSE, "    os.closerange(4, 256)\n" + _CLOSE),
    Mutant(
        "hands-on-descriptors",
        "makes them block",
        _CLOSE,
        _first(
            _CLOSE,
            "for n in (4, 5, 6, 9, 20, 100):",
            "    if os.path.exists(f'/proc/self/fd/{n}'):",
            "        os.set_blocking(n, True)",
        ),
        missed="the witness that it is compared with was started after it, with the same open files",
    ),
    Mutant(
        "hands-on-descriptors",
        "its errors go to 1",
        _CLOSE,
        "    os.dup2(1, 2)\n" + _CLOSE,
        missed="two files of the same name looked the same: device and inode are compared now",
    ),
    Mutant("leaves-files-alone", "as a terminal", _STORE, "    os.fchmod(0, 0o622)\n" + _STORE),
    Mutant("answers-with-descriptors-closed", "needs a log", _STORE, "    os.fstat(2)\n" + _STORE),
    Mutant(
        "answers-with-descriptors-closed",
        "needs 1 when there are 0 and 2",
        _CLOSE,
        _first(
            _CLOSE,
            "if [n for n in (0, 1, 2) if not os.path.exists(f'/proc/self/fd/{n}')] == [1]:",
            "    leave(TROUBLE)",
        ),
        missed="which were closed was left to chance, and half of the seeds did not have this",
    ),
    Mutant(
        "hands-on-closed-descriptors",
        "fills them for good",
        _CLOSE,
        "    while (n := os.open('/dev/null', os.O_RDWR)) < 3:\n        os.set_inheritable(n, True)\n" + _CLOSE,
    ),
    # --- handing over
    Mutant("runs-prog", "runs it twice", _EXEC, "            if os.fork():\n                os.wait()\n" + _EXEC),
    Mutant(
        "runs-prog",
        "runs it for the first account only",
        _CLOSE,
        '    if login != b"joe":\n        leave(YES)\n' + _CLOSE,
    ),
    Mutant(
        "same-process", "waits for it", _EXEC, _spawn("leave(status) if status >= 0 else os.kill(os.getpid(), -status)")
    ),
    Mutant(
        "same-process",
        "a session of its own",
        _CLOSE,
        _first(_CLOSE, "if os.fork():", "    os.wait()", "    leave(YES)", "os.setsid()"),
    ),
    Mutant(
        "no-other-process",
        "leaves a helper",
        _CLOSE,
        "    if os.fork() == 0:\n        os.close(1)\n        os.execv('/bin/sleep', ['sleep', '60'])\n" + _CLOSE,
    ),
    Mutant("no-other-process", "leaves a zombie", _CLOSE, "    if os.fork() == 0:\n        leave(0)\n" + _CLOSE),
    Mutant(
        "passes-arguments",
        "empty ones are dropped",
        "run(argv[2:], environ)",
        "run([word for word in argv[2:] if word], environ)",
    ),
    Mutant(
        "passes-arguments",
        "split at spaces",
        "run(argv[2:], environ)",
        "run(argv[2:3] + b' '.join(argv[3:]).split(b' ') * (len(argv) > 3), environ)",
    ),
    Mutant(
        "passes-arguments",
        "takes options",
        "run(argv[2:], environ)",
        "run([word for word in argv[2:] if word != b'--'], environ)",
    ),
    Mutant(
        "passes-arguments",
        "the zeroth is a name",
        "os.execve(name, argv, environ)",
        "os.execve(name, [os.path.basename(argv[0]), *argv[1:]], environ)",
    ),
    Mutant("returns-exit-status", "0 or 1", _EXEC, _spawn("leave(min(status, 1))")),
    Mutant("returns-exit-status", "0 for all", _EXEC, _spawn("leave(0)")),
    Mutant("returns-signal", "128 and more", _EXEC, _spawn("leave(status if status >= 0 else 128 - status)")),
    Mutant("finds-prog-by-path", "a path of its own", 'environ.get(b"PATH", b"/bin:/usr/bin")', 'b"/bin:/usr/bin"'),
    Mutant(
        "finds-prog-by-path",
        "the last that has it",
        '[(place or b".") + b"/" + argv[0] for place in places]',
        '[(place or b".") + b"/" + argv[0] for place in places[::-1]]',
    ),
    Mutant(
        "passes-over-what-cannot-be-run",
        "the first is the last",
        "(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR)",
        "(errno.ENOENT,)",
    ),
    Mutant(
        "stops-at-what-is-wrong-in-path",
        "any error is passed over",
        "if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR):",
        "if error.errno == errno.ENOEXEC:",
        missed="what stood in front in PATH was passed over by DJB's program as well",
    ),
    Mutant(
        "works-without-path",
        "no path, no program",
        'environ.get(b"PATH", b"/bin:/usr/bin")',
        'environ.get(b"PATH", b"/nonexistent")',
    ),
    Mutant(
        "failed-exec-is-no-verdict",
        "1 for a missing program",
        "                break\n    leave(TROUBLE)",
        "                break\n    leave(NO)",
    ),
    Mutant(
        "failed-exec-is-no-verdict",
        "0 for a missing program",
        "                break\n    leave(TROUBLE)",
        "                break\n    leave(YES)",
    ),
    Mutant(
        "failed-exec-is-trouble",
        "127 as a shell",
        "                break\n    leave(TROUBLE)",
        "                break\n    leave(127)",
    ),
    Mutant(
        "runs-no-text-file",
        "as execvp does",
        "        except OSError as error:\n",
        _first(
            "",
            "    except OSError as error:",
            "        if error.errno == errno.ENOEXEC:",
            "            os.execve('/bin/sh', [b'sh', name, *argv[1:]], environ)",
        ),
    ),
    Mutant(
        "verdict-comes-first",
        "looks for the program",
        "    login, password = split(",
        _first(
            "    login, password = split(",
            "if b'/' in argv[2] and not os.access(argv[2], os.X_OK):",
            "    leave(TROUBLE)",
        ),
    ),
    Mutant(
        "no-prog-is-misuse",
        "a verdict without a program",
        "    if len(argv) < 3:\n        leave(MISUSE)",
        "    if len(argv) < 3:\n        argv.append(b'true')",
    ),
    # --- surroundings
    Mutant(
        "hands-on-ignored-sigchld",
        "collects what is there",
        _CLOSE,
        _first(_CLOSE, "_signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)"),
    ),
    Mutant(
        "hands-on-ignored-sigpipe",
        "their defaults for all",
        "_signal.SIG_IGN if IGNORED >> (number - 1) & 1 else _signal.SIG_DFL",
        "_signal.SIG_DFL",
    ),
    Mutant(
        "hands-on-signal-dispositions",
        "as Python leaves them",
        "        _signal.signal(number, _signal.SIG_IGN if IGNORED >> (number - 1) & 1 else _signal.SIG_DFL)\n",
        "        pass\n",
    ),
    Mutant(
        "hands-on-signal-dispositions",
        "ignores SIGHUP",
        _CLOSE,
        "    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)\n" + _CLOSE,
    ),
    Mutant(
        "hands-on-signal-dispositions",
        "all to their defaults",
        _CLOSE,
        _first(
            _CLOSE,
            "for n in (*range(1, 9), 10, *range(12, 17), 18, *range(20, 31)):",
            "    _signal.signal(n, _signal.SIG_DFL)",
        ),
    ),
    Mutant(
        "hands-on-signal-dispositions",
        "SIGQUIT to its default",
        _CLOSE,
        "    _signal.signal(_signal.SIGQUIT, _signal.SIG_DFL)\n" + _CLOSE,
        missed="only signals drawn at random were ignored, a few at a time: all at once are tried now",
    ),
    Mutant(
        "hands-on-signal-mask",
        "blocks SIGTERM for good",
        _CLOSE,
        "    _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGTERM])\n" + _CLOSE,
    ),
    Mutant(
        "hands-on-signal-mask",
        "unblocks all",
        _CLOSE,
        "    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])\n" + _CLOSE,
    ),
    Mutant(
        "hands-on-environment",
        "begins anew",
        _ENVIRON,
        '    environ = {b"PATH": environ.get(b"PATH", b"/bin")} | {b"X": b""}\n' + _ENVIRON,
    ),
    Mutant("hands-on-environment", "LOGNAME too", _ENVIRON, '    environ[b"LOGNAME"] = login\n' + _ENVIRON),
    Mutant(
        "hands-on-environment",
        "drops odd values",
        _ENVIRON,
        "    environ = {name: value for name, value in environ.items() if value}\n" + _ENVIRON,
    ),
    Mutant(
        "hands-on-environment",
        "cleans BASH_",
        _ENVIRON,
        _first(_ENVIRON, "environ = {n: v for n, v in environ.items() if not n.startswith(b'BASH_')}"),
        missed="30 examples did not happen to have that name: a set of odd ones is always tried now",
    ),
    Mutant(
        "hands-on-environment-under-env-i",
        "as Python found it",
        "    environ = given_environment()",
        "    environ = dict(os.environb)",
    ),
    Mutant(
        "hands-on-environment-under-env-i",
        "a PATH for all",
        _ENVIRON,
        '    environ.setdefault(b"PATH", b"/bin")\n' + _ENVIRON,
    ),
    Mutant("sets-account-variables", "HOME as it was", 'b"HOME": home,', 'b"HOME": environ.get(b"HOME", home),'),
    Mutant("sets-account-variables", "no SHELL", ', b"SHELL": shell}', "}"),
    Mutant("no-secret-for-prog", "handed on", _ENVIRON, '    environ[b"PASSWORD"] = password\n' + _ENVIRON),
    Mutant("no-secret-for-prog", "as an argument", "run(argv[2:], environ)", "run([*argv[2:3], password], environ)"),
    Mutant(
        "no-secret-shown",
        "to a helper",
        "    stored =",
        _first("    stored =", "import subprocess", "subprocess.run([b'/bin/sh', b'-c', b'sleep 0.05', password])"),
    ),
    Mutant(
        "no-secret-shown",
        "in a helper's environment",
        "    stored =",
        _first(
            "    stored =",
            "import subprocess",
            "subprocess.run(['/bin/sleep', '0.05'], env={'P': password})",
        ),
    ),
    Mutant("enters-home", "stays where it is", "    os.chdir(home)\n", ""),
    Mutant("drops-groups", "keeps them", "        os.setgroups([gid])\n", "", needs_root=True),
    Mutant(
        "drops-groups",
        "adds its own",
        "        os.setgroups([gid])\n",
        "        os.setgroups([gid, *os.getgroups()])\n",
        needs_root=True,
    ),
    Mutant("drops-uid", "keeps it", "        os.setuid(uid)\n", "", needs_root=True),
    Mutant("drops-uid", "for a while only", "        os.setuid(uid)\n", "        os.seteuid(uid)\n", needs_root=True),
    Mutant("drops-gid", "keeps it", "        os.setgid(gid)\n", "", needs_root=True),
    Mutant(
        "drops-gid",
        "after setuid",
        "        os.setgid(gid)\n        os.setuid(uid)\n",
        "        os.setuid(uid)\n        try:\n            os.setgid(gid)\n        except OSError:\n            pass\n",
        needs_root=True,
    ),
    Mutant("hands-on-limits", "a umask of its own", _CLOSE, "    os.umask(0o77)\n" + _CLOSE),
    Mutant(
        "hands-on-limits",
        "no core files",
        _STORE,
        _first(_STORE, "import resource as r", "r.setrlimit(r.RLIMIT_CORE, (0, r.getrlimit(r.RLIMIT_CORE)[1]))"),
    ),
    Mutant(
        "same-time-for-unknown-login",
        "nobody has a hash of his own",
        "    stored =",
        _first("    stored =", "for _ in range(0 if login in accounts else 25):", "    digest(password)"),
    ),
    Mutant(
        "crowd-behaves-like-one",
        "one at a time",
        "    login, password = split(",
        _first(
            "    login, password = split(",
            "import fcntl",
            "lock = open(argv[1])",
            "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        ),
    ),
    Mutant(
        "store-down-is-trouble",
        "nobody is there",
        _STORE,
        "    if not os.path.exists(path):\n        leave(NO)\n" + _STORE,
    ),
    Mutant(
        "store-down-is-trouble",
        "everybody may",
        _STORE,
        "    if not os.path.exists(path):\n        leave(YES)\n" + _STORE,
    ),
)
