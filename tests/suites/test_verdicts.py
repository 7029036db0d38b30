"""What must be true of every verdict on the committed records, whatever they say."""

from functools import cache
from pathlib import Path

import pytest

from harness import margins, plan, registry
from harness.analysis import frame
from harness.claim import Exact
from harness.claims import Verdict, judge
from harness.store import Store

ROOT = Path(__file__).parents[2]
SUITES = ["bam", "gate", "merging", "mixup"]


@cache
def verdicts(name: str) -> list[tuple[Verdict, int]]:
    """Every verdict at every scale with records, and the number of seeds that were run there."""
    suite = registry.load(name)
    records = Store(ROOT / "results", ROOT / ".harness").load(name).records
    current, _ = plan.standing([suite], records)
    found = []
    for scale in suite.scales:
        here = [r for r in records if r.scale == scale.name and r.id in current[name]]
        if here:
            made = judge(suite, scale.name, frame(here, suite), here, registry.references(suite))
            found += [(v, len({r.seed for r in here})) for v in made]
    return found


@pytest.mark.parametrize("name", SUITES)
def test_no_interval_has_a_width_of_zero(name: str) -> None:
    flat = [v.claim for v, _ in verdicts(name) if v.low is not None and v.low == v.high]
    flat += [
        f"{v.claim} on {t.task}"
        for v, _ in verdicts(name)
        for t in v.per_task
        if t.low is not None and t.low == t.high
    ]
    assert flat == []


@pytest.mark.parametrize("name", SUITES)
def test_no_n_is_above_the_number_of_trainings(name: str) -> None:
    assert [v.claim for v, seeds in verdicts(name) if v.n is not None and v.n > seeds] == []
    alone = [v for v, _ in verdicts(name) if v.n == 1]
    assert [v.claim for v in alone if v.low is not None or v.p is not None] == []
    assert [v.claim for v, _ in verdicts(name) if v.role == "exact" and v.n is not None] == []


@pytest.mark.parametrize("name", SUITES)
def test_no_verdict_stands_on_a_failed_check(name: str) -> None:
    failed = [v for v, _ in verdicts(name) if not all(c.passed for c in v.checks)]
    assert {v.outcome for v in failed} <= {"not testable", "not run"}


@pytest.mark.parametrize("name", SUITES)
def test_no_secondary_claim_is_judged_before_the_primary_ones(name: str) -> None:
    decided = ("holds", "opposite", "equivalent")
    everything = [v for v, _ in verdicts(name)]
    for scale in {v.scale for v in everything}:
        found = [v for v in everything if v.scale == scale]
        if any(v.outcome not in decided for v in found if v.role == "primary"):
            assert [v.claim for v in found if v.role == "secondary" and v.outcome in decided] == []
        assert {v.outcome for v in found if v.role == "additional"} <= {
            "interval", "not run", "not judged", "not testable",
        }  # fmt: skip


@pytest.mark.parametrize("name", SUITES)
def test_nothing_is_reproduced_below_the_paper_scale(name: str) -> None:
    words = [v.label for v, _ in verdicts(name) if v.scale != "paper"]
    assert [w for w in words if "reproduced" in w] == []


@pytest.mark.parametrize("name", SUITES)
def test_three_to_five_primary_claims_and_all_margins_dated(name: str) -> None:
    claims = registry.load(name).claims
    assert 3 <= sum(c.role == "primary" for c in claims) <= 5
    assert [c.name for c in claims if not isinstance(c, Exact) and c.rests_on is None] == []
    own = [c for c in claims if c.role == "primary" and "not in the paper" not in c.source]
    assert [c.name for c in own if c.citation is None] == []


@pytest.mark.parametrize("name", SUITES)
def test_margins_are_those_that_were_pinned(name: str) -> None:
    suite = registry.load(name)
    pinned = margins.read(ROOT / "results", name)
    assert {c.name for c in suite.claims if not isinstance(c, Exact)} <= set(pinned)
    margins.check(suite, pinned, Store(ROOT / "results", ROOT / ".harness").load(name).records)
