"""The contract of doors: whatever is behind it, a message arrives whole, once, and only after `commit`.

Each is opened through both runners, and by the opener for a worker that only writes: small messages whole (`apart`),
and large ones through the descriptor that is handed over (`handed over`).
"""

import contextlib
import itertools
import os
import posix
import resource
import shlex
import time

import pytest
from apart import Apart
from hop import Hop, HopServer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from resident_runner import LOOPS, ResidentRunner

from checkpw.errors import MessageRefused, TemporaryFailure
from checkpw.queue import qmail, sendmail
from checkpw.queue.maildir import Maildir
from checkpw.queue.nexthop import NextHop, local_dialer
from checkpw.queue.qmail import QmailQueue
from checkpw.queue.relay import Relay
from checkpw.queue.sendmail import Sendmail
from checkpw.runners.stdio import StdioRunner
from checkpw.service import remote
from checkpw.smtp.events import Envelope

PATIENCE = 20.0
TEXT = b"Subject: x\n\nbody\n"


class Arrival:
    """A message that came out at the other side of a door; `environ` is None where no program was started."""

    def __init__(self, sender, recipients, text, environ=None):
        self.sender = sender
        self.recipients = recipients
        self.text = text
        self.environ = environ


class MaildirSite:
    """A Maildir."""

    ends_lines = False

    def close(self):
        """Leave the place as it is."""

    def __init__(self, directory):
        self.place = directory / "Maildir"
        self.door = Maildir(os.fsencode(self.place), b"mail.example", PATIENCE, itertools.count())

    def arrived(self):
        """Read the messages."""
        for path in (self.place / "new").glob("*"):
            sender, *rest = path.read_bytes().split(b"\n")
            recipients = list(itertools.takewhile(lambda line: line.startswith(b"Delivered-To: "), rest))
            text = b"\n".join(rest[len(recipients) :])
            assert path.stat().st_mode & 0o777 == 0o600
            to = [line.removeprefix(b"Delivered-To: ") for line in recipients]
            yield Arrival(sender.removeprefix(b"Return-Path: <").removesuffix(b">"), to, text)

    def litter(self):
        """Give what is left that is no message."""
        return [*(self.place / "tmp").glob("*"), *(self.place / "cur").glob("*")]

    def refuse(self):
        """Have the next message not arrive: its file cannot be moved to `new`."""
        new = self.place / "new"
        if new.exists():
            new.rmdir()
        self.place.mkdir(exist_ok=True)
        new.write_text("no directory", encoding="ascii")
        return new.unlink

    @contextlib.contextmanager
    def shut(self):
        """Keep the door from opening."""
        self.place.write_text("no directory", encoding="ascii")
        yield
        self.place.unlink()


class ProgramSite:
    """A program that keeps what it gets, and leaves with what the file `status` says."""

    ends_lines = False

    def close(self):
        """Leave the place as it is."""

    def __init__(self, directory):
        self.place = directory / "queued"
        self.place.mkdir()
        self.spool = directory / "spool"
        self.spool.mkdir()
        self.status = directory / "status"
        self.status.write_text("0", encoding="ascii")
        self.program = directory / "program"
        self.program.write_text(self.SCRIPT.format(place=self.place, status=self.status), encoding="ascii")
        self.program.chmod(0o755)
        self.door = self.make(os.fsencode(self.program))

    def litter(self):
        """Give what is left in the spool."""
        return list(self.spool.iterdir())

    def refuse(self):
        """Have the program say no."""
        self.status.write_text("31", encoding="ascii")
        return lambda: self.status.write_text("0", encoding="ascii")

    @contextlib.contextmanager
    def shut(self):
        """Take the program away."""
        away = self.program.rename(self.program.with_name("away"))
        yield
        away.rename(self.program)

    def _environ(self, path):
        lines = (path / "environ").read_bytes().split(b"\0")[:-1]
        given = dict(line.partition(b"=")[::2] for line in lines)
        return {name: value for name, value in given.items() if name not in (b"PWD", b"SHLVL", b"_", b"OLDPWD")}


class QmailSite(ProgramSite):
    """A stand-in for qmail-queue."""

    SCRIPT = """#!/bin/sh
place=$(mktemp -d {place}/XXXXXX)
cat >"$place/text"
cat <&1 >"$place/envelope"
env -0 >"$place/environ"
exit "$(cat {status})"
"""

    def make(self, program):
        """Make the door."""
        return QmailQueue(program, b"/nonexistent", PATIENCE)

    def arrived(self):
        """Read what has a whole envelope: that is what qmail-queue queues."""
        for path in self.place.iterdir():
            envelope = (path / "envelope").read_bytes() if (path / "envelope").exists() else b""
            if self.status.read_text(encoding="ascii") == "0" and envelope.endswith(b"\0\0"):
                sender, *recipients = envelope[:-2].split(b"\0")
                to = [recipient[1:] for recipient in recipients]
                yield Arrival(sender[1:], to, (path / "text").read_bytes(), self._environ(path))


class SendmailSite(ProgramSite):
    """A stand-in for sendmail."""

    SCRIPT = """#!/bin/sh
place=$(mktemp -d {place}/XXXXXX)
printf '%s\\0' "$@" >"$place/argv"
cat >"$place/text"
env -0 >"$place/environ"
exit "$(cat {status})"
"""

    def make(self, program):
        """Make the door."""
        return Sendmail(program, os.fsencode(self.spool), PATIENCE)

    def arrived(self):
        """Read what the program was started with."""
        for path in self.place.iterdir():
            flags, dash_f, sender, dashes, *recipients = (path / "argv").read_bytes().split(b"\0")[:-1]
            assert (flags, dash_f, dashes) == (b"-i", b"-f", b"--")
            if self.status.read_text(encoding="ascii") == "0":
                plain = b"" if sender == b"<>" else sender
                yield Arrival(plain, recipients, (path / "text").read_bytes(), self._environ(path))


class RelaySite:
    """A next hop in a thread of this process.

    Attributes:
        ends_lines: a last line without its end gets one.
    """

    ends_lines = True
    is_lmtp = False
    run = None

    def __init__(self, directory):
        self.hop = Hop(is_lmtp=self.is_lmtp)
        self._server = HopServer(self.hop, self.address(directory)).__enter__()
        self._next_hop = NextHop.parse(self.url(self._server.address))
        self.dial = local_dialer(self._next_hop, PATIENCE)
        self.door = self.relay(self.dial)

    def relay(self, dial):
        """Make the door."""
        return Relay(self._next_hop, b"we.example", dial, None, PATIENCE, time.monotonic)

    def address(self, _directory):
        """Give what the hop listens on."""
        return "127.0.0.1", 0

    def url(self, address):
        """Give how it is called."""
        return b"smtp://127.0.0.1:%d" % address[1]

    def close(self):
        """Close what the door keeps for later, and end the hop."""
        (self.run or run)(self.door.close_idle())
        self._server.__exit__()

    def arrived(self):
        """Read what the hop has taken."""
        for message in self.hop.messages:
            sender, *recipients = [
                line.partition(b":<")[2].removesuffix(b">") for line in (message.mail, *message.recipients)
            ]
            yield Arrival(sender, recipients, message.text)

    def litter(self):
        """Give nothing: what is not taken is nowhere."""
        return []

    def refuse(self):
        """Have the hop say no to the message."""
        self.hop.answers[b"."] = b"554 5.3.0 no"
        return self.hop.answers.clear

    @contextlib.contextmanager
    def shut(self):
        """Have the hop send us away."""
        self.hop.answers[b"greeting"] = b"421 4.3.2 no"
        yield
        self.hop.answers.clear()


class LmtpSite(RelaySite):
    """The same with LMTP on a unix socket."""

    is_lmtp = True

    def address(self, directory):
        """Give the path."""
        return str(directory / "lmtp")

    def url(self, address):
        """Give how it is called."""
        return b"lmtp://" + os.fsencode(address)


PROGRAMS_AND_FILES = [MaildirSite, QmailSite, SendmailSite]
SITES = [*PROGRAMS_AND_FILES, RelaySite, LmtpSite]


LOGIN = b"j=o e\n"
ENVIRON = {b"PATH": os.environb[b"PATH"], b"SMTPAUTHUSER": LOGIN}

WAYS = ["stdio", *LOOPS, "apart", "handed over"]
"""Who opens a door, and writes to it."""


@pytest.fixture(params=SITES, ids=lambda site: site.__name__)
def made(request, tmp_path):
    """Give each kind of door with what is behind it, and see to it that no descriptor is left."""
    before = set(os.listdir("/proc/self/fd"))
    site = request.param(tmp_path)
    yield site
    assert set(os.listdir("/proc/self/fd")) == before
    assert site.litter() == []


@pytest.fixture(params=WAYS)
def site(request, made, monkeypatch):
    """Give each kind of door and who opens it; `run` performs, and `environ` is what a program behind it gets."""
    made.environ = ENVIRON
    if request.param == "stdio":
        made.run = run
        yield made
        made.close()
        return
    if request.param in LOOPS:
        with ResidentRunner(new_loop=LOOPS[request.param]) as runner:
            made.run = runner.run
            yield made
            made.close()
        return
    if request.param == "handed over":
        monkeypatch.setattr(remote, "SMALL", 0)
    made.environ = {**ENVIRON, b"RELAYCLIENT": b"", b"TCPREMOTEINFO": LOGIN}
    path = {b"PATH": ENVIRON[b"PATH"]}
    if isinstance(made, RelaySite):
        apart = Apart(None, path, LOGIN, dial=made.dial, new_loop=LOOPS["uvloop"])
        made.door = made.relay(remote.dialer(PATIENCE))
    else:
        apart = Apart(made.door, path, LOGIN, new_loop=LOOPS["asyncio"])
        made.door = apart.door(carries_smtputf8=made.door.carries_smtputf8)
    made.run = apart.runner.run
    yield made
    made.close()
    apart.close()


def _envelope(sender=b"a@b", *recipients):
    envelope = Envelope(sender)
    for recipient in recipients or (b"c@d",):
        envelope.add(recipient, [])
    return envelope


def run(steps):
    """Perform everything that is yielded."""
    return StdioRunner().run(steps)


def deliver(door, blocks, envelope=None):
    """Send a message through a door, and give the door's words."""
    delivery = yield from door.open(envelope or _envelope(), ENVIRON)
    for block in blocks:
        yield from delivery.write(block)
    return (yield from delivery.commit())


def test_a_message_arrives(site):
    """What was written arrives with its envelope and, at programs, the environment; the words are for the 250."""
    envelope = _envelope(b"a@b", b"c@d", b"-oQ/tmp@d", b"e'$(x)@f", b"g@h")
    assert site.run(deliver(site.door, [TEXT], envelope)) == b""
    (arrival,) = site.arrived()
    assert arrival.sender == b"a@b"
    assert arrival.recipients == [b"c@d", b"-oQ/tmp@d", *([arrival.recipients[2]]), b"g@h"]
    assert arrival.recipients[2] in (b"e'$(x)@f", b'"e\'$(x)"@f')
    assert arrival.text == TEXT
    assert arrival.environ in (None, site.environ)


def test_nobody_as_sender(site):
    """A bounce has an empty sender."""
    site.run(deliver(site.door, [TEXT], _envelope(b"")))
    assert [arrival.sender for arrival in site.arrived()] == [b""]


def test_an_empty_message(site):
    """A message without a single byte is a message."""
    site.run(deliver(site.door, []))
    assert [arrival.text for arrival in site.arrived()] == [b""]


def test_a_large_message(site):
    """A message that no pipe takes at once arrives whole."""
    text = TEXT + b"0123456789abcde\n" * 200_000
    site.run(deliver(site.door, [text[at : at + 100_000] for at in range(0, len(text), 100_000)]))
    assert [arrival.text for arrival in site.arrived()] == [text]


def test_nothing_arrives_before_commit(site):
    """An open delivery that has everything is not a message yet."""

    def steps():
        delivery = yield from site.door.open(_envelope(), ENVIRON)
        yield from delivery.write(TEXT)
        assert list(site.arrived()) == []
        yield from delivery.commit()

    site.run(steps())
    assert len(list(site.arrived())) == 1


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("times", [1, 2])
def test_abort_leaves_nothing(site, blocks, times):
    """A delivery that is given up, at any time and more than once, leaves nothing."""

    def steps():
        delivery = yield from site.door.open(_envelope(), ENVIRON)
        for _ in range(blocks):
            yield from delivery.write(TEXT)
        for _ in range(times):
            yield from delivery.abort()

    site.run(steps())
    assert list(site.arrived()) == []


def test_a_refusal(site):
    """A message that is refused carries a 4xx or 5xx with a status of its class, and does not arrive."""

    def steps():
        delivery = yield from site.door.open(_envelope(), ENVIRON)
        yield from delivery.write(TEXT)
        undo.append(site.refuse())
        with pytest.raises(MessageRefused) as caught:
            yield from delivery.commit()
        yield from delivery.abort()
        return caught.value

    undo = []
    refusal = site.run(steps())
    assert refusal.code in (451, 452, 554)
    assert refusal.enhanced[:1] == b"%d" % (refusal.code // 100) and refusal.reply_text
    assert list(site.arrived()) == []
    undo[0]()
    site.run(deliver(site.door, [b"next\n"]))
    assert b"next\n" in [arrival.text for arrival in site.arrived()]


def test_a_door_that_does_not_open(site):
    """A door that cannot be opened, or cannot start its program, refuses for now."""
    with site.shut(), pytest.raises(MessageRefused) as caught:
        site.run(deliver(site.door, [TEXT]))
    assert caught.value.code == 451
    site.run(deliver(site.door, [TEXT]))
    assert len(list(site.arrived())) == 1


@pytest.mark.parametrize("make", [MaildirSite, SendmailSite], ids=lambda site: site.__name__)
def test_a_full_disk(make, tmp_path):
    """Trouble while a message is written is kept until `commit`, which refuses it for now."""
    site = make(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def steps():
        delivery = yield from site.door.open(_envelope(), ENVIRON)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            for _ in range(40):
                yield from delivery.write(b"x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        yield from delivery.commit()

    with pytest.raises(MessageRefused) as caught:
        run(steps())
    assert (caught.value.code, caught.value.enhanced) == (452, b"4.3.1")
    assert list(site.arrived()) == []


def test_two_at_once(site):
    """Two deliveries that are open at the same time do not know of each other."""

    def steps():
        first = yield from site.door.open(_envelope(b"one@x"), ENVIRON)
        second = yield from site.door.open(_envelope(b"two@x"), ENVIRON)
        third = yield from site.door.open(_envelope(b"three@x"), ENVIRON)
        yield from first.write(b"first\n")
        yield from second.write(b"second\n")
        yield from third.abort()
        yield from second.commit()
        yield from first.commit()

    site.run(steps())
    assert {(arrival.sender, arrival.text) for arrival in site.arrived()} == {
        (b"one@x", b"first\n"),
        (b"two@x", b"second\n"),
    }


@pytest.mark.parametrize("make", SITES, ids=lambda site: site.__name__)
def test_any_split_gives_the_same(make, tmp_path_factory):
    """However a message is cut into blocks, the same bytes arrive."""

    @settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
    @example([b"\0\xff", b"\r", b".\n", b"\n"])
    def check(blocks):
        text = b"".join(blocks)
        with contextlib.closing(make(tmp_path_factory.mktemp("split"))) as site:
            run(deliver(site.door, blocks))
            if site.ends_lines and not text.endswith(b"\n"):
                text += b"\n" if text else b""
            assert [arrival.text for arrival in site.arrived()] == [text]

    check()


# --- what only some doors have


STATUSES = {0: None, 11: 554, 31: 554, 35: 554, 40: 554, 41: 451, 51: 451, 53: 451, 72: 451, 81: 451, 91: 451, 10: 451}
STATUSES |= {100: 451, 111: 451, 115: 554, 120: 451, 82: 451, 88: 451, 1: 451, 255: 451}


@pytest.mark.parametrize(("status", "code"), STATUSES.items())
def test_statuses_of_qmail_queue(status, code, tmp_path):
    """Each exit status means what qmail says: 11 to 40 for ever, others for now, and 115 as 11."""
    site = QmailSite(tmp_path)
    site.status.write_text(str(status), encoding="ascii")
    if code is None:
        assert run(deliver(site.door, [TEXT])) == b""
        return
    with pytest.raises(MessageRefused) as caught:
        run(deliver(site.door, [TEXT]))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "custom", "expected"),
    [
        (82, b"Dno way", (554, b"5.3.0", b"no way")),
        (88, b"Zlater\r\nplease\n", (451, b"4.3.0", b"later please")),
        (82, b"D", (451, b"4.3.0", b"qq temporary problem")),
        (82, b"Do", (451, b"4.3.0", b"qq temporary problem")),
        (82, b"Xno way", (451, b"4.3.0", b"qq temporary problem")),
        (82, b"", (451, b"4.3.0", b"qq temporary problem")),
        (31, b"Zlater", (554, b"5.3.0", b"mail server permanently rejected message")),
        (-9, b"Dno way", (451, b"4.3.0", b"qq crashed")),
        (40, b"", (554, b"5.3.0", b"qq permanent problem")),
        (41, b"", (451, b"4.3.0", b"qq temporary problem")),
        (10, b"", (451, b"4.3.0", b"qq temporary problem")),
        (11, b"", (554, b"5.1.3", b"envelope address too long for qq")),
        (115, b"", (554, b"5.1.3", b"envelope address too long for qq")),
    ],
)
def test_meaning(status, custom, expected):
    """A text of the program's own counts with 82 and 88, and if it says for how long."""
    assert qmail.meaning(status, custom) == expected


def _program(directory, script):
    path = directory / "program"
    path.write_text("#!/bin/sh\n" + script, encoding="ascii")
    path.chmod(0o755)
    return os.fsencode(path)


def test_custom_text_of_qmail_queue(tmp_path):
    """A text comes over descriptor 6 or 4, up to 255 bytes of it."""
    for number in (6, 4):
        text = "no" * 200
        program = _program(tmp_path, f"cat >/dev/null; cat <&1 >/dev/null; printf D{text} >&{number}; exit 82\n")
        with pytest.raises(MessageRefused) as caught:
            run(deliver(QmailQueue(program, b"/nonexistent", PATIENCE), [TEXT]))
        assert caught.value.reply_text == text.encode()[:254]


@pytest.mark.parametrize(
    ("script", "text", "expected"),
    [
        ("exec sleep 60\n", TEXT, "qq timeout"),
        ("exec sleep 60\n", b"x" * 5_000_000, "qq timeout"),
        ("exec <&-; exit 0\n", b"x" * 5_000_000, "qq read error"),
        ("exit 51\n", b"x" * 5_000_000, "qq out of memory"),
        ("kill -9 $$\n", TEXT, "qq crashed"),
    ],
)
def test_bad_queue_programs(tmp_path, script, text, expected):
    """A program that hangs, does not read, leaves early or crashes has not queued the message."""
    timeout = 0.3 if "sleep" in script else PATIENCE
    door = QmailQueue(_program(tmp_path, script), b"/nonexistent", timeout)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(MessageRefused) as caught:
        run(deliver(door, [text]))
    assert (caught.value.code, caught.value.reply_text) == (451, expected.encode())
    assert set(os.listdir("/proc/self/fd")) == before


def test_abort_of_a_program_that_does_not_leave(tmp_path, monkeypatch):
    """A queue program that hangs on after the end of its files is killed."""
    monkeypatch.setattr(qmail, "ABORT_PATIENCE", 0.2)
    door = QmailQueue(_program(tmp_path, f"echo $$ >{tmp_path}/pid\nexec sleep 60\n"), b"/nonexistent", PATIENCE)

    def steps():
        delivery = yield from door.open(_envelope(), ENVIRON)
        yield from delivery.write(TEXT)
        while not (tmp_path / "pid").exists():
            os.sched_yield()
        yield from delivery.abort()

    run(steps())
    assert not os.path.exists("/proc/" + (tmp_path / "pid").read_text(encoding="ascii").strip())


def test_home_of_qmail(tmp_path, monkeypatch):
    """The door changes to the home of qmail where there is one, stays where there is none, and says what is wrong."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    QmailQueue(b"x", b"/nonexistent", 1.0)
    assert os.getcwd() == str(tmp_path)
    QmailQueue(b"x", os.fsencode(tmp_path / "home"), 1.0)
    assert os.getcwd() == str(tmp_path / "home")
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(TemporaryFailure, match="unable to change"):
        QmailQueue(b"x", os.fsencode(tmp_path / "file"), 1.0)


@pytest.mark.parametrize(
    ("status", "code", "enhanced"),
    [
        (64, 554, b"5.3.0"),
        (65, 554, b"5.6.0"),
        (66, 554, b"5.3.0"),
        (67, 554, b"5.1.1"),
        (68, 554, b"5.1.2"),
        (69, 451, b"4.3.0"),
        (75, 451, b"4.3.0"),
        (77, 554, b"5.7.0"),
        (1, 451, b"4.3.0"),
        (111, 451, b"4.3.0"),
    ],
)
def test_statuses_of_sendmail(status, code, enhanced, tmp_path):
    """The statuses of sysexits.h that are permanent are, and everything else is for now."""
    site = SendmailSite(tmp_path)
    site.status.write_text(str(status), encoding="ascii")
    with pytest.raises(MessageRefused) as caught:
        run(deliver(site.door, [TEXT]))
    assert (caught.value.code, caught.value.enhanced) == (code, enhanced)


def test_a_sendmail_that_hangs(tmp_path):
    """A sendmail that does not end in time is killed, and nothing is promised."""
    door = Sendmail(_program(tmp_path, "exec sleep 60\n"), os.fsencode(tmp_path), 0.3)
    with pytest.raises(MessageRefused) as caught:
        run(deliver(door, [TEXT]))
    assert (caught.value.code, caught.value.reply_text) == (451, b"sendmail: timeout")


def test_a_sendmail_that_crashes(tmp_path):
    """A signal is nobody's permanent no."""
    with pytest.raises(MessageRefused) as caught:
        run(deliver(Sendmail(_program(tmp_path, "kill -9 $$\n"), os.fsencode(tmp_path), PATIENCE), [TEXT]))
    assert caught.value.code == 451


def test_a_spool_that_is_not_there(tmp_path):
    """A message that cannot be spooled is refused before it comes."""
    with pytest.raises(MessageRefused) as caught:
        run(deliver(Sendmail(b"/bin/true", b"/nonexistent", PATIENCE), [TEXT]))
    assert caught.value.code == 452


def test_a_spool_without_nameless_files(tmp_path, monkeypatch):
    """Where a file cannot be made without a name, it has one only for a moment."""
    site = SendmailSite(tmp_path)
    given_open = posix.open

    def fussy(path, flags, *mode, **named):
        if flags & posix.O_TMPFILE == posix.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return given_open(path, flags, *mode, **named)

    monkeypatch.setattr(sendmail.posix, "open", fussy)

    def steps():
        delivery = yield from site.door.open(_envelope(), ENVIRON)
        yield from delivery.write(TEXT)
        assert site.litter() == []
        yield from delivery.commit()

    run(steps())
    assert [arrival.text for arrival in site.arrived()] == [TEXT]


@pytest.mark.parametrize(
    ("address", "argument"),
    [
        (b"a@b", b"a@b"),
        (b"", b""),
        (b"a.b@c", b"a.b@c"),
        (b"a..b@c", b'"a..b"@c'),
        (b"a b@c", b'"a b"@c'),
        (b'a"\\b@c', b'"a\\"\\\\b"@c'),
        (b"a,root@c", b'"a,root"@c'),
        (b"a@b@c", b'"a@b"@c'),
        (b"nohost", b"nohost"),
        (b"no host", b'"no host"'),
    ],
)
def test_arguments_of_sendmail(address, argument):
    """A local part that sendmail would take apart is quoted."""
    assert sendmail.as_argument(address) == argument


@pytest.mark.parametrize("address", [b"a@b,root", b"a@b c", b"a@b(x", b"a@b\n", b"a@b>", b"a@b,c@d,e"])
def test_hosts_that_sendmail_would_take_apart(address, tmp_path):
    """An address whose host is none is refused for ever, and nothing is started."""
    for envelope in (_envelope(address), _envelope(b"a@b", b"c@d", address)):
        with pytest.raises(MessageRefused) as caught:
            run(deliver(Sendmail(b"/bin/false", os.fsencode(tmp_path), PATIENCE), [TEXT], envelope))
        assert caught.value.code == 554


def test_names_in_a_maildir(tmp_path):
    """A host name that is no file name is written as maildir(5) has it, and no two names are the same."""
    place = tmp_path / "Maildir"
    door = Maildir(os.fsencode(place), b"a/b:c", PATIENCE, itertools.count(7))
    for _ in range(3):
        run(deliver(door, [TEXT]))
    names = sorted(os.listdir(place / "new"))
    assert len(names) == 3 and all(name.endswith("a\\057b\\072c") for name in names)
    assert {name.partition("Q")[2].partition(".")[0] for name in names} == {"7", "8", "9"}
    assert all(f"P{os.getpid()}Q" in name for name in names)


def test_a_maildir_keeps_what_is_there(tmp_path):
    """A file of the same name is never written over."""
    place = tmp_path / "Maildir"
    door = Maildir(os.fsencode(place), b"mail.example", PATIENCE, itertools.count())

    def steps():
        delivery = yield from door.open(_envelope(), ENVIRON)
        yield from delivery.write(TEXT)
        (name,) = os.listdir(place / "tmp")
        (place / "new" / name).write_text("older", encoding="ascii")
        kept.append(place / "new" / name)
        yield from delivery.commit()

    kept = []
    with pytest.raises(MessageRefused):
        run(steps())
    assert kept[0].read_text(encoding="ascii") == "older"
    assert os.listdir(place / "tmp") == []


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_maildir_that_somebody_cleans(tmp_path, end):
    """A file that somebody else has taken out of `tmp` is not queued, and not missed when it is given up."""
    site = MaildirSite(tmp_path)

    def steps():
        delivery = yield from site.door.open(_envelope(), ENVIRON)
        yield from delivery.write(TEXT)
        for path in (site.place / "tmp").iterdir():
            path.unlink()
        if end == "abort":
            yield from delivery.abort()
            return
        with pytest.raises(MessageRefused):
            yield from delivery.commit()

    run(steps())
    assert list(site.arrived()) == [] and site.litter() == []


def test_a_maildir_on_a_full_disk(tmp_path, monkeypatch):
    """A disk that is full is said to be so, also before a message comes."""
    door = Maildir(os.fsencode(tmp_path / "Maildir"), b"mail.example", PATIENCE, itertools.count())

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("checkpw.queue.maildir.posix.mkdir", full)
    with pytest.raises(MessageRefused) as caught:
        run(deliver(door, [TEXT]))
    assert caught.value.code == 452


def test_a_maildir_has_everything_on_disk(tmp_path, monkeypatch):
    """The text is on disk before the file is in `new`, and its name there before anybody is told."""
    site = MaildirSite(tmp_path)
    synced = []

    def record(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((os.path.relpath(os.path.dirname(path), site.place), len(os.listdir(site.place / "new"))))

    monkeypatch.setattr("checkpw.runners.stdio.posix.fsync", record)
    run(deliver(site.door, [TEXT]))
    assert synced == [("tmp", 0), (".", 1)]


def test_a_directory_that_cannot_be_synced(tmp_path, monkeypatch):
    """A message whose name is not safe on disk is taken back: nobody was told of it."""
    site = MaildirSite(tmp_path)
    given_sync = posix.fsync

    def fussy(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(5, "Input/output error")
        given_sync(descriptor)

    monkeypatch.setattr("checkpw.runners.stdio.posix.fsync", fussy)
    with pytest.raises(MessageRefused):
        run(deliver(site.door, [TEXT]))
    assert list(site.arrived()) == [] and site.litter() == []


def test_sendmail_gets_nothing_else(tmp_path):
    """The program has the message as 0, /dev/null as 1, our log as 2, and no other descriptor below the shell's own."""
    place = shlex.quote(str(tmp_path / "seen"))
    look = 'for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && seen="$seen $n"; done'
    null = '[ /proc/$$/fd/1 -ef /dev/null ] && seen="$seen null"'
    program = _program(tmp_path, f"{look}\n{null}\ncat >/dev/null; echo $seen >{place}\n")
    run(deliver(Sendmail(program, os.fsencode(tmp_path), PATIENCE), [TEXT]))
    assert (tmp_path / "seen").read_text(encoding="ascii").split() == ["0", "1", "2", "null"]


@pytest.mark.parametrize("make", PROGRAMS_AND_FILES, ids=lambda site: site.__name__)
def test_smtputf8(make, tmp_path):
    """A Maildir carries UTF-8 addresses, a program only where somebody vouches for it."""
    site = make(tmp_path)
    assert site.door.carries_smtputf8 == isinstance(site, MaildirSite)
    if not isinstance(site, MaildirSite):
        door = type(site.door)(b"x", b"/nonexistent", 1.0, carries_smtputf8=True)
        assert door.carries_smtputf8
