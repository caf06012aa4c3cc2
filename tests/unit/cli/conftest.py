"""Running checkpw in this process: what it reads is what a test says, and what it writes is captured."""

import os
import types

import pytest

from checkpw.cli import admin


@pytest.fixture
def checkpw(capfd):
    """Give a function that runs checkpw with arguments, input on descriptor 0 and an environment."""

    def run(*argv, stdin=b"", **environ):
        capfd.readouterr()
        reader, writer = os.pipe()
        kept = os.dup(0)
        try:
            os.write(writer, stdin)
            os.close(writer)
            os.dup2(reader, 0)
            status = admin.main(["checkpw", *argv], environ)
            rest = os.read(0, 65536)
        finally:
            os.dup2(kept, 0)
            os.close(kept)
            os.close(reader)
        said = capfd.readouterr()
        return types.SimpleNamespace(status=status, out=said.out, err=said.err, rest=rest)

    return run


@pytest.fixture
def service(checkpw):
    """Give a function that prints a service, and gives the text."""

    def run(kind, *words):
        done = checkpw("service", kind, "--programs", "/opt/bin", "--hostname", "mail.example", *words)
        assert (done.status, done.err) == (0, "")
        return done.out

    return run
