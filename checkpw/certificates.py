"""The server's certificates: which one a client gets, and what is wrong with those that cannot be used.

OpenSSL reads the files and does the work. What it does not tell a Python program, for which names a certificate is and
how long, is read from the certificate here; nothing here decides whether one is good, which is for clients to do.
Sources: RFC 5280 (certificates), X.690 (DER), RFC 6066 section 3 (the name that a client asks for), RFC 9525 (names).
"""

import os
import re
import shutil
import ssl
import subprocess
from calendar import timegm
from time import strptime

from checkpw.errors import TemporaryFailure
from checkpw.tls import choose_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Pair = tuple[str, str | None]
    """Paths of a certificate, with its chain behind it, and of its key; None if that is in the same file."""

MAX_FILE = 1 << 20
"""Bytes of a certificate's file: a chain of four is 8 KiB."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# Object identifiers, encoded: commonName, subjectAltName (RFC 5280 appendix A).
_COMMON_NAME, _ALT_NAME = bytes.fromhex("550403"), bytes.fromhex("551d11")
# Tags: OCTET STRING and UTCTime; of a certificate version and extensions; of a name that it is a DNS name.
_OCTETS, _UTC_TIME, _VERSION, _EXTENSIONS, _DNS_NAME = 0x04, 0x17, 0xA0, 0xA3, 0x82
# What OpenSSL calls a key that belongs to another certificate, of the same kind or of another.
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_NAME_CHARACTERS = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")


CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""For TLS 1.2, only those with forward secrecy: what Python has by itself, unless a distribution has built it so that
OpenSSL's own list counts, as Debian does (ciphers(1))."""


class Certificate:
    """What a certificate says of itself.

    Attributes:
        names: DNS names, in lower case; the first label may be `*`. Those of the extension subjectAltName, else the
            common name.
        key_type: identifier of the kind of its key, encoded; a server can have a certificate of each kind.
        expires: when it ends, in seconds since 1970.
    """

    __slots__ = ("expires", "key_type", "names")

    def __init__(self, names: tuple[str, ...], key_type: bytes, expires: int) -> None:
        self.names = names
        self.key_type = key_type
        self.expires = expires


def read(path: str) -> Certificate:
    """Read the first certificate of a PEM file, which the others vouch for; raises `TemporaryFailure`."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE)
    except OSError as error:
        raise TemporaryFailure(f"{path}: {error.strerror}") from None
    found = _PEM.findall(text)
    if not found:
        raise TemporaryFailure(f"{path}: there is no certificate in PEM form in it")
    try:
        chain = [ssl.PEM_cert_to_DER_cert(each.decode("ascii")) for each in found]
        # OpenSSL's own opinion, here, because later it does not tell a damaged certificate from a damaged key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=b"".join(chain))
        return parse(chain[0])
    except (ValueError, ssl.SSLError):
        raise TemporaryFailure(f"{path}: a certificate in it is damaged") from None


def parse(encoded: bytes) -> Certificate:
    """Read a certificate in DER form; raises `ValueError` if it is none."""
    ((_, certificate),) = _children(encoded, 1)
    fields = _children(_children(certificate)[0][1])
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    if len(fields) < 6:
        raise ValueError("fields are missing")
    _, _, _, validity, subject, key = (content for _, content in fields[:6])
    names = [name for tag, content in fields[6:] if tag == _EXTENSIONS for name in _alternative_names(content)]
    if not names:
        names = _common_names(subject)
    lowered = (name.decode("ascii", "replace").lower() for name in names)
    usable = dict.fromkeys(name.rstrip(".") for name in lowered if _NAME_CHARACTERS.fullmatch(name))
    algorithm = _children(_children(key)[0][1])[0]
    _, end = _children(validity)
    return Certificate(tuple(usable), algorithm[1], _time(*end))


def _children(data: bytes, most: int = 10_000) -> list[tuple[int, bytes]]:
    """Return tag and content of each value in some DER, of which there must be at least one."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data) or not found:
        if len(data) - at < 2:
            raise ValueError("cut off")
        tag, size = data[at], data[at + 1]
        at += 2
        if size > 0x80:
            digits = size & 0x7F
            size = int.from_bytes(data[at : at + digits], "big")
            at += digits
        elif size == 0x80:
            raise ValueError("a length that is not DER")
        if tag & 0x1F == 0x1F or at + size > len(data) or len(found) == most:
            raise ValueError("a value that is not here")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _alternative_names(extensions: bytes) -> list[bytes]:
    found = []
    for _, extension in _children(_children(extensions, 1)[0][1]):
        (_, identifier), *rest = _children(extension)
        if identifier == _ALT_NAME and rest and rest[-1][0] == _OCTETS:
            found += [name for tag, name in _children(_children(rest[-1][1], 1)[0][1]) if tag == _DNS_NAME]
    return found


def _common_names(subject: bytes) -> list[bytes]:
    found = []
    for _, several in _children(subject) if subject else []:
        for _, attribute in _children(several):
            (_, identifier), *rest = _children(attribute)
            if identifier == _COMMON_NAME and rest:
                found.append(rest[0][1])
    return found[-1:]  # the most specific one (RFC 9525 appendix A)


def _time(tag: int, content: bytes) -> int:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text  # RFC 5280 section 4.1.2.5.1
    return timegm(strptime(text, "%Y%m%d%H%M%SZ"))


def expiring(pairs: "list[Pair]", now: float, days: float = 14.0) -> list[str]:
    """Return a line for each certificate that ends within some days, or has ended; raises `TemporaryFailure`."""
    lines = []
    for path, _ in pairs:
        left = (read(path).expires - now) / 86400
        if left < 0:
            lines.append(f"{path}: the certificate has expired {-left:.0f} days ago")
        elif left < days:
            lines.append(f"{path}: the certificate expires in {left:.0f} days")
    return lines


# --- contexts


def load(pairs: "list[Pair]", *, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """Return the context of a server with these certificates.

    A client that asks for a name gets the certificate for it, one with that very name before one with a `*`. Who asks
    for another name, or for none, gets the first. Certificates for one name with keys of different kinds go together:
    OpenSSL takes the one that the client can verify.

    Raises:
        TemporaryFailure: a file is missing, unreadable or damaged, a key is encrypted, or not the certificate's. Names
            the file.
    """
    certificates = [read(path) for path, _ in pairs]
    contexts: dict[tuple[int, ...], ssl.SSLContext] = {}

    def context_of(group: tuple[int, ...]) -> ssl.SSLContext:
        if group not in contexts:
            contexts[group] = _context([pairs[number] for number in group], minimum)
        return contexts[group]

    by_name = {
        name: context_of(_group(name, certificates)) for certificate in certificates for name in certificate.names
    }
    # Each file is looked at, also one that no name leads to.
    for number in range(len(pairs)):
        context_of((number,))
    first = certificates[0]
    default = by_name[first.names[0]] if first.names else context_of((0,))
    choose_by_name(default, _finder(by_name))
    return default


def let_go(context: ssl.SSLContext) -> None:
    """Have a context of `load`, and OpenSSL the keys in it, gone as soon as nobody refers to it.

    By the callback that chooses among the others it refers to itself, and would stay until somebody collects garbage.
    """
    context.sni_callback = None


def _group(name: str, certificates: list[Certificate]) -> tuple[int, ...]:
    """Return the numbers of the certificates for a name: the first for each kind of key."""
    kinds: dict[bytes, int] = {}
    for number, certificate in enumerate(certificates):
        if name in certificate.names:
            kinds.setdefault(certificate.key_type, number)
    return tuple(kinds.values())


def _finder(by_name: dict[str, ssl.SSLContext]) -> "Callable[[str], ssl.SSLContext | None]":
    def find(name: str) -> ssl.SSLContext | None:
        lowered = name.lower().rstrip(".")
        return by_name.get(lowered) or by_name.get("*." + lowered.partition(".")[2])

    return find


def _context(pairs: "list[Pair]", minimum: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    # No tickets: mail clients connect seldom, and a ticket of TLS 1.2 holds the keys of its session under one that
    # every worker has (RFC 5077 section 5.5). So no session of TLS 1.3 is resumed. Of TLS 1.2 OpenSSL resumes those
    # that it finds in its memory (SSL_CTX_set_session_cache_mode(3)), and Python has no way to tell it otherwise.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    for certificate, key in pairs:
        _add(context, certificate, key or certificate)
    return context


def _add(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def refuse() -> str:
        # OpenSSL would ask at the terminal.
        raise TemporaryFailure(f"{key}: the key is encrypted, and nobody is there to be asked for its password")

    try:
        # OpenSSL tells about a file that is not there without saying which.
        with open(key, "rb"):
            pass
        context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise TemporaryFailure(f"{key}: this is not the key of {certificate}") from None
        if error.reason is None:
            raise TemporaryFailure(f"{key}: there is no private key in PEM form in it, or a damaged one") from None
        raise TemporaryFailure(f"{certificate}, key {key}: {error.reason.lower().replace('_', ' ')}") from None
    except OSError as error:
        raise TemporaryFailure(f"{key}: {error.strerror}") from None


# --- a certificate to try things with


def self_signed(directory: str, hostname: str, days: int = 30) -> tuple[str, str]:
    """Make a certificate that nobody vouches for, and its key, by the program openssl; return their paths.

    Args:
        directory: where they are made; what is there by these names is replaced.
        hostname: a DNS name or an IPv4 address.
        days: how long it is good.

    Raises:
        TemporaryFailure: there is no such program, or it could not.
    """
    if not _NAME_CHARACTERS.fullmatch(hostname.lower()):
        raise TemporaryFailure(f"{hostname!a} is no name for a certificate")
    program = shutil.which("openssl")
    if program is None:
        raise TemporaryFailure("a certificate cannot be made: the program openssl is not installed")
    certificate, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    kind = "IP" if hostname.replace(".", "").isdigit() else "DNS"
    settings = f"""
        [req]
        distinguished_name = name
        prompt = no
        x509_extensions = extensions
        [name]
        CN = {hostname[:64]}
        [extensions]
        subjectAltName = {kind}:{hostname}
        basicConstraints = critical, CA:FALSE
        extendedKeyUsage = serverAuth
    """
    argv = [program, "req", "-x509", "-config", "/dev/stdin", "-nodes", "-days", str(days), "-sha256"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", key, "-out", certificate]
    try:
        ran = subprocess.run(argv, input=settings.encode("ascii"), capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TemporaryFailure(f"a certificate cannot be made: {error}") from None
    if ran.returncode != 0:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        raise TemporaryFailure(f"a certificate cannot be made: openssl says {said[0] if said else 'nothing'}")
    os.chmod(key, 0o600)
    return certificate, key
