"""Seeds added until every primary claim is decided: what the next look needs, and when to stop."""

from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

import pandas as pd

from harness import stats
from harness.claim import Exact, Inexact
from harness.claims import ALPHA, Verdict
from harness.effects import effect
from harness.errors import UsageError
from harness.evidence import Evidence, gather
from harness.looks import Look, of_records
from harness.runs import cells
from harness.sequential import FEWEST, Looks, at_looks, boundary
from harness.suite import Scale, Suite

Left = Callable[[tuple[str, ...], tuple[int, ...]], bool]
"""Whether any trial of these claims with these seeds is still to be run, and can be."""


class Standing(NamedTuple):
    """How far a primary claim is."""

    claim: str
    n: int
    """Distinct trainings that both sides have."""
    closed: bool
    """Whether more seeds can change nothing: it is decided, or cannot be tested here."""
    looks: tuple[Look, ...] = ()
    """Those taken; none where nothing is tested."""


class Step(NamedTuple):
    """What must run before the next look can be taken."""

    size: int
    """Distinct trainings at that look."""
    seeds: tuple[int, ...]
    claims: tuple[str, ...]
    """Those that are open and wait for it."""


class Stop(NamedTuple):
    """Nothing more is to be run."""

    reason: str
    """One line."""


def standings(
    suite: Suite, scale: Scale, verdicts: Sequence[Verdict], runs: pd.DataFrame, date: str
) -> list[Standing]:
    """How far each primary claim is: its looks so far, and Holm's correction over all of them.

    Args:
        suite: whose claims.
        scale: whose looks.
        verdicts: on all claims, from these runs; they say what cannot be tested.
        runs: of this scale, as `harness.runs.frame` gives them.
        date: UTC, ISO 8601, for the looks.
    """
    looks, grouped = Looks(schedule=scale.looks), cells(runs)
    by_name = {v.claim: v for v in verdicts}
    primary = [c for c in suite.claims if c.role == "primary" and not isinstance(c, Exact)]
    gathered = [gather(suite, scale, claim, grouped).once(claim) for claim in primary]
    found = []
    for claim, evidence in zip(primary, gathered, strict=True):

        def measure(
            size: int, confidence: float, claim: Inexact = claim, evidence: Evidence = evidence
        ) -> dict[str, Any]:
            cut = evidence._replace(seeds=evidence.seeds[:size])
            return effect(suite, claim, cut, confidence)

        n = 0 if evidence.outcome else len(evidence.seeds)
        found.append(at_looks(n, looks, measure) or {})
    adjusted = stats.holm([1.0 if f.get("p") is None else f["p"] for f in found])
    out = []
    for claim, evidence, fields, p in zip(primary, gathered, found, adjusted, strict=True):
        n, outcome = len(evidence.seeds), str(fields.get("outcome", "not judged"))
        if outcome in ("holds", "opposite") and p >= ALPHA:
            outcome = "inconclusive"
        silent = by_name[claim.name].outcome in ("not testable", "not judged", "not run")
        if silent and n >= FEWEST:
            out.append(Standing(claim.name, n, True))
            continue
        taken = []
        for number, size in enumerate(looks.taken(n), 1):
            cut = evidence._replace(seeds=evidence.seeds[:size])
            taken.append(
                Look(
                    suite=suite.name,
                    scale=scale.name,
                    claim=claim.name,
                    version=claim.version,
                    schedule=looks.schedule,
                    n=size,
                    seeds=cut.seeds,
                    records=of_records(_trainings(cut)),
                    p=effect(suite, claim, cut).get("p"),
                    spent=boundary(looks, number),
                    outcome=outcome,
                    date=date,
                )
            )
        closed = outcome in ("holds", "opposite", "equivalent")
        out.append(Standing(claim.name, n, closed, tuple(taken)))
    return out


def _trainings(evidence: Evidence) -> list[str]:
    """Ids of the trainings behind the numbers."""
    return sorted(
        {
            training
            for cell in evidence.cells
            for seed, training in zip(cell.seeds, cell.trainings, strict=True)
            if cell.constant or seed in evidence.seeds
        }
    )


def next_look(
    suite: Suite, scale: Scale, states: Sequence[Standing], left: Left, most: int
) -> Step | Stop:
    """The trials that bring the open primary claims to their next look, or why there are none.

    Claims that are open may stand at different looks; the nearest comes first. A trial that failed,
    or that only measured a training again, is made up for by a further seed.

    Args:
        suite: whose claims.
        scale: whose looks; its seeds come first, then the numbers after them.
        states: of all primary claims, from the records so far.
        left: asked about the trials of a claim.
        most: seeds at which to stop, whatever is open.

    Raises:
        UsageError: nothing can ever be decided here.
    """
    if scale.size == "smoke":
        raise UsageError("--until decided: smoke scale measures nothing; name another with --scale")
    if not states:
        raise UsageError(
            f"--until decided: suite {suite.name} has no primary claims; give three to five of its "
            "claims role='primary'"
        )
    waiting = [state for state in states if not state.closed]
    if not waiting:
        return Stop(f"{suite.name}: all {len(states)} primary claims are closed")
    steps = [_towards(scale, state, left, most) for state in waiting]
    nearest = min((step.size for step in steps if step), default=None)
    together = [step for step in steps if step and step.size == nearest]
    if not together:
        names = ", ".join(state.claim for state in waiting)
        return Stop(
            f"{suite.name}: {len(states) - len(waiting)} of {len(states)} primary claims are "
            f"closed; open after the last look that --most {most} allows: {names}"
        )
    return Step(
        size=together[0].size,
        seeds=max((step.seeds for step in together), key=len),
        claims=tuple(name for step in together for name in step.claims),
    )


def seeds_up_to(scale: Scale, number: int) -> tuple[int, ...]:
    """The first seeds of a scale: its own, then the numbers after them."""
    more = count(max(scale.seeds) + 1)
    return (*scale.seeds, *islice(more, max(0, number - len(scale.seeds))))[:number]


def _towards(scale: Scale, state: Standing, left: Left, most: int) -> Step | None:
    """What one claim needs for its next look; None where that cannot be reached."""
    size = Looks(schedule=scale.looks).following(state.n)
    if size is None:
        return None
    wanted = size
    while wanted <= most:
        seeds = seeds_up_to(scale, wanted)
        if left((state.claim,), seeds):
            return Step(size, seeds, (state.claim,))
        wanted += max(size - state.n, 1)  # all are there, and some of them do not count
    return None
