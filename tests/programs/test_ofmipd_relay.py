"""ofmipd that relays to a next hop: what the hop hears, and what becomes of its answers and of its absence."""

import contextlib
import socket
import threading

import pytest

TROUBLE = 111


class NextHop:
    """A server that takes mail of one connection after another, and notes what it hears."""

    def __init__(self, listener, replies):
        self._listener = listener
        self._replies = replies
        self.heard = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rwb") as words:
                    connection.settimeout(30)
                    self.heard.append([])
                    self._converse(words)

    def _converse(self, words):
        words.write(b"220 hop.example ESMTP\r\n")
        words.flush()
        is_text = False
        for line in words:
            self.heard[-1].append(line)
            verb = line.split()[0].upper() if line.split() else b""
            if is_text and line != b".\r\n":
                continue
            reply = {b"EHLO": b"250-hop.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000"}
            reply |= {b"LHLO": reply[b"EHLO"], b"DATA": b"354 go on", b"QUIT": b"221 bye"} | self._replies
            is_text = verb == b"DATA"
            words.write(reply.get(verb, b"250 ok " + verb) + b"\r\n")
            words.flush()


@pytest.fixture
def hop(resources):
    """Give a function that starts a next hop at a unix socket or a port, and gives it and its place."""

    def start(path=None, replies=None):
        listener = socket.socket(socket.AF_UNIX) if path else socket.create_server(("127.0.0.1", 0))
        if path:
            listener.bind(str(path))
            listener.listen()
        made = NextHop(listener, replies or {})

        def end():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            made.thread.join(30)
            listener.close()

        resources.callback(end)
        return made, f"//{path}" if path else f"//127.0.0.1:{listener.getsockname()[1]}"

    return start


@pytest.mark.parametrize("scheme", ["smtp", "lmtp", "unix"])
def test_messages_go_on(ofmipd, hop, mail, events, tmp_path, scheme, tools):
    """Two messages of a session go over one connection; 250 comes after the hop's; the hop hears a goodbye."""
    each = None if scheme == "smtp" else {b".": b"250 ok\r\n250 ok"}  # LMTP answers for each recipient
    made, place = hop(tmp_path / "socket" if scheme == "unix" else None, each)
    session = ofmipd(environ={"OFMIPD_QUEUE": f"{'lmtp' if scheme == 'unix' else scheme}:{place}"})
    session.reply()
    for _ in range(2):
        session.send(mail.whole)
        assert [session.reply()[:3] for _ in range(5)] == [b"250", b"250", b"250", b"354", b"250"]
    assert session.ask(b"QUIT").startswith(b"221 ")
    done = session.end()
    assert done.status == 0
    assert [fields["result"] for fields in events(done.log, "message")] == [b"queued", b"queued"]
    (heard,) = made.heard
    tools.wait_until(lambda: heard[-1] == b"QUIT\r\n", "the hop has heard the goodbye")
    text = b"".join(heard)
    assert heard[0] == (b"EHLO" if scheme == "smtp" else b"LHLO") + b" mail.example\r\n"
    assert text.count(b"MAIL FROM:<a@client.example>") == 2
    assert text.count(b"RCPT TO:<b@there.example>\r\nRCPT TO:<c@there.example>\r\n") == 2
    assert text.count(b"\r\nSubject: a test\r\n\r\nbody\r\n.\r\n") == 2


@pytest.mark.parametrize(
    ("replies", "at", "reply"),
    [
        ({b"MAIL": b"550 5.7.1 not from you"}, 0, b"550 5.7.1 "),
        ({b"RCPT": b"450 4.2.1 later"}, 1, b"450 4.2.1 "),
        ({b"DATA": b"451 4.3.0 no room"}, 3, b"4"),
        ({b".": b"554 5.6.0 odd message"}, 4, b"5"),
        ({b".": b"451 4.3.0 later"}, 4, b"4"),
    ],
)
def test_a_no_of_the_hop_is_ours(ofmipd, hop, mail, events, replies, at, reply):
    """What the hop refuses is refused at the same command, and the session goes on."""
    _, place = hop(replies=replies)
    session = ofmipd(environ={"OFMIPD_QUEUE": f"smtp:{place}"})
    session.reply()
    session.send(mail.envelope + b"DATA\r\n")
    answers = [session.reply() for _ in range(4)]
    if at == 4:
        session.send(mail.text + b".\r\n")
        answers.append(session.reply())
    assert answers[at].startswith(reply), answers
    assert not any(answer.startswith(b"250 2.0.0 ok") for answer in answers)
    assert session.ask(b"NOOP").startswith(b"250 ")
    done = session.end()
    assert done.status == 0
    assert b"result=queued" not in done.log


def test_a_hop_that_is_not_there(ofmipd, tmp_path):
    """Nobody who listens is trouble for now; the greeting does not wait for the hop."""
    for url in (f"lmtp://{tmp_path}/missing", "smtp://127.0.0.1:1", "smtp://no-such-host.invalid"):
        session = ofmipd(environ={"OFMIPD_QUEUE": url})
        assert session.reply().startswith(b"220 ")
        assert session.ask(b"MAIL FROM:<a@client.example>").startswith(b"451 4.4.1 ")
        assert session.ask(b"NOOP").startswith(b"250 ")
        assert session.end().status == 0


@pytest.mark.parametrize(
    "url",
    [
        "smtp://",
        "smtp://:25",
        "smtp://host:0",
        "smtp://host:65536",
        "smtp://host:x",
        "smtp://user@host",
        "smtp://host/path",
        "smtp://[::1",
        "smtps://host?tls=never",
        "smtp://host?tls=perhaps",
        "smtp://host?ca=/etc/ssl/ca.pem",
        "smtps://host?ca=/nonexistent",
        "lmtp://",
        "http://host",
        "SMTP://host",
        "//host",
    ],
)
def test_a_next_hop_that_makes_no_sense(ofmipd, url):
    """451 in place of a greeting, 111, and one line that names the setting."""
    done = ofmipd(environ={"OFMIPD_QUEUE": url}).end()
    assert (done.status, done.replies[:9], done.log.count(b"\n")) == (TROUBLE, b"451 4.3.0", 1)
    assert b"OFMIPD_QUEUE" in done.log
    assert b"unexpected" not in done.log
