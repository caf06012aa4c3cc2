"""submissiond(8) and checkpw-security(7) against the code: options, variables, limits, metrics, log lines, roles."""

import contextlib
import inspect
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
import tomllib

import click
import pytest
from pages import page, plain
from test_ofmipd_page import LOGINS

from checkpw import submission
from checkpw.certificates import self_signed
from checkpw.cli import generation
from checkpw.cli import submissiond as program
from checkpw.cli import wishes as settings
from checkpw.cli.submissiond import command
from checkpw.cli.wishes import Wishes
from checkpw.logline import render
from checkpw.service import counters, supervisor, surroundings, visit, words, worker
from checkpw.smtp import replies
from checkpw.smtp.replies import Reply

PAGE, OFMIPD, SECURITY = page("submissiond"), page("ofmipd"), page("checkpw-security", "7")
PROSE = " ".join(PAGE.lines)
OPTIONS = {param.opts[-1]: param for param in command.params if isinstance(param, click.Option)}
PREFIX = command.context_settings["auto_envvar_prefix"]


def _items():
    """Give the text below each option's item, by its long name."""
    found, name = {}, None
    for line in PAGE.part("Options"):
        if line.startswith(".It Fl -"):
            name = "-" + line.removeprefix(".It Fl ").split()[0]
            found[name] = []
        elif name is not None:
            found[name].append(line)
    return {name: " ".join(lines) for name, lines in found.items()}


ITEMS = _items()


# --- options


def test_every_option_is_explained_and_exists():
    """The page has an item for each option and for no other."""
    assert set(ITEMS) == set(OPTIONS) | {"--help"}


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults_are_those_of_the_code(name):
    """A default that click has stands in the page, and the page claims no other number."""
    default = OPTIONS[name].default
    shown = re.search(r"Default: (\w+)\.", ITEMS[name])
    if isinstance(default, bool) or not isinstance(default, int | float | str):
        assert shown is None
    else:
        assert shown[1] == f"{default:g}" if isinstance(default, int | float) else default


def test_all_options_mentioned_exist():
    """Whatever the pages write as a long option of submissiond is one."""
    of_the_verifier = {"--socket"}
    for shown in (PAGE, SECURITY):
        used = {f"-{word}" for word in re.findall(r"Fl (-[a-z][a-z0-9-]*)", shown.text)} - of_the_verifier
        for example in re.findall(r"submissiond (--.*?)\.Ed", shown.text, re.DOTALL):
            used |= set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", example))
        assert used <= set(OPTIONS) | {"--help"}


def test_the_number_of_workers_is_limited_as_the_page_says():
    """The greatest number of workers stands in the page."""
    assert f"at most {OPTIONS['--workers'].type.max}." in ITEMS["--workers"]


# --- variables

TABLE = dict(PAGE.rows("Options by variable", "variable"))


def _variable(option):
    # Switches of ofmipd(8) have their variable as name, and it is not click that reads it.
    return option.envvar or (option.name if option.name.isupper() else f"{PREFIX}_{option.name.upper()}")


def test_each_option_has_its_variable_in_the_table():
    """The table has each option with the variable that click looks at, and no other row."""
    shown = {name.split()[-1]: f"-{option.split()[-1]}" for name, option in TABLE.items()}
    assert shown == {_variable(option): name for name, option in OPTIONS.items()}


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "--config"])
def test_a_variable_has_the_effect_of_its_option(name, monkeypatch):
    """What stands in the variable becomes the option's value; of several, blanks are between."""
    option = OPTIONS[name]
    if option.is_flag:
        value, meant = "1", True
    elif isinstance(option.type, click.Choice):
        value = meant = option.type.choices[-1]
    elif option.multiple:
        value, meant = "a b", ("a", "b")
    else:
        value, meant = "7", option.type.convert("7", option, None)
    if option.name.isupper() and not option.envvar:
        assert _wishes({_variable(option).encode(): b"whatever"}).environ[_variable(option).encode()]
        return
    monkeypatch.setenv(_variable(option), value)
    assert command.make_context("submissiond", ["--"]).params[option.name] == meant


def _wishes(environ):
    return Wishes(_context("--").params, environ)


def _context(*arguments):
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    return command.make_context("submissiond", [*user, *arguments])


def test_variables_that_mean_nothing_are_taken_out():
    """None of what the page says is not read reaches anybody, and everything else does."""
    never = PAGE.variables("Not read")
    assert {"RELAYCLIENT", "UCSPITLS"} <= never
    given = dict.fromkeys(map(str.encode, {*never, "TCPREMOTEIP", "ANYTHING"}), b"x")
    wishes = Wishes(_context("--listen", ":0").params, given)
    assert wishes.environ == {b"ANYTHING": b"x"}


def test_what_programs_behind_the_door_get_is_the_allow_list():
    """Under Set stands what is let through, what is known of a client, and what the ticket says."""
    let_through = {name.decode() for name in generation.DOOR_ENVIRONMENT}
    of_clients = {name.decode() for name in words.ORIGIN}
    of_tickets = {"RELAYCLIENT", "SMTPAUTHUSER", "TCPREMOTEINFO"}
    assert PAGE.variables("Set") == let_through | of_clients | of_tickets


# --- the file


def test_the_file_of_the_example_is_read(tmp_path):
    """The example in TOML has keys that are options, and makes the settings of the first example."""
    (text,) = [block for block in PAGE.literal("EXAMPLES") if block.startswith("listen = ")]
    path = tmp_path / "submissiond.toml"
    path.write_text(text, encoding="ascii")
    params = command.make_context("submissiond", ["--config", str(path)]).params
    given = tomllib.loads(text)
    for key, value in given.items():
        name = key if key == "arguments" else OPTIONS[f"--{key}"].name
        assert params[name] == (tuple(value) if isinstance(value, list) else value)
    example = PAGE.literal("EXAMPLES")[0].replace("\\\n", " ").replace("''", '""').split()
    assert [word.strip('"') for word in example[example.index("--") + 1 :]] == given["arguments"]
    assert example[1 : example.index("--")][::2] == [
        *("--user", "--listen", "--listen", "--tls-cert", "--tls-key", "--accounts")
    ]


# --- numbers in prose


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("At most four generations live", program.GENERATIONS == 4),
        ("has not turned for 30 seconds is killed", generation.HUNG == 30),
        ("or opener after 60.", surroundings.HANGS_AFTER == 60),
        ("PROXY header of version 1 or 2, within 10 seconds", visit.PROXY_TIMEOUT == 10),
        ("has 15 seconds more to say", worker.HARD_LIMIT == 15),
        ("30 seconds after the .Fl -drain-time whatever is left is killed", supervisor.KILL_AFTER == 30),
        ("Others wait, at most 1000,", generation.MOST_WAITING == 1000),
        ("Failed logins of one address in ten minutes", generation.FAILURE_WINDOW == 600),
        ("have to come, counted from a minute on", submission.GRACE == 60),
        ("kept for the next message, for a minute", generation.IDLE_CONNECTION == 60),
    ],
)
def test_numbers_are_those_of_the_code(text, number):
    """Each number stands in the page, and is so."""
    assert text in PROSE
    assert number


def test_the_table_of_limits():
    """Each limit's option exists, and what a client is told is a reply that there is."""
    codes = {f"{reply.code} {reply.enhanced.decode()}" for reply in vars(replies).values() if isinstance(reply, Reply)}
    codes.add("421 4.7.0")
    for _, option, consequence in PAGE.rows("Limits", "what"):
        if option.startswith("-"):
            assert f"-{option}" in OPTIONS
        if consequence[0].isdigit():
            assert consequence.partition(",")[0] in codes


# --- metrics


def test_metrics_are_those_of_the_code():
    """The table has each family with its type and its labels, all of which have that of the listener."""
    families = counters.families(("x",))
    assert all(family.labels[0] == "listener" for family in families)
    shown = [
        [name.removeprefix("Li "), kind, labels] for name, kind, labels in map(_padded, PAGE.rows("Metrics", "name"))
    ]
    assert shown == [[family.name, family.kind, ", ".join(family.labels[1:])] for family in families]


def _padded(row):
    return [cell.removesuffix(" Ta").strip() for cell in (*row, "")][:3]


# --- the log


def test_reasons_are_explained():
    """Each way in which a session ends stands in one of the two pages."""
    shown = " ".join([*PAGE.part("DIAGNOSTICS"), *OFMIPD.part("DIAGNOSTICS")])
    assert [reason for reason in counters.REASONS if f".Li {reason} " not in shown] == []


def test_what_it_says_before_it_is_ready_is_in_the_source():
    """Each message of the page is said by some module of ours."""
    source = (
        "".join(inspect.getsource(module) for module in (settings, settings.places, generation.certificates))
        .replace("{wanted.text}", "...")
        .replace("{certificate}", "...")
    )
    messages = [item for item in PAGE.items("DIAGNOSTICS") if not item.startswith("event=")]
    assert len(messages) == 5
    for message in messages:
        assert message.removesuffix(" ...") in source


class Running:
    """A server that listens at unix sockets, which need no ports."""

    def __init__(self, submissiond, directory):
        self.directory = directory
        self._log = directory / "log"
        certificate, key = self_signed(str(directory), "mail.example")
        argv = [submissiond, "--tls-cert", certificate, "--tls-key", key, "--workers", "2", "--max-connections", "1"]
        for kind in ("plain", "tls", "starttls,proxy"):
            argv += ["--listen", f"{self.path(kind)},{kind}"]
        if os.geteuid() == 0:
            argv += ["--user", "nobody"]
        argv += ["--accounts", f"file:{directory}/accounts", "--queue", f"maildir:{directory}/Mail"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, "--", "", "mail.example", "checkpassword", "true"],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={"PATH": f"{submissiond.parent}:/usr/bin:/bin"},
            )

    def path(self, kind):
        return self.directory / kind.partition(",")[0]

    def log(self):
        return self._log.read_text(encoding="ascii")

    def wait_for(self, text):
        deadline = time.monotonic() + 60
        while text not in self.log():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def say(self, kind, text):
        """Connect, say something, and wait until the server goes away."""
        with self.connect(kind) as client, contextlib.suppress(ConnectionError):
            client.sendall(text)
            while client.recv(4096):
                pass

    def connect(self, kind):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(60)
        client.connect(str(self.path(kind)))
        return client


@pytest.fixture(scope="module")
def log(programs, tmp_path_factory, refuse):
    """The log of a server to which everything happened that no session is about."""
    if shutil.which("openssl") is None:
        refuse("peer not installed: openssl (Debian package openssl)")
    directory = tmp_path_factory.mktemp("submissiond")
    (directory / "accounts").write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
    server = Running(programs / "submissiond", directory)
    try:
        server.wait_for("is ready")
        server.say("starttls", b"EHLO client\r\n")
        server.wait_for("reason=proxy")
        server.say("tls", b"EHLO client\r\n")
        server.wait_for("reason=tls")
        with server.connect("plain") as first:  # the worker that has it takes no other one, and the second does
            assert first.recv(4096).startswith(b"220 ")
            server.say("plain", b"")
            server.wait_for("reason=crowd")
            first.sendall(b"QUIT\r\n")
            while first.recv(4096):
                pass
        server.wait_for("reason=quit")
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for("submissiond_sessions_total{")
    finally:
        server.process.terminate()
        server.process.wait(60)
    return server.log().splitlines()


EVENTS = {}
for _words in (item.split() for item in [*OFMIPD.items("DIAGNOSTICS"), *PAGE.items("DIAGNOSTICS")]):
    if _words[0].startswith("event="):
        EVENTS.setdefault(_words[0].removeprefix("event="), []).append(set(_words[1:]) - {"Ar"})
"""Event: the sets of fields that it may have, but for the common ones."""

COMMON = {"client", "pid", "event", "login", "seconds"}
WORD = re.compile(r'([a-z_]+)=(?:"(?:[^"\\]|\\.)*"|[^\s"]+)')


def test_log_lines_have_the_fields_of_the_pages(log):
    """Each line has an event of the pages with its fields; `pid` names a session where one speaks."""
    seen = set()
    for line in log:
        assert line.startswith("submissiond: ")
        keys = WORD.findall(line.partition(": ")[2])
        event = re.search(r" event=(\w+)", line)[1]
        assert set(keys) - COMMON in EVENTS[event], line
        is_of_session = "seconds" in keys
        assert bool(re.search(r" pid=\d+\.\d+ ", line)) == is_of_session, line
        assert ("client" in keys) == (event not in ("server", "trouble", "warning") or is_of_session), line
        seen.add((event, *re.findall(r" reason=(\w+)", line)))
    assert seen >= {("server",), *(("session", reason) for reason in ("proxy", "tls", "crowd", "quit"))}


def test_reasons_of_sessions_that_never_were(log):
    """What the page's item for them names is what they end with."""
    shown = set(re.findall(r"reason=(\w+) text=", "\n".join(log)))
    (item,) = [index for index, line in enumerate(PAGE.lines) if line == ".It Li event=session Ar reason text"]
    text = PAGE.lines[item : PAGE.lines.index(".It Li event=server Ar text")]
    assert shown == {plain(line[4:]) for line in text if line.startswith(".Li ")} - {"text"}


def test_the_server_says_which_processes_it_has(log):
    """The line that it is ready names each role."""
    (line,) = [line for line in log if "is ready" in line]
    roles = set(re.findall(r"(\w+)=\d+", line.partition("is ready")[2]))
    assert roles == set(generation.NAMES) - {generation.METRICS}


# --- fail2ban


@pytest.fixture(scope="module")
def failregex():
    """The filter of the page, with fail2ban's <HOST> as it would be replaced."""
    (block,) = [block for block in PAGE.literal("EXAMPLES") if "failregex" in block]
    return re.compile(block.partition("failregex = ")[2].strip().replace("<HOST>", r"(?P<host>[0-9a-fA-F.:]+)"))


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("verdict", ["rejected", "accepted", "temporary"])
def test_the_filter_finds_who_was_rejected(failregex, login, verdict):
    """Whatever the login is, the filter finds a rejected client, and nobody else."""
    fields = {"client": b"192.0.2.7", "pid": b"4711.23", "event": "auth", "login": login, "mechanism": b"PLAIN"}
    fields |= {"tls": "yes", "verdict": verdict, "reason": "exit status 1", "seconds": 5.0}
    found = failregex.search(render("submissiond", fields).decode("ascii"))
    assert (found and found["host"]) == ("192.0.2.7" if verdict == "rejected" else None)


# --- who may do what

PROCESSES = {row[0]: row[1:] for row in SECURITY.rows("The processes of submissiond", "process")}


def test_the_table_of_processes_has_the_roles_of_the_code():
    """There is a row for the supervisor and for each role."""
    assert set(PROCESSES) == {"supervisor", *generation.NAMES}


def test_each_role_runs_as_whom_the_table_says(monkeypatch):
    """Whom a process becomes, when all begins as root, is what stands beside it."""
    users = {"strangers": 101, "door": 102}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", users[name], 100, "", "/", "")))
    identities = Wishes._identities("strangers", "door", None)
    shown = {"root": None, "-user": (101, 100), "-door-user": (102, 100), "root, or -verifier-user": None}
    assert {role: identities.get(role) for role in generation.NAMES} == {
        role: shown[row[0].replace("Fl ", "")] for role, row in PROCESSES.items() if role != "supervisor"
    }
    assert Wishes._identities("strangers", "door", "door")["verifier"] == (102, 100)


def test_who_is_confined_reads_starts_and_connects_nothing():
    """The processes with three times no are those behind the filter."""
    confined = {role for role, (_, *may) in PROCESSES.items() if may[:3] == ["no", "no", "no"]}
    assert confined == set(generation.NETWORK_ROLES)
