"""What no module may do, whatever layer it is in. Each rule is tried on a sample that breaks it, too."""

import ast
import textwrap

import pytest
import source_tree

MAX_LINES = 600
QUESTIONABLE_LINES = 400
LONG = {
    "checkpw/smtp/session.py": "one state machine; its handlers share the state, and tables and grammar are elsewhere",
}
"""Files over 400 lines, and why each still has one reason to change."""

ENDS_THE_PROCESS = {
    "checkpw.cli.admin",
    "checkpw.cli.exits",
    "checkpw.conform.calling.probe",  # a program of its own, which imports nothing of ours
}

CATCHES_EVERYTHING = {
    "checkpw.cli.admin",
    "checkpw.cli.exits",
    "checkpw.cli.verification",
    "checkpw.conform.run",  # what a check raises that is no violation is a fault of the kit, and is called that
    "checkpw.conform.trials",  # to carry it past hypothesis, which would begin to shrink it
}

SEES_THE_ENVIRONMENT = {"checkpw.chain"}

MUTATORS = {
    *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault"),
    *("sort", "update", "appendleft", "popleft", "difference_update", "intersection_update", "__setitem__"),
}
CONTAINERS = {"bytearray", "defaultdict", "deque", "dict", "list", "set", "Counter", "OrderedDict"}
CONTAINERS |= {"dict.fromkeys"}
CACHES = {"cache", "lru_cache", "cached_property"}


def _each_module():
    return pytest.mark.parametrize("module", source_tree.modules().values(), ids=source_tree.modules())


def _nodes(text):
    return list(ast.walk(ast.parse(textwrap.dedent(text))))


def _name(node):
    """Give the dotted name that an expression is, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return ""


# --- ends of the process


def ends_of_process(nodes):
    """Give the lines that end the process."""
    return [node.lineno for node in nodes if _ends_the_process(node)]


def _ends_the_process(node):
    if isinstance(node, ast.Call):
        name = _name(node.func)
        return name in ("exit", "quit", "sys.exit", "os.abort", "posix.abort") or name.endswith("_exit")
    if isinstance(node, ast.Raise):
        return node.exc is not None and "SystemExit" in ast.dump(node.exc)
    return isinstance(node, ast.ImportFrom) and bool({alias.name for alias in node.names} & {"_exit", "exit"})


@_each_module()
def test_who_ends_the_process(module):
    """Only the two places that map exceptions to statuses call an exit function."""
    lines = ends_of_process(module.nodes)
    assert bool(lines) == (module.name in ENDS_THE_PROCESS), lines


@pytest.mark.parametrize(
    "text", ["sys.exit(1)", "posix._exit(1)", "from os import _exit", "raise SystemExit", "raise SystemExit('x')"]
)
def test_an_end_of_the_process_is_seen(text):
    """The rule sees each way to leave."""
    assert ends_of_process(_nodes(text))


# --- exceptions


def swallowing_handlers(nodes):
    """Give the lines of handlers that catch everything, and do not raise it again at their end."""
    found = []
    for node in nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        is_broad = any(kind is None or _name(kind) in ("Exception", "BaseException") for kind in caught)
        last = node.body[-1]
        if is_broad and not (isinstance(last, ast.Raise) and last.exc is None):
            found.append(node.lineno)
    return found


@_each_module()
def test_who_catches_everything(module):
    """Only the two guards of programs keep an exception that they do not know; to clean up and pass it on is fine."""
    assert module.name in CATCHES_EVERYTHING or swallowing_handlers(module.nodes) == []


@pytest.mark.parametrize("kind", ["", " Exception", " BaseException as error", " (OSError, Exception)"])
def test_a_handler_that_swallows_is_seen(kind):
    """The rule sees each spelling, and lets through what raises again."""
    assert swallowing_handlers(_nodes(f"try:\n    a()\nexcept{kind}:\n    pass")) == [3]
    assert swallowing_handlers(_nodes(f"try:\n    a()\nexcept{kind}:\n    b()\n    raise")) == []


# --- the environment


def looks_at_environment(nodes):
    """Give the lines that read or change the environment of the process."""
    wanted = {f"{module}.{name}" for module in ("os", "posix") for name in ("environ", "environb", "getenv", "putenv")}
    wanted |= {"os.getenvb", "os.unsetenv", "posix.unsetenv"}
    found = [node.lineno for node in nodes if isinstance(node, ast.Attribute) and _name(node) in wanted]
    names = {"environ", "environb", "getenv", "putenv"}
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module in ("os", "posix")]
    return found + [node.lineno for node in imports if names & {alias.name for alias in node.names}]


@_each_module()
def test_who_sees_the_environment(module):
    """Settings come as a mapping from main; only chain reads the environment of the process."""
    lines = looks_at_environment(module.nodes)
    assert bool(lines) == (module.name in SEES_THE_ENVIRONMENT), lines


@pytest.mark.parametrize(
    "text", ["os.environ['A']", "posix.environ.get(b'A')", "from os import environ", "os.getenv('A')"]
)
def test_a_look_at_the_environment_is_seen(text):
    """The rule sees each spelling."""
    assert looks_at_environment(_nodes(text)) == [1]


# --- state


def _is_container(node):
    if isinstance(node, ast.Call):
        return _name(node.func) in CONTAINERS or _name(node.func).rpartition(".")[2] in CONTAINERS
    return isinstance(node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))


def _assignments(body):
    """Give (name, value) of what is assigned at the level of a module or a class."""
    for node in body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def containers(tree):
    """Give the names of containers that a module, or a class of it, shares among all sessions."""
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    return {name for body in bodies for name, value in _assignments(body) if _is_container(value)}


def changes(nodes):
    """Give the names that are changed in place, or rebound from inside a function."""
    found = set()
    for node in nodes:
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            found |= set(node.names) if isinstance(node, ast.Global) else set()
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            found.add(_name(node.func.value).rpartition(".")[2])
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(_name(node.value).rpartition(".")[2])
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, (ast.Name, ast.Attribute)):
            found.add(_name(node.target).rpartition(".")[2])
    return found


def shared_state(tree):
    """Give what a module keeps between two sessions, as far as its own text tells."""
    nodes = list(ast.walk(tree))
    caches = {
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if _name(decorator.func if isinstance(decorator, ast.Call) else decorator).rpartition(".")[2] in CACHES
    }
    rebound = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    return (containers(tree) & changes(nodes)) | caches | rebound


@_each_module()
def test_no_state_outlives_a_session(module):
    """No module keeps anything in a global, a class attribute or a cache that its functions change."""
    # `words`, say, is a local name that many functions have: only names that the module itself assigns are looked at.
    assert shared_state(module.tree) == set()


def test_no_module_changes_the_tables_of_another():
    """A container of one module is not changed by another."""
    tables = {
        (module.name, name)
        for module in source_tree.modules().values()
        for name in containers(module.tree)
        if name.lstrip("_").isupper()
    }
    changed = {name for module in source_tree.modules().values() for name in changes(module.nodes)}
    assert {table for table in tables if table[1] in changed} == set()


@pytest.mark.parametrize(
    "text",
    [
        "seen = []\ndef f(): seen.append(1)",
        "seen: dict = {}\ndef f(): seen['a'] = 1",
        "count = 0\ndef f():\n    global count\n    count += 1",
        "class A:\n    seen = set()\n    def f(self): self.seen.add(1)",
        "@functools.lru_cache(1)\ndef f(): pass",
        "seen = collections.defaultdict(int)\ndef f(): seen['a'] += 1",
        "seen = dict()\ndef f(): del seen['a']",
    ],
)
def test_state_is_seen(text):
    """The rule sees each way to keep something, and takes no constant table for one."""
    assert shared_state(ast.parse(text))
    assert shared_state(ast.parse("TABLE = {1: 2}\ndef f(): return TABLE[1]")) == set()


# --- shape


@_each_module()
def test_how_long_a_module_is(module):
    """No module has more than 600 lines, and none more than 400 without a reason in the list."""
    lines = len(module.text.splitlines())
    assert lines <= MAX_LINES
    assert (lines > QUESTIONABLE_LINES) == (str(module.path.relative_to(source_tree.ROOT)) in LONG)


def public_functions(tree):
    """Give the functions and methods that others may call."""
    for body in [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]:
        for node in body:
            if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
                yield node


def undocumented(tree):
    """Give the names of public functions that lack a docstring or an annotation."""
    found = []
    for node in public_functions(tree):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        named = [argument for argument in arguments if argument is not None and argument.arg not in ("self", "cls")]
        is_annotated = node.returns is not None and all(argument.annotation is not None for argument in named)
        if not is_annotated or (node.name != "__init__" and ast.get_docstring(node) is None):
            found.append(node.name)
    return found


@_each_module()
def test_what_others_may_call_is_documented(module):
    """Each module says what it is, each public function what it does and what it takes."""
    assert ast.get_docstring(module.tree)
    assert undocumented(module.tree) == []


@pytest.mark.parametrize(
    "text",
    ["def f(): 'Do.'", "def f(a) -> None: 'Do.'", "def f(a: int) -> None: pass", "class A:\n  def f(self): 'Do.'"],
)
def test_what_is_not_documented_is_seen(text):
    """The rule sees a missing docstring and a missing annotation."""
    assert undocumented(ast.parse(text)) == ["f"]
