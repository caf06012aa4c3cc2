"""The source of the package as syntax trees: which module imports which, and what is written in it.

What stands under `if TYPE_CHECKING:` is not executed and does not count.
"""

import ast
import functools
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "checkpw"


class Module:
    """One module: its name, where it is, and what it says."""

    def __init__(self, path):
        self.path = path
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.is_package = path.name == "__init__.py"
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)

    @property
    def nodes(self):
        """Everything that may be executed."""
        return list(_executed(self.tree))

    @functools.cached_property
    def imported(self):
        """Full dotted names of what is imported, at any time; for `from a import b` it is `a.b`."""
        names = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative import"
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        return names

    @functools.cached_property
    def ours(self):
        """The modules of our own that it imports, those included that it names as a string to import later."""
        found = {module_of(name) for name in self.imported if name.split(".")[0] == "checkpw"}
        strings = {node.value for node in self.nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        # The package's own name is a word like any other.
        return (found | (strings & set(modules())) - {"checkpw"}) - {self.name}

    @functools.cached_property
    def foreign(self):
        """The first words of what it imports from elsewhere."""
        return {name.split(".")[0] for name in self.imported} - {"checkpw"}


def _executed(node):
    yield node
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        children = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _executed(child)


def module_of(name):
    """Give the module that a dotted name is, or is an attribute of."""
    while name not in modules():
        name = name.rpartition(".")[0]
    return name


@functools.cache
def modules():
    """Give every module of the package by its name."""
    found = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
    return {module.name: module for module in found}


def closure(*names):
    """Give the names of all modules that these import, directly or not, themselves included."""
    reached, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += modules()[name].ours
    return reached


def programs():
    """Give the launchers in bin/."""
    return sorted((ROOT / "bin").iterdir())


def is_standard(name):
    """Tell whether a module belongs to Python."""
    return name in sys.stdlib_module_names or name == "_crypt"  # which Python 3.13 has no more
