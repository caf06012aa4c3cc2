"""`checkpw demo` as a process: the whole way of a message, with and without a UCSPI server installed."""

import subprocess

import pytest

PATIENCE = 60


def demo(programs, directory, path):
    """Run the demo to its end."""
    return subprocess.run(
        [programs / "checkpw", "demo", "--directory", directory],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "/nonexistent"], ids=["tcpserver if there", "own listener"])
def test_a_message_arrives_and_is_shown(programs, tmp_path, path):
    """The demo says which server it uses, what the client was answered, and shows the message that arrived."""
    ran = demo(programs, tmp_path, path)
    assert ran.returncode == 0, ran.stderr
    assert "listener of the demo's own" in ran.stdout or path != "/nonexistent"
    for words in ("535 5.7.8", "235 2.7.0", "verdict=accepted", "with ESMTPA", "| Subject: checkpw works here"):
        assert words in ran.stdout
    (message,) = (tmp_path / "Maildir" / "new").iterdir()
    assert "Bcc:" not in message.read_text(encoding="utf-8")


def test_it_can_be_run_again_in_its_own_directory_and_in_no_other(programs, tmp_path):
    """A directory with somebody's account store in it is left alone."""
    assert demo(programs, tmp_path / "new", "/nonexistent").returncode == 0
    assert demo(programs, tmp_path / "new", "/nonexistent").returncode == 0
    accounts = tmp_path / "accounts"
    accounts.write_text("boss:{PLAIN}secret\n", encoding="ascii")
    assert demo(programs, tmp_path, "/nonexistent").returncode == 2
    assert accounts.read_text(encoding="ascii") == "boss:{PLAIN}secret\n"
