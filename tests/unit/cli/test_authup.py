"""What authup is told by settings; tests/programs/test_authup.py starts it."""

import pytest

from checkpw.cli.authup import Manners
from checkpw.cli.environment import Environment


@pytest.mark.parametrize(("protocol", "usual"), [(b"smtp", 300.0), (b"pop3", 600.0)])
def test_how_long_a_client_may_say_nothing(tmp_path, protocol, usual):
    """Each protocol has its default and its control file, and the variable counts before both."""
    controls = {b"CONTROLDIR": bytes(tmp_path)}
    assert Manners(Environment(controls), protocol).idle_timeout == usual
    (tmp_path / f"timeout{protocol.decode()}d").write_text("7\n", encoding="ascii")
    assert Manners(Environment(controls), protocol).idle_timeout == 7
    assert Manners(Environment(controls | {b"OFMIPD_TIMEOUT": b"5"}), protocol).idle_timeout == 5
