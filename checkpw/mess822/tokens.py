r"""The words of a structured field (RFC 822 section 3.3), as mess822's ofmipd tells them apart.

A token is a byte string whose first byte says what it is:

    "text        a word in quotes, a domain literal with its brackets, or an atom with backslashes in it; all undone
    (text        a comment; backslashes are undone, comments inside it stay with their parentheses
    < > , ; : @ . space tab     each stands for itself, alone
    anything else               an atom, as it is

Every byte string has tokens. What is not terminated goes on to the end, a closing bracket or parenthesis that nothing
opened is part of an atom, and so are controls and 8-bit bytes. LF is not among the bytes: a field is unfolded first.
"""

QUOTE, COMMENT, LITERAL, BACKSLASH = b'"'[0], b"("[0], b"["[0], b"\\"[0]

SPECIALS = frozenset((b"<", b">", b",", b";", b":", b"@", b".", b" ", b"\t"))
"""Tokens that stand for themselves."""

_TO_LF = bytes(b"\n"[0] if byte in b'"([\\' else byte for byte in range(256))
_COMMENT_TO_LF = bytes(b"\n"[0] if byte in b"()\\" else byte for byte in range(256))


def unfold(text: bytes) -> bytes:
    """Remove the line ends; the blanks after them stay."""
    return text.replace(b"\n", b"")


def tokenize(text: bytes) -> list[bytes]:
    """Return the tokens of an unfolded field, in order.

    Works on stretches of text with bytes methods: the pattern of a regular expression would have to be compiled by
    each process for its one message, and that takes longer than an ordinary header.
    """
    text = unfold(text)
    marks = text.translate(_TO_LF)  # LF where something begins that needs a closer look
    tokens: list[bytes] = []
    word: list[bytes] = []  # pieces of an atom with backslashes, which may go on
    comments: _Comments | None = None
    at = 0
    while True:
        mark = marks.find(b"\n", at)
        pieces = _split(text[at:mark] if mark >= 0 else text[at:])
        if word:
            if pieces and pieces[0] not in SPECIALS:
                word.append(pieces.pop(0))
            if pieces or mark < 0 or text[mark] != BACKSLASH:
                tokens.append(b'"' + b"".join(word))
                word = []
        tokens += pieces
        if mark < 0:
            return tokens
        kind = text[mark]
        if kind == BACKSLASH:
            if not word and pieces and pieces[-1] not in SPECIALS:
                word.append(tokens.pop())
            word.append(text[mark + 1 : mark + 2] or b"\\")
            at = mark + 2
        elif kind == QUOTE:
            content, at = _read_until(b'"', text, mark + 1)
            tokens.append(b'"' + content)
        elif kind == LITERAL:
            content, at = _read_until(b"]", text, mark + 1)
            tokens.append(b'"[' + content + b"]")
        else:
            comments = comments or _Comments(text)
            content, at = comments.read(mark + 1)
            tokens.append(b"(" + content)


def is_word(token: bytes) -> bool:
    """Tell whether a token is an atom, a quoted string or a domain literal."""
    return token not in SPECIALS and token[0] != COMMENT


def spoken(token: bytes) -> bytes:
    """Return what a token says, without its mark."""
    return token[1:] if token[0] in (QUOTE, COMMENT) else token


def _split(text: bytes) -> list[bytes]:
    """Split text without quotes, brackets and backslashes."""
    if not text:
        return []
    for special in SPECIALS:
        if special in text:
            text = text.replace(special, b"\n" + special + b"\n")
    return [token for token in text.split(b"\n") if token]


def _read_until(closing: bytes, text: bytes, at: int) -> tuple[bytes, int]:
    """Read on to the closing mark; return what stands before it, backslashes undone, and where to go on."""
    pieces: list[bytes] = []
    end = _find(text, closing, at)
    while (slash := text.find(b"\\", at, end)) >= 0:
        pieces += (text[at:slash], text[slash + 1 : slash + 2] or b"\\")
        at = slash + 2
        if at > end:  # it was the closing mark that had the backslash
            end = _find(text, closing, at)
    pieces.append(text[at:end])
    return b"".join(pieces), end + 1


def _find(text: bytes, closing: bytes, at: int) -> int:
    end = text.find(closing, at)
    return end if end >= 0 else len(text)


class _Comments:
    """Reads comments out of a text; what it has to look at is found once for all of them."""

    __slots__ = ("_marks", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._marks = text.translate(_COMMENT_TO_LF)

    def read(self, at: int) -> tuple[bytes, int]:
        """As `_read_until`, for a comment whose parenthesis is before `at`."""
        text, marks = self._text, self._marks
        pieces = []
        depth = 1
        while (mark := marks.find(b"\n", at)) >= 0:
            byte = text[mark : mark + 1]
            pieces.append(text[at:mark])
            at = mark + 1
            if byte == b"\\":
                pieces.append(text[at : at + 1] or byte)
                at += 1
                continue
            depth += 1 if byte == b"(" else -1
            if not depth:
                return b"".join(pieces), at
            pieces.append(byte)
        pieces.append(text[at:])
        return b"".join(pieces), len(text)
