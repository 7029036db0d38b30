"""Effects along an axis: points, slopes toward the paper, trends over axes, what runs."""

import math

import numpy as np
import pytest

from harness import plan
from harness.analysis import frame
from harness.claims import judge
from harness.design import power
from harness.errors import UsageError
from harness.report import curve as pictures
from harness.settings import Settings
from harness.suite import Axis, Beats, Scale, Trend
from harness.variants import around, points

NOISE = np.array([-0.4, 0.1, 0.3, -0.2, 0.2])


class Numbers(Settings):
    """Of a toy."""

    steps: int = 100
    """Updates."""


AXIS = Axis(
    name="tokens", setting="steps", values=(1000, 10_000), methods=("ant", "bee"),
    tasks=("deep-*",), paper=1_000_000, label="updates", unit="updates",
)  # fmt: skip


def claim(kind=Beats, **changes):
    fields = {
        "name": "c", "text": "It is so.", "source": "T", "metric": "accuracy",
        "tasks": ("deep-x",), "a": "ant", "b": "bee", "margin": 0.1,
    }  # fmt: skip
    return kind(**(fields | changes))


@pytest.fixture
def make_suite(toy_suite):
    def make(claims=(), axis=AXIS):
        scales = (
            Scale(name="laptop", seeds=(0, 1, 2, 3, 4), expected_seconds=1, settings=Numbers(),
                  axes=(axis,)),
            Scale(name="gpu", seeds=(0,), expected_seconds=1, settings=Numbers(steps=7)),
        )  # fmt: skip
        return toy_suite(claims, scales=scales)

    return make


@pytest.fixture
def judged(make_suite, make_record):
    """ant above bee by `lift(steps)` plus a scatter that is the seed's own slope over decades."""

    def run(one, lift, axis=AXIS, left_out=()):
        suite = make_suite([one], axis)
        records = [
            make_record(
                suite, m, "deep-x", s,
                {"accuracy": 80 + (lift(p.value) + e * math.log10(p.value)) * (m == "ant"),
                 "loss": s},
                "ok", p.scale.name,
            )
            for p in points(suite, suite.scale("laptop"), axis)
            if p.value not in left_out
            for m in ("ant", "bee")
            for s, e in enumerate(NOISE)
        ]  # fmt: skip
        return judge(suite, "laptop", frame(records, suite), records)[0]

    return run


def test_the_points_are_variants_and_the_scale_is_one_of_them(make_suite):
    suite = make_suite()
    scale = suite.scale("laptop")
    found = points(suite, scale, AXIS)
    assert [p.value for p in found] == [100, 1000, 10_000]
    assert [p.scale.name for p in found] == ["laptop", "laptop+steps-1000", "laptop+steps-10000"]
    assert found[1].scale.tasks == ("deep-x", "deep-y")
    everything = list(around(suite, scale))
    assert [s.name for _, s in everything] == [p.scale.name for p in found]
    assert len(plan.trials(*everything[0])[0]) == 3 * 4 * 5
    assert len(plan.trials(*everything[1])[0]) == 2 * 2 * 5
    bare = scale.model_copy(update={"axes": ()})
    ids = [{t.id for t in plan.trials(suite, s)[0]} for s in (scale, bare)]
    assert ids[0] == ids[1]  # axes are no part of an identity
    assert [s.name for _, s in around(suite, scale, methods=("cat",))] == ["laptop"]


def test_claims_reach_the_points_of_axes_that_they_are_trends_over(make_suite):
    suite = make_suite(
        [
            claim(name="here", role="primary", axis="tokens"),
            claim(Trend, name="rises", role="primary", over="tokens", direction="up"),
        ]
    )
    scale = suite.scale("laptop")

    def reached(*claims, methods=()):
        filters = plan.Filters(methods=methods, claims=claims)
        return [size.name for _, size in plan.places(suite, scale, filters)]

    every = ["laptop", "laptop+steps-1000", "laptop+steps-10000"]
    assert reached("here") == ["laptop"]
    assert reached() == reached("rises") == reached("primary") == reached("r*", "here") == every
    assert reached("rises", methods=("cat",)) == ["laptop"]
    with pytest.raises(UsageError, match="unknown claim 'rose'"):
        reached("rose")


def test_an_effect_along_an_axis(judged):
    found = judged(claim(axis="tokens"), lambda steps: 3 * math.log10(steps))
    curve = found.curve
    assert [e.value for e in curve.effects] == [100, 1000, 10_000]
    assert [e.interval.mean for e in curve.effects] == pytest.approx([6, 9, 12])
    assert [len(e.by_seed) for e in curve.effects] == [5, 5, 5]
    # Each seed's own least-squares slope over decades, by numpy.
    x = [2, 3, 4]
    fits = [np.polyfit(x, [(3 + e) * v for v in x], 1)[0] for e in NOISE]
    assert curve.slope.mean == pytest.approx(np.mean(fits))
    half = 2.7764451 * np.std(fits, ddof=1) / math.sqrt(5)
    assert (curve.slope.low, curve.slope.high) == pytest.approx((3 - half, 3 + half))
    assert curve.decades
    assert curve.paper == "the paper's updates, 1,000,000 updates, lies above all that was measured"
    assert found.estimate == pytest.approx(6)  # the verdict is that of the scale itself


def test_the_slope_points_toward_the_paper(judged):
    below = AXIS.model_copy(update={"paper": 10.0})
    found = judged(claim(axis="tokens"), lambda steps: 3 * math.log10(steps), below)
    assert found.curve.slope.mean == pytest.approx(-3)
    assert "lies below" in found.curve.paper
    within = AXIS.model_copy(update={"paper": 2000.0})
    assert "lies within" in judged(claim(axis="tokens"), lambda steps: 1.0, within).curve.paper


def test_one_point_is_no_curve(judged):
    found = judged(claim(axis="tokens"), lambda steps: 3.0, left_out=(1000, 10_000))
    assert (found.curve, found.outcome) == (None, "holds")


@pytest.mark.parametrize(("slope", "outcome"), [(0.01, "holds"), (-0.01, "opposite")])
def test_a_trend_over_an_axis_is_judged_like_one_over_a_task_parameter(judged, slope, outcome):
    one = claim(Trend, over="tokens", direction="up", margin=0.0001)
    found = judged(one, lambda steps: slope * steps)
    assert found.outcome == outcome
    assert found.estimate == pytest.approx(slope, rel=0.01)
    assert len(found.per_task) == 3


def test_a_trend_over_an_axis_that_a_scale_lacks_is_not_run(make_suite, make_record):
    one = claim(Trend, over="tokens", direction="up")
    suite = make_suite([one])
    record = make_record(suite, "ant", "deep-x", 0, {"accuracy": 1.0}, "ok", "gpu")
    (found,) = judge(suite, "gpu", frame([record], suite))
    assert (found.outcome, found.reason) == ("not run", "the scale has no axis tokens")
    assert power(suite, "gpu")[0].margin == 0.1


def test_axes_that_do_not_fit_are_one_line(make_suite):
    for changes, words in (
        ({"setting": "stps"}, "scale laptop, axis tokens: setting 'stps' is no number"),
        ({"methods": ("wasp",)}, "scale laptop, axis tokens: no method matches 'wasp'"),
    ):
        with pytest.raises(ValueError, match=words):
            make_suite(axis=AXIS.model_copy(update=changes))
    suite = make_suite(axis=AXIS.model_copy(update={"values": (0.5, 2.0)}))
    with pytest.raises(UsageError, match="steps"):
        points(suite, suite.scale("laptop"), suite.scale("laptop").axes[0])


def test_a_curve_is_drawn_with_every_seed_and_the_papers_value(judged, make_suite):
    one = claim(axis="tokens")
    found = judged(one, lambda steps: 3 * math.log10(steps))
    picture = pictures.draw_curve(make_suite([one]), found.curve)
    assert (picture.name, picture.problem) == ("curve-c", "")
    assert picture.svg.startswith(b"<?xml")
    assert "Dotted: the paper's updates" in picture.caption


DEPTH = Axis(name="layers", parameter="depth", values=(2, 8), methods=("ant", "bee"), paper=32)


def test_tasks_that_differ_in_a_parameter_are_an_axis(make_suite, make_record):
    one = claim(tasks=("*-x",), axis="layers")
    suite = make_suite([one], DEPTH)
    scale = suite.scale("laptop")
    found = points(suite, scale, DEPTH)
    assert [(p.value, p.scale.name) for p in found] == [(2, "laptop"), (8, "laptop")]
    assert [p.scale.tasks for p in found] == [("shallow-x", "shallow-y"), ("deep-x", "deep-y")]
    assert [s.name for _, s in around(suite, scale)] == ["laptop"]  # nothing more has to run
    lift = {"shallow-x": 1.0, "deep-x": 5.0}
    records = [
        make_record(
            suite, m, t, s, {"accuracy": 80 + (lift[t] + e) * (m == "ant"), "loss": 1.0},
            "ok", "laptop",
        )
        for m in ("ant", "bee")
        for t in lift
        for s, e in enumerate(NOISE)
    ]  # fmt: skip
    verdict = judge(suite, "laptop", frame(records, suite), records)[0]
    assert [e.interval.mean for e in verdict.curve.effects] == pytest.approx([1, 5])
    assert verdict.curve.slope.mean == pytest.approx(4 / math.log10(4))
    assert verdict.estimate == pytest.approx(3)  # of both tasks, as without an axis


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameter": "", "setting": ""}, "give a setting of the scale or a task parameter"),
        ({"setting": "steps"}, "give a setting of the scale or a task parameter"),
        ({"parameter": "width"}, "no task's 'width' is 2"),
        ({"values": (2, 9)}, "no task's 'depth' is 9"),
    ],
)
def test_an_axis_of_tasks_names_what_they_have(make_suite, changes, message):
    with pytest.raises(ValueError, match=message):
        make_suite([], Axis.model_validate(DEPTH.model_dump() | changes))
