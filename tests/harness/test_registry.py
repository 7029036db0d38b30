"""Finding suites, saying what is wrong with them, and digests of the source that they run."""

import importlib.metadata
import sys
import textwrap
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness import registry, source
from harness.errors import SpecError, UsageError
from harness.suite import Suite

ROOT = Path(__file__).parents[2]
SUITE = """
from harness.suite import Method, Metric, Paper, Scale, Suite, Task

def suite():
    return Suite(
        name="{name}",
        paper=Paper(title="T", authors="A", arxiv="0", venue="V", year=2024),
        summary="S",
        methods=(Method(name="ant", run="{name}.train:run"),),
        metrics=(Metric(name="loss", label="", unit="", better="lower", split="", select=""),),
        tasks=(Task(name="t", metrics=("{metric}",)),),
        scales=(Scale(name="smoke", seeds=(0,), expected_seconds=1),),
    )
"""


def forget():
    for cached in (registry.origins, registry.load, registry.source_digest):
        cached.cache_clear()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(path, text)`: a file below a folder that is first on `sys.path`, caches emptied.

    `suites/NAME/suite.py` is offered as suite NAME by a package that hides the installed one.
    """
    home = tmp_path / "home"
    home.mkdir()
    before = dict(sys.modules)
    for name in [n for n in sys.modules if n.partition(".")[0] == "suites"]:
        del sys.modules[name]
    monkeypatch.syspath_prepend(home)
    forget()

    info = home / "attention_harness-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: attention-harness\nVersion: 0.1.0\n"
    )

    def put(path, text=""):
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        names = sorted(place.parent.name for place in home.glob("suites/*/suite.py"))
        lines = [f"{name} = suites.{name}.suite:suite" for name in names]
        (info / "entry_points.txt").write_text("\n".join(["[harness.suites]", *lines]) + "\n")
        importlib.invalidate_caches()
        forget()
        return file

    put("suites/__init__.py")
    yield put
    for name in set(sys.modules) - set(before):
        if str(home) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.modules.update({n: m for n, m in before.items() if n.partition(".")[0] == "suites"})
    forget()


@pytest.fixture
def offer(monkeypatch):
    """`offer(*entries, name=value, ...)`: more entry points, as packages declare them."""
    read = importlib.metadata.entry_points

    def put(*more, **values):
        entries = [EntryPoint(name, value, registry.GROUP) for name, value in values.items()]
        entries += more
        monkeypatch.setattr(
            importlib.metadata,
            "entry_points",
            lambda group: [*entries, *read(group=group)] if group == "harness.suites" else [],
        )
        forget()

    return put


def put_suite(write, name="alpha", metric="loss"):
    write(f"suites/{name}/__init__.py")
    return write(f"suites/{name}/suite.py", SUITE.format(name=name, metric=metric))


def line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# -- discovery -------------------------------------------------------------------------------------


def test_what_packages_offer_is_found_by_name_without_importing(write, offer):
    put_suite(write, "beta")
    put_suite(write, "alpha")
    write("suites/notes/README.md", "no suite here")
    offer(aardvark="elsewhere.deep:build")
    assert list(registry.origins()) == ["aardvark", "alpha", "beta"]
    assert registry.origins()["alpha"] == ("alpha", "suites.alpha.suite", "suite", "")
    assert registry.origins()["aardvark"] == ("aardvark", "elsewhere.deep", "build", "")
    assert "suites.alpha.suite" not in sys.modules


def test_a_folder_that_no_package_offers_is_no_suite(write, tmp_path):
    put_suite(write)
    assert list(registry.origins()) == ["alpha"]
    (tmp_path / "home" / "attention_harness-0.1.0.dist-info" / "entry_points.txt").unlink()
    importlib.invalidate_caches()
    forget()
    for asked in (registry.every, lambda: registry.load("alpha")):
        with pytest.raises(UsageError) as error:
            asked()
        assert line(error).startswith("no installed package offers a suite; where this is a clone,")
        assert "`pip install -e .`" in line(error)


def test_the_repository_offers_the_suites_that_it_holds():
    folders = sorted(path.parent.name for path in ROOT.glob("suites/*/suite.py"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][registry.GROUP] == {
        name: f"suites.{name}.suite:suite" for name in folders
    }
    assert set(folders) <= set(registry.origins())


def test_between_two_packages_that_offer_a_name_neither_is_used(write, offer, caplog):
    put_suite(write)
    entries = [EntryPoint("beta", value, registry.GROUP) for value in ("one:build", "two:build")]
    offer(*entries, gamma="three:build", delta="four:build")
    write("three.py", SUITE.format(name="gamma", metric="loss").replace("suite()", "build()"))
    reason = (
        "suite 'beta' is offered by one:build and by two:build; "
        "rename all but one of the entry points"
    )
    with pytest.raises(SpecError) as error:
        registry.load("beta")
    assert line(error) == reason
    assert [suite.name for suite in registry.every()] == ["alpha", "gamma"]
    assert registry.broken() == {
        "beta": reason,
        "delta": "suite delta (four) cannot be loaded: ModuleNotFoundError: No module named 'four'",
    }
    assert caplog.messages == [f"{text} (left out)" for text in registry.broken().values()]


def test_nobody_takes_the_name_of_a_suite_of_this_repository_in_silence(write, offer):
    put_suite(write)
    offer(alpha="one:build")
    with pytest.raises(SpecError, match="offered by one:build and by suites"):
        registry.load("alpha")


def test_the_same_function_offered_twice_is_one_suite(write, offer):
    write("elsewhere.py", SUITE.format(name="beta", metric="loss"))
    offer(*[EntryPoint("beta", "elsewhere:suite", registry.GROUP)] * 2)
    assert registry.load("beta").name == "beta"


@pytest.mark.parametrize("value", ["elsewhere", "else where:build", ":build", "a b", ""])
def test_an_entry_point_that_is_no_function_is_left_out(write, offer, value):
    put_suite(write)
    offer(beta=value)
    with pytest.raises(SpecError) as error:
        registry.load("beta")
    assert line(error) == (
        f"suite 'beta': entry point {value!r} of group harness.suites is not module:function; "
        "correct it in the package that offers it"
    )
    assert [suite.name for suite in registry.every()] == ["alpha"]
    with pytest.raises(UsageError, match="unknown suite 'bet': there are alpha; see"):
        registry.load("bet")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("entry_points.txt", b"[harness.suites]\nbeta = beta_package:suite\n\xff = a:b\n"),
        ("entry_points.txt", b"[harness.suites]\n = beta_package:suite\nno equals sign\n"),
        ("entry_points.txt", b"[harness.suites\nbeta = [[\n"),
        ("METADATA", b"Name: caf\xe9\nVersion: 1.0\n"),
        ("METADATA", b"\x00\xff\xfe"),
        ("METADATA", None),
    ],
)
def test_a_package_whose_metadata_cannot_be_read_costs_no_other_suite(
    write, tmp_path, name, content
):
    put_suite(write)
    for package in ("beta", "gamma"):
        write(f"{package}_package.py", SUITE.format(name=package, metric="loss"))
        info = f"{package}_package-1.0.dist-info"
        write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}-package\nVersion: 1\n")
        write(f"{info}/entry_points.txt", f"[harness.suites]\n{package} = {package}_package:suite")
    path = tmp_path / "home" / "beta_package-1.0.dist-info" / name
    path.unlink() if content is None else path.write_bytes(content)
    forget()
    assert {"alpha", "gamma"} <= {suite.name for suite in registry.every()}
    for reason in registry.broken().values():
        assert "\n" not in reason


def test_a_package_that_cannot_be_read_is_named(write, tmp_path):
    write("beta_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: Beta\nVersion: 1\n")
    write("beta_package-1.0.dist-info/entry_points.txt")
    path = tmp_path / "home" / "beta_package-1.0.dist-info" / "entry_points.txt"
    path.write_bytes(b"[\xff]")
    forget()
    assert registry.broken()["beta"].startswith(
        "package beta: its entry points cannot be read (UnicodeDecodeError: 'utf-8' codec"
    )
    assert registry.broken()["beta"].endswith("; install it again")


def test_an_entry_point_may_name_what_lies_inside_something(write, offer):
    source = SUITE.format(name="beta", metric="loss").replace(
        "def suite", "class Made:\n  def suite"
    )
    write("elsewhere.py", source.replace("\n    return", "\n        return"))
    offer(beta="elsewhere:Made.suite")
    assert registry.load("beta").name == "beta"


def test_suites_are_loaded_from_the_folder_and_from_entry_points(write, offer):
    put_suite(write)
    write("elsewhere.py", SUITE.format(name="gamma", metric="loss"))
    offer(gamma="elsewhere:suite")
    assert isinstance(registry.load("alpha"), Suite)
    assert registry.load("gamma").name == "gamma"
    assert registry.load("gamma") is registry.load("gamma")


def test_an_unknown_suite_gets_a_suggestion(write, offer):
    put_suite(write)
    offer()
    with pytest.raises(UsageError) as error:
        registry.load("alpah")
    assert line(error) == (
        "unknown suite 'alpah': did you mean 'alpha'? there are alpha; see `harness list`"
    )
    with pytest.raises(UsageError, match="unknown suite 'zzz': there are alpha; see"):
        registry.load("zzz")


def test_datasets_are_found_by_name_over_all_suites(write, offer):
    offer()
    for name, sets in (("alpha", ("sums", "words")), ("beta", ("sums",))):
        made = "".join(
            f"Dataset(name='{s}', files={{}}, licence='', source='', sizes='', splits=''),"
            for s in sets
        )
        text = SUITE.format(name=name, metric="loss").replace(
            "import Method", "import Dataset, Method"
        )
        write(f"suites/{name}/__init__.py")
        write(
            f"suites/{name}/suite.py",
            text.replace("        scales", f"        datasets=({made}),\n        scales"),
        )
    names = lambda *wanted: [(s.name, d.name) for s, d in registry.datasets(wanted)]  # noqa: E731
    assert names() == [("alpha", "sums"), ("alpha", "words"), ("beta", "sums")]
    assert names("sums") == [("alpha", "sums"), ("beta", "sums")]
    assert names("words", "sums") == names()
    with pytest.raises(UsageError) as error:
        names("sums", "word")
    assert line(error) == (
        "unknown dataset 'word': did you mean 'words'? there are alpha, beta, sums, words; "
        "see `harness data list`"
    )


def test_a_suites_name_stands_for_all_its_datasets():
    found = [(s.name, d.name) for s, d in registry.datasets(("gate", "rte"))]
    gate = [("gate", dataset.name) for dataset in registry.load("gate").datasets]
    assert found == [*gate, ("mixup", "rte")]


# -- broken suites ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("from math import nothing", "cannot be loaded: ImportError: cannot import name"),
        ("def suite(:", "cannot be loaded: SyntaxError: "),
        ("print(undefined)", "cannot be loaded: NameError: name 'undefined'"),
        ("x = 1", "cannot be loaded: AttributeError: module"),
        ("suite = 3", "cannot be loaded: TypeError: 'int' object is not callable"),
        ("def suite(): raise KeyError('loss')", "cannot be loaded: KeyError: 'loss'"),
        ("def suite(): raise ValueError('two\\nlines')", "cannot be loaded: ValueError: two"),
        ("def suite(): raise ValueError", "cannot be loaded: ValueError: "),
        ("def suite(): import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("import sys; sys.exit()", "cannot be loaded: SystemExit: "),
        ("raise BaseException('all')", "cannot be loaded: BaseException: all"),
        ("raise GeneratorExit", "cannot be loaded: GeneratorExit: "),
        ("def suite(): return suite()", "cannot be loaded: RecursionError: maximum recursion"),
        ("def suite(x): pass", "cannot be loaded: TypeError: suite() missing 1 required"),
        ("def suite(): raise ValueError('\\x1b[31m\\udcff')", r"ValueError: \x1b[31m\udcff"),
        (
            "class E(Exception):\n def __str__(self): return 1 / 0\ndef suite(): raise E",
            "cannot be loaded: E: ",
        ),
        ("def suite(): return None", "suite() must return Suite(name='alpha')"),
        (SUITE.format(name="other", metric="loss"), "suite() must return Suite(name='alpha')"),
        (SUITE.format(name="alpha", metric="x"), "task t: unknown metric 'x': there are loss"),
        (SUITE.format(name="Alpha!", metric="loss"), "Method.run: String should match pattern"),
        (
            SUITE.format(name="alpha", metric="loss").replace('"t", metrics', '"t/u", metrics'),
            "Task.name: String should match pattern '^[a-z0-9][a-z0-9._+-]{0,63}$', found 't/u'",
        ),
    ],
)
def test_a_broken_suite_is_one_line(write, code, reason):
    write("suites/alpha/__init__.py")
    write("suites/alpha/suite.py", code)
    with pytest.raises(SpecError) as error:
        registry.load("alpha")
    assert line(error).startswith("suite alpha (suites.alpha.suite)")
    assert reason in line(error)


def test_what_a_suite_itself_says_is_passed_on(write):
    write("suites/alpha/__init__.py")
    write(
        "suites/alpha/suite.py",
        "from harness.errors import DataError\ndef suite(): raise DataError('no table here')",
    )
    with pytest.raises(SpecError, match=r"^suite alpha \(suites.alpha.suite\): no table here$"):
        registry.load("alpha")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("seeds=(0,)|seeds=(0, 10**5000)", "not to be written as JSON in UTF-8 (ValueError: "),
        ('summary="S"|summary="\\udcff"', "in UTF-8 (UnicodeEncodeError: 'utf-8' codec can't"),
        ("|.model_copy(update={'tasks': ()})", "scale smoke: no task matches '*'; there are: "),
        ("|.model_copy(update={'summary': 3})", "Suite.summary: Input should be a valid string"),
        ("|.model_copy(update={'methods': 3})", "Suite.methods: Input should be a valid tuple"),
        ("|.model_copy(update={'references': '.'})", "cannot be read: Is a directory"),
        ("|.model_copy(update={'references': 'x' * 999})", "File name too long"),
    ],
)
def test_invalid_content_is_one_line_however_it_came_about(write, change, reason):
    before, _, after = change.partition("|")
    source = SUITE.format(name="alpha", metric="loss").rstrip()
    source = source.replace(before, after) if before else source + after
    write("suites/alpha/__init__.py")
    write("suites/alpha/suite.py", source)
    with pytest.raises(SpecError) as error:
        registry.load("alpha")
    assert reason in line(error)
    assert list(registry.broken()) == ["alpha"]


@pytest.mark.parametrize("depth", [60, 200, 10_000])
def test_deep_parameters_are_one_line(write, depth):
    source = SUITE.format(name="alpha", metric="loss")
    source = source.replace('name="t",', 'name="t", params={"x": deep()},')
    deep = f"\ndef deep():\n    v = 1\n    for _ in range({depth}): v = [v]\n    return v\n"
    write("suites/alpha/__init__.py")
    write("suites/alpha/suite.py", source + deep)
    with pytest.raises(SpecError) as error:
        registry.load("alpha")
    assert line(error).startswith("suite alpha (suites.alpha.suite): Task.params")
    assert len(line(error)) < 500


def test_interrupting_a_suite_that_loads_is_no_fault_of_it(write):
    write("suites/alpha/__init__.py")
    write("suites/alpha/suite.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.every()


# -- published numbers -----------------------------------------------------------------------------

HEADER = "table,task,method,metric,value,spread,n,note,source\n"


def put_references(write, rows):
    put_suite(write)
    made = registry.load("alpha")
    write("suites/alpha/reference.csv", HEADER + rows)
    return made


def test_printed_numbers_are_read_with_gaps(write):
    suite = put_references(
        write, 't1,t,ant,loss,81.5,0.4,10,"a, b",\nt1,t,bee,loss,70,,,,Platonov\n'
    )
    first, second = registry.references(suite)
    assert (first.value, first.spread, first.n, first.note) == (81.5, 0.4, 10, "a, b")
    assert first.source == "paper"
    assert (second.spread, second.n, second.source) == (None, None, "Platonov")


def test_without_the_file_there_are_none(write):
    put_suite(write)
    assert registry.references(registry.load("alpha")) == ()


@pytest.mark.parametrize(
    ("rows", "number", "reason"),
    [
        (
            "t1,t,ant,loss,1,,,,\nt1,t,ant,loss,many,,,,\n",
            3,
            "value: Input should be a valid number",
        ),
        ("t1,t,ant,loss,nan,,,,\n", 2, "value: Input should be a finite number"),
        ("t1,t,ant,loss,,,,,\n", 2, "value: Field required"),
        ('t1,t,ant,loss,1,,,"two\nlines",\nt1,t,ant,loss,1,,x,,\n', 4, "n: Input should be"),
        ("t1,t,ant,loss,1,,,,,more\n", 2, "more cells than the header has"),
        ("t1,t\n", 2, "method: Input should be a valid string"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write, rows, number, reason):
    suite = put_references(write, rows)
    with pytest.raises(SpecError) as error:
        registry.references(suite)
    assert f"reference.csv:{number}: {reason}" in line(error)


def test_an_unknown_column_is_refused(write):
    put_suite(write)
    write("suites/alpha/reference.csv", HEADER.strip() + ",colour\nt1,t,ant,loss,1,,,,,red\n")
    with pytest.raises(SpecError, match=r"reference\.csv:2: colour: Extra inputs"):
        registry.references(registry.load("alpha"))


def test_a_file_that_is_not_text_is_one_line(write):
    suite = put_references(write, "")
    (registry.folder("alpha") / "reference.csv").write_bytes(HEADER.encode() + b"t\xff,t\n")
    with pytest.raises(SpecError, match=r"reference\.csv:\d: not UTF-8 CSV"):
        registry.references(suite)


def test_the_folder_of_a_suite_is_where_its_source_is(write, offer):
    path = put_suite(write)
    assert registry.folder("alpha") == path.parent
    write("bare/x.py")
    offer(lost="missing_module:suite", bare="bare:suite")
    for name in ("lost", "bare"):
        with pytest.raises(SpecError, match=f"suite {name}: no source file for"):
            registry.folder(name)


# -- functions by import path ----------------------------------------------------------------------


def test_calling_gives_the_function(write):
    write("tools.py", "def double(x): return 2 * x")
    assert registry.call("tools:double")(21) == 42


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing:run", "missing:run: no module 'missing'; install what the suite's README names"),
        ("tools:triple", "tools:triple: the module has no 'triple'"),
        ("needy:run", "needy:run: no module 'missing_dependency'; install"),
        ("partial:run", "partial:run: the module cannot be imported: cannot import name"),
        ("wrong:run", "wrong:run: the module cannot be imported: invalid syntax"),
        ("tools:number", "tools:number: 'number' is no function: it is of type int"),
        ("leaves:run", "leaves:run: the module cannot be imported: SystemExit: 0"),
        ("breaks:run", "breaks:run: the module cannot be imported: ZeroDivisionError: division"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(write, path, reason):
    write("tools.py", "number = 3")
    write("leaves.py", "raise SystemExit(0)")
    write("breaks.py", "1 / 0")
    write("needy.py", "import missing_dependency")
    write("partial.py", "from math import nothing")
    write("wrong.py", "def = 3")
    with pytest.raises(SpecError) as error:
        registry.call(path)
    assert line(error).startswith(reason)


# -- digests of the source -------------------------------------------------------------------------


@pytest.fixture
def package(write):
    """A package whose `train:run` reaches layers, deep.inner and relative siblings."""
    write("pkg/__init__.py")
    write(
        "pkg/train.py",
        '''
        """Trains."""
        import json
        import elsewhere.figures
        import pkg.layers
        from harness.errors import DataError
        from pkg import optim, missing
        from pkg.deep.inner import Thing

        def run(ctx):
            """Runs."""
            from . import late
            from .nested import once
            return pkg.layers.forward(1)  # one step
        ''',
    )
    write("pkg/layers.py", "import numpy\n\ndef forward(x):\n    return x + 1\n")
    write(
        "pkg/optim.py", "from pkg.layers import forward\n\nclass Adam:\n    'Adam.'\n    lr = 0.1\n"
    )
    write("pkg/late.py", "RATE = 1\n")
    write("pkg/nested/__init__.py", "from .twice import twice\nfrom .. import train\nonce = 1\n")
    write("pkg/nested/twice.py", "twice = 2\n")
    write("pkg/deep/__init__.py", "")
    write("pkg/deep/inner.py", "class Thing:\n    pass\n")
    write("pkg/figures.py", "COLOUR = 'red'\n")
    write("pkg_other.py", "import pkg.layers\n")
    return lambda: registry.source_digest("pkg.train:run")


REACHED = ["layers", "optim", "late", "nested/__init__", "nested/twice", "deep/inner", "train"]


@pytest.mark.parametrize("name", REACHED)
def test_code_that_is_reached_counts(package, write, name):
    before = package()
    path = write(f"pkg/{name}.py", open_text(name, write) + "\nchanged = True\n")
    assert package() != before, path


def open_text(name, write):
    """The present text of a module of the package."""
    return (write("pkg/README.md").parent / f"{name}.py").read_text()


@pytest.mark.parametrize("name", REACHED)
def test_comments_docstrings_and_layout_do_not_count(package, write, name):
    before = package()
    text = open_text(name, write)
    text = text.replace('"""Trains."""', '"""Trains well."""').replace('"""Runs."""', '"Goes."')
    text = text.replace("'Adam.'", "'''Adam, as published.'''").replace("  # one step", "")
    write(f"pkg/{name}.py", f'"""What it is."""\n\n# a note\n{text}\n\n\n# the end\n')
    assert package() == before


@pytest.mark.parametrize("name", ["pkg/figures.py", "pkg/README.md", "pkg_other.py", "pkg/new.py"])
def test_what_is_not_reached_does_not_count(package, write, name):
    before = package()
    write(name, "COLOUR = 'blue'\n")
    assert package() == before


def test_the_code_of_the_package_itself_counts_where_it_is_imported_from(package, write):
    before = package()
    write("pkg/__init__.py", '"""Only words."""\n')
    assert package() == before
    write("pkg/__init__.py", "optim = None\n")
    assert package() != before


def test_an_empty_package_file_is_no_code(package, write):
    before = package()
    write("pkg/__init__.py").unlink()
    sys.modules.pop("pkg", None)
    forget()
    assert package() == before


def test_a_module_that_comes_into_being_counts(package, write):
    before = package()
    write("pkg/missing.py", "found = True\n")
    assert package() != before


def test_nothing_is_imported_for_a_digest(package):
    package()
    assert "pkg.train" not in sys.modules
    assert "pkg.layers" not in sys.modules
    assert "pkg.deep.inner" not in sys.modules


def test_a_digest_does_not_depend_on_where_the_package_lies(package, write, tmp_path, monkeypatch):
    before = package()
    (tmp_path / "home" / "pkg").rename(tmp_path / "pkg")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.partition(".")[0] == "pkg"]:
        del sys.modules[name]
    forget()
    assert package() == before


def test_a_module_of_its_own_counts_with_those_beside_it_that_it_imports(write):
    write("single.py", "import helper\n\ndef run(ctx): return {}\n")
    write("helper.py", "x = 1\n")
    write("other.py", "x = 1\n")
    write("table.csv", "1\n")
    before = registry.source_digest("single:run")
    write("other.py", "x = 2\n")
    write("table.csv", "2\n")
    assert registry.source_digest("single:run") == before
    write("helper.py", "x = 2\n")
    assert registry.source_digest("single:run") != before
    write("helper.py", "x = 1\n")
    assert registry.source_digest("single:run") == before
    write("single.py", "import helper\n\ndef run(ctx): return {'a': 1}\n")
    assert registry.source_digest("single:run") != before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing:run", "missing:run: no source file for module 'missing'"),
        ("missing.train:run", "missing.train:run: no source file for module 'missing.train'"),
        ("a.b.c:run", "a.b.c:run: no source file for module 'a.b.c'"),
        ("pkg.lost:run", "pkg.lost:run: no source file for module 'pkg.lost'"),
        ("math:sin", "math:sin: no source file for module 'math'"),
        ("single.part:run", "single.part:run: no source file for module 'single.part'"),
    ],
)
def test_a_function_without_source_is_one_line(package, write, path, reason):
    write("single.py")
    with pytest.raises(SpecError) as error:
        registry.source_digest(path)
    assert line(error) == reason


def test_source_that_does_not_parse_is_one_line(package, write):
    write("pkg/layers.py", "def forward(:\n")
    with pytest.raises(SpecError, match=r"layers\.py: not Python source: invalid syntax"):
        package()


def test_gates_digest_imports_no_torch_and_covers_its_kernels():
    forget()
    assert len(registry.source_digest("suites.gate.trials:run")) == 64
    assert "suites.gate.kernels" in source.reached("suites.gate.trials:run").code
