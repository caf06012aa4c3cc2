"""Random submission sessions: nasty and ordinary headers, envelopes, rewrite rules and name.cdb tables.

What the two front ends treat differently on purpose (tests/transcripts, COMPATIBILITY in ofmipd(8)) is not among it:
control and 8-bit characters in envelope addresses, unknown parameters, an empty recipient, a bare CR, and a bare LF
next to a dot.
"""

import random

MESSAGES = 8
"""In each session, which is one process of the original."""

WORDS = [
    *(b"joe", b"a", b"JOE", b"root", b"it's", b"=?utf-8?q?x?=", b"b\\,c", b"d\\", b"\\e", b"f\\ g", b"j\xf6rg"),
    *(b"\xc3\xbc", b"]", b")", b"x)y", b"\0", b"\x01\x7f", b"%", b'h\\"i', b"1", b"k\xff", b"\x80", b"n\\\\o"),
    *(b'""', b'"p q"', b'"a\\"b"', b'"r@s"', b'"t..u"', b'" v  w "', b'"x,y"', b'"\\"', b'"z', b'"A[B]"', b'"\xe9"'),
    *(b"Mary", b"Smith", b"Q", b"info", b"the", b"boss", b"recipient"),
]
HOSTS = [
    *(b"example.org", b"b", b"B.OLD", b"x.local", b"X.LOCAL.", b"sun+", b"b.c.d", b"mail.example", b"EXAMPLE.org."),
    *(b"[192.0.2.1]", b"[1\\]2]", b"[3", b"[", b"[]", b"a..b", b".e", b"f.", b"g\xe4", b"[4.5]+", b"old", b".", b"..b"),
    *(b"", b"local", b"x.old.", b"a]b", b'"q r"', b"h\\.i", b"a[1]b", b"j@k"),
]
COMMENTS = [
    *(b"(one)", b"(two (three) four)", b"()", b"(five\\) six)", b"(seven", b"(a  b )", b"(((x)))", b"(\xe4)", b"(\\"),
    b"(p@q, r)",
]
SPACE = [b" ", b"  ", b"\t", b"\n ", b"\n\t", b" \n  ", b"\n \t "]
PUNCTUATION = [
    b",",
    b";",
    b":",
    b"<",
    b">",
    b"@",
    b".",
    b"<>",
    b"<@>",
    b",,",
    b"::",
    b"\\",
    b'"',
    b"(",
    b")",
    b"[",
    b"]",
]

ADDRESS_FIELDS = [
    *(b"To", b"Cc", b"From", b"Sender", b"Reply-To", b"Mail-Reply-To", b"Mail-Followup-To"),
    b"Notice-Requested-Upon-Delivery-To",
]
OTHER_FIELDS = [
    *(b"Subject", b"Bcc", b"Message-ID", b"Received", b"Delivered-To", b"Errors-To", b"Return-Receipt-To"),
    *(b"Resent-To", b"Resent-From", b"Resent-Sender", b"Resent-Cc", b"Resent-Bcc", b"Resent-Date", b"Resent-Reply-To"),
    *(b"Resent-Message-ID", b"Return-Path", b"Apparently-To", b"Content-Length", b"Content-Type", b"X-Mailer"),
    *(
        b"MIME-Version",
        b"X",
        b"In-Reply-To",
        b"Too",
        b"Recei",
        b"Re",
        b"Res",
        b"!",
        b"To,",
        b"From~",
        b"Mail",
        b"Comments",
    ),
]
ZONES = [
    *(b"UT", b"GMT", b"BST", b"CDT", b"CET", b"CST", b"EDT", b"EET", b"EST", b"HKT", b"IST", b"JST", b"MDT", b"MET"),
    *(b"METDST", b"MST", b"PDT", b"PST", b"Z", b"A", b"m", b"n", b"y", b"J", b"UTC", b"CEST", b"GMT+0100", b"+0000"),
    *(
        b"-0000",
        b"+0530",
        b"-0330",
        b"+1",
        b"-1",
        b"+99999",
        b"-99",
        b"0",
        b"+",
        b"-",
        b"est",
        b"-00000",
        b"+0000 (UTC)",
    ),
    *(b"+9223372036854775807", b"+18446744073709551716", b"MET DST", b"EST DST dst", b"+0100 DST", b"-0000 DST", b'""'),
    b"+30000000000",
]
MONTHS = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"]
DAYS = [b"Mon, ", b"Tue,", b"Wed , ", b"Thursday, ", b"", b"", b"Sun ", b"by x; ", b"a; b, ", b", ", b"; ", b"(Mon), "]

RULES = [
    *(b"*.:", b"=:def.org", b"*+:.plus.org", b"?:.dd.org", b"-.local:gone.org", b"*.old:.new", b"=B:bee.org", b"#x"),
    *(
        b"?.c.d:.e",
        b"*:x",
        b"-:all",
        b"",
        b"  ",
        b"nonsense",
        b"=nocolon",
        b"*example.ORG:example.net \t",
        b"?+:",
        b"=b:b:c",
    ),
    *(b"*]:", b"=[192.0.2.1]:lit.org", b"!.x:y", b"-b.c.d:", b"*\xe4:ae", b"=:", b"*.:.", b"?\0:z", b" =b:blank"),
]


class Session:
    """What one client sends, and the home that it finds. The same number gives the same session."""

    def __init__(self, number):
        self._random = random.Random(number)
        self.controls = {}
        self.environ = {}
        self.names = b""
        self._make_home()
        self.damage = self._random.random() if self.names and self._chance(8) else None
        self.sent = b"EHLO client.example\r\n"
        for _ in range(MESSAGES):
            if self.damage is None:
                self._add_message()
            else:
                # MAIL may fail here, and then a message would be taken for commands.
                self.sent += b"MAIL " + self._path(b"FROM") + b"\r\nRSET\r\n"
        self.sent += b"QUIT\r\n"

    # Small choices.

    def _pick(self, *choices):
        return self._random.choice(choices)

    def _one_of(self, choices):
        return self._random.choice(choices)

    def _chance(self, one_in):
        return self._random.randrange(one_in) == 0

    def _some(self, make, least, most, between=b""):
        return between.join(make() for _ in range(self._random.randint(least, most)))

    # The home.

    def _make_home(self):
        if self._chance(2):
            self.controls["rewrite"] = self._some(lambda: self._one_of(RULES), 0, 8, b"\n") + self._pick(b"\n", b"")
        for name in ("me", "defaulthost", "defaultdomain", "plusdomain", "idhost"):
            if self._chance(2):
                self.controls[name] = self._one_of(
                    [b"%s.example\n" % name.encode(), b"dotless \t\nx\n", b"", b"b", b"x.\n"]
                )
        for name in ("QMAILDEFAULTHOST", "QMAILDEFAULTDOMAIN", "QMAILPLUSDOMAIN", "QMAILIDHOST"):
            if self._chance(5):
                self.environ[name] = self._pick("env.example", "", "b", "env.example ")
        if self._chance(2):
            lines = [b"# names", b"short:line:", self._envelope_key() + b":No Address::"]
            lines += [b"%s:%s:%s:" % (self._envelope_key(), self._name(), self._new_address()) for _ in range(6)]
            self.names = b"\n".join(lines) + b"\n"

    def _envelope_key(self):
        local = self._pick(b"joe", b"a", b"JOE", b"root")
        host = self._pick(
            b"def.org", b"b.dd.org", b"example.org", b"example.net", b"DEFAULTHOST.DEFAULTDOMAIN", b"me.example"
        )
        return self._pick(b"", local + b"@" + host, local + b"@" + host, local + b"@" + host)

    def _name(self):
        return self._pick(b"Joe User", b"", b'Joe "J" User', b"J\xf6rg [x] \\", b"a  b")

    def _new_address(self):
        return self._pick(b"other@new.org", b"plain", b"", b"x y@z")

    # Addresses.

    def _word(self):
        return self._one_of(WORDS)

    def _local(self):
        if self._chance(12):
            return b"w" * self._random.randint(1, 90)
        return self._some(self._word, 1, 2, b".")

    def _space(self):
        return b"" if self._chance(2) else self._one_of(SPACE)

    def _spec(self):
        if self._chance(4):
            return self._local()
        return self._local() + self._pick(b"@", b"@", b"@", b" @ ", b"@ (c) ") + self._one_of(HOSTS)

    def _mailbox(self):
        kind = self._random.randrange(13)
        if kind == 12:
            return self._pick(b"undisclosed-recipients:;", b"recipient list not shown: ;", b"g: a@b, c@d;")
        if kind < 4:
            return self._spec()
        if kind == 4:
            return self._spec() + self._space() + self._one_of(COMMENTS)
        if kind == 5:
            return self._one_of(COMMENTS) + self._space() + self._spec()
        phrase = self._some(
            lambda: self._pick(self._word(), self._word(), self._one_of(COMMENTS), b".", b"@"), 0, 3, self._space()
        )
        if kind == 6:
            return phrase + self._space() + b"<@x,@y.z:" + self._spec() + b">"
        if kind == 7:
            return phrase + b":" + self._some(self._mailbox, 0, 3, b",") + self._pick(b";", b"; ", b"")
        if kind == 8:
            return phrase + b"<" + self._spec() + self._pick(b"", b">>", b"> (c)", b" >", b">,", b"> x")
        return phrase + self._space() + b"<" + self._spec() + b">"

    def _addresses(self):
        if self._chance(5):
            parts = [*WORDS, *HOSTS, *COMMENTS, *SPACE, *PUNCTUATION, *PUNCTUATION]
            return self._some(lambda: self._one_of(parts), 0, 14)
        if self._chance(40):
            return self._some(lambda: b"user%d@example.org" % self._random.randrange(10**6), 10, 40, b", ")
        return (
            self._space()
            + self._some(self._mailbox, 0, 5, self._pick(b",", b", ", b" , ", b",\n  ", b" ", b",,", b";"))
            + self._space()
        )

    # Dates.

    def _number(self, low, high):
        number = self._random.randint(low, high)
        return self._pick(b"%d", b"%d", b"%02d", b"%d") % number

    def _date(self):
        if self._chance(12):
            return self._addresses()
        year = self._pick(
            *(b"%d" % self._random.randint(0, 99) for _ in range(3)),
            b"2001",
            b"1996",
            b"100",
            b"998",
            b"999",
            b"10000",
            b"1000",
            b"-5",
            b"-3000",
            b"00",
            b"049",
            b"18446744073709551616",
            b"9223372036854775807",
            b"+97",
        )
        clock = [self._number(0, 24), self._number(0, 61), self._number(0, 61)]
        if self._chance(3):
            clock.pop()
        month = self._one_of(MONTHS)
        if self._chance(10):
            month = self._pick(month.upper(), month.lower(), b"January", b"13", b"1", b"")
        day = self._number(1, 31)
        if self._chance(15):
            day = self._pick(
                b"-1", b"+3", b"x", b'"5"', b"", b"99999999999", b"2147483648", b"4294967297", b"-0", b"6.7"
            )
        if self._chance(15):
            clock[self._random.randrange(len(clock))] = self._pick(b"x", b"-5", b"100", b"", b'""', b"+", b"4294967290")
        colon = self._pick(b":", b":", b":", b" : ", b"::", b".", b": (c)")
        words = [day, month, year, colon.join(clock), self._one_of(ZONES)]
        if self._chance(15):
            del words[self._random.randrange(len(words))]
        blank = self._pick(b" ", b" ", b" ", b"  ", b"\n ", b" (c) ", b"-", b"\t", b"(x)", b".")
        return (
            self._pick(b" ", b"", b" ")
            + self._one_of(DAYS)
            + blank.join(words)
            + self._pick(b"", b"", b" (CET)", b" x", b" DST", b",", b" , y")
        )

    # Messages.

    def _field(self):
        kind = self._random.randrange(10)
        if kind < 5:
            name, body = self._one_of(ADDRESS_FIELDS), self._addresses()
        elif kind < 7:
            name, body = b"Date", self._date()
        else:
            name = self._one_of(OTHER_FIELDS)
            body = self._pick(b" text", b"", b" <1@x>", b" a\n b\n\tc", b"\xe4\0 x", b" .", b" 1:2", b" " + b"x" * 90)
        if self._chance(12):
            name = name[: self._random.randint(1, len(name))]
        if self._chance(4):
            name = self._pick(name.lower(), name.upper())
        return name + self._pick(b":", b":", b":", b":", b" :", b"\t :", b": ", b":: ") + body + b"\n"

    def _header(self):
        header = b""
        if self._chance(20):
            header = self._pick(b" 1 Jan 2000 10:00:00 GMT\n", b"\t: 2 Feb 1999 1:2 EST\n", b"  \n", b" x: y\n")
        return header + self._some(self._field, 0, 9)

    def _body(self):
        ends = [
            b"\n",
            b"\n",
            b"\n",
            b"no field\n",
            b"\xe4: x\n",
            b": x\n",
            b"a b: c\n",
            b"\0: x\n",
            b"From joe Mon\n",
            b".x\n",
            b"",
        ]
        body = self._pick(b"text\n", b"", b"..\n.\n", b"a\nb: c\n\n", b"\0\xff\n", b"To: not@header\n", b" \n")
        return self._one_of(ends) + body

    def _add_message(self):
        if self._chance(10):
            length = self._random.randint(870, 900)
            self.sent += b"MAIL FROM:<%s@b>\r\nRCPT TO:<%s@X.LOCAL>\r\nRSET\r\n" % (b"l" * length, b"m" * length)
        self.sent += b"MAIL " + self._path(b"FROM") + b"\r\n"
        for _ in range(self._random.randint(1, 3)):
            self.sent += b"RCPT " + self._path(b"TO") + b"\r\n"
        lines = (self._header() + self._body()).split(b"\n")
        text = b""
        for line, following in zip(lines, [*lines[1:], b"."], strict=True):
            stuffed = b"." + line if line.startswith(b".") else line
            # Where a line begins with a dot, a bare LF before it is one of the differences that are wanted.
            bare = not following.startswith(b".") and self._chance(30)
            text += stuffed + (b"\n" if bare else b"\r\n")
        text = text.removesuffix(b"\n").removesuffix(b"\r") if not lines[-1] else text
        self.sent += b"DATA\r\n" + (text if text.endswith(b"\r\n") or not text else text + b"\r\n") + b".\r\n"

    def _path(self, what):
        local = self._pick(b"joe", b"a", b"JOE", b"root", b'"a b"', b"x\\@y", b'"q\\"r"', b"a@b", b"s")
        address = local + self._pick(
            b"", b"@b", b"@example.org", b"@X.LOCAL.", b"@B.OLD", b"@sun+", b"@[1.2]", b"@x.y.", b"@", b"@c@d"
        )
        if self._chance(8):
            address = self._pick(b"@r:", b"@r,@s:") + address
        if what == b"FROM" and self._chance(6):
            address = self._pick(b"", b"@", b"@x")
        extra = self._pick(b"", b"", b" SIZE=100", b" BODY=8BITMIME", b" size=5 body=7bit") if what == b"FROM" else b""
        return self._pick(
            b"%s:<%s>" % (what, address) + extra,
            b"%s:<%s>" % (what, address) + extra,
            b"%s: <%s>" % (what.lower(), address) + extra,
            b"<%s>" % address,
            b"%s:<%s" % (what, address),
            b"%s:%s" % (what, address if b" " not in address else b"j"),
            b"x:   %s" % (address if b" " not in address else b"j@k"),
            b"%s Name <%s>" % (what, address),
        )
