"""authup with real chains: who goes on as whom, what it inherits, what reaches it, and what its endings mean."""

import base64
import contextlib
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
from ucspi import Client, UcspiTls

PATIENCE = 30.0
DELAY = 0.4

# {SHA512-CRYPT} of "secret", by `openssl passwd -6 -salt checkpwtest secret`.
HASH = "$6$checkpwtest$mrcVQX/tLax.XqV/BTMNLkKWFLdhfstqscNrTBdBUNEllu/8jDEEj91o9CFEsywfaemRTlFPTFqBFgWdIz.BF1"
USERS = {"joe": 54321, "ann": 54322}

# Tells what the kernel knows of a process and of its group of programs, and goes on.
WITNESS = r"""#!/bin/sh
{ echo "= $1 USER=$USER HOME=$HOME PWD=$(pwd -P)"
grep -E '^(Uid|Gid|Groups):' /proc/$$/status
for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && printf '%s ' $n; done; echo; } >>"$WITNESSED"
shift
exec "$@"
"""
QUEUE = r"""#!/bin/sh
exec 7>"$QUEUED/$$" 8<&1
cat >&7
{ echo "= envelope"; cat <&8 | tr '\0' '\n'; echo "= status"
grep -E '^(Uid|Gid|Groups):' /proc/$$/status; echo "= environ"; env; } >&7
"""


def plain(login, password):
    """Give the command that logs in."""
    return b"AUTH PLAIN " + base64.b64encode(f"\0{login}\0{password}".encode()) + b"\r\n"


MAIL = b"MAIL FROM:<me@example.org>\r\nRCPT TO:<you@example.net>\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n"


class Place:
    """Where authup is started: programs, stand-ins, and what they leave."""

    def __init__(self, public, programs, resources, prefix=()):
        self.public = public
        self.programs = programs
        self._resources = resources
        self._prefix = list(prefix)
        self.witnessed = public / "witnessed"
        self.witnessed.touch()
        self.witnessed.chmod(0o666)
        self.queued = public / "queued"
        self.queued.mkdir()
        self.queued.chmod(0o777)
        self.script("witness", WITNESS)
        self.script("queue", QUEUE)
        self.environ = {
            "PATH": f"{public}:{programs}:/usr/bin:/bin",
            "QMAILQUEUE": str(public / "queue"),
            "OFMIPD_QMAIL": str(public),
            "WITNESSED": str(self.witnessed),
            "QUEUED": str(self.queued),
            "OFMIPD_AUTH_DELAY": str(DELAY),
            "TCPREMOTEIP": "192.0.2.7",
        }

    def script(self, name, text):
        """Write a program that everybody can run."""
        path = self.public / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def start(self, *words, program="authup", user=None, ends=None, environ=None):
        """Start a program with a client, and give process and client; `ends` are a server's own, and then no client."""
        ours, theirs = socket.socketpair() if ends is None else (None, ends)
        who = {"user": user, "group": user, "extra_groups": []} if user is not None and os.geteuid() == 0 else {}
        process = subprocess.Popen(
            [*self._prefix, self.programs / program, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=self.environ | (environ or {}),
            cwd="/",
            **who,
        )
        self._resources.callback(self._end, process)
        if ours is None:
            return process, None
        theirs.close()
        ours.settimeout(PATIENCE)
        self._resources.callback(ours.close)
        return process, ours

    def _end(self, process):
        if process.poll() is None:
            process.kill()
        process.stderr.close()
        process.wait()

    def talk(self, sent, *words, **how):
        """Say everything, hear everything, and give that, the log and the status."""
        process, client = self.start(*words, **how)
        with contextlib.suppress(BrokenPipeError):  # who leaves at once may be gone already, also to no bytes at all
            client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                said += piece
        log = process.stderr.read().decode()
        return said, log, process.wait(PATIENCE)


@pytest.fixture
def place(public, programs, resources):
    """Give a place where a script checks one login and password, and becomes nobody."""
    found = Place(public, programs, resources)
    found.script("checker", 'r=$(tr "\\000" : <&3); exec 3<&-; case $r in joe:secret:*) exec "$@";; *) exit 1;; esac')
    return found


@pytest.fixture
def machine(public, everybodys, resources, root, refuse):
    """Give a place on a machine whose accounts are joe, ann and root, with one password."""
    passwd = ["root:x:0:0:root:/root:/bin/sh"]
    shadow = [f"root:{HASH}:19000:0:99999:7:::"]
    for login, uid in USERS.items():
        home = public / login
        home.mkdir(mode=0o700)
        os.chown(home, uid, uid)
        passwd.append(f"{login}:x:{uid}:{uid}::{home}:/bin/sh")
        shadow.append(f"{login}:{HASH}:19000:0:99999:7:::")
    group = ["root:x:0:", "mail:x:8:joe,ann", *(f"{login}:x:{uid}:" for login, uid in USERS.items())]
    mounts = []
    for name, lines in {"passwd": passwd, "shadow": shadow, "group": group, "nsswitch.conf": ["shadow: files"]}.items():
        (public / name).write_text("\n".join(lines) + "\n", encoding="ascii")
        (public / name).chmod(0o600 if name == "shadow" else 0o644)
        mounts.append(f"mount --bind {public}/{name} /etc/{name}")
    words = ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        refuse("not run: a private /etc, unshare and mount are not allowed here")
    return Place(public, everybodys, resources, words)


CHAIN = ["witness", "before", "checkpassword", "witness", "became", "checknotroot", "witness", "passed"]
SESSION = ["ofmipd", "", "mail.example"]
FORMS = {"waited for": [*CHAIN, *SESSION], "asked first": [*CHAIN, "--", *SESSION]}


# --- as the user


@pytest.mark.parametrize("chain", FORMS.values(), ids=FORMS)
def test_mail_of_two_accounts_is_queued_with_two_uids(machine, chain):
    """Every stage has the ids that it should have, and one group; mail is queued as whoever logged in."""
    for login, uid in USERS.items():
        machine.witnessed.write_text("")
        said, log, status = machine.talk(b"EHLO c\r\n" + plain(login, "secret") + MAIL, "smtp", *chain)
        assert b"\r\n235 2.7.0 ok, go ahead\r\n" in said, (said, log)
        assert said.endswith(b"250 2.0.0 ok\r\n221 2.0.0 mail.example\r\n")
        assert status == 0
        (message,) = machine.queued.iterdir()
        text = message.read_text()
        message.unlink()
        assert text.startswith(f"Received: (ofmipd {login}@192.0.2.7) by mail.example with ESMTPA; ")
        assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\nGroups:\t{uid} \n" in text
        assert {f"AUTHUP_USER={login}", f"USER={login}", f"HOME={machine.public}/{login}"} <= set(text.splitlines())
        stages = re.findall(
            r"= (\w+) (.*)\nUid:\t(\d+).*\nGid:\t(\d+).*\nGroups:\t(.*?) ?\n(.*) \n", machine.witnessed.read_text()
        )
        assert {stage[0] for stage in stages} == {"before", "became", "passed"}
        for name, words, found, gid, groups, descriptors in stages:
            if name == "before":
                assert found == "0"
            else:
                assert (found, gid, groups) == (str(uid), str(uid), str(uid))
                assert words == f"USER={login} HOME={machine.public}/{login} PWD={machine.public}/{login}"
            wanted = {"0", "1", "2", "3"} if name == "before" else {"0", "1", "2"}
            assert set(descriptors.split()) == wanted, (name, descriptors)


@pytest.mark.parametrize("chain", FORMS.values(), ids=FORMS)
def test_roots_own_password_is_wrong(machine, chain):
    """root is refused by checknotroot, and what a client hears, and when, is as with a wrong password."""
    heard = {}
    for password in ("secret", "wrong"):
        began = time.monotonic()
        said, log, status = machine.talk(plain("root", password) + b"QUIT\r\n", "smtp", *chain)
        heard[password] = said
        assert time.monotonic() - began > DELAY
        assert "event=auth login=root mechanism=PLAIN tls=no verdict=rejected" in log
        assert status == 0
    assert heard["secret"] == heard["wrong"]
    assert b"535 5.7.8 authorization failed\r\n221 " in heard["secret"]
    assert list(machine.queued.iterdir()) == []


def test_a_users_own_names_are_honoured_on_request(machine, programs):
    """$HOME/.ofmipd/rules.cdb stands in for name.cdb, if the administrator says so, and for who has one."""
    names = machine.public / "joe" / ".ofmipd"
    names.mkdir()
    (names / "table").write_text("me@example.org:Joe:joe@example.com:\n")
    with open(names / "table", "rb") as table:
        subprocess.run([programs / "ofmipname", names / "rules.cdb", names / "tmp"], stdin=table, check=True)
    for path in (names, names / "rules.cdb"):
        os.chown(path, USERS["joe"], USERS["joe"])
    (names / "rules.cdb").chmod(0o600)
    senders = []
    for login, environ in (("joe", {"OFMIPD_USER_CDB": "1"}), ("joe", {}), ("ann", {"OFMIPD_USER_CDB": "1"})):
        said, _, _ = machine.talk(plain(login, "secret") + MAIL, "smtp", *FORMS["waited for"], environ=environ)
        assert b"250 2.0.0 ok\r\n221" in said
        (message,) = machine.queued.iterdir()
        senders.append(re.search(r"= envelope\nF(.*)\n", message.read_text())[1])
        message.unlink()
    assert senders == ["joe@example.com", "me@example.org", "me@example.org"]
    (names / "rules.cdb").write_text("no cdb")
    said, _, _ = machine.talk(
        plain("joe", "secret") + MAIL, "smtp", *FORMS["waited for"], environ={"OFMIPD_USER_CDB": "1"}
    )
    assert b"451 4.3.0 unable to read cdb" in said


# --- what reaches the session


ECHO = "printf '235 %s\\r\\n' \"$AUTHUP_USER\"; exec cat"


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
@pytest.mark.parametrize("seed", range(4))
def test_what_was_pipelined_behind_a_login_reaches_the_session(place, separator, seed):
    """Not a byte behind the line that logs in is read, or lost, however the bytes come."""
    source = random.Random(seed)
    behind = source.randbytes(200_000)
    before = [b"NOOP\r\n", plain("joe", "wrong"), b"AUTH LOGIN am9l\r\nc2VjcmV0\r\n"]
    sent = b"".join(before) + behind
    place.script("echo", ECHO)
    process, client = place.start("smtp", "checker", *separator, "echo")
    cuts = sorted(source.sample(range(200), 5 if seed else 0))

    def send():
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            client.sendall(sent[start:end])
        client.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    said = b""
    while piece := client.recv(65536):
        said += piece
    thread.join()
    head, _, rest = said.partition(b"235 joe\r\n")
    assert [line[:3] for line in head.splitlines()] == [b"220", b"250", b"535", b"334"]
    assert rest == behind
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
def test_the_same_through_pipes(place, separator):
    """A TLS server gives the client as two pipes, out of which nothing can be peeked."""
    place.script("echo", ECHO)
    ended = subprocess.run(
        [place.programs / "authup", "smtp", "checker", *separator, "echo"],
        input=plain("joe", "secret") + b"MAIL\r\n\0half a line",
        capture_output=True,
        env=place.environ,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.stdout == b"220 ofmipd.local ESMTP\r\n235 joe\r\nMAIL\r\n\0half a line"
    assert ended.returncode == 0


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
def test_what_the_session_inherits(place, separator, tools):
    """Descriptors 0, 1 and 2, the record already read; no signal ignored; the environment, and who it is."""
    place.script("session", "echo 235 $$; read word")
    process, client = place.start("smtp", "checker", *separator, "session")
    client.sendall(plain("joe", "secret"))
    text = b""
    while not (found := re.search(rb"235 (\d+)\n", text)):
        text += client.recv(4096)
    seen = tools.look_at(int(found[1]))
    assert set(seen.descriptors) - {10} == {0, 1, 2}  # a shell keeps its script as 10
    ignored = int(seen.status["SigIgn"][0], 16)
    assert ignored & ~(3 << 31) == 0  # glibc's posix_spawn ignores two that only it knows
    assert int(seen.status["SigBlk"][0], 16) == 0
    surplus = set(seen.environ) - {name.encode() for name in place.environ} - {b"PWD", b"OLDPWD", b"SHLVL", b"_"}
    assert surplus == {b"AUTHUP_USER"}
    assert seen.environ[b"AUTHUP_USER"] == b"joe"
    assert (int(found[1]) == process.pid) == bool(separator)
    client.sendall(b"\n")
    assert process.wait(PATIENCE) == 0


# --- what endings mean


ENDINGS = {
    "exit 0": (b"", 0),
    "exit 1": (b"535 5.7.8 authorization failed\r\n", None),
    "exit 2": (b"454 4.7.0 temporary authentication failure\r\n", None),
    "exit 111": (b"454 4.7.0 temporary authentication failure\r\n", None),
    "kill -9 $$": (b"454 4.7.0 temporary authentication failure\r\n", None),
    "exit 14": (b"", 14),
    "exit 15": (b"", 15),
    "exit 16": (b"451 4.4.2 timeout\r\n", 16),
    "exit 18": (b"421 4.3.0 unable to read controls\r\n", 18),
    "exit 100": (b"454 4.7.0 temporary authentication failure\r\n", None),
}


@pytest.mark.parametrize("ending", sorted(set(ENDINGS) - {"exit 100"}))
def test_what_a_status_of_the_chain_means(place, ending):
    """Without --, 1 is a wrong password and 2, 111 and a crash are trouble; others are the session's own business."""
    words, status = ENDINGS[ending]
    place.script("session", ending)
    said, _, ended = place.talk(plain("joe", "secret") + b"QUIT\r\n", "smtp", "checker", "session")
    goodbye = b"221 2.0.0 ofmipd.local\r\n" if status is None else b""
    assert said == b"220 ofmipd.local ESMTP\r\n" + words + goodbye
    assert ended == (status or 0)


def test_more_statuses_can_mean_no(place):
    """OFMIPD_REJECT_CODES, as for ofmipd."""
    place.script("session", "exit 100")
    environ = {"OFMIPD_REJECT_CODES": "100"}
    said, _, _ = place.talk(plain("joe", "secret") + b"QUIT\r\n", "smtp", "checker", "session", environ=environ)
    assert b"\r\n535 5.7.8 " in said


@pytest.mark.parametrize("status", [0, 1, 2, 14, 100, 111])
def test_with_a_separator_no_status_of_the_session_is_a_verdict(place, status):
    """The session has taken the place of authup: nothing is said after it, and its status is that of the process."""
    place.script("session", f"echo 235 fine; exit {status}")
    said, _, ended = place.talk(plain("joe", "secret") + b"QUIT\r\n", "smtp", "checker", "--", "session")
    assert (said, ended) == (b"220 ofmipd.local ESMTP\r\n235 fine\n", status)


def test_the_session_is_not_run_for_a_verdict(place):
    """With --, who is refused starts nothing but the checker."""
    place.script("session", f"echo run >>{place.public}/witnessed")
    said, _, ended = place.talk(plain("joe", "wrong") + b"QUIT\r\n", "smtp", "checker", "--", "session")
    assert b"\r\n535 " in said
    assert place.witnessed.read_text() == ""
    assert ended == 0


@pytest.mark.parametrize("tries", [None, 1, 3, 7])
@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
def test_at_most_so_many_failures(place, tries, separator):
    """-t says how many logins may fail, 5 by default; then a right one comes too late."""
    options = [] if tries is None else ["-t", str(tries)]
    wrong = tries or 5
    place.script("session", "echo 235 in")
    for number, is_in in ((wrong - 1, True), (wrong, False)):
        sent = plain("joe", "wrong") * number + plain("joe", "secret")
        said, log, ended = place.talk(
            sent, *options, "smtp", "checker", *separator, "session", environ={"OFMIPD_AUTH_DELAY": "0"}
        )
        assert said.count(b"535 ") == number
        assert (b"235 in" in said) == is_in
        assert (b"421 4.7.0 too many failed" in said) != is_in
        assert log.count("authup: client=192.0.2.7 pid=") >= number
        assert log.count(" login=joe mechanism=PLAIN tls=no verdict=rejected ") == number
        assert ended == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 2),
        (["smtp"], 2),
        (["imap", "checker", "true"], 2),
        (["-t", "smtp", "checker", "true"], 2),
        (["-t", "0", "smtp", "checker", "true"], 2),
        (["smtp", "--", "session"], 2),
        (["smtp", "checker", "--"], 2),
        (["smtp", "true", "session"], 2),
        (["smtp", "/bin/true", "--", "session"], 2),
    ],
)
def test_arguments_that_make_no_sense(place, words, status):
    """Misuse is 2, and nobody is let in."""
    said, log, ended = place.talk(plain("joe", "secret"), *words)
    assert (said, ended) == (b"", status)
    assert log.startswith("authup: ")


@pytest.mark.parametrize(("protocol", "word"), [("smtp", b"421 4.3.0 "), ("pop3", b"-ERR [SYS/PERM] ")])
def test_settings_that_make_no_sense(place, protocol, word):
    """The client is told in place of a greeting, and the status is 111."""
    said, log, ended = place.talk(b"", protocol, "checker", "true", environ={"OFMIPD_ERRORS": "many"})
    assert said == word + b"unable to read configuration\r\n"
    assert "OFMIPD_ERRORS" in log
    assert ended == 111


def test_control_files(place):
    """Greeting and capabilities are those of acceptutils' control files; AUTH and STARTTLS are said where they are."""
    control = place.public / "control"
    control.mkdir()
    (control / "smtpgreeting").write_text("mx.example welcome\n")
    (control / "smtpcapabilities").write_text("PIPELINING\nSTARTTLS\nauth X\nSIZE 17\n")
    environ = {"CONTROLDIR": str(control)}
    said, _, _ = place.talk(b"EHLO c\r\nQUIT\r\n", "smtp", "checker", "true", environ=environ)
    assert said == (
        b"220 mx.example ESMTP\r\n250-mx.example\r\n250-PIPELINING\r\n250-SIZE 17\r\n250 AUTH PLAIN LOGIN\r\n"
        b"221 2.0.0 mx.example\r\n"
    )


# --- TLS


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
@pytest.mark.parametrize("layout", ["three", "one"])
def test_starttls_by_the_server_that_started_us(place, resources, pair, separator, layout):
    """Login and session go on inside TLS, what was pipelined behind the login included; ofmipd knows both."""
    process, client = _start_tls(place, resources, pair, layout, "smtp", "checker", *separator, *SESSION)
    assert client.reply() == b"220 ofmipd.local ESMTP\r\n"
    assert client.ask(plain("joe", "secret").strip()).startswith(b"530 5.7.0 must issue a STARTTLS")
    assert client.ask(b"STARTTLS") == b"220 2.0.0 ready to start TLS\r\n"
    client.secure()
    assert b"250 AUTH PLAIN LOGIN\r\n" in client.ask(b"EHLO c")
    assert client.ask(plain("joe", "wrong").strip()) == b"535 5.7.8 authorization failed\r\n"
    client.send(plain("joe", "secret") + b"EHLO c\r\n" + MAIL)
    assert client.reply() == b"235 2.7.0 ok, go ahead\r\n"
    assert b"STARTTLS" not in client.reply()
    assert [client.reply()[:3] for _ in range(5)] == [b"250", b"250", b"354", b"250", b"221"]
    assert process.wait(PATIENCE) == 0
    (message,) = place.queued.iterdir()
    text = message.read_text(errors="replace")
    assert "(ofmipd joe@192.0.2.7) by mail.example with ESMTPSA; " in text
    environ = dict(line.partition("=")[::2] for line in text.partition("= environ\n")[2].splitlines())
    assert environ["SSL_PROTOCOL"].startswith("TLSv1")
    assert set(environ) & {"SSLCTLFD", "SSLREADFD", "SSLWRITEFD"} == set()


def _start_tls(place, resources, pair, layout, *words):
    server = UcspiTls(resources, pair, layout)
    environ = place.environ | server.environ | {"UCSPITLS": "!"}
    code = "import os, sys; [os.dup2(int(b), int(a)) for a, b in (w.split('=') for w in sys.argv[1].split(','))]; "
    code += "os.execv(sys.argv[2], sys.argv[2:])"
    # Moved out of the way of each other first: theirs may be numbers that ours are to have.
    held = {target: os.dup(source) for target, source in server.descriptors.items()}
    moved = ",".join(f"{target}={source}" for target, source in held.items())
    process = subprocess.Popen(
        [sys.executable, "-IS", "-c", code, moved, place.programs / "authup", *words],
        stdin=server.plain,
        stdout=server.plain,
        stderr=subprocess.DEVNULL,
        env=environ,
        pass_fds=list(held.values()),
    )
    for descriptor in held.values():
        os.close(descriptor)
    server.started()
    resources.callback(process.wait)
    resources.callback(process.kill)
    client = Client(server.client, pair)
    resources.callback(client.close)
    return process, client


# --- POP3


MAILBOX = "printf '+OK %s\\r\\n' \"$AUTHUP_USER\"; exec cat"


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
def test_pop3(place, separator):
    """The mailbox greets with the answer to the login, and gets what was said behind it."""
    place.script("mailbox", MAILBOX)
    sent = b"USER joe\r\nPASS secret\r\nSTAT\r\nQUIT\r\n"
    said, log, ended = place.talk(sent, "pop3", "checker", *separator, "mailbox")
    assert said == b"+OK ready\r\n+OK\r\n+OK joe\r\nSTAT\r\nQUIT\r\n"
    assert " event=auth login=joe mechanism=USER " in log
    assert ended == 0


@pytest.mark.parametrize("tries", [1, 2])
def test_pop3_failures(place, tries):
    """One failure is enough, unless -t says otherwise."""
    options = ["-t", "2"] if tries == 2 else []
    said, _, ended = place.talk(b"USER joe\r\nPASS wrong\r\n" * 3, *options, "pop3", "checker", "mailbox")
    assert said == b"+OK ready\r\n" + b"+OK\r\n-ERR [AUTH] authorization failed\r\n" * tries
    assert ended == 0


def test_apop(place):
    """The digest is the password, and the stamp of the greeting is the timestamp: as from qmail-popup."""
    place.script("checker", 'tr "\\000" "\\n" <&3 >>"$WITNESSED"; exec 3<&-; exec "$@"')
    place.script("mailbox", MAILBOX)
    sent = b"APOP joe c4c9334bac560ecc979e58001b3e22fb\r\n"
    said, _, _ = place.talk(sent, "pop3", "checker", "mailbox", environ={"AUTHUP_APOP": "1"})
    stamp = re.match(rb"\+OK (<\d+\.\d+@ofmipd\.local>)\r\n", said)[1].decode()
    assert place.witnessed.read_text().splitlines() == ["joe", "c4c9334bac560ecc979e58001b3e22fb", stamp]
    assert said.endswith(b"\r\n+OK joe\r\n")


# --- servers that are as they are


STOCK = [sys.executable, "-IS", str(pathlib.Path(__file__).parents[1] / "transcripts" / "stock_server.py")]


def test_a_server_behind_a_login(place):
    """Its greeting becomes the 235, and it is told that its client may relay, and who it is."""
    place.script("server", f'env >>"$WITNESSED"; exec {shutil.which("python3")} -IS {STOCK[2]} auth')
    sent = plain("joe", "secret") + b"EHLO c\r\nMAIL FROM:<a@b>\r\nQUIT\r\n"
    environ = {"AUTHUP_LEVEL": "always", "TCPREMOTEINFO": "somebody"}
    said, log, ended = place.talk(sent, "smtp", "checker", "--", "server", environ=environ)
    assert said.splitlines() == [
        b"220 ofmipd.local ESMTP",
        b"235 2.7.0 ok, go ahead",
        b"250-stock.example",
        b"250-PIPELINING",
        b"250 8BITMIME",
        b"250 got 'MAIL FROM:<a@b>'",
        b"221 bye",
    ]
    assert ended == 0, log
    seen = dict(line.partition("=")[::2] for line in place.witnessed.read_text().splitlines())
    assert [seen[name] for name in ("RELAYCLIENT", "SMTPAUTHUSER", "TCPREMOTEINFO")] == ["", "joe", "joe"]


def test_a_chain_can_have_the_wrapper_itself(place):
    """Without --, smtpwrap stands where fixsmtpio did; a server that is busy is told as it says it, once."""
    for word, reply, status in (
        ("", b"235 2.7.0 ok, go ahead", 0),
        ("busy", b"421 too busy", 14),
        ("closed", b"554 go away", 15),
    ):
        sent = plain("joe", "secret") + b"QUIT\r\n"
        said, _, ended = place.talk(sent, "smtp", "checker", "smtpwrap", *STOCK, word)
        assert said.splitlines()[1] == reply
        assert said.count(b"\r\n") == (3 if status == 0 else 2)
        assert ended == status


def test_a_wrapper_that_is_ended_has_said_so(place):
    """With a status that authup, where it waits, does not take for the checker's: the client has its 421."""
    process, client = place.start(*STOCK, "", program="smtpwrap", environ={"AUTHUP_USER": "joe"})
    with client.makefile("rb") as lines:
        assert lines.readline() == b"235 2.7.0 ok, go ahead\r\n"
        process.terminate()
        assert lines.read().startswith(b"421 ")
    assert process.wait(PATIENCE) == 14


@pytest.mark.parametrize(
    ("level", "words", "offered", "reply"),
    [
        ("none", "auth", b"", b"503"),
        ("observe", "auth", b"250-AUTH LOGIN PLAIN\r\n250-AUTH=LOGIN PLAIN\r\n", b"334"),
        ("observe", "plain", b"", b"334"),
        ("ondemand", "auth", b"250-AUTH LOGIN PLAIN\r\n250-AUTH=LOGIN PLAIN\r\n", b"334"),
        ("ondemand", "plain", b"250 AUTH PLAIN LOGIN\r\n", b"235"),
        ("ondemand-encrypted", "plain", b"250 AUTH PLAIN LOGIN CRAM-MD5\r\n", b"235"),
        ("always", "auth", b"250 AUTH PLAIN LOGIN\r\n", b"235"),
        ("always-encrypted", "auth", b"250 AUTH PLAIN LOGIN CRAM-MD5\r\n", b"235"),
    ],
)
def test_levels(public, everybodys, resources, tools, level, words, offered, reply):
    """Whose AUTH it is, by level; mail is for who has logged in, whatever the level."""
    place = Place(public, everybodys, resources)
    place.script("checker", 'r=$(tr "\\000" : <&3); exec 3<&-; case $r in joe:secret:*) exec "$@";; *) exit 1;; esac')
    server = public / "stock_server.py"
    shutil.copy(STOCK[2], server)
    server.chmod(0o644)
    argv = ["smtp", "checker", "--", "/usr/bin/python3", "-IS", str(server), words]
    process, client = place.start(*argv, user=tools.stranger, environ={"AUTHUP_LEVEL": level})
    lines = client.makefile("rb")

    def ask(line):
        client.sendall(line)
        text = lines.readline()
        while text and text.splitlines()[-1][3:4] == b"-":
            text += lines.readline()
        return text

    assert ask(b"")[:4] in (b"220-", b"220 ")
    hello = ask(b"EHLO c\r\n")
    assert b"".join(line for line in hello.splitlines(keepends=True) if b"AUTH" in line) == offered
    assert ask(b"MAIL FROM:<a@b>\r\n").startswith(b"530 ")
    assert ask(plain("joe", "secret"))[:3] == reply
    if reply == b"334":
        assert ask(b"yes\r\n") == b"235 welcome\r\n"
        reply = b"235"
    assert ask(b"MAIL FROM:<a@b>\r\n")[:3] == (b"250" if reply == b"235" else b"530")
    assert ask(b"QUIT\r\n") == b"221 bye\r\n"
    lines.close()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("level", ["none", "observe", "ondemand", "ondemand-encrypted"])
def test_strangers_never_speak_to_a_server_that_is_root(root, place, level):
    """The levels that start the server before a login want another user."""
    said, log, ended = place.talk(b"", "smtp", "checker", "--", *STOCK, "", environ={"AUTHUP_LEVEL": level})
    assert said == b"421 4.3.0 unable to read configuration\r\n"
    assert "not as root" in log
    assert ended == 111


@pytest.mark.parametrize(
    ("level", "words"), [("all", ["checker", "--", "server"]), ("always", ["checker", "server"])], ids=["word", "form"]
)
def test_levels_that_make_no_sense(place, level, words):
    """A word that is none, and a level where nobody can tell where the server begins."""
    said, log, ended = place.talk(b"", "smtp", *words, environ={"AUTHUP_LEVEL": level})
    assert said == b"421 4.3.0 unable to read configuration\r\n"
    assert "AUTHUP_LEVEL" in log
    assert ended == 111


# --- ofmipd behind a login


def test_ofmipd_believes_who_started_it(place):
    """235 in place of a greeting, no AUTH, the login in the trace field, mail without RELAYCLIENT."""
    sent = b"EHLO c\r\nAUTH PLAIN\r\n" + MAIL
    said, log, ended = place.talk(sent, *SESSION[1:], program="ofmipd", environ={"AUTHUP_USER": "joe"})
    codes = [line[:4] for line in said.splitlines()]
    assert codes == [b"235 ", *[b"250-"] * 5, b"250 ", b"503 ", b"250 ", b"250 ", b"354 ", b"250 ", b"221 "]
    assert b"AUTH" not in said
    assert b"503 5.5.1 you're already authenticated\r\n" in said
    assert ended == 0, log
    (message,) = place.queued.iterdir()
    assert "(ofmipd joe@192.0.2.7) by mail.example with ESMTPA; " in message.read_text()


def test_ofmipd_begins_no_tls_behind_a_login(place):
    """Whoever asked for the login has had the descriptors for that, and what they are now is of no interest."""
    environ = {"AUTHUP_USER": "joe", "UCSPITLS": "", "SSLCTLFD": "97", "SSLREADFD": "98", "SSLWRITEFD": "99"}
    said, _, ended = place.talk(b"EHLO c\r\nSTARTTLS\r\nQUIT\r\n", *SESSION[1:], program="ofmipd", environ=environ)
    assert b"250-STARTTLS" not in said
    assert b"502 5.5.1 unimplemented\r\n221 " in said
    assert ended == 0


@pytest.mark.parametrize("login", [None, ""])
def test_ofmipd_is_its_own_master_without_that(place, login):
    """No login, or one of no letters, is none."""
    environ = {} if login is None else {"AUTHUP_USER": login}
    said, _, _ = place.talk(MAIL, *SESSION[1:], program="ofmipd", environ=environ)
    assert said.startswith(b"220 ")
    assert b"\r\n530 5.7.0 authentication required\r\n" in said
    assert list(place.queued.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [[*SESSION], ["env", *SESSION], ["env", "--", *SESSION], ["smtpwrap", *STOCK, ""]],
    ids=["ofmipd", "waited for", "asked first", "smtpwrap"],
)
def test_a_chain_without_a_checker_lets_nobody_in(place, words):
    """Login and password are still on descriptor 3: who believed authup would take mail from everybody."""
    said, log, ended = place.talk(plain("joe", "guess") + MAIL, "smtp", *words)
    assert [line[:4] for line in said.splitlines()][1:] in ([b"451 "], [b"421 "])
    assert "descriptor 3 was not read to its end" in log
    assert list(place.queued.iterdir()) == []
    assert ended == 14


def test_a_record_that_has_still_to_come_is_not_read_either(place):
    """Who starts the chain may be slower to write it than the chain is to start."""
    place.script("slow", f'mkfifo {place.public}/fifo && exec 3<>{place.public}/fifo && exec "$@"')
    environ = {"AUTHUP_USER": "joe"}
    said, log, ended = place.talk(MAIL, *SESSION, program=place.public / "slow", environ=environ)
    assert said == b"451 4.3.0 unable to read configuration\r\n"
    assert "descriptor 3 was not read to its end" in log
    assert ended == 14


def test_a_checker_may_leave_descriptor_3_open(place):
    """Read to its end it has been looked at, as checkpassword-pam leaves it."""
    place.script("leaving", 'cat <&3 >/dev/null; exec "$@"')
    said, log, ended = place.talk(plain("joe", "secret") + MAIL, "smtp", "leaving", *SESSION)
    assert said.splitlines()[1].startswith(b"235 "), log
    assert len(list(place.queued.iterdir())) == 1
    assert ended == 0


@pytest.mark.parametrize("separator", [[], ["--"]], ids=["waited for", "asked first"])
def test_ofmipd_that_cannot_serve_says_so_once(place, separator):
    """Its 451 is the answer to the login, and authup adds none."""
    environ = {"OFMIPD_GROUPS": "odd"}
    said, log, ended = place.talk(plain("joe", "secret"), "smtp", "checker", *separator, *SESSION, environ=environ)
    assert said == b"220 ofmipd.local ESMTP\r\n451 4.3.0 unable to read configuration\r\n"
    assert "OFMIPD_GROUPS" in log
    assert ended == 14


# --- reup


@pytest.mark.parametrize(("succeeds_at", "runs", "status"), [(1, 1, 0), (3, 3, 0), (4, 4, 0), (5, 4, 7)])
def test_reup(place, succeeds_at, runs, status):
    """The program runs until it succeeds, four times at most; its last status counts, and it has what reup has."""
    program = (
        f'echo run >>"$WITNESSED"; read line; echo "got $line"; [ $(wc -l <"$WITNESSED") -ge {succeeds_at} ] || exit 7'
    )
    place.script("program", program)
    ended = subprocess.run(
        [place.programs / "reup", "-t", "4", "program"],
        input=b"",
        capture_output=True,
        env=place.environ,
        timeout=PATIENCE,
        check=False,
    )
    assert place.witnessed.read_text() == "run\n" * runs
    assert ended.stdout == b"got \n" * runs
    assert ended.returncode == status


def test_reup_of_the_later_chain(place):
    """reup, authup, checker, session: with our authup, one run is enough."""
    place.script("echo", ECHO)
    sent = plain("joe", "wrong") + plain("joe", "secret") + b"x\r\n"
    said, _, ended = place.talk(sent, "-t", "5", f"{place.programs}/authup", "smtp", "checker", "echo", program="reup")
    assert said == b"220 ofmipd.local ESMTP\r\n535 5.7.8 authorization failed\r\n235 joe\r\nx\r\n"
    assert ended == 0


@pytest.mark.parametrize("words", [[], ["-t"], ["-t", "5"], ["-t", "0", "true"], ["-t", "x", "true"], ["true"]])
def test_reup_misused(place, words):
    """Misuse is 2."""
    assert place.talk(b"", *words, program="reup")[2] == 2


def test_reup_of_what_is_not_there(place):
    """A program that cannot be run is trouble."""
    assert place.talk(b"", "-t", "2", "/nonexistent", program="reup")[2] == 111


def test_reup_passes_a_signal_on(place, tools):
    """Who ends reup ends what it runs."""
    place.script("program", 'echo $$ >>"$WITNESSED"; exec sleep 60')
    process, _ = place.start("-t", "2", "program", program="reup")
    pid = int(tools.wait_until(place.witnessed.read_text, "the program"))
    process.terminate()
    assert process.wait(PATIENCE) == 111
    tools.wait_until(lambda: not tools.is_alive(pid), "its end")
