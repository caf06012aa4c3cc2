"""checkpw completion: the script of each shell, made without starting any."""

import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_names_program_and_variable(checkpw, shell):
    """The script completes `checkpw` and calls it back by the variable that click reads."""
    done = checkpw("completion", shell)
    assert done.status == 0
    assert "_CHECKPW_COMPLETE" in done.out
    assert f"{shell}_complete" in done.out


def test_other_shells_are_misuse(checkpw):
    """A shell that click does not know is refused by name."""
    done = checkpw("completion", "csh")
    assert done.status == 2
    assert "csh" in done.err
