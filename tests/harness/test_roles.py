"""Which claims are judged when, and what correction, majority, tier and legend make of them."""

import math

import numpy as np
import pytest

from harness import tiers, wording
from harness.analysis import frame
from harness.claim import Basis, Beats, Equivalent, Exact, Level, LowerSpread, declared
from harness.claims import judge
from harness.settings import Settings
from harness.suite import Quantity, Scale, Task

NOISE = np.array([-0.4, 0.1, 0.3, -0.2, 0.2])
TASKS = ("shallow-x", "deep-x", "shallow-y", "deep-y")
CERTAIN, WEAK = 3.0, NOISE.std(ddof=1) * 2.9 / math.sqrt(5)
"""Lifts with p near 1e-4, and just below .05."""


def claim(task, role="secondary", kind=Beats, **changes):
    fields = {
        "name": task, "text": "It is so.", "source": "Table 1", "metric": "accuracy",
        "tasks": (task,), "a": "ant", "b": "bee", "margin": 0.1, "role": role,
    }  # fmt: skip
    return kind(**(fields | changes))


@pytest.fixture
def judged(toy_suite, make_record):
    """`judged(claims, lifts)`: ant above bee by a lift on each task, with the same noise."""

    def run(claims, lifts, scale="laptop", noise=NOISE, taken=(), **changes):
        suite = toy_suite(claims, **changes)
        records = [
            make_record(suite, m, t, s, {"accuracy": 80 + (lift + e) * (m == "ant"), "loss": s},
                        "ok", scale)
            for t, lift in lifts.items()
            for m in ("ant", "bee")
            for s, e in enumerate(noise)
        ]  # fmt: skip
        return judge(suite, scale, frame(records, suite), records, taken=taken)

    return run


def test_holm_runs_over_primary_claims_alone(judged):
    lifts = dict.fromkeys(TASKS, 0.0) | {"shallow-x": WEAK, "deep-x": CERTAIN}
    alone = judged([claim("shallow-x", "primary"), *(claim(t) for t in TASKS[1:])], lifts)
    assert (alone[0].outcome, alone[0].p_holm) == ("holds", alone[0].p)
    both = judged([claim("shallow-x", "primary"), claim("deep-x", "primary")], lifts)
    assert both[0].outcome == "holds"  # the last of two that Holm takes has all of .05
    third = judged([claim(t, "primary") for t in TASKS[:3]], lifts)
    assert third[0].outcome == "inconclusive"
    assert third[0].p_holm == pytest.approx(2 * third[0].p)


def test_secondary_claims_wait_until_primary_ones_are_decided(judged):
    claims = [claim("shallow-x", "primary"), claim("deep-x"), claim("shallow-y", "additional")]
    opened = judged(claims, {"shallow-x": CERTAIN, "deep-x": CERTAIN, "shallow-y": CERTAIN})
    assert [v.outcome for v in opened] == ["holds", "holds", "interval"]
    assert (opened[2].label, opened[2].p_holm) == (wording.INTERVAL, None)
    assert opened[2].low > 0
    for lift in (WEAK / 9, -CERTAIN, 0.0):
        found = judged(claims, {"shallow-x": lift, "deep-x": CERTAIN, "shallow-y": CERTAIN})
        closed = found[0].outcome == "inconclusive"
        assert (found[1].label == wording.OPEN) == closed
        assert (found[1].p_holm is None) == closed
        assert found[1].low == opened[1].low  # the numbers are shown all the same
    missing = judged(claims, {"deep-x": CERTAIN})
    assert [v.label for v in missing] == ["not run", wording.OPEN, "not run"]


def test_the_chance_of_any_false_primary_verdict_stays_below_five_per_cent():
    """A simulation of true nulls, three primary and twenty secondary claims, with scipy's t."""
    from scipy import stats as oracle

    from harness import stats

    rng = np.random.default_rng(3)
    false = opened = 0
    repeats = 2000
    for _ in range(repeats):
        p = oracle.ttest_1samp(rng.normal(size=(8, 23)), 0).pvalue
        primary = np.array(stats.holm(p[:3])) < 0.05
        false += primary.any()
        opened += primary.all()
    slack = 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert false / repeats <= 0.05 + slack
    assert opened / repeats <= 0.001 + slack  # nothing true, so the secondary family stays closed


@pytest.mark.parametrize(
    ("lifts", "outcome"),
    [((9.0, -0.3, -0.3), "inconclusive"), ((9.0, 0.3, -0.3), "holds"),
     ((-9.0, 0.3, 0.3), "inconclusive"), ((-9.0, -0.3, 0.3), "opposite")],
)  # fmt: skip
def test_a_majority_of_tasks_must_agree(judged, lifts, outcome):
    one = claim("x", tasks=TASKS[:3])
    (found,) = judged([one], dict(zip(TASKS, lifts, strict=False)), noise=NOISE / 10)
    assert found.outcome == outcome
    assert found.agreement[:3] == (sum(x > 0 for x in lifts), sum(x < 0 for x in lifts), 3)
    assert (found.agreement.low, found.agreement.high) == pytest.approx((min(lifts), max(lifts)))
    assert ("no majority: 1 of 3 tasks point that way" in found.reason) == (
        outcome == "inconclusive"
    )


def test_heterogeneity_is_that_of_cochran(judged):
    """I² from scratch: the tasks' means and standard errors, weights by precision."""
    rng = np.random.default_rng(5)
    x = {t: rng.normal(m, s, 6) for t, m, s in zip(TASKS, (1, 2, 4, 1), (1, 2, 1, 3), strict=True)}
    from harness.effects import i_squared

    table = np.array(list(x.values())).T
    w = 1 / (table.var(0, ddof=1) / 6)
    m = table.mean(0)
    q = (w * (m - np.average(m, weights=w)) ** 2).sum()
    assert i_squared(table) == pytest.approx(max(0, 1 - 3 / q))
    assert i_squared(np.ones((6, 2))) is None
    assert i_squared(table[:, :1]) is None


def test_effects_in_margins_average_unlike_tasks(judged, toy_suite):
    tasks = tuple(
        t.model_copy(update={"measures": {"accuracy": "Spearman"}}) if t.name == "deep-x" else t
        for t in toy_suite().tasks
    )
    with pytest.raises(ValueError, match=r"claim x: accuracy measures different things .*Spearman"):
        toy_suite([claim("x", tasks=TASKS[:2])], tasks=tasks)
    with pytest.raises(ValueError, match="margins leave out task shallow-x"):
        toy_suite([claim("x", tasks=TASKS[:2], margins={"deep-*": 1.0})], tasks=tasks)
    one = claim("x", tasks=TASKS[:2], margins={"deep-*": 10.0, "shallow-*": 0.5}, margin=1.0)
    (found,) = judged([one], {"deep-x": 20.0, "shallow-x": 2.0}, tasks=tasks)
    assert found.unit == "margins"
    assert found.estimate == pytest.approx((2 + 4) / 2)
    assert [t.estimate for t in found.per_task] == pytest.approx([4, 2])


def test_a_proxy_says_nothing_against_the_paper(judged, toy_suite):
    tasks = tuple(t.model_copy(update={"proxy": "other data"}) for t in toy_suite().tasks)
    for lift, label in (
        (CERTAIN, "holds at laptop scale (proxy) (the whole 95 % CI exceeds the margin)"),
        (-CERTAIN, wording.PROXY),
        (0.0, "inconclusive"),
    ):
        (found,) = judged([claim("deep-x")], {"deep-x": lift}, tasks=tasks)
        assert (found.tier, found.label) == ("proxy", label)
    (fallback,) = judged(
        [claim("deep-x", tier="exact")], {"deep-x": -CERTAIN},
        tasks=tuple(t.model_copy(update={"fallback": True}) for t in toy_suite().tasks),
    )  # fmt: skip
    assert fallback.tier == "proxy"


def test_a_variant_of_an_exact_scale_is_not_exact(toy_suite):
    paper = toy_suite().scale("paper")
    (task, *_), one = toy_suite().tasks, claim("deep-x")
    assert tiers.tier_of(paper, one, [task]) == "exact"
    variant = paper.model_copy(update={"name": "paper+steps-3", "tier": "exact"})
    assert tiers.tier_of(variant, one, [task]) == "scaled"
    assert tiers.tier_of(variant, claim("deep-x", tier="exact"), [task]) == "scaled"


class Sizes(Settings):
    """Of a toy."""

    width: float = 1
    """Features."""
    steps: float = 1
    """Updates."""


def test_the_distance_to_the_paper_stands_in_the_label(judged):
    scales = tuple(
        Scale(name=n, seeds=(0, 1, 2, 3, 4), expected_seconds=1, settings=Sizes(width=w, steps=s))
        for n, w, s in (("laptop", 2, 100), ("gpu", 64, 100_000), ("paper", 700, 100_000))
    )
    distance = (Quantity(name="model", value="width"), Quantity(name="tokens", value="steps"))
    changes = {"scales": scales, "distance": distance}
    (found,) = judged([claim("deep-x")], {"deep-x": -CERTAIN}, **changes)
    assert found.label == "opposite at laptop scale (model x1/350, tokens x1/1,000)"
    (found,) = judged([claim("deep-x")], {"deep-x": -CERTAIN}, "gpu", **changes)
    assert found.label == "opposite at gpu scale (model x1/11)"
    (found,) = judged([claim("deep-x")], {"deep-x": -CERTAIN}, "paper", **changes)
    assert found.label == "opposite at paper scale"  # no published baseline to be matched


@pytest.mark.parametrize(("value", "error"), [("depth", "ok"), ("toy:no", "no module")])
def test_a_quantity_that_is_none_is_one_line(toy_suite, value, error):
    suite = toy_suite(distance=(Quantity(name="q", value=value),))
    if error == "ok":
        assert tiers.distance(suite, suite.scale("laptop")) == ()
    else:
        with pytest.raises(Exception, match=error):
            tiers.distance(suite, suite.scale("laptop"))


def test_every_word_of_a_label_is_in_the_legend(judged):
    words = [word for word, _ in wording.LEGEND]
    for start in ("reproduced", "not reproduced", "holds", "opposite", "equivalent", "inconclusive",
                  "not testable here", "not run", "not judged", "additional", "equal"):  # fmt: skip
        assert any(word.startswith(start) for word in words), start


def test_declared_gives_roles_by_name_and_refuses_names_that_no_claim_has():
    claims = (claim("a"), claim("b1"), claim("b2"),
              Exact(name="e", text="E.", source="T", metric="accuracy", tasks=("x",), a="ant",
                    value=1))  # fmt: skip
    basis = Basis(text="a pilot of two seeds", date="2026-01-02")
    made = declared(claims, primary=("a",), additional=("b*",), rests_on=basis)
    assert [c.role for c in made] == ["primary", "additional", "additional", "exact"]
    assert [c.rests_on for c in made] == [basis] * 3 + [None]
    with pytest.raises(ValueError, match="no claim is called 'c'"):
        declared(claims, primary=("c",))


@pytest.mark.parametrize("n", [5, 10])
def test_resampled_splits_get_the_corrected_t(judged, toy_suite, n):
    """The closed form of Nadeau and Bengio, written out."""
    from scipy import stats as oracle

    noise = np.random.default_rng(n).normal(size=n)
    shares = {"splits": "resampled", "train_share": 0.5, "test_share": 0.25}
    tasks = tuple(
        Task(**(t.model_dump() | shares)) if t.name == "deep-x" else t for t in toy_suite().tasks
    )
    scales = (Scale(name="laptop", seeds=tuple(range(n)), expected_seconds=1),)
    (found,) = judged([claim("deep-x")], {"deep-x": 2.0}, noise=noise, tasks=tasks, scales=scales)
    x = 2.0 + noise
    error = x.std(ddof=1) * math.sqrt(1 / n + 0.25 / 0.5)
    half = oracle.t.ppf(0.975, n - 1) * error
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half))
    assert found.p == pytest.approx(2 * oracle.t.sf(abs(x.mean() / error), n - 1))
    assert found.method == "corrected resampled t"
    assert (found.p_sign_flip, found.n_needed) == (None, None)
    with pytest.raises(ValueError, match="resampled splits have a train_share and a test_share"):
        Task(name="t", metrics=("accuracy",), splits="resampled")


def test_the_corrected_t_covers_where_the_plain_one_does_not():
    """Splits that share a data set: correlated effects, with the correlation that Nadeau and
    Bengio assume, test / (test + train)."""
    from harness import stats
    from harness.effects import widened

    rng = np.random.default_rng(11)
    n, rho, repeats = 10, 0.25 / 0.75, 3000
    common = rng.normal(0, math.sqrt(rho), (repeats, 1))
    x = common + rng.normal(0, math.sqrt(1 - rho), (repeats, n))
    covered = {0.0: 0, 0.5: 0}
    for row in x:
        for overlap in covered:
            low, _, high, *_ = stats.mean_interval(widened(row, overlap))
            covered[overlap] += low <= 0 <= high
    assert covered[0.0] / repeats < 0.75
    assert covered[0.5] / repeats > 0.93


def test_kinds_that_say_something_else_agree_in_their_own_way(judged):
    lifts = {"deep-x": 0.02, "deep-y": -0.02}
    claims = [
        claim("same", kind=Equivalent, tasks=("deep-*",), margin=1.0),
        claim("spread", kind=LowerSpread, tasks=("deep-*",)),
        Level(name="level", text="L.", source="T", metric="accuracy", tasks=("deep-*",), a="ant",
              bound=79.0, direction="above", margin=0.1),
    ]  # fmt: skip
    same, _, level = judged(claims, lifts, noise=NOISE / 10)
    assert (same.outcome, same.agreement.on) == ("holds", 2)
    assert (level.outcome, level.agreement.on) == ("holds", 2)


def test_a_primary_claim_with_looks_is_judged_at_a_look_of_its_own_level(judged, toy_suite):
    """Seven seeds and looks at 5 and 10: the first five, at half of .05, with twice their p."""
    from scipy import stats as oracle

    from harness.looks import Look, of_records
    from harness.sequential import Looks

    noise = np.array([*NOISE, 5.0, -9.0])
    scale = Scale(name="laptop", seeds=tuple(range(10)), looks=(5, 10), expected_seconds=1)
    one = claim("deep-x", "primary")
    assert Looks(schedule=scale.looks).taken(7) == (5,)
    (plain,) = judged([one], {"deep-x": 1.0}, noise=noise, scales=(scale,))
    assert plain.n == 7
    look = Look(
        suite="toy", scale="laptop", claim="deep-x", version=1, schedule=(5, 10), n=5,
        seeds=(0, 1, 2, 3, 4), records=of_records(["a"]), p=0.01, spent=0.025, outcome="holds",
        date="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    (found,) = judged([one], {"deep-x": 1.0}, noise=noise, scales=(scale,), taken=[look])
    x = 1.0 + NOISE
    half = oracle.t.ppf(1 - 0.025 / 2, 4) * x.std(ddof=1) / math.sqrt(5)
    assert (found.n, found.look) == (5, "look 1 of 2")
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half))
    assert found.p == pytest.approx(2 * oracle.ttest_1samp(x, 0).pvalue)


def test_an_equivalence_found_at_a_look_stays_found(judged):
    """Five equal seeds at the first look; five more that scatter do not open the claim again."""
    from harness.looks import Look, of_records

    noise = np.concatenate([0.01 * NOISE / np.abs(NOISE).max(), [2.0, -2.1, 1.9, -1.8, 2.2]])
    scale = Scale(name="laptop", seeds=tuple(range(10)), looks=(5, 10), expected_seconds=1)
    common = {
        "suite": "toy", "scale": "laptop", "claim": "deep-x", "version": 1, "schedule": (5, 10),
        "records": of_records(["a"]), "p": 1.0, "spent": 0.025, "date": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    first = Look(n=5, seeds=tuple(range(5)), outcome="equivalent", **common)
    later = Look(n=10, seeds=tuple(range(10)), outcome="inconclusive", **common)
    one = claim("deep-x", "primary", margin=0.5)
    (alone,) = judged([one], {"deep-x": 0.0}, noise=noise, scales=(scale,))
    assert alone.outcome == "inconclusive"
    (found,) = judged([one], {"deep-x": 0.0}, noise=noise, scales=(scale,), taken=[first, later])
    assert (found.outcome, found.n, found.look) == ("equivalent", 5, "look 1 of 2")


def test_what_no_look_decides_shows_the_last_one(judged):
    """Its p may be larger: five seeds that lean to one side, five more that do not."""
    from harness.looks import Look, of_records

    noise = np.array([1.0, 2.0, -0.5, 1.5, 0.4, -1.0, -1.2, -0.8, -1.1, 0.2])
    scale = Scale(name="laptop", seeds=tuple(range(10)), looks=(5, 10), expected_seconds=1)
    first, later = (
        Look(
            suite="toy", scale="laptop", claim="deep-x", version=1, schedule=(5, 10), n=n,
            seeds=tuple(range(n)), records=of_records(["a"]), p=0.1, spent=0.025,
            outcome="inconclusive", date="2026-01-01T00:00:00+00:00",
        )
        for n in (5, 10)
    )  # fmt: skip
    one = claim("deep-x", "primary", margin=0.5)
    (found,) = judged([one], {"deep-x": 0.0}, noise=noise, scales=(scale,), taken=[first, later])
    assert (found.outcome, found.n, found.look) == ("inconclusive", 10, "look 2 of 2")
    assert found.estimate == pytest.approx(noise.mean())
    alone = stats_p(noise[:5])
    assert alone < stats_p(noise)
    assert found.p == pytest.approx(2 * alone)


def stats_p(values):
    """Two-sided p of the mean against zero."""
    from scipy import stats as oracle

    return oracle.ttest_1samp(values, 0).pvalue


@pytest.mark.parametrize("power", [-1070, -300, 0, 300, 1000])
def test_heterogeneity_has_no_unit(power):
    from harness.effects import i_squared

    parts = np.array([[1.0, 5.0], [2.0, 9.0], [1.5, 6.5]])
    assert i_squared(np.ldexp(parts, power)) == pytest.approx(i_squared(parts), rel=1e-6)
