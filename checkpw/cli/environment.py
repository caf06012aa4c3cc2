"""What programs in a chain are told by their environment and by qmail's control files: numbers and words."""

import posix

from checkpw.errors import TemporaryFailure

QMAIL_HOME = b"/var/qmail"
MAX_DIGITS = 18


class Environment:
    """Environment and control files, as numbers and words.

    Attributes:
        qmail_home: directory of qmail, also of the default queue program.
    """

    __slots__ = ("_controls", "_environ", "qmail_home")

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        self._environ = environ
        self.qmail_home = environ.get(b"OFMIPD_QMAIL") or QMAIL_HOME
        self._controls = environ.get(b"CONTROLDIR") or self.qmail_home + b"/control"

    def word(self, name: bytes, default: bytes = b"") -> bytes:
        """Return a variable; one that is set to nothing counts as not set."""
        return self._environ.get(name) or default

    def is_set(self, name: bytes) -> bool:
        """Tell whether a variable is set, whatever to."""
        return name in self._environ

    def number(self, name: bytes, default: int, least: int = 0, control: bytes = b"") -> int:
        """Return a variable, else the first line of a control file, else the default; raises `TemporaryFailure`."""
        text = self.word(name) or (self.control(control) if control else b"")
        if not text:
            return default
        if not text.isdigit() or len(text) > MAX_DIGITS or int(text) < least:
            raise TemporaryFailure(f"{name.decode()}: {text!a} is not a number of at least {least}")
        return int(text)

    def seconds(self, name: bytes, default: float, *, may_be_none: bool = False, control: bytes = b"") -> float:
        """As `number`, for a time, which may have a fraction; 0 only where no time at all makes sense."""
        text = self.word(name) or (self.control(control) if control else b"")
        if not text:
            return default
        whole, _, fraction = text.partition(b".")
        if not (whole + fraction).isdigit() or len(text) > MAX_DIGITS:
            raise TemporaryFailure(f"{name.decode()}: {text!a} is not a number of seconds")
        seconds = float(text)
        if seconds == 0 and not may_be_none:
            raise TemporaryFailure(f"{name.decode()}: 0 seconds are over before anything happens")
        return seconds

    def control(self, name: bytes) -> bytes:
        """Return the first line of a control file, empty if there is no such file; raises as `find_lines`."""
        return (self.find_lines(name) or [b""])[0]

    def find_lines(self, name: bytes) -> list[bytes] | None:
        """Return the lines of a control file without blanks at their ends, None if there is no such file.

        A NUL becomes LF, as in qmail: no line has one of its own, and what these lines get into ends at a NUL.

        Raises:
            TemporaryFailure: it is there and cannot be read; that it is not there is no trouble.
        """
        path = self._controls + b"/" + name
        text = b""
        try:
            descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                while block := posix.read(descriptor, 65536):
                    text += block
            finally:
                posix.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TemporaryFailure(f"unable to read {path!a}: {error.strerror}") from None
        return [line.rstrip(b" \t").replace(b"\0", b"\n") for line in text.split(b"\n")]

    def host(self, variable: bytes, control: bytes, literal: bytes) -> bytes:
        """Return a host name as qmail finds it: variable, control file, control/me, and a word that cannot be missed.

        Here, unlike elsewhere, what is set to nothing is set.
        """
        if self.is_set(variable):
            return self._environ[variable]
        for name in (control, b"me"):
            lines = self.find_lines(name)
            if lines is not None:
                return lines[0]
        return literal
