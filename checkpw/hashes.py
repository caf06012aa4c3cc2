"""Verifies and makes password hashes: Dovecot's `{SCHEME}` names, crypt(5), htpasswd, argon2, PBKDF2.

Decides whether a password matches a stored hash, and nothing else: it opens no file and knows no login.
Routes by the prefix of the stored hash to the cheapest code that knows it: our own lines over hashlib for
digests, libcrypt by ctypes for crypt(5), the C cores of argon2-cffi and bcrypt, passlib for what is left.

On the lean path: everything that costs time is imported by the function that needs it, and `{PLAIN}` needs
nothing.
Sources: crypt(5) and crypt(3) of libxcrypt, doc.dovecot.org "Password Schemes", Apache "Password Formats",
    RFC 2307 section 5.3, RFC 8018 (PBKDF2), RFC 9106 (argon2).
"""

from _operator import _compare_digest  # hmac.compare_digest without the 3 ms of OpenSSL

from checkpw.errors import Misuse, TemporaryFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from checkpw.secret import Secret

# What `make` makes.
SCHEMES = (
    "SHA512-CRYPT",
    "SHA256-CRYPT",
    "YESCRYPT",
    "BLF-CRYPT",
    "ARGON2ID",
    "PBKDF2",
    "SSHA512",
    "SSHA256",
    "SSHA",
    "PLAIN",
)
DEFAULT_SCHEME = "SHA512-CRYPT"

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
_DIGESTS = {
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
_MAX_PBKDF2_ROUNDS = 10_000_000

_BASE64_OF_CRYPT = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
    if name in _DIGESTS:
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
        known = name in _PLAIN or name in _MODULAR or name in _DIGESTS or name == "PBKDF2"
        return name if known or (len(name) <= 20 and name.replace("-", "").isalnum()) else "?"
    for prefix, label in _NAMES:
        if text.startswith(prefix):
            return label
    if not text or not usable(text):
        return "-"
    return "DES-CRYPT" if len(text) == 13 else "?"


def make(scheme: str, password: "Secret", *, cost: int | None = None, memory: int | None = None) -> bytes:
    """Return `{SCHEME}hash` of the password under a fresh salt.

    Args:
        scheme: one of `SCHEMES`, in capitals.
        password: 1 to 512 bytes without NUL.
        cost: rounds for SHA512-CRYPT, SHA256-CRYPT and PBKDF2; the logarithm of the rounds for BLF-CRYPT; 1
            to 11 for YESCRYPT; passes for ARGON2ID. Without it a default that suits one process per login.
        memory: KiB for ARGON2ID.

    Raises:
        Misuse: no such scheme, a password that it cannot keep, a cost outside its range.
        TemporaryFailure: this machine's libcrypt does not know the method, or a package is missing.
    """
    secret = password.reveal()
    if not secret or len(secret) > MAX_PASSWORD or b"\0" in secret:
        raise Misuse("a password has 1 to 512 bytes and no NUL")
    if memory is not None and scheme != "ARGON2ID":
        raise Misuse(f"{scheme} has no memory cost")
    if scheme == "PLAIN":
        made = _make_plain(secret)
    elif scheme in ("SSHA", "SSHA256", "SSHA512"):
        made = _make_salted(scheme, secret)
    elif scheme in ("SHA256-CRYPT", "SHA512-CRYPT"):
        # libxcrypt's own default, 5000 rounds (1.2 ms), is from 2007 and too little for a file that may be
        # stolen; passlib's, 656 000 (165 ms), is too much where each login starts a process on the machine
        # that also carries the mail. 100 000 take 25 ms here.
        made = _make_sha_crypt(scheme, secret, _within(scheme, cost, 100_000, 1000, 999_999_999))
    elif scheme == "YESCRYPT":
        # 5 is what libxcrypt and Debian's passwd choose: 18 ms and 16 MiB.
        made = _make_yescrypt(secret, _within(scheme, cost, 5, 1, 11))
    elif scheme == "BLF-CRYPT":
        # 10 (50 ms) is what OWASP asks at least; each step doubles it. Dovecot's own default, 5, is 2 ms.
        made = _make_bcrypt(secret, _within(scheme, cost, 10, 4, 31))
    elif scheme == "ARGON2ID":
        # OWASP's 19 MiB and 2 passes and not RFC 9106's 64 MiB: forty concurrent logins are then 760 MiB, and
        # one fits into the data limit of 160 000 000 bytes under which rc.d scripts start ofmipd.
        kib = _within("ARGON2ID memory", memory, 19_456, 8, 4_194_304)
        made = _make_argon2id(secret, _within(scheme, cost, 2, 1, 1000), kib)
    elif scheme == "PBKDF2":
        # Dovecot's form, which is HMAC-SHA1; its own default of 5000 rounds is 2 ms, OWASP's 1 300 000 more
        # than half a second.
        made = _make_pbkdf2(secret, _within(scheme, cost, 100_000, 1000, _MAX_PBKDF2_ROUNDS))
    else:
        raise Misuse(f"no such scheme to make: {scheme}; known are {', '.join(SCHEMES)}")
    return made


def _within(what: str, value: int | None, default: int, low: int, high: int) -> int:
    """Return the value, or the default for None; `Misuse` outside the range."""
    if value is None:
        return default
    if not low <= value <= high:
        raise Misuse(f"the cost of {what} is {low} to {high}")
    return value


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
    algorithm, size, salted = _DIGESTS[name]
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
    if not 1 <= int(rounds) <= _MAX_PBKDF2_ROUNDS:
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
    computed = _crypt(text, password)
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


def _libcrypt(name: str) -> "Callable[..., Any] | None":
    """Find a function of the C library's crypt family; None where there is none. A library is loaded only once."""
    import ctypes

    # Debian's name, Fedora's and Arch's, the development link, and the libc itself (musl). Not
    # find_library: it starts ldconfig and a compiler, 20 ms.
    for library in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so", None):
        try:
            found: Callable[..., Any] = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        found.restype = ctypes.c_char_p  # type: ignore[attr-defined]
        return found
    return None


def _crypt(setting: bytes, password: bytes) -> bytes:
    """Return libcrypt's hash of the password under the setting; empty where libcrypt cannot or will not."""
    computed = _crypt_by_module(setting, password)
    if computed is None:
        computed = _crypt_by_ctypes(setting, password)
    # "*0" and "*1" are libcrypt's ways to say no; NULL that of others.
    return b"" if computed is None or computed.startswith(b"*") else computed


def _crypt_by_module(setting: bytes, password: bytes) -> bytes | None:
    """Ask the C module behind Python 3.11's and 3.12's crypt, which saves the 4 ms of ctypes.

    It takes only text that is UTF-8, and holds the interpreter's lock: where ctypes is loaded already, that is the
    better way.
    """
    from sys import modules

    if "ctypes" in modules:
        return None
    try:
        from _crypt import crypt

        computed = crypt(password.decode("utf-8"), setting.decode("ascii"))
    except (ImportError, ValueError, OSError):
        return None
    return computed.encode("ascii") if isinstance(computed, str) else None


def _crypt_by_ctypes(setting: bytes, password: bytes) -> bytes | None:
    crypt_r = _libcrypt("crypt_r")
    if crypt_r is None:
        return None
    from ctypes import c_char_p, create_string_buffer

    # glibc's old struct crypt_data is 131 232 bytes, libxcrypt's 32 768. A fresh one per call: threads verify at
    # once.
    room = create_string_buffer(131_232 + 64)
    computed: bytes | None = crypt_r(c_char_p(password), c_char_p(setting), room)
    return computed


def _crypt_salt() -> bytes:
    """Return 16 random characters (96 bits) of the alphabet that crypt(5) salts are written in."""
    from posix import urandom

    return bytes(_BASE64_OF_CRYPT[byte & 63] for byte in urandom(16))


def _make_plain(secret: bytes) -> bytes:
    # A colon would end the field of a passwd-file, a line end the line: such a password goes in base64.
    if secret.isascii() and secret.decode("ascii").isprintable() and b":" not in secret:
        return b"{PLAIN}" + secret
    from binascii import b2a_base64

    return b"{PLAIN.B64}" + b2a_base64(secret, newline=False)


def _make_salted(scheme: str, secret: bytes) -> bytes:
    from binascii import b2a_base64
    from hashlib import new
    from posix import urandom

    salt = urandom(16)
    digest = new(_DIGESTS[scheme][0], secret + salt, usedforsecurity=False).digest()
    return f"{{{scheme}}}".encode() + b2a_base64(digest + salt, newline=False)


def _make_sha_crypt(scheme: str, secret: bytes, rounds: int) -> bytes:
    method = 6 if scheme == "SHA512-CRYPT" else 5
    computed = _crypt(b"$%d$rounds=%d$%s$" % (method, rounds, _crypt_salt()), secret)
    if not computed:
        raise TemporaryFailure(f"this machine's libcrypt does not make {scheme}")
    return f"{{{scheme}}}".encode() + computed


def _make_yescrypt(secret: bytes, cost: int) -> bytes:
    from posix import urandom

    gensalt = _libcrypt("crypt_gensalt_rn")
    computed = b""
    if gensalt is not None:
        from ctypes import c_char_p, c_int, c_ulong, create_string_buffer

        room = 192  # CRYPT_GENSALT_OUTPUT_SIZE of crypt.h
        setting = gensalt(
            c_char_p(b"$y$"), c_ulong(cost), urandom(16), c_int(16), create_string_buffer(room), c_int(room)
        )
        computed = _crypt(setting, secret) if setting and not setting.startswith(b"*") else b""
    if not computed.startswith(b"$y$"):
        raise TemporaryFailure("this machine's libcrypt does not make yescrypt (libxcrypt 4.3 and later do)")
    return b"{CRYPT}" + computed


def _make_bcrypt(secret: bytes, cost: int) -> bytes:
    if len(secret) > 72:
        raise Misuse("BLF-CRYPT reads only the first 72 bytes of a password: take another scheme")
    try:
        from bcrypt import gensalt, hashpw
    except ImportError:
        raise TemporaryFailure("BLF-CRYPT needs the package bcrypt") from None
    # $2y$ and $2b$ are the same algorithm; the former is what Dovecot and htpasswd write, and older libcrypts
    # know.
    return b"{BLF-CRYPT}$2y$" + hashpw(secret, gensalt(cost))[4:]


def _make_argon2id(secret: bytes, passes: int, memory: int) -> bytes:
    from posix import urandom

    try:
        from _argon2_cffi_bindings import ffi, lib
    except ImportError:
        raise TemporaryFailure("ARGON2ID needs the package argon2-cffi") from None
    salt, size = urandom(16), 32
    room = lib.argon2_encodedlen(passes, memory, 1, len(salt), size, lib.Argon2_id)
    encoded = ffi.new("char[]", room)
    outcome = lib.argon2_hash(
        passes,
        memory,
        1,  # one lane: a process per login is parallel enough
        secret,
        len(secret),
        salt,
        len(salt),
        ffi.NULL,
        size,
        encoded,
        room,
        lib.Argon2_id,
        lib.ARGON2_VERSION_NUMBER,
    )
    if outcome != lib.ARGON2_OK:
        raise TemporaryFailure("argon2 has no memory for this cost")
    text: bytes = ffi.string(encoded)
    return b"{ARGON2ID}" + text


def _make_pbkdf2(secret: bytes, rounds: int) -> bytes:
    from binascii import hexlify
    from hashlib import pbkdf2_hmac

    salt = _crypt_salt()
    return b"{PBKDF2}$1$%s$%d$%s" % (salt, rounds, hexlify(pbkdf2_hmac("sha1", secret, salt, rounds)))
