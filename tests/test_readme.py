"""What the README shows is what the reports say."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_headline_is_copied_from_the_report() -> None:
    block = re.search(
        r"<!-- headline.*?-->\n(.*?)<!-- /headline -->", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert block is not None
    report = (ROOT / "reports/gate/laptop/report.md").read_text().splitlines()
    shown = [line for line in block[1].splitlines() if line.startswith(("|", "- "))]
    assert len(shown) > 8
    assert [line for line in shown if line not in report] == []


def test_pictures_and_pages_exist() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    assert "CONTRIBUTING.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []
