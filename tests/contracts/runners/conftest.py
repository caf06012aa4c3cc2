"""The contract of runners: what each operation does, when it fails, what it leaves.

The one on descriptors and the resident one, on both event loops, keep the same contract; what only one of them can is
tried with that one.
"""

import os
import pathlib
import socket
import sys

import pytest
from resident_runner import LOOPS, ResidentRunner

from checkpw.runners.stdio import StdioRunner

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from running import PATIENCE, descriptors


@pytest.fixture(autouse=True)
def nothing_is_left():
    """See to it that no descriptor and no child outlives a test."""
    before = descriptors()
    yield
    assert descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture(params=["stdio", *LOOPS])
def make(request, nothing_is_left):
    """Give what makes a runner, for the client at the other end of a socket if there is one."""
    made = []

    def make_runner(client=None):
        if request.param == "stdio":
            return StdioRunner() if client is None else StdioRunner(client.fileno(), client.fileno())
        made.append(ResidentRunner(client and client.dup(), new_loop=LOOPS[request.param]))
        return made[-1]

    yield make_runner
    for runner in made:
        runner.close()


@pytest.fixture
def client(make):
    """Give the client's end of a socket, and a runner at the other end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, make(theirs)
