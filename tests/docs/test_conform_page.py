"""checkpw-conform(7) against the kit: every property, member, option, profile and strategy, both ways."""

import json
import re
import subprocess
import types

import conform_page
import pytest
from click.testing import CliRunner
from pages import page

from checkpw.cli.commands import checkpw
from checkpw.conform import calling, dialects, plugin, profiles, verifying
from checkpw.conform.model import Report, Result, Severity, Verdict, Violation
from checkpw.conform.reporting import json as as_json
from checkpw.conform.reporting import terminal

PAGE = page("checkpw-conform", "7")
SIDES = {
    "verifier": ("Properties of a checkpassword program", verifying.PROPERTIES),
    "caller": ("Properties of a caller", calling.PROPERTIES),
}


@pytest.mark.parametrize("heading", conform_page.parts())
def test_parts_that_are_made_from_the_code_are_up_to_date(heading):
    """Properties and strategies stand in the page as in the code; `python tests/docs/conform_page.py` writes them."""
    lines = PAGE.part(heading)
    start = lines.index(".Bl -tag -width Ds") + 1
    assert lines[start : lines.index(".El", start)] == conform_page.parts()[heading]


@pytest.mark.parametrize("side", SIDES)
def test_names_and_severities_are_in_the_page(side):
    """The names that somebody finds in the page are those that --select takes, and no name is there twice."""
    heading, properties = SIDES[side]
    assert PAGE.items(heading) == [f"{one.name} {one.severity.value}" for one in properties]
    assert len({one.name for one in properties}) == len(properties)


@pytest.mark.parametrize("side", SIDES)
def test_list_says_what_the_page_says(side):
    """--list gives the same properties, with claim and source."""
    _, properties = SIDES[side]
    done = CliRunner().invoke(checkpw, ["conform", side, "--list"], obj={}, standalone_mode=False)
    assert done.output.splitlines() == [
        f"{one.name} ({one.severity.value}) {one.claim} [{one.source}]" for one in properties
    ]


def test_a_name_is_on_one_side_only():
    """A name means one thing: pytest selects among both sides."""
    names = [one.name for _, properties in SIDES.values() for one in properties]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


# --- forms


def _report():
    violation = Violation("yes", "no", given=b"joe\0", recipe="true")
    results = [Result(verifying.PROPERTIES[0], Verdict.FAILED, "", violation, 1, 0.5)]
    return Report("verifier", ("./mychecker",), "djb", 1, 100, tuple(results), 0.0, (("kit", "checkpw"),))


def _members(value, path=""):
    """Give the paths of all members that hold no further ones, and of those that may be null."""
    if path == "surroundings" or not isinstance(value, (dict, list)):
        return {path}
    if isinstance(value, list):
        return {path} if value and isinstance(value[0], str) else _members(value[0], f"{path}[]")
    inside = {found for name, one in value.items() for found in _members(one, f"{path}.{name}".lstrip("."))}
    return inside | ({path} if path.endswith(("violation", "given")) else set())


def test_members_of_the_json_are_in_the_table():
    """The table of the page has every member of the JSON report and no other, and its version."""
    rows = dict(PAGE.rows("JSON", "member"))
    assert set(rows) == _members(json.loads(as_json.render(_report())))
    assert rows["version"] == str(as_json.VERSION)


def test_verdicts_and_severities_are_explained():
    """The page explains each word that a report uses."""
    assert PAGE.items("Verdicts") == [one.value for one in Verdict]
    assert PAGE.items("What counts") == [one.value for one in Severity]


def test_profiles_are_those_of_the_code():
    """The page has each profile that --profile takes."""
    assert PAGE.items("Profiles") == [profile.name for profile in profiles.PROFILES]
    assert PAGE.items("Profiles of callers") == [profile.name for profile in dialects.PROFILES]


def test_the_failure_in_the_page_is_written_by_the_report():
    """What the page teaches to read is what the terminal shows."""
    from checkpw.conform.shell import ByHand, recipe

    (shown,) = PAGE.literal("How to read a failure")
    suffix = next(one for one in verifying.PROPERTIES if one.name == "rejects-password-suffix")
    record = b"joe\0secretx\0\0"
    by_hand = recipe(["./mychecker", "true"], record, ByHand())
    violation = Violation("no to and one byte more, exit 1, and nothing run", "exit 0", given=record, recipe=by_hand)
    result = Result(suffix, Verdict.FAILED, "", violation, 1, 0.0)
    assert shown.rstrip() == terminal.failure(result, terminal.Style())


# --- pytest


def _options():
    """Give the options that the plugin adds, with the text that pytest would show."""
    found = {}
    group = types.SimpleNamespace(addoption=lambda name, **rest: found.update({name: rest}))
    plugin.pytest_addoption(types.SimpleNamespace(getgroup=lambda *_: group))
    return found


def test_options_of_the_plugin_are_in_the_page():
    """The page has each option of the plugin and no other, and each has help."""
    options = _options()
    shown = {f"--{word}" for line in PAGE.part("With pytest") for word in re.findall(r"Fl -([a-z][a-z-]*)", line)}
    assert shown == set(options)
    assert all(option["help"] for option in options.values())


def test_fixtures_of_the_plugin_are_in_the_page():
    """The page has each fixture that others may use."""
    fixtures = {name for name, value in vars(plugin).items() if "fixture" in type(value).__name__.lower()}
    assert fixtures
    listed = {item.removeprefix("Li ").split()[0] for item in PAGE.items("With pytest") if not item.startswith("-")}
    assert fixtures == {name for name in listed if name.isidentifier()}


# --- recipes


def test_the_recipe_for_a_project_in_c_works(tmp_path, programs):
    """`make check` of the page starts the kit on ./mychecker, writes both reports, and tells make what came out."""
    makefile, _ = PAGE.literal("A project in C")
    tmp_path.joinpath("Makefile").write_text(makefile, encoding="ascii")
    checker = tmp_path / "mychecker"
    checker.write_text('#!/bin/sh\ntest -s "$MYCHECKER_ACCOUNTS" && exit 1\n', encoding="ascii")
    checker.chmod(0o755)
    ended = subprocess.run(
        ["make", "check"],
        cwd=tmp_path,
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2, ended.stderr
    assert "FAILED   must   accepts-good-login" in ended.stdout
    for report in ("conform.xml", "conform.html"):
        assert "accepts-good-login" in tmp_path.joinpath(report).read_text(encoding="utf-8")
