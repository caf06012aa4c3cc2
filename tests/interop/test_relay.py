"""The relay door in front of real next hops: Postfix, its smtp-sink, and Dovecot's LMTP."""

import contextlib
import functools
import grp
import os
import pwd
import subprocess
import time

import pytest

from checkpw import tls
from checkpw.errors import MessageRefused
from checkpw.queue.nexthop import NextHop, local_dialer
from checkpw.queue.relay import Relay
from checkpw.runners.stdio import StdioRunner
from checkpw.smtp.events import Envelope

PATIENCE = 20.0
TEXT = b"Subject: dots\n\n.\n..\nend.\n"
LARGE = TEXT + b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n" * 60_000


def make_door(url, name="mail.example"):
    """Make a door to a URL."""
    hop = NextHop.parse(url)
    context = tls.client_context(is_verified=hop.is_verified, ca_file=os.fsdecode(hop.ca_file) or None)
    encrypt = functools.partial(tls.TlsLayer, context, server_side=False, server_hostname=name)
    return Relay(hop, b"we.example", local_dialer(hop, PATIENCE), encrypt, PATIENCE, time.monotonic)


def envelope(sender, *recipients, words=(), **named):
    """Make an envelope."""
    made = Envelope(sender, list(words), **named)
    for recipient in recipients:
        made.add(recipient, [])
    return made


def deliver(door, text, to):
    """Send a message in blocks as they come from a client, and give the words of the hop."""

    def steps():
        delivery = yield from door.open(to, {})
        for at in range(0, len(text), 60_001):
            yield from delivery.write(text[at : at + 60_001])
        return (yield from delivery.commit())

    return StdioRunner().run(steps())


@contextlib.contextmanager
def connected(url, **named):
    """Make a door for the block, and close what it keeps."""
    door = make_door(url, **named)
    try:
        yield door
    finally:
        StdioRunner().run(door.close_idle())


# --- smtp-sink


@pytest.fixture
def sink(peer, loopback):
    """Give a function that runs smtp-sink, of SMTP or LMTP, and gives its port and where it keeps messages."""
    program = peer("smtp-sink", "postfix")
    with contextlib.ExitStack() as held:

        def run(*options):
            directory = held.enter_context(loopback.directory())
            port = held.enter_context(loopback.port())
            user = []
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                os.chown(directory, nobody.pw_uid, nobody.pw_gid)
                user = ["-u", "nobody"]
            argv = [program, *user, "-d", "message.", *options, f"127.0.0.1:{port}", "10"]
            held.enter_context(loopback.server(argv, [port], directory, {}))
            return port, directory

        yield run


def kept(directory, text):
    """Count the messages with this text that smtp-sink keeps, and give the beginning of one."""
    found = [path.read_bytes() for path in directory.glob("message.*")]
    return [message for message in found if message.endswith(b"UTC)\n" + text + b"\n")]


def test_smtp_sink(sink):
    """Small and large messages arrive whole over one connection."""
    port, directory = sink("-c", "-n", "1")
    with connected(b"smtp://127.0.0.1:%d" % port) as door:
        for text in (TEXT, LARGE, TEXT):
            deliver(door, text, envelope(b"a@b", b"c@d", b"e f@g"))
    assert [len(kept(directory, text)) for text in (TEXT, LARGE)] == [2, 1]
    head = kept(directory, LARGE)[0]
    for words in (b"Helo-Args: we.example", b"Mail-Args: <a@b>", b"Rcpt-Args: <c@d>", b'Rcpt-Args: <"e f"@g>'):
        assert b"\nX-" + words + b"\n" in head


@pytest.mark.parametrize("options", [["-p"], ["-e"], ["-8", "-E"]], ids=["no PIPELINING", "no ESMTP", "little"])
def test_smtp_sink_of_few_talents(sink, options):
    """A hop that offers less gets the message all the same."""
    port, directory = sink(*options)
    with connected(b"smtp://127.0.0.1:%d" % port) as door:
        deliver(door, TEXT, envelope(b"a@b", b"c@d", words=[b"BODY=8BITMIME", b"RET=HDRS"]))
    assert len(kept(directory, TEXT)) == 1


def test_smtp_sink_lmtp(sink):
    """LMTP answers for each recipient, and each has the message."""
    port, directory = sink("-L")
    with connected(b"lmtp://127.0.0.1:%d" % port) as door:
        for _ in range(2):
            deliver(door, TEXT, envelope(b"a@b", b"c@d", b"e@f", b"g@h"))
    assert len(kept(directory, TEXT)) == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["-f", "CONNECT"], 451),
        (["-f", "MAIL"], 451),
        (["-f", "RCPT", "-B", "550 5.1.1 nobody here"], 550),
        (["-r", "RCPT"], 450),
        (["-r", "DATA"], 450),
        (["-f", ".", "-B", "554 5.7.1 spam"], 554),
        (["-r", "."], 450),
        (["-q", "MAIL"], 451),
        (["-q", "RCPT"], 451),
        (["-q", "DATA"], 451),
        (["-q", "."], 451),
        (["-Q", "."], 451),
        (["-A", "0"], 550),
    ],
    ids=str,
)
def test_smtp_sink_says_no(sink, options, code):
    """Whatever it refuses or however it hangs up: that is what our client hears."""
    port, _ = sink(*options)
    with connected(b"smtp://127.0.0.1:%d" % port) as door, pytest.raises(MessageRefused) as caught:
        deliver(door, LARGE, envelope(b"a@b", b"c@d"))
    assert caught.value.code == code


# --- Dovecot


DOVECOT = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
protocols = lmtp
listen = 127.0.0.1
ssl = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:{directory}/mail/%n
auth_username_chars = abcdefghijklmnopqrstuvwxyz.@
service anvil {{
  chroot =
}}
service lmtp {{
  user = {user}
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {port}
  }}
}}
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = passwd-file
  args = {directory}/users
}}
"""


@pytest.fixture
def dovecot(peer, loopback):
    """Run Dovecot's LMTP server for joe and ann; give its directory and its port."""
    program = peer("dovecot", "dovecot-core")
    peer("lmtp", "dovecot-lmtpd")
    who = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    with loopback.directory() as directory, loopback.port() as port:
        (directory / "mail").mkdir()
        os.chown(directory / "mail", who.pw_uid, who.pw_gid)
        lines = [
            f"{name}@d.example:{{PLAIN}}x:{who.pw_uid}:{who.pw_gid}::{directory}/mail::\n" for name in ("joe", "ann")
        ]
        (directory / "users").write_text("".join(lines), encoding="ascii")
        names = {"user": who.pw_name, "group": grp.getgrgid(who.pw_gid).gr_name}
        text = DOVECOT.format(directory=directory, port=port, **names)
        (directory / "dovecot.conf").write_text(text, encoding="ascii")
        argv = [program, "-F", "-c", directory / "dovecot.conf"]
        with loopback.server(argv, [port], directory, {}) as server:
            yield directory, port, server


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_dovecot(dovecot, kind):
    """A message is in the mailbox of each recipient once, byte for byte behind what Dovecot puts in front."""
    directory, port, server = dovecot
    url = b"lmtp://%s/lmtp" % os.fsencode(directory) if kind == "unix" else b"lmtp://127.0.0.1:%d" % port
    with connected(url) as door:
        for text in (TEXT, LARGE):
            deliver(door, text, envelope(b"a@b.example", b"joe@d.example", b"ann@d.example"))
        with pytest.raises(MessageRefused) as caught:
            deliver(door, TEXT, envelope(b"a@b.example", b"joe@d.example", b"nobody@d.example"))
        assert (caught.value.code, caught.value.enhanced) == (550, b"5.1.1"), server.log()
        assert b"<nobody@d.example>" in caught.value.reply_text
    for name in ("joe", "ann"):
        arrived = [path.read_bytes() for path in (directory / "mail" / name / "new").iterdir()]
        assert (
            sorted(any(message.endswith(b"\n" + text) for message in arrived) for text in (TEXT, LARGE)) == [True] * 2
        )
        assert len(arrived) == 2


# --- Postfix


MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
mail_owner = postfix
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = hop.example
mydestination =
alias_maps =
local_recipient_maps =
mynetworks = 127.0.0.0/8
local_header_rewrite_clients =
smtputf8_enable = yes
message_size_limit = 2000000
virtual_mailbox_domains = d.example
virtual_mailbox_base = {directory}/boxes
virtual_mailbox_maps = inline:{{ joe@d.example=joe/, {{ jürgen@d.example=ue/ }} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = {directory}/hop.pem
smtpd_tls_key_file = {directory}/hop.key
tls_random_source = dev:/dev/urandom
"""

MASTER_CF = """\
127.0.0.1:{plain} inet n - n - - smtpd
127.0.0.1:{wrapped} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix that keeps mail for joe and jürgen at d.example."""

    def __init__(self, server, directory, plain, wrapped):
        self.server = server
        self.directory = directory
        self.plain = plain
        self.wrapped = wrapped

    def mailbox(self, name):
        """Give the messages."""
        return [path.read_bytes() for path in (self.directory / "boxes" / name / "new").glob("*")]


@pytest.fixture(scope="module")
def postfix(root, peer, loopback):
    """Run Postfix with TLS for mail.example, in a directory of its own."""
    program = peer("postfix")
    peer("openssl")
    nobody = pwd.getpwnam("nobody")
    with loopback.directory() as directory, loopback.port() as plain, loopback.port() as wrapped:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "hop.key"]
        names = ["-subj", "/CN=mail.example", "-addext", "subjectAltName=DNS:mail.example", "-days", "2"]
        argv = ["openssl", "req", "-x509", *key, "-out", "hop.pem", *names]
        subprocess.run(argv, cwd=directory, check=True, capture_output=True, timeout=PATIENCE)
        (directory / "queue").mkdir()
        for name, owner in (("data", "postfix"), ("boxes", "nobody")):
            (directory / name).mkdir()
            os.chown(directory / name, pwd.getpwnam(owner).pw_uid, -1)
        main = MAIN_CF.format(directory=directory, uid=nobody.pw_uid, gid=nobody.pw_gid)
        (directory / "main.cf").write_text(main, encoding="utf-8")
        (directory / "master.cf").write_text(MASTER_CF.format(plain=plain, wrapped=wrapped), encoding="ascii")
        with loopback.postfix(program, directory, [plain, wrapped], directory) as server:
            yield Postfix(server, directory, plain, wrapped)


@pytest.mark.parametrize("how", ["never", "may", "verify", "smtps"])
def test_postfix(postfix, eventually, how):
    """A message arrives with and without TLS, with the name checked where that is asked."""
    url = b"smtp://127.0.0.1:%d?tls=%s" % (postfix.plain, how.encode())
    if how == "smtps":
        url = b"smtps://127.0.0.1:%d?" % postfix.wrapped
    if how in ("verify", "smtps"):
        url += b"&ca=%s/hop.pem" % os.fsencode(postfix.directory)
    text = b"Subject: " + how.encode() + b"\n\n.\n..dots\n"
    with connected(url.replace(b"?&", b"?")) as door:
        for _ in range(2):
            words = deliver(door, text, envelope(b"a@b.example", b"joe@d.example", words=[b"BODY=8BITMIME"]))
            assert words.startswith(b"Ok: queued as ")
    eventually(lambda: len([m for m in postfix.mailbox("joe") if m.endswith(b"\n" + text)]) == 2, "delivery")
    (first, *_) = [m for m in postfix.mailbox("joe") if m.endswith(b"\n" + text)]
    assert (b"with ESMTPS " in first) == (how != "never")


@pytest.mark.parametrize("how", ["ca", "name"])
def test_postfix_that_is_somebody_else(postfix, how):
    """A certificate that nobody vouches for, or of another name, gets no mail."""
    url = b"smtp://127.0.0.1:%d?tls=verify" % postfix.plain
    if how == "name":
        url += b"&ca=%s/hop.pem" % os.fsencode(postfix.directory)
    with (
        connected(url, name="other.example" if how == "name" else "mail.example") as door,
        pytest.raises(MessageRefused, match="certificate not accepted") as caught,
    ):
        deliver(door, TEXT, envelope(b"a@b.example", b"joe@d.example"))
    assert (caught.value.code, caught.value.enhanced) == (451, b"4.7.5")


def test_postfix_and_its_extensions(postfix, eventually):
    """What Postfix offers is learnt, and UTF-8 addresses and wishes about reports get through."""
    with connected(b"smtp://127.0.0.1:%d" % postfix.plain) as door:
        assert StdioRunner().run(door.learn())
        assert (door.carries_smtputf8, door.carries_dsn, door.carries_requiretls) == (True, True, False)
        to = envelope(b"joe@d.example", words=[b"BODY=8BITMIME", b"RET=HDRS", b"ENVID=QQ314"], is_utf8=True)
        to.add("jürgen@d.example".encode(), [b"NOTIFY=SUCCESS", b"ORCPT=rfc822;j@d.example"])
        deliver(door, b"Subject: utf8\n\nx\n", to)
    (message,) = eventually(lambda: postfix.mailbox("ue"), "delivery")
    assert b"with UTF8SMTP " in message
    (report,) = eventually(lambda: [m for m in postfix.mailbox("joe") if b"delivery-status" in m], "report")
    assert b"\nOriginal-Envelope-Id: QQ314\n" in report
    assert b"\nOriginal-Recipient: rfc822;j@d.example\n" in report


def test_postfix_says_no(postfix):
    """Recipients are refused one by one where they are asked about one by one, and a large message by its size."""
    with connected(b"smtp://127.0.0.1:%d" % postfix.plain) as door:

        def steps():
            to = Envelope(b"a@b.example")
            transaction = yield from door.begin(to)
            with pytest.raises(MessageRefused) as caught:
                yield from transaction.offer(b"nobody@d.example", [])
            yield from transaction.offer(b"joe@d.example", [])
            to.add(b"joe@d.example", [])
            delivery = yield from transaction.open(to, {})
            yield from delivery.write(b"Subject: one\n\nx\n")
            yield from delivery.commit()
            return caught.value

        refusal = StdioRunner().run(steps())
        assert (refusal.code, refusal.enhanced) == (550, b"5.1.1")
        with pytest.raises(MessageRefused) as caught:
            deliver(door, LARGE, envelope(b"a@b.example", b"joe@d.example"))
        assert (caught.value.code, caught.value.enhanced) == (552, b"5.3.4")
        deliver(door, TEXT, envelope(b"a@b.example", b"joe@d.example"))
