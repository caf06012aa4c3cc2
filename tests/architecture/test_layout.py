"""Launchers, and which test looks at which module."""

import ast
import re

import pytest
import source_tree

LOGIC_TESTS = ("unit", "contracts", "transcripts", "properties", "programs", "conform")
"""Directories whose tests look at modules one by one; the others look at the whole."""

REACHED = {
    "checkpw.account": "values; tests/programs/test_hand_over.py sees them in the next program",
    "checkpw.accounts.base": "each store's tests go through it, e.g. tests/programs/test_checkpassword_exits.py",
    "checkpw.accounts.networks": "tests/unit/cli/test_user.py, by the account that has allow_nets",
    "checkpw.accounts.passwd_file": "tests/programs/test_checkpassword_exits.py, by files of every kind",
    "checkpw.accounts.system": "tests/programs/test_system_store.py, because it wants a passwd and a shadow of its own",
    "checkpw.chain": "tests/programs/test_hand_over.py, by the kernel's own account of the next program",
    "checkpw.cli.authup": "tests/programs/test_authup.py starts it, as UCSPI servers do",
    "checkpw.cli.authup_levels": "tests/programs/test_authup.py, level by level",
    "checkpw.cli.authup_session": "tests/programs/test_authup.py, by its control files and settings",
    "checkpw.cli.front": "tests/programs/test_authup.py and tests/programs/test_ofmipd_process.py, by what clients see",
    "checkpw.cli.reup": "tests/programs/test_authup.py starts it",
    "checkpw.cli.shared": "tests/docs/test_ofmipd_page.py holds it against the page, as settings",
    "checkpw.cli.smtpwrap": "tests/programs/test_authup.py starts it, as authup does",
    "checkpw.middle.client": "tests/transcripts/front/wrapped.txt",
    "checkpw.middle.server": "tests/transcripts/front/wrapped.txt and tests/programs/test_authup.py",
    "checkpw.cli.checkpassword": "tests/programs/test_checkpassword_exits.py starts it, as callers do",
    "checkpw.cli.conform": "tests/programs/test_conform_cli.py runs it",
    "checkpw.cli.conforming": "tests/programs/test_conform_cli.py, as above",
    "checkpw.cli.demo": "tests/programs/test_demo.py runs it, and tests/docs/test_readme.py",
    "checkpw.cli.dovecot": "tests/programs/test_checkpw_dovecot.py starts it, as Dovecot does",
    "checkpw.cli.exits": "tests/programs/test_checkpassword_exits.py; in a test's own process it would end that",
    "checkpw.cli.generation": "tests/programs/test_resident.py by the processes that it makes",
    "checkpw.cli.relaying": "tests/programs/test_ofmipd_doors.py by mail that is relayed",
    "checkpw.cli.submissiond": "tests/programs/test_resident.py starts it",
    "checkpw.cli.verifierd": "tests/programs/test_verifierd.py starts it",
    "checkpw.cli.verifier_server": "tests/programs/test_verifierd.py asks it",
    "checkpw.cli.verifier_setup": "tests/programs/test_verifierd.py starts it",
    "checkpw.cli.wishes": "tests/programs/test_resident.py by options that make sense, and others",
    "checkpw.runners.dialling": "tests/contracts/runners/test_servers.py by servers that it connects to",
    "checkpw.runners.forking": "tests/contracts/runners/test_children.py by children that it forks",
    "checkpw.runners.ucspi_tls": "tests/programs/test_ofmipd_starttls.py by a server that speaks it",
    "checkpw.runners.waiting": "tests/contracts/runners/test_programs.py by children that it waits for",
    "checkpw.service.counters": "tests/programs/test_resident.py reads what it counts",
    "checkpw.service.generations": "tests/programs/test_resident.py by the processes that it is about",
    "checkpw.service.metrics": "tests/programs/test_resident.py asks it",
    "checkpw.service.supervisor": "tests/programs/test_resident.py, because it forks",
    "checkpw.service.surroundings": "tests/programs/test_resident.py, as the supervisor",
    "checkpw.service.visit": "tests/programs/test_resident.py by clients that visit",
    "checkpw.service.worker": "tests/programs/test_resident.py by clients that it serves",
    "checkpw.cli.install": "tests/conftest.py installs by it whatever tests/programs start",
    "checkpw.cli.ofmipd": "tests/programs/test_ofmipd_process.py starts it, as UCSPI servers do",
    "checkpw.cli.ofmipname": "tests/programs/test_ofmipname.py starts it",
    "checkpw.cli.settings": "tests/docs/test_ofmipd_page.py holds it against the page, value by value",
    "checkpw.conform.plugin": "tests/unit/conform/test_plugin.py, in a pytest of its own",
    "checkpw.links.asking": "tests/programs/test_links_chains.py by checkers that it asks and hands over to",
    "checkpw.links.checkgroup": "tests/programs/test_links_refusing.py by users of a machine",
    "checkpw.links.checknotroot": "tests/programs/test_links_refusing.py by root and others",
    "checkpw.links.telling": "tests/programs/test_links_log.py by the lines that it makes",
    "checkpw.outbound": "tests/transcripts/data.txt and tests/transcripts/test_interruptions.py",
    "checkpw.privileges": "tests/programs/test_hand_over.py, because it cannot be undone in a test's own process",
    "checkpw.queue.base": "types that nobody executes",
    "checkpw.smtp.incoming": "tests/transcripts/chunks.txt and tests/transcripts/data.txt",
    "checkpw.textfile": "tests/unit/accounts/test_passwd_edit.py and tests/unit/cli/test_names.py, by what they edit",
}
"""Modules that no test imports, and what looks at them instead."""


def _named_or_imported_by_tests():
    names = set()
    for directory in LOGIC_TESTS:
        for path in (source_tree.ROOT / "tests" / directory).rglob("*.py"):
            # tests/unit/cli/test_user.py is about checkpw/cli/user.py, which it reaches through main.
            of = path.relative_to(source_tree.ROOT / "tests" / directory).with_name(path.name.removeprefix("test_"))
            name = ".".join(("checkpw", *of.with_suffix("").parts))
            if directory == "unit" and name in source_tree.modules():
                names.add(name)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {source_tree.module_of(name) for name in names if name.split(".")[0] == "checkpw"}


TESTED = _named_or_imported_by_tests()


MUTANTS = {
    "checkpw.conform.verifying.": "tests/conform/verifier",
    "checkpw.conform.calling.": "tests/conform/caller",
    "checkpw.conform.reporting.": "tests/unit/conform/reporting",
}
"""Modules that begin so, and where programs with faults are, each found by the property that names its fault."""


@pytest.mark.parametrize("name", [name for name, module in source_tree.modules().items() if not module.is_package])
def test_each_module_has_a_test(name):
    """A test is named for the module or imports it, or the list says what looks at it instead."""
    assert name in TESTED | set(REACHED) or name.startswith(tuple(MUTANTS))


def test_the_list_of_what_is_reached_otherwise_is_not_stale():
    """Each exception is about a module that there is, and names tests that there are."""
    assert set(REACHED) <= set(source_tree.modules())
    for reason in [*REACHED.values(), *MUTANTS.values()]:
        for path in re.findall(r"tests/[\w/.]+", reason):
            assert (source_tree.ROOT / path).exists(), path


ENTRY = """\
    from checkpw.cli.{name} import main
    from checkpw.cli.exits import run
    run("{name}", main)
"""
ENTRY_FOR_PEOPLE = """\
    from checkpw.cli.admin import start
    start()
"""


@pytest.mark.parametrize("path", source_tree.programs(), ids=lambda path: path.name)
def test_launchers_differ_by_name_only(path):
    """Every launcher is the same few lines; that of checkpw has another way in, because it is for people."""
    name = path.name
    is_for_people = name == "checkpw"
    reference = source_tree.ROOT.joinpath("bin", "ofmipd").read_text(encoding="utf-8")
    wanted = reference.replace(ENTRY.format(name="ofmipd"), "ENTRY").replace("ofmipd", name)
    wanted = wanted.replace("ENTRY", ENTRY_FOR_PEOPLE if is_for_people else ENTRY.format(name=name))
    if is_for_people:
        wanted = wanted.replace("checkpw/cli/checkpw.py", "checkpw/cli/admin.py")
    if f"checkpw.links.{name.removeprefix('checkpw-')}" in source_tree.modules():
        wanted = wanted.replace(f"checkpw/cli/{name}", f"checkpw/links/{name.removeprefix('checkpw-')}")
        wanted = wanted.replace(f"checkpw.cli.{name}", f"checkpw.links.{name.removeprefix('checkpw-')}")
    wanted = wanted.replace("checkpw/cli/checkpw-", "checkpw/cli/").replace("checkpw.cli.checkpw-", "checkpw.cli.")
    assert path.read_text(encoding="utf-8") == wanted
    assert len(wanted.splitlines()) <= 20
    assert path.stat().st_mode & 0o111 == 0o111


def test_install_programs_knows_every_launcher():
    """What `checkpw install-programs` writes is what is in bin/."""
    from checkpw.cli.install import PROGRAMS

    assert sorted(PROGRAMS) == [path.name for path in source_tree.programs()]
