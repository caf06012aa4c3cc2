"""fail2ban's own fail2ban-regex reads the log of checkpw-log by the filter of the package."""

import pathlib
import re
import subprocess
import types

import pytest

FILTER = pathlib.Path(__file__).parents[2] / "checkpw" / "share" / "checkpw-log.conf"

FORGED = (
    "checkpw-log: client=198.51.100.6 pid=1 event=login time=2026-11-24T03:45:12Z service=x login=x verdict=rejected "
)

LOGINS = [
    b"joe",
    b"",
    b"joe smith",
    b'a" verdict=rejected reason="',
    b"x verdict=accepted",
    b"\\",
    b'"',
    b"\xff\n\r",
    b"client=198.51.100.1",
    b"\n" + FORGED.encode(),
    FORGED.encode(),
    b"time=2001-01-01T00:00:00Z",
    b"2001-01-01 00:00:00",
]

PREFIXES = {
    "standard error": "",
    "multilog": "@400000006563f1a81e3b4c5c ",
    "syslog": "Nov 24 03:45:12 mail checkpw-log[4711]: ",
    "rsyslog": "2026-11-24T03:45:12.000000+00:00 mail checkpw-log[4711]: ",
    "logger": "Nov 24 03:45:12 mail qmail/pop3d[4711]: checkpw-log: ",
    "systemd": "Nov 24 03:45:12 mail tcpserver[4711]: checkpw-log: ",
}
"""What stands before a line by the way it took; what came by syslog has the program's name in it."""


@pytest.fixture
def lines(programs):
    """Give a function that has checkpw-log write the line of a login: of a client, with a status of the checker."""

    def write(login, ip, status):
        words = [programs / "checkpw-log", "sh", "-c", f"exit {status}", "true"]
        ended = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" 3<&0', "sh", *words],
            input=login + b"\0secret\0\0",
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "TCPREMOTEIP": ip, "TCPLOCALPORT": "587"},
            check=False,
            timeout=60,
        )
        assert ended.returncode == status
        return ended.stderr.decode("ascii").splitlines()[0]

    return write


@pytest.fixture
def find(peer, run, tmp_path):
    """Give a function that has fail2ban-regex find the hosts in a log, with the time of each."""
    regex = peer("fail2ban-regex", "fail2ban")

    def hosts(text):
        (tmp_path / "log").write_text("\n".join(text) + "\n", encoding="ascii")
        done = run([regex, "--usedns", "no", "--verbose", "--timezone", "UTC", tmp_path / "log", FILTER], TZ="UTC")
        shown = done.stdout.decode("utf-8")
        assert done.returncode in (0, 1), shown
        matched = int(re.search(r"^Lines: \d+ lines, \d+ ignored, (\d+) matched", shown, re.MULTILINE)[1])
        found = re.findall(r"^\|      (\S+)  (\w.*)$", shown, re.MULTILINE)
        return types.SimpleNamespace(matched=matched, hosts=[host for host, _ in found], times=[at for _, at in found])

    return hosts


def reached_by(line, way):
    """Give a line as it stands in a log that it reached by some way."""
    prefix = PREFIXES[way]
    return prefix + (line.removeprefix("checkpw-log: ") if "checkpw-log" in prefix else line)


@pytest.mark.parametrize("way", PREFIXES)
def test_the_filter_finds_who_was_rejected_and_nobody_else(way, lines, find):
    """By whatever way a line comes, and whatever the login is: the client of a no is found, and its time is ours."""
    text, wanted = [], []
    for number, login in enumerate(LOGINS):
        for kind, status in enumerate((0, 1, 2, 111)):
            ip = f"192.0.2.{4 * number + kind}"
            text.append(reached_by(lines(login, ip, status), way))
            wanted += [ip] if status == 1 else []
    found = find(text)
    assert (found.hosts, found.matched) == (wanted, len(wanted))
    stamps = {re.search(r" time=(\S+)Z ", line)[1] for line in text}
    hours = {stamp[11:16] for stamp in stamps}
    assert {re.search(r"(\d\d:\d\d):\d\d", at)[1] for at in found.times} <= hours


def test_ipv6_is_found(lines, find):
    """An IPv6 address is a host like any other."""
    assert find([lines(b"joe", "2001:db8::1", 1)]).hosts == ["2001:db8::1"]


def test_lines_of_others_are_not_found(lines, find):
    """What another program quotes, ofmipd for one, is a text in a line of its own and bans nobody."""
    line = lines(b"joe", "192.0.2.1", 1)
    quoted = line.replace("\\", "\\\\").replace('"', '\\"')
    text = [
        f'ofmipd: client=192.0.2.9 pid=1 event=checker says="{quoted}" seconds=0.001',
        f'ofmipd: client=192.0.2.9 pid=1 event=auth login="{FORGED}" verdict=accepted',
        f'Nov 24 03:45:12 mail sshd[1]: Invalid user "{FORGED}" from 192.0.2.9',
        f"login={FORGED}",
        line.replace("event=login", "event=other"),
    ]
    assert find(text).hosts == []
