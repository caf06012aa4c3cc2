"""A UCSPI-TLS server of the tests' own: the part of s6-ucspitlsd or sslserver, as ucspi-tls(2) has it; and a client."""

import contextlib
import re
import select
import socket
import ssl
import threading

PATIENCE = 30.0


def tell(connection):
    """Give what a server tells about a connection: two variables, one that there is not, and one of another kind."""
    variables = [b"SSL_PROTOCOL=" + connection.version().encode(), b"SSL_CIPHER=" + connection.cipher()[0].encode()]
    variables += [
        b"SSL_TLS_SNI_SERVERNAME",
        b"SSL_ODD=a=b \xff\n",
        b"PATH=/evil",
        b"LD_PRELOAD=/evil",
        b"OFMIPD_QUEUE=x",
    ]
    return b"".join(word + b"\0" for word in variables) + b"\0"


class UcspiTls:
    """The server's side: it waits for the byte, does the handshake, tells, and carries bytes to and fro.

    `layout` is "three", as servers have it, or "one": a single socket for everything, which the interface allows.
    """

    def __init__(self, resources, certificate, layout="three", told=tell):
        self.client, self.plain = socket.socketpair()
        self.client.settimeout(PATIENCE)
        pairs = [socket.socketpair() for _ in range(1 if layout == "one" else 3)]
        self._theirs = [pair[1] for pair in pairs]
        # What the program reads is what is written here.
        self.control, self.writes, self.reads = ([pair[0] for pair in pairs] * 3)[:3]
        self.descriptors = {7 + at: end.fileno() for at, end in enumerate(self._theirs)}
        numbers = [7, 7, 7] if layout == "one" else [7, 8, 9]
        self.environ = dict(zip(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"), map(str, numbers), strict=True))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._told = told
        self.commands = b""
        self.failure = None
        self._network = self.plain.dup()
        self._network.settimeout(PATIENCE)
        self._thread = threading.Thread(target=self._serve)
        resources.callback(self._end)

    def started(self):
        """Let go of what the program has now, and begin."""
        for end in (self.plain, *self._theirs):
            end.close()
        self._thread.start()

    def _serve(self):
        try:
            with contextlib.suppress(OSError):
                self.commands = self.control.recv(1)
            if self.commands:
                self._network = self._context.wrap_socket(self._network, server_side=True)
                self.control.sendall(self._told(self._network))
                self._carry(self._network)
        except OSError as error:
            self.failure = error
        self.hang_up()
        self._network.close()

    def _carry(self, connection):
        while True:
            ready = [connection] if connection.pending() else select.select([connection, self.reads], [], [])[0]
            if connection in ready:
                data = connection.recv(65536)
                if not data:
                    return
                self.writes.sendall(data)
            if self.reads in ready:
                data = self.reads.recv(65536)
                if not data:
                    connection.unwrap()
                    return
                connection.sendall(data)

    def hang_up(self):
        """Go away, as far as the program can see."""
        for end in (self.control, self.writes, self.reads):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _end(self):
        self.hang_up()
        with contextlib.suppress(OSError):
            # SSLSocket's own shutdown() also takes TLS away, under the thread's feet: unwrap() is a ValueError then.
            socket.socket.shutdown(self._network, socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)
        for end in (self.client, self.plain, self._network, self.control, self.writes, self.reads, *self._theirs):
            end.close()


class Client:
    """A mail client."""

    def __init__(self, end, certificate):
        self._end = end
        self._certificate = certificate
        self._received = b""

    def send(self, data):
        """Say something."""
        self._end.sendall(data)

    def reply(self):
        """Wait for the next reply, all of its lines."""
        while not (found := re.match(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n", self._received)):
            piece = self._end.recv(65536)
            assert piece, f"the end, and only {self._received}"
            self._received += piece
        self._received = self._received[found.end() :]
        return found[0]

    def ask(self, line):
        """Say a line and give the answer."""
        self.send(line + b"\r\n")
        return self.reply()

    def secure(self):
        """Begin TLS."""
        assert self._received == b""
        context = ssl.create_default_context(cafile=f"{self._certificate}.crt")
        self._end = context.wrap_socket(self._end, server_hostname="mail.example")

    def close(self):
        """Go away, without a word."""
        self._end.close()

    def rest(self):
        """Give all that is still said, to the end."""
        whole = self._received
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            while piece := self._end.recv(65536):
                whole += piece
        return whole
