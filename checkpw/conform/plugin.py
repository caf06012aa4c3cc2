"""The kit inside pytest: `pytest -p checkpw.conform --checkpassword='./mychecker' --checkpassword-account joe:secret`.

Each property becomes a test item of its own, next to the tests of the project. What is broken without standing against
the program, a dialect or what only should hold, is an expected failure with its reason: pytest's exit status says what
that of `checkpw conform` says. Without the options nothing is added, and only the fixtures are there.
"""

import fnmatch
import os
import secrets
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from checkpw import chain
from checkpw.conform import accounts, dialects, profiles
from checkpw.conform.model import Property, Result, Verdict

if TYPE_CHECKING:
    from checkpw.conform.calling.target import Caller
    from checkpw.conform.verifying import Verifier

GROUP = "checkpw-conform"
EXAMPLES = 100

OPTIONS = {"verifier": "--checkpassword", "caller": "--checkpassword-caller"}
"""Side: the option that names its program."""

SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the kit, under names that nobody else has."""
    group = parser.getgroup(GROUP, "conformance to the checkpassword interface")
    add = group.addoption
    add("--checkpassword", metavar="COMMAND", help="test this checkpassword program; words as in a shell")
    add("--checkpassword-account", metavar="LOGIN:PASSWORD", action="append", help="a login that it accepts")
    add("--checkpassword-account-file", metavar="F", help="a file with LOGIN:PASSWORD on each line")
    names = [profile.name for profile in profiles.PROFILES]
    add("--checkpassword-profile", choices=names, default=profiles.DJB.name, help="the dialect that it speaks")
    add("--checkpassword-down", metavar="CMD", help="a shell command that takes its accounts away")
    add("--checkpassword-up", metavar="CMD", help="the shell command that gives them back")
    add("--checkpassword-caller", metavar="COMMAND", help="test this caller; {probe} in it stands for the checker")
    names = [profile.name for profile in dialects.PROFILES]
    default = dialects.INTERFACE.name
    add("--checkpassword-caller-profile", choices=names, default=default, help="the dialect that it is known for")
    add("--checkpassword-select", metavar="GLOB", action="append", help="only properties of these names")
    add("--checkpassword-examples", metavar="N", type=int, default=EXAMPLES, help="values for a property at most")
    add("--checkpassword-seed", metavar="N", type=int, help="choose the values that the run with N had")
    add("--checkpassword-strict", action="store_true", help="what only should hold counts as well")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed, once: processes of pytest-xdist are given that of the one that started them."""
    given: int | None = config.getoption("--checkpassword-seed")
    inherited: int | None = getattr(config, "workerinput", {}).get(GROUP)
    config.stash[SEED] = next((seed for seed in (inherited, given) if seed is not None), secrets.randbelow(2**32))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seed to a process of pytest-xdist."""
    node.workerinput[GROUP] = node.config.stash[SEED]


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is tested, and how the same values are had again."""
    commands = [one for option in OPTIONS.values() if (one := config.getoption(option))]
    if not commands:
        return None
    return f"{GROUP}: {' and '.join(commands)}; repeat with --checkpassword-seed {config.stash[SEED]}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add an item for each property, before others choose among the items."""
    sides = [side for side, option in OPTIONS.items() if config.getoption(option)]
    globs = config.getoption("--checkpassword-select") or ["*"]
    known = {side: _properties(side) for side in sides}
    for glob in globs if sides else ():
        if not any(fnmatch.fnmatchcase(one.name, glob) for properties in known.values() for one in properties):
            raise pytest.UsageError(f"--checkpassword-select: no property is called {glob}")
    for side, properties in known.items():
        chosen = [one for one in properties if any(fnmatch.fnmatchcase(one.name, glob) for glob in globs)]
        target = Target.from_parent(
            session, name=side, nodeid=f"{GROUP}/{side}", program=_program(side, config), properties=chosen
        )
        items += target.collect()


class Target(pytest.Collector):
    """A program under test, from before its first property to after its last."""

    def __init__(self, *, program: Any, properties: Sequence[Property], **rest: Any) -> None:
        super().__init__(**rest)
        self.program = program
        self.properties = properties

    def collect(self) -> "list[PropertyItem]":
        """Give an item for each property."""
        return [PropertyItem.from_parent(self, name=one.name, judged=one) for one in self.properties]

    def setup(self) -> None:
        """Make the program ready to be judged."""
        stack = ExitStack()
        self.addfinalizer(stack.close)
        stack.enter_context(self.program)


class PropertyItem(pytest.Item):
    """One property of a program."""

    def __init__(self, *, judged: Property, **rest: Any) -> None:
        super().__init__(**rest)
        self.judged = judged
        self.extra_keyword_matches.add("conform")

    def runtest(self) -> None:
        """Judge the program."""
        assert isinstance(self.parent, Target)
        _tell(
            _judge(self.parent.program, self.judged, self.config),
            strict=self.config.getoption("--checkpassword-strict"),
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Give what is known of a failure, and no traceback through the kit."""
        if isinstance(excinfo.value, Broken):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Give what a property stands under in reports."""
        return str(self.nodeid.partition("::")[0]), None, self.judged.name


class Broken(AssertionError):
    """A property does not hold; the text is that of the terminal's report."""


def _tell(result: Result, *, strict: bool) -> None:
    """Tell pytest what became of a property."""
    from checkpw.conform.reporting import terminal, wording

    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.why)
    if wording.is_failure(result, strict=strict):
        raise Broken(terminal.failure(result, terminal.Style()))
    if result.verdict is Verdict.DIALECT:
        pytest.xfail(f"dialect: {result.why}")
    if result.verdict is Verdict.FAILED:
        pytest.xfail(f"should hold, and need not: {wording.note(result)}")


def _properties(side: str) -> tuple[Property, ...]:
    try:
        if side == "verifier":
            from checkpw.conform.verifying import PROPERTIES
        else:
            from checkpw.conform.calling import PROPERTIES
    except ModuleNotFoundError as missing:
        raise pytest.UsageError(f"{missing}: pip install 'checkpw[conform]'") from None
    return PROPERTIES


def _program(side: str, config: pytest.Config) -> Any:
    """Make the target of a side, as the options say.

    Raises:
        pytest.UsageError: they make no sense.
    """
    from checkpw.conform.process import KitFailure, find_program

    environ = chain.given_environment()
    try:
        argv = shlex.split(config.getoption(OPTIONS[side]))
        if not argv:
            raise pytest.UsageError(f"{OPTIONS[side]}: no command")
        find_program(argv[0], environ)
        return _verifier(argv, environ, config) if side == "verifier" else _caller(argv, environ)
    except (KitFailure, accounts.UnusableAccount, ValueError) as error:
        raise pytest.UsageError(f"{OPTIONS[side]}: {error}") from None


def _verifier(argv: list[str], environ: dict[bytes, bytes], config: pytest.Config) -> "Verifier":
    from checkpw.conform.verifying import Verifier

    known = [accounts.parse(os.fsencode(text)) for text in config.getoption("--checkpassword-account") or ()]
    path = config.getoption("--checkpassword-account-file")
    known += accounts.read_file(path) if path else ()
    if not known:
        raise pytest.UsageError("--checkpassword: which logins does it accept? Give --checkpassword-account")
    down, up = config.getoption("--checkpassword-down"), config.getoption("--checkpassword-up")
    if (down is None) != (up is None):
        raise pytest.UsageError("--checkpassword-down and --checkpassword-up: give both or none")
    return Verifier(argv, known, environ=environ, profile=_profile(config), down=down, up=up)


def _caller(argv: list[str], environ: dict[bytes, bytes]) -> "Caller":
    from checkpw.conform.calling.target import Caller

    return Caller(argv, environ)


def _profile(config: pytest.Config) -> profiles.Profile:
    return profiles.find(config.getoption("--checkpassword-profile")) or profiles.DJB


def _caller_profile(config: pytest.Config) -> profiles.Profile:
    return dialects.find(config.getoption("--checkpassword-caller-profile")) or dialects.INTERFACE


def _judge(program: Any, judged: Property, config: pytest.Config) -> Result:
    from checkpw.conform.run import Settings, judge
    from checkpw.conform.verifying import Verifier

    profile = _profile(config) if isinstance(program, Verifier) else _caller_profile(config)
    settings = Settings(config.stash[SEED], config.getoption("--checkpassword-examples"), profile)
    return judge(program, judged, settings)


# --- for tests of a project's own


@pytest.fixture(scope="session")
def checkpassword_verifier(pytestconfig: pytest.Config) -> "Iterator[Verifier]":
    """Give the program of --checkpassword, ready to be asked; skip the test without that option."""
    yield from _entered("verifier", pytestconfig)


@pytest.fixture(scope="session")
def checkpassword_caller(pytestconfig: pytest.Config) -> "Iterator[Caller]":
    """Give the program of --checkpassword-caller, ready to be talked to; skip the test without that option."""
    yield from _entered("caller", pytestconfig)


@pytest.fixture(scope="session")
def judge_property(pytestconfig: pytest.Config) -> Callable[[Any, str], Result]:
    """Give a function that judges a program by the property of a name, and fails the test if that does not hold."""

    def judge(program: Any, name: str) -> Result:
        known = {one.name: one for side in OPTIONS for one in _properties(side)}
        result = _judge(program, known[name], pytestconfig)
        _tell(result, strict=pytestconfig.getoption("--checkpassword-strict"))
        return result

    return judge


def _entered(side: str, config: pytest.Config) -> Iterator[Any]:
    if not config.getoption(OPTIONS[side]):
        pytest.skip(f"no {OPTIONS[side]} was given")
    with _program(side, config) as program:
        yield program
