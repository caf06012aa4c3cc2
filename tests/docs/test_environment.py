"""Every variable that a program reads or sets is in its page, and every variable in a page is read or set."""

import ast
import re

import pytest
import source_tree
from pages import PROGRAMS, page

MODULES = {
    "checkpassword": ["checkpw.cli.checkpassword", "checkpw.cli.exits"],
    "checkpw": ["checkpw.cli.admin"],
    "ofmipd": ["checkpw.cli.ofmipd", "checkpw.cli.exits"],
    "ofmipname": ["checkpw.cli.ofmipname", "checkpw.cli.exits"],
}

NAMES = re.compile(
    r"_?CHECKPW_[A-Z_]+|OFMIPD_[A-Z_]+|QMAIL[A-Z]+|TCP6?(?:LOCAL|REMOTE)[A-Z]+|SSL_[A-Z_]+|UCSPITLS|DATABYTES|RELAYCLIENT"
    r"|CONTROLDIR|TMPDIR|REMOTE_[A-Z]+|SMTPAUTH[A-Z]*|PATH|HOME|SHELL|USER|PROTO|LC_CTYPE|AUTHORIZED"
)
"""What looks like the name of a variable, wherever it stands in the source."""

LOOKUPS = {"get", "word", "is_set", "number", "seconds"}
"""Methods by which a mapping of the environment is asked."""

MAPPINGS = re.compile(r"environ(ment)?$|^_environ$")

NOT_FOR_PEOPLE = {
    ("checkpw", "LC_CTYPE"): "handed on as it was given; the page says that the whole environment is",
    ("checkpw", "_CHECKPW_COMPLETE"): "between the completion script that we print and click",
    ("checkpw", "PROTO"): "set by the demo's listener for its own children",
    ("checkpw", "TCPREMOTEPORT"): "set by the demo's listener for its own children",
    ("ofmipname", "LC_CTYPE"): "chain.py puts it back for the next program, and ofmipname has none",
    ("ofmipname", "PATH"): "chain.py looks for the next program there",
    ("checkpw", "OFMIPD_QUEUE"): "set by the demo for its own children, and shown",
    ("checkpw", "OFMIPD_AUTH_DELAY"): "set by the demo for its own children, and shown",
}
"""(program, variable): why the page is silent."""

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
    """A page explains no variable that nobody looks at, or sets."""
    read, put = _of(program)
    assert page(program).variables("ENVIRONMENT") - read - put == set()


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program not in ("checkpw", "ofmipname")])
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
