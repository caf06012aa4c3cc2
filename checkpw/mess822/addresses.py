"""Lists of addresses (RFC 822 section 6), read as leniently as mess822's ofmipd reads them.

Read from right to left: what an address and its name are is only known at the end of both. Commas may be missing or
too many; two words with nothing but blanks between them are two addresses. Source routes are no part of an address.
Where there is no `@`, one is added with an empty host, for the host rules to fill in.
"""

from checkpw.mess822.tokens import COMMENT, QUOTE, SPECIALS, spoken, tokenize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Mailbox = tuple[bytes | None, bytes | None]
    """A name, None if there is none, and an address, None if the name has none (an empty group's)."""
    Group = tuple[bytes | None, list[Mailbox]]
    """A group's name and members; mailboxes outside of groups have None for the name."""

_BLANKS = (b" ", b"\t")
_JOINTS = (b"@", b".", b"<")
"""What may stand between the words of an address; a `<` that nothing closes does not count."""
_ENDS = (b",", b";")
_NAME_ENDS = (b",", b";", b":", b">")
_SILENT = (b",", b";", b":", b"<", b">")
"""Separators are no part of a name."""


def parse_list(text: bytes) -> "list[Mailbox]":
    """Return the mailboxes of an unfolded field. Of a group, the name becomes that of its first member."""
    return _read(tokenize(text))


def parse_groups(text: bytes) -> "list[Group]":
    """Return the mailboxes of an unfolded field with the groups they are in.

    A group begins with a colon outside of angle brackets, its name with the comma or semicolon before that; it ends
    with a semicolon, or where the field ends.
    """
    groups: list[Group] = []
    pending: list[bytes] = []  # tokens since the last separator between members or groups
    members: list[bytes] = []
    name: bytes | None = None
    is_angle = False
    for token in tokenize(text):
        if token in (b"<", b">"):
            is_angle = token == b"<"
        if is_angle or token not in (b",", b";", b":"):
            pending.append(token)
        elif token == b":" and name is None:
            groups.append((None, _read(members)))
            name, members, pending = _phrase(pending), [], []
        elif token == b";":
            groups.append((name, _read(members + pending)))
            name, members, pending = None, [], []
        else:
            members += [*pending, token]
            pending = []
    groups.append((name, _read(members + pending)))
    return [group for group in groups if group[1] or group[0] is not None]


def join(lists: "Iterable[list[Mailbox]]") -> "list[Mailbox]":
    """Merge the lists of fields with the same name; a name at the end of one goes to a nameless address behind it."""
    joined: list[Mailbox] = []
    for mailboxes in lists:
        for mailbox in mailboxes:
            if joined and joined[-1][1] is None and mailbox[0] is None:
                joined[-1] = (joined[-1][0], mailbox[1])
            else:
                joined.append(mailbox)
    return joined


def _phrase(tokens: list[bytes]) -> bytes:
    said = [token for token in tokens if token not in _SILENT]
    return _tidy(b"".join([b" %s " % spoken(token) if token[0] == COMMENT else spoken(token) for token in said]))


def _tidy(name: bytes) -> bytes:
    """Let one space stand for several, and none at the ends. A tab is not a space."""
    if b"  " in name or name[:1] == b" " or name[-1:] == b" ":
        return b" ".join([word for word in name.split(b" ") if word])
    return name


def _read(tokens: list[bytes]) -> "list[Mailbox]":
    reader = _Reader()
    reader.read(tokens)
    reader.end_address()
    reader.end_name()
    reader.found.reverse()
    return reader.found


class _Reader:
    """Finds mailboxes from right to left.

    Attributes:
        found: the last one first.
    """

    __slots__ = ("_address", "_has_host", "_may_join", "_name", "_take", "found")

    def __init__(self) -> None:
        self.found: list[Mailbox] = []
        self._address: list[bytes] | None = None  # the last piece first, as in `_name`; None outside of an address
        self._has_host = False
        self._name: list[bytes] = []
        self._may_join = True  # a word here belongs to the address to its right
        self._take = _Reader._take_in_list  # not bound: a reader that holds itself would wait for the collector

    def read(self, tokens: list[bytes]) -> None:
        """Take all tokens of a list."""
        for token in reversed(tokens):
            self._take(self, token)

    def _take_in_list(self, token: bytes) -> None:
        if token in _BLANKS:
            self._name.append(b" ")
        elif token not in SPECIALS:
            if token[0] == COMMENT:
                self._name += (b" ", token[1:], b" ")
                return
            if not self._may_join:
                self.end_address()
            self._spell(token)
            self._may_join = False
        elif token in _JOINTS:
            self._spell(token)
            self._may_join = True
        elif token in _ENDS:
            self.end_address()
            self.end_name()
            self._may_join = True
        elif token == b">":
            self.end_address()
            self._address = []  # <> is an address as well
            self._take = _Reader._take_in_angle
        else:
            self._take = _Reader._take_in_name

    def _take_in_angle(self, token: bytes) -> None:
        if token == b"<":
            self._take = _Reader._take_in_name
        elif token == b":":
            self._take = _Reader._take_in_route
        else:
            self._spell(token)

    def _take_in_route(self, token: bytes) -> None:
        if token == b"<":
            self._take = _Reader._take_in_name
        else:
            self._say(token)

    def _take_in_name(self, token: bytes) -> None:
        if token not in _NAME_ENDS:
            self._say(token)
            return
        self.end_address()
        self._may_join = True
        self._take = _Reader._take_in_list
        self._take_in_list(token)

    def _spell(self, token: bytes) -> None:
        """Take a token that is part of an address, if it can be."""
        if token[0] == COMMENT or token in _SILENT or token in _BLANKS:
            self._say(token)
            return
        if self._address is None:
            self._address = []
        if token == b"@":
            self._has_host = True
        self._address.append(token[1:] if token[0] == QUOTE else token)

    def _say(self, token: bytes) -> None:
        """Take a token that is part of a name, if it can be."""
        if token not in _SILENT:
            self._name.append(spoken(token))

    def end_address(self) -> None:
        """What is to the left belongs to another mailbox, unless there was no address yet."""
        if self._address is None:
            return
        address = b"".join(reversed(self._address))
        self.found.append((self._take_name(), address if self._has_host else address + b"@"))
        self._address = None
        self._has_host = False

    def end_name(self) -> None:
        """What is to the left does not belong to the name any more; the next address to the right may want it."""
        name = self._take_name()
        if name is None:
            return
        if self.found and self.found[-1][0] is None:
            self.found[-1] = (name, self.found[-1][1])
        else:
            self.found.append((name, None))

    def _take_name(self) -> bytes | None:
        if not self._name:
            return None
        name = _tidy(b"".join(reversed(self._name)))
        self._name = []
        return name or None
