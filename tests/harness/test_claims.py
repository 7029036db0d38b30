"""Verdicts: every outcome of every kind of claim, failures, Holm, wording, power."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import stats
from harness.analysis import frame
from harness.claims import Verdict, judge
from harness.design import power
from harness.effects import verdict_of
from harness.errors import SpecError, StoreError, UsageError
from harness.stats import Interval
from harness.suite import (
    Beats,
    Competitive,
    Equivalent,
    Exact,
    Level,
    LowerSpread,
    Reference,
    Scale,
    Trend,
)

NOISE = np.array([-0.4, 0.1, 0.3, -0.2, 0.2])
TASKS = ("shallow-x", "deep-x", "shallow-y", "deep-y")


def claim(kind, **changes):
    fields = {
        "name": "c", "text": "It is so.", "source": "Table 1", "metric": "accuracy",
        "tasks": ("deep-x",), "a": "ant",
    }  # fmt: skip
    if kind not in (Level, Exact, Trend):
        fields["b"] = "bee"
    if kind is not Exact:
        fields["margin"] = 1.0
    return kind(**(fields | changes))


@pytest.fixture
def verdicts(toy_suite, make_record):
    """`verdicts(claims, numbers, scale="laptop")`: numbers[method, task] lists a value a seed.

    None in the place of a value is a failed trial; a missing key was never run. Every record comes
    from a training of its own, whatever its number; those of `once` all from one.
    """

    def run(claims, numbers, scale="laptop", once=(), references=(), **changes):
        suite = toy_suite(claims, **changes)
        records = [
            make_record(
                suite, method, task, seed,
                {(metric or ["accuracy"])[0]: v or 0, "mark": 0 if method in once else seed},
                "ok" if v is not None else "diverged", scale,
            )
            for (method, task, *metric), values in numbers.items()
            for seed, v in enumerate(values)
        ]  # fmt: skip
        return judge(suite, scale, frame(records, suite), records, references)

    return run


@pytest.fixture
def verdict(verdicts):
    """The same for one claim."""

    def run(one, numbers, scale="laptop", **changes):
        (found,) = verdicts([one], numbers, scale, **changes)
        return found

    return run


def pair(lift, task="deep-x", noise=NOISE, base=80.0):
    """ant above bee by `lift` on average, the difference scattering with `noise`."""
    return {("bee", task): [base] * len(noise), ("ant", task): list(base + lift + noise)}


BEATS = [
    (3.0, "holds", "holds at laptop scale (the whole 95 % CI exceeds the margin)"),
    (0.5, "holds", "holds at laptop scale"),
    (-3.0, "opposite", "opposite at laptop scale"),
    (0.1, "equivalent", "equivalent at laptop scale"),
]


@pytest.mark.parametrize(("lift", "outcome", "label"), BEATS)
def test_beats(verdict, lift, outcome, label):
    found = verdict(claim(Beats), pair(lift))
    assert (found.outcome, found.label) == (outcome, label)
    want = stats.mean_interval(lift + NOISE)
    assert (found.low, found.estimate, found.high) == pytest.approx(want[:3], rel=1e-9)
    assert found.p == pytest.approx(stats.p_value(lift + NOISE), rel=1e-9)
    assert found.p_holm == found.p
    assert (found.n, found.failures, found.unit, found.reason) == (5, 0, "%", "")
    assert (found.claim, found.scale, found.p_sign_flip) == ("c", "laptop", None)


def test_beats_inconclusive_says_what_could_be_seen(verdict):
    found = verdict(claim(Beats), pair(0.8, noise=5 * NOISE))
    assert (found.outcome, found.label) == ("inconclusive", "inconclusive")
    sd = (5 * NOISE).std(ddof=1)
    assert found.mde == pytest.approx(stats.minimum_detectable_effect(sd, 5), rel=1e-9)
    assert found.n_needed == stats.sample_size(1.0, sd)  # the margin is larger than 0.8
    far = verdict(claim(Beats, margin=0.1), pair(0.8, noise=5 * NOISE))
    assert far.n_needed == stats.sample_size(0.8, sd)


def test_a_metric_better_lower_turns_round(verdict):
    numbers = {
        ("ant", "deep-x", "loss"): list(1 + NOISE),
        ("bee", "deep-x", "loss"): [4.0] * 5,
    }
    found = verdict(claim(Beats, metric="loss"), numbers)
    assert (found.outcome, found.unit) == ("holds", "nats")
    assert found.estimate == pytest.approx(3)
    assert found.per_task[0].estimate == pytest.approx(3)


def test_seeds_are_averaged_over_tasks(verdict, verdicts):
    numbers = pair(3.0) | pair(1.0, "deep-y", NOISE[::-1])
    found = verdict(claim(Beats, tasks=("deep-*",)), numbers)
    x = (3.0 + NOISE + 1.0 + NOISE[::-1]) / 2
    assert (found.low, found.estimate, found.high) == pytest.approx(stats.mean_interval(x)[:3])
    assert [t.task for t in found.per_task] == ["deep-x", "deep-y"]
    assert [t.estimate for t in found.per_task] == pytest.approx([3.0, 1.0])
    assert found.per_task[1][2:4] == pytest.approx(stats.mean_interval(1 + NOISE)[0:3:2])
    assert len(found.ids) == 20
    assert list(found.ids) == sorted(found.ids)
    assert all(len(short) == 12 for short in found.ids)


@pytest.mark.parametrize(
    ("lift", "outcome"),
    [(2.0, "holds"), (-0.5, "holds"), (-3.0, "opposite"), (-1.1, "inconclusive")],
)
def test_competitive(verdict, lift, outcome):
    found = verdict(claim(Competitive), pair(lift))
    assert found.outcome == outcome
    assert "exceeds" not in found.label
    assert found.p == pytest.approx(stats.p_value(lift + NOISE, -1.0), rel=1e-9)
    if outcome == "inconclusive":
        assert found.n_needed == stats.sample_size(0.1, NOISE.std(ddof=1))


@pytest.mark.parametrize(
    ("lift", "outcome"),
    [
        (0.1, "holds"), (-0.3, "holds"), (2.0, "opposite"), (-2.0, "opposite"),
        (0.9, "inconclusive"), (-1.0, "inconclusive"),
    ],
)  # fmt: skip
def test_equivalent(verdict, lift, outcome):
    found = verdict(claim(Equivalent), pair(lift))
    assert found.outcome == outcome
    assert "exceeds" not in found.label
    x = lift + NOISE
    sides = stats.p_value(x, -1.0, "greater"), stats.p_value(x, 1.0, "less")
    if abs(lift) < 1:
        assert found.p == pytest.approx(2 * max(sides), rel=1e-9)
    assert (found.p < 0.05) == (outcome != "inconclusive")


def test_equivalent_exactly_at_the_margin_still_asks_for_some_seeds(verdict):
    found = verdict(claim(Equivalent), pair(1.0, noise=np.array([-1.0, 1, 0, -0.5, 0.5])))
    assert found.outcome == "inconclusive"
    assert found.n_needed > 5


@pytest.mark.parametrize(
    ("direction", "base", "outcome"),
    [
        ("above", 73.0, "holds"), ("above", 67.0, "opposite"), ("above", 70.1, "equivalent"),
        ("below", 67.0, "holds"), ("below", 73.0, "opposite"),
    ],
)  # fmt: skip
def test_level(verdict, direction, base, outcome):
    numbers = {("ant", "deep-x"): list(base + NOISE)}
    found = verdict(claim(Level, bound=70.0, direction=direction), numbers)
    assert found.outcome == outcome
    assert found.estimate == pytest.approx((base - 70) * (1 if direction == "above" else -1))


def line(slope, noise=NOISE, data="x", method="ant"):
    """Accuracy 50 at depth 0, rising by `slope + noise` a step."""
    return {
        (method, f"{word}-{data}"): [50 + depth * (slope + e) for e in noise]
        for word, depth in (("shallow", 2), ("deep", 8))
    }


@pytest.mark.parametrize(
    ("direction", "slope", "outcome"),
    [
        ("up", 3.0, "holds"), ("down", -3.0, "holds"), ("up", -3.0, "opposite"),
        ("up", 0.1, "equivalent"), ("down", 3.0, "opposite"),
    ],
)  # fmt: skip
def test_trend(verdict, direction, slope, outcome):
    one = claim(Trend, tasks=("*-x",), over="depth", direction=direction)
    found = verdict(one, line(slope))
    assert found.outcome == outcome
    sign = 1 if direction == "up" else -1
    want = stats.mean_interval(sign * (slope + NOISE))
    assert (found.low, found.estimate, found.high) == pytest.approx(want[:3], rel=1e-9)
    assert found.unit == "% per depth"
    # Tasks show the metric itself.
    assert found.per_task[1].estimate == pytest.approx(50 + 8 * slope)


def test_trend_of_a_difference(verdict):
    one = claim(Trend, tasks=("*-x",), over="depth", direction="up", b="bee")
    found = verdict(one, line(3.0) | line(1.0, 0 * NOISE, method="bee"))
    assert found.estimate == pytest.approx(2.0)
    assert found.outcome == "holds"
    alone = verdict(one, line(3.0))
    assert alone.outcome == "not run"


def test_trend_averages_the_slopes_of_its_lines(verdict):
    one = claim(Trend, tasks=TASKS, over="depth", direction="up", group=("set",))
    numbers = line(3.0) | {key: [v + 30 for v in vs] for key, vs in line(1.0, data="y").items()}
    found = verdict(one, numbers)
    assert found.estimate == pytest.approx(2.0)
    assert (found.low, found.high) == pytest.approx(stats.mean_interval(2 + NOISE)[:3:2])
    # Without grouping: one least-squares line through all four points of a seed.
    whole = verdict(one.model_copy(update={"group": ()}), numbers)
    depth = [2, 8, 2, 8]
    fits = [np.polyfit(depth, [numbers["ant", t][s] for t in TASKS], 1)[0] for s in range(5)]
    assert whole.estimate == pytest.approx(np.mean(fits))
    assert (whole.low, whole.high) == pytest.approx(stats.mean_interval(fits)[:3:2])


def test_trend_needs_two_points_on_a_line(verdict):
    one = claim(Trend, tasks=TASKS, over="depth", direction="up", group=("set",))
    numbers = line(3.0) | {("ant", "deep-y"): [60.0] * 5}
    found = verdict(one, numbers)
    assert found.outcome == "holds"
    assert found.estimate == pytest.approx(3)
    assert found.label.endswith(", on 2 of 4 tasks")
    assert found.reason == "not run: shallow-y; alone on a line over depth: deep-y"
    lonely = verdict(one, {("ant", "deep-y"): [60.0] * 5})
    assert lonely.outcome == "not run"


def test_trend_over_what_tasks_lack_is_refused(verdict):
    with pytest.raises(SpecError, match=r"no number in params\['set'\]"):
        verdict(claim(Trend, tasks=("*-x",), over="set", direction="up"), line(3.0))


SCATTER = np.array([-1.1, 0.3, 0.9, -0.6, 0.5, 1.4, -1.6, 0.1, -0.2, 0.3])
OTHER = np.array([0.4, -0.9, 0.8, 1.2, -1.5, 0.3, 0.6, -0.2, -1.1, 0.4])


@pytest.mark.parametrize(
    ("factor", "outcome", "label"),
    [
        (0.1, "holds", "holds at laptop scale (the whole 95 % CI exceeds the margin)"),
        (10.0, "opposite", "opposite at laptop scale"),
        (1.0, "inconclusive", "inconclusive"),
    ],
)
def test_lower_spread(verdict, factor, outcome, label):
    a, b = 80 + factor * SCATTER, 80 + OTHER
    found = verdict(
        claim(LowerSpread, margin=0.1), {("ant", "deep-x"): list(a), ("bee", "deep-x"): list(b)}
    )
    assert (found.outcome, found.label) == (outcome, label)
    want = stats.spread_interval(a, b)
    assert (found.low, found.estimate, found.high) == pytest.approx(want[:3], rel=1e-9)
    assert found.unit == "log ratio"
    wide = {("ant", "deep-x"): list(80 + 0.1 * SCATTER), ("bee", "deep-x"): list(b)}
    assert verdict(claim(LowerSpread, margin=4.0), wide).label == "holds at laptop scale"
    assert found.mde > 0
    assert found.n_needed >= 3


def test_lower_spread_over_tasks(verdict):
    numbers = {
        ("ant", "deep-x"): list(80 + 0.1 * SCATTER), ("bee", "deep-x"): list(80 + OTHER),
        ("ant", "deep-y"): list(70 + 0.2 * OTHER), ("bee", "deep-y"): list(70 + SCATTER),
    }  # fmt: skip
    found = verdict(claim(LowerSpread, tasks=("deep-*",), margin=0.1), numbers)
    assert found.outcome == "holds"
    assert found.estimate == pytest.approx(np.mean([t.estimate for t in found.per_task]))
    a = np.c_[numbers["ant", "deep-x"], numbers["ant", "deep-y"]]
    b = np.c_[numbers["bee", "deep-x"], numbers["bee", "deep-y"]]
    want = stats.combined_spread(a, b)
    assert found.p == pytest.approx(want.p, rel=1e-6)
    assert found.high == pytest.approx(want.interval.high)


def test_spreads_of_exactly_zero(verdict):
    still, moving = [80.0] * 5, list(80 + NOISE)
    one = claim(LowerSpread)
    found = verdict(one, {("ant", "deep-x"): still, ("bee", "deep-x"): moving})
    assert found.p is None
    assert (found.outcome, found.estimate) == ("not judged", None)
    assert found.reason == "one side does not scatter at all on deep-x"
    both = verdict(one, {("ant", "deep-x"): still, ("bee", "deep-x"): [1.0] * 5})
    assert (both.outcome, both.estimate, both.mde) == ("equivalent", 0, None)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_spreads_of_few_seeds(verdict, seeds):
    numbers = {
        ("ant", "deep-x"): list(80 + NOISE[:seeds]), ("bee", "deep-x"): list(OTHER[:seeds])
    }  # fmt: skip
    found = verdict(claim(LowerSpread), numbers)
    assert (found.outcome, found.reason, found.p) == ("not judged", f"n = {seeds} < 5", None)
    assert (found.estimate is None) == (seeds < 2)
    assert (found.low is None) == (seeds < 3)


def test_exact(verdict):
    one = claim(Exact, value=1234.0, tasks=("deep-*",))
    numbers = {("ant", "deep-x"): [1234.0, 1234.0], ("ant", "deep-y"): [1234.0]}
    found = verdict(one, numbers)
    assert (found.outcome, found.label, found.n) == ("equal", "equal", None)
    assert (found.low, found.estimate, found.high, found.p) == (None, 1234, None, None)
    assert found.per_task == (("deep-x", 1234, None, None, None), ("deep-y", 1234, *[None] * 3))
    off = numbers | {("ant", "deep-y"): [1234.0000001]}
    found = verdict(one, off)
    assert found.outcome == "not equal"
    assert found.reason == "found 1234.0000001, not 1234"
    assert (found.low, found.estimate, found.high) == (None, 1234.0000001, None)
    many = verdict(
        claim(Exact, value=1234567890123456789.0), {("ant", "deep-x"): [1234567890123456]}
    )
    assert many.estimate == 1234567890123456
    assert many.reason == "found 1.23456789012346e+15, not 1.23456789012346e+18"
    assert verdict(one, numbers, "paper").label == "equal"


def test_exact_with_failures_and_gaps(verdict):
    one = claim(Exact, value=7.0, tasks=("deep-*",))
    found = verdict(one, {("ant", "deep-x"): [7.0, 7.0], ("ant", "deep-y"): [None]})
    assert (found.outcome, found.failures, found.n) == ("equal", 1, None)
    assert [t.task for t in found.per_task] == ["deep-x"]
    found = verdict(one, {("ant", "deep-x"): [7.0]})
    assert found.label == "equal, on 1 of 2 tasks"
    assert found.reason == "not run: deep-y"
    assert verdict(one, {("ant", "deep-x"): [7.0, None, None]}).outcome == "not judged"
    assert verdict(one, {}).outcome == "not run"


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_few_seeds_give_no_verdict(verdict, seeds):
    numbers = {key: values[:seeds] for key, values in pair(3.0).items()}
    found = verdict(claim(Beats), numbers)
    assert (found.outcome, found.label) == ("not judged", "not judged")
    assert found.reason == f"n = {seeds} < 5"
    assert (found.p, found.p_holm) == (None, None)
    assert found.low < found.estimate < found.high


def test_one_seed_gives_no_interval(verdict):
    one = verdict(claim(Beats), {key: values[:1] for key, values in pair(3.0).items()})
    assert (one.outcome, one.low, one.mde, one.n) == ("not judged", None, None, 1)


def test_smoke_never_gives_a_verdict(verdicts):
    numbers = pair(3.0, noise=np.tile(NOISE, 4))
    found = verdicts(
        [claim(Beats, name="beats"), claim(Exact, name="exact", value=80.0, a="bee")],
        numbers, "smoke",
    )  # fmt: skip
    for one in found:
        assert (one.outcome, one.label) == ("not judged", "not judged")
        assert one.reason == "smoke scale measures nothing"
        assert one.estimate is None


@pytest.mark.parametrize("scale", ["laptop", "gpu", "paper"])
@pytest.mark.parametrize(("lift", "outcome", "label"), BEATS)
def test_only_the_paper_scale_reproduces(verdict, scale, lift, outcome, label):
    """And only where the baseline's own mean, 80, lies within the published spread."""
    scales = tuple(
        Scale(name=n, seeds=(0, 1, 2, 3, 4), expected_seconds=1) for n in ("laptop", "gpu", "paper")
    )
    printed = Reference(
        table="1", task="deep-x", method="bee", metric="accuracy", value=80.4, spread=0.5, n=5
    )
    found = verdict(claim(Beats), pair(lift), scale, scales=scales, references=[printed])
    want = label.replace("laptop", scale)
    if scale == "paper":
        words = "reproduced" if outcome == "holds" else "not reproduced"
        want = want.replace(f"{outcome} at paper scale", words)
    assert (found.outcome, found.label) == (outcome, want)
    for other, why in (
        (printed.model_copy(update={"value": 81.0}), "own bee on deep-x is 80, published 81 ± 0.5"),
        (printed.model_copy(update={"spread": None}), "the paper gives no accuracy of bee"),
        (printed.model_copy(update={"source": "others"}), "the paper gives no accuracy of bee"),
    ):
        unlike = verdict(claim(Beats), pair(lift), scale, scales=scales, references=[other])
        assert unlike.label == label.replace("laptop", scale)
        assert (why in unlike.reason) == (scale == "paper")


def test_tasks_that_were_not_run_are_named(verdict):
    one = claim(Beats, tasks=TASKS)
    assert verdict(one, {}).outcome == "not run"
    nothing = verdict(one, {("ant", "deep-x"): [1.0] * 5})
    assert (nothing.outcome, nothing.label, nothing.ids) == ("not run", "not run", ())
    assert nothing.reason == "not run: shallow-x, deep-x, shallow-y, deep-y"
    part = verdict(one, pair(3.0) | {("ant", "deep-y"): [1.0] * 5})
    assert part.outcome == "holds"
    assert (
        part.label
        == "holds at laptop scale (the whole 95 % CI exceeds the margin), on 1 of 4 tasks"
    )
    assert part.reason == "not run: shallow-x, shallow-y, deep-y"


def test_many_missing_tasks_are_counted(verdict, toy_suite):
    task = toy_suite().tasks[0]
    tasks = tuple(task.model_copy(update={"name": f"t{i}"}) for i in range(9))
    found = verdict(claim(Beats, tasks=("t*",)), {}, tasks=tasks)
    assert found.reason == "not run: t0, t1, t2, t3, t4, t5 and 3 more"


def test_what_a_scale_leaves_out(verdict):
    laptop = Scale(name="laptop", seeds=(0, 1, 2, 3, 4), expected_seconds=1)
    one = claim(Beats, tasks=("deep-*",))

    def found(**changes):
        return verdict(one, pair(3.0), scales=(laptop.model_copy(update=changes),))

    assert (
        found(tasks=("*-x",)).label
        == "holds at laptop scale (the whole 95 % CI exceeds the margin)"
    )
    assert (
        found(exclude=("bee/deep-y",)).label
        == "holds at laptop scale (the whole 95 % CI exceeds the margin)"
    )
    assert found(exclude=("cat/*",)).label.endswith("on 1 of 2 tasks")
    for changes in ({"methods": ("ant", "cat")}, {"exclude": ("bee/*",)}, {"tasks": ("shallow*",)}):
        left_out = found(**changes)
        assert (left_out.outcome, left_out.reason) == ("not run", "the scale leaves it out")


def test_tasks_without_the_metric_are_no_part_of_a_claim(verdict, toy_suite):
    tasks = tuple(
        t.model_copy(update={"metrics": ("accuracy",) if t.name == "deep-x" else ("loss",)})
        for t in toy_suite().tasks
    )
    assert verdict(claim(Beats, tasks=("*",)), pair(3.0), tasks=tasks).n == 5
    with pytest.raises(SpecError, match="claim c: none of its tasks reports 'accuracy'"):
        verdict(claim(Beats, tasks=("shallow-*",)), pair(3.0), tasks=tasks)


def test_a_failed_trial_drops_its_pair(verdict):
    noise = np.append(NOISE, 9.0)
    numbers = pair(3.0, noise=noise) | {("bee", "deep-x"): [80.0] * 5 + [None]}
    found = verdict(claim(Beats), numbers)
    assert (found.outcome, found.n, found.failures) == ("holds", 5, 1)
    assert found.estimate == pytest.approx(3)
    assert len(found.ids) == 12


def test_a_seed_counts_only_where_every_task_has_it(verdict):
    noise = np.append(NOISE, [0.2, 9.0])
    numbers = pair(3.0, noise=noise) | pair(3.0, "deep-y", noise)
    numbers["ant", "deep-y"][6] = None
    numbers["bee", "deep-x"] = numbers["bee", "deep-x"][:6]
    found = verdict(claim(Beats, tasks=("deep-*",)), numbers)
    assert (found.n, found.failures) == (6, 1)
    assert found.p_sign_flip == 2 / 64
    assert [t.n for t in found.per_task] == [6, 6]


def test_where_most_trials_failed_nothing_is_judged(verdict):
    numbers = pair(3.0, noise=np.tile(NOISE, 4))
    numbers["ant", "deep-x"][9:] = [None] * 11
    found = verdict(claim(Beats), numbers)
    assert (found.outcome, found.failures, found.n) == ("not judged", 11, 9)
    assert found.reason == "11 of 20 trials of ant failed"
    numbers["ant", "deep-x"][9] = 83.1
    assert verdict(claim(Beats), numbers).outcome == "holds"


def test_a_task_without_any_number_is_named(verdict):
    numbers = pair(3.0) | pair(3.0, "deep-y")
    numbers["bee", "deep-y"] = [None] * 5
    found = verdict(claim(Beats, tasks=("deep-*",)), numbers)
    assert (found.outcome, found.n, found.estimate) == ("not judged", 0, None)
    assert found.reason == "n = 0 < 5; every trial of bee failed on deep-y"


def test_holm_demotes(verdicts):
    # p of `weak` is just below .05 alone and above after adjustment for two.
    t = 2.9
    weak = NOISE / NOISE.std(ddof=1) + t / math.sqrt(5)
    numbers = pair(0.0, noise=weak) | pair(0.3, "deep-y", 5 * NOISE)
    alone = verdicts([claim(Beats)], numbers)[0]
    assert alone.outcome == "holds"
    assert 0.025 < alone.p < 0.05
    claims = [
        claim(Beats),
        claim(Beats, name="d", tasks=("deep-y",)),
        claim(Exact, name="e", value=80.0, a="bee"),
        claim(Beats, name="f", tasks=("shallow-x",)),
    ]
    first, second, third, fourth = verdicts(claims, numbers)
    assert (first.outcome, first.label) == ("inconclusive", "inconclusive")
    assert first.reason == "not significant after Holm-Bonferroni correction (m = 2)"
    assert (first.p, first.p_holm) == (alone.p, pytest.approx(2 * alone.p))
    assert first.low > 0
    assert second.outcome == "inconclusive"
    assert (third.outcome, third.p_holm) == ("equal", None)
    assert fourth.outcome == "not run"
    # The other way round, it is opposite and demoted too.
    swapped = claims[0].model_copy(update={"a": "bee", "b": "ant"})
    assert verdicts([swapped, claims[1]], numbers)[0].outcome == "inconclusive"


def test_differences_that_never_change_count(verdict):
    """Equal differences have no scatter to be measured against: only their signs say something."""
    found = verdict(claim(Beats), pair(0.3, noise=0 * NOISE, base=0.1))
    assert (found.outcome, found.n) == ("inconclusive", 5)
    assert (found.low, found.high) == (None, None)
    assert (found.p, found.mde, found.n_needed) == (2 / 32, None, None)
    assert found.reason == "all 5 effects are equal: p is that of their signs alone"
    more = verdict(claim(Beats), pair(0.3, noise=np.zeros(6)))
    assert (more.outcome, more.p, more.p_sign_flip) == ("holds", 2 / 64, 2 / 64)
    close = verdict(claim(Competitive), pair(-0.3, noise=np.zeros(10)))
    assert (close.outcome, close.p) == ("holds", 2 / 1024)


def test_rounding_noise_is_no_effect(verdict):
    numbers = {
        ("ant", "deep-x"): [0.9] * 5, ("bee", "deep-x"): [0.8] * 5,
        ("ant", "deep-y"): [0.7] * 5, ("bee", "deep-y"): [0.8] * 5,
    }  # fmt: skip
    assert ((0.9 - 0.8) + (0.7 - 0.8)) / 2 != 0
    found = verdict(claim(Beats, tasks=("deep-*",)), numbers)
    assert (found.outcome, found.estimate, found.p) == ("equivalent", 0, 1)
    zero = {("ant", "deep-x"): [0.0] * 5, ("bee", "deep-x"): [0.0] * 5}
    assert verdict(claim(Beats), zero).outcome == "equivalent"
    tiny = {("ant", "deep-x"): [1e-320] * 5, ("bee", "deep-x"): [0.0] * 5}
    assert verdict(claim(Beats), tiny).estimate > 0


def test_other_scales_and_unknown_scales(toy_suite, make_record):
    suite = toy_suite([claim(Beats)])
    records = [
        make_record(suite, m, "deep-x", s, {"accuracy": s}, scale="paper")
        for m in ("ant", "bee")
        for s in range(5)
    ]
    runs = frame(records, suite)
    assert judge(suite, "laptop", runs)[0].outcome == "not run"
    assert judge(suite, "paper", runs)[0].label == "equivalent at paper scale"
    with pytest.raises(UsageError, match="unknown scale 'gpu': there are laptop, paper, smoke"):
        judge(suite, "gpu", runs)
    twice = [*records, make_record(suite, "ant", "deep-x", 0, {"accuracy": 1}, "ok", "paper", x=1)]
    with pytest.raises(StoreError, match="two records"):
        judge(suite, "paper", frame(twice, suite))


def test_verdicts_do_not_depend_on_the_order_of_records(toy_suite, make_record):
    suite = toy_suite([claim(Beats, tasks=("*",))])
    rng = np.random.default_rng(0)
    records = [
        make_record(suite, m, t, s, {"accuracy": rng.normal()})
        for m in ("ant", "bee")
        for t in TASKS
        for s in range(5)
    ]
    want = judge(suite, "laptop", frame(records, suite))
    assert judge(suite, "laptop", frame(records[::-1], suite)) == want
    assert Verdict.model_validate_json(want[0].model_dump_json()) == want[0]


SAMPLES = st.lists(st.integers(-64, 64).map(lambda v: v / 16), min_size=5, max_size=8)
SWAPPED = {"holds": "opposite", "opposite": "holds"}


@settings(max_examples=40, deadline=None)
@given(SAMPLES)
def test_swapping_the_methods_swaps_the_verdict(toy_suite, make_record, values):
    claims = [
        claim(Beats), claim(Beats, name="swapped", a="bee", b="ant"), claim(Equivalent, name="e"),
        claim(Equivalent, name="e-swapped", a="bee", b="ant"),
    ]  # fmt: skip
    suite = toy_suite(claims)
    records = [
        make_record(suite, m, "deep-x", s, {"accuracy": 80 + v * (m == "ant"), "loss": s})
        for s, v in enumerate(values)
        for m in ("ant", "bee")
    ]
    one, other, same, as_same = judge(suite, "laptop", frame(records, suite))
    assert other.outcome == SWAPPED.get(one.outcome, one.outcome)
    assert other.estimate == -one.estimate
    if one.low is None:
        assert (one.high, other.low, other.high) == (None, None, None)
    else:
        assert (other.low, other.high) == (-one.high, -one.low)
    assert (other.p, other.mde, other.n_needed) == (one.p, one.mde, one.n_needed)
    assert (as_same.outcome, as_same.p) == (same.outcome, pytest.approx(same.p))


@settings(max_examples=40, deadline=None)
@given(SAMPLES, st.sampled_from([Beats, Competitive, Equivalent]))
def test_more_of_the_same_seeds_never_unsettles_a_verdict(toy_suite, make_record, values, kind):
    suite = toy_suite([claim(kind)])
    outcomes = []
    for repeats in (1, 2, 4):
        records = [
            make_record(suite, m, "deep-x", s, {"accuracy": 80 + v * (m == "ant"), "loss": s})
            for s, v in enumerate(values * repeats)
            for m in ("ant", "bee")
        ]
        outcomes.append(judge(suite, "laptop", frame(records, suite))[0].outcome)
    for before, after in pairwise(outcomes):
        if before in ("holds", "opposite"):
            assert after == before
        if before == "equivalent":
            assert after in ("equivalent", "holds", "opposite")


@pytest.mark.parametrize("n", [5, 10])
def test_methods_that_are_equal_seldom_beat_each_other(n):
    rng = np.random.default_rng(1)
    repeats = 8000
    beats = claim(Beats)
    outcomes = [verdict_of(beats, stats.mean_interval(x)) for x in rng.normal(0, 1, (repeats, n))]
    # Three standard errors of a proportion of 2.5 %.
    slack = 3 * math.sqrt(0.025 * 0.975 / repeats)
    for wrong in ("holds", "opposite"):
        assert outcomes.count(wrong) / repeats <= 0.025 + slack
        assert outcomes.count(wrong) / repeats >= 0.025 - slack


def test_methods_a_margin_apart_are_seldom_called_equivalent():
    rng = np.random.default_rng(2)
    for kind, truth in ((Equivalent, 0.4), (Competitive, -0.4)):
        one = claim(kind, margin=0.4)
        outcomes = [
            verdict_of(one, stats.mean_interval(x)) for x in rng.normal(truth, 0.3, (4000, 6))
        ]
        assert outcomes.count("holds") / 4000 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 4000)


def test_without_bounds_there_is_no_verdict():
    assert verdict_of(claim(Beats), Interval(None, 1.0, None, 1, "t")) == "not judged"
    assert verdict_of(claim(Exact, value=1), Interval(1.0, 1.0, 1.0, 9, "t")) == "not judged"


@pytest.fixture
def planned(toy_suite):
    return toy_suite(
        [
            claim(Beats, name="beats", tasks=("deep-*",)),
            claim(LowerSpread, name="spread"),
            claim(Exact, name="exact", value=1.0),
            claim(Trend, name="trend", tasks=("*-x",), over="depth", direction="up"),
            claim(Equivalent, name="same"),
        ]
    )


def test_power_before_anything_ran(planned):
    beats, spread, exact, trend, same = power(planned, "paper")
    assert (beats.claim, beats.kind, beats.n, beats.tasks) == ("beats", "beats", 10, 2)
    assert beats.mde_sd == pytest.approx(stats.minimum_detectable_effect(1.0, 10))
    assert (beats.mde, beats.sd, beats.sd_scale, beats.n_for_margin) == (None,) * 4
    assert (beats.margin, beats.unit) == (1.0, "%")
    assert spread.mde == stats.minimum_detectable_spread(10, [1.0])
    assert spread.n_for_margin == stats.spread_sample_size(1.0, [1.0])
    assert (exact.margin, exact.mde_sd, exact.mde, exact.n_for_margin) == (None,) * 4
    assert (trend.unit, trend.tasks) == ("% per depth", 2)
    assert same.mde_sd == beats.mde_sd
    assert power(planned, "smoke")[0].mde_sd is None


def test_power_from_earlier_records(planned, make_record):
    def records(scale, stretch):
        return [
            make_record(
                planned, m, t, s, {"accuracy": 80 + stretch * v * (m == "ant")}, "ok", scale
            )
            for s, v in enumerate(NOISE)
            for m in ("ant", "bee")
            for t in ("deep-x", "deep-y")
        ]

    laptop = frame([*records("laptop", 1), *records("smoke", 9)], planned)
    beats, spread, _, trend, same = power(planned, "paper", laptop)
    sd = NOISE.std(ddof=1)
    assert (beats.sd, beats.sd_scale) == (pytest.approx(sd), "laptop")
    assert beats.mde == pytest.approx(sd * beats.mde_sd)
    assert beats.n_for_margin == stats.sample_size(1.0, sd)
    assert same.n_for_margin == stats.sample_size(1.0, sd, power=0.9)
    assert (spread.sd, trend.sd) == (None, None)
    both = frame([*records("laptop", 1), *records("paper", 3)], planned)
    assert power(planned, "paper", both)[0].sd == pytest.approx(3 * sd)
    assert power(planned, "paper", frame(records("smoke", 1), planned))[0].sd is None


def test_power_of_what_a_scale_leaves_out(toy_suite):
    scale = Scale(name="laptop", seeds=(0, 1, 2), methods=("cat",), expected_seconds=1)
    suite = toy_suite([claim(Beats), claim(LowerSpread, name="s")], scales=(scale,))
    for row in power(suite, "laptop"):
        assert (row.n, row.tasks, row.mde, row.mde_sd) == (0, 0, None, None)
    with pytest.raises(UsageError, match="unknown scale 'paper'"):
        power(suite, "paper")
