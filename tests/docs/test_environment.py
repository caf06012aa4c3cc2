"""Every variable that a program reads or sets is in its page, and every variable in a page is read or set."""

import ast
import re

import pytest
import source_tree
from pages import PROGRAMS, page

MODULES = {
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

IN_CHAINS = (
    *("checkgroup", "checknotroot", "checkpassword", "checkpw-any", "checkpw-dovecot", "checkpw-limit", "checkpw-log"),
    *("authup", "ofmipd", "reup", "smtpwrap"),
)
"""Programs that stand in a chain: their environment has two sides, Read and Set."""

NAMES = re.compile(
    r"_?CHECKPW_[A-Z_]+|(?:OFMIPD|AUTHUP)_[A-Z_]+|QMAIL[A-Z]+|TCP6?(?:LOCAL|REMOTE)[A-Z]+|SSL_[A-Z_]+|SSL(?:CTL|READ|WRITE)FD"
    r"|UCSPITLS|DISABLETLS|DATABYTES|RELAYCLIENT|CONTROLDIR|TMPDIR|LISTEN_[A-Z]+|NOTIFY_SOCKET|WATCHDOG_[A-Z]+"
    r"|REMOTE_[A-Z]+|SMTPAUTH[A-Z]*|PATH|HOME|SHELL|USER|PROTO|LC_CTYPE|AUTHORIZED|EXTRA|userdb_[a-z]+"
)
"""What looks like the name of a variable, wherever it stands in the source."""

LOOKUPS = {"get", "word", "is_set", "number", "seconds"}
"""Methods by which a mapping of the environment is asked."""

MAPPINGS = re.compile(r"environ(ment)?$|^_environ$")

NOT_FOR_PEOPLE = {
    ("checkpw", "LC_CTYPE"): "handed on as it was given; the page says that the whole environment is",
    **{
        ("checkpw", name): "of a program under test: that it sets them for the next one is what the kit looks at"
        for name in ("HOME", "SHELL", "USER")
    },
    ("checkpw", "_CHECKPW_COMPLETE"): "between the completion script that we print and click",
    ("ofmipname", "LC_CTYPE"): "chain.py puts it back for the next program, and ofmipname has none",
    ("ofmipname", "PATH"): "chain.py looks for the next program there",
    ("checkpw-verifierd", "CHECKPW_VERIFIER_UID"): "for who asks a verifier, and a verifier does not",
    ("checkpw-verifierd", "TCPREMOTEIP"): "made of the question, for the store alone",
    ("checkpw-verifierd", "LC_CTYPE"): "for the next program of a chain, and this is in none",
    ("checkpw-verifierd", "PATH"): "as LC_CTYPE",
    ("submissiond", "LC_CTYPE"): "nobody gets it but checkers, who get everything",
    **{
        ("submissiond", name): "what a UCSPI server says of the one client of ofmipd"
        for name in ("DISABLETLS", "REMOTE_ADDR", "REMOTE_HOST", "TCP6REMOTEIP", "SSLCTLFD", "SSLREADFD", "SSLWRITEFD")
    },
    ("submissiond", "AUTHUP_USER"): "of ofmipd in a chain; submissiond does not look at its own environment for it",
    ("submissiond", "OFMIPD_USER_CDB"): "as AUTHUP_USER",
    ("authup", "OFMIPD_QUEUE_TIMEOUT"): "of smtpwrap, and read in the same place",
    ("authup", "USER"): "a command of POP3, and no variable",
    ("smtpwrap", "OFMIPD_AUTH_DELAY"): "of authup, and read in the same place",
    ("smtpwrap", "OFMIPD_CHECKER_TIMEOUT"): "as OFMIPD_AUTH_DELAY",
    ("submissiond", "SSL_CIPHER_USEKEYSIZE"): "known of a connection, and told nobody",
    ("ofmipd", "SSL_CIPHER_USEKEYSIZE"): "known of a connection to the next hop, and told nobody",
    ("ofmipd", "SSL_TLS_SNI"): "of a TLS server, and that is another program",
    **{
        (program, name): "known of the client, of whom a link only says the address"
        for program in ("checkgroup", "checknotroot", "checkpw-limit", "checkpw-log")
        for name in ("SSL_PROTOCOL", "TCPREMOTEINFO")
    },
    **{
        (program, name): "of checkpassword in a chain; only its verdict is asked without starting it"
        for program in ("checkpw-verifierd", "ofmipd", "submissiond")
        for name in ("CHECKPW_USER", "HOME", "SHELL", "USER")
        if (program, name) != ("submissiond", "HOME")
    },
}
"""(program, variable): why the page is silent."""

HANDED_ON = {"submissiond": {"LANG", "LC_ALL", "TZ"}}
"""Program: variables that it only lets through, as its page says."""

BOTH_WAYS = {"LC_CTYPE": "read to be put back as it was: what a page has to say about it stands under Set"}


def _text(node):
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _ending(node):
    """Give the last word of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def variables(nodes):
    """Give what a piece of source reads from an environment, and what it puts into one."""
    read, put = set(), set()
    for node in nodes:
        if isinstance(node, ast.Dict):
            put |= {_text(key) for key in node.keys if key is not None and NAMES.fullmatch(_text(key))}
        elif isinstance(node, ast.Subscript) and MAPPINGS.search(_ending(node.value)):
            (read if isinstance(node.ctx, ast.Load) else put).add(_text(node.slice))
        elif isinstance(node, ast.Compare) and MAPPINGS.search(_ending(node.comparators[0])):
            read.add(_text(node.left))
        elif isinstance(node, ast.Call):
            name = _ending(node.func)
            if name in LOOKUPS and MAPPINGS.search(_ending(node.func.value)) and node.args:
                read.add(_text(node.args[0]))
            read |= {_text(word.value) for word in node.keywords if word.arg == "envvar"}
    for found in (read, put):
        found.discard("")  # not written out: the name is that of a loop
    mentioned = {_text(node) for node in nodes if NAMES.fullmatch(_text(node))}
    return (read | mentioned - put) - {""}, put


def _of(program):
    nodes = [node for name in source_tree.closure(*MODULES[program]) for node in source_tree.modules()[name].nodes]
    read, put = variables(nodes)
    silent = {name for of, name in NOT_FOR_PEOPLE if of == program}
    return read - silent, put - silent


@pytest.mark.parametrize(
    ("text", "read", "put"),
    [
        ("environ.get(b'ODD')", {"ODD"}, set()),
        ("environment.is_set(b'ODD')", {"ODD"}, set()),
        ("environ['ODD']", {"ODD"}, set()),
        ("'ODD' in self._environ", {"ODD"}, set()),
        ("option(envvar='ODD')", {"ODD"}, set()),
        ("wanted = b'OFMIPD_ODD'", {"OFMIPD_ODD"}, set()),
        ("environ[b'ODD'] = b''", set(), {"ODD"}),
        ("environ | {b'TCPREMOTEINFO': login}", set(), {"TCPREMOTEINFO"}),
        ("'''Says OFMIPD_ODD.'''", set(), set()),
    ],
)
def test_variables_are_found(text, read, put):
    """The search sees each way to read a variable and to set one, and not what prose says."""
    assert variables(list(ast.walk(ast.parse(text)))) == (read, put)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_program_reads_is_in_its_page(program):
    """Each variable that the program's modules look at has an item under ENVIRONMENT."""
    read, _ = _of(program)
    assert read - page(program).variables("ENVIRONMENT") == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_page_says_is_read(program):
    """A page explains no variable that nobody looks at, or sets; those of click are tested with the options."""
    read, put = _of(program)
    shown = {name for name in page(program).variables("ENVIRONMENT") if not name.startswith("SUBMISSIOND_")}
    assert shown - read - put == HANDED_ON.get(program, set())


@pytest.mark.parametrize("program", IN_CHAINS)
def test_read_and_set_are_told_apart(program):
    """Under Set stands what the program sets for others, and nothing that it only looks at."""
    read, put = _of(program)
    shown = page(program)
    assert shown.variables("Set") == put
    others = shown.variables("ENVIRONMENT") - shown.variables("Set")
    assert others - read == set()
    assert read - set(BOTH_WAYS) <= others | (put & read)


def test_reasons_for_silence_are_not_stale():
    """Each exception is about a variable that the program still knows."""
    for program, name in NOT_FOR_PEOPLE:
        nodes = [node for of in source_tree.closure(*MODULES[program]) for node in source_tree.modules()[of].nodes]
        assert name in set.union(*variables(nodes)), (program, name)
