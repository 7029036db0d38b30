"""`harness new`: what it writes runs as it stands, and it overwrites nothing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness import registry

SUITES = ("bam", "gate", "merging", "mixup")


def linted(folder):
    """What the linter and the formatter of this project say of written files."""
    ruff = [sys.executable, "-m", "ruff"]
    alone = ["--isolated", "--line-length", "100", "--no-cache", str(folder)]
    told = ""
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run([*ruff, *words, *alone], capture_output=True, text=True, check=False)
        told += done.stdout if done.returncode else ""
    return told


def test_what_it_writes_runs_at_once(project):
    for kind in ("method", "task", "plugin"):
        done = project.run("new", kind, f"my-{kind}")
        assert done.code == 0, done.text
        assert f"harness run gate --plugin my_{kind}.py --scale smoke" in done.out
        assert done.out.endswith(" --methods my-method,gat\n") == (kind == "method")
    plugins = [w for kind in ("method", "task", "plugin") for w in ("--plugin", f"my_{kind}.py")]
    words = ["run", "gate", *plugins, "--scale", "smoke", "--seeds", "0"]
    names = ["--methods", "my-method,my-plugin,gat", "--tasks", "my-task,my-plugin-task,self-er8-*"]
    done = project.run(*words, *names)
    assert done.code == 0, done.text
    found = {(r.method, r.task): r for r in project.records()}
    assert {"my-method", "my-plugin"} <= {method for method, _ in found}
    assert {"my-task", "my-plugin-task"} <= {task for _, task in found}
    # Copies, until somebody changes them: the numbers are those of what they were copied from.
    assert found["my-method", "self-er8-l2"].metrics == found["gat", "self-er8-l2"].metrics


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_a_start(suite, tmp_path, project):
    for kind in ("method", "task", "plugin"):
        done = project.run("new", kind, f"{suite}-{kind}", "--suite", suite)
        assert done.code == 0, done.text
    files = [str(project.root / f"{suite}_{kind}.py") for kind in ("method", "task", "plugin")]
    try:
        registry.use(files)
        whole = registry.load(suite)
        pairs = {(m.name, t.name) for m, t in whole.pairs(whole.scale("smoke"))}
    finally:
        registry.use(())
        sys.path.remove(str(project.root))
    assert any(method == f"{suite}-method" for method, _ in pairs)
    assert any(task == f"{suite}-plugin-task" for _, task in pairs)
    assert not linted(project.root)


def test_a_suite_of_ones_own_runs_at_once(project):
    done = project.run("new", "suite", "coin-box")
    assert done.code == 0, done.text
    assert not linted(project.root)
    package = tomllib.loads((project.root / "coin-box/pyproject.toml").read_text())["project"]
    info = project.root / "coin-box" / "coin_box-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package['name']}\nVersion: 0.1\n"
    )
    offers = "\n".join(
        f"{name} = {value}" for name, value in package["entry-points"]["harness.suites"].items()
    )
    (info / "entry_points.txt").write_text(f"[harness.suites]\n{offers}\n")
    path = {"PYTHONPATH": f"{project.root / 'coin-box'}:{project.env['PYTHONPATH']}"}
    done = project.run("run", "coin-box", "--scale", "smoke", env=path)
    assert done.code == 0, done.text
    assert {r.method for r in project.records("coin-box")} == {"bent", "fair"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method", "taken"], "taken.py is there; nothing written"),
        (["suite", "held"], "held is there; nothing written"),
        (["method", "gat"], "suite gate has 'gat' already"),
        (["method", "json"], "a module json is installed already"),
        (["method", "import"], "import cannot be a module"),
        (["method", "../up"], "small letters, digits"),
        (["method", "7up"], "begin with a letter"),
        (["task", "mine", "--suite", "gait"], "unknown suite 'gait': did you mean 'gate'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value).replace("/", "_"),
)
def test_it_overwrites_nothing_and_refuses_in_one_line(words, message, project):
    (project.root / "taken.py").write_text("mine")
    (project.root / "held").mkdir()
    before = sorted(Path(project.root).rglob("*"))
    done = project.run("new", *words)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert sorted(Path(project.root).rglob("*")) == before
    assert (project.root / "taken.py").read_text() == "mine"
