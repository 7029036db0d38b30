"""The design of claims: what the seeds of a scale can find, before anything runs."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from harness import stats
from harness.analysis import Cells, cells
from harness.axes import over_axis
from harness.claim import Claim, Exact, LowerSpread, Trend, sides_of
from harness.effects import CONFIDENCE, POWER, needed, unit_of
from harness.evidence import Evidence, gather, lines_of, sample, tasks_of
from harness.suite import Scale, Suite


class ClaimPower(NamedTuple):
    """The design of a claim: its MDE with the seeds of a scale; a row of `harness plan`."""

    claim: str
    kind: str
    n: int
    """Trainings that the scale gives it: its seeds, 1 where no seed touches it, 0 where the scale
    leaves it out."""
    tasks: int
    unit: str
    margin: float | None
    mde_sd: float | None
    """Smallest effect found with 80 % power, in standard deviations of the per-seed effect."""
    mde: float | None
    """The same in the metric's unit, where records tell the scatter (of spreads: always)."""
    sd: float | None
    """Standard deviation over seeds of the per-seed effect."""
    sd_scale: str | None
    """The scale whose records gave it."""
    n_for_margin: int | None
    """Seeds for 80 % power at an effect of one margin."""


def power(suite: Suite, scale_name: str, runs: pd.DataFrame | None = None) -> list[ClaimPower]:
    """The MDE of each claim of a suite with the seeds of a scale, before anything runs.

    Args:
        suite: whose claims.
        scale_name: whose seeds.
        runs: earlier records; their scatter turns standard deviations into the metric's unit. The
            scale's own count first, then those of any other scale but smoke.

    Raises:
        UsageError: the suite has no such scale.
    """
    scale = suite.known_scale(scale_name)
    sources = []
    if runs is not None:
        others = [s for s in suite.scales if s.name not in (scale.name, "smoke")]
        for source in (scale, *others):
            sources.append((source, cells(runs[runs["scale"] == source.name])))
    rows = []
    for claim in suite.claims:
        tasks = tasks_of(suite, scale, claim)
        if isinstance(claim, Trend) and not over_axis(suite, claim):
            tasks = lines_of(tasks, claim).tasks
        varies = not all(suite.constant(suite.method(name)) for name in sides_of(claim))
        n = (len(scale.seeds) if varies else 1) if tasks else 0
        sd, sd_scale = _known_sd(suite, claim, sources)
        mde_sd = mde = enough = None
        if isinstance(claim, LowerSpread) and tasks:
            unshared = [1.0] * len(tasks)
            mde = stats.minimum_detectable_spread(n, unshared, CONFIDENCE, POWER)
            enough = stats.spread_sample_size(claim.margin, unshared, CONFIDENCE, POWER)
        elif not isinstance(claim, Exact | LowerSpread):
            overlap = Evidence(tasks, 0, (), (), (), None, ()).overlap
            stretch = (1 + n * overlap) ** 0.5
            mde_sd = stats.minimum_detectable_effect(stretch, n, CONFIDENCE, POWER)
            mde = mde_sd * sd if mde_sd is not None and sd is not None else None
            if sd is not None and varies and not overlap:
                enough = needed(claim, claim.margin, sd)
        rows.append(
            ClaimPower(
                claim=claim.name,
                kind=claim.kind,
                n=n,
                tasks=len(tasks),
                unit=unit_of(suite, claim),
                margin=None if isinstance(claim, Exact) else claim.margin,
                mde_sd=mde_sd,
                mde=mde,
                sd=sd,
                sd_scale=sd_scale,
                n_for_margin=enough,
            )
        )
    return rows


def _known_sd(
    suite: Suite, claim: Claim, sources: Sequence[tuple[Scale, Cells]]
) -> tuple[float | None, str | None]:
    """Scatter over seeds of the claim's effect in the first source that has two seeds."""
    if isinstance(claim, Exact | LowerSpread) or over_axis(suite, claim):
        return None, None
    for scale, grouped in sources:
        evidence = gather(suite, scale, claim, grouped)
        if len(evidence.seeds) >= 2:
            return stats.standard_deviation(sample(suite, claim, evidence).x_S), scale.name
    return None, None
