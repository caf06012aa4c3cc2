"""Failures that are hard to bring about from outside; each once told a client the wrong thing, or kept it waiting."""

import errno
import itertools
import os
import posix
import time

import pytest

from checkpw import operations
from checkpw.errors import MessageRefused, TemporaryFailure
from checkpw.queue import maildir
from checkpw.runners.stdio import StdioRunner
from checkpw.smtp.events import Envelope


def test_a_directory_that_cannot_be_synced_is_found_out_before_the_message_is_there(monkeypatch, tmp_path):
    """A Maildir whose `new` cannot be opened refuses the message, and does not deliver it all the same."""
    really_open = posix.open

    def no_directories(path, flags, *mode):
        if path.endswith(b"/new"):
            raise OSError(errno.EMFILE, "too many open files")
        return really_open(path, flags, *mode)

    def deliver():
        delivery = yield from door.open(Envelope(b"a@b.example"), {})
        yield from delivery.write(b"Subject: x\n\n")
        yield from delivery.commit()

    door = maildir.Maildir(os.fsencode(tmp_path / "Maildir"), b"mail.example", 5.0, itertools.count())
    monkeypatch.setattr(posix, "open", no_directories)
    with pytest.raises(MessageRefused):
        StdioRunner().run(deliver())
    assert list((tmp_path / "Maildir").glob("*/*")) == []


def test_a_signal_between_two_operations_reaches_the_generator(monkeypatch):
    """Whoever is being served hears the goodbye, wherever in the runner the signal comes."""
    said = []

    def steps():
        try:
            yield operations.Sleep(0)
        except TemporaryFailure:
            yield operations.Sleep(0)
            said.append("goodbye")
            raise

    class Outcomes(dict):
        def __getitem__(self, kind):
            if not said:
                said.append("signal")
                raise TemporaryFailure("ended by signal 15")  # on the way to the operation
            return super().__getitem__(kind)

    runner = StdioRunner()
    monkeypatch.setattr(runner, "_perform", Outcomes(runner._perform))
    with pytest.raises(TemporaryFailure):
        runner.run(steps())
    assert said == ["signal", "goodbye"]


def test_a_child_that_is_not_ours_to_kill_is_not_waited_for(monkeypatch):
    """When the group could be signalled and the program itself could not, nobody waits until it ends by itself."""

    def forbidden(pid, number):
        raise PermissionError(errno.EPERM, "not ours")

    def steps():
        child = yield operations.Spawn([b"/bin/sleep", b"5"], {}, ((operations.NULL, (0, 1, 2)),))
        yield operations.Kill(child)
        return child.pid

    monkeypatch.setattr(posix, "kill", forbidden)
    monkeypatch.setattr(posix, "killpg", lambda pid, number: None)
    began = time.monotonic()
    pid = StdioRunner().run(steps())
    assert time.monotonic() - began < 4
    monkeypatch.undo()
    os.kill(pid, 9)
    os.waitpid(pid, 0)
