"""Coverage, false decisions and power stay within their bounds, in a small version of the table."""

import sys
from pathlib import Path

import pytest
from scipy import stats as scipy_stats

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import decisions  # noqa: E402

TRIALS = 300
SLACK = 1e-4
"""Chance that a row is called wrong although its rate lies on the bound."""


def test_rates_lie_within_their_bounds():
    for row in [*decisions.coverage(TRIALS, 0), *decisions.false_decisions(4 * TRIALS, 0)]:
        low, high = (bound / 100 for bound in row.wanted)
        least = scipy_stats.binom.ppf(SLACK, row.trials, low)
        most = scipy_stats.binom.ppf(1 - SLACK, row.trials, high)
        for rate in row.rates:
            if rate is not None:
                assert least <= rate / 100 * row.trials <= most, row


def test_what_is_there_for_comparison_is_far_off():
    rows = {row.what: row.rates for row in decisions.coverage(TRIALS, 0) if row.wanted == (0, 100)}
    naive = next(rates for what, rates in rows.items() if "plain t on the same splits" in what)
    assert naive[0] > naive[1] > naive[2]
    assert naive[2] < 75
    for what, rates in rows.items():
        if "one training" in what:
            assert rates[0] > 20, what


def test_power_reaches_its_targets():
    rows = {row.what: row for row in decisions.found(1)}
    fixed = rows["fixed n, effect 2 sd, 5 primary claims, all true"]
    assert fixed.rates[0] >= 70
    for which in ("5 primary claims, all true", "the only true one of 5"):
        row = rows[f"looks, effect 2 sd, {which}"]
        assert row.rates[1] >= 90
        assert float(row.note.split()[0]) <= 10


def test_the_table_is_the_same_each_time():
    once = decisions.table(list(decisions.coverage(3, 0)))
    assert once == decisions.table(list(decisions.coverage(3, 0)))
    assert once != decisions.table(list(decisions.coverage(3, 1)))


def test_the_table_goes_between_the_marks():
    start, end = decisions.MARK
    assert decisions.inserted(f"a\n{start}old\n{end}b\n", "new\n") == f"a\n{start}new\n{end}b\n"
    for text in ("", start, start + start + end):
        with pytest.raises(ValueError, match="want one line"):
            decisions.inserted(text, "new\n")


def test_the_page_has_the_table_with_every_row():
    text = (ROOT / "docs/reading-a-verdict.md").read_text(encoding="utf-8")
    shown = text.partition(decisions.MARK[0])[2].partition(decisions.MARK[1])[0]
    names = [line.split(" | ")[0] for line in shown.splitlines()]
    fresh = decisions.table([*decisions.rows(1)])
    assert names == [line.split(" | ")[0] for line in fresh.splitlines()]
