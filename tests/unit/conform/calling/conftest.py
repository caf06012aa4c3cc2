"""Servers of a few lines, for a client that has to get along with them."""

import os
import stat

import pytest


@pytest.fixture
def server(tmp_path):
    """Give a function that writes a server as a script of sh, and returns the command."""

    def write(text):
        path = tmp_path / "server"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="latin-1")
        path.chmod(stat.S_IRWXU)
        return [os.fsencode(path)]

    return write


@pytest.fixture
def environ():
    """Give an environment with a PATH."""
    return {b"PATH": b"/usr/bin:/bin"}
