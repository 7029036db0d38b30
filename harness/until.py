"""Seeds added until every primary claim is decided: what the next look needs, and when to stop."""

from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice
from typing import NamedTuple

import pandas as pd

from harness.claims import Verdict
from harness.errors import UsageError
from harness.evidence import gather, sides_of, tasks_of
from harness.looks import Look, of_records
from harness.runs import cells
from harness.sequential import FEWEST, Looks, boundary
from harness.suite import Claim, Scale, Suite

Pairs = frozenset[tuple[str, str]]
"""Of a method and a task, both by name."""

Left = Callable[[Pairs, tuple[int, ...]], bool]
"""Whether any trial of these pairs with these seeds is still to be run, and can be."""


class Step(NamedTuple):
    """What must run before the next look can be taken."""

    size: int
    """Distinct trainings at that look."""
    seeds: tuple[int, ...]
    pairs: Pairs
    claims: tuple[str, ...]
    """Those that are open and wait for it."""


class Stop(NamedTuple):
    """Nothing more is to be run."""

    reason: str
    """One line."""


def next_look(
    suite: Suite, scale: Scale, verdicts: Sequence[Verdict], left: Left, most: int
) -> Step | Stop:
    """The trials that bring the open primary claims to their next look, or why there are none.

    Claims that are open may stand at different looks; the nearest comes first. A trial that failed,
    or that only measured a training again, is made up for by a further seed.

    Args:
        suite: whose claims.
        scale: whose looks; its seeds come first, then the numbers after them.
        verdicts: on all claims, from the records so far.
        left: asked about the trials of a claim.
        most: seeds at which to stop, whatever is open.

    Raises:
        UsageError: nothing can ever be decided here.
    """
    if scale.name == "smoke":
        raise UsageError("--until decided: smoke scale measures nothing; name another with --scale")
    primary = [claim for claim in suite.claims if claim.role == "primary"]
    if not primary:
        raise UsageError(
            f"--until decided: suite {suite.name} has no primary claims; give three to five of its "
            "claims role='primary'"
        )
    by_name = {v.claim: v for v in verdicts}
    waiting = [claim for claim in primary if is_open(by_name[claim.name])]
    if not waiting:
        return Stop(f"{suite.name}: all {len(primary)} primary claims are closed")
    steps = [_towards(suite, scale, c, by_name[c.name].n or 0, left, most) for c in waiting]
    nearest = min((step.size for step in steps if step), default=None)
    together = [step for step in steps if step and step.size == nearest]
    if not together:
        names = ", ".join(claim.name for claim in waiting)
        return Stop(
            f"{suite.name}: {len(primary) - len(waiting)} of {len(primary)} primary claims are "
            f"closed; open after the last look that --most {most} allows: {names}"
        )
    return Step(
        size=together[0].size,
        seeds=max((step.seeds for step in together), key=len),
        pairs=frozenset[tuple[str, str]]().union(*(step.pairs for step in together)),
        claims=tuple(name for step in together for name in step.claims),
    )


def pairs_of(suite: Suite, scale: Scale, claims: Iterable[Claim]) -> Pairs:
    """The trials that claims rest on, at a scale."""
    return frozenset(
        (side, task.name)
        for claim in claims
        for task in tasks_of(suite, scale, claim)
        for side in sides_of(claim)
    )


def is_open(verdict: Verdict) -> bool:
    """Whether more seeds may change a verdict: it is inconclusive, or rests on too few."""
    few = (verdict.n or 0) < FEWEST
    return verdict.outcome == "inconclusive" or (
        verdict.outcome in ("not run", "not judged") and few
    )


def seeds_up_to(scale: Scale, number: int) -> tuple[int, ...]:
    """The first seeds of a scale: its own, then the numbers after them."""
    more = count(max(scale.seeds) + 1)
    return (*scale.seeds, *islice(more, max(0, number - len(scale.seeds))))[:number]


def _towards(
    suite: Suite, scale: Scale, claim: Claim, n: int, left: Left, most: int
) -> Step | None:
    """What one claim needs for its next look; None where that cannot be reached."""
    pairs, size = pairs_of(suite, scale, [claim]), Looks(schedule=scale.looks).following(n)
    if size is None or not pairs:
        return None
    wanted = size
    while wanted <= most:
        seeds = seeds_up_to(scale, wanted)
        if left(pairs, seeds):
            return Step(size, seeds, pairs, (claim.name,))
        wanted += max(size - n, 1)  # all are there, and some of them do not count
    return None


def looks_taken(
    suite: Suite, scale: Scale, verdicts: Sequence[Verdict], runs: pd.DataFrame, date: str
) -> list[Look]:
    """The look that each primary claim has come to, as it is to be kept.

    Args:
        suite: whose claims.
        scale: whose looks.
        verdicts: on all claims, from these runs.
        runs: of this scale, as `harness.runs.frame` gives them.
        date: UTC, ISO 8601.
    """
    looks, grouped = Looks(schedule=scale.looks), cells(runs)
    by_name = {v.claim: v for v in verdicts}
    found = []
    for claim in suite.claims:
        verdict = by_name[claim.name]
        number = len(looks.taken(verdict.n or 0))
        if claim.role != "primary" or not number or verdict.p is None:
            continue
        found.append(
            Look(
                suite=suite.name,
                scale=scale.name,
                claim=claim.name,
                version=claim.version,
                schedule=looks.schedule,
                n=verdict.n or 0,
                seeds=gather(suite, scale, claim, grouped).once(claim).seeds,
                records=of_records(verdict.ids),
                p=verdict.p,
                spent=boundary(looks, number),
                outcome=verdict.outcome,
                date=date,
            )
        )
    return found
