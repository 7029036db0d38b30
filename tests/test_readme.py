"""What the README shows is what the reports say."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


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


def test_pictures_and_pages_exist() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    assert "CONTRIBUTING.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []
