"""ofmipd under a UCSPI-TLS server: STARTTLS, what may go wrong with it, and what programs of ours see of it.

The server is the test's own: it plays the part of s6-ucspitlsd or sslserver, as ucspi-tls(2) has it. The client is
Python's, and checks the certificate.
"""

import base64
import contextlib
import os
import pathlib
import re
import types

import pytest
from ucspi import Client, UcspiTls, tell

PATIENCE = 30.0
YES = b"235 "
END = b"\0\0"


@pytest.fixture
def serve(ofmipd, pair, resources):
    """Give a function that starts ofmipd under a UCSPI-TLS server, and gives the client, the server and the process."""

    def begin(*checker, environ=None, layout="three", told=tell, descriptors=None, **state):
        server = UcspiTls(resources, pair, layout, told)
        settings = {"UCSPITLS": "", **server.environ, **(environ or {})}
        session = ofmipd(
            *checker,
            environ=settings,
            descriptors={**server.descriptors, **(descriptors or {})},
            stdin=server.plain,
            stdout=server.plain,
            **state,
        )
        server.started()
        client = Client(server.client, pair)
        resources.callback(client.close)
        return types.SimpleNamespace(client=client, server=server, process=session.process, log=session.log)

    return begin


# --- how it goes


@pytest.mark.parametrize("layout", ["three", "one"])
def test_a_session_with_starttls(serve, recorder, mail, events, tools, layout):
    """STARTTLS is offered, done, and over: EHLO anew, AUTH, a message; and all who are told see that TLS was used.

    Programs get what was told of the connection, but no other variable, and none of the descriptors.
    """
    checker, asked = recorder("checker", "read(3)")
    queue, notes = recorder("queue", "read(0); read(1)")
    run = serve(checker, "true", environ={"QMAILQUEUE": str(queue), "UCSPITLS": "!"}, layout=layout)
    client = run.client
    assert client.reply() == b"220 mail.example ESMTP\r\n"
    offered = client.ask(b"EHLO client.example")
    assert b" STARTTLS\r\n" in offered
    assert b"AUTH" not in offered
    assert client.ask(mail.plain(b"joe", b"secret")).startswith(b"530 5.7.0 ")
    assert client.ask(b"STARTTLS") == b"220 2.0.0 ready to start TLS\r\n"
    client.secure()
    offered = client.ask(b"EHLO client.example")
    assert b"STARTTLS" not in offered
    assert b"AUTH PLAIN LOGIN" in offered
    assert client.ask(mail.plain(b"joe", b"secret")).startswith(YES)
    # Nothing is left of the connection in clear, nor of the server's descriptors.
    own = tools.look_at(run.process.pid).descriptors
    assert sorted(own) == [0, 1, 2]
    client.send(mail.whole)
    assert [client.reply()[:3] for _ in range(5)] == [b"250", b"250", b"250", b"354", b"250"]
    assert client.ask(b"QUIT").startswith(b"221 ")
    assert run.process.wait(PATIENCE) == 0
    assert client.rest() == b""
    assert run.server.commands == b"Y"
    (given,) = notes()
    assert b" by mail.example with ESMTPSA; " in given["read"][0]
    environ = given["environ"]
    assert environ[b"SSL_PROTOCOL"].startswith(b"TLSv1.")
    assert environ[b"SSL_CIPHER"]
    assert environ[b"SSL_ODD"] == b"a=b \xff\n"
    for known in (environ, asked()[0]["environ"]):
        assert {name for name in known if name.startswith(b"SSL")} == {b"SSL_PROTOCOL", b"SSL_CIPHER", b"SSL_ODD"}
        assert b"LD_PRELOAD" not in known
    assert environ[b"PATH"] != b"/evil"
    assert sorted(given["descriptors"]) == [0, 1, 2, 4, 6]
    log = run.log()
    (secured,) = events(log, "tls")
    assert secured["protocol"] == environ[b"SSL_PROTOCOL"]
    assert (secured["cipher"], secured["discarded"]) == (environ[b"SSL_CIPHER"], b"0")
    assert events(log, "session")[0]["tls"] == events(log, "auth")[0]["tls"] == b"yes"
    assert b"without TLS" not in log


def test_descriptors_stay_with_us(serve, recorder, mail, extra):
    """A checker that is asked before TLS has none of the server's descriptors, and does not hear of them."""
    checker, notes = recorder("checker", "read(3)")
    run = serve(checker, "true", descriptors={20: extra[20]})
    run.client.reply()
    assert run.client.ask(mail.plain(b"joe", b"secret")).startswith(YES)
    run.client.ask(b"QUIT")
    (given,) = notes()
    assert sorted(given["descriptors"]) == [0, 1, 2, 3]
    assert not [name for name in given["environ"] if name.startswith(b"SSL")]


def test_our_own_checkpassword_sees_no_descriptor(serve, accounts, mail):
    """The short cut works over TLS too."""
    run = serve("checkpassword", "true", environ={"CHECKPW_ACCOUNTS": accounts("joe:{PLAIN}secret::::::\n")})
    run.client.reply()
    run.client.ask(b"STARTTLS")
    run.client.secure()
    assert run.client.ask(mail.plain(b"joe", b"wrong")).startswith(b"535 ")
    assert run.client.ask(mail.plain(b"joe", b"secret")).startswith(YES)
    run.client.ask(b"QUIT")
    assert run.process.wait(PATIENCE) == 0


def test_a_client_that_does_without(serve):
    """A client that never says STARTTLS is served in clear, and the server sees only the end of its socket."""
    run = serve()
    run.client.reply()
    assert run.client.ask(b"MAIL FROM:<a@b>").startswith(b"250 ")
    assert run.client.ask(b"QUIT").startswith(b"221 ")
    assert run.process.wait(PATIENCE) == 0
    assert run.server.commands == b""


def test_a_client_that_goes_away_inside_tls(serve, events):
    """The end of the encrypted connection is the end of the session, with status 0."""
    run = serve()
    run.client.reply()
    run.client.ask(b"STARTTLS")
    run.client.secure()
    run.client.ask(b"EHLO x")
    run.client.close()
    assert run.process.wait(PATIENCE) == 0
    assert events(run.log(), "session")[0]["reason"] == b"eof"


# --- what may not happen


@pytest.mark.parametrize(
    "injected", [b"NOOP\r\n", b"EHLO evil\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n", b"\r\n", b"x"]
)
def test_what_stands_behind_starttls_is_never_executed(serve, events, injected):
    """Plaintext in one segment with STARTTLS is thrown away and logged; nothing of it is answered (CVE-2011-0411)."""
    run = serve()
    client = run.client
    client.reply()
    client.send(b"EHLO first\r\nMAIL FROM:<a@b>\r\nRSET\r\nSTARTTLS\r\n" + injected)
    assert [client.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"220"]
    client.secure()
    assert client.ask(b"VRFY x").startswith(b"252 ")
    assert client.ask(b"RCPT TO:<c@d>").startswith(b"503 ")
    assert client.ask(b"QUIT").startswith(b"221 ")
    assert client.rest() == b""
    assert run.process.wait(PATIENCE) == 0
    (secured,) = events(run.log(), "tls")
    assert secured["discarded"] == b"%d" % len(injected)
    assert b"thrown away" in run.log()


def test_what_comes_in_place_of_a_handshake(serve, events):
    """Commands in clear after the 220 are no handshake: nobody answers them, and the session is over."""
    run = serve()
    run.client.reply()
    run.client.ask(b"STARTTLS")
    run.client.send(b"NOOP\r\nMAIL FROM:<a@b>\r\n" * 10)
    rest = run.client.rest()
    assert b"250" not in rest  # an alert at most
    assert run.process.wait(PATIENCE) == 0
    assert run.server.failure is not None
    log = run.log()
    (tls,) = events(log, "tls")
    assert tls["reason"] == b"the TLS handshake failed"
    (session,) = events(log, "session")
    assert (session["reason"], session["tls"]) == (b"tls", b"no")


def test_a_client_that_hangs_up_before_the_handshake(serve, events):
    """Nobody is left then."""
    run = serve()
    run.client.reply()
    run.client.ask(b"STARTTLS")
    run.client.close()
    assert run.process.wait(PATIENCE) == 0
    assert events(run.log(), "session")[0]["reason"] == b"tls"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (b"", b"the TLS handshake failed"),
        (b"\0", b"the TLS server broke off"),
        (b"SSL_PROTOCOL=TLSv1.3\0", b"the TLS server broke off"),
        (b"SSL_PROTOCOL=TLSv1.3", b"the TLS server broke off"),
        (b"garbage \xff without end", b"the TLS server broke off"),
        (b"SSL_X=" + b"x" * 1_000_000 + END, b"the TLS server tells too much about the connection"),
        (b"SSL_A=b\0" * 200_000 + END, b"the TLS server tells too much about the connection"),
    ],
)
def test_a_server_that_does_not_keep_to_the_interface(serve, events, told, reason):
    """What is told has to come to its end, and to be of a size; else nothing is encrypted, and nobody is served."""

    def cut(connection):
        run.server.control.sendall(told)  # which fails where the program hangs up in the middle of it
        raise OSError("that is all")

    run = serve(told=cut)
    run.client.reply()
    run.client.ask(b"STARTTLS")
    with contextlib.suppress(OSError):
        run.client.secure()
    assert run.process.wait(PATIENCE) == 0
    (tls,) = events(run.log(), "tls")
    assert tls["reason"] == reason
    assert events(run.log(), "session")[0]["reason"] == b"tls"


@pytest.mark.parametrize("told", [END, b"garbage" + END, b"=\0==\0a\0SSL\0SSL_\0" + END[:1], b"SSLCTLFD=1\0\0"])
def test_a_server_that_tells_nothing_of_use(serve, recorder, mail, events, told):
    """The connection is encrypted all the same, and who asks hears that no more is known."""
    queue, notes = recorder("queue", "read(0); read(1)")
    run = serve(told=lambda connection: told, environ={"QMAILQUEUE": str(queue)})
    run.client.reply()
    run.client.ask(b"STARTTLS")
    run.client.secure()
    run.client.ask(b"EHLO x")
    run.client.send(mail.whole + b"QUIT\r\n")
    assert b"250 2.0.0 ok" in run.client.rest()
    assert run.process.wait(PATIENCE) == 0
    (secured,) = events(run.log(), "tls")
    assert (secured["protocol"], secured["cipher"]) == (b"unknown", b"unknown")
    (given,) = notes()
    assert b"with ESMTPS; " in given["read"][0]
    told_on = {name: value for name, value in given["environ"].items() if name.startswith(b"SSL")}
    assert told_on == {b"SSL_PROTOCOL": b"unknown", b"SSL_CIPHER": b"unknown"}


# --- where it is offered


@pytest.mark.parametrize(
    ("environ", "is_offered", "is_required"),
    [
        ({"UCSPITLS": None}, False, False),
        ({"UCSPITLS": "-"}, False, False),
        ({"UCSPITLS": ""}, True, False),
        ({"UCSPITLS": "?"}, True, False),
        ({"UCSPITLS": "@"}, True, False),
        ({"UCSPITLS": "yes"}, True, False),
        ({"UCSPITLS": "!"}, True, True),
        ({"UCSPITLS": "", "OFMIPD_REQUIRE_TLS": ""}, True, True),
        ({"UCSPITLS": "!", "DISABLETLS": ""}, False, False),
        ({"UCSPITLS": "!", "DISABLETLS": "1"}, False, False),
        ({"UCSPITLS": "", "DISABLETLS": "1", "OFMIPD_REQUIRE_TLS": ""}, False, True),
        ({"UCSPITLS": "", "SSL_PROTOCOL": "TLSv1.3"}, False, False),
        ({"UCSPITLS": "!", "SSLCTLFD": None, "SSLREADFD": None, "SSLWRITEFD": None}, False, True),
        ({"UCSPITLS": "", "SSLCTLFD": "", "SSLREADFD": "", "SSLWRITEFD": ""}, False, False),
        ({"UCSPITLS": None, "SSLCTLFD": "nonsense"}, False, False),
        ({"UCSPITLS": "", "DISABLETLS": "", "SSLCTLFD": "1"}, False, False),
    ],
)
def test_the_policy_of_the_administrator(serve, mail, environ, is_offered, is_required):
    """UCSPITLS says whether STARTTLS is offered and needed for AUTH, DISABLETLS says no to both."""
    run = serve("false", "true", environ=environ)
    run.client.reply()
    said = run.client.ask(b"EHLO x")
    assert (b"STARTTLS" in said) == is_offered
    assert (b"AUTH" not in said) == is_required
    assert run.client.ask(mail.plain(b"joe", b"x")).startswith(b"530 " if is_required else b"535 ")
    wanted = b"503 " if "SSL_PROTOCOL" in environ else b"502 "
    assert run.client.ask(b"STARTTLS").startswith(b"220 " if is_offered else wanted) or not is_offered
    run.client.close()
    assert run.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD"])
def test_numbers_that_cannot_be(serve, name):
    """What is no number, one of the descriptors in clear, closed or missing, is said at the start: 451 and 111."""
    for value in ("x", "-1", "0", "1", "2", "07x", "99", "9" * 18, "9" * 30, "7.0", " 7", "\u0667", "", None):
        run = serve(environ={name: value})
        assert run.client.rest().startswith(b"451 4.3.0 ")
        assert run.process.wait(PATIENCE) == 111
        assert run.log().startswith(b"ofmipd: " + name.encode())
        assert run.log().count(b"\n") == 1


def test_the_variables_are_not_believed_beyond_their_word(serve, accounts):
    """Nothing that a client says before TLS reaches what comes after it: not the login, not the greeting."""
    store = accounts("joe:{PLAIN}secret::::::\n")
    run = serve("checkpassword", "true", environ={"CHECKPW_ACCOUNTS": store})
    client = run.client
    client.reply()
    assert client.ask(b"AUTH PLAIN " + base64.b64encode(b"\0joe\0secret")).startswith(YES)
    assert client.ask(b"MAIL FROM:<a@b>").startswith(b"250 ")
    assert client.ask(b"RSET").startswith(b"250 ")
    answer = client.ask(b"STARTTLS")
    assert answer.startswith(b"220 ")
    client.secure()
    assert client.ask(b"MAIL FROM:<a@b>").startswith(b"530 ")
    client.ask(b"QUIT")
    assert run.process.wait(PATIENCE) == 0


def test_a_server_that_is_gone(serve, events):
    """Where nobody listens at the control descriptor any more, TLS cannot begin, and no signal ends us."""
    run = serve()
    run.client.reply()
    run.server.hang_up()
    assert run.client.ask(b"STARTTLS").startswith(b"220 ")
    assert run.process.wait(PATIENCE) == 0
    assert events(run.log(), "tls")[0]["reason"] in (b"[Errno 32] Broken pipe", b"the TLS handshake failed")


def test_a_large_message_over_tls(serve, script, mail):
    """10 MB go through, and nothing is lost."""
    queue = script("queue", "cat >/dev/null; cat <&1 >/dev/null")
    run = serve(environ={"QMAILQUEUE": str(queue), "DATABYTES": "0"})
    client = run.client
    client.reply()
    client.ask(b"STARTTLS")
    client.secure()
    client.send(mail.envelope + b"DATA\r\n" + mail.text)
    block = (b"x" * 70 + b"\r\n") * 14000
    for _ in range(10):
        client.send(block)
    client.send(b".\r\n")
    assert [client.reply()[:3] for _ in range(5)] == [b"250", b"250", b"250", b"354", b"250"]
    client.ask(b"QUIT")
    assert run.process.wait(PATIENCE) == 0
    assert int(re.search(rb" bytes=(\d+) ", run.log())[1]) > 9_000_000


def test_the_descriptors_of_the_client_are_as_before(serve):
    """Descriptors 0 and 1 are there, block, and are not closed at the start of a program."""
    run = serve()
    run.client.reply()
    run.client.ask(b"STARTTLS")
    run.client.secure()
    run.client.ask(b"EHLO x")
    for number in (0, 1):
        flags = pathlib.Path(f"/proc/{run.process.pid}/fdinfo/{number}").read_text().split()
        assert not int(flags[flags.index("flags:") + 1], 8) & (os.O_NONBLOCK | os.O_CLOEXEC)
    run.client.ask(b"QUIT")
