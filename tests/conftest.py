"""What every kind of test shares: the command line of the test run, and its summary."""

import os
import pathlib
import re
import signal
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
