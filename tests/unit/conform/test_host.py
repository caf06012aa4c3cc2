"""checkpw.conform.host: what reports tell of a machine, and what is not left on it."""

import os
import re

import hypothesis

from checkpw.conform import host


def test_surroundings_name_versions_system_and_user(monkeypatch):
    """Each pair can be read by itself; a user without a name has a number."""
    pairs = dict(host.surroundings())
    assert re.fullmatch(r"checkpw \S+, Python 3\.\S+, hypothesis \S+", pairs["kit"])
    assert pairs["kit"].endswith(hypothesis.__version__)
    assert os.uname().release in pairs["system"]
    assert pairs["user"].endswith(f"(uid {os.geteuid()})")
    monkeypatch.setattr(os, "geteuid", lambda: 4242424)
    assert dict(host.surroundings())["user"] == "nobody in the password file (uid 4242424)"


def test_what_hypothesis_keeps_goes_away(monkeypatch, tmp_path):
    """Within the block hypothesis is given a directory of its own, afterwards what it had before."""
    given = []
    monkeypatch.setattr(host, "set_hypothesis_home_dir", given.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with host.nothing_left_behind():
        assert [str(path) for path in tmp_path.iterdir()] == given
    assert list(tmp_path.iterdir()) == []
    assert given[1:] == [None]
