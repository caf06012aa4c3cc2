"""Verifies password hashes: Dovecot's `{SCHEME}` names, crypt(5), htpasswd, argon2, PBKDF2.

Decides whether a password matches a stored hash, and nothing else: it opens no file and knows no login.
Routes by the prefix of the stored hash to the cheapest code that knows it: our own lines over hashlib for
digests, libcrypt by ctypes for crypt(5), the C cores of argon2-cffi and bcrypt, passlib for what is left.

On the lean path: everything that costs time is imported by the function that needs it, and `{PLAIN}` needs
nothing.
Sources: crypt(5) and crypt(3) of libxcrypt, doc.dovecot.org "Password Schemes", Apache "Password Formats",
    RFC 2307 section 5.3, RFC 8018 (PBKDF2), RFC 9106 (argon2).
"""

from _operator import _compare_digest  # hmac.compare_digest without the 3 ms of OpenSSL

from checkpw.errors import TemporaryFailure

# Descriptor 3 carries no more (cr.yp.to/checkpwd/interface.html), and libxcrypt takes no more.
MAX_PASSWORD = 512

_PLAIN = frozenset(("PLAIN", "CLEARTEXT", "CLEAR"))
# All of these are one thing: what follows says by its own prefix which method it is.
_MODULAR = frozenset(
    (
        "",
        "CRYPT",
        "DES-CRYPT",
        "MD5-CRYPT",
        "SHA256-CRYPT",
        "SHA512-CRYPT",
        "BLF-CRYPT",
        "ARGON2",
        "ARGON2I",
        "ARGON2ID",
    )
)
# name: (hashlib's name, bytes of digest, whether a salt follows the digest)
DIGESTS = {
    "SHA": ("sha1", 20, False),
    "SHA1": ("sha1", 20, False),
    "SHA256": ("sha256", 32, False),
    "SHA512": ("sha512", 64, False),
    "SSHA": ("sha1", 20, True),
    "SSHA256": ("sha256", 32, True),
    "SSHA512": ("sha512", 64, True),
    "MD5": ("md5", 16, False),
    "PLAIN-MD5": ("md5", 16, False),
    "LDAP-MD5": ("md5", 16, False),
    "SMD5": ("md5", 16, True),
}
# The type's number in RFC 9106 section 3.1.
_ARGON2 = ((b"$argon2id$", 2), (b"$argon2i$", 1), (b"$argon2d$", 0))
# Forms that no libcrypt knows, and passlib's name for them.
_PASSLIB_ONLY = (
    (b"$apr1$", "apr_md5_crypt"),
    (b"$pbkdf2-sha256$", "pbkdf2_sha256"),
    (b"$pbkdf2-sha512$", "pbkdf2_sha512"),
    (b"$pbkdf2$", "pbkdf2_sha1"),
    (b"$scrypt$", "scrypt"),
    (b"$P$", "phpass"),
    (b"$H$", "phpass"),
)
# What passlib can do where there is no libcrypt or where it was built without the method.
_PASSLIB_TOO = (
    (b"$6$", "sha512_crypt"),
    (b"$5$", "sha256_crypt"),
    (b"$1$", "md5_crypt"),
)
# Names for people: `scheme_of` and error texts.
_NAMES = (
    (b"$6$", "SHA512-CRYPT"),
    (b"$5$", "SHA256-CRYPT"),
    (b"$1$", "MD5-CRYPT"),
    (b"$y$", "YESCRYPT"),
    (b"$gy$", "GOST-YESCRYPT"),
    (b"$7$", "SCRYPT"),
    (b"$2", "BLF-CRYPT"),
    (b"$argon2id$", "ARGON2ID"),
    (b"$argon2i$", "ARGON2I"),
    (b"$argon2d$", "ARGON2D"),
    (b"$apr1$", "APR1"),
    (b"$pbkdf2", "PBKDF2"),
    (b"$", "CRYPT"),
    (b"_", "CRYPT"),
)

# Above these a login would take minutes; a hash that asks for more is a typing error or an attack on the
# machine.
MAX_PBKDF2_ROUNDS = 10_000_000


def verify(stored: bytes, password: bytes) -> bool:
    """Tell whether the password matches the stored hash.

    A hash that is locked (`!...`, `*...`, the `x` of passwd(5)) or empty matches nothing. Neither does a
    password that is empty, longer than 512 bytes or holds a NUL, which C would take for its end.

    Args:
        stored: the second field of a passwd-file line, with or without `{SCHEME}`.
        password: what the client sent.

    Raises:
        TemporaryFailure: the scheme is not known here, or the hash is damaged (bad base64, cut off, absurd
            cost): nobody can tell whether the password is right, and the administrator has to look. The text
            names the scheme only.
    """
    if not password or len(password) > MAX_PASSWORD or b"\0" in password or not usable(stored):
        return False
    if b"\0" in stored:
        raise _damaged(stored)
    name, text, encoding = _split(stored)
    if encoding and (name in _PLAIN or name in _MODULAR or name == "PBKDF2"):
        text, encoding = _decode(stored, text, encoding), ""
    if name in _PLAIN:
        return _compare_digest(text, password)
    if name in _MODULAR or (name == "MD5" and text.startswith(b"$1$")):
        return _verify_modular(stored, text, password)
    if name in DIGESTS:
        return _verify_digest(stored, password)
    if name == "PBKDF2":
        return _verify_pbkdf2(stored, text, password)
    raise TemporaryFailure(f"unknown password scheme {scheme_of(stored)}")


def usable(stored: bytes) -> bool:
    """Tell whether any password could match: False for an empty or locked hash, which costs no time."""
    name, text, _ = _split(stored)
    if not text:
        return False
    return name in _PLAIN or not (text.startswith((b"!", b"*")) or text == b"x")


def scheme_of(stored: bytes) -> str:
    """Return the scheme's name for people, `-` where there is no hash; nothing of the hash itself."""
    name, text, _ = _split(stored.lstrip(b"!"))
    if name not in ("", "CRYPT"):
        # What stands in braces comes from a file: a password that happens to start with one is not to be
        # printed.
        known = name in _PLAIN or name in _MODULAR or name in DIGESTS or name == "PBKDF2"
        return name if known or (len(name) <= 20 and name.replace("-", "").isalnum()) else "?"
    for prefix, label in _NAMES:
        if text.startswith(prefix):
            return label
    if not text or not usable(text):
        return "-"
    return "DES-CRYPT" if len(text) == 13 else "?"


def _split(stored: bytes) -> tuple[str, bytes, str]:
    """Split `{NAME.ENCODING}text` into NAME, text, ENCODING; ("", stored, "") without braces."""
    end = stored.find(b"}")
    if end < 2 or not stored.startswith(b"{"):
        return "", stored, ""
    name, dot, encoding = stored[1:end].decode("latin-1").upper().partition(".")
    # A name that ends in a dot has an encoding that nobody knows, not none.
    return name, stored[end + 1 :], encoding or ("?" if dot else "")


def _damaged(stored: bytes) -> TemporaryFailure:
    return TemporaryFailure(f"damaged or unsupported {scheme_of(stored)} hash")


def _decode(stored: bytes, text: bytes, encoding: str) -> bytes:
    from binascii import a2b_base64, unhexlify

    try:
        if encoding == "HEX":
            return unhexlify(text)
        if encoding in ("B64", "BASE64"):
            return a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _damaged(stored) from None
    raise TemporaryFailure(f"unknown encoding of a {scheme_of(stored)} hash")


def _verify_digest(stored: bytes, password: bytes) -> bool:
    """Verify {SHA}, {SSHA} and their kind: base64 or hex of the digest, and of the salt behind it."""
    from hashlib import new

    name, text, encoding = _split(stored)
    algorithm, size, salted = DIGESTS[name]
    if not encoding:
        # As Dovecot does: a digest without salt that is twice as long as its bytes is hexadecimal.
        encoding = "HEX" if not salted and len(text) == 2 * size else "B64"
    raw = _decode(stored, text, encoding)
    if len(raw) < size or (len(raw) > size) != salted:
        raise _damaged(stored)
    try:
        # Broken digests are what people have in their files; refusing them is for who makes new ones.
        digest = new(algorithm, password + raw[size:], usedforsecurity=False).digest()
    except ValueError:
        raise TemporaryFailure(f"this Python's hashlib has no {algorithm}") from None
    return _compare_digest(digest, raw[:size])


def _verify_pbkdf2(stored: bytes, text: bytes, password: bytes) -> bool:
    """Verify Dovecot's `$1$salt$rounds$hex`: PBKDF2 with HMAC-SHA1 and the salt as it is written."""
    from binascii import unhexlify
    from hashlib import pbkdf2_hmac

    fields = text.split(b"$")
    if len(fields) != 5 or fields[0] or fields[1] != b"1":
        raise _damaged(stored)
    _, _, salt, rounds, digest = fields
    if len(rounds) > 8 or not rounds.isdigit() or len(digest) != 40:
        raise _damaged(stored)
    if not 1 <= int(rounds) <= MAX_PBKDF2_ROUNDS:
        raise _damaged(stored)
    try:
        expected = unhexlify(digest)
    except ValueError:
        raise _damaged(stored) from None
    return _compare_digest(pbkdf2_hmac("sha1", password, salt, int(rounds)), expected)


def _verify_modular(stored: bytes, text: bytes, password: bytes) -> bool:
    """Verify crypt(5) and the forms that look like it."""
    if not usable(text):  # an encoding may have hidden the lock
        return False
    for prefix, number in _ARGON2:
        if text.startswith(prefix):
            return _verify_argon2(stored, text, password, number)
    for prefix, handler in _PASSLIB_ONLY:
        if text.startswith(prefix):
            return _verify_passlib(stored, text, password, handler)
    return _verify_crypt(stored, text, password)


def _verify_crypt(stored: bytes, text: bytes, password: bytes) -> bool:
    """Verify crypt(5) by libcrypt, and by the packages where it lacks the method."""
    # libcrypt's DES takes two characters of anything as a salt: a password in the clear would be called a
    # wrong hash where it is a wrong file.
    if not text.startswith((b"$", b"_")) and len(text) != 13:
        raise TemporaryFailure("a hash without {SCHEME} that is none of crypt(5)")
    from checkpw import libcrypt

    computed = libcrypt.crypt(text, password)
    if computed:
        # The whole string: settings without a digest, "$6$salt$", are hashes of nothing.
        return _compare_digest(computed, text)
    # Not $2x$, which the bcrypt package computes as if it were $2b$.
    if text.startswith((b"$2a$", b"$2b$", b"$2y$")):
        return _verify_bcrypt(stored, text, password)
    for prefix, handler in _PASSLIB_TOO:
        if text.startswith(prefix):
            return _verify_passlib(stored, text, password, handler)
    raise _damaged(stored)


def _verify_argon2(stored: bytes, text: bytes, password: bytes, number: int) -> bool:
    try:
        from _argon2_cffi_bindings import lib  # `import argon2` builds dataclasses: 22 ms
    except ImportError:
        raise TemporaryFailure("argon2 hashes need the package argon2-cffi") from None
    outcome = lib.argon2_verify(text, password, len(password), number)
    if outcome == lib.ARGON2_VERIFY_MISMATCH:
        return False
    if outcome == lib.ARGON2_OK:
        return True
    raise _damaged(stored)  # undecodable, costs out of range, or no memory


def _verify_bcrypt(stored: bytes, text: bytes, password: bytes) -> bool:
    try:
        from bcrypt import checkpw
    except ImportError:
        raise TemporaryFailure("this libcrypt knows no bcrypt, and the package bcrypt is missing") from None
    try:
        # The algorithm reads 72 bytes; bcrypt 5 raises where older ones and every libcrypt ignore the rest.
        return checkpw(password[:72], text)
    except ValueError:
        raise _damaged(stored) from None


def _verify_passlib(stored: bytes, text: bytes, password: bytes, handler: str) -> bool:
    try:
        from passlib import hash as handlers
    except ImportError:
        raise TemporaryFailure(f"{scheme_of(stored)} hashes need the package libpass") from None
    try:
        return bool(getattr(handlers, handler).verify(password, text))
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, Warning):
        # Malformed, cut off (phpass: IndexError), an absurd cost, no implementation of the method; and warnings
        # of strange costs, where Python was told to raise them.
        raise _damaged(stored) from None
