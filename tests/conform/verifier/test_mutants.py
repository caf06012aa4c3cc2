"""The kit judges a reference that is right, and more than a hundred that have one fault each."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import judging
import pytest
from mutants import MUTANTS

from checkpw.conform.model import Verdict
from checkpw.conform.verifying import PROPERTIES

PATIENCE = 240  # seconds for all properties, on a machine that is busy with other tests
STRANGER = 54400

OF_TIME = "same-time-for-unknown-login"
"""What cannot be judged while the machine is busy with other tests."""

IN_TMP = "record|input|file|fds|path|orphan|text|empty|[124]"
"""What shell lines make in /tmp."""

OF_ROOT = ("drops-groups", "drops-uid", "drops-gid")

# Judges the reference as a user whose home, package and interpreter are in a directory that everybody may enter.
_AS_STRANGER = """
import json, pathlib, sys
sys.path[:0] = sys.argv[1:3]
import judging
with judging.reference_in_place() as directory:
    text = (judging.HERE / "reference.py").read_text()
    results = judging.judge_in(directory, text, (), examples=4)
json.dump([(one.judged.name, one.verdict.value, one.why, str(one.violation)) for one in results], sys.stdout)
"""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.property}: {one.name}")
def test_a_fault_is_caught_by_the_property_that_names_it(perl, place, judge, reference, mutant, refuse):
    """One property is tried on one fault, and fails with what was expected, what was seen, and how to see it.

    The shell line does show it: what it says of the mutant it does not say of the reference.
    """
    if mutant.needs_root and os.geteuid() != 0:
        refuse("not run: needs root")
    assert reference.count(mutant.old) == 1, mutant.old
    (result,) = judge(
        reference.replace(mutant.old, mutant.new), mutant.property, examples=30 if mutant.property != OF_TIME else 8
    )
    assert result.verdict is Verdict.FAILED, result
    assert result.violation.expected
    assert result.violation.seen
    assert result.violation.recipe
    if mutant.property != OF_TIME and _can_be_run(result.violation.recipe):
        texts = (reference.replace(mutant.old, mutant.new), reference)
        assert any(_tells_apart(result.violation.recipe, texts, place, slowness) for slowness in (1, 4, 16))


def _tells_apart(line, texts, place, slowness):
    """Tell whether a shell line says something else of each text; a busy machine needs longer pauses for that."""
    line = re.sub("sleep ([0-9.]+)", lambda found: f"sleep {float(found[1]) * slowness:g}", line)
    said = set()
    for text in texts:
        (place / judging.PROGRAM).write_text(text, encoding="utf-8")
        said.add(_by_hand(line, place))
    return len(said) == len(texts)


def _can_be_run(line):
    """Tell whether a shell line works here; strace may not be there, or not be allowed."""
    words = ["strace", "-o", "/dev/null", "true"]
    if "strace" not in line:
        return True
    return shutil.which("strace") is not None and subprocess.run(words, check=False).returncode == 0


def _by_hand(line, place):
    """Give what a shell line says on a terminal; numbers of processes and files only as far as they are the same.

    What it puts into /tmp it puts into a directory of its own, where tests side by side do not find it.
    """
    own = place / "by-hand"
    own.mkdir(exist_ok=True)
    own.chmod(0o777)
    line = re.sub(rf"/tmp/(?=(?:{IN_TMP})\b)", f"{own}/", line)
    # bash, because words that do not print stand in $'...', which not every sh has. A file, because a helper that is
    # left behind keeps it open.
    with open(own / "said", "wb") as said:
        words = ["/bin/bash", "-c", f"exec 2>&1; {line}"]
        subprocess.run(words, stdout=said, cwd="/", env=judging.ENVIRON, timeout=PATIENCE, check=False)
    said = (own / "said").read_bytes()
    numbers = {}
    return re.sub(
        rb"(?<![0-9])[1-9][0-9]{3,}|[0-9]+:[0-9]+",
        lambda found: b"<%d>" % numbers.setdefault(found[0], len(numbers)),
        said,
    )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rejects-wrong-password", "YES, NO, MISUSE, TROUBLE = 0, 1,", "YES, NO, MISUSE, TROUBLE = 0, 3,"),
        ("finds-prog-by-path", '[argv[0]] if b"/" in argv[0] else', "[argv[0]] if True else"),
    ],
)
def test_one_deviation_is_named_once(judge, reference, name, old, new):
    """What depends on it is judged by what the program does otherwise, or not judged; nothing else fails."""
    assert reference.count(old) == 1
    kinds = ("rejects-*", "accepts-*", "reads-*", "answers-*", "*descriptor*", "*path*", "verdict-*", "*exec*")
    results = judge(reference.replace(old, new), *kinds, examples=4)
    assert [one.judged.name for one in results if one.verdict is Verdict.FAILED] == [name]


def test_each_property_is_there_for_a_fault():
    """No property is without a mutant that it alone has to catch."""
    assert {mutant.property for mutant in MUTANTS} == {one.name for one in PROPERTIES}


def test_mutants_are_many_and_different():
    """There are at least forty, and no two make the same change."""
    assert len({(mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS) >= 40


def test_the_reference_passes(perl, judge, reference):
    """A program that is right passes every property; without root, three of them are not judged."""
    results = judge(reference, examples=4)
    others = [one for one in results if one.verdict is not Verdict.PASSED]
    wrong = {one.judged.name: one.why or str(one.violation) for one in others}
    assert "too busy" in wrong.pop(OF_TIME, "too busy")
    assert wrong == ({} if os.geteuid() == 0 else dict.fromkeys(OF_ROOT, "it takes root"))
    assert len(results) == len(PROPERTIES)


def test_the_reference_passes_as_an_ordinary_user(perl, root, refuse):
    """Without root the same holds, and only what takes root is not judged."""
    with tempfile.TemporaryDirectory(prefix="checkpw-kit-", dir="/tmp") as name:
        library = pathlib.Path(name)
        library.chmod(0o755)
        for package in ("checkpw", "hypothesis", "_hypothesis_globals", "sortedcontainers", "attr"):
            _copy_package(package, library)
        shutil.copytree(pathlib.Path(__file__).parent, library / "verifier")
        words = [sys.executable, "-I", "-c", _AS_STRANGER, name, f"{name}/verifier"]
        words[:1] = [_everybodys_python(refuse)]
        who = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
        done = subprocess.run(words, **who, cwd="/", env={}, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    results = json.loads(done.stdout)
    wrong = {name: why for name, verdict, why, _ in results if verdict != "passed"}
    assert "too busy" in wrong.pop(OF_TIME, "too busy")
    assert wrong == dict.fromkeys(OF_ROOT, "it takes root")
    assert len(results) == len(PROPERTIES)


def _copy_package(package, library):
    found = importlib.util.find_spec(package)
    if found is None:
        return
    if found.submodule_search_locations is None:
        shutil.copy(found.origin, library)
    else:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(found.submodule_search_locations[0], library / package, ignore=ignore)


def _everybodys_python(refuse):
    for interpreter in (sys.executable, "/usr/bin/python3"):
        words = [interpreter, "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(words, user=STRANGER, cwd="/", check=False, capture_output=True).returncode == 0:
                return interpreter
        except OSError:
            continue
    return refuse("not run: unprivileged users, there is no Python that they may execute")
