"""The plugins in docs/examples: each runs at smoke scale and ends in a table of its own."""

import csv
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
RUNS = {
    "my_graph": ("gate", ["--methods", "gat,gate", "--tasks", "my-graph-*"], "my-graph"),
    "my_texts": ("mixup", ["--methods", "vanilla,mixup-convex", "--tasks", "remarks-*"], "remarks"),
    "my_policies": (
        "merging", ["--methods", "individual-tiny,average-*-tiny", "--tasks", "hopper,halfcheetah"],
        "tiny",
    ),
    "my_encoder": ("mixup", ["--methods", "small-*", "--tasks", "generated-topics"], "small"),
}  # fmt: skip
"""Example -> suite, what to run of it, and the table that shows it."""


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_ends_in_a_real_table(name, project):
    suite, words, table = RUNS[name]
    plugin = ["--plugin", str(EXAMPLES / f"{name}.py")]
    done = project.run("run", suite, *plugin, "--scale", "smoke", "--seeds", "0", *words)
    assert done.code == 0, done.text
    assert all(record.status == "ok" for record in project.records())
    assert all(record.spec["plugins"] for record in project.records())
    done = project.run("report", *plugin)
    assert done.code == 0, done.text
    path = project.root / "reports" / suite / "smoke" / "tables" / f"{table}.csv"
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("mean")]
    assert len(rows) == len(project.records())
