"""The pages of docs/: short, linked, and every command and Python block of them runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("harness", "suites", "tests", "benchmarks", "docs")
PAGES = sorted((ROOT / "docs").glob("*.md"))
READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("suites/*/README.md"))]
LONG = {
    "bring-your-own.md", "decisions.md", "reading-a-verdict.md", "reliability.md",
    "running-elsewhere.md",
}  # fmt: skip
BLOCK = re.compile(r"^( *)```(sh|python)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
RECORD = "gate/laptop/gate--self-er2-l1--s0--*.json"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block, in order."""
    found = []
    for indent, language, text in BLOCK.findall(page.read_text()):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        found.append((language, "\n".join(lines)))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_is_short_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert page.name in LONG or len(text.splitlines()) <= 80
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    assert [x for x in links if not (page.parent / x).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    files = {p.relative_to(ROOT).as_posix() for top in TOPS for p in (ROOT / top).rglob("*.py")}
    files |= {name.rpartition("/")[2] for name in files}
    named = re.findall(r"(?:tests|suites|harness|benchmarks)/[\w/-]+\.py\b", page.read_text())
    named += re.findall(r"(?<![\w/])\w+\.py\b", page.read_text())
    strange = {name for name in named if name not in files and "PAPER" not in name}
    assert {name for name in strange if not name.startswith("my_")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_named_path_of_ours_exists(page: Path) -> None:
    named = re.findall(r"`((?:harness|suites|tests|benchmarks)/[\w./-]+)`", page.read_text())
    assert [x for x in named if not (ROOT / x).exists()] == []


def test_the_list_of_pages_is_whole() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
    assert listed == {p.name for p in PAGES} - {"README.md"}


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.stem)
def test_every_block_runs(page: Path, tmp_path: Path) -> None:
    (tmp_path / "results/gate/laptop").mkdir(parents=True)
    for path in (ROOT / "results").glob(RECORD):
        shutil.copy(path, tmp_path / "results/gate/laptop")
    environment = {
        **os.environ,
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    for language, text in blocks(page):
        script = tmp_path / f"block.{language}"  # a file: docstrings of settings are read from it
        script.write_text(text)
        words = ["bash", "-eu"] if language == "sh" else [sys.executable]
        done = subprocess.run(
            [*words, str(script)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_the_notebook_runs_and_is_kept_without_outputs() -> None:
    cells = json.loads((ROOT / "docs/analysis.ipynb").read_text())["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in codes] == [[]] * len(codes)
    script = "\n".join(f"exec({''.join(cell['source'])!r}, names)" for cell in codes)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"names = {{}}\n{script}\nprint(len(names['gain']))"],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.splitlines()[-1]) > 100  # pairs of gate and gat
