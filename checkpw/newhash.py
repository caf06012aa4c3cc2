"""Makes password hashes, for people's commands: `{SCHEME}` and the hash, in forms that Dovecot verifies too.

Not on the lean path: nothing that checks a password imports it. The sources are those of `hashes`.
"""

from checkpw import libcrypt
from checkpw.errors import Misuse, TemporaryFailure
from checkpw.hashes import DIGESTS, MAX_PASSWORD, MAX_PBKDF2_ROUNDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from checkpw.secret import Secret

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


_BASE64_OF_CRYPT = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
        made = _make_pbkdf2(secret, _within(scheme, cost, 100_000, 1000, MAX_PBKDF2_ROUNDS))
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
    digest = new(DIGESTS[scheme][0], secret + salt, usedforsecurity=False).digest()
    return f"{{{scheme}}}".encode() + b2a_base64(digest + salt, newline=False)


def _make_sha_crypt(scheme: str, secret: bytes, rounds: int) -> bytes:
    method = 6 if scheme == "SHA512-CRYPT" else 5
    computed = libcrypt.crypt(b"$%d$rounds=%d$%s$" % (method, rounds, _crypt_salt()), secret)
    if not computed:
        raise TemporaryFailure(f"this machine's libcrypt does not make {scheme}")
    return f"{{{scheme}}}".encode() + computed


def _make_yescrypt(secret: bytes, cost: int) -> bytes:
    from posix import urandom

    gensalt = libcrypt.find("crypt_gensalt_rn")
    computed = b""
    if gensalt is not None:
        from ctypes import c_char_p, c_int, c_ulong, create_string_buffer

        room = 192  # CRYPT_GENSALT_OUTPUT_SIZE of crypt.h
        setting = gensalt(
            c_char_p(b"$y$"), c_ulong(cost), urandom(16), c_int(16), create_string_buffer(room), c_int(room)
        )
        computed = libcrypt.crypt(setting, secret) if setting and not setting.startswith(b"*") else b""
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
