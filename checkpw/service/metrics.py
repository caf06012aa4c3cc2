"""The process that tells Prometheus what is counted, and a balancer whether the server is well.

It sees the shared tables and nothing else. The exposition is prometheus_client's (extra `metrics`).
"""

from __future__ import annotations

import select
import signal
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from checkpw.tallies import GAUGE, HISTOGRAM, Family, Tally

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

PATIENCE = 5.0
"""Seconds for a request to come and its answer to be taken: one is served at a time."""


class Collector:
    """Hands the numbers of a tally to prometheus_client."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Give every family."""
        together: dict[str, tuple[Family, list[tuple[str, dict[str, str], float]]]] = {}
        for family, suffix, labels, value in self._tally.samples():
            together.setdefault(family.name, (family, []))[1].append((suffix, labels, value))
        for family, samples in together.values():
            yield _metric(family, samples)


def _metric(family: Family, samples: list[tuple[str, dict[str, str], float]]) -> Metric:
    if family.kind == HISTOGRAM:
        return _histogram(family, samples)
    made: Metric
    if family.kind == GAUGE:
        gauge = GaugeMetricFamily(family.name, family.description, labels=family.labels)
        for _, labels, value in samples:
            gauge.add_metric(list(labels.values()), value)
        made = gauge
    else:
        counter = CounterMetricFamily(family.name, family.description, labels=family.labels)
        for _, labels, value in samples:
            counter.add_metric(list(labels.values()), value)
        made = counter
    return made


def _histogram(family: Family, samples: list[tuple[str, dict[str, str], float]]) -> Metric:
    """Put buckets and sums together again; they come one series after the other, the sum behind its buckets."""
    histogram = HistogramMetricFamily(family.name, family.description, labels=family.labels)
    buckets: list[tuple[str, float]] = []
    for suffix, labels, value in samples:
        if suffix == "_bucket":
            buckets.append((labels["le"], value))
        elif suffix == "_sum":
            assert all(lower <= upper for (_, lower), (_, upper) in pairwise(buckets))
            histogram.add_metric(list(labels.values()), buckets, value)
            buckets = []
    return histogram


def registry_of(tally: Tally) -> CollectorRegistry:
    """Return what prometheus_client asks for the numbers of a tally."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(tally))
    return registry


class Server(HTTPServer):
    """Answers on a socket that listens already."""

    def __init__(self, listening: socket.socket, registry: CollectorRegistry, is_well: Callable[[], bool]) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.timeout = 0
        self.registry = registry
        self.is_well = is_well

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that went away."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = PATIENCE
    server: Server
    server_version = "submissiond"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
        elif path == "/healthz":
            is_well = self.server.is_well()
            self._answer(200 if is_well else 503, "text/plain", b"ok\n" if is_well else b"a worker hangs\n")
        else:
            self._answer(404, "text/plain", b"see /metrics and /healthz\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the name is http.server's
        """Log nothing: who asks every few seconds is no news."""


def _too_late(_number: int, _frame: object) -> None:
    raise TimeoutError


def serve(servers: list[Server], control: socket.socket) -> None:
    """Answer until the supervisor says a word, or is gone; nobody takes longer than `PATIENCE`."""
    signal.signal(signal.SIGALRM, _too_late)
    while True:
        ready: list[Any] = select.select([*(server.socket for server in servers), control], [], [])[0]
        if control in ready:
            return
        for server in servers:
            if server.socket in ready:
                _answer_one(server)


def _answer_one(server: Server) -> None:
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        server.handle_request()
    except TimeoutError:
        return  # whoever sends its request byte by byte
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
