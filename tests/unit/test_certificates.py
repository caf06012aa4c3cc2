"""Certificates: who gets which, by handshakes in memory; what is wrong with those that are refused; and their DER."""

import contextlib
import gc
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpw import certificates
from checkpw.errors import TemporaryFailure
from checkpw.tls import TlsLayer

EC, RSA = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("rsa:2048",)


@pytest.fixture(scope="session")
def forge(refuse, tmp_path_factory):
    """Give a function that makes a certificate as somebody else would, and gives its paths."""
    directory = tmp_path_factory.mktemp("certificates")

    def make(name, subject="/CN=x.example", names=(), kind=EC, days=30):
        cert, key = str(directory / f"{name}.pem"), str(directory / f"{name}.key")
        argv = ["openssl", "req", "-x509", "-nodes", "-newkey", *kind, "-subj", subject, "-days", str(days)]
        if names:
            argv += ["-addext", "subjectAltName=" + ",".join(names)]
        try:
            subprocess.run([*argv, "-keyout", key, "-out", cert], check=True, capture_output=True)
        except FileNotFoundError:
            refuse("peer not installed: openssl")
        return cert, key

    return make


@pytest.fixture(scope="session")
def made(forge):
    """Give a set of certificates."""
    return types.SimpleNamespace(
        first=forge("first", "/CN=unused.example", ["DNS:mail.example", "DNS:Smtp.Example"]),
        rsa=forge("rsa", names=["DNS:mail.example"], kind=RSA),
        wildcard=forge("wildcard", names=["DNS:*.example", "DNS:example", "IP:192.0.2.1", "email:a@mail.example"]),
        common=forge("common", "/O=Somebody/CN=old.test/OU=more/CN=common.test"),
        nameless=forge("nameless", "/O=Somebody"),
    )


def _der(pair):
    return ssl.PEM_cert_to_DER_cert(pathlib.Path(pair[0]).read_text())


def _handshake(context, name, version=None, ciphers=None, trust=None):
    """Shake hands in memory, and give the client's end of the connection."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust is None:
        asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    else:
        asking.load_verify_locations(trust)
    if version is not None:
        asking.minimum_version = asking.maximum_version = version
    if ciphers is not None:
        asking.set_ciphers(ciphers)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert server.version() == client.version() is not None
    return client


def _got(client):
    return client.getpeercert(binary_form=True)


# --- who gets which


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("mail.example", "first"),
        ("MAIL.Example", "first"),
        ("smtp.example", "first"),
        ("imap.example", "wildcard"),
        ("example", "wildcard"),
        ("a.b.example", "first"),
        ("common.test", "common"),
        ("old.test", "first"),
        ("unused.example", "wildcard"),
        ("nobody.test", "first"),
        ("localhost", "first"),
        (None, "first"),
    ],
)
def test_who_gets_which(made, asked, got):
    """The very name, then the wildcard, for one label; else the first certificate."""
    context = certificates.load([made.first, made.wildcard, made.common, made.nameless])
    assert _got(_handshake(context, asked)) == _der(getattr(made, got))


@pytest.mark.parametrize(
    ("asked", "known"), [("IMAP.example", b"IMAP.example"), ("nobody.test", b"nobody.test"), (None, None)]
)
def test_the_name_that_was_asked_for(made, asked, known):
    """Programs behind the server hear of it, whether there is a certificate for it or not."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    server = TlsLayer(certificates.load([made.first, made.wildcard]), server_side=True)
    client = TlsLayer(asking, server_side=False, server_hostname=asked)
    client.do_handshake()
    server.receive(client.outgoing())
    server.do_handshake()
    assert server.describe().get(b"SSL_TLS_SNI") == known


@pytest.mark.parametrize("name", ["mail.example", None])
def test_two_kinds_of_key(made, name):
    """Certificates for one name with different kinds of keys are both there; a client gets what it can verify."""
    context = certificates.load([made.first, made.rsa, made.wildcard])
    assert _got(_handshake(context, name)) == _der(made.first)
    for kind, got in (("RSA", made.rsa), ("ECDSA", made.first)):
        client = _handshake(context, name, ssl.TLSVersion.TLSv1_2, f"ECDHE-{kind}-AES128-GCM-SHA256")
        assert _got(client) == _der(got)


def test_two_certificates_of_one_kind(made, forge):
    """Of two for the same name with the same kind of key, the first counts, also where the other has more names."""
    other = forge("other", names=["DNS:mail.example", "DNS:other.example"])
    context = certificates.load([made.first, other])
    assert _got(_handshake(context, "mail.example")) == _der(made.first)
    assert _got(_handshake(context, "other.example")) == _der(other)


def test_a_certificate_without_names(made):
    """One that is for nobody can be the first, and the others are found all the same."""
    context = certificates.load([made.nameless, made.wildcard])
    assert _got(_handshake(context, "mail.example")) == _der(made.wildcard)
    assert _got(_handshake(context, "nobody.test")) == _der(made.nameless)


def test_keys_are_gone_at_once(made):
    """Nobody has to collect garbage first: a process that is forked meanwhile would have them, too."""

    def contexts():
        return {id(found) for found in gc.get_objects() if isinstance(found, ssl.SSLContext)}

    gc.collect()
    before = contexts()
    gc.disable()
    try:
        context = certificates.load([made.first, made.rsa, made.wildcard, made.nameless])
        assert _handshake(context, "mail.example")
        certificates.let_go(context)
        del context
        assert contexts() <= before
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_versions(made):
    """TLS 1.2 and 1.3 are spoken, and nothing older, whatever the client would do."""
    context = certificates.load([made.first])
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert _handshake(context, None, version).version() == version.name.replace("_", ".")
    with pytest.raises(ssl.SSLError):
        _handshake(context, None, ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        _handshake(certificates.load([made.first], minimum=ssl.TLSVersion.TLSv1_3), None, ssl.TLSVersion.TLSv1_2)


def test_settings(made):
    """No compression, no renegotiation, the server's order of ciphers, one ticket, and nothing negotiated above TLS."""
    context = certificates.load([made.first])
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_CIPHER_SERVER_PREFERENCE):
        assert context.options & option
    assert (context.options & ssl.OP_NO_TICKET, context.num_tickets) == (ssl.OP_NO_TICKET, 0)
    client = _handshake(context, None)
    assert (client.compression(), client.selected_alpn_protocol()) == (None, None)
    for ciphers in ("AES128-SHA", "AES256-GCM-SHA384"):  # without forward secrecy
        with pytest.raises(ssl.SSLError):
            _handshake(certificates.load([made.rsa]), None, ssl.TLSVersion.TLSv1_2, ciphers)


# --- what is refused


@pytest.fixture(scope="session")
def broken(made, tmp_path_factory):
    """Give a function that makes a file, and the paths of some."""
    directory = tmp_path_factory.mktemp("broken")

    def write(name, content):
        path = directory / name
        path.write_bytes(content)
        return str(path)

    cert, key = (pathlib.Path(path).read_bytes() for path in made.first)
    encrypted = str(directory / "encrypted")
    argv = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", made.first[1], "-out", encrypted]
    subprocess.run(argv, check=True, capture_output=True)
    return types.SimpleNamespace(
        both=write("both", b"text before\n" + key + cert + b"text behind\n"),
        chain=write("chain", cert + pathlib.Path(made.wildcard[0]).read_bytes()),
        encrypted=encrypted,
        empty=write("empty", b""),
        binary=write("binary", bytes(range(256)) * 4),
        damaged=write("damaged", cert.replace(b"\nMII", b"\nNII")),
        cut=write("cut", cert[: len(cert) // 2] + b"\n-----END CERTIFICATE-----\n"),
        odd=write("odd", b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n"),
        chain_damaged=write("chain-damaged", cert + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        key_damaged=write("key-damaged", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        directory=str(directory),
        missing=str(directory / "missing"),
    )


def test_one_file(made, broken):
    """Key and certificate may be in one file, in any order and with other things; a chain may follow."""
    assert _got(_handshake(certificates.load([(broken.both, None)]), None)) == _der(made.first)
    assert _got(_handshake(certificates.load([(broken.chain, made.first[1])]), None)) == _der(made.first)


NO_CERTIFICATE, DAMAGED = "there is no certificate in PEM form in it", "a certificate in it is damaged"
NO_KEY = "there is no private key in PEM form in it, or a damaged one"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing", "No such file or directory"),
        ("directory", "Is a directory"),
        ("empty", NO_CERTIFICATE),
        ("binary", NO_CERTIFICATE),
        ("encrypted", NO_CERTIFICATE),
        ("damaged", DAMAGED),
        ("cut", DAMAGED),
        ("odd", DAMAGED),
        ("chain_damaged", DAMAGED),
    ],
)
def test_certificates_that_cannot_be_used(made, broken, file, said):
    """What is wrong with a certificate is said with its name, wherever in the list it stands."""
    path = getattr(broken, file)
    for pairs in ([(path, made.first[1])], [made.first, (path, made.first[1])]):
        with pytest.raises(TemporaryFailure) as caught:
            certificates.load(pairs)
        assert str(caught.value) == f"{path}: {said}"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing", "No such file or directory"),
        ("directory", "Is a directory"),
        ("empty", NO_KEY),
        ("binary", NO_KEY),
        ("chain", NO_KEY),
        ("key_damaged", NO_KEY),
        ("encrypted", "the key is encrypted, and nobody is there to be asked for its password"),
    ],
)
def test_keys_that_cannot_be_used(made, broken, file, said):
    """What is wrong with a key is said with its name, also of a certificate that no name leads to."""
    path = getattr(broken, file)
    for pairs in ([(made.first[0], path)], [made.first, (made.first[0], path)], [made.first, (made.nameless[0], path)]):
        with pytest.raises(TemporaryFailure) as caught:
            certificates.load(pairs)
        assert str(caught.value) == f"{path}: {said}"


def test_the_key_of_another(made):
    """A key that is not the certificate's is named together with it, also if it is that of the certificate before."""
    for pair in ((made.first[0], made.wildcard[1]), (made.first[0], made.rsa[1]), (made.rsa[0], made.first[1])):
        for pairs in ([pair], [made.first, pair]):
            with pytest.raises(TemporaryFailure) as caught:
                certificates.load(pairs)
            assert str(caught.value) == f"{pair[1]}: this is not the key of {pair[0]}"


def test_what_openssl_does_not_like(forge):
    """What OpenSSL has against a certificate is said in its words."""
    weak = forge("weak", kind=("rsa:1024",))
    with pytest.raises(TemporaryFailure) as caught:
        certificates.load([weak])
    assert str(caught.value) == f"{weak[0]}, key {weak[1]}: ee key too small"


def test_files_that_may_not_be_read(made, monkeypatch):
    """A file that may not be read is named."""
    cert, key = made.first
    really = open
    for path in (cert, key):

        def refuse(name, mode, path=path):
            if name == path:
                raise PermissionError(13, "Permission denied")
            return really(name, mode)

        monkeypatch.setattr("builtins.open", refuse)
        with pytest.raises(TemporaryFailure, match=f"^{path}: Permission denied$"):
            certificates.load([made.first])


def test_a_terminal_is_not_asked(made, broken):
    """An encrypted key ends a program that has a terminal at once, too."""
    text = "import sys; sys.path.insert(0, sys.argv[1]); from checkpw import certificates; "
    text += "certificates.load([(sys.argv[2], sys.argv[3])])"
    root = str(pathlib.Path(certificates.__file__).parents[1])
    controlling, terminal = os.openpty()
    words = [sys.executable, "-c", text, root, made.first[0], broken.encrypted]
    begin = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    begin += "os.execv(sys.argv[1], sys.argv[1:])"
    ran = subprocess.run(
        [sys.executable, "-c", begin, *words],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.set_blocking(controlling, False)
    os.close(terminal)
    with pytest.raises(OSError, match=r"Input/output error|temporarily"):
        assert not os.read(controlling, 100)
    os.close(controlling)
    assert b"the key is encrypted" in ran.stderr


# --- what a certificate says


def test_names(made):
    """DNS names of the extension, else the last common name; neither addresses nor what is no name."""
    names = {name: certificates.read(pair[0]).names for name, pair in vars(made).items()}
    assert names == {
        "first": ("mail.example", "smtp.example"),
        "rsa": ("mail.example",),
        "wildcard": ("*.example", "example"),
        "common": ("common.test",),
        "nameless": (),
    }


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        ("/CN=a b.example", ()),
        ("/CN=*", ()),
        ("/CN=a.*.example", ()),
        ("/CN=*.example.", ("*.example",)),
        ("/CN=xn--mller-kva.example", ("xn--mller-kva.example",)),
        ("/CN=m\u00fcller.example", ()),
    ],
)
def test_what_is_a_name(forge, subject, names):
    """A name consists of labels; a wildcard is the whole first one."""
    assert certificates.read(forge("odd", subject)[0]).names == names


def test_kinds_of_keys(made, forge):
    """Keys of one kind have one identifier: rsaEncryption, ecPublicKey, Ed25519."""
    kinds = [certificates.read(pair[0]).key_type.hex() for pair in (made.first, made.rsa, made.wildcard)]
    assert kinds == ["2a8648ce3d0201", "2a864886f70d010101", "2a8648ce3d0201"]
    assert certificates.read(forge("edwards", kind=("ed25519",))[0]).key_type.hex() == "2b6570"


def test_ends(made, forge):
    """The end is that which OpenSSL prints, before and after 2050, when the way in which it is written changes."""
    for pair in (made.first, forge("long", days=365 * 40)):
        argv = ["openssl", "x509", "-noout", "-enddate", "-in", pair[0]]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]
        assert certificates.read(pair[0]).expires == ssl.cert_time_to_seconds(said)
    assert certificates._time(0x17, b"491231235959Z") == 2524607999
    assert certificates._time(0x17, b"500101000000Z") == -631152000
    assert certificates._time(0x18, b"20500101000000Z") == 2524608000


def test_what_expires(made):
    """A line for each certificate that ends soon or has ended."""
    end = certificates.read(made.first[0]).expires
    day = 86400
    path = made.first[0]
    assert certificates.expiring([made.first], end - 15 * day) == []
    assert certificates.expiring([made.first], end - 15 * day, 20) == [f"{path}: the certificate expires in 15 days"]
    assert certificates.expiring([made.first], end - 3 * day) == [f"{path}: the certificate expires in 3 days"]
    assert certificates.expiring([made.first], end + 3 * day) == [f"{path}: the certificate has expired 3 days ago"]
    assert len(certificates.expiring([made.first, made.first], end)) == 2


def test_a_certificate_of_version_1(made, tmp_path):
    """A certificate from before extensions says the same, by its subject."""
    request, old = str(tmp_path / "request"), str(tmp_path / "old")
    key = made.first[1]
    subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=old.example", "-out", request], check=True)
    argv = ["openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", "9", "-out", old]
    extensions = tmp_path / "none"
    extensions.touch()
    subprocess.run([*argv, "-extfile", extensions], check=True, capture_output=True)
    printed = subprocess.run(["openssl", "x509", "-in", old, "-noout", "-text"], check=True, capture_output=True).stdout
    assert b"X509v3" not in printed
    assert certificates.read(old).names == ("old.example",)
    assert certificates.read(old).key_type.hex() == "2a8648ce3d0201"


def test_a_certificate_that_is_cut_off(made):
    """No beginning of a certificate is one, and nothing may follow it."""
    good = _der(made.first)
    for text in [good[:end] for end in range(len(good))] + [good + b"\x05\0", good * 2]:
        with pytest.raises(ValueError, match=r"\w"):
            certificates.parse(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"\x04\x02ab\x05\0", [(4, b"ab"), (5, b"")]),
        (b"\x04\x7f" + b"x" * 127, [(4, b"x" * 127)]),
        (b"\x04\x81\x80" + b"x" * 128, [(4, b"x" * 128)]),
        (b"\x04\x82\x01\x00" + b"x" * 256, [(4, b"x" * 256)]),
        (b"", None),
        (b"\x04", None),
        (b"\x04\x02a", None),
        (b"\x04\x81", None),
        (b"\x04\x80\0\0", None),
        (b"\x1f\x01a", None),
        (b"\x3f\x01a", None),
    ],
)
def test_der(text, values):
    """Tags of one byte, lengths of any size but not without one, and nothing that is not here."""
    if values is None:
        with pytest.raises(ValueError, match=r"\w"):
            certificates._children(text)
    else:
        assert certificates._children(text) == values


def test_no_endless_lists():
    """A file of nothing but small values costs no more than some of them."""
    assert len(certificates._children(b"\x05\0" * 10_000)) == 10_000
    with pytest.raises(ValueError, match="not here"):
        certificates._children(b"\x05\0" * 10_001)


@given(st.data())
@settings(max_examples=300)
def test_damage(made, data):
    """A certificate that is changed anywhere, and any other bytes, are read or are an error of one kind."""
    good = _der(data.draw(st.sampled_from([made.first, made.common])))
    changed = bytearray(good)
    for at in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=4)):
        changed[at] = data.draw(st.integers(0, 255))
    start, end = data.draw(st.integers(0, 3)), data.draw(st.integers(0, len(good)))
    for text in (bytes(changed), bytes(changed[start:]), bytes(changed[:end]), data.draw(st.binary(max_size=80))):
        with contextlib.suppress(ValueError):
            parsed = certificates.parse(text)
            assert all(name == name.lower() for name in parsed.names)


# --- one to try things with


@pytest.mark.parametrize("hostname", ["localhost", "Mail.Example", "127.0.0.1", "a" * 60 + ".example"])
def test_self_signed(refuse, tmp_path, hostname):
    """A client that trusts it, and only it, is content with it for that name; nobody else reads the key."""
    if shutil.which("openssl") is None:
        refuse("peer not installed: openssl")
    pair = certificates.self_signed(str(tmp_path), hostname)
    assert _got(_handshake(certificates.load([pair]), hostname, trust=pair[0])) == _der(pair)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(certificates.load([pair]), "other.example", trust=pair[0])
    assert os.stat(pair[1]).st_mode & 0o777 == 0o600
    assert 29 * 86400 < certificates.read(pair[0]).expires - time.time() < 31 * 86400


@pytest.mark.parametrize(
    "hostname", ["", "a b", "a\nb = c", "a,IP:192.0.2.1", "*.*.example", "m\u00fcller.example", "::1"]
)
def test_self_signed_for_nobody(tmp_path, hostname):
    """What is no name is refused before any program sees it."""
    with pytest.raises(TemporaryFailure, match="is no name"):
        certificates.self_signed(str(tmp_path), hostname)


def test_no_openssl(monkeypatch, tmp_path):
    """Without the program, it is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TemporaryFailure, match="the program openssl is not installed"):
        certificates.self_signed(str(tmp_path), "localhost")


@pytest.mark.parametrize(
    ("text", "said"), [("echo sorry >&2; exit 3", "openssl says sorry"), ("exit 3", "says nothing")]
)
def test_an_openssl_that_fails(monkeypatch, tmp_path, text, said):
    """What the program says is passed on."""
    program = tmp_path / "openssl"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    with pytest.raises(TemporaryFailure, match=said):
        certificates.self_signed(str(tmp_path), "localhost")
    program.unlink()
    with pytest.raises(TemporaryFailure, match="No such file"):
        certificates.self_signed(str(tmp_path), "localhost")
