"""libcrypt, the C library's crypt(5) hashes, yescrypt and bcrypt among them, which no package here knows whole.

Loaded by `hashes` and `newhash` when a hash asks for it: reaching it costs 0.3 to 4 ms.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def find(name: str) -> "Callable[..., Any] | None":
    """Find a function of the C library's crypt family; None where there is none. A library is loaded only once."""
    import ctypes

    # Debian's name, Fedora's and Arch's, the development link, and the libc itself (musl). Not
    # find_library: it starts ldconfig and a compiler, 20 ms.
    for library in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so", ""):
        try:
            # cdll keeps what it has loaded; each CDLL() would make classes that only the collector gets rid of.
            loaded = ctypes.cdll[library] if library else ctypes.CDLL(None)
            found: Callable[..., Any] = getattr(loaded, name)
        except (OSError, AttributeError):
            continue
        found.restype = ctypes.c_char_p  # type: ignore[attr-defined]
        return found
    return None


def crypt(setting: bytes, password: bytes) -> bytes:
    """Return libcrypt's hash of the password under the setting; empty where libcrypt cannot or will not."""
    computed = by_module(setting, password)
    if computed is None:
        computed = by_ctypes(setting, password)
    # "*0" and "*1" are libcrypt's ways to say no; NULL that of others.
    return b"" if computed is None or computed.startswith(b"*") else computed


def by_module(setting: bytes, password: bytes) -> bytes | None:
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


def by_ctypes(setting: bytes, password: bytes) -> bytes | None:
    """Ask libcrypt itself, which takes any bytes and lets other threads run meanwhile; None where there is none."""
    crypt_r = find("crypt_r")
    if crypt_r is None:
        return None
    from ctypes import c_char_p, create_string_buffer

    # glibc's old struct crypt_data is 131 232 bytes, libxcrypt's 32 768. A fresh one per call: threads verify at
    # once.
    room = create_string_buffer(131_232 + 64)
    computed: bytes | None = crypt_r(c_char_p(password), c_char_p(setting), room)
    return computed
