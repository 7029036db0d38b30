"""Statistics against scipy, statsmodels, hand-computed cases, and simulation."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from harness import stats
from harness.effects import widened
from harness.resampling import sign_flip

A = np.array([83.1, 82.4, 84.0, 83.3, 82.9])
B = np.array([81.9, 82.6, 82.2, 82.8, 81.0])
VALUES = st.lists(st.integers(-10_000, 10_000).map(lambda v: v / 8), min_size=3, max_size=12)
EXACT = {"rel": 1e-10, "abs": 1e-12}


def near(value):
    return pytest.approx(value, **EXACT)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_mean_interval_is_scipys(confidence):
    oracle = scipy_stats.ttest_1samp(A, 0.0).confidence_interval(confidence)
    low, mean, high, n, method = stats.mean_interval(A, confidence)
    assert (low, mean, high) == near((oracle.low, A.mean(), oracle.high))
    assert (n, method) == (5, "t")


def test_mean_interval_by_hand():
    # mean 2, sd 1, and with two degrees of freedom t(p) = (2p - 1) / √(2 p (1 - p)).
    low, mean, high, _, _ = stats.mean_interval([1, 2, 3])
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)
    assert (low, mean, high) == near((2 - half, 2.0, 2 + half))


def test_too_few_values_give_no_bounds_and_equal_values_give_no_width():
    assert stats.mean_interval([]) == (None, None, None, 0, "t")
    assert stats.mean_interval([7.5]) == (None, 7.5, None, 1, "t")
    assert stats.mean_interval([0.1] * 3) == (0.1, 0.1, 0.1, 3, "t")
    assert stats.standard_deviation([0.1] * 3) == 0
    assert stats.standard_deviation([1]) is None
    assert stats.standard_deviation([1, 3]) == near(math.sqrt(2))


@pytest.mark.parametrize("bad", [[1, math.nan], [math.inf, 1], [[1, 2], [3, 4]], 3.0])
def test_what_is_no_list_of_finite_numbers_is_refused(bad):
    with pytest.raises(ValueError, match="finite numbers"):
        stats.mean_interval(bad)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="confidence"):
        stats.mean_interval(A, 1.0)
    with pytest.raises(ValueError, match="equal lengths"):
        stats.paired_interval(A, B[:3])
    with pytest.raises(ValueError, match="power needs"):
        stats.t_power(1, 0, 5)
    with pytest.raises(ValueError, match="power needs"):
        stats.t_power(1, 1, 1)
    with pytest.raises(ValueError, match="seed x task"):
        stats.combined_spread(np.ones((3, 2)), np.ones((3, 1)))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_paired_test_is_scipys(alternative):
    oracle = scipy_stats.ttest_rel(A, B, alternative=alternative)
    assert stats.paired_p(A, B, alternative) == near(oracle.pvalue)
    oracle = scipy_stats.ttest_1samp(A, 83.0, alternative=alternative)
    assert stats.p_value(A, 83.0, alternative) == near(oracle.pvalue)
    interval = scipy_stats.ttest_rel(A, B).confidence_interval()
    low, mean, high, n, method = stats.paired_interval(A, B)
    assert (low, mean, high) == near((interval.low, (A - B).mean(), interval.high))
    assert (n, method) == (5, "paired t")


def test_p_values_without_scatter_are_those_of_signs_that_agree():
    assert stats.p_value([1]) is None
    assert stats.p_value([0, 0, 0]) == 1
    assert stats.p_value([2, 2, 2]) == 2 / 8
    assert stats.p_value([2, 2, 2], 0, "greater") == 1 / 8
    assert stats.p_value([2, 2, 2], 0, "less") == 1
    assert stats.p_value([-2, -2, -2], 0, "less") == 1 / 8
    assert stats.p_value([2, 2, 2], 2) == 1
    assert stats.p_value([2.0] * 8) == sign_flip([2.0] * 8) == 2 / 256
    # A scatter in the last bits is none.
    assert stats.p_value([0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3]) == 2 / 16


def test_rounding_of_the_values_is_neither_a_difference_nor_scatter():
    a, b = [0.1 + 0.2, 80.3, 1e6 + 0.1], [0.3, 80.0 + 0.3, 1e6 + 0.1]
    assert a != b
    assert stats.paired_interval(a, b)[:3] == (0, 0, 0)
    assert stats.paired_p(a, b) == 1
    # The same difference whatever it is on top of.
    a = [80.3, 70.3, 0.3, 0.1 + 0.2]
    assert stats.paired_interval(a, [80.0, 70.0, 0.0, 0.0])[:3] == (0.3, 0.3, 0.3)
    assert stats.welch_interval([0.1 + 0.2] * 3, [0.3] * 3)[:3] == (0, 0, 0)
    largest = sys.float_info.max
    assert stats.mean_interval([largest, largest]).mean == near(largest)
    assert stats.paired_interval([largest, -largest], [-largest, largest]).mean == 0


def test_welch_is_scipys():
    oracle = scipy_stats.ttest_ind(A, B[:4], equal_var=False)
    bounds = oracle.confidence_interval()
    low, mean, high, n, method = stats.welch_interval(A, B[:4])
    assert (low, mean, high) == near((bounds.low, A.mean() - B[:4].mean(), bounds.high))
    assert (n, method) == (4, "Welch t")
    assert stats.welch_p(A, B[:4]) == near(oracle.pvalue)


def test_welch_with_too_few_values_or_none_that_scatter():
    assert stats.welch_interval([], A) == (None, None, None, 0, "Welch t")
    assert stats.welch_interval([3], [1, 1]) == (None, 2, None, 1, "Welch t")
    assert stats.welch_p([3], A) is None
    assert stats.welch_interval([3, 3], [1, 1]) == (2, 2, 2, 2, "Welch t")
    # Two threes and two ones fall into these two groups, either way round, in 2 of 6 deals.
    assert stats.welch_p([3, 3], [1, 1]) == near(2 / 6)
    # One side constant: the other one's t-interval, moved.
    assert stats.welch_interval(A, [80, 80])[:3] == near(stats.mean_interval(A - 80)[:3])


def test_equivalence_by_two_one_sided_tests_is_statsmodels():
    for margin in (0.5, 1.0, 2.0, 4.0):
        p = max(stats.p_value(A - B, -margin, "greater"), stats.p_value(A - B, margin, "less"))
        assert p == near(ttost_paired(A, B, -margin, margin)[0])
        low, _, high, _, _ = stats.paired_interval(A, B, 0.90)
        assert (p < 0.05) == (-margin < low and high < margin)


def test_holm_is_statsmodels():
    rng = np.random.default_rng(11)
    for size in (1, 2, 3, 5, 8, 20):
        # One decimal makes ties.
        for p in (rng.uniform(0, 0.1, size), np.round(rng.uniform(0, 1, size), 1)):
            assert stats.holm(p) == near(tuple(multipletests(p, method="holm")[1]))


def test_holm_by_hand():
    assert stats.holm([0.04, 0.01, 0.03]) == near((0.06, 0.03, 0.06))
    assert stats.holm([]) == ()


def test_sign_flips_by_hand():
    assert sign_flip([1, 2, 3, 4, 5]) is None
    assert sign_flip([1, 2, 3, 4, 5, 6]) == 2 / 64
    assert sign_flip([0.1, 0.2, 0.3, -0.1, -0.2, -0.3]) == 1
    # Sums of 21, 19 and their negatives reach 19.
    assert sign_flip([-1, 2, 3, 4, 5, 6]) == 4 / 64


def test_sign_flips_are_scipys_permutation_test():
    x = np.random.default_rng(0).normal(0.4, 1, 12)
    oracle = scipy_stats.permutation_test(
        (x,), np.sum, permutation_type="samples", n_resamples=math.inf
    )
    assert sign_flip(x) == near(oracle.pvalue)


def test_sign_flips_of_many_are_drawn():
    x = np.random.default_rng(1).normal(0.5, 1, 20)
    drawn = sign_flip(x)
    assert drawn == sign_flip(x)
    assert drawn == pytest.approx(stats.p_value(x), abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("effect", [0.1, 0.7, 2.0])
def test_power_is_statsmodels(n, effect):
    oracle = TTestPower().power(effect, n, 0.05, alternative="two-sided")
    assert stats.t_power(effect * 3, 3.0, n) == near(oracle)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_detectable_effect_has_the_power_it_promises(n, power):
    effect = stats.minimum_detectable_effect(2.5, n, power=power)
    assert stats.t_power(effect, 2.5, n) == pytest.approx(power, abs=1e-9)
    if n > 2:
        oracle = TTestPower().solve_power(nobs=n, alpha=0.05, power=power)
        assert effect / 2.5 == pytest.approx(oracle, rel=1e-5)


def test_detectable_effect_at_the_edges():
    assert stats.minimum_detectable_effect(1, 1) is None
    assert stats.minimum_detectable_effect(0, 5) == 0


@pytest.mark.parametrize("effect", [0.05, 0.3, 1.0, 2.0, 20.0])
def test_sample_size_is_the_fewest(effect):
    n = stats.sample_size(effect, 1.0)
    assert stats.t_power(effect, 1.0, n) >= 0.8
    assert n == 2 or stats.t_power(effect, 1.0, n - 1) < 0.8
    assert n == stats.sample_size(-effect, 1.0)


def test_sample_size_at_the_edges():
    assert stats.sample_size(0, 1) is None
    assert stats.sample_size(1, 0) == 2
    assert stats.sample_size(1e-4, 1.0) is None
    assert stats.sample_size(1.0, 1.0) == 10  # Cohen's tables
    assert stats.sample_size(0.5, 1.0) == 34


def test_paired_spread_inverts_the_pitman_morgan_test():
    a, b = A, B + 0.5 * A
    for bound in stats.spread_interval(a, b)[:3:2]:
        ratio = math.exp(bound)
        r, p = scipy_stats.pearsonr(a / ratio + b, a / ratio - b)
        assert p == pytest.approx(0.05, abs=1e-10)
        assert abs(r) > 0
    assert stats.spread_interval(a, b).mean == near(math.log(a.std() / b.std()))
    oracle = scipy_stats.pearsonr(a + b, a - b).pvalue
    assert stats.combined_spread(a[:, None], b[:, None]).p == near(oracle)


def test_spread_that_is_exactly_zero():
    flat = [0.1] * 5
    assert stats.spread_interval(flat, A)[:3] == (-math.inf,) * 3
    assert stats.spread_interval(A, flat)[:3] == (math.inf,) * 3
    assert stats.spread_interval(flat, flat)[:3] == (0, 0, 0)
    few = stats.spread_interval([1], [2])
    assert few[:4] == (None, None, None, 1)


def test_spread_of_two_pairs_has_no_bounds():
    assert stats.spread_interval([1, 3], [1, 2])[:4] == (None, near(math.log(2)), None, 2)
    assert stats.minimum_detectable_spread(2, [1.0]) is None
    same = stats.spread_interval(A, 2 * A)
    assert same[:3] == pytest.approx((-math.log(2),) * 3, abs=1e-6)


def test_combined_spread_at_the_edges():
    flat = np.full(5, 0.1)
    meet = stats.combined_spread(np.c_[A, flat], np.c_[flat, B])
    assert meet.interval[:3] == (None, None, None)
    assert meet.p is None
    far = stats.combined_spread(np.c_[flat, A], np.c_[A, B])
    assert far.interval[:3] == (-math.inf,) * 3
    assert far.p is None
    still = stats.combined_spread(np.c_[flat, flat], np.c_[flat, flat])
    assert (still.interval[:3], still.p) == ((0, 0, 0), 1)


def test_combined_spread_averages_log_ratios():
    a, b = np.c_[A, 3 * B], np.c_[B, A]
    ratios = [math.log(x.std() / y.std()) for x, y in zip(a.T, b.T, strict=True)]
    interval, p, unshared = stats.combined_spread(a, b)
    left = [1 - np.corrcoef(x, y)[0, 1] ** 2 for x, y in zip(a.T, b.T, strict=True)]
    assert unshared == near(tuple(4 / 3 * u for u in left))
    error = stats.spread_error(5, unshared)
    trigamma = math.pi**2 / 6 - 1  # at two
    assert error == near(math.sqrt(sum(unshared) * trigamma / 2) / 2)
    assert interval.mean == near(np.mean(ratios))
    assert interval.high - interval.mean == near(scipy_stats.t.ppf(0.975, 6) * error)
    assert p == near(2 * scipy_stats.t.sf(abs(interval.mean) / error, 6))
    swapped = stats.combined_spread(b, a)
    assert swapped.interval[:3] == near((-interval.high, -interval.mean, -interval.low))


def test_spread_power_is_consistent():
    n = stats.spread_sample_size(0.5, [1.0, 1.0])
    assert stats.minimum_detectable_spread(n, [1.0, 1.0]) <= 0.5
    assert stats.minimum_detectable_spread(n - 1, [1.0, 1.0]) > 0.5
    # An effect of the detectable size is found about as often as promised.
    effect = stats.minimum_detectable_spread(12, [1.0])
    rng = np.random.default_rng(8)
    found = [
        stats.combined_spread(
            math.exp(effect) * rng.normal(size=(12, 1)), rng.normal(size=(12, 1))
        ).p < 0.05
        for _ in range(800)
    ]  # fmt: skip
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_few_seeds_cover_what_they_say(n):
    rng = np.random.default_rng(9)
    repeats, truth = 4000, 2.0
    hit = dict.fromkeys(("mean", "paired", "welch"), 0)
    for a, b in zip(
        rng.normal(truth, 1.5, (repeats, n)), rng.normal(0, 0.5, (repeats, n)), strict=True
    ):
        for name, interval in (
            ("mean", stats.mean_interval(a)),
            ("paired", stats.paired_interval(a, b)),
            ("welch", stats.welch_interval(a, b)),
        ):
            hit[name] += interval.low < truth < interval.high
    assert 0.93 < hit["mean"] / repeats < 0.97
    assert 0.93 < hit["paired"] / repeats < 0.97
    assert 0.93 < hit["welch"] / repeats < 0.97


@pytest.mark.parametrize("tasks", [1, 3])
def test_spread_intervals_cover_what_they_say(tasks):
    rng = np.random.default_rng(10)
    hit = 0
    for shared, own in rng.normal(size=(1500, 2, 6, tasks)):
        interval = stats.combined_spread(2 * shared, 0.6 * shared + 0.8 * own).interval
        hit += interval.low < math.log(2) < interval.high
    assert 0.93 < hit / 1500 < 0.98


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(-100, 100), st.sampled_from([0.25, 2.0, 64.0]))
def test_intervals_move_and_stretch_with_their_values(values, shift, scale):
    x = np.array(values)
    low, mean, high, n, _ = stats.mean_interval(x)
    moved = stats.mean_interval(x * scale + shift)
    want = [v * scale + shift for v in (low, mean, high)]
    # Bounds near zero are rounded as the others are.
    size = max(np.abs([*x * scale, *want]).max(), 1)
    assert moved[:3] == pytest.approx(want, rel=1e-9, abs=1e-10 * size)
    assert moved.n == n
    turned = stats.mean_interval(-x)
    assert turned[:3] == pytest.approx((-high, -mean, -low), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.randoms())
def test_the_order_of_seeds_does_not_matter(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert stats.mean_interval(shuffled)[:3] == pytest.approx(
        stats.mean_interval(values)[:3], rel=1e-12, abs=1e-9
    )


def test_corrected_resampled_t_by_hand_and_against_scipys_t():
    # mean 2, sd 1, n = 3: the variance of the mean is 1/3 + 0.2/0.8.
    low, mean, high, n, method = stats.resampled_interval([1, 2, 3], 0.2, 0.8)
    half = scipy_stats.t.ppf(0.975, 2) * math.sqrt(1 / 3 + 0.25)
    assert (low, mean, high) == near((2 - half, 2.0, 2 + half))
    assert (n, method) == (3, "corrected resampled t")
    t = (A - B).mean() / ((A - B).std(ddof=1) * math.sqrt(1 / 5 + 100 / 240))
    assert stats.resampled_p(A - B, 100, 240) == near(2 * scipy_stats.t.sf(abs(t), 4))
    assert stats.resampled_p(A, 1, 4, null=A.mean()) == near(1.0)


def test_corrected_resampled_t_is_wider_and_nearly_the_t_interval_with_little_test_data():
    wide, plain = stats.resampled_interval(A, 0.2, 0.48), stats.mean_interval(A)
    assert wide.mean == plain.mean
    assert wide.high - wide.mean == near((plain.high - plain.mean) * math.sqrt(1 + 5 * 0.2 / 0.48))
    assert stats.resampled_interval(A, 1e-12, 1)[:3] == pytest.approx(plain[:3], rel=1e-9)
    for confidence in (0.8, 0.95, 0.99):  # p and interval agree
        p = stats.resampled_p(A - B, 0.2, 0.48)
        low, _, high, *_ = stats.resampled_interval(A - B, 0.2, 0.48, confidence)
        assert (p < 1 - confidence) == (low > 0 or high < 0)


def test_corrected_resampled_t_is_the_t_interval_of_the_stretched_sample():
    # Two ways to the same interval: verdicts stretch the sample, so that power follows too.
    wide = widened(A - B, 0.2 / 0.48)
    assert stats.mean_interval(wide)[:3] == near(stats.resampled_interval(A - B, 0.2, 0.48)[:3])
    assert stats.p_value(wide) == near(stats.resampled_p(A - B, 0.2, 0.48))


def test_corrected_resampled_t_at_the_edges():
    assert stats.resampled_interval([7.5], 1, 4)[:4] == (None, 7.5, None, 1)
    assert stats.resampled_interval([], 1, 4)[:4] == (None, None, None, 0)
    assert stats.resampled_interval([0.1] * 3, 1, 4)[:3] == (0.1, 0.1, 0.1)
    assert stats.resampled_p([7.5], 1, 4) is None
    assert stats.resampled_p([2.0] * 8, 1, 4) == 2 / 256
    for shares in ((0, 1), (1, 0), (math.nan, 1)):
        with pytest.raises(ValueError, match="above zero"):
            stats.resampled_interval(A, *shares)
