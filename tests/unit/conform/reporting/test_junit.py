"""checkpw.conform.reporting.junit: what CI systems read, by the rules that their readers have in common."""

import xml.etree.ElementTree as ET

import pytest
import samples

from checkpw.conform.reporting import junit

# Of the schema of Jenkins' xUnit plugin, which is what GitLab, Azure and GitHub actions read as well: for each element
# its attributes, those that must be there marked, and its children in their order.
ELEMENTS = {
    "testsuites": ("name time tests failures errors", ["testsuite"]),
    "testsuite": (
        "name! tests! failures errors time skipped timestamp hostname id package file log",
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": ("", ["property"]),
    "property": ("name! value!", []),
    "testcase": (
        "classname name! time status group file line assertions",
        ["skipped", "error", "failure", "system-out", "system-err"],
    ),
    "skipped": ("message type", []),
    "failure": ("message type", []),
    "system-out": ("", []),
}


def validate(element):
    """Hold an element and what is in it against the table."""
    allowed, children = ELEMENTS[element.tag]
    names = allowed.split()
    assert set(element.attrib) <= {name.rstrip("!") for name in names}
    assert {name[:-1] for name in names if name.endswith("!")} <= set(element.attrib)
    places = [children.index(child.tag) for child in element]
    assert places == sorted(places)
    for name in {"tests", "failures", "errors", "skipped"} & set(element.attrib):
        int(element.get(name))
    if "time" in element.attrib:
        float(element.get("time"))
    for child in element:
        validate(child)


def read(report, **words):
    text = junit.render(report, **words)
    root = ET.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites"
    validate(root)
    return root


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
@pytest.mark.parametrize("strict", [False, True])
def test_every_report_is_valid(report, strict):
    """A reader of XML takes each report, whatever a program said, and the numbers are those of the cases."""
    root = read(report, strict=strict)
    (suite,) = root
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [result.judged.name for result in report.results]
    for element in (root, suite):
        assert int(element.get("tests")) == len(cases)
        assert int(element.get("failures")) == len(suite.findall("testcase/failure"))
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))


def _cases(report, **words):
    return {case.get("name"): case for case in read(report, **words).iter("testcase")}


def test_only_what_counts_is_a_failure():
    """What must hold is a failure; dialects, what should hold and what was not judged are skipped, with the reason."""
    cases = _cases(samples.BAD)
    assert {name: [child.tag for child in case] for name, case in cases.items()} == {
        "good-passed": [],
        "bad-must": ["failure"],
        "bad-should": ["skipped", "system-out"],
        "of-dialect": ["skipped", "system-out"],
        "not-judged": ["skipped"],
    }
    assert cases["bad-should"][0].get("message") == "should hold, and need not: expected no, exit 1, saw b'hello'"
    assert cases["of-dialect"][0].get("message") == "dialect: it says no with 3"
    assert cases["not-judged"][0].get("message") == "it takes #2 accounts \\ more"


def test_strict_makes_failures_of_what_should_hold():
    """With strict a broken should is a failure, and still called one."""
    failure = _cases(samples.BAD, strict=True)["bad-should"].find("failure")
    assert failure.get("type") == "should"


def test_a_failure_tells_all():
    """Message and text of a failure have what was seen, the bytes, and the shell line."""
    failure = _cases(samples.BAD)["bad-must"].find("failure")
    assert failure.attrib == {"type": "must", "message": "expected no, exit 1, saw exit 0"}
    assert failure.text.splitlines() == [
        "A claim with `true` in it.",
        "source: checkpassword interface",
        "expected: no, exit 1",
        "saw: exit 0",
        "bytes: joe\\0secre\\0\\0 (11 bytes)",
        "by hand: printf 'joe\\0secre\\0\\0' | ./mychecker true 3<&0; echo $?",
    ]


def test_the_suite_says_what_was_run():
    """Command, settings and surroundings are in the suite."""
    (suite,) = read(samples.AWFUL)
    assert suite.get("name").startswith("checkpw conform verifier: './my checker' $'")
    assert suite.get("timestamp") == "2025-11-24T02:06:40"
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties == {
        "profile": "djb",
        "seed": "42",
        "examples": "100",
        "kit": "checkpw 0.1.0",
        "system": "Linux",
    }
