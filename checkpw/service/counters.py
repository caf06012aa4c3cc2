"""What the resident server counts, and which event of a session counts for what."""

from __future__ import annotations

import time
from mmap import mmap

from checkpw.sasl import MECHANISMS
from checkpw.tallies import GAUGE, HISTOGRAM, Family, Slot, Tally
from checkpw.verdict import ACCEPTED, MISUSED, REJECTED, TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.logline import Value

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Limits of the buckets for times: from a cheap hash to a queue that hangs."""

REASONS = ("quit", "eof", "timeout", "errors", "auth", "desync", "shutdown", "tls", "proxy", "crowd", "slow")
VERDICTS = (ACCEPTED, REJECTED, MISUSED, TEMPORARY)
RESULTS = ("queued", "refused", "aborted")
PROTOCOLS = ("TLSv1.2", "TLSv1.3", "other")

OPEN = "submissiond_connections"
SESSIONS = "submissiond_sessions_total"
LOGINS = "submissiond_auth_total"
LOGIN_SECONDS = "submissiond_auth_seconds"
MESSAGES = "submissiond_messages_total"
BYTES = "submissiond_message_bytes_total"
MESSAGE_SECONDS = "submissiond_message_seconds"
HANDSHAKES = "submissiond_tls_handshakes_total"


def families(listeners: tuple[str, ...]) -> tuple[Family, ...]:
    """Return everything that is counted, for listeners of these names."""

    def of(name: str, text: str, label: str, values: tuple[str, ...]) -> Family:
        series = tuple((listener, value) for listener in listeners for value in values)
        return Family(name, text, labels=("listener", label), series=series)

    each = tuple((listener,) for listener in listeners)
    mechanisms = tuple(name.decode() for name in MECHANISMS)
    return (
        Family(OPEN, "Connections that are open.", GAUGE, ("listener",), each),
        of(SESSIONS, "Sessions, by how they ended.", "reason", REASONS),
        Family(
            LOGINS,
            "AUTH exchanges, by mechanism and verdict.",
            labels=("listener", "mechanism", "verdict"),
            series=tuple((name, how, verdict) for name in listeners for how in mechanisms for verdict in VERDICTS),
        ),
        Family(LOGIN_SECONDS, "Time from an AUTH exchange to its verdict.", HISTOGRAM, ("listener",), each, SECONDS),
        of(MESSAGES, "Messages, by what became of them.", "result", RESULTS),
        Family(BYTES, "Bytes of messages that were queued.", labels=("listener",), series=each),
        Family(MESSAGE_SECONDS, "Time from DATA to the queue's word.", HISTOGRAM, ("listener",), each, SECONDS),
        of(HANDSHAKES, "TLS handshakes that succeeded, by protocol.", "protocol", PROTOCOLS),
    )


class Counters:
    """Counts the events of one worker's sessions."""

    def __init__(self, tally: Tally, slot: Slot) -> None:
        """Count in a slot of a tally of `families`."""
        self._tally = tally
        self._slot = slot

    def opened(self, listener: str, change: float) -> None:
        """Count a connection that opens (1) or closes (-1)."""
        self._slot.add(self._tally.index(OPEN, listener), change)

    def event(self, listener: str, fields: dict[str, Value]) -> None:
        """Count what a session has logged."""
        index, slot = self._tally.index, self._slot
        match fields["event"]:
            case "session":
                slot.add(index(SESSIONS, listener, _text(fields["reason"])))
            case "auth":
                mechanism, verdict = _text(fields["mechanism"]), _text(fields["verdict"])
                slot.add(index(LOGINS, listener, mechanism, verdict))
                slot.observe(index(LOGIN_SECONDS, listener), SECONDS, _seconds(fields))
            case "message":
                result = _text(fields["result"])
                slot.add(index(MESSAGES, listener, result))
                if result == "queued":
                    slot.add(index(BYTES, listener), _seconds(fields, "bytes"))
                    slot.observe(index(MESSAGE_SECONDS, listener), SECONDS, _seconds(fields))
            case "tls" if "protocol" in fields:  # without one, it failed
                self._handshake(listener, _text(fields["protocol"]))

    def handshake(self, listener: str, environ: dict[bytes, bytes]) -> None:
        """Count a handshake that came before a session."""
        self._handshake(listener, environ.get(b"SSL_PROTOCOL", b"").decode())

    def _handshake(self, listener: str, protocol: str) -> None:
        self._slot.add(self._tally.index(HANDSHAKES, listener, protocol if protocol in PROTOCOLS else "other"))


class Beats:
    """When each worker's event loop last turned, for the supervisor to see."""

    def __init__(self, slots: int) -> None:
        """Make it before forking."""
        self._times = memoryview(mmap(-1, 8 * slots)).cast("d")

    def beat(self, slot: int) -> None:
        """Say that the loop of this slot turns."""
        self._times[slot] = time.monotonic()

    def stop(self, slot: int) -> None:
        """Expect nothing of this slot any more."""
        self._times[slot] = 0.0

    def age(self, slot: int) -> float:
        """Return the seconds since then."""
        return time.monotonic() - self._times[slot]

    def oldest(self) -> float:
        """Return the seconds since the sign of life that is longest ago, of slots from which one is expected."""
        beats = [beat for beat in self._times if beat]
        return time.monotonic() - min(beats) if beats else float("inf")


def render(tally: Tally) -> list[str]:
    """Return lines for people: what is not zero."""
    lines = []
    for family, suffix, labels, value in tally.samples():
        if value and suffix != "_bucket":
            words = ", ".join(labels.values())
            lines.append(f"{family.name}{suffix}{f'{{{words}}}' if words else ''} {value:g}")
    return lines


def _text(value: Value) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _seconds(fields: dict[str, Value], name: str = "seconds") -> float:
    value = fields[name]
    assert isinstance(value, int | float)
    return value
