"""Arguments of commands against a slow reading of facts 6.3."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkpw.smtp import grammar, replies
from checkpw.smtp.replies import CommandRefused

PIECES = [b"<", b">", b'"', b"\\", b" ", b":", b"@", b"a", b"b.c", b",", b"=", b"\t", b"\x01", b"\xc3\xb6", b"\x7f"]
ARGUMENT = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join),
    st.lists(st.sampled_from(PIECES), max_size=16).map(lambda made: b"FROM:<" + b"".join(made) + b">"),
    st.binary(max_size=40),
)


def _find(argument, wanted):
    """Give where a byte stands first, None if it does not."""
    return next((at for at in range(len(argument)) if argument[at : at + 1] == wanted), None)


def _start(argument):
    """Give what begins with the address, and what ends it."""
    bracket = _find(argument, b"<")
    # AUTH=<> of RFC 4954 is a parameter and begins no address.
    if bracket is not None and argument[max(0, bracket - 1) : bracket] != b"=":
        return argument[bracket + 1 :], b">"
    colon = _find(argument, b":")
    return (argument if colon is None else argument[colon + 1 :]).lstrip(b" "), b" "


def slow_path(argument):
    """Read an address as facts 6.3 say, one byte after the other: (address, parameters), or a reply."""
    rest, stop = _start(argument)
    if rest[:1] == b"@":
        colon = _find(rest, b":")
        rest = b"" if colon is None else rest[colon + 1 :]
    text, quoted = b"", False
    while rest and (quoted or rest[:1] != stop):
        byte, rest = rest[:1], rest[1:]
        if byte == b"\\":
            text, rest = text + rest[:1], rest[1:]
        elif byte == b'"':
            quoted = not quoted
        else:
            text += byte
    if any(byte < 32 or byte == 127 for byte in text):
        return replies.ADDRESS_CONTROL
    if stop == b">" and rest[1:2] not in (b"", b" "):
        return replies.SYNTAX
    return text, rest[1:].split()


def _refusal(function, *arguments, **named):
    try:
        return function(*arguments, **named)
    except CommandRefused as refused:
        return refused.reply


@given(ARGUMENT)
@example(b"")
@example(b"FROM:<>")
@example(b"FROM:<@a,@b:c@d>")
@example(b'TO:<"a\\"b c"@x.y> NOTIFY=NEVER')
@example(b"FROM:a@b AUTH=<>")
@example(b"<a>b")
@example(b"=<a>")
def test_path_against_reference(argument):
    """Every argument has an address, or one of two refusals, and both readings find the same."""
    assert _refusal(grammar.parse_path, argument) == slow_path(argument)


@given(st.binary(max_size=40))
def test_split_command(line):
    """The verb ends at the first space and nowhere else."""
    verb, argument = grammar.split_command(line)
    assert b" " not in verb and verb == line.split(b" ")[0].upper()
    assert argument == line[len(verb) :].strip(b" ")


@given(st.one_of(st.binary(max_size=25), st.integers(-5, 10**22).map(lambda number: b"%d" % number)))
@example(b"0" * 20)
@example(b"0" * 21)
@example("٣".encode())
def test_number(digits):
    """Up to 20 ASCII digits are a number; everything else is a syntax error."""
    if 1 <= len(digits) <= 20 and all(48 <= byte <= 57 for byte in digits):
        assert grammar.parse_number(digits) == sum((byte - 48) * 10**at for at, byte in enumerate(reversed(digits)))
    else:
        assert _refusal(grammar.parse_number, digits) is replies.SYNTAX


WORDS = st.lists(st.sampled_from([b"5", b"0", b"LAST", b"last", b"x", b"+5", b"", b"99999999999999999999"]), max_size=4)


@given(WORDS.map(b" ".join))
def test_chunk(argument):
    """BDAT takes a number, then nothing or LAST."""
    words = argument.upper().split()
    is_good = len(words) in (1, 2) and words[0].isdigit() and (len(words) == 1 or words[1] == b"LAST")
    found = _refusal(grammar.parse_chunk, argument)
    assert found == (int(words[0]), len(words) == 2) if is_good else found is replies.SYNTAX


PARAMETERS = [b"SIZE=", b"SIZE=10", b"SIZE=11", b"size=x", b"BODY=7BIT", b"body=8BitMIME", b"BODY=BINARYMIME", b"BODY"]
PARAMETERS += [b"AUTH=<>", b"AUTH=", b"auth=x", b"SMTPUTF8", b"SMTPUTF8=", b"X", b"RET=FULL", b"="]


def parameter_model(words, offers_smtputf8, limit):
    """Go through the parameters: the first that is wrong decides."""
    names = set()
    for word in words:
        name, _, value = word.upper().partition(b"=")
        if name in names:
            return replies.SYNTAX
        names.add(name)
        verdicts = {
            b"SIZE": replies.SYNTAX if not value.isdigit() else replies.TOO_BIG if 0 < limit < int(value) else None,
            b"BODY": None if value in (b"7BIT", b"8BITMIME") else replies.UNKNOWN_PARAMETER,
            b"AUTH": None if value else replies.SYNTAX,
        }
        if offers_smtputf8:
            verdicts[b"SMTPUTF8"] = replies.SYNTAX if b"=" in word else None
        verdict = verdicts.get(name, replies.UNKNOWN_PARAMETER)
        if verdict is not None:
            return verdict
    return b"SMTPUTF8" in names


@given(st.lists(st.sampled_from(PARAMETERS), max_size=5), st.booleans(), st.sampled_from([0, 10]))
def test_mail_parameters(words, offers_smtputf8, limit):
    """Each parameter may come once, as its RFC has it; what is not known is 555."""
    found = _refusal(grammar.parse_mail_parameters, words, offers_smtputf8=offers_smtputf8, message_bytes=limit)
    assert found == parameter_model(words, offers_smtputf8, limit)


@given(st.binary(max_size=8), st.booleans())
@example(address="ö@x".encode(), is_utf8=True)
@example(address=b"\xf6@x", is_utf8=True)
def test_characters(address, is_utf8):
    """ASCII always goes; the rest only as UTF-8, and if that was asked for."""
    is_text = address.decode("utf-8", "replace").encode() == address
    found = _refusal(grammar.check_characters, address, is_utf8=is_utf8)
    assert found is (None if max(address, default=0) < 128 or (is_utf8 and is_text) else replies.NEEDS_SMTPUTF8)


@pytest.mark.parametrize(("word", "named"), [(b"SIZE=11", replies.TOO_BIG), (b"X", replies.UNKNOWN_PARAMETER)])
def test_the_first_wrong_parameter_decides(word, named):
    """What stands behind a parameter that is refused is not looked at."""
    words = [word, b"SIZE=x"]
    assert _refusal(grammar.parse_mail_parameters, words, offers_smtputf8=False, message_bytes=10) is named
