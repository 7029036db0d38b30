"""Which trials the next look needs, and when there is no next look."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.analysis import frame
from harness.claims import judge
from harness.errors import UsageError
from harness.suite import Beats, Scale
from harness.until import Standing, Step, Stop, next_look, reached, seeds_up_to, standings

DATE = "2026-01-02T03:04:05+00:00"


def claim(name, role="primary", tasks=("*",), b="bee"):
    return Beats(
        name=name, text="T.", source="S", metric="accuracy", tasks=tasks, a="ant", b=b, margin=1,
        role=role,
    )  # fmt: skip


class Trials:
    """Records so far, by their seeds."""

    def __init__(self, seeds=()):
        self.seeds = set(seeds)

    def __call__(self, claims, seeds):
        return not set(seeds) <= self.seeds


@pytest.fixture
def suite(toy_suite):
    claims = (
        claim("one"),
        claim("two", tasks=("deep-*",), b="cat"),
        claim("other", role="secondary", b="cat"),
    )
    return toy_suite(claims)


def step(suite, states, trials=None, most=40, scale="laptop"):
    """`states`: claim -> n and whether it is closed."""
    standing = [Standing(name, *states.get(name, (0, False))) for name in ("one", "two")]
    return next_look(suite, suite.scale(scale), standing, trials or Trials(), most)


def test_the_first_look_runs_the_primary_claims_alone(suite):
    assert step(suite, {}) == Step(5, (0, 1, 2, 3, 4), ("one", "two"))


def test_a_claim_that_is_decided_asks_for_nothing(suite):
    after = step(suite, {"one": (5, True), "two": (5, False)}, Trials(range(5)))
    assert after == Step(10, tuple(range(10)), ("two",))


def test_the_nearest_look_comes_first(suite):
    after = step(suite, {"one": (10, False), "two": (5, False)}, Trials(range(5)))
    assert (after.size, after.claims) == (10, ("two",))


def test_lost_seeds_are_made_up_for(suite):
    # Ten seeds are recorded, eight of them count: two more.
    states = {"one": (10, True), "two": (8, False)}
    assert step(suite, states, Trials(range(10))).seeds == tuple(range(12))
    # Seven of ten still to be run: nothing more than these.
    assert step(suite, states, Trials(range(8))).seeds == tuple(range(10))


def test_it_stops_when_all_are_decided_or_at_most(suite):
    done = {"one": (5, True), "two": (10, True)}
    assert step(suite, done) == Stop("toy: all 2 primary claims are closed")
    tried = {"one": (5, True), "two": (20, False)}
    stop = step(suite, tried, Trials(range(20)), most=20)
    assert isinstance(stop, Stop)
    assert "1 of 2" in stop.reason
    assert stop.reason.endswith("--most 20 allows: two")
    assert isinstance(step(suite, tried, Trials(range(20)), most=39), Stop)
    assert isinstance(step(suite, tried, Trials(range(20)), most=40), Step)
    last = {"one": (5, True), "two": (40, False)}
    assert isinstance(step(suite, last, Trials(range(40)), most=1000), Stop)


@pytest.mark.parametrize("most", [5, 40, 1000])
@pytest.mark.parametrize("counts", [0, 1, 4])
def test_trials_that_never_count_end_it(suite, most, counts):
    states = {"one": (5, True), "two": (counts, False)}
    seen, rounds = set(), 0
    while isinstance(now := step(suite, states, Trials(seen), most), Step):
        assert len(now.seeds) <= most
        seen |= set(now.seeds)
        rounds += 1
    assert rounds <= most
    # And data that are not there: nothing can be run.
    assert isinstance(step(suite, states, lambda claims, seeds: False, most), Stop)


def test_seeds_go_on_after_those_of_the_scale():
    scale = Scale(name="laptop", seeds=(3, 1, 7), expected_seconds=1)
    assert seeds_up_to(scale, 2) == (3, 1)
    assert seeds_up_to(scale, 5) == (3, 1, 7, 8, 9)


def test_where_nothing_can_be_decided_is_said_in_one_line(suite):
    with pytest.raises(UsageError, match="smoke scale measures nothing"):
        step(suite, {}, scale="smoke")
    with pytest.raises(UsageError, match="has no primary claims"):
        next_look(suite, suite.scale("laptop"), [], Trials(), 40)


@pytest.fixture
def stand(suite, make_record):
    """The standings of records: claim -> effects by seed, over `bee` and `cat` alike."""

    def make(one, two=None, failed=()):
        two = one if two is None else two
        records = []
        for task in suite.tasks:
            for seed in range(len(one)):
                numbers = {"ant": 80.0, "bee": 80.0 - one[seed], "cat": 80.0 - two[seed]}
                for method, value in numbers.items():
                    status = "failed" if seed in failed else "ok"
                    metrics = {"accuracy": value, "loss": seed + len(method) / 8}
                    records.append(make_record(suite, method, task.name, seed, metrics, status))
        runs, scale = frame(records, suite), suite.scale("laptop")
        looks = reached(suite, scale, runs, DATE)
        states = standings(suite, scale, runs, judge(suite, "laptop", runs, taken=looks))
        return {
            state.claim: (state, [look for look in looks if look.claim == state.claim])
            for state in states
        }

    return make


def effects(mean, n, seed=0):
    x = np.random.default_rng(seed).normal(0, 1, n)
    return ((x - x.mean()) / x.std(ddof=1) + mean).tolist()


def test_a_claim_is_closed_by_its_boundary_over_looks_and_claims(stand):
    # Both claims rest on the same numbers: 2 claims, 4 looks, so each needs p < .05 / 8.
    for mean in np.linspace(0.5, 4, 15):
        x = effects(mean, 5)
        p = scipy_stats.ttest_1samp(x, 0).pvalue
        assert {s.closed for s, _ in stand(x).values()} == {p < 0.05 / 8}, mean


def test_a_decision_stands_whatever_later_seeds_say(stand):
    early = effects(6, 5)
    states = stand([*early, *effects(-6, 5)], [3.0, -3.0] * 5)
    assert [(s.n, s.closed) for s, _ in states.values()] == [(10, True), (10, False)]


def test_seeds_between_two_looks_wait(stand):
    x = effects(0.9, 9)
    assert scipy_stats.ttest_1samp(x, 0).pvalue < 0.05
    first, looks = stand(x)["one"]
    assert (first.n, len(looks), first.closed) == (9, 1, False)
    assert looks == stand(x[:5])["one"][1]


def test_every_look_is_told_with_its_own_test(stand):
    x = effects(0.3, 20, seed=4)
    _, looks = stand(x)["one"]
    assert [look.n for look in looks] == [5, 10, 20]
    for look in looks:
        assert look.seeds == tuple(range(look.n))
        assert look.p == pytest.approx(scipy_stats.ttest_1samp(x[: look.n], 0).pvalue)
        assert look.spent == 0.05 / 4
        assert (look.suite, look.scale, look.claim, look.version) == ("toy", "laptop", "one", 1)
    assert len({look.records for look in looks}) == 3


def test_failed_seeds_do_not_count(stand):
    state, looks = stand(effects(1, 8), failed=(2, 3))["one"]
    assert state.n == 6
    assert looks[0].seeds == (0, 1, 4, 5, 6)


def test_what_cannot_be_tested_is_closed_and_what_has_few_seeds_is_open(stand):
    broken = stand(effects(1, 12), failed=tuple(range(7)))  # more than half of them failed
    assert broken["one"] == (Standing("one", 5, True), [])
    assert stand(effects(9, 4))["one"] == (Standing("one", 4, False), [])
