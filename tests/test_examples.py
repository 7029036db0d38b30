"""The plugins in docs/examples: each runs at smoke scale and ends in a table of its own."""

import csv
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
RUNS = {
    "my_graph": ("gate", "gat,gate", "my-graph-*", ["my-graph"]),
    "my_texts": ("mixup", "vanilla,mixup-convex", "remarks-*", ["remarks"]),
    "my_policies": (
        "merging", "individual-tiny,average-*-tiny", "hopper,halfcheetah", ["tiny"],
    ),
    "my_world": (
        "merging", "individual-resting-point-v0,average-*-resting-point-v0", "resting-point-v0",
        ["resting-point-v0"],
    ),
    "my_encoder": ("mixup", "small-*", "generated-topics", ["small"]),
    "my_experts": (
        "bam", "checkpoint-*,btx-checkpoints,bam-checkpoints", "texts-*,lm-eval-*",
        ["checkpoints-bits-per-byte", "lm-eval"],
    ),
}  # fmt: skip
"""Example -> suite, methods and tasks to run, and the tables that show each record once."""


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_ends_in_a_real_table(name, project):
    suite, methods, tasks, tables = RUNS[name]
    words = ["--methods", methods, "--tasks", tasks]
    plugin = ["--plugin", str(EXAMPLES / f"{name}.py")]
    done = project.run("run", suite, *plugin, "--scale", "smoke", "--seeds", "0", *words)
    assert done.code == 0, done.text
    assert all(record.status == "ok" for record in project.records())
    assert all(record.spec["plugins"] for record in project.records())
    done = project.run("report", *plugin)
    assert done.code == 0, done.text
    shown = 0
    for table in tables:
        path = project.root / "reports" / suite / "smoke" / "tables" / f"{table}.csv"
        with path.open(newline="") as file:
            shown += sum(bool(row.get("mean")) for row in csv.DictReader(file))
    assert shown == len(project.records())
