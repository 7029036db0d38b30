"""The long table of records, its cells and pairs."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import COLUMNS, cells, frame
from harness.errors import StoreError, UsageError


@pytest.fixture
def suite(toy_suite):
    return toy_suite()


@pytest.fixture
def records(suite, make_record):
    """ant on seeds 0-3 (seed 2 diverged), bee on seeds 1-4, both on shallow-x and deep-x."""
    out = []
    for task, lift in (("shallow-x", 0.0), ("deep-x", 10.0)):
        for seed in range(4):
            numbers = {"accuracy": 80 + lift + seed, "loss": 0.5 - 0.01 * seed}
            status = "diverged" if seed == 2 else "ok"
            out.append(make_record(suite, "ant", task, seed, numbers, status))
        for seed in range(1, 5):
            numbers = {"accuracy": 79 + lift + seed**2, "loss": 0.5}
            out.append(make_record(suite, "bee", task, seed, numbers))
    return out


def test_one_row_for_each_record_and_metric(suite, records):
    runs = frame(records, suite)
    assert tuple(runs.columns) == COLUMNS
    assert len(runs) == 2 * len(records)
    row = runs[
        (runs["method"] == "bee") & (runs["task"] == "deep-x") & (runs["seed"] == 3)
    ].set_index("metric")
    assert row["value"].to_dict() == {"accuracy": 98.0, "loss": 0.5}
    assert set(row["id"]) == {
        r.short for r in records if (r.method, r.task, r.seed) == ("bee", "deep-x", 3)
    }
    assert set(row["suite"]) == {"toy"}
    assert set(row["scale"]) == {"laptop"}
    assert set(row["protocol"]) == {"standard"}
    failed = runs[runs["status"] == "diverged"]
    assert len(failed) == 4
    assert failed["value"].isna().all()
    assert runs["seed"].dtype == np.int64
    assert runs["value"].dtype == np.float64


@settings(max_examples=20, deadline=None)
@given(random=st.randoms())
def test_the_order_of_records_does_not_matter(toy_suite, make_record, random):
    suite = toy_suite()
    records = [
        make_record(suite, method, task, seed, {"accuracy": seed}, scale=scale)
        for method in ("bee", "ant")
        for task in ("shallow-x", "deep-x")
        for seed in (10, 9)
        for scale in ("smoke", "laptop")
    ]
    first = frame(records, suite)
    assert first["seed"].tolist()[:4] == [9, 9, 10, 10]
    want = first.to_csv()
    random.shuffle(records)
    assert frame(iter(records), suite).to_csv() == want


def test_what_the_suite_does_not_know(suite, toy_suite, make_record):
    foreign = make_record(toy_suite(name="other"), "ant", "deep-x", 0, {"accuracy": 1})
    retired = make_record(suite, "ant", "old-task", 0, {"zeal": 2, "accuracy": 1})
    partial = make_record(suite, "ant", "deep-x", 0, {"accuracy": 3})
    runs = frame([foreign, retired, partial], suite)
    assert runs[["task", "metric"]].values.tolist() == [
        ["deep-x", "accuracy"],
        ["deep-x", "loss"],
        ["old-task", "accuracy"],
        ["old-task", "zeal"],
    ]
    assert runs["value"].isna().tolist() == [False, True, False, False]


def test_no_records_make_an_empty_table(suite):
    runs = frame([], suite)
    assert tuple(runs.columns) == COLUMNS
    assert runs.empty
    assert cells(runs) == {}


def test_ten_thousand_records_take_a_moment(toy_suite, make_record):
    suite = toy_suite()
    tasks = [f"task-{i}" for i in range(20)]
    names = [f"metric-{i}" for i in range(8)]
    task = suite.tasks[0].model_copy(update={"metrics": tuple(names)})
    suite = suite.model_copy(
        update={"tasks": tuple(task.model_copy(update={"name": name}) for name in tasks)}
    )
    numbers = dict.fromkeys(names, 0.5)
    one = make_record(suite, "ant", "task-0", 0, numbers)
    records = [
        one.model_copy(update={"id": f"{i:064x}", "task": tasks[i % 20], "seed": i // 20})
        for i in range(10_000)
    ]
    start = time.process_time()
    runs = frame(records, suite)
    grouped = cells(runs)
    assert time.process_time() - start < 5
    assert len(runs) == 80_000
    assert grouped["ant", "task-3", "metric-7"].values.size == 500


def test_cells(suite, records):
    runs = frame(records, suite)
    ant = cells(runs)["ant", "shallow-x", "accuracy"]
    assert ant.seeds == (0, 1, 3)
    assert ant.values.tolist() == [80, 81, 83]
    assert ant.by_seed() == {0: 80, 1: 81, 3: 83}
    assert ant.at([3, 0]).tolist() == [83, 80]
    assert (ant.failures, ant.trials) == (1, 4)
    mine = [r for r in records if (r.method, r.task) == ("ant", "shallow-x")]
    assert ant.ids == tuple(sorted(r.short for r in mine))
    again = cells(runs.iloc[::-1])["ant", "shallow-x", "accuracy"]
    assert (again.seeds, again.values.tolist(), again.ids) == (
        ant.seeds,
        ant.values.tolist(),
        ant.ids,
    )
    nothing = cells(runs)["cat", "shallow-x", "accuracy"]
    assert (nothing.seeds, nothing.values.size, nothing.ids, nothing.failures) == ((), 0, (), 0)


def test_an_absent_metric_counts_as_a_failure(suite, make_record):
    runs = frame([make_record(suite, "ant", "deep-x", 0, {"accuracy": 3})], suite)
    assert cells(runs)["ant", "deep-x", "loss"].failures == 1
    assert cells(runs)["ant", "deep-x", "accuracy"].failures == 0


def test_numbers_of_a_trial_that_did_not_finish_do_not_count(suite, make_record):
    late = make_record(suite, "ant", "deep-x", 0, {"accuracy": 3})
    late = late.model_copy(update={"status": "timeout"})
    assert cells(frame([late], suite))["ant", "deep-x", "accuracy"].seeds == ()
    assert frame([late], suite)["value"].isna().all()


def test_two_records_of_a_trial_are_refused(suite, make_record):
    both = [
        make_record(suite, "ant", "deep-x", 0, {"accuracy": 3}, device=device)
        for device in ("cpu", "cuda")
    ]
    both.append(make_record(suite, "ant", "deep-x", 1, {"accuracy": 3}))
    with pytest.raises(StoreError, match=r"ant on deep-x has two records for seed 0.*laptop") as e:
        cells(frame(both, suite).sample(frac=1, random_state=1))
    assert all(r.short in str(e.value) for r in both[:2])
    assert "\n" not in str(e.value)


def test_scales_do_not_mix(suite, make_record):
    both = [
        make_record(suite, "ant", "deep-x", 0, {"accuracy": 3}, scale=scale)
        for scale in ("smoke", "laptop")
    ]
    with pytest.raises(UsageError, match="laptop, smoke"):
        cells(frame(both, suite))
