"""n counts trainings: what is equal in all but the seed was trained once."""

import time

import numpy as np
import pytest

from harness.analysis import cells, distinct, frame, of_trainings, trainings
from harness.claims import judge
from harness.comparison import rows
from harness.record import Series
from harness.suite import Beats, Exact, LowerSpread

NOISE = [-0.4, 0.1, 0.3, -0.2, 0.2]
LAST = {"text": "It is so.", "source": "Table 1", "metric": "accuracy"}


@pytest.fixture
def records(toy_suite, make_record):
    """`records(a=..., b=...)` lists for each seed the metrics of ant and bee on some tasks."""
    suite = toy_suite()

    def make(ant, bee=(), tasks=("deep-x",), series=()):
        out = []
        for task in tasks:
            for method, numbers in (("ant", ant), ("bee", bee)):
                for seed, row in enumerate(numbers):
                    record = make_record(suite, method, task, seed, row)
                    if series:
                        line = Series(x=(0.0,), y=(series[seed],))
                        record = record.model_copy(update={"series": {"s": line}})
                    out.append(record)
        return out

    return make


def same(value, times):
    return [{"accuracy": value, "loss": 1.0}] * times


def unlike(values):
    return [{"accuracy": value, "loss": float(seed)} for seed, value in enumerate(values)]


def judged(toy_suite, records, *claims):
    suite = toy_suite(claims)
    return judge(suite, "laptop", frame(records, suite))


def beats(**changes):
    fields = {"name": "c", "a": "ant", "b": "bee", "tasks": ("deep-x",), "margin": 1.0}
    return Beats(**(LAST | fields | changes))


def test_equal_records_are_one_training(toy_suite, records):
    made = records(same(80.0, 5), unlike([70.0] * 5))
    first = trainings(reversed(made))
    assert {first[r.id] for r in made if r.method == "ant"} == {made[0].id}
    assert len({first[r.id] for r in made if r.method == "bee"}) == 5
    assert [(r.method, r.seed) for r in of_trainings(made)] == [
        ("ant", 0), *(("bee", s) for s in range(5)),
    ]  # fmt: skip
    grouped = cells(frame(made, toy_suite()))
    ant, bee = (grouped[m, "deep-x", "accuracy"] for m in ("ant", "bee"))
    assert (ant.n, ant.interval()[:4]) == (1, (None, 80, None, 1))
    assert distinct([ant, bee], ant.seeds) == (0, 1, 2, 3, 4)


def test_a_metric_that_happens_to_be_equal_is_no_sign_of_one_training(toy_suite, records):
    """Ten trainings that all reach 100 %: other metrics, or series alone, tell them apart."""
    for made in (
        records(unlike([100.0] * 10)),
        records(same(100.0, 10), series=[float(s) for s in range(10)]),
    ):
        cell = cells(frame(made, toy_suite()))["ant", "deep-x", "accuracy"]
        assert (cell.n, cell.interval()[:4]) == (10, (None, 100, None, 10))
    alike = records(same(100.0, 10), series=[0.5] * 10)
    assert cells(frame(alike, toy_suite()))["ant", "deep-x", "accuracy"].n == 1


def test_counts_tell_trainings_apart_and_failures_are_none(toy_suite, make_record):
    suite = toy_suite()
    made = [make_record(suite, "ant", "deep-x", s, {"accuracy": 1.0}) for s in range(3)]
    made[1] = made[1].model_copy(update={"counts": {"accuracy": 1}})
    made += [make_record(suite, "ant", "deep-x", s, {}, "oom") for s in (3, 4)]
    assert len(set(trainings(made).values())) == 5
    assert cells(frame(made, suite))["ant", "deep-x", "accuracy"].n == 3
    same_again = [*made[:1], *made[2:]]
    assert len(set(trainings(same_again).values())) == 3
    assert cells(frame(same_again, suite))["ant", "deep-x", "accuracy"].n == 1


@pytest.mark.parametrize("kind", [Beats, LowerSpread])
def test_a_verdict_on_one_training_is_none(toy_suite, records, kind):
    made = records(same(80.0, 5), same(70.0, 5))
    claim = kind(**LAST, name="c", a="ant", b="bee", tasks=("deep-x",), margin=1.0)
    (found,) = judged(toy_suite, made, claim)
    assert (found.outcome, found.label, found.n) == ("not judged", "not judged", 1)
    assert found.reason == "n = 1, one training measured 5 times"
    assert (found.low, found.high, found.p, found.p_holm, found.mde) == (None,) * 5
    assert found.n_needed is None
    if kind is Beats:
        assert found.estimate == 10
        assert found.per_task == (("deep-x", 10.0, None, None, 1),)
    assert len(found.ids) == 10


def test_one_training_on_one_side_still_leaves_pairs_but_no_spread(toy_suite, records):
    made = records(unlike([80 + x for x in NOISE]), same(70.0, 5))
    spread = LowerSpread(**LAST, name="s", a="ant", b="bee", tasks=("deep-x",))
    difference, scatter = judged(toy_suite, made, beats(), spread)
    assert (difference.outcome, difference.n) == ("holds", 5)
    assert (scatter.outcome, scatter.n, scatter.low, scatter.p) == ("not judged", 1, None, None)
    assert scatter.reason == "n = 1, one training of bee measured 5 times"


def test_seeds_that_agree_by_chance_are_trainings_of_their_own(toy_suite, records):
    """Accuracies of a hundred questions repeat; only where all seeds agree it was one training."""
    coarse = [{"accuracy": value} for value in (27.0, 28.0, 27.0, 27.0, 27.0)]
    made = records(coarse, same(20.0, 5))
    (found,) = judged(toy_suite, made, beats())
    assert (found.outcome, found.n) == ("holds", 5)
    cell = cells(frame(made, toy_suite()))["ant", "deep-x", "accuracy"]
    assert (cell.n, cell.interval().mean) == (5, 27.2)


def test_a_task_that_rests_on_one_training_has_no_interval(toy_suite, records, make_record):
    suite = toy_suite()
    made = records(unlike([80 + x for x in NOISE]), unlike([70.0] * 5))
    made += [
        make_record(suite, m, "deep-y", s, {"accuracy": v})
        for m, v in (("ant", 60.0), ("bee", 50.0))
        for s in range(5)
    ]
    (found,) = judged(toy_suite, made, beats(tasks=("deep-*",)))
    assert (found.outcome, found.n) == ("holds", 5)
    assert found.per_task[1] == ("deep-y", 10.0, None, None, 1)
    assert found.reason == "one training alone on deep-y"


def test_an_exact_quantity_needs_no_second_training(toy_suite, records):
    claim = Exact(**LAST, name="e", a="ant", tasks=("deep-x",), value=80.0)
    (found,) = judged(toy_suite, records(same(80.0, 5)), claim)
    assert (found.outcome, found.n, found.estimate) == ("equal", None, 80)


def test_comparisons_count_trainings_too(toy_suite, records):
    suite = toy_suite()
    made = records(same(80.0, 5), same(70.0, 5))
    (accuracy, _) = rows(suite, made, made, [("ant", "bee")], ("accuracy", "loss"))
    assert (accuracy.change.n, accuracy.change.low, accuracy.p) == (1, None, None)
    apart = records([], same(70.0, 5))
    assert rows(suite, apart, apart, [("bee", "bee")], ("accuracy",))[0].change.n == 1


def test_numbers_beyond_what_can_be_squared_are_not_judged(toy_suite, records):
    made = records(unlike(np.linspace(1e307, 1.7e308, 5)), unlike([-1e308] * 5))
    (found,) = judged(toy_suite, made, beats())
    assert (found.outcome, found.reason) == ("not judged", "numbers beyond 1e+150")


def test_thousands_of_equal_records_take_a_moment(toy_suite, make_record):
    suite = toy_suite()
    one = make_record(suite, "ant", "deep-x", 0, {"accuracy": 1.0})
    line = Series(x=tuple(range(40)), y=(0.5,) * 40)
    one = one.model_copy(update={"series": {"s": line}})
    made = [one.model_copy(update={"id": f"{i:064x}", "seed": i}) for i in range(3000)]
    start = time.process_time()
    assert len(of_trainings(made)) == 1
    assert time.process_time() - start < 1
