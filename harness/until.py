"""Seeds added until every primary claim is decided: what the next look needs, and when to stop."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import pandas as pd

from harness.analysis import cells
from harness.claim import Exact, Inexact
from harness.claims import Verdict
from harness.effects import effect
from harness.errors import UsageError
from harness.evidence import Evidence, gather
from harness.looks import Look, of_records
from harness.sequential import FEWEST, Looks, boundary
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


def reached(suite: Suite, scale: Scale, runs: pd.DataFrame, date: str) -> list[Look]:
    """All looks that the trainings of each primary claim allow, without their outcome.

    Args:
        suite: whose claims.
        scale: whose looks.
        runs: of this scale, as `harness.analysis.frame` gives them.
        date: UTC, ISO 8601.
    """
    looks = Looks(schedule=scale.looks)
    found = []
    for claim, evidence in _primary(suite, scale, runs):
        sizes = () if evidence.outcome else looks.taken(len(evidence.seeds))
        for number, size in enumerate(sizes, 1):
            part = evidence._replace(seeds=evidence.seeds[:size])
            found.append(
                Look(
                    suite=suite.name,
                    scale=scale.name,
                    claim=claim.name,
                    version=claim.version,
                    schedule=looks.schedule,
                    n=size,
                    seeds=part.seeds,
                    records=of_records(_trainings(part)),
                    p=effect(suite, claim, part).get("p"),
                    spent=boundary(looks, number),
                    outcome="",
                    date=date,
                )
            )
    return found


def standings(
    suite: Suite, scale: Scale, runs: pd.DataFrame, verdicts: Sequence[Verdict]
) -> list[Standing]:
    """How far each primary claim is, by the verdicts at the looks reached."""
    outcomes = {v.claim: v.outcome for v in verdicts}
    found = []
    for claim, evidence in _primary(suite, scale, runs):
        n, outcome = len(evidence.seeds), outcomes[claim.name]
        few = outcome in ("not judged", "not run") and n < FEWEST
        found.append(Standing(claim.name, n, not few and outcome != "inconclusive"))
    return found


def _primary(suite: Suite, scale: Scale, runs: pd.DataFrame) -> Iterator[tuple[Inexact, Evidence]]:
    grouped = cells(runs)
    for claim in suite.claims:
        if claim.role == "primary" and not isinstance(claim, Exact):
            yield claim, gather(suite, scale, claim, grouped).once(claim)


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
