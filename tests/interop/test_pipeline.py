"""ofmipd in a shell pipeline, as scripts use it: a dialogue goes in by printf, and its output is examined."""

import base64

import pytest

PLAIN = base64.b64encode(b"\0joe\0secret").decode()
DIALOGUE = (
    "EHLO script",
    f"AUTH PLAIN {PLAIN}",
    "MAIL FROM:<joe@example.org>",
    "RCPT TO:<ann@example.net>",
    "DATA",
    "Subject: from a script",
    "",
    "Good morning.",
    ".",
    "QUIT",
)


@pytest.fixture
def pipeline(run, programs, tmp_path):
    """Give a function that runs a line of shell where our programs are on the PATH."""
    accounts = tmp_path / "accounts"
    accounts.write_text("joe:{PLAIN}secret::::::\n", encoding="ascii")
    accounts.chmod(0o600)

    def shell(line, **environment):
        settings = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "CHECKPW_ACCOUNTS": f"file:{accounts}",
            "OFMIPD_QUEUE": f"maildir:{tmp_path}/Maildir",
            "OFMIPD_AUTH_DELAY": "0.2",
        }
        return run(["/bin/sh", "-c", line], **{**settings, **environment})

    return shell


@pytest.fixture
def messages(tmp_path):
    """Give a function that reads what arrived."""

    def read():
        return [path.read_text(encoding="ascii") for path in tmp_path.glob("Maildir/new/*")]

    return read


LF, CRLF = r"\n", r"\r\n"
OFMIPD = "ofmipd '' mail.example checkpassword true 2>/dev/null"


def _printf(*lines, end=LF):
    return "printf '" + "".join(line + end for line in lines) + "'"


def _codes(output):
    """Give the code of each reply, the lines of one reply counted once."""
    return [int(line[:3]) for line in output.splitlines() if line[3:4] == b" "]


def test_a_script_that_ends_its_lines_with_lf_is_understood(pipeline, messages):
    """Without a network a session may speak LF: LF.LF ends the message, and it arrives."""
    ended = pipeline(f"{_printf(*DIALOGUE)} | {OFMIPD}")
    assert ended.returncode == 0
    assert _codes(ended.stdout) == [220, 250, 235, 250, 250, 354, 250, 221]
    (message,) = messages()
    assert message.startswith("Return-Path: <joe@example.org>\nDelivered-To: ann@example.net\nReceived: (ofmipd joe")
    assert message.endswith("\n\nGood morning.\n")


def test_a_script_that_ends_its_lines_with_crlf_gets_crlf(pipeline, messages):
    """The same dialogue with CRLF is answered with CRLF, and the same message arrives."""
    ended = pipeline(f"{_printf(*DIALOGUE, end=CRLF)} | {OFMIPD}")
    assert ended.returncode == 0
    assert ended.stdout.count(b"\r\n") == ended.stdout.count(b"\n")
    assert _codes(ended.stdout) == [220, 250, 235, 250, 250, 354, 250, 221]
    (message,) = messages()
    assert message.endswith("\n\nGood morning.\n")


def test_over_a_network_lf_dot_lf_ends_nothing(pipeline, messages):
    """With a client's address in the environment the same LF dialogue leaves no message: its data never end."""
    ended = pipeline(f"{_printf(*DIALOGUE)} | {OFMIPD}", TCPREMOTEIP="192.0.2.1")
    assert ended.returncode == 0
    assert 221 not in _codes(ended.stdout)
    assert messages() == []


def test_relayclient_lets_a_script_skip_auth(pipeline, messages):
    """RELAYCLIENT in the environment, as a shell sets it, is enough; no checker need be named."""
    dialogue = [line for line in DIALOGUE if not line.startswith("AUTH")]
    ended = pipeline(f"{_printf(*dialogue)} | RELAYCLIENT= ofmipd '' 2>/dev/null")
    assert ended.returncode == 0
    assert _codes(ended.stdout) == [220, 250, 250, 250, 354, 250, 221]
    assert len(messages()) == 1


def test_nothing_is_relayed_when_nothing_is_configured(pipeline, messages):
    """Neither a checker nor RELAYCLIENT: every step of a transaction is refused."""
    ended = pipeline(f"{_printf(*DIALOGUE[2:5], 'QUIT')} | ofmipd '' 2>/dev/null")
    assert ended.returncode == 0
    assert _codes(ended.stdout) == [220, 530, 530, 530, 221]
    assert messages() == []


@pytest.mark.parametrize(("password", "word"), [("secret", b"yes\n"), ("wrong", b"no: 1\n")])
def test_a_script_asks_checkpassword_itself(pipeline, password, word):
    """printf, a redirection and an exit status are all that a script needs."""
    ended = pipeline(
        rf"printf 'joe\0{password}\0\0' | checkpassword true 3<&0 </dev/null 2>/dev/null && echo yes || echo no: $?"
    )
    assert ended.stdout == word


def test_a_script_counts_the_verdicts_in_the_log(pipeline):
    """The log on standard error is lines of words: grep and cut are enough to read it."""
    wrong = base64.b64encode(b"\0joe\0wrong").decode()
    dialogue = ["EHLO script", *3 * [f"AUTH PLAIN {wrong}"], f"AUTH PLAIN {PLAIN}", "QUIT"]
    ended = pipeline(
        f"{_printf(*dialogue)} | ofmipd '' mail.example checkpassword true 2>&1 >/dev/null"
        " | grep ' event=auth ' | tr ' ' '\\n' | grep '^verdict=' | sort | uniq -c | tr -s ' '"
    )
    assert ended.stdout == b" 1 verdict=accepted\n 3 verdict=rejected\n"
