"""Log lines that a client cannot forge: `program: client=ADDRESS event=NAME key=value ...`, one line per event."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = bytes | str | int | float

PLAIN = b"!#$%&'()*+,-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
"""Bytes that need no quotes: printable ASCII without space, `=`, `"` and backslash."""

MAX_VALUE = 200
"""Bytes of a value that are logged: four of them, each byte escaped, still fit into PIPE_BUF, 4096 bytes on Linux."""


def render(program: str, fields: "dict[str, Value]") -> bytes:
    r"""Return the line of an event with its end.

    A value that holds anything but `PLAIN` bytes, or nothing, stands in double quotes, with `"` and backslash escaped
    and all that is not printable ASCII written `\xHH`. So a login cannot begin a field or a line, and a pattern
    anchored at the start of the line finds the client's address and nothing else. A value is cut after `MAX_VALUE`
    bytes, so that the line is shorter than PIPE_BUF: the kernel does not let another process's line into it.
    """
    words = [f"{key}={_quoted(value)}" for key, value in fields.items()]
    return f"{program}: {' '.join(words)}\n".encode("ascii")


def _quoted(value: "Value") -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return str(value)
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if len(data) > MAX_VALUE:
        data = data[:MAX_VALUE] + b"..."
    if data and not data.translate(None, PLAIN):
        return data.decode("ascii")
    if not data.translate(None, PLAIN + b" ="):  # most sentences: nothing to escape
        return '"' + data.decode("ascii") + '"'
    return '"' + "".join(_escaped(byte) for byte in data) + '"'


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte <= 126 else f"\\x{byte:02x}"
