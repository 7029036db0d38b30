"""Looks against their definition, other people's tests, and simulation."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from harness import stats
from harness.sequential import (
    Looks,
    boundary,
    decide,
    decisions,
    over_looks,
    power,
    repeated_interval,
)
from harness.suite import Scale

LOOKS = Looks()
TRIALS = 20_000


def rate_at_most(count, trials, bound):
    """Whether a count is what a rate of at most `bound` gives, but for one chance in 10,000."""
    return count <= scipy_stats.binom.ppf(1 - 1e-4, trials, bound)


@pytest.mark.parametrize(
    "schedule", [(), (4, 10), (5, 5), (10, 5), (5, 10, 10), tuple(range(5, 16)), (0,), (-5, 5)]
)
def test_impossible_schedules_are_refused_in_one_line(schedule):
    with pytest.raises(ValidationError, match="at least 5, for example") as error:
        Looks(schedule=schedule)
    assert len(error.value.errors()[0]["msg"].splitlines()) == 1
    with pytest.raises(ValidationError, match="at least 5, for example"):  # as the suite loads
        Scale(name="laptop", seeds=(0,), expected_seconds=1, looks=schedule)


def test_which_looks_so_many_trainings_allow():
    assert LOOKS.taken(4) == ()
    assert LOOKS.taken(5) == LOOKS.taken(9) == (5,)
    assert LOOKS.taken(1000) == (5, 10, 20, 40)
    assert [LOOKS.following(n) for n in (0, 5, 9, 39, 40)] == [5, 10, 10, 40, None]


@pytest.mark.parametrize("schedule", [(5,), (5, 10), (5, 10, 20, 40), tuple(range(5, 15))])
def test_looks_spend_alpha_and_no_more(schedule):
    looks = Looks(schedule=schedule)
    levels = [boundary(looks, k, 0.05) for k in range(1, len(schedule) + 1)]
    assert sum(levels) == pytest.approx(0.05, rel=1e-12)
    assert sum(levels) <= 0.05 * (1 + 1e-12)
    for look, alpha in ((0, 0.05), (len(schedule) + 1, 0.05), (1, 0.0), (1, 1.0)):
        with pytest.raises(ValueError, match=r"look|level"):
            boundary(looks, look, alpha)


def test_p_value_over_looks_is_bonferronis():
    p = [0.04, 0.011, 0.3]
    assert over_looks(p, LOOKS) == (pytest.approx(0.044), 2)
    assert over_looks(p[:1], LOOKS) == (pytest.approx(0.16), 1)
    assert over_looks([0.9], LOOKS) == (1.0, 1)
    padded = [*p, 1.0]  # the look that is still to come
    oracle = multipletests(padded, method="bonferroni")[1].min()
    assert over_looks(p, LOOKS).p == pytest.approx(oracle)
    for number in (0, 5):
        with pytest.raises(ValueError, match=f"{number} looks"):
            over_looks([0.1] * number, LOOKS)


def test_what_is_decided_stays_decided_whatever_comes():
    rng = np.random.default_rng(3)
    for _ in range(200):
        p = rng.uniform(0, 0.05, (5, 4)) ** 1.5
        before = (False,) * 5
        for taken in itertools.accumulate(rng.integers(0, 2, (8, 5)), lambda a, b: a + b):
            now = decide([row[: min(k, 4)] for row, k in zip(p, taken, strict=True)], LOOKS)
            decided = tuple(d.decided for d in now)
            assert all(b <= d for b, d in zip(before, decided, strict=True))
            before = decided


def test_a_decided_claim_passes_its_alpha_on():
    # 4 looks: .05 / 4 = .0125 for one claim, .00625 while another is open.
    assert [d.decided for d in decide([[0.01], [0.2]], LOOKS)] == [False, False]
    both = decide([[0.01], [0.2, 0.001]], LOOKS)
    assert [d.decided for d in both] == [True, True]
    assert [d.look for d in both] == [1, 2]
    assert both[1].p == pytest.approx(0.008)
    assert decide([[], [0.001]], LOOKS)[0] == (False, None, 1.0)
    assert decide([], LOOKS) == ()


@pytest.mark.parametrize("n", [5, 9, 10, 23, 40, 60])
def test_interval_and_verdict_agree_at_every_look(n):
    rng = np.random.default_rng(n)
    for _ in range(100):
        x = rng.normal(0.6, 1, n)
        taken = LOOKS.taken(n)
        p = scipy_stats.ttest_1samp(x[: taken[-1]], 0).pvalue
        low, mean, high, size, method = repeated_interval(x, LOOKS)
        assert (low > 0 or high < 0) == (p < boundary(LOOKS, len(taken)))
        oracle = scipy_stats.ttest_1samp(x[: taken[-1]], 0).confidence_interval(1 - 0.05 / 4)
        assert (low, high) == pytest.approx((oracle.low, oracle.high))
        assert (size, method) == (taken[-1], f"t, look {len(taken)} of 4")
        assert mean == pytest.approx(x[: taken[-1]].mean())


def test_there_are_no_bounds_before_the_first_look():
    assert repeated_interval([1, 2, 3, 4], LOOKS)[:4] == (None, 2.5, None, 4)
    corrected = repeated_interval(
        [1, 2, 3, 4, 5], LOOKS, interval=lambda x, c: stats.resampled_interval(x, 1, 4, c)
    )
    assert corrected.method == "corrected resampled t, look 1 of 4"
    assert corrected[:3] == stats.resampled_interval([1, 2, 3, 4, 5], 1, 4, 1 - 0.05 / 4)[:3]


def test_one_look_is_the_ordinary_test():
    one = Looks(schedule=(7,))
    x = [1.0, 2, 3, 4, 5, 7, 9]
    assert repeated_interval(x, one)[:3] == stats.mean_interval(x)[:3]
    assert over_looks([0.03], one).p == 0.03


def test_many_suites_at_once_are_decided_like_one():
    x = np.random.default_rng(5).normal(0.7, 1, (30, 3, 40))
    many = decisions(x, LOOKS)
    for own, suite in zip(many.transpose(1, 0, 2), x, strict=True):
        for look, got in enumerate(own, 1):
            p = [
                [scipy_stats.ttest_1samp(c[:n], 0).pvalue for n in LOOKS.schedule[:look]]
                for c in suite
            ]
            wanted = [
                d.decided and c[: LOOKS.schedule[d.look - 1]].mean() > 0
                for d, c in zip(decide(p, LOOKS), suite, strict=True)
            ]
            assert got.tolist() == wanted


@pytest.mark.parametrize("schedule", [(5,), (5, 10, 20, 40), (5, 6, 7, 8, 9), (6, 30)])
@pytest.mark.parametrize("claims", [1, 5])
def test_false_decisions_stay_below_their_level_at_small_n(schedule, claims):
    looks = Looks(schedule=schedule)
    x = np.random.default_rng(6).standard_normal((TRIALS, claims, schedule[-1]))
    false = decisions(x, looks)[-1].any(1).sum()
    assert rate_at_most(false, TRIALS, 0.025)
    either = (decisions(x, looks)[-1] | decisions(-x, looks)[-1]).any(1).sum()
    assert rate_at_most(either, TRIALS, 0.05)
    assert either > 0.02 * TRIALS  # the bound is no waste


def test_false_equivalence_and_non_inferiority_stay_below_their_level():
    # The true difference lies at the margin; the interval of some look misses it.
    rng, margin, wrong = np.random.default_rng(7), 1.0, [0, 0]
    trials = 2_000
    for x in rng.normal(margin, 1, (trials, 40)):
        bounds = [repeated_interval(x[:n], LOOKS) for n in LOOKS.schedule]
        wrong[0] += any(-margin < b.low and b.high < margin for b in bounds)
        wrong[1] += any(b.low > margin for b in bounds)
    assert all(rate_at_most(w, trials, 0.025) for w in wrong)


@pytest.mark.parametrize("claims", [1, 5])
@pytest.mark.parametrize("effect", [0.0, 0.7, 2.0])
def test_power_of_one_look_is_statsmodels(claims, effect):
    found = power(effect, Looks(schedule=(6,)), claims)
    alpha = 0.05 / claims
    # Decided in the effect's own direction: without effect in half of the cases.
    oracle = TTestPower().power(effect, 6, alpha, alternative="two-sided") if effect else alpha / 2
    assert found.by_look[0] == pytest.approx(oracle, abs=5 * np.sqrt(oracle / TRIALS))
    assert found.expected == 6


def test_power_targets():
    fixed = power(2.0, Looks(schedule=(5,)), 5, alone=False)
    assert fixed.by_look[0] >= 0.7
    for alone in (True, False):
        looks = power(2.0, LOOKS, 5, alone=alone)
        assert looks.by_look[1] >= 0.9
        assert looks.expected <= 10
    assert power(0.5, LOOKS, 5).by_look == tuple(sorted(power(0.5, LOOKS, 5).by_look))
    assert power(0.0, LOOKS).expected > 38


def test_power_is_the_same_each_time_and_refuses_nonsense():
    once = power(0.9, LOOKS, 3)
    power.cache_clear()
    assert power(0.9, LOOKS, 3) == once
    for effect, claims in ((-1.0, 1), (1.0, 0), (float("nan"), 1)):
        with pytest.raises(ValueError, match="want an effect"):
            power(effect, LOOKS, claims)
