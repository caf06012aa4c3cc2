"""What a header becomes on its way out: well formed, whatever a simple client made of it (ofmipd(8)).

The trace field comes first, then what others will have put on top before, then Date, Message-ID and the fields with
addresses, each once and rewritten, then all others as they are.
"""

from checkpw.mess822 import dates, fields
from checkpw.mess822.addresses import join, parse_groups, parse_list
from checkpw.mess822.folding import fold
from checkpw.mess822.quoting import quote, quote_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpw.mess822.addresses import Group, Mailbox
    from checkpw.mess822.hostrules import HostRules

BEFORE_RECIPIENTS = (b"From", b"Sender", b"Reply-To", b"Mail-Reply-To", b"Mail-Followup-To")
RECIPIENTS = (b"To", b"Cc", b"Notice-Requested-Upon-Delivery-To")
"""The fields with addresses in the order in which they go out."""

NOBODY_SHOWN = b"Cc: recipient list not shown: ;\n"
"""RFC 822 wanted a recipient in every message; this one is written where To and Cc have none."""


class TooManyHops(Exception):
    """The header has more Received fields than a mail that does not loop."""


class Style:
    """How headers are rewritten, in all messages of a session.

    Attributes:
        rules: for the hosts of all addresses.
        keeps_groups: groups of addresses stay groups; else their name becomes the name of their first address.
        hops: so many Received fields are one too many.
    """

    __slots__ = ("hops", "keeps_groups", "rules")

    def __init__(self, rules: "HostRules", *, keeps_groups: bool, hops: int) -> None:
        self.rules = rules
        self.keeps_groups = keeps_groups
        self.hops = hops


class Stamp:
    """What is put into the header of one message.

    Attributes:
        received: the trace field with its line end.
        now: for a header without a date.
        message_id: makes one out of a date in 14 digits, for a header without; called at most once.
        sender: address for a header without From.
        author: name that goes with it, and puts out any From that is there; None if nobody says so.
        is_utf8: addresses may have UTF-8 (RFC 6532).
    """

    __slots__ = ("author", "is_utf8", "message_id", "now", "received", "sender")

    def __init__(
        self,
        received: bytes,
        now: dates.Moment,
        message_id: "Callable[[bytes], bytes]",
        sender: bytes,
        author: bytes | None = None,
        *,
        is_utf8: bool = False,
    ) -> None:
        self.received = received
        self.now = now
        self.message_id = message_id
        self.sender = sender
        self.author = author
        self.is_utf8 = is_utf8


def rewrite(header: bytes, style: Style, stamp: Stamp) -> bytes:
    """Return the header as it is queued: fields whose lines end in LF, as they come in and as they go out.

    Raises:
        TooManyHops: the header has them.
    """
    sorted_ = _Sorted(header)
    if sorted_.hops >= style.hops:
        raise TooManyHops
    moment = sorted_.moment or stamp.now
    message_ids = sorted_.message_ids or [b"Message-ID: " + stamp.message_id(moment.stamp()) + b"\n"]
    bodies = sorted_.bodies
    if stamp.author is not None:
        bodies.pop(b"from", None)
    lists = {name: _elements(bodies.get(name.lower(), []), style, stamp) for name in BEFORE_RECIPIENTS + RECIPIENTS}
    lists[b"From"] = lists[b"From"] or [quote(stamp.sender, stamp.author, is_utf8=stamp.is_utf8)]
    middle = [b"Date: " + moment.format() + b"\n", *message_ids]
    middle += [fold(name + b": ", lists[name]) for name in BEFORE_RECIPIENTS if lists[name]]
    if not lists[b"To"] and not lists[b"Cc"]:
        middle.append(NOBODY_SHOWN)
    middle += [fold(name + b": ", lists[name]) for name in RECIPIENTS if lists[name]]
    return b"".join([stamp.received, *sorted_.top, *middle, *sorted_.bottom])


class _Sorted:
    """The fields of a header by what becomes of them.

    Attributes:
        top, message_ids, bottom: fields that stay as they are.
        bodies: of the fields with addresses, by name in lower case.
        moment: that of the last Date that tells one; None if none does.
        hops: number of Received fields.
    """

    __slots__ = ("bodies", "bottom", "hops", "message_ids", "moment", "top")

    def __init__(self, header: bytes) -> None:
        self.top: list[bytes] = []
        self.message_ids: list[bytes] = []
        self.bodies: dict[bytes, list[bytes]] = {}
        self.bottom: list[bytes] = []
        self.moment: dates.Moment | None = None
        self.hops = 0
        for given_name, lines in fields.split_fields(header):
            name = fields.known_name(given_name)
            fate = fields.TABLE.get(name, fields.BOTTOM)
            if fate == fields.BOTTOM:
                self.bottom.append(lines)
            elif fate == fields.ADDRESSES:
                self.bodies.setdefault(name, []).append(fields.body_of(lines))
            elif fate == fields.TOP:
                self.top.append(lines)
                self.hops += name == b"received"
            elif fate == fields.MESSAGE_ID:
                self.message_ids.append(lines)
            elif fate == fields.DATE:
                self.moment = dates.parse(fields.body_of(lines)) or self.moment


def _elements(bodies: list[bytes], style: Style, stamp: Stamp) -> list[bytes]:
    """Return the addresses of all fields of one name as they go out."""
    if not bodies:
        return []
    if not style.keeps_groups:
        return [_mailbox(mailbox, style, stamp) for mailbox in join(map(parse_list, bodies))]
    elements: list[bytes] = []
    for body in bodies:
        for group in parse_groups(body):
            elements += _group(group, style, stamp)
    return elements


def _mailbox(mailbox: "Mailbox", style: Style, stamp: Stamp) -> bytes:
    name, address = mailbox
    if address is None:
        return quote_name(name or b"") + b": ;"
    return quote(style.rules.rewrite_address(address), name, is_utf8=stamp.is_utf8)


def _group(group: "Group", style: Style, stamp: Stamp) -> list[bytes]:
    name, mailboxes = group
    if name is not None:
        # A name without an address would be written as a group inside this one, which no syntax has.
        mailboxes = [mailbox for mailbox in mailboxes if mailbox[1] is not None]
    elements = [_mailbox(mailbox, style, stamp) for mailbox in mailboxes]
    if name is None:
        return elements
    elements = elements or [b""]
    elements[0] = quote_name(name) + b": " + elements[0]
    elements[-1] += b";"
    return elements


def received_field(who: bytes, ip: bytes, hostname: bytes, protocol: bytes, date: bytes) -> bytes:
    """Return the trace field with its line end.

    Args:
        who: login, else what IDENT said; empty to leave it out.
        ip: address of the client; empty to leave it out.
        hostname: ours.
        protocol: RFC 3848 or RFC 6531 word.
        date: of now.
    """
    origin = _safe(who) + b"@" + _safe(ip) if who and ip else _safe(who or ip)
    comment = b"ofmipd " + origin if origin else b"ofmipd"
    return b"Received: (%s) by %s with %s; %s\n" % (comment, _safe(hostname), protocol, date)


def _safe(text: bytes) -> bytes:
    """Replace what could end the comment, the field or a terminal's patience."""
    return bytes(63 if byte < 33 or byte > 126 or byte in b"()@\\" else byte for byte in text)
