"""checkpw-any(8): a link that asks one checker after the other; the first one that says yes becomes the chain."""

from checkpw.chain import NextProgram
from checkpw.errors import Misuse, Rejected
from checkpw.links import asking, grammar
from checkpw.verdict import ACCEPTED, REJECTED, read_reject_statuses, verdict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLANKS = b" \t\n"

ESCAPABLE = b'$`"\\\n'
"""What a backslash between double quotes takes its meaning from (POSIX sh, 2.2.3)."""


def main(argv: list[bytes], environ: dict[bytes, bytes]) -> int | NextProgram:
    """Answer with an exit status, or with the checker that said yes.

    Raises:
        Misuse: no checkers, one that cannot be split into words, nothing to run, or a malformed record.
        Rejected: they all said no.
        TemporaryFailure: one of them cannot be run.
    """
    words = grammar.parse(argv, "'checker [arguments]' ...")
    candidates = [split(text) for text in words.checker]
    rejections = read_reject_statuses("CHECKPW_REJECT_CODES", environ.get(b"CHECKPW_REJECT_CODES", b""))
    question = asking.Question.receive(environ)
    for candidate in candidates:
        status = question.ask(candidate, words.prog)
        verdict = verdict_of(status, rejections)
        if verdict == ACCEPTED:
            return 0 if words.asks_only else question.hand_over(candidate, words.prog)
        if verdict != REJECTED:
            return asking.exit_status(status)
    raise Rejected("all checkers said no")


def split(text: bytes) -> list[bytes]:
    """Split a command into words as a shell does, without expanding anything.

    Single quotes, double quotes and the backslash mean what they mean in sh; every other character means itself, `$`,
    `*`, `;` and `>` included.

    Raises:
        Misuse: a quote is not closed, nothing follows a backslash, or there are no words.
    """
    words: list[bytes] = []
    word: bytes | None = None  # None between words: '' is a word, too
    for piece in (*_pieces(text), None):
        if piece is not None:
            word = (word or b"") + piece
        elif word is not None:
            words.append(word)
            word = None
    if not words or not words[0]:
        raise Misuse(f"no checker in {text!a}")
    return words


def _pieces(text: bytes) -> "Iterator[bytes | None]":
    """Yield what words are put together from, without its quotes, and None for each blank between them."""
    at = 0
    while at < len(text):
        character = text[at : at + 1]
        at += 1
        if character in BLANKS:
            yield None
        elif text.startswith(b"\n", at) and character == b"\\":
            at += 1  # the line goes on, and this is not even a blank
        elif character == b"\\":
            yield _escaped(text, at)
            at += 1
        elif character == b"'":
            end = text.find(b"'", at)
            if end < 0:
                raise Misuse(f"a single quote is not closed in {text!a}")
            yield text[at:end]
            at = end + 1
        elif character == b'"':
            piece, at = _double_quoted(text, at)
            yield piece
        else:
            yield character


def _double_quoted(text: bytes, at: int) -> tuple[bytes, int]:
    """Return what stands from `at` to the closing quote, and the place behind that."""
    piece = b""
    while at < len(text):
        character = text[at : at + 1]
        at += 1
        if character == b'"':
            return piece, at
        if character == b"\\":
            following = _escaped(text, at)
            piece += following.replace(b"\n", b"") if following in ESCAPABLE else b"\\" + following
            at += 1
        else:
            piece += character
    raise Misuse(f"a double quote is not closed in {text!a}")


def _escaped(text: bytes, at: int) -> bytes:
    """Return the character behind a backslash."""
    following = text[at : at + 1]
    if not following:
        raise Misuse(f"nothing follows the backslash in {text!a}")
    return following
