"""Host names as an administrator wants them: the rules of control/rewrite (checkpw-rewrite(5)).

A rule is a line `=post:new`, `*post:new`, `?post:new` or `-post:new`. Rules are followed in order, each at most once;
hosts are compared without regard to the case of ASCII letters. Lines of another shape are no rules.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EXACT, ENDING, PLAIN_ENDING, WHOLE = b"=*?-"


class HostRules:
    """A list of rules, ready to be followed."""

    __slots__ = ("_rules",)

    def __init__(self, lines: "Iterable[bytes]" = ()) -> None:
        """Read the rules."""
        self._rules: list[tuple[int, bytes, bytes]] = []
        for line in lines:
            post, colon, new = line[1:].partition(b":")
            if line[:1] in (b"=", b"*", b"?", b"-") and colon:
                self._rules.append((line[0], _comparable(post), new))

    def rewrite(self, host: bytes) -> bytes:
        """Return what the rules make of a host."""
        lowered = _comparable(host)
        for kind, post, new in self._rules:
            if not lowered.endswith(post) or (kind == EXACT and len(host) != len(post)):
                continue
            front = host[: len(host) - len(post)]
            if kind == PLAIN_ENDING and (b"." in front or b"[" in front or b"]" in front):
                continue
            host = new if kind == WHOLE else front + new
            lowered = _comparable(host)
        return host

    def rewrite_address(self, address: bytes) -> bytes:
        """Return an address with its host rewritten, which is what follows the first `@`; empty ones stay empty."""
        if address in (b"", b"@"):
            return b""
        local, _, host = address.partition(b"@")
        return local + b"@" + self.rewrite(host)


def _comparable(host: bytes) -> bytes:
    """Return what stands for all hosts that are the same: a NUL of a control file is kept as LF."""
    return host.replace(b"\0", b"\n").lower()


def default_lines(defaulthost: bytes, plusdomain: bytes, defaultdomain: bytes) -> list[bytes]:
    """Return the rules that hold where there is no control/rewrite.

    A dot at the end goes, no host becomes defaulthost, a plus at the end becomes plusdomain, and a host without dots
    and brackets gets defaultdomain.
    """
    return [b"*.:", b"=:" + defaulthost, b"*+:." + plusdomain, b"?:." + defaultdomain]
