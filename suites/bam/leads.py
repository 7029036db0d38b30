"""A check of the suite's own: whether one method's lead over another has come to rest.

While the rate falls at the end of a phase the loss of every method falls with it. What a claim is
about is the difference of two on the same held-out text: it should no longer change by as much as
the claim's margin.
"""

from collections.abc import Sequence

from harness.check import Measured
from harness.digits import mean
from harness.record import Record

CURVE = "held-out"
"""Of `suites.bam.branches.fit`: the loss on the same held-out sequences along the phase."""
_PARTS = 10
"""As for `harness.check.Converged`: the last of so many parts is compared with the one before."""


def change(records: Sequence[Record], check: Measured) -> float | None:
    """|Mean over trainings of the lead's last change|, nats; None where nothing can be compared.

    Args:
        records: of the two methods that the check names, with the curve `held-out`.
        check: its methods, the one that leads and the other.
    """
    first, second = check.methods
    curves = {
        (r.method, r.task, r.seed): r.series["held-out"] for r in records if "held-out" in r.series
    }
    changes = []
    for (method, task, seed), ahead in curves.items():
        behind = curves.get((second, task, seed))
        if method != first or behind is None or behind.x != ahead.x or len(ahead.x) < 2:
            continue
        lead = [b - a for a, b in zip(ahead.y, behind.y, strict=True)]
        part = max(1, len(lead) // _PARTS)
        changes.append(mean(lead[-part:]) - mean(lead[-2 * part : -part]))
    return abs(mean(changes)) if changes else None
