"""Pages of records: every seed, what made it, how to make it again; cut where there are many."""

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from harness.record import Record, Series
from harness.report import html, sheet
from harness.report.page import Page, build
from harness.report.sheet import Entry, Sheet
from harness.suite import Suite

Lab = Callable[..., Suite]
Make = Callable[..., Record]


@pytest.fixture
def page(lab: Lab, records: list[Record]) -> Page:
    return build(lab(), "laptop", records, figures=False)


def of(page: Page, task: str) -> Sheet:
    return next(s for s in page.sheets if s.task == task)


def entry(page: Page, task: str, method: str) -> Entry:
    return next(e for e in of(page, task).entries if e.method == method)


def test_each_seed_has_its_values_and_each_metric_its_marks(
    page: Page, records: list[Record]
) -> None:
    found = entry(page, "shallow", "gate")
    own = [r for r in records if (r.method, r.task) == ("gate", "shallow")]
    assert [s.id for s in found.seeds] == [r.short for r in own]
    assert found.heads == ("Accuracy", "Steps")
    assert [s.values[0] for s in found.seeds] == [f"{r.metrics['acc']:.2f}" for r in own]
    accuracy, _ = found.strips
    assert accuracy.text == "79.2 [78.2, 80.3] % n=6"
    assert accuracy.plot.count('class="seed"') == 6


def test_a_failed_trial_has_no_number_and_says_why(page: Page) -> None:
    found = entry(page, "deep", "plain")
    assert [s.status for s in found.seeds] == ["ok", "diverged", "oom", "ok", "ok", "ok"]
    assert found.seeds[1].values == ("—", "—")
    assert found.seeds[1].error == "loss became inf at step 7 <oops>"
    assert found.strips[0].plot.count('class="seed"') == 4


def test_the_command_names_one_cell(page: Page) -> None:
    words = shlex.split(entry(page, "deep-code", "odd").command)
    assert words == [
        "harness", "run", "lab", "--scale", "laptop", "--methods", "odd", "--tasks", "deep-code",
        "--seeds", "0-5", "--results", "again",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([0, 1, 2], "0-2"), ([3], "3"), ([7, 0, 1, 4], "0-1,4,7"), ([2, 4], "2,4"), ([], "")],
)
def test_seeds_are_written_as_ranges(seeds: list[int], text: str) -> None:
    assert sheet.ranges(seeds) == text


def test_settings_are_told_once_and_only_what_differs_again(lab: Lab, record: Make) -> None:
    def made(method: str, seed: int, **params: Any) -> Record:
        plain = record(lab(), method, "deep", seed)
        spec = plain.spec | {
            "method": {"name": method, "params": params},
            "scale": {"name": "laptop", "params": {"width": 64, "rate": 0.1}},
            "artifacts": {"base": f"{seed}" * 64},
        }
        return plain.model_copy(update={"spec": spec})

    records = [made("gate", s, width=128) for s in range(3)] + [made("plain", 0, width=64)]
    page = build(lab(), "laptop", records, figures=False)
    shared = dict(of(page, "deep").shared)
    assert (shared["scale.params.width"], shared["scale.params.rate"]) == ("64", "0.1")
    assert "method.params.width" not in shared
    assert dict(entry(page, "deep", "gate").differences) == {
        "artifacts.base": "3 of them, one per seed",
        "method.params.width": "128 (the scale has 64)",
    }
    assert dict(entry(page, "deep", "plain").differences)["method.params.width"] == "64"


def test_what_ran_where_is_told_once_for_each_kind(lab: Lab, record: Make) -> None:
    records = [record(lab(), "gate", "deep", s) for s in range(3)]
    page = build(lab(), "laptop", records, figures=False)
    found = entry(page, "deep", "gate")
    assert [s.machine for s in found.seeds] == ["A", "B", "B"]  # seed 0 had changed files
    (a, first), (b, second) = of(page, "deep").machines
    assert (a, b) == ("A", "B")
    assert "commit c0ffeec0ffee with changed files; source abababababab" in first
    assert "torch 2.6.0" in second


def test_curves_show_every_seed_of_how_the_training_went(lab: Lab, record: Make) -> None:
    def made(seed: int) -> Record:
        plain = record(lab(), "gate", "deep", seed)
        loss = Series(x=(0, 10, 20), y=(2.0, 1.0 + seed, 0.5))
        bins = Series(x=(0.0, 0.5), y=(3, 4), x_label="share")
        return plain.model_copy(update={"series": {"loss": loss, "histogram": bins}})

    page = build(lab(), "laptop", [made(s) for s in range(3)], figures=False)
    (curve,) = entry(page, "deep", "gate").curves
    assert curve.text == "step 0 to 20; loss 0.5 to 3"
    paths = re.findall(r'<path class="seed" d="(.*?)"', curve.plot)
    assert len(paths) == 3
    assert paths[0] == "M2 36l128 35 128 17"


def test_many_records_are_cut_into_pages(
    lab: Lab, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(lab(), "laptop", records, figures=False)
    assert [s.name for s in whole.sheets] == ["shallow", "deep", "deep-code", "made"]
    monkeypatch.setattr(sheet, "_MOST", 12)
    cut = build(lab(), "laptop", records, figures=False)
    sheets = {s.name: s for s in cut.sheets}
    assert list(sheets) == [
        "shallow", "shallow--2", "deep", "deep--2", "deep-code", "deep-code--2", "made",
    ]  # fmt: skip
    assert [e.method for e in sheets["deep"].entries] == ["gate", "plain"]
    assert [e.method for e in sheets["deep--2"].entries] == ["odd"]
    assert sheets["deep--2"].title.endswith(", part 2")
    assert 'href="records/deep--2.html#odd"' in html.report(cut)
    monkeypatch.setattr(sheet, "_MOST", 1)
    alone = build(lab(), "laptop", records, figures=False)
    assert all(len(s.entries) == 1 for s in alone.sheets)


def test_a_page_of_four_hundred_records_stays_small(lab: Lab, record: Make) -> None:
    loss = Series(x=tuple(range(0, 200, 5)), y=tuple(2.0 - i / 40 for i in range(40)))
    records = [
        record(lab(), m, "deep", s).model_copy(update={"series": {"loss": loss, "val": loss}})
        for m in ("gate", "plain")
        for s in range(200)
    ]
    (one,) = build(lab(), "laptop", records, figures=False).sheets
    assert len(html.records(build(lab(), "laptop", records, figures=False), one)) < 400_000
