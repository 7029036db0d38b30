"""What the digest of a function's source sees: modules, however imported, and data files."""

import importlib
import sys
import textwrap
from pathlib import Path

import pytest

from harness import registry, source
from harness.errors import SpecError

SUITES = Path(registry.__file__).parents[1] / "suites"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder that is first on `sys.path`, in which `put` writes files."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def put(home):
    """`put(path, text)`: a file below the folder."""

    def write(path, text=""):
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
        importlib.invalidate_caches()
        return file

    return write


@pytest.fixture
def suite(put):
    """A suite in folders: `acme.deep.suite`, its method in a package below, layers above."""
    for package in ("acme", "acme/deep", "acme/deep/methods", "acme/layers", "acme/deep/never"):
        put(f"{package}/__init__.py")
    put("acme/deep/suite.py", "def suite(): ...\n")
    put("acme/deep/methods/train.py", "def run(ctx): ...\n")
    return "acme.deep.methods.train:run"


IMPORTS = {
    "absolute": "import acme.layers.dense",
    "renamed": "import acme.layers.dense as d",
    "name": "from acme.layers.dense import forward",
    "module": "from acme.layers import dense",
    "dots": "from ...layers import dense",
    "dots-and-module": "from ...layers.dense import forward as f",
    "star": "from acme.layers.dense import *",
    "late": "def run(ctx):\n    from acme.layers import dense",
    "guarded": "try:\n    import acme.layers.dense\nexcept ImportError:\n    pass",
    "literal": "import importlib\nimportlib.import_module('acme.layers.dense')",
    "literal-late": "from importlib import import_module\n"
    "def run(ctx):\n    return import_module('acme.layers.dense')",
    "literal-alias": "from importlib import import_module as load\nload('acme.layers.dense')",
    "literal-relative": "from importlib import import_module\n"
    "import_module('...layers.dense', __package__)",
    "literal-relative-named": "from importlib import import_module\n"
    "import_module('.dense', package='acme.layers')",
    "builtin": "__import__('acme.layers.dense')",
    "put-together": "from importlib import import_module\nNAMES = ('dense',)\n"
    "def run(ctx):\n    import_module(f'acme.layers.{ctx.name}')",
    "unknown-name": "from importlib import import_module\n"
    "def run(ctx):\n    import_module(f'acme.layers.{ctx.name}')",
    "import-path": "from harness import registry\nregistry.call('acme.layers.dense:forward')",
}


@pytest.mark.parametrize("form", IMPORTS)
def test_every_form_of_an_import_is_followed_beyond_its_own_folder(suite, put, form):
    put("acme/deep/methods/train.py", f"{IMPORTS[form]}\ndef run(ctx): ...\n")
    put("acme/layers/dense.py", "from acme.layers import inner\ndef forward(): return 1\n")
    put("acme/layers/inner.py", "x = 1\n")
    before = source.digest(suite)
    assert {"acme.layers.dense", "acme.layers.inner"} <= set(source.reached(suite).code)
    put("acme/layers/dense.py", "from acme.layers import inner\ndef forward(): return 2\n")
    changed = source.digest(suite)
    assert changed != before
    put("acme/layers/inner.py", "x = 2\n")
    assert source.digest(suite) not in (before, changed)


@pytest.mark.parametrize("package", ["acme", "acme/deep", "acme/deep/methods"])
def test_packages_that_are_executed_on_the_way_count(suite, put, package):
    before = source.digest(suite)
    put(f"{package}/__init__.py", "from acme.deep.never import used\n")
    put("acme/deep/never/used.py", "x = 1\n")
    changed = source.digest(suite)
    assert changed != before
    put("acme/deep/never/used.py", "x = 2\n")
    assert source.digest(suite) != changed


def test_what_is_not_reached_does_not_count(suite, put):
    put("acme/deep/figures.py", "x = 1\n")
    before = source.digest(suite)
    put("acme/deep/figures.py", "x = 2\n")
    put("acme/deep/suite.py", "def suite(): return 1\n")
    put("acme/deep/never/__init__.py", "x = 1\n")
    put("acme/deep/never/weights.bin", "1")
    put("acme/other/suite.py", "x = 1\n")
    assert source.digest(suite) == before


LAZY = """
from importlib import import_module
{table}
def __getattr__(name):
    {body}
"""


@pytest.mark.parametrize(
    ("table", "body"),
    [
        ("", "return import_module('acme.layers.dense')"),
        ("", "return import_module('.dense', __name__).forward"),
        ("", "from acme.layers import dense; return dense"),
        ("T = {'forward': 'dense'}", "return import_module(f'{__name__}.{T[name]}')"),
        ("T = {'forward': '.dense'}", "return import_module(T[name], __name__)"),
        ("T = {'forward': 'acme.layers.dense'}", "return import_module(T[name])"),
    ],
)
def test_names_that_a_package_imports_lazily_count_for_those_who_ask(suite, put, table, body):
    put("acme/layers/__init__.py", LAZY.format(table=table, body=body))
    put("acme/layers/dense.py", "x = 1\n")
    put("acme/layers/plain.py", "x = 1\n")
    for asks in (
        "from acme.layers import forward",
        "import acme.layers",
        "from acme import layers",
    ):
        put("acme/deep/methods/train.py", f"{asks}\ndef run(ctx): ...\n")
        assert "acme.layers.dense" in source.reached(suite).code, asks
    put("acme/deep/methods/train.py", "from acme.layers.plain import x\ndef run(ctx): ...\n")
    assert "acme.layers.plain" in source.reached(suite).code
    assert "acme.layers.dense" not in source.reached(suite).code


def test_the_public_face_of_a_suite_does_not_make_all_of_it_count(put):
    put("acme/__init__.py", LAZY.format(
        table="T = {'Layer': 'layers', 'draw': 'figures'}",
        body="return getattr(import_module(f'{__name__}.{T[name]}'), name)",
    ))  # fmt: skip
    put("acme/train.py", "from acme import layers\n")
    put("acme/layers.py", "x = 1\n")
    put("acme/figures.py", "x = 1\n")
    assert set(source.reached("acme.train:run").code) == {"acme", "acme.train", "acme.layers"}


# -- data files ------------------------------------------------------------------------------------

DATA = [
    "acme/deep/policies/ant.safetensors", "acme/deep/tasks/one.yaml", "acme/deep/prompt.txt",
    "acme/deep/methods/rules.json", "acme/table.csv", "acme/deep/tasks/more/deep/two.yml",
    "acme/deep/kernel.so", "acme/deep/_data/x.bin", "acme/deep/tasks/SHA256SUMS",
]  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data_files_that_come_with_the_package_count(suite, put, name):
    before = source.digest(suite)
    put(name, bytes(64))
    new = source.digest(suite)
    assert new != before
    put(name, bytes(63) + b"\x01")
    assert source.digest(suite) not in (before, new)
    put(name).unlink()
    assert source.digest(suite) == before


@pytest.mark.parametrize(
    "name",
    [
        "acme/deep/README.md", "acme/deep/reference.csv", "acme/deep/figure.png",
        "acme/deep/__pycache__/train.cpython-311.pyc", "acme/deep/.DS_Store", "acme/LICENSE",
        "acme/deep/.hidden/x.bin", "beside.csv", "acme/deep/tasks/README.txt", "acme/py.typed",
    ],
)  # fmt: skip
def test_documents_and_caches_do_not_count(suite, put, name):
    before = source.digest(suite)
    put(name, "x")
    assert source.digest(suite) == before


def test_a_file_counts_by_its_name_and_through_a_link(suite, put, home):
    put("acme/deep/tasks/one.yaml", "x")
    before = source.digest(suite)
    (home / "acme/deep/tasks/one.yaml").rename(home / "acme/deep/tasks/two.yaml")
    assert source.digest(suite) != before
    put("elsewhere/weights.bin", "1")
    (home / "acme/deep/linked").symlink_to(home / "elsewhere")
    (home / "elsewhere/circle").symlink_to(home / "elsewhere")
    linked = source.digest(suite)
    put("elsewhere/weights.bin", "2")
    assert source.digest(suite) != linked


# -- the engine, and what is installed -------------------------------------------------------------


def test_engine_modules_that_train_count_and_its_machinery_does_not(suite, put, monkeypatch):
    put(
        "acme/deep/methods/train.py",
        "from harness.training import State\nfrom harness.stats import mean_interval\n"
        "from harness.run import Context\nfrom harness.store import write_atomic\n"
        "from harness import drawing, errors\nimport harness.suite\ndef run(ctx): ...\n",
    )
    engine = {m.split(".")[1] for m in source.reached(suite).code if m.startswith("harness.")}
    assert engine == {"digits", "settings", "stats", "training", "weights"}
    before = source.digest(suite)
    parsed = source._parsed

    def changed(text, package, name):
        return parsed(text + (b"\nX = 1\n" if b"def count_flops" in text else b""), package, name)

    monkeypatch.setattr(source, "_parsed", changed)
    assert source.digest(suite) != before


def test_every_part_of_the_engine_is_machinery_or_counts():
    counted = {
        "digits",
        "parallel",
        "pretrained",
        "rows",
        "settings",
        "stats",
        "training",
        "weights",
    }
    parts = {path.stem for path in Path(source.__file__).parent.glob("*.py")} - {"__init__"}
    parts |= {"executors", "report", "stats"}
    assert parts - source.MACHINERY == counted


def test_all_training_suites_name_the_engine_module_that_they_train_with():
    for name in ("gate.trials:run", "mixup.trials:run", "bam.training:make_seed"):
        assert "harness.training" in source.reached(f"suites.{name}").code


def test_a_method_from_elsewhere_that_builds_on_a_suite_counts_with_what_it_takes(put):
    put("acme/__init__.py")
    put("acme/train.py", "from suites.gate.measures import mad\ndef run(ctx): ...\n")
    found = source.reached("acme.train:run")
    assert {"acme.train", "suites.gate.measures"} <= set(found.code)
    assert "suites.gate.trials" not in found.code
    assert SUITES in found.roots


def test_modules_beside_an_installed_package_count_by_their_version_alone(put, home, monkeypatch):
    monkeypatch.syspath_prepend(home / "site-packages")
    put("site-packages/acme/__init__.py")
    put("site-packages/acme/train.py", "import other, acme.layers\n")
    put("site-packages/acme/layers.py", "x = 1\n")
    put("site-packages/other.py", "x = 1\n")
    assert set(source.reached("acme.train:run").code) == {"acme", "acme.train", "acme.layers"}


def test_the_trees_are_those_of_all_packages_that_are_reached(put, home):
    put("acme/__init__.py")
    put("acme/train.py", "import helper\nfrom lib import x\nimport harness.training\n")
    put("helper.py")
    put("lib/__init__.py", "x = 1\n")
    found = source.trees(["acme.train:run", "acme.train:make"])
    assert found[0] == home / "acme"
    assert set(found) == {home / "acme", home / "helper.py", home / "lib"}
    gate = registry.trees(registry.load("gate"))
    assert gate == (SUITES,)


# -- the suites ------------------------------------------------------------------------------------


def test_every_finetuning_method_of_mixup_counts():
    files = {path.stem for path in (SUITES / "mixup" / "finetuning").glob("*.py")} - {"__init__"}
    reached = source.reached("suites.mixup.trials:run").code
    assert {f"suites.mixup.finetuning.{name}" for name in files} <= set(reached)


def test_figures_claims_and_scales_count_for_no_trial():
    for name in registry.origins():
        suite = registry.load(name)
        for method in suite.methods:
            parts = {m.rpartition(".")[2] for m in source.reached(method.run).code}
            assert not parts & {"figures", "claims", "scales", "suite", "hub"}, method.run


def test_the_files_that_suites_ship_count_for_their_trials():
    for run, folder in (
        ("merging.trials:merged", "robots/policies"),
        ("bam.trials:run", "downstream/tasks"),
    ):
        paths = source.reached(f"suites.{run}").paths
        found = {path.name for path in source._data_files(paths).values()}
        there = (SUITES / run.partition(".")[0] / folder).iterdir()
        assert {path.name for path in there if path.suffix != ".md"} <= found


def test_a_data_file_is_hashed_once_it_lies_still(tmp_path, monkeypatch):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"1")
    hashed = []
    real = source._hashed
    monkeypatch.setattr(source, "_hashed", lambda p: hashed.append(p) or real(p))
    first = [source._file_digest(path), source._file_digest(path)]
    assert len(hashed) == 2  # just written: a second change might leave the same time
    monkeypatch.setattr(source.time, "time", lambda: path.stat().st_ctime + 60)
    assert [source._file_digest(path), source._file_digest(path)] == first
    assert len(hashed) == 3
    path.write_bytes(b"22")
    assert source._file_digest(path) != first[0]


def test_source_nested_too_deep_is_one_line(put):
    put("acme/__init__.py")
    put("acme/train.py", "x = " + "(" * 500 + ")" * 500 + "\n")
    with pytest.raises(SpecError, match=r"train\.py: not Python source: "):
        source.digest("acme.train:run")
