"""TLS without I/O, for both sides: ciphertext in, plaintext out, and back. The one place that imports ssl.

A `TlsLayer` stands between the bytes of a connection and whoever speaks over it. After every call there may be
something in `outgoing` that the other side is waiting for (also after a `TlsError`: the alert that explains it), and
nothing is sent by itself. What a connection holds between two calls is what OpenSSL holds, and no buffer of ours.
"""

import os
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = 16 * 1024
"""Plaintext bytes in a TLS record at most (RFC 8446 section 5.1): OpenSSL reads and writes no more at once."""

SLICE = 5 + RECORD + 256
"""Ciphertext bytes that OpenSSL's memory BIO gets at once: one record. The BIO grows to what it was given and never
shrinks again: with 64 KiB at once a connection keeps 100 KiB for good, with this 37, and 17 if it was never busy."""

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, OpenBSD, FreeBSD
)
"""Where systems keep all certificates of their CAs in one file."""


class TlsError(OSError):
    """Something that the other side did, or a certificate, makes TLS impossible from here on; the text says what."""


class TlsLayer:
    """One side of a TLS connection.

    Attributes:
        is_established: the handshake is complete.
        eof: the other side has said that it is done (close_notify). A connection that ends without was cut off.
    """

    __slots__ = ("_at", "_failure", "_incoming", "_object", "_outgoing", "_unread", "eof", "is_established")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None) -> None:
        """Begin before the handshake.

        Args:
            context: certificates and what is asked of the other side.
            server_side: the other side began the connection.
            server_hostname: whom a client wants to reach: sent as SNI, and what the certificate is checked for.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._unread = b""
        self._at = 0
        self._failure: TlsError | None = None
        self.eof = False
        self.is_established = False

    def receive(self, data: bytes) -> None:
        """Take ciphertext that came. Read until nothing is left before there is more: what waits is not limited."""
        if self._at < len(self._unread):
            data, self._unread, self._at = self._unread[self._at :] + data, b"", 0
        if len(data) <= SLICE:
            self._incoming.write(data)
        else:
            self._unread = data

    def do_handshake(self) -> bool:
        """Go on with the handshake, and tell whether it is complete.

        Raises:
            TlsError: it cannot be; `outgoing` has the alert.
        """
        while not self.is_established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                if not self._feed():
                    return False
            except ssl.SSLError as error:
                raise TlsError(explain(error)) from None
            else:
                self.is_established = True
        return True

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes of plaintext, b"" if there is none: then more has to be received, or `eof`.

        Raises:
            TlsError: what came cannot be read. What stood before it was returned before.
        """
        pieces = []
        if self._failure is not None:
            raise self._failure
        while limit > 0 and not self.eof and self._has_input():
            try:
                piece = self._object.read(min(limit, RECORD))
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                self._failure = TlsError(explain(error))
                break
            self.eof = not piece
            pieces.append(piece)
            limit -= len(piece)
        if self._failure is not None and not pieces:
            raise self._failure
        return b"".join(pieces)  # which copies nothing if it is only one

    def write(self, data: bytes) -> bytes:
        """Encrypt, and return all there is to send by now; raises `TlsError`, also before the handshake is complete."""
        pieces = []
        view = memoryview(data)
        try:
            for at in range(0, len(data), RECORD):
                self._object.write(view[at : at + RECORD])
                pieces.append(self._outgoing.read())
        except ssl.SSLError as error:
            raise TlsError(explain(error)) from None
        return b"".join(pieces)

    def outgoing(self) -> bytes:
        """Return and forget what is to be sent by now."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close(self) -> bytes:
        """Say that we are done, and return all there is to send. Nothing can be written afterwards."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # the other side has not answered, or the handshake is not over: neither is waited for
        return self.outgoing()

    def describe(self) -> dict[bytes, bytes]:
        """Return what is known of an established connection, under the names of mod_ssl."""
        cipher = self._object.cipher()
        environ = {b"SSL_PROTOCOL": (self._object.version() or "").encode()}
        if cipher is not None:
            environ |= {b"SSL_CIPHER": cipher[0].encode(), b"SSL_CIPHER_USEKEYSIZE": b"%d" % cipher[2]}
        if isinstance(self._object, _Named) and self._object.requested_name is not None:
            environ[b"SSL_TLS_SNI"] = self._object.requested_name.encode()
        return environ

    def _has_input(self) -> bool:
        """Tell whether OpenSSL may have something to read: an exception that says no costs more than to look."""
        return self.is_established and (self._object.pending() or self._incoming.pending or self._feed()) > 0

    def _feed(self) -> bool:
        """Give OpenSSL some of what has come; tell whether there was any."""
        if self._at >= len(self._unread):
            return False
        self._incoming.write(memoryview(self._unread)[self._at : self._at + SLICE])
        self._at += SLICE
        if self._at >= len(self._unread):
            self._unread, self._at = b"", 0
        return True


class _Named(ssl.SSLObject):
    """A connection that remembers which name its client asked for."""

    requested_name: str | None = None


def choose_by_name(context: ssl.SSLContext, find: "Callable[[str], ssl.SSLContext | None]") -> None:
    """Let a server's context give way to the one that `find` returns for the name that a client asks for (SNI)."""

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        if name is not None and name.isprintable():  # it may become a variable of programs, and be logged
            assert isinstance(connection, _Named)
            connection.requested_name = name
            if (chosen := find(name)) is not None:
                connection.context = chosen

    context.sslobject_class = _Named
    context.sni_callback = choose


def client_context(*, is_verified: bool, ca_file: str | None = None) -> ssl.SSLContext:
    """Return what a client of TLS 1.2 or newer needs. Every file is read now: later there may be none to read.

    Args:
        is_verified: demand a certificate of a CA that we trust, made out to the server's name.
        ca_file: certificates of these CAs; None for those of the system.

    Raises:
        OSError: the file cannot be read or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if is_verified:
        bundle = ca_file or next(filter(os.path.exists, BUNDLES), None)
        if bundle is None:
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(bundle)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def explain(error: Exception) -> str:
    """Return what went wrong, without the names of OpenSSL's sources."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error)
