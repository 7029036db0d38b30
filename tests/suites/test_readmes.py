"""Every suite's README: it lists every file, in one line each, and its example runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import suites

ROOT = Path(suites.__file__).parent
NAMES = sorted(path.parent.name for path in ROOT.glob("*/suite.py"))
NOT_LISTED = {"README.md"}


def listed(text: str) -> list[str]:
    """What the first table of a README names in its first column."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([\w./-]+)`", row.split("|")[1])]


def files(folder: Path) -> set[str]:
    """Modules and data files of a suite; a wing's folder of data counts as one entry."""
    found = set()
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_dir() or "__pycache__" in inside.parts or inside.name in NOT_LISTED:
            continue
        if path.suffix == ".py":
            found.add(inside.as_posix())
        else:
            found.add(
                inside.as_posix() if len(inside.parts) == 1 else f"{inside.parent.as_posix()}/"
            )
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_lists_every_file_and_nothing_else(name: str) -> None:
    names = listed((ROOT / name / "README.md").read_text())
    there = files(ROOT / name)
    empty = {p.relative_to(ROOT / name).as_posix() for p in (ROOT / name).rglob("__init__.py")}
    assert set(names) - there == set()
    assert there - set(names) - (empty - {"__init__.py"}) == set()
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(name: str) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / name / "README.md").read_text(), re.S)
    assert example is not None
    done = subprocess.run(
        [sys.executable, "-c", example[1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
