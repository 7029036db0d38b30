"""The words of verdicts, and what each of them means: one place for reports and the terminal."""

from collections.abc import Sequence
from typing import Literal

from harness.claim import Role, Tier

Outcome = Literal[
    "holds", "opposite", "equivalent", "inconclusive", "not testable", "not run", "not judged",
    "interval", "equal", "not equal",
]  # fmt: skip

TITLES: dict[Role, str] = {
    "primary": "Primary claims",
    "secondary": "Secondary claims",
    "additional": "Additional controls",
    "exact": "Exact quantities",
}
"""How reports head the claims of each role, in the order in which they are read."""

OPEN = "not judged: primary claims are open"
PROXY = "not judged: a proxy says nothing against the paper"
INTERVAL = "additional: interval alone"

LEGEND: tuple[tuple[str, str], ...] = (
    (
        "reproduced",
        "the claim holds in the paper's own setting, and the baseline's own numbers lie within the "
        "published spread",
    ),
    ("not reproduced", "in that setting the opposite, or no difference, was found"),
    (
        "holds at SCALE",
        "the 95 % interval lies on the claim's side of zero, the p value is below .05 after the "
        "Holm-Bonferroni correction over the claims of the same role, and most tasks agree",
    ),
    (
        "opposite at SCALE",
        "the same on the other side; in brackets how far the scale is from the paper's setting",
    ),
    ("equivalent at SCALE", "the whole interval lies inside the margin that was fixed in advance"),
    ("inconclusive", "none of these; the MDE and the seeds needed stand beside it"),
    (
        "not testable here",
        "a condition under which the claim can be tested at all is not met: which, what was "
        "measured, what is needed",
    ),
    ("not run", "there are no records, or the scale leaves it out"),
    (
        "not judged",
        "fewer than five distinct trainings, too many failures, primary claims that are still "
        "open, or data that only take the place of the paper's",
    ),
    (
        "additional",
        "a control or a question that the paper does not ask: a plain 95 % interval, no verdict",
    ),
    ("equal, not equal", "an exact quantity, counted: no interval and no n"),
)
"""Each word with its meaning, in the order in which a reader needs them."""

RULES = 1
"""Version of the rules by which claims are decided; `how-we-decide.html` lists what changed."""


def anchor(words: str) -> str:
    """The part of `how-we-decide.html` that explains a verdict's label or word."""
    names = sorted((name for word, _ in LEGEND for name in forms(word)), key=len, reverse=True)
    return next((slug(name) for name in names if words.startswith(name)), "verdicts")


def forms(word: str) -> list[str]:
    """What a word of the legend is called in labels: `holds` for `holds at SCALE`."""
    return [part.removesuffix(" at SCALE") for part in word.split(", ")]


def slug(name: str) -> str:
    """An id from a word."""
    return name.replace(" ", "-")


def label(
    outcome: Outcome,
    scale: str,
    tier: Tier,
    distance: Sequence[str] = (),
    unmatched: str = "",
) -> str:
    """The words of a decided claim.

    Args:
        outcome: `holds`, `opposite` or `equivalent`.
        scale: name of the scale.
        tier: nearness to the paper's setting.
        distance: how far the scale is from it, in words.
        unmatched: why the baseline is not the paper's, empty where it is; of an exact tier.
    """
    if tier == "exact" and not unmatched:
        return "reproduced" if outcome == "holds" else "not reproduced"
    near = " (proxy)" if tier == "proxy" else ""
    far = f" ({', '.join(distance)})" if distance and outcome == "opposite" else ""
    return f"{outcome} at {scale} scale{near}{far}"
