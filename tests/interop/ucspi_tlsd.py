"""s6-ucspitlsd of the tests' own, for machines without: runs the words that it is given, and has TLS ready for them.

It stands between a UCSPI server and a program, as ucspi-tls(2) has it. CERTFILE and KEYFILE are what it shows.
"""

import os
import select
import socket
import ssl
import subprocess
import sys


def serve():
    """Run the program in clear, and once it says so, be what is between it and the client."""
    pairs = [socket.socketpair() for _ in range(3)]
    (control, _), (writes, _), (reads, _) = pairs  # reads: what the program has written
    theirs = [end.fileno() for _, end in pairs]
    names = dict(zip(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"), map(str, theirs), strict=True))
    with subprocess.Popen(sys.argv[1:], env=os.environ | names, pass_fds=theirs) as program:
        for _, end in pairs:
            end.close()
        if control.recv(1):
            carry(control, writes, reads)
        for ours, _ in pairs:
            ours.close()
        os.close(0)
        os.close(1)
    sys.exit(program.returncode)


def carry(control, writes, reads):
    """Do the handshake, tell about it, and carry bytes to and fro until one side has had enough."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["CERTFILE"], os.environ["KEYFILE"])
    try:
        with context.wrap_socket(socket.socket(fileno=os.dup(0)), server_side=True) as client:
            told = (f"SSL_PROTOCOL={client.version()}", f"SSL_CIPHER={client.cipher()[0]}", "", "")
            control.sendall("\0".join(told).encode())
            while True:
                ready = [client] if client.pending() else select.select([client, reads], [], [])[0]
                for source, target in ((client, writes), (reads, client)):
                    if source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        target.sendall(data)
    except OSError as error:
        print(f"ucspi_tlsd: {error}", file=sys.stderr)


if __name__ == "__main__":
    serve()
