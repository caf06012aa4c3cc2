"""checkpw.cli.admin: every ending of the command is one of 0, 1, 2 and 111, and 1 means no."""

import sys

import click
import pytest

from checkpw.cli import admin, commands
from checkpw.errors import Misuse, Rejected, TemporaryFailure


@pytest.fixture
def failing(checkpw, monkeypatch):
    """Give a function that runs a subcommand which does nothing but raise."""

    def run(error):
        @click.command()
        def boom():
            raise error

        monkeypatch.setitem(commands.checkpw.commands, "boom", boom)
        return checkpw("boom")

    return run


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Rejected("unknown login"), 1, "checkpw: unknown login"),
        (Misuse("bad record"), 2, "checkpw: bad record"),
        (TemporaryFailure("store is down"), 111, "checkpw: store is down"),
        (click.UsageError("what?"), 2, "what?"),
        (click.ClickException("click is unhappy"), 111, "click is unhappy"),
        (click.Abort(), 111, "interrupted"),
        (KeyboardInterrupt(), 111, "interrupted"),
        (EOFError(), 111, "interrupted"),
        (SystemExit("a text"), 111, ""),
        (SystemExit(1), 111, ""),
        (SystemExit(0), 0, ""),
        (BrokenPipeError(32, "Broken pipe"), 111, ""),
        (ImportError("no module", name="bcrypt"), 111, "ImportError (bcrypt)"),
        (ValueError("s3cret"), 111, "unexpected trouble: ValueError"),
        (MemoryError(), 111, "MemoryError"),
    ],
    ids=repr,
)
def test_every_exception_has_its_status(failing, error, status, words):
    """Python's and click's own status 1 never comes out, and neither does a traceback or an unexpected text."""
    done = failing(error)
    assert done.status == status
    assert words in done.err
    assert "Traceback" not in done.err
    assert "s3cret" not in done.err


@pytest.mark.parametrize("module", ["click", "checkpw.cli.commands"])
def test_a_missing_package_is_trouble(monkeypatch, capsys, module):
    """Without click, or with half of our own modules, the answer is 111 and one line."""
    monkeypatch.setitem(sys.modules, module, None)
    assert admin.main(["checkpw", "--version"], {}) == 111
    said = capsys.readouterr().err
    assert "ModuleNotFoundError" in said
    assert said.count("\n") == 1


def test_a_missing_subcommand_module_is_trouble(monkeypatch, checkpw):
    """A subcommand that cannot be imported is trouble too."""
    monkeypatch.setitem(sys.modules, "checkpw.cli.ask", None)
    assert checkpw("ask", "true").status == 111


def test_without_arguments_the_help_is_shown(checkpw):
    """Who types the name alone reads what there is, and has used it wrong."""
    done = checkpw()
    assert done.status == 2
    assert "Commands:" in done.err
    assert done.out == ""


def test_version(checkpw):
    """The version is printed on standard output."""
    done = checkpw("--version")
    assert done.status == 0
    assert done.out.startswith("checkpw, version ")


def every_command(command=commands.checkpw, path=()):
    """Walk the tree of commands."""
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            yield from every_command(command.get_command(ctx, name), (*path, name))


@pytest.mark.parametrize(
    ("path", "command"),
    list(every_command()),
    ids=lambda value: " ".join(value) or "-" if isinstance(value, tuple) else "",
)
def test_every_help_has_examples(checkpw, path, command):
    """Each command's help explains every option and shows how it is used."""
    done = checkpw(*path, "--help")
    assert done.status == 0
    assert "EXAMPLES" in done.out
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.opts[0].startswith("--")


@pytest.mark.parametrize("argv", [["nobody"], ["user"], ["user", "nobody"], ["--nobody"], ["hash", "--scheme", "NTLM"]])
def test_wrong_usage_is_2(checkpw, argv):
    """An unknown command, option or value is misuse."""
    assert checkpw(*argv).status == 2


def test_options_look_into_the_environment_that_main_was_given(checkpw, monkeypatch):
    """The process's own environment counts for nothing: only `main`'s does."""
    monkeypatch.setenv("CHECKPW_SCHEME", "NTLM")
    assert checkpw("hash", "--stdin", stdin=b"secret\n", CHECKPW_SCHEME="PLAIN").out == "{PLAIN}secret\n"
    assert checkpw("hash", "--stdin", stdin=b"secret\n", CHECKPW_SCHEME="NTLM").status == 2
