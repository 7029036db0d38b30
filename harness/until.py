"""Seeds added until every primary claim is decided: what the next look needs, and when to stop."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import pandas as pd

from harness import axes
from harness.analysis import Cells, cells
from harness.claim import Exact, Inexact
from harness.claims import Verdict
from harness.effects import effect
from harness.errors import SpecError, UsageError
from harness.evidence import Evidence, gather
from harness.looks import Look, of_claim, of_records
from harness.sequential import Looks, boundary
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


def reached(
    suite: Suite, scale: Scale, runs: pd.DataFrame, date: str, kept: Sequence[Look] = ()
) -> list[Look]:
    """All looks that the trainings of each primary claim allow, without their outcome.

    Args:
        suite: whose claims.
        scale: whose looks.
        runs: of this scale and of the points of its axes, as `harness.analysis.frame` gives them.
        date: UTC, ISO 8601.
        kept: looks taken before; each is found again as long as its trainings are there.

    Raises:
        SpecError: the scale's looks are not those that a claim was looked at with before.
    """
    looks = Looks(schedule=scale.looks)
    found = []
    for claim, evidence in _primary(suite, scale, runs):
        before = of_claim(kept, claim.name, claim.version)
        if before and before[0].schedule != looks.schedule:
            raise SpecError(
                f"suite {suite.name}, scale {scale.name}: looks are {looks.schedule}, but claim "
                f"{claim.name} was looked at with {before[0].schedule}; restore them, or raise the "
                "claim's version"
            )
        sizes = () if evidence.outcome else looks.taken(len(evidence.seeds))
        for number, size in enumerate(sizes, 1):
            part = evidence.at(size, before)
            found.append(
                Look(
                    suite=suite.name,
                    scale=scale.name,
                    claim=claim.name,
                    version=claim.version,
                    schedule=looks.schedule,
                    n=size,
                    seeds=part.seeds,
                    records=of_records(part.trainings()),
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
    """How far each primary claim is, by the verdicts at the looks reached.

    Before the first look nothing is decided, however many seeds a verdict would do with. Where most
    trials fail, further seeds would fail too; where one side does not scatter yet, they help.
    """
    of = {v.claim: v for v in verdicts}
    found = []
    for claim, evidence in _primary(suite, scale, runs):
        n, verdict, lost = len(evidence.seeds), of[claim.name], evidence.outcome == "not judged"
        tried = max((cell.trials for cell in evidence.cells), default=0)
        untested = verdict.outcome == "not judged" and verdict.p is None and not lost
        closed = verdict.outcome != "inconclusive" and not untested
        closed = closed and (tried if lost else n) >= scale.looks[0]
        found.append(Standing(claim.name, n, closed or verdict.outcome == "not testable"))
    return found


def _primary(suite: Suite, scale: Scale, runs: pd.DataFrame) -> Iterator[tuple[Inexact, Evidence]]:
    def cells_of(name: str) -> Cells:
        return cells(runs[runs["scale"] == name])

    for claim in suite.claims:
        if claim.role == "primary":
            place = axes.placed(suite, scale, claim, cells_of)
            if place is not None and not isinstance(place[2], Exact):
                yield place[2], gather(*place).once(claim)


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
