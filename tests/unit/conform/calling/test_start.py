"""Files in the checker's place that cannot be executed, and the shell lines that make them."""

import errno
import os
import subprocess

import pytest

from checkpw.conform.calling import recipes
from checkpw.conform.calling.start import Unusable

ERRORS = {
    Unusable.NOT_EXECUTABLE: errno.EACCES,
    Unusable.MISSING: errno.ENOENT,
    Unusable.DIRECTORY: errno.EACCES,
    Unusable.TEXT: errno.ENOEXEC,
    Unusable.NO_INTERPRETER: errno.ENOENT,
    Unusable.LOOP: errno.ELOOP,
}


def _error(path):
    try:
        os.waitpid(os.posix_spawn(path, [path], {}), 0)
    except OSError as error:
        return error.errno
    return 0


@pytest.mark.parametrize("why", Unusable, ids=lambda why: why.name)
def test_execution_fails_in_the_way_that_is_meant(why, tmp_path):
    """By the kit and by hand alike."""
    path = tmp_path / "checker"
    why.put(str(path))
    assert _error(path) == ERRORS[why]
    by_hand = tmp_path / "by-hand"
    subprocess.run(["sh", "-c", why.by_hand.replace(recipes.BY_HAND, str(by_hand))], check=True)
    assert _error(by_hand) == ERRORS[why]
    assert os.path.lexists(by_hand) == os.path.lexists(path)
