"""How far a scale is from the paper's setting, and what a verdict may say of the paper."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from harness import registry
from harness.analysis import Cells
from harness.claim import Claim, Tier, sides_of
from harness.digits import steady
from harness.errors import SpecError
from harness.suite import Quantity, Reference, Scale, Suite, Task

PAPER = "paper"
"""Name of the scale that is the paper's own setting."""


def tier_of(scale: Scale, claim: Claim, tasks: Iterable[Task]) -> Tier:
    """How near the setting of a claim is to the paper's: a proxy among the tasks makes it one.

    A variant replaces a setting, and is never exact.
    """
    if any(task.proxy or task.fallback for task in tasks):
        return "proxy"
    tier = claim.tier or scale.tier or ("exact" if scale.name == PAPER else "scaled")
    return "scaled" if tier == "exact" and scale.name != scale.size else tier


def distance(suite: Suite, scale: Scale) -> tuple[str, ...]:
    """Quantities of a scale against those of the paper scale, such as `model x1/350`.

    What is equal is left out.

    Raises:
        SpecError: a quantity that is no positive number.
    """
    paper = next((s for s in suite.scales if s.name == PAPER), None)
    if paper is None or scale.name == PAPER:
        return ()
    words = []
    for quantity in suite.distance:
        own, theirs = (_value(suite, s, quantity) for s in (scale, paper))
        if own is None or theirs is None:
            continue
        ratio = steady(own / theirs)
        if ratio < 1:
            words.append(f"{quantity.name} x1/{_round(1 / ratio)}")
        elif ratio > 1:
            words.append(f"{quantity.name} x{_round(ratio)}")
    return tuple(words)


def _value(suite: Suite, scale: Scale, quantity: Quantity) -> float | None:
    """None where the scale does not have it."""
    where = f"suite {suite.name}, scale {scale.name}: quantity {quantity.name}"
    settings = scale.settings.plain()
    if ":" in quantity.value:
        value = registry.call(quantity.value)(settings)
    else:
        value = _at(settings, quantity.value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SpecError(f"{where} ({quantity.value}) is {value!r}; it must be a positive number")
    return float(value)


def _at(settings: Any, path: str) -> Any:
    for part in path.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def _round(ratio: float) -> str:
    """Two digits: 1.2, 35, 350, 100,000."""
    if ratio < 10:
        return f"{ratio:.2g}"
    places = math.floor(math.log10(ratio)) - 1
    return f"{round(ratio / 10**places) * 10**places:,}"


def baselines_match(
    suite: Suite,
    claim: Claim,
    tasks: Sequence[Task],
    grouped: Cells,
    references: Iterable[Reference],
) -> str:
    """Why the suite's own baseline is not the paper's; empty where it is.

    The baseline is the method that a claim compares with. Its mean on every judged task must lie
    within the published spread of the published number. A claim about one method has none.
    """
    baseline = sides_of(claim)[-1]
    if baseline == claim.a:
        return ""
    printed = {
        r.task: r
        for r in references
        if r.source == "paper" and r.method == baseline and r.metric == claim.metric
    }
    for task in tasks:
        known = printed.get(task.name)
        mean = grouped[baseline, task.name, claim.metric].interval().mean
        if known is None or known.spread is None:
            return f"the paper gives no {claim.metric} of {baseline} with its spread on {task.name}"
        if mean is None or steady(abs(mean - known.value)) > known.spread:
            own = "missing" if mean is None else f"{steady(mean):g}"
            return (
                f"own {baseline} on {task.name} is {own}, published {known.value:g} ± "
                f"{known.spread:g}"
            )
    return ""
