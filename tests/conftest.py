"""What every kind of test shares: the command line of the test run, and its summary."""

import contextlib
import gc
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import hypothesis
import pytest

# Without a deadline: two cores that are busy with something else are no fault of what is tested.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

# A shell starts what is in its background with these ignored, and programs that are tested would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

STRANGER = 54321  # a uid and a gid that nobody has

_PEER = re.compile(r"(?:peer not installed|not run): [^'\"\n]+")


def pytest_addoption(parser):
    """Let the machine that is meant to have every peer program insist on them."""
    parser.addoption(
        "--require-peers",
        action="store_true",
        help="fail, instead of skip, when a program that tests/interop needs is not installed",
    )


def pytest_terminal_summary(terminalreporter):
    """Name each program that was asked for and not there: a short run must not look like a whole one."""
    missing = {
        reason
        for outcome in ("skipped", "error", "failed")
        for report in terminalreporter.getreports(outcome)
        for reason in _PEER.findall(report.longreprtext)
    }
    if missing:
        terminalreporter.section("peers")
        for reason in sorted(missing):
            terminalreporter.line(reason)


@pytest.fixture(scope="session")
def refuse(request):
    """Give the function that ends a test which cannot be run here: skipped, or failed with --require-peers."""

    def end(reason):
        if request.config.getoption("--require-peers"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    return end


@pytest.fixture
def garbage():
    """Give the function that calls another and says how many objects only Python's collector can free since then.

    A server that leaves some for each client grows until the collector looks at everything, which takes it ever longer.
    """

    def count(act):
        gc.collect()
        gc.disable()
        try:
            act()
            return gc.collect()
        finally:
            gc.enable()

    return count


@pytest.fixture(scope="session")
def root(refuse):
    """End the test that only the superuser can run."""
    if os.geteuid() != 0:
        refuse("not run: needs root")


@pytest.fixture(scope="session")
def programs():
    """Install the programs of this checkout where unprivileged users can start them too, and give the directory."""
    from checkpw.cli.install import install

    with tempfile.TemporaryDirectory(prefix="checkpw-programs-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        install(directory)
        yield directory


@pytest.fixture(scope="session")
def everybodys(programs, refuse):
    """Give a directory with programs that every user can start, whatever may be closed to them.

    That is a copy of the package, and an interpreter outside of anybody's home directory.
    """
    with tempfile.TemporaryDirectory(prefix="checkpw-copy-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        for interpreter in (sys.executable, "/usr/bin/python3"):
            _copy_product(programs, directory, interpreter)
            with contextlib.suppress(OSError):
                if _as_stranger(directory / "checkpassword") == 2:
                    yield directory
                    return
        refuse("not run: unprivileged users, there is no Python that they may execute")


def _as_stranger(program):
    who = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run([program], **who, env={}, capture_output=True, timeout=60, check=False).returncode


@pytest.fixture(scope="session")
def copied():
    """Give the function that copies the package into a directory, with launchers that find it there alone."""
    return _copy_product


def _copy_product(programs, directory, interpreter=sys.executable):
    """Copy the package into a directory, with launchers that find it there and nowhere else."""
    package = pathlib.Path(__file__).parents[1] / "checkpw"
    library = directory / "lib"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, library / "checkpw", dirs_exist_ok=True, ignore=ignore)
    for program in programs.iterdir():
        text = program.read_text(encoding="utf-8")
        text = re.sub(r"\A#!.*", f"#!{interpreter} -IS", text)
        text = re.sub(rf"\[{str(package.parent)!r}", f"[{str(library)!r}", text)
        assert str(library) in text
        (directory / program.name).write_text(text, encoding="utf-8")
        (directory / program.name).chmod(0o755)
