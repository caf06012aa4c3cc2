"""checkpw service: what no service can be made of."""

import pytest

BASE = ["--programs", "/opt/bin", "--hostname", "mail.example"]


@pytest.mark.parametrize(
    ("kind", "words", "complaint"),
    [
        ("s6", ["--user", "root"], "not root"),
        ("s6", ["--user", "joe doe"], "no name"),
        ("s6", ["--user", "joe\n"], "no name"),
        ("s6", ["--hostname", "a/b"], "no name"),
        ("s6", ["--hostname", "-x"], "no name"),
        ("s6", ["--group", "$(id)"], "no name"),
        ("s6", ["--log-user", "x;y"], "no name"),
        ("s6", ["--tls-cert", "c.pem"], "absolute path"),
        ("s6", ["--tls-key", "/k.pem"], "without --tls-cert"),
        ("s6", ["--accounts", "ldap://x"], "--accounts"),
        ("s6", ["--accounts", "file:/a\nb"], "line end"),
        ("s6", ["--queue", "mbox:/x"], "--queue"),
        ("s6", ["--options", "'"], "--options"),
        ("s6", ["--env", "ODD"], "NAME=VALUE"),
        ("s6", ["--env", "A-B=1"], "NAME=VALUE"),
        ("s6", ["--programs", "/a b"], "absolute path of letters"),
        ("s6", ["--programs", "bin"], "absolute path of letters"),
        ("rc.d", ["--qmail", "/a$b"], "absolute path of letters"),
        ("rc.d", ["--rc-subr", "rc.subr"], "absolute path of letters"),
        ("s6", ["--listen", ":465"], "needs --tls-cert"),
        ("s6", ["--listen", "nowhere"], "want ADDRESS:PORT"),
        ("s6", ["--program", "ofmipd", "--options", "--x"], "takes no options"),
        ("s6", ["--program", "ofmipd", "--listen", ":26"], "in clear"),
        ("s6", ["--program", "ofmipd", "--listen", "192.0.2.1:26"], "in clear"),
        ("s6", ["--program", "ofmipd", "--listen", "127.0.0.1:26,plain"], "UCSPI server"),
        ("s6", ["--program", "ofmipd", "--listen", "/run/x"], "UCSPI server"),
        ("s6", ["--program", "ofmipd", "--listen", "127.0.0.1:26", "--listen", "127.0.0.1:27"], "one place"),
        ("s6", ["--program", "checkpw-verifierd", "--listen", ":1"], "/PATH"),
        ("s6", ["--program", "checkpw-verifierd", "--accounts", "verifier:/x"], "asks no verifier"),
        ("s6", ["--root"], "for systemd"),
        ("systemd", ["--program", "ofmipd", "--tls-cert", "/c.pem"], "speaks no TLS"),
        ("systemd", ["--listen", "localhost:26"], "no names of hosts"),
        ("inittab", [], "Invalid value"),
    ],
)
def test_what_no_service_can_be_made_of(checkpw, kind, words, complaint):
    """It is said now, with status 2, and nothing is printed."""
    done = checkpw("service", kind, *BASE, *words)
    assert (done.status, done.out) == (2, "")
    assert complaint in done.err


def test_misuse_is_one_line(checkpw):
    """The first complaint is said, and no other."""
    assert len(checkpw("service", "s6", *BASE, "--user", "root", "--queue", "x").err.splitlines()) == 1
