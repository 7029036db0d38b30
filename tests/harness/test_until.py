"""Which trials the next look needs, and when there is no next look."""

import pytest

from harness.claims import Verdict
from harness.errors import UsageError
from harness.suite import Beats, Scale
from harness.until import Step, Stop, is_open, next_look, seeds_up_to


def claim(name, role="primary", tasks=("*",), b="bee"):
    return Beats(
        name=name, text="T.", source="S", metric="accuracy", tasks=tasks, a="ant", b=b, margin=1,
        role=role,
    )  # fmt: skip


def verdict(name, outcome, n):
    return Verdict(claim=name, outcome=outcome, label=outcome, scale="laptop", unit="%", n=n)


class Trials:
    """Records so far, as (method, task, seed)."""

    def __init__(self, seeds=()):
        self.seeds = set(seeds)

    def __call__(self, pairs, seeds):
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
    verdicts = [verdict(name, *states.get(name, ("not run", 0))) for name in ("one", "two")]
    return next_look(suite, suite.scale(scale), verdicts, trials or Trials(), most)


def test_the_first_look_runs_the_primary_claims_alone(suite):
    first = step(suite, {})
    assert first.size == 5
    assert first.seeds == (0, 1, 2, 3, 4)
    assert first.claims == ("one", "two")
    deep = {("ant", "deep-x"), ("ant", "deep-y"), ("cat", "deep-x"), ("cat", "deep-y")}
    every = {(m, f"{d}-{s}") for m in ("ant", "bee") for d in ("deep", "shallow") for s in "xy"}
    assert first.pairs == deep | every


def test_a_claim_that_is_decided_asks_for_nothing(suite):
    after = step(suite, {"one": ("holds", 5), "two": ("inconclusive", 5)}, Trials(range(5)))
    assert (after.size, after.claims) == (10, ("two",))
    assert after.seeds == tuple(range(10))
    assert {task for _, task in after.pairs} == {"deep-x", "deep-y"}


def test_the_nearest_look_comes_first(suite):
    after = step(suite, {"one": ("inconclusive", 10), "two": ("inconclusive", 5)}, Trials(range(5)))
    assert (after.size, after.claims) == (10, ("two",))


def test_lost_seeds_are_made_up_for(suite):
    # Ten seeds are recorded, eight of them count: two more.
    states = {"one": ("holds", 10), "two": ("inconclusive", 8)}
    assert step(suite, states, Trials(range(10))).seeds == tuple(range(12))
    # Seven of ten still to be run: nothing more than these.
    assert step(suite, states, Trials(range(8))).seeds == tuple(range(10))


def test_it_stops_when_all_are_decided_or_at_most(suite):
    done = {"one": ("holds", 5), "two": ("equivalent", 10)}
    assert step(suite, done) == Stop("toy: all 2 primary claims are closed")
    tried = {"one": ("holds", 5), "two": ("inconclusive", 20)}
    stop = step(suite, tried, Trials(range(20)), most=20)
    assert isinstance(stop, Stop)
    assert "1 of 2" in stop.reason
    assert stop.reason.endswith("--most 20 allows: two")
    assert isinstance(step(suite, tried, Trials(range(20)), most=39), Stop)
    assert isinstance(step(suite, tried, Trials(range(20)), most=40), Step)
    last = {"one": ("holds", 5), "two": ("inconclusive", 40)}
    assert isinstance(step(suite, last, Trials(range(40)), most=1000), Stop)


@pytest.mark.parametrize("most", [5, 40, 1000])
@pytest.mark.parametrize("counts", [0, 1, 4])
def test_trials_that_never_count_end_it(suite, most, counts):
    states = {"one": ("holds", 5), "two": ("not judged", counts)}
    seen, rounds = set(), 0
    while isinstance(now := step(suite, states, Trials(seen), most), Step):
        assert len(now.seeds) <= most
        seen |= set(now.seeds)
        rounds += 1
    assert rounds <= most
    # And data that are not there: nothing can be run.
    assert isinstance(step(suite, states, lambda pairs, seeds: False, most), Stop)


@pytest.mark.parametrize(
    ("outcome", "n", "expected"),
    [
        ("inconclusive", 5, True),
        ("not run", 0, True),
        ("not judged", 4, True),
        ("not judged", 5, False),  # failures: more of them help nobody
        ("holds", 5, False),
        ("equivalent", 10, False),
    ],
)
def test_which_verdicts_are_open(outcome, n, expected):
    assert is_open(verdict("one", outcome, n)) is expected


def test_seeds_go_on_after_those_of_the_scale():
    scale = Scale(name="laptop", seeds=(3, 1, 7), expected_seconds=1)
    assert seeds_up_to(scale, 2) == (3, 1)
    assert seeds_up_to(scale, 5) == (3, 1, 7, 8, 9)


def test_where_nothing_can_be_decided_is_said_in_one_line(suite, toy_suite):
    with pytest.raises(UsageError, match="smoke scale measures nothing"):
        step(suite, {}, scale="smoke")
    with pytest.raises(UsageError, match="has no primary claims"):
        step(toy_suite([claim("one", role="secondary")]), {})
