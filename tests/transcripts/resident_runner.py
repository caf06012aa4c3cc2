"""The resident runner as one process that performs everything for one client, with the methods of `StdioRunner`."""

import asyncio
import functools
import pathlib
import ssl
import subprocess
import tempfile

import uvloop

from checkpw import operations
from checkpw.runners.connection import Connection, Handshakes
from checkpw.runners.resident import Descriptors, Drive

PATIENCE = 20.0
"""Seconds after which a loop that does not come to its end is said to hang."""

uvloop.new_event_loop().close()  # what its first one opens stays open
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@functools.cache
def server_context():
    """Give the context of a server with a certificate of its own making."""
    with tempfile.TemporaryDirectory() as name:
        key, certificate = (str(pathlib.Path(name) / file) for file in ("key.pem", "cert.pem"))
        words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=mail.example"]
        argv = ["openssl", "req", "-x509", "-days", "2", *words, "-keyout", key, "-out", certificate]
        subprocess.run(argv, check=True, capture_output=True, timeout=20)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context


class ResidentRunner:
    """Runs one generator after the other on an event loop of its own.

    Attributes:
        loop: whose faults make `run` fail.
        connection: the client's, if there is one.
        descriptors, handshakes: as in the server.
        performers: may be added to.
    """

    def __init__(self, client=None, context=None, *, new_loop=asyncio.new_event_loop):
        """Serve a client who is at the other end of a socket, which is ours from now on."""
        self.loop = new_loop()
        self.loop.set_exception_handler(self._note)
        self.handshakes = Handshakes(10)
        self.descriptors = Descriptors(self.loop)
        self.connection = None
        if client is not None:
            self.connection = Connection(self.loop, client, context, self.handshakes)
        self.performers = {
            **self.descriptors.performers,
            operations.Receive: self._receive,
            operations.Send: lambda operation, drive: drive.client.send(operation, drive),
            operations.Secure: lambda operation, drive: drive.client.secure(operation, drive),
        }
        self._faults = []

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.close()

    def close(self):
        """Let go of everything."""
        if self.connection is not None:
            self.connection.close()
        self.descriptors.clean_up()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def start(self, steps, at_end=None):
        """Begin to drive a generator, and give the drive."""
        drive = Drive(steps, self.performers, at_end or (lambda _result, _failure: None), self.connection)
        drive.resume()
        return drive

    def run(self, steps):
        """Drive one generator to its end, and kill what it has left running."""
        ended = []

        def at_end(result, failure):
            ended.append((result, failure))
            self.loop.stop()

        self.loop.call_soon(functools.partial(self.start, steps, at_end))
        hung = self.loop.call_later(PATIENCE, self.loop.stop)
        self.loop.run_forever()
        hung.cancel()
        self.descriptors.clean_up()
        if self._faults:
            raise self._faults[0]
        assert ended, "nothing happens any more"
        assert len(ended) == 1, "it ended more than once"
        result, failure = ended[0]
        if failure is not None:
            raise failure
        return result

    def turn(self, is_enough, patience=PATIENCE):
        """Let the loop run until there is enough."""
        began = self.loop.time()

        async def wait():
            while not is_enough():
                assert self.loop.time() - began < patience, "nothing happens any more"
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())
        if self._faults:
            raise self._faults[0]

    def _note(self, _loop, context):
        self._faults.append(context.get("exception") or AssertionError(context["message"]))

    def _receive(self, operation, drive):
        if operation.descriptor is not None:
            return self.descriptors.performers[operations.Receive](operation, drive)
        return drive.client.receive(operation, drive)
