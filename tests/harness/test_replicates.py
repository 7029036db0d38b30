"""n counts what varies: seeds that touch a method, artifacts with a seed; the rest is shared."""

import math

import numpy as np
import pytest

from harness import plan
from harness.analysis import cells, frame
from harness.claims import judge
from harness.design import power
from harness.suite import Artifact, Beats, LowerSpread, Method

NOISE = np.array([-0.4, 0.1, 0.3, -0.2, 0.2])


def artifact(name, *needs, over=("seed",), **changes):
    return Artifact(name=name, make="toy:make", needs=needs, over=over, **changes)


def method(name, *needs, seeds="each"):
    return Method(name=name, run="toy:run", needs=needs, seeds=seeds)


def beats(**changes):
    fields = {
        "name": "c", "text": "It is so.", "source": "T", "metric": "accuracy",
        "tasks": ("deep-x",), "a": "ant", "b": "bee", "margin": 1.0,
    }  # fmt: skip
    return Beats(**(fields | changes))


ARTIFACTS = (
    artifact("base", over=()),
    artifact("words", over=(), random=False),
    artifact("own", "base", "words"),
    artifact("late", "base", over=()),
)


@pytest.fixture
def make_suite(toy_suite):
    def make(ant, bee, claims=(), **changes):
        methods = (ant, bee, method("cat"))
        return toy_suite(claims, methods=methods, artifacts=ARTIFACTS, **changes)

    return make


def test_a_method_that_no_seed_touches_is_one_trial(make_suite):
    suite = make_suite(method("ant", "own"), method("bee", "late", seeds="none"))
    scale = suite.scale("laptop")
    found, _ = plan.trials(suite, scale)
    seeds = {m: sorted({t.seed for t in found if t.method.name == m}) for m in ("ant", "bee")}
    assert seeds == {"ant": [0, 1, 2, 3, 4], "bee": [0]}
    assert suite.trial_count(scale) == len(found) == 4 * (5 + 1 + 5)
    some, _ = plan.trials(suite, scale, filters=plan.Filters(seeds=(1, 2)))
    assert {t.method.name for t in some} == {"ant", "cat"}


def test_through_an_artifact_with_a_seed_it_varies_all_the_same(make_suite):
    suite = make_suite(method("ant", "own", seeds="none"), method("bee"))
    found, _ = plan.trials(suite, suite.scale("laptop"))
    assert len({t.id for t in found if t.method.name == "ant"}) == 4 * 5


def test_identities_do_not_change_by_the_declaration(make_suite):
    one = make_suite(method("ant", "late"), method("bee"))
    other = make_suite(method("ant", "late", seeds="none"), method("bee"), [beats()])
    ids = [{t.id for t in plan.trials(s, s.scale("laptop"))[0]} for s in (one, other)]
    assert ids[1] < ids[0]


def numbers(make_record, suite, lift=3.0, noise=NOISE, constant=80.0):
    made = [
        make_record(suite, "ant", "deep-x", s, {"accuracy": constant + lift + e, "loss": s})
        for s, e in enumerate(noise)
    ]
    return [*made, make_record(suite, "bee", "deep-x", 0, {"accuracy": constant})]


def test_a_constant_stands_beside_each_seed_of_the_other(make_suite, make_record):
    claims = [beats(), beats(name="d", a="bee", b="ant"),
              LowerSpread(name="s", text="S.", source="T", metric="accuracy", tasks=("deep-x",),
                          a="ant", b="bee")]  # fmt: skip
    suite = make_suite(method("ant", "own"), method("bee", "late", seeds="none"), claims)
    records = numbers(make_record, suite)
    one, other, spread = judge(suite, "laptop", frame(records, suite), records)
    assert (one.outcome, one.n, one.low > 0) == ("holds", 5, True)
    assert other.outcome == "opposite"
    assert (spread.outcome, spread.n) == ("not judged", 1)
    bee = cells(frame(records, suite))["bee", "deep-x", "accuracy"]
    assert (bee.n, bee.interval()[:4]) == (1, (None, 80.0, None, 1))


def test_two_constants_are_one_training_without_an_interval(make_suite, make_record):
    suite = make_suite(
        method("ant", "base", seeds="none"), method("bee", "late", seeds="none"), [beats()]
    )
    records = numbers(make_record, suite, noise=[0.0])
    (found,) = judge(suite, "laptop", frame(records, suite), records)
    assert (found.n, found.low, found.high, found.p) == (1, None, None, None)
    assert found.reason == "n = 1, one training"
    assert found.estimate == 3
    (planned,) = power(suite, "laptop")
    assert (planned.n, planned.mde_sd, planned.n_for_margin) == (1, None, None)


def test_what_replicates_share_is_said(make_suite, make_record):
    suite = make_suite(method("ant", "own"), method("bee", "late"), [beats()])
    records = numbers(make_record, suite)
    records += [
        make_record(suite, "bee", "deep-x", s, {"accuracy": 80.0, "loss": s}) for s in range(1, 5)
    ]
    (found,) = judge(suite, "laptop", frame(records, suite), records)
    assert found.shared == ("base", "late")  # `words` is not random, `own` has a seed


def test_artifacts_of_one_identity_are_one_training_whatever_the_numbers_say(
    make_suite, make_record
):
    """Identities decide: five records of a method without randomness, on one artifact, are one."""
    suite = make_suite(method("ant", "own", seeds="none"), method("bee"))
    shared = [
        make_record(suite, "ant", "deep-x", s, {"accuracy": 80.0 + s}, artifacts={"own": "a" * 64})
        for s in range(5)
    ]
    apart = [
        make_record(suite, "ant", "deep-x", s, {"accuracy": 80.0 + s},
                    artifacts={"own": f"{s}" * 64})
        for s in range(5)
    ]  # fmt: skip
    for records, n in ((shared, 1), (apart, 5)):
        assert cells(frame(records, suite))["ant", "deep-x", "accuracy"].n == n


def test_methods_that_share_an_artifact_of_a_seed_stay_paired(make_suite, make_record):
    """What both have from the artifact of their seed cancels; unpaired it would hide the effect."""
    suite = make_suite(method("ant", "own"), method("bee", "own"), [beats()])
    common = np.array([-20.0, 10.0, 5.0, -8.0, 13.0])
    records = [
        make_record(suite, m, "deep-x", s, {"accuracy": 80 + common[s] + lift + e, "loss": s})
        for m, lift, scatter in (("ant", 3.0, NOISE), ("bee", 0.0, NOISE[::-1]))
        for s, e in enumerate(scatter)
    ]
    (found,) = judge(suite, "laptop", frame(records, suite), records)
    assert (found.outcome, found.n) == ("holds", 5)
    assert found.high - found.low < 3


def test_nested_randomness_is_judged_by_the_outer_replicates():
    """Experts and routers of equal variance: with one set of experts for all routers a true null is
    called decided far too often; with experts per seed as often as it should be."""
    from harness import stats

    rng = np.random.default_rng(17)
    decided = {"shared": 0, "own": 0}
    repeats, n = 3000, 5
    for _ in range(repeats):
        routers = rng.normal(size=n)
        for name, experts in (("shared", rng.normal()), ("own", rng.normal(size=n))):
            low, _, high, *_ = stats.mean_interval(routers + experts)
            decided[name] += not low <= 0 <= high
    assert decided["shared"] / repeats > 0.25
    assert decided["own"] / repeats < 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
