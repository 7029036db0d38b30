"""`harness publish`: a site that stands alone, and the model card beside it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

import harness
from harness import plan, registry
from harness.errors import HarnessError, StoreError, UsageError
from harness.publish import MARK, publish


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Reports of two pages with links to each other, to two records, and to the outside."""
    pages = {
        "reports/index.html": '<a href="gate/laptop/report.html#x">a</a>'
        '<a href="https://example.org/y">b</a><a href="#z">c</a>',
        "reports/gate/laptop/report.html": '<a href="../../index.html">a</a>'
        '<a href="../../../results/gate/laptop+d=1/a%20%2B.json">r</a><img src="figures/f.svg">',
        "reports/gate/laptop/report.md": "[r](../../../results/gate/laptop/b.json)",
        "reports/gate/laptop/figures/f.svg": "<svg/>",
        "reports/.hidden": "x",
        "results/gate/laptop+d=1/a +.json": "1",
        "results/gate/laptop/b.json": "2",
        "results/gate/laptop/c.json": "3",
    }
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def published(folder: Path, **more: bytes) -> Any:
    return publish(folder / "reports", folder / "results", folder / "site", more)


def names(site: Path) -> set[str]:
    return {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}


SITE = {
    MARK, "index.html", "reports/index.html", "reports/gate/laptop/report.html",
    "reports/gate/laptop/report.md", "reports/gate/laptop/figures/f.svg",
    "results/gate/laptop+d=1/a +.json", "results/gate/laptop/b.json",
}  # fmt: skip


def test_a_site_has_the_reports_and_the_records_that_they_link_to(folder: Path) -> None:
    assert published(folder) == (2, 2, 0)
    site = folder / "site"
    assert names(site) == SITE
    assert (site / "results/gate/laptop/b.json").read_text() == "2"
    assert 'href="reports/index.html"' in (site / "index.html").read_text()


def test_again_it_is_brought_up_to_date_and_other_files_stay(folder: Path) -> None:
    published(folder)
    (folder / "site/CNAME").write_text("example.org")
    (folder / "reports/gate/laptop/report.md").write_text("none")
    assert published(folder) == (2, 1, 1)
    assert names(folder / "site") == SITE - {"results/gate/laptop/b.json"} | {"CNAME"}
    assert published(folder, CNAMES=b"x").removed == 0
    with pytest.raises(UsageError, match="CNAME is not of the site: move it away"):
        published(folder, CNAME=b"y")
    assert (folder / "site/CNAME").read_text() == "example.org"


@pytest.mark.parametrize(
    "gone", ["results/gate/laptop/b.json", "reports/gate/laptop/figures/f.svg"]
)
def test_a_link_that_leads_nowhere_stops_it(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(StoreError, match=rf"links to {gone}, which is not there"):
        published(folder)
    assert not (folder / "site").exists()


def test_a_link_out_of_the_site_stops_it(folder: Path) -> None:
    (folder / "secret.json").write_text("x")
    (folder / "reports/index.html").write_text('<a href="../results/../secret.json">a</a>')
    with pytest.raises(StoreError, match=r"links to secret\.json"):
        published(folder)


def test_a_folder_of_other_things_is_refused(folder: Path) -> None:
    (folder / "site").mkdir()
    assert published(folder).pages == 2  # empty: nothing to lose
    (folder / "site").rename(folder / "old")
    (folder / "site").mkdir()
    (folder / "site/thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty and no site of `harness publish`"):
        published(folder)
    assert names(folder / "site") == {"thesis.tex"}


@pytest.mark.parametrize(
    "mark", ["{", "[]", '{"files": 1}', '{"files": ["../x"]}', '{"files": ["/x"]}']
)
def test_a_corrupt_list_of_files_removes_nothing(folder: Path, mark: str) -> None:
    published(folder)
    (folder / "x").write_text("mine")
    (folder / "site" / MARK).write_text(mark)
    with pytest.raises(HarnessError, match="corrupt"):
        published(folder)
    assert (folder / "x").read_text() == "mine"


def test_without_reports_there_is_nothing_to_publish(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"no reports in .*none; `harness report` writes them"):
        publish(folder / "none", folder / "results", folder / "site", {})


@pytest.fixture
def recorded(project: Any, toys: None, record_of: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy suite's records at laptop scale, and the folder of the project."""
    suite = registry.load("toy")
    for trial in plan.trials(suite, suite.scale("laptop"))[0]:
        height = (trial.method.name == "walk") + 0.01 * trial.seed**2
        project.store.commit(record_of(trial, metrics={"height": height, "noise": 0.5}))
    monkeypatch.chdir(project.root)
    return project


def test_the_reports_of_a_suite_make_a_site_with_a_card(recorded: Any) -> None:
    assert recorded.run("report").code == 0
    done = recorded.run("publish", "--to", "site", "--card", "toy/walk")
    assert (done.code, done.err) == (0, "")
    site = recorded.root / "site"
    shown = re.fullmatch(r"site: \d+ pages and (\d+) records?; open site/index.html\n", done.out)
    assert shown
    assert int(shown[1]) == len([*site.glob("results/**/*.json")])
    assert json.loads((site / MARK).read_text())["files"] == sorted(names(site) - {MARK})

    card = ModelCard((site / "README.md").read_text())
    assert card.data.model_name == "toy-walk"
    table = harness.table("toy", "heights")
    heights = {r.dataset_config: r for r in card.data.eval_results if r.metric_type == "height"}
    assert set(heights) == {"short", "long"}
    for task, result in heights.items():
        assert result.metric_value == pytest.approx(table["mean"].loc["walk", task])
        half = (result.metric_args["high"] - result.metric_args["low"]) / 2
        assert half == pytest.approx(table["half_width"].loc["walk", task])
        assert result.metric_args["n"] == 6
    again = card.data.to_dict()["model-index"]
    assert len(model_index_to_eval_results(again)[1]) == 4  # no two tasks have become one
    assert recorded.run("publish", "--to", "site").code == 0
    assert not (site / "README.md").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "results"], "results is not empty and no site of `harness publish`"),
        (["--to", "site", "--card", "toy"], "--card 'toy' should read suite/method"),
        (["--to", "site", "--card", "toy/wakl"], "unknown method 'wakl': did you mean 'walk'"),
        (["--to", "site", "--card", "toy/walk", "--scale", "smoke"], "no current records of toy"),
        (["--to", "site", "--reports", "no"], "no reports in no"),
        (["--to", ""], "--to is empty"),
        ([], "Missing option '--to'"),
    ],
)
def test_what_is_wrong_is_one_line(recorded: Any, words: list[str], message: str) -> None:
    (recorded.root / "reports").mkdir()
    (recorded.root / "reports/index.html").write_text("")
    done = recorded.run("publish", *words)
    assert done.code != 0
    assert done.err.count("\n") == 1
    assert message in done.err
