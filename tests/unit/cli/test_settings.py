"""Settings of the front ends: each variable, its default, and what makes no sense."""

import itertools
import os

import pytest

from checkpw.cli import settings
from checkpw.cli.environment import Environment
from checkpw.errors import TemporaryFailure
from checkpw.queue.maildir import Maildir
from checkpw.queue.qmail import QmailQueue
from checkpw.queue.sendmail import Sendmail


@pytest.fixture
def controls(tmp_path):
    """Give an empty directory for control files, and the variable that names it."""
    return tmp_path, {b"CONTROLDIR": os.fsencode(tmp_path)}


def _policy(environ):
    return settings.read_policy(Environment(environ), b"h")


# --- arguments


@pytest.mark.parametrize(
    ("words", "hostname", "chain"),
    [
        ([], b"ofmipd.local", []),
        ([b""], b"ofmipd.local", []),
        ([b"", b""], b"ofmipd.local", []),
        ([b"", b"mail.example"], b"mail.example", []),
        ([b"", b"mail.example", b"checkpassword", b"true"], b"mail.example", [b"checkpassword", b"true"]),
        ([b"", b"", b"/bin/checkpassword", b"/bin/true"], b"ofmipd.local", [b"/bin/checkpassword", b"/bin/true"]),
        ([b"", b"checkpw.example", b"a", b"b", b"c"], b"checkpw.example", [b"a", b"b", b"c"]),
    ],
)
def test_arguments(words, hostname, chain):
    """`[name.cdb [hostname [checkpassword prog...]]]`, of which each may lack."""
    assert settings.read_arguments(words) == (b"", hostname, chain)
    if words:
        assert settings.read_arguments([b"name.cdb", *words[1:]]) == (b"name.cdb", hostname, chain)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([b"", b"/bin/checkpassword", b"/bin/true"], "no hostname"),
        ([b"", b"checkpassword", b"true"], "forgotten"),
        ([b"", b"checkpassword", b"env", b"true"], "forgotten"),
        ([b"", b"mail.example", b"checkpassword"], "no program after"),
        ([b"", b"mail.example", b"true", b"true"], "let everybody in"),
        ([b"", b"mail.example", b"/usr/local/bin/true", b"x"], "let everybody in"),
    ],
)
def test_arguments_that_make_no_sense(words, said):
    """What makes an open relay of the original, or cannot work, is refused."""
    with pytest.raises(TemporaryFailure, match=said):
        settings.read_arguments(words)


# --- the policy


def test_defaults(controls):
    """Without any setting, the policy is the table of the design."""
    policy = _policy(controls[1])
    limits = policy.limits
    assert (limits.message_bytes, limits.recipients, limits.errors, limits.auth_failures) == (104857600, 1000, 20, 5)
    assert (policy.header_bytes, policy.hops, policy.idle_timeout, policy.auth_delay) == (262144, 100, 300.0, 5.0)
    assert (policy.relays_for_all, policy.requires_tls, policy.shows_user, policy.shows_ip) == (
        False,
        False,
        True,
        True,
    )
    assert policy.hostname == b"h"


NUMBERS = [
    (b"DATABYTES", "message_bytes", 0),
    (b"OFMIPD_RECIPIENTS", "recipients", 1),
    (b"OFMIPD_ERRORS", "errors", 1),
    (b"OFMIPD_AUTH_TRIES", "auth_failures", 3),
    (b"OFMIPD_HEADER_BYTES", "header_bytes", 0),
    (b"OFMIPD_HOPS", "hops", 1),
]


@pytest.mark.parametrize(("name", "attribute", "least"), NUMBERS)
def test_numbers(controls, name, attribute, least):
    """Each number is taken from its variable, not below its least value; an empty one counts as not set."""
    default, policy = _policy(controls[1]), _policy({**controls[1], name: b"77"})
    owner = "limits" if hasattr(policy.limits, attribute) else None
    read = (lambda each: getattr(each.limits, attribute)) if owner else (lambda each: getattr(each, attribute))
    assert read(policy) == 77
    assert read(_policy({**controls[1], name: b"%d" % least})) == least
    assert read(_policy({**controls[1], name: b""})) == read(default)
    bad = [b"-1", b"x", b"1.5", b" 1", b"1" * 19, *([b"%d" % (least - 1)] if least else [])]
    for value in bad:
        with pytest.raises(TemporaryFailure, match=name.decode()):
            _policy({**controls[1], name: value})


@pytest.mark.parametrize(
    ("name", "attribute", "may_be_none"),
    [(b"OFMIPD_TIMEOUT", "idle_timeout", False), (b"OFMIPD_AUTH_DELAY", "auth_delay", True)],
)
def test_times(controls, name, attribute, may_be_none):
    """Times may have a fraction; no time at all only where that makes sense."""
    assert getattr(_policy({**controls[1], name: b"2.5"}), attribute) == 2.5
    assert getattr(_policy({**controls[1], name: b"7"}), attribute) == 7.0
    assert getattr(_policy({**controls[1], name: b".5"}), attribute) == 0.5
    for value in (b"x", b"-1", b".", b"1.2.3", b"1e3", b"inf", b"nan", b"1" * 30):
        with pytest.raises(TemporaryFailure, match=name.decode()):
            _policy({**controls[1], name: value})
    if may_be_none:
        assert getattr(_policy({**controls[1], name: b"0"}), attribute) == 0.0
    else:
        with pytest.raises(TemporaryFailure, match="0 seconds"):
            _policy({**controls[1], name: b"0"})


@pytest.mark.parametrize(
    ("environ", "attribute", "value"),
    [
        ({b"RELAYCLIENT": b""}, "relays_for_all", True),
        ({b"RELAYCLIENT": b"@suffix"}, "relays_for_all", True),
        ({b"RELAYCLIENT": b"", b"OFMIPD_REQUIRE_AUTH": b""}, "relays_for_all", False),
        ({b"OFMIPD_REQUIRE_AUTH": b"1"}, "relays_for_all", False),
        ({b"OFMIPD_REQUIRE_TLS": b""}, "requires_tls", True),
        ({b"UCSPITLS": b"!"}, "requires_tls", True),
        ({b"UCSPITLS": b""}, "requires_tls", False),
        ({b"UCSPITLS": b"-"}, "requires_tls", False),
        ({b"OFMIPD_HIDE_USER": b""}, "shows_user", False),
        ({b"OFMIPD_HIDE_IP": b""}, "shows_ip", False),
    ],
)
def test_switches(controls, environ, attribute, value):
    """A switch is on when it is set, whatever to; RELAYCLIENT counts for nothing where AUTH is required."""
    assert getattr(_policy({**controls[1], **environ}), attribute) is value


def test_control_files(controls):
    """Two settings have a control file of qmail's, of which the first line counts, and which a variable overrides."""
    place, environ = controls
    (place / "databytes").write_bytes(b"500 \t\nsecond\n")
    (place / "timeoutsmtpd").write_bytes(b"60")
    policy = _policy(environ)
    assert (policy.limits.message_bytes, policy.idle_timeout) == (500, 60.0)
    policy = _policy({**environ, b"DATABYTES": b"5", b"OFMIPD_TIMEOUT": b"6"})
    assert (policy.limits.message_bytes, policy.idle_timeout) == (5, 6.0)
    (place / "databytes").write_bytes(b"nonsense\n")
    with pytest.raises(TemporaryFailure, match="DATABYTES"):
        _policy(environ)
    (place / "databytes").write_bytes(b"\n")
    assert _policy(environ).limits.message_bytes == 104857600


def test_control_files_that_cannot_be_read(controls):
    """A control file that is there and cannot be read is trouble; one that is not there is none."""
    place, environ = controls
    (place / "databytes").mkdir()
    with pytest.raises(TemporaryFailure, match="unable to read"):
        _policy(environ)


def test_home_of_qmail(tmp_path):
    """Controls are below the home of qmail, unless they are somewhere else."""
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "databytes").write_bytes(b"7\n")
    home = {b"OFMIPD_QMAIL": os.fsencode(tmp_path)}
    assert _policy(home).limits.message_bytes == 7
    assert _policy({**home, b"CONTROLDIR": b"/nonexistent"}).limits.message_bytes == 104857600
    assert Environment({}).qmail_home == b"/var/qmail"
    assert Environment({b"OFMIPD_QMAIL": b""}).qmail_home == b"/var/qmail"


# --- the checker


def _checker(environ, chain=(b"checkpassword", b"true")):
    return settings.read_checker(Environment(environ), list(chain), {b"A": b"b"})


def test_no_checker():
    """Without a chain nobody is asked."""
    assert _checker({}, ()) is None


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (None, {1}),
        (b"", {1}),
        (b"1", {1}),
        (b"3,12", {1, 3, 12}),
        (b"100", {1, 100}),
        (b" 3  12,15 ", {1, 3, 12, 15}),
        (b"255", {1, 255}),
        (b"2", {1, 2}),
    ],
)
def test_codes_that_mean_no(codes, expected):
    """The codes that were named mean no, and 1 always does."""
    checker = _checker({} if codes is None else {b"OFMIPD_REJECT_CODES": codes})
    assert checker._reject_statuses == expected
    assert (checker.argv, checker._timeout, checker._environ) == ([b"checkpassword", b"true"], 30.0, {b"A": b"b"})


@pytest.mark.parametrize("codes", [b"0", b"111", b"1 0", b"256", b"-1", b"x", b"1-3", b"9" * 19])
def test_codes_that_cannot_mean_no(codes):
    """0 is a yes, 111 temporary, and the rest is no exit status."""
    with pytest.raises(TemporaryFailure, match="cannot mean no"):
        _checker({b"OFMIPD_REJECT_CODES": codes})


def test_time_of_a_checker():
    """The time limit of a checker can be set, and cannot be nothing."""
    assert _checker({b"OFMIPD_CHECKER_TIMEOUT": b"2.5"})._timeout == 2.5
    with pytest.raises(TemporaryFailure, match="OFMIPD_CHECKER_TIMEOUT"):
        _checker({b"OFMIPD_CHECKER_TIMEOUT": b"0"})


# --- the door


def _door(**environ):
    given = {name.encode(): value for name, value in environ.items()}
    return settings.open_door(Environment({b"OFMIPD_QMAIL": b"/nonexistent", **given}), b"h", itertools.count())


def test_qmail_queue():
    """By default qmail-queue of the home of qmail; $QMAILQUEUE names another one, from there or anywhere."""
    door = _door()
    assert isinstance(door, QmailQueue) and not door.carries_smtputf8
    assert (door._program, door._timeout) == (b"/nonexistent/bin/qmail-queue", 600.0)
    assert _door(QMAILQUEUE=b"bin/filter")._program == b"/nonexistent/bin/filter"
    assert _door(QMAILQUEUE=b"/usr/bin/filter")._program == b"/usr/bin/filter"
    assert _door(OFMIPD_QUEUE_TIMEOUT=b"5", OFMIPD_SMTPUTF8=b"")._timeout == 5.0
    assert _door(OFMIPD_SMTPUTF8=b"").carries_smtputf8


def test_maildir():
    """`maildir:/path` is a Maildir, which carries UTF-8 by itself."""
    door = _door(OFMIPD_QUEUE=b"maildir:/some:where", OFMIPD_QUEUE_TIMEOUT=b"5")
    assert isinstance(door, Maildir) and door.carries_smtputf8
    assert (door._path, door._hostname, door._timeout) == (b"/some:where", b"h", 5.0)


def test_sendmail():
    """`sendmail:/path` is a program, which spools where $TMPDIR says."""
    door = _door(OFMIPD_QUEUE=b"sendmail:/usr/sbin/sendmail", OFMIPD_QUEUE_TIMEOUT=b"5")
    assert isinstance(door, Sendmail) and not door.carries_smtputf8
    assert (door._program, door._spool, door._timeout) == (b"/usr/sbin/sendmail", b"/tmp", 5.0)
    assert _door(OFMIPD_QUEUE=b"sendmail:/x", TMPDIR=b"/spool")._spool == b"/spool"
    assert _door(OFMIPD_QUEUE=b"sendmail:/x", OFMIPD_SMTPUTF8=b"1").carries_smtputf8


@pytest.mark.parametrize(
    "url", [b"maildir:relative", b"maildir:", b"sendmail:x", b"/var/spool", b"smtp", b"Maildir:/x"]
)
def test_doors_that_there_are_not(url):
    """A door that is misspelt is trouble, not the default one."""
    with pytest.raises(TemporaryFailure, match="names no door"):
        _door(OFMIPD_QUEUE=url)


# --- hosts and names


def _with_controls(controls, **environ):
    given = {name.encode(): value for name, value in environ.items()}
    environment = Environment({b"CONTROLDIR": os.fsencode(controls), **given})
    return settings.read_policy(environment, b"mail.example")


def test_hosts_without_controls(tmp_path):
    """Hosts are words that nobody can miss."""
    policy = _with_controls(tmp_path)
    assert policy.host_rules.rewrite_address(b"joe") == b"joe@DEFAULTHOST.DEFAULTDOMAIN"
    assert policy.host_rules.rewrite_address(b"joe@x+") == b"joe@x.PLUSDOMAIN"
    assert policy.id_host == b"IDHOST.DEFAULTDOMAIN"


def test_where_hosts_come_from(tmp_path):
    """The variable counts, also if it is empty; then the control file, also if it is empty; then me."""
    (tmp_path / "me").write_bytes(b"me.example \t\nsecond\n")
    (tmp_path / "idhost").write_bytes(b"id.example")
    (tmp_path / "defaultdomain").write_bytes(b"")
    policy = _with_controls(tmp_path)
    assert policy.host_rules.rewrite_address(b"joe") == b"joe@me.example"
    assert policy.host_rules.rewrite_address(b"joe@x") == b"joe@x."
    assert policy.id_host == b"id.example"
    policy = _with_controls(tmp_path, QMAILDEFAULTHOST=b"env.example", QMAILIDHOST=b"")
    assert policy.host_rules.rewrite_address(b"joe") == b"joe@env.example"
    assert policy.id_host == b"env.example"


def test_a_rewrite_file(tmp_path):
    """Its lines are the rules, but for comments; default hosts do not count any more, and an empty file has none."""
    (tmp_path / "rewrite").write_bytes(b"# =b:no\n\n=b:c \t\n*c:d")
    assert _with_controls(tmp_path).host_rules.rewrite(b"b") == b"d"
    (tmp_path / "rewrite").write_bytes(b"")
    assert _with_controls(tmp_path).host_rules.rewrite_address(b"joe") == b"joe@"


@pytest.mark.parametrize("name", ["me", "rewrite", "defaulthost", "defaultdomain", "plusdomain", "idhost"])
def test_a_control_file_that_cannot_be_read(tmp_path, name):
    """It is trouble; that it is not there is none."""
    (tmp_path / name).mkdir()
    with pytest.raises(TemporaryFailure, match="unable to read"):
        _with_controls(tmp_path)


def test_groups(tmp_path):
    """Groups are kept or give their names away; nobody guesses what another word means."""
    assert not _with_controls(tmp_path).keeps_groups
    assert _with_controls(tmp_path, OFMIPD_GROUPS=b"keep").keeps_groups
    with pytest.raises(TemporaryFailure, match="OFMIPD_GROUPS"):
        _with_controls(tmp_path, OFMIPD_GROUPS=b"yes")


def test_a_name_cdb_that_cannot_be_opened(tmp_path):
    """No name, no cdb; a name without a file is trouble before the greeting."""
    assert settings.open_names(b"") is None
    with pytest.raises(TemporaryFailure, match="unable to read"):
        settings.open_names(os.fsencode(tmp_path / "none"))


def test_a_users_own_names_are_for_who_has_logged_in(tmp_path):
    """They count on request, after a login of authup's, where they are, and where HOME is a path."""
    home = os.fsencode(tmp_path)
    (tmp_path / ".ofmipd").mkdir()
    asked = {b"OFMIPD_USER_CDB": b"", b"AUTHUP_USER": b"joe", b"HOME": home}
    assert settings.find_users_names(Environment(asked)) == b""
    (tmp_path / ".ofmipd" / "rules.cdb").touch()
    assert settings.find_users_names(Environment(asked)) == home + b"/.ofmipd/rules.cdb"
    for name in asked:
        others = {key: value for key, value in asked.items() if key != name}
        assert settings.find_users_names(Environment(others)) == b""
    assert settings.find_users_names(Environment(asked | {b"AUTHUP_USER": b""})) == b""
    assert settings.find_users_names(Environment(asked | {b"HOME": b"home"})) == b""


def test_names_that_cannot_be_looked_at_are_not_passed_over(tmp_path):
    """What is there and cannot be opened is trouble later, and no reason to send under another name."""
    (tmp_path / ".ofmipd").write_text("")
    asked = {b"OFMIPD_USER_CDB": b"", b"AUTHUP_USER": b"joe", b"HOME": os.fsencode(tmp_path)}
    assert settings.find_users_names(Environment(asked)).endswith(b"/rules.cdb")
