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


PARAMETERS = [b"SIZE=", b"SIZE=10", b"SIZE=11", b"size=x", b"SIZE", b"BODY=7BIT", b"body=8BitMIME", b"BODY=BINARYMIME"]
PARAMETERS += [b"BODY", b"AUTH=<>", b"AUTH=", b"auth=8BITMIME", b"SMTPUTF8", b"SMTPUTF8=", b"X", b"=", b"REQUIRETLS"]
PARAMETERS += [b"RequireTLS=", b"RET=FULL", b"ret=hdrs", b"RET=", b"RET", b"RET=BODY", b"ENVID=a+2Bb", b"envid=a+2b"]
PARAMETERS += [b"ENVID=" + b"x" * 100, b"ENVID=" + b"x" * 101, b"ENVID=", b"ENVID=a=b", b"ENVID=+0A", b"NOTIFY=NEVER"]
OFFERED = st.sets(st.sampled_from([b"SMTPUTF8", b"DSN", b"REQUIRETLS"]))
KEYWORDS = {b"SMTPUTF8": b"SMTPUTF8", b"RET": b"DSN", b"ENVID": b"DSN", b"REQUIRETLS": b"REQUIRETLS"}


def slow_xtext(text):
    """Tell whether text is xtext that stands for printable ASCII, one character after the other (RFC 3461)."""
    at = 0
    while at < len(text):
        byte, at = text[at], at + 1
        if byte == ord("+"):
            digits, at = text[at : at + 2].decode("latin-1"), at + 2
            if len(digits) != 2 or not set(digits) <= set("0123456789ABCDEF"):
                return False
            if int(digits, 16) not in (9, *range(32, 127)):
                return False
        elif not 33 <= byte <= 126 or byte == ord("="):
            return False
    return True


def parameter_model(words, offered, limit):
    """Go through the parameters: the first that is wrong decides; else what is passed on, and whether it is UTF-8."""
    names, passed_on = set(), []
    for word in words:
        name, equals, value = word.partition(b"=")
        name, upper = name.upper(), value.upper()
        if name in names:
            return replies.SYNTAX
        names.add(name)
        verdicts = {
            b"SIZE": replies.SYNTAX if not value.isdigit() else replies.TOO_BIG if 0 < limit < int(value) else None,
            b"BODY": None if upper in (b"7BIT", b"8BITMIME") else replies.UNKNOWN_PARAMETER,
            b"AUTH": None if value else replies.SYNTAX,
        }
        good = {
            b"SMTPUTF8": not equals,
            b"REQUIRETLS": not equals,
            b"RET": upper in (b"FULL", b"HDRS"),
            b"ENVID": 0 < len(value) <= 100 and slow_xtext(value),
        }
        verdicts |= {name: None if good[name] else replies.SYNTAX for name in good if KEYWORDS[name] in offered}
        verdict = verdicts.get(name, replies.UNKNOWN_PARAMETER)
        if verdict is not None:
            return verdict
        kept = {b"RET": b"RET=" + upper, b"ENVID": b"ENVID=" + value, b"REQUIRETLS": b"REQUIRETLS"}.get(name)
        passed_on += [kept] if kept else []
        passed_on += [b"BODY=8BITMIME"] * (name == b"BODY" and upper != b"7BIT")
    return passed_on, b"SMTPUTF8" in names


@given(st.lists(st.sampled_from(PARAMETERS), max_size=5), OFFERED, st.sampled_from([0, 10]))
@example(
    [b"RET=HDRS", b"ENVID=a+2Bb", b"body=8bitmime", b"SIZE=5", b"AUTH=x", b"REQUIRETLS"], {b"DSN", b"REQUIRETLS"}, 10
)
def test_mail_parameters(words, offered, limit):
    """Each parameter may come once, as its RFC has it; what is not known is 555, and what a next hop needs is kept."""
    found = _refusal(grammar.parse_mail_parameters, words, offered, limit)
    assert found == parameter_model(words, offered, limit)


@given(st.binary(max_size=12) | st.text("+=0129AFaf\t x~!", max_size=9).map(str.encode))
@example(b"a+2B+20+7E+09~")
@example(b"+7F")
@example(b"+2")
@example(b"+2B+")
@example(b"+ 2")
@example(b"++2B")
def test_xtext(text):
    """Xtext is what RFC 3461 says, and stands for nothing that could begin a line of a report."""
    assert grammar.is_xtext(text) == slow_xtext(text)


LONGEST = b"rfc822;" + b"x" * 493
RECIPIENT_PARAMETERS = {
    b"NOTIFY=NEVER": b"NOTIFY=NEVER",
    b"notify=success,Delay": b"NOTIFY=SUCCESS,DELAY",
    b"NOTIFY=FAILURE": b"NOTIFY=FAILURE",
    b"NOTIFY=NEVER,FAILURE": None,
    b"NOTIFY=": None,
    b"NOTIFY": None,
    b"NOTIFY=SUCCESS,": None,
    b"NOTIFY=ALWAYS": None,
    b"orcpt=RFC822;a+2Bb@c": b"ORCPT=RFC822;a+2Bb@c",
    b"ORCPT=" + LONGEST: b"ORCPT=" + LONGEST,
    b"ORCPT=" + LONGEST + b"x": None,
    b"ORCPT=x400;a;b": b"ORCPT=x400;a;b",
    b"ORCPT=rfc822": None,
    b"ORCPT=;a": None,
    b"ORCPT=rfc822;": None,
    b"ORCPT=rfc(822;a": None,
    b"ORCPT=rfc822;a=b": None,
    b"ORCPT=rfc822;a+0D+0AX": None,
    b"ORCPT": None,
    b"ORCPT=utf-8;a@b": b"ORCPT=utf-8;a@b",
}
"""Word: how it is passed on, None for a syntax error."""


@given(st.lists(st.sampled_from(list(RECIPIENT_PARAMETERS)), max_size=3), st.booleans())
def test_recipient_parameters(words, is_utf8):
    """Each may come once, as RFC 3461 has it, and is passed on in one spelling."""
    found = _refusal(grammar.parse_recipient_parameters, words, {b"DSN"}, is_utf8=is_utf8)
    names = [word.upper().partition(b"=")[0] for word in words]
    passed_on = [RECIPIENT_PARAMETERS[word] for word in words]
    assert found == (replies.SYNTAX if None in passed_on or len(set(names)) < len(names) else passed_on)


@pytest.mark.parametrize("words", [[b"NOTIFY=NEVER"], [b"ORCPT=rfc822;a"], [b"X=Y"], [b"NOTIFY=nonsense"]])
def test_recipient_parameters_that_are_not_offered(words):
    """Without DSN no RCPT has parameters, and what is no parameter never has a syntax."""
    assert _refusal(grammar.parse_recipient_parameters, words, (), is_utf8=False) is replies.UNKNOWN_PARAMETER
    is_known = words[0][:1] != b"X"
    found = _refusal(grammar.parse_recipient_parameters, words, {b"DSN"}, is_utf8=False)
    assert is_known == (found is not replies.UNKNOWN_PARAMETER)


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("ORCPT=utf-8;ö@x".encode(), ["ORCPT=utf-8;ö@x".encode()]),
        ("ORCPT=UTF-8;ö+2B".encode(), ["ORCPT=UTF-8;ö+2B".encode()]),
        ("ORCPT=utf-8;ö+0A".encode(), replies.SYNTAX),
        (b"ORCPT=utf-8;\xf6@x", replies.NEEDS_SMTPUTF8),
        ("ORCPT=rfc822;ö@x".encode(), replies.SYNTAX),
    ],
)
def test_original_recipient_in_utf8(word, outcome):
    """Characters stand as they are in an address of the type utf-8, and only with SMTPUTF8 (RFC 6533 section 3)."""
    assert _refusal(grammar.parse_recipient_parameters, [word], {b"DSN"}, is_utf8=True) == outcome
    assert _refusal(grammar.parse_recipient_parameters, [word], {b"DSN"}, is_utf8=False) is replies.SYNTAX


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
    assert _refusal(grammar.parse_mail_parameters, words, (), 10) is named
