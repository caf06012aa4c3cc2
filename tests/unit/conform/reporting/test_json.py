"""checkpw.conform.reporting.json: members and values; tests/docs holds them against the page."""

import json

import pytest
import samples

from checkpw.conform.reporting import json as as_json


def read(report, **words):
    return json.loads(as_json.render(report, **words))


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
def test_every_report_is_json(report):
    """Each report is one object of plain text, whatever a program said."""
    text = as_json.render(report)
    assert text.isascii()
    assert text.endswith("}\n")
    whole = json.loads(text)
    assert [one["name"] for one in whole["results"]] == [result.judged.name for result in report.results]
    text.encode("utf-8")


def test_what_stands_above_the_results():
    """Version, program, settings, counts and verdict."""
    whole = read(samples.BAD)
    del whole["results"]
    assert whole == {
        "version": 1,
        "side": "verifier",
        "command": ["./mychecker"],
        "profile": "djb",
        "seed": 42,
        "examples": 100,
        "strict": False,
        "began": "2025-11-24T02:06:40Z",
        "seconds": 6.25,
        "surroundings": {"kit": "checkpw 0.1.0", "system": "Linux"},
        "conforms": False,
        "counts": {"passed": 1, "failed": 1, "weak": 1, "dialect": 1, "skipped": 1},
    }


def test_a_failure_has_its_bytes_in_three_forms():
    """Bytes are counted, in hexadecimal, and as printf(1) takes them."""
    (found,) = (one for one in read(samples.BAD)["results"] if one["name"] == "bad-must")
    assert found == {
        "name": "bad-must",
        "severity": "must",
        "claim": "A claim with `true` in it.",
        "source": "checkpassword interface",
        "verdict": "failed",
        "why": "",
        "examples": 7,
        "seconds": 1.25,
        "violation": {
            "expected": "no, exit 1",
            "seen": "exit 0",
            "given": {"size": 11, "hex": "6a6f6500736563726500" + "00", "printf": "joe\\0secre\\0\\0"},
            "recipe": "printf 'joe\\0secre\\0\\0' | ./mychecker true 3<&0; echo $?",
        },
    }


def test_what_is_not_there_is_null():
    """A property that holds has no violation, and one that is not about bytes has none and no shell line."""
    found = {one["name"]: one["violation"] for one in read(samples.BAD)["results"]}
    assert found["good-passed"] is None
    assert found["bad-should"] == {"expected": "no, exit 1", "seen": "b'hello'", "given": None, "recipe": None}


@pytest.mark.parametrize(
    ("report", "strict", "conforms"),
    [
        (samples.GOOD, False, True),
        (samples.WEAKLY, False, True),
        (samples.WEAKLY, True, False),
        (samples.BAD, False, False),
        (samples.NOTHING, False, False),
    ],
)
def test_conforms(report, strict, conforms):
    """What should hold counts when it was asked for; where nothing was judged, nothing conforms."""
    assert read(report, strict=strict)["conforms"] == conforms


def test_control_characters_are_spelt_out():
    """A consumer that prints what it reads sends no terminal anything but text."""
    whole = read(samples.AWFUL)
    assert "\\x1b[2J \\xff" in whole["results"][0]["violation"]["seen"]
    assert whole["command"][2] == "\\xfe"
