"""Which trials the next look needs, and when there is no next look."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.analysis import frame
from harness.claims import judge
from harness.errors import SpecError, UsageError
from harness.identity import digest
from harness.record import Origin
from harness.suite import Beats, LowerSpread, Scale
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

    def make(one, two=None, failed=(), kept=(), first=0, looks=(5, 10, 20, 40), migrated=False):
        two = one if two is None else two
        records = []
        for task in suite.tasks:
            for seed, (x, y) in enumerate(zip(one, two, strict=True), first):
                numbers = {"ant": 80.0, "bee": 80.0 - x, "cat": 80.0 - y}
                for method, value in numbers.items():
                    status = "failed" if seed in failed else "ok"
                    metrics = {"accuracy": value, "loss": seed + len(method) / 8}
                    records.append(make_record(suite, method, task.name, seed, metrics, status))
        if migrated:
            origins = [Origin(id=r.id, checksum=r.checksum) for r in records]
            records = [
                r.model_copy(update={"id": digest([r.id]), "origin": origin})
                for r, origin in zip(records, origins, strict=True)
            ]
        scale = suite.scale("laptop").model_copy(update={"looks": looks})
        runs = frame(records, suite)
        looks = reached(suite, scale, runs, DATE, kept)
        verdicts = judge(suite, "laptop", runs, taken=[*kept, *looks])
        make.verdicts = {v.claim: v for v in verdicts}
        states = standings(suite, scale, runs, verdicts)
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


def test_before_the_first_look_nothing_is_decided(stand):
    """Five seeds that show the effect beyond doubt, and a first look at ten."""
    state, looks = stand(effects(9, 5), looks=(10, 20))["one"]
    assert (state, looks) == (Standing("one", 5, False), [])
    state, looks = stand(effects(9, 10), looks=(10, 20))["one"]
    assert (state.closed, [look.n for look in looks]) == (True, [10])


def test_a_look_is_not_taken_again_when_a_failed_trial_is_repaired(stand):
    # Seeds 0, 1, 3, 4, 5 decide nothing; with the repaired 2 in place of 5 they would.
    x = [1.0, 1.1, 1.0, 1.2, 0.9, -1.5]
    _, (look,) = stand(x, failed=(2,))["one"]
    assert (look.seeds, look.n) == ((0, 1, 3, 4, 5), 5)
    assert stand(x)["one"][0].closed
    state, looks = stand(x, kept=[look])["one"]
    assert (state.closed, looks) == (False, [look])
    assert stand.verdicts["one"].reason == ""


def test_a_look_at_seeds_of_ones_own_is_kept_when_those_before_come(stand):
    early = effects(6, 5)
    _, (look,) = stand(early, first=100)["one"]
    assert look.seeds == (100, 101, 102, 103, 104)
    state, looks = stand([*effects(0, 100), *early], kept=[look])["one"]
    assert (state.closed, looks[0]) == (True, look)
    assert (stand.verdicts["one"].outcome, stand.verdicts["one"].n) == ("holds", 5)


def test_a_look_is_at_the_trainings_and_their_numbers_whatever_their_identities(stand):
    x = effects(0.3, 5)
    _, (look,) = stand(x)["one"]
    _, looks = stand(x, kept=[look], migrated=True)["one"]
    assert looks == [look]
    _, looks = stand([*x[:4], x[4] + 0.5], kept=[look])["one"]  # run again, with other numbers
    assert looks != [look]
    assert "1 more at other records" in stand.verdicts["one"].reason


def test_looks_at_records_that_are_gone_are_told(stand):
    _, (look,) = stand(effects(0.3, 5))["one"]
    gone = look.model_copy(update={"records": "0" * 64})
    _, looks = stand(effects(0.3, 5), kept=[gone])["one"]
    assert looks == [look]
    assert (
        "1 more at other records: all looks may err in 6.25 %, not 5 %"
        in stand.verdicts["one"].reason
    )
    assert stand.verdicts["two"].reason == ""


def test_a_schedule_is_fixed_by_the_first_look(stand):
    """p = .02 at the first of four looks is nothing; of one look it would be enough."""
    x = [1.0, 1.9, 0.5, 1.7, 0.5]
    assert 0.0125 < scipy_stats.ttest_1samp(x, 0).pvalue < 0.025
    _, (look,) = stand(x)["one"]
    assert stand(x, looks=(5,))["one"][0].closed
    with pytest.raises(
        SpecError, match=r"looks are \(5,\), but claim one was .* \(5, 10, 20, 40\)"
    ):
        stand(x, kept=[look], looks=(5,))


def test_looks_count_whatever_the_role_becomes(toy_suite, suite, make_record):
    x = [1.0, 1.9, 0.5, 1.7, 0.5, -3.0, 0.0]
    records = [
        make_record(suite, m, t.name, s, {"accuracy": 80 + v * (m == "ant"), "loss": s})
        for t in suite.tasks
        for m in ("ant", "bee")
        for s, v in enumerate(x)
    ]
    runs = frame(records, suite)
    looks = reached(suite, suite.scale("laptop"), runs, DATE)
    for role in ("primary", "secondary", "additional"):
        (found,) = judge(toy_suite([claim("one", role)]), "laptop", runs, taken=looks)
        assert (found.n, found.look) == (5, "look 1 of 4")


def test_a_look_without_a_test_leaves_the_correction_of_the_others(toy_suite, make_record):
    """A side that does not scatter among the first five: p of the second look is still doubled."""
    one = claim("one").model_dump(exclude={"kind"}) | {"tasks": ("deep-x",)}
    suite = toy_suite([LowerSpread(**one)])
    rng = np.random.default_rng(0)
    values = {"ant": [80.0] * 5 + rng.normal(80, 1, 5).tolist(), "bee": rng.normal(80, 3, 10)}
    records = [
        make_record(suite, m, "deep-x", s, {"accuracy": float(x), "loss": s})
        for m, own in values.items()
        for s, x in enumerate(own)
    ]
    runs, scale = frame(records, suite), suite.scale("laptop")
    early = runs[runs["seed"] < 5]
    states = standings(suite, scale, early, judge(suite, "laptop", early))
    assert states == [Standing("one", 5, False)]
    (plain,) = judge(suite, "laptop", runs)
    (found,) = judge(suite, "laptop", runs, taken=reached(suite, scale, runs, DATE))
    assert found.p == pytest.approx(4 * plain.p)
    assert found.look == "look 2 of 4"


def test_an_equivalence_stands_when_a_later_look_finds_a_small_effect(stand):
    # All within the margin of 1 at five seeds; at ten the interval lies above zero as well.
    early = (0.1 + 0.15 * np.array(effects(0, 5))).tolist()
    first, (look,) = stand(early)["one"]
    assert (first.closed, stand.verdicts["one"].outcome) == (True, "equivalent")
    later, _ = stand([*early, 0.3, 0.31, 0.29, 0.3, 0.3], kept=[look])["one"]
    assert later.closed
    assert (stand.verdicts["one"].outcome, stand.verdicts["one"].n) == ("equivalent", 5)


def test_where_most_trials_fail_no_further_seed_is_tried(stand):
    state, looks = stand(effects(9, 5), failed=(0, 1, 2))["one"]
    assert (state, looks) == (Standing("one", 2, True), [])
    assert not stand(effects(9, 2), failed=(0, 1))["one"][0].closed  # stopped half-way
