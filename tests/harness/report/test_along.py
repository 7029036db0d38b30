"""Records along axes: every seed at every value has its place, its numbers and its command."""

import csv
import io
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import plan, registry, variants
from harness.errors import HarnessError, SpecError
from harness.record import Record
from harness.report import along, delimited, html, latex
from harness.report.page import Page, build
from harness.suite import Axis, Suite, Table

from .test_html import Outline, dead_links

LIFTS = {"laptop": 1.0, "laptop+lift-2.0": 2.0, "laptop+lift-4.0": 4.0}
"""Points of the toy's axis."""


@pytest.fixture(scope="session")
def tokens() -> Axis:
    """Where laptop has 100 steps and the paper a million."""
    return Axis(
        name="lifting", setting="lift", values=(2.0, 4.0), methods=("walk", "drift"), paper=100.0,
        label="lift", unit="m",
    )  # fmt: skip


@pytest.fixture
def suite(toys: None, tokens: Axis) -> Suite:
    """Two walks along an axis; the headline is their height."""
    plain = registry.load("toy-axis")
    scales = tuple(s.model_copy(update={"axes": (tokens,)}) for s in plain.scales)
    tables = (Table(name="heights", title="Heights", metric="height"),)
    return plain.model_copy(update={"scales": scales, "tables": tables, "headline": "heights"})


@pytest.fixture
def records(suite: Suite, record_of: Callable[..., Record]) -> list[Record]:
    """Two seeds at each value; the drift at a lift of 4 failed once."""
    made = []
    for one, size in variants.around(suite, suite.scale("laptop")):
        for trial in plan.trials(one, size)[0]:
            height = LIFTS[size.name] * (trial.method.name == "walk") + 0.1 * trial.seed
            failed = (trial.method.name, trial.seed, size.name) == ("drift", 1, "laptop+lift-4.0")
            numbers: dict[str, Any] = {"metrics": {"height": height}}
            if failed:
                numbers = {"status": "diverged", "error": "it broke"}
            made.append(record_of(trial, **numbers))
    return made


@pytest.fixture
def page(suite: Suite, records: list[Record]) -> Page:
    own = [r for r in records if r.scale == "laptop"]
    beyond = [r for r in records if r.scale != "laptop"]
    return build(suite, "laptop", own, beyond=beyond)


def rows_of(data: bytes | str) -> list[dict[str, str]]:
    text = data.decode() if isinstance(data, bytes) else data
    return list(csv.DictReader(io.StringIO(text)))


def test_an_axis_has_a_table_with_its_values_as_columns(page: Page) -> None:
    ((stretch, (table,)),) = page.along
    assert [stop.value for stop in stretch.stops] == [1.0, 2.0, 4.0]
    assert table.columns == ("1 m (the scale's)", "2 m", "4 m")
    assert [name for name, _ in table.rows] == ["walk", "drift"]
    walk, drift = (cells for _, cells in table.rows)
    assert [cell.mean for cell in walk] == pytest.approx([1.05, 2.05, 4.05])
    assert [(cell.n, cell.failures) for cell in drift] == [(2, 0), (2, 0), (1, 1)]
    assert [cell.best for cell in walk] == [True] * 3


def test_csv_has_the_value_in_a_column_of_its_own(page: Page) -> None:
    ((_, (table,)),) = page.along
    lines = rows_of(delimited.comparison(table))
    seen = [(r["scale"], r["axis"], r["axis_unit"], r["axis_value"]) for r in lines[:3]]
    assert seen == [(scale, "lifting", "m", f"{value:g}") for scale, value in LIFTS.items()]
    assert set(delimited.AXIS).isdisjoint(delimited.COLUMNS)
    assert r"\label{tab:toy-axis-axis-lifting-height}" in latex.comparison(table, "toy-axis")


def test_the_pictures_numbers_name_value_and_seed(page: Page) -> None:
    pictures = {p.name: p for p in page.pictures if p.axis}
    levels = rows_of(pictures["axis-lifting-height"].csv)
    seeds = [r for r in levels if r["kind"] == "seed"]
    assert len(seeds) == 2 * 2 * 3 - 1
    own = next(r for r in seeds if (r["method"], r["axis_value"], r["seed"]) == ("walk", "4", "1"))
    assert (own["value"], own["scale"]) == ("4.1", "laptop+lift-4.0")
    means = [r for r in levels if r["kind"] == "mean" and r["method"] == "walk"]
    assert [(r["axis_value"], r["n"]) for r in means] == [("1", "2"), ("2", "2"), ("4", "2")]


def test_an_effect_curve_leads_to_its_records(page: Page) -> None:
    (curve,) = (p for p in page.pictures if p.name == "curve-higher")
    assert dict(curve.links) == {
        "short": (
            ("1 m", "short.html#walk"),
            ("2 m", "at-lifting--short.html#walk--2"),
            ("4 m", "at-lifting--short.html#walk--4"),
        )
    }
    effects = rows_of(curve.csv)
    assert {(r["axis_value"], r["seed"]) for r in effects if r["kind"] == "seed"} == {
        (value, seed) for value, seeds in (("1", "01"), ("2", "01"), ("4", "0")) for seed in seeds
    }
    listed = rows_of(delimited.listing(page.curves))
    assert [r["At"] for r in listed if r["What"] == "effect"] == ["1", "2", "4"]


def test_every_seed_at_every_value_stands_on_a_page(page: Page, records: list[Record]) -> None:
    (sheet,) = page.axis_sheets
    assert (sheet.usual, sheet.paper) == ("1 m", "100 m")
    assert [part.assignment for part in sheet.parts] == ["lift=2", "lift=4"]
    shown = {s.id for part in sheet.parts for entry in part.entries for s in entry.seeds}
    assert shown == {r.short for r in records if r.scale != "laptop"}
    entry = sheet.parts[1].entries[1]
    assert (entry.anchor, entry.title) == ("drift--4", "drift at 4 m")
    assert entry.seeds[1].status == "diverged"
    assert dict(entry.differences)["scale.params.lift"] == "4.0"
    assert shlex.split(entry.command) == [
        "harness", "run", "toy-axis", "--scale", "laptop", "--set", "lift=4", "--methods",
        "drift", "--tasks", "short", "--seeds", "0-1", "--results", "again",
    ]  # fmt: skip
    spots = [[spot.link for spot in line.spots] for line in sheet.lines]
    assert spots[0] == [
        "short.html#walk", "at-lifting--short.html#walk--2", "at-lifting--short.html#walk--4",
    ]  # fmt: skip
    text = html.along(page, sheet)
    assert 'id="drift--4"' in text
    assert "it broke" in text


def test_a_value_without_a_unit_is_named_with_its_axis(suite: Suite, records: list[Record]) -> None:
    bare = suite.scale("laptop").axes[0].model_copy(update={"unit": ""})
    scales = tuple(s.model_copy(update={"axes": (bare,)}) for s in suite.scales)
    here = [r for r in records if r.scale == "laptop"]
    beyond = [r for r in records if r.scale != "laptop"]
    one = suite.model_copy(update={"scales": scales})
    (sheet,) = build(one, "laptop", here, figures=False, beyond=beyond).axis_sheets
    assert [part.title for part in sheet.parts] == ["lift 2", "lift 4"]
    assert sheet.parts[1].entries[1].title == "drift at lift 4"


def test_commands_of_a_scale_with_axes_run_the_scale_alone(page: Page) -> None:
    (sheet,) = page.sheets
    assert "--set lift=1 --methods walk" in sheet.entries[0].command


def test_many_records_of_an_axis_are_cut_by_value(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(along, "_MOST", 4)
    names = [sheet.name for sheet in page.axis_sheets]
    assert names == ["at-lifting--short", "at-lifting--short--2"]
    assert [sheet.title for sheet in page.axis_sheets] == ["short", "short, part 2"]
    spots = along.places(page.suite, "laptop", page.selection, page.stretches)
    assert spots["walk", "short", "laptop+lift-4.0"] == "at-lifting--short--2.html#walk--4"


def test_a_scale_without_records_of_its_own_still_has_its_axis(
    suite: Suite, records: list[Record]
) -> None:
    beyond = [r for r in records if r.scale != "laptop"]
    page = build(suite, "laptop", [], beyond=beyond, figures=False)
    assert [stop.value for stop in page.stretches[0].stops] == [2.0, 4.0]
    assert "at-lifting--short.html" in html.report(page)


def test_tables_of_suites_leave_names_of_axes_alone(suite: Suite, records: list[Record]) -> None:
    odd = suite.model_copy(
        update={"tables": (Table(name="axis-x", title="X", metric="height"),), "headline": ""}
    )
    with pytest.raises(SpecError, match="axis-x"):
        build(odd, "laptop", records[:1])


def test_an_axis_over_a_parameter_of_tasks_leads_to_the_tasks_that_have_it(
    suite: Suite, record_of: Callable[..., Record]
) -> None:
    """Such an axis has no variants: its records have their place on the scale's own pages."""
    axis = Axis(name="length", parameter="steps", values=(40, 120), unit="steps")
    long = suite.tasks[0].model_copy(update={"name": "long", "params": {"steps": 120}})
    scale = suite.scales[0].model_copy(update={"axes": (axis,)})
    beats = suite.claims[1].model_copy(update={"axis": "length"})
    changed = {"tasks": (*suite.tasks, long), "scales": (scale,), "claims": (beats,)}
    suite = suite.model_copy(update=changed)
    records = [
        record_of(t, metrics={"height": t.seed * 0.1 + (t.method.name == "walk")})
        for t in plan.trials(suite, scale)[0]
    ]
    page = build(suite, "laptop", records)
    (curve,) = (p for p in page.pictures if p.axis)
    assert curve.links == (
        ("short", (("40 steps", "short.html#walk"),)),
        ("long", (("120 steps", "long.html#walk"),)),
    )
    assert page.along == ()
    assert "--set" not in next(page.sheets).entries[0].command


@pytest.fixture
def ran(project: Any, toys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The toy along its axis, run and reported by the real commands."""
    done = project.run("run", "toy-axis", "--scale", "laptop")
    assert done.code == 0, done.text
    assert project.run("report").code == 0
    monkeypatch.chdir(project.root)
    yield project
    registry.use(None)


def test_from_a_run_to_pages_frames_and_files(ran: Any) -> None:
    reports: Path = ran.root / "reports"
    assert dead_links(reports) == []
    text = (reports / "toy-axis/laptop/report.html").read_text()
    assert 'href="records/at-lifting--short.html#walk--4"' in text
    assert '<h3 id="axis-lifting">' in text
    regions = Outline(text).regions
    assert len(regions) == len(set(regions))
    assert ran.run("report", "--check").code == 0

    runs = harness.along("toy-axis", "lifting")
    heights = runs[runs["metric"] == "height"]
    assert heights["axis_value"].tolist() == [1.0] * 4 + [2.0] * 4 + [4.0] * 4
    every = harness.results("toy-axis")
    points = every[["scale", "axis", "axis_value"]].drop_duplicates().set_index("scale")
    assert points["axis"].to_dict() == {
        "laptop": "", "laptop+lift-2.0": "lifting", "laptop+lift-4.0": "lifting",
    }  # fmt: skip
    assert points["axis_value"].dropna().tolist() == [2.0, 4.0]
    with pytest.raises(HarnessError, match="lifting"):
        harness.along("toy-axis", "depth")

    assert ran.run("export", "toy-axis", "--to", "out").code == 0
    lines = rows_of((ran.root / "out/toy-axis-results.csv").read_bytes())
    assert {(r["scale"], r["axis"], r["axis_value"]) for r in lines} == {
        ("laptop", "", ""),
        ("laptop+lift-2.0", "lifting", "2.0"),
        ("laptop+lift-4.0", "lifting", "4.0"),
    }


def test_the_command_of_a_point_makes_its_numbers_again(ran: Any) -> None:
    """And those alone: neither the scale nor another point runs beside it."""
    sheets = ran.root / "reports/toy-axis/laptop/records"
    first = {r.id: dict(r.metrics) for r in ran.records("toy-axis")}
    for name, at in (("at-lifting--short", "laptop+lift-4.0"), ("short", "laptop")):
        text = (sheets / f"{name}.html").read_text()
        commands = re.findall(r"<pre>harness (.*?)</pre>", text)
        words = shlex.split(next(c for c in commands if at == "laptop" or "lift=4" in c))
        env = {"HARNESS_CACHE": str(ran.root / f"empty-{at}")}
        done = ran.run(*words[:-1], f"again-{at}", env=env)
        assert done.code == 0, done.text
        found = plan_free(ran.root / f"again-{at}")
        assert {r.scale for r in found} == {at}
        assert len(found) == 2
        assert all(first[r.id] == dict(r.metrics) for r in found)


def plan_free(folder: Path) -> list[Record]:
    """The records of a results folder."""
    from harness.store import Store

    return Store(folder, folder / "cache").load().records
