"""Checks: each kind passes and fails where it should, and a failed one leaves no verdict."""

import sys
import types

import numpy as np
import pytest

from harness.analysis import frame
from harness.check import Active, BudgetRatio, Ceiling, Converged, Floor, Measured
from harness.claims import judge
from harness.errors import SpecError
from harness.record import Series
from harness.suite import Beats, Trend

NOISE = np.array([-0.4, 0.1, 0.3, -0.2, 0.2])


def claim(*checks, **changes):
    fields = {
        "name": "c", "text": "It is so.", "source": "Table 1", "metric": "accuracy",
        "tasks": ("deep-*",), "a": "ant", "b": "bee", "margin": 1.0, "checks": checks,
    }  # fmt: skip
    return Beats(**(fields | changes))


@pytest.fixture
def judged(toy_suite, make_record):
    """Verdict on one claim: bee at 80 on deep-x and 60 on deep-y, ant 3 above, both with curves."""

    def run(one, slope=0.0, spent=(30, 20), **changes):
        suite = toy_suite([one], **changes)
        records = []
        for method, lift, flops in (("ant", 3.0, spent[0]), ("bee", 0.0, spent[1])):
            for task, base in (("deep-x", 80.0), ("deep-y", 60.0)):
                for s, e in enumerate(NOISE):
                    made = make_record(
                        suite, method, task, s,
                        {"accuracy": base + lift + e * (lift > 0), "loss": s},
                    )  # fmt: skip
                    y = tuple(1.0 + slope * i for i in range(20))
                    records.append(
                        made.model_copy(
                            update={
                                "series": {"val": Series(x=tuple(map(float, range(20))), y=y)},
                                "counts": {"flops": flops * 7, "tokens": 7},
                            }
                        )
                    )
        (found,) = judge(suite, "laptop", frame(records, suite), records)
        return found

    return run


CASES = [
    (Floor(method="bee", bound=60), True, 60.0, "deep-y"),
    (Floor(method="bee", bound=61), False, 60.0, "deep-y"),
    (Ceiling(method="bee", bound=80), True, 80.0, "deep-x"),
    (Ceiling(method="bee", bound=79), False, 80.0, "deep-x"),
    (Floor(method="bee", bound=61, tasks=("deep-x",)), True, 80.0, "deep-x"),
    (Active(method="ant", without="bee", at_least=2.9), True, 3.0, ""),
    (Active(method="ant", without="bee", at_least=3.1), False, 3.0, ""),
    (Active(method="bee", at_most=69), False, 70.0, ""),
    (Converged(methods=("ant", "bee"), series="val", within=0.1), True, 0.0, "deep-y, bee"),
    (BudgetRatio(a="ant", b="bee", count="flops", per="tokens", ratio=1.5, within=0.1), True, 1.5,
     ""),
    (BudgetRatio(a="ant", b="bee", count="flops", ratio=1.25, within=0.1), False, 1.5, ""),
]  # fmt: skip


@pytest.mark.parametrize(("check", "passes", "value", "where"), CASES)
def test_a_check_decides_whether_there_is_a_verdict(judged, check, passes, value, where):
    found = judged(claim(check))
    (result,) = found.checks
    assert (result.passed, result.task.startswith(where[:6])) == (passes, True)
    assert result.value == pytest.approx(value)
    assert found.outcome == ("holds" if passes else "not testable")
    if not passes:
        assert found.label.startswith(f"not testable here: {result.name}, measured {value:.3g}")
        assert found.label.endswith(f"needed {result.needed}")
        assert (found.p, found.p_holm) == (None, None)
    assert found.low is not None  # the numbers are shown all the same


def test_a_curve_that_still_climbs_has_not_converged(judged):
    """Twenty points, the last two against the two before: twice the slope."""
    check = Converged(methods=("ant",), series="val", within=0.5)
    climbing = judged(claim(check), slope=0.3)
    assert climbing.checks[0].value == pytest.approx(0.6)
    assert climbing.outcome == "not testable"
    assert judged(claim(check), slope=-0.2).checks[0].passed


def test_what_was_not_measured_does_not_pass(judged):
    for check in (
        Floor(method="cat", bound=0), Converged(methods=("ant",), series="gone", within=1),
        BudgetRatio(a="ant", b="cat", count="flops", ratio=1, within=1),
        BudgetRatio(a="ant", b="bee", count="gone", ratio=1, within=1),
        Active(method="ant", without="cat", at_least=0),
    ):  # fmt: skip
        found = judged(claim(check))
        assert (found.outcome, found.checks[0].value) == ("not testable", None)
        assert "measured nothing" in found.label


def test_a_function_of_ones_own(judged, monkeypatch):
    module = types.ModuleType("own_checks")
    module.trainings = lambda records, check: float(len(records))
    module.broken = lambda records, check: 1 / 0
    module.nan = lambda records, check: float("nan")
    module.none = lambda records, check: None
    module.word = lambda records, check: "many"
    module.leaves = lambda records, check: sys.exit(0)
    monkeypatch.setitem(sys.modules, "own_checks", module)

    def check(name):
        return Measured(function=f"own_checks:{name}", methods=("ant",), at_least=10)

    assert judged(claim(check("trainings"))).checks[0][:2] == ("trainings", 10.0)
    for name in ("nan", "none"):
        assert judged(claim(check(name))).outcome == "not testable"
    for name, words in (
        ("broken", "ZeroDivisionError: division by zero"), ("leaves", "SystemExit: 0"),
        ("word", "returned .*many.*; return a number, or None"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=f"claim c, check own_checks:{name}: {words}"):
            judged(claim(check(name)))


def test_all_checks_are_shown_and_all_must_pass(judged):
    found = judged(claim(Floor(method="bee", bound=1), Floor(method="bee", bound=99)))
    assert [r.passed for r in found.checks] == [True, False]
    assert found.outcome == "not testable"


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (Floor(method="bee", metric="acuracy", bound=1),
         "claim c, check floor: unknown metric 'acuracy': did you mean 'accuracy'"),
        (Floor(method="wasp", bound=1), "claim c, check floor: unknown method 'wasp'"),
        (Ceiling(method="bee", bound=1, tasks=("dep-*",)), "no task matches 'dep-\\*'"),
    ],
)  # fmt: skip
def test_a_check_that_names_what_is_not_there_is_one_line_at_load(toy_suite, check, words):
    with pytest.raises(ValueError, match=words):
        toy_suite([claim(check)])


def test_a_bound_is_one_of_two():
    for bounds in ({}, {"at_least": 1.0, "at_most": 2.0}):
        with pytest.raises(ValueError, match="give one of at_least and at_most"):
            Active(method="ant", **bounds)


def test_an_axis_that_no_scale_has_is_one_line(toy_suite):
    with pytest.raises(ValueError, match="claim c: unknown axis 'tokens': there are none"):
        toy_suite([claim(axis="tokens")])
    over = {"kind": "trend", "over": "dept", "direction": "up"}
    words = "unknown axis or task parameter 'dept': did you mean 'depth'\\?"
    with pytest.raises(ValueError, match=words):
        toy_suite([Trend(**claim().model_dump() | over)])
