"""The table of counts, and the page that shows it."""

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


@pytest.fixture
def counts(pytestconfig: pytest.Config) -> ModuleType:
    """The module that counts: this folder's conftest."""
    home = str(Path(__file__).with_name("conftest.py"))
    plugins = pytestconfig.pluginmanager.get_plugins()
    return next(p for p in plugins if getattr(p, "__file__", None) == home)


def test_cases_are_summed_over_tests_and_series(counts: ModuleType) -> None:
    lines = counts.summed([["b", "x", 2, 2], ["a", "y", 1000, 999], ["b", "x", 3, 0]])
    assert lines == [("a", "y", 1000, 999), ("b", "x", 5, 2)]
    assert counts.table([*lines, counts.Line("b", "z", 1, 1)]).splitlines() == [
        "| series | of what | cases | promise held |",
        "| --- | --- | ---: | ---: |",
        "| a | y | 1,000 | 999 |",
        "| b | x | 5 | 2 |",
        "| b | z | 1 | 1 |",
        "| **b** | **all** | **6** | **3** |",
    ]


def test_the_table_replaces_the_one_on_the_page(counts: ModuleType) -> None:
    page = "a\n<!-- chaos: x -->\nold\n<!-- /chaos -->\nb\n"
    assert counts.filled(page, "new \\1\n") == page.replace("old", "new \\1")
    with pytest.raises(pytest.UsageError, match="no line <!-- chaos"):
        counts.filled("a page without marks", "new\n")
    assert counts.filled(PAGE.read_text(), "| new |\n").count("| new |") == 1


def test_a_failing_case_counts_as_one_that_did_not_hold(
    counts: ModuleType, pytestconfig: pytest.Config
) -> None:
    kept: list[object] = []
    tally = counts.tally.__wrapped__(lambda key, value: kept.append(value))
    with tally("s", "well"):
        pass
    with pytest.raises(KeyError), tally("s", "ill"):
        raise KeyError
    with tally("s", "many") as row:
        row.add(cases=3)
        row.add(False)
    assert kept == [["s", "well", 1, 1], ["s", "ill", 1, 0], ["s", "many", 4, 3]]


def test_the_page_names_tests_and_commands_that_exist() -> None:
    text = PAGE.read_text()
    files = set(re.findall(r"`(?:pytest )?(tests/[\w/.]+)", text))
    assert len(files) > 8
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []
    options = set(re.findall(r"(--chaos-\w+) \d+", text))
    assert options == set(re.findall(r"(--chaos-\w+) \d+", (ROOT / "tox.ini").read_text()))
    assert re.search(r"^check test smoke chaos:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    counts = re.findall(r"--chaos-\w+ (\d+)", text)
    assert counts == re.findall(r"--chaos-\w+ (\d+)", (ROOT / "tox.ini").read_text())
