"""What the tests of runners share: the times that they wait, one operation at a time, and how long something took."""

import contextlib
import os
import resource
import time

import pytest

from checkpw.operations import NULL, Spawn, TimedOut

ENVIRON = {b"PATH": b"/usr/bin:/bin"}
SHORT = 0.2
NOT_BEFORE = SHORT - 0.002  # uvloop's clock counts whole milliseconds: a timer of its may end early by less than one
PATIENCE = 20.0


def descriptors():
    """Give the descriptors that are open."""
    return set(os.listdir("/proc/self/fd"))


def one(operation, runner):
    """Perform one operation."""

    def steps():
        return (yield operation)

    return runner.run(steps())


def shell(script, *wiring, environ=ENVIRON):
    """Give the operation that starts a shell."""
    return Spawn([b"sh", b"-c", script.encode()], environ, wiring or ((NULL, (0, 1, 2)),))


def seconds(function):
    """Give what a function returns, and how long it took."""
    began = time.monotonic()
    outcome = function()
    return outcome, time.monotonic() - began


def lateness(function):
    """See a function run into a time limit, and give how long that took."""
    began = time.monotonic()
    with pytest.raises(TimedOut):
        function()
    return time.monotonic() - began


@contextlib.contextmanager
def room(number):
    """Have descriptors below a number only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
