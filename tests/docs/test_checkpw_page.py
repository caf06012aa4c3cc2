"""The commands of checkpw against checkpw(8) and their own help: every command, option and default, both ways."""

import re

import click
import pytest
from click.testing import CliRunner
from pages import page

from checkpw import newhash
from checkpw.cli import service, service_plan
from checkpw.cli.commands import checkpw

CHECKPW = page("checkpw")


def _walk(command, path=()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _walk(command.get_command(context, name), (*path, name))


COMMANDS = {" ".join(path) or "checkpw": command for path, command in _walk(checkpw)}
LEAVES = {name: command for name, command in COMMANDS.items() if not isinstance(command, click.Group)}


def _long_options(command):
    options = [option for option in command.params if isinstance(option, click.Option)]
    return {word for option in options for word in (*option.opts, *option.secondary_opts) if word.startswith("--")}


def _forms_of(name):
    """Give the command as it stands in the synopsis: once for each word that its first argument may be."""
    arguments = [param for param in LEAVES[name].params if isinstance(param, click.Argument)]
    if not arguments or not isinstance(arguments[0].type, click.Choice):
        return [name]
    return [f"{name} {choice}" for choice in arguments[0].type.choices]


OPTIONS = {word for command in COMMANDS.values() for word in _long_options(command)} | {"--help"}


def _synopsis():
    """Give the options of each form in the SYNOPSIS by its command, one for each of `a | b`."""
    forms = {}
    for form in "\n".join(CHECKPW.part("SYNOPSIS")).split(".Nm\n"):
        words = [word for line in form.splitlines() if line.startswith(".Cm ") for word in line[4:].split()]
        options = {f"--{option}" for option in re.findall(r"Fl -([a-z][a-z-]*)", form)}
        path = words[: words.index("|") - 1] if "|" in words else words[:-1]
        for last in words[len(path) :]:
            if last != "|":
                forms[" ".join((*path, last))] = options
    return forms


@pytest.mark.parametrize("name", LEAVES)
def test_each_command_is_in_the_page(name):
    """The synopsis shows each command with all its options and no other."""
    forms = _synopsis()
    for form in _forms_of(name):
        assert forms[form] == _long_options(LEAVES[name])


def test_the_page_shows_no_command_that_is_gone():
    """Each command in the synopsis exists."""
    assert set(_synopsis()) == {form for name in LEAVES for form in _forms_of(name)}


def test_every_option_is_explained_and_exists():
    """What the page writes as a long option is one of some command, and each option of a command is explained."""
    explained = set()
    for line in (line for heading in CHECKPW.headings() if heading != "SYNOPSIS" for line in CHECKPW.part(heading)):
        explained |= {f"--{word}" for word in re.findall(r"Fl -([a-z][a-z-]*)", line)}
    assert explained == OPTIONS


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples(name):
    """--help says what a command does, and shows how it is used, with examples that name it."""
    command = COMMANDS[name]
    text = command.get_help(click.Context(command, info_name=name))
    assert command.help
    assert "EXAMPLES" in text
    example = text.partition("EXAMPLES")[2]
    assert re.search(rf"\bcheckpw {name if name != 'checkpw' else ''}", example)
    for option in (option for option in command.params if isinstance(option, click.Option)):
        assert option.help, option.name


def test_examples_in_help_use_options_that_exist():
    """A long option in the examples of a command's help is one of checkpw's."""
    for name, command in COMMANDS.items():
        lines = [line for line in (command.epilog or "").splitlines() if "checkpw" in line]
        used = {word for line in lines for word in re.findall(r"checkpw .*?(--[a-z][a-z-]*)", line)}
        assert used <= OPTIONS, name


def test_variables_of_options_are_in_the_page():
    """Each option that may come from the environment has its variable explained as that option."""
    shown = CHECKPW.part("ENVIRONMENT")
    for command in COMMANDS.values():
        for option in command.params:
            if option.envvar:
                at = shown.index(f".It Ev {option.envvar}")
                assert option.opts[0].lstrip("-") in " ".join(shown[at + 1 : at + 5])


def test_schemes_are_those_of_the_code():
    """The page's table has the schemes that checkpw makes, and names the default."""
    rows = CHECKPW.rows("checkpw hash", "scheme")
    assert [row[0].removeprefix("Li ") for row in rows] == list(newhash.SCHEMES)
    assert f"it is {newhash.DEFAULT_SCHEME}." in " ".join(CHECKPW.part("checkpw hash"))


# --- service files


def _script(*options):
    done = CliRunner().invoke(
        service.service, ["rc.d", "--programs", "/usr/local/bin", "--hostname", "mail.example", *options]
    )
    assert done.exit_code == 0
    return done.output


def test_variables_of_rc_conf_are_those_of_the_script():
    """The page explains each variable of qmailofmipd, and no other."""
    shown = [row[0].removeprefix("Li ") for row in CHECKPW.rows("Variables of rc.conf", "variable")]
    assert set(shown) == set(re.findall(r'^\[ "\$\{qmailofmipd_(\w+)\+set\}"', _script(), re.MULTILINE))


def test_defaults_of_services_are_those_of_the_code():
    """Numbers and places in the text are what the code has."""
    prose = " ".join(CHECKPW.part("checkpw service"))
    limits = service_plan.DATA_LIMIT
    assert f"Default: {limits['ofmipd']} under a UCSPI server, else {limits['submissiond']}." in prose
    assert limits["authup"] == limits["ofmipd"] and limits["checkpw-verifierd"] == limits["submissiond"]
    assert f"Default: {service_plan.CONNECTIONS} under a UCSPI server" in prose
    assert f"Default: {service_plan.USER};" in prose
    users = service.LOG_USERS
    assert f"the first of {', '.join(users[:-1])} and {users[-1]} that there is" in prose
    assert service.VERIFIER_SOCKET in prose
    (option,) = [param for param in LEAVES["service"].params if param.name == "data_limit"]
    assert f"at least {option.type.min}." in prose
