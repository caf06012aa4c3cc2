"""Which part of the package may import which: the table, and the rules behind it."""

import pytest
import source_tree

LAYERS = (
    # 0 values: no I/O, no third party
    ("errors", "secret", "credentials", "account"),
    # 1 pure: bytes in, values out
    (
        *("libcrypt", "hashes", "newhash", "sasl", "smtp", "mess822", "logline", "peer"),
        *("frames", "proxy", "tls", "budget", "pop3", "verdict"),
    ),
    # 2 adapters: the outside world, one module each
    (
        *("operations", "fd3", "privileges", "chain", "accounts", "queue", "cdb", "names", "textfile"),
        *("tickets", "tallies", "certificates", "confine", "notify"),
    ),
    # 3 composition: what an administrator decided, and what follows from it
    ("policy", "checker", "outbound", "conversation", "submission", "successors", "middle", "links"),
    # 4 runners: perform operations, hold no policy
    ("runners",),
    # 5 the processes of the resident server: each is given what it needs, and builds no door, store or checker
    ("service",),
    # 6 the conformance kit: it looks at programs, ours and others, from outside, whatever they are made of
    ("conform",),
    # 7 programs: build everything
    ("cli",),
)

EDGES = {
    "secret": set(),
    "errors": set(),
    "account": set(),
    "credentials": {"errors", "secret"},
    "libcrypt": set(),
    "hashes": {"errors", "libcrypt"},
    "newhash": {"errors", "hashes", "libcrypt"},
    "sasl": {"credentials", "secret"},
    "smtp": {"sasl"},
    "mess822": set(),
    "logline": set(),
    "peer": set(),
    "operations": set(),
    "fd3": {"credentials", "errors"},
    "privileges": {"errors"},
    "chain": {"errors", "privileges"},
    "frames": set(),
    "proxy": set(),
    "tls": set(),
    "budget": set(),
    "pop3": {"sasl", "smtp"},
    "tickets": {"errors"},
    "tallies": set(),
    "certificates": {"errors", "tls"},
    "confine": {"errors"},
    "notify": {"errors"},
    "accounts": {"account", "credentials", "errors", "frames", "hashes", "textfile"},
    "queue": {"errors", "operations"},
    "cdb": {"errors"},
    "names": {"cdb"},
    "textfile": {"errors"},
    "policy": {"mess822", "smtp"},
    "verdict": {"errors"},
    "checker": {"operations", "verdict"},
    "outbound": {"errors", "mess822"},
    "links": {"chain", "credentials", "errors", "fd3", "logline", "peer", "verdict"},
    "conversation": {"checker", "errors", "operations", "smtp", "verdict"},
    "submission": {"cdb", "conversation", "errors", "mess822", "outbound", "smtp"},
    "successors": {"checker", "errors", "operations", "smtp", "verdict"},
    "middle": {"errors", "operations", "queue", "smtp"},
    "runners": {"chain", "errors", "frames", "operations", "tls"},
    "service": {
        *("checker", "credentials", "errors", "frames", "logline", "operations", "peer", "proxy", "runners", "sasl"),
        *("smtp", "submission", "tallies", "tickets", "verdict"),
    },
    "conform": {"chain"},
    "cli": {
        *("accounts", "budget", "cdb", "certificates", "chain", "checker", "confine", "conform", "credentials"),
        *("errors", "fd3"),
        *("frames", "hashes", "logline", "mess822", "names", "newhash", "notify", "operations", "outbound", "peer"),
        *("policy", "pop3", "privileges", "queue", "runners", "sasl", "secret", "service", "smtp", "submission"),
        *("conversation", "links", "middle", "successors", "tallies", "textfile", "tickets", "tls", "verdict"),
    },
}
"""Part: the parts that it imports, now or later. An edge that nobody uses any more is to be taken out."""

WITHIN_A_LAYER = {
    ("credentials", "errors"): "a malformed record is an error with an exit status",
    ("credentials", "secret"): "credentials hold a password",
    ("hashes", "libcrypt"): "it knows most forms",
    ("newhash", "libcrypt"): "it makes most forms",
    ("newhash", "hashes"): "what is made has to be verified: limits and digests are the same",
    ("smtp", "sasl"): "an AUTH exchange drives a mechanism; sasl knows nothing of SMTP",
    ("pop3", "sasl"): "what a login may consist of is the same",
    ("pop3", "smtp"): "it has the events, lines and limits of that session, so that one conversation drives both",
    ("chain", "privileges"): "the chain is handed over as somebody else",
    ("accounts", "textfile"): "a store that people edit is a text file that servers read meanwhile",
    ("names", "cdb"): "name.cdb is a cdb",
    ("queue", "operations"): "a delivery yields operations, which are values, and performs none",
    ("conversation", "checker"): "a client's login is asked about",
    ("submission", "conversation"): "what is said to a client about TLS and logins is the same whatever comes then",
    ("submission", "outbound"): "a session sends messages on",
    ("successors", "checker"): "a login is asked about, and what a status means is said there",
}

STORES = {"checkpw.accounts.passwd_file", "checkpw.accounts.system", "checkpw.accounts.passwd_edit"}
STORES |= {"checkpw.accounts.verifier"}
DOORS = {"checkpw.queue.maildir", "checkpw.queue.qmail", "checkpw.queue.relay", "checkpw.queue.sendmail"}
HELPERS = {"checkpw.accounts", "checkpw.accounts.base", "checkpw.accounts.decoy", "checkpw.accounts.networks"}
HELPERS |= {"checkpw.queue", "checkpw.queue.base"}
HELPERS |= {f"checkpw.queue.{name}" for name in ("nexthop", "transaction", "smtp_client", "hop_replies", "wire")}

LINKS = {f"checkpw.links.{name}" for name in ("any", "checkgroup", "checknotroot", "limit", "log")}
HELPERS |= {"checkpw.links"}
HELPERS |= {f"checkpw.links.{name}" for name in ("asking", "budgets", "grammar", "telling")}

THIRD_PARTY = {
    "click": "checkpw.cli.",
    "passlib": "checkpw.hashes",
    "bcrypt": ("checkpw.hashes", "checkpw.newhash"),
    "_argon2_cffi_bindings": ("checkpw.hashes", "checkpw.newhash"),
    "hypothesis": ("checkpw.conform.", "checkpw.cli.conforming"),
    "pytest": "checkpw.conform.plugin",
    "uvloop": "checkpw.cli.",
    "prometheus_client": "checkpw.service.metrics",
}
"""Package of somebody else: who may import it (a name, or the beginning of names)."""

NETWORK = {"asyncio", "email", "http", "logging", "selectors", "smtplib", "socket", "socketserver", "ssl"}


def _part(name):
    """Give the part of the house that a module belongs to."""
    return name.removeprefix("checkpw").removeprefix(".").partition(".")[0]


def _edges():
    """Give every import between two parts: (from, to) and the module that does it."""
    found = {}
    for module in source_tree.modules().values():
        for target in module.ours:
            edge = _part(module.name), _part(target)
            if edge[0] != edge[1] and edge[1]:
                found.setdefault(edge, module.name)
    return found


def test_each_module_has_its_place():
    """Each module and package of checkpw stands in exactly one layer, and each place is taken."""
    places = [part for layer in LAYERS for part in layer]
    assert sorted(places) == sorted({_part(name) for name in source_tree.modules()} - {""})
    assert sorted(places) == sorted(EDGES)


def test_every_import_is_in_the_table():
    """A part imports nothing but what the table says."""
    surplus = {edge: by for edge, by in _edges().items() if edge[1] not in EDGES[edge[0]]}
    assert surplus == {}


def test_every_edge_of_the_table_is_used():
    """The table permits nothing that nobody needs."""
    permitted = {(part, other) for part, others in EDGES.items() for other in others}
    assert permitted - set(_edges()) == set()


def test_edges_lead_down():
    """A part imports only lower layers, but for the few edges inside a layer that have a reason."""
    level = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    edges = {(part, other) for part, others in EDGES.items() for other in others}
    assert [edge for edge in edges if level[edge[0]] < level[edge[1]]] == []
    assert {edge for edge in edges if level[edge[0]] == level[edge[1]]} == set(WITHIN_A_LAYER)


def test_imports_are_acyclic():
    """No module imports itself, not even by way of others and not even later."""
    graph = {
        module.name: {source_tree.module_of(name) for name in module.imported if name.startswith("checkpw")}
        for module in source_tree.modules().values()
    }
    while leaves := {name for name, targets in graph.items() if not targets & set(graph) - {name, "checkpw"}}:
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    assert graph == {}


@pytest.mark.parametrize("family", [STORES, DOORS, LINKS], ids=["stores", "doors", "links"])
def test_stores_doors_and_links_do_not_know_each_other(family):
    """A store, a door or a link imports no other one, and what they share imports none of them."""
    directory = _part(min(family))
    members = {name for name in source_tree.modules() if _part(name) == directory}
    assert members - HELPERS == family
    for name in members:
        assert source_tree.modules()[name].ours & family - {name} == set(), name


def test_only_programs_build_stores_doors_and_runners():
    """Nobody below cli imports a concrete store, a door or a runner."""
    concrete = STORES | DOORS | {"checkpw.runners.stdio"}
    builders = {module.name for module in source_tree.modules().values() if module.ours & concrete}
    assert {name for name in builders if not name.startswith("checkpw.cli.")} == set()


def test_packages_of_others_have_one_place():
    """click is for cli, and each hash package for hashes; nothing else is imported that is not Python's own."""
    for module in source_tree.modules().values():
        for name in module.foreign:
            if not source_tree.is_standard(name):
                assert module.name.startswith(THIRD_PARTY.get(name, "nobody")), f"{module.name} imports {name}"


@pytest.mark.parametrize("program", ["checkpw.cli.checkpassword", "checkpw.cli.ofmipd", *sorted(LINKS)])
def test_programs_of_a_chain_stay_away_from_what_is_slow_and_large(program):
    """Nothing that checkpassword, ofmipd or a link ever imports uses asyncio, ssl, email, logging or click.

    But for TLS towards a next hop, which is asked for by a setting: then, and only then, ofmipd imports ssl.
    """
    reached = source_tree.closure(program, "checkpw.cli.exits") - {"checkpw.tls"}
    uses = {name: source_tree.modules()[name].foreign & (NETWORK | {"click"}) for name in reached}
    assert {name: found for name, found in uses.items() if found} == {}
