"""Every program has a page and every page of section 8 a program; what pages say about endings and messages is so."""

import grp
import os
import pwd
import re
import subprocess
import sys

import pytest
import source_tree
from pages import PROGRAMS, ROOT, page, pages

COMMANDS = {
    "authup": ["checkpw.cli.authup", "checkpw.cli.exits"],
    "checkpassword": ["checkpw.cli.checkpassword", "checkpw.cli.exits"],
    "checkpw": ["checkpw.cli.admin"],
    "checkpw-dovecot": ["checkpw.cli.dovecot", "checkpw.cli.exits"],
    "checkpw-verifierd": ["checkpw.cli.verifierd", "checkpw.cli.exits"],
    **{
        program: [f"checkpw.links.{program.removeprefix('checkpw-')}", "checkpw.cli.exits"]
        for program in ("checkgroup", "checknotroot", "checkpw-any", "checkpw-limit", "checkpw-log")
    },
    "ofmipd": ["checkpw.cli.ofmipd", "checkpw.cli.exits"],
    "ofmipname": ["checkpw.cli.ofmipname", "checkpw.cli.exits"],
    "reup": ["checkpw.cli.reup", "checkpw.cli.exits"],
    "smtpwrap": ["checkpw.cli.smtpwrap", "checkpw.cli.exits"],
    "submissiond": ["checkpw.cli.submissiond", "checkpw.cli.exits"],
}
"""Program: the modules that its launcher imports."""

SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]
CHAIN_SECTIONS = [*SECTIONS, "FILES", "DIAGNOSTICS", "COMPATIBILITY", "STANDARDS", "CAVEATS", "SECURITY"]

each_page = pytest.mark.parametrize("page_", pages().values(), ids=pages())


def test_each_program_has_a_page_and_each_page_a_program():
    """bin/ and section 8 hold the same names."""
    assert sorted(found.name for found in pages().values() if found.section == "8") == PROGRAMS
    assert sorted(COMMANDS) == PROGRAMS


def test_there_is_an_overview_and_a_page_for_the_file():
    """Section 7 explains the whole, section 5 the account file."""
    assert {"checkpw.7", "checkpw-passwd.5"} <= set(pages())


@each_page
def test_mandoc_finds_nothing(page_, mandoc):
    """A page is correct mdoc."""
    ended = subprocess.run(
        [mandoc, "-Tlint", "-Wwarning", page_.path], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stdout + ended.stderr == ""
    assert ended.returncode == 0


@each_page
def test_a_page_names_itself(page_):
    """Title, section and name of a page are those of its file."""
    assert f".Dt {page_.name.upper()} {page_.section}" in page_.lines
    assert f".Nm {page_.name}" in page_.lines
    assert page_.path.parent.name == f"man{page_.section}"


@each_page
def test_references_lead_somewhere(page_):
    """A reference to a name of ours leads to a page that there is, and no page refers to itself."""
    ours = {(found.name, found.section) for found in pages().values()}
    names = {name for name, _ in ours}
    references = page_.references()
    assert references, "a page without any reference is not read right"
    assert {reference for reference in references if reference[0] in names} <= ours - {(page_.name, page_.section)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_page_has_what_administrators_look_for(program):
    """The page of a program has its sections; that of a program in a chain has all of them, and Read apart from Set."""
    is_in_chains = program in ("authup", "checkpassword", "ofmipd")
    wanted = CHAIN_SECTIONS if is_in_chains else SECTIONS
    assert [section for section in wanted if section not in page(program).headings()] == []
    if is_in_chains:
        assert page(program).variables("Read")
        assert page(program).variables("Set")


# --- exit statuses

OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name
OWN_GROUP = grp.getgrgid(pwd.getpwuid(os.geteuid()).pw_gid).gr_name
OTHER_GROUP = next(found.gr_name for found in grp.getgrall() if found.gr_gid not in os.getgrouplist(OWN_NAME, 0))
UNLIMITED = {"CHECKPW_LIMIT_LOGIN": "off"}
"""There is no address, so that no other budget counts either."""

PROVOKED = {
    "checkpassword": {
        0: (["true"], b"joe\0secret\0\0"),
        1: (["true"], b"joe\0wrong\0\0"),
        2: ([], b""),
        111: (["true"], None),
    },
    "authup": {
        0: (["smtp", "checkpassword", "true"], b"QUIT\r\n"),
        2: (["smtp"], b""),
        111: (["smtp", "checkpassword", "true"], b"", {"OFMIPD_ERRORS": "many"}),
    },
    "reup": {
        0: (["-t", "2", "true"], b""),
        2: (["true"], b""),
        111: (["-t", "2", "/nonexistent"], b""),
    },
    "smtpwrap": {
        0: (["sh", "-c", "echo 220 hello; read line; echo 221 bye"], b"QUIT\r\n"),
        2: ([], b""),
        14: (["echo", "421 too busy"], b""),
        15: (["echo", "554 go away"], b""),
        111: (["true"], b"", {"OFMIPD_ERRORS": "many"}),
    },
    "ofmipd": {
        0: (["", "mail.example", "checkpassword", "true"], None),
        14: (["", "mail.example"], None, {"AUTHUP_USER": "joe", "OFMIPD_GROUPS": "odd"}),
        111: (["", "checkpassword", "true"], None),
    },
    "ofmipname": {
        0: (["name.cdb", "name.tmp"], None),
        100: (["name.cdb"], None),
        111: (["name.cdb", "/nonexistent/name.tmp"], None),
    },
    "checkpw": {
        0: (["user", "verify", "--stdin", "joe"], b"secret\n"),
        1: (["user", "verify", "--stdin", "joe"], b"wrong\n"),
        2: (["user", "verify", "--stdin"], b""),
        111: (["user", "verify", "--stdin", "--file", "/nonexistent", "joe"], b"secret\n"),
    },
    "checkpw-dovecot": {
        0: (["true"], b"joe\0secret\0\0"),
        1: (["true"], b"joe\0wrong\0\0"),
        2: ([], b""),
        3: (["true"], b"nobody-here\0\0\0", {"AUTHORIZED": "1"}),
        111: (["true"], None),
    },
    "checkgroup": {
        0: ([OWN_GROUP, "true"], b"", {"USER": OWN_NAME}),
        1: ([OTHER_GROUP, "true"], b"", {"USER": OWN_NAME}),
        2: ([OWN_GROUP, "true"], b""),
        111: (["no-such-group", "true"], b"", {"USER": OWN_NAME}),
    },
    "checknotroot": {
        0: (["true"], b""),
        1: (["true"], b""),
        2: ([], b""),
        111: (["/nonexistent"], b""),
    },
    "checkpw-any": {
        0: (["false", "checkpassword", "true"], b"joe\0secret\0\0"),
        1: (["false", "checkpassword", "true"], b"joe\0wrong\0\0"),
        2: (["false", "checkpassword"], b"joe\0secret\0\0"),
        111: (["/nonexistent", "checkpassword", "true"], b"joe\0secret\0\0"),
    },
    "checkpw-limit": {
        0: (["checkpassword", "true"], b"joe\0secret\0\0", UNLIMITED),
        1: (["checkpassword", "true"], b"joe\0wrong\0\0", UNLIMITED),
        2: (["checkpassword"], b"joe\0secret\0\0", UNLIMITED),
        111: (["checkpassword", "true"], b"joe\0secret\0\0", {"CHECKPW_LIMIT_STORE": "file:/nonexistent/limits"}),
    },
    "checkpw-log": {
        0: (["checkpassword", "true"], b"joe\0secret\0\0"),
        1: (["checkpassword", "true"], b"joe\0wrong\0\0"),
        2: (["checkpassword"], b"joe\0secret\0\0"),
        111: (["checkpassword", "true"], None),
    },
    "checkpw-verifierd": {
        0: (["--help"], b""),
        2: (["--socket", "verifier", "--accounts", "verifier:/nonexistent"], b""),
        111: (["--socket", "verifier", "--accounts", "file:/nonexistent"], b""),
    },
    "submissiond": {
        0: (["--help"], b""),
        2: ([], b""),
        111: (["--listen", "127.0.0.1:0", "--", "", "checkpassword", "true"], b""),
    },
}
"""Program: each status, and arguments and standard input (descriptor 3 as well) that lead to it; None is /dev/null.
A third value has further variables."""

CLOSED_THREE = 'exec "$@" 3<&-'
OPEN_THREE = 'exec "$@" 3<&0 4>/dev/null'


@pytest.mark.parametrize("program", PROGRAMS)
def test_exit_statuses_are_those_of_the_page(program):
    """A page lists the statuses that can be provoked, and no other."""
    assert [int(item) for item in page(program).items("EXIT STATUS")] == sorted(PROVOKED[program])


@pytest.mark.parametrize(
    ("program", "status"),
    # checknotroot, by root, does nothing but refuse; tests/programs runs it as others, too.
    [
        (program, status)
        for program, statuses in PROVOKED.items()
        for status in statuses
        if program != "checknotroot" or status == 2 or (status == 1) == (os.geteuid() == 0)
    ],
)
def test_each_exit_status_can_be_had(program, status, programs, tmp_path):
    """A program leaves with each status that its page lists."""
    accounts = tmp_path / "accounts"
    accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
    accounts.chmod(0o600)
    arguments, given, *further = PROVOKED[program][status]
    ended = subprocess.run(
        ["/bin/sh", "-c", CLOSED_THREE if given is None else OPEN_THREE, "sh", programs / program, *arguments],
        input=given or b"",
        capture_output=True,
        cwd=tmp_path,
        env={
            "PATH": f"{programs}:/usr/bin:/bin",
            "CHECKPW_ACCOUNTS": f"file:{accounts}",
            "OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir",
            **(further[0] if further else {}),
        },
        check=False,
        timeout=60,
    )
    assert ended.returncode == status, ended.stderr


# --- messages


def _source(program):
    return "".join(source_tree.modules()[name].text for name in source_tree.closure(*COMMANDS[program])) + (
        ROOT / "bin" / program
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("message", page("checkpassword").items("DIAGNOSTICS"))
def test_messages_of_checkpassword_are_in_the_source(message):
    """What DIAGNOSTICS explains is what the program can say, apart from the values in it."""
    source = _source("checkpassword")
    pieces = [piece for piece in re.split(r"b'[^']*'|\b\d+|\bSCHEME\b|\.\.\.", message) if piece.strip(" ,")]
    assert pieces
    for piece in pieces:
        assert piece.strip(" ,") in source


# --- examples

NOT_SHELL = re.compile(r"^\s*\w+ = |^\[|^# One virtual user", re.MULTILINE)
"""Configuration of Dovecot, stunnel and fail2ban, and lines of an account file."""

INTERPRETED = [
    (found.path.name, heading, number)
    for found in pages().values()
    for heading in ("EXAMPLES", "A checker of your own")
    if {f".Sh {heading}", f".Ss {heading}"} & set(found.lines)
    for number, block in enumerate(found.literal(heading))
    if not NOT_SHELL.search(block)
]


@pytest.mark.parametrize(("name", "heading", "number"), INTERPRETED)
def test_examples_are_shell(name, heading, number):
    """A shell can read each example that is meant for one."""
    block = pages()[name].literal(heading)[number]
    ended = subprocess.run(["/bin/sh", "-n"], input=block, text=True, capture_output=True, check=False, timeout=60)
    assert ended.stderr == ""


def test_there_are_examples():
    """The parametrised test above is about the examples of all programs."""
    assert {name for name, _, _ in INTERPRETED} >= {f"{program}.8" for program in PROGRAMS} | {"checkpw.7"}


@pytest.mark.parametrize(
    ("content", "record", "status"),
    [
        ("secret\n", b"joe\0secret\0\0", 0),
        ("secret\n", b"joe\0secret\0", 0),
        ("secret\n", b"joe\0wrong\0\0", 1),
        ("secret\n", b"ann\0secret\0\0", 1),
        ("secret\n", b"joe\0\0secret\0", 1),
        ("secret\n", b"joe\nsecret\0\0\0", 1),
        ("secret\n", b"joe\0secret\n\0\0", 1),
        ("secret\n", b"joe\0secret", 0),
        ("secret\n", b"", 1),
        ("", b"joe\0\0\0", 111),
        ("\n", b"joe\0\0\0", 111),
        (None, b"joe\0secret\0\0", 111),
    ],
)
def test_the_checker_of_your_own_checks(content, record, status, tmp_path):
    """The five lines of sh in checkpw(7) keep to the interface, and let nobody in by a secret that is not there."""
    secret, checker = tmp_path / "secret", tmp_path / "checker"
    if content is not None:
        secret.write_text(content, encoding="ascii")
    block = page("checkpw", "7").literal("A checker of your own")[0]
    assert len(block.splitlines()) == 5
    assert "/etc/joe.secret" in block
    checker.write_text(block.replace("/etc/joe.secret", str(secret)), encoding="ascii")
    checker.chmod(0o755)
    (tmp_path / "record").write_bytes(record)
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "{checker}" true 3<"{tmp_path}/record"'],
        capture_output=True,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        check=False,
        timeout=60,
    )
    assert ended.returncode == status


def test_python_of_the_page_is_that_of_the_package():
    """The overview names the oldest Python that the package takes."""
    import tomllib

    with open(ROOT / "pyproject.toml", "rb") as file:
        oldest = tomllib.load(file)["project"]["requires-python"].removeprefix(">=")
    assert f"Python {oldest} and later" in page("checkpw", "7").text
    assert sys.version_info >= tuple(map(int, oldest.split(".")))
