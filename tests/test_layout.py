"""The rules of the house that no linter knows: who may import whom, what is pure, how long a thing may be.

Every test prints the places that break its rule. A new module of the first level needs a place in `RANKS`;
a module of a flow that is not pure needs a line, with its reason, in `ACTING`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "riskshare"
LINES_OF_A_FILE = 450
LINES_OF_A_FUNCTION = 60
DIAL = ast.dump(ast.Name("dial", ast.Load()))

# Upwards: a module imports from its own rank and from those below. See riskshare/__init__.py.
RANKS: list[set[str]] = [
    {"errors"},
    {"encoding", "sodium", "cores", "threads", "apart", "crew", "dialled", "names", "keyterm"},
    {"signature", "certificate", "tls"},
    {"statement"},
    {"registry"},
    {"membership", "ledger"},
    {"sharing"},
    {"query"},
    {"audit"},
    {
        "config",
        "config_sections",
        "config_text",
        "metrics",
        "logs",
        "keys",
        "key_source",
        "key_files",
        "governance",
        "oversight",
        "generate",
        "api_models",
        "api_entries",
        "api_imports",
    },
    {"store"},
    {"client", "server", "api_client"},
    {"loopback"},
    {"peer"},
    {"demo", "bench"},
    {"cli", "__main__"},
]
# Of one rank, and nevertheless not to know each other.
APART = [{"membership", "ledger"}, {"client", "server"}, {"demo", "bench"}]

# A verb holds one use case and declares the Protocols that it needs.
VERBS = {
    "sharing.publish",
    "sharing.rotate",
    "sharing.forget",
    "sharing.subscribe",
    "sharing.importing",
    "sharing.rekey",
    "sharing.changing",
    "sharing.barring",
    "sharing.upserting",
    "sharing.compare",
    "query.check",
    "query.ask",
    "query.answer",
    "query.adopt",
    "ledger.sequence",
    "ledger.finalize",
    "ledger.cosign",
    "ledger.account",
    "ledger.audit",
    "ledger.export",
    "audit.show",
    "audit.collect",
    "audit.gather",
    "audit.replay",
    "audit.reconcile",
    "audit.unseal",
    "audit.prove",
    "audit.open",
    "audit.settle",
}
OUTSIDE_OF_VERBS = {"store", "client", "server"}

# The flows are pure, but for the verbs and these:
PURE_PACKAGES = {"registry", "membership", "ledger", "sharing", "query", "audit"}
PURE_MODULES = {"errors", "encoding", "signature", "statement", "names", "keyterm", "certificate"}
ACTING = {
    "query.holdings": "looks into mirrors and published lists, which change while it lives",
    "query.awake": "keeps the event loop from sleeping while one check waits",
    "query.batch": "carries the futures on which concurrent checks wait for one ask",
    "sharing.published": "the publisher's memory: wakes long polls, opens files in a thread",
    "sharing.openings": "a part of published: opens files in threads, those that take long beside",
    "sharing.mirror": "the subscriber's lists: verifies files in a thread",
    "sharing.remembered": "a part of the mirror: keeps the statements that it has taken",
    "sharing.copies": "a part of the mirror: fetches, maps and deletes files",
    "sharing.build": "runs in worker processes and draws the nonces of records there",
    "sharing.prepare": "runs in worker processes and draws ids and nonces there",
    "sharing.preparers": "starts those processes, and feeds them from a thread",
    "sharing.builders": "starts processes that build, and feeds them from a thread",
    "sharing.runs": "sorts what they give, in files where it is long",
    "sharing.writing": "writes segment files, in a process of its own where they are long",
    "sharing.beside": "a part of publishing: the tasks that go on beside its passes",
    "sharing.rotating": "a part of publishing: begins and ends epochs in the store",
    "audit.visit": "a part of opening checks: asks members by signed requests, page by page",
    "audit.sources": "a part of opening checks: fetches snapshots and segments, and maps and verifies them in a thread",
    "sharing.composing": "a part of publishing: writes segment files in threads",
}
IMPURE = {
    "asyncio", "aiohttp", "asyncpg", "time", "os", "secrets", "logging", "random", "socket", "subprocess", "threading",
    "tempfile", "structlog", "uvloop",
}  # fmt: skip
# Time and randomness by the back door.
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid7", "urandom", "generate_key", "generate"}

ONLY_IN = {
    "ctypes": "sodium",
    "cffi": "nowhere",
    "asyncpg": ("store", "bench"),  # bench measures bare commits beside ours
    "distributed": ("client",),
    "aiohttp": ("client", "server", "api_client", "bench"),
}
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

# Supervisors: whatever goes wrong in the work that they watch over, they must live and pass it on.
SUPERVISORS = {
    "apart:_do_apart": "an error of the work belongs to the caller in the other process",
    "threads:_Batch.step": "an error of the work belongs to the caller who awaits it",
    "crew:_work": "the peer computes such a part again, and meets the error itself",
    "store.group_commit:GroupCommit._flush": "no caller is left waiting for a commit that will not come",
    "peer.chores:Chore.run": "a fault of ours in one round must not end the chore for good",
    "peer.importing:OwnImports._work": "a fault of ours becomes the state of the import, which its program looks at",
    "server.observing:Observer._answer": "a fault of ours becomes a 500 that tells nothing, and a line in the log",
    "cli:main": "a fault of ours is told in one sentence: its traceback could show what was typed",
}


@dataclass(frozen=True)
class Module:
    """A module of the package; `name` without the package, such as `query.check`; "" is the package itself."""

    path: Path
    name: str

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, filename=str(self.path))

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def at(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"

    @cached_property
    def imports(self) -> list[tuple[str, ast.AST]]:
        """Full names of all that is imported, anywhere in the module."""
        found: list[tuple[str, ast.AST]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(alias.name, node) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.at(node)}: relative import"
                found += [(f"{node.module}.{alias.name}", node) for alias in node.names]
        return found

    @cached_property
    def own_imports(self) -> list[tuple[str, ast.AST]]:
        """The modules of the package that this one imports."""
        found = []
        for name, node in self.imports:
            if name == PACKAGE or name.startswith(PACKAGE + "."):
                own = name.removeprefix(PACKAGE).removeprefix(".")
                found.append((own if own in MODULES else own.rpartition(".")[0], node))
        return found


def _modules() -> dict[str, Module]:
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(ROOT / PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(path, name)
    return found


MODULES = _modules()
TESTS = [Module(path, path.stem) for path in sorted((ROOT / "tests").rglob("*.py"))]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def within(name: str, owners: set[str]) -> str | None:
    """The one of `owners` (modules or packages) that `name` is or lies in."""
    return next((owner for owner in owners if name == owner or name.startswith(owner + ".")), None)


def is_pure(module: Module) -> bool:
    if within(module.name, PURE_MODULES):
        return True
    return bool(within(module.name, PURE_PACKAGES)) and not within(module.name, VERBS | set(ACTING))


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions with their dotted names, methods and inner ones included."""
    for node in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{prefix}{node.name}."
            if not isinstance(node, ast.ClassDef):
                yield f"{prefix}{node.name}", node
        yield from functions(node, inner)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)


def nothing(places: list[str], remedy: str = "this breaks a rule of the layout") -> None:
    """Fail with all places, one a line, and with what to do about them."""
    if places:
        pytest.fail("\n  ".join([f"{remedy}:", *places]), pytrace=False)


def test_the_package_is_found():
    assert {"", "errors", "encoding", "statement"} <= set(MODULES)
    assert len(TESTS) > 1


def test_every_first_level_name_has_a_rank():
    unplaced = sorted({module.top for module in MODULES.values()} - {""} - set(RANK))
    nothing(unplaced, "give each of these a place in RANKS of tests/test_layout.py")


def test_imports_go_downwards_only():
    wrong = [
        f"{module.at(node)} imports {target}, which stands higher"
        for module in MODULES.values()
        for target, node in module.own_imports
        if module.top and RANK.get(target.partition(".")[0], -1) > RANK.get(module.top, 99)
    ]
    nothing(wrong)


def test_neighbours_do_not_know_each_other():
    wrong = [
        f"{module.at(node)} imports {target}"
        for module in MODULES.values()
        for target, node in module.own_imports
        for group in APART
        if {module.top, target.partition(".")[0]} == group
    ]
    nothing(wrong)


def test_imports_have_no_cycle():
    graph = {name: {target for target, _ in module.own_imports if target != name} for name, module in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("these modules import each other in a circle: " + " <- ".join(map(str, error.args[1])))


def test_nothing_imports_what_does_not_exist():
    known = {"", *MODULES}
    wrong = [
        f"{module.at(node)} imports {target}"
        for module in [*MODULES.values(), *TESTS]
        for target, node in module.own_imports
        if target not in known
    ]
    nothing(wrong)


def test_a_verb_imports_neither_the_outside_nor_another_verb():
    wrong = []
    for module in MODULES.values():
        verb = within(module.name, VERBS)
        for target, node in module.own_imports if verb else []:
            other = within(target, VERBS)
            if within(target, OUTSIDE_OF_VERBS) or (other and other != verb):
                wrong.append(f"{module.at(node)} ({verb}) imports {target}: declare a Protocol instead")
    nothing(wrong)


def test_pure_modules_import_nothing_impure():
    wrong = [
        f"{module.at(node)} imports {name}: time, randomness, keys and files come in as arguments"
        for module in MODULES.values()
        if is_pure(module)
        for name, node in module.imports
        if name.partition(".")[0] in IMPURE
    ]
    nothing(wrong)


def test_pure_modules_import_only_pure_modules_of_ours():
    """`sodium` loads the library, and is allowed for that; what it computes is pure."""
    wrong = [
        f"{module.at(node)} imports {target}, which acts"
        for module in MODULES.values()
        if is_pure(module)
        for target, node in module.own_imports
        if target not in {"", "sodium"} and target in MODULES and not is_pure(MODULES[target])
    ]
    nothing(wrong)


def test_pure_modules_ask_for_neither_time_nor_randomness():
    wrong = [
        f"{module.at(node)} calls {ast.unparse(node.func)}(): take the value as an argument"
        for module in MODULES.values()
        if is_pure(module)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) in IMPURE_CALLS
    ]
    nothing(wrong)


def test_each_outside_has_its_one_place():
    wrong = []
    for module in MODULES.values():
        for name, node in module.imports:
            place = ONLY_IN.get(name.partition(".")[0])
            if place is not None and module.top not in ((place,) if isinstance(place, str) else place):
                wrong.append(f"{module.at(node)} imports {name}, which belongs to {place}")
    nothing(wrong)


def test_no_statement_gives_rows_without_columns():
    """asyncpg (0.32) writes eight bytes behind such a row when it forgets it, which `PYTHONMALLOC=malloc` shows."""
    texts = {path: path.read_text() for path in (ROOT / PACKAGE).rglob("*.sql")}
    texts |= {
        module.path: "\n--\n".join(
            node.value
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for module in [*MODULES.values(), *TESTS]
    }
    wrong = []
    for path, text in texts.items():
        for found in re.finditer(r"\bselect\s+from\b", text, re.IGNORECASE):
            before = text[: found.start()].rstrip()
            if not before.endswith("("):
                wrong.append(f"{path.relative_to(ROOT)}: {text[found.start() : found.end() + 30].strip()!r}")
    nothing(wrong, "write `select 1 from`")


def test_every_session_dials_sockets_that_close_no_other():
    """See riskshare.dialled."""
    wrong = []
    for module in MODULES.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if node.func.attr == "TCPConnector" and ast.dump(given.get("socket_factory", node)) != DIAL:
                wrong.append(f"{module.at(node)} connects without socket_factory=dial")
            if node.func.attr == "ClientSession" and "connector" not in given:
                wrong.append(f"{module.at(node)} has no connector of its own")
    nothing(wrong)


def test_lists_of_exceptions_name_what_exists():
    flows = {name for name in ACTING if (ROOT / PACKAGE / name.split(".", maxsplit=1)[0]).is_dir()}
    nothing(sorted(flows - set(MODULES)), "take these out of ACTING")
    known = {f"{module.name}:{name}" for module in MODULES.values() for name, _ in functions(module.tree)}
    nothing(sorted(set(SUPERVISORS) - known), "take these out of SUPERVISORS")


def test_no_module_has_a_name_that_says_nothing():
    wrong = [
        str(module.path.relative_to(ROOT))
        for module in [*MODULES.values(), *TESTS]
        if NO_NAMES & set(module.path.stem.removeprefix("test_").split("_")) or module.path.parent.name in NO_NAMES
    ]
    nothing(wrong, "name these by what they do")


def test_files_are_short():
    wrong = [
        f"{module.path.relative_to(ROOT)}: {lines} lines"
        for module in MODULES.values()
        if (lines := len(module.source.splitlines())) > LINES_OF_A_FILE
    ]
    nothing(wrong, f"a file has at most {LINES_OF_A_FILE} lines: find the two things that it is about")


def test_functions_are_short():
    wrong = [
        f"{module.at(node)} {name}: {lines} lines"
        for module in [*MODULES.values(), *TESTS]
        for name, node in functions(module.tree)
        if (lines := length(node)) > LINES_OF_A_FUNCTION
    ]
    nothing(wrong, f"a function has at most {LINES_OF_A_FUNCTION} lines without its docstring")


def test_all_that_is_public_has_a_docstring():
    wrong = []
    for module in MODULES.values():
        stack: list[ast.Module | ast.ClassDef] = [module.tree]
        if not ast.get_docstring(module.tree):
            wrong.append(f"{module.path.relative_to(ROOT)}:1 the module itself")
        while stack:
            for node in stack.pop().body:
                named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                if not named or node.name.startswith("_") or _is_variant(node):
                    continue
                if not ast.get_docstring(node):
                    wrong.append(f"{module.at(node)} {node.name}")
                if isinstance(node, ast.ClassDef):
                    stack.append(node)
    nothing(wrong, "say of each what it takes, gives and raises")


def _is_variant(node: ast.AST) -> bool:
    """An overload, a property's setter or an override says nothing that its first form does not."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"overload", "setter", "deleter", "override"})


def test_broad_excepts_stand_in_supervisors_only():
    """A handler that ends by raising again catches nothing, and may be anywhere."""
    wrong = []
    for module in MODULES.values():
        for name, function in functions(module.tree):
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and _is_broad(node):
                    place = f"{module.name}:{name}"
                    if place not in SUPERVISORS and not _raises_again(node):
                        wrong.append(f"{module.at(node)} in {place}")
    nothing(wrong, "catch what can happen, or add the supervisor to SUPERVISORS")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in kinds
    )


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and (last.exc is None or handler.name == getattr(last.exc, "id", None))


def test_nothing_is_swallowed_whole():
    wrong = [
        module.at(node)
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "suppress"
        and {ast.unparse(argument) for argument in node.args} & {"Exception", "BaseException"}
    ]
    nothing(wrong)


def test_tests_use_no_mocks():
    wrong = [
        f"{module.at(node)} imports {name}"
        for module in TESTS
        for name, node in module.imports
        if name.startswith(("unittest.mock", "mock", "pytest_mock"))
    ]
    wrong += [
        f"{module.at(node)} asks for mocker"
        for module in TESTS
        for _, node in functions(module.tree)
        if any(argument.arg == "mocker" for argument in node.args.args)
    ]
    nothing(wrong, "write a simulator that does the real thing instead")


def test_no_test_is_named_twice():
    """The second of one name would hide the first, and nobody would miss it."""
    wrong = []
    for module in TESTS:
        names = [name for name, _ in functions(module.tree) if name.rpartition(".")[2].startswith("test_")]
        wrong += [f"{module.path.relative_to(ROOT)}: {name}" for name in set(names) if names.count(name) > 1]
    nothing(wrong)
