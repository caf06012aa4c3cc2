"""Python servers that submissiond is compared with: `peers.py tls PORT CERT KEY`, `peers.py aiosmtpd PORT HASH`."""

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from checkpw import libcrypt


class Bare(asyncio.Protocol):
    """TLS by MemoryBIO, a greeting, and nothing else."""

    def __init__(self, context):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.is_established = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.incoming.write(data)
        try:
            if not self.is_established:
                self.tls.do_handshake()
                self.is_established = True
                self.tls.write(b"220 mail.example ESMTP\r\n")
            if not self.tls.read(4096):
                self.transport.close()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.transport.close()
        if words := self.outgoing.read():
            self.transport.write(words)


def run(listening, make):
    """Serve with uvloop where it is installed, as submissiond does."""

    async def serve():
        server = await asyncio.get_running_loop().create_server(make, sock=listening)
        await server.serve_forever()

    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(serve())


def tls(port, certificate, key):
    """Serve with one process a core, as submissiond does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.options |= ssl.OP_NO_TICKET  # nothing is resumed, as with ours
    context.num_tickets = 0
    listening = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
    children = []
    for _ in range(os.cpu_count()):
        if child := os.fork():
            children.append(child)
        else:
            run(listening, lambda: Bare(context))
    signal.signal(signal.SIGTERM, lambda *_: [os.kill(child, signal.SIGKILL) for child in children])
    for child in children:
        os.waitpid(child, 0)


def feed_queue(path, message, envelope):
    """Start a queue program, feed it, and return the CPU seconds that it used."""
    readers = []
    for words in (message, envelope):
        reading, writing = os.pipe()
        os.write(writing, words)
        os.close(writing)
        readers.append(reading)
    actions = [(os.POSIX_SPAWN_DUP2, reading, number) for number, reading in enumerate(readers)]
    pid = os.posix_spawn(path, [path], {}, file_actions=actions)
    for reading in readers:
        os.close(reading)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, (path, status)
    return usage.ru_utime + usage.ru_stime


def aiosmtpd(port, stored):
    """Serve by aiosmtpd: the hash in process, the queue program spawned."""
    from aiosmtpd.smtp import SMTP, AuthResult

    def authenticate(server, session, envelope, mechanism, login):
        return AuthResult(success=libcrypt.crypt(stored.encode(), login.password) == stored.encode())

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802
            words = b"F%b\0" % envelope.mail_from.encode() + b"".join(b"T%b\0" % r.encode() for r in envelope.rcpt_tos)
            feed_queue(os.environ["QMAILQUEUE"], envelope.content, words + b"\0")
            return "250 ok"

    def make():
        return SMTP(
            Handler(), authenticator=authenticate, auth_require_tls=False, auth_required=True, hostname="mail.example"
        )

    run(socket.create_server(("127.0.0.1", int(port)), backlog=1024), make)


if __name__ == "__main__":
    {"tls": tls, "aiosmtpd": aiosmtpd}[sys.argv[1]](*sys.argv[2:])
