"""What the READMEs show is what the reports say and what the folders hold."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SUITES = sorted(path.parent for path in ROOT.glob("suites/*/README.md"))


@pytest.fixture(scope="module")
def headlines() -> ModuleType:
    spec = importlib.util.spec_from_file_location("headlines", ROOT / "docs/headlines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_headlines_are_copied_from_the_reports() -> None:
    blocks = re.findall(
        r"<!-- headline: copied from reports/(\w+)/laptop.*?-->\n(.*?)<!-- /headline -->",
        (ROOT / "README.md").read_text(),
        re.DOTALL,
    )
    committed = sorted(path.parent.parent.name for path in ROOT.glob("reports/*/laptop/report.md"))
    assert sorted(name for name, _ in blocks) == committed
    for name, block in blocks:
        report = (ROOT / f"reports/{name}/laptop/report.md").read_text().splitlines()
        shown = [line for line in block.splitlines() if line.startswith(("|", "- "))]
        assert len(shown) > 8
        assert [line for line in shown if line not in report] == []
        primary = report[report.index("### Primary claims") : report.index("### Secondary claims")]
        assert [x for x in shown if x[0] == "-"] == [x for x in primary if x.startswith("- ")]


REPORT = """
- **holds at laptop scale**: A beats B. (Table 1) — 2.0 [1.0, 3.0], n=5

| Method | easy |
| --- | ---: |
| a | **3.0** n=5 |
| b | 1.0 n=5 |

| Method | easy |
| --- | ---: |
| a | other table |
"""
BLOCK = """Before.
<!-- headline: copied from reports/toy/laptop; a test compares them -->
| Method | easy |
| --- | ---: |
| a | 2.9 n=4 |

- **inconclusive**: A beats B. (Table 1) — 1.0 [-1.0, 3.0], n=4
<!-- /headline -->
After.
"""


def test_a_headline_is_refreshed_from_the_report(headlines: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "reports/toy/laptop/report.md"
    path.parent.mkdir(parents=True)
    path.write_text(REPORT)
    fresh = headlines.refresh(BLOCK, tmp_path)
    assert fresh == BLOCK.replace("| a | 2.9 n=4 |", "| a | **3.0** n=5 |").replace(
        "- **inconclusive**: A beats B. (Table 1) — 1.0 [-1.0, 3.0], n=4", REPORT.split("\n")[1]
    )
    assert headlines.refresh(fresh, tmp_path) == fresh


@pytest.mark.parametrize(
    ("old", "new"), [("| a |", "| c |"), ("A beats B.", "A beats C."), ("| easy |", "| hard |")]
)
def test_a_headline_that_the_report_lacks_is_an_error(
    headlines: ModuleType, tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "reports/toy/laptop/report.md"
    path.parent.mkdir(parents=True)
    path.write_text(REPORT)
    with pytest.raises(LookupError, match="edit the block in README"):
        headlines.refresh(BLOCK.replace(old, new), tmp_path)


@pytest.mark.parametrize("readme", ["README.md", *(f"suites/{s.name}/README.md" for s in SUITES)])
def test_links_lead_to_files(readme: str) -> None:
    path = ROOT / readme
    links = re.findall(r"\]\(([\w./-]+)\)", path.read_text())
    assert readme != "README.md" or "CONTRIBUTING.md" in links
    assert [x for x in links if not (path.parent / x).exists()] == []


def test_every_module_of_the_engine_has_its_line() -> None:
    path, folder = ROOT / "docs/modules.md", ROOT / "harness"
    table = "\n".join(x for x in path.read_text().splitlines() if x.startswith("| `"))
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", table))
    modules = {p.name for p in folder.glob("*.py")} - {"__init__.py"}
    packages = {f"{p.parent.name}/" for p in folder.glob("*/__init__.py")}
    assert named == modules | packages


def test_the_example_of_the_readme_runs() -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1]], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch.Size([4, 16])")
