"""The shape of the house: which module may import which, how long one may be, what none may do."""

import ast
import graphlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import harness
import suites

ENGINE = Path(harness.__file__).parent
SUITES = Path(suites.__file__).parent
ROOT = ENGINE.parent
SOURCES = sorted([*ENGINE.rglob("*.py"), *SUITES.rglob("*.py")])
HEAVY = ("torch", "pandas", "scipy", "matplotlib", "numpy", "numba", "jinja2", "transformers")

# Who may import whom inside the engine. Arrows run one way, from the bottom of this table to its
# top; a module of a package (`report`, `executors`) counts as the package, which may import itself.
ALLOWED = {
    "digits": set(),
    "errors": set(),
    "lazy": set(),
    "files": {"errors"},
    "lease": {"errors", "files"},
    "patience": {"errors"},
    "rows": {"errors"},
    "shared": {"errors", "files"},
    "settings": {"errors"},
    "check": {"settings"},
    "stats": {"digits"},
    "git": {"errors"},
    "terminal": {"errors"},
    "tool": {"errors"},
    "cache": {"errors", "files", "lease", "patience"},
    "download": {"errors", "files", "terminal"},
    "claim": {"check", "settings"},
    "verified": {"cache", "errors", "files"},
    "wording": {"claim"},
    "exhibit": {"check", "settings"},
    "pretrained": {"errors", "files"},
    "resampling": {"digits", "stats"},
    "task": {"check", "settings"},
    "weights": {"errors", "files"},
    "checkpoints": {"cache", "errors", "files"},
    "sequential": {"claim", "digits", "settings", "stats"},
    "scale": {"check", "claim", "settings"},
    "suite": {"check", "claim", "errors", "exhibit", "scale", "settings", "task"},
    "identity": {"suite"},
    "drawing": {"stats", "suite"},
    "number": {"digits", "suite"},
    "source": {"errors", "suite", "verified"},
    "contents": {"errors", "files", "identity"},
    "artifacts": {"cache", "errors", "files", "identity"},
    "record": {"errors", "identity", "lazy", "settings", "suite"},
    "cost": {"record"},
    "provenance": {"git", "record"},
    "variants": {"errors", "identity", "settings", "suite"},
    "analysis": {"errors", "identity", "record", "stats", "suite"},
    "looks": {"errors", "files", "identity", "settings", "suite"},
    "evidence": {"analysis", "claim", "digits", "errors", "looks", "stats", "suite"},
    "margins": {"claim", "errors", "files", "record", "settings", "suite"},
    "plugins": {"cache", "errors", "files", "identity", "settings", "suite"},
    "registry": {"errors", "identity", "plugins", "settings", "source", "suite"},
    "new": {"errors", "files", "registry", "suite", "terminal"},
    "data": {"cache", "download", "errors", "files", "identity", "registry", "suite"},
    "inventory": {"contents", "data", "errors", "registry", "suite"},
    "tiers": {"analysis", "claim", "digits", "errors", "registry", "suite"},
    "checks": {"analysis", "check", "digits", "errors", "record", "registry", "suite"},
    "effects": {
        "analysis", "claim", "digits", "evidence", "resampling", "stats", "suite", "wording",
    },
    "axes": {"analysis", "claim", "digits", "effects", "evidence", "stats", "suite", "variants"},
    "design": {"analysis", "axes", "claim", "effects", "evidence", "stats", "suite"},
    "headings": {"cache", "record", "verified"},
    "store": {
        "artifacts", "cache", "checkpoints", "errors", "files", "headings", "identity", "lease",
        "record", "settings", "verified",
    },
    "training": {"errors", "settings", "store", "weights"},
    "inputs": {"contents", "data", "errors", "identity", "store", "suite"},
    "plan": {
        "check", "claim", "data", "errors", "identity", "record", "registry", "store", "suite",
        "variants",
    },
    "options": {"errors", "plan", "suite"},
    "upkeep": {"errors", "files", "looks", "margins", "plan", "store"},
    "migrate": {"errors", "identity", "plan", "record", "suite", "variants"},
    "arguments": {
        "data", "errors", "options", "plan", "record", "registry", "store", "suite", "terminal",
        "variants",
    },
    "context": {
        "cost", "data", "errors", "identity", "inputs", "patience", "plan", "record", "settings",
        "store", "suite",
    },
    "failures": {"context", "errors", "record", "settings"},
    "parallel": {"context", "errors", "files", "patience", "registry", "store"},
    "run": {
        "context", "data", "errors", "failures", "identity", "lease", "plan", "provenance",
        "record", "registry", "store", "variants",
    },
    "executors": {
        "data", "errors", "failures", "files", "options", "patience", "plan", "provenance",
        "record", "registry", "run", "store", "suite",
    },
    "console": {
        "errors", "executors", "identity", "number", "plan", "record", "run", "store", "suite",
    },
    "list_commands": {
        "arguments", "cache", "console", "data", "inventory", "number", "registry", "settings",
        "terminal", "variants",
    },
    "data_commands": {
        "arguments", "console", "data", "errors", "inventory", "registry", "store", "terminal",
    },
    "upkeep_commands": {
        "arguments", "data_commands", "errors", "inventory", "migrate", "registry", "shared",
        "terminal", "upkeep",
    },
    "queue_commands": {"errors", "executors", "store", "terminal"},
    "claims": {
        "analysis", "axes", "checks", "claim", "digits", "effects", "evidence", "lazy", "looks",
        "record", "sequential", "settings", "stats", "suite", "tiers", "wording",
    },
    "until": {
        "analysis", "axes", "claim", "claims", "effects", "errors", "evidence", "looks",
        "sequential", "suite", "variants",
    },
    "report": {
        "analysis", "axes", "claim", "claims", "digits", "drawing", "effects", "errors", "files",
        "identity", "looks", "number", "record", "registry", "stats", "suite", "tiers", "variants",
        "verified", "wording",
    },
    "comparison": {"analysis", "identity", "record", "stats", "suite"},
    "compare_commands": {
        "arguments", "comparison", "console", "errors", "git", "number", "options", "plan",
        "record", "registry", "store", "suite", "terminal",
    },
    "frames": {
        "analysis", "cache", "claims", "errors", "looks", "margins", "plan", "record", "registry",
        "report", "store", "suite", "variants",
    },
    "publish": {"errors", "files"},
    "export": {
        "analysis", "digits", "errors", "frames", "identity", "record", "stats", "suite",
        "variants",
    },
    "share_commands": {
        "arguments", "errors", "export", "files", "frames", "number", "options", "publish",
        "registry", "terminal",
    },
    "trackers": {"errors", "record", "store", "terminal"},
    "summary": {
        "analysis", "claim", "claims", "console", "errors", "looks", "number", "plan", "record",
        "registry", "report", "store", "suite", "terminal",
    },
    "claim_commands": {
        "analysis", "arguments", "claim", "claims", "console", "errors", "looks", "margins",
        "number", "plan", "registry", "report", "suite", "summary", "terminal", "tiers", "wording",
    },
    "gpu": {"identity", "number", "plan", "registry", "suite"},
    "rounds": {
        "analysis", "claims", "console", "data", "errors", "executors", "identity", "looks",
        "margins", "number", "options", "plan", "record", "registry", "run", "sequential", "store",
        "suite", "summary", "terminal", "trackers", "until", "variants",
    },
    "cli": {
        "analysis", "arguments", "claim_commands", "compare_commands", "console", "data_commands",
        "design", "errors", "executors", "gpu", "list_commands", "looks", "margins", "new",
        "number", "options", "plan", "queue_commands", "record", "registry", "report", "rounds",
        "share_commands", "store", "suite", "summary", "terminal", "trackers", "upkeep",
        "upkeep_commands", "variants", "verified",
    },
}  # fmt: skip
FOR_SUITES = {
    "analysis", "check", "claim", "contents", "context", "data", "digits", "download", "drawing",
    "errors", "gpu", "lazy", "number", "parallel", "plugins", "pretrained", "record", "rows", "run",
    "settings",
    "stats", "store", "suite", "tool", "training", "weights",
}  # fmt: skip


def module_name(path, root=ROOT):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree, inside):
    """Every module that a tree imports anywhere, `from a import b` as both `a` and `a.b`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = inside.split(".")[: len(inside.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def imports_of(path):
    name = module_name(path)
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imported(ast.parse(path.read_bytes()), inside)


def engine_parts(names):
    """`plan` for `harness.plan` and for `harness.plan.make`."""
    return {name.split(".")[1] for name in names if name.startswith("harness.")}


def python(code):
    """Runs code in a fresh process; what it prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_reader_of_imports_sees_every_form():
    tree = ast.parse(
        "import a.b, c as d\nfrom e import f as g\nfrom . import h\nfrom .i import j\n"
        "from ..k import l\ndef late():\n    from m.n import o\n    import p\n"
    )
    assert imported(tree, "top.package") == {
        "a.b", "c", "e", "e.f", "top.package", "top.package.h", "top.package.i",
        "top.package.i.j", "top.k", "top.k.l", "m.n", "m.n.o", "p",
    }  # fmt: skip
    assert engine_parts({"harness", "harness.plan", "harness.plan.make", "other.plan"}) == {"plan"}


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=module_name)
def test_arrows_inside_the_engine_run_one_way(path):
    name = module_name(path)
    if name == "harness":
        assert imports_of(path) == {"harness.lazy", "harness.lazy.face"}
        return
    part = name.split(".")[1]
    assert part in ALLOWED, f"give {part} its place in the table of this test"
    odd = engine_parts(imports_of(path)) - ALLOWED[part] - {part}
    assert not odd, f"{name} may not import {', '.join(sorted(odd))}"


def test_the_table_has_no_circle_and_no_ghost():
    order = list(ALLOWED)
    for part, targets in ALLOWED.items():
        assert all(order.index(target) < order.index(part) for target in targets), part
        assert (ENGINE / f"{part}.py").exists() or (ENGINE / part).is_dir(), part


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=module_name)
def test_the_engine_knows_no_suite(path):
    assert not [n for n in imports_of(path) if n == "suites" or n.startswith("suites.")]


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_imports_the_command_line(path):
    assert "cli" not in engine_parts(imports_of(path))


@pytest.mark.parametrize("path", sorted(SUITES.glob("*/**/*.py")), ids=module_name)
def test_suites_stand_alone_on_the_engine(path):
    own = path.relative_to(SUITES).parts[0]
    for name in imports_of(path):
        if name.startswith("suites."):
            assert name.split(".")[1] == own, f"imports {name}"
    assert engine_parts(imports_of(path)) <= FOR_SUITES


# Which wing of a suite may import which other; the last ones stand on those before them.
WINGS = {
    "bam": {"model": set(), "data": {"model"}, "downstream": set()},
    "merging": {"robots": set(), "policy": {"robots"}, "merge": {"policy", "robots"}},
    "mixup": {"finetuning": set()},
}
EXPERIMENT = {"artifacts", "claims", "figures", "methods", "scales", "suite", "tasks", "trials"}
"""Files of a suite that say what is compared with what: the science below does not know them."""


def inside_suite(name):
    """Module of a suite -> those of the same suite that it imports."""
    modules = {module_name(path): path for path in (SUITES / name).rglob("*.py")}
    return {
        module: {target for target in imports_of(path) if target in modules} - {module}
        for module, path in modules.items()
    }


def place(module):
    """The wing or file of a suite that a module is or lies in; empty for its face."""
    return (*module.split(".")[2:], "")[0]


def upward(graph, wings):
    """What of a suite's imports leads from a wing to where it may not."""
    return sorted(
        f"{module} -> {target}"
        for module, targets in graph.items()
        for target in targets
        if (wing := place(module)) in wings
        and (there := place(target)) != wing
        and there not in wings[wing]
        and (there in wings or there in EXPERIMENT)
    )


@pytest.mark.parametrize("name", sorted(p.parent.name for p in SUITES.glob("*/suite.py")))
def test_inside_a_suite_arrows_run_one_way(name):
    graph, wings = inside_suite(name), WINGS.get(name, {})
    folders = {p.parent.name for p in (SUITES / name).glob("*/__init__.py")}
    assert folders == set(wings), "give every wing its place in the table of this test"
    assert upward(graph, wings) == []
    face = f"suites.{name}"
    for targets in graph.values():
        targets.discard(face)  # `from suites.bam import counts` names the package on its way
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_an_arrow_up_and_a_circle_are_found():
    wings = {"low": set(), "high": {"low"}}
    graph = {"s.x.low.a": {"s.x.high.b"}, "s.x.high.b": {"s.x.low.a", "s.x.trials"}}
    assert upward(graph, wings) == ["s.x.high.b -> s.x.trials", "s.x.low.a -> s.x.high.b"]
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()


LONGEST = 500


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_module_is_longer_than_500_lines(path):
    assert len(path.read_text().splitlines()) <= LONGEST, "split it"


def test_console_scripts_are_functions_that_are_there():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"harness", "bam-upcycle", "merge-checkpoints", "merge-video"}
    for value in scripts.values():
        module, _, function = value.partition(":")
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        tree = ast.parse(path.read_bytes())
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, value
        assert "__main__" in path.read_text() or module == "harness.cli", "python -m stays"


UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def unsafe(tree):
    """What runs code out of data: pickles, `torch.load`, `eval`, `exec`."""
    found = [name for name in imported(tree, "x") if name.split(".")[0] in UNSAFE_MODULES]
    found += [n for n in imported(tree, "x") if n in ("torch.load", "torch.save")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("eval", "exec", "__import__"):
            found.append(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in ("torch.load", "torch.save", "builtins.eval", "builtins.exec"):
                found.append(name)
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            off = isinstance(node.value, ast.Constant) and node.value.value is False
            found += [] if off else [node.arg]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_runs_code_out_of_data(path):
    assert unsafe(ast.parse(path.read_bytes())) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import cloudpickle as c", "torch.load(f)",
        "torch.save(x, f)", "from torch import load", "eval('1')", "f = exec", "__import__('os')",
        "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=p)", "run(c, shell=True)",
    ],
)  # fmt: skip
def test_the_check_finds_every_such_thing(code):
    assert unsafe(ast.parse(code))


def test_the_check_lets_the_rest_pass():
    code = (
        "model.eval()\nsafetensors.torch.load_file(f)\nnp.load(f, allow_pickle=False)\njson.load(f)"
    )
    assert unsafe(ast.parse(code)) == []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_bytes())
    assert ast.get_docstring(tree) or not tree.body


def test_the_command_line_and_every_suite_load_without_heavy_libraries():
    loaded = python(
        "import json, sys\n"
        "import harness.cli\n"
        "from harness import plan, registry\n"
        "for name in registry.origins():\n"
        "    suite = registry.load(name)\n"
        "    for scale in suite.scales:\n"
        "        plan.trials(suite, scale)\n"
        "    for method in suite.methods:\n"
        "        registry.source_digest(method.run)\n"
        "print(json.dumps([*registry.origins(), '--', *sys.modules]))"
    )
    names, modules = loaded[: loaded.index("--")], loaded[loaded.index("--") + 1 :]
    assert "gate" in names
    assert [name for name in HEAVY if name in modules] == []


def test_one_engine_module_alone_needs_torch_and_one_matplotlib():
    heavy = {"harness.training", "harness.drawing"}
    names = sorted({module_name(path) for path in ENGINE.rglob("*.py")} - heavy)
    loaded = python(
        "import importlib, json, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "print(json.dumps(list(sys.modules)))"
    )
    assert "torch" not in loaded
    assert "matplotlib" not in loaded


def test_listing_suites_takes_little_time():
    # As a ratio: a busy machine slows both. Five to six times as measured on two busy cores.
    libraries = python(
        "import json, time\n"
        "import pydantic, rich.console, rich.table, typer.main\n"
        "class Model(pydantic.BaseModel):\n    x: int = 1\n"
        "print(json.dumps(time.process_time()))"
    )
    seconds = python(
        "import json, sys, time\n"
        "sys.argv = ['harness', 'list']\n"
        "from harness.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(json.dumps(time.process_time()))"
    )
    assert seconds < 8 * libraries
