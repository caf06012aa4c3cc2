"""A worker and the opener, each with its end of the line between them, on one event loop."""

import os
import socket
import time

from resident_runner import ResidentRunner

from checkpw import tickets
from checkpw.operations import Ask
from checkpw.runners.channel import Answerer, Asker
from checkpw.runners.resident import Descriptors
from checkpw.service.opener import Opener
from checkpw.service.remote import Pass, RemoteDoor

PATIENCE = 20.0


class Apart:
    """Somebody who has logged in at a worker.

    Attributes:
        runner: performs what the worker's generators yield.
        opener: the process that is asked.
        pass_: with the ticket.
    """

    def __init__(self, door, environ, login, *, dial=None, new_loop, relays_for_strangers=False):
        """Open `door`, or, where that is None, connect to a next hop with `dial`."""
        self.runner = ResidentRunner(new_loop=new_loop)
        self.key = os.urandom(32)
        self.opener = Opener(
            Descriptors(self.runner.loop), door, dial, environ, self.key, relays_for_strangers=relays_for_strangers
        )
        self.pass_ = Pass()
        if login:
            self.pass_.ticket = self.ticket(login)
        self.attach()

    def ticket(self, login, seconds=100):
        """Make a ticket as the verifier does."""
        return tickets.make(self.key, login, int(time.monotonic()) + seconds)

    def attach(self):
        """Connect worker and opener."""
        ours, theirs = socket.socketpair()
        self.at_door = self.opener.handler()
        self.answerer = Answerer(self.runner.loop, theirs, self.at_door)
        self.asker = Asker(self.runner.loop, ours, lambda: None)
        self.runner.performers[Ask] = self.asker.perform

    def door(self, *, carries_smtputf8=False):
        """Give the worker's door."""
        return RemoteDoor(self.pass_, PATIENCE, PATIENCE, carries_smtputf8=carries_smtputf8)

    def close(self):
        """Let go of everything."""
        self.asker.close()
        self.runner.turn(lambda: not self.answerer._line.is_open)
        self.runner.turn(lambda: not self.at_door._deliveries)
        self.opener.descriptors.clean_up()
        self.runner.close()
