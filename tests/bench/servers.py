"""Servers that a benchmark starts on loopback and ends by their own process id, and what /proc tells of them."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

BIN = pathlib.Path(__file__).resolve().parent.parent.parent / "bin"
PEERS = pathlib.Path(__file__).resolve().parent / "peers.py"
TICK = 1 / os.sysconf("SC_CLK_TCK")
USER = "nobody"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Server:
    """A server process with its children: started, asked what it has used, and ended."""

    def __init__(self, argv, ports, environ, log):
        self.ports = ports
        with open(log, "wb") as output:
            self.process = subprocess.Popen(argv, env=environ, stdout=output, stderr=output, cwd="/")
        deadline = time.monotonic() + 10
        for port in ports:
            while not _listens(port):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"{argv[0]} does not listen: {pathlib.Path(log).read_text()[-500:]}")
                time.sleep(0.02)
        time.sleep(0.1)
        self.settled = len(self.pids())

    def pids(self):
        """Return the process and all its descendants."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def settle(self):
        """Wait until the children of sessions are gone, at most five seconds; return the processes."""
        deadline = time.monotonic() + 5
        while len(pids := self.pids()) > self.settled and time.monotonic() < deadline:
            time.sleep(0.005)
        return pids

    def cpu(self, names=None):
        """Return the CPU seconds of all processes and the children that they reaped.

        With `names`, of the processes of these names alone, without children.
        """
        ticks = 0
        for pid in self.settle():
            before, _, after = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            fields = after.split()
            if names is None:
                ticks += sum(map(int, fields[11:15]))
            elif before.partition("(")[2] in names:
                ticks += sum(map(int, fields[11:13]))
        return ticks * TICK

    def pss(self):
        """Return KiB of memory, shared pages divided among those who share them."""
        pids = self.settle()
        words = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
        return sum(int(text.partition("\nPss:")[2].split()[0]) for text in words)

    def descriptors(self, expected=None):
        """Count them; with `expected`, wait up to ten seconds until there are no more than that."""
        deadline = time.monotonic() + 10
        while True:
            count = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.settle())
            if expected is None or count <= expected or time.monotonic() > deadline:
                return count
            time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _listens(port):
    """Look into the kernel's table: a connection made to find out would be a session that counts."""
    entry = f":{port:04X} 00000000:0000 0A "
    return any(entry in line for line in pathlib.Path("/proc/net/tcp").read_text().splitlines())


class Place:
    """The directory, the external programs and the certificate that all servers of a run share."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.chmod(0o755)
        self.queue = os.environ.get("NULL_QUEUE")
        self.smtpload = os.environ.get("SMTPLOAD")
        self.c_ofmipd = os.environ.get("OFMIPD_C")
        self.c_checkpassword = os.environ.get("CHECKPASSWORD_C")
        self.tcpserver = shutil.which("tcpserver")
        self.certificate, self.key = str(self.directory / "cert.pem"), str(self.directory / "key.pem")
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        )
        subprocess.run(
            [*command.split(), "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True
        )

    @contextlib.contextmanager
    def running(self, argv, ports, environ):
        environ = {"PATH": f"{BIN}:/usr/bin:/bin", "QMAILQUEUE": self.queue or "/bin/false", **environ}
        server = Server(list(map(str, argv)), ports, environ, self.directory / f"log{ports[0]}")
        try:
            yield server
        finally:
            server.stop()

    def ours(self, *options, stored=b"", tls=False):
        """Run submissiond with an account `user`; ports are that without TLS and, if asked for, that with."""
        ports = [free_port()]
        argv = [sys.executable, "-I", BIN / "submissiond", "--listen", f"127.0.0.1:{ports[0]},plain"]
        if tls:
            ports.append(free_port())
            argv += ["--listen", f"127.0.0.1:{ports[1]},tls", "--tls-cert", self.certificate, "--tls-key", self.key]
        accounts = self.directory / f"accounts{ports[0]}"
        accounts.write_bytes(b"user:%s::::::\n" % stored)
        if os.geteuid() == 0:
            argv += ["--user", USER, "--door-user", USER]
        argv += ["--max-per-minute", "0", "--max-per-address", "0", "--accounts", f"file:{accounts}", *options]
        return self.running([*argv, "--", "", "mail.example", "checkpassword", "true"], ports, {})

    def c_stack(self, **environ):
        """Run tcpserver + C ofmipd + C checkpassword + true."""
        port = free_port()
        argv = [
            self.tcpserver,
            "-b",
            "200",
            "-c",
            "200",
            "-vRHl0",
            "127.0.0.1",
            port,
            self.c_ofmipd,
            "",
            "mail.example",
        ]
        return self.running([*argv, self.c_checkpassword or "/bin/false", "true"], [port], environ)

    def peer(self, kind, *words):
        """Run a server of peers.py; it finds packages as we do."""
        port = free_port()
        path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        return self.running([sys.executable, PEERS, kind, port, *words], [port], path)
