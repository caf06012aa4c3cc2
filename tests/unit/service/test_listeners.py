"""Places to listen at: how they are written, and what is made of them."""

import os
import socket

import pytest

from checkpw.errors import TemporaryFailure
from checkpw.service.listeners import PLAIN, STARTTLS, TLS, Listener, Wanted, listen


@pytest.mark.parametrize(
    ("text", "place", "kind", "is_proxied"),
    [
        ("127.0.0.1:587", ("127.0.0.1", 587), None, False),
        (":465,tls", ("", 465), TLS, False),
        ("[::1]:587,starttls,proxy", ("::1", 587), STARTTLS, True),
        ("/run/x.sock,plain", "/run/x.sock", PLAIN, False),
        ("mail.example:25,proxy", ("mail.example", 25), None, True),
    ],
)
def test_what_can_be_written(text, place, kind, is_proxied):
    """A place and flags in any order."""
    wanted = Wanted(text)
    assert (wanted.place, wanted.kind, wanted.is_proxied) == (place, kind, is_proxied)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "587",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "::1:587",
        "h:1,tls,plain",
        "h:1,proxy,proxy",
        "h:1,TLS",
        "h:1,",
    ],
)
def test_what_cannot(text):
    """Anything else is told with what would do."""
    with pytest.raises(ValueError, match=r"want|brackets"):
        Wanted(text)


@pytest.mark.parametrize(
    ("text", "has_certificate", "kind"),
    [
        ("h:465", True, TLS),
        ("h:587", True, STARTTLS),
        ("h:587", False, PLAIN),
        ("h:465,plain", True, PLAIN),
        ("/x", True, STARTTLS),
    ],
)
def test_the_kind_that_goes_without_saying(text, has_certificate, kind):
    """Port 465 begins with TLS (RFC 8314), others offer it if there is a certificate."""
    assert Wanted(text).kind_with(has_certificate=has_certificate) == kind


@pytest.mark.parametrize("text", ["h:465", "h:587,starttls", "h:587,tls"])
def test_tls_needs_a_certificate(text):
    """Without one it is refused, and not left out."""
    with pytest.raises(ValueError, match="--tls-cert"):
        Wanted(text).kind_with(has_certificate=False)


def test_listening():
    """The socket listens, does not block, and knows our end of each connection if that is always the same."""
    (one,) = listen(Wanted("127.0.0.1:0"))
    with one:
        assert one.gettimeout() == 0
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert Listener(one, "x", PLAIN, is_proxied=False).here == one.getsockname()
        with pytest.raises(TemporaryFailure, match="in use"):
            listen(Wanted(f"127.0.0.1:{one.getsockname()[1]}"))
    (everywhere,) = listen(Wanted("0.0.0.0:0"))
    with everywhere:
        assert Listener(everywhere, "x", PLAIN, is_proxied=False).here is None


def test_unix_sockets(tmp_path):
    """One that nobody listens on is replaced; a file, and one that somebody listens on, are left alone."""
    path = tmp_path / "socket"
    (first,) = listen(Wanted(str(path)))
    with pytest.raises(TemporaryFailure):
        listen(Wanted(str(path)))
    first.close()
    (second,) = listen(Wanted(str(path)))
    second.close()
    (tmp_path / "file").write_text("mine", encoding="ascii")
    with pytest.raises(TemporaryFailure):
        listen(Wanted(str(tmp_path / "file")))
    assert (tmp_path / "file").read_text(encoding="ascii") == "mine"


def test_the_end_of_a_unix_socket(tmp_path, monkeypatch):
    """Its file goes with it, once: what has its name afterwards is somebody else's. Who may not remove it leaves it."""
    path = tmp_path / "socket"
    listener = Listener(*listen(Wanted(str(path))), str(path), PLAIN, is_proxied=False)
    listener.close()
    assert not path.exists()
    (other,) = listen(Wanted(str(path)))
    with other:
        listener.close()
        assert path.is_socket()
    listener = Listener(*listen(Wanted(str(path))), str(path), PLAIN, is_proxied=False)
    monkeypatch.setattr(os, "unlink", _refuse)
    listener.close()
    assert path.is_socket()


def _refuse(_path):
    raise PermissionError
