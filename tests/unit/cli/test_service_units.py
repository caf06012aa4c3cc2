"""checkpw service systemd: who needs root, what a unit may, and how systemd reads its words."""

import pytest

BASE = ["--programs", "/opt/bin", "--hostname", "mail.example"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--accounts", "file:/a", "--queue", "maildir:/m"], None),
        (["--accounts", "verifier:/v", "--queue", "smtps://hop"], None),
        (["--accounts", "file:/a", "--queue", "lmtp:///s"], None),
        (["--queue", "maildir:/m"], "system: is read by root"),
        (["--accounts", "file:/a"], "setuid"),
        (["--accounts", "file:/a", "--queue", "sendmail:/s"], "setuid"),
        (["--accounts", "file:/a", "--queue", "maildir:/m", "--door-user", "ann"], "at the door"),
        (["--accounts", "file:/a", "--queue", "maildir:/m", "--user", ""], "no --user"),
        (["--program", "authup", "--accounts", "file:/a", "--queue", "maildir:/m"], "becomes the user"),
        (["--program", "checkpw-verifierd"], "system: is read by root"),
        (["--program", "checkpw-verifierd", "--accounts", "file:/a", "--user", "vmail"], None),
    ],
)
def test_who_needs_root(checkpw, service, words, reason):
    """A unit begins as its user where that can be, and says why where it cannot; --unprivileged then is refused."""
    text = service("systemd", *words)
    assert ("\nUser=" in text) == (reason is None)
    refused = checkpw("service", "systemd", *BASE, *words, "--unprivileged")
    if reason is None:
        assert refused.status == 0
        assert "# Started as root: as asked for." in service("systemd", *words, "--root")
    else:
        assert reason in text
        assert refused.status == 2
        assert reason in refused.err


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--queue", "maildir:/m"], ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "ReadWritePaths=/m"]),
        (["--queue", "smtp://h"], ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]),
        (["--queue", "lmtp://h:24"], ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]),
        (["--queue", "lmtp:///s"], ["PrivateNetwork=yes"]),
        (["--queue", "maildir:/m", "--", "vchkpw", "true"], ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]),
    ],
)
def test_a_unit_has_the_network_that_it_needs(service, words, lines):
    """Only a next hop, and a checker that nobody knows, need one."""
    text = service("systemd", "--accounts", "file:/a", *words)
    assert [line for line in lines if f"\n{line}\n" not in text] == []
    assert ("PrivateNetwork=yes" in text) == ("AF_INET" not in text)


def test_a_verifier_is_believed_by_its_user(service):
    """PrivateUsers= would make nobody of a verifier that is not root."""
    words = ["--queue", "maildir:/m", "--accounts"]
    assert "PrivateUsers=yes" in service("systemd", *words, "file:/a")
    assert "PrivateUsers" not in service("systemd", *words, "verifier:/v")


def test_words_as_systemd_reads_them(service):
    """Percent, dollar, quotes and blanks stay what they are; keys come from credentials."""
    words = ["--accounts", "file:/a%b $c", "--queue", "maildir:/m%", "--env", 'ODD=it\'s "$x" \\ 5%']
    text = service("systemd", *words, "--tls-cert", "/c%.pem", "--tls-key", "/k.pem")
    assert '--accounts "file:/a%%b $$c"' in text
    assert "ReadWritePaths=/m%%\n" in text
    assert 'Environment="ODD=it\'s \\"$x\\" \\\\ 5%%"' in text
    assert "--tls-cert %d/cert.pem --tls-key %d/key.pem" in text
    assert "LoadCredential=cert.pem:/c%%.pem\nLoadCredential=key.pem:/k.pem\n" in text
    root = service("systemd", "--tls-cert", "/c.pem")
    assert "--tls-cert /c.pem" in root
    assert "LoadCredential" not in root


def test_sockets_by_how_they_are_spoken_to(service):
    """Places that are spoken to in one way share a socket unit; another way has another, and the service has both."""
    places = [":587", "127.0.0.1:26,plain", ":465", "/run/x,tls,proxy"]
    text = service("systemd", "--tls-cert", "/c.pem", *(word for place in places for word in ("--listen", place)))
    units = {part.split()[0]: part for part in text.split("### ")[1:]}
    names = ["submissiond.socket", "submissiond-plain.socket", "submissiond-tls-proxy.socket"]
    assert list(units) == [*names, "submissiond.service"]
    streams = [[line[13:] for line in units[name].splitlines() if line.startswith("ListenStream=")] for name in names]
    assert streams == [["587", "465"], ["127.0.0.1:26"], ["/run/x"]]
    assert "FileDescriptorName=plain\nService=submissiond.service\n" in units[names[1]]
    for setting in ("Requires=", "Sockets=", "Also="):
        assert f"{setting}{' '.join(names)}\n" in units["submissiond.service"]
    assert "--listen" not in units["submissiond.service"]


def test_a_process_for_each_client(service):
    """ofmipd gets each connection as its input and output, and so many at most."""
    text = service("systemd", "--program", "ofmipd", "--connections", "9")
    assert "Accept=yes\nMaxConnections=9\n" in text
    assert "### ofmipd@.service" in text
    assert "StandardInput=socket\nStandardError=journal\n" in text
